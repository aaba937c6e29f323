// A change to a weaker mode that a replica was not told is committed: what the primary acknowledged by the new mode is not given up as if the old one still counted.
// A replica reported the mode that it had folded, up to what it knew to be committed: `all` where one more node had confirmed the writes since, or a `quorum` where none had.
import { expect, it } from 'vitest'

import { type Column, type Store, t, type Table, table } from '../../../bindings/index.ts'
import type { CommitLog, LogBatch, Lsn } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type AckMode, candidates, fenceReplica } from '../../../bindings/ship/index.ts'
import { modeBehind } from '../../../bindings/store/replica-reads.ts'
import { failure, opened } from '../../unit/store/places.ts'
import { idsOf, range, Three, write } from './three.ts'

/** n1 writes row 20 under the new mode; n2 has the record of the change, and was cut off before it heard that this is committed. */
async function changed(from: AckMode, to: AckMode): Promise<Three> {
  const { three, store } = await Three.found(from)
  const n2 = three.followers.get('n2')!
  const before = n2.status().durable
  await store.setAckMode(to)
  // C goes alone some 4 ms later.
  three.network.partition('n1', 'n2')
  if (to === 'async') three.network.partition('n1', 'n3')
  await write(store, [20])
  three.network.partition('n1', 'n3')
  expect(n2.status().durable).toBeGreaterThan(before)
  return three
}

it('from all to quorum: the record of one node is not enough, with the other one the write is kept', async () => {
  const three = await changed('all', 'quorum')
  const [n2, n3] = await three.fence(9)
  expect(n2).toMatchObject({ ackMode: 'quorum' })
  const { storeId } = n2!
  expect(candidates([n2!], 'all', 3, { storeId, epoch: 9 })).toMatchObject({ candidates: [], reason: 'too_few_records' })
  const { store } = await three.promote([n2!, n3!], 9)
  // Until it ships, what it has is not committed.
  expect(await idsOf(await store.snapshot(undefined, { readUncommitted: true }))).toEqual(range(0, 21))
})

it('from quorum to async: the writes may be lost, and who promotes has to say so', async () => {
  const three = await changed('quorum', 'async')
  const records = await three.fence(9)
  // Over a link the same is told.
  const there = {
    transport: three.network.transport('somebody'),
    endpoint: { data: 'n2', version: 1 },
    world: defaultWorld(),
    storeId: Buffer.from(records[0]!.storeId, 'hex'),
  }
  expect(await fenceReplica({ ...there, epoch: 9 })).toEqual(records[0])
  expect(candidates(records, 'quorum', 3, { storeId: records[0]!.storeId, epoch: 9 })).toMatchObject({
    mayLose: true,
    candidates: [{ id: 'n2' }, { id: 'n3' }],
  })
  const n2 = three.followers.get('n2')!
  expect(await failure(() => n2.promote({ epoch: 9 }))).toMatchObject({ name: 'InvalidConfigError', details: { key: 'acceptLossAbove' } })
  const store = await three.become('n2', { epoch: 9, acceptLossAbove: n2.status().durable })
  expect(await idsOf(store)).toEqual(range(0, 20))
})

it('the mode behind a log: a stronger one only where its record is sure to be there, a weaker one always', async () => {
  const notes: Table<'notes', { id: Column<number, number, 'number'> }, ['id']> = table('notes', { id: t.int32() }, { key: ['id'] })
  const store = await opened(new MemoryRoot({}) as never)
  await store.create(notes)
  const marks: [AckMode, number][] = []
  // By force: nobody follows. Each record names the mode before it all the same.
  for (const mode of ['quorum', 'all', 'async', 'all', 'quorum'] as const) {
    await store.setAckMode(mode, { force: true })
    marks.push([mode, logOf(store).head])
  }
  const until = (end: number, committed: number): Promise<AckMode> => modeBehind(logOf(store).upTo(end), undefined, committed)
  const [quorum, all, none, again, last] = marks.map(([, lsn]) => lsn) as [number, number, number, number, number]
  // What was acknowledged in mode async is below the change from it.
  expect(await until(quorum - 1, 0)).toBe('async')
  expect(await until(quorum, 0)).toBe('quorum')
  expect(await until(all, all - 1)).toBe('quorum')
  expect(await until(all, all)).toBe('all')
  expect(await until(none, all)).toBe('async')
  expect(await until(again, all)).toBe('all')
  expect(await until(last, all)).toBe('quorum')
  // Without the records below nothing is known.
  expect(await modeBehind({ ...logOf(store).upTo(last), tail: 1n as Lsn }, undefined, last)).toBe('async')
  expect(await modeBehind(logOf(store).upTo(last), { lsn: again, ack: { mode: 'all', lsn: again, floor: 0 } }, again)).toBe('quorum')
})

function logOf(store: Store): { readonly head: number; upTo(end: number): CommitLog } {
  const { log } = (store as unknown as { o: { log: CommitLog } }).o
  const upTo = (end: number): CommitLog =>
    ({ tail: log.tail, read: (from: Lsn): AsyncIterable<LogBatch> => log.read(from, { end: BigInt(end) as Lsn }) }) as CommitLog
  return { head: Number(log.durableHead), upTo }
}
