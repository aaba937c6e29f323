// A write that asks for more nodes than its mode is answered by what nodes say, never by a C that fewer of them have made: neither once the store is shipped or opened
// anew, nor when the mode becomes as strong as what was asked.
import { expect, it } from 'vitest'

import { type CommitResult, Store } from '../../../bindings/index.ts'
import { failure } from '../../unit/store/places.ts'
import { Cluster, cluster, isPending, note, notes, QUIET, settles } from './cluster.ts'

let places = 0
const place = (): string => `memory:ack-stronger-${++places}`

/** What the mode is, what the write asks for, and the replicas that the mode needs. */
const ASKED = [
  ['async', 'quorum', []],
  ['async', 'all', []],
  ['quorum', 'all', ['r1']],
] as const

type Mode = (typeof ASKED)[number][0 | 1]

const write = (store: Store, ack: Mode): Promise<CommitResult> =>
  store.append(notes, note(1), { ack: ack as 'all', idempotencyKey: 'one', allowIndeterminate: true })

/** Both replicas are there, those of the mode alone confirm. */
async function found(at: string, mode: Mode, confirming: readonly string[]): Promise<Cluster> {
  const one = await cluster(at, mode)
  for (const id of ['r1', 'r2']) if (!confirming.includes(id)) one.prompt.delete(id as never)
  return one
}

/** Others count from here on: both replicas are there with what they had. */
async function shippedAgain(store: Store, durable: number, confirming: readonly string[]): Promise<Cluster> {
  const two = await new Cluster(store, ['r1', 'r2']).attach()
  for (const id of ['r1', 'r2']) {
    two.follow(id, durable)
    if (confirming.includes(id)) two.confirms(id)
  }
  return two
}

it.each(ASKED)('in mode %s a write that asks for %s waits on when the store is shipped anew', async (mode, ack, confirming) => {
  const one = await found(place(), mode, confirming)
  const { store } = one
  const had = one.local
  const open = write(store, ack)
  expect(await isPending(open)).toBe(true)
  expect(await store.get(notes, 1)).toEqual(note(1))
  one.detach()
  const two = await shippedAgain(store, had, confirming)
  const again = write(store, ack)
  expect([await isPending(open), await isPending(again)]).toEqual([true, true])
  two.confirms('r1')
  two.confirms('r2')
  const { lsn } = await open
  expect(await again).toMatchObject({ lsn, replayed: true })
})

it.each(ASKED)('in mode %s a retry that asks for %s is not answered by an open', async (mode, ack, confirming) => {
  const at = place()
  const one = await found(at, mode, confirming)
  const had = one.local
  const told = failure(() => write(one.store, ack))
  await one.synced()
  await settles()
  one.detach()
  await one.store.close()
  expect(await told).toMatchObject({ name: 'AckTimeoutError' })
  await using store = await Store.open(at, QUIET)
  const two = await shippedAgain(store, had, confirming)
  const again = write(store, ack)
  expect(await isPending(again)).toBe(true)
  expect(await store.get(notes, 1)).toEqual(note(1))
  two.confirms('r1')
  two.confirms('r2')
  expect(await again).toMatchObject({ replayed: true })
})

it.each(ASKED)('a change from %s to %s confirms nothing that came before it', async (mode, ack, confirming) => {
  const one = await found(place(), mode, confirming)
  const { store } = one
  const open = write(store, ack)
  expect(await isPending(open)).toBe(true)
  await store.setAckMode(ack)
  expect((await store.stats()).ackMode).toBe(ack)
  expect(await isPending(open)).toBe(true)
  one.confirms('r1')
  one.confirms('r2')
  await open
})

it('what the mode itself has counted is not asked for again: a retry needs nobody', async () => {
  const at = place()
  const one = await cluster(at, 'quorum')
  const { lsn } = await write(one.store, 'quorum')
  await one.store.close()
  await using store = await Store.open(at, QUIET)
  expect(await write(store, 'quorum')).toMatchObject({ lsn, replayed: true })
})

it('what was written under a weaker mode is asked for, although an open finds the stronger one', async () => {
  const at = place()
  const one = await found(at, 'async', [])
  const had = one.local
  const told = failure(() => write(one.store, 'quorum'))
  await one.synced()
  await one.store.setAckMode('quorum')
  one.detach()
  await one.store.close()
  expect((await told).name).toBe('AckTimeoutError')
  await using store = await Store.open(at, QUIET)
  const two = await shippedAgain(store, had, [])
  const again = write(store, 'quorum')
  expect(await isPending(again)).toBe(true)
  two.confirms('r2')
  expect(await again).toMatchObject({ replayed: true })
})
