// Trimming the log behind vacuum: how far, what holds it, what can be read afterwards.
import { describe, expect, it } from 'vitest'

import { columns, eq, HistoryUnavailableError, lsn, lt, type OpenOptions, PinUnresolvedError, type Store, t, table } from '../../../bindings/index.ts'
import { listCheckpoints } from '../../../bindings/engine/index.ts'
import { DirRoot, MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { failpoints, FP } from '../../../bindings/testing/index.ts'
import { collect, failure, opened, tempDirectory } from '../store/places.ts'

const items = table('items', { id: t.int32(), text: t.utf8() }, { key: ['id'] })
const KEEP = { keep: { versions: 1 } } as const

interface Place {
  readonly root: Root
  readonly world: World
  readonly options: OpenOptions
}

function placeOf(kind: string): Place {
  const base = defaultWorld()
  const world: World = { ...base, failpoints: new FailpointRegistry(base.timers) }
  const root = kind.endsWith('directory') ? new DirRoot(tempDirectory(), world) : new MemoryRoot()
  return { root, world, options: { world, segmentBytes: 64 * 1024, ...(kind.startsWith('slots') ? { writers: 'shared' as const } : {}) } }
}

/** Commits enough for several segments, then a checkpoint, `times` over. */
async function written(store: Store, times: number): Promise<void> {
  for (let time = 0; time < times; time++) {
    for (let i = 0; i < 120; i++) await store.upsert(items, [{ id: i, text: `${time}`.padEnd(1500, 'x') }])
    await store.flush()
  }
}

describe.each(['memory', 'directory', 'slots in memory'])('vacuum in %s', (kind) => {
  it('trims the log up to what the second newest checkpoint replays, and drops checkpoints that nothing needs', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 4)
    const before = await store.stats()
    expect(before.log.tail).toBe(0n)
    const all = await listCheckpoints(place.root)
    expect(all).toHaveLength(4)
    const preview = await store.vacuum({ ...KEEP, dryRun: true })
    expect((await store.stats()).log.tail).toBe(0n)
    const report = await store.vacuum(KEEP)
    expect(report.tail).toBe(preview.tail)
    const { tail } = (await store.stats()).log
    expect(tail).toBe(report.tail)
    expect(tail).toBeGreaterThan(0n)
    expect(Number(tail)).toBeLessThanOrEqual(all[1]!)
    expect(await listCheckpoints(place.root)).toEqual(all.slice(0, 2))
    const error = await failure(() => store.scan(items, { at: lsn(50) }).toArray())
    expect(error).toBeInstanceOf(HistoryUnavailableError)
    expect(error).toMatchObject({ asked: 50n, floor: report.floor })
    expect(await failure(() => store.changes({ from: 0, follow: false }).next())).toMatchObject({ floor: report.floor })
    expect((await collect(store.audit())).length).toBe(Number(store.lsn - tail))
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await store.close()
    const again = await opened(place.root, place.options)
    expect(await again.get(items, { id: 7 })).toEqual({ id: 7, text: '3'.padEnd(1500, 'x') })
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  })

  it('survives that the newest checkpoint goes bad afterwards', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 3)
    await store.vacuum(KEEP)
    await store.close()
    const [newest] = await listCheckpoints(place.root)
    await place.root.put(`checkpoints/${String(newest).padStart(20, '0')}.ckpt`, new Uint8Array(10))
    const again = await opened(place.root, place.options)
    expect(await again.get(items, { id: 7 })).toEqual({ id: 7, text: '2'.padEnd(1500, 'x') })
  })

  it.each([1, 2, 3, 4])(
    'keeps the deletion vectors that an older checkpoint, or what is replayed behind it, reads: %i of them, the newest checkpoint bad',
    async (vectors) => {
      const place = placeOf(kind)
      const store = await opened(place.root, place.options)
      await store.create(items)
      const step = 17_000
      const rows = step * 5
      await store.append(items, columns({ id: Int32Array.from({ length: rows }, (_, i) => i), text: Array.from({ length: rows }, () => 'x') }))
      for (let i = 0; i < 4; i++) {
        if (i < vectors) await store.deleteWhere(items, lt('id', step * (i + 1)))
        await store.upsert(items, [{ id: rows + i, text: 'y' }])
        // Its vectors lie before, between and behind the checkpoints.
        if (i !== 1) await store.flush()
      }
      await store.vacuum(KEEP)
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      await store.close()
      const [newest] = await listCheckpoints(place.root)
      await place.root.put(`checkpoints/${String(newest).padStart(20, '0')}.ckpt`, new Uint8Array(10))
      const again = await opened(place.root, place.options)
      expect(await again.scan(items).count()).toBe(rows - vectors * step + 4)
      expect(await again.getMany(items, [step * vectors - 1, step * vectors])).toEqual([undefined, { id: step * vectors, text: 'x' }])
    },
  )

  it('keeps two checkpoints, and the whole log while there are fewer', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 1)
    const report = await store.vacuum(KEEP)
    expect(report.tail).toBe(0n)
    expect(await listCheckpoints(place.root)).toHaveLength(1)
    expect(
      await store
        .scan(items, { at: lsn(2) })
        .toArray()
        .catch((error: unknown) => error),
    ).toEqual(report.floor > 2n ? expect.any(HistoryUnavailableError) : [])
  })

  it.each(['tag', 'branch'] as const)('keeps the checkpoint and the log that the version of a %s is made from', async (what) => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 2)
    await store.upsert(items, [{ id: 3, text: 'then' }])
    if (what === 'tag') await store.tag('then')
    else await store.branch('then')
    await written(store, 4)
    const report = await store.vacuum(KEEP)
    expect(report.checkpoints).toBeGreaterThan(0)
    expect((await store.stats()).log.tail).toBe(report.tail)
    await store.close()
    const again = await opened(place.root, place.options)
    const [row] = await again.scan(items, { at: 'then', where: eq('id', 3) }).toArray()
    expect(row).toEqual({ id: 3, text: 'then' })
    expect(await again.scan(items, { at: 'then' }).count()).toBe(120)
    await again.vacuum(KEEP)
    await again.branch('from-then', { from: 'then' })
    expect(await again.scan(items, { at: 'from-then', where: eq('id', 3) }).toArray()).toEqual([row])
    expect((await again.verify({ level: 'all' })).problems).toEqual([])
  })

  it('leaves the log that an open change feed has still to read', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 4)
    const feed = store.changes({ from: 150, tables: [items], follow: false })
    const next = await feed.next()
    const held = await store.vacuum(KEEP)
    expect(held.tail).toBeLessThanOrEqual(150n)
    expect(next.value!.lsn).toBe(151n)
    expect((await collect(feed)).length).toBeGreaterThan(300)
    expect((await store.vacuum(KEEP)).tail).toBeGreaterThan(held.tail)
  })

  it('that fails before the trim has done its deletes, and does the rest when it is run again', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 4)
    {
      using _ = failpoints(place.world).arm(FP.checkpoint.beforeTrim, { error: 'io', times: 1 })
      expect(await failure(() => store.vacuum(KEEP))).toMatchObject({ code: 'root.io' })
    }
    expect((await store.stats()).log.tail).toBe(0n)
    const report = await store.vacuum(KEEP)
    expect(report.tail).toBeGreaterThan(0n)
    expect(await listCheckpoints(place.root)).toHaveLength(2)
  })

  it('stops, and reclaims nothing, when a version that something holds cannot be resolved', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 4)
    await store.vacuum(KEEP)
    await store.tag('v')
    const tagged = store.lsn - 1n
    await written(store, 1)
    for (const at of await listCheckpoints(place.root)) await place.root.put(`checkpoints/${String(at).padStart(20, '0')}.ckpt`, new Uint8Array(10))
    const { tail } = (await store.stats()).log
    const error = await failure(() => store.vacuum(KEEP))
    expect(error).toBeInstanceOf(PinUnresolvedError)
    expect(error).toMatchObject({ pin: 'tag v', code: 'log.pin-unresolved' })
    expect(error.message).toContain(`tag v holds the version of LSN ${tagged}`)
    expect((await store.stats()).log.tail).toBe(tail)
    expect(await store.get(items, { id: 7 })).toMatchObject({ id: 7 })
  })

  it('holds the log for what a sealed write is to be compared with', async () => {
    const place = placeOf(kind)
    const store = await opened(place.root, place.options)
    await store.create(items)
    await written(store, 1)
    const write = await store.stage()
    await write.upsert(items, [{ id: 1_000_000, text: 'staged' }])
    await write.seal()
    const sealed = store.lsn
    await written(store, 3)
    expect((await store.vacuum(KEEP)).tail).toBeLessThan(sealed)
    await write.publish()
    expect(await store.get(items, { id: 1_000_000 })).toEqual({ id: 1_000_000, text: 'staged' })
    expect((await store.vacuum(KEEP)).tail).toBeGreaterThan(sealed)
  })
})
