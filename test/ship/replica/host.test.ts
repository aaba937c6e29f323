// What a replica lets in, held against a sender written by hand.
import { describe, expect, it } from 'vitest'

import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { fill, items, MemoryRoot, primaryOn, RawSender, replicaOn, rowsOf, tempDirectory } from './kit.ts'

const ROOTS = [
  ['memory', () => new MemoryRoot({})],
  ['directory', () => tempDirectory()],
] as const

describe.each(ROOTS)('a replica on a %s root', (_name, place) => {
  it('is founded by its first primary, and shows what that has', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    await fill(primary.store, 0, 500)
    const replica = await replicaOn(network, place())
    expect(replica.status()).toMatchObject({ storeId: '', lsn: 0n, connected: false })
    const sender = await RawSender.connect(network, replica, primary)
    const head = await sender.catchUp(replica)
    expect(replica.status()).toMatchObject({ storeId: primary.store.id, lsn: BigInt(head), durable: BigInt(head), connected: true, epoch: 1 })
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
  })

  it('fetches the files that records name before they are durable here', async () => {
    const network = new MemoryNetwork(defaultWorld())
    const primary = await primaryOn()
    await primary.store.create(items)
    await fill(primary.store, 0, 300)
    await primary.store.flush()
    await fill(primary.store, 300, 400)
    await primary.store.delete(items, 7)
    await primary.store.flush()
    const replica = await replicaOn(network, place())
    const sender = await RawSender.connect(network, replica, primary)
    await sender.catchUp(replica)
    expect(sender.files.length).toBeGreaterThan(2)
    expect(await rowsOf(replica.store)).toEqual(await rowsOf(primary.store))
    expect(await replica.store.verify({ against: primary.root })).toMatchObject({ ok: true })
  })
})
