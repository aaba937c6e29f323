import { describe, expect, it } from 'vitest'

import {
  columns,
  type CommitResult,
  DuplicateKeyError,
  eq,
  gt,
  IdempotencyMismatchError,
  newWriteId,
  ResourceLimitError,
  type Store,
  t,
  table,
} from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES } from '../store/places.ts'

const keyed = table('keyed', { id: t.int32(), text: t.utf8().default('none'), n: t.float64().nullable() }, { key: ['id'] })
const plain = table('plain', { id: t.int32(), text: t.utf8().default('none'), n: t.float64().nullable() })
const row = (id: number, text = `text ${id}`, n: number | null = id) => ({ id, text, n })
const rows = (from: number, to: number, text?: string) => Array.from({ length: to - from }, (_, i) => row(from + i, text))
/** Above every limit of an inline write: goes through fragments. */
const bulk = (ids: readonly number[] | Int32Array, text = 'bulk') =>
  columns({ id: Int32Array.from(ids), text: Array.from(ids, () => text), n: Float64Array.from(ids, Number) })
const range = (from: number, to: number) => Int32Array.from({ length: to - from }, (_, i) => from + i)
const BULK_ROWS = 20_000

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(keyed, plain)
  return store
}
const all = async (store: Store) => store.scan(keyed, { orderBy: 'id' }).toArray()

describe.each(PLACES)('notes of a commit, %s', (_name, place) => {
  it('keeps message and author, up to 4 KiB of UTF-8 together', async () => {
    const store = await fresh(place())
    const before = store.lsn
    const message = 'ü'.repeat(2000)
    await store.append(keyed, row(1), { message, author: 'a'.repeat(96) })
    const [commit] = await collect(store.changes({ from: before, follow: false }))
    expect(commit).toMatchObject({ message, author: 'a'.repeat(96) })
    const calls: (() => unknown)[] = [
      () => store.append(keyed, row(2), { message, author: 'a'.repeat(97) }),
      () => store.upsert(keyed, bulk(range(0, BULK_ROWS)), { message: 'x'.repeat(4097) }),
      () => store.update(keyed, { id: 1 }, { author: 'x'.repeat(4097) }),
      () => store.delete(keyed, 1, { message: 'x'.repeat(4097) }),
      () => store.deleteWhere(keyed, eq('id', 1), { message: 'x'.repeat(4097) }),
      () => store.replace(keyed, [], { message: 'x'.repeat(4097) }),
      () => store.transact((tx) => tx.delete(keyed, 1), { message: 'x'.repeat(4097) }),
    ]
    for (const call of calls) expect(await failure(call)).toMatchObject({ name: 'ResourceLimitError', code: 'options.limit' })
    expect(store.lsn).toBe(before + 1n)
    const long = await failure(() => store.append(keyed, row(2), { idempotencyKey: 'ü'.repeat(65) }))
    expect(long).toBeInstanceOf(ResourceLimitError)
    await store.append(keyed, row(2), { idempotencyKey: 'ü'.repeat(64) })
  })

  it('keeps the writeId that the caller chose, for outcome() and the feed; another text is refused', async () => {
    const root = place()
    const store = await fresh(root)
    const id = newWriteId()
    expect(await store.outcome(id)).toBe('unknown')
    const pending = store.append(keyed, row(1), { writeId: id })
    expect(await store.outcome(id)).toMatch(/^(pending|published)$/)
    expect((await pending).writeId).toBe(id)
    expect(await store.outcome(id)).toBe('published')
    const bulkId = newWriteId()
    expect((await store.upsert(keyed, bulk(range(0, BULK_ROWS)), { writeId: bulkId })).writeId).toBe(bulkId)
    expect(await store.outcome(bulkId)).toBe('published')
    for (const text of ['', 'abc', `${id}0`, 'IIIIIIIIIIIIIIIIIIIIIIIIII']) {
      const error = await failure(() => store.append(keyed, row(5), { writeId: text as never }))
      expect(['RangeError', 'InvalidConfigError', 'InvalidNameError']).toContain(error.name)
      expect(await failure(() => store.outcome(text as never))).toMatchObject({ name: error.name })
    }
    await store.close()
    const again = await opened(root)
    expect(await again.outcome(id)).toBe('published')
    expect(await again.outcome(bulkId)).toBe('published')
    expect(newWriteId()).not.toBe(newWriteId())
  })
})

