// ship/peer.ts: the primary's end of one link: questions and their answers, files that the replica asks for, bases, acks, heartbeats (docs/shipping.md).
//
//   hello -> [digestReq]* [verifySelf] -> [truncate] | [manifest -> files, base records -> install] -> grant -> entries ... (ship/shipper.ts)
//
// A link serves one session: every frame carries its fence, and what comes back under another one is not heard. Invariant: the first failure ends the link,
// and everything that waits on it is told that failure; nothing here decides what a failure means.
import { FragmentHashError, FragmentMissingError, TransportError } from '../errors-ship.ts'
import { FILE_PIECE_BYTES_MAX, isContentName, type Message, toHex } from '../format/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import { PROTOCOL_VERSION } from './classify.ts'
import type { SelfCheck } from './host-parts.ts'
import { UNANSWERED_HINT } from './error-frame.ts'
import type { FileRef, Hello, Link, Manifest, ReplicaId, Want, WireFrame } from './types.ts'

/** Of one `fragment` message. */
const CHUNK_BYTES = FILE_PIECE_BYTES_MAX
/** Read from the root at once. */
const READ_BYTES = 4 * 1024 * 1024
const CHECKPOINT_NAME = /^checkpoints\/\d{20}\.ckpt$/

export interface PeerTimeouts {
  readonly helloMs: number
  readonly replyMs: number
  /** Nothing sent for so long: a heartbeat goes out. */
  readonly heartbeatMs: number
  /** Nothing heard for so long: the link is dead. */
  readonly silenceMs: number
}

export const PEER_TIMEOUTS: PeerTimeouts = { helloMs: 3000, replyMs: 5000, heartbeatMs: 1000, silenceMs: 3000 }

export interface PeerOptions {
  readonly world: World
  /** Epoch and session of the header of every frame. */
  readonly epoch: number
  readonly session: number
  /** Where the files are; undefined: none is sent. */
  readonly root: Root | undefined
  /** Files that some version still needs: none of them is ever called dead. undefined: none may be. */
  readonly needed?: () => Promise<ReadonlySet<string>>
  /** What heartbeats tell. */
  readonly committed: () => number
  readonly head: () => number
  readonly timeouts?: PeerTimeouts
}

type Answer = 'helloReply' | 'digestReply' | 'verified' | 'grantAck' | 'truncated' | 'want' | 'installed'
type Of<T extends Message['type']> = Extract<Message, { type: T }>

interface Waiting {
  readonly type: Answer
  readonly resolve: (message: Message) => void
  readonly reject: (error: unknown) => void
  atMs: number
  readonly limitMs: number
  /** The other side works, which heartbeats show: it is silence that counts. */
  readonly isWork: boolean
}

export class Peer {
  readonly #link: Link
  readonly #o: PeerOptions
  readonly #timeouts: PeerTimeouts
  readonly #waiting: Waiting[] = []
  readonly #wanted: Of<'want'>[] = []
  /** Files of a base that are asked for again while others are still being sent. */
  readonly #again: Of<'want'>[] = []
  #serving: Promise<void> | undefined
  #timer: TimerHandle | undefined
  #isGreeted = false
  #ended: Error | undefined
  /** Settled when nothing is left of the connection. */
  closed: Promise<void> = Promise.resolve()
  /** Of this grant, once one was missing. */
  #needed: Promise<ReadonlySet<string>> | undefined
  /** What the replica has done with files, a cut or a base, as it says. */
  #done = 0
  #heardMs: number
  #sentMs: number
  /** Bytes of files sent. */
  fileBytes = 0
  files = 0
  durableLsn = 0
  receivedLsn = 0
  /** undefined: not said over this link yet. */
  appliedLsn: number | undefined
  /** Of the newest ack. */
  ackedMs: number
  /** When the replica said last that it has done more. */
  workedMs: number
  /** Files that this grant may lack: nothing needs them at its target. */
  elideDead = false
  /** Told at each ack that says more is durable. */
  onDurable: (lsn: number) => void = () => {}
  /** Told when the replica says that it has done more with files, a cut or a base. */
  onWork: () => void = () => {}
  /** Told at each ack and at the end. */
  onChange: () => void = () => {}

