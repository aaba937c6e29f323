// What an open store keeps of fragments that are gone.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { item, items } from '../write/helpers.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

it('forgets the readers of fragments that were compacted, with their names', async () => {
  await using store = await Store.open(new MemoryRoot(), { threads: 0, upkeep: 'manual', inlineLimitBytes: 0 })
  await store.create(items)
  const { readers } = (store as unknown as { o: { context: { readers: ReadonlyMap<string, unknown> } } }).o.context
  for (let round = 0; round < 20; round++) {
    await store.upsert(items, [item(round), item(round + 1, `${round}`)])
    await store.optimize()
    expect(await store.scan(items).count()).toBe(round + 2)
  }
  for (let tries = 0; tries < 50 && readers.size > 4; tries++) {
    collectGarbage()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  expect(readers.size).toBeGreaterThan(0)
  expect(readers.size).toBeLessThanOrEqual(4)
})
