import { describe, expect, it } from 'vitest'

import {
  ClosedError,
  type CommitResult,
  columns,
  ConflictError,
  DuplicateKeyError,
  eq,
  gt,
  lt,
  newWriteId,
  ResourceLimitError,
  type Store,
  t,
  table,
  type Transaction,
} from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

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

describe.each(PLACES)('transact, %s', (_name, place) => {
  it('is one commit over several tables, whose result goes to onCommitted and whose value is returned', async () => {
    const store = await bank(place())
    const before = store.lsn
    const committed: CommitResult[] = []
    const value = await store.transact(
      async (tx) => {
        expect(tx.lsn).toBe(before)
        expect(tx.attempt).toBe(0)
        expect(tx.signal.aborted).toBe(false)
        tx.update(accounts, { id: 'a', balance: 50n }).catch(() => undefined)
        await tx.update(accounts, { id: 'b', balance: 150n })
        tx.append(moves, { from: 'a', to: 'b', amount: 50n })
        return 'moved'
      },
      { onCommitted: (result) => committed.push(result), message: 'a move', author: 'ada' },
    )
    expect(value).toBe('moved')
    expect(store.lsn).toBe(before + 1n)
    expect(committed).toHaveLength(1)
    expect(committed[0]).toMatchObject({ lsn: store.lsn, rows: 3, replayed: false })
    expect(await balances(store)).toEqual({ a: 50n, b: 150n, c: 100n })
    expect(await store.scan(moves).count()).toBe(2)
    expect(await balances(store)).toEqual({ a: 50n, b: 150n, c: 100n })
    const [commit] = await collect(store.changes({ from: before, follow: false }))
    expect(commit).toMatchObject({
      message: 'a move',
      author: 'ada',
      counts: { accounts: { inserted: 0, updated: 2, deleted: 0 }, moves: { inserted: 1, updated: 0, deleted: 0 } },
    })
  })

  it('reads its own writes: get, getMany, has, scans with predicates and order, aggregates', async () => {
    const store = await bank(place())
    await store.flush()
    await store.append(accounts, account('m', 1n))
    await store.transact(async (tx) => {
      tx.upsert(accounts, [account('a', 1n, 'mine'), account('z', 26n)])
      tx.delete(accounts, ['b', 'absent'])
      tx.append(moves, { from: 'a', to: 'z', amount: 26n })
      expect(await tx.get(accounts, 'a')).toEqual(account('a', 1n, 'mine'))
      expect(await tx.get(accounts, { id: 'z' })).toEqual(account('z', 26n))
      expect(await tx.get(accounts, 'b')).toBeUndefined()
      expect(await tx.get(accounts, 'c')).toEqual(account('c', 100n))
      expect(await tx.getMany(accounts, ['z', 'b', 'c', 'q'])).toEqual([account('z', 26n), undefined, account('c', 100n), undefined])
      expect([await tx.has(accounts, 'z'), await tx.has(accounts, 'b'), await tx.has(accounts, 'm')]).toEqual([true, false, true])
      expect((await tx.scan(accounts, { orderBy: 'id' }).toArray()).map(({ id }) => id)).toEqual(['a', 'c', 'm', 'z'])
      expect(await tx.scan(accounts, { where: lt('balance', 50n), select: ['id'], orderBy: 'id desc' }).toArray()).toEqual([
        { id: 'z' },
        { id: 'm' },
        { id: 'a' },
      ])
      expect(await tx.scan(accounts).count()).toBe(4)
      expect(await tx.scan(accounts).aggregate({ n: 'count', sum: { sum: 'balance' }, top: { max: 'balance' } })).toEqual({ n: 4, sum: 128n, top: 100n })
      expect(await tx.scan(accounts).aggregate({ n: 'count' }, { by: ['note'] })).toEqual(
        expect.arrayContaining([
          { note: 'mine', n: 1 },
          { note: null, n: 3 },
        ]),
      )
      expect(await tx.scan(moves).count()).toBe(2)
      expect((await tx.scan(accounts).toArrow()).numRows).toBe(4)
      // Deleted, then written again; written, then deleted again.
      tx.upsert(accounts, account('b', 7n))
      tx.delete(accounts, 'z')
      expect((await tx.get(accounts, 'b'))?.balance).toBe(7n)
      expect(await tx.get(accounts, 'z')).toBeUndefined()
      expect(await tx.scan(accounts).count()).toBe(4)
      expect(await store.scan(accounts).count()).toBe(4)
      expect((await store.get(accounts, 'a'))?.balance).toBe(100n)
    })
    expect(await balances(store)).toEqual({ a: 1n, b: 7n, c: 100n, m: 1n })
  })

  it('updates and deletes by predicate over its own writes, and says how many', async () => {
    const store = await bank(place())
    await store.flush()
    await store.append(moves, { from: 'y', to: 'b', amount: 5n })
    await store.transact(async (tx) => {
      tx.upsert(accounts, account('d', 5n))
      expect(
        await tx.update(accounts, [
          { id: 'd', balance: 6n },
          { id: 'absent', balance: 0n },
          { id: 'a', note: 'hi' },
          { id: 'a', balance: 9n },
        ]),
      ).toBe(2)
      expect(await tx.get(accounts, 'a')).toEqual(account('a', 9n, 'hi'))
      expect(await tx.deleteWhere(accounts, lt('balance', 10n))).toBe(2)
      expect(await tx.scan(accounts).count()).toBe(2)
      tx.append(moves, [
        { from: 'n', to: 'm', amount: 1n },
        { from: 'n', to: 'm', amount: 500n },
      ])
      expect(await tx.deleteWhere(moves, gt('amount', 50n))).toBe(2)
      expect(await tx.deleteWhere(moves, gt('amount', 50n))).toBe(0)
      expect((await tx.scan(moves, { orderBy: 'amount' }).toArray()).map(({ amount }) => amount)).toEqual([1n, 5n])
    })
    expect(await balances(store)).toEqual({ b: 100n, c: 100n })
    expect((await store.scan(moves, { orderBy: 'amount' }).toArray()).map(({ amount }) => amount)).toEqual([1n, 5n])
  })

  it('replaces, keyed and unkeyed, over and under its other writes', async () => {
    const store = await bank(place())
    await store.transact(async (tx) => {
      tx.upsert(accounts, account('gone', 1n))
      tx.replace(accounts, [account('n', 1n), account('o', 2n)])
      tx.upsert(accounts, account('p', 3n))
      tx.delete(accounts, 'n')
      expect(await tx.get(accounts, 'a')).toBeUndefined()
      expect(await tx.get(accounts, 'gone')).toBeUndefined()
      expect((await tx.scan(accounts, { orderBy: 'id' }).toArray()).map(({ id }) => id)).toEqual(['o', 'p'])
      tx.append(moves, { from: 'gone', to: 'gone', amount: 0n })
      tx.replace(moves, [])
      tx.append(moves, { from: 'o', to: 'p', amount: 3n })
      expect(await tx.scan(moves).count()).toBe(1)
    })
    expect(await balances(store)).toEqual({ o: 2n, p: 3n })
    expect(await store.scan(moves).toArray()).toEqual([{ from: 'o', to: 'p', amount: 3n }])
  })

  it('takes columns and Arrow beside rows', async () => {
    const store = await bank(place())
    const arrow = await store.scan(accounts).toArrow()
    const ipc = await store.scan(moves).toIpc()
    await store.transact((tx) => {
      tx.replace(accounts, arrow)
      tx.append(accounts, columns({ id: ['x', 'y'], balance: BigInt64Array.of(1n, 2n) }))
      tx.append(moves, ipc)
    })
    expect(Object.keys(await balances(store))).toEqual(['a', 'b', 'c', 'x', 'y'])
    expect(await store.scan(moves).count()).toBe(2)
  })

  it('no writes: no commit, no check, no onCommitted', async () => {
    const store = await bank(place())
    const before = store.lsn
    let told = 0
    const read = await store.transact(
      async (tx) => {
        const row = await tx.get(accounts, 'a')
        await store.upsert(accounts, account('a', 0n))
        tx.append(moves, [])
        tx.upsert(accounts, [])
        tx.delete(accounts, [])
        return row?.balance
      },
      { onCommitted: () => told++ },
    )
    expect(read).toBe(100n)
    expect(store.lsn).toBe(before + 1n)
    expect(told).toBe(0)
  })

  it('whatever fn throws passes through unchanged: nothing is written, nothing retried', async () => {
    const store = await bank(place())
    const before = store.lsn
    for (const thrown of [new Error('no'), 'text', undefined, { plain: true }]) {
      let runs = 0
      const error = await store
        .transact((tx) => {
          runs++
          tx.upsert(accounts, account('a', 0n))
          throw thrown
        })
        .then(
          () => 'resolved',
          (reason: unknown) => reason,
        )
      expect(error).toBe(thrown)
      expect(runs).toBe(1)
    }
    expect(store.lsn).toBe(before)
    expect((await store.get(accounts, 'a'))?.balance).toBe(100n)
  })

  it('a ConflictError thrown by fn itself passes through and is not retried', async () => {
    const store = await bank(place())
    let runs = 0
    const own = new ConflictError('mine', { details: { table: 'accounts', keys: [], total: 0, lsn: 1n } })
    const error = await failure(() =>
      store.transact(() => {
        runs++
        throw own
      }),
    )
    expect(error).toBe(own)
    expect(runs).toBe(1)
  })

  it('is closed after fn settled: ClosedError { what: "transaction" }', async () => {
    const store = await bank(place())
    let leaked: Transaction | undefined
    await store.transact((tx) => {
      leaked = tx
      tx.upsert(accounts, account('a', 1n))
    })
    const tx = leaked!
    for (const call of [
      () => tx.get(accounts, 'a'),
      () => tx.getMany(accounts, ['a']),
      () => tx.getMany(accounts, []),
      () => tx.has(accounts, 'a'),
      () => tx.scan(accounts).toArray(),
      () => tx.append(moves, []),
      () => tx.upsert(accounts, account('a', 5n)),
      () => tx.delete(accounts, 'a'),
      () => tx.deleteWhere(accounts, eq('id', 'a')),
      () => tx.update(accounts, { id: 'a', balance: 5n }),
      () => tx.update(accounts, []),
      () => tx.replace(accounts, []),
    ]) {
      const error = await failure(call)
      expect(error).toBeInstanceOf(ClosedError)
      expect(error).toMatchObject({ code: 'transaction.closed', what: 'transaction' })
    }
    expect(tx.signal.aborted).toBe(true)
    expect((await store.get(accounts, 'a'))?.balance).toBe(1n)
  })

  it('validates at once, all or nothing per call', async () => {
    const store = await bank(place())
    await store.transact(async (tx) => {
      expect(await failure(() => tx.append(moves, [{ from: 'a', to: 'b', amount: 1n }, { from: 'a', to: 3, amount: 1n } as never]))).toMatchObject({
        code: 'table.schema-mismatch',
      })
      expect(await failure(() => tx.upsert(accounts, { id: 'q', balance: 1n, extra: 1 } as never))).toMatchObject({ code: 'table.schema-mismatch' })
      expect(await failure(() => tx.upsert(accounts, { id: null, balance: 1n } as never))).toMatchObject({ code: 'write.null-key' })
      expect(await failure(() => tx.append(accounts, [account('q', 1n), account('r', 1n), account('q', 2n)]))).toBeInstanceOf(DuplicateKeyError)
      expect(await tx.has(accounts, 'q')).toBe(false)
      tx.append(accounts, account('s', 1n))
      // The second row is there already; the first one of the same call must not stay.
      expect(await failure(() => tx.append(accounts, [account('u', 1n), account('s', 2n)]))).toBeInstanceOf(DuplicateKeyError)
      expect(await tx.has(accounts, 'u')).toBe(false)
      expect((await tx.get(accounts, 's'))?.balance).toBe(1n)
      expect(await failure(() => tx.replace(accounts, [account('v', 1n), account('v', 2n)]))).toBeInstanceOf(DuplicateKeyError)
      expect(await tx.has(accounts, 'a')).toBe(true)
      expect(await failure(() => tx.update(accounts, { id: 'a', extra: 1 } as never))).toMatchObject({ code: 'table.schema-mismatch' })
      expect(await failure(() => tx.delete(accounts, [{ id: 'a' }, 5] as never))).toMatchObject({ code: 'table.schema-mismatch' })
      expect(await tx.has(accounts, 'a')).toBe(true)
    })
    expect(await balances(store)).toEqual({ a: 100n, b: 100n, c: 100n, s: 1n })
    expect(await store.scan(moves).count()).toBe(1)
  })

  it('append of a stored key is DuplicateKeyError; after a delete of it in the same transaction it is an update', async () => {
    const store = await bank(place())
    const error = await failure(() => store.transact((tx) => tx.append(accounts, account('a', 1n))))
    expect(error).toBeInstanceOf(DuplicateKeyError)
    expect(error.message).toMatch(/^accounts row 0: key \{ id: "a" \} exists since LSN \d+$/)
    await store.transact((tx) => {
      tx.delete(accounts, 'a')
      tx.append(accounts, account('a', 1n))
    })
    expect((await store.get(accounts, 'a'))?.balance).toBe(1n)
  })

  it('nothing handed in is kept: later changes of it do not show', async () => {
    const store = await bank(place())
    const mine = account('k', 1n)
    await store.transact(async (tx) => {
      tx.upsert(accounts, mine)
      mine.balance = 99n
      const read = (await tx.get(accounts, 'k'))!
      expect(read.balance).toBe(1n)
      ;(read as { balance: bigint }).balance = 77n
      expect((await tx.get(accounts, 'k'))?.balance).toBe(1n)
    })
    expect((await store.get(accounts, 'k'))?.balance).toBe(1n)
  })

  it('a transaction inside a transaction is its own commit', async () => {
    const store = await bank(place())
    await failure(() =>
      store.transact(async (outer) => {
        outer.upsert(accounts, account('outer', 1n))
        await store.transact((inner) => inner.upsert(accounts, account('inner', 1n)))
        throw new Error('outer fails')
      }),
    )
    expect([await store.has(accounts, 'outer'), await store.has(accounts, 'inner')]).toEqual([false, true])
  })
})

