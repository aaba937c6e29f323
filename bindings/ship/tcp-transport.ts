// ship/tcp-transport.ts: shipping over TCP, with a shared key and TLS (docs/shipping.md "Frames and transports", docs/decisions/0021-transport.md).
//
// Invariant: nobody but this machine is listened to or talked to without a key; before both sides have proved to know it nothing but challenges and proofs is
// read, and the host hears of no link.
import { InvalidConfigError, VarveError } from '../errors.ts'
import { AuthError, InvalidEndpointError, TransportError } from '../errors-ship.ts'
import { type ByteStream, fillWorld, type Listener, type TlsOptions, type World } from '../runtime/index.ts'
import { isLoopback, isWildcard } from './address.ts'
import { parseAddress } from './endpoint.ts'
import { authenticate, keyBytes } from './tcp-auth.ts'
import { TcpLink, tlsMismatch } from './tcp-link.ts'
import type { Endpoint, Link, LinkHost, Transport } from './types.ts'

export type { TlsOptions } from '../runtime/index.ts'

export interface TcpTransportOptions {
  /** 32 bytes that both sides know, or 64 hex digits. Without one only loopback addresses are used. */
  readonly key?: Uint8Array | string | undefined
  /** Encrypts the connections; the key is still asked for. */
  readonly tls?: TlsOptions | undefined
  /** Until the connection is there and both sides have proved themselves. */
  readonly connectTimeoutMs?: number
  /** A connection that takes nothing for so long while something waits is broken off. */
  readonly stallMs?: number
  /** Most bytes of sent frames that wait in this process, for each connection. */
  readonly bufferBytes?: number
  /** Log records as LZ4 blocks; default: to other machines. Files are compressed already. */
  readonly compress?: boolean
  readonly world?: Partial<World>
}

const DEFAULTS = { connectTimeoutMs: 3000, stallMs: 3000, bufferBytes: 16 * 1024 * 1024 }
const NONCE_BYTES = 32
/** Connections to one listener that have not proved themselves: beyond it the one that has had the longest is closed, so that whoever knows the key gets through. */
const STRANGERS_MAX = 128

/**
 * Shipping over TCP. Endpoints are `host:port` or `[v6]:port`; a port of 0, to listen on, is settled.
 *
 * @throws InvalidConfigError for a key of another length
 * @example new TcpTransport({ key: readFileSync('ship.key') })
 */
export class TcpTransport implements Transport {
  readonly #world: World
  readonly #key: Uint8Array | undefined
  readonly #o: typeof DEFAULTS & Pick<TcpTransportOptions, 'tls' | 'compress'>

  constructor(o: TcpTransportOptions = {}) {
    const { key, world, ...rest } = o
    this.#world = fillWorld(world)
    this.#key = key === undefined ? undefined : keyBytes(key)
    this.#o = { ...DEFAULTS, ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)) }
  }

  check(endpoint: Endpoint): void {
    this.#addressOf(endpoint)
  }

