// Unique constraints where a write meets others: while a load is prepared, between seal and publish, in recovery, on a log of several writers.
import { afterEach, describe, expect, it } from 'vitest'

import { columns, DuplicateKeyError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failpoints, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { collect } from '../store/places.ts'
import { Place } from './helpers.ts'

const people = table('people', { id: t.int32(), mail: t.utf8().nullable() }, { key: ['id'], unique: [['mail']] })
const p = (id: number, mail: string | null = null): typeof people.Insert => ({ id, mail })
const batch = (from: number, count: number) =>
  columns({ id: Int32Array.from({ length: count }, (_, i) => from + i), mail: Array.from({ length: count }, (_, i) => `m${from + i}`) })

async function all(store: Store): Promise<string[]> {
  return (await store.scan(people, { orderBy: 'id' }).toArray()).map(({ id, mail }) => `${id}:${mail}`)
}

describe.each(['fused', 'separate'] as const)('a load, sealMode %s', (sealMode) => {
  it.each(['append', 'upsert'] as const)('by %s: a unique value that a small write takes meanwhile is a conflict; one that it gives up is not', async (op) => {
    const at = await Place.open({ sealMode })
    const { store } = at
    await store.create(people)
    await store.append(people, [p(1, 'a'), p(2, 'm40000')])
    const load = () => (op === 'append' ? store.append(people, batch(100, 20_000)) : store.upsert(people, batch(100, 20_000)))
    {
      using parked = rendezvous(at.sim.world, FP.promote.after)
      const loading = load()
      loading.catch(() => undefined)
      await parked.reached()
      await store.append(people, p(3, 'm107'))
      parked.release()
      await expect(loading).rejects.toMatchObject({ code: 'write.conflict', message: expect.stringContaining('took unique { mail: "m107" } first') })
      expect(await at.staging()).toEqual([])
    }
    await expect(load()).rejects.toThrow(DuplicateKeyError)
    await store.delete(people, 3)
    {
      using parked = rendezvous(at.sim.world, FP.promote.after)
      const loading = load()
      await parked.reached()
      await store.append(people, p(4, 'b'))
      await store.update(people, { id: 1, mail: 'c' })
      await store.delete(people, 2)
      parked.release()
      await loading
    }
    expect(await store.scan(people).count()).toBe(20_002)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  })

  it('by upsert: a row that came meanwhile under a key of it may have its own value', async () => {
    const at = await Place.open({ sealMode })
    const { store } = at
    await store.create(people)
    using parked = rendezvous(at.sim.world, FP.promote.after)
    const loading = store.upsert(people, batch(100, 20_000))
    await parked.reached()
    await store.append(people, p(107, 'm107'))
    parked.release()
    await loading
    expect(await store.get(people, 107)).toEqual(p(107, 'm107'))
    expect(await store.scan(people).count()).toBe(20_000)
  })

  it.each([FP.promote.after, FP.publish.beforeAppend, FP.retire.before])(
    'a crash at %s: all of its rows or none, and the values are held or free',
    async (point) => {
      const at = await Place.open({ sealMode, inlineLimitBytes: 0 })
      await at.store.create(people)
      await at.store.append(people, [p(1, 'a'), p(2, 'b')])
      const armed = failpoints(at.sim.world).arm(point, { crash: true, mayMiss: true })
      const loading = at.store.upsert(people, [p(1, 'b'), p(2, 'a'), p(3, 'c')])
      loading.catch(() => undefined)
      const crashed = await Promise.race([armed.reached().then(() => true), loading.then(() => false)])
      if (!crashed) return
      const store = await at.kill()
      const is = await all(store)
      const isThere = is.length === 3
      expect(is).toEqual(isThere ? ['1:b', '2:a', '3:c'] : ['1:a', '2:b'])
      const taken = store.append(people, p(4, 'c'))
      if (isThere) await expect(taken).rejects.toThrow(DuplicateKeyError)
      else await taken
      await expect(store.append(people, p(5, 'a'))).rejects.toThrow(DuplicateKeyError)
    },
  )
})

describe('a sealed write after a crash', () => {
  it('one held for its user conflicts with what took a value of it, and is published past other writes', async () => {
    const at = await Place.open()
    await at.store.create(people)
    const first = await at.store.stage()
    await first.append(people, [p(1, 'a'), p(2, 'b')])
    await first.seal()
    const second = await at.store.stage()
    await second.append(people, [p(3, 'b'), p(4, 'c')])
    await second.seal()
    const store = await at.kill()
    await store.append(people, p(9, 'z'))
    await store.flush()
    await (await store.resume(first.id)).publish()
    const lost = await store.resume(second.id)
    await expect(lost.publish()).rejects.toMatchObject({ code: 'write.conflict', message: expect.stringContaining('took unique { mail: "b" } first') })
    await lost.rollback()
    expect(await all(store)).toEqual(['1:a', '2:b', '9:z'])
  })

  it('an automatic one is rolled forward, and holds its values', async () => {
    const at = await Place.open({ sealMode: 'separate', inlineLimitBytes: 300 })
    await at.store.create(people)
    const armed = failpoints(at.sim.world).arm(FP.promote.before, { crash: true })
    const loading = at.store.append(people, batch(100, 200))
    loading.catch(() => undefined)
    await armed.reached()
    const store = await at.kill()
    expect(await store.scan(people).count()).toBe(200)
    expect((await collect(store.audit())).filter(({ kind }) => kind === 'rolledForward')).toHaveLength(1)
    await expect(store.append(people, p(1, 'm150'))).rejects.toThrow(DuplicateKeyError)
  })
})

describe('on a log that several writers share', () => {
  const stores: Store[] = []
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close()
  })
  async function writers(count: number, o: object = {}): Promise<Store[]> {
    const root = new MemoryRoot()
    for (let i = 0; i < count; i++)
      stores.push(await Store.open(root, { writers: 'shared', upkeep: 'manual', threads: 0, publishRetries: 100, follow: false, ...o }))
    await stores[0]!.create(people)
    for (const store of stores) await store.refresh()
    return stores
  }

  it('the first committer has the value, whoever has not heard of it yet is refused', async () => {
    const [a, b] = (await writers(2)) as [Store, Store]
    await a.append(people, p(1, 'x'))
    await expect(b.append(people, p(2, 'x'))).rejects.toThrow(DuplicateKeyError)
    await expect(b.upsert(people, p(2, 'x'))).rejects.toThrow(DuplicateKeyError)
    await expect(b.transact((tx) => tx.append(people, p(2, 'x')))).rejects.toThrow(DuplicateKeyError)
    await b.upsert(people, p(1, 'y'))
    await a.refresh()
    await a.append(people, p(2, 'x'))
    await b.refresh()
    expect(await all(b)).toEqual(['1:y', '2:x'])
  })

  it('8 writers taking the same values: each value has one row', async () => {
    const eight = await writers(8)
    const outcomes = await Promise.allSettled(eight.flatMap((store, w) => Array.from({ length: 5 }, (_, i) => store.append(people, p(w * 100 + i, `v${i}`)))))
    const won = outcomes.filter(({ status }) => status === 'fulfilled')
    expect(won).toHaveLength(5)
    for (const each of outcomes) if (each.status === 'rejected') expect(each.reason).toBeInstanceOf(DuplicateKeyError)
    await eight[3]!.refresh()
    expect((await eight[3]!.scan(people).toArray()).map(({ mail }) => mail).toSorted()).toEqual(['v0', 'v1', 'v2', 'v3', 'v4'])
  })

  it('a load meets the values of loads and flushes of others that it has not seen', async () => {
    const [a, b] = (await writers(2, { inlineLimitBytes: 300 })) as [Store, Store]
    await a.append(people, batch(0, 100))
    await a.append(people, p(1000, 'small'))
    await a.flush()
    await expect(
      b.append(people, columns({ id: Int32Array.from({ length: 100 }, (_, i) => 5000 + i), mail: Array.from({ length: 100 }, (_, i) => `m${i + 99}`) })),
    ).rejects.toThrow(DuplicateKeyError)
    const write = await b.stage()
    await write.append(people, p(2000, 'later'))
    await write.seal()
    await a.append(people, p(2001, 'later'))
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.conflict' })
    await write.rollback()
    await b.upsert(people, batch(0, 100))
    expect(await b.scan(people).count()).toBe(102)
  })
})