describe.each(PLACES)('limits and aborts of transact, %s', (_name, place) => {
  it('memory.transactionBytes is ResourceLimitError, counts bytes, and nothing is written', async () => {
    const store = await bank(place(), { memory: { transactionBytes: 100_000 } })
    const before = store.lsn
    const byRows = await failure(() =>
      store.transact((tx) => {
        for (let i = 0; i < 100_000; i++) tx.append(moves, { from: 'a', to: 'b', amount: 1n })
      }),
    )
    expect(byRows).toBeInstanceOf(ResourceLimitError)
    expect(byRows).toMatchObject({ code: 'options.limit', limit: 'memory.transactionBytes' })
    const byBytes = await failure(() => store.transact((tx) => tx.upsert(accounts, account('big', 1n, 'x'.repeat(200_000)))))
    expect(byBytes).toBeInstanceOf(ResourceLimitError)
    const byDeletes = await failure(() =>
      store.transact((tx) => {
        for (let i = 0; i < 100_000; i++) tx.delete(accounts, `absent ${i}`)
      }),
    )
    expect(byDeletes).toBeInstanceOf(ResourceLimitError)
    expect(store.lsn).toBe(before)
    await store.transact((tx) => tx.append(moves, { from: 'a', to: 'b', amount: 1n }))
  })

  it('an aborted signal rejects with its reason before fn runs', async () => {
    const store = await bank(place())
    const reason = new Error('stop')
    let runs = 0
    expect(await failure(() => store.transact(() => runs++, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(runs).toBe(0)
  })

  it('an abort while fn runs reaches tx.signal, rejects with its reason and writes nothing', async () => {
    const store = await bank(place())
    const abort = new AbortController()
    const reason = new Error('stop')
    let seen: unknown
    const error = await failure(() =>
      store.transact(
        (tx) => {
          tx.upsert(accounts, account('a', 0n))
          abort.abort(reason)
          seen = tx.signal.reason
        },
        { signal: abort.signal },
      ),
    )
    expect(error).toBe(reason)
    expect(seen).toBe(reason)
    expect((await store.get(accounts, 'a'))?.balance).toBe(100n)
  })

  it('an abort between two attempts ends the retries', async () => {
    const store = await bank(place())
    const abort = new AbortController()
    const reason = new Error('stop')
    let runs = 0
    const error = await failure(() =>
      store.transact(
        async (tx) => {
          runs++
          await tx.get(accounts, 'a')
          await store.upsert(accounts, account('a', 0n))
          tx.upsert(accounts, account('a', 1n))
          setImmediate(() => abort.abort(reason))
        },
        { signal: abort.signal, retries: 100_000 },
      ),
    )
    expect(error).toBe(reason)
    expect(runs).toBeLessThan(100)
  })

  it('takes a writeId and answers outcome(); an idempotency key replays', async () => {
    const store = await bank(place())
    const results: CommitResult[] = []
    const pay = () =>
      store.transact(
        async (tx) => {
          const from = (await tx.get(accounts, 'a'))!
          tx.upsert(accounts, { ...from, balance: from.balance - 5n })
          tx.append(moves, { from: 'a', to: 'b', amount: 5n })
          return from.balance
        },
        { idempotencyKey: 'pay-1', onCommitted: (result) => results.push(result) },
      )
    await pay()
    await pay()
    expect((await store.get(accounts, 'a'))?.balance).toBe(95n)
    expect(await store.scan(moves).count()).toBe(2)
    expect(results.map(({ replayed }) => replayed)).toEqual([false, true])
    expect(results[1]).toMatchObject({ lsn: results[0]!.lsn, writeId: results[0]!.writeId, rows: 2 })
    // Another request: other tables, or no transaction at all.
    const other = () => store.transact((tx) => tx.append(moves, { from: 'a', to: 'b', amount: 5n }), { idempotencyKey: 'pay-1' })
    expect(await failure(other)).toMatchObject({ code: 'write.idempotency-mismatch', key: 'pay-1' })
    expect(await failure(() => store.delete(accounts, 'a', { idempotencyKey: 'pay-1' }))).toMatchObject({ code: 'write.idempotency-mismatch' })
    expect(await store.outcome(results[0]!.writeId)).toBe('published')
    const id = newWriteId()
    await store.transact((tx) => tx.delete(accounts, 'b'), { writeId: id })
    expect(await store.outcome(id)).toBe('published')
  })

  it('a throwing onCommitted does not undo or hide the commit', async () => {
    const store = await bank(place())
    const value = await store.transact(
      (tx) => {
        tx.upsert(accounts, account('a', 1n))
        return 'value'
      },
      {
        onCommitted: () => {
          throw new Error('listener')
        },
      },
    )
    expect(value).toBe('value')
    expect((await store.get(accounts, 'a'))?.balance).toBe(1n)
  })
})

describe('a definition that names fewer columns than the store', () => {
  it('update in a transaction keeps the columns it does not know', async () => {
    const store = await bank('memory:')
    const narrow = table('accounts', { id: t.utf8(), balance: t.int64() }, { key: ['id'] })
    await store.upsert(accounts, account('a', 1n, 'kept'))
    await store.update(narrow, { id: 'a', balance: 2n })
    expect(await store.get(accounts, 'a')).toEqual(account('a', 2n, 'kept'))
    await store.transact(async (tx) => {
      expect(await tx.update(narrow, { id: 'a', balance: 3n })).toBe(1)
      expect(await tx.get(narrow, 'a')).toEqual({ id: 'a', balance: 3n })
      expect(await tx.get(accounts, 'a')).toEqual(account('a', 3n, 'kept'))
    })
    expect(await store.get(accounts, 'a')).toEqual(account('a', 3n, 'kept'))
  })

  it('two definitions of one table in one transaction see and keep each other', async () => {
    const store = await bank('memory:')
    const narrow = table('accounts', { id: t.utf8(), balance: t.int64() }, { key: ['id'] })
    await store.transact(async (tx) => {
      tx.upsert(narrow, { id: 'n', balance: 1n })
      tx.upsert(accounts, account('w', 2n, 'wide'))
      expect(await tx.get(accounts, 'n')).toEqual(account('n', 1n))
      expect(await tx.get(narrow, 'w')).toEqual({ id: 'w', balance: 2n })
      expect((await tx.scan(accounts, { orderBy: 'id' }).toArray()).map(({ note }) => note)).toEqual([null, null, null, null, 'wide'])
    })
    expect(await store.get(accounts, 'w')).toEqual(account('w', 2n, 'wide'))
    expect(await store.get(accounts, 'n')).toEqual(account('n', 1n))
  })
})
