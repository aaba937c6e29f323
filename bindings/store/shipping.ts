// store/shipping.ts: ship(): a store that keeps replicas equal to itself (docs/shipping.md). Puts the parts of ship/ together over an open store.
//
//   options -> transport, tape, history, registry, planner, acknowledgement -> driver -> Shipping
//
// Invariant: what is made here is given back by close(), which the store's own close calls first; after it no pin, link or timer of shipping is left.
import { ClosedError, FencedError } from '../errors.ts'
import { SECOND_DECISION_HINT } from '../errors-ship.ts'
import { decisionOfEpoch, isPromotion, mandateOfClaim, toHex } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import {
  type AckMode,
  AckTracker,
  type Assignment,
  type AssignmentResult,
  CatchUpExecutor,
  type Endpoint,
  observeReplica,
  Planner,
  RebuildExecutor,
  RecoveryLog,
  Registry,
  type ReplicaAssignment,
  replicaId,
  type ReplicaState,
  type SenderChange,
  type SessionKind,
  SessionSequence,
  sessionText,
  ShippingDriver,
  STREAM_LIMITS,
  Tape,
  TcpTransport,
  type Transport,
} from '../ship/index.ts'
import { logPromotion } from './promotion.ts'
import { Acks } from './ship-acks.ts'
import { StoreHistory } from './ship-history.ts'
import { type ReplicaGiven, type ResolvedShipOptions, resolveShipOptions, type ShipOptions, wrong } from './ship-options.ts'
import type { Shipped } from './shipped.ts'

/** One replica as its primary sees it. */
export interface ReplicaProgress {
  readonly id: string
  readonly role: 'voter' | 'learner'
  readonly endpoint: Endpoint
  readonly state: ReplicaState
  /** Of the last change of state. */
  readonly reason: string
  /** `epoch.number` of the session under way. */
  readonly session: string | null
  /** Synced there, as far as we were told. */
  readonly durableLsn: Lsn
  /** What its readers may see of it. */
  readonly appliedLsn: Lsn
  /** Records that it does not have yet. */
  readonly lag: number
  /** Sent since it was assigned: records and files. */
  readonly bytes: number
  readonly records: number
  readonly files: number
  readonly lastError: { readonly code: string; readonly message: string } | null
}

export interface ShippingStatus {
  readonly mode: AckMode
  /** Voters that must have a commit before it resolves; 0 in mode async. */
  readonly neededReplicas: number
  readonly epoch: number
  /** H: what is durable here. */
  readonly durableLsn: Lsn
  /** C: what the mode promises. */
  readonly committedLsn: Lsn
  /** Epoch of a newer primary, or of a fence, that was met; 0: none. */
  readonly fencedBy: number
  /** Writers are being slowed down for a replica that cannot keep up. */
  readonly throttled: boolean
  readonly total: number
  readonly inSync: number
  readonly recovering: number
  readonly rebuilding: number
  readonly needsRebuild: number
  readonly degraded: number
  readonly disconnected: number
  readonly halted: number
  readonly replicas: readonly ReplicaProgress[]
}

export interface ShippingEvents {
  /** A replica changed its state. */
  state: { readonly replicaId: string; readonly from: ReplicaState; readonly to: ReplicaState; readonly reason: string }
  /**
   * A newer primary exists, or replicas were fenced at an epoch that this one has passed by starting again (`seen` is not above `held` then): nothing is shipped any
   * more and the store refuses writes.
   */
  fenced: { readonly held: number; readonly seen: number }
  /** A replica needs a decision of yours; see clearHalt(). */
  halted: { readonly replicaId: string; readonly reason: string }
}

type Assigned = Pick<Assignment, 'replicas'> & Partial<Assignment>

/** What ship() is made of. */
interface Parts {
  readonly shipped: Shipped
  readonly driver: ShippingDriver
  readonly registry: Registry
  readonly log: RecoveryLog
  readonly tape: Tape
  readonly history: StoreHistory
  readonly acks: Acks
  readonly transport: Transport
}

/** Replicas being kept equal to a store. Ends with close(), `await using`, or the store. */
export class Shipping implements AsyncDisposable {
  /** What happened to each replica and why; the newest 4,096 events. */
  readonly log: RecoveryLog
  /** @internal */
  readonly registry: Registry
  private readonly parts: Parts
  private readonly listeners = new Map<keyof ShippingEvents, Set<(event: never) => void>>()
  private readonly ends: (() => void)[]
  private closing: Promise<void> | undefined