describe.each(PLACES)('idempotency keys, %s', (_name, place) => {
  const WRITES: readonly (readonly [string, (store: Store, variant: number, idempotencyKey: string) => Promise<CommitResult>])[] = [
    ['append', (store, v, idempotencyKey) => store.append(keyed, row(1000 + v), { idempotencyKey })],
    ['append of many rows', (store, v, idempotencyKey) => store.append(keyed, rows(1000 + v, 1100), { idempotencyKey })],
    ['append of columns', (store, v, idempotencyKey) => store.append(keyed, bulk(range(1000 + v, 1100)), { idempotencyKey })],
    ['append, unkeyed', (store, v, idempotencyKey) => store.append(plain, row(1000 + v), { idempotencyKey })],
    ['bulk append', (store, v, idempotencyKey) => store.append(keyed, bulk(range(1000 + v, 1000 + BULK_ROWS)), { idempotencyKey })],
    ['bulk append, unkeyed', (store, v, idempotencyKey) => store.append(plain, bulk(range(1000 + v, 1000 + BULK_ROWS)), { idempotencyKey })],
    ['upsert', (store, v, idempotencyKey) => store.upsert(keyed, row(v), { idempotencyKey })],
    ['upsert of a repeated key', (store, v, idempotencyKey) => store.upsert(keyed, [row(1, 'a'), row(1, `b ${v}`)], { idempotencyKey })],
    ['bulk upsert', (store, v, idempotencyKey) => store.upsert(keyed, bulk(range(v, BULK_ROWS)), { idempotencyKey })],
    ['update', (store, v, idempotencyKey) => store.update(keyed, { id: 1, n: v }, { idempotencyKey })],
    ['delete', (store, v, idempotencyKey) => store.delete(keyed, [1, 2 + v], { idempotencyKey })],
    ['deleteWhere', (store, v, idempotencyKey) => store.deleteWhere(keyed, gt('id', 5 + v), { idempotencyKey })],
    ['replace', (store, v, idempotencyKey) => store.replace(keyed, rows(0, 3 + v), { idempotencyKey })],
    ['bulk replace', (store, v, idempotencyKey) => store.replace(keyed, bulk(range(v, BULK_ROWS)), { idempotencyKey })],
  ]

  it.each(WRITES)('%s: the same request again is the first result, also after a reopen', async (_what, write) => {
    const root = place()
    const store = await fresh(root)
    await store.append(keyed, rows(0, 10))
    const first = await write(store, 0, 'once')
    expect(first.replayed).toBe(false)
    const { lsn } = store
    // Something in between, so that a second run would show.
    await store.upsert(keyed, row(5, 'between'))
    const before = [await all(store), await store.scan(plain).count()]
    for (const where of [store, store]) {
      const again = await write(where, 0, 'once')
      expect(again).toMatchObject({ lsn: first.lsn, writeId: first.writeId, time: first.time, rows: first.rows, replayed: true })
    }
    expect(store.lsn).toBe(lsn + 1n)
    await store.close()
    const reopened = await opened(root)
    const again = await write(reopened, 0, 'once')
    expect(again).toMatchObject({ lsn: first.lsn, writeId: first.writeId, time: first.time, rows: first.rows, replayed: true })
    expect([await all(reopened), await reopened.scan(plain).count()]).toEqual(before)
  })

  it.each(WRITES)('%s: another request under the key is IdempotencyMismatchError', async (_what, write) => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 10))
    await write(store, 0, 'taken')
    const { lsn } = store
    const error = await failure(() => write(store, 1, 'taken'))
    expect(error).toBeInstanceOf(IdempotencyMismatchError)
    expect(error).toMatchObject({ code: 'write.idempotency-mismatch', kind: 'invalid', key: 'taken' })
    expect(store.lsn).toBe(lsn)
    await write(store, 1, 'free').catch((cause: unknown) => expect(cause).toBeInstanceOf(DuplicateKeyError))
  })

  it.each(WRITES)('%s: the same request at the same time waits for the outcome of the first', async (_what, write) => {
    const store = await fresh(place())
    await store.append(keyed, rows(0, 10))
    const before = store.lsn
    const [first, second, third] = await Promise.all([write(store, 0, 'pending'), write(store, 0, 'pending'), write(store, 0, 'pending')])
    expect(new Set([first.lsn, second.lsn, third.lsn]).size).toBe(1)
    expect([first, second, third].filter(({ replayed }) => !replayed)).toHaveLength(1)
    expect(store.lsn).toBe(before + 1n)
  })

  it('knows the same data in another form and in other chunks', async () => {
    const store = await fresh(place())
    const first = await store.append(keyed, rows(0, 50), { idempotencyKey: 'form' })
    const data = columns({ id: range(0, 50), text: Array.from(range(0, 50), (id) => `text ${id}`), n: Float64Array.from(range(0, 50)) })
    expect(await store.append(keyed, data, { idempotencyKey: 'form' })).toMatchObject({ lsn: first.lsn, replayed: true })
    const stream = async function* () {
      yield rows(0, 20)
      yield rows(20, 50)
    }
    expect(await store.append(keyed, stream() as never, { idempotencyKey: 'form' })).toMatchObject({ lsn: first.lsn, replayed: true })
    const load = await store.append(keyed, bulk(range(1000, 1000 + BULK_ROWS)), { idempotencyKey: 'load' })
    const pieces = async function* () {
      yield bulk(range(1000, 8000))
      yield bulk(range(8000, 1000 + BULK_ROWS))
    }
    expect(await store.append(keyed, pieces() as never, { idempotencyKey: 'load' })).toMatchObject({ lsn: load.lsn, replayed: true })
  })

  it('a failed write does not take the key', async () => {
    const store = await fresh(place())
    await store.append(keyed, row(1))
    expect(await failure(() => store.append(keyed, row(1), { idempotencyKey: 'k' }))).toBeInstanceOf(DuplicateKeyError)
    expect(await store.append(keyed, row(2), { idempotencyKey: 'k' })).toMatchObject({ replayed: false })
  })
})
