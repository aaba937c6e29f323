// Scans of a table with declared indexes against the same rows in a table without any: random rows, deletions, partial coverage, older snapshots, branches of the
// history. The tables are written alike; whatever the index leaves out or keeps too much of shows as a difference.
import fc from 'fast-check'
import { expect, it } from 'vitest'

import {
  and,
  between,
  eq,
  gt,
  gte,
  isNotNull,
  isNull,
  lt,
  lte,
  not,
  oneOf,
  or,
  type Predicate,
  type Snapshot,
  startsWith,
  Store,
  t,
  table,
} from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const columns = {
  id: t.int32(),
  a: t.int16().nullable(),
  b: t.utf8().nullable(),
  c: t.float64().nullable(),
  d: t.bool(),
}
const indexed = table('indexed', columns, { key: ['id'], index: ['a', ['b', 'a'], ['d', 'c', 'b'], 'c'] })
const plain = table('plain', columns, { key: ['id'] })
type Row = typeof plain.Row
type Filter = typeof plain.Filter

const WORDS = ['', 'a', 'ab', 'abc', 'b', 'ba', 'zz', 'é', 'w'.repeat(130), `${'w'.repeat(130)}x`]
const FLOATS = [0, -0, 1, -1.5, 1e300, Infinity, -Infinity, Number.NaN]

const a = fc.integer({ min: -40, max: 40 })
const b = fc.constantFrom(...WORDS)
const c = fc.oneof(fc.constantFrom(...FLOATS), fc.integer({ min: -9, max: 9 }))
const number = c.filter((value) => !Number.isNaN(value))

/** Rows from a seed: quick to make, and shrunk by their number. */
function rowsOf(seed: number, from: number, count: number): Row[] {
  let state = seed >>> 0
  const next = (n: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  return Array.from({ length: count }, (_, i) => ({
    id: from + i,
    a: next(9) === 0 ? null : next(81) - 40,
    b: next(7) === 0 ? null : WORDS[next(WORDS.length)]!,
    c: next(5) === 0 ? null : next(3) === 0 ? FLOATS[next(FLOATS.length)]! : next(19) - 9,
    d: next(4) === 0,
  }))
}

const leaf: fc.Arbitrary<Predicate<Filter>> = fc.oneof(
  fc.tuple(fc.constantFrom(eq, gt, gte, lt, lte), a).map(([op, value]) => op<Filter, 'a'>('a', value)),
  fc.tuple(fc.constantFrom(eq, gt, gte, lt, lte), b).map(([op, value]) => op<Filter, 'b'>('b', value)),
  fc.tuple(fc.constantFrom(eq, gt, gte, lt, lte), number).map(([op, value]) => op<Filter, 'c'>('c', value)),
  fc.boolean().map((value) => eq<Filter, 'd'>('d', value)),
  fc.tuple(a, a).map(([from, to]) => between<Filter, 'a'>('a', from, to)),
  fc.array(a, { maxLength: 4 }).map((values) => oneOf<Filter, 'a'>('a', values)),
  fc.array(b, { maxLength: 3 }).map((values) => oneOf<Filter, 'b'>('b', values)),
  b.map((prefix) => startsWith<Filter, 'b'>('b', prefix)),
  fc
    .constantFrom('a' as const, 'b' as const, 'c' as const)
    .chain((column) => fc.constantFrom(isNull<Filter, typeof column>(column), isNotNull<Filter, typeof column>(column))),
  fc.array(fc.integer({ min: 0, max: 12_000 }), { maxLength: 3 }).map((ids) => oneOf<Filter, 'id'>('id', ids)),
)
const where: fc.Arbitrary<Predicate<Filter>> = fc.oneof(
  leaf,
  fc.array(leaf, { minLength: 2, maxLength: 4 }).map((of) => and(...of)),
  fc.array(leaf, { minLength: 1, maxLength: 3 }).map((of) => or(...of)),
  fc.tuple(leaf, leaf, leaf).map(([x, y, z]) => and(x, or(y, z))),
  fc.tuple(leaf, leaf).map(([x, y]) => and(x, not(y))),
)

type Op =
  | { readonly kind: 'append' | 'upsert'; readonly seed: number; readonly from: number; readonly count: number }
  | { readonly kind: 'delete'; readonly where: Predicate<Filter> }
  | { readonly kind: 'optimize' | 'flush' | 'snapshot' | 'reopen' }

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('upsert' as const), seed: fc.nat(), from: fc.nat(9000), count: fc.integer({ min: 1, max: 2500 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), where }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('optimize' as const, 'optimize' as const, 'flush' as const, 'snapshot' as const, 'reopen' as const) }),
  },
)

