// Unique constraints (recovery.md section 12): what is refused, what is allowed, and what the errors say.
import { describe, expect, it } from 'vitest'

import { DuplicateKeyError, Store, t, table } from '../../../bindings/index.ts'

const people = table(
  'people',
  { id: t.int32(), mail: t.utf8().nullable(), city: t.utf8().dictionary().nullable(), seat: t.int16().nullable() },
  { key: ['id'], unique: [['mail'], ['city', 'seat']] },
)
type Person = typeof people.Insert
const p = (id: number, mail: string | null = null, city: string | null = null, seat: number | null = null): Person => ({ id, mail, city, seat })

/** Rows in memory, or in a fragment. */
const places = [
  ['in memory', async (_: Store): Promise<void> => {}],
  ['in a fragment', async (store: Store): Promise<void> => store.flush()],
] as const

async function open(): Promise<Store> {
  const store = await Store.open('memory:', { upkeep: 'manual' })
  await store.create(people)
  return store
}

async function messageOf(write: Promise<unknown>): Promise<string> {
  const error = await write.then(
    () => undefined,
    (cause: unknown) => cause,
  )
  expect(error).toBeInstanceOf(DuplicateKeyError)
  return (error as Error).message
}

describe.each(places)('a row that is %s', (_, settle) => {
  it('keeps its unique values from every other row, and the error names both rows', async () => {
    await using store = await open()
    const { lsn } = await store.append(people, [p(1, 'a'), p(2, 'b', 'Bern', 1)])
    await settle(store)
    const since = (await store.stats()).tables['people']!.memoryRows > 0 ? lsn : (await store.stats()).lsn
    expect(await messageOf(store.append(people, [p(3), p(4, 'a')]))).toBe(
      `people row 1: unique { mail: "a" } exists since LSN ${since}, in the row with key { id: 1 }`,
    )
    expect(await messageOf(store.upsert(people, p(1, 'b')))).toBe(`people row 0: unique { mail: "b" } exists since LSN ${since}, in the row with key { id: 2 }`)
    expect(await messageOf(store.upsert(people, p(1, 'a', 'Bern', 1)))).toBe(
      `people row 0: unique { city: "Bern", seat: 1 } exists since LSN ${since}, in the row with key { id: 2 }`,
    )
    expect(await messageOf(store.update(people, { id: 1, mail: 'b' }))).toBe(
      `people key { id: 1 }: unique { mail: "b" } exists since LSN ${since}, in the row with key { id: 2 }`,
    )
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(1, 'a'), p(2, 'b', 'Bern', 1)])
  })

  it('may be replaced by a row of its key with the same unique values', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a', 'Bern', 1), p(2, 'b')])
    await settle(store)
    await store.upsert(people, p(1, 'a', 'Bern', 1))
    await store.update(people, { id: 1, seat: 2 })
    await store.update(people, { id: 1, mail: 'a' })
    expect(await store.get(people, 1)).toEqual(p(1, 'a', 'Bern', 2))
  })

  it('gives its unique value to another key in the same call', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a'), p(2, 'b')])
    await settle(store)
    await store.upsert(people, [p(1, 'b'), p(2, 'a')])
    await store.update(people, [
      { id: 1, mail: 'a' },
      { id: 2, mail: 'b' },
    ])
    await store.transact((tx) => {
      tx.delete(people, 1)
      tx.append(people, p(3, 'a'))
    })
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(2, 'b'), p(3, 'a')])
  })

  it('frees its unique values when it goes', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a'), p(2, 'b'), p(3, 'c')])
    await settle(store)
    await store.delete(people, 1)
    await store.update(people, { id: 2, mail: null })
    await store.append(people, [p(4, 'a'), p(5, 'b')])
    await store.replace(people, [p(6, 'c')])
    await store.append(people, p(7, 'a'))
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(6, 'c'), p(7, 'a')])
  })

  it('is exempt where one of the columns is null', async () => {
    await using store = await open()
    await store.append(people, [p(1, null, 'Bern', null), p(2, null, null, 1)])
    await settle(store)
    await store.append(people, [p(3, null, 'Bern', null), p(4, null, null, 1), p(5, 'a', 'Bern', 1)])
    expect(await store.scan(people).count()).toBe(5)
  })
})

