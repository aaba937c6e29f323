// store/replica.ts: a replica, as a service opens it: it listens for its primary, holds what that sends, and lets itself be read (docs/shipping.md "Replica").
//
// Invariant: it writes nothing that its primary has not sent, but its own caches; after close() or promote() nothing of it is at work.

import { ClosedError, CorruptionError, InvalidConfigError, NotAStoreError, UnsupportedRootError } from '../errors.ts'
import { CommittedTruncationError, OWN_DECISION_HINT, SECOND_DECISION_HINT, StaleEpochError } from '../errors-ship.ts'
import { epochOfMandate, hasVoted, mandateOfClaim, mandateOfPromotion, NO_DECISION, toHex } from '../format/index.ts'
import { type Lsn, readNode } from '../log/index.ts'
import { resolveOptions } from '../options.ts'
import { openRoot, probeRoot, type Root } from '../root/index.ts'
import { fillWorld, FP, showAs } from '../runtime/index.ts'
import {
  type AckMode,
  decidedAt,
  type Endpoint,
  factsOf,
  type ForcedPromotion,
  type LinkMode,
  type NodeRecord,
  recordOf,
  ReplicaHost,
  type ReplicaId,
  replicaId,
  TcpTransport,
  type TcpTransportOptions,
  type Transport,
} from '../ship/index.ts'
import type { OpenOptions, ReadStore } from '../table/index.ts'
import { Events } from './events.ts'
import { readIdentity } from './founding.ts'
import { checkEpoch, checkKnown, storeIdOption } from './known-options.ts'
import type { Store } from './store.ts'
import { ReplicaNode } from './replica-node.ts'
import { replicaStore } from './replica-store.ts'
import { openHandle } from './opening.ts'
import type { Promotion } from './wiring.ts'

export interface ReplicaOptions extends Pick<OpenOptions, 'world' | 'memory' | 'segmentBytes' | 'openRetry' | 'signal'> {
  /** Stable name of this replica: 1 to 128 bytes of `[A-Za-z0-9._:-]`. */
  readonly replicaId: string
  /** `host:port` to listen on, TCP; port 0: any. */
  readonly listen?: string
  /** Instead of `listen`: an address as `transport` has them. */
  readonly endpoint?: Endpoint
  readonly transport?: Transport
  /** 32 bytes that both sides know, or 64 hex digits; without one only loopback addresses are listened on. */
  readonly key?: TcpTransportOptions['key']
  readonly tls?: TcpTransportOptions['tls']
  /** Of the store that it shall hold, lower-case hex; default: of whichever primary comes first. */
  readonly storeId?: string
  /** `never`: where there is no replica yet, be it an empty place or the root of a primary, nothing is touched (NotAStoreError, InvalidConfigError). Default `if-missing`. */
  readonly create?: 'if-missing' | 'never'
  /** Log bytes between two checkpoints. */
  readonly checkpointBytes?: number
}

export interface ReplicaStatus {
  readonly replicaId: string
  /** Lower-case hex; '' before the first contact. */
  readonly storeId: string
  readonly role: 'replica'
  /** What readers see. */
  readonly lsn: Lsn
  /** R: synced here. */
  readonly durable: Lsn
  readonly received: Lsn
  /** RC: the highest boundary that the primary has called committed. */
  readonly committed: Lsn
  /** The newest epoch that was accepted. */
  readonly epoch: number
  readonly session: number
  readonly generation: number
  readonly connected: boolean
  readonly peer: string | undefined
  readonly mode: LinkMode | undefined
  /** Committed records that readers do not see yet. */
  readonly lag: number
  /** Why it has stopped. */
  readonly failure: Error | undefined
}

export interface ReplicaEvents {
  /** A link came, went, or does something else. */
  state: ReplicaStatus
  /** A new base took the place of what was here. */
  installed: ReplicaStatus
  /** Records that the primary does not have were cut off. */
  truncated: ReplicaStatus
  /** There is something to read. */
  ready: ReplicaStatus
  /** It can fold no more. */
  failed: ReplicaStatus
  closed: ReplicaStatus
}

