// Definitions that change around what upkeep makes: indexes of before under newer types, fragments of several versions written anew, branches of before.
import { afterEach, describe, expect, it } from 'vitest'

import { and, DuplicateKeyError, eq, gte, lt, oneOf, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const QUIET = { upkeep: 'manual', threads: 0 } as const
const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})
const opened = async (root: MemoryRoot): Promise<Store> => {
  const store = await Store.open(root, QUIET)
  stores.push(store)
  return store
}

const old = table(
  'rows',
  { id: t.int32(), n: t.int16(), day: t.date(), half: t.float32(), word: t.utf8(), code: t.int32().nullable() },
  { key: ['id'], index: ['n', 'day', 'half', ['word', 'n']], unique: [['code']] },
)
const wide = table(
  'rows',
  {
    id: t.int64(),
    n: t.int64(),
    day: t.timestamp('ms'),
    half: t.float64(),
    text: t.utf8().dictionary().renamedFrom('word'),
    code: t.int64().nullable(),
    more: t.int32().default(4),
  },
  { key: ['id'], index: ['n', 'day', 'half', ['text', 'n']], unique: [['code']] },
)
const COUNT = 6000
const dayOf = (i: number): string => new Date(Date.UTC(2026, 0, 1 + (i % 300))).toISOString().slice(0, 10)
const rowOf = (i: number) => ({ id: i, n: (i % 1000) - 500, day: dayOf(i), half: (i % 64) / 4, word: `w${i % 50}`, code: i % 3 === 0 ? null : i })
const all = Array.from({ length: COUNT }, (_, i) => i)

async function filled(root: MemoryRoot): Promise<Store> {
  const store = await opened(root)
  await store.create(old)
  for (let from = 0; from < COUNT; from += 2000) {
    await store.append(old, all.slice(from, from + 2000).map(rowOf))
    await store.flush()
  }
  return store
}

async function holds(store: Pick<Store, 'scan' | 'get'>): Promise<void> {
  const count = async (where: ReturnType<typeof wide.where>): Promise<number> => await store.scan(wide, { where }).count()
  const like = (test: (i: number) => boolean): number => all.filter(test).length
  expect(await count(eq('n', -500n))).toBe(like((i) => i % 1000 === 0))
  expect(await count(and(gte('n', 10n), lt('n', 20n)))).toBe(like((i) => (i % 1000) - 500 >= 10 && (i % 1000) - 500 < 20))
  expect(await count(eq('n', 2n ** 40n))).toBe(0)
  expect(await count(eq('day', new Date('2026-02-01')))).toBe(like((i) => dayOf(i) === '2026-02-01'))
  expect(await count(and(gte('day', new Date('2026-02-01T00:00:00.001Z')), lt('day', new Date('2026-02-04'))))).toBe(
    like((i) => ['2026-02-02', '2026-02-03'].includes(dayOf(i))),
  )
  expect(await count(eq('half', 3.25))).toBe(like((i) => i % 64 === 13))
  expect(await count(eq('half', 0.1))).toBe(0)
  expect(await count(and(eq('text', 'w7'), gte('n', 400n)))).toBe(like((i) => i % 50 === 7 && (i % 1000) - 500 >= 400))
  expect(await count(oneOf('text', ['w1', 'w2']))).toBe(like((i) => i % 50 === 1 || i % 50 === 2))
  expect(await count(eq('more', 4))).toBe(COUNT)
  for (const i of [0, 1, 2999, COUNT - 1]) {
    const { word, ...row } = rowOf(i)
    expect(await store.get(wide, BigInt(i))).toEqual({
      ...row,
      id: BigInt(i),
      n: BigInt(row.n),
      day: new Date(row.day),
      text: word,
      code: row.code === null ? null : BigInt(row.code),
      more: 4,
    })
  }
  expect(await store.get(wide, BigInt(COUNT))).toBeUndefined()
}

describe('indexes of before', () => {
  it('answer predicates of the wider types, keys and constraints stay, before and after optimize writes the rows anew', async () => {
    const root = new MemoryRoot()
    const store = await filled(root)
    await store.optimize()
    expect((await store.stats()).tables['rows']!.coverage).toMatchObject({ n: { share: 1 } })
    const then = store.lsn
    await store.apply([wide])
    await holds(store)
    await expect(store.append(wide, { id: BigInt(COUNT), n: 0n, day: new Date(0), half: 0, text: '', code: 1n })).rejects.toThrow(DuplicateKeyError)
    await expect(store.append(wide, { id: 5n, n: 0n, day: new Date(0), half: 0, text: '', code: null })).rejects.toThrow(DuplicateKeyError)
    await store.upsert(wide, { id: BigInt(COUNT), n: 2n ** 50n, day: new Date('2030-01-01T01:02:03.004Z'), half: 1e100, text: 'new', code: 2n ** 60n, more: 4 })
    await store.delete(wide, BigInt(COUNT))
    await store.flush()
    await store.optimize()
    await holds(store)
    expect(await store.scan(old, { at: then, where: eq('day', '2026-02-01') }).count()).toBe(all.filter((i) => dayOf(i) === '2026-02-01').length)
    await store.close()
    const again = await opened(root)
    await holds(again)
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  })

  it('fragments of several versions become one of the newest, without the columns that were dropped', async () => {
    const root = new MemoryRoot()
    const store = await filled(root)
    const first = table('rows', { id: t.int32(), n: t.int32(), more: t.utf8().default('a') }, { key: ['id'] })
    await store.apply([first], { allowDataLoss: true })
    await store.upsert(
      first,
      all.slice(1000, 3000).map((id) => ({ id, n: id, more: 'b' })),
    )
    await store.flush()
    const second = table('rows', { id: t.int64(), n: t.int64(), more: t.utf8().default('c'), last: t.bool().nullable() }, { key: ['id'] })
    await store.apply([second])
    await store.delete(second, [0n, 1n, 2n])
    await store.flush()
    const sorted = async (s: Store): Promise<unknown[]> => await s.scan(second, { orderBy: 'id' }).toArray()
    const expected = all.slice(3).map((i) => {
      const isNew = i >= 1000 && i < 3000
      return { id: BigInt(i), n: BigInt(isNew ? i : rowOf(i).n), more: isNew ? 'b' : 'a', last: null }
    })
    expect(await sorted(store)).toEqual(expected)
    const before = (await store.stats()).tables['rows']!
    const report = await store.optimize()
    expect(report.tables['rows']!.fragmentsAfter).toBeLessThan(before.fragments)
    expect(await sorted(store)).toEqual(expected)
    await store.close()
    const again = await opened(root)
    expect(await sorted(again)).toEqual(expected)
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  })
})

describe('a branch', () => {
  it('made before a change has the definitions of then, and goes on with them', async () => {
    const root = new MemoryRoot()
    const store = await filled(root)
    const branch = await store.branch('then')
    await store.apply([wide])
    await branch.upsert(old, { ...rowOf(5), word: 'branch' })
    expect(await branch.get(old, 5)).toMatchObject({ word: 'branch' })
    expect(await store.get(wide, 5n)).toMatchObject({ text: 'w5' })
    await store.apply([], { drop: ['rows'], allowDataLoss: true })
    expect(await branch.scan(old).count()).toBe(COUNT)
    const late = await store.branch('late')
    await expect(late.scan(old).count()).rejects.toThrow('no table')
    await store.close()
    const again = await opened(root)
    const same = await again.branch('then')
    expect(await same.get(old, 5)).toMatchObject({ word: 'branch' })
    expect(await same.scan(old).count()).toBe(COUNT)
  })
})
