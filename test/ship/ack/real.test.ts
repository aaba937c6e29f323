// With real replicas, over the memory network: what the others here do with numbers.
import { describe, expect, it, onTestFinished } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failure } from '../../unit/store/places.ts'
import { Flow, people, until, WAYS } from '../flow/flow-kit.ts'
import { QUIET } from './cluster.ts'

const person = (id: number): { id: bigint; name: string; group: number } => ({ id: BigInt(id), name: `name ${id}`, group: id % 5 })

/** A primary and two replicas in sync. */
async function three(ack: 'quorum' | 'all', ackTimeoutMs = 5000): Promise<Flow> {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
  await flow.replica('r1', new MemoryRoot({}))
  await flow.replica('r2', new MemoryRoot({}))
  const shipping = await flow.ship({ ackTimeoutMs })
  await shipping.settled({ signal: AbortSignal.timeout(30_000) })
  await flow.store.setAckMode(ack)
  return flow
}

describe('a primary and two replicas', () => {
  it.each(['quorum', 'all'] as const)('A1 %s: 300 commits at once, equal everywhere', async (ack) => {
    const flow = await three(ack)
    await flow.write(300)
    expect(flow.shipping!.status()).toMatchObject({ mode: ack, neededReplicas: ack === 'all' ? 2 : 1, committedLsn: flow.store.lsn })
    expect(flow.store.lsn).toBe(flow.shipping!.status().durableLsn)
    await flow.bulk(30_000)
    await flow.store.flush()
    await flow.store.optimize()
    await flow.equal()
  })

  it('A2 quorum goes on with one replica gone, and refuses with both gone; it goes on when one is back', async () => {
    const flow = await three('quorum')
    await flow.replicas.get('r1')!.close()
    await flow.write(20)
    await flow.replicas.get('r2')!.close()
    await until(() => flow.shipping!.status().inSync === 0)
    const { durableLsn } = flow.shipping!.status()
    expect((await failure(() => flow.store.upsert(people, [person(1)]))).name).toBe('AckUnavailableError')
    expect(flow.shipping!.status().durableLsn).toBe(durableLsn)
    await flow.replica('r2', flow.roots.get('r2')!)
    await until(() => flow.shipping!.status().inSync === 1)
    await flow.write(20)
    const { store } = flow.replicas.get('r2')!
    await store.waitCommitted(flow.store.lsn, { signal: AbortSignal.timeout(30_000) })
    expect(await flow.rows(store)).toEqual(await flow.rows(flow.store))
  }, 60_000)

  it('A2 the one of two that lags is not waited for; what it lacks is not counted there', async () => {
    const flow = await three('quorum')
    await flow.write(5)
    await flow.shipping!.settled({ signal: AbortSignal.timeout(30_000) })
    const [r1, r2] = [flow.replicas.get('r1')!, flow.replicas.get('r2')!]
    const before = r1.status().durable
    flow.net.network!.partition('primary', 'r1')
    const { lsn } = await flow.store.upsert(people, [person(1)])
    expect(flow.store.lsn).toBe(lsn)
    expect([r1.status().durable, r2.status().durable]).toEqual([before, lsn])
    expect(flow.shipping!.status()).toMatchObject({ committedLsn: lsn })
    flow.net.network!.heal()
    await flow.equal()
  })

  it('A3 A5 all with one that lags waits: AckTimeoutError with counts; its late word commits the entry, waitCommitted resolves, nothing was lost', async () => {
    const flow = await three('all', 300)
    await flow.write(5)
    await flow.shipping!.settled({ signal: AbortSignal.timeout(30_000) })
    const before = flow.store.lsn
    const session = flow.shipping!.status().replicas[0]!.session
    flow.net.network!.partition('primary', 'r1')
    const error = await failure(() => flow.store.upsert(people, [person(777)]))
    expect(error).toMatchObject({ name: 'AckTimeoutError', lsn: before + 1n, durableNodes: 2, neededNodes: 3 })
    expect(flow.store.lsn).toBe(before)
    expect(await flow.store.get(people, 777n)).toBeUndefined()
    expect(flow.replicas.get('r2')!.status()).toMatchObject({ durable: before + 1n, committed: before })
    const waited = flow.store.waitCommitted(error['lsn'] as never, { signal: AbortSignal.timeout(30_000) })
    // Over the same link, which nobody has given up.
    flow.net.network!.heal()
    await waited
    expect(flow.store.lsn).toBe(before + 1n)
    expect(await flow.store.get(people, 777n)).toEqual(person(777))
    expect(flow.shipping!.status().replicas[0]!.session).toBe(session)
    await flow.equal()
  })

  it('A3 all with one that is gone: what was written meanwhile is committed when it is back in another session', async () => {
    const flow = await three('all', 300)
    const before = flow.store.lsn
    await flow.replicas.get('r1')!.close()
    await until(() => flow.shipping!.status().inSync === 1)
    // It is refused before anything is written, unless the caller takes the open end.
    expect(await failure(() => flow.store.upsert(people, [person(777)]))).toMatchObject({ name: 'AckUnavailableError', reachable: 2, neededNodes: 3 })
    expect(flow.shipping!.status().durableLsn).toBe(before)
    const error = await failure(() => flow.store.upsert(people, [person(777)], { allowIndeterminate: true }))
    expect(error).toMatchObject({ name: 'AckTimeoutError', lsn: before + 1n, durableNodes: 2, neededNodes: 3 })
    await flow.replica('r1', flow.roots.get('r1')!)
    await flow.store.waitCommitted(error['lsn'] as never, { signal: AbortSignal.timeout(30_000) })
    expect(await flow.store.get(people, 777n)).toEqual(person(777))
    await flow.equal()
  })

  it('A6 a primary that is opened again: readers at C at once, commits when replicas are back', async () => {
    const flow = await three('quorum')
    await flow.write(50)
    const c = flow.store.lsn
    await flow.shipping!.close()
    await flow.store.close()
    await flow.reopen()
    expect(flow.store.lsn).toBe(c)
    expect(await flow.store.scan(people).count()).toBeGreaterThan(0)
    const shipping = await flow.ship({ ack: 'quorum' })
    await shipping.settled({ signal: AbortSignal.timeout(30_000) })
    await flow.store.waitCommitted(shipping.status().durableLsn, { signal: AbortSignal.timeout(30_000) })
    expect(flow.store.lsn).toBe(shipping.status().durableLsn)
    await flow.write(50)
    await flow.equal()
  }, 60_000)

  it('A9 a store of another mode than asked for is AckModeMismatchError', async () => {
    const flow = await three('quorum')
    await flow.shipping!.close()
    expect((await failure(() => flow.ship({ ack: 'all' }))).name).toBe('AckModeMismatchError')
    expect((await failure(() => flow.ship({ ack: 'async' }))).name).toBe('AckModeMismatchError')
    await flow.ship({ ack: 'quorum' })
  }, 60_000)
})

it('A1 quorum with one voter is QuorumTooSmallError', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
  await flow.replica('r1', new MemoryRoot({}))
  expect((await failure(() => flow.ship({ ack: 'quorum' }))).name).toBe('QuorumTooSmallError')
  await using store = await Store.open('memory:', QUIET)
  onTestFinished(() => undefined)
  expect((await store.stats()).ackMode).toBe('async')
})