export interface PromoteOptions {
  /** The epoch to claim, at least: that at which the nodes were fenced. Default: the next one. */
  readonly epoch?: number
  /** In mode async what the primary had and this replica lacks is lost: say up to where it is known to be whole. */
  readonly acceptLossAbove?: Lsn | number
  /** What forcePromotion() returned for this replica: the range that it names is logged as given up. */
  readonly forced?: ForcedPromotion
  /** How the store is opened that it becomes, on top of what Replica.open was given: upkeep, durability, threads, ... */
  readonly open?: Omit<OpenOptions, 'readOnly' | 'follow' | 'create' | 'writers' | 'epoch' | 'world'>
}

const KNOWN: readonly string[] = [
  'replicaId',
  'listen',
  'endpoint',
  'transport',
  'key',
  'tls',
  'storeId',
  'create',
  'checkpointBytes',
  'world',
  'memory',
  'segmentBytes',
  'openRetry',
  'signal',
] satisfies (keyof ReplicaOptions)[]

const EVENTS: readonly string[] = ['state', 'installed', 'truncated', 'ready', 'failed', 'closed'] satisfies (keyof ReplicaEvents)[]

type Listener = (status: ReplicaStatus) => void

const READY_MS = 5

/** @internal what `Replica.open` of varve/ship does */
export async function openReplica(place: string | URL | Root, given: ReplicaOptions): Promise<Replica> {
  const {
    listen,
    endpoint: asked,
    transport,
    key,
    tls,
    storeId,
    create = 'if-missing',
    checkpointBytes,
    replicaId: id,
    signal,
    ...rest
  } = checkKnown('Replica.open', given, KNOWN)
  const name = replicaId(id)
  const options = resolveOptions({ ...rest, readOnly: true, signal })
  signal?.throwIfAborted()
  const storeIdBytes = storeIdOption(storeId)
  if ((listen === undefined) === (asked === undefined))
    throw new InvalidConfigError('say where to listen: `listen` or `endpoint`', { details: { key: 'listen', value: listen } })
  if (create !== 'if-missing' && create !== 'never')
    throw new InvalidConfigError('create of a replica is `if-missing` or `never`', { details: { key: 'create', value: create } })
  const world = fillWorld(options.world)
  const root = await openRoot(place, world)
  const ownsRoot = (root as unknown) !== place
  try {
    checkSegments(root)
    if (create === 'never') await checkReplica(root)
    await probeRoot(root)
    const events = new Events((event) => world.logger.log(event))
    const heard: { replica: Replica | undefined } = { replica: undefined }
    const node = await ReplicaNode.open({
      root,
      world,
      // Of the open alone: neither the first greeting nor a promotion ends with it.
      options: { ...options, signal: undefined },
      signal,
      replicaId: name,
      events,
      storeId: storeIdBytes,
      changed: (what) => heard.replica?.tell(what),
      ...(checkpointBytes === undefined ? {} : { checkpointBytes }),
    })
    const replica = new Replica({ node, events, root, place, given: rest, releaseRoot: async () => (ownsRoot ? root[Symbol.asyncDispose]() : undefined) })
    heard.replica = replica
    try {
      await replica.listen(transport ?? new TcpTransport({ world, key, tls }), asked ?? { data: listen!, version: 1 })
    } catch (error) {
      await node.close().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'open.releaseFailed', cause }))
      throw error
    }
    return replica
  } catch (error) {
    if (ownsRoot) await root[Symbol.asyncDispose]()
    throw error instanceof CorruptionError ? damaged(error, root.url) : error
  }
}

/** Nothing here is the only copy: what helps a store does not help a replica. */
function damaged({ code, message, file, offset, lsn }: CorruptionError, url: string): CorruptionError {
  return new CorruptionError(code as 'log.corrupt', message, {
    details: { file, offset, lsn },
    hint: `This is a replica: move ${url} away and open an empty folder under its id; the primary makes it whole.`,
  })
}

/** What a replica is sent goes into segments of its own; an object log is read where it is. */
function checkSegments(root: Root): void {
  if (root.caps.segments) return
  throw new UnsupportedRootError(`${root.url}: a replica keeps its log in segments, which object storage does not have`, {
    details: { feature: 'segments' },
    hint: 'Give the replica a folder of its own. To read a store that is on object storage no replica is needed: Store.open(url, { readOnly: true }) follows its log.',
  })
}

