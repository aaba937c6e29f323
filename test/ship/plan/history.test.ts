// What shipping sees of a store: positions, trust in the newest checkpoint, pins that vacuum and trim honour, bases that hold all that a store there needs.
import { describe, expect, it, onTestFinished } from 'vitest'

import { columns, lsn, type OpenOptions, PinRefusedError, type Root, StorageError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot, openRoot } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, FP, type MonoMs } from '../../../bindings/runtime/index.ts'
import type { FullBasePin, Manifest, SessionId } from '../../../bindings/ship/index.ts'
import { manifestHash } from '../../../bindings/ship/index.ts'
import { StoreHistory, type ShipHistoryParts } from '../../../bindings/store/ship-history.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/fake-clock.ts'
import { failure, opened, PLACES, tempDirectory } from '../../unit/store/places.ts'

const items = table('items', { id: t.int32(), n: t.int64() }, { key: ['id'] })
const OPTIONS: OpenOptions = { inlineLimitBytes: 4096, segmentBytes: 64 * 1024 }
const session: SessionId = { epoch: 3, seq: 7 }

const rows = (from: number, count: number, n: number): never =>
  columns({ id: Int32Array.from({ length: count }, (_, i) => from + i), n: BigInt64Array.from({ length: count }, () => BigInt(n)) }) as never

async function work(store: Store, rounds: number, from = 0): Promise<void> {
  for (let n = from; n < from + rounds; n++) {
    await store.upsert(items, rows(0, 800, n))
    for (let i = 0; i < 40; i++) await store.upsert(items, rows((i * 97) % 800, 60, n * 1000 + i))
    await store.flush()
    await store.optimize()
  }
}

function historyOf(store: Store, o: Partial<ShipHistoryParts> = {}): StoreHistory {
  const { o: parts } = store as unknown as { o: ShipHistoryParts }
  const history = new StoreHistory({ ...parts, committed: () => Infinity, ...o })
  onTestFinished(() => history[Symbol.dispose]())
  return history
}

async function worked(place: string | Root, rounds = 3, o: OpenOptions = {}): Promise<Store> {
  const store = await opened(place, { ...OPTIONS, ...o })
  await store.create(items)
  await work(store, rounds)
  return store
}

const namesOf = ({ checkpoint, files }: Manifest): string[] => [checkpoint, ...files].map(({ name }) => name)

async function contents(store: Pick<Store, 'scan'>, at?: string | bigint): Promise<string> {
  const where = at === undefined ? {} : { at: typeof at === 'string' ? at : lsn(at) }
  return (await store.scan(items, { orderBy: 'id', ...where }).toArray()).map(({ id, n }) => `${id}:${n}`).join(' ')
}

