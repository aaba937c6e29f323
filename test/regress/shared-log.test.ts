// What the simulation of stores that share one log has found (test/sim/shared.test.ts), each as a case of its own.
import { afterEach, describe, expect, it } from 'vitest'

import { columns, eq, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { FakeClock, FaultyRoot, fakeWorld } from '../../bindings/testing/index.ts'

const kv = table('kv', { k: t.int32(), v: t.utf8() }, { key: ['k'] })

const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function open(root: MemoryRoot | FaultyRoot, o: object = {}): Promise<Store> {
  const store = await Store.open(root, { writers: 'shared', follow: false, upkeep: 'manual', threads: 0, publishRetries: 100, ...o })
  stores.push(store)
  return store
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

const load = (from: number, rows: number) =>
  columns({ k: Int32Array.from({ length: rows }, (_, i) => from + i), v: Array.from({ length: rows }, (_, i) => `row ${from + i}`) })

async function rowsOf(store: Store): Promise<string[]> {
  return (await store.scan(kv).toArray()).map(({ k, v }) => `${k} ${v}`).sort()
}

/** Two writers, the first of which has not seen the last commit of the second. */
async function pair(o: object = {}): Promise<{ root: MemoryRoot; a: Store; b: Store }> {
  const root = new MemoryRoot()
  const a = await open(root, o)
  const b = await open(root, o)
  await a.create(kv)
  await a.append(kv, [
    { k: 1, v: 'a' },
    { k: 2, v: 'a' },
  ])
  await b.refresh()
  return { root, a, b }
}

describe('a writer that has not seen the last commit of another', () => {
  it('flushes', async () => {
    const { a, b } = await pair()
    await b.append(kv, { k: 3, v: 'b' })
    await a.flush()
    await b.refresh()
    expect(await rowsOf(b)).toEqual(['1 a', '2 a', '3 b'])
  })

  it('rolls back what it has sealed', async () => {
    const { a, b } = await pair()
    const write = await a.stage()
    await write.upsert(kv, { k: 1, v: 'staged' })
    await write.seal()
    await b.append(kv, { k: 3, v: 'b' })
    await write.rollback()
    expect(await a.outcome(write.id)).toBe('rolledBack')
  })

  it.each([
    ['a load', (b: Store) => b.append(kv, load(100, 200))],
    ['a delete by predicate', (b: Store) => b.deleteWhere(kv, eq('k', 2))],
  ])('upserts a key that %s of the other has not written', async (_what, write) => {
    const { a, b } = await pair({ inlineLimitBytes: 256 })
    await write(b)
    await a.upsert(kv, { k: 1, v: 'later' })
    expect((await a.get(kv, { k: 1 }))?.v).toBe('later')
  })

  it('is told of a conflict with a key that a load of the other has written', async () => {
    const { a, b } = await pair({ inlineLimitBytes: 256 })
    await b.append(kv, load(100, 200))
    await expect(a.upsert(kv, { k: 150, v: 'later' })).rejects.toMatchObject({ code: 'write.conflict', keys: [{ k: 150 }] })
  })
})

it.each(Array.from({ length: 24 }, (_, i) => i * 2))(
  'a flush keeps a row that a record hid which lost its slot, queued %i microtasks after it began',
  async (delay) => {
    const memory = new MemoryRoot()
    const slow = new FaultyRoot(memory)
    const a = await open(slow, { publishRetries: 0 })
    const b = await open(memory)
    await b.create(kv)
    // Two chunks of rows in memory: there is a turn between them.
    await b.append(kv, { k: 2, v: 'a' })
    await a.refresh()
    slow.failAt(1, { error: 'permission' }, ({ name }) => name.startsWith('staging/'))
    await expect(a.flush()).rejects.toMatchObject({ code: 'root.permission' })
    await b.append(kv, { k: 1, v: 'a' })
    await a.refresh()
    // The record waits on its way to its slot, which is taken meanwhile; the flush is still about its files then.
    slow.plan(({ method, name }) =>
      method === 'putIfAbsent' && name.startsWith('log/') ? { wait: () => turns(6) } : name.startsWith('staging/') ? { wait: () => turns(20) } : undefined,
    )
    const flushed = a.flush().catch((error: unknown) => error)
    for (let i = 0; i < delay; i++) await Promise.resolve()
    const deleted = a.delete(kv, { k: 1 }).then(
      () => true,
      () => false,
    )
    await b.append(kv, { k: 9, v: 'b' })
    await flushed
    const right = (await deleted) ? ['2 a', '9 b'] : ['1 a', '2 a', '9 b']
    await a.refresh()
    await b.refresh()
    const again = await open(memory)
    for (const store of [a, b, again]) expect(await rowsOf(store)).toEqual(right)
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  },
)

it('a creator that was overtaken between its look for a store and its look for other files opens the store of the other', async () => {
  const memory = new MemoryRoot()
  const late = new FaultyRoot(memory)
  let other: Promise<Store> | undefined
  late.plan(({ method, name }) =>
    method === 'list' && name === ''
      ? {
          wait: async () => {
            other ??= open(memory)
            await (await other).create(kv)
          },
        }
      : undefined,
  )
  const store = await open(late)
  expect(store.id).toBe((await other!).id)
})

it('no handle that was left keeps a sealed write under its lease', async () => {
  const memory = new MemoryRoot()
  const clock = new FakeClock()
  const root = new FaultyRoot(memory)
  const store = await open(root, { world: fakeWorld({ clock }) })
  await store.create(kv)
  const write = await store.stage()
  await write.append(kv, { k: 1, v: 'a' })
  await write.seal()
  await write[Symbol.asyncDispose]()
  const before = root.calls.length
  await clock.advance(120_000)
  expect(root.calls.slice(before).filter(({ name }) => name.endsWith('/LEASE'))).toEqual([])
})
