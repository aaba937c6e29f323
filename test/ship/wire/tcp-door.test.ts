// Who may talk to a TCP transport, and how: keys, TLS, addresses, bounds of time under a fake clock, and what is left open afterwards.
import { createHmac } from 'node:crypto'
import { createServer } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'

import { encodeMessage, encodeShipFrame, type Message } from '../../../bindings/format/index.ts'
import { Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld, seededRandom } from '../../../bindings/runtime/index.ts'
import { type Endpoint, type Link, TcpTransport, type TcpTransportOptions } from '../../../bindings/ship/index.ts'
import { hmacSha256 } from '../../../bindings/ship/tcp-auth.ts'
import { FakeClock, FakeNetwork, fakeWorld } from '../../../bindings/testing/index.ts'
import { testCertificate } from '../certificate.ts'
import { openProxy, type Proxy } from '../proxy.ts'

const KEY = 'c3'.repeat(32)
const LOCAL: Endpoint = { data: '127.0.0.1:0', version: 1 }
const digestReq = (lsn: number): { readonly epoch: number; readonly session: number; readonly message: Message } => ({
  epoch: 1,
  session: 1,
  message: { type: 'digestReq', lsn },
})

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

const opened: (Link | AsyncDisposable | Proxy)[] = []
afterEach(async () => {
  for (const each of opened.splice(0)) await ('close' in each ? each.close() : each[Symbol.asyncDispose]())
})

/** A listener that echoes, and what it accepted. */
async function echo(o: TcpTransportOptions, endpoint: Endpoint = LOCAL): Promise<{ readonly endpoint: Endpoint; readonly accepted: Link[] }> {
  const accepted: Link[] = []
  const accept = (link: Link): void => {
    accepted.push(link)
    opened.push(link)
    void (async () => {
      try {
        for await (const frame of link.frames) await link.send(frame)
      } catch {
        // Told to the other side.
      }
    })()
  }
  const listening = await new TcpTransport(o).listen({ accept }, endpoint)
  opened.push(listening)
  return { endpoint: listening.endpoint, accepted }
}

async function dial(o: TcpTransportOptions, endpoint: Endpoint, signal: AbortSignal = new AbortController().signal): Promise<Link> {
  const link = await new TcpTransport(o).connect(endpoint, signal)
  opened.push(link)
  return link
}

async function next(link: Link): Promise<unknown> {
  const { value } = await link.frames[Symbol.asyncIterator]().next()
  return value
}

