// ship/sender.ts: the primary's mind about one replica: its state, its one session or its one live stream, and the fence in front of both.
//
// ValidMutation <=> not stopped, a session is active, and session id, epoch and endpoint version are the current ones; everything else is refused and changes
// nothing. Invariants: never a session beside a stream; in_sync only by a completed session; what ends is ended first, then whatever follows begins. The state
// itself is Standing's, the attempt Session's. Synchronous, no I/O; the time is handed in.

import { assert } from '../assert.ts'
import { FencedError, InvalidConfigError } from '../errors.ts'
import { EpochMismatchError, RebuildRequiredError, SenderStoppedError, SessionActiveError, SessionFencedError, WrongSessionKindError } from '../errors-ship.ts'
import { classify, type ClassifyOptions, refuseHello } from './classify.ts'
import { checkedEndpoint, isNewerEndpoint } from './endpoint.ts'
import type { RebuildDecision } from './rebuild-source.ts'
import type { RecoveryEventName } from './recovery-log.ts'
import { type EndReason, ENDINGS, PATHS, sessionText, STREAM_ENDINGS } from './session-phase.ts'
import { checkedEpoch, type LiveStream, type SenderChange, type SenderStatus, type ShipContext } from './sender-nouns.ts'
import { Session, type SessionOptions, type SessionStatus } from './session.ts'
import { Standing } from './standing.ts'
import type {
  Agreement,
  BudgetVerdict,
  CatchUpBudget,
  Endpoint,
  Fence,
  Handshake,
  Hello,
  ReplicaAssignment,
  ReplicaId,
  ReplicaState,
  RetainedHistory,
  SessionId,
  SessionKind,
  StreamGrant,
} from './types.ts'

const END_STATES: ReadonlySet<ReplicaState> = new Set<ReplicaState>(['disconnected', 'degraded', 'needs_rebuild', 'halted'])
export class Sender {
  readonly #context: ShipContext
  readonly #onFenced: (seen: number, by: ReplicaId) => void
  readonly #standing: Standing
  readonly #id: ReplicaId
  #role: ReplicaAssignment['role']
  #endpoint: Endpoint
  #epoch: number
  /** Highest epoch of another primary that was met; 0 = none. */
  #fencedBy = 0
  #fencedBelow = 0
  #session: Session | null = null
  #grant: StreamGrant | null = null
  #stream: LiveStream | null = null
  #durableLsn = 0
  #committedLsn = 0

  /** @param onFenced told when this replica shows a newer epoch; a registry fences all of its senders. Default: this one alone */
  constructor(context: ShipContext, replica: ReplicaAssignment, epoch: number, onFenced?: (seen: number, by: ReplicaId) => void) {
    this.#context = context
    this.#id = replica.id
    this.#standing = new Standing(replica.id, context.log)
    this.#role = replica.role
    this.#endpoint = checkedEndpoint(replica.endpoint)
    this.#epoch = checkedEpoch(epoch)
    this.#onFenced = onFenced ?? ((seen, by) => this.fence(seen, by))
  }

  get id(): ReplicaId {
    return this.#id
  }
  get role(): ReplicaAssignment['role'] {
    return this.#role
  }
  get state(): ReplicaState {
    return this.#standing.state
  }
  get epoch(): number {
    return this.#epoch
  }
  get endpoint(): Endpoint {
    return this.#endpoint
  }

  status(): SenderStatus {
    return Object.freeze({
      replicaId: this.#id,
      role: this.#role,
      state: this.#standing.state,
      reason: this.#standing.reason,
      epoch: this.#epoch,
      endpoint: this.#endpoint,
      session: this.session(),
      streaming: this.#stream !== null,
      durableLsn: this.#durableLsn,
      committedLsn: this.#committedLsn,
    })
  }

  /** The active session. */
  session(): SessionStatus | null {
    return this.#session?.status() ?? null
  }

