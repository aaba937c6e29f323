// ship/replica-task.ts: the one task of one replica: session, connection, plan, executor, live stream, and again after a pause (docs/shipping.md "Flow").
//
//   next? -> connect -> hello -> plan -> run -> handover -> live stream -> (degraded) -> pause -> next?
//
// It joins the parts and decides nothing about data: what a replica needs is the planner's word, what an error leads to is the sender's table. Invariant: one
// attempt at a time; an attempt that ended, however it ended, holds no pin and no link, but for the hold of a degraded stream.
import {
  CatchUpNotConvergingError,
  CommittedTruncationError,
  FragmentHashError,
  ManifestHashError,
  ProtocolVersionError,
  ReplicaMismatchError,
  StoreMismatchError,
  TransportError,
} from '../errors-ship.ts'
import type { Root } from '../root/index.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import { BackOff } from './back-off.ts'
import { Handover } from './handover.ts'
import { LinkIO } from './link-io.ts'
import { observeReplica } from './observe.ts'
import { Peer } from './peer.ts'
import { outdated } from './plan.ts'
import { noteFence, type Questions } from './planner.ts'
import type { RebuildSlots } from './rebuild-slots.ts'
import type { Registry } from './registry.ts'
import type { Sender } from './sender.ts'
import type { EndReason } from './session-phase.ts'
import { Shipper, type StreamLimits } from './shipper.ts'
import type { Tape } from './tape.ts'
import type {
  CatchUpBudget,
  CatchUpIO,
  Fence,
  Hello,
  HistorySource,
  RebuildIO,
  RecoveryPlan,
  ReplicaId,
  RunResult,
  SessionId,
  SessionKind,
  ShipPin,
  Step,
  StreamGrant,
  Transport,
} from './types.ts'

/** Planner and executors. */
export interface Recovery {
  plan(kind: SessionKind, id: ReplicaId, hello: Hello, ask: Questions): Promise<RecoveryPlan>
  cancel(plan: RecoveryPlan, reason: string): void
  run(plan: RecoveryPlan, io: CatchUpIO & RebuildIO, o: { readonly onStep: (step: Step) => Promise<void>; readonly signal: AbortSignal }): Promise<RunResult>
}

/** Who counts what is durable where. */
export interface AckSink {
  /** The replica's log is on our line up to there; undefined: nothing of it counts before it says so. */
  follow(id: ReplicaId, session: SessionId, durableLsn: number | undefined): void
  /** That session is over: nothing of it counts. The replica may be followed in another one by now. */
  unfollow(id: ReplicaId, session: SessionId): void
  ack(id: ReplicaId, session: SessionId, durableLsn: number): void
}

export interface TaskSettings {
  readonly limits: StreamLimits
  readonly budget: Partial<CatchUpBudget> | undefined
  readonly autoRebuild: boolean
  readonly maxHandoverLag: number
  readonly degradedPinMs: number
  readonly maxAttemptsPerFragment: number
  readonly backpressure: 'none' | 'throttle'
}

export interface TaskParts {
  readonly world: World
  readonly root: Root
  readonly storeId: Uint8Array
  /** By whose decision this is the primary (format/mandate.ts). */
  readonly mandate: number
  /** Which decision of that number. */
  readonly decision: string
  readonly transport: Transport
  readonly registry: Registry
  readonly source: HistorySource
  readonly tape: Tape
  readonly committed: () => number
  readonly recovery: Recovery
  readonly acks: AckSink
  readonly slots: RebuildSlots
  readonly settings: TaskSettings
  /** Writers are slowed down, or no longer, on behalf of that replica. */
  readonly throttle: (id: ReplicaId, on: boolean) => void
}

/** For people. */
export interface TaskFacts {
  readonly durableLsn: number
  readonly appliedLsn: number
  /** Sent over all links of this task. */
  readonly bytes: number
  readonly entries: number
  readonly files: number
  readonly lastError: Error | undefined
  readonly heldFrom: number | undefined
}

/** A link with what works on it. */
interface Wire {
  readonly fence: Fence
  readonly peer: Peer
  readonly shipper: Shipper
}

interface Live extends Wire {
  readonly grant: StreamGrant
  readonly pin: ShipPin
}