describe('TLS on one side only', () => {
  it.each([undefined, KEY])('is told on both sides for what it is (key %s)', async (shared) => {
    const { cert, key: secret } = testCertificate()
    const keyed = shared === undefined ? {} : { key: shared }
    const logged: string[] = []
    const logger = { log: (event: object): void => void logged.push(String((event as { error?: Error }).error?.message)) }
    const world = { ...defaultWorld(), logger }
    // It listens with TLS.
    const secure = await echo({ ...keyed, world, tls: { cert, key: secret } })
    const link = dial(keyed, secure.endpoint)
    if (shared === undefined) expect(await refused(await link)).toBe(true)
    else await expect(link).rejects.toMatchObject({ name: 'TransportError', hint: expect.stringContaining('TLS') as string })
    while (logged.length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(logged).toEqual([expect.stringContaining(`who connected to ${secure.endpoint.data} does not speak TLS`)])
    // It does not.
    const plain = await echo({ ...keyed, world })
    const told = { name: 'AuthError', hint: 'Give tls to both sides, or to neither.' }
    await expect(dial({ ...keyed, tls: { ca: cert } }, plain.endpoint)).rejects.toMatchObject(told)
    if (shared !== undefined) {
      while (logged.length === 1) await new Promise((resolve) => setImmediate(resolve))
      expect(logged[1]).toContain('speaks TLS, and this side does not')
    } else {
      while (plain.accepted.length === 0) await new Promise((resolve) => setImmediate(resolve))
      await expect(plain.accepted[0]!.send(digestReq(1))).rejects.toMatchObject(told)
    }
  })
})

/** Nothing comes back: the link ends or breaks. */
async function refused(link: Link): Promise<boolean> {
  try {
    await link.send(digestReq(1))
    return (await next(link)) === undefined
  } catch (error) {
    return (error as { code?: string }).code === 'ship.transport'
  }
}

describe('keys', () => {
  it('makes the MAC of RFC 2104 (RFC 4231, and node:crypto for any length)', () => {
    const text = (value: string): Uint8Array => new TextEncoder().encode(value)
    expect(Buffer.from(hmacSha256(text('Jefe'), text('what do ya want for nothing?'))).toString('hex')).toBe(
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    )
    const random = seededRandom(1)
    for (let n = 0; n < 300; n += 7) {
      const key = random.bytes(n % 65)
      const message = random.bytes(n)
      expect(Buffer.from(hmacSha256(key, message))).toEqual(createHmac('sha256', key).update(message).digest())
    }
  })

  it.each<readonly [string, string | Uint8Array]>([
    ['no text', ''],
    ['short text', 'c3'],
    ['text that is not hex', 'zz'.repeat(32)],
    ['31 bytes', new Uint8Array(31)],
    ['64 bytes', new Uint8Array(64)],
  ])('refuses a key of %s, and does not show it', (_name, key) => {
    expect(() => new TcpTransport({ key })).toThrow(expect.objectContaining({ code: 'options.invalid', details: { key: 'key', value: typeof key } }))
  })

  it('takes the key as bytes or as hex digits of either case', async () => {
    const { endpoint } = await echo({ key: KEY.toUpperCase() })
    const link = await dial({ key: Buffer.from(KEY, 'hex') }, endpoint)
    await link.send(digestReq(4))
    expect(await next(link)).toEqual(digestReq(4))
  })

  const stranger = async (endpoint: Endpoint): Promise<{ say(message: Message): void; readonly heard: AsyncIterator<unknown>; readonly link: Link }> => {
    // A link without a key speaks no challenge of its own, and fails at the first it hears: the frames are looked at by hand.
    const { connect } = await import('node:net')
    const socket = connect({ host: '127.0.0.1', port: Number(endpoint.data.split(':')[1]) })
    socket.on('error', () => undefined)
    const { ShipFrameDecoder, decodeMessage, ByteReader } = await import('../../../bindings/format/index.ts')
    const decoder = new ShipFrameDecoder()
    const heard = (async function* () {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        const found: Message[] = []
        decoder.push(new Uint8Array(chunk), ({ type, body }) => void found.push(decodeMessage(type, new ByteReader(body))))
        yield* found
      }
    })()
    const say = (message: Message): void => {
      const { type, head, tail } = encodeMessage(message)
      for (const part of encodeShipFrame({ type, epoch: 0, session: 0 }, head, tail)) socket.write(part)
    }
    const link = { close: async () => void socket.destroy() } as unknown as Link
    opened.push(link)
    return { say, heard, link }
  }

  it('gives a client that only mirrors what it hears nothing it could use: its own challenge, then its own proof, are refused', async () => {
    const { endpoint, accepted } = await echo({ key: KEY })
    const { say, heard } = await stranger(endpoint)
    const { value: challenge } = (await heard.next()) as { value: Message }
    expect(challenge.type).toBe('challenge')
    say(challenge)
    expect((await heard.next()).value).toMatchObject({ type: 'error', code: 'ship.auth' })
    expect(accepted).toEqual([])
  })

  it('proves nothing to a client that has proved nothing', async () => {
    const { endpoint, accepted } = await echo({ key: KEY })
    const { say, heard } = await stranger(endpoint)
    await heard.next()
    say({ type: 'challenge', nonce: new Uint8Array(32).fill(7) })
    say({ type: 'proof', mac: new Uint8Array(32) })
    expect((await heard.next()).value).toMatchObject({ type: 'error', code: 'ship.auth' })
    expect((await heard.next()).done).toBe(true)
    expect(accepted).toEqual([])
  })

  it('binds a proof to its side and to both nonces: one of an earlier connection, or of the other side, is refused', async () => {
    const { endpoint } = await echo({ key: KEY })
    const mac = (label: string, nc: Uint8Array, ns: Uint8Array): Uint8Array =>
      createHmac('sha256', Buffer.from(KEY, 'hex')).update(label).update(nc).update(ns).digest()
    const ours = new Uint8Array(32).fill(9)
    const attempt = async (label: string, change: (nonce: Uint8Array) => Uint8Array): Promise<string> => {
      const { say, heard } = await stranger(endpoint)
      const { value: challenge } = (await heard.next()) as { value: Extract<Message, { type: 'challenge' }> }
      say({ type: 'challenge', nonce: ours })
      say({ type: 'proof', mac: mac(label, ours, change(challenge.nonce)) })
      return ((await heard.next()).value as Message).type
    }
    expect(await attempt('varve ship 1 client', (nonce) => nonce)).toBe('proof')
    expect(await attempt('varve ship 1 server', (nonce) => nonce)).toBe('error')
    expect(await attempt('varve ship 1 client', () => new Uint8Array(32).fill(1))).toBe('error')
  })

  it.each<readonly [string, readonly Message[]]>([
    ['at once', []],
    [
      'behind a proof of its own making',
      [
        { type: 'challenge', nonce: new Uint8Array(32).fill(7) },
        { type: 'proof', mac: new Uint8Array(32) },
      ],
    ],
  ])('a server that does not know the key fences no primary with an error that it sends %s', async (_when, first) => {
    const error: Message = { type: 'error', code: 'ship.stale-epoch', message: 'a newer one', details: { held: 2 ** 50, epoch: 1, mandate: 2 ** 51 } }
    const frames = [...first, error].flatMap((message) => {
      const { type, head, tail } = encodeMessage(message)
      return encodeShipFrame({ type, epoch: 0, session: 0 }, head, tail)
    })
    let calls = 0
    const server = createServer((socket) => {
      calls++
      socket.on('error', () => undefined)
      socket.end(Buffer.concat(frames))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    opened.push({ close: async () => void server.close() } as unknown as Link)
    const endpoint: Endpoint = { data: `127.0.0.1:${(server.address() as { port: number }).port}`, version: 1 }
    const said = await dial({ key: KEY }, endpoint).catch((reason: unknown) => reason)
    expect(said).toMatchObject({ code: 'ship.transport', details: { peer: endpoint.data, code: 'ship.stale-epoch' } })

    const people = table('people', { id: t.int64() }, { key: ['id'] })
    await using store = await Store.open(new MemoryRoot({}), { threads: 0 })
    await store.create(people)
    const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint }], transport: new TcpTransport({ key: KEY }) })
    while (calls < 3) await new Promise((resolve) => setImmediate(resolve))
    await store.append(people, { id: 1n })
    expect(shipping.status()).toMatchObject({ fencedBy: 0, replicas: [{ id: 'r1', state: 'disconnected' }] })
  })

  it('takes no long frame from somebody who has not proved anything', async () => {
    const { endpoint } = await echo({ key: KEY })
    const { say, heard } = await stranger(endpoint)
    await heard.next()
    say({ type: 'manifest', hash: new Uint8Array(32), bytes: new Uint8Array(20_000) })
    expect((await heard.next().catch(() => ({ done: true }))).done).toBe(true)
  })
})

