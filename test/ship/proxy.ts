// A TCP proxy that tests stand between two sides of shipping: passes, delays, throttles, cuts, swallows and damages what goes through it.
//
// What it does can be changed while connections are open. Bytes keep their order. `held` bytes wait in the proxy, whose reading stops, so that a sender feels
// a slow or silent other side as it would in a network.
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface ProxyFaults {
  /** Every chunk waits this long. */
  delayMs: number
  /** 0 = as fast as it goes. */
  bytesPerSecond: number
  /** Half-open: what arrives is read and thrown away, nothing is closed, and closes of one side are not told to the other. */
  swallow: boolean
  /** Nothing is read: both sides find a full pipe. */
  hold: boolean
  /** One byte of every so many gets another value; 0 = none. */
  flipEvery: number
}

export interface Proxy {
  /** Where it listens: `127.0.0.1:port`. */
  readonly address: string
  readonly faults: ProxyFaults
  /** Connections that are open. */
  readonly open: number
  /** Bytes that went through, both ways. */
  readonly passedBytes: number
  /** Where new connections lead from now on: a replica that came back elsewhere. */
  target: string
  /** Breaks every connection (a reset); new ones go through. */
  cut(): void
  /** New connections are refused (closed at once) until it is lifted. */
  refuse: boolean
  close(): Promise<void>
}

const NONE: Readonly<ProxyFaults> = { delayMs: 0, bytesPerSecond: 0, swallow: false, hold: false, flipEvery: 0 }
const POLL_MS = 5

export async function openProxy(target: string, faults: Partial<ProxyFaults> = {}): Promise<Proxy> {
  const proxy = new TcpProxy(target, { ...NONE, ...faults })
  await proxy.listen()
  return proxy
}

class TcpProxy implements Proxy {
  target: string
  refuse = false
  passedBytes = 0
  readonly faults: ProxyFaults
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #address = ''

  constructor(target: string, faults: ProxyFaults) {
    this.target = target
    this.faults = faults
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => this.#accept(socket))
  }

  get address(): string {
    return this.#address
  }

  get open(): number {
    return this.#sockets.size / 2
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    this.#address = `127.0.0.1:${(this.#server.address() as { port: number }).port}`
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #accept(near: Socket): void {
    near.on('error', () => undefined)
    if (this.refuse) return near.destroy() as unknown as void
    const [host, port] = this.target.split(':')
    const far = connect({ host: host!, port: Number(port), allowHalfOpen: true, noDelay: true })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        if (!this.faults.swallow) other.destroy()
      })
    }
    far.once('connect', () => {
      void this.#carry(near, far)
      void this.#carry(far, near)
    })
  }

  async #carry(from: Socket, to: Socket): Promise<void> {
    let at = 0
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        const { delayMs, bytesPerSecond } = this.faults
        if (delayMs > 0) await pause(delayMs)
        if (bytesPerSecond > 0) await pause((chunk.length / bytesPerSecond) * 1000)
        while (this.faults.hold && !from.destroyed) await pause(POLL_MS)
        if (this.faults.swallow) continue
        this.#flip(chunk, at)
        at += chunk.length
        this.passedBytes += chunk.length
        if (!to.write(chunk)) await new Promise<void>((resolve) => void to.once('drain', resolve).once('close', resolve))
      }
      if (!this.faults.swallow) to.end()
    } catch {
      if (!this.faults.swallow) to.destroy()
    }
  }

  #flip(chunk: Buffer, at: number): void {
    const { flipEvery } = this.faults
    if (flipEvery === 0) return
    for (let place = flipEvery - 1 - (at % flipEvery); place < chunk.length; place += flipEvery) chunk[place]! ^= 0x5a
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}
