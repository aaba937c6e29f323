// store/acknowledging.ts: what of a store is committed, and what readers see of it (docs/shipping.md "Acknowledgement and promotion").
//
// Without a gate everything durable is committed and the live state is what readers see. The gate is loaded when the log names a mode other than async, when the store
// ships, and when a single write asks for replicas. Invariant: no reader, feed or position of a handle is above C; readUncommitted alone is.

import { assert } from '../assert.ts'
import { type Acker, type Attached, type BranchViews, type Committer, type FeedLog, ReadPoint, type StateView, type StoreState } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { ACK_MODES, type AckMode } from '../format/index.ts'
import { type CommitLog, type LogBatch, type Lsn, readNode } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import { FP, lazily, Mutex, type World } from '../runtime/index.ts'
import type { AckWriteOptions, CommitResult } from '../table/index.ts'
import type { History } from './at.ts'
import type { PinHandle, Pins } from './pins.ts'
import type { CommittedStore, GateStart, QuorumGate } from './quorum-gate.ts'

/** Between two looks of a feed beside a writer whose commits wait for replicas. */
const FOLLOW_MS = 10

const gates = /* #__PURE__ */ lazily(() => import('./quorum-gate.ts'))

export interface AcknowledgingParts {
  readonly root: Root
  readonly log: CommitLog
  readonly state: StoreState
  readonly world: World
  readonly branches: BranchViews
  readonly history: History
  readonly readOnly: boolean
  /** LSN of the checkpoint that the open started from: no checkpoint is above C. */
  readonly checkpointLsn: number
}

export class Acknowledging {
  private readonly parts: AcknowledgingParts
  private gate: QuorumGate | undefined
  private committer: Committer | undefined
  /** Of the mode, one after the other. */
  private readonly changes = new Mutex()
  private readonly behind = new WeakMap<StateView, StateView>()

  constructor(parts: AcknowledgingParts) {
    this.parts = parts
  }

  /** After the fold: the log may say that what is above C in NODE waits for replicas. */
  async open(): Promise<void> {
    const { log, root, state, checkpointLsn } = this.parts
    const { ack, committedFloor } = state.catalog
    const { mode, lsn } = ack
    if (lsn === 0) return
    const committed = Math.min(state.applied, Math.max(this.node?.committed ?? (await readNode(root))?.committedLsn ?? 0, checkpointLsn, committedFloor))
    if (mode === 'async' && lsn <= committed) return
    const { recordsAbove } = await gates()
    const above = await recordsAbove(log, committed)
    const [next] = above.changes
    const start = next === undefined ? { mode, since: lsn } : { mode: next.before, since: committed }
    await this.load({ ...start, committed, head: state.applied, isOpening: true, ...above })
  }

  /** From here on records are queued. */
  bind(committer: Committer): void {
    this.committer = committer
    committer.gate = this.gate
  }

  /** The open is over. */
  opened(): void {
    this.gate?.opened()
  }

  /** The gate is in place when it resolves; undefined: it is. */
  ready(): Promise<void> | undefined {
    return this.gate === undefined ? this.load(undefined).then(() => undefined) : undefined
  }

  /** Before anything of a write is prepared. @throws AckUnavailableError, AckModeWeakenedError */
  admit(o: AckWriteOptions | undefined): void {
    this.gate?.admit(o)
  }

  /** A write that asked for more than its mode has that, too, when it resolves. @throws (the promise) AckTimeoutError */
  async confirmed(o: AckWriteOptions, written: Promise<CommitResult>): Promise<CommitResult> {
    const startedMs = this.parts.world.clock.monoMs()
    const result = await written
    if (o.ack !== undefined) await this.gate!.confirmed(Number(result.lsn), o.ack, startedMs)
    return result
  }

  /** The mode of the log. */
  get mode(): AckMode {
    return this.gate?.mode ?? this.parts.state.catalog.ack.mode
  }

  /** C: the newest version that readers see. */
  get committed(): number {
    return this.gate?.isFrozen === true ? this.gate.committed : this.parts.state.applied
  }

  /** The live state is ahead of what is committed: no checkpoint may be made of it. */
  get isFrozen(): boolean {
    return this.gate?.isFrozen === true
  }

  /** A branch as readers see it. @throws (the promise) StaleBranchError */
  view(branch: number): StateView | Promise<StateView> {
    const { branches, history } = this.parts
    if (!this.isFrozen) return branches.view(branch)
    if (!this.gate!.isPlain) return history.state({ branch, lsn: this.committed })
    const view = branches.view(branch)
    return view instanceof Promise ? view.then((made) => this.atC(made)) : this.atC(view)
  }

  /** As view(), of main and with everything that the fold knows. */
  state(): StoreState | Promise<StoreState> {
    const { history, state } = this.parts
    if (!this.isFrozen) return state
    return this.gate!.isPlain ? this.atC(state) : history.state({ branch: state.branch, lsn: this.committed })
  }

  /** A live view that is ahead by records which change nothing: the same, at C. */
  private atC<T extends StateView>(view: T): T {
    let at = this.behind.get(view) as T | undefined
    if (at?.applied !== this.committed) {
      at = Object.create(view, { applied: { value: this.committed } }) as T
      this.behind.set(view, at)
    }
    return at
  }

