// store.apply when something goes wrong, or somebody else is at work: at each of its failpoints, beside loads, and again after failures.
import { describe, expect, it } from 'vitest'

import { columns, isNull, SchemaMismatchError, Store, t, table } from '../../../bindings/index.ts'
import { DirRoot } from '../../../bindings/root/index.ts'
import { systemTimers, type World } from '../../../bindings/runtime/index.ts'
import { failpoints, FakeFiles, fakeWorld, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { simWorld } from '../../sim/sim-world.ts'
import { failure, QUIET } from '../store/places.ts'

const docs = table('docs', { id: t.int32(), n: t.int32().nullable() }, { key: ['id'] })
const notes = table('notes', { n: t.int32().nullable() })
const wide = table('docs', { id: t.int32(), n: t.int64(), more: t.utf8().default('d') }, { key: ['id'] })
const full = table('notes', { n: t.int32() })
const fresh = table('fresh', { id: t.int32() }, { key: ['id'] })

function realTime(files: FakeFiles, pid = 1): World {
  return { ...fakeWorld({ files, host: { pid, isAlive: (other) => other === pid } }), timers: systemTimers }
}

async function started(files: FakeFiles, pid = 1): Promise<{ store: Store; world: World }> {
  const world = realTime(files, pid)
  const store = await Store.open(new DirRoot('/data', world), { ...QUIET, world })
  return { store, world }
}

async function filled(): Promise<{ files: FakeFiles; store: Store; world: World }> {
  const files = new FakeFiles()
  const { store, world } = await started(files)
  await store.create(docs, notes)
  await store.append(docs, [
    { id: 1, n: 1 },
    { id: 2, n: 2 },
  ])
  await store.append(notes, [{ n: 1 }])
  await store.flush()
  await store.append(docs, { id: 3, n: 3 })
  return { files, store, world }
}

/** Every step of the change is there, or none. */
async function isWhole(store: Store): Promise<'before' | 'after'> {
  const names = (await store.tables()).map(({ name }) => name).toSorted()
  if (names.includes('fresh')) {
    expect(names).toEqual(['docs', 'fresh', 'notes'])
    expect(await store.scan(wide, { orderBy: 'id' }).toArray()).toEqual([1, 2, 3].map((id) => ({ id, n: BigInt(id), more: 'd' })))
    // Rows of the new table are accepted at once.
    await store.append(fresh, { id: 1 })
    expect(await store.scan(fresh).count()).toBe(1)
    await expect(store.append(notes, { n: null })).rejects.toThrow(SchemaMismatchError)
    return 'after'
  }
  expect(await store.scan(docs, { orderBy: 'id' }).toArray()).toEqual([1, 2, 3].map((id) => ({ id, n: id })))
  await store.append(notes, { n: null })
  await store.deleteWhere(notes, isNull('n'))
  return 'before'
}

const POINTS = [
  FP.schema.afterPreview,
  FP.schema.betweenTables,
  FP.schema.beforeDefinitions,
  FP.schema.afterDefinitions,
  FP.schema.beforeCatalogReload,
] as const
const DURABLE: readonly string[] = [FP.schema.afterDefinitions, FP.schema.beforeCatalogReload]

describe('a crash in every schema.* point', () => {
  it.each(POINTS)('%s: the definitions are those of before or those of after, as a whole, and apply can be called again', async (point) => {
    const { files, store, world } = await filled()
    using armed = failpoints(world).arm(point, { crash: true })
    store.apply([wide, full, fresh]).catch(() => undefined)
    await armed.reached()
    const { store: next } = await started(files.restart(), 2)
    expect(await isWhole(next)).toBe(DURABLE.includes(point) ? 'after' : 'before')
    await next.apply([wide, full, fresh])
    expect((await next.apply([wide, full, fresh])).steps).toEqual([])
    await next.close()
  })

  it.each(POINTS)('%s: an error there leaves a store that goes on', async (point) => {
    const { files, store, world } = await filled()
    using armed = failpoints(world).arm(point, { error: 'unavailable', times: 1 })
    // Once the record is durable nothing fails the caller.
    if (DURABLE.includes(point)) await store.apply([wide, full, fresh])
    else expect(await failure(() => store.apply([wide, full, fresh]))).toMatchObject({ name: 'StorageError' })
    expect(armed.fired).toBe(1)
    expect(await isWhole(store)).toBe(DURABLE.includes(point) ? 'after' : 'before')
    await store.apply([wide, full, fresh])
    await store.close()
    const { store: next } = await started(files, 2)
    expect(await next.scan(wide).count()).toBe(3)
    await next.close()
  })
})

describe('roll-back', () => {
  it('a failed schema apply retried 5 times then succeeding: the table version rose by one', async () => {
    const { store, world } = await filled()
    for (let i = 0; i < 5; i++) {
      using _armed = failpoints(world).arm(FP.schema.beforeDefinitions, { error: 'unavailable', times: 1 })
      await failure(() => store.apply([wide]))
    }
    await store.apply([wide])
    const { state } = (store as unknown as { engine: { parts: { state: { byName(name: string): { schema: { version: number } } } } } }).engine.parts
    expect(state.byName('docs').schema.version).toBe(2)
    await store.close()
  })

  it('records that found no room are taken back: the older definitions hold, and the next apply has their version again', async () => {
    const { world, files, time } = simWorld({ seed: 11 })
    const store = await Store.open(new DirRoot('/data/store', world), { world, ...QUIET, segmentBytes: 64 * 1024 })
    const text = table('text', { id: t.int32(), body: t.utf8() }, { key: ['id'] })
    const other = table('moved', { id: t.int64().renamedFrom('id'), body: t.utf8(), more: t.int32().default(1) }, { key: ['id'], renamedFrom: 'text' })
    await store.create(text, notes)
    const model = new Map<number, string>()
    files.plan((call) => (call.op === 'open' && call.path.includes('/.free-') ? { error: 'ENOSPC' } : undefined))
    const put = (id: number): Promise<unknown> => store.upsert(text, { id, body: 'x'.repeat(600) }).then(() => model.set(id, 'x'))
    // One after the other in the queue: those in front have room, the others and the definitions behind them go back together.
    const before = Array.from({ length: 400 }, (_, id) => put(id).catch(() => undefined))
    expect(await failure(() => store.apply([other, fresh], { drop: ['notes'], allowDataLoss: true }))).toMatchObject({ code: 'root.space' })
    await Promise.all(before)
    expect(model.size).toBeLessThan(400)
    expect((await store.tables()).map(({ name }) => name)).toEqual(['text', 'notes'])
    expect(await store.scan(text).count()).toBe(model.size)
    files.plan(undefined)
    for (let tries = 0; tries < 5; tries++) {
      await time.advance(200)
      if (
        await store.append(notes, { n: 5 }).then(
          () => true,
          () => false,
        )
      )
        break
    }
    const plan = await store.apply([other, fresh])
    expect(plan.steps.map(({ kind }) => kind)).toEqual(['renameTable', 'widen', 'addColumn', 'addTable'])
    await store.append(other, { id: 5_000_000_000n, body: 'y' })
    await store.close()
    const again = await Store.open(new DirRoot('/data/store', world), { world, ...QUIET })
    expect(await again.scan(other).count()).toBe(model.size + 1)
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
    await again.close()
  })
})

describe('the schema gate', () => {
  const bulk = (from: number) => columns({ id: Int32Array.from({ length: 20_000 }, (_, i) => from + i), n: Int32Array.from({ length: 20_000 }, (_, i) => i) })

  it('a live schema apply parked after definitions: a concurrent load waits, and the apply finishes uncorrupted', async () => {
    const { store, world } = await filled()
    using rv = rendezvous(world, FP.schema.afterDefinitions)
    const applying = store.apply([wide])
    await rv.reached()
    let loaded = false
    const loading = store.append(docs, bulk(100)).then(
      () => (loaded = true),
      (error: unknown) => error,
    )
    // A write of a few rows goes on: it takes the definition as it is now.
    await store.append(wide, { id: 50, n: 5n, more: 'x' })
    expect(loaded).toBe(false)
    rv.release()
    expect((await applying).steps).toHaveLength(3)
    // Its program knows a column of another type: it is told so.
    expect(await loading).toBeInstanceOf(SchemaMismatchError)
    expect(await store.scan(wide).count()).toBe(4)
    await store.close()
  })

  it('a registration-only apply takes the schema gate: it waits for a load, and a load waits for it', async () => {
    const { store, world } = await filled()
    using rv = rendezvous(world, FP.promote.before)
    const loading = store.append(docs, bulk(1000))
    await rv.reached()
    let applied = false
    const applying = store.apply([fresh]).then(() => (applied = true))
    await store.append(docs, { id: 60, n: 1 })
    expect(applied).toBe(false)
    rv.release()
    await loading
    await applying
    expect(await store.scan(docs).count()).toBe(20_004)
    await store.append(fresh, { id: 1 })
    await store.close()
  })

  it('an apply that waits is aborted by its signal, and nothing was done', async () => {
    const { store, world } = await filled()
    using rv = rendezvous(world, FP.promote.before)
    const loading = store.append(docs, bulk(1000))
    await rv.reached()
    const control = new AbortController()
    const applying = failure(() => store.apply([fresh], { signal: control.signal }))
    control.abort()
    expect(await applying).toMatchObject({ name: 'AbortError' })
    rv.release()
    await loading
    expect((await store.tables()).map(({ name }) => name)).toEqual(['docs', 'notes'])
    await store.close()
  })
})