/** Only looks. @throws NotAStoreError, InvalidConfigError */
async function checkReplica(root: Root): Promise<void> {
  if ((await readIdentity(root)) === undefined) {
    throw new NotAStoreError(`${root.url} holds no replica`, { details: { url: root.url }, hint: 'Give the folder of a replica that its primary has reached.' })
  }
  if ((await readNode(root))?.role !== 'primary') return
  throw new InvalidConfigError(`${root.url} is a primary already`, {
    details: { key: 'create', value: 'never' },
    hint: 'It is written to as it is: Store.open, or varve serve.',
  })
}

interface ReplicaPlace {
  readonly node: ReplicaNode
  readonly events: Events
  readonly root: Root
  readonly place: string | URL | Root
  readonly given: OpenOptions
  readonly releaseRoot: () => Promise<void>
}

export class Replica implements AsyncDisposable {
  /** For reading, at what the primary has called committed; the same object whatever is installed. It is closed by closing the replica. */
  readonly store: ReadStore
  readonly replicaId: ReplicaId
  private readonly o: ReplicaPlace
  private readonly node: ReplicaNode
  private readonly host: ReplicaHost
  private readonly listeners = new Map<keyof ReplicaEvents, Set<{ readonly hear: Listener }>>()
  private listening: (AsyncDisposable & { readonly endpoint: Endpoint }) | undefined
  private closing: Promise<void> | undefined

  /** @internal use Replica.open of varve/ship */
  constructor(o: ReplicaPlace) {
    this.o = o
    this.node = o.node
    this.replicaId = o.node.replicaId
    this.host = new ReplicaHost(o.node, () => this.tell('state'))
    this.store = replicaStore({ current: () => this.node.handle, isOutdated: () => this.node.isOutdated, events: o.events, url: o.root.url })
  }

  /** @internal */
  async listen(transport: Transport, endpoint: Endpoint): Promise<void> {
    this.listening = await transport.listen(this.host, endpoint)
  }

  /** Where it listens; a port of 0 is settled. */
  get endpoint(): Endpoint {
    return this.listening!.endpoint
  }

  status(): ReplicaStatus {
    const { node } = this
    const { connected, peer, mode, epoch, session, receivedLsn } = this.host.status()
    return Object.freeze({
      replicaId: node.replicaId,
      storeId: node.storeId === undefined ? '' : toHex(node.storeId),
      role: 'replica' as const,
      lsn: BigInt(node.appliedLsn) as Lsn,
      durable: BigInt(node.durableLsn) as Lsn,
      received: BigInt(receivedLsn) as Lsn,
      committed: BigInt(node.committedLsn) as Lsn,
      epoch,
      session,
      generation: node.generation,
      connected,
      peer,
      mode,
      lag: Math.max(0, node.committedLsn - node.appliedLsn),
      failure: node.failure,
    })
  }

  /** A throwing listener is logged. @throws InvalidConfigError for an event that there is not */
  on<E extends keyof ReplicaEvents>(event: E, listener: (status: ReplicaEvents[E]) => void): Disposable {
    if (!EVENTS.includes(event)) throw new InvalidConfigError(`no listener of ${JSON.stringify(event)}`, { details: { key: 'event', value: event } })
    const entry = { hear: listener as Listener }
    let set = this.listeners.get(event)
    if (set === undefined) this.listeners.set(event, (set = new Set()))
    set.add(entry)
    return { [Symbol.dispose]: () => void set.delete(entry) }
  }

  /** @internal */
  tell(event: keyof ReplicaEvents): void {
    const set = this.listeners.get(event)
    if (set === undefined || set.size === 0) return
    const status = this.status()
    for (const { hear } of set) {
      try {
        hear(status)
      } catch (cause) {
        this.node.world.logger.log({ level: 'error', code: 'event.listenerFailed', event, cause })
      }
    }
  }

  /** Resolves when there is something to read. @throws the signal's reason, ClosedError; what made it fail before there was (`status().failure`) */
  async ready(o: { readonly signal?: AbortSignal } = {}): Promise<void> {
    for (;;) {
      o.signal?.throwIfAborted()
      if (this.closing !== undefined) throw closedError()
      if (this.node.handle !== undefined) return
      if (this.node.failure !== undefined) throw this.node.failure
      await this.node.world.timers.sleep(READY_MS, o.signal, true)
    }
  }