describe('addresses', () => {
  it.each(['192.0.2.7:7000', 'replica.example:7000', '[2001:db8::1]:7000', '128.0.0.1:7000', '127.0.0.1.example:7000'])(
    'refuses %s without a key, to listen on and to connect to, and says what to do',
    async (data) => {
      for (const attempt of [echo({}, { data, version: 1 }), dial({}, { data, version: 1 })]) {
        await expect(attempt).rejects.toMatchObject({ code: 'ship.invalid-endpoint', hint: expect.stringContaining('key') })
      }
    },
  )

  it.each(['127.0.0.1:0', '127.9.9.9:0', 'localhost:0', '[::1]:0', '[::ffff:127.0.0.1]:0'])('takes %s without one', async (data) => {
    const world = fakeWorld()
    const { endpoint } = await echo({ world }, { data, version: 4 })
    expect(endpoint).toEqual({ data: expect.stringMatching(/:50000$/), version: 4 })
    expect(endpoint.data.replace(/\d+$/, '0')).toBe(data)
    await dial({ world }, endpoint)
  })

  it('takes any with one', async () => {
    const world = fakeWorld()
    const { endpoint } = await echo({ world, key: KEY }, { data: '192.0.2.7:7000', version: 1 })
    const link = await dial({ world, key: KEY }, endpoint)
    await link.send(digestReq(1))
    expect(await next(link)).toEqual(digestReq(1))
  })

  it.each(['127.0.0.1', '127.0.0.1:70000', '127.0.0.1:', 'local host:1', '[::1:7'])('refuses %j, which is no host and port', async (data) => {
    await expect(dial({}, { data, version: 1 })).rejects.toMatchObject({ code: 'ship.invalid-endpoint' })
  })
})

