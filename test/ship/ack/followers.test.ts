// Handles that only read, beside a primary whose commits wait for replicas.
import { describe, expect, it } from 'vitest'

import { type ReadStore, Store } from '../../../bindings/index.ts'
import { failure, tempDirectory } from '../../unit/store/places.ts'
import { Cluster, cluster, note, notes, settles } from './cluster.ts'

/** Until C of the writer has come to the reader by way of NODE. */
async function reaches(reader: ReadStore, lsn: bigint): Promise<void> {
  await reader.waitCommitted(lsn as never, { signal: AbortSignal.timeout(20_000) })
}

describe('a reader in another process', () => {
  it('sees what is committed and nothing that waits', async () => {
    const at = tempDirectory()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    await using reader = await Store.open(at, { readOnly: true })
    await reaches(reader, one.store.lsn)
    expect(await reader.get(notes, 1)).toEqual(note(1))
    one.prompt.clear()
    const open = one.store.append(notes, note(2))
    await one.synced()
    await reader.refresh()
    expect(reader.lsn).toBe(one.store.lsn)
    expect(await reader.get(notes, 2)).toBeUndefined()
    {
      await using late = await Store.open(at, { readOnly: true })
      expect(late.lsn).toBe(one.store.lsn)
      expect(await late.scan(notes).count()).toBe(1)
      expect((await late.stats()).ackMode).toBe('quorum')
    }
    one.ack('r1')
    await open
    await reaches(reader, one.store.lsn)
    expect(await reader.get(notes, 2)).toEqual(note(2))
  })

  it('goes along when the mode changes, both ways', async () => {
    const at = tempDirectory()
    const one = await cluster(at, 'async')
    await using reader = await Store.open(at, { readOnly: true })
    await one.store.append(notes, note(1))
    await reaches(reader, one.store.lsn)
    await one.store.setAckMode('quorum')
    one.prompt.clear()
    const open = one.store.append(notes, note(2))
    await one.synced()
    await reader.refresh()
    expect(reader.lsn).toBe(one.store.lsn)
    one.ack('r2')
    await open
    one.confirms('r1')
    await one.store.setAckMode('async')
    one.detach()
    await one.store.append(notes, note(3))
    await reaches(reader, one.store.lsn)
    expect(await reader.scan(notes).count()).toBe(3)
  })

  it('has a feed that stops at C', async () => {
    const at = tempDirectory()
    const one = await cluster(at, 'quorum')
    await using reader = await Store.open(at, { readOnly: true })
    await reaches(reader, one.store.lsn)
    const feed = reader.changes({ from: reader.lsn, tables: [notes] })
    const next = feed.next()
    let isTold = false
    void next.then(() => (isTold = true))
    one.prompt.clear()
    const open = one.store.append(notes, note(1))
    await one.synced()
    await reader.refresh()
    await settles(30)
    expect(isTold).toBe(false)
    one.ack('r1')
    expect((await next).value).toMatchObject({ lsn: (await open).lsn })
    await feed.return?.()
  })

  it('of a store that is not open sees what its last writer knew to be committed', async () => {
    const at = tempDirectory()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    const c = one.store.lsn
    one.prompt.clear()
    const open = failure(() => one.store.append(notes, note(2)))
    await one.synced()
    one.detach()
    await one.store.close()
    expect((await open).name).toBe('AckTimeoutError')
    await using reader = await Store.open(at, { readOnly: true })
    expect(reader.lsn).toBe(c)
    expect(await reader.scan(notes).count()).toBe(1)
    await using again = await Store.open(at, { threads: 0, upkeep: 'manual' })
    const two = await new Cluster(again, ['r1', 'r2']).attach()
    two.follow('r1')
    two.confirms('r1')
    await reaches(reader, again.lsn)
    expect(await reader.scan(notes).count()).toBe(2)
  })
})
