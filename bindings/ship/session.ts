// ship/session.ts: one attempt to bring one replica up to date: its phase, its frozen range and how far it got. Owned by its Sender, which checks the fence.
//
// Invariants: target and start are set once (by the handshake, the source, or the one second catch-up); recoveredTo, transferredTo and replayedTo only grow
// and never pass the target they are for. Recording progress allocates nothing.

import {
  BaseIncompleteError,
  CompletionRejectedError,
  FrozenTargetError,
  NotReadyError,
  NoTailError,
  ProgressRegressionError,
  TruncationMismatchError,
  TruncationNotRequiredError,
} from '../errors-ship.ts'
import { budgetVerdict, CATCH_UP_BUDGET, REBUILD_BUDGET, resolveBudget, type Spent } from './budget.ts'
import type { RebuildDecision } from './rebuild-source.ts'
import { type Move, PATHS, phaseAfter, phaseError, sessionText } from './session-phase.ts'
import type { BudgetVerdict, CatchUpBudget, Fence, Handshake, SessionId, SessionKind, SessionPhase } from './types.ts'

export interface SessionOptions {
  /** What the recovery may spend; a limit that is not named has its default. */
  readonly budget?: Partial<CatchUpBudget>
  /** No limit at all, whatever the budget says: an operator wants this session to end by itself. Default false. */
  readonly bypass?: boolean
}

/** A frozen copy of a session. */
export interface SessionStatus {
  readonly id: SessionId
  readonly kind: SessionKind
  readonly phase: SessionPhase
  readonly fence: Fence
  readonly budget: CatchUpBudget
  readonly handshake: Handshake | null
  readonly start: number
  readonly target: number
  readonly truncateTo: number | null
  readonly truncated: boolean
  readonly recoveredTo: number
  readonly source: RebuildDecision | null
  readonly transferredTo: number
  readonly replayedTo: number
  /** Of the second catch-up of a rebuild. */
  readonly secondTarget: number | null
  readonly bytes: number
  readonly startedAt: number | null
  readonly lastProgressAt: number | null
}

const UNLIMITED: CatchUpBudget = Object.freeze({ maxDurationMs: 0, maxEntries: 0, maxBytes: 0, progressDeadlineMs: 0 })

export class Session {
  readonly id: SessionId
  readonly kind: SessionKind
  readonly fence: Fence
  #budget: CatchUpBudget
  readonly #bypass: boolean
  #phase: SessionPhase = 'init'
  #handshake: Handshake | null = null
  #start = 0
  #target = 0
  #truncateTo: number | null = null
  #truncated = false
  #recoveredTo = 0
  #source: RebuildDecision | null = null
  #transferredTo = 0
  #replayedTo = 0
  #secondTarget: number | null = null
  #bytes = 0
  /** Entries that are counted begin after it. */
  #countedFrom = 0
  #running = false
  #startedAt = 0
  /** In memory of its own: as a field it would be a number on the heap, made anew with each step. */
  readonly #lastProgressAt = new Float64Array(1)

