// The gates of a replica (shipping.md section 11): fence, entries, files, what is told and what readers see.
import { describe, expect, it } from 'vitest'

import { fromHex } from '../../../bindings/format/index.ts'
import { candidates, fenceReplica, MemoryNetwork } from '../../../bindings/ship/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { fence } from '../../../bindings/shipping.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { failure } from '../../unit/store/places.ts'
import { abandon, bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, rowsOf, type SenderOptions, tempDirectory } from './kit.ts'

interface Pair {
  readonly network: MemoryNetwork
  readonly primary: Primary
  readonly replica: Replica
  sender(o?: SenderOptions): Promise<RawSender>
}

async function pair(rows: number, place: string | MemoryRoot = new MemoryRoot({})): Promise<Pair> {
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, rows)
  const replica = await replicaOn(network, place)
  return { network, primary, replica, sender: (o) => RawSender.connect(network, replica, primary, o) }
}

describe('the entry gate', () => {
  it('K1 a gap is refused and nothing of the message is applied', async () => {
    const { replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 10)
    await from.durable(10)
    await from.entries(12, 20)
    expect(await from.refusal()).toMatchObject({ name: 'GapError', expected: 11n, got: 13n })
    expect(replica.status()).toMatchObject({ durable: 10n, received: 10n })
  })

  it('K1 records that are there already are acknowledged when they are equal, also with new ones behind them', async () => {
    const { primary, replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 20)
    await from.durable(20)
    from.heard.length = 0
    await from.entries(0, 20)
    expect(await from.durable(20)).toMatchObject({ durableLsn: 20 })
    await from.entries(5, 30)
    await from.durable(30)
    await from.entries(30, 42, { committedLsn: 42 })
    await from.durable(42)
    await replica.store.refresh()
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  })

  it('K1 a record that differs from the one held is refused', async () => {
    const { primary, replica, sender } = await pair(40)
    const other = await primaryOn()
    await other.store.create(items)
    await fill(other.store, 100, 140)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 20)
    await from.durable(20)
    const stranger = await RawSender.connect(new MemoryNetwork(defaultWorld()), replica, other).catch(() => undefined)
    expect(stranger).toBeUndefined()
    const differing = await otherEntries(other, 0, 20)
    await from.send(differing)
    expect(await from.refusal()).toMatchObject({ name: 'DivergentEntryError' })
    expect(replica.status().durable).toBe(20n)
    expect(Number(primary.store.lsn)).toBeGreaterThan(20)
  })

  it('a chain digest other than the one stated is refused, and nothing is written', async () => {
    const { replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.send({ ...(await from.entriesOf(0, 10)), digest: new Uint8Array(32).fill(1) })
    expect(await from.refusal()).toMatchObject({ name: 'ChainDigestError' })
    expect(replica.status().durable).toBe(0n)
  })

  it.each([
    ['a frame that passes the end', (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length - 8)],
    ['a record too few', (bytes: Uint8Array): Uint8Array => bytes.subarray(0, 0)],
    ['a record of another LSN', (bytes: Uint8Array): Uint8Array => bytes.with(16, 99)],
  ])('%s is refused as an entry that fails its check', async (_, damage) => {
    const { replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    const message = await from.entriesOf(0, 10)
    await from.send({ ...message, bytes: damage(message.bytes) })
    expect(await from.refusal()).toMatchObject({ name: 'EntryChecksumError' })
    expect(replica.status().durable).toBe(0n)
  })

  it('a flipped byte inside a record does not reach the log', async () => {
    const { replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    const message = await from.entriesOf(0, 10)
    const at = message.bytes.length - 20
    await from.send({ ...message, bytes: message.bytes.with(at, message.bytes[at]! ^ 1) })
    expect(['ChainDigestError', 'CorruptionError']).toContain((await from.refusal()).name)
    expect(replica.status().durable).toBe(0n)
  })

  it('records without a grant are refused', async () => {
    const { replica, sender } = await pair(40)
    const from = await sender()
    await from.hello()
    await from.entries(0, 10)
    expect(await from.refusal()).toMatchObject({ name: 'NoSessionError' })
    expect(replica.status().durable).toBe(0n)
  })
})

describe('the fence gate', () => {
  it('K2 an older epoch is answered, and lets nothing in, also after a restart', async () => {
    const root = new MemoryRoot({})
    const { network, primary, replica, sender } = await pair(40, root)
    const newer = await sender({ epoch: 5 })
    await newer.hello()
    await newer.grant(0)
    await newer.entries(0, 10)
    await newer.durable(10)
    const older = await sender({ epoch: 4, session: 9 })
    expect(await older.hello()).toMatchObject({ epochSeen: 5, durableLsn: 10 })
    await older.send({ type: 'grant', mode: 'stream', start: 10, target: 0, committedLsn: 40, elideDead: false })
    expect(await older.refusal()).toMatchObject({ name: 'StaleEpochError', held: 5, seen: 4 })
    expect(replica.status()).toMatchObject({ epoch: 5, committed: 10n, connected: true })
    await replica.close()
    const again = await replicaOn(network, root)
    const late = await RawSender.connect(network, again, primary, { epoch: 4, session: 12 })
    await late.hello()
    await late.send({ type: 'truncate', lsn: 0 })
    expect(await late.refusal()).toMatchObject({ name: 'StaleEpochError' })
    expect(again.status()).toMatchObject({ epoch: 5, durable: 10n })
  })

  it('K2 an older session of the epoch is refused, and a newer one takes over', async () => {
    const { replica, sender } = await pair(40)
    const first = await sender({ session: 1 })
    await first.hello()
    await first.grant(0)
    await first.entries(0, 10)
    await first.durable(10)
    const second = await sender({ session: 2 })
    expect(await second.hello()).toMatchObject({ durableLsn: 10 })
    expect(await first.refusal()).toMatchObject({ name: 'SessionFencedError' })
    await second.grant(10)
    await second.entries(10, 20)
    await second.durable(20)
    const third = await sender({ session: 1 })
    await third.hello()
    await third.send({ type: 'grant', mode: 'stream', start: 20, target: 0, committedLsn: 0, elideDead: false })
    expect(await third.refusal()).toMatchObject({ name: 'SessionFencedError' })
    expect(replica.status()).toMatchObject({ session: 2, durable: 20n })
  })

  it('K2 a frame whose header names another fence than its link is refused', async () => {
    const { sender } = await pair(40)
    const from = await sender({ epoch: 2 })
    await from.hello()
    await from.grant(0)
    await from.send(await from.entriesOf(0, 10), { session: 7 })
    expect(await from.refusal()).toMatchObject({ name: 'SessionFencedError' })
  })

  it.each([
    ['another store', { storeId: new Uint8Array(16).fill(3) }, 'StoreMismatchError'],
    ['another replica', { replicaId: 'r2' }, 'ReplicaMismatchError'],
    ['a protocol that it does not speak', { protocol: 9 }, 'ProtocolVersionError'],
  ])('a hello for %s is refused and fences nobody', async (_, hello, name) => {
    const { replica, sender } = await pair(40)
    const own = await sender({ epoch: 1 })
    await own.hello()
    const from = await sender({ epoch: 8 })
    await from.hello(hello).catch(() => undefined)
    expect(await from.refusal()).toMatchObject({ name })
    expect(replica.status()).toMatchObject({ epoch: 1, connected: true })
  })

  it('an observer is answered beside a session, and changes nothing', async () => {
    const { replica, sender } = await pair(40)
    const own = await sender({ epoch: 3 })
    await own.hello()
    await own.grant(0)
    await own.entries(0, 10)
    await own.durable(10)
    const observer = await sender({ epoch: 0, session: 0 })
    expect(await observer.hello({ kind: 'observe', replicaId: '' })).toMatchObject({ replicaId: 'r1', durableLsn: 10, epochSeen: 3 })
    await observer.send({ type: 'digestReq', lsn: 10 })
    expect((await observer.next('digestReply')).digest).toHaveLength(32)
    await own.entries(10, 20)
    await own.durable(20)
    await observer.send({ type: 'truncate', lsn: 5 })
    expect(await observer.refusal()).toMatchObject({ name: 'SessionFencedError' })
    expect(replica.status()).toMatchObject({ epoch: 3, durable: 20n, connected: true })
  })

  it('K2 the epoch is on disk before the first record under it', async () => {
    const root = new MemoryRoot({ loseUnsynced: 1 })
    const failpoints = new FailpointRegistry()
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    const replica = await replicaOn(network, root, { world: bootWorld(failpoints) })
    const first = await RawSender.connect(network, replica, primary, { epoch: 1 })
    await first.hello()
    failpoints.arm(FP.ship.afterEpochPersist, { crash: true })
    const from = await RawSender.connect(network, replica, primary, { epoch: 6 })
    void from.hello().catch(() => undefined)
    await failpoints.crashed
    abandon(replica)
    const again = await replicaOn(network, root.crash(), { endpoint: { data: 'again', version: 1 } })
    expect(again.status()).toMatchObject({ epoch: 6, durable: 0n })
  })
})

describe('a fence before a promotion', () => {
  it.each([
    ['by its own process', (replica: Replica) => replica.fence({ epoch: 7 })],
    ['from afar', ({ endpoint }: Replica, network: MemoryNetwork) => fence(endpoint.data, { epoch: 7, transport: network.transport('caller') })],
  ])('M1 of a node before its first contact, asked for %s, is answered: it holds nothing, and helps nobody', async (_, asked) => {
    const network = new MemoryNetwork(defaultWorld())
    const replica = await replicaOn(network)
    const record = await asked(replica, network)
    expect(record).toMatchObject({ id: 'r1', storeId: '', readableLsn: 0, lastEpoch: 0, isIntact: true, isAmnesic: true })
    const { id: storeId } = (await primaryOn()).store
    expect(candidates([record], 'async', 2, { storeId, epoch: 7 })).toMatchObject({ candidates: [], reason: 'too_few_records' })
    expect(replica.status()).toMatchObject({ storeId: '', failure: undefined })
  })

  it.each([
    ['by its own process', (replica: Replica) => replica.fence({ epoch: 7 })],
    [
      'over a link',
      (replica: Replica, { network, primary }: Pair) =>
        fenceReplica({
          transport: network.transport('caller'),
          endpoint: replica.endpoint,
          world: defaultWorld(),
          epoch: 7,
          storeId: fromHex(primary.store.id),
        }),
    ],
  ])('asked for %s, ends what an older primary does, and says what is here', async (_, asked) => {
    const root = new MemoryRoot({})
    const both = await pair(40, root)
    const { network, primary, replica, sender } = both
    const from = await sender({ epoch: 5 })
    await from.hello()
    await from.grant(0)
    await from.entries(0, 30)
    await from.durable(30)
    expect(await asked(replica, both)).toMatchObject({ id: 'r1', storeId: primary.store.id, readableLsn: 30, isIntact: true, epochSeen: 7, lastEpoch: 1 })
    expect(await from.refusal()).toMatchObject({ name: 'StaleEpochError' })
    const late = await sender({ epoch: 6 })
    expect(await late.hello()).toMatchObject({ epochSeen: 7 })
    await late.send({ type: 'grant', mode: 'stream', start: 30, target: 0, committedLsn: 0, elideDead: false })
    expect(await late.refusal()).toMatchObject({ name: 'StaleEpochError' })
    expect(await failure(() => replica.fence({ epoch: 6 }))).toMatchObject({ name: 'StaleEpochError', held: 7 })
    await replica.close()
    const again = await replicaOn(network, root)
    expect(again.status()).toMatchObject({ epoch: 7, durable: 30n })
    const next = await RawSender.connect(network, again, primary, { epoch: 8 })
    await next.catchUp(again)
  })
})

describe('the file gate', () => {
  it('K4 a record is not durable before the file that it names is there', async () => {
    const { primary, replica, sender } = await pair(200)
    await primary.store.flush()
    await fill(primary.store, 200, 210)
    const head = Number(primary.store.lsn)
    const from = await sender({ serves: false })
    await from.hello()
    await from.grant(0)
    await from.entries(0, head, { most: 1000 })
    const want = await from.next('want')
    expect(want.files.length).toBeGreaterThan(0)
    expect(replica.status()).toMatchObject({ received: BigInt(head), durable: 0n })
    for (const { name, hash } of want.files) {
      const { bytes } = await primary.root.get(name)
      await from.send({ type: 'fragment', hash, offset: 0, total: bytes.length, dead: false, bytes })
    }
    expect(await from.durable(head)).toMatchObject({ durableLsn: head })
  })

  it('B8 a file that fails its hash is asked for again; three times end the link, and nothing of it is there', async () => {
    const { primary, replica, sender } = await pair(200)
    await primary.store.flush()
    const head = Number(primary.store.lsn)
    let damaged = 0
    const once = await sender({
      session: 1,
      onFile: (name, bytes) => {
        if (name.endsWith('.arrow') && damaged++ === 0) bytes[100]! ^= 1
        return bytes
      },
    })
    await once.hello()
    await once.grant(0)
    await once.entries(0, head)
    await once.durable(head)
    expect(damaged).toBe(2)
    await fill(primary.store, 300, 320)
    await primary.store.flush()
    const next = Number(primary.store.lsn)
    const thrice = await sender({
      session: 2,
      onFile: (_name, bytes) => {
        bytes[100]! ^= 1
        return bytes
      },
    })
    await thrice.hello()
    await thrice.grant(head)
    await thrice.entries(head, next, { most: 1000 })
    expect(await thrice.refusal()).toMatchObject({ name: 'FragmentHashError' })
    expect(replica.status().durable).toBe(BigInt(head))
    const good = await sender({ session: 3 })
    await good.hello()
    await good.grant(head)
    await good.entries(head, next, { committedLsn: next })
    await good.durable(next)
    await replica.store.refresh()
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
  })

  it('a file of many pieces is stored whole, and one that was cut off is asked for again by the next link', async () => {
    const { primary, replica, sender } = await pair(0, tempDirectory())
    await primary.store.append(
      items,
      Array.from({ length: 60_000 }, (_, i) => ({ id: i, name: `a name that does not repeat ${i * 7919}` })),
    )
    await primary.store.flush()
    const head = Number(primary.store.lsn)
    const cut = await sender({ session: 1, serves: false })
    await cut.hello()
    await cut.grant(0)
    await cut.entries(0, head)
    const want = await cut.next('want')
    const large = want.files.toSorted((a, b) => b.bytes - a.bytes)[0]!
    expect(large.bytes).toBeGreaterThan(200_000)
    const { bytes } = await primary.root.get(large.name)
    await cut.send({ type: 'fragment', hash: large.hash, offset: 0, total: bytes.length, dead: false, bytes: bytes.slice(0, 65_536) })
    await cut.close()
    const whole = await sender({ session: 2 })
    await whole.catchUp(replica)
    expect(whole.fileBytes).toBeGreaterThanOrEqual(bytes.length)
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
  })
})

describe('elision', () => {
  async function vacuumed(): Promise<Pair> {
    const both = await pair(0)
    const { store } = both.primary
    for (let round = 0; round < 3; round++) {
      await store.upsert(
        items,
        Array.from({ length: 200 }, (_each, id) => ({ id: id + round * 50, name: `round ${round}` })),
      )
      await store.flush()
    }
    await store.optimize()
    await store.vacuum({ keep: { versions: 1 } })
    return both
  }

  it('H12 files that are gone are skipped where the grant says so; what is below the target cannot be read, the target can', async () => {
    const { primary, replica, sender } = await vacuumed()
    const head = Number(primary.store.lsn)
    const from = await sender({ elides: true })
    await from.hello()
    await from.grant(0, { mode: 'catchup', target: head, elideDead: true, committedLsn: head })
    await from.entries(0, head)
    await from.durable(head)
    await replica.store.refresh()
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await failure(() => replica.store.snapshot(head - 1))).toMatchObject({ name: 'HistoryUnavailableError' })
    expect(replica.status().failure).toBeUndefined()
  })

  it('without it a file that is called dead ends the link', async () => {
    const { primary, replica, sender } = await vacuumed()
    const from = await sender({ elides: true })
    await from.hello()
    await from.grant(0)
    await from.entries(0, Number(primary.store.lsn), { most: 1000 })
    expect(await from.refusal()).toMatchObject({ name: 'TransportError' })
    expect(replica.status().durable).toBe(0n)
  })
})

describe('what readers see', () => {
  it('K5 at most what is committed; the tail with readUncommitted alone', async () => {
    const { replica, sender } = await pair(100)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 102, { committedLsn: 52 })
    await from.durable(102)
    await replica.store.refresh()
    expect(replica.status()).toMatchObject({ lsn: 52n, durable: 102n, committed: 52n })
    expect(await replica.store.scan(items).count()).toBe(50)
    expect(await failure(() => replica.store.snapshot(80))).toMatchObject({ name: 'HistoryUnavailableError' })
    {
      await using uncommitted = await replica.store.snapshot(undefined, { readUncommitted: true })
      expect(uncommitted.lsn).toBe(102n)
      expect(await uncommitted.scan(items).count()).toBe(100)
    }
    await from.send({ type: 'heartbeat', committedLsn: 70, durableLsn: 0 })
    while (replica.status().lsn < 70n) await new Promise((resolve) => setImmediate(resolve))
    expect(await replica.store.scan(items).count()).toBe(68)
  })

  it('K5 a change feed ends at what is committed, and goes on with it', async () => {
    const { replica, sender } = await pair(100)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 102, { committedLsn: 30 })
    await from.durable(102)
    await replica.store.refresh()
    const stop = new AbortController()
    const seen: bigint[] = []
    const feed = (async () => {
      for await (const { lsn } of replica.store.changes({ from: 10, tables: [items], signal: stop.signal })) {
        seen.push(lsn)
        if (lsn === 60n) break
      }
    })()
    while (seen.at(-1) !== 30n) await new Promise((resolve) => setImmediate(resolve))
    await from.send({ type: 'heartbeat', committedLsn: 60, durableLsn: 0 })
    await feed
    expect(seen.at(-1)).toBe(60n)
    expect(seen).toHaveLength(50)
  })

  it('K3 what was acknowledged is there after a kill, and acknowledgements only grow', async () => {
    const root = new MemoryRoot({ loseUnsynced: 2 })
    const { network, primary, replica, sender } = await pair(300, root)
    const from = await sender()
    await from.hello()
    await from.grant(0)
    await from.entries(0, 300, { most: 7 })
    const told = (await from.durable(300)).durableLsn
    const acks = from.heard.filter((message) => message.type === 'ack').map(({ durableLsn }) => durableLsn)
    expect(acks).toEqual(acks.toSorted((a, b) => a - b))
    network.crash('r1')
    abandon(replica)
    const again = await replicaOn(network, root.crash(), { endpoint: { data: 'again', version: 1 } })
    expect(Number(again.status().durable)).toBeGreaterThanOrEqual(told)
    const next = await RawSender.connect(network, again, primary, { session: 2 })
    await next.catchUp(again)
    expect(await rowsOf(again.store)).toEqual(await rowsOf(primary.store))
    expect(replica.status().durable).toBe(300n)
  })
})

async function otherEntries(other: Primary, start: number, end: number): ReturnType<RawSender['entriesOf']> {
  // eslint-disable-next-line typescript/unbound-method
  return await RawSender.prototype.entriesOf.call({ primary: other } as unknown as RawSender, start, end)
}
