// testing/contracts/transport.ts: what every Transport of shipping promises, as tests (docs/shipping.md "Frames and transports"; shipping.md section 16, N).
//
// A new transport earns these by one line: `transportContract({ describe, it }, 'my transport', make)`. Times are bounds that a fixture makes short; none is
// measured but "prompt", which is an answer while a bound of a minute is still running.
import { encodeMessage, encodeShipFrame, type Message, SHIP_FRAME_BYTES_MAX } from '../../format/index.ts'
import type { Endpoint, Link, Transport, WireFrame } from '../../ship/index.ts'
import { GapError, StaleEpochError } from '../../errors-ship.ts'
import { check, checkBytes, checkEqual, checkRejects, hasCode, patterned, type ContractRunner } from './check.ts'

export interface TransportFixture {
  readonly server: Transport
  readonly client: Transport
  /** Where the server may listen; a new one each time. */
  endpoint(): Endpoint
  /** A client of the bytes: connected, without saying anything of its own. */
  raw(endpoint: Endpoint): Promise<RawClient>
  /** Somebody who accepts connections and never says a word. */
  silent(): Promise<Endpoint>
  dispose?(): Promise<void>
}

export interface RawClient {
  write(bytes: Uint8Array): void
  /** Our side is over; the other may go on. */
  end(): Promise<void>
}

export interface TransportFixtureOptions {
  readonly serverKey?: string
  readonly clientKey?: string
  readonly connectTimeoutMs?: number
  readonly stallMs?: number
  readonly bufferBytes?: number
}

export type MakeTransport = (o: TransportFixtureOptions) => Promise<TransportFixture>

type Case = (title: string, o: TransportFixtureOptions, body: (f: Ground) => Promise<void>) => void

const MiB: number = 1024 * 1024
const KEY: string = 'a1'.repeat(32)
const OTHER_KEY: string = 'b2'.repeat(32)
/** What must not be waited for: an answer before it is prompt. */
const NEVER_MS = 60_000
const SOON_MS = 150

export function transportContract(t: ContractRunner, name: string, make: MakeTransport): void {
  const it: Case = (title, o, body) =>
    t.it(title, async () => {
      const fixture = await make({ connectTimeoutMs: NEVER_MS, stallMs: NEVER_MS, ...o })
      const ground = new Ground(fixture)
      try {
        await body(ground)
      } finally {
        await ground.close()
        await fixture.dispose?.()
      }
    })
  t.describe(`transport contract: ${name}`, () => {
    orderCases(it)
    frameCases(it)
    errorCases(it)
    silenceCases(it)
    doorCases(it)
  })
}

/** A listening side that keeps the links it accepts, and everything to be closed at the end. */
class Ground {
  readonly fixture: TransportFixture
  readonly accepted: Link[] = []
  readonly #waiting: ((link: Link) => void)[] = []
  readonly #opened: Link[] = []
  readonly #listening: AsyncDisposable[] = []

  constructor(fixture: TransportFixture) {
    this.fixture = fixture
  }