  /** The newest version that is durable here, committed or not, held for a reader from before the first look at it. */
  async uncommitted(branch: number, pins: Pins): Promise<{ readonly point: ReadPoint; readonly pin: Promise<PinHandle> } | undefined> {
    for (;;) {
      const lsn = this.durableHere
      if (lsn <= this.committed) return undefined
      const hold = pins.uncommitted({ branch, lsn })
      try {
        const point = new ReadPoint(await this.parts.history.state({ branch, lsn }), lsn)
        // Of a replica: cut back while it was read, it may be that of less, or of records that others have replaced.
        if (hold.stands) return { point, pin: pins.holdEverywhere(point, 'reader') }
      } catch (error) {
        // Likewise. Then what is left of it.
        if (hold.stands) throw error
      } finally {
        hold.release()
      }
    }
  }

  private get durableHere(): number {
    return this.gate?.durableHere ?? Number(this.parts.log.durableHead)
  }

  /** The log up to C. */
  readonly feedLog: FeedLog = {
    read: (start, o) => this.read(start, o),
    tailing: (start, o) => this.tailing(start, o),
  }

  private read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncIterable<LogBatch> {
    const head = BigInt(this.committed) as Lsn
    return this.parts.log.read(start, { ...o, end: o.end === undefined || o.end > head ? head : o.end })
  }

  private async *tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    const { log, readOnly, state, world } = this.parts
    let at = start
    while (readOnly && state.catalog.ack.lsn > 0) {
      for await (const batch of this.read(at, o)) {
        yield batch
        at = batch.last
      }
      await world.timers.sleep(FOLLOW_MS, o.signal)
    }
    while (this.gate === undefined || log.shared) {
      for await (const batch of log.tailing(at, o)) {
        // Loaded meanwhile: what waits behind this batch may not be committed.
        if (!log.shared && this.gate !== undefined && batch.last > BigInt(this.committed)) break
        yield batch
        at = batch.last
        if (!log.shared && this.gate !== undefined) break
      }
    }
    for (;;) {
      o.signal.throwIfAborted()
      while (Number(at) < this.committed) {
        for await (const batch of this.read(at, o)) {
          yield batch
          at = batch.last
        }
      }
      if (Number(at) >= this.committed) await this.gate.moved(o.signal)
    }
  }

  /** Resolves when C has reached it; without a gate it returns false, and the caller looks again. */
  async reach(lsn: number, signal: AbortSignal): Promise<boolean> {
    const { gate } = this
    if (gate === undefined || this.parts.log.shared) return false
    while (gate.committed < lsn) await gate.moved(signal)
    return true
  }

  /** @throws InvalidConfigError; QuorumTooSmallError; AckUnavailableError, AckTimeoutError: by the mode so far */
  async setMode(mode: AckMode, o: { readonly force?: boolean } = {}): Promise<void> {
    const { log } = this.parts
    const { force = false } = o
    if (!ACK_MODES.includes(mode)) throw new InvalidConfigError(`no acknowledgement mode ${JSON.stringify(mode)}`, { details: { key: 'mode', value: mode } })
    if (log.shared && mode !== 'async') {
      throw new InvalidConfigError(`a shared log has the mode async: who writes ${JSON.stringify(mode)} would wait for replicas of one writer among many`, {
        details: { key: 'mode', value: mode },
      })
    }
    // One that is forced does not wait for one that cannot be confirmed.
    await (force ? this.change(mode, true) : this.changes.run(() => this.change(mode, false)))
  }

  private async change(mode: AckMode, force: boolean): Promise<void> {
    const { world } = this.parts
    const gate = await this.load(undefined)
    if (!force) await gate.steady()
    if (gate.mode === mode) return await gate.steady()
    gate.check(mode)
    if (world.failpoints.active) await world.failpoints.hit(FP.ship.modeRecord, { mode })
    await this.committer!.mode({ mode, before: gate.mode, forced: force }, gate)
    await gate.steady()
  }

  /** From here on `acker` says what is committed, as far as the mode asks it. */
  async attach(acker: Acker): Promise<Attached> {
    return (await this.load(undefined)).attach(acker)
  }

  /** The store closes. */
  close(): void {
    this.gate?.close()
  }

  /** As close(); nothing is waited for. */
  giveUp(): void {
    this.gate?.giveUp()
  }

  private get node(): CommittedStore | undefined {
    return (this.parts.log as { readonly node?: CommittedStore }).node
  }

  private async load(start: GateStart | undefined): Promise<QuorumGate> {
    const { QuorumGate: Gate } = await gates()
    if (this.gate !== undefined) return this.gate
    const { state, world } = this.parts
    const now: GateStart = start ?? { mode: 'async', since: 0, committed: state.applied, head: state.applied, changes: [], isOpening: false, isPlain: true }
    const bound = (): Committer => {
      assert(this.committer !== undefined, 'a store that takes acknowledgements writes')
      return this.committer
    }
    this.gate = new Gate(bound, world, this.node, now)
    if (this.committer !== undefined) this.committer.gate = this.gate
    return this.gate
  }
}