export class ReplicaTask {
  readonly sender: Sender
  readonly #parts: TaskParts
  readonly #stopping = new AbortController()
  readonly #backOff: BackOff
  readonly #handover: Handover
  #attempt: AbortController | undefined
  #session: SessionId | undefined
  #running: Promise<void> | undefined
  #ring: () => void = () => {}
  /** Something changed that makes waiting pointless. */
  #isUrgent = false
  #kind: SessionKind = 'bootstrap'
  #hold: { readonly pin: ShipPin; readonly timer: TimerHandle } | undefined
  #wire: Wire | undefined
  /** Connections that are going. */
  readonly #links = new Set<Promise<void>>()
  #sent = { bytes: 0, entries: 0, files: 0 }
  #appliedLsn = 0
  #lastError: Error | undefined
  readonly #unsubscribe: () => void

  constructor(sender: Sender, parts: TaskParts) {
    this.sender = sender
    this.#parts = parts
    this.#backOff = new BackOff(parts.world.random)
    this.#handover = new Handover(parts.settings.maxHandoverLag)
    this.#unsubscribe = sender.subscribe(({ ended, reason }) => this.#changed(ended, reason))
  }

  start(): void {
    this.#running ??= this.#loop()
  }

  /** New facts: a session was attached, an address or epoch changed, a halt was cleared. */
  wake(): void {
    this.#isUrgent = true
    this.#ring()
  }

  /** Ends what is under way and waits until its pins are gone. */
  async stop(reason: string): Promise<void> {
    this.#stopping.abort(new Error(reason))
    this.#attempt?.abort(this.#stopping.signal.reason)
    this.#ring()
    await this.#running
    await Promise.all(this.#links)
    this.#unsubscribe()
    this.#release()
    this.#parts.throttle(this.sender.id, false)
  }

  facts(): TaskFacts {
    const { durableLsn } = this.sender.status()
    const wire = this.#wire
    return {
      durableLsn,
      appliedLsn: wire === undefined ? this.#appliedLsn : (wire.peer.appliedLsn ?? this.#appliedLsn),
      bytes: this.#sent.bytes + (wire === undefined ? 0 : wire.shipper.bytes + wire.peer.fileBytes),
      entries: this.#sent.entries + (wire?.shipper.entries ?? 0),
      files: this.#sent.files + (wire?.peer.files ?? 0),
      lastError: this.#lastError,
      heldFrom: this.#hold?.pin.lsn,
    }
  }

  async #loop(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#isUrgent = false
      const kind = this.#next()
      if (kind === undefined) {
        await this.#rest(undefined)
        continue
      }
      const isOver = await this.#once(kind)
      if (!isOver && !this.#isUrgent && this.sender.session() === null) await this.#pause()
    }
  }

