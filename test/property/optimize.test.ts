// Optimize beside writers: parked at each of its points while rows are written, updated and deleted, it never brings a row back and never loses one
// (recovery.md section 18); a failure at any of its points leaves everything as it was.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { eq, gte, type Store } from '../../bindings/index.ts'
import { type FailpointName, FP } from '../../bindings/runtime/index.ts'
import { failpoints, rendezvous } from '../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from '../unit/write/helpers.ts'

const POINTS: readonly FailpointName[] = [
  FP.optimize.afterPlan,
  FP.optimize.beforeCompact,
  FP.optimize.afterCompact,
  FP.optimize.beforeReindex,
  FP.optimize.afterReindex,
  FP.optimize.beforePublish,
]

const KEYS = 24

type Op =
  | { readonly kind: 'upsert' | 'deleteKeys' | 'append'; readonly ids: readonly number[] }
  | { readonly kind: 'deleteItems' | 'deleteNotes'; readonly id: number }
  | { readonly kind: 'flush' | 'replace' }

const ids = fc.uniqueArray(fc.integer({ min: 0, max: KEYS - 1 }), { minLength: 1, maxLength: 8 })
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('upsert', 'deleteKeys', 'append'), ids }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('deleteItems', 'deleteNotes'), id: fc.integer({ min: 0, max: KEYS - 1 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('flush', 'replace') }) },
)

/** The store's rows as plain values. */
class Model {
  readonly items = new Map<number, string>()
  notes: { at: number; text: string }[] = []
  private count = 0

  async apply(store: Store, one: Op): Promise<void> {
    const v = `v${this.count++}`
    if (one.kind === 'upsert') {
      await store.upsert(
        items,
        one.ids.map((id) => item(id, v)),
      )
      for (const id of one.ids) this.items.set(id, v)
    } else if (one.kind === 'deleteKeys') {
      await store.delete(items, one.ids)
      for (const id of one.ids) this.items.delete(id)
    } else if (one.kind === 'append') {
      const rows = one.ids.map((id) => note(id, v))
      await store.append(notes, rows)
      this.notes.push(...rows)
    } else if (one.kind === 'deleteItems') {
      await store.deleteWhere(items, gte('id', one.id))
      for (const id of this.items.keys()) if (id >= one.id) this.items.delete(id)
    } else if (one.kind === 'deleteNotes') {
      await store.deleteWhere(notes, eq('at', one.id))
      this.notes = this.notes.filter(({ at }) => at !== one.id)
    } else if (one.kind === 'flush') await store.flush()
    else {
      await store.replace(notes, [note(0, v)])
      this.notes = [note(0, v)]
    }
  }

  async check(store: Pick<Store, 'scan'>): Promise<void> {
    expect(await contents(store)).toEqual({
      items: [...this.items].toSorted(([a], [b]) => a - b).map(([id, v]) => `${id}:${v}`),
      notes: this.notes.map(({ at, text }) => `${at}:${text}`).toSorted(),
    })
    // Rows of a table without a key keep their order.
    expect((await store.scan(notes).toArray()).map(({ text, at }) => `${at}:${text}`)).toEqual(this.notes.map(({ at, text }) => `${at}:${text}`))
  }
}

describe.each(POINTS)('an optimize parked at %s', (point) => {
  it('while others write never brings a row back and never loses one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 3, maxLength: 12 }), fc.array(op, { maxLength: 8 }), fc.boolean(), async (before, during, staged) => {
        const place = await Place.open(staged ? { inlineLimitBytes: 0 } : {})
        const model = new Model()
        for (const one of before) await model.apply(place.store, one)
        const rv = rendezvous(place.sim.world, point, { mayMiss: true })
        const optimizing = place.store.optimize()
        await Promise.race([rv.reached(), optimizing])
        for (const one of during) await model.apply(place.store, one)
        await model.check(place.store)
        rv.release()
        await optimizing
        rv[Symbol.dispose]()
        await model.check(place.store)
        expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
        await model.check(await place.kill({ inlineLimitBytes: 0 }))
        await place.store.close()
      }),
      { numRuns: 12 },
    )
  })

  it('that fails there leaves rows, fragments and staging as they were, and the next one does all of it', async () => {
    const place = await Place.open({ inlineLimitBytes: 0 })
    const model = new Model()
    for (const id of [3, 9, 14]) {
      await model.apply(place.store, { kind: 'upsert', ids: [id, id + 1] })
      await model.apply(place.store, { kind: 'append', ids: [id] })
    }
    const { lsn } = place.store
    {
      using _armed = failpoints(place.sim.world).arm(point, { error: 'io', times: 1 })
      await expect(place.store.optimize()).rejects.toMatchObject({ name: 'StorageError' })
    }
    expect(place.store.lsn).toBe(lsn)
    expect(await place.staging()).toEqual([])
    await model.check(place.store)
    expect((await place.store.optimize()).tables).toMatchObject({ items: { fragmentsBefore: 3, fragmentsAfter: 1 }, notes: { fragmentsAfter: 1 } })
    await model.check(place.store)
  })
})
