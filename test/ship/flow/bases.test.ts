// Bases of real stores on real replicas: what has a name (branches, tags, merges) is there as on the primary, and what the primary's upkeep does meanwhile changes nothing.
import { describe, expect, it, onTestFinished, vi } from 'vitest'

import { lsn } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { AckTracker } from '../../../bindings/ship/index.ts'
import { Store } from '../../../bindings/store/index.ts'
import { Flow, people, ROOTS, until, WAYS } from './flow-kit.ts'

const [memory] = WAYS
const OPTIONS = { inlineLimitBytes: 4096, segmentBytes: 64 * 1024 }

/** Rows enough for several segments, and files that the next round replaces. */
async function rounds(flow: Flow, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await flow.write(250)
    await flow.bulk(500)
    await flow.store.flush()
    await flow.store.optimize()
  }
}

async function behindVacuum(flow: Flow): Promise<void> {
  await rounds(flow, 2)
  await flow.store.vacuum({ keep: { versions: 1 } })
  await flow.store.flush()
  expect((await flow.store.stats()).log.floor).toBeGreaterThan(0n)
}

const named = async (flow: Flow, store: Pick<Store, 'scan'>, at: string): Promise<unknown[]> =>
  flow.rows({ scan: (table: never) => store.scan(table, { at } as never) } as never)

const reasons = (flow: Flow): string[] =>
  flow
    .shipping!.log.events()
    .filter(({ event }) => event.startsWith('plan_rebuild'))
    .map(({ event, fields }) => `${event} ${String(fields['reason'])}`)

describe.each(ROOTS)('on roots of kind %s', (_kind, place) => {
  it('a base has the branches and tags of the primary, and goes on with them', async () => {
    const flow = await Flow.open(memory!.make(), place(), OPTIONS)
    await rounds(flow, 2)
    await flow.store.tag('then')
    const side = await flow.store.branch('side')
    await rounds(flow, 1)
    await side.append(people, [{ id: 9_000_001n, name: 'of the side', group: 1 }])
    await flow.store.tag('on-side', { at: 'side' })
    const gone = await flow.store.branch('gone')
    await gone.append(
      people,
      Array.from({ length: 3000 }, (_, i) => ({ id: BigInt(9_100_000 + i), name: `gone ${i}`, group: 2 })),
    )
    await flow.store.merge('side')
    await flow.store.deleteBranch('gone')
    await behindVacuum(flow)
    await flow.write(40)
    const replica = await flow.replica('r1', place())
    await flow.ship()
    await flow.equal()
    expect(reasons(flow)).toHaveLength(1)
    for (const at of ['then', 'side', 'on-side']) expect(await named(flow, replica.store, at), at).toEqual(await named(flow, flow.store, at))
    // Versions below the base that have no name are not there.
    await expect(replica.store.scan(people, { at: lsn(3n) }).toArray()).rejects.toMatchObject({ name: 'HistoryUnavailableError' })
    await side.append(people, [{ id: 9_000_002n, name: 'later', group: 1 }])
    await flow.store.merge('side')
    await flow.store.deleteTag('then')
    await rounds(flow, 1)
    await flow.store.vacuum({ keep: { versions: 1 } })
    await flow.write(20)
    await flow.equal()
    expect(await named(flow, replica.store, 'side')).toEqual(await named(flow, flow.store, 'side'))
    // And again from what is on its disk.
    await replica.close()
    const copy = await Store.open(flow.roots.get('r1') as string, { readOnly: true })
    try {
      expect((await copy.verify({ level: 'all' })).problems).toEqual([])
      for (const at of ['side', 'on-side']) expect(await named(flow, copy, at), at).toEqual(await named(flow, flow.store, at))
    } finally {
      await copy.close()
    }
    await flow.shipping!.close()
    expect((await flow.store.pins()).filter(({ owner }) => !/^(branch|tag) /.test(owner))).toEqual([])
  })

  it('B17 optimize and vacuum on the primary while a base is on its way', async () => {
    const flow = await Flow.open(memory!.make(), place(), OPTIONS)
    await behindVacuum(flow)
    await flow.replica('r1', place())
    let isOver = false
    const busy = (async () => {
      while (!isOver) {
        await flow.write(20)
        await flow.bulk(100)
        await flow.store.flush()
        await flow.store.optimize()
        await flow.store.vacuum({ keep: { versions: 1 } })
      }
    })()
    const shipping = await flow.ship()
    try {
      await until(() => shipping.status().replicas[0]!.state === 'in_sync')
    } finally {
      isOver = true
      await busy
    }
    await flow.equal()
    expect(reasons(flow).length).toBeGreaterThan(0)
    await shipping.close()
    expect(await flow.store.pins()).toEqual([])
  })
})

it('an untrusted checkpoint is not what a rebuild begins with', async () => {
  const root = new MemoryRoot({})
  const flow = await Flow.open(memory!.make(), root, OPTIONS)
  await behindVacuum(flow)
  const newest: string[] = []
  for await (const { name } of root.list('checkpoints/')) newest.push(name)
  const { bytes } = await root.get(newest.at(-1)!)
  const wrong = bytes.slice()
  wrong[300]! ^= 1
  await root.put(newest.at(-1)!, wrong)
  await flow.write(10)
  await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.shipping!.settled({ signal: AbortSignal.timeout(60_000) })
  expect(reasons(flow)).toEqual(['plan_rebuild_full_base untrusted_checkpoint'])
  await root.put(newest.at(-1)!, bytes)
  await flow.equal()
})

