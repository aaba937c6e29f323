import { describe, expect, it } from 'vitest'

import { columns, ConflictError, eq, gte, type Store, t, table } from '../../../bindings/index.ts'
import { failure, opened, PLACES } from '../store/places.ts'

const accounts = table('accounts', { id: t.utf8(), balance: t.int64(), note: t.utf8().nullable() }, { key: ['id'] })
const moves = table('moves', { from: t.utf8(), to: t.utf8(), amount: t.int64() })
const account = (id: string, balance: bigint, note: string | null = null) => ({ id, balance, note })

async function bank(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(accounts, moves)
  await store.append(accounts, [account('a', 100n), account('b', 100n), account('c', 100n)])
  await store.append(moves, { from: 'x', to: 'a', amount: 100n })
  return store
}

const balances = async (store: Store) => Object.fromEntries((await store.scan(accounts, { orderBy: 'id' }).toArray()).map(({ id, balance }) => [id, balance]))

describe.each(PLACES)('conflicts, %s', (_name, place) => {
  it('fn runs again on a conflict, on a newer snapshot, with attempt counted', async () => {
    const store = await bank(place())
    const attempts: number[] = []
    const signals: AbortSignal[] = []
    const result = await store.transact(async (tx) => {
      attempts.push(tx.attempt)
      signals.push(tx.signal)
      const row = (await tx.get(accounts, 'a'))!
      if (tx.attempt < 2) await store.upsert(accounts, account('a', row.balance + 1000n))
      tx.upsert(accounts, { ...row, balance: row.balance - 1n })
      return row.balance
    })
    expect(attempts).toEqual([0, 1, 2])
    expect(result).toBe(2100n)
    expect((await store.get(accounts, 'a'))?.balance).toBe(2099n)
    expect(signals.every((signal) => signal.aborted)).toBe(true)
  })

  it('rejects with the last ConflictError when the retries are used up: table, keys, total, lsn', async () => {
    const store = await bank(place())
    let runs = 0
    let last = 0n
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          runs++
          await tx.get(accounts, 'a')
          last = (await store.upsert(accounts, account('a', BigInt(runs)))).lsn
          tx.upsert(accounts, account('a', -1n))
        },
        { retries: 2 },
      ),
    )
    expect(runs).toBe(3)
    expect(error).toBeInstanceOf(ConflictError)
    expect(error).toMatchObject({ code: 'write.conflict', kind: 'conflict', table: 'accounts', keys: [{ id: 'a' }], total: 1, lsn: last })
    expect((await store.get(accounts, 'a'))?.balance).toBe(3n)
  })

  it('retries: 0 runs once', async () => {
    const store = await bank(place())
    let runs = 0
    await failure(() =>
      store.transact(
        async (tx) => {
          runs++
          tx.upsert(accounts, account('a', 1n))
          await store.delete(accounts, 'a')
        },
        { retries: 0 },
      ),
    )
    expect(runs).toBe(1)
  })

  it.each([
    ['a negative number', { retries: -1 }],
    ['a fraction', { retries: 0.5 }],
    ['a word', { retries: 'many' }],
    ['an unknown isolation', { isolation: 'none' }],
  ])('refuses %s in its options before fn runs', async (_what, options) => {
    const store = await bank(place())
    let runs = 0
    const error = await failure(() => store.transact(() => runs++, options as never))
    expect(error).toMatchObject({ code: 'options.invalid' })
    expect(runs).toBe(0)
  })

  it('names at most 100 keys and counts them all', async () => {
    const store = await bank(place())
    const rows = Array.from({ length: 150 }, (_, i) => account(`k${i}`, 0n))
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          await tx.getMany(
            accounts,
            rows.map(({ id }) => id),
          )
          await store.append(accounts, rows)
          tx.append(moves, { from: 'a', to: 'b', amount: 1n })
        },
        { retries: 0 },
      ),
    )
    expect(error).toBeInstanceOf(ConflictError)
    expect((error['keys'] as unknown[]).length).toBe(100)
    expect(error['total']).toBe(150)
  })

  it('serializable: write skew is prevented', async () => {
    const store = await bank(place())
    // Each may go down to 0 only while the sum stays at least 100.
    const withdraw = (from: string, other: string) =>
      store.transact(async (tx) => {
        const [mine, theirs] = await tx.getMany(accounts, [from, other])
        await new Promise((resolve) => setImmediate(resolve))
        if (mine!.balance + theirs!.balance < 200n) return false
        tx.upsert(accounts, { ...mine!, balance: 0n })
        return true
      })
    const results = await Promise.all([withdraw('a', 'b'), withdraw('b', 'a')])
    expect(results.filter(Boolean)).toHaveLength(1)
  })

  it('snapshot isolation checks written keys only: write skew passes', async () => {
    const store = await bank(place())
    let meet: () => void = () => undefined
    const both = new Promise<void>((resolve) => (meet = resolve))
    let there = 0
    const withdraw = (from: string, other: string) =>
      store.transact(
        async (tx) => {
          const [mine, theirs] = await tx.getMany(accounts, [from, other])
          if (++there === 2) meet()
          await both
          if (mine!.balance + theirs!.balance < 200n) return false
          tx.upsert(accounts, { ...mine!, balance: 0n })
          return true
        },
        { isolation: 'snapshot' },
      )
    expect(await Promise.all([withdraw('a', 'b'), withdraw('b', 'a')])).toEqual([true, true])
    expect(await balances(store)).toEqual({ a: 0n, b: 0n, c: 100n })
    // The same key is still a conflict.
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          tx.upsert(accounts, account('a', 5n))
          await store.upsert(accounts, account('a', 6n))
        },
        { isolation: 'snapshot', retries: 0 },
      ),
    )
    expect(error).toBeInstanceOf(ConflictError)
  })

  const INTERLOPERS: readonly (readonly [string, (store: Store) => Promise<unknown>])[] = [
    ['an upsert', (store) => store.upsert(accounts, account('a', 1n))],
    ['an update', (store) => store.update(accounts, { id: 'a', balance: 1n })],
    ['a delete', (store) => store.delete(accounts, 'a')],
    ['a delete by predicate', (store) => store.deleteWhere(accounts, eq('id', 'a'))],
    ['a replace', (store) => store.replace(accounts, [account('a', 1n)])],
    ['a replace by nothing', (store) => store.replace(accounts, [])],
    ['another transaction', (store) => store.transact((tx) => tx.upsert(accounts, account('a', 1n)))],
    [
      'a bulk upsert',
      (store) => store.upsert(accounts, columns({ id: ['a', ...Array.from({ length: 20_000 }, (_, i) => `x${i}`)], balance: new BigInt64Array(20_001) })),
    ],
    [
      'a bulk replace',
      (store) => store.replace(accounts, columns({ id: ['a', ...Array.from({ length: 20_000 }, (_, i) => `x${i}`)], balance: new BigInt64Array(20_001) })),
    ],
  ]

  it.each(INTERLOPERS)('a key read is a conflict after %s', async (_what, interlope) => {
    const store = await bank(place())
    await store.flush()
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          await tx.get(accounts, 'a')
          await interlope(store)
          tx.append(moves, { from: 'q', to: 'q', amount: 0n })
        },
        { retries: 0 },
      ),
    )
    expect(error).toBeInstanceOf(ConflictError)
  })

  it.each(INTERLOPERS)('a key written is a conflict after %s, under snapshot isolation too', async (_what, interlope) => {
    const store = await bank(place())
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          tx.upsert(accounts, account('a', 2n))
          await interlope(store)
        },
        { retries: 0, isolation: 'snapshot' },
      ),
    )
    expect(error).toBeInstanceOf(ConflictError)
  })

  it.each(INTERLOPERS)('a table scanned is a conflict after %s', async (_what, interlope) => {
    const store = await bank(place())
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          await tx.scan(accounts, { where: gte('balance', 1000n) }).count()
          await interlope(store)
          tx.append(moves, { from: 'q', to: 'q', amount: 0n })
        },
        { retries: 0 },
      ),
    )
    expect(error).toBeInstanceOf(ConflictError)
  })

  it('an absent key that was asked for is a conflict once somebody writes it', async () => {
    const store = await bank(place())
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          expect(await tx.has(accounts, 'new')).toBe(false)
          await store.append(accounts, account('new', 1n))
          tx.append(moves, { from: 'q', to: 'q', amount: 0n })
        },
        { retries: 0 },
      ),
    )
    expect(error).toMatchObject({ code: 'write.conflict', keys: [{ id: 'new' }] })
  })

  it('other keys, other tables and upkeep are no conflict', async () => {
    const store = await bank(place())
    let runs = 0
    await store.transact(
      async (tx) => {
        runs++
        const row = (await tx.get(accounts, 'a'))!
        await store.upsert(accounts, account('b', 1n))
        await store.append(moves, { from: 'q', to: 'q', amount: 0n })
        await store.flush()
        await store.delete(accounts, 'c')
        tx.upsert(accounts, { ...row, balance: 5n })
      },
      { retries: 0 },
    )
    expect(runs).toBe(1)
    expect(await balances(store)).toEqual({ a: 5n, b: 1n })
  })

  it('appends to unkeyed tables never conflict', async () => {
    const store = await bank(place())
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        store.transact(
          async (tx) => {
            tx.append(moves, { from: 'a', to: 'b', amount: BigInt(i) })
            await new Promise((resolve) => setImmediate(resolve))
          },
          { retries: 0 },
        ),
      ),
    )
    expect(await store.scan(moves).count()).toBe(21)
  })

  it('a replace conflicts with any change of its table', async () => {
    const store = await bank(place())
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          tx.replace(moves, [])
          await store.append(moves, { from: 'a', to: 'b', amount: 1n })
        },
        { retries: 0, isolation: 'snapshot' },
      ),
    )
    expect(error).toMatchObject({ code: 'write.conflict', table: 'moves' })
  })

  it('a hundred concurrent increments add up', async () => {
    const store = await bank(place())
    const attempts = await Promise.all(
      Array.from({ length: 100 }, () =>
        store.transact(
          async (tx) => {
            const row = (await tx.get(accounts, 'a'))!
            tx.upsert(accounts, { ...row, balance: row.balance + 1n })
            return tx.attempt
          },
          { retries: 1000 },
        ),
      ),
    )
    expect(attempts).toHaveLength(100)
    expect((await store.get(accounts, 'a'))?.balance).toBe(200n)
  })
})