/** The log of a closed store and nothing of its other files but those of a base. */
async function onlyBase(from: string | Root, manifest: Manifest): Promise<string> {
  const source = await openRoot(from, defaultWorld())
  const place = tempDirectory()
  const target = await openRoot(place, defaultWorld())
  for await (const { name } of source.list('')) {
    if (/^(fragments|indexes|checkpoints|leases)\//.test(name) || name.startsWith('LOCK.')) continue
    await target.put(name, (await source.get(name)).bytes)
  }
  for (const name of namesOf(manifest)) await target.put(name, (await source.get(name)).bytes)
  await target[Symbol.asyncDispose]()
  return place
}

it('P10 on a shared root a vacuum of another process honours a pin, and the owner of a lease that cannot be renewed hears of it before it expires', async () => {
  const memory = new MemoryRoot()
  let isCut = false
  const cut = new Proxy(memory, {
    get: (target, key) => {
      if (key === 'put')
        return (name: string, bytes: Uint8Array) =>
          isCut && name.startsWith('leases/')
            ? Promise.reject(new StorageError('no way there', { details: { class: 'unavailable', op: 'put', name } }))
            : target.put(name, bytes)
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
  const clock = new FakeClock(1_700_000_000_000, { turns: 1 })
  const o: OpenOptions = { writers: 'shared', follow: false, world: { clock: clock.clock, timers: clock.timers } }
  const here = await worked(cut, 2, o)
  await here.flush()
  const history = historyOf(here)
  const told: [string, boolean, number][] = []
  const { checkpoint } = await history.read()
  const pins = [await history.pinSnapshot(checkpoint!.lsn, session), await history.pinLog(checkpoint!.lsn, session, { isRebuild: true })]
  for (const pin of pins) pin.onLimit = (limit) => void told.push([limit, pin.valid, clock.clock.monoMs()])
  const elsewhere = await opened(memory, { ...OPTIONS, ...o })
  await work(elsewhere, 2, 30)
  const files = namesOf((pins[0] as FullBasePin).manifest)
  await clock.advance(8 * 24 * 3600 * 1000)
  const honoured = await elsewhere.vacuum({ keep: { versions: 1 } })
  expect(honoured.heldBack.map(({ by }) => by)).toContain('reader elsewhere')
  for (const name of files) expect(await memory.exists(name), name).toBe(true)
  expect(told).toEqual([])
  isCut = true
  const then = clock.clock.monoMs()
  await clock.advance(70_000)
  expect(told.map(([limit, isValid]) => [limit, isValid])).toEqual([
    ['lease_lost', true],
    ['lease_lost', true],
  ])
  for (const [, , at] of told) expect(at - then).toBeLessThan(60_000)
  expect(pins.map(({ valid }) => valid)).toEqual([false, false])
  expect(await here.pins()).toEqual([])
})

describe.each(PLACES)('the history of a store, %s', (_kind, place) => {
  it('H, T, G, C, the newest checkpoint and the lineage are those of the log', async () => {
    const store = await worked(place())
    const history = historyOf(store)
    const read = await history.read()
    expect(read).toMatchObject({ headLsn: Number(store.lsn), tailLsn: 0, fragmentFloorLsn: 0, committedLsn: Number(store.lsn) })
    expect(read.lineage).toEqual([{ epoch: 1, firstLsn: 1 }])
    expect(await history.read({ positions: true })).toEqual({ ...read, checkpoint: null })
    expect(read.checkpoint).toMatchObject({ lsn: expect.any(Number), trusted: true })
    const pin = await history.pinSnapshot(read.checkpoint!.lsn, session)
    expect(manifestHash(pin.manifest)).toEqual(read.checkpoint!.manifestHash)
    expect(pin.manifest.digest).toEqual(await history.digestAt(pin.lsn))
    await store.vacuum({ keep: { versions: 1 } })
    const behind = await historyOf(store, { committed: () => 5 }).read()
    expect(behind.tailLsn).toBeLessThanOrEqual(pin.manifest.logFrom)
    expect(behind.fragmentFloorLsn).toBeGreaterThan(0)
    expect(behind.committedLsn).toBe(5)
  })

  it('a store without a checkpoint has none, and its first base is the version asked for', async () => {
    const store = await opened(place(), OPTIONS)
    await store.create(items)
    await store.upsert(items, rows(0, 3, 1))
    const history = historyOf(store)
    expect((await history.read()).checkpoint).toBeNull()
    const pin = await history.pinFullBase(Number(store.lsn), session)
    expect(pin.lsn).toBe(Number(store.lsn))
    expect(pin.manifest).toMatchObject({ baseLsn: pin.lsn, logFrom: pin.lsn - 1, files: [] })
  })

  it('P5 a log is pinned from T on and not below; a snapshot where a trusted checkpoint is and nowhere else', async () => {
    const store = await worked(place())
    await store.vacuum({ keep: { versions: 1 } })
    await store.flush()
    const history = historyOf(store)
    const { tailLsn, fragmentFloorLsn, checkpoint } = await history.read()
    expect(tailLsn).toBeGreaterThan(0)
    const start = Math.max(tailLsn, fragmentFloorLsn)
    expect((await history.pinLog(start, session)).lsn).toBe(start)
    expect(await failure(() => history.pinLog(tailLsn - 1, session))).toMatchObject({ name: 'PinRefusedError', asked: BigInt(tailLsn - 1) })
    expect(await failure(() => history.pinSnapshot(checkpoint!.lsn - 1, session))).toBeInstanceOf(PinRefusedError)
    expect((await history.pinSnapshot(checkpoint!.lsn, session)).kind).toBe('snapshot')
    // Below G there are records whose files are gone: enough for a replay that leaves dead files out.
    expect(start).toBeGreaterThan(tailLsn)
    expect(await failure(() => history.pinLog(tailLsn, session))).toBeInstanceOf(PinRefusedError)
    using elided = await history.pinLog(tailLsn, session, { elided: true })
    await work(store, 3, 60)
    expect([elided.lsn, Number((await store.vacuum({ keep: { versions: 1 } })).tail)]).toEqual([tailLsn, tailLsn])
  })

  it('P6 T stays at the lowest of two overlapping pins, then at the other, then goes on', async () => {
    const store = await worked(place(), 1)
    const history = historyOf(store)
    const at: number[] = []
    const pins = []
    for (let i = 0; i < 2; i++) {
      at.push(Number(store.lsn))
      pins.push(await history.pinLog(at[i]!, i === 0 ? session : 'stream'))
      await work(store, 3, 10 * (i + 1))
    }
    expect((await store.pins()).map(({ owner, lsn: pinned }) => [owner, Number(pinned)])).toEqual([
      ['session 3.7', at[0]],
      ['stream', at[1]],
    ])
    const tailAfter = async (): Promise<number> => Number((await store.vacuum({ keep: { versions: 1 } })).tail)
    const first = await tailAfter()
    expect(first).toBeLessThanOrEqual(at[0]!)
    pins[0]!.release()
    const second = await tailAfter()
    expect(second).toBeGreaterThan(first)
    expect(second).toBeLessThanOrEqual(at[1]!)
    // The stream has gone on: its pin too.
    pins[1]!.advance(Number(store.lsn))
    expect(await tailAfter()).toBeGreaterThan(second)
    pins[1]!.release()
    pins[1]!.release()
    expect(await store.pins()).toEqual([])
    expect(pins.map(({ valid }) => valid)).toEqual([false, false])
  })

  it('B16 B17 what a base is made of survives optimize and vacuum while it is pinned, and is reclaimed right after', async () => {
    const store = await worked(place())
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    const { checkpoint } = await history.read()
    for (const kind of ['snapshot', 'full_base']) {
      const base = await (kind === 'snapshot' ? history.pinSnapshot(checkpoint!.lsn, session) : history.pinFullBase(Number(store.lsn), session))
      expect(base.kind).toBe(kind)
      const log = kind === 'snapshot' ? await history.pinLog(base.lsn, session, { isRebuild: true }) : undefined
      for (let round = 0; round < 2; round++) {
        await work(store, 1, 100 + 10 * round + base.lsn)
        await store.vacuum({ keep: { versions: 1 } })
      }
      for (const { name, bytes } of [base.manifest.checkpoint, ...base.manifest.files]) expect((await root.head(name))?.size, name).toBe(bytes)
      expect((await history.read()).tailLsn).toBeLessThanOrEqual(base.manifest.logFrom)
      expect((await history.digestAt(base.manifest.logFrom)).length).toBe(32)
      // Everything behind it too.
      expect((await history.read()).fragmentFloorLsn).toBeLessThanOrEqual(base.lsn)
      const files = base.manifest.files.map(({ name }) => name)
      base.release()
      log?.release()
      await store.vacuum({ keep: { versions: 1 } })
      // What the newest version has too stays.
      using now = await history.pinFullBase(Number(store.lsn), session)
      const used = new Set(namesOf(now.manifest))
      expect(files.filter((name) => !used.has(name)).length).toBeGreaterThan(0)
      for (const name of files) expect(await root.exists(name), name).toBe(used.has(name))
    }
    expect(await store.pins()).toEqual([])
  })

  it('a snapshot holds its files and its log without a pin of the log', async () => {
    const store = await worked(place())
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    // Rows that its checkpoint leaves in the log.
    for (let i = 0; i < 60; i++) await store.upsert(items, rows(i * 3, 40, i))
    const { lsn: at } = await (async () => {
      using full = await history.pinFullBase(Number(store.lsn), session)
      return { lsn: full.lsn }
    })()
    using base = await history.pinSnapshot(at, session)
    expect(base.manifest.logFrom).toBeLessThan(at - 50)
    await work(store, 4, 50)
    const report = await store.vacuum({ keep: { versions: 1 } })
    expect(report.deleted).toBeGreaterThan(0)
    for (const name of namesOf(base.manifest)) expect(await root.exists(name), name).toBe(true)
    expect((await history.read()).tailLsn).toBeLessThanOrEqual(base.manifest.logFrom)
    base.release()
    expect(Number((await store.vacuum({ keep: { versions: 1 } })).tail)).toBeGreaterThan(base.manifest.logFrom)
  })

  it('names that are gone by now are no part of an older base: what they alone needed may be gone too', async () => {
    const store = await worked(place(), 1)
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    await store.tag('old')
    const side = await store.branch('side')
    await side.upsert(items, rows(0, 800, 5))
    await work(store, 2, 10)
    await store.flush()
    const { checkpoint } = await history.read()
    const before = await history.pinSnapshot(checkpoint!.lsn, session)
    const alone = namesOf(before.manifest)
    before.release()
    await store.deleteTag('old')
    await store.deleteBranch('side')
    const versions = Number(store.lsn) - checkpoint!.lsn + 20
    expect((await store.vacuum({ keep: { versions } })).deleted).toBeGreaterThan(0)
    using now = await history.pinSnapshot(checkpoint!.lsn, session)
    const needed = new Set(namesOf(now.manifest))
    expect(alone.filter((name) => !needed.has(name)).length).toBeGreaterThan(0)
    for (const name of needed) expect(await root.exists(name), name).toBe(true)
  })

  it('a checkpoint that is pinned between the plan of a vacuum and its deletes stays', async () => {
    const points = new FailpointRegistry()
    const store = await worked(place(), 1, { world: { failpoints: points } })
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    const at: number[] = []
    for (let round = 0; round < 4; round++) {
      await work(store, 1, 10 * round)
      await store.flush()
      at.push((await history.read()).checkpoint!.lsn)
    }
    using parked = points.arm(FP.vacuum.beforeDelete, { park: true, times: 1 })
    const vacuum = store.vacuum({ keep: { versions: Number(store.lsn) - at[0]! - 10 } })
    await parked.reached()
    using base = await history.pinSnapshot(at[1]!, session)
    parked.release()
    await vacuum
    expect(await root.exists(base.manifest.checkpoint.name)).toBe(true)
    base.release()
    await store.vacuum({ keep: { versions: 1 } })
    expect(await root.exists(base.manifest.checkpoint.name)).toBe(false)
  })

  it('a base has every file that a store there opens with, branches and tags too', async () => {
    const where = place()
    const store = await worked(where)
    await store.tag('then')
    const side = await store.branch('side')
    await work(store, 2, 20)
    await side.upsert(items, rows(0, 50, 77))
    await store.tag('on-side', { at: 'side' })
    const gone = await store.branch('gone')
    await gone.upsert(items, rows(0, 2000, 5))
    await store.deleteBranch('gone')
    await work(store, 2, 30)
    await store.merge('side', { onConflict: 'theirs' })
    await work(store, 1, 40)
    const history = historyOf(store)
    const pin = await history.pinFullBase(Number(store.lsn), session)
    const expected = await contents(store)
    const [then, onSide] = [await contents(store, 'then'), await contents(store, 'side')]
    expect(pin.manifest.files.some(({ name }) => name.startsWith('checkpoints/'))).toBe(true)
    expect(pin.manifest.logFrom).toBeLessThan(Number((await store.tags()).find(({ name }) => name === 'then')!.lsn))
    await store.close()
    const copy = await Store.open(await onlyBase(where, pin.manifest), { readOnly: true })
    onTestFinished(() => copy.close())
    expect(await contents(copy)).toBe(expected)
    expect(await contents(copy, 'then')).toBe(then)
    expect(await contents(copy, 'side')).toBe(onSide)
  })

  it('a full base is at the LSN asked for when that version can be made, and the same bytes as a checkpoint written then', async () => {
    const store = await worked(place(), 2)
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    await store.upsert(items, rows(0, 10, 999))
    const at = Number(store.lsn)
    const live = await history.pinFullBase(at, session)
    const first = (await root.get(live.manifest.checkpoint.name)).bytes
    live.release()
    await root.delete([live.manifest.checkpoint.name])
    await store.upsert(items, rows(5, 10, 1000))
    await work(store, 1, 40)
    const folded = await history.pinFullBase(at, session)
    expect(folded.lsn).toBe(at)
    expect((await root.get(folded.manifest.checkpoint.name)).bytes).toEqual(first)
    expect(manifestHash(folded.manifest)).toEqual(manifestHash(live.manifest))
  })

  it('a full base is at the lowest version above that can be made, at most the head', async () => {
    const store = await worked(place())
    await store.vacuum({ keep: { versions: 1 } })
    const history = historyOf(store)
    const pin = await history.pinFullBase(2, session)
    expect(pin.lsn).toBeGreaterThan(2)
    expect(pin.lsn).toBe(Number((await store.stats()).log.floor))
    expect(await failure(() => history.pinFullBase(Number(store.lsn) + 1, session))).toBeInstanceOf(PinRefusedError)
  })

  it('a checkpoint is not trusted when it is damaged, of another history, misses a file, or failed the last verify', async () => {
    const store = await worked(place())
    const { root, damaged } = (store as unknown as { o: ShipHistoryParts }).o
    const first = (await historyOf(store).read()).checkpoint!
    const names = await (async (): Promise<string[]> => {
      using pin = await historyOf(store).pinSnapshot(first.lsn, session)
      return namesOf(pin.manifest)
    })()
    expect(first.trusted).toBe(true)
    const changed = async (name: string, change: (bytes: Uint8Array) => Uint8Array | undefined, then?: () => Promise<unknown>): Promise<void> => {
      const { bytes } = await root.get(name)
      await root.delete([name])
      const next = change(bytes.slice())
      if (next !== undefined) await root.put(name, next)
      await then?.()
      const history = historyOf(store)
      const { checkpoint } = await history.read()
      expect(checkpoint).toMatchObject({ lsn: first.lsn, trusted: false })
      expect(await failure(() => history.pinSnapshot(first.lsn, session))).toBeInstanceOf(PinRefusedError)
      if (next !== undefined) await root.delete([name])
      await root.put(name, bytes)
      damaged.clear()
      expect((await historyOf(store).read()).checkpoint).toMatchObject({ trusted: true })
    }
    const flipped = (bytes: Uint8Array): Uint8Array => {
      bytes[200]! ^= 1
      return bytes
    }
    await changed(names[0]!, flipped)
    await changed(names.at(-1)!, () => undefined)
    await changed(names.at(-1)!, (bytes) => bytes.subarray(1))
    const fragment = names.find((name) => name.endsWith('.arrow'))!
    await changed(fragment, flipped, () => store.verify())
    expect(await store.pins()).toEqual([])
  })

  it('P8 a pin held too long, or that keeps too much log, is told to its owner before it goes', async () => {
    const clock = new FakeClock(1_700_000_000_000, { turns: 1 })
    const store = await worked(place(), 1, { world: { clock: clock.clock, timers: clock.timers } })
    const history = historyOf(store, { limits: { maxPinAgeMs: 5000, maxPinnedBytes: 80 * 1024 } })
    const told: string[] = []
    const from = Number(store.lsn) - 2
    const pins = [await history.pinLog(from, session), await history.pinLog(from, session, { isRebuild: true })]
    pins.forEach((pin, i) => (pin.onLimit = (limit) => void told.push(`${i} ${limit} ${pin.valid}`)))
    await clock.advance(4000)
    pins[0]!.advance(pins[0]!.lsn + 1)
    await clock.advance(4000)
    expect(told).toEqual([])
    await clock.advance(2000)
    expect(told).toEqual(['0 retention_exceeded true'])
    expect(pins.map(({ valid }) => valid)).toEqual([false, true])
    for (let i = 0; i < 40; i++)
      await store.upsert(
        items,
        columns({
          id: Int32Array.from({ length: 150 }, (_, at) => at * 7 + i),
          n: BigInt64Array.from({ length: 150 }, (_, at) => BigInt(at * i * 1_000_003)),
        }) as never,
      )
    await clock.advance(1000)
    expect(told).toEqual(['0 retention_exceeded true', '1 retention_exceeded true'])
    expect(await store.pins()).toEqual([])
    expect(history.checkLimits()).toEqual([])
  })

  it('P8 the age of a pin is how long it has held log back: at the head it has none, and an idle spell is no part of it', async () => {
    const clock = new FakeClock(1_700_000_000_000, { turns: 1 })
    let asleepMs = 0
    const monoMs = (): MonoMs => (clock.clock.monoMs() + asleepMs) as MonoMs
    const store = await worked(place(), 1, { world: { clock: { ...clock.clock, monoMs }, timers: clock.timers } })
    const history = historyOf(store, { limits: { maxPinAgeMs: 5000, maxPinnedBytes: 0 } })
    const told: string[] = []
    const pins = [await history.pinLog(Number(store.lsn), 'stream'), await history.pinLog(Number(store.lsn) - 1, 'stream')]
    pins.forEach((pin, i) => (pin.onLimit = (limit) => void told.push(`${i} ${limit}`)))
    // This one reaches the head later.
    await clock.advance(4000)
    pins[1]!.advance(Number(store.lsn))
    await clock.advance(60_000)
    expect([told, history.checkLimits()]).toEqual([[], []])
    // A look that comes late finds the first record behind a long silence.
    asleepMs = 3_600_000
    await store.upsert(items, rows(0, 1, 1))
    expect([told, history.checkLimits()]).toEqual([[], []])
    await clock.advance(4900)
    expect(told).toEqual([])
    pins[1]!.advance(Number(store.lsn))
    await clock.advance(1200)
    expect(told).toEqual(['0 retention_exceeded'])
    await clock.advance(60_000)
    expect(told).toEqual(['0 retention_exceeded'])
  })

  it('P6 a base that needs a file which a vacuum on its way has named is refused', async () => {
    const store = await worked(new MemoryRoot({}))
    const named = new Set<string>()
    const history = historyOf(store, { isDead: (name) => named.has(name) })
    const pin = await history.pinFullBase(Number(store.lsn), session)
    named.add(pin.manifest.files[0]!.name)
    pin.release()
    expect(await failure(() => history.pinFullBase(Number(store.lsn), session))).toBeInstanceOf(PinRefusedError)
  })

  it('P6 a pin raced against vacuum is granted and honoured, or refused', async () => {
    const store = await worked(place(), 2)
    const { root } = (store as unknown as { o: ShipHistoryParts }).o
    const history = historyOf(store)
    for (let round = 0; round < 6; round++) {
      await work(store, 1, 200 + round)
      const { checkpoint, tailLsn } = await history.read()
      const asked = [history.pinSnapshot(checkpoint!.lsn, session), history.pinLog(tailLsn, session), history.pinFullBase(1, session)]
      const [vacuumed, ...granted] = await Promise.allSettled([store.vacuum({ keep: { versions: 1 } }), ...asked])
      expect(vacuumed.status).toBe('fulfilled')
      for (const each of granted) {
        if (each.status === 'rejected') {
          expect(each.reason).toBeInstanceOf(PinRefusedError)
          continue
        }
        const { tailLsn: now } = await history.read()
        const pin = each.value as FullBasePin
        expect(now).toBeLessThanOrEqual(pin.kind === 'log' ? pin.lsn : pin.manifest.logFrom)
        if (pin.kind !== 'log') for (const name of namesOf(pin.manifest)) expect(await root.exists(name), name).toBe(true)
        pin.release()
      }
    }
    expect(await store.pins()).toEqual([])
  })

  it.each([FP.ship.pin, FP.ship.release])('%s', async (name) => {
    const world = fakeWorld({ seed: 1 })
    const points = new FailpointRegistry(world.timers)
    const store = await worked(place(), 1, { world: { failpoints: points } })
    const history = historyOf(store)
    using armed = points.arm(name, { error: 'io', times: 1 })
    const pin = history.pinLog(Number(store.lsn), session)
    if (name === FP.ship.pin) expect(await failure(() => pin)).toMatchObject({ name: 'StorageError' })
    else (await pin).release()
    expect(armed.fired).toBe(1)
    expect(await store.pins()).toEqual([])
  })
})