describe('TLS', () => {
  const { cert, key } = testCertificate()

  it('encrypts a connection whose certificate the client trusts', async () => {
    const { endpoint } = await echo({ key: KEY, tls: { cert, key } })
    const proxy = await openProxy(endpoint.data)
    opened.push(proxy)
    const link = await dial({ key: KEY, tls: { ca: cert } }, { data: proxy.address, version: 1 })
    const bytes = new Uint8Array(400_000).fill(0x41)
    const message: Message = { type: 'entries', first: 1, count: 1, committedLsn: 0, digest: new Uint8Array(32), base: false, bytes }
    await link.send({ epoch: 1, session: 1, message })
    expect(await next(link)).toEqual({ epoch: 1, session: 1, message })
    expect(proxy.passedBytes).toBeGreaterThan(800_000)
  })

  it('refuses a certificate that it does not trust, or for another name, and a client that speaks none', async () => {
    const { endpoint, accepted } = await echo({ tls: { cert, key } })
    const refusal = { code: 'ship.transport', message: expect.stringContaining('does not trust') as string }
    await expect(dial({ tls: { ca: testCertificate().cert } }, endpoint)).rejects.toMatchObject(refusal)
    await expect(dial({ tls: { ca: cert, servername: 'example.org' } }, endpoint)).rejects.toMatchObject(refusal)
    const plain = await dial({}, endpoint)
    expect(await refused(plain)).toBe(true)
    expect(accepted).toEqual([])
  })

  it('who does not come to an end with the handshake goes with the listener, and nobody is warned of it', async () => {
    const { cert, key } = testCertificate()
    const logged: object[] = []
    const world = { ...defaultWorld(), logger: { log: (event: object): void => void logged.push(event) } }
    const listening = await new TcpTransport({ world, key: KEY, tls: { cert, key } }).listen({ accept: () => undefined }, LOCAL)
    const { connect } = await import('node:net')
    const socket = connect({ host: '127.0.0.1', port: Number(listening.endpoint.data.split(':')[1]) })
    const gone = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('connect', resolve))
    const client = await dial({ key: KEY, tls: { ca: cert } }, listening.endpoint)
    const fromMs = performance.now()
    await listening[Symbol.asyncDispose]()
    await gone
    // Not by the bound of the handshake, 3 s.
    expect(performance.now() - fromMs).toBeLessThan(2500)
    expect(logged).toEqual([])
    // Who has come through stays: it is the host's.
    await client.send(digestReq(1))
  })

  it('asks the client for a certificate where it has an authority for them', async () => {
    const other = testCertificate()
    const { endpoint } = await echo({ tls: { cert, key, ca: other.cert } })
    const link = await dial({ tls: { ca: cert, cert: other.cert, key: other.key } }, endpoint)
    await link.send(digestReq(3))
    expect(await next(link)).toEqual(digestReq(3))
    // In TLS 1.3 the client is connected before the listener has seen its certificate.
    const without = await dial({ tls: { ca: cert } }, endpoint).catch(() => undefined)
    expect(without === undefined || (await refused(without))).toBe(true)
  })
})

