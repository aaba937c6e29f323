import { describe, expect, it } from 'vitest'

import { ResourceLimitError } from '../../../bindings/errors.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { gte } from '../../../bindings/table/predicate.ts'
import { type FakeGroup, fakeScan, fakeVersion } from './fake-version.ts'

const things = table('things', { id: t.int32(), f: t.float64().nullable(), s: t.utf8().nullable(), n: t.int16(), big: t.int64() })
interface Thing {
  id: number
  f: number | null
  s: string | null
  n: number
  big: bigint
}
const thing = (id: number, more: Partial<Thing> = {}): Thing => ({ id, f: null, s: null, n: 0, big: 0n, ...more })

async function ids(groups: readonly FakeGroup[], orderBy: string | string[], more: object = {}): Promise<number[]> {
  const rows = await fakeScan<{ id: number }>(things, fakeVersion(things, groups), { select: ['id'], orderBy, ...more }).toArray()
  return rows.map(({ id }) => id)
}

/** A repeatable shuffle. */
function shuffled(n: number, seed = 1): number[] {
  const numbers = Array.from({ length: n }, (_, i) => i)
  let state = seed
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    const j = state % (i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}

describe('orderBy', () => {
  const special = [
    { batches: [{ rows: [thing(0, { f: NaN }), thing(1, { f: 2 }), thing(2)] }] },
    { batches: [{ rows: [thing(3, { f: -Infinity }), thing(4), thing(5, { f: Infinity }), thing(6, { f: NaN })] }] },
  ]

  it('puts NaN after numbers and nulls last in both directions, ties in storage order', async () => {
    expect(await ids(special, 'f')).toEqual([3, 1, 5, 0, 6, 2, 4])
    expect(await ids(special, 'f asc')).toEqual([3, 1, 5, 0, 6, 2, 4])
    expect(await ids(special, 'f desc')).toEqual([5, 1, 3, 0, 6, 2, 4])
    for (let limit = 0; limit <= 7; limit++) {
      expect(await ids(special, 'f', { limit })).toEqual([3, 1, 5, 0, 6, 2, 4].slice(0, limit))
      expect(await ids(special, 'f desc', { limit })).toEqual([5, 1, 3, 0, 6, 2, 4].slice(0, limit))
    }
  })

  it('sorts strings by code point, over batches with different dictionaries', async () => {
    const groups = [
      { batches: [{ rows: [thing(0, { s: '\u{1f600}' }), thing(1, { s: '\uffee' }), thing(2, { s: 'b' })], dict: true }] },
      { batches: [{ rows: [thing(3, { s: 'a' }), thing(4, { s: 'b' }), thing(5, { s: 'ab' })], dict: true }] },
    ]
    expect(await ids(groups, 's')).toEqual([3, 5, 2, 4, 1, 0])
    expect(await ids(groups, 's desc', { limit: 3 })).toEqual([0, 1, 2])
  })

  it('takes several keys, each with its direction; a key that comes again decides nothing', async () => {
    const rows = [thing(0, { n: 1, s: 'a' }), thing(1, { n: 2, s: 'b' }), thing(2, { n: 1, s: 'b' }), thing(3, { n: 2, s: 'a' })]
    expect(await ids([{ batches: [{ rows }] }], ['n desc', 's'])).toEqual([3, 1, 0, 2])
    expect(await ids([{ batches: [{ rows }] }], ['n desc', 'n asc', 's desc'])).toEqual([1, 3, 2, 0])
    expect(await ids([{ batches: [{ rows }] }], ['s', 'big', 'n'], { limit: 3 })).toEqual([0, 3, 2])
  })

  it('keeps the same first rows as a full sort, hidden rows and filters aside', async () => {
    const numbers = shuffled(3000)
    const rows = numbers.map((v, id) => thing(id, { f: v % 17 === 0 ? null : v % 50, big: BigInt(v % 7), n: v % 5, s: v % 3 === 0 ? null : `s${v % 40}` }))
    const groups = [0, 1, 2, 3, 4, 5].map((g) => ({
      batches: [{ rows: rows.slice(g * 500, g * 500 + 500), deleted: g === 2 ? [] : [1, 5, 77], cold: g % 2 === 0 }],
    }))
    for (const orderBy of ['f', 'f desc', 'big', 'big desc', 'n', 'n desc', 's', 's desc', ['n', 'f desc', 'id desc']]) {
      for (const more of [{}, { where: gte<any, string>('n', 3) }]) {
        const all = await ids(groups, orderBy, more)
        for (const limit of [1, 7, 100, 450]) expect(await ids(groups, orderBy, { ...more, limit }), `${String(orderBy)} ${limit}`).toEqual(all.slice(0, limit))
      }
    }
  })

  it('reads only the order columns of batches without a winner, and nothing of groups behind the bound', async () => {
    const tens = (g: number, n: number): Thing[] => Array.from({ length: 10 }, (_, i) => thing(g * 10 + i, { n }))
    const options = { select: ['id', 's'], orderBy: 'n desc', limit: 4 }
    const without = fakeVersion(
      things,
      [0, 5, 2].map((n, g) => ({ kind: 'memory', batches: [{ rows: tens(g, n) }] })),
    )
    expect((await fakeScan(things, without, options).toArray()).map((r) => r['id'])).toEqual([10, 11, 12, 13])
    expect(without.loads).toEqual([['n'], ['n'], ['n'], ['id', 's']])
    const stated = fakeVersion(things, [
      ...[0, 5, 2].map((n, g) => ({ batches: [{ rows: tens(g, n) }] })),
      { batches: [3, 9].map((n, g) => ({ rows: tens(g + 3, n), stats: true })) },
    ])
    expect((await fakeScan(things, stated, options).toArray()).map((r) => r['id'])).toEqual([40, 41, 42, 43])
    expect(stated.loads).toEqual([['n'], ['n'], ['id', 's']])
  })

  it('decides ties by storage order however the groups are visited', async () => {
    const numbers = shuffled(100_000, 7)
    const pairs = table('pairs', { id: t.int32(), n: t.int32() })
    const rows = numbers.map((v, id) => ({ id, n: v % 1000 }))
    // The later groups state the better values; memory, without statistics, is visited before them.
    const groups = [0, 1, 2, 3].map((g): FakeGroup => ({
      kind: g === 2 ? 'memory' : 'fragment',
      batches: [{ rows: rows.slice(g * 25_000, g * 25_000 + 25_000).concat({ id: 100_000 + g, n: 1000 + g }) }],
    }))
    const all = groups.flatMap(({ batches }) => batches[0]!.rows as { id: number; n: number }[])
    const version = fakeVersion(pairs, groups)
    for (const limit of [10, 500, 35_000]) {
      const expected = all.toSorted((a, b) => b.n - a.n).slice(0, limit)
      const found = await fakeScan<{ id: number; n: number }>(pairs, version, { orderBy: 'n desc', limit }).toArray()
      expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id))
    }
  })

  it('refuses to hold more than memory.sortBytes', async () => {
    const groups = Array.from({ length: 20 }, (_, g) => ({ batches: [{ rows: Array.from({ length: 100 }, (_row, i) => thing(g * 100 + i, { n: i })) }] }))
    const scan = fakeScan(things, fakeVersion(things, groups), { orderBy: 'n' }, { sortBytes: 20_000 })
    await expect(scan.toArray()).rejects.toThrow('scan of things: orderBy without a limit holds more than memory.sortBytes (20000 bytes)')
    await expect(scan.toArray()).rejects.toMatchObject({ constructor: ResourceLimitError, limit: 'memory.sortBytes' })
    expect((await fakeScan(things, fakeVersion(things, groups), { orderBy: 'n desc', limit: 5 }, { sortBytes: 20_000 }).toArray()).length).toBe(5)
    await expect(fakeScan(things, fakeVersion(things, groups), { orderBy: 'n', limit: 1900 }, { sortBytes: 20_000 }).toArray()).rejects.toThrow(
      'orderBy with a limit of 1900',
    )
  })

  it('hands the sorted rows out in batches of at most batchRows', async () => {
    const groups = [{ batches: [{ rows: [thing(2), thing(0), thing(1), thing(4), thing(3)] }] }]
    const sizes: number[] = []
    for await (const batch of fakeScan(things, fakeVersion(things, groups), { orderBy: 'id', batchRows: 2 })) sizes.push(batch.numRows)
    expect(sizes).toEqual([2, 2, 1])
  })

  it('refuses columns that have no order', async () => {
    const odd = table('odd', { flag: t.bool(), data: t.json(), tags: t.list(t.int8()) })
    for (const name of ['flag', 'data', 'tags desc']) {
      await expect(fakeScan(odd, fakeVersion(odd, []), { orderBy: name }).toArray()).rejects.toThrow(/^odd\.\w+: .* has no order/)
    }
  })
})
