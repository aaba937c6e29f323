// A store whose commits are synced later (durability `buffered`): replicas are sent and promised only what a power cut here leaves (shipping.md section 1, H).
import { expect, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { opened, tempDirectory } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'
import { people, until } from './flow-kit.ts'

it('nothing above the synced head goes out, and nothing above it is called committed', async () => {
  const network = new MemoryNetwork(defaultWorld())
  const store = await opened(tempDirectory(), { durability: 'buffered' })
  const { log } = (store as unknown as { o: { log: { readonly head: bigint; readonly durableHead: bigint } } }).o
  await store.create(people)
  let above = 0
  let ahead = 0
  const replica = new FakeReplica({
    ack: (received) => {
      if (BigInt(received) > log.durableHead || BigInt(replica.committedLsn) > log.durableHead) above++
      if (log.head > log.durableHead) ahead++
      return received
    },
  })
  await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
  const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary') })
  for (let i = 0; i < 200 || ahead === 0; i++) {
    await store.append(people, [{ id: BigInt(i), name: 'a', group: 1 }])
    if (log.head > log.durableHead && replica.records.last > Number(log.durableHead)) above++
    if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
    if (log.head > log.durableHead) ahead++
  }
  await until(() => replica.durableLsn === Number(store.lsn))
  expect(above).toBe(0)
  await shipping.close()
})
