// ship/tcp-link.ts: a Link over a stream of bytes: frames out with a bound on what is buffered, frames in as the reader takes them.
//
// Invariants: frames leave in the order of the sends, never more than `bufferBytes` (or one frame) of them wait here; the first thing that goes wrong ends the
// link, and reading, sending and closing all tell of that one; after close() has resolved neither the stream nor a timer is left.
import { VarveError } from '../errors.ts'
import { AuthError, TransportError } from '../errors-ship.ts'
import {
  ByteReader,
  decodeMessage,
  encodeMessage,
  encodeShipFrame,
  messageBytes,
  SHIP_FRAME_BYTES_MAX,
  type ShipFrame,
  ShipFrameDecoder,
} from '../format/index.ts'
import { type ByteStream, Inbox, type TimerHandle, type World } from '../runtime/index.ts'
import { errorMessage, errorOf, frameFault } from './error-frame.ts'
import { PieceMemory } from './piece-memory.ts'
import type { Link, WireFrame } from './types.ts'

export interface TcpLinkOptions {
  readonly stallMs: number
  readonly bufferBytes: number
  /** Records and manifests leave as LZ4 blocks where that makes them shorter. */
  readonly compress: boolean
  /** Called `peer` in messages. */
  readonly peer: string
}

/** What may have been decoded without being taken. */
const READ_AHEAD_BYTES: number = 4 * 1024 * 1024
/** One write: the system's progress is seen by these. */
const WRITE_BYTES_MAX: number = 256 * 1024
/** Frames of somebody who has not proved to know the key. */
const STRANGER_BYTES_MAX = 16 * 1024
/** A handshake or alert of TLS: content type, then the version of the record (RFC 8446 section 5.1). No first frame of ours is so long. */
const isTls = (bytes: Uint8Array): boolean => (bytes[0] === 0x16 || bytes[0] === 0x15) && bytes[1] === 3 && (bytes[2] === 1 || bytes[2] === 3)
/** How long a close with a reason waits for the other side to have heard it, and one without for the other side's end. */
const LINGER_MS = 40
const LINGER_MS_MAX = 500

interface Waiting {
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (reason: Error) => void
}

export class TcpLink implements Link {
  readonly frames: Inbox<WireFrame>
  readonly peer: string
  bufferedBytes = 0
  readonly #stream: ByteStream
  readonly #world: Pick<World, 'timers' | 'clock'>
  readonly #o: TcpLinkOptions
  readonly #decoder = new ShipFrameDecoder()
  readonly #pieces = new PieceMemory()
  #waiting: Waiting[] = []
  #aheadBytes = 0
  #onRoom: (() => void) | undefined
  /** Of the stall: armed while something is buffered. */
  #stall: TimerHandle | undefined
  #progressMs = 0
  #closed: { readonly reason: Error } | undefined
  /** While the two sides prove themselves. */
  #isStranger = false
  #hasHeard = false

  constructor(stream: ByteStream, world: Pick<World, 'timers' | 'clock'>, o: TcpLinkOptions) {
    this.#stream = stream
    this.#world = world
    this.#o = o
    this.peer = o.peer
    this.frames = new Inbox((frame) => this.#taken(messageBytes(frame.message)))
    this.#decoder.memoryFor = (type, bytes) => this.#pieces.take(type, bytes)
    void this.#receive()
  }

  /** Until `trust()` nothing but challenges and proofs is taken, no long frame, and an error says no more than that the link ends. */
  distrust(): void {
    this.#isStranger = true
    this.#decoder.frameBytesMax = STRANGER_BYTES_MAX
  }

  /** The other side has proved that it knows the key. */
  trust(): void {
    this.#isStranger = false
    this.#decoder.frameBytesMax = SHIP_FRAME_BYTES_MAX
  }

  async send({ epoch, session, message }: WireFrame): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed.reason
    const { type, head, tail } = encodeMessage(message)
    const lz4 = this.#o.compress && (message.type === 'entries' || message.type === 'manifest')
    const parts = encodeShipFrame({ type, epoch, session }, head, tail, { lz4 })
    const bytes = parts.reduce((sum, part) => sum + part.length, 0)
    if (this.#waiting.length === 0 && this.#fits(bytes)) this.#write(parts, bytes)
    else await new Promise<void>((resolve, reject) => this.#waiting.push({ parts, bytes, resolve, reject }))
  }

  recycle(bytes: Uint8Array): void {
    this.#pieces.give(bytes)
  }

  async close(reason?: Error): Promise<void> {
    if (this.#closed === undefined) {
      this.#end(reason ?? new TransportError(`the connection to ${this.peer} is closed`, { details: { peer: this.peer } }))
      this.frames.cut(reason === undefined ? undefined : { reason })
      // Nobody reads on: what still comes is thrown away, so that the other side's end is seen.
      this.#aheadBytes = Number.NEGATIVE_INFINITY
      this.#onRoom?.()
      if (reason instanceof VarveError) this.#tell(reason)
      this.#stream.end()
      if (reason !== undefined) this.#linger(LINGER_MS)
      else if (this.bufferedBytes === 0) this.#linger(LINGER_MS_MAX)
    }
    await this.#stream.closed
  }

  /** The last frame: it may pass the bound. */
  #tell(reason: VarveError): void {
    const { type, head } = encodeMessage(errorMessage(reason))
    this.#stream.write(encodeShipFrame({ type, epoch: 0, session: 0 }, head), () => undefined)
  }

  #linger(ms: number): void {
    const timer = this.#world.timers.set(ms, () => this.#stream.destroy())
    void this.#stream.closed.then(() => this.#world.timers.clear(timer))
  }

