// Stores on object storage: what ships from there, and who reads there without a link (shipping.md sections 12 and 13, log.md section 4).
import { expect, it, onTestFinished } from 'vitest'

import { MemoryRoot, type RootCaps } from '../../../bindings/root/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { Replica } from '../../../bindings/store/index.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { Flow, until, WAYS } from './flow-kit.ts'

/** It can do no more than an object store. */
class Objects extends MemoryRoot {
  override readonly caps: RootCaps = { ...new MemoryRoot({}).caps, hardLink: false, segments: false, syncRead: false, syncDir: false }
}
const objects = (): MemoryRoot => new Objects({})

it('a primary on object storage ships to replicas with logs of their own: files, stream, reopen, vacuum, rebuild', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), objects(), { writers: 'exclusive' })
  await flow.write(30)
  await flow.bulk(20_000)
  await flow.store.flush()
  const root = new MemoryRoot({})
  await flow.replica('r1', root)
  await flow.ship()
  await flow.equal()
  await flow.write(20)
  await flow.store.optimize()
  await flow.bulk(3000)
  await flow.equal()
  // The next writer fences the one before, and ships to the same replica.
  await flow.store.close()
  await flow.reopen()
  await flow.ship()
  await flow.write(5)
  await flow.equal()
  expect(flow.shipping!.status()).toMatchObject({ mode: 'async', replicas: [{ state: 'in_sync' }] })
  flow.shipping!.registry.sender('r1' as never).markNeedsRebuild('asked_for')
  await until(() => flow.shipping!.log.events().some(({ event }) => event === 'exec_rebuild_completed'))
  await flow.write(5)
  await flow.equal()
  await flow.shipping!.close()
  expect(await flow.store.pins()).toEqual([])
  await flow.store.close()
})

it('only its one exclusive writer ships it, in mode async only', async () => {
  const root = objects()
  const transport = new MemoryNetwork(defaultWorld()).transport('primary')
  const targets = { replicas: [{ id: 'r1', endpoint: 'r1' }], transport }
  const shared = await opened(root)
  expect(await failure(() => shared.ship(targets))).toMatchObject({ name: 'InvalidConfigError', key: 'writers' })
  await shared.close()
  const one = await opened(root, { writers: 'exclusive' })
  for (const ack of ['quorum', 'all'] as const)
    expect(await failure(() => one.ship({ ...targets, ack }))).toMatchObject({ name: 'InvalidConfigError', key: 'ack' })
  expect(await failure(() => one.setAckMode('quorum'))).toMatchObject({ name: 'InvalidConfigError' })
})

it('readers elsewhere tail the slots, without a link, while it is written to and optimized', async () => {
  const root = objects()
  const flow = await Flow.open(WAYS[0]!.make(), root, { writers: 'exclusive' })
  const follower = await opened(root, { readOnly: true, follow: true })
  for (let round = 0; round < 5; round++) {
    await flow.write(10)
    if (round === 2) await flow.store.flush()
    await follower.waitCommitted(flow.store.lsn)
    expect(await flow.rows(follower)).toEqual(await flow.rows(flow.store))
  }
  expect(await follower.verify({ against: root })).toMatchObject({ ok: true })
})

it('a replica has a log of segments: on object storage it is refused before anything is written there, and told what to do instead', async () => {
  const empty = objects()
  const network = new MemoryNetwork(defaultWorld())
  const o = { replicaId: 'r1', endpoint: { data: 'r1', version: 1 }, transport: network.transport('r1') }
  const refused = { name: 'UnsupportedRootError', feature: 'segments', hint: expect.stringContaining('readOnly') as string }
  expect(await failure(() => Replica.open(empty, o))).toMatchObject(refused)
  expect(await names(empty)).toEqual([])
  const held = objects()
  const store = await opened(held)
  onTestFinished(() => store.close())
  const before = await names(held)
  expect(await failure(() => Replica.open(held, o))).toMatchObject(refused)
  expect(await names(held)).toEqual(before)
})

async function names(root: MemoryRoot): Promise<string[]> {
  const found: string[] = []
  for await (const { name } of root.list('')) found.push(name)
  return found
}
