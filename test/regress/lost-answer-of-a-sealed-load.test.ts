// A load with sealMode "separate" whose seal or publish was durable and whose answer was lost: found by the crash matrix (seal.afterAppend, publish.afterAppend).
//
// It told an error that says "nothing happened", and its rows were there all the same (after the seal: once another write had healed it).
import { expect, it } from 'vitest'

import { columns, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { failpoints, FP } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const items = table('items', { id: t.int32() }, { key: ['id'] })

it.each([FP.seal.afterAppend, FP.publish.afterAppend])('given an error at %s, then the load goes on from what the log says', async (point) => {
  const { world } = simWorld({ seed: 1 })
  await using store = await Store.open(new MemoryRoot(), { world, threads: 0, upkeep: 'manual', inlineLimitBytes: 100, sealMode: 'separate' })
  await store.create(items)
  using armed = failpoints(world).arm(point, { error: 'timeout', times: 1 })
  const { lsn, writeId, rows } = await store.append(items, columns({ id: Int32Array.from({ length: 100 }, (_, i) => i) }))
  expect(armed.fired).toBe(1)
  expect(rows).toBe(100)
  expect(lsn).toBe(store.lsn)
  expect(await store.outcome(writeId)).toBe('published')
  expect(await store.scan(items).count()).toBe(100)
  expect(await store.pending()).toEqual([])
})