  async #receive(): Promise<void> {
    try {
      for await (const chunk of this.#stream.chunks) {
        if (!this.#hasHeard && isTls(chunk)) throw tlsMismatch(`${this.peer} speaks TLS, and this side does not`, this.peer)
        this.#hasHeard = true
        // After our close only the end matters.
        if (this.#closed === undefined) this.#decoder.push(chunk, (frame) => this.#take(frame))
        if (this.#aheadBytes > READ_AHEAD_BYTES) await new Promise<void>((resolve) => (this.#onRoom = resolve))
      }
      if (this.#closed !== undefined) return
      this.#decoder.end()
      this.#fail(new TransportError(`${this.peer} closed the connection`, { details: { peer: this.peer } }), 'end')
    } catch (error) {
      const fault = frameFault(error)
      this.#fail(
        fault instanceof VarveError ? fault : new TransportError(`the connection to ${this.peer} broke`, { details: { peer: this.peer }, cause: error }),
      )
    }
  }

  #take({ type, epoch, session, body }: ShipFrame): void {
    if (this.#closed !== undefined) return
    const message = decodeMessage(type, new ByteReader(body))
    if (message.type === 'error') throw this.#isStranger ? saidByStranger(this.peer, errorOf(message)) : errorOf(message)
    const isAuth = message.type === 'challenge' || message.type === 'proof'
    if (isAuth !== this.#isStranger) {
      const what = isAuth ? 'asks for a key, and this side has none' : 'does not know the shared key'
      const error = new AuthError(`${this.peer} ${what}`, { details: { peer: this.peer } })
      this.#tell(error)
      throw error
    }
    // Heartbeats come when nothing else does.
    if (message.type === 'heartbeat') this.#pieces.drop()
    this.#aheadBytes += messageBytes(message)
    this.frames.put({ epoch, session, message })
  }

  #taken(bytes: number): void {
    this.#aheadBytes -= bytes
    if (this.#aheadBytes > READ_AHEAD_BYTES || this.#onRoom === undefined) return
    const resume = this.#onRoom
    this.#onRoom = undefined
    resume()
  }

  #fits(bytes: number): boolean {
    return this.bufferedBytes === 0 || this.bufferedBytes + bytes <= this.#o.bufferBytes
  }

  #write(parts: readonly Uint8Array[], bytes: number): void {
    this.bufferedBytes += bytes
    if (this.#stall === undefined) {
      this.#progressMs = this.#world.clock.monoMs()
      this.#stall = this.#world.timers.set(this.#o.stallMs, () => this.#checkStall())
    }
    if (bytes <= 2 * WRITE_BYTES_MAX) return this.#stream.write(parts, (error) => this.#written(bytes, error))
    for (const part of parts) {
      for (let at = 0; at < part.length; at += WRITE_BYTES_MAX) {
        const piece = part.subarray(at, at + WRITE_BYTES_MAX)
        this.#stream.write([piece], (error) => this.#written(piece.length, error))
      }
    }
  }

  #written(bytes: number, error: Error | null): void {
    this.bufferedBytes -= bytes
    if (error !== null) return this.#fail(new TransportError(`the connection to ${this.peer} broke`, { details: { peer: this.peer }, cause: error }))
    this.#progressMs = this.#world.clock.monoMs()
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#write(next.parts, next.bytes)
      next.resolve()
    }
    if (this.bufferedBytes > 0) return
    this.#disarm()
    if (this.#closed !== undefined) this.#linger(LINGER_MS_MAX)
  }

  #checkStall(): void {
    const leftMs = this.#progressMs + this.#o.stallMs - this.#world.clock.monoMs()
    if (leftMs > 0) this.#stall = this.#world.timers.set(leftMs, () => this.#checkStall())
    else this.#fail(new TransportError(`${this.peer} takes nothing: ${this.bufferedBytes} bytes wait`, { details: { peer: this.peer } }))
  }

  #disarm(): void {
    if (this.#stall !== undefined) this.#world.timers.clear(this.#stall)
    this.#stall = undefined
  }

  /** It is over: the reader hears of it behind what arrived. `end`: the other side's orderly one. */
  #fail(reason: Error, how?: 'end'): void {
    this.#disarm()
    if (this.#closed === undefined) {
      this.#end(reason)
      this.frames.end(how === 'end' ? undefined : { reason })
    }
    // An error that was told must leave before the connection goes.
    if (how === 'end' || reason instanceof AuthError) {
      this.#stream.end()
      this.#linger(LINGER_MS)
    } else this.#stream.destroy()
  }

  #end(reason: Error): void {
    this.#closed = { reason }
    const waiting = this.#waiting
    this.#waiting = []
    for (const { reject } of waiting) reject(reason)
  }
}

/** What is done about an error depends on what it tells (a newer epoch fences a primary): of somebody who has proved nothing, only that the key is refused is heard. */
function saidByStranger(peer: string, error: VarveError): VarveError {
  if (error instanceof AuthError) return error
  return new TransportError(`${peer} refused before it proved that it knows the key: ${error.message}`, { details: { peer, code: error.code } })
}

/** One side encrypts, the other does not. */
export function tlsMismatch(message: string, peer: string, cause?: unknown): AuthError {
  return new AuthError(message, { details: { peer }, hint: 'Give tls to both sides, or to neither.', ...(cause === undefined ? {} : { cause }) })
}
