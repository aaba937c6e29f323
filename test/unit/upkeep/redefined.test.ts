// Definitions that change, or are about to and do not, while optimize writes fragments anew.
import { describe, expect, it } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { failpoints, rendezvous } from '../../../bindings/testing/index.ts'
import type { TableState } from '../../../bindings/table/index.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

/** Small writes too; a segment is soon full. */
const STAGED = { inlineLimitBytes: 4096, segmentBytes: 64 * 1024 } as const
const later = table('items', { id: t.int64(), v: t.utf8(), more: t.int32().default(7) }, { key: ['id'], index: ['v'] })

async function filled(options: object = STAGED): Promise<Place> {
  const place = await Place.open(options)
  for (const id of [1, 5, 9]) {
    await place.store.append(items, [item(id), item(id + 20)])
    await place.store.flush()
  }
  return place
}

/** The version of the definition that each fragment was written in. */
function versions(store: Store): number[] {
  return tableOf(store).now.fragments.map(({ ref }) => ref.schemaVersion)
}

function tableOf(store: Store): TableState {
  return (store as unknown as { engine: { parts: { state: { byName(name: string): TableState } } } }).engine.parts.state.byName('items')
}

describe.each([
  ['fused', STAGED],
  ['sealed', { ...STAGED, sealMode: 'separate' }],
] as const)('%s: a definition', (_, options) => {
  it('that is queued while fragments are written and taken back (full disk) is in none of them', async () => {
    const place = await filled(options)
    const { items: before } = await contents(place.store)
    const planned = rendezvous(place.sim.world, FP.optimize.afterPlan)
    const written = rendezvous(place.sim.world, FP.optimize.afterReindex)
    const optimizing = place.store.optimize()
    await planned.reached()
    const full = Promise.withResolvers<void>()
    const room = failpoints(place.sim.world).arm(FP.log.preallocate, { run: () => full.promise, error: 'space' })
    // Behind what has room.
    const burst = Array.from({ length: 400 }, (__, at) => place.store.append(notes, note(at, 'x'.repeat(600))).catch(() => undefined))
    const applying = place.store.apply([later]).catch((error: unknown) => error)
    while (tableOf(place.store).now.schema.version < 2) await new Promise<void>((resolve) => setImmediate(resolve))
    planned.release()
    await written.reached()
    full.resolve()
    expect(await applying).toMatchObject({ name: 'StorageError', class: 'space' })
    await Promise.all(burst)
    room[Symbol.dispose]()
    await place.sim.time.advance(500)
    written.release()
    expect((await optimizing).lsn).toBeDefined()
    planned[Symbol.dispose]()
    written[Symbol.dispose]()
    expect(versions(place.store)).toEqual([1])
    expect((await contents(place.store)).items).toEqual(before)
    expect((await contents(await place.reopen())).items).toEqual(before)
    expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
    await place.store.apply([later])
    expect(await place.store.get(later, 25n)).toEqual({ id: 25n, v: 'x', more: 7 })
  })

  it('that changes before the record is planned for again: the fragments are of the new one', async () => {
    const place = await filled(options)
    const rv = rendezvous(place.sim.world, FP.optimize[options === STAGED ? 'beforePublish' : 'afterReindex'])
    const optimizing = place.store.optimize()
    await rv.reached()
    await place.store.apply([later])
    rv.release()
    const report = await optimizing
    rv[Symbol.dispose]()
    expect(report.skipped).toEqual([])
    expect(report.tables['items']).toMatchObject({ fragmentsBefore: 3, fragmentsAfter: 1, coverageAfter: 1 })
    expect(versions(place.store)).toEqual([2])
    expect(await place.staging()).toEqual([])
    const rows = async (store: Store): Promise<unknown[]> => await store.scan(later, { orderBy: 'id' }).toArray()
    expect(await rows(place.store)).toEqual([1, 5, 9, 21, 25, 29].map((id) => ({ id: BigInt(id), v: 'x', more: 7 })))
    expect((await rows(await place.reopen())).length).toBe(6)
    expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
  })
})

describe('a flush on a log of several writers', () => {
  it.each([1, 2, 3, 5, 8])('goes on with the definition it began with when another writer brings the next one after %i turns', async (turns) => {
    const root = new MemoryRoot()
    const mine = await Store.open(root, { writers: 'shared', upkeep: 'manual', follow: false, threads: 0 })
    const other = await Store.open(root, { writers: 'shared', upkeep: 'manual', follow: false, threads: 0 })
    await mine.create(items)
    for (let at = 0; at < 12; at++) {
      await mine.append(
        items,
        Array.from({ length: 1000 }, (_, i) => item(at * 1000 + i)),
      )
    }
    await other.refresh()
    await other.apply([later])
    const flushing = mine.flush()
    for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => setImmediate(resolve))
    await mine.refresh()
    await flushing
    expect(await mine.scan(later).count()).toBe(12_000)
    expect(await mine.get(later, 11_999n)).toEqual({ id: 11_999n, v: 'x', more: 7 })
    expect((await mine.verify({ level: 'all' })).problems).toEqual([])
    await mine.close()
    await other.close()
  })
})
