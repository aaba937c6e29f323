// Writes queued behind a change of the mode (shipping.md section 12, A9): one acknowledgement of everything commits them by the mode that each of them waits for.
import { expect, it } from 'vitest'

import { cluster, type Cluster, note, notes, settles } from './cluster.ts'

/** The record of the change is in the log: what is written now comes behind it. */
async function queued(one: Cluster, before: number): Promise<void> {
  while (one.local <= before) await settles(1)
}

it('A9 quorum to all: what a majority confirms in one go is committed up to the record of the mode, not above it', async () => {
  const one = await cluster('memory:ack-mode-order-1', 'quorum')
  one.prompt.clear()
  const before = one.local
  const change = one.store.setAckMode('all')
  await queued(one, before)
  const write = one.store.append(notes, note(1))
  let isWritten = false
  void write.then(() => (isWritten = true))
  await one.synced()
  const above = one.local
  expect(one.acknowledgement.committed).toBeLessThan(above - 1)
  one.ack('r1')
  await change
  await settles()
  expect(one.acknowledgement.committed).toBe(above - 1)
  expect(isWritten).toBe(false)
  expect(await one.store.scan(notes).count()).toBe(0)
  one.ack('r2')
  await write
  expect(one.acknowledgement.committed).toBe(above)
  expect(one.told).toEqual(one.told.toSorted((a, b) => a - b))
})

it('A9 all to quorum: what comes behind the record waits for all of it to be committed, then for a majority', async () => {
  const one = await cluster('memory:ack-mode-order-2', 'all')
  one.prompt.clear()
  const before = one.local
  const change = one.store.setAckMode('quorum')
  await queued(one, before)
  const write = one.store.append(notes, note(1))
  let isWritten = false
  void write.then(() => (isWritten = true))
  await one.synced()
  one.ack('r1')
  await settles()
  expect(isWritten).toBe(false)
  one.ack('r2', one.local - 1)
  await change
  await write
  expect(one.acknowledgement.committed).toBe(one.local)
})

it('A9 two that ask for a mode at once: neither says that it is so before the record of the first is committed', async () => {
  const one = await cluster('memory:ack-mode-order-3', 'quorum')
  one.prompt.clear()
  const before = one.local
  const done: string[] = []
  const changes = [one.store.setAckMode('all').then(() => done.push('first')), one.store.setAckMode('all').then(() => done.push('second'))]
  await queued(one, before)
  await one.synced()
  expect(done).toEqual([])
  one.ack('r1')
  await Promise.all(changes)
  expect(done).toEqual(['first', 'second'])
  // One record.
  expect(one.local).toBe(before + 1)
})

it('A9 of two that ask for different modes at once the second comes behind the first', async () => {
  const one = await cluster('memory:ack-mode-order-4', 'async')
  const before = one.local
  await Promise.all([one.store.setAckMode('all'), one.store.setAckMode('quorum')])
  expect([one.local - before, one.acknowledgement.mode]).toEqual([2, 'quorum'])
  expect(one.acknowledgement.committed).toBe(one.local)
})

it('A9 a forced one does not wait for one that nobody confirms', async () => {
  const one = await cluster('memory:ack-mode-order-5', 'all', { ackTimeoutMs: 60_000 })
  one.prompt.clear()
  const before = one.local
  let isWeaker = false
  const stuck = one.store.setAckMode('quorum').then(() => (isWeaker = true))
  await queued(one, before)
  await one.synced()
  expect(isWeaker).toBe(false)
  await one.store.setAckMode('async', { force: true })
  await stuck
  expect(one.acknowledgement.mode).toBe('async')
})