/** Both tables alike. */
async function apply(store: Store, one: Op): Promise<void> {
  for (const each of [indexed, plain] as const) {
    const alike = each as typeof plain
    if (one.kind === 'append') await store.append(alike, rowsOf(one.seed, one.from, one.count))
    else if (one.kind === 'upsert') await store.upsert(alike, rowsOf(one.seed, one.from, one.count))
    else if (one.kind === 'delete') await store.deleteWhere(alike, one.where)
  }
  if (one.kind === 'optimize') await store.optimize({ tables: [indexed] })
  if (one.kind === 'flush') await store.flush()
}

async function compare(reader: Pick<Snapshot, 'scan'>, predicate: Predicate<Filter>): Promise<boolean> {
  const scan = (each: typeof plain): ReturnType<typeof reader.scan<typeof plain>> => reader.scan(each, { where: predicate })
  const [mine, theirs] = [scan(indexed as unknown as typeof plain), scan(plain)]
  const byId = (rows: Row[]): Row[] => rows.toSorted((x, y) => x.id - y.id)
  const found = byId(await mine.toArray())
  expect(found).toEqual(byId(await theirs.toArray()))
  expect(await mine.count()).toBe(found.length)
  const spec = { rows: 'count', low: { min: 'a' }, high: { max: 'c' }, sum: { sum: 'a' } } as const
  expect(await mine.aggregate(spec)).toEqual(await theirs.aggregate(spec))
  const top = { where: predicate, orderBy: ['c desc', 'id'], limit: 7 } as const
  expect(await reader.scan(indexed as unknown as typeof plain, top).toArray()).toEqual(await reader.scan(plain, top).toArray())
  return (await mine.explain()).index !== undefined
}

/** The first rows of an order, by an index where it begins with its columns. */
async function compareOrder(reader: Pick<Snapshot, 'scan'>, orderBy: readonly string[], limit: number): Promise<boolean> {
  const o = { orderBy: [...orderBy, 'id'] as never, limit }
  const mine = reader.scan(indexed as unknown as typeof plain, o)
  expect(await mine.toArray(), orderBy.join()).toEqual(await reader.scan(plain, o).toArray())
  return (await mine.explain()).index !== undefined
}

const ORDERS = [['a'], ['a desc'], ['b', 'a'], ['b desc', 'a'], ['b', 'a desc'], ['c'], ['c desc'], ['a', 'c']]

it('a scan finds the same rows with and without indexes', { timeout: 240_000 }, async () => {
  let used = 0
  let ordered = 0
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(op, { maxLength: 6 }),
      fc.array(where, { minLength: 4, maxLength: 8 }),
      fc.array(fc.tuple(fc.constantFrom(...ORDERS), fc.integer({ min: 0, max: 60 })), { minLength: 2, maxLength: 4 }),
      async (seed, ops, predicates, orders) => {
        const root = new MemoryRoot()
        const open = (): Promise<Store> => Store.open(root, { threads: 0, upkeep: 'manual', inlineLimitBytes: 16 * 1024 })
        let store = await open()
        const snapshots: Snapshot[] = []
        try {
          for (const each of [indexed, plain]) await store.create(each)
          for (const one of [{ kind: 'append', seed, from: 0, count: 6000 }, { kind: 'optimize' }, ...ops] as const) {
            if (one.kind === 'snapshot') snapshots.push(await store.snapshot())
            else if (one.kind === 'reopen') {
              for (const snapshot of snapshots.splice(0)) await snapshot[Symbol.asyncDispose]()
              await store.close()
              store = await open()
            } else await apply(store, one)
          }
          for (const predicate of predicates) for (const reader of [store, ...snapshots]) if (await compare(reader, predicate)) used++
          for (const [order, limit] of orders) for (const reader of [store, ...snapshots]) if (await compareOrder(reader, order, limit)) ordered++
          expect((await store.verify({ level: 'files' })).problems).toEqual([])
        } finally {
          for (const snapshot of snapshots) await snapshot[Symbol.asyncDispose]()
          await store.close()
        }
      },
    ),
    { numRuns: 25 },
  )
  expect(used).toBeGreaterThan(20)
  expect(ordered).toBeGreaterThan(5)
})
