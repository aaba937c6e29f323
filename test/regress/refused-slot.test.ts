// A group that failed before its request to a slot was made ended the log of that handle: found by the crash matrix (log.beforeWrite, shared logs).
import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { failpoints, FP } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const items = table('items', { id: t.int32() }, { key: ['id'] })

it('given an error before the request for a slot, then that write alone fails', async () => {
  const { world } = simWorld({ seed: 1 })
  await using store = await Store.open(new MemoryRoot(), { world, threads: 0, upkeep: 'manual', follow: false, writers: 'shared' })
  await store.create(items)
  {
    using _armed = failpoints(world).arm(FP.log.beforeWrite, { error: 'io', times: 1 })
    await expect(store.append(items, { id: 1 })).rejects.toMatchObject({ name: 'StorageError', class: 'io' })
  }
  await store.append(items, { id: 2 })
  expect(await store.scan(items).toArray()).toEqual([{ id: 2 }])
})