  /**
   * Refuses every primary below `epoch` from now on, and says what this node holds: a record for candidates(). Those of enough fenced nodes tell who is to be
   * promoted, at that epoch or above.
   *
   * @throws StaleEpochError when a newer epoch was seen, or a primary of this very epoch, which would not be fenced; InvalidConfigError
   * @cost one sync; reads the log from the newest checkpoint on
   */
  async fence(o: { readonly epoch: number; readonly role?: NodeRecord['role']; readonly isAmnesic?: boolean }): Promise<NodeRecord> {
    const { node } = this
    const { epoch } = checkKnown('fence', o, ['epoch', 'role', 'isAmnesic'])
    checkEpoch('fence', epoch)
    await this.host.fence(epoch)
    const facts = await factsOf(node)
    const verified = await node.verifySelf(facts.durableLsn)
    const decided = await decidedAt(facts, (lsn) => node.digestAt(lsn))
    return recordOf({ ...facts, replicaId: node.replicaId, storeId: node.storeId === undefined ? '' : toHex(node.storeId) }, o, verified, decided)
  }

  /** It is closed, or about to be: by `close()`, or because it was promoted. */
  get closed(): boolean {
    return this.closing !== undefined
  }

  /**
   * Makes this replica the primary: it stops to listen, claims an epoch above every one it has seen, and writes the record of it. Whoever was primary before is
   * fenced by its first refused message. The replica is closed; what is returned is the store, open for writing.
   *
   * Whether it is the right one to promote is the caller's to know: see candidates().
   *
   * @throws StaleEpochError for an epoch below one that was seen; InvalidConfigError in mode async without `acceptLossAbove`, and of a replica that is not fit: it has
   * failed, or files of the version that it ends at are not there, or (mode quorum or all, with neither `acceptLossAbove` nor `forced`) it may have lost what it once
   * confirmed; CommittedTruncationError when this replica lacks records below `acceptLossAbove`, or that were called committed. Where one of these comes to be true while
   * it stops to listen, it is closed then
   */
  async promote(o: PromoteOptions = {}): Promise<Store> {
    const { epoch, acceptLossAbove, forced, open } = checkKnown('promote', o, ['epoch', 'acceptLossAbove', 'forced', 'open'])
    if (forced !== undefined && forced.id !== this.replicaId)
      throw new InvalidConfigError(`promote: forcePromotion() named ${forced.id}, this is ${this.replicaId}`, { details: { key: 'forced', value: forced.id } })
    if (epoch !== undefined) checkEpoch('promote', epoch)
    resolveOptions({ ...this.o.given, ...open })
    if (this.closing !== undefined) throw closedError()
    const { node } = this
    const { world } = node
    // One that has failed is refused for that.
    const modeNow = async (): Promise<AckMode> => (node.failure === undefined ? await node.modeBehind() : 'async')
    this.checkPromotion(o, await modeNow())
    if (world.failpoints.active) await world.failpoints.hit(FP.ship.promote, { durable: node.durableLsn })
    // A root in memory without a name is there as long as it is held.
    const isHeld = this.o.root.url.startsWith('memory:')
    // Its primary sent records until now, or has been followed by a newer one: what was looked at may be so no more.
    try {
      let mode: AckMode = 'async'
      await this.shut(!isHeld, async () => void (mode = await modeNow()))
      this.checkPromotion(o, mode)
    } catch (error) {
      if (isHeld) await this.o.releaseRoot()
      throw error
    }
    const { durableLsn, committedLsn, epochSeen, session, promised, decision } = node
    const isFenced = session === 0 && promised === mandateOfClaim(epochSeen) && decision === NO_DECISION
    const promotion: Promotion = {
      epoch: Math.max(epoch ?? 0, epochSeen + 1),
      fencedAt: epoch ?? (isFenced ? epochSeen : epochSeen + 1),
      replicaId: this.replicaId,
      durableLsn,
      committedLsn,
      acceptLossAbove: acceptLossAbove === undefined ? undefined : Number(acceptLossAbove),
      lostUpTo: forced?.upTo,
    }
    world.logger.log({
      level: 'info',
      code: 'ship.promoted',
      replicaId: this.replicaId,
      durable: durableLsn,
      committed: committedLsn,
      epochSeen,
      acceptLossAbove,
    })
    return await openHandle(isHeld ? this.o.root : this.o.place, { ...this.o.given, ...open }, promotion)
  }

