// The cluster of a run: machines, who writes, what they hold, the reference they are held against, and the checkers that watch.
//
// Invariant: nothing in here waits for a call of a process; calls are begun, time and turns pass, and what came of them is looked at between the events.

import { CorruptionError, HistoryUnavailableError, type ReadStore, TableNotFoundError, VarveError } from '../../../bindings/index.ts'
import { type AckMode, fromHex } from '../../../bindings/format/index.ts'
import { type CommitLog, type Digest, type Lsn, openSegmentLog } from '../../../bindings/log/index.ts'
import { seededRandom, soon, ULID_BYTES } from '../../../bindings/runtime/index.ts'
import {
  type Endpoint,
  MemoryNetwork,
  type RecoveryEvent,
  type ReplicaAssignment,
  replicaId,
  type ReplicaState,
  sessionText,
  type Transport,
  type WireFrame,
} from '../../../bindings/ship/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { Dice } from '../durable/dice.ts'
import type { Checker, Move } from './checker.ts'
import { Electorate } from './electorate.ts'
import { Follower, type FollowerLog } from './follower.ts'
import { ancestor, HistoryTree, isBefore, KEYS, type Place, type Write } from './history.ts'
import { Machine, type Process } from './machine.ts'
import type { Mutant, Seams } from './mutants.ts'
import type { Profile } from './profiles.ts'
import { Trace } from './trace.ts'
import { type TappedLink, tapped } from './wires.ts'
import { kv, textOf, Writer } from './writer.ts'
import { Written } from './written.ts'

export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

export interface ClusterOptions {
  readonly seed: number
  readonly profile: Profile
  readonly checkers: readonly Checker[]
  /** A defect of the mutation check. */
  readonly mutant?: Mutant
}

/** Codes of errors that end a process of a cluster whose parts fail: another writer, the LOCK of a dead one, a root that is a replica's. */
const FATES: ReadonlySet<string> = new Set([
  'log.fenced',
  'store.read-only',
  'store.lock-timeout',
  'store.lock-held',
  'ship.committed-truncation',
  'ship.stale-epoch',
])

export interface Decided {
  /** Voters whose logs the promotion went by. */
  readonly heard: ReadonlySet<Machine>
  readonly mayLose: boolean
}

interface Shown {
  /** Moves of the machine that were no advance, when it was asked. */
  readonly moves: number
  readonly node: Writer | Follower
  readonly lsn: number
  readonly rows: Int32Array
}

