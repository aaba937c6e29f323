// Catching up over a vacuum by real stores (shipping.md sections 5 and 11): what no version needs any more is left out, and everything else is not.
import { describe, expect, it } from 'vitest'

import { gte, lsn } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { replicaId } from '../../../bindings/ship/index.ts'
import { failure } from '../../unit/store/places.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

const [{ make }] = WAYS as [(typeof WAYS)[number]]
const R1 = replicaId('r1')

/** Fragments and a deletion vector that come and go again: the log has their records still. */
async function churn(flow: Flow): Promise<string[]> {
  const { store } = flow
  await flow.bulk(40_000)
  // The vector of the first is replaced by that of the second.
  await store.deleteWhere(people, gte('id', 1_020_000n))
  await store.deleteWhere(people, gte('id', 1_002_000n))
  await store.flush()
  const before = await names(flow.place as MemoryRoot)
  expect(before.some((name) => name.endsWith('.dv'))).toBe(true)
  await flow.bulk(5000)
  await store.flush()
  await store.optimize({ target: { rows: 1_000_000 } })
  await flow.write(20)
  // The stream of a replica that is behind holds files.
  if (flow.replicas.get('r1')?.status().connected === true) await flow.shipping?.settled()
  expect((await store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
  const after = new Set(await names(flow.place as MemoryRoot))
  return before.filter((name) => !after.has(name))
}

async function names(root: MemoryRoot): Promise<string[]> {
  const found: string[] = []
  for await (const { name } of root.list('')) if (/^(fragments|indexes)\//.test(name)) found.push(name)
  return found
}

function events(flow: Flow, event: string): string[] {
  return flow
    .shipping!.log.eventsFor(R1)
    .filter((each) => each.event === event)
    .map(({ detail }) => detail)
}

/** A replica that was away while files came and went. */
async function away(): Promise<{ flow: Flow; root: MemoryRoot; gone: string[]; from: bigint }> {
  const flow = await Flow.open(make(), new MemoryRoot({}))
  const root = new MemoryRoot({})
  await flow.replica('r1', root)
  await flow.write(50)
  await flow.ship()
  await flow.equal()
  await flow.shipping!.close()
  const from = flow.store.lsn
  const gone = await churn(flow)
  expect(gone.map((name) => name.slice(name.lastIndexOf('.')))).toEqual(expect.arrayContaining(['.arrow', '.idx', '.dv']))
  return { flow, root, gone, from }
}

describe('elision', () => {
  it('H12 off: what a vacuum has taken costs a rebuild', async () => {
    const { flow } = await away()
    await flow.ship()
    await until(() => events(flow, 'exec_rebuild_completed').length > 0)
    await flow.equal()
    expect(events(flow, 'handshake').join()).toContain('floor=')
  })

  it('H12 on: a catch-up leaves them out, fragments and deletion vectors, and history begins at the target', async () => {
    const { flow, root, gone, from } = await away()
    expect(gone.length).toBeGreaterThan(2)
    const target = flow.store.lsn
    await flow.ship({ elideDead: true })
    await flow.equal()
    expect([events(flow, 'exec_completed').length, events(flow, 'exec_rebuild_completed').length]).toEqual([1, 0])
    const held = new Set(await names(root))
    expect(gone.filter((name) => held.has(name))).toEqual([])
    const replica = flow.replicas.get('r1')!
    for (const at of [from + 1n, target - 1n])
      expect(await failure(() => replica.store.snapshot(lsn(at)))).toMatchObject({ name: 'HistoryUnavailableError', floor: target })
    await flow.write(30)
    await flow.bulk(3000)
    await flow.equal()
  })

  it('H12 the replica is whole after a restart and as a primary, and others follow it, with elision or by a base', async () => {
    const { flow, root } = await away()
    await flow.ship({ elideDead: true })
    await flow.equal()
    await flow.shipping!.close()
    await flow.replicas.get('r1')!.close()
    const back = await flow.replica('r1', root)
    expect(await flow.rows(back.store)).toEqual(await flow.rows(flow.store))
    const { lsn: head } = flow.store
    const rows = await flow.rows(flow.store)
    await flow.store.close()
    flow.replicas.clear()
    const promoted = await back.promote({ acceptLossAbove: head })
    expect(await flow.rows(promoted)).toEqual(rows)
    expect(await promoted.verify({ level: 'all' })).toMatchObject({ ok: true })
    flow.store = promoted
    for (const [id, elideDead] of [
      ['r2', true],
      ['r3', false],
    ] as const) {
      await flow.replica(id, new MemoryRoot({}))
      const shipping = await promoted.ship({ replicas: flow.targets(), transport: flow.net.transport('heir'), elideDead })
      await shipping.settled({ signal: AbortSignal.timeout(20_000) })
      const replica = flow.replicas.get(id)!
      await until(() => replica.store.lsn >= promoted.lsn)
      expect(await flow.rows(replica.store)).toEqual(rows)
      expect(await replica.store.verify({ against: root })).toMatchObject({ ok: true })
      const rebuilt = shipping.log.eventsFor(replicaId(id)).some(({ event }) => event === 'exec_rebuild_completed')
      expect(rebuilt).toBe(!elideDead)
      await shipping.close()
      await replica.close()
      flow.replicas.delete(id)
    }
    await promoted.close()
  })

  it('H11 parted below the floor: cut back, and caught up without what is gone', async () => {
    const flow = await Flow.open(make(), new MemoryRoot({}))
    const heirs = new MemoryRoot({})
    await flow.replica('r1', new MemoryRoot({}))
    await flow.replica('r2', heirs)
    await flow.ship({ mode: 'all' })
    await flow.shipping!.settled()
    await flow.write(30)
    await flow.equal()
    await flow.shipping!.close()
    await flow.ship({ ackTimeoutMs: 200 })
    await flow.shipping!.settled()
    // A record that only r1 has, and that nobody was promised.
    await flow.replicas.get('r2')!.close()
    const parted = flow.store.lsn
    await flow.unpromised(1).catch(() => undefined)
    await until(() => flow.replicas.get('r1')!.status().durable > parted)
    await flow.crash()
    flow.replicas.delete('r2')
    const r1 = flow.replicas.get('r1')!
    const second = await flow.replica('r2', heirs)
    flow.replicas.clear()
    flow.store = await second.promote()
    const place = flow as { place: unknown }
    place.place = heirs
    // Another follower, so that something is committed meanwhile.
    await flow.replica('r3', new MemoryRoot({}))
    await flow.ship()
    await flow.shipping!.settled()
    await churn(flow)
    await flow.shipping!.close()
    flow.replicas.set('r1', r1)
    await flow.ship({ elideDead: true })
    await flow.equal(['r1'])
    const { fields } = flow.shipping!.log.eventsFor(R1).find(({ event }) => event === 'handshake')!
    expect(fields).toMatchObject({ outcome: 'catch_up' })
    expect(events(flow, 'truncation_recorded')).toHaveLength(1)
    expect(events(flow, 'exec_rebuild_completed')).toEqual([])
    expect(await failure(() => r1.store.snapshot(lsn(parted + 3n)))).toMatchObject({ name: 'HistoryUnavailableError' })
    await flow.store.close()
  })

  it.each(['the newest version', 'a tag'])('a file that %s needs is never called dead, whatever became of it', async (who) => {
    const flow = await Flow.open(make(), new MemoryRoot({}))
    await flow.replica('r1', new MemoryRoot({}))
    await flow.bulk(20_000)
    await flow.store.flush()
    if (who === 'a tag') await flow.store.tag('kept')
    const root = flow.place as MemoryRoot
    const [needed] = (await names(root)).filter((name) => name.endsWith('.arrow'))
    await flow.bulk(5000)
    await flow.store.flush()
    if (who === 'a tag') {
      await flow.store.deleteWhere(people, gte('id', 0n))
      await flow.store.optimize({ target: { rows: 1_000_000 } })
    } else await flow.store.optimize({ target: { rows: 10_000 } })
    await flow.write(5)
    await flow.store.vacuum({ keep: { versions: 1 } })
    expect(await root.exists(needed!)).toBe(true)
    await root.delete([needed!])
    await flow.ship({ elideDead: true, autoRebuild: false })
    await until(() => flow.shipping!.status().replicas[0]!.lastError !== null || flow.shipping!.status().inSync > 0)
    expect(flow.shipping!.status().replicas[0]).toMatchObject({ lastError: { code: 'ship.fragment-missing' } })
    expect(flow.replicas.get('r1')!.status().durable).toBeLessThan(flow.store.lsn)
  })

  it('a replica deletes no vector that its own checkpoints are too old for, whatever those of its primary are', async () => {
    const flow = await Flow.open(make(), new MemoryRoot({}))
    const root = new MemoryRoot({})
    await flow.replica('r1', root)
    await flow.write(50)
    await flow.ship()
    expect((await churn(flow)).some((name) => name.endsWith('.dv'))).toBe(true)
    await flow.equal()
    await flow.replicas.get('r1')!.close()
    const back = await flow.replica('r1', root)
    expect(await flow.rows(back.store)).toEqual(await flow.rows(flow.store))
  })
})