  private checkPromotion({ epoch, acceptLossAbove: accept, forced }: PromoteOptions, mode: AckMode): void {
    const { durableLsn, committedLsn, epochSeen, promised, handle, failure, elided, isWhole } = this.node
    if (epoch !== undefined && epoch < epochSeen) {
      throw new StaleEpochError(`epoch ${epoch}; ${epochSeen} was seen`, { details: { held: epochSeen, seen: epoch } })
    }
    // Promoted at the number of one whom it follows it would vote twice.
    if (epoch !== undefined && hasVoted(mandateOfPromotion(epoch), this.node)) {
      const held = epochOfMandate(promised)
      const isOwn = this.node.log?.node.facts.mandate === promised
      throw new StaleEpochError(`promote: ${this.replicaId} ${isOwn ? 'was itself' : 'follows a node that was'} decided on at epoch ${held}`, {
        details: { held, seen: epoch },
        hint: isOwn ? OWN_DECISION_HINT : SECOND_DECISION_HINT,
      })
    }
    if (failure !== undefined) {
      throw new InvalidConfigError(`promote: this replica has failed: ${failure.message}`, {
        details: { key: 'replica', value: '' },
        hint: 'Open it again, and promote it if it comes up; else promote another node.',
        cause: failure,
      })
    }
    if (handle === undefined || elided !== null) {
      const why =
        durableLsn === 0
          ? 'this replica holds nothing that could be written to'
          : `files of the version it ends at, ${durableLsn}, were left out or are on their way`
      throw new InvalidConfigError(`promote: ${why}`, {
        details: { key: 'replica', value: '' },
        hint: 'Promote another node, or let its primary finish with it.',
      })
    }
    const whole = Math.max(accept === undefined ? 0 : Number(accept), accept === undefined ? committedLsn : 0)
    if (durableLsn < whole) {
      throw new CommittedTruncationError(`promote: this replica ends at ${durableLsn}, records up to ${whole} would be lost`, {
        details: { durable: BigInt(durableLsn), committed: BigInt(committedLsn) },
      })
    }
    if (accept === undefined && mode === 'async') {
      throw new InvalidConfigError('promote: in mode async the primary may have acknowledged what no replica has', {
        details: { key: 'acceptLossAbove', value: undefined },
        hint: `Say which LSN is known to be whole: promote({ acceptLossAbove: ${durableLsn} }) gives up everything above ${durableLsn}.`,
      })
    }
    // In mode async nothing rests on what nodes have confirmed. Whoever names an LSN, or a forced promotion, has said what may be lost.
    if (accept === undefined && forced === undefined && !isWhole) {
      throw new InvalidConfigError(
        'promote: this replica may lack what it once confirmed: its disk came back empty, or with less, and it was not in sync since',
        {
          details: { key: 'replica', value: '' },
          hint: `Ask the nodes (fence, candidates) and promote another one, or let its primary bring it in sync. Where neither can be: promote({ acceptLossAbove: ${durableLsn} }), or what forcePromotion() returned, gives up everything above ${durableLsn}.`,
        },
      )
    }
  }

  /** Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.shut(true).finally(() => this.tell('closed'))
    return this.closing
  }

  /** @param unlinked  nothing comes any more, and the log is still open */
  private async shut(releasesRoot: boolean, unlinked?: () => Promise<void>): Promise<void> {
    this.closing ??= Promise.resolve()
    try {
      await this.listening?.[Symbol.asyncDispose]()
      await this.host.close(closedError())
      try {
        await unlinked?.()
      } finally {
        await this.node.close()
      }
    } finally {
      if (releasesRoot) await this.o.releaseRoot()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function closedError(): ClosedError {
  return new ClosedError('store.closed', 'the replica is closed', { details: { what: 'store' } })
}

showAs(Replica, (replica) => ({ ...replica.status() }))