  async listen(endpoint: Endpoint = this.fixture.endpoint()): Promise<AsyncDisposable & { readonly endpoint: Endpoint }> {
    const listening = await this.fixture.server.listen({ accept: (link) => this.#accept(link) }, endpoint)
    this.#listening.push(listening)
    return listening
  }

  async connect(endpoint: Endpoint, signal: AbortSignal = new AbortController().signal): Promise<Link> {
    const link = await this.fixture.client.connect(endpoint, signal)
    this.#opened.push(link)
    return link
  }

  /** The next link that is accepted. */
  next(): Promise<Link> {
    const link = this.accepted.shift()
    return link === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(link)
  }

  async pair(): Promise<{ readonly client: Link; readonly server: Link; readonly endpoint: Endpoint }> {
    const { endpoint } = await this.listen()
    const client = await this.connect(endpoint)
    return { client, server: await this.next(), endpoint }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#opened, ...this.accepted].map((link) => link.close()))
    await Promise.all(this.#listening.map((each) => each[Symbol.asyncDispose]()))
  }

  #accept(link: Link): void {
    this.#opened.push(link)
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.accepted.push(link)
    else waiting(link)
  }
}

function orderCases(it: Case): void {
  it('N1 10 000 frames of 0 bytes to 1 MiB come back in their order, as they were', {}, async (f) => {
    const { client, server } = await f.pair()
    const source = patterned(MiB, 7)
    const sizes = patterned(10_000, 11)
    // Most are small; some hundred are long, ten of 1 MiB.
    const bytesOf = (i: number): Uint8Array => source.subarray(0, i % 1000 === 999 ? MiB : i % 50 === 49 ? sizes[i]! * 256 : sizes[i]! % 200)
    const echo = (async () => {
      for await (const frame of server.frames) await server.send(frame)
    })()
    const sending = (async () => {
      for (let i = 0; i < 10_000; i++) await client.send(entries(i + 1, bytesOf(i)))
    })()
    let got = 0
    for await (const { epoch, session, message } of client.frames) {
      checkEqual([epoch, session], [3, got + 1], 'epoch and session')
      check(message.type === 'entries', 'a message of type entries', message.type)
      checkEqual(message.first, got + 1, 'the next frame')
      const expected = bytesOf(got)
      checkEqual(message.bytes.length, expected.length, `bytes of frame ${got}`)
      for (let at = 0; at < expected.length; at += 1 + (expected.length >>> 6)) checkEqual(message.bytes[at], expected[at], `byte ${at} of frame ${got}`)
      if (++got === 10_000) break
    }
    await sending
    await client.close()
    await echo
  })

  it('N1 every type of message arrives as it was', {}, async (f) => {
    const { client, server } = await f.pair()
    for (const message of EVERY) await client.send({ epoch: 2 ** 40, session: 5, message })
    for (const message of EVERY) checkEqual(await take(server), { epoch: 2 ** 40, session: 5, message }, message.type)
  })

  it('N1 each direction keeps its order while both are busy', {}, async (f) => {
    const { client, server } = await f.pair()
    const send = async (link: Link): Promise<void> => {
      for (let i = 0; i < 500; i++) await link.send(entries(i + 1, patterned(i * 13, i)))
    }
    const receive = async (link: Link): Promise<void> => {
      for (let i = 0; i < 500; i++) {
        const { message } = await take(link)
        check(message.type === 'entries' && message.first === i + 1, `frame ${i + 1}`, message)
        checkBytes(message.bytes, patterned(i * 13, i), `frame ${i + 1}`)
      }
    }
    await Promise.all([send(client), send(server), receive(client), receive(server)])
  })

  it('N1 sends that are not waited for keep their order, and what is buffered its bound', { bufferBytes: MiB }, async (f) => {
    const { client, server } = await f.pair()
    const bytes = patterned(100_000, 3)
    const sends: Promise<void>[] = []
    for (let i = 0; i < 100; i++) {
      sends.push(client.send(entries(i + 1, bytes)))
      check(client.bufferedBytes <= MiB, 'at most 1 MiB buffered', client.bufferedBytes)
    }
    for (let i = 0; i < 100; i++) {
      const { message } = await take(server)
      check(message.type === 'entries' && message.first === i + 1, `frame ${i + 1}`, message)
      check(client.bufferedBytes <= MiB, 'at most 1 MiB buffered', client.bufferedBytes)
    }
    await Promise.all(sends)
  })

  it('N1 a sender waits for a reader that does not read, within 16 MiB, and goes on with it', {}, async (f) => {
    const { client, server } = await f.pair()
    const bytes = patterned(MiB, 5)
    let sent = 0
    const sending = (async () => {
      for (; sent < 80; sent++) await client.send(entries(sent + 1, bytes))
    })()
    await settled(() => sent)
    check(sent < 80, 'a sender that waits', sent)
    check(client.bufferedBytes <= 16 * MiB, 'at most 16 MiB buffered', client.bufferedBytes)
    for (let i = 0; i < 80; i++) await take(server)
    await sending
  })

  it('N1 a message that is longer than any frame arrives as one', {}, async (f) => {
    const { client, server } = await f.pair()
    const bytes = patterned(20 * MiB, 9)
    const sending = client.send(entries(1, bytes))
    const { message } = await take(server)
    await sending
    check(message.type === 'entries', 'entries', message.type)
    checkBytes(message.bytes, bytes, '20 MiB')
  })

  it('N1 what was sent before a close arrives before the end', {}, async (f) => {
    const { client, server } = await f.pair()
    for (let i = 0; i < 50; i++) await client.send(entries(i + 1, patterned(50_000, i)))
    await client.close()
    let got = 0
    for await (const { message } of server.frames) check(message.type === 'entries' && message.first === ++got, `frame ${got}`, message.type)
    checkEqual(got, 50, 'frames before the end')
  })

  it('N1 connections to one listener do not mix', {}, async (f) => {
    const { endpoint } = await f.listen()
    const links: { readonly client: Link; readonly server: Link }[] = []
    for (let i = 0; i < 8; i++) {
      const client = await f.connect(endpoint)
      links.push({ client, server: await f.next() })
    }
    await Promise.all(links.map(({ client }, i) => client.send({ epoch: 1, session: i + 1, message: { type: 'digestReq', lsn: i } })))
    const found = await Promise.all(links.map(({ server }) => take(server)))
    checkEqual(
      found.map(({ session }) => session),
      links.map((_, i) => i + 1),
      'sessions',
    )
  })
}

function frameCases(it: Case): void {
  const good = bytesOf({ type: 'digestReq', lsn: 12 })
  const cases: readonly (readonly [string, string, () => Uint8Array])[] = [
    ['a length of 16 MiB + 65', 'ship.frame-too-large', () => changed(good, (view) => view.setUint32(0, SHIP_FRAME_BYTES_MAX + 1, true))],
    ['a checksum that does not hold', 'ship.frame-checksum', () => changed(good, (view) => view.setUint8(good.length - 1, 77))],
    ['a header that does not hold', 'ship.frame-checksum', () => changed(good, (view) => view.setUint8(9, 77))],
    ['type 99', 'ship.unknown-frame', () => whole(encodeShipFrame({ type: 99, epoch: 1, session: 1 }, encodeMessage({ type: 'digestReq', lsn: 1 }).head))],
    [
      'a payload that is none of its type',
      'ship.unknown-frame',
      () => whole(encodeShipFrame({ type: 1, epoch: 1, session: 1 }, encodeMessage({ type: 'digestReq', lsn: 1 }).head)),
    ],
  ]
  for (const [what, code, make] of cases) {
    it(`N2 ${what} is ${code}: what came before is handed out, nothing of it or behind it, and the connection closes`, {}, async (f) => {
      const { endpoint } = await f.listen()
      const raw = await f.fixture.raw(endpoint)
      const server = await f.next()
      raw.write(good)
      raw.write(make())
      raw.write(good)
      checkEqual((await take(server)).message, { type: 'digestReq', lsn: 12 }, 'the frame before')
      await checkRejects(take(server), hasCode(code), code)
      await checkRejects(server.send(entries(1, new Uint8Array(1))), hasCode(code), 'a closed connection')
      // The listener serves others.
      const client = await f.connect(endpoint)
      await client.send(entries(1, new Uint8Array(1)))
      checkEqual((await take(await f.next())).session, 1, 'another connection')
    })
  }

  it('N2 a connection that ends inside a frame, after any of its bytes, is a truncated frame', {}, async (f) => {
    const { endpoint } = await f.listen()
    for (let cut = 1; cut < good.length; cut++) {
      const raw = await f.fixture.raw(endpoint)
      const server = await f.next()
      raw.write(good.slice(0, cut))
      await raw.end()
      await checkRejects(take(server), hasCode('ship.truncated-frame'), `ship.truncated-frame, cut at ${cut}`)
    }
  })
}

function errorCases(it: Case): void {
  it('N3 an error arrives as the same class with its code, message and details', {}, async (f) => {
    const errors = [
      new GapError('records that do not follow', { details: { expected: 5n, got: 2n ** 60n } }),
      new StaleEpochError('an older epoch', { details: { held: 4, seen: 3 } }),
    ]
    for (const error of errors) {
      const { client, server } = await f.pair()
      await client.send({ epoch: 1, session: 1, message: { type: 'digestReq', lsn: 1 } })
      await take(server)
      await server.close(error)
      const got = await checkRejects(take(client), hasCode(error.code), error.code)
      check(got instanceof Error && got.constructor === error.constructor, `class ${error.name}`, got)
      checkEqual([got.message, (got as GapError).details], [error.message, error.details], 'message and details')
      const { expected } = error as Partial<GapError>
      checkEqual((got as Partial<GapError>).expected, expected, 'details as properties')
      await checkRejects(client.send(entries(1, new Uint8Array(1))), hasCode(error.code), 'sends that fail with it')
    }
  })

  it('N3 our own reading and sending fail with the reason of our close, at once', { bufferBytes: MiB }, async (f) => {
    const { client } = await f.pair()
    const reason = new Error('enough')
    const reading = checkRejects(take(client), (error) => error === reason, 'the reason')
    // More than systems hold for us: the last ones wait.
    const sends = Array.from({ length: 64 }, (_, i) => client.send(entries(i + 1, patterned(MiB, 1))))
    const outcomes = Promise.allSettled(sends)
    await client.close(reason)
    await reading
    const failed = (await outcomes).filter((outcome) => outcome.status === 'rejected')
    check(failed.length > 0 && failed.every((outcome) => outcome.reason === reason), 'waiting sends that fail with the reason', failed.length)
    await checkRejects(client.send(entries(1, new Uint8Array(1))), (error) => error === reason, 'the reason')
    await client.close()
  })

  it('N3 after our close without a reason iteration ends, and the other side sees an end', {}, async (f) => {
    const { client, server } = await f.pair()
    const reading = ended(client)
    const other = ended(server)
    await client.close()
    await reading
    await other
    await checkRejects(client.send(entries(1, new Uint8Array(1))), hasCode('ship.transport'), 'ship.transport')
  })

  it('N3 an abort before and during connect rejects with its reason', { serverKey: KEY, clientKey: KEY }, async (f) => {
    const { endpoint } = await f.listen()
    const reason = new Error('aborted')
    await checkRejects(f.connect(endpoint, AbortSignal.abort(reason)), (error) => error === reason, 'the reason')
    const silent = await f.fixture.silent()
    const controller = new AbortController()
    const connecting = f.connect(silent, controller.signal)
    await pause(5)
    controller.abort(reason)
    await checkRejects(connecting, (error) => error === reason, 'the reason')
  })

  it('N3 nobody there is a TransportError', {}, async (f) => {
    const listening = await f.listen()
    await listening[Symbol.asyncDispose]()
    await checkRejects(f.connect(listening.endpoint), hasCode('ship.transport'), 'ship.transport')
  })

  it('N3 a listener that closes leaves its connections, and its place is free', {}, async (f) => {
    const listening = await f.listen()
    const client = await f.connect(listening.endpoint)
    const server = await f.next()
    await listening[Symbol.asyncDispose]()
    await client.send(entries(4, new Uint8Array(3)))
    checkEqual((await take(server)).session, 4, 'a frame on the connection that stays')
    await client.close()
    await server.close()
    const again = await f.listen(listening.endpoint)
    await f.connect(again.endpoint)
    await f.next()
  })
}

function silenceCases(it: Case): void {
  it('N4 a send that waits for a reader that never reads is a TransportError after the stall', { stallMs: SOON_MS, bufferBytes: MiB }, async (f) => {
    const { client } = await f.pair()
    const flood = async (): Promise<void> => {
      for (let i = 0; ; i++) await client.send(entries(i + 1, patterned(MiB, 1)))
    }
    await checkRejects(flood(), hasCode('ship.transport'), 'ship.transport')
    await checkRejects(take(client), hasCode('ship.transport'), 'a connection that is over')
  })

  it('N4 a listener that never answers is a TransportError after the bound', { connectTimeoutMs: SOON_MS, clientKey: KEY }, async (f) => {
    await checkRejects(f.connect(await f.fixture.silent()), hasCode('ship.transport'), 'ship.transport')
  })
}

function doorCases(it: Case): void {
  it('N5 the same key on both sides connects', { serverKey: KEY, clientKey: KEY }, async (f) => {
    const { client, server } = await f.pair()
    await client.send(entries(1, patterned(500_000, 2)))
    await server.send(entries(2, patterned(10, 2)))
    checkEqual([(await take(server)).session, (await take(client)).session], [1, 2], 'sessions')
  })

  const pairs: readonly (readonly [string, TransportFixtureOptions])[] = [
    ['another key', { serverKey: KEY, clientKey: OTHER_KEY }],
    ['no key where one is asked for', { serverKey: KEY }],
    ['a key where none is known', { clientKey: KEY }],
  ]
  for (const [what, o] of pairs) {
    it(`N5 ${what} is an AuthError before anything else is heard`, o, async (f) => {
      const { endpoint } = await f.listen()
      const knock = async (): Promise<void> => {
        const link = await f.connect(endpoint)
        await link.send({ epoch: 1, session: 1, message: { type: 'digestReq', lsn: 1 } })
        await take(link)
      }
      await checkRejects(knock(), hasCode('ship.auth'), 'ship.auth')
      // Who has no key himself learns of the other's only from its first frame.
      if (o.serverKey !== undefined) checkEqual(f.accepted.length, 0, 'links that the host was given')
      for (const link of f.accepted) await checkRejects(take(link), hasCode('ship.auth'), 'ship.auth')
    })
  }

  it('N5 an endpoint that stands for every address is refused, to listen on and to connect to', {}, async (f) => {
    for (const data of ['0.0.0.0:7000', '[::]:7000', '*:7000', ':7000', '']) {
      await checkRejects(f.listen({ data, version: 1 }), hasCode('ship.invalid-endpoint'), `ship.invalid-endpoint for ${data}`)
      await checkRejects(f.connect({ data, version: 1 }), hasCode('ship.invalid-endpoint'), `ship.invalid-endpoint for ${data}`)
    }
  })

  it('N5 a place that is taken is refused', {}, async (f) => {
    const { endpoint } = await f.listen()
    await checkRejects(f.listen(endpoint), hasCode('ship.invalid-endpoint'), 'ship.invalid-endpoint')
  })
}

/** What the next frame is; the link's iterator is made once. */
const readers = new WeakMap<Link, AsyncIterator<WireFrame>>()
async function take(link: Link): Promise<WireFrame> {
  const reader = readers.get(link) ?? link.frames[Symbol.asyncIterator]()
  readers.set(link, reader)
  const { value, done } = await reader.next()
  check(done !== true, 'a frame, not the end')
  return value as WireFrame
}

async function ended(link: Link): Promise<void> {
  for await (const { message } of link.frames) check(false, 'the end, not a frame', message.type)
}

/** Until a count stands still. */
async function settled(count: () => number): Promise<void> {
  for (let before = -1; before !== count();) {
    before = count()
    await pause(60)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void AbortSignal.timeout(ms).addEventListener('abort', () => resolve()))
}

function entries(number: number, bytes: Uint8Array): WireFrame {
  const message: Message = {
    type: 'entries',
    first: number,
    count: bytes.length === 0 ? 0 : 1,
    committedLsn: 0,
    digest: new Uint8Array(32),
    base: false,
    bytes,
  }
  return { epoch: 3, session: number, message }
}

function bytesOf(message: Message): Uint8Array {
  const { type, head, tail } = encodeMessage(message)
  return whole(encodeShipFrame({ type, epoch: 1, session: 1 }, head, tail))
}

function changed(bytes: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = bytes.slice()
  change(new DataView(copy.buffer))
  return copy
}

function whole(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

const HASH = patterned(32, 4)
const EVERY: readonly Message[] = [
  { type: 'hello', protocol: 1, replicaId: 'r1', storeId: patterned(16, 1), endpointVersion: 3, mandate: 9, decision: '0f'.repeat(16), kind: 'catchup' },
  {
    type: 'helloReply',
    protocol: 1,
    replicaId: 'r1',
    storeId: undefined,
    epochSeen: 4,
    durableLsn: 2 ** 40 + 3,
    committedLsn: 2 ** 40,
    tailLsn: 0,
    lineage: [{ epoch: 1, firstLsn: 1 }],
    digest: HASH,
    checkpoints: [7, 90],
    rebuildInProgress: null,
    isWhole: true,
    elided: null,
  },
  { type: 'digestReq', lsn: 12 },
  { type: 'digestReply', lsn: 12, digest: HASH },
  { type: 'grant', mode: 'stream', start: 5, target: 0, committedLsn: 4, elideDead: false },
  { type: 'grantAck', durableLsn: 5 },
  { type: 'entries', first: 6, count: 2, committedLsn: 7, digest: HASH, base: true, bytes: patterned(70_000, 2) },
  { type: 'fragment', hash: HASH, offset: 10, total: 70_010, dead: false, bytes: patterned(70_000, 3) },
  { type: 'ack', receivedLsn: 9, durableLsn: 8, appliedLsn: 7 },
  { type: 'truncate', lsn: 11 },
  { type: 'truncated', lsn: 11, digest: HASH },
  { type: 'manifest', hash: HASH, bytes: patterned(3000, 6) },
  { type: 'want', lsn: 8, files: [{ name: `checkpoints/${'8'.padStart(20, '0')}.ckpt`, hash: HASH, bytes: 5 }] },
  { type: 'install', manifestHash: HASH },
  { type: 'installed', baseLsn: 7 },
  { type: 'heartbeat', committedLsn: 7, durableLsn: 8 },
  { type: 'verifySelf', upTo: 12 },
  { type: 'verified', ok: true, firstBad: 0, ackMode: 'async' },
]
