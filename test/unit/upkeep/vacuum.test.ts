// What vacuum deletes and what it leaves: through the public door, in memory and in a directory.
import { describe, expect, it } from 'vitest'

import { columns, HistoryUnavailableError, InvalidConfigError, lsn, type Lsn, PinRefusedError, type Store, t, table } from '../../../bindings/index.ts'
import { openRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const items = table('items', { id: t.int32(), n: t.int64() }, { key: ['id'] })

const rows = (from: number, to: number, n: number) =>
  columns({ id: Int32Array.from({ length: to - from }, (_, i) => from + i), n: BigInt64Array.from({ length: to - from }, () => BigInt(n)) })

/** A load large enough to become a fragment. */
async function fragment(store: Store, from: number, n: number): Promise<Lsn> {
  const { lsn: at } = await store.replace(items, rows(from, from + 20_000, n))
  return at
}

async function files(place: string): Promise<string[]> {
  const root = await openRoot(place, defaultWorld())
  const names: string[] = []
  for (const folder of ['fragments/', 'indexes/']) for await (const { name } of root.list(folder)) names.push(name)
  return names
}

const sum = async (store: Store, at?: Lsn | string): Promise<{ rows: number; n: bigint }> => {
  const all = await store.scan(items, at === undefined ? {} : { at }).toArray()
  return { rows: all.length, n: all.reduce((total, row) => total + row.n, 0n) }
}

describe.each(PLACES)('vacuum in %s', (_place, makePlace) => {
  it('Given no keep, then it is an error and nothing changes', async () => {
    const store = await opened(makePlace())
    await store.create(items)
    for (const bad of [
      undefined,
      {},
      { keep: {} },
      { keep: { days: -1 } },
      { keep: { versions: 0 } },
      { keep: { versions: 1, weeks: 2 } },
      { keep: { versions: 1 }, force: true },
    ]) {
      const error = await failure(() => store.vacuum(bad as never))
      expect(error, JSON.stringify(bad)).toBeInstanceOf(InvalidConfigError)
    }
    expect(store.lsn).toBe(2n)
  })

  it('deletes what only older versions need, refuses those with the floor, and is done when it is run again', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    const first = await fragment(store, 0, 1)
    await fragment(store, 0, 2)
    await store.optimize()
    const before = await files(place)
    const preview = await store.vacuum({ keep: { versions: 1 }, dryRun: true })
    expect(await files(place)).toEqual(before)
    const report = await store.vacuum({ keep: { versions: 1 } })
    expect(report).toMatchObject({ deleted: preview.deleted, bytes: preview.bytes, heldBack: [] })
    expect(report.deleted).toBeGreaterThan(0)
    const after = await files(place)
    expect(after).toHaveLength(before.length - report.deleted)
    expect(await sum(store)).toEqual({ rows: 20_000, n: 40_000n })
    const error = await failure(() => sum(store, first))
    expect(error).toBeInstanceOf(HistoryUnavailableError)
    expect(error).toMatchObject({ asked: first, floor: report.floor })
    const again = await store.vacuum({ keep: { versions: 1 } })
    expect(again).toMatchObject({ deleted: 0, bytes: 0 })
    expect(again.lsn).toBeUndefined()
    await store.close()
    const reopened = await opened(place)
    expect(await sum(reopened)).toEqual({ rows: 20_000, n: 40_000n })
    expect((await reopened.verify({ level: 'all' })).problems).toEqual([])
  })

  it('keeps as many versions, and the ones between them, as it is asked to', async () => {
    const store = await opened(makePlace())
    await store.create(items)
    const versions: Lsn[] = []
    for (let n = 1; n <= 5; n++) versions.push(await fragment(store, 0, n))
    await store.optimize()
    await store.vacuum({ keep: { versions: 3 } })
    for (const [i, at] of versions.entries()) {
      if (i >= 2) expect(await sum(store, at)).toEqual({ rows: 20_000, n: BigInt(20_000 * (i + 1)) })
      else await expect(sum(store, at)).rejects.toBeInstanceOf(HistoryUnavailableError)
    }
  })

  it('keeps the versions of so many days', async () => {
    let days = 0
    const world = { clock: { nowMs: () => Date.now() + days * 24 * 3600 * 1000, monoMs: () => performance.now() } }
    const store = await opened(makePlace(), { world })
    await store.create(items)
    const versions: Lsn[] = []
    for (let n = 1; n <= 5; n++) {
      versions.push(await fragment(store, 0, n))
      days++
    }
    await store.optimize()
    // The version of three days ago is the one that was written then: five days ago, four, three.
    await store.vacuum({ keep: { days: 3 } })
    expect(
      await Promise.all(
        versions.map((at) =>
          sum(store, at).then(
            () => true,
            () => false,
          ),
        ),
      ),
    ).toEqual([false, false, true, true, true])
  })

  it('leaves what an open snapshot shows, names it, and takes it once it is released', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    await fragment(store, 0, 1)
    const snapshot = await store.snapshot()
    await fragment(store, 0, 2)
    await store.optimize()
    const held = await store.vacuum({ keep: { versions: 1 } })
    expect(held.heldBack).toEqual([{ by: 'reader', bytes: expect.any(Number) }])
    expect(held.heldBack[0]!.bytes).toBeGreaterThan(0)
    expect((await snapshot.scan(items).toArray()).every((row) => row.n === 1n)).toBe(true)
    expect(await snapshot.get(items, { id: 7 })).toEqual({ id: 7, n: 1n })
    await snapshot[Symbol.asyncDispose]()
    const freed = await store.vacuum({ keep: { versions: 1 } })
    expect(freed.heldBack).toEqual([])
    expect(freed.bytes).toBe(held.heldBack[0]!.bytes)
  })

  it('Pins, tags, old snapshots, lazy branches each keep their files and are named in the report', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    await fragment(store, 0, 0)
    await fragment(store, 0, 1)
    await store.tag('v1')
    await fragment(store, 0, 2)
    await store.branch('dev', { create: 'must' })
    const third = await fragment(store, 0, 3)
    const snapshot = await store.snapshot()
    await fragment(store, 0, 4)
    const fourth = store.lsn
    const feed = store.changes({ from: fourth, tables: [items], follow: false })
    await fragment(store, 0, 5)
    await feed.next()
    await store.optimize()
    const { heldBack, floor } = await store.vacuum({ keep: { versions: 1 } })
    expect(heldBack.map(({ by }) => by).toSorted()).toEqual(['branch dev', 'reader', 'stream', 'tag v1'])
    expect((await store.pins()).map(({ owner }) => owner).toSorted()).toEqual(['branch dev', 'reader', 'stream', 'tag v1'])
    expect(floor).toBeGreaterThan(third)
    expect(await sum(store, 'v1')).toEqual({ rows: 20_000, n: 20_000n })
    expect(await sum(store, 'dev')).toEqual({ rows: 20_000, n: 40_000n })
    expect((await snapshot.scan(items).toArray())[0]).toMatchObject({ n: 3n })
    await expect(sum(store, third)).rejects.toBeInstanceOf(HistoryUnavailableError)
    await snapshot[Symbol.asyncDispose]()
    await store.close()
    const reopened = await opened(place)
    expect(await sum(reopened, 'v1')).toEqual({ rows: 20_000, n: 20_000n })
    expect(await sum(reopened, 'dev')).toEqual({ rows: 20_000, n: 40_000n })
    await reopened.deleteTag('v1')
    await reopened.deleteBranch('dev')
    expect((await reopened.vacuum({ keep: { versions: 1 } })).heldBack).toEqual([])
  })

  it('refuses a tag and a branch at a version whose files may be gone, but at one that a tag holds', async () => {
    const store = await opened(makePlace())
    await store.create(items)
    const first = await fragment(store, 0, 1)
    await fragment(store, 0, 2)
    await store.tag('two')
    await fragment(store, 0, 3)
    await store.vacuum({ keep: { versions: 1 } })
    expect(await failure(() => store.tag('late', { at: first }))).toBeInstanceOf(HistoryUnavailableError)
    expect(await failure(() => store.branch('late', { from: first }))).toBeInstanceOf(HistoryUnavailableError)
    await store.branch('dev', { from: 'two' })
    await store.deleteTag('two')
    const { heldBack } = await store.vacuum({ keep: { versions: 1 } })
    expect(heldBack.map(({ by }) => by)).toEqual(['branch dev'])
    expect(await sum(store, 'dev')).toEqual({ rows: 20_000, n: 40_000n })
    await using snapshot = await store.snapshot('dev')
    await store.deleteBranch('dev')
    expect((await store.vacuum({ keep: { versions: 1 } })).heldBack.map(({ by }) => by)).toEqual(['reader'])
    expect((await snapshot.scan(items).toArray())[0]).toMatchObject({ n: 2n })
  })

  it('`keep: { versions: 1 }` keeps every branch readable, with what was written to it', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    await fragment(store, 0, 1)
    const dev = await store.branch('dev')
    await dev.replace(items, rows(0, 30_000, 2))
    await dev.upsert(items, [{ id: 7, n: 3n }])
    const deeper = await store.branch('deeper', { from: 'dev' })
    await deeper.replace(items, rows(0, 25_000, 4))
    await fragment(store, 0, 5)
    await store.vacuum({ keep: { versions: 1 } })
    const look = async (of: Store): Promise<unknown> => [await sum(of), await sum(of, 'dev'), await sum(of, 'deeper')]
    const expected = [
      { rows: 20_000, n: 100_000n },
      { rows: 30_000, n: 60_001n },
      { rows: 25_000, n: 100_000n },
    ]
    expect(await look(store)).toEqual(expected)
    await store.close()
    const reopened = await opened(place)
    expect(await look(reopened)).toEqual(expected)
    await reopened.flush()
    await reopened.vacuum({ keep: { versions: 1 } })
    expect(await look(reopened)).toEqual(expected)
    await reopened.deleteBranch('dev')
    const { deleted } = await reopened.vacuum({ keep: { versions: 1 } })
    expect(deleted).toBeGreaterThan(0)
    expect(await sum(reopened, 'deeper')).toEqual(expected[2])
    expect((await reopened.verify({ level: 'all' })).problems).toEqual([])
  })

  it('leaves what a change feed has still to show, and lets it finish', async () => {
    const store = await opened(makePlace())
    await store.create(items)
    const from = await fragment(store, 0, 1)
    await fragment(store, 0, 2)
    await fragment(store, 0, 3)
    const feed = store.changes({ from, tables: [items], images: 'both', follow: false })
    const first = await feed.next()
    await store.optimize()
    const { heldBack } = await store.vacuum({ keep: { versions: 1 } })
    expect(heldBack.map(({ by }) => by)).toEqual(['stream'])
    const changes = await collect(first.value!)
    expect(changes).toHaveLength(20_000)
    expect(changes[0]).toMatchObject({ kind: 'update', before: { n: 1n }, after: { n: 2n } })
    const rest = await collect(feed)
    expect(rest).toHaveLength(1)
    expect((await store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
    expect(await failure(() => store.changes({ from, follow: false }).next())).toBeInstanceOf(HistoryUnavailableError)
  })

  it('refuses a snapshot of a version that is gone', async () => {
    const store = await opened(makePlace())
    await store.create(items)
    const first = await fragment(store, 0, 1)
    await fragment(store, 0, 2)
    await store.optimize()
    await store.vacuum({ keep: { versions: 1 } })
    const error = await failure(() => store.snapshot(first))
    expect(error instanceof HistoryUnavailableError || error instanceof PinRefusedError).toBe(true)
  })

  it('Orphan fragment: reported, vacuumed', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    await fragment(store, 0, 1)
    const root = await openRoot(place, defaultWorld())
    const orphan = `fragments/ab/${'ab'.repeat(32)}.arrow`
    await root.put(orphan, new Uint8Array(100))
    await root.put('fragments/ab/notes.txt', new Uint8Array(3))
    const preview = await store.vacuum({ keep: { days: 7 }, dryRun: true })
    expect(preview).toMatchObject({ deleted: 1, bytes: 100 })
    const before = await files(place)
    await store.vacuum({ keep: { days: 7 } })
    expect(before.filter((name) => name !== orphan)).toEqual(await files(place))
  })

  it('Vacuum then optimize then write then time travel inside the kept window', async () => {
    const place = makePlace()
    const store = await opened(place)
    await store.create(items)
    for (let n = 1; n <= 3; n++) await fragment(store, 0, n)
    const kept = await fragment(store, 0, 4)
    await store.vacuum({ keep: { versions: 1 } })
    await store.optimize()
    const { lsn: next } = await store.upsert(items, rows(10_000, 30_000, 5))
    await store.upsert(items, [{ id: 1, n: 6n }])
    await store.vacuum({ keep: { versions: 4 } })
    expect(await sum(store, kept)).toEqual({ rows: 20_000, n: 80_000n })
    expect(await sum(store, next)).toEqual({ rows: 30_000, n: 10_000n * 4n + 20_000n * 5n })
    expect(await sum(store, lsn(store.lsn))).toEqual({ rows: 30_000, n: 10_000n * 4n + 20_000n * 5n + 2n })
    expect((await store.verify({ level: 'files' })).problems).toEqual([])
  })
})
