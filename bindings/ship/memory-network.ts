// ship/memory-network.ts: connections inside one process, with the faults of a network: what tests and the simulation ship over.
//
// Everything comes from the world's timers and randomness, in the order of the calls: same seed, same deliveries. Without faults a frame is put into the other
// side's queue at once, as it is. Invariant: frames of one connection arrive in the order they were sent, each at most once; delays and duplicates only change
// what arrives first among connections. (A frame that was duplicated arrives again on a *later* connection, as from a proxy that came back to life.)
import { AuthError, InvalidEndpointError, TransportError } from '../errors-ship.ts'
import type { World } from '../runtime/index.ts'
import { isWildcard } from './address.ts'
import { type Lane, MemoryLink, type MemoryLinkSettings } from './memory-link.ts'
import type { Endpoint, Link, LinkHost, Transport, WireFrame } from './types.ts'

export interface MemoryNetworkOptions {
  /** Most bytes of frames that one side has sent and the other has not taken. */
  readonly bufferBytes?: number
  readonly connectTimeoutMs?: number
  /** A send that waits this long while the other side takes nothing breaks the connection. */
  readonly stallMs?: number
  /** Every frame as its real bytes, decoded on the other side. */
  readonly asBytes?: boolean
  /** Nothing arrives by itself: queued() and deliver() say what and when. */
  readonly manual?: boolean
  /** Told of every frame before its receiver. */
  readonly onDeliver?: (from: string, to: string, frame: WireFrame) => void
}

/** One direction of a connection on which something waits. */
export interface QueuedLane {
  /** Of the connection: grows with every new one. */
  readonly link: number
  readonly from: string
  readonly to: string
  /** Frames and the end of the connection, as many deliveries. */
  readonly count: number
}

export interface MemoryTransportOptions {
  /** As the key of the TcpTransport: both sides have the same, or none connects. */
  readonly key?: string
}

interface Listening {
  readonly node: string
  readonly key: string | undefined
  readonly host: LinkHost
}

/** How long a duplicated frame may be on its way. */
const STRAY_MS_MAX = 2000
const DEFAULTS = { bufferBytes: 16 * 1024 * 1024, connectTimeoutMs: 3000, stallMs: 3000, asBytes: false, manual: false, onDeliver: () => undefined }

/** What runs between named nodes of one process, and the faults of it. */
export class MemoryNetwork implements MemoryLinkSettings {
  readonly timers: World['timers']
  readonly clock: World['clock']
  readonly random: World['random']
  readonly options: Required<MemoryNetworkOptions>
  readonly #listening = new Map<string, Listening>()
  readonly #links = new Set<MemoryLink>()
  readonly #partitions = new Set<string>()
  /** Connects that a partition holds up. */
  readonly #held = new Set<() => void>()
  #delayMs: readonly [number, number] = [0, 0]
  #corruptRate = 0
  #duplicateRate = 0
  #breakRate = 0
  #ports = 0

  constructor(world: Pick<World, 'timers' | 'clock' | 'random'>, o: MemoryNetworkOptions = {}) {
    this.timers = world.timers
    this.clock = world.clock
    this.random = world.random
    this.options = { ...DEFAULTS, ...o }
  }

  /** What a node ships over. `data` of an endpoint is any name here; one that ends in `:0` is settled as a port of 0 is. */
  transport(node: string, o: MemoryTransportOptions = {}): Transport {
    return {
      connect: (endpoint, signal) => this.#connect(node, o.key, endpoint, signal),
      listen: (host, endpoint) => this.#listen(node, o.key, host, endpoint),
    }
  }

  /** Nothing passes from `a` to `b`, and back unless `oneWay`; what is sent waits. Connecting needs both ways. */
  partition(a: string, b: string, o: { readonly oneWay?: boolean } = {}): void {
    this.#partitions.add(way(a, b))
    if (o.oneWay !== true) this.#partitions.add(way(b, a))
  }

