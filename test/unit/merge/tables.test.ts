import { describe, expect, it } from 'vitest'

import { type At, columns, DuplicateKeyError, eq, SchemaConflictError, Store, t, table } from '../../../bindings/index.ts'
import { defaultWorld, FailpointRegistry } from '../../../bindings/runtime/index.ts'
import { FP, rendezvous } from '../../../bindings/testing/index.ts'
import { failure, opened, PLACES } from '../store/places.ts'

const items = table(
  'items',
  {
    id: t.int32(),
    a: t.utf8().nullable(),
    b: t.int32().nullable(),
    blob: t.binary().nullable(),
    tags: t.list(t.utf8()).nullable(),
    at: t.struct({ x: t.int32(), y: t.utf8().nullable() }).nullable(),
  },
  { key: ['id'] },
)
const wide = table('wide', { k1: t.utf8(), k2: t.int64(), k3: t.bool(), v: t.utf8().nullable() }, { key: ['k1', 'k2', 'k3'] })
const log = table('log', { what: t.utf8(), n: t.int32() })

async function fresh(root: string): Promise<Store> {
  const store = await opened(root)
  await store.create(items, wide, log)
  return store
}

const logAt = async (store: Store, at: At): Promise<string[]> => (await store.scan(log, { at }).toArray()).map(({ what, n }) => `${what}${n}`).toSorted()
describe.each(PLACES)('a merge of %s', (_name, place) => {
  describe('a table without a key', () => {
    it('appends what the source appended, each row as often', async () => {
      const store = await fresh(place())
      await store.append(log, [
        { what: 'x', n: 1 },
        { what: 'x', n: 1 },
      ])
      const dev = await store.branch('dev')
      await dev.append(log, [
        { what: 'x', n: 1 },
        { what: 'y', n: 2 },
      ])
      await store.append(log, { what: 'x', n: 1 })
      await store.flush()
      expect((await store.merge('dev')).tables).toEqual({ log: { inserted: 2, updated: 0, deleted: 0 } })
      expect(await logAt(store, 'main')).toEqual(['x1', 'x1', 'x1', 'x1', 'y2'])
    })

    it.each([false, true])('deletes what the source deleted, also where a flush has moved it (%s)', async (flush) => {
      const store = await fresh(place())
      await store.append(log, [
        { what: 'x', n: 1 },
        { what: 'x', n: 1 },
        { what: 'y', n: 2 },
        { what: 'z', n: 3 },
      ])
      const dev = await store.branch('dev')
      await dev.deleteWhere(log, eq('n', 3))
      await dev.append(log, { what: 'new', n: 4 })
      await store.append(log, { what: 'main', n: 5 })
      if (flush) await store.flush()
      expect((await store.merge('dev')).tables).toEqual({ log: { inserted: 1, updated: 0, deleted: 1 } })
      expect(await logAt(store, 'main')).toEqual(['main5', 'new4', 'x1', 'x1', 'y2'])
    })

    it('a delete on both sides is a conflict of the table', async () => {
      const store = await fresh(place())
      await store.append(log, [
        { what: 'x', n: 1 },
        { what: 'y', n: 2 },
        { what: 'z', n: 3 },
      ])
      const dev = await store.branch('dev')
      await dev.deleteWhere(log, eq('n', 1))
      await store.deleteWhere(log, eq('n', 2))
      const error = await failure(() => store.merge('dev'))
      expect(error).toMatchObject({ total: 1, conflicts: [{ table: 'log', kind: 'bothChanged', key: {} }] })
      expect((await store.merge('dev', { onConflict: 'theirs' })).conflicts).toHaveLength(1)
      expect(await logAt(store, 'main')).toEqual(['y2', 'z3'])
    })

    it('a replace on the source takes the rows of the base away, and what the target appended stays', async () => {
      const store = await fresh(place())
      await store.append(log, columns({ what: Array.from({ length: 20_000 }, (_, i) => `w${i}`), n: new Int32Array(20_000) }))
      const dev = await store.branch('dev')
      await dev.replace(log, [{ what: 'only', n: 1 }])
      await store.append(log, { what: 'late', n: 2 })
      expect((await store.merge('dev')).tables).toEqual({ log: { inserted: 1, updated: 0, deleted: 20_000 } })
      expect(await logAt(store, 'main')).toEqual(['late2', 'only1'])
    })
  })

  it('unique constraints are checked over the merged candidate', async () => {
    const people = table('people', { id: t.int32(), mail: t.utf8().nullable() }, { key: ['id'], unique: [['mail']] })
    const store = await opened(place())
    await store.create(people)
    await store.append(people, [
      { id: 1, mail: 'a' },
      { id: 2, mail: 'b' },
    ])
    const dev = await store.branch('dev')
    await dev.append(people, { id: 3, mail: 'c' })
    await store.append(people, { id: 4, mail: 'c' })
    const { lsn } = store
    expect(await failure(() => store.merge('dev'))).toBeInstanceOf(DuplicateKeyError)
    expect(store.lsn).toBe(lsn)
    await store.upsert(people, { id: 4, mail: null })
    expect((await store.merge('dev')).tables).toEqual({ people: { inserted: 1, updated: 0, deleted: 0 } })
    // A tuple that moves from one row to another on the source is no conflict.
    await dev.delete(people, [1])
    await dev.upsert(people, { id: 2, mail: 'a' })
    await store.merge('dev')
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([
      { id: 2, mail: 'a' },
      { id: 3, mail: 'c' },
      { id: 4, mail: null },
    ])
  })

  it('a unique value of a table without a key goes over from a row that the source deleted to one that it appended', async () => {
    const seats = table('seats', { seat: t.utf8(), who: t.utf8() }, { unique: [['seat']] })
    const store = await opened(place())
    await store.create(seats)
    await store.append(seats, [
      { seat: '1A', who: 'x' },
      { seat: '1B', who: 'y' },
    ])
    const dev = await store.branch('dev')
    await dev.deleteWhere(seats, eq('seat', '1A'))
    await dev.append(seats, { seat: '1A', who: 'z' })
    await store.append(seats, { seat: '2A', who: 'm' })
    expect((await store.merge('dev')).tables).toEqual({ seats: { inserted: 1, updated: 0, deleted: 1 } })
    expect((await store.scan(seats, { orderBy: 'seat' }).toArray()).map(({ seat, who }) => seat + who)).toEqual(['1Az', '1By', '2Am'])
    expect(await failure(() => store.append(seats, { seat: '1A', who: 'w' }))).toBeInstanceOf(DuplicateKeyError)
    await dev.append(seats, { seat: '3A', who: 'd' })
    await store.append(seats, { seat: '3A', who: 'e' })
    expect(await failure(() => store.merge('dev'))).toBeInstanceOf(DuplicateKeyError)
  })

  it('two at once of one source bring its definitions and rows once', async () => {
    const root = place()
    const world = { ...defaultWorld(), failpoints: new FailpointRegistry(defaultWorld().timers) }
    const store = await opened(root, { world })
    await store.create(items, log)
    const dev = await store.branch('dev')
    await dev.append(log, { what: 'dev', n: 1 })
    const next = table('log', { what: t.utf8(), n: t.int32(), more: t.utf8().nullable() })
    const extra = table('extra', { n: t.int32() })
    await store.apply([next, extra])
    await store.append(next, { what: 'main', n: 2, more: 'x' })
    await store.append(extra, { n: 1 })
    using parked = rendezvous(world, FP.merge.afterClassify)
    const first = store.merge('main', { into: 'dev' })
    await parked.reached({ timeoutMs: 10_000 })
    const second = store.merge('main', { into: 'dev' })
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
    parked.release()
    await first
    expect(await second).toEqual({ fastForward: false, tables: {}, conflicts: [] })
    const texts = (await dev.scan(next).toArray()).map(({ what, n, more }) => `${what}${n}${more}`).toSorted()
    expect(texts).toEqual(['dev1null', 'main2x'])
    expect(await dev.scan(extra).count()).toBe(1)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
    const again = await opened(root)
    expect(await again.scan(extra, { at: 'dev' }).count()).toBe(1)
  })

  it('brings definitions along: columns and tables that the target lacks', async () => {
    const store = await fresh(place())
    await store.append(items, [
      { id: 1, a: 'x' },
      { id: 2, a: 'y' },
    ])
    const dev = await store.branch('dev')
    await dev.upsert(items, { id: 2, a: 'dev' })
    const items2 = table('items', { ...items.columns, extra: t.utf8().default('none') }, { key: ['id'] })
    const more = table('more', { k: t.int32() }, { key: ['k'] })
    await store.apply([items2])
    await store.create(more)
    await store.append(more, [{ k: 1 }, { k: 2 }])
    await store.upsert(items2, [
      { id: 1, a: 'x', extra: 'main' },
      { id: 3, a: 'new', extra: 'main' },
    ])
    const result = await store.merge('main', { into: 'dev' })
    expect(result.tables).toEqual({ items: { inserted: 1, updated: 1, deleted: 0 }, more: { inserted: 2, updated: 0, deleted: 0 } })
    const rows = await dev.scan(items2, { select: ['id', 'a', 'extra'], orderBy: 'id' }).toArray()
    expect(rows).toEqual([
      { id: 1, a: 'x', extra: 'main' },
      { id: 2, a: 'dev', extra: 'none' },
      { id: 3, a: 'new', extra: 'main' },
    ])
    expect(await dev.scan(more).count()).toBe(2)
    // And back: the older definition of a branch is read through the newer one.
    await dev.upsert(items2, { id: 2, a: 'dev', extra: 'set' })
    expect((await store.merge('dev')).tables).toEqual({ items: { inserted: 0, updated: 1, deleted: 0 } })
    expect(await store.get(items2, 2)).toMatchObject({ a: 'dev', extra: 'set' })
  })

  it('a table dropped on one side and changed on the other is a SchemaConflictError; untouched it goes', async () => {
    const store = await fresh(place())
    await store.append(log, { what: 'x', n: 1 })
    await store.append(wide, { k1: 'a', k2: 1n, k3: true })
    const dev = await store.branch('dev')
    await dev.append(log, { what: 'y', n: 2 })
    await store.apply([], { drop: ['log', 'wide'], allowDataLoss: true })
    const { lsn } = store
    expect(await failure(() => store.merge('dev'))).toBeInstanceOf(SchemaConflictError)
    expect(await failure(() => store.merge('main', { into: 'dev' }))).toMatchObject({ code: 'schema.conflict', table: 'log' })
    expect(store.lsn).toBe(lsn)
    const other = await store.branch('other', { from: (lsn - 1n) as never })
    await other.append(items, { id: 1 })
    expect((await store.merge('main', { into: 'other' })).tables).toEqual({})
    expect((await store.tables('other')).map(({ name }) => name)).toEqual(['items'])
  })
})

