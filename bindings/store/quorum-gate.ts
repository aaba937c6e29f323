// store/quorum-gate.ts: the gate of commits that wait for replicas: C, the mode that it is counted by, and who has waited too long.
//
// Loaded when a store ships, or its log names a mode other than async. C = what the acker counts, never above what is durable here, never down. A change of the mode
// is committed by the mode before it; a weaker one counts once C is durable in NODE, so that a later open does not ask the old mode about what was acknowledged by the
// new one. Records that an open found above C are folded (admission needs them) and hidden from readers until C has passed the last of them.
// Invariant: the committer is never told more than C, except while the open is under way; nothing is rejected that an acknowledgement of the same tick commits.

import { assert } from '../assert.ts'
import {
  type Acker,
  type AckOptions,
  type Attached,
  type CommitGate,
  type Committer,
  decodeRecord,
  KIND_AUDIT,
  KIND_EPOCH,
  KIND_MODE,
} from '../engine/index.ts'
import { AckModeWeakenedError, AckTimeoutError, AckUnavailableError } from '../errors-ship.ts'
import { PoisonedError } from '../errors.ts'
import { ACK_MODES, type AckMode, type ModeRecord } from '../format/index.ts'
import { type CommitLog, type Lsn, Wakeups } from '../log/index.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

/** Until shipping says otherwise. */
const TIMEOUT_MS = 5000
/** The primary and one more: all that is known while nobody ships. */
const NODES_MIN = 2

/** C in NODE. */
export interface CommittedStore {
  readonly committed: number
  /** Durable some time later. */
  noteCommitted(lsn: number): void
  /** Durable when it resolves. */
  update(patch: { readonly committedLsn: number }): Promise<void>
}

type Change = Pick<ModeRecord, 'mode' | 'before' | 'forced'> & { readonly lsn: number }

export interface GateStart {
  /** The mode that the next record is committed by. */
  readonly mode: AckMode
  /** LSN up to which another one may have counted; 0 where that cannot be. */
  readonly since: number
  readonly committed: number
  /** H. */
  readonly head: number
  /** Of the records above C. */
  readonly changes: readonly Change[]
  /** Until opened() is called records are folded as they become durable. */
  readonly isOpening: boolean
  /** No record above C changes what readers see. */
  readonly isPlain: boolean
}