describe('bounds of time, under a fake clock', () => {
  const ground = (o: { readonly bufferBytes?: number } = {}): { readonly clock: FakeClock; readonly network: FakeNetwork; readonly o: TcpTransportOptions } => {
    const clock = new FakeClock()
    const network = new FakeNetwork()
    return { clock, network, o: { world: fakeWorld({ clock, network }), ...o } }
  }
  const settledIn = async (promise: Promise<unknown>, clock: FakeClock, ms: number): Promise<'waits' | Error> => {
    let outcome: 'waits' | Error = 'waits'
    promise.catch((error: Error) => (outcome = error))
    await clock.advance(ms)
    return outcome
  }

  it('N4 a listener that never proves itself is a TransportError after 3 000 ms, and nothing stays open', async () => {
    const { clock, network, o } = ground()
    await network.listen({ host: '127.0.0.1', port: 7000 }, { accept: () => undefined })
    const connecting = dial({ ...o, key: KEY }, { data: '127.0.0.1:7000', version: 1 })
    expect(await settledIn(connecting, clock, 2999)).toBe('waits')
    expect(await settledIn(connecting, clock, 100)).toMatchObject({ code: 'ship.transport', details: { endpoint: '127.0.0.1:7000', timeoutMs: 3000 } })
    await clock.advance(1000)
    expect([network.open, clock.pending]).toEqual([0, 0])
  })

  it('N4 a client that connects and never proves itself is dropped after 3 000 ms', async () => {
    const { clock, network, o } = ground()
    const { endpoint, accepted } = await echo({ ...o, key: KEY })
    const connecting = network.connect({ host: '127.0.0.1', port: Number(endpoint.data.split(':')[1]) }, { signal: new AbortController().signal })
    await clock.advance(10)
    await connecting
    expect(network.open).toBe(2)
    await clock.advance(4000)
    expect([network.open, clock.pending, accepted.length]).toEqual([0, 0, 0])
  })

  it('who has proved nothing goes with the listener', async () => {
    const { clock, network, o } = ground()
    const listening = await new TcpTransport({ ...o, key: KEY }).listen({ accept: () => undefined }, LOCAL)
    const port = Number(listening.endpoint.data.split(':')[1])
    const connecting = Promise.all(range(3).map(() => network.connect({ host: '127.0.0.1', port }, { signal: new AbortController().signal })))
    await clock.advance(10)
    await connecting
    expect(network.open).toBe(6)
    const closing = listening[Symbol.asyncDispose]()
    await clock.advance(100)
    await closing
    expect([network.open, clock.pending]).toEqual([0, 0])
  })

  it('of many who prove nothing the oldest go first, and whoever knows the key gets through', async () => {
    const { clock, network, o } = ground()
    const { endpoint, accepted } = await echo({ ...o, key: KEY })
    const address = { host: '127.0.0.1', port: Number(endpoint.data.split(':')[1]) }
    const crowd = Promise.all(range(300).map(() => network.connect(address, { signal: new AbortController().signal })))
    await clock.advance(10)
    const streams = await crowd
    const gone: number[] = []
    for (const [i, { closed }] of streams.entries()) void closed.then(() => gone.push(i))
    await clock.advance(100)
    expect(network.open).toBe(2 * 128)
    expect(gone).toEqual(range(300 - 128))
    const connecting = dial({ ...o, key: KEY }, endpoint)
    await clock.advance(100)
    await (await connecting).send(digestReq(1))
    expect([accepted.length, network.open]).toEqual([1, 2 * 128])
    await clock.advance(4000)
    expect(network.open).toBe(2)
  })

  it('N4 a network that falls silent stalls the sends for 3 000 ms, then they fail with the link', async () => {
    const { clock, network, o } = ground()
    const { endpoint } = await echo(o)
    const connecting = dial(o, endpoint)
    await clock.advance(10)
    const link = await connecting
    network.isSilent = true
    await link.send(digestReq(1))
    const reading = next(link)
    expect(await settledIn(reading, clock, 2900)).toBe('waits')
    expect(await settledIn(reading, clock, 200)).toMatchObject({ code: 'ship.transport' })
    await expect(link.send(digestReq(2))).rejects.toMatchObject({ code: 'ship.transport' })
    network.isSilent = false
    await clock.advance(1000)
    expect([network.open, clock.pending]).toEqual([0, 0])
  })

  it('N4 a slow network that still moves does not stall', async () => {
    const { clock, network, o } = ground()
    const { endpoint } = await echo(o)
    const connecting = dial(o, endpoint)
    await clock.advance(10)
    const link = await connecting
    for (let i = 0; i < 5; i++) {
      network.isSilent = true
      await link.send(digestReq(i))
      await clock.advance(2000)
      network.isSilent = false
      await clock.advance(10)
    }
    await link.send(digestReq(9))
    await clock.advance(10)
    expect(await next(link)).toEqual(digestReq(0))
  })

  it('closes with nothing left open, whether the other side hears it or not', async () => {
    for (const isSilent of [false, true]) {
      const { clock, network, o } = ground()
      const { endpoint } = await echo(o)
      const connecting = dial(o, endpoint)
      await clock.advance(10)
      const link = await connecting
      network.isSilent = isSilent
      if (isSilent) await link.send(digestReq(1))
      const closing = link.close()
      await clock.advance(4000)
      await closing
      network.isSilent = false
      await clock.advance(4000)
      expect([network.open, clock.pending]).toEqual([0, 0])
    }
  })
})