  async connect(endpoint: Endpoint, signal: AbortSignal): Promise<Link> {
    const address = this.#addressOf(endpoint)
    signal.throwIfAborted()
    const { timers, network } = this.#world
    const late = new AbortController()
    const timeout = timers.set(this.#o.connectTimeoutMs, () =>
      late.abort(new TransportError(`${endpoint.data} does not answer`, { details: { endpoint: endpoint.data, timeoutMs: this.#o.connectTimeoutMs } })),
    )
    const either = AbortSignal.any([signal, late.signal])
    try {
      const stream = await network.connect(address, { signal: either, ...this.#tls() })
      const link = this.#link(stream, endpoint.data, !isLoopback(address.host))
      await this.#prove(link, 'client', either)
      return link
    } catch (error) {
      either.throwIfAborted()
      // Said by the other side, of the port that this side came from.
      if (error instanceof AuthError && error.details['peer'] !== endpoint.data)
        throw new AuthError(`${endpoint.data} refuses the shared key of this side`, { details: { peer: endpoint.data }, cause: error })
      if (error instanceof VarveError) throw error
      if (this.#o.tls !== undefined && isNoTls(error))
        throw tlsMismatch(`${endpoint.data} does not answer in TLS, which this side speaks: ${whyOf(error)}`, endpoint.data, error)
      if (this.#o.tls !== undefined && isDistrust(error))
        throw new TransportError(`${endpoint.data} has a certificate that this side does not trust: ${whyOf(error)}`, {
          details: { endpoint: endpoint.data },
          hint: 'Give this side, as tls.ca, who has signed it. It must be made out to the host of the address, or to tls.servername.',
          cause: error,
        })
      throw new TransportError(`${endpoint.data} cannot be reached: ${whyOf(error)}`, { details: { endpoint: endpoint.data }, cause: error })
    } finally {
      timers.clear(timeout)
    }
  }

  async listen(host: LinkHost, endpoint: Endpoint): Promise<AsyncDisposable & { readonly endpoint: Endpoint }> {
    const address = this.#addressOf(endpoint)
    const { tls } = this.#o
    if (tls !== undefined && (tls.cert === undefined || tls.key === undefined)) {
      throw new InvalidConfigError('tls: who listens shows a certificate: cert and key', { details: { key: 'tls', value: Object.keys(tls) } })
    }
    const strangers = new Set<AbortController>()
    const accepting = new Set<Promise<void>>()
    let isClosed = false
    const refuse = (stranger: AbortController, why: string): void => {
      strangers.delete(stranger)
      stranger.abort(new TransportError(why, { details: { endpoint: data } }))
    }
    const accept = (stream: ByteStream): void => {
      if (isClosed) return stream.destroy()
      const [oldest] = strangers
      if (oldest !== undefined && strangers.size >= STRANGERS_MAX) refuse(oldest, `${STRANGERS_MAX} other connections wait to prove that they know the key`)
      const stranger = new AbortController()
      strangers.add(stranger)
      const accepted = this.#accept(host, stream, stranger).finally(() => {
        strangers.delete(stranger)
        accepting.delete(accepted)
      })
      accepting.add(accepted)
    }
    const close = async (listener: Listener): Promise<void> => {
      isClosed = true
      await listener.close()
      for (const each of strangers) refuse(each, `${data} is not listened on any more`)
      await Promise.all(accepting)
    }
    let { data } = endpoint
    const refused = (cause: Error): void => {
      const error = tlsMismatch(`who connected to ${data} does not speak TLS, or shows no certificate that is known: ${whyOf(cause)}`, data, cause)
      this.#world.logger.log({ level: 'warn', code: 'ship.refused', peer: data, error })
    }
    try {
      const listener = await this.#world.network.listen(address, { accept, refused, ...this.#tls(), handshakeMs: this.#o.connectTimeoutMs })
      data = endpoint.data.replace(/:\d+$/, `:${listener.address.port}`)
      return { endpoint: { ...endpoint, data }, [Symbol.asyncDispose]: () => close(listener) }
    } catch (cause) {
      throw new InvalidEndpointError(`${endpoint.data} cannot be listened on: ${whyOf(cause)}`, { details: { endpoint: endpoint.data }, cause })
    }
  }

  /** Settles when it has proved itself, or is closed. */
  async #accept(host: LinkHost, stream: ByteStream, late: AbortController): Promise<void> {
    const link = this.#link(stream, stream.peer, false)
    const { timers, logger } = this.#world
    const timeout = timers.set(this.#o.connectTimeoutMs, () =>
      late.abort(new TransportError(`${stream.peer} did not prove that it knows the key`, { details: { peer: stream.peer } })),
    )
    try {
      await this.#prove(link, 'server', late.signal)
      host.accept(link)
    } catch (error) {
      logger.log({ level: 'warn', code: 'ship.refused', peer: stream.peer, error })
    } finally {
      timers.clear(timeout)
    }
  }

  /** Nothing to do without a key. What fails closes the link and tells the other side. */
  async #prove(link: TcpLink, side: 'client' | 'server', signal: AbortSignal): Promise<void> {
    if (this.#key === undefined) return
    link.distrust()
    const abort = (): void => void link.close(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    try {
      await authenticate(link, link.frames, side, this.#key, this.#world.random.bytes(NONCE_BYTES))
    } catch (error) {
      await link.close(error as Error)
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  #link(stream: ByteStream, peer: string, isFar: boolean): TcpLink {
    const { stallMs, bufferBytes, compress } = this.#o
    return new TcpLink(stream, this.#world, { peer, stallMs, bufferBytes, compress: compress ?? isFar })
  }

  #tls(): { readonly tls?: TlsOptions } {
    return this.#o.tls === undefined ? {} : { tls: this.#o.tls }
  }

  /** @throws InvalidEndpointError */
  #addressOf({ data }: Endpoint): { readonly host: string; readonly port: number } {
    const details = { endpoint: data }
    if (isWildcard(data)) {
      const hint = 'Name the address that the other side reaches it at.'
      throw new InvalidEndpointError(`endpoint ${JSON.stringify(data)} is no address of its own`, { details, hint })
    }
    const address = parseAddress(data)
    if (this.#key === undefined && !isLoopback(address.host)) {
      const hint = 'Give both sides the same key: 32 random bytes.'
      throw new InvalidEndpointError(`${data} is not this machine, and there is no shared key`, { details, hint })
    }
    return address
  }
}

/** The code of an error of the system says more, in fewer words, than its message. */
function whyOf(error: unknown): string {
  const { code, message } = error as Error & { readonly code?: string }
  return code ?? message
}

/** What came back was no record of TLS, or nothing at all (Bun and Deno say it by the first, Node by either). */
function isNoTls(error: unknown): boolean {
  const { code = '', message } = error as Error & { readonly code?: string }
  return code === 'ERR_SSL_WRONG_VERSION_NUMBER' || /before secure TLS connection|wrong version number|InvalidContentType/i.test(message)
}

/** As OpenSSL, BoringSSL and rustls say it. */
function isDistrust(error: unknown): boolean {
  const { code = '', message } = error as Error & { readonly code?: string }
  return /CERT|UNABLE_TO_VERIFY|invalid peer certificate/.test(`${code} ${message}`)
}
