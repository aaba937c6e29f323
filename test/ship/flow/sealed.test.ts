// A sealed write that nobody has published, and a promotion (docs/shipping.md "Replica"): its seal is on every node, its files are on one.
import { expect, it, onTestFinished } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failure } from '../../unit/store/places.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

it('is one whose files are lost where a replica is promoted: told to its user, staged again and published', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
  const replica = await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.write(10)
  const rows = Array.from({ length: 5000 }, (_, i) => ({ id: BigInt(5_000_000 + i), name: `staged ${i}`, group: 1 }))
  const write = await flow.store.stage()
  await write.append(people, rows)
  await write.seal()
  await flow.equal()
  await flow.shipping!.close()
  const head = Number(flow.store.lsn)
  await until(() => Number(replica.store.lsn) === head)
  flow.replicas.clear()
  const heir = await replica.promote({ acceptLossAbove: head })
  onTestFinished(() => heir.close())
  const [held] = await heir.staged()
  expect(held).toMatchObject({ writeId: write.id })
  const resumed = await heir.resume(write.id)
  expect(await failure(() => resumed.publish())).toMatchObject({ name: 'DamagedStagedWriteError' })
  await resumed.rollback()
  const again = await heir.stage()
  await again.append(people, rows)
  await again.seal()
  await again.publish()
  expect(await heir.scan(people).count()).toBe((await flow.rows(flow.store)).length + rows.length)
})
