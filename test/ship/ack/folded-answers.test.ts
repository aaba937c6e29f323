// What an open, or a promotion, finds above C is folded, since admission needs it, and may still come to nothing: no call that finds what was asked for there is answered
// before it is committed.
import { describe, expect, it } from 'vitest'

import { type CommitResult, eq, newWriteId, Store } from '../../../bindings/index.ts'
import { failure } from '../../unit/store/places.ts'
import { people, until } from '../flow/flow-kit.ts'
import { idsOf, OLD, Three } from '../flow/three.ts'
import { Cluster, cluster, isPending, note, notes, partsOf, QUIET, settles } from './cluster.ts'

let places = 0
const place = (): string => `memory:ack-folded-${++places}`

/** A store of mode quorum with row 1, whose replicas say nothing from here on. */
async function found(): Promise<{ readonly at: string; readonly one: Cluster }> {
  const at = place()
  const one = await cluster(at, 'quorum')
  await one.store.append(notes, note(1))
  return { at, one }
}

/** The calls put their records into the log, in this order; nobody confirms one, and the store ends. */
async function unconfirmed(one: Cluster, ...calls: readonly ((store: Store) => Promise<unknown>)[]): Promise<void> {
  const { log } = partsOf(one.store)
  one.prompt.clear()
  const told: Promise<Error>[] = []
  for (const call of calls) {
    const before = log.submitted
    const end = failure(() => call(one.store))
    told.push(end)
    while (log.submitted === before && (await isPending(end)));
  }
  await one.synced()
  one.detach()
  await one.store.close()
  for (const each of told) expect((await each).name).toMatch(/^(AckTimeoutError|CommitOutcomeUnknownError)$/)
}

/** Opened again: the replicas are there, and have what is committed. */
async function again(at: string): Promise<Cluster> {
  const store = await Store.open(at, QUIET)
  const two = await new Cluster(store, ['r1', 'r2']).attach()
  for (const id of ['r1', 'r2']) two.follow(id, Number(store.lsn))
  expect(Number(store.lsn)).toBeLessThan(two.local)
  return two
}

/** @returns the answer, which is open until a replica has the record */
async function answered<T>(two: Cluster, call: (store: Store) => Promise<T>): Promise<T> {
  const answer = call(two.store)
  expect(await isPending(answer)).toBe(true)
  two.confirms('r1')
  return await answer
}

const key = { idempotencyKey: 'one' }
const many = Array.from({ length: 20_000 }, (_, i) => note(i + 10, `a row that is long enough for a file ${i}`))

describe('a retry under its key waits as the first try did', () => {
  const TRIES: readonly (readonly [string, (store: Store) => Promise<CommitResult>])[] = [
    ['append', (store) => store.append(notes, note(2), key)],
    ['update', (store) => store.update(notes, { id: 1, text: 'new' }, key)],
    ['delete', (store) => store.delete(notes, 1, key)],
    ['deleteWhere', (store) => store.deleteWhere(notes, eq('id', 1), key)],
    ['replace', (store) => store.replace(notes, [note(3)], key)],
    ['a large append', (store) => store.append(notes, many, key)],
    [
      'transact',
      async (store) => {
        let told: CommitResult | undefined
        await store.transact((tx) => tx.upsert(notes, note(2)), { ...key, onCommitted: (result) => void (told = result) })
        return told!
      },
    ],
  ]

  it.each(TRIES)('%s', async (_name, write) => {
    const { at, one } = await found()
    await unconfirmed(one, write)
    const two = await again(at)
    const head = partsOf(two.store).log.submitted
    expect(await answered(two, write)).toMatchObject({ replayed: true })
    expect(partsOf(two.store).log.submitted).toBe(head)
    expect(await write(two.store)).toMatchObject({ replayed: true })
    await two.store.close()
  })

  it('and is told when that takes too long, or nobody ships', async () => {
    const { at, one } = await found()
    await unconfirmed(one, (store) => store.append(notes, note(2), key))
    await using store = await Store.open(at, QUIET)
    const two = await new Cluster(store, ['r1', 'r2'], { ackTimeoutMs: 20, allowIndeterminate: true }).attach()
    const retry = (): Promise<unknown> => store.append(notes, note(2), key)
    expect(await failure(retry)).toMatchObject({ name: 'AckTimeoutError', durableNodes: 1, neededNodes: 2 })
    two.detach()
    const last = failure(() => store.append(notes, note(2), { ...key, allowIndeterminate: true }))
    await settles()
    await store.close()
    expect((await last).name).toBe('AckTimeoutError')
  })
})