  /** @internal use ship() */
  constructor(parts: Parts) {
    this.parts = parts
    this.log = parts.log
    this.registry = parts.registry
    this.ends = [parts.registry.subscribe((change) => this.changed(change)), parts.registry.onFenced((seen) => this.fenced(seen))]
  }

  get closed(): boolean {
    return this.closing !== undefined
  }

  /** Cheap: nothing is asked of a replica. */
  status(): ShippingStatus {
    const { registry, driver, tape, acks, shipped } = this.parts
    const { senders, total, inSync, recovering, rebuilding, needsRebuild, degraded, disconnected, halted, fencedBy, epoch } = registry.status()
    const head = tape.head
    const replicas = senders.map(({ replicaId: id, role, endpoint, state, reason, session, durableLsn }): ReplicaProgress => {
      const facts = driver.facts(id)
      const error = facts?.lastError
      return {
        id,
        role,
        endpoint,
        state,
        reason,
        session: session === null ? null : sessionText(session.id),
        durableLsn: BigInt(durableLsn) as Lsn,
        appliedLsn: BigInt(facts?.appliedLsn ?? 0) as Lsn,
        lag: Math.max(0, head - durableLsn),
        bytes: facts?.bytes ?? 0,
        records: facts?.entries ?? 0,
        files: facts?.files ?? 0,
        lastError: error === undefined ? null : { code: (error as { code?: string }).code ?? error.name, message: error.message },
      }
    })
    const { mode } = shipped.o.acknowledgement
    return {
      mode,
      neededReplicas: acks.neededReplicas(mode),
      epoch,
      durableLsn: BigInt(head) as Lsn,
      committedLsn: BigInt(acks.boundary()) as Lsn,
      fencedBy,
      throttled: shipped.throttle.isOn,
      total,
      inSync,
      recovering,
      rebuilding,
      needsRebuild,
      degraded,
      disconnected,
      halted,
      replicas,
    }
  }

  /** @throws InvalidConfigError for an event that there is not */
  on<E extends keyof ShippingEvents>(event: E, listener: (event: ShippingEvents[E]) => void): Disposable {
    if (!['state', 'fenced', 'halted'].includes(event)) throw wrong('event', event, `no listener of ${JSON.stringify(event)}`)
    const set = this.listeners.get(event) ?? new Set()
    this.listeners.set(event, set.add(listener))
    return { [Symbol.dispose]: () => void set.delete(listener) }
  }

  /**
   * Make the replicas those given: new ones are begun with, ones that are not named are let go, changed addresses are gone to. Saying the same again starts nothing.
   *
   * @throws DuplicateReplicaError, InvalidReplicaIdError, StaleEpochError, StaleEndpointError, InvalidEndpointError: nothing changed; TransportError: an address alone
   */
  async assign(given: Assigned | readonly ReplicaGiven[]): Promise<AssignmentResult> {
    const { driver, acks, registry } = this.parts
    const assignment = await this.assignment(given)
    for (const { endpoint } of assignment.replicas) this.parts.transport.check?.(endpoint)
    const result = await driver.assign(assignment)
    acks.assign(registry.all())
    return result
  }

  /** Lets a halted replica be tried again; where it was about two histories, the replica's own is given up. @throws UnknownReplicaError, InvalidConfigError: `confirm` is the replica's id */
  clearHalt(id: string, o: { readonly confirm: string }): boolean {
    return this.parts.driver.clearHalt(replicaId(id), o)
  }

  /**
   * A base for a replica whose files were damaged or lost: it keeps what passes its hash, and is sent the rest. What it shows meanwhile stays.
   *
   * @returns false: it is halted, and clearHalt() comes first
   * @throws UnknownReplicaError
   */
  async rebuild(id: string): Promise<boolean> {
    const { registry, driver } = this.parts
    const checked = registry.sender(replicaId(id)).id
    const replicas = registry.all().map(({ id: each, endpoint, role }) => ({ id: each, endpoint, role }))
    const { failed } = await driver.assign({ epoch: registry.epoch, replicas, recover: { [checked]: 'rebuild' } })
    return failed.length === 0
  }

  /** As store.setAckMode(). */
  setAckMode(mode: AckMode): Promise<void> {
    return this.parts.shipped.o.acknowledgement.setMode(mode)
  }

