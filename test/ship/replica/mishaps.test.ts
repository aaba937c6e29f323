// A call of the disk fails once, in a place where that would leave something behind: a root that nobody can open, readers without their log, a note that is believed.
import { describe, expect, it } from 'vitest'

import { openReplicaLog, openSegmentLog } from '../../../bindings/log/index.ts'
import { VerifiedFiles } from '../../../bindings/ship/index.ts'
import { FaultyRoot, type RootCall } from '../../../bindings/testing/faulty-root.ts'
import { failure } from '../../unit/store/places.ts'
import { bootWorld, fill, filled, items, MemoryRoot, RawSender, replicaOn, rowsOf, turns } from './kit.ts'

const quick = { openRetry: { delaysMs: [0, 0] } }

describe('a root is free again', () => {
  it('when the open of a replica fails behind its log', async () => {
    const { network, primary } = await filled(0)
    const root = new FaultyRoot(new MemoryRoot({}))
    // One process: its own LOCK is not that of a dead one.
    const world = bootWorld()
    const replica = await replicaOn(network, root, { world })
    const head = await (await RawSender.connect(network, replica, primary)).catchUp(replica)
    await replica.close()
    root.plan(({ method, name }) => (method === 'list' && name === 'checkpoints/' ? { error: 'io' } : undefined))
    const again = { world, endpoint: { data: 'again', version: 1 } }
    expect(await failure(() => replicaOn(network, root, again))).toMatchObject({ name: 'StorageError' })
    root.plan(undefined)
    expect((await replicaOn(network, root, again)).status()).toMatchObject({ durable: BigInt(head) })
  })

  it.each(['replica', 'primary'] as const)('when NODE cannot be written as the log of a %s is closed', async (role) => {
    const root = new FaultyRoot(new MemoryRoot({}))
    const o = { world: bootWorld(), storeId: new Uint8Array(16).fill(8), ...quick }
    const open = (): ReturnType<typeof openReplicaLog> | ReturnType<typeof openSegmentLog> =>
      role === 'replica' ? openReplicaLog(root, { ...o, replicaId: 'r1' }) : openSegmentLog(root, o)
    const log = await open()
    ;(log as { recordCommitted(lsn: number): void }).recordCommitted(1)
    root.plan(({ method, name }: RootCall) => (name === 'NODE' && (method === 'segment' || method === 'put') ? { error: 'io' } : undefined))
    expect(await failure(() => log.close())).toMatchObject({ name: 'StorageError' })
    root.plan(undefined)
    await (await open()).close()
  })
})

it('readers keep the log of what a base has replaced, as long as nothing of the base may be shown', async () => {
  const { network, primary } = await filled(20)
  const replica = await replicaOn(network)
  const head = await (await RawSender.connect(network, replica, primary)).catchUp(replica)
  await fill(primary.store, 20, 40)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  const manifest = await sender.rebuild()
  expect(replica.status()).toMatchObject({ generation: 1, lsn: BigInt(head) })
  // More is committed, and the base is not.
  await sender.grant(manifest.baseLsn, { mode: 'tail', target: manifest.baseLsn, committedLsn: head + 1 })
  await replica.store.refresh()
  await turns()
  expect(replica.store.lsn).toBe(BigInt(head))
  await using before = await replica.store.snapshot(head - 5)
  expect(await before.scan(items).count()).toBe(15)
  await sender.grant(manifest.baseLsn, { committedLsn: manifest.baseLsn })
  await replica.store.refresh()
  expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
})

describe('what is known to be whole', () => {
  const name = `fragments/aa/${'a'.repeat(64)}.arrow`

  async function noted(): Promise<{ readonly disk: MemoryRoot; readonly root: FaultyRoot; readonly files: VerifiedFiles }> {
    const disk = new MemoryRoot({ loseUnsynced: 2 })
    const root = new FaultyRoot(disk)
    const files = new VerifiedFiles(root, bootWorld())
    await files.add(name, 'tag', 10)
    await files.save()
    return { disk, root, files }
  }

  const isBelieved = (disk: MemoryRoot): Promise<boolean> => new VerifiedFiles(disk.crash(), bootWorld()).has(name, 'tag', false)

  it('is not believed after a restart when it was withdrawn, also where that failed first', async () => {
    const { disk, root, files } = await noted()
    expect(await isBelieved(disk)).toBe(true)
    root.plan(({ method }) => (method === 'put' ? { error: 'io' } : undefined))
    for (let i = 0; i < 2; i++) expect(await failure(() => files.drop([name])), `time ${i}`).toMatchObject({ name: 'StorageError' })
    root.plan(undefined)
    await files.drop([name])
    expect(await isBelieved(disk)).toBe(false)
    const before = root.calls.length
    await files.drop([name])
    expect(root.calls.length).toBe(before)
  })

  it('is read again after a read of it that failed', async () => {
    const { disk } = await noted()
    const root = new FaultyRoot(disk)
    const files = new VerifiedFiles(root, bootWorld())
    root.failAt(1, { error: 'io' }, ({ method }) => method === 'get')
    expect(await failure(() => files.has(name, 'tag', false))).toMatchObject({ name: 'StorageError' })
    expect(await files.has(name, 'tag', false)).toBe(true)
  })
})
