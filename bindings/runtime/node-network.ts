// runtime/node-network.ts: sockets by node:net and node:tls, which Node, Deno and Bun all have.
//
// Invariant: a stream reads no more than its reader takes (READ_AHEAD_BYTES at most wait), writes of one turn leave in one call of the system, and after
// `closed` nothing of it is left open.
import { connect, createServer, type Server, type Socket } from 'node:net'

import { Inbox } from './inbox.ts'
import type { ByteStream, Listener, Network, NetworkAddress, TlsOptions } from './world.ts'

/** What may have arrived without being taken before the other side is held up. */
const READ_AHEAD_BYTES: number = 1024 * 1024

export const nodeNetwork: Network = {
  connect: async ({ host, port }, { signal, tls }) => {
    signal.throwIfAborted()
    const socket = tls === undefined ? connect({ host, port, noDelay: true }) : await secureSocket(host, port, tls)
    await opened(socket, tls === undefined ? 'connect' : 'secureConnect', signal)
    return new SocketStream(socket)
  },
  listen: async ({ host, port }, { accept, refused, tls, handshakeMs }) => {
    /** Amid the handshake of TLS: nobody but the listener knows of them. */
    const greeting = new Map<string, Socket>()
    const onSocket = (socket: Socket): void => {
      greeting.delete(peerOf(socket))
      accept(new SocketStream(socket))
    }
    const server = tls === undefined ? createServer({ noDelay: true }, onSocket) : await secureServer(tls, handshakeMs, onSocket)
    if (tls !== undefined) {
      server.on('tlsClientError', (error: Error) => server.listening && refused?.(error))
      server.on('connection', (socket: Socket) => {
        const peer = peerOf(socket)
        greeting.set(peer, socket)
        socket.once('close', () => greeting.get(peer) === socket && greeting.delete(peer))
      })
    }
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.off('error', reject)
        // One connection that could not be accepted ends nothing.
        server.on('error', () => undefined)
        resolve()
      })
    })
    return listenerOf(server, host, () => greeting.values())
  },
}

async function secureSocket(host: string, port: number, { cert, key, ca, servername }: TlsOptions): Promise<Socket> {
  const { connect: connectTls } = await import('node:tls')
  const { isIP } = await import('node:net')
  const name = servername ?? (isIP(host) === 0 ? host : undefined)
  const socket = connectTls({
    host,
    port,
    minVersion: 'TLSv1.3',
    ...(cert === undefined ? {} : { cert: pem(cert) }),
    ...(key === undefined ? {} : { key: pem(key) }),
    ...(ca === undefined ? {} : { ca: pem(ca) }),
    ...(name === undefined ? {} : { servername: name }),
  })
  socket.setNoDelay(true)
  return socket
}

async function secureServer({ cert, key, ca }: TlsOptions, handshakeMs: number | undefined, onSocket: (socket: Socket) => void): Promise<Server> {
  const { createServer: createTlsServer } = await import('node:tls')
  return createTlsServer(
    {
      minVersion: 'TLSv1.3',
      noDelay: true,
      ...(cert === undefined ? {} : { cert: pem(cert) }),
      ...(key === undefined ? {} : { key: pem(key) }),
      ...(ca === undefined ? {} : { ca: pem(ca), requestCert: true, rejectUnauthorized: true }),
      ...(handshakeMs === undefined ? {} : { handshakeTimeout: handshakeMs }),
    },
    onSocket,
  )
}

function pem(text: string | Uint8Array): string {
  return typeof text === 'string' ? text : new TextDecoder().decode(text)
}

function opened(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      signal.removeEventListener('abort', abort)
      socket.off('error', fail)
      socket.off(event, open)
    }
    const open = (): void => {
      settle()
      resolve()
    }
    const fail = (error: Error): void => {
      settle()
      // A socket may fail more than once; nobody else listens.
      socket.on('error', () => undefined)
      socket.destroy()
      reject(error)
    }
    const abort = (): void => fail(signal.reason as Error)
    socket.once(event, open)
    socket.once('error', fail)
    signal.addEventListener('abort', abort, { once: true })
    // Since, while TLS was loaded.
    if (signal.aborted) abort()
  })
}

function peerOf({ remoteAddress = '?', remotePort = 0 }: Socket): string {
  return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`
}

function listenerOf(server: Server, host: string, greeting: () => Iterable<Socket>): Listener {
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const address: NetworkAddress = { host, port }
  return {
    address,
    // The callback would wait for all connections; the port is free with the next turn.
    close: () =>
      new Promise((resolve) => {
        server.close()
        for (const socket of greeting()) socket.destroy()
        setImmediate(resolve)
      }),
  }
}

class SocketStream implements ByteStream {
  readonly peer: string
  readonly chunks: Inbox<Uint8Array>
  readonly closed: Promise<void>
  readonly #socket: Socket
  #aheadBytes = 0
  #isCorked = false

  constructor(socket: Socket) {
    this.#socket = socket
    this.peer = peerOf(socket)
    this.chunks = new Inbox((chunk) => this.#taken(chunk.length))
    let failure: { readonly reason: unknown } | undefined
    socket.on('data', ({ buffer, byteOffset, length }: Uint8Array) => {
      this.#aheadBytes += length
      if (this.#aheadBytes > READ_AHEAD_BYTES) socket.pause()
      // Not as the Buffer it is, whose slice() copies nothing.
      this.chunks.put(new Uint8Array(buffer, byteOffset, length))
    })
    socket.on('end', () => this.chunks.end())
    socket.on('error', (reason) => (failure = { reason }))
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.chunks.end(failure)
        resolve()
      })
    })
  }

  write(parts: readonly Uint8Array[], done: (error: Error | null) => void): void {
    const socket = this.#socket
    if (!this.#isCorked) {
      this.#isCorked = true
      socket.cork()
      process.nextTick(() => {
        this.#isCorked = false
        socket.uncork()
      })
    }
    const last = parts.length - 1
    for (let i = 0; i < last; i++) socket.write(parts[i]!)
    socket.write(parts[last]!, (error) => done(error ?? null))
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #taken(bytes: number): void {
    this.#aheadBytes -= bytes
    if (this.#aheadBytes <= READ_AHEAD_BYTES && this.#socket.isPaused()) this.#socket.resume()
  }
}