  constructor(fence: Fence, kind: SessionKind, o: SessionOptions) {
    this.id = fence.sessionId
    this.fence = fence
    this.kind = kind
    this.#bypass = o.bypass === true
    this.#budget = resolveBudget(o.budget, this.rebuilds ? REBUILD_BUDGET : CATCH_UP_BUDGET)
    if (this.#bypass) this.#budget = UNLIMITED
  }

  get rebuilds(): boolean {
    return PATHS[this.kind] === 'rebuild'
  }

  get phase(): SessionPhase {
    return this.#phase
  }

  /** How far everything that was recorded goes. */
  get achieved(): number {
    return this.rebuilds ? Math.max(this.#transferredTo, this.#replayedTo) : this.#recoveredTo
  }

  /** @throws PhaseError; nothing changes */
  mayMove(move: Move): void {
    phaseAfter(this.#phase, move, this.fence.replicaId, this.id)
  }

  move(move: Move): void {
    this.#phase = phaseAfter(this.#phase, move, this.fence.replicaId, this.id)
  }

  /** @throws RangeError: a range that ends before it starts */
  handshaken(handshake: Handshake): void {
    const { start, target, truncateTo } = handshake
    if (!(target >= start)) throw new RangeError(`handshake range (${start}, ${target}] of session ${sessionText(this.id)}`)
    this.move('recordHandshake')
    this.#handshake = handshake
    if (this.rebuilds) return
    this.#start = start
    this.#target = target
    this.#truncateTo = truncateTo
    this.#recoveredTo = start
  }

  beginCatchUp(now: number): void {
    this.move('beginCatchUp')
    this.#run(this.#start, now)
  }

  progress(lsn: number, now: number): void {
    if (this.#phase !== 'catchup') throw this.#outOfPhase('recordProgress', 'catchup')
    this.#grows(lsn, this.#recoveredTo, this.#target)
    this.#recoveredTo = lsn
    this.#lastProgressAt[0] = now
  }

  truncated(lsn: number, now: number): void {
    if (this.#phase !== 'catchup' && this.#phase !== 'handshake') throw this.#outOfPhase('recordTruncation', 'catchup')
    const owed = this.#truncateTo
    if (owed === null || this.#truncated) throw new TruncationNotRequiredError(`session ${this.#text} owes no truncation`, this.#details({ lsn }))
    if (lsn !== owed) throw new TruncationMismatchError(`session ${this.#text} owes a truncation to ${owed}, not ${lsn}`, this.#details({ lsn, owed }))
    this.#truncated = true
    this.#lastProgressAt[0] = now
  }

  /** @throws PhaseError, CompletionRejectedError; nothing changes */
  completeCatchUp(): void {
    if (this.#truncateTo !== null && !this.#truncated) {
      throw new CompletionRejectedError(`session ${this.#text} still owes a truncation to ${this.#truncateTo}`, this.#details({ owed: this.#truncateTo }))
    }
    if (this.#recoveredTo < this.#target) {
      const at = { recoveredTo: this.#recoveredTo, target: this.#target }
      throw new CompletionRejectedError(`session ${this.#text} is at ${at.recoveredTo} of ${at.target}`, this.#details(at))
    }
    this.move('completeCatchUp')
  }

  selectSource(decision: RebuildDecision): void {
    if (this.#phase !== 'handshake' || this.#source !== null) throw this.#outOfPhase('selectSource', 'transfer')
    if (!(decision.target >= 0 && decision.baseLsn >= 0)) throw new RangeError(`a rebuild from ${decision.baseLsn} to ${decision.target}`)
    this.#source = Object.freeze({ ...decision })
    this.#target = decision.target
  }

  beginTransfer(now: number): void {
    if (this.#source === null) throw this.#outOfPhase('beginTransfer before selectSource', 'transfer')
    this.move('beginTransfer')
    this.#run(0, now)
  }

  /** Of the base, and after a full base of the second catch-up. */
  transfer(lsn: number, now: number): void {
    if (this.#phase !== 'transfer') throw this.#outOfPhase('recordTransfer', 'transfer')
    const limit = this.#source!.source === 'snapshot_tail' ? this.#source!.baseLsn : (this.#secondTarget ?? Infinity)
    this.#grows(lsn, this.#transferredTo, limit)
    this.#transferredTo = lsn
    this.#lastProgressAt[0] = now
  }

  beginTailReplay(now: number): void {
    this.mayMove('beginTailReplay')
    const { source, baseLsn } = this.#source!
    if (source === 'full_base') throw new NoTailError(`session ${this.#text} moves a full base`, this.#details({}))
    if (this.#transferredTo < baseLsn) {
      const at = { transferredTo: this.#transferredTo, baseLsn }
      throw new BaseIncompleteError(`session ${this.#text} has moved its base to ${at.transferredTo} of ${baseLsn}`, this.#details(at))
    }
    this.move('beginTailReplay')
    this.#replayedTo = baseLsn
    this.#lastProgressAt[0] = now
  }

  tail(lsn: number, now: number): void {
    if (this.#phase !== 'tail_replay') throw this.#outOfPhase('recordTail', 'tail_replay')
    this.#grows(lsn, this.#replayedTo, this.#secondTarget ?? this.#target)
    this.#replayedTo = lsn
    this.#lastProgressAt[0] = now
  }

  /** The records that were committed while the base moved: frozen once, counted anew, under a budget of its own. */
  beginSecondCatchUp(target: number, budget: Partial<CatchUpBudget> | undefined, now: number): void {
    this.#ready('beginSecondCatchUp')
    if (this.#secondTarget !== null) throw this.#outOfPhase('a second beginSecondCatchUp', 'completed')
    if (!(target >= this.achieved)) throw new RangeError(`a second catch-up from ${this.achieved} to ${target}`)
    this.#secondTarget = target
    if (!this.#bypass) this.#budget = resolveBudget(budget, CATCH_UP_BUDGET)
    this.#bytes = 0
    this.#run(this.achieved, now)
  }

  /** @throws PhaseError, NotReadyError; nothing changes */
  completeRebuild(): void {
    this.#ready('completeRebuild')
    const target = this.#secondTarget ?? this.#target
    if (this.achieved < target) throw this.#notReady(target)
    this.move('completeRebuild')
  }

  /** Bytes that went out; in a rebuild bytes that were verified, which are its progress. */
  addBytes(bytes: number, now: number): void {
    if (!this.#running) throw this.#outOfPhase('recordBytes', this.rebuilds ? 'transfer' : 'catchup')
    if (!(bytes >= 0)) throw new RangeError(`${bytes} bytes`)
    this.#bytes += bytes
    if (this.rebuilds && this.#secondTarget === null && bytes > 0) this.#lastProgressAt[0] = now
  }

  /** What is done there before it can be recorded (files are read and stored, a log is cut, a base is put together) is no standstill. */
  worked(now: number): boolean {
    if (!this.#running) return false
    this.#lastProgressAt[0] = now
    return true
  }

  verdict(now: number): BudgetVerdict {
    return this.#running ? budgetVerdict(this.#budget, this.#spent, now) : 'ok'
  }

  /** For people: what was spent of the budget. */
  spent(now: number): string {
    const { startedAt, lastProgressAt, entries, bytes } = this.#spent
    const { maxDurationMs, maxEntries, maxBytes, progressDeadlineMs } = this.#budget
    return `${now - startedAt} of ${maxDurationMs} ms, ${entries} of ${maxEntries} entries, ${bytes} of ${maxBytes} bytes, ${now - lastProgressAt} of ${progressDeadlineMs} ms without progress`
  }

  status(): SessionStatus {
    return Object.freeze({
      id: this.id,
      kind: this.kind,
      phase: this.#phase,
      fence: this.fence,
      budget: this.#budget,
      handshake: this.#handshake,
      start: this.#start,
      target: this.#target,
      truncateTo: this.#truncateTo,
      truncated: this.#truncated,
      recoveredTo: this.#recoveredTo,
      source: this.#source,
      transferredTo: this.#transferredTo,
      replayedTo: this.#replayedTo,
      secondTarget: this.#secondTarget,
      bytes: this.#bytes,
      startedAt: this.#running ? this.#startedAt : null,
      lastProgressAt: this.#running ? this.#lastProgressAt[0]! : null,
    })
  }

  get #spent(): Spent {
    const isBase = this.rebuilds && this.#secondTarget === null
    const entries = isBase ? Math.max(0, this.#replayedTo - this.#source!.baseLsn) : this.achieved - this.#countedFrom
    return { startedAt: this.#startedAt, lastProgressAt: this.#lastProgressAt[0]!, entries, bytes: this.#bytes }
  }

  get #text(): string {
    return `${sessionText(this.id)} of replica ${this.fence.replicaId}`
  }

  #run(countedFrom: number, now: number): void {
    this.#countedFrom = countedFrom
    this.#startedAt = now
    this.#lastProgressAt[0] = now
    this.#running = true
  }

  /** The planned work is done: the base, and the tail where there is one. */
  #ready(what: string): void {
    this.mayMove('completeRebuild')
    if (this.#source!.source === 'snapshot_tail' && this.#phase !== 'tail_replay') throw this.#notReady(this.#target, what)
    if (this.achieved < this.#target) throw this.#notReady(this.#target, what)
  }

  #notReady(target: number, what = 'completeRebuild'): NotReadyError {
    const at = { transferredTo: this.#transferredTo, replayedTo: this.#replayedTo, target }
    return new NotReadyError(`${what}: session ${this.#text} is at ${this.achieved} of ${target} in ${this.#phase}`, this.#details(at))
  }

  #grows(lsn: number, held: number, limit: number): void {
    if (!Number.isSafeInteger(lsn)) throw new RangeError(`${lsn} is not an LSN`)
    if (lsn <= held) throw new ProgressRegressionError(`session ${this.#text} is at ${held} already, not ${lsn}`, this.#details({ held, lsn }))
    if (lsn > limit) throw new FrozenTargetError(`session ${this.#text} ends at ${limit}, not ${lsn}`, this.#details({ limit, lsn }))
  }

  #outOfPhase(what: string, to: SessionPhase): Error {
    return phaseError(this.#phase, to, what, this.fence.replicaId, this.id)
  }

  #details(details: object): { details: object } {
    return { details: { ...details, replicaId: this.fence.replicaId, sessionId: this.id } }
  }
}
