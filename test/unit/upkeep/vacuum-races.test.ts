// Vacuum against writers, against itself and against faults: parked at its failpoints, on every kind of log.
import { describe, expect, it } from 'vitest'

import { columns, type Lsn, type OpenOptions, Store, StorageError, t, table, VacuumError } from '../../../bindings/index.ts'
import { DirRoot, MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { failpoints, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { failure, opened, tempDirectory } from '../store/places.ts'

const items = table('items', { id: t.int32(), n: t.int64() })

const ROWS = 20_000
const rows = (n: number) => columns({ id: Int32Array.from({ length: ROWS }, (_, i) => i), n: BigInt64Array.from({ length: ROWS }, () => BigInt(n)) })

interface Place {
  readonly root: Root
  readonly world: World
  readonly options: OpenOptions
  /** Moves the clock of the storage and of the store. */
  readonly days: (n: number) => void
}

function placeOf(kind: 'memory' | 'directory' | 'slots in a directory' | 'slots in memory'): Place {
  const base = defaultWorld()
  let offset = 0
  const clock = { nowMs: () => base.clock.nowMs() + offset, monoMs: () => base.clock.monoMs() } as World['clock']
  const world: World = { ...base, clock, failpoints: new FailpointRegistry(base.timers) }
  const root = kind.endsWith('directory') ? new DirRoot(tempDirectory(), world) : new MemoryRoot()
  const options: OpenOptions = { world, ...(kind.startsWith('slots') ? { writers: 'shared' as const } : {}) }
  return { root, world, options, days: (n) => void (offset += n * 24 * 3600 * 1000) }
}

const KINDS = ['memory', 'directory', 'slots in a directory'] as const

async function names(root: Root): Promise<string[]> {
  const found: string[] = []
  for (const folder of ['fragments/', 'indexes/']) for await (const { name } of root.list(folder)) found.push(name)
  return found
}

const first = async (store: Store): Promise<unknown> => store.scan(items, { limit: 1 }).first()

/** Two versions of which only the second is needed. */
async function superseded(place: Place): Promise<{ store: Store; old: string; lsn: Lsn }> {
  const store = await opened(place.root, place.options)
  await store.create(items)
  const { lsn } = await store.replace(items, rows(1))
  const [old] = await names(place.root)
  await store.replace(items, rows(2))
  place.days(2)
  return { store, old: old!, lsn }
}

/** The name of the first version is not dead: who has the same bytes uses it. */
async function isAlive(place: Place, store: Store): Promise<void> {
  await store.replace(items, rows(3))
  await store.replace(items, rows(1))
  expect((await names(place.root)).filter((name) => name.includes('.g1.'))).toEqual([])
}

const keep = { versions: 1 } as const

describe.each(KINDS)('vacuum in %s', (kind) => {
  // What lies on a real disk is as old as it is: on a shared log it is kept for a day.
  const isTimed = kind === 'slots in a directory'

  it.skipIf(isTimed)("A commit naming a doomed-to-be file lands between vacuum's plan and its record: that name is not in the record", async () => {
    const place = placeOf(kind)
    const { store, old, lsn } = await superseded(place)
    using parked = rendezvous(place.world, FP.vacuum.afterMark)
    const running = store.vacuum({ keep })
    await parked.reached({ timeoutMs: 10_000 })
    await store.replace(items, rows(1))
    parked.release()
    // It was the only one: nothing goes, so no record, and every version stays readable.
    const report = await running
    expect(report).toMatchObject({ deleted: 0, floor: 0n })
    expect(report.lsn).toBeUndefined()
    expect(await store.scan(items, { at: lsn }).count()).toBe(ROWS)
    expect(await names(place.root)).toContain(old)
    expect(await first(store)).toEqual({ id: 0, n: 1n })
    expect((await store.verify()).problems).toEqual([])
    await isAlive(place, store)
  })

  it.skipIf(isTimed)('A commit that is queued and not durable yet when the names are recorded: what it names is not in the record', async () => {
    const place = placeOf(kind)
    const { store, old } = await superseded(place)
    using planned = rendezvous(place.world, FP.vacuum.afterMark)
    const running = store.vacuum({ keep })
    await planned.reached({ timeoutMs: 10_000 })
    using promoted = rendezvous(place.world, FP.promote.after)
    const load = store.replace(items, rows(1))
    await promoted.reached({ timeoutMs: 10_000 })
    using writing = rendezvous(place.world, FP.log.beforeWrite)
    promoted.release()
    await writing.reached({ timeoutMs: 10_000 })
    planned.release()
    // The plan goes on, and queues its record behind the one that is being written.
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
    writing.release()
    await load
    expect(await running).toMatchObject({ deleted: 0 })
    expect(await names(place.root)).toContain(old)
    expect(await first(store)).toEqual({ id: 0, n: 1n })
    expect((await store.verify()).problems).toEqual([])
    await isAlive(place, store)
  })

  it.skipIf(isTimed).each(['tag', 'branch'] as const)(
    'An older version gets a name between the plan and the record: it is planned again, and keeps its files (%s)',
    async (what) => {
      const place = placeOf(kind)
      const { store, old, lsn } = await superseded(place)
      using parked = rendezvous(place.world, FP.vacuum.afterMark)
      const running = store.vacuum({ keep })
      await parked.reached({ timeoutMs: 10_000 })
      if (what === 'tag') await store.tag('before', { at: lsn })
      else await store.branch('before', { from: lsn })
      parked.release()
      expect(await running).toMatchObject({ deleted: 0, heldBack: [{ by: `${what} before`, bytes: expect.any(Number) }] })
      expect(await names(place.root)).toContain(old)
      await using then = await store.snapshot('before')
      expect(await then.scan(items, { limit: 1 }).first()).toEqual({ id: 0, n: 1n })
    },
  )

  it.skipIf(isTimed)('A snapshot or a feed of an older version that is asked for while it is planned is refused', async () => {
    const place = placeOf(kind)
    const { store, lsn } = await superseded(place)
    using parked = rendezvous(place.world, FP.vacuum.afterMark)
    const running = store.vacuum({ keep })
    await parked.reached({ timeoutMs: 10_000 })
    expect(await failure(() => store.snapshot(lsn))).toMatchObject({ name: 'PinRefusedError' })
    const feed = store.changes({ from: 0, tables: [items], follow: false })
    const read = failure(async () => {
      for await (const commit of feed) for await (const _ of commit) continue
    })
    parked.release()
    expect(await running).toMatchObject({ deleted: 1 })
    expect(await read).toMatchObject({ name: 'PinRefusedError' })
    expect(await first(store)).toEqual({ id: 0, n: 2n })
  })

  it.skipIf(isTimed)('Two at once: the second finds nothing left to do', async () => {
    const place = placeOf(kind)
    const { store } = await superseded(place)
    const [one, two] = await Promise.all([store.vacuum({ keep }), store.vacuum({ keep })])
    expect([one.deleted, two.deleted]).toEqual([1, 0])
    expect(two.lsn).toBeUndefined()
    expect((await store.verify()).problems).toEqual([])
  })

  it.skipIf(isTimed)(
    "A staged file whose digest vacuum just named: the writer's publish promotes .g1 and succeeds; readers see it after vacuum finished",
    async () => {
      for (const mode of ['append', 'staged'] as const) {
        const place = placeOf(kind)
        const { store, old } = await superseded(place)
        using parked = rendezvous(place.world, FP.vacuum.beforeDelete)
        const running = store.vacuum({ keep })
        await parked.reached({ timeoutMs: 10_000 })
        if (mode === 'append') await store.replace(items, rows(1))
        else {
          const write = await store.stage()
          await write.replace(items, rows(1))
          await write.publish()
        }
        expect(await names(place.root)).toEqual(expect.arrayContaining([old, old.replace('.arrow', '.g1.arrow')]))
        parked.release()
        expect(await running).toMatchObject({ deleted: 1 })
        expect(await names(place.root)).not.toContain(old)
        expect(await first(store)).toEqual({ id: 0, n: 1n })
        await store.close()
        const again = await opened(place.root, place.options)
        expect(await first(again)).toEqual({ id: 0, n: 1n })
        expect((await again.verify()).problems).toEqual([])
      }
    },
  )

  it.skipIf(isTimed)('A file that was promoted before the record, and is named nowhere yet, gets its next name', async () => {
    const place = placeOf(kind)
    const { store, old } = await superseded(place)
    using parked = rendezvous(place.world, FP.promote.after)
    const load = store.replace(items, rows(1))
    await parked.reached({ timeoutMs: 10_000 })
    expect(await store.vacuum({ keep })).toMatchObject({ deleted: 1 })
    parked.release()
    await load
    expect(await names(place.root)).toContain(old.replace('.arrow', '.g1.arrow'))
    expect(await first(store)).toEqual({ id: 0, n: 1n })
  })

  it.skipIf(isTimed).each([
    ['an optimize', FP.optimize.beforePublish, (store: Store) => store.optimize()],
    ['a flush', FP.flush.beforePublish, (store: Store) => store.flush()],
  ] as const)('Files of %s that are promoted and named nowhere yet are named by a vacuum: they get their next names, rows stay', async (what, point, work) => {
    const place = placeOf(kind)
    const { store } = await superseded(place)
    const keyed = table('keyed', { id: t.int32() }, { key: ['id'] })
    await store.create(keyed)
    for (const id of [1, 2]) {
      await store.append(keyed, [{ id }])
      if (what === 'an optimize') await store.flush()
    }
    using parked = rendezvous(place.world, point)
    const working = work(store)
    await parked.reached({ timeoutMs: 10_000 })
    expect((await store.vacuum({ keep })).deleted).toBeGreaterThan(1)
    parked.release()
    await working
    expect((await names(place.root)).some((name) => name.includes('.g1.'))).toBe(true)
    expect(await store.scan(keyed).count()).toBe(2)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
    const again = await opened(place.root, place.options)
    expect((await again.scan(keyed).toArray()).map(({ id }) => id).toSorted()).toEqual([1, 2])
    expect(await again.get(keyed, 2)).toEqual({ id: 2 })
  })

  it.skipIf(isTimed)('Crash at every k: a delete that fails tells how many are gone, and a re-run converges', async () => {
    const place = placeOf(kind)
    const { store } = await superseded(place)
    const orphans = Array.from(
      { length: 2_300 },
      (_, i) => `fragments/${(i % 7).toString(16).padStart(2, '0')}/${(i % 7).toString(16).padStart(2, '0')}${i.toString(16).padStart(62, '0')}.arrow`,
    )
    for (const name of orphans) await place.root.put(name, new Uint8Array(1), { sync: false })
    {
      using _ = failpoints(place.world).arm(FP.vacuum.betweenDeletes, { error: 'unavailable', times: 1, after: 1 })
      const error: Error = await failure(() => store.vacuum({ keep }))
      expect(error).toBeInstanceOf(VacuumError)
      expect(error).toMatchObject({ deleted: 2_000, left: 301, code: 'upkeep.vacuum', kind: 'unavailable' })
      expect(error.cause).toBeInstanceOf(StorageError)
    }
    const again = await store.vacuum({ keep })
    expect(again).toMatchObject({ deleted: 301 })
    expect(again.lsn).toBeUndefined()
    expect(await names(place.root)).toHaveLength(1)
    expect(await first(store)).toEqual({ id: 0, n: 2n })
  })

  it('An abort ends it between two batches, and before it begins', async () => {
    const place = placeOf(kind)
    const { store } = await superseded(place)
    const reason = new Error('enough')
    expect(await failure(() => store.vacuum({ keep, signal: AbortSignal.abort(reason) }))).toBe(reason)
    const stop = new AbortController()
    using _ = failpoints(place.world).arm(FP.vacuum.afterMark, { run: async () => stop.abort(reason), times: 1 })
    const before = await names(place.root)
    await store.vacuum({ keep, signal: stop.signal }).catch((error: unknown) => expect(error).toBe(reason))
    expect((await names(place.root)).length).toBeLessThanOrEqual(before.length)
    expect(await first(store)).toEqual({ id: 0, n: 2n })
  })
})