interface Asker {
  readonly lsn: number
  /** undefined: as C counts. */
  readonly ack: AckMode | undefined
  readonly startedMs: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class QuorumGate implements CommitGate {
  private readonly committer: () => Committer
  private readonly world: World
  private readonly node: CommittedStore | undefined
  private readonly moves = new Wakeups()
  private counted: AckMode
  /** Records above it are committed by that mode, those up to it perhaps by a weaker one. */
  private since: number
  private readonly changes: Change[]
  private persisting: Promise<void> | undefined
  /** Of the change of the mode that is made, or was made last. */
  private turn = 0
  private c: number
  private local: number
  private openHead: number
  private isOpening: boolean
  private plain: boolean
  private isClosing = false
  /** Nobody will confirm any more. */
  private isOver = false
  private acker: Acker | undefined
  /** Enough nodes were within reach when a write was admitted, and nothing has changed since. */
  private hasEnough = false
  private askers: Asker[] = []
  private timer: TimerHandle | undefined

  /** @param committer  asked for first when a record is durable */
  constructor(committer: () => Committer, world: World, node: CommittedStore | undefined, start: GateStart) {
    this.committer = committer
    this.world = world
    this.node = node
    this.counted = start.mode
    this.since = start.since
    this.changes = [...start.changes]
    this.c = start.committed
    this.local = start.head
    this.openHead = start.head
    this.isOpening = start.isOpening
    this.plain = start.isPlain
  }

  /** C */
  get committed(): number {
    return this.c
  }

  /** What C is counted by; a change counts once it is committed. */
  get mode(): AckMode {
    return this.counted
  }

  /** What a record that is queued now waits for: the mode, and changes of it that come before the record. */
  private get wanted(): AckMode {
    return this.changes.reduce((most, { mode }) => (rank(mode) > rank(most) ? mode : most), this.counted)
  }

  /** H: the newest record that a power cut here leaves. */
  get durableHere(): number {
    return this.local
  }

  /** Records are folded that are not committed: readers see the state at C, which is another one. */
  get isFrozen(): boolean {
    return this.c < this.openHead
  }

  /** What is hidden changes nothing that readers see. */
  get isPlain(): boolean {
    return this.plain
  }

  /** The open is over: from here on nothing above C is folded. */
  opened(): void {
    this.isOpening = false
    this.changed()
  }

  attach(acker: Acker): Attached {
    assert(this.acker === undefined, 'one shipping counts acknowledgements at a time')
    this.acker = acker
    this.isOver = false
    this.hasEnough = false
    acker.durable(this.local)
    this.changed()
    return {
      changed: () => {
        if (this.acker === acker) this.changed()
      },
      [Symbol.dispose]: () => {
        if (this.acker !== acker) return
        this.acker = undefined
        this.hasEnough = false
        if (this.isClosing) this.giveUp()
      },
    }
  }

  // of the committer

  durable(last: number): void {
    this.local = last
    if (this.isOpening) {
      this.openHead = last
      this.plain = false
      this.committer().durable(last)
      return
    }
    this.acker?.durable(last)
    this.advance()
  }

  admit(o: AckOptions | undefined): void {
    if (this.isOpening || (o === undefined && this.hasEnough)) return
    const { acker, wanted: mode } = this
    const asked = o?.ack ?? mode
    if (rank(asked) < rank(mode)) {
      throw new AckModeWeakenedError(`a write that asks for ${JSON.stringify(asked)} in a store of mode ${JSON.stringify(mode)}`, {
        details: { asked, mode },
      })
    }
    if (asked === 'async') return
    const neededNodes = acker?.neededNodes(asked) ?? NODES_MIN
    const reachable = acker?.reachable ?? 1
    if (reachable >= neededNodes) {
      if (asked === mode) this.hasEnough = true
      return
    }
    if (o?.allowIndeterminate === true || acker?.allowIndeterminate === true) return
    const why = acker === undefined ? 'the store does not ship' : `${reachable} of them can be reached`
    throw new AckUnavailableError(`mode ${JSON.stringify(asked)} needs ${neededNodes} nodes, and ${why}: nothing was written`, {
      details: { reachable, neededNodes },
      hint: acker === undefined ? 'Ship it: ship(store, { replicas }).' : 'Wait until enough replicas follow: shipping.settled({ replicas }).',
    })
  }

  waiting(): void {
    if (this.isStrict && !this.isOpening) this.arm(this.timeoutMs)
  }

  /** Records wait for more than this node. */
  private get isStrict(): boolean {
    return this.counted !== 'async' || this.changes.length > 0
  }

  queued(lsn: number, { mode, before, forced }: ModeRecord): void {
    this.changes.push({ lsn, mode, before, forced })
    this.hasEnough = false
  }

  takeBack(first: number): void {
    while (this.changes.length > 0 && this.changes.at(-1)!.lsn >= first) this.changes.pop()
  }

  reached(lsn: number): Promise<void> | undefined {
    // What an open did not find is folded once it is committed.
    return this.isOpening || lsn <= this.c || lsn > this.openHead ? undefined : this.asked(lsn, undefined)
  }

  settled(): Promise<void> | undefined {
    return this.reached(this.openHead)
  }

  // of the store

  /** A committed write that asked for more than C needs: resolves when it has that. @throws AckTimeoutError */
  confirmed(lsn: number, ack: AckMode, startedMs: number): Promise<void> {
    return this.asked(lsn, ack, startedMs)
  }

  /** Resolves when no change of the mode is under way. @throws AckTimeoutError */
  async steady(): Promise<void> {
    while (this.changes.length > 0 || this.persisting !== undefined) {
      if (this.changes.length > 0) await this.asked(this.changes[0]!.lsn, undefined)
      await this.persisting
    }
  }

  /** @throws QuorumTooSmallError where the nodes that there are do not make one */
  check(mode: AckMode): void {
    this.acker?.neededNodes(mode)
  }

  /** Resolves when C has moved. */
  moved(signal: AbortSignal): Promise<void> {
    return this.moves.wait(signal)
  }

  /** The store closes: what can still be confirmed is waited for, as long as any write waits. */
  close(): void {
    this.isClosing = true
    if (this.acker === undefined || this.acker.reachable < this.neededNow(this.counted)) this.giveUp()
  }

  /** Nobody will confirm any more: who waits is told so. */
  giveUp(): void {
    this.isOver = true
    this.expire(Number.POSITIVE_INFINITY)
  }

  private changed(): void {
    if (this.isOpening) return
    try {
      this.advance()
    } catch (cause) {
      this.committer().fail(new PoisonedError(`the fold of LSN ${this.c} failed`, { details: { lsn: BigInt(this.c) }, cause }))
    }
  }

  private advance(): void {
    this.hasEnough = false
    const c = this.count()
    if (c > this.c) {
      this.c = c
      if (this.counted !== 'async') this.node?.noteCommitted(c)
      // Up to what the open found the fold is there already.
      if (c > this.openHead) this.committer().durable(c)
      this.moves.wake()
      this.acker?.committed?.(c)
    }
    if (this.askers.length > 0) this.answer()
  }

  /** What is committed now; changes of the mode up to there are made. */
  private count(): number {
    const forced = this.changes.findLastIndex((change) => change.forced && change.lsn <= this.local)
    let c = this.c
    if (forced >= 0) {
      const [change] = this.changes.splice(0, forced + 1).slice(-1)
      c = Math.max(c, change!.lsn)
      if (rank(change!.mode) < rank(this.counted)) this.make(change!)
      else {
        // What comes behind it is committed by it.
        this.turn++
        this.countBy(change!)
      }
    }
    for (;;) {
      const next = this.changes[0]
      const limit = next === undefined || this.persisting !== undefined ? this.local : Math.min(this.local, next.lsn)
      c = Math.max(c, this.counted === 'async' ? limit : Math.min(limit, this.acker?.committedIn(this.counted) ?? 0))
      if (next === undefined || c < next.lsn || this.persisting !== undefined) return c
      if (rank(next.mode) >= rank(this.counted) || this.node === undefined) {
        this.changes.shift()
        this.countBy(next)
      } else this.make(next)
    }
  }

  /** A weaker mode: counts once NODE says that its record is committed. */
  private make(change: Change): void {
    const turn = ++this.turn
    const done = (): void => {
      // A forced one has taken its place.
      if (turn !== this.turn) return
      if (this.changes[0] === change) this.changes.shift()
      this.countBy(change)
    }
    if (this.node === undefined) return done()
    const persisting = this.node
      .update({ committedLsn: change.lsn })
      .then(done, (cause: unknown) => this.committer().fail(new PoisonedError('NODE cannot be written', { details: { lsn: BigInt(change.lsn) }, cause })))
      .finally(() => {
        // A forced one may have begun behind it.
        if (this.persisting === persisting) this.persisting = undefined
        this.changed()
      })
    this.persisting = persisting
  }

  private countBy({ mode, lsn }: Change): void {
    this.counted = mode
    this.since = lsn
  }

  private asked(lsn: number, ack: AckMode | undefined, startedMs: number = this.world.clock.monoMs()): Promise<void> {
    return new Promise((resolve, reject) => {
      this.askers.push({ lsn, ack, startedMs, resolve, reject })
      this.answer()
      if (this.askers.length === 0) return
      this.arm(this.timeoutMs)
    })
  }

  private answer(): void {
    this.askers = this.askers.filter(({ lsn, ack, resolve }) => {
      const reached = this.isByC(lsn, ack) ? this.c : (this.acker?.committedIn(ack!) ?? 0)
      if (reached >= lsn) resolve()
      return reached < lsn
    })
  }

  /** C says of the record what was asked: a mode as strong counted it. A change to a stronger mode passes what came before it by the weaker one. */
  private isByC(lsn: number, ack: AckMode | undefined): boolean {
    return ack === undefined || ack === 'async' || (rank(ack) <= rank(this.counted) && lsn > this.since)
  }

  // time

  private get timeoutMs(): number {
    return this.acker?.ackTimeoutMs ?? TIMEOUT_MS
  }

  /** Ends with the first who waits; one that is set stays. */
  private arm(ms: number): void {
    if (this.isOver) return queueMicrotask(() => this.expire(Number.POSITIVE_INFINITY))
    if (this.timer !== undefined) return
    // Longer than the bound, not as long.
    this.timer = this.world.timers.set(Math.max(0, ms) + 1, () => {
      // An acknowledgement of the same tick wins.
      queueMicrotask(() => {
        this.timer = undefined
        this.changed()
        this.expire(this.world.clock.monoMs() - this.timeoutMs - 1)
      })
    })
  }

  private expire(beforeMs: number): void {
    let next = !this.isStrict ? undefined : this.committer().expire(beforeMs, (lsn) => this.timedOut(lsn, this.counted))
    const late = this.askers.filter(({ startedMs }) => startedMs <= beforeMs)
    this.askers = this.askers.filter(({ startedMs }) => startedMs > beforeMs)
    for (const { lsn, ack, reject } of late) reject(this.timedOut(lsn, ack ?? this.counted))
    for (const { startedMs } of this.askers) if (next === undefined || startedMs < next) next = startedMs
    if (next !== undefined) this.arm(next + this.timeoutMs - this.world.clock.monoMs())
  }

  private timedOut(lsn: number, mode: AckMode): AckTimeoutError {
    const durableNodes = this.acker?.durableNodes(lsn) ?? (lsn <= this.local ? 1 : 0)
    const neededNodes = this.neededNow(mode)
    const where = `is durable on ${durableNodes} of ${neededNodes} nodes that mode ${JSON.stringify(mode)} needs`
    return new AckTimeoutError(`LSN ${lsn} ${where}; it stays in the log and may yet be committed`, {
      details: { lsn: BigInt(lsn), durableNodes, neededNodes },
    })
  }

  /** Also where the nodes no longer make a quorum. */
  private neededNow(mode: AckMode): number {
    try {
      return this.acker?.neededNodes(mode) ?? NODES_MIN
    } catch {
      return NODES_MIN
    }
  }
}

function rank(mode: AckMode): number {
  return ACK_MODES.indexOf(mode)
}

/** Records that change nothing that readers see. */
const PLAIN: ReadonlySet<number> = new Set([KIND_EPOCH, KIND_MODE, KIND_AUDIT])

/** What the records above `from` are. */
export async function recordsAbove(log: CommitLog, from: number): Promise<Pick<GateStart, 'changes' | 'isPlain'>> {
  const changes: Change[] = []
  let isPlain = true
  for await (const batch of log.read(BigInt(from) as Lsn)) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn)
      if (record.kind === KIND_MODE) changes.push({ lsn, ...record.mode })
      if (!PLAIN.has(record.kind)) isPlain = false
      lsn++
    }
  }
  return { changes, isPlain }
}