describe('rows of one call', () => {
  it('must not have a unique value in common', async () => {
    await using store = await open()
    expect(await messageOf(store.append(people, [p(1, 'a'), p(2), p(3, 'a')]))).toBe('people rows 0 and 2: unique { mail: "a" } twice in one append')
    expect(await messageOf(store.upsert(people, [p(1, 'a'), p(1, 'b'), p(2), p(3, 'b')]))).toBe('people rows 1 and 3: unique { mail: "b" } twice in one upsert')
    expect(await messageOf(store.replace(people, [p(1, 'a'), p(2, 'a')]))).toBe('people rows 0 and 1: unique { mail: "a" } twice in one replace')
    await store.append(people, [p(1), p(2)])
    const both = [1, 2].map((id) => ({ id, mail: 'a' }))
    expect(await messageOf(store.update(people, both))).toBe('people key { id: 1 } and key { id: 2 }: unique { mail: "a" } twice in one update')
    const twice = store.transact((tx) => {
      tx.upsert(people, p(1, 'a'))
      tx.append(people, p(3, 'a'))
    })
    expect(await messageOf(twice)).toBe('people key { id: 1 } and key { id: 3 }: unique { mail: "a" } twice in one transaction')
  })

  it('may have it as long as a later row of the same key takes it away', async () => {
    await using store = await open()
    await store.upsert(people, [p(1, 'a'), p(2, 'a'), p(1, 'b')])
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(1, 'b'), p(2, 'a')])
  })
})

it('a table without a key keeps its unique values too', async () => {
  await using store = await Store.open('memory:', { upkeep: 'manual' })
  const codes = table('codes', { code: t.utf8() }, { unique: [['code']] })
  await store.create(codes)
  const { lsn } = await store.append(codes, [{ code: 'x' }, { code: 'y' }])
  expect(await messageOf(store.append(codes, { code: 'y' }))).toBe(`codes row 0: unique { code: "y" } exists since LSN ${lsn}`)
  await store.flush()
  await expect(store.append(codes, { code: 'x' })).rejects.toThrow(DuplicateKeyError)
  await expect(store.transact((tx) => tx.append(codes, { code: 'x' }))).rejects.toThrow(DuplicateKeyError)
})

it('a transaction that lost a unique value to another write runs again, and then it is there', async () => {
  await using store = await open()
  let runs = 0
  const lost = store.transact(async (tx) => {
    if (runs++ === 0) await store.append(people, p(1, 'a'))
    tx.append(people, p(2, 'a'))
  })
  await expect(lost).rejects.toThrow(DuplicateKeyError)
  expect(runs).toBe(2)
})

it('commits that wait for their group are seen: the second of two at once is refused', async () => {
  await using store = await open()
  const [first, second] = await Promise.allSettled([store.append(people, p(1, 'a')), store.append(people, p(2, 'a'))])
  expect(first.status).toBe('fulfilled')
  expect(second).toMatchObject({ status: 'rejected', reason: { code: 'write.duplicate-key', columns: ['mail'], values: { mail: 'a' }, rows: [0] } })
})