export class Cluster {
  readonly dice: Dice
  readonly profile: Profile
  readonly trace: Trace = new Trace()
  readonly clock: FakeClock = new FakeClock(undefined, { turns: 1 })
  readonly network: MemoryNetwork
  readonly tree: HistoryTree = new HistoryTree()
  readonly machines: readonly Machine[]
  /** Of the log, when the first writer has founded it. */
  readonly founded: AckMode
  /** The modes that it may have by now, as far as the service around the cluster knows: more than one while nobody was told whether a change is committed. */
  modes: ReadonlySet<AckMode>
  /** What a promotion goes by: of a change to a stronger one from the first write that was acknowledged by it (docs/shipping.md, "Which mode"). */
  mode: AckMode
  readonly checkers: readonly Checker[]
  readonly seams: Seams
  readonly nodes: Map<Machine, Writer | Follower> = new Map()
  readonly endpoints: Map<Machine, Endpoint> = new Map()
  readonly roles: Map<Machine, 'voter' | 'learner'> = new Map()
  readonly electorate: Electorate
  /** Where each machine's log durably ended when it was looked at last. */
  readonly places: Map<Machine, Place> = new Map()
  /** Files with a bit that turned over. */
  readonly rotten: Map<Machine, Set<string>> = new Map()
  /** The machine that is to write. */
  primary: Machine
  /** Highest epoch that anybody was given. */
  epoch = 0
  readonly promotions: Decided[] = []
  /** Writes that may be asked for again under their keys: nobody was told what became of them. */
  readonly unanswered: Write[] = []
  /** How often what happens rarely has happened. */
  readonly counts: Map<string, number> = new Map()
  /** The mode was changed since the log was founded. */
  isChanged = false
  /** async: promotions that gave up what only the old primary had. */
  losses = 0
  /** The promotion of the present primary came to nothing: what is there is still a replica, and nobody writes. */
  unpromoted = false
  /** Epoch of a fence that came to nothing. Nodes refuse the primary below it, so that is opened with it (docs/shipping.md, "Do not start the old primary"). */
  fencedAt = 0
  /** Nodes are being asked. */
  isPromoting = false
  /** Started to write meanwhile, though nobody had decided that: its epochs may be above those of its successor. */
  readonly unasked: Set<Machine> = new Set()
  /** A replica that is let go for now. */
  absent: Machine | undefined
  /** What the writers thought last of each replica. */
  readonly #states = new Map<string, ReplicaState>()
  failure: InvariantError | undefined
  /** While the checkers look, and nothing changes. */
  #seen: { readonly writers: readonly Writer[]; readonly followers: readonly Follower[] } | undefined
  /** What is called most often: of the checkers that want it. */
  readonly #ofEvents: readonly NonNullable<Checker['event']>[]
  readonly #ofFrames: readonly NonNullable<Checker['frame']>[]
  readonly #looked = new Set<Writer | Follower>()
  readonly #ended = new Set<Writer>()
  readonly #written = new Map<Writer, Written>()
  readonly #shown: Shown[] = []
  readonly #moves = new Map<Machine, number>()
  /** What a machine held before its moves since it was started: readers may be shown that until a state behind the newest is put together, and one base may follow another. */
  readonly #replaced = new Map<Machine, readonly Place[]>()
  #keys = 0
  readonly #ids: { bytes(n: number): Uint8Array }

  constructor(o: ClusterOptions) {
    this.dice = new Dice(o.seed)
    this.profile = o.profile
    this.checkers = o.checkers
    this.#ofEvents = o.checkers.flatMap((checker) => checker.event?.bind(checker) ?? [])
    this.#ofFrames = o.checkers.flatMap((checker) => checker.frame?.bind(checker) ?? [])
    this.seams = o.mutant?.seams ?? {}
    this.#ids = seededRandom(o.seed ^ 0x1d5)
    this.founded = this.dice.pick(['async', 'quorum', 'quorum', 'all'] as const)
    this.modes = new Set([this.founded])
    this.mode = this.founded
    const count = 1 + 2 + this.dice.int(3)
    this.machines = Array.from({ length: count }, (_, i) => new Machine(`n${i}`, this.clock, new Dice(this.dice.seed()), this.seams.forgets))
    for (const machine of this.machines) {
      this.endpoints.set(machine, { data: `${machine.name}:1`, version: 1 })
      this.roles.set(machine, 'voter')
      this.places.set(machine, this.tree.root)
      this.rotten.set(machine, new Set())
    }
    if (count > 3 && this.dice.once(3)) this.roles.set(this.machines.at(-1)!, 'learner')
    this.electorate = new Electorate(this.voters)
    this.primary = this.machines[0]!
    this.network = new MemoryNetwork(fakeWorld({ clock: this.clock, seed: this.dice.seed() }))
    this.network.delay([0, 3])
    this.network.corrupt(o.profile.damages / 1000)
    this.network.duplicate(o.profile.doubles / 1000)
    this.network.breakAt(o.profile.breaks / 1000)
    this.trace.say(`${count} machines, mode ${this.founded}`)
  }

  get writer(): Writer | undefined {
    const node = this.nodes.get(this.primary)
    return node?.kind === 'writer' ? node : undefined
  }

  get writers(): readonly Writer[] {
    return this.#seen?.writers ?? [...this.nodes.values()].filter((node) => node.kind === 'writer')
  }

  get followers(): readonly Follower[] {
    return this.#seen?.followers ?? [...this.nodes.values()].filter((node) => node.kind === 'follower')
  }