  /** Hears every change of state and every end of a session that was not completed, after it. One that throws is dropped. @returns what ends the subscription */
  subscribe(fn: (change: SenderChange) => void): () => void {
    return this.#standing.subscribe(fn)
  }

  // Identity

  /** @returns whether a session or stream ended by it; the same or a lower epoch changes nothing */
  updateEpoch(epoch: number): boolean {
    this.#mustRun()
    if (checkedEpoch(epoch) <= this.#epoch) return false
    const reason = `epoch_advanced:${this.#epoch}->${epoch}`
    this.#epoch = epoch
    return this.#disconnect(reason)
  }

  /** @returns whether it changed. @throws StaleEndpointError, InvalidEndpointError; nothing changed */
  updateEndpoint(endpoint: Endpoint): boolean {
    this.#mustRun()
    const next = checkedEndpoint(endpoint)
    if (!isNewerEndpoint(this.#id, this.#endpoint, next)) return false
    const held = this.#endpoint
    this.#endpoint = next
    this.#log('endpoint_changed', null, `${held.data} version ${held.version} -> ${next.data} version ${next.version}`, { held, next })
    this.#disconnect('endpoint_changed')
    return true
  }

  /** @returns whether it changed; a session goes on */
  updateRole(role: ReplicaAssignment['role']): boolean {
    this.#mustRun()
    const changed = role !== this.#role
    this.#role = role
    return changed
  }

  /** For good. */
  stop(): void {
    if (this.#standing.state === 'stopped') return
    this.#close('sender_stopped')
    this.#standing.enter('stopped', 'sender_stopped')
  }

  /** A primary of a newer epoch exists, or nodes wait for a decision (Registry.fence): nothing is shipped below it any more. */
  fence(seen: number, by: ReplicaId, below: number = seen): void {
    if (this.#standing.state === 'stopped' || below <= this.#fencedBelow || below <= this.#epoch) return
    this.#fencedBy = seen
    this.#fencedBelow = below
    const why = seen > this.#epoch ? 'was seen at' : 'is that of a fence which waits for a decision at'
    this.#log('fenced', this.#session?.id ?? null, `epoch ${seen} ${why} replica ${by}, this primary is at ${this.#epoch}`, {
      seen,
      held: this.#epoch,
      by,
    })
    this.#disconnect('fenced')
  }

  // Sessions

  /** @throws SenderStoppedError, EpochMismatchError, FencedError, SessionActiveError, RebuildRequiredError */
  attach(epoch: number, kind: SessionKind, o: SessionOptions = {}): SessionId {
    this.#mustRun()
    if (epoch !== this.#epoch) {
      const details = { held: this.#epoch, seen: epoch, replicaId: this.#id }
      throw new EpochMismatchError(`a session at epoch ${epoch}, the sender of replica ${this.#id} is at ${this.#epoch}`, { details })
    }
    if (this.#session !== null) {
      throw new SessionActiveError(`session ${sessionText(this.#session.id)} of replica ${this.#id} is active`, this.#details(this.#session.id))
    }
    this.#mayAttach(kind)
    const session = this.#make(kind, o)
    const wasInSync = this.#standing.state === 'in_sync'
    this.#closeStream('session_attached')
    this.#install(session)
    if (wasInSync) this.#standing.enter('disconnected', 'session_attached')
    return session.id
  }

  /** Ends what is there, session or stream, for `reason`, and attaches. @throws as attach; nothing changed */
  supersede(kind: SessionKind, reason: string, o: SessionOptions = {}): SessionId {
    this.#mustRun()
    this.#mayAttach(kind)
    const old = this.#session
    // Made first: a budget that is refused must not cost the old session.
    const next = this.#make(kind, o)
    if (old !== null) this.#endSession(old, 'session_superseded', reason, reason)
    this.#closeStream(reason)
    this.#install(next)
    this.#standing.enter('disconnected', reason)
    return next.id
  }

  /** @returns false when that is not the active session: nothing changed */
  invalidate(id: SessionId, reason: string, to: ReplicaState): boolean {
    if (!END_STATES.has(to)) throw new RangeError(`a session that is invalidated leaves nobody ${to}`)
    const session = this.#session
    if (session === null || !isSame(session.id, id)) return false
    this.#endSession(session, 'session_invalidated', reason, reason)
    this.#standing.enter(to, reason)
    return true
  }

  /** Ends the session as the table ENDINGS has it for that reason. @returns false when it is not the active session */
  fail(id: SessionId, reason: EndReason, detail: string = reason): boolean {
    const session = this.#session
    if (session === null || !isSame(session.id, id)) return false
    const ending = ENDINGS[reason]
    const to = (session.rebuilds ? ending.rebuild : ending.catchup) ?? (session.phase === 'init' ? undefined : 'disconnected')
    if (ending.event !== undefined) this.#log(ending.event, session.id, detail, { reason })
    this.#endSession(session, ending.outside === true ? 'session_invalidated' : 'session_failed', reason, detail)
    if (to === undefined) this.#standing.stay()
    else this.#standing.enter(to, reason, detail)
    return true
  }

  /** @throws SessionFencedError, SenderStoppedError unless this is the fence of the active session */
  checkFence(fence: Fence): void {
    const session = this.#active(fence.sessionId)
    if (fence.replicaId !== this.#id || fence.epoch !== this.#epoch || fence.endpointVersion !== this.#endpoint.version) throw this.#fenced(session.id)
  }

  /** The transport to the replica is up. */
  beginConnect(id: SessionId): void {
    const session = this.#active(id)
    session.move('beginConnect')
    this.#log('connected', id, this.#endpoint.data, { endpoint: this.#endpoint })
    this.#standing.enter('connecting', 'connected')
  }

  /** Refuses a replica that must not be classified, with all that follows. @throws FencedError, StoreMismatchError, ReplicaMismatchError, ProtocolVersionError */
  checkHello(id: SessionId, hello: Hello): void {
    const session = this.#active(id)
    session.mayMove('recordHandshake')
    const refusal = refuseHello(hello, { replicaId: this.#id, storeId: this.#context.storeId, epoch: this.#epoch })
    if (refusal === undefined) return
    const { reason, error } = refusal
    if (reason === 'fenced') {
      this.#log('handshake_failed', id, error.message, { reason })
      this.#onFenced(hello.epochSeen, this.#id)
    } else {
      this.fail(id, reason, error.message)
    }
    throw error
  }

  /**
   * Classifies and takes the session on, or ends it (needs_rebuild, halt: see the outcome).
   *
   * A session of kind rebuild goes on at every outcome but halt; and at a halt too that an operator has cleared, where the rebuild keeps what was promised.
   * @throws what checkHello and classify throw
   */
  recordHandshake(id: SessionId, hello: Hello, history: RetainedHistory | null, agreement: Agreement | null, o: ClassifyOptions = {}): Handshake {
    const session = this.#active(id)
    this.checkHello(id, hello)
    const handshake = classify(hello, history, agreement, o)
    const { outcome, reason, proof } = handshake
    this.#durableLsn = hello.durableLsn
    this.#committedLsn = hello.committedLsn
    this.#log('handshake', id, `${outcome}: ${reason} (${proof.detail})`, { ...proof, outcome })
    const overruled = outcome === 'halt' && session.rebuilds && this.#standing.isOverruled(reason)
    if (outcome === 'halt' && !overruled) {
      this.#endSession(session, 'session_failed', reason, proof.detail)
      this.#standing.enter('halted', reason, proof.detail)
    } else if (outcome === 'needs_rebuild' && !session.rebuilds) {
      this.#log('escalated', id, `${reason}: ${proof.detail}`, { reason })
      this.#endSession(session, 'session_failed', reason, proof.detail)
      this.#standing.enter('needs_rebuild', reason)
    } else {
      session.handshaken(handshake)
    }
    return handshake
  }

  // Catch-up

  beginCatchUp(id: SessionId): void {
    this.#catchUp(id).beginCatchUp(this.#context.clock.monoMs())
    this.#standing.enter('catching_up', 'catch_up')
  }

  /** `lsn` is durable there. @throws ProgressRegressionError, FrozenTargetError, PhaseError, SessionFencedError */
  recordProgress(id: SessionId, lsn: number): void {
    this.#catchUp(id).progress(lsn, this.#context.clock.monoMs())
    this.#durableLsn = lsn
  }

  recordTruncation(id: SessionId, lsn: number): void {
    const session = this.#catchUp(id)
    session.truncated(lsn, this.#context.clock.monoMs())
    this.#durableLsn = lsn
    this.#log('truncation_recorded', id, `cut to ${lsn}`, { lsn })
  }

  /** Must be called under the append lock: nothing may fall between the session and the stream. @throws CompletionRejectedError, PhaseError; nothing changed */
  completeCatchUp(id: SessionId): StreamGrant {
    const session = this.#catchUp(id)
    session.completeCatchUp()
    return this.#complete(session)
  }

  /** Of either path. A limit that is passed ends the session: needs_rebuild. */
  checkBudget(id: SessionId): BudgetVerdict {
    const session = this.#active(id)
    const now = this.#context.clock.monoMs()
    const verdict = session.verdict(now)
    if (verdict !== 'ok') this.fail(id, `budget_${verdict}`, session.spent(now))
    return verdict
  }

  /** Of either path: bytes sent in a catch-up, bytes verified in a transfer. */
  recordBytes(id: SessionId, bytes: number): void {
    this.#active(id).addBytes(bytes, this.#context.clock.monoMs())
  }

  /** Of either path: the replica says that it has done more of what is recorded only when all of it is done. @returns false: it is of no use to this session */
  recordWork(id: SessionId): boolean {
    const session = this.#session
    return session !== null && isSame(session.id, id) && session.worked(this.#context.clock.monoMs())
  }

  // Rebuild

  selectSource(id: SessionId, decision: RebuildDecision): void {
    this.#rebuild(id).selectSource(decision)
  }

  beginTransfer(id: SessionId): void {
    this.#rebuild(id).beginTransfer(this.#context.clock.monoMs())
    this.#standing.enter('rebuilding', 'rebuild')
  }

  recordTransfer(id: SessionId, lsn: number): void {
    this.#rebuild(id).transfer(lsn, this.#context.clock.monoMs())
  }

  beginTailReplay(id: SessionId): void {
    this.#rebuild(id).beginTailReplay(this.#context.clock.monoMs())
  }

  recordTail(id: SessionId, lsn: number): void {
    this.#rebuild(id).tail(lsn, this.#context.clock.monoMs())
  }

  /** After base and tail: freezes what was committed meanwhile. Its progress is recorded as that of the phase: recordTail, or recordTransfer of a full base. */
  beginSecondCatchUp(id: SessionId, target: number, budget?: Partial<CatchUpBudget>): void {
    this.#rebuild(id).beginSecondCatchUp(target, budget, this.#context.clock.monoMs())
    this.#log('second_catchup', id, `to ${target}`, { target })
  }

  /** Under the append lock. @throws NotReadyError, PhaseError; nothing changed */
  completeRebuild(id: SessionId): StreamGrant {
    const session = this.#rebuild(id)
    session.completeRebuild()
    this.#standing.rebuilt()
    return this.#complete(session)
  }

  // Live stream

  /** @throws SessionFencedError unless `fence` is that of the last grant and nothing has happened since */
  streamOpened(fence: Fence, stream: LiveStream): void {
    this.#mustRun()
    if (this.#stream !== null || !this.#isGranted(fence)) throw this.#fenced(fence.sessionId)
    this.#stream = stream
    this.#log('stream_opened', fence.sessionId, `from ${this.#grant!.cursor}`, { cursor: this.#grant!.cursor })
  }

  /** Whether the live stream with that fence is the current one: what comes over another counts for nothing. */
  isLive(fence: Fence): boolean {
    return this.#stream !== null && this.#isGranted(fence)
  }

  /** An ack of the live stream. @returns false: not of the current stream, counts for nothing */
  recordDurable(fence: Fence, lsn: number): boolean {
    if (!this.isLive(fence)) return false
    if (lsn > this.#durableLsn) this.#durableLsn = lsn
    return true
  }

  /** The stream with that fence ends; `reason` decides where that leads (STREAM_ENDINGS). @returns false: not the current stream */
  streamClosed(fence: Fence, reason: string, detail: string = reason): boolean {
    if (!this.isLive(fence)) return false
    const to = STREAM_ENDINGS[reason] ?? 'disconnected'
    if (reason === 'retention_exceeded') this.#log('retention_exceeded', fence.sessionId, detail)
    this.#closeStream(reason)
    this.#standing.enter(to, reason, detail)
    return true
  }

  /** Out of sync though nothing is known to be wrong with the data. @returns false while a session is active, or the state is a worse one */
  markDegraded(reason: string, detail: string = reason): boolean {
    if (this.#standing.state !== 'in_sync') return false
    this.#closeStream(reason)
    this.#standing.enter('degraded', reason, detail)
    return true
  }

  /** @returns false: stopped or halted already */
  markNeedsRebuild(reason: string, detail: string = reason): boolean {
    if (this.#standing.state === 'stopped' || this.#standing.state === 'halted') return false
    this.#log('escalated', this.#session?.id ?? null, detail, { reason })
    this.#close(reason)
    this.#standing.enter('needs_rebuild', reason)
    return true
  }

  /** Only clearHalt leads out of it. @returns false: stopped or halted already */
  halt(reason: string, detail: string = reason): boolean {
    if (this.#standing.state === 'stopped' || this.#standing.state === 'halted') return false
    this.#close(reason)
    this.#standing.enter('halted', reason, detail)
    return true
  }

  /**
   * An operator has looked at it. Where the halt was about two histories the replica's own is given up: a rebuild is owed.
   *
   * @throws InvalidConfigError unless `confirm` is the replica's id
   * @returns false: not halted
   */
  clearHalt(o: { readonly confirm: string }): boolean {
    this.#mustRun()
    if (o.confirm !== this.#id) {
      throw new InvalidConfigError(`to clear the halt of replica ${this.#id}, confirm with its id`, { details: { key: 'confirm', value: o.confirm } })
    }
    if (this.#standing.state !== 'halted') return false
    this.#standing.clearHalt()
    return true
  }

  // Within

  #mustRun(): void {
    if (this.#standing.state === 'stopped') throw new SenderStoppedError(`the sender of replica ${this.#id} is stopped`, this.#details(null))
  }

  #active(id: SessionId): Session {
    this.#mustRun()
    const session = this.#session
    if (session === null || !isSame(session.id, id) || session.fence.epoch !== this.#epoch || session.fence.endpointVersion !== this.#endpoint.version) {
      throw this.#fenced(id)
    }
    return session
  }

  #catchUp(id: SessionId): Session {
    const session = this.#active(id)
    if (session.rebuilds) throw this.#wrongKind(session)
    return session
  }

  #rebuild(id: SessionId): Session {
    const session = this.#active(id)
    if (!session.rebuilds) throw this.#wrongKind(session)
    return session
  }

  #mayAttach(kind: SessionKind): void {
    if (!Object.hasOwn(PATHS, kind)) throw new RangeError(`no kind of session: ${String(kind)}`)
    if (this.#fencedBelow > this.#epoch) {
      throw new FencedError(`epoch ${this.#fencedBy} exists, this primary is at ${this.#epoch}`, {
        details: { scope: 'primary', held: BigInt(this.#epoch), seen: BigInt(this.#fencedBy) },
      })
    }
    if (this.#standing.state === 'halted') {
      throw new RebuildRequiredError(`replica ${this.#id} is halted: ${this.#standing.reason}`, {
        ...this.#details(null),
        hint: 'Find out which history is right, then registry.clearHalt(id, { confirm: id }).',
      })
    }
    if (this.#standing.owesRebuild && PATHS[kind] !== 'rebuild') {
      throw new RebuildRequiredError(`replica ${this.#id} needs a rebuild (${this.#standing.reason}), not a ${kind}`, this.#details(null))
    }
  }

  #make(kind: SessionKind, o: SessionOptions): Session {
    const epoch = this.#epoch
    const sessionId = this.#context.sequence.next(epoch)
    const fence: Fence = Object.freeze({ replicaId: this.#id, epoch, sessionId, endpointVersion: this.#endpoint.version })
    return new Session(fence, kind, o)
  }

  #install(session: Session): void {
    assert(this.#session === null && this.#stream === null, 'one session or one stream')
    this.#grant = null
    this.#session = session
    this.#log('session_created', session.id, session.kind, { kind: session.kind, endpointVersion: session.fence.endpointVersion })
  }

  #complete(session: Session): StreamGrant {
    const achieved = session.achieved
    this.#session = null
    this.#durableLsn = achieved
    this.#grant = Object.freeze({ fence: session.fence, cursor: achieved + 1, pinnedFrom: achieved })
    this.#standing.enter('in_sync', 'completed')
    return this.#grant
  }

  #isGranted(fence: Fence): boolean {
    const granted = this.#grant?.fence
    return (
      granted !== undefined &&
      fence.replicaId === this.#id &&
      isSame(granted.sessionId, fence.sessionId) &&
      fence.epoch === this.#epoch &&
      fence.endpointVersion === this.#endpoint.version
    )
  }

  #endSession(session: Session, event: RecoveryEventName, reason: string, detail: string): void {
    session.move('invalidate')
    this.#session = null
    this.#standing.sessionEnded(session.id)
    this.#log(event, session.id, detail === reason ? reason : `${reason}: ${detail}`, { reason, kind: session.kind })
  }

  #closeStream(reason: string): void {
    const stream = this.#stream
    const grant = this.#grant
    this.#stream = null
    this.#grant = null
    if (stream === null) return
    this.#log('stream_closed', grant!.fence.sessionId, reason, { reason })
    stream.close(reason)
  }

  /** Ends whatever is there. */
  #close(reason: string): boolean {
    const busy = this.#session !== null || this.#stream !== null
    if (this.#session !== null) this.#endSession(this.#session, 'session_invalidated', reason, reason)
    this.#closeStream(reason)
    return busy
  }

  #disconnect(reason: string): boolean {
    const busy = this.#close(reason)
    this.#standing.enter('disconnected', reason)
    return busy
  }

  #log(event: RecoveryEventName, sessionId: SessionId | null, detail: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#context.log.append(event, this.#id, sessionId, detail, fields)
  }

  #fenced(id: SessionId): SessionFencedError {
    const active = this.#session === null ? 'none is active' : `${sessionText(this.#session.id)} is active`
    const at = `epoch ${this.#epoch}, endpoint version ${this.#endpoint.version}`
    return new SessionFencedError(`session ${sessionText(id)} of replica ${this.#id} is not current: ${active}, ${at}`, this.#details(id))
  }

  #wrongKind(session: Session): WrongSessionKindError {
    return new WrongSessionKindError(`session ${sessionText(session.id)} of replica ${this.#id} is a ${session.kind}`, this.#details(session.id))
  }

  #details(sessionId: SessionId | null): { details: object } {
    return { details: { replicaId: this.#id, sessionId, state: this.#standing.state } }
  }
}

function isSame(a: SessionId, b: SessionId): boolean {
  return a.seq === b.seq && a.epoch === b.epoch
}