describe('behind a proxy', () => {
  const pair = async (
    faults: Parameters<typeof openProxy>[1] = {},
    o: TcpTransportOptions = {},
  ): Promise<{ readonly link: Link; readonly proxy: Proxy; readonly accepted: Link[] }> => {
    const { endpoint, accepted } = await echo(o)
    const proxy = await openProxy(endpoint.data, faults)
    opened.push(proxy)
    return { link: await dial(o, { data: proxy.address, version: 1 }), proxy, accepted }
  }
  const entries = (bytes: Uint8Array): Message => ({ type: 'entries', first: 1, count: 1, committedLsn: 0, digest: new Uint8Array(32), base: false, bytes })

  it('N2 bytes that are damaged on the way end the link and never arrive as something else', async () => {
    for (const flipEvery of [37, 211, 5000, 100_003]) {
      const { link } = await pair({ flipEvery })
      const bytes = new Uint8Array(300_000).fill(1)
      const codes = new Set(['ship.frame-checksum', 'ship.frame-too-large', 'ship.unknown-frame', 'ship.truncated-frame', 'ship.transport'])
      const outcome = await (async () => {
        for (let i = 0; i < 4; i++) await link.send({ epoch: 1, session: 1, message: entries(bytes) })
        for (;;) {
          const got = (await next(link)) as { readonly message: Message } | undefined
          if (got === undefined) return 'ended'
          expect(got.message).toEqual(entries(bytes))
        }
      })().catch((error: { code: string }) => error.code)
      expect(outcome === 'ended' || codes.has(outcome), `${outcome} at every ${flipEvery}`).toBe(true)
    }
  })

  it('a cut is a TransportError on both sides', async () => {
    const { link, proxy, accepted } = await pair()
    await link.send(digestReq(1))
    await next(link)
    const reading = next(link)
    proxy.cut()
    await expect(reading).rejects.toMatchObject({ code: 'ship.transport' })
    await expect(accepted[0]!.send(digestReq(1))).rejects.toMatchObject({ code: 'ship.transport' })
  })

  it('a half-open connection stalls a sender and does not end', async () => {
    const { link, proxy } = await pair({}, { stallMs: 150, bufferBytes: 1024 * 1024 })
    proxy.faults.hold = true
    const flood = async (): Promise<void> => {
      for (;;) await link.send({ epoch: 1, session: 1, message: entries(new Uint8Array(500_000)) })
    }
    await expect(flood()).rejects.toMatchObject({ code: 'ship.transport' })
  })

  it('a slow link only makes frames late', async () => {
    const { link } = await pair({ delayMs: 3, bytesPerSecond: 4_000_000 })
    const bytes = new Uint8Array(200_000).fill(7)
    await link.send({ epoch: 1, session: 1, message: entries(bytes) })
    expect(await next(link)).toMatchObject({ message: entries(bytes) })
  })

  it('records are compressed where it is asked for, and arrive as they were', async () => {
    const { link, proxy } = await pair({}, { compress: true })
    const bytes = new Uint8Array(200_000).fill(7)
    await link.send({ epoch: 1, session: 1, message: entries(bytes) })
    expect(await next(link)).toMatchObject({ message: entries(bytes) })
    expect(proxy.passedBytes).toBeLessThan(10_000)
  })
})