describe('outcome() is pending until then', () => {
  it('of a commit with a key, one without, a staged write that was published, and one that was rolled back', async () => {
    const { at, one } = await found()
    const [plain, keyed] = [newWriteId(), newWriteId()]
    const published = await one.store.stage()
    await published.append(notes, note(4))
    await published.seal()
    const undone = await one.store.stage()
    await undone.append(notes, note(5))
    await undone.seal()
    await unconfirmed(
      one,
      (store) => store.append(notes, note(2), { writeId: plain }),
      (store) => store.append(notes, note(3), { ...key, writeId: keyed }),
      () => undone.rollback(),
    )
    const two = await again(at)
    const outcomes = (): Promise<string[]> => Promise.all([plain, keyed, undone.id].map((id) => two.store.outcome(id)))
    expect(await outcomes()).toEqual(['pending', 'pending', 'pending'])
    two.confirms('r1')
    expect(await outcomes()).toEqual(['published', 'published', 'rolledBack'])
    await unconfirmed(two, async (store) => (await store.resume(published.id)).publish())
    const three = await again(at)
    expect(await three.store.outcome(published.id)).toBe('pending')
    three.confirms('r1')
    expect(await three.store.outcome(published.id)).toBe('published')
    await three.store.close()
  })
})

describe('what is there already waits for its record', () => {
  it('a branch', async () => {
    const { at, one } = await found()
    await unconfirmed(one, (store) => store.branch('dev'))
    const two = await again(at)
    const dev = await answered(two, (store) => store.branch('dev'))
    expect(await dev.get(notes, 1)).toEqual(note(1))
    // One that is committed needs nobody.
    two.detach()
    await two.store.branch('dev')
    await two.store.close()
  })

  it('what was merged', async () => {
    const { at, one } = await found()
    const dev = await one.store.branch('dev')
    await dev.append(notes, note(2))
    await unconfirmed(one, (store) => store.merge('dev'))
    const two = await again(at)
    expect(await answered(two, (store) => store.merge('dev'))).toMatchObject({ tables: {} })
    expect(await two.store.get(notes, 2)).toEqual(note(2))
    await two.store.close()
  })

  it('definitions', async () => {
    const { at, one } = await found()
    await unconfirmed(one, (store) => store.apply([], { drop: ['notes'], allowDataLoss: true }))
    const two = await again(at)
    expect(await answered(two, (store) => store.apply([]))).toEqual({ steps: [] })
    await two.store.close()
  })

  it.each(['seal', 'publish', 'rollback'] as const)('a staged write: %s() behind resume()', async (call) => {
    const { at, one } = await found()
    const write = await one.store.stage()
    await write.append(notes, note(2))
    if (call !== 'seal') await write.seal()
    await unconfirmed(one, () => write[call]())
    const two = await again(at)
    const head = partsOf(two.store).log.submitted
    await answered(two, async (store) => (await store.resume(write.id))[call]())
    expect(partsOf(two.store).log.submitted).toBe(head)
    expect(await two.store.outcome(write.id)).toBe({ seal: 'pending', publish: 'published', rollback: 'rolledBack' }[call])
    await two.store.close()
  })
})

it('behind a promotion: what one node of the others has is not acknowledged by finding it there', async () => {
  const { three, store, shipping } = await Three.found('all')
  const id = newWriteId()
  const write = (to: Store): Promise<{ readonly replayed: boolean }> => to.upsert(people, [{ id: 50n, name: 'late', group: 0 }], { ...key, writeId: id })
  three.network.partition(OLD, 'n3')
  expect((await failure(() => write(store))).name).toBe('AckTimeoutError')
  await until(() => three.followers.get('n2')!.status().durable > three.followers.get('n3')!.status().durable)
  three.network.crash(OLD)
  await shipping.close()
  store[Symbol.dispose]()
  const { name, store: heir } = await three.promote(await three.fence(5), 5)
  expect(name).toBe('n2')
  const next = await three.ship(name, heir)
  await until(() => next.status().inSync === 1)
  // n1 is not there.
  expect((await failure(() => write(heir))).name).toBe('AckTimeoutError')
  expect(await heir.outcome(id)).toBe('pending')
  expect(await idsOf(heir)).not.toContain(50)
  three.network.heal()
  await three.follow(OLD)
  await until(() => next.status().inSync === 2)
  expect(await write(heir)).toMatchObject({ replayed: true })
  expect(await heir.outcome(id)).toBe('published')
  expect(await idsOf(heir)).toContain(50)
}, 60_000)
