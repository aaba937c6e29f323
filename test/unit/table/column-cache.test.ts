import { describe, expect, it } from 'vitest'

import { ColumnCache } from '../../../bindings/table/column-cache.ts'
import type { CacheSlots } from '../../../bindings/table/column-cache.ts'
import { int, vecOf } from '../format/vecs.ts'

const vec = vecOf(int(32), [1])

describe('the column cache', () => {
  it('puts out what was used longest ago when the limit is passed', () => {
    const cache = new ColumnCache(30)
    const slots: CacheSlots = []
    for (const slot of [0, 1, 2]) cache.put(slots, slot, vec, 10)
    cache.touch(slots[0]!)
    cache.put(slots, 3, vec, 10)
    expect(slots.map((entry) => entry !== undefined)).toEqual([true, false, true, true])
    cache.put(slots, 4, vec, 20)
    expect(slots.map((entry) => entry !== undefined)).toEqual([false, false, false, true, true])
    expect(cache.bytes).toBe(30)
    expect([cache.hits, cache.misses]).toEqual([1, 5])
  })

  it('keeps the newest entry even when it is over the limit alone', () => {
    const cache = new ColumnCache(5)
    const slots: CacheSlots = []
    cache.put(slots, 0, vec, 100)
    expect(slots[0]).toBeDefined()
    cache.put(slots, 1, vec, 3)
    expect([slots[0], cache.bytes]).toEqual([undefined, 3])
  })

  it('a replaced entry is counted once, and a dropped owner gives everything back', () => {
    const cache = new ColumnCache(100)
    const slots: CacheSlots = []
    const others: CacheSlots = []
    cache.put(slots, 0, vec, 10)
    cache.put(slots, 0, vec, 20)
    cache.put(others, 0, vec, 7)
    expect(cache.bytes).toBe(27)
    cache.drop(slots)
    expect(cache.bytes).toBe(7)
    cache.touch(others[0]!)
    cache.put(others, 1, vec, 100)
    expect(cache.bytes).toBe(100)
  })
})
