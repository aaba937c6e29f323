// Optimize in the background: when it pays, behind commits, beside flushes and checkpoints, and not past the close of its store.
import { describe, expect, it } from 'vitest'

import { lt, type OpenOptions, type Store, type StoreEvents } from '../../../bindings/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, Place } from '../write/helpers.ts'

/** A flush each 512 KiB of log. */
const BUSY: OpenOptions = { upkeep: 'auto', memory: { writeBytes: 512 * 1024 } }
const LONG = 'x'.repeat(8 * 1024)
/** Rows that make upkeep look once. */
const LOOK_ROWS = 66

function optimized(store: Store): Promise<StoreEvents['upkeep']> {
  return new Promise((resolve) => {
    const sub = store.on('upkeep', (event) => {
      if (event.job !== 'optimize') return
      sub[Symbol.dispose]()
      resolve(event)
    })
  })
}

async function fill(store: Store, from: number, looks: number): Promise<void> {
  for (let look = 0; look < looks; look++) {
    for (let i = 0; i < LOOK_ROWS; i++) await store.append(items, item(from + look * LOOK_ROWS + i, `${from + look}${LONG}`))
    // What a look started is over before the next: each look leaves a fragment.
    await store.flush()
  }
}

const fragments = async (store: Store): Promise<number> => (await store.stats()).tables['items']!.fragments

describe('upkeep', () => {
  it('puts many small fragments together by itself, and tells of it', async () => {
    const place = await Place.open(BUSY)
    const event = optimized(place.store)
    await fill(place.store, 0, 9)
    await event
    expect(await fragments(place.store)).toBeLessThan(9)
    expect(await place.store.scan(items).count()).toBe(9 * LOOK_ROWS)
    expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
    await place.store.close()
    expect(await place.staging()).toEqual([])
  })

  it('writes fragments with many deleted rows anew', async () => {
    const place = await Place.open(BUSY)
    await fill(place.store, 0, 2)
    const event = optimized(place.store)
    await place.store.deleteWhere(items, lt('id', LOOK_ROWS / 2))
    await fill(place.store, 10_000, 1)
    await event
    expect((await place.store.stats()).tables['items']!.deletedShare).toBe(0)
    await place.store.close()
  })

  it('leaves everything alone when it is manual', async () => {
    const place = await Place.open({ ...BUSY, upkeep: 'manual' })
    await fill(place.store, 0, 10)
    expect(await fragments(place.store)).toBeGreaterThanOrEqual(10)
  })

  it('goes on with commits, flushes and checkpoints while an optimize is under way', async () => {
    const place = await Place.open(BUSY)
    const { store } = place
    const rv = rendezvous(place.sim.world, FP.optimize.afterCompact)
    const event = optimized(store)
    await fill(store, 0, 9)
    await rv.reached()
    await store.upsert(items, item(3, 'new'))
    await store.delete(items, 5)
    await fill(store, 50_000, 2)
    rv.release()
    await event
    const { items: rows } = await contents(store)
    expect(rows.find((row) => row.startsWith('3:'))).toBe('3:new')
    expect(rows.some((row) => row.startsWith('5:'))).toBe(false)
    expect(rows.length).toBe(11 * LOOK_ROWS - 1)
    rv[Symbol.dispose]()
  })

  it('ends an optimize under way when the store closes, and takes away what it staged', async () => {
    const place = await Place.open(BUSY)
    const rv = rendezvous(place.sim.world, FP.optimize.afterCompact)
    await fill(place.store, 0, 9)
    await rv.reached()
    expect(await place.staging()).not.toEqual([])
    const closing = place.store.close()
    rv.release()
    await closing
    rv[Symbol.dispose]()
    expect(await place.staging()).toEqual([])
    await place.reopen({ upkeep: 'manual' })
    expect(await place.store.scan(items).count()).toBe(9 * LOOK_ROWS)
  })

  it('gives way to an optimize that is asked for', async () => {
    const place = await Place.open(BUSY)
    const rv = rendezvous(place.sim.world, FP.optimize.afterCompact)
    await fill(place.store, 0, 9)
    await rv.reached()
    const asked = place.store.optimize()
    rv.release()
    expect((await asked).tables['items']!.fragmentsAfter).toBe(1)
    rv[Symbol.dispose]()
  })
})