  /** What to try now; undefined: nothing, until something changes. */
  #next(): SessionKind | undefined {
    const { registry, settings } = this.#parts
    const attached = this.sender.session()
    if (attached !== null) return attached.kind
    const { state } = this.sender
    if (state === 'stopped' || state === 'halted' || registry.isFenced) return undefined
    if (state === 'needs_rebuild') return settings.autoRebuild ? 'rebuild' : undefined
    return this.#kind
  }

  /** One session, and the live stream after it. @returns whether to go on at once */
  async #once(kind: SessionKind): Promise<boolean> {
    const attempt = new AbortController()
    this.#attempt = attempt
    if (this.#stopping.signal.aborted) attempt.abort(this.#stopping.signal.reason)
    try {
      const live = await this.#recover(kind, attempt.signal)
      this.#kind = 'catchup'
      if (live === undefined) return kind !== 'rebuild' && this.sender.state === 'needs_rebuild'
      if (this.#isRoundOwed(live)) {
        this.#keep(live.pin)
        await this.#leave(live)
        return false
      }
      await this.#stream(live, attempt)
      return false
    } finally {
      this.#attempt = undefined
      this.#session = undefined
    }
  }

  /** Everything up to the grant. undefined: it failed, and the sender knows why. */
  async #recover(kind: SessionKind, signal: AbortSignal): Promise<Live | undefined> {
    const { sender } = this
    const { slots, tape } = this.#parts
    let id: SessionId | undefined
    let slot: Disposable | undefined
    let wire: Wire | undefined
    let pin: ShipPin | undefined
    let isAnswered = false
    try {
      if (kind === 'rebuild') slot = await slots.take(() => tape.head - sender.status().durableLsn, signal)
      id = sender.session()?.id ?? sender.attach(sender.epoch, kind, this.#budget(kind))
      this.#session = id
      wire = await this.#connect(id, kind, signal)
      const { fence, peer, shipper } = wire
      const { storeId, mandate, decision, registry } = this.#parts
      const hello = await peer.hello({ replicaId: sender.id, storeId, endpointVersion: fence.endpointVersion, mandate, decision, kind }, signal)
      isAnswered = true
      registry.voted(sender.id)
      this.#backOff.answered()
      sender.checkHello(id, hello)
      const plan = await this.#plan(kind, hello, peer, signal)
      if (isOver(plan)) return void (await this.#leave(wire))
      if (plan.rebuild !== null) this.#parts.acks.follow(sender.id, id, undefined)
      else if (plan.truncateTo === null) this.#parts.acks.follow(sender.id, id, hello.durableLsn)
      let grant = plan.grant
      if (grant === null) {
        shipper.mode = plan.rebuild === null ? 'catchup' : 'tail'
        grant = (await this.#run(plan, wire, (taken) => (pin = taken), signal)).grant
      }
      pin ??= await this.#pin(grant.pinnedFrom)
      return { ...wire, grant, pin }
    } catch (error) {
      pin?.release()
      if (!isAnswered && error instanceof TransportError) this.#backOff.unanswered(this.#parts.world.clock.monoMs())
      this.#failed(id, kind, error as Error, signal, wire === undefined)
      if (wire !== undefined) await this.#leave(wire, error as Error)
      return undefined
    } finally {
      slot?.[Symbol.dispose]()
    }
  }

  async #connect(id: SessionId, kind: SessionKind, signal: AbortSignal): Promise<Wire> {
    const { sender } = this
    const { world, root, transport, tape, committed, settings } = this.#parts
    const { fence } = sender.session()!
    const link = await transport.connect(sender.endpoint, signal)
    const peer = new Peer(link, {
      world,
      epoch: fence.epoch,
      session: id.seq,
      root,
      needed: () => this.#parts.source.needed(),
      committed,
      head: () => tape.head,
    })
    const shipper = new Shipper({ peer, tape, world, fence, committed, limits: settings.limits })
    const wire = { fence, peer, shipper }
    try {
      sender.beginConnect(id)
    } catch (error) {
      await peer.close()
      await peer.closed
      throw error
    }
    this.#wire = wire
    peer.onWork = () => void sender.recordWork(id)
    // A rebuild that is under way counts for nothing.
    if (kind !== 'rebuild') peer.onDurable = (lsn) => this.#acked(fence, lsn, false)
    return wire
  }

  async #plan(kind: SessionKind, hello: Hello, peer: Peer, signal: AbortSignal): Promise<RecoveryPlan> {
    const plan = await this.#parts.recovery.plan(kind, this.sender.id, hello, {
      digestAt: (lsn) => peer.digestAt(lsn, signal),
      verifySelf: (upTo) => peer.verifySelf(upTo, signal),
    })
    // Made for what is no longer so: it is not run.
    if (signal.aborted && !isOver(plan)) {
      this.#parts.recovery.cancel(plan, outdated(this.sender, plan.fence) ?? reasonText(signal))
      throw signal.reason
    }
    return plan
  }

  async #run(plan: RecoveryPlan, { peer, shipper }: Wire, pinned: (pin: ShipPin) => void, signal: AbortSignal): Promise<RunResult> {
    const { acks, recovery, settings } = this.#parts
    const io = new LinkIO(peer, shipper, settings.maxAttemptsPerFragment)
    return await recovery.run(plan, io, {
      signal,
      onStep: async ({ kind, lsn }) => {
        if (kind === 'truncate') acks.follow(this.sender.id, plan.fence.sessionId, lsn)
        // Taken before the pins of the run go, so that nothing in between is reclaimed.
        else if (kind === 'complete') pinned(await this.#pin(lsn))
      },
    })
  }

  #pin(lsn: number): Promise<ShipPin> {
    return this.#parts.source.pinLog(lsn, 'stream')
  }

  /** The log went on while the replica caught up: is it near enough? */
  #isRoundOwed({ grant, fence }: Live): boolean {
    const { sender } = this
    const { tape, settings, throttle } = this.#parts
    const achieved = grant.cursor - 1
    const isSlowed = settings.backpressure === 'throttle'
    try {
      if (this.#handover.next(sender.id, tape.head - achieved, isSlowed) === 'stream') return false
      if (isSlowed) throttle(sender.id, true)
      // Something else may have ended it already.
      if (sender.state === 'in_sync') sender.supersede('catchup', 'handover_round', this.#budget('catchup'))
    } catch (error) {
      if (!(error instanceof CatchUpNotConvergingError)) throw error
      this.#lastError = error
      sender.markDegraded('throttle_advised', `session ${fence.sessionId.epoch}.${fence.sessionId.seq}: ${error.message}`)
    }
    return true
  }

  /** The last of an attempt: whoever closes the stream ends it. */
  async #stream({ fence, peer, shipper, grant, pin }: Live, attempt: AbortController): Promise<void> {
    const { sender } = this
    const { world, tape } = this.#parts
    const openedMs = world.clock.monoMs()
    let isKept = false
    try {
      sender.streamOpened(fence, { close: (reason) => attempt.abort(new Error(reason)) })
      this.#release()
      this.#parts.throttle(sender.id, false)
      pin.onLimit = (limit) => void sender.streamClosed(fence, limit)
      peer.onDurable = (lsn) => {
        this.#succeeded()
        this.#acked(fence, lsn, true)
      }
      const end = await shipper.follow(grant.cursor - 1, pin, attempt.signal, () => {
        // Where something is owed the stream has to get somewhere first: what ended the one before may be just what comes next.
        if (peer.durableLsn >= tape.head) this.#succeeded()
        // What it has by then it has said under this fence: C need not wait for a next record.
        this.#acked(fence, peer.durableLsn, true)
      })
      this.#lastError = end.cause
      noteFence(this.#parts.registry, sender.id, sender.epoch, end.cause)
      sender.streamClosed(fence, end.reason, end.cause.message)
      isKept = sender.state === 'degraded'
    } catch (error) {
      sender.streamClosed(fence, (error as Error).message)
    } finally {
      this.#backOff.lasted(world.clock.monoMs() - openedMs)
      pin.onLimit = undefined
      if (isKept && pin.valid) this.#keep(pin)
      else pin.release()
      await this.#leave({ fence, peer, shipper })
    }
  }

  #succeeded(): void {
    this.#backOff.reset()
    this.#lastError = undefined
  }

  #acked(fence: Fence, lsn: number, isStream: boolean): void {
    const { sender } = this
    if (isStream ? sender.recordDurable(fence, lsn) : sender.state === 'catching_up' && this.#session?.seq === fence.sessionId.seq) {
      this.#parts.acks.ack(sender.id, fence.sessionId, lsn)
    }
  }

  /** The sender is told, unless it knows. */
  #failed(id: SessionId | undefined, kind: SessionKind, error: Error, signal: AbortSignal, isUnconnected: boolean): void {
    const { sender } = this
    if (error !== signal.reason) this.#lastError = error
    // Where nothing was connected, no node of ours has said it.
    if (!isUnconnected) noteFence(this.#parts.registry, sender.id, sender.epoch, error)
    if (id === undefined || sender.state === 'stopped') return
    if (signal.aborted) sender.invalidate(id, reasonText(signal), kind === 'rebuild' ? 'needs_rebuild' : 'disconnected')
    else sender.fail(id, isUnconnected ? 'connect_failed' : endReason(error, kind), error.message)
    // Its session was complete, and no stream came of it.
    sender.markDegraded('stream_send_failed', error.message)
  }

  async #leave({ fence, peer, shipper }: Wire, reason?: Error): Promise<void> {
    this.#wire = undefined
    this.#parts.acks.unfollow(this.sender.id, fence.sessionId)
    this.#appliedLsn = peer.appliedLsn ?? this.#appliedLsn
    this.#sent = {
      bytes: this.#sent.bytes + shipper.bytes + peer.fileBytes,
      entries: this.#sent.entries + shipper.entries,
      files: this.#sent.files + peer.files,
    }
    await peer.close(reason)
    this.#links.add(peer.closed)
    void peer.closed.then(() => this.#links.delete(peer.closed))
    await shipper.close()
  }

  /** Of a replica that fell out: what it needs to come back stays for a while. */
  #keep(pin: ShipPin): void {
    const { world, settings } = this.#parts
    this.#release()
    const timer = world.timers.set(settings.degradedPinMs, () => this.#release())
    this.#hold = { pin, timer }
    pin.onLimit = (limit) => {
      // A lease that is lost says nothing about how much is kept: the next hello finds out whether the log is still there.
      if (limit === 'retention_exceeded' && this.sender.session() === null) this.sender.markNeedsRebuild(limit)
      this.#release()
    }
  }

  #release(): void {
    const held = this.#hold
    this.#hold = undefined
    if (held === undefined) return
    this.#parts.world.timers.clear(held.timer)
    held.pin.onLimit = undefined
    held.pin.release()
  }

  #budget(kind: SessionKind): { budget: Partial<CatchUpBudget> } | undefined {
    const { budget } = this.#parts.settings
    return budget === undefined || kind === 'rebuild' ? undefined : { budget }
  }

  /** An attempt whose session was taken from it ends. */
  #changed(ended: SessionId | null, reason: string): void {
    if (ended !== null && ended === this.#session) this.#attempt?.abort(new Error(reason))
    this.#ring()
  }

  /** After a failure. Of a replica that did not answer the pause ends when it does. */
  async #pause(): Promise<void> {
    const { clock } = this.#parts.world
    const endMs = clock.monoMs() + this.#backOff.nextMs()
    for (;;) {
      const nowMs = clock.monoMs()
      const lookMs = this.#backOff.lookMs(nowMs)
      if (lookMs === undefined || nowMs + lookMs >= endMs) return await this.#rest(Math.max(0, endMs - nowMs))
      await this.#rest(lookMs)
      if (this.#isUrgent || this.#stopping.signal.aborted || (await this.#answers(endMs))) return
    }
  }

  /** A look, at most until `endMs`. */
  async #answers(endMs: number): Promise<boolean> {
    const { world, transport, storeId } = this.#parts
    const { endpoint, id } = this.sender
    const looking = new AbortController()
    const stop = (): void => looking.abort(new Error('the look is over'))
    const timer = world.timers.set(Math.max(0, endMs - world.clock.monoMs()), stop)
    this.#ring = () => {
      if (this.#isUrgent || this.#stopping.signal.aborted) stop()
    }
    try {
      await observeReplica({ transport, endpoint, world, replicaId: id, storeId, signal: looking.signal })
      return true
    } catch {
      return false
    } finally {
      this.#ring = () => {}
      world.timers.clear(timer)
    }
  }

  /** Until something changes that matters, or for `ms`. */
  #rest(ms: number | undefined): Promise<void> {
    const { timers } = this.#parts.world
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : timers.set(ms, () => done())
      const done = (): void => {
        this.#ring = () => {}
        if (timer !== undefined) timers.clear(timer)
        resolve()
      }
      this.#ring = () => {
        if (ms === undefined || this.#isUrgent || this.#stopping.signal.aborted) done()
      }
      if (this.#isUrgent || this.#stopping.signal.aborted) done()
    })
  }
}

/** The session ended with the handshake. */
function isOver({ outcome, rebuild }: RecoveryPlan): boolean {
  return rebuild === null && (outcome === 'needs_rebuild' || outcome === 'halt')
}

function reasonText({ reason }: AbortSignal): string {
  return reason instanceof Error ? reason.message : String(reason)
}

function endReason(error: Error, kind: SessionKind): EndReason {
  if (error instanceof CommittedTruncationError) return 'committed_truncation'
  // Most replicas refuse by themselves, before a hello of theirs could be judged here.
  if (error instanceof StoreMismatchError) return 'store_mismatch'
  if (error instanceof ReplicaMismatchError) return 'replica_mismatch'
  if (error instanceof ProtocolVersionError) return 'protocol_version'
  if (error instanceof FragmentHashError || error instanceof ManifestHashError) return 'hash_mismatch'
  return kind === 'rebuild' ? 'transfer_failed' : 'transport_failed'
}
