// The cluster of a run: machines, who writes, what they hold, the reference they are held against, and the checkers that watch.
//
// Invariant: nothing in here waits for a call of a process; calls are begun, time and turns pass, and what came of them is looked at between the events.

import type { Store } from '../../../bindings/index.ts'
import { seededRandom, soon, ULID_BYTES } from '../../../bindings/runtime/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { Dice } from '../durable/dice.ts'
import type { Checker, Move } from './checker.ts'
import { ancestor, HistoryTree, KEYS, type Place, type Write } from './history.ts'
import { Machine } from './machine.ts'
import type { Profile } from './profiles.ts'
import { Trace } from './trace.ts'
import { kv, Writer } from './writer.ts'

export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

export interface ClusterOptions {
  readonly seed: number
  readonly profile: Profile
  readonly checkers: readonly Checker[]
}

export class Cluster {
  readonly dice: Dice
  readonly profile: Profile
  readonly trace: Trace = new Trace()
  readonly clock: FakeClock = new FakeClock(undefined, { turns: 1 })
  readonly tree: HistoryTree = new HistoryTree()
  readonly machines: readonly Machine[]
  readonly mode: 'async' | 'quorum' | 'all'
  readonly checkers: readonly Checker[]
  /** Where each machine's log durably ended when it was looked at last. */
  readonly places: Map<Machine, Place> = new Map()
  /** The machine that is to write. */
  primary: Machine
  writer: Writer | undefined
  failure: InvariantError | undefined
  #looked: Writer | undefined
  readonly #shown: { machine: Machine; lsn: number; rows: Int32Array }[] = []
  readonly #ids: { bytes(n: number): Uint8Array }

  constructor(o: ClusterOptions) {
    this.dice = new Dice(o.seed)
    this.profile = o.profile
    this.checkers = o.checkers
    this.#ids = seededRandom(o.seed ^ 0x1d5)
    this.mode = this.dice.pick(['async', 'quorum', 'quorum', 'all'] as const)
    const count = 1 + 2 + this.dice.int(3)
    this.machines = Array.from({ length: count }, (_, i) => new Machine(`n${i}`, this.clock, new Dice(this.dice.seed())))
    this.primary = this.machines[0]!
    this.trace.say(`${count} machines, mode ${this.mode}`)
  }

  fail(checker: string, text: string): void {
    this.failure ??= new InvariantError(`${checker}: ${text}`)
  }

  nextId(): Uint8Array {
    return this.#ids.bytes(ULID_BYTES)
  }

  /** Turns of the event loop, with what is ready in them. */
  async breathe(turns: number): Promise<void> {
    for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => soon(resolve))
  }

  startWriter(): void {
    const process = this.primary.start()
    this.writer = new Writer(this, process)
    this.writer.start()
  }

  stop(machine: Machine, how: 'kill' | 'power'): void {
    this.trace.say(`${machine.name} ${how === 'kill' ? 'is killed' : 'loses power'}`)
    for (const checker of this.checkers) checker.stopped?.(this, machine, how)
    machine.stop(how)
    if (this.writer?.process.machine === machine) {
      this.writer = undefined
      for (const write of this.tree.writes.values()) if (write.told === 'waiting') write.told = 'unknown'
    }
  }

  acknowledged(write: Write): void {
    this.trace.say(`${write.id.slice(-6)} acked at ${write.lsn}`)
    for (const checker of this.checkers) checker.acknowledged?.(this, write)
  }

  /** Looks at what every process has made durable since, then lets every checker look. */
  async observe(): Promise<void> {
    for (const machine of this.machines) machine.isLookedAt = true
    await this.#observeWriter()
    for (const machine of this.machines) machine.isLookedAt = false
    this.#settleLooks()
    for (const checker of this.checkers) checker.event?.(this)
    if (this.failure !== undefined) throw this.failure
  }

  async #observeWriter(): Promise<void> {
    const { writer } = this
    if (writer?.state !== 'open') return
    const { machine } = writer.process
    const log = writer.log!
    const head = Number(log.head)
    let place = this.places.get(machine) ?? this.tree.root
    const opened = this.#looked !== writer
    if (opened) {
      this.#looked = writer
      // Behind a start the log may end before what was seen of it: the checkers say whether it may.
      const known = ancestor(place, Math.min(place.lsn, head))!
      if ((await this.#digestAt(log, known.lsn)) !== known) {
        return this.fail('log', `${machine.name} opens with another record at LSN ${known.lsn} than it had`)
      }
      place = known
    } else if (head === place.lsn) return
    try {
      if (head > place.lsn)
        for await (const batch of log.read(BigInt(place.lsn) as never, { end: BigInt(head) as never })) place = this.tree.extend(place, batch)
    } catch (error) {
      return this.fail('log', `${machine.name}: ${(error as Error).message}`)
    }
    this.moved(machine, place, opened ? 'restart' : 'advance')
    if (opened) for (const checker of this.checkers) checker.opened?.(this, machine, place)
  }

  moved(machine: Machine, place: Place, move: Move): void {
    this.places.set(machine, place)
    for (const checker of this.checkers) checker.moved?.(this, machine, place, move)
  }

  async #digestAt(log: NonNullable<Writer['log']>, lsn: number): Promise<Place | undefined> {
    return this.tree.at(await log.digestAt(BigInt(lsn) as never))
  }

  /** Asks the writer what it shows now; what it says is held against the reference when it is there. */
  look(): void {
    const { writer } = this
    if (writer?.state !== 'open') return
    const { process } = writer
    rowsAt(writer.store!).then(
      (shown) => void (process.isAlive && this.#shown.push({ machine: process.machine, ...shown })),
      (error: unknown) => this.trace.say(`${process.machine.name} shows nothing: ${String(error)}`),
    )
  }

  #settleLooks(): void {
    for (const { machine, lsn, rows } of this.#shown.splice(0)) {
      const place = this.places.get(machine)
      const at = place === undefined ? undefined : ancestor(place, lsn)
      if (at?.lsn !== lsn) return this.fail('log', `${machine.name} showed LSN ${lsn}, which its log does not hold`)
      for (const checker of this.checkers) checker.shown?.(this, machine, at, rows)
    }
  }
}

async function rowsAt(store: Store): Promise<{ lsn: number; rows: Int32Array }> {
  const snapshot = await store.snapshot()
  try {
    const rows = new Int32Array(KEYS)
    for (const { k, v } of (await snapshot.scan(kv).toArray()) as { k: number; v: number }[]) rows[k] = v
    return { lsn: Number(snapshot.lsn), rows }
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}
