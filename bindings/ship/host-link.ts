// ship/host-link.ts: one link as a replica serves it: what comes is checked against the fence, then handed to the gate that it is for (docs/shipping.md "Replica").
//
// Invariant: nothing changes here by the word of a link that is not the host's current one; an error is told to the other side and ends the link.

import { FencedError, VarveError } from '../errors.ts'
import {
  NoSessionError,
  ProtocolVersionError,
  ReplicaMismatchError,
  SessionFencedError,
  StoreMismatchError,
  TransportError,
  UnknownFrameError,
} from '../errors-ship.ts'
import { type Message, toHex } from '../format/index.ts'
import { FP, type TimerHandle } from '../runtime/index.ts'
import { BaseTransfer } from './host-base.ts'
import { EntryGate, gap } from './host-entries.ts'
import { FileGate } from './host-files.ts'
import type { ReplicaParts } from './host-parts.ts'
import { PROTOCOL_VERSION } from './classify.ts'
import type { FileRef, Link, WireFrame } from './types.ts'

const HEARTBEAT_MS = 1000
const SILENCE_MS = 3000
const ACK_MS = 20
const ACK_ENTRIES = 256
/** Files of one `want`. */
const WANT_FILES_MAX = 1000

type Of<T extends Message['type']> = Extract<Message, { readonly type: T }>
export type LinkMode = 'observe' | 'handshake' | Of<'grant'>['mode'] | 'base'

/** Who wants to change things. */
export interface Greeting {
  readonly epoch: number
  readonly session: number
  readonly mandate: number
  readonly decision: string
  readonly storeId: Uint8Array
}

/** What a link asks of its host. */
export interface LinkOwner {
  readonly parts: ReplicaParts
  /** Makes the link the one that may change things. Resolves once its fence is durable and nothing of the one before is on its way. @returns false: a newer one was seen @throws StaleEpochError: of a mandate that is no longer followed */
  take(link: HostLink, greeting: Greeting): Promise<boolean>
  /** Everything below the epoch is refused from when it resolves on. @returns false: a newer one was seen @throws StaleEpochError: a session of this very one was */
  fence(epoch: number): Promise<boolean>
  /** Of the newest fence that was accepted. */
  readonly epoch: number
  /** @throws StaleEpochError, SessionFencedError */
  check(link: HostLink, epoch: number, session: number): void
  /** Told when what status() says has changed. */
  changed(): void
}

export class HostLink {
  readonly peer: string
  epoch = 0
  session = 0
  mode: LinkMode = 'handshake'
  private readonly owner: LinkOwner
  private readonly parts: ReplicaParts
  private readonly link: Link
  private entries: EntryGate | undefined
  private files: FileGate
  private base: BaseTransfer | undefined
  private greeted = false
  private granted: Of<'grant'> | undefined
  /** C as the grant of the stream tells it, until this node is known to be whole. */
  private wholeFrom: number | undefined
  /** That is being made durable: nothing is acknowledged meanwhile. */
  private settling = false
  private ended: Promise<void> | undefined
  /** For what reads long on behalf of the other side. */
  private readonly over = new AbortController()
  private sending: Promise<void> | undefined
  /** The last message but acknowledgements, until the link has room for it. */
  private unsent: Promise<void> | undefined
  private timer: TimerHandle | undefined
  private readonly openedMs: number
  private heardMs: number
  private sentMs: number
  private handling = false
  private ackOwed = false
  /** Done over this link with files, a cut and a base, in bytes about; and what of it the primary was told. */
  private done = 0
  private doneTold = 0
  private acked = { lsn: -1, applied: -1, atMs: 0 }

  constructor(owner: LinkOwner, link: Link) {
    this.owner = owner
    this.parts = owner.parts
    this.link = link
    this.peer = link.peer
    this.files = this.newFiles()
    this.openedMs = this.heardMs = this.sentMs = this.now()
  }

  get receivedLsn(): number {
    return this.entries?.received ?? this.parts.durableLsn
  }

  /** Resolves when the link is over and nothing of it is on its way. */
  async serve(): Promise<void> {
    this.tick()
    try {
      for await (const frame of this.link.frames) {
        if (this.ended !== undefined) break
        this.heardMs = this.now()
        this.handling = true
        await this.handle(frame)
        // Who asks on and does not read is answered into what the link itself holds, and no further.
        if (this.unsent !== undefined) await this.unsent
        this.handling = false
        // While it was handled nothing was listened to.
        this.heardMs = this.now()
      }
      await this.end(undefined)
    } catch (error) {
      await this.end(error)
    }
  }

