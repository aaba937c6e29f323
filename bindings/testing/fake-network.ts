// testing/fake-network.ts: connections of bytes inside one process, with the small buffers of a system: what a fake world has for sockets.
//
// Nothing arrives in the turn it was written in. Invariant: bytes arrive in order, each once, in pieces of at most `pieceBytes`; a writer is told `done` only
// when its bytes are in the reader's buffer, so a reader that takes nothing holds its writer up.
import { type ByteStream, Inbox, type Listener, type Network, type NetworkAddress, soon } from '../runtime/index.ts'

export interface FakeNetworkOptions {
  /** Largest piece that arrives at once. */
  readonly pieceBytes?: number
  /** What lies between a writer and a reader that takes nothing. */
  readonly bufferBytes?: number
}

interface Write {
  readonly bytes: Uint8Array
  readonly done: (error: Error | null) => void
}

const FIRST_PORT = 50_000

export class FakeNetwork implements Network {
  readonly pieceBytes: number
  readonly bufferBytes: number
  /** Nothing arrives, connecting included, while it is set; what was written waits. */
  isSilent = false
  readonly #listening = new Map<number, (stream: ByteStream) => void>()
  readonly #streams = new Set<FakeStream>()
  #port = FIRST_PORT

  constructor(o: FakeNetworkOptions = {}) {
    this.pieceBytes = o.pieceBytes ?? 64 * 1024
    this.bufferBytes = o.bufferBytes ?? 256 * 1024
  }

  /** Streams that are open, both ends counted: none when everything was closed. */
  get open(): number {
    return this.#streams.size
  }

  connect({ host, port }: NetworkAddress, { signal }: { readonly signal: AbortSignal }): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(signal.reason as Error)
      if (signal.aborted) return abort()
      signal.addEventListener('abort', abort, { once: true })
      const attempt = (): void => {
        if (signal.aborted) return
        if (this.isSilent) return soon(attempt)
        signal.removeEventListener('abort', abort)
        const accept = this.#listening.get(port)
        if (accept === undefined) return reject(Object.assign(new Error(`connect ECONNREFUSED ${host}:${port}`), { code: 'ECONNREFUSED' }))
        const [near, far] = [this.#stream(`${host}:${port}`), this.#stream(`${host}:${this.#port++}`)]
        near.other = far
        far.other = near
        accept(far)
        resolve(near)
      }
      soon(attempt)
    })
  }

  // eslint-disable-next-line typescript/require-await
  async listen({ host, port }: NetworkAddress, { accept }: { readonly accept: (stream: ByteStream) => void }): Promise<Listener> {
    const settled = port === 0 ? this.#port++ : port
    if (this.#listening.has(settled)) throw Object.assign(new Error(`listen EADDRINUSE ${host}:${settled}`), { code: 'EADDRINUSE' })
    this.#listening.set(settled, accept)
    // eslint-disable-next-line typescript/require-await
    return { address: { host, port: settled }, close: async () => void this.#listening.delete(settled) }
  }

  #stream(peer: string): FakeStream {
    const stream = new FakeStream(this, peer)
    this.#streams.add(stream)
    void stream.closed.then(() => this.#streams.delete(stream))
    return stream
  }
}

class FakeStream implements ByteStream {
  readonly peer: string
  readonly chunks: Inbox<Uint8Array>
  readonly closed: Promise<void>
  other: FakeStream | undefined
  readonly #network: FakeNetwork
  #writes: Write[] = []
  #aheadBytes = 0
  #isMoving = false
  #hasEnded = false
  #isClosed = false
  #close: () => void = () => undefined

  constructor(network: FakeNetwork, peer: string) {
    this.#network = network
    this.peer = peer
    this.closed = new Promise((resolve) => (this.#close = resolve))
    this.chunks = new Inbox((chunk) => {
      this.#aheadBytes -= chunk.length
      const { other } = this
      if (other !== undefined) other.#move()
    })
  }

  write(parts: readonly Uint8Array[], done: (error: Error | null) => void): void {
    if (this.#isClosed || this.#hasEnded) return soon(() => done(new Error('write after the end')))
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
    this.#writes.push({ bytes, done })
    this.#move()
  }

  end(): void {
    this.#hasEnded = true
    this.#move()
  }

  destroy(): void {
    if (this.#isClosed) return
    this.#finish()
    const { other } = this
    if (other !== undefined) soon(() => other.#reset())
  }

  /** One piece a turn, while the other side has room for it. */
  #move(): void {
    if (this.#isMoving || this.#isClosed) return
    this.#isMoving = true
    soon(() => {
      this.#isMoving = false
      const { other } = this
      if (this.#isClosed || other === undefined) return
      if (this.#network.isSilent) return this.#move()
      const [head] = this.#writes
      if (head === undefined) {
        if (this.#hasEnded) this.#ended(other)
        return
      }
      if (other.#aheadBytes >= this.#network.bufferBytes) return
      this.#writes.shift()
      const piece = head.bytes.subarray(0, this.#network.pieceBytes)
      if (piece.length < head.bytes.length) this.#writes.unshift({ ...head, bytes: head.bytes.subarray(piece.length) })
      else head.done(null)
      other.#aheadBytes += piece.length
      other.chunks.put(piece)
      this.#move()
    })
  }

  /** As a socket that is not half-open: the other side ends, too. */
  #ended(other: FakeStream): void {
    other.chunks.end()
    if (other.#hasEnded && other.#writes.length === 0) {
      this.#finish()
      other.#finish()
    } else other.end()
  }

  #reset(): void {
    if (this.#isClosed) return
    this.chunks.end({ reason: Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }) })
    this.#finish()
  }

  #finish(): void {
    this.#isClosed = true
    this.chunks.end()
    const writes = this.#writes
    this.#writes = []
    for (const { done } of writes) done(new Error('write ECONNRESET'))
    this.#close()
  }
}
