// Optimize parked right before it publishes, while others do what its plan did not know of: the step that queues its record looks again (recovery.md section 18).
import { describe, expect, it, onTestFinished } from 'vitest'

import { columns, eq, gte, PendingIntentError, type Store, t, table } from '../../../bindings/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { rendezvous } from '../../../bindings/testing/index.ts'
import { failure } from '../store/places.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

const STAGED = { inlineLimitBytes: 0 } as const
const SEALED = { inlineLimitBytes: 0, sealMode: 'separate' } as const

/** A store that ends with the test, and its optimize, parked before its record. */
async function parked(place: Place, optimizing: () => Promise<unknown>): Promise<{ readonly release: () => void; readonly done: Promise<unknown> }> {
  const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
  onTestFinished(() => rv[Symbol.dispose]())
  const done = optimizing()
  done.catch(() => undefined)
  await rv.reached()
  return { release: () => rv.release(), done }
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
}

const isWhole = async (place: Place): Promise<void> => expect((await place.store.verify({ level: 'all' })).problems).toEqual([])

describe('an optimize that is about to publish', () => {
  const ROWS = 20_000
  const ids = (first: number): Int32Array => Int32Array.from({ length: ROWS }, (_, i) => first + i)
  const load = (first: number, v: string) => columns({ id: ids(first), v: Array.from({ length: ROWS }, () => v) })

  // Each has found rows in the fragments that go, and its files are written; only its record is missing.
  it.each([
    ['a deletion vector', FP.promote.after, (store: Store) => store.deleteWhere(items, gte('id', 100))],
    ['a load', FP.promote.after, (store: Store) => store.upsert(items, load(100, 'new'))],
    ['a flush', FP.flush.beforePublish, (store: Store) => store.flush()],
  ] as const)('waits for %s that is under way over the fragments it removes: no row comes back, none is lost', async (what, point, write) => {
    const place = await Place.open({ inlineLimitBytes: 32 * 1024 })
    for (const first of [0, ROWS]) await place.store.append(items, load(first, 'old'))
    const optimizing = await parked(place, () => place.store.optimize({ tables: [items] }))
    if (what === 'a flush') await place.store.upsert(items, [item(5, 'new'), item(2 * ROWS, 'new')])
    const other = rendezvous(place.sim.world, point)
    const writing = write(place.store)
    await other.reached()
    optimizing.release()
    await turns()
    other.release()
    await writing
    await optimizing.done
    other[Symbol.dispose]()
    const now = (): Promise<[number, number]> => Promise.all([place.store.scan(items).count(), place.store.scan(items, { where: eq('v', 'new') }).count()])
    const expected = what === 'a load' ? [2 * ROWS, ROWS] : what === 'a flush' ? [2 * ROWS + 1, 2] : [100, 0]
    expect(await now()).toEqual(expected)
    await isWhole(place)
    await place.kill(STAGED)
    expect(await now()).toEqual(expected)
  })

  it('hides what was deleted meanwhile in the very group it belongs to, of several of one table', async () => {
    const place = await Place.open(STAGED)
    // Neighbours below half the target are put together; what stands between them is large enough.
    for (const [first, count] of [
      [0, 5],
      [10, 5],
      [100, 30],
      [200, 5],
      [210, 5],
    ] as const) {
      await place.store.append(
        notes,
        Array.from({ length: count }, (_, i) => note(first + i)),
      )
    }
    const { notes: before } = await contents(place.store)
    const optimizing = await parked(place, () => place.store.optimize({ tables: [notes], target: { rows: 40 } }))
    await place.store.deleteWhere(notes, eq('at', 212))
    await place.store.deleteWhere(notes, eq('at', 1))
    optimizing.release()
    expect(await optimizing.done).toMatchObject({ tables: { notes: { fragmentsBefore: 5, fragmentsAfter: 3 } } })
    const after = before.filter((row) => row !== '212:n' && row !== '1:n')
    expect((await contents(place.store)).notes).toEqual(after)
    expect((await contents(await place.kill(STAGED))).notes).toEqual(after)
  })

  it('knows where a row went whose neighbours were deleted before the plan', async () => {
    const place = await Place.open(STAGED)
    for (const first of [0, 10])
      await place.store.append(
        notes,
        Array.from({ length: 6 }, (_, i) => note(first + i)),
      )
    for (const at of [0, 2, 11]) await place.store.deleteWhere(notes, eq('at', at))
    const { notes: before } = await contents(place.store)
    const optimizing = await parked(place, () => place.store.optimize({ tables: [notes] }))
    for (const at of [1, 4, 10, 14]) await place.store.deleteWhere(notes, eq('at', at))
    optimizing.release()
    await optimizing.done
    const after = before.filter((row) => !['1:n', '4:n', '10:n', '14:n'].includes(row))
    expect((await contents(place.store)).notes).toEqual(after)
    expect((await contents(await place.kill(STAGED))).notes).toEqual(after)
  })

  it('leaves out an index of a fragment that a replace has taken away', async () => {
    const place = await Place.open(STAGED)
    const indexed = table('indexed', { at: t.int32(), text: t.utf8() }, { index: ['text'] })
    await place.store.create(indexed)
    await place.store.append(indexed, [note(1), note(2)])
    const optimizing = await parked(place, () => place.store.optimize({ tables: [indexed] }))
    await place.store.replace(indexed, [note(3)])
    optimizing.release()
    await optimizing.done
    expect(await place.store.scan(indexed).toArray()).toEqual([note(3)])
    await isWhole(place)
    expect(await (await place.kill(STAGED)).scan(indexed).toArray()).toEqual([note(3)])
  })

  it('sealed, all of it of no use by then: it is rolled back, tells so, and the next one works', async () => {
    const place = await Place.open(SEALED)
    for (let i = 0; i < 3; i++) await place.store.append(notes, [note(i)])
    const optimizing = await parked(place, () => place.store.optimize({ tables: [notes] }))
    await place.store.replace(notes, [note(7)])
    optimizing.release()
    const report = (await optimizing.done) as { lsn?: unknown; skipped: unknown[] }
    expect(report.lsn).toBeUndefined()
    expect(report.skipped).toMatchObject([{ table: 'notes' }])
    expect(await place.store.pending()).toEqual([])
    expect(await place.staging()).toEqual([])
    for (let i = 0; i < 2; i++) await place.store.append(notes, [note(i)])
    expect((await place.store.optimize()).tables['notes']).toMatchObject({ fragmentsAfter: 1 })
    expect((await contents(await place.kill(SEALED))).notes).toEqual(['0:n', '1:n', '7:n'])
  })

  it('sealed, another write sealed by then: it is refused and decided, and the other one can be published', async () => {
    const place = await Place.open(SEALED)
    for (let i = 0; i < 3; i++) await place.store.append(items, [item(i)])
    const optimizing = await parked(place, () => place.store.optimize({ tables: [items] }))
    const write = await place.store.stage()
    await write.delete(items, [1])
    await write.seal()
    optimizing.release()
    expect(await failure(() => optimizing.done)).toBeInstanceOf(PendingIntentError)
    expect((await place.store.pending()).map(({ writeId }) => writeId)).toEqual([write.id])
    await write.publish()
    expect((await contents(place.store)).items).toEqual(['0:x', '2:x'])
    expect((await place.store.optimize()).tables['items']).toMatchObject({ fragmentsAfter: 1 })
    expect((await contents(await place.kill(SEALED))).items).toEqual(['0:x', '2:x'])
  })

  it('refuses beside a seal that is on its way to the log', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) await place.store.append(items, [item(i)])
    const optimizing = await parked(place, () => place.store.optimize({ tables: [items] }))
    const write = await place.store.stage()
    await write.delete(items, [1])
    const writing = rendezvous(place.sim.world, FP.log.beforeWrite)
    const sealing = write.seal()
    await writing.reached()
    optimizing.release()
    await turns()
    writing.release()
    await sealing
    expect(await failure(() => optimizing.done)).toBeInstanceOf(PendingIntentError)
    writing[Symbol.dispose]()
    await write.publish()
    expect((await contents(place.store)).items).toEqual(['0:x', '2:x'])
  })

  it('is not held up by an undecided write on another branch', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) await place.store.append(items, [item(i)])
    const dev = await place.store.branch('dev')
    const write = await dev.stage()
    await write.delete(items, [1])
    await write.seal()
    expect((await place.store.optimize({ tables: [items] })).tables['items']).toMatchObject({ fragmentsAfter: 1 })
    await write.publish()
    expect((await contents(place.store)).items).toEqual(['0:x', '1:x', '2:x'])
    expect((await dev.scan(items).toArray()).map(({ id }) => id)).toEqual([0, 2])
  })
})
