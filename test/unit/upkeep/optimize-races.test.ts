// Optimize parked right before it publishes, while others do what its plan did not know of: the step that queues its record looks again (recovery.md section 18).
import { describe, expect, it, onTestFinished } from 'vitest'

import { columns, eq, gte, PendingIntentError, t, table } from '../../../bindings/index.ts'
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
  it('waits for a deletion vector that is under way over the fragments it removes, and no row comes back', async () => {
    const place = await Place.open(STAGED)
    const rows = 20_000
    for (const first of [0, rows]) {
      const at = Int32Array.from({ length: rows }, (_, i) => first + i)
      await place.store.append(notes, columns({ at, text: Array.from(at, () => 'n') }))
    }
    const optimizing = await parked(place, () => place.store.optimize({ tables: [notes] }))
    const promoted = rendezvous(place.sim.world, FP.promote.after)
    const deleting = place.store.deleteWhere(notes, gte('at', 100))
    await promoted.reached()
    optimizing.release()
    await turns()
    promoted.release()
    expect(await deleting).toMatchObject({ rows: 2 * rows - 100 })
    await optimizing.done
    expect(await place.store.scan(notes).count()).toBe(100)
    await isWhole(place)
    promoted[Symbol.dispose]()
    await place.kill(STAGED)
    expect(await place.store.scan(notes).count()).toBe(100)
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
})