it('B15 a replica that was rebuilt counts from the first durable ack of its stream on, not from the end of the rebuild', async () => {
  const flow = await Flow.open(memory!.make(), new MemoryRoot({}), OPTIONS)
  await behindVacuum(flow)
  const seen: string[] = []
  const { follow, ack } = AckTracker.prototype
  const spies = [
    vi.spyOn(AckTracker.prototype, 'follow').mockImplementation(function (this: AckTracker, id, session, durable) {
      if (durable > 0) seen.push('counted')
      return follow.call(this, id, session, durable)
    }),
    vi.spyOn(AckTracker.prototype, 'ack').mockImplementation(function (this: AckTracker, id, session, durable) {
      seen.push('counted')
      return ack.call(this, id, session, durable)
    }),
  ]
  onTestFinished(() => spies.forEach((spy) => void spy.mockRestore()))
  await flow.replica('r1', new MemoryRoot({}))
  const shipping = await flow.ship()
  shipping.log.subscribe(({ event }) => void (/^(exec_rebuild_completed|stream_opened)$/.test(event) && seen.push(event)))
  await flow.write(5)
  await flow.equal()
  await flow.write(5)
  await flow.equal()
  expect(seen.slice(0, 2)).toEqual(['exec_rebuild_completed', 'stream_opened'])
  expect(seen).toContain('counted')
})

it('P8 a replica that is away for more log than it may hold back: its pin goes behind its session, the log is free, and it comes back by a rebuild', async () => {
  const flow = await Flow.open(memory!.make(), new MemoryRoot({}), OPTIONS)
  const root = new MemoryRoot({})
  await flow.replica('r1', root)
  const shipping = await flow.ship({ retention: { maxPinnedBytes: 96 * 1024, degradedPinMs: 600_000 } })
  await flow.write(20)
  await flow.equal()
  const at = flow.store.lsn
  await flow.replicas.get('r1')!.close()
  await until(() => shipping.status().replicas[0]!.state !== 'in_sync')
  await rounds(flow, 4)
  await until(() => shipping.status().replicas[0]!.state === 'needs_rebuild')
  expect(shipping.status().replicas[0]!.reason).toBe('retention_exceeded')
  expect(await flow.store.pins()).toEqual([])
  await rounds(flow, 1)
  expect((await flow.store.vacuum({ keep: { versions: 1 } })).tail).toBeGreaterThan(at)
  const { endpoint } = await flow.replica('r1', root)
  await shipping.assign([{ id: 'r1', endpoint: { data: endpoint.data, version: 2 } }])
  await flow.equal()
  expect(reasons(flow)).toHaveLength(1)
})

it('B13 a replica that was promised more than the newest checkpoint holds is rebuilt from a base above it, not halted', async () => {
  const flow = await Flow.open(memory!.make(), new MemoryRoot({}), OPTIONS)
  const root = new MemoryRoot({})
  await flow.replica('r1', root)
  const shipping = await flow.ship({ retention: { maxPinnedBytes: 4096, degradedPinMs: 600_000 } })
  const halts: string[] = []
  shipping.on('halted', ({ reason }) => void halts.push(reason))
  await flow.write(20)
  await flow.store.flush()
  await flow.write(20)
  await flow.equal()
  await flow.replicas.get('r1')!.close()
  await until(() => shipping.status().replicas[0]!.state !== 'in_sync')
  await flow.write(400)
  await until(() => shipping.status().replicas[0]!.state === 'needs_rebuild')
  const { endpoint } = await flow.replica('r1', root)
  await shipping.assign([{ id: 'r1', endpoint: { data: endpoint.data, version: 2 } }])
  await flow.equal()
  expect(halts).toEqual([])
  expect(reasons(flow)).toEqual(['plan_rebuild_full_base checkpoint_below_promised'])
})

it('B17 a replica that knew less than its base keeps what an older tag needs: a tag made while it was away is read, and it verifies', async () => {
  const flow = await Flow.open(memory!.make(), new MemoryRoot({}), OPTIONS)
  const root = new MemoryRoot({})
  await flow.replica('r1', root)
  const shipping = await flow.ship({ retention: { degradedPinMs: 1 } })
  await rounds(flow, 1)
  await flow.store.tag('before')
  await flow.equal()
  await flow.replicas.get('r1')!.close()
  await until(() => shipping.status().replicas[0]!.state !== 'in_sync')
  await rounds(flow, 1)
  await flow.store.tag('then')
  await behindVacuum(flow)
  await rounds(flow, 1)
  await flow.store.vacuum({ keep: { versions: 1 } })
  const { endpoint } = await flow.replica('r1', root)
  await shipping.assign([{ id: 'r1', endpoint: { data: endpoint.data, version: 2 } }])
  await flow.equal()
  expect(reasons(flow)).toHaveLength(1)
  const replica = flow.replicas.get('r1')!
  for (const tag of ['before', 'then']) expect(await named(flow, replica.store as Store, tag)).toEqual(await named(flow, flow.store, tag))
  expect(await replica.store.verify({ level: 'all' })).toMatchObject({ ok: true, problems: [] })
})