  constructor(link: Link, o: PeerOptions) {
    this.#link = link
    this.#o = o
    this.#timeouts = o.timeouts ?? PEER_TIMEOUTS
    this.#heardMs = this.#sentMs = this.ackedMs = this.workedMs = o.world.clock.monoMs()
    this.#watch()
    void this.#receive()
  }

  get ended(): Error | undefined {
    return this.#ended
  }

  get address(): string {
    return this.#link.peer
  }

  /** @throws what ended the link */
  check(): void {
    if (this.#ended !== undefined) throw this.#ended
  }

  /** First of all. @throws TransportError */
  async hello(about: Pick<Of<'hello'>, 'replicaId' | 'storeId' | 'endpointVersion' | 'mandate' | 'decision' | 'kind'>, signal: AbortSignal): Promise<Hello> {
    const reply = await this.#ask({ type: 'hello', protocol: PROTOCOL_VERSION, ...about }, 'helloReply', signal, { limitMs: this.#timeouts.helloMs })
    this.#isGreeted = true
    this.durableLsn = reply.durableLsn
    this.receivedLsn = reply.durableLsn
    return { ...reply, replicaId: reply.replicaId as ReplicaId, storeId: reply.storeId === undefined ? '' : toHex(reply.storeId) }
  }

  /** @returns undefined where it is not known there */
  async digestAt(lsn: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const reply = await this.#ask({ type: 'digestReq', lsn }, 'digestReply', signal)
    // Of an older question: what it says of another position decides nothing here.
    if (reply.lsn !== lsn)
      throw new TransportError(`${this.#link.peer} answered ${reply.lsn} where the digest at ${lsn} was asked for`, { details: { peer: this.#link.peer } })
    return reply.digest
  }

  async verifySelf(upTo: number, signal: AbortSignal): Promise<SelfCheck> {
    return await this.#ask({ type: 'verifySelf', upTo }, 'verified', signal, { isWork: true })
  }

  async truncate(lsn: number, signal: AbortSignal): Promise<number> {
    const done = await this.#ask({ type: 'truncate', lsn }, 'truncated', signal, { isWork: true })
    this.durableLsn = this.receivedLsn = done.lsn
    return done.lsn
  }

  /** What comes next. @returns where the replica stands */
  async grant(o: Omit<Of<'grant'>, 'type'>, signal: AbortSignal): Promise<number> {
    this.elideDead = o.elideDead
    this.#needed = undefined
    const { durableLsn } = await this.#ask({ type: 'grant', ...o }, 'grantAck', signal)
    this.durableLsn = this.receivedLsn = durableLsn
    this.ackedMs = this.#o.world.clock.monoMs()
    return durableLsn
  }

  async manifest(hash: Uint8Array, bytes: Uint8Array, signal: AbortSignal): Promise<Want> {
    return (await this.#ask({ type: 'manifest', hash, bytes }, 'want', signal, { isWork: true })).files
  }

  /** The files of a base, then whatever fails its check again, until the replica says that it has everything. */
  async sendBase(
    manifest: Manifest,
    want: Want,
    o: {
      readonly attemptsMax: number
      readonly records: (sent: (bytes: number) => void) => Promise<void>
      readonly sink: (progress: { files: number; bytes: number }) => void
      readonly signal: AbortSignal
    },
  ): Promise<void> {
    const allowed = new Map([...manifest.files, manifest.checkpoint].map((file) => [file.name, file]))
    const attempts = new Map<string, number>()
    const hasRecords = manifest.logFrom < manifest.baseLsn
    const sent = { files: 0, bytes: 0 }
    const count = (bytes: number): void => {
      sent.bytes += bytes
      o.sink(sent)
    }
    let asked = want
    if (asked.length === 0 && !hasRecords) return
    for (let round = 0; ; round++) {
      for (const { name } of asked) {
        const file = allowed.get(name)
        const times = (attempts.get(name) ?? 0) + 1
        attempts.set(name, times)
        if (file === undefined) throw missing(name, 'the manifest does not name it')
        if (times > o.attemptsMax) {
          throw new FragmentHashError(`${name}: its bytes failed the check at the replica ${o.attemptsMax} times`, {
            details: { file: name, attempts: o.attemptsMax },
          })
        }
        await this.#sendFile(file, o.signal, count)
        sent.files++
        o.sink(sent)
      }
      if (round === 0 && hasRecords) await o.records(count)
      asked = (this.#again.shift() ?? (await this.#await('want', o.signal, { isWork: true }))).files
      if (asked.length === 0) return
    }
  }

  async install(manifestHash: Uint8Array, signal: AbortSignal): Promise<number> {
    const { baseLsn } = await this.#ask({ type: 'install', manifestHash }, 'installed', signal, { isWork: true })
    this.durableLsn = this.receivedLsn = baseLsn
    return baseLsn
  }

  async send(message: Message): Promise<void> {
    this.check()
    this.#sentMs = this.#o.world.clock.monoMs()
    const frame: WireFrame = { epoch: this.#o.epoch, session: this.#o.session, message }
    try {
      await this.#link.send(frame)
    } catch (error) {
      this.#end(error as Error)
      throw this.#ended
    }
  }

  heartbeat(): Promise<void> {
    return this.send({ type: 'heartbeat', committedLsn: this.#o.committed(), durableLsn: this.#o.head() })
  }

  /** Idempotent. The connection goes in its own time: `closed`. */
  async close(reason?: Error): Promise<void> {
    this.#end(reason ?? new TransportError('the link was closed here', { details: { peer: this.#link.peer } }), reason !== undefined)
    await this.#serving
  }

  // the receiving side

  async #receive(): Promise<void> {
    try {
      for await (const frame of this.#link.frames) {
        if (this.#ended !== undefined) return
        this.#heardMs = this.#o.world.clock.monoMs()
        if (frame.epoch === this.#o.epoch && frame.session === this.#o.session) this.#hear(frame.message)
      }
      const { peer } = this.#link
      if (this.#isGreeted) throw new TransportError(`${peer} closed the link`, { details: { peer } })
      throw new TransportError(`${peer} closed the link before it answered`, { details: { peer }, hint: UNANSWERED_HINT })
    } catch (error) {
      this.#end(error as Error)
    }
  }

  #hear(message: Message): void {
    if (message.type === 'ack') {
      this.ackedMs = this.#heardMs
      // Of an ack that was sent before a truncation or a grant nothing goes back.
      this.receivedLsn = Math.max(this.receivedLsn, message.receivedLsn)
      this.appliedLsn = message.appliedLsn
      if (message.durableLsn > this.durableLsn) {
        this.durableLsn = message.durableLsn
        this.onDurable(message.durableLsn)
      }
      this.onChange()
    } else if (message.type === 'working') {
      if (message.done <= this.#done) return
      this.#done = message.done
      this.workedMs = this.#heardMs
      this.onWork()
    } else if (message.type === 'want' && message.lsn > 0) {
      this.#wanted.push(message)
      this.#serving ??= this.#serve().finally(() => (this.#serving = undefined))
    } else {
      const at = this.#waiting.findIndex(({ type }) => type === message.type)
      if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(message)
      else if (message.type === 'want') this.#again.push(message)
    }
  }

  /** Files of records, in the order in which they are asked for. */
  async #serve(): Promise<void> {
    try {
      for (let next = this.#wanted.shift(); next !== undefined; next = this.#wanted.shift()) {
        for (const file of next.files) await this.#sendFile(file)
      }
    } catch (error) {
      this.#end(error as Error)
    }
  }

  async #sendFile({ name, hash, bytes: total }: FileRef, signal?: AbortSignal, sent?: (bytes: number) => void): Promise<void> {
    if (!isContentName(name) && !CHECKPOINT_NAME.test(name)) throw missing(name, 'it is none of the files of a store')
    for (let at = 0; at < total || at === 0;) {
      signal?.throwIfAborted()
      const end = Math.min(total, at + READ_BYTES)
      const read = await this.#readFile(name, at, end)
      if (read === undefined) {
        await this.send({ type: 'fragment', hash, offset: 0, total, dead: true, bytes: new Uint8Array() })
        return
      }
      for (let from = 0; from < read.length || from === 0; from += CHUNK_BYTES) {
        signal?.throwIfAborted()
        const bytes = read.subarray(from, from + CHUNK_BYTES)
        await this.send({ type: 'fragment', hash, offset: at + from, total, dead: false, bytes })
        this.fileBytes += bytes.length
        sent?.(bytes.length)
      }
      at = end
      if (total === 0) break
    }
    this.files++
  }

  /** undefined: it is gone, and the grant says that nothing needs it. @throws FragmentMissingError, StorageError */
  async #readFile(name: string, start: number, end: number): Promise<Uint8Array | undefined> {
    try {
      return (await this.#o.root!.get(name, { range: { start, end }, immutable: true })).bytes
    } catch (cause) {
      if (isNotFound(cause)) {
        if (this.elideDead && (await this.#isDead(name))) return undefined
        throw missing(name, 'it is not there', cause)
      }
      if (cause instanceof RangeError) throw missing(name, `it ends before byte ${end}`, cause)
      throw cause
    }
  }

  /** Doomed by a vacuum and needed by nothing: a file that is lost is none of these. */
  async #isDead(name: string): Promise<boolean> {
    this.#needed ??= this.#o.needed?.()
    return this.#needed !== undefined && !(await this.#needed).has(name)
  }

  // questions and time

  async #ask<T extends Answer>(question: Message, type: T, signal: AbortSignal, o: { limitMs?: number; isWork?: boolean } = {}): Promise<Of<T>> {
    const answer = this.#await(type, signal, o)
    // It may fail before anybody waits for it.
    answer.catch(() => undefined)
    await this.send(question)
    return await answer
  }

  async #await<T extends Answer>(type: T, signal: AbortSignal, o: { limitMs?: number; isWork?: boolean } = {}): Promise<Of<T>> {
    this.check()
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<Message>()
    const waiting: Waiting = {
      type,
      resolve,
      reject,
      atMs: this.#o.world.clock.monoMs(),
      limitMs: o.limitMs ?? this.#timeouts.replyMs,
      isWork: o.isWork ?? false,
    }
    const abort = (): void => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    this.#waiting.push(waiting)
    try {
      return (await promise) as Of<T>
    } finally {
      signal.removeEventListener('abort', abort)
      const at = this.#waiting.indexOf(waiting)
      if (at >= 0) this.#waiting.splice(at, 1)
    }
  }

  /** Looks at the clock a few times in each interval: what is late, and whether it is time to be heard. */
  #watch(): void {
    const { world, committed, head } = this.#o
    this.#timer = world.timers.set(this.#timeouts.heartbeatMs / 4, () => {
      if (this.#ended !== undefined) return
      const nowMs = world.clock.monoMs()
      const { peer } = this.#link
      if (this.#isGreeted && nowMs - this.#heardMs > this.#timeouts.silenceMs) {
        return this.#end(new TransportError(`nothing heard from ${peer} for ${this.#timeouts.silenceMs} ms`, { details: { peer } }))
      }
      const late = this.#waiting.find(({ atMs, limitMs, isWork }) => nowMs - (isWork ? Math.max(atMs, this.#heardMs) : atMs) > limitMs)
      if (late !== undefined)
        return this.#end(new TransportError(`${peer} did not answer with ${late.type} in ${late.limitMs} ms`, { details: { peer, awaited: late.type } }))
      if (this.#isGreeted && nowMs - this.#sentMs >= this.#timeouts.heartbeatMs) {
        void this.send({ type: 'heartbeat', committedLsn: committed(), durableLsn: head() }).catch(() => undefined)
      }
      this.#watch()
    })
  }

  #end(error: Error, isTold = true): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    if (this.#timer !== undefined) this.#o.world.timers.clear(this.#timer)
    for (const { reject } of this.#waiting.splice(0)) reject(error)
    this.#wanted.length = 0
    this.closed = this.#link.close(isTold ? error : undefined).catch(() => undefined)
    this.onChange()
  }
}

function missing(name: string, why: string, cause?: unknown): FragmentMissingError {
  return new FragmentMissingError(`${name}: ${why}`, { details: { file: name }, ...(cause === undefined ? {} : { cause }) })
}