describe('a large write', () => {
  const loading = { upkeep: 'manual', inlineLimitBytes: 0 } as const
  async function* inBatches(rows: readonly Person[]): AsyncGenerator<Person[], undefined> {
    for (const row of rows) yield [row]
  }

  it('is held against the rows there are and against itself, whatever its batches', async () => {
    await using store = await Store.open('memory:', loading)
    await store.create(people)
    await store.append(people, inBatches([p(1, 'a'), p(2, 'b', 'Bern', 1)]))
    expect(await messageOf(store.append(people, inBatches([p(3), p(4, 'a')])))).toMatch(
      /^people row 1: unique \{ mail: "a" \} exists since LSN \d+, in the row with key \{ id: 1 \}$/,
    )
    expect(await messageOf(store.append(people, inBatches([p(3, 'c'), p(4), p(5, 'c')])))).toBe('people rows 0 and 2: unique { mail: "c" } twice in one append')
    expect(await messageOf(store.upsert(people, inBatches([p(3, 'c'), p(1, 'b')])))).toMatch(/^people row 1: unique \{ mail: "b" \} exists since LSN \d+/)
    expect(await messageOf(store.upsert(people, inBatches([p(3, 'c'), p(4, 'c')])))).toBe('people rows 0 and 1: unique { mail: "c" } twice in one upsert')
    expect(await messageOf(store.replace(people, inBatches([p(3, 'c'), p(4, 'c')])))).toBe('people rows 0 and 1: unique { mail: "c" } twice in one replace')
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(1, 'a'), p(2, 'b', 'Bern', 1)])
    await store.replace(people, inBatches([p(3, 'a'), p(4, 'b')]))
    expect(await store.scan(people).count()).toBe(2)
  })

  it('counts only the rows that stay: what a later row of it replaces took nothing', async () => {
    await using store = await Store.open('memory:', loading)
    await store.create(people)
    await store.append(people, p(9, 'a'))
    await store.upsert(people, inBatches([p(1, 'a'), p(2, 'x'), p(3, 'x'), p(1, 'b'), p(2, 'c')]))
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(1, 'b'), p(2, 'c'), p(3, 'x'), p(9, 'a')])
  })
})

describe('a staged write', () => {
  it('is judged by the rows that stay, when it is sealed', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a'), p(2, 'b')])
    {
      await using write = await store.stage()
      await write.append(people, p(3, 'a'))
      expect(await messageOf(write.seal())).toMatch(/^people row 0: unique \{ mail: "a" \} exists since LSN \d+, in the row with key \{ id: 1 \}$/)
    }
    await using write = await store.stage()
    await write.append(people, p(3, 'a'))
    await write.delete(people, 1)
    await write.upsert(people, p(2, 'c'))
    await write.append(people, p(4, 'b'))
    await write.publish()
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(2, 'c'), p(3, 'a'), p(4, 'b')])
  })

  it('may hold a unique value twice in a fragment, once hidden: the other row keeps it', async () => {
    await using store = await open()
    await using write = await store.stage()
    await write.upsert(people, [p(1, 'a'), p(2, 'a')])
    await write.append(people, p(3))
    await write.upsert(people, p(1, 'b'))
    await write.publish()
    expect(await store.scan(people, { orderBy: 'id' }).toArray()).toEqual([p(1, 'b'), p(2, 'a'), p(3)])
    expect(await messageOf(store.append(people, p(4, 'a')))).toMatch(/unique \{ mail: "a" \} exists since LSN \d+, in the row with key \{ id: 2 \}$/)
    await store.upsert(people, p(2, 'a'))
  })

  it('conflicts with a write that took a unique value of it since it was staged, and not with one that took others', async () => {
    await using store = await open()
    await store.append(people, p(1, 'a'))
    await using write = await store.stage()
    await write.append(people, [p(5, 'x'), p(6, 'y')])
    await write.seal()
    await store.append(people, [p(2, '5'), p(3, 'z')])
    await store.append(people, p(4, 'x'))
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.conflict', message: expect.stringContaining('took unique { mail: "x" } first') })
    await store.delete(people, 4)
    // A row that came and went has written the value all the same.
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.conflict' })
    await write.rollback()
    expect(await store.scan(people).count()).toBe(3)
  })

  it('of a table without a key conflicts the same way, and goes forward past writes of other values', async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual' })
    const codes = table('codes', { code: t.utf8() }, { unique: [['code']] })
    await store.create(codes)
    await using first = await store.stage()
    await first.append(codes, [{ code: 'x' }, { code: 'y' }])
    await first.seal()
    await using second = await store.stage()
    await second.append(codes, { code: 'y' })
    await second.seal()
    await store.append(codes, { code: 'z' })
    await first.publish()
    await expect(second.publish()).rejects.toMatchObject({ code: 'write.conflict' })
    await second.rollback()
    expect((await store.scan(codes).toArray()).map(({ code }) => code).toSorted()).toEqual(['x', 'y', 'z'])
  })
})