  /** Who is to vote, the primary included: N of shipping.md section 12. */
  get voters(): Machine[] {
    return this.machines.filter((machine) => this.roles.get(machine) === 'voter' && machine !== this.absent)
  }

  fail(checker: string, text: string): void {
    this.failure ??= new InvariantError(`${checker}: ${text}`)
  }

  nextId(): Uint8Array {
    return this.#ids.bytes(ULID_BYTES)
  }

  nextKey(): number {
    return ++this.#keys
  }

  /** Turns of the event loop, with what is ready in them. */
  breathe(turns: number): Promise<void> {
    return new Promise((resolve) => {
      let left = turns
      const turn = (): void => (left-- > 0 ? soon(turn) : resolve())
      turn()
    })
  }

  transport(process: Process): Transport {
    return tapped(this.network.transport(process.machine.name), process, (...seen) => this.#tap(...seen), this.seams.taken)
  }

  /** Everybody else, for a writer on that machine. */
  replicasOf(writer: Machine): ReplicaAssignment[] {
    return this.machines
      .filter((machine) => machine !== writer && machine !== this.absent)
      .map((machine) => ({ id: replicaId(machine.name), endpoint: this.endpoints.get(machine)!, role: this.roles.get(machine)! }))
  }

  /** Tells the writer where its replicas are. */
  assign(): void {
    const { writer } = this
    // The next shipping begins with what is to be assigned now.
    if (writer?.state !== 'open' || writer.isReshipping) return
    const version = this.electorate.change(this.voters)
    writer.assigning++
    const assigned = writer.shipping!.assign({ epoch: writer.epoch, replicas: this.replicasOf(writer.process.machine) })
    assigned
      .finally(() => writer.assigning--)
      .then(
        () => this.electorate.assigned(version, writer),
        (error: unknown) => {
          if (writer.process.isAlive && writer.state === 'open') this.fail('unexpected', `assign: ${textOf(error)}`)
        },
      )
  }

  /** What a replica was to the last writer that looked. One that it does not reach is one that it would catch up. */
  stateOf(name: string): ReplicaState {
    const state = this.#states.get(name) ?? 'disconnected'
    return state === 'disconnected' || state === 'connecting' ? 'degraded' : state
  }

  /** Starts what belongs on a machine. */
  start(machine: Machine): void {
    if (machine === this.primary && this.isPromoting) {
      // In mode async it would acknowledge by itself.
      if (this.modes.has('async') || this.dice.once(3)) return
      this.trace.say(`${machine.name} is started, while another is looked for`)
      this.unasked.add(machine)
    }
    const isWriter = machine === this.primary && !this.unpromoted
    const node = isWriter ? new Writer(this, machine.start()) : new Follower(this, machine.start())
    this.nodes.set(machine, node)
    node.start()
  }

  stop(machine: Machine, how: 'kill' | 'power'): void {
    this.trace.say(`${machine.name} ${how === 'kill' ? 'is killed' : 'loses power'}`)
    for (const checker of this.checkers) checker.stopped?.(this, machine, how)
    this.network.crash(machine.name)
    machine.stop(how)
    const node = this.nodes.get(machine)
    this.nodes.delete(machine)
    if (node?.kind === 'writer') for (const write of node.writes) if (write.told === 'waiting') this.unknown(write)
  }

  /** Nobody is told what becomes of it. */
  unknown(write: Write): void {
    write.told = 'unknown'
    if (write.key !== undefined) this.unanswered.push(write)
  }

  /** A process gave up by itself. */
  ended({ name, process, state }: Writer | Follower, error: unknown): void {
    this.trace.say(`${name} ends: ${textOf(error)}`)
    const isFate = error === 'fenced' || (error instanceof VarveError && FATES.has(error.code))
    const isRotten = error instanceof CorruptionError && this.rotten.get(process.machine)!.size > 0
    const isFaulty = process.hasFaults && error instanceof VarveError
    if (!isFate && !isRotten && !isFaulty) this.fail('ended', `${name}, ${state}: ${error instanceof Error ? (error.stack ?? textOf(error)) : String(error)}`)
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  acknowledged(write: Write, writer: Writer): void {
    this.trace.say(`${write.id.slice(-6)} acked at ${write.lsn}`)
    if (write.ack !== undefined && write.ack !== write.mode) this.count(`${write.mode} store, acked as ${write.ack}`)
    for (const checker of this.checkers) checker.acknowledged?.(this, write, writer)
  }

  #writtenBy(writer: Writer): Written {
    let written = this.#written.get(writer)
    if (written === undefined) this.#written.set(writer, (written = new Written(this.places.get(writer.process.machine)!)))
    return written
  }

  told(writer: Writer, event: RecoveryEvent): void {
    for (const checker of this.checkers) checker.told?.(this, writer, event)
  }

  #tap(process: Process, way: 'sent' | 'taken', frame: WireFrame, link: TappedLink): void {
    const node = this.nodes.get(process.machine)
    if (node?.process !== process) return
    if (node.kind === 'follower') node.tapped(way, frame)
    else if (way === 'sent' && frame.message.type === 'entries') this.#writtenBy(node).sent(frame.message)
    for (const take of this.#ofFrames) take(this, process.machine, way, frame, link)
  }

  /** Looks at what every process has made durable since, then lets every checker look. */
  async observe(): Promise<void> {
    for (const machine of this.machines) machine.isLookedAt = true
    // Most looks find nothing new, and are no promise.
    for (const writer of this.writers) {
      const look = this.#observeWriter(writer)
      if (look !== undefined) await look
    }
    for (const follower of this.followers) {
      const look = this.#observeFollower(follower)
      if (look !== undefined) await look
    }
    // Stopped by a failpoint, when what it had made durable by then has been seen.
    for (const [machine, node] of this.nodes) if (!node.process.isAlive) this.stop(machine, this.dice.pick(['kill', 'power']))
    for (const machine of this.machines) machine.isLookedAt = false
    this.#settleLooks()
    for (const writer of this.writers) {
      for (const event of writer.notes()) {
        const { replicaId: id, sessionId, event: what, detail } = event
        this.trace.say(`  ${writer.name} of ${id} ${sessionId === null ? '' : sessionText(sessionId)} ${what}: ${detail}`)
        for (const checker of this.checkers) checker.noted?.(this, writer, event)
      }
    }
    const { writers, followers } = this
    this.#seen = { writers, followers }
    for (const writer of writers) writer.seen(true)
    for (const { replicaId: id, state } of this.writer?.senders ?? []) this.#states.set(id, state)
    for (const look of this.#ofEvents) look(this)
    for (const writer of writers) {
      writer.seen(false)
      writer.settleModes()
    }
    this.#seen = undefined
    if (this.writer?.state === 'open') this.electorate.committed(this.writer)
    if (this.failure !== undefined) throw this.failure
  }

  #observeWriter(writer: Writer): Promise<void> | undefined {
    const { log } = writer
    if (log === undefined) return undefined
    const head = Number(log.head)
    if (this.#looked.has(writer)) {
      const { lsn } = this.places.get(writer.process.machine)!
      // From its end on its head stands still, but for what was being synced then, and that may be counted.
      if (this.#ended.has(writer) ? writer.counted <= lsn : head === lsn) return undefined
    }
    return this.#lookAtWriter(writer, log, head)
  }

  async #lookAtWriter(writer: Writer, log: CommitLog, head: number): Promise<void> {
    const { machine, isAlive } = writer.process
    if (isAlive && writer.state !== 'ended' && (await this.#unlessDead(writer.process, this.#readWriter(writer, log, head)))) return
    this.#ended.add(writer)
    const left = await this.#leftOf(machine, writer.store!.id.replaceAll('-', ''))
    if (left !== undefined) await this.#readWriter(writer, left, Math.min(head, Number(left.head)))
    await left?.close()
  }

  /** The log that a dead process has left; undefined: something was half done there, which the next process has to finish. */
  async #leftOf(machine: Machine, storeId: string): Promise<CommitLog | undefined> {
    const { lsn, digest } = this.places.get(machine)!
    const floors = [{ lsn: BigInt(lsn) as Lsn, digest: fromHex(digest) as Digest }]
    const base = fakeWorld({ clock: this.clock })
    // Nobody comes who could finish it meanwhile.
    const world = { ...base, timers: { ...base.timers, sleep: () => Promise.resolve() } }
    try {
      return await openSegmentLog(machine.root, { world, storeId: fromHex(storeId), readOnly: true, follow: false, floors })
    } catch (error) {
      this.trace.say(`what ${machine.name} has left cannot be read yet: ${textOf(error)}`)
      return undefined
    }
  }

  /** A process may die while it is looked at, and answers nobody then. @returns whether it lived */
  async #unlessDead(process: Process, look: Promise<void>): Promise<boolean> {
    return (await Promise.race([look, process.death])) !== 'dead'
  }

  /** @param log  its own, or what it has left */
  async #readWriter(writer: Writer, log: CommitLog, head: number): Promise<void> {
    const { machine } = writer.process
    let place = this.places.get(machine)!
    const opened = !this.#looked.has(writer)
    if (opened) {
      this.epoch = Math.max(this.epoch, writer.epoch)
      // Behind a start the log may end before what was seen of it: the checkers say whether it may.
      let known: Place | undefined
      for (let lsn = Math.min(place.lsn, head); known === undefined && lsn >= Number(log.tail); lsn--)
        known = this.tree.at(await log.digestAt(BigInt(lsn) as Lsn))
      if (known === undefined) return this.fail('log', `${machine.name} opens with a log that nobody has ever written`)
      place = known
    } else if (head === place.lsn) return
    try {
      if (head > place.lsn)
        for await (const batch of log.read(BigInt(place.lsn) as never, { end: BigInt(head) as never })) place = this.tree.extend(place, batch)
    } catch (error) {
      return this.fail('log', `${machine.name}: ${textOf(error)}`)
    }
    this.#looked.add(writer)
    this.#writtenBy(writer).durable(place)
    this.#moved(machine, place, opened ? 'restart' : 'advance')
    if (opened) for (const checker of this.checkers) checker.opened?.(this, writer, place)
  }