  /** @param error  undefined: the other side has closed */
  end(error: unknown): Promise<void> {
    this.ended ??= this.finish(error)
    return this.ended
  }

  /** Behind end(): resolves when no file of it is on its way to the disk any more. A link that comes next does not wait for those: they are what they are called, or nothing. */
  stored(): Promise<void> {
    return this.files.settled()
  }

  private async finish(error: unknown): Promise<void> {
    const { world } = this.parts
    if (this.timer !== undefined) world.timers.clear(this.timer)
    const reason = error ?? new TransportError(`${this.peer} has closed`, { details: { peer: this.peer } })
    this.over.abort()
    this.files.end(reason)
    if (error !== undefined && !(error instanceof TransportError)) {
      world.logger.log({ level: 'warn', code: 'ship.linkRefused', peer: this.peer, cause: error })
    }
    const closing = this.link.close(toldAs(error)).catch(() => undefined)
    // What is on its way to the log gets there or not, but not after this.
    await this.entries?.end()
    await this.base?.abandon().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'ship.baseNotAbandoned', cause }))
    await closing
    this.owner.changed()
  }

  private async handle({ epoch, session, message }: WireFrame): Promise<void> {
    if (message.type === 'hello') return this.hello(epoch, session, message)
    if (!this.greeted) throw new NoSessionError(`${message.type} before hello`, { details: { replicaId: this.parts.replicaId } })
    switch (message.type) {
      case 'digestReq':
        return this.send({ type: 'digestReply', lsn: message.lsn, digest: await this.parts.digestAt(message.lsn) })
      case 'heartbeat':
        if (this.mode === 'observe') return
        // What a primary calls committed is a promise: one that was fenced makes none.
        this.owner.check(this, epoch, session)
        // Without a grant it speaks of records that do not follow: what is about to be cut off, or what lies above the base that is on its way, may stand in their
        // place here, and neither is done below what was called committed.
        return this.granted === undefined ? undefined : this.committed(message.committedLsn)
      case 'verifySelf':
        return this.send({ type: 'verified', ...(await this.parts.verifySelf(message.upTo, this.over.signal)) })
    }
    if (this.mode === 'observe') throw new SessionFencedError(`${message.type} over a link that observes`, { details: { replicaId: this.parts.replicaId } })
    this.owner.check(this, epoch, session)
    switch (message.type) {
      case 'grant':
        return this.grant(message)
      case 'entries':
        return this.take(message)
      case 'fragment':
        return this.files.piece(message)
      case 'truncate':
        return this.truncate(message)
      case 'manifest':
        return this.manifest(message)
      case 'install':
        return this.install(message)
      default:
        throw new UnknownFrameError(`${message.type} is nothing that a replica answers`, { details: { type: message.type } })
    }
  }

  private async hello(epoch: number, session: number, { protocol, replicaId, storeId, mandate, decision, kind }: Of<'hello'>): Promise<void> {
    const { parts } = this
    if (this.greeted) throw new SessionFencedError('a link serves one session', { details: { replicaId: parts.replicaId } })
    if (protocol !== PROTOCOL_VERSION)
      throw new ProtocolVersionError(`protocol ${protocol}; this replica speaks ${PROTOCOL_VERSION}`, {
        details: { found: protocol, supported: [PROTOCOL_VERSION] },
      })
    const isLook = kind === 'observe' || kind === 'fence'
    if (replicaId !== parts.replicaId && !(isLook && replicaId === ''))
      throw new ReplicaMismatchError(`${replicaId} was asked for, this is ${parts.replicaId}`, { details: { replicaId, found: parts.replicaId } })
    const own = parts.storeId
    if (own !== undefined && toHex(own) !== toHex(storeId) && !(kind === 'observe' && storeId.every((byte) => byte === 0))) {
      throw new StoreMismatchError(`this replica holds store ${toHex(own)}`, { details: { storeId: toHex(own), asked: toHex(storeId) } })
    }
    this.epoch = epoch
    this.session = session
    if (isLook) {
      this.mode = 'observe'
      if (kind === 'fence') await this.owner.fence(epoch)
    } else {
      // A primary that was fenced hears it from `epochSeen`.
      if (await this.owner.take(this, { epoch, session, mandate, decision, storeId })) this.entries = await this.newEntries()
    }
    this.greeted = true
    const facts = await factsOf(parts)
    const epochSeen = isLook ? facts.epochSeen : this.owner.epoch
    this.send({ type: 'helloReply', protocol: PROTOCOL_VERSION, replicaId: parts.replicaId, storeId: parts.storeId, ...facts, epochSeen })
    this.owner.changed()
  }

  // records

  private async grant(grant: Of<'grant'>): Promise<void> {
    const { parts } = this
    await this.entries!.drained()
    if (this.ended !== undefined) return
    if (grant.start > parts.durableLsn) throw gap(parts.durableLsn + 1, grant.start + 1)
    await parts.granted()
    // Before NODE says that it is whole, so that C is in there too: what a base brought is not shown, nor promoted, below it.
    this.committed(grant.committedLsn)
    this.wholeFrom = grant.mode === 'stream' ? grant.committedLsn : undefined
    if (this.isWhole) await this.settleWhole()
    if (this.ended !== undefined) return
    this.granted = grant
    this.mode = grant.mode
    this.send({ type: 'grantAck', durableLsn: parts.durableLsn })
    this.owner.changed()
  }

  private take(message: Of<'entries'>): Promise<void> | undefined {
    if (message.base) {
      if (this.base === undefined) throw new NoSessionError('records of a base without its manifest', { details: { replicaId: this.parts.replicaId } })
      return this.base.take(message)
    }
    if (this.granted === undefined) throw new NoSessionError('records without a grant', { details: { replicaId: this.parts.replicaId } })
    const waiting = this.entries!.take(message)
    this.committed(message.committedLsn)
    return waiting
  }

  private committed(lsn: number): void {
    this.parts.commit(lsn)
  }

  private async truncate({ lsn }: Of<'truncate'>): Promise<void> {
    await this.entries!.drained()
    if (this.ended !== undefined) return
    const digest = await this.parts.truncate(lsn, this.worked)
    this.entries = await this.newEntries()
    this.send({ type: 'truncated', lsn, digest })
  }

  private newEntries(): Promise<EntryGate> {
    return EntryGate.open(this.parts, {
      durable: () => this.ackOr(),
      failed: (error) => void this.end(error),
      files: (lsn, files) => this.files.ensure(lsn, files),
    })
  }

  // whole: everything that was ever confirmed from here is here (docs/decisions/0031-when-a-replica-is-whole.md)

  /**
   * It follows the live stream, and has all that its former disk can have confirmed: the record that its primary's epoch begins with, and so what any primary
   * acknowledged before; and what this one had acknowledged when it granted the stream. C alone does not tell: of a primary that was just started it may be behind.
   */
  private get isWhole(): boolean {
    const { wholeFrom, epoch, parts } = this
    // Asked before each acknowledgement.
    if (wholeFrom === undefined || parts.durableLsn < wholeFrom) return false
    return parts.lineage?.some((mark) => mark.epoch === epoch && mark.firstLsn <= parts.durableLsn) === true
  }

  private async settleWhole(): Promise<void> {
    await this.parts.whole()
    this.wholeFrom = undefined
  }

  // acknowledgements: at most one per ACK_MS or ACK_ENTRIES, and always when idle

  private ackOr(): void {
    const { entries } = this
    if (entries === undefined || this.ended !== undefined || this.settling) return
    if (this.isWhole) {
      // Before anybody counts on what is acknowledged next.
      this.settling = true
      this.settleWhole().then(
        () => {
          this.settling = false
          this.ackOr()
        },
        (error: unknown) => void this.end(error),
      )
      return
    }
    const isDue = entries.isIdle || entries.durable - this.acked.lsn >= ACK_ENTRIES || this.now() - this.acked.atMs >= ACK_MS
    if (!isDue) return
    if (this.sending !== undefined) {
      this.ackOwed = true
      return
    }
    if (this.parts.world.failpoints.active) {
      void this.parts.world.failpoints.hit(FP.ship.beforeAck, { lsn: entries.durable }).then(
        () => this.ack(entries),
        (error: unknown) => this.end(error),
      )
    } else this.ack(entries)
  }

  private ack({ received, durable }: EntryGate): void {
    if (this.ended !== undefined) return
    const { appliedLsn } = this.parts
    this.acked = { lsn: durable, applied: appliedLsn, atMs: this.now() }
    this.ackOwed = false
    this.sending = this.link.send(this.framed({ type: 'ack', receivedLsn: received, durableLsn: durable, appliedLsn })).then(
      () => {
        this.sending = undefined
        if (this.ackOwed) this.ackOr()
      },
      (error: unknown) => void this.end(error),
    )
    this.sentMs = this.acked.atMs
  }

  // base

  private async manifest(message: Of<'manifest'>): Promise<void> {
    await this.entries!.drained()
    await this.base?.abandon()
    this.base = undefined
    if (this.ended !== undefined) return
    this.mode = 'base'
    this.granted = undefined
    this.wholeFrom = undefined
    this.base = await BaseTransfer.begin(this.parts, message, this.files, {
      ask: (files) => this.want(0, files),
      fail: (error) => void this.end(error),
      worked: this.worked,
    })
    this.owner.changed()
  }

  private async install({ manifestHash }: Of<'install'>): Promise<void> {
    if (this.base === undefined) throw new NoSessionError('install without a manifest', { details: { replicaId: this.parts.replicaId } })
    const baseLsn = await this.base.install(manifestHash)
    this.base = undefined
    this.files = this.newFiles()
    this.entries = await this.newEntries()
    this.send({ type: 'installed', baseLsn })
    this.owner.changed()
  }

  // files

  private newFiles(): FileGate {
    return new FileGate({
      root: this.parts.root,
      world: this.parts.world,
      verified: this.parts.verified,
      ask: (lsn, files) => this.want(lsn, files),
      claim: (name) => this.parts.claim(name),
      dead: (lsn) => this.elided(lsn),
      worked: this.worked,
      done: (bytes) => this.link.recycle?.(bytes),
    })
  }

  private readonly worked = (bytes: number): void => void (this.done += bytes)

  private want(lsn: number, files: readonly FileRef[]): void {
    for (let at = 0; at === 0 || at < files.length; at += WANT_FILES_MAX) this.send({ type: 'want', lsn, files: files.slice(at, at + WANT_FILES_MAX) })
  }

  private async elided(lsn: number): Promise<void> {
    const { granted } = this
    if (granted?.elideDead !== true || lsn === 0 || lsn > granted.target)
      throw new TransportError('a file was called dead that is needed', { details: { peer: this.peer } })
    await this.parts.raiseFloor(granted.target)
  }

  // the link

  private send(message: Message): void {
    if (this.ended !== undefined) return
    this.sentMs = this.now()
    const unsent = this.link.send(this.framed(message)).then(
      () => {
        if (this.unsent === unsent) this.unsent = undefined
      },
      (error: unknown) => void this.end(error),
    )
    this.unsent = unsent
  }

  private framed(message: Message): WireFrame {
    return { epoch: this.epoch, session: this.session, message }
  }

  private tick(): void {
    this.timer = this.parts.world.timers.set(HEARTBEAT_MS, () => {
      if (this.ended !== undefined) return
      const now = this.now()
      const silentMs = now - (this.greeted ? this.heardMs : this.openedMs)
      if (silentMs >= SILENCE_MS && !this.handling) {
        void this.end(new TransportError(`nothing from ${this.peer} for ${SILENCE_MS} ms`, { details: { peer: this.peer } }))
        return
      }
      // What readers see has grown since the last word of it.
      if (this.granted !== undefined && this.parts.appliedLsn !== this.acked.applied) this.ackOr()
      // A heartbeat says that somebody is there, whatever has become of the work.
      if (this.done > this.doneTold) this.send({ type: 'working', done: (this.doneTold = this.done) })
      if (this.greeted && now - this.sentMs >= HEARTBEAT_MS)
        this.send({ type: 'heartbeat', committedLsn: this.parts.committedLsn, durableLsn: this.parts.durableLsn })
      this.tick()
    })
  }

  private now(): number {
    return this.parts.world.clock.monoMs()
  }
}

type Facts = Omit<Of<'helloReply'>, 'type' | 'protocol' | 'replicaId' | 'storeId'>

/** What a replica says of itself. */
export async function factsOf(parts: ReplicaParts): Promise<Facts> {
  const { epochSeen, durableLsn, committedLsn, tailLsn, lineage, rebuildInProgress, isWhole, elided } = parts
  const digest = (await parts.digestAt(durableLsn)) ?? new Uint8Array(32)
  return { epochSeen, durableLsn, committedLsn, tailLsn, lineage, digest, checkpoints: await parts.checkpoints(), rebuildInProgress, isWhole, elided }
}

/** What the other side is told: of what has no code, that this side failed. */
function toldAs(error: unknown): Error | undefined {
  // Its own LOCK is lost: no other primary is meant.
  const isOwn = error instanceof FencedError && error.scope !== 'primary'
  if (error === undefined || (error instanceof VarveError && !isOwn)) return error
  return new TransportError(`the replica failed: ${error instanceof Error ? error.message : String(error)}`, { details: {}, cause: error })
}