  /** Between two nodes, of one, or everywhere; what waited arrives. */
  heal(a?: string, b?: string): void {
    for (const each of this.#partitions) {
      const [from, to] = each.split('\n')
      const named = (node: string | undefined): boolean => node === undefined || node === from || node === to
      if (named(a) && named(b)) this.#partitions.delete(each)
    }
    for (const link of this.#links) link.pump()
    for (const attempt of this.#held) attempt()
  }

  /** Breaks the connections between two nodes, or all of one: each side learns of it, on its own way what was sent is lost or still arrives. @returns how many */
  cut(a: string, b?: string): number {
    const found = this.#between(a, b)
    for (const link of found) link.break()
    return found.length
  }

  /** The node's process is gone: its listeners, and its connections, of which only the others are told. */
  crash(node: string): void {
    for (const [name, listening] of this.#listening) if (listening.node === node) this.#listening.delete(name)
    for (const link of this.#between(node)) link.abandon(node)
  }

  /** Each frame takes this long, drawn for each; a range of 0 delivers at once. */
  delay(range: readonly [number, number]): void {
    this.#delayMs = range
  }

  /** Share of frames that lose one byte's value. */
  corrupt(rate: number): void {
    this.#corruptRate = rate
  }

  /** Share of frames that arrive once more, on a later connection of the two nodes. */
  duplicate(rate: number): void {
    this.#duplicateRate = rate
  }

  /** Share of frames at which the connection breaks. */
  breakAt(rate: number): void {
    this.#breakRate = rate
  }

  /** What waits and could be delivered now, oldest connection first. */
  queued(): readonly QueuedLane[] {
    return [...this.#deliverable()].map(({ link, lane }) => ({ link: link.id, from: lane.from, to: lane.to, count: lane.queued }))
  }

  /** Delivers the first of what waits on that lane of queued(); `damage`: with one byte changed. */
  deliver(lane: number, o: { readonly damage?: boolean } = {}): void {
    ;[...this.#deliverable()][lane]?.lane.step(o)
  }

  /** Bytes as they are, to the listener's side of the newest connection from `from`: what a damaged or foreign sender sends. */
  inject(from: string, bytes: Uint8Array): void {
    const link = [...this.#links].findLast((each) => each.from === from)
    if (link === undefined) throw new TransportError(`${from} has no connection`, { details: { peer: from } })
    link.client.out.inject(bytes)
  }

  /** Open connections, as `from->to` by who connected. */
  get open(): readonly string[] {
    return Array.from(this.#links, ({ from, to }) => `${from}->${to}`)
  }

  isCut(from: string, to: string): boolean {
    return this.#partitions.has(way(from, to))
  }

  drawDelayMs(): number {
    const [least, most] = this.#delayMs
    return most <= 0 ? 0 : least + (this.random.u32() % (most - least + 1))
  }

  drawFault(): 'corrupt' | 'break' | undefined {
    if (this.#isDrawn(this.#corruptRate)) return 'corrupt'
    return this.#isDrawn(this.#breakRate) ? 'break' : undefined
  }

  get isEncoding(): boolean {
    return this.options.asBytes || this.#corruptRate > 0
  }

  get isManual(): boolean {
    return this.options.manual
  }

  delivering(from: string, to: string, frame: WireFrame): void {
    this.options.onDeliver(from, to, frame)
  }

  sent(link: MemoryLink, from: string, to: string, frame: WireFrame): void {
    if (!this.#isDrawn(this.#duplicateRate)) return
    this.timers.set(this.random.u32() % STRAY_MS_MAX, () => {
      for (const later of [...this.#links].toReversed()) if (later.id > link.id && later.stray(from, to, frame)) return
    })
  }

  closed(link: MemoryLink): void {
    this.#links.delete(link)
  }

  *#deliverable(): Generator<{ readonly link: MemoryLink; readonly lane: Lane }> {
    for (const link of this.#links) for (const lane of link.lanes) if (lane.queued > 0 && !this.isCut(lane.from, lane.to)) yield { link, lane }
  }

  #isDrawn(rate: number): boolean {
    return rate > 0 && this.random.u32() < rate * 2 ** 32
  }

  #between(a: string, b?: string): MemoryLink[] {
    return [...this.#links].filter(({ from, to }) => (from === a && (b === undefined || to === b)) || (to === a && (b === undefined || from === b)))
  }

  // eslint-disable-next-line typescript/require-await
  async #listen(node: string, key: string | undefined, host: LinkHost, endpoint: Endpoint): Promise<AsyncDisposable & { readonly endpoint: Endpoint }> {
    const data = checked(endpoint).data.replace(/:0$/, () => `:${++this.#ports}`)
    if (this.#listening.has(data)) throw new InvalidEndpointError(`endpoint ${JSON.stringify(data)} is in use`, { details: { endpoint: data } })
    const listening: Listening = { node, key, host }
    this.#listening.set(data, listening)
    return {
      endpoint: { ...endpoint, data },
      // eslint-disable-next-line typescript/require-await
      [Symbol.asyncDispose]: async () => {
        if (this.#listening.get(data) === listening) this.#listening.delete(data)
      },
    }
  }

  #connect(node: string, key: string | undefined, endpoint: Endpoint, signal: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      const { data } = checked(endpoint)
      if (signal.aborted) return reject(signal.reason as Error)
      const details = { endpoint: data }
      const settle = (): void => {
        this.timers.clear(timeout)
        if (arriving !== undefined) this.timers.clear(arriving)
        signal.removeEventListener('abort', abort)
        this.#held.delete(attempt)
      }
      const fail = (error: unknown): void => {
        settle()
        reject(error as Error)
      }
      const abort = (): void => fail(signal.reason)
      const attempt = (): void => {
        const listening = this.#listening.get(data)
        if (listening !== undefined && (this.isCut(node, listening.node) || this.isCut(listening.node, node))) return void this.#held.add(attempt)
        if (listening === undefined) return fail(new TransportError(`${data} refuses connections`, { details }))
        if (listening.key !== key) return fail(new AuthError(`${data} has another key`, { details }))
        settle()
        const link = new MemoryLink(this, node, listening.node, data)
        this.#links.add(link)
        listening.host.accept(link.server)
        resolve(link.client)
      }
      const timeout = this.timers.set(this.options.connectTimeoutMs, () => fail(new TransportError(`${data} does not answer`, { details })))
      signal.addEventListener('abort', abort, { once: true })
      const delayMs = this.drawDelayMs() + this.drawDelayMs()
      const arriving = delayMs === 0 ? undefined : this.timers.set(delayMs, attempt)
      if (delayMs === 0) attempt()
    })
  }
}

function way(from: string, to: string): string {
  return `${from}\n${to}`
}

function checked(endpoint: Endpoint): Endpoint {
  if (!isWildcard(endpoint.data)) return endpoint
  throw new InvalidEndpointError(`endpoint ${JSON.stringify(endpoint.data)} is no address of its own`, {
    details: { endpoint: endpoint.data },
    hint: 'Name the address that the other side reaches it at.',
  })
}