describe('two hosts of one log', () => {
  it('that merge one source at once bring its rows once, however many there are', async () => {
    const root = 'memory:two-hosts-merge'
    const world = { ...defaultWorld(), failpoints: new FailpointRegistry(defaultWorld().timers) }
    await using first = await Store.open(root, { writers: 'shared', upkeep: 'manual', world })
    await first.create(log)
    const dev = await first.branch('dev')
    const count = 20_000
    await dev.append(log, columns({ what: Array.from({ length: count }, () => 'dev'), n: Int32Array.from({ length: count }, (_, i) => i) }))
    await first.append(log, { what: 'main', n: 1 })
    await using second = await Store.open(root, { writers: 'shared', upkeep: 'manual' })
    using parked = rendezvous(world, FP.publish.beforeAppend)
    const merging = first.merge('dev')
    await parked.reached({ timeoutMs: 20_000 })
    const done = await second.merge('dev')
    expect(done.tables['log']).toEqual({ inserted: count, updated: 0, deleted: 0 })
    parked.release()
    expect((await merging).tables).toEqual({})
    await first.refresh()
    expect(await first.scan(log).count()).toBe(count + 1)
    expect((await first.pending()).filter(({ state }) => state === 'sealed')).toEqual([])
    expect((await first.verify({ level: 'all' })).problems).toEqual([])
  })
})