  /** Resolves when replicas are in sync (all that are assigned, or so many) and have what is in the log now. @throws the signal's reason, ClosedError */
  async settled(o: { readonly replicas?: number; readonly signal?: AbortSignal } = {}): Promise<void> {
    const { world } = this.parts.shipped.o
    const lsn = BigInt(this.parts.tape.head)
    for (;;) {
      o.signal?.throwIfAborted()
      if (this.closed) throw new ClosedError('store.closed', 'shipping is closed', { details: { what: 'shipping' } })
      const { replicas } = this.status()
      const there = replicas.filter(({ state, durableLsn }) => state === 'in_sync' && durableLsn >= lsn).length
      if (there >= (o.replicas ?? replicas.length)) return
      await world.timers.sleep(5, o.signal, true)
    }
  }

  /** Lets every replica go; resolves when no pin, link or timer is left. Twice is fine. */
  close(): Promise<void> {
    this.closing ??= this.closeNow()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async closeNow(): Promise<void> {
    const { driver, acks, history, tape, shipped } = this.parts
    await driver.close()
    for (const end of this.ends) end()
    acks.close()
    tape.close()
    history[Symbol.dispose]()
    shipped.throttle.clear()
  }

  /** Addresses as endpoints: one that is given without a version is a new version where it differs. */
  private async assignment(given: Assigned | readonly ReplicaGiven[]): Promise<Assignment> {
    const { registry } = this.parts
    if (!Array.isArray(given)) return { epoch: registry.epoch, ...(given as Assigned) }
    const replicas: ReplicaAssignment[] = []
    for (const each of given as readonly ReplicaGiven[]) {
      const target = typeof each === 'string' ? { id: await this.idAt(each), endpoint: each } : each
      if (typeof target !== 'object' || target === null) throw wrong('replicas', each, 'a replica is { id, endpoint } or an address')
      const { id, endpoint, role = 'voter' } = target as Exclude<ReplicaGiven, string>
      const checked = replicaId(id)
      const held = registry.has(checked) ? registry.sender(checked).endpoint : undefined
      const data = typeof endpoint === 'string' ? endpoint : endpoint?.data
      const version = typeof endpoint === 'string' ? (held === undefined ? 1 : held.data === data ? held.version : held.version + 1) : endpoint?.version
      replicas.push({ id: checked, role, endpoint: typeof endpoint === 'string' ? { data: endpoint, version: version! } : endpoint })
    }
    return { epoch: registry.epoch, replicas }
  }

  private async idAt(data: string): Promise<string> {
    const { transport, shipped } = this.parts
    const { world, storeId } = shipped.o
    return (await observeReplica({ transport, world, storeId, endpoint: { data, version: 1 }, signal: shipped.closing.signal })).replicaId
  }

  private changed({ replicaId: id, from, to, reason }: SenderChange): void {
    this.parts.acks.state(id, to)
    if (from === to) return
    this.emit('state', { replicaId: id, from, to, reason })
    if (to === 'halted') this.emit('halted', { replicaId: id, reason })
  }

  private fenced(seen: number): void {
    const { shipped, registry } = this.parts
    const held = registry.epoch
    const why =
      seen > held
        ? `a primary of epoch ${seen} exists; this one is at ${held}`
        : registry.isOutvoted
          ? `replicas follow another node that was decided on with the same number, ${seen}; this one is at ${held}`
          : `replicas were fenced at epoch ${seen}, and nobody has decided since that this primary goes on: it is at ${held} by starting again`
    const error = new FencedError(why, {
      details: { scope: 'primary', held: BigInt(held), seen: BigInt(seen) },
      ...(registry.isOutvoted ? { hint: SECOND_DECISION_HINT } : {}),
    })
    shipped.committer.fail(error)
    this.emit('fenced', { held, seen })
  }

  private emit<E extends keyof ShippingEvents>(event: E, value: ShippingEvents[E]): void {
    for (const hear of this.listeners.get(event) ?? []) {
      try {
        hear(value as never)
      } catch (cause) {
        this.parts.shipped.o.world.logger.log({ level: 'error', code: 'events.listener', event, cause })
      }
    }
  }
}

/** The epoch of the newest record that is committed, or of the promotion that made this node the primary. */
function mandateOf(log: CommitLog, committed: number): number {
  const epoch = log.lineage.findLast(({ firstLsn }) => firstLsn <= BigInt(committed))?.epoch ?? 0n
  return Math.max(Number(epoch), log.promotedEpoch ?? 0)
}

/** @internal ship() of an open store. */
export async function shipStore(shipped: Shipped, given: ShipOptions): Promise<Shipping> {
  const options = resolveShipOptions(given)
  const { o } = shipped
  checkRoot(shipped, options)
  // A log of slots that was opened from a checkpoint knows the epochs below it once it was asked for what lies there.
  if (o.log.shared) await o.log.digestAt(o.log.tail)
  const { world, root, storeId, log } = o
  const events = new RecoveryLog({ clock: world.clock, verbose: given.verbose ?? false })
  if (o.promotion !== undefined) logPromotion(events, o.promotion, Number(log.epoch))
  const sequence = (shipped.sequence ??= new SessionSequence())
  const epoch = Number(log.epoch)
  const registry = new Registry({ storeId: toHex(storeId), clock: world.clock, log: events, sequence }, epoch)
  const transport = given.transport ?? new TcpTransport({ world, key: given.key, tls: given.tls })
  const isAsync = (): boolean => o.acknowledgement.mode === 'async'
  // Where replicas are waited for, their syncs and the one here run in parallel.
  const tape = o.options.durability === 'synced' ? new Tape(log, () => !isAsync()) : new Tape(log)
  const tracker = new AckTracker({ epoch, firstLsn: Number(log.lineage.at(-1)!.firstLsn) })
  const acks = new Acks({ shipped, tracker, tape, registry, log: events, ackTimeoutMs: options.ackTimeoutMs, allowIndeterminate: options.allowIndeterminate })
  const history = new StoreHistory({
    ...o,
    committed: () => (isAsync() ? Infinity : acks.boundary()),
    mandate: () => (isAsync() ? undefined : mandateOf(log, acks.boundary())),
    // Of an explicit claim, which compares no logs: none.
    promotion: isPromotion(log.mandate ?? 0) ? log.mandate! : 0,
    settled: () => tape.settled(),
    isDead: (name) => shipped.committer.isDead(name),
    limits: limitsOf(given),
  })
  const planner = new Planner({ registry, history, log: events, world, elision: options.elideDead })
  const driver = new ShippingDriver({
    world,
    root,
    storeId,
    // A log without a NODE keeps no decisions: its epoch stands for them.
    mandate: log.mandate ?? mandateOfClaim(epoch),
    decision: log.decision ?? decisionOfEpoch(epoch),
    transport,
    registry,
    source: history,
    tape,
    committed: () => acks.boundary(),
    acks,
    maxParallelRebuilds: options.maxParallelRebuilds,
    throttle: (id, on) => shipped.throttle.set(id, on),
    settings: {
      limits: { ...STREAM_LIMITS, ackTimeoutMs: STREAM_LIMITS.ackTimeoutMs, maxLag: options.maxLag },
      budget: given.budget,
      autoRebuild: options.autoRebuild,
      maxHandoverLag: options.maxHandoverLag,
      degradedPinMs: options.degradedPinMs,
      maxAttemptsPerFragment: 3,
      backpressure: options.backpressure,
    },
    recovery: {
      plan: (kind: SessionKind, id, hello, ask) => (kind === 'rebuild' ? planner.planRebuild(id, hello, ask) : planner.planRecovery(id, hello, ask)),
      cancel: (plan, reason) => planner.cancelPlan(plan, reason),
      run: (plan, io, { onStep, signal }) =>
        plan.rebuild === null
          ? new CatchUpExecutor(planner, plan, { io, onStep, signal }).run()
          : new RebuildExecutor(planner, plan, { io, onStep, signal }).run(),
    },
  })
  const shipping = new Shipping({ shipped, driver, registry, log: events, tape, history, acks, transport })
  try {
    await shipping.assign(given.assignment ?? given.replicas!)
    await acks.open(options.ack)
    return shipping
  } catch (error) {
    await shipping.close()
    throw error
  }
}

/** On object storage the storage is the redundancy, and many writers have no one stream. */
function checkRoot({ o }: Shipped, { ack }: ResolvedShipOptions): void {
  if (!o.log.shared && o.root.caps.segments) return
  if (o.log.shared && o.options.writers !== 'exclusive')
    throw wrong('writers', o.options.writers, 'a store on object storage ships only as its one exclusive writer')
  if (ack !== undefined && ack !== 'async') throw wrong('ack', ack, 'a store on object storage ships in mode async only')
}

function limitsOf({ retention = {} }: ShipOptions): { maxPinnedBytes?: number; maxPinAgeMs?: number } {
  const { maxPinnedBytes, maxPinAgeMs } = retention
  return { ...(maxPinnedBytes === undefined ? {} : { maxPinnedBytes }), ...(maxPinAgeMs === undefined ? {} : { maxPinAgeMs }) }
}