  #observeFollower(follower: Follower): Promise<void> | undefined {
    const { log, process } = follower
    if (follower.state !== 'open' || log === undefined) return undefined
    const opened = !this.#looked.has(follower)
    if (!opened && follower.said === undefined && log.durableLsn === this.places.get(process.machine)!.lsn) return undefined
    return this.#lookAtFollower(follower, log, opened)
  }

  async #lookAtFollower(follower: Follower, log: FollowerLog, opened: boolean): Promise<void> {
    const { process } = follower
    const { machine } = process
    const lsn = log.durableLsn
    if (process.isAlive && (await this.#unlessDead(process, this.#readFollower(follower, log, lsn, opened)))) return
    const left = await this.#leftOf(machine, follower.replica!.status().storeId)
    // A base may have taken its place just before.
    if (left !== undefined && Number(left.head) >= lsn && Number(left.tail) <= lsn) {
      await this.#readFollower(follower, { durableLsn: lsn, current: left, digestAt: (at) => left.digestAt(BigInt(at) as Lsn) }, lsn, opened)
    }
    await left?.close()
  }

  async #readFollower(follower: Follower, log: Pick<FollowerLog, 'durableLsn' | 'current' | 'digestAt'>, lsn: number, opened: boolean): Promise<void> {
    const { machine } = follower.process
    const digest = await log.digestAt(lsn)
    let place = this.tree.at(digest) ?? this.#sentAs(digest)
    // A writer that died before it was looked at has left records here that nobody else has seen.
    if (opened && place === undefined) place = await this.#readOn(machine, log.current, lsn)
    // The next look sees it whole: it moved while it was asked, or its end is being cut off.
    if (log.durableLsn !== lsn || Number(log.current.head) < lsn) return
    if (place?.lsn !== lsn) return this.fail('log', `${machine.name} holds at LSN ${lsn} what no writer ever wrote`)
    this.#looked.add(follower)
    const isOther = !isBefore(this.places.get(machine)!, place)
    const move = opened ? 'restart' : (follower.said ?? (isOther ? follower.asked : undefined) ?? 'advance')
    follower.said = undefined
    this.#moved(machine, place, move)
    if (move !== 'advance') this.look(follower)
  }

  /** What a writer has sent, and was not seen to make durable. */
  #sentAs(digest: Uint8Array): Place | undefined {
    try {
      for (const written of this.#written.values()) written.enter(this.tree)
    } catch (error) {
      this.fail('log', textOf(error))
    }
    return this.tree.at(digest)
  }

  async #readOn(machine: Machine, log: CommitLog, lsn: number): Promise<Place | undefined> {
    try {
      let place = ancestor(this.places.get(machine)!, Math.max(Number(log.tail), 0))!
      for await (const batch of log.read(BigInt(place.lsn) as never, { end: BigInt(lsn) as never })) place = this.tree.extend(place, batch)
      return place
    } catch (error) {
      // Cut off meanwhile: whoever asked sees that by the head.
      if (!(error instanceof HistoryUnavailableError)) this.fail('log', `${machine.name}: ${textOf(error)}`)
      return undefined
    }
  }

  #moved(machine: Machine, place: Place, move: Move): void {
    const before = this.places.get(machine)!
    this.places.set(machine, place)
    if (move !== 'advance') {
      this.#moves.set(machine, this.#movesOf(machine) + 1)
      this.#replaced.set(machine, [...(move === 'restart' ? [] : (this.#replaced.get(machine) ?? [])), before])
    }
    for (const checker of this.checkers) checker.moved?.(this, machine, place, move, before)
  }

  /** Asks a node what it shows now; what it says is held against the reference when it is there. */
  look(node: Writer | Follower): void {
    const store = node.reader
    if (store === undefined) return
    const { machine } = node.process
    const moves = this.#movesOf(machine)
    rowsAt(store).then(
      (shown) => void (node.process.isAlive && this.#shown.push({ node, moves, ...shown })),
      (error: unknown) => {
        if (!node.process.isAlive || node.state !== 'open' || this.nodes.get(machine) !== node) return
        this.trace.say(`${machine.name} shows nothing: ${textOf(error)}`)
        if (this.rotten.get(machine)!.size === 0 && !node.process.hasFaults && node.reader === store)
          this.fail('shown', `${machine.name} cannot be read: ${textOf(error)}`)
      },
    )
  }

  #movesOf(machine: Machine): number {
    return this.#moves.get(machine) ?? 0
  }

  #settleLooks(): void {
    for (const { node, lsn, rows, moves } of this.#shown.splice(0)) {
      const { machine } = node.process
      const place = this.places.get(machine)!
      // Another history may have taken its place since.
      if (this.nodes.get(machine) !== node || moves !== this.#movesOf(machine) || place.lsn < lsn) continue
      const old = (this.#replaced.get(machine) ?? []).map((before) => ancestor(before, lsn))
      if (old.some((each) => each?.lsn === lsn && each.rows.every((value, key) => value === rows[key]))) continue
      const at = ancestor(place, lsn)
      if (at === undefined) return this.fail('log', `${machine.name} showed LSN ${lsn}, which its log does not hold`)
      for (const checker of this.checkers) checker.shown?.(this, machine, at, rows)
    }
  }
}

async function rowsAt(store: ReadStore): Promise<{ lsn: number; rows: Int32Array }> {
  const snapshot = await store.snapshot()
  try {
    const rows = new Int32Array(KEYS)
    for (const { k, v } of (await snapshot.scan(kv).toArray()) as { k: number; v: number }[]) rows[k] = v
    return { lsn: Number(snapshot.lsn), rows }
  } catch (error) {
    if (!(error instanceof TableNotFoundError) || (await store.tables()).length > 0) throw error
    return { lsn: Number(snapshot.lsn), rows: new Int32Array(KEYS) }
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}
