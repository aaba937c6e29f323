// A real store ships to a real replica: bootstrap, files, live stream, broken links, reopened replicas; equal in chain, state, files and rows each time.
import { describe, expect, it } from 'vitest'

import { Flow, ROOTS, until, WAYS } from './flow-kit.ts'

describe.each(WAYS)('over $name', ({ make }) => {
  it.each(ROOTS)('X11 bootstrap with files, live stream, broken link, reopened replica, reopened primary (%s)', async (_, place) => {
    const net = make()
    const flow = await Flow.open(net, place())
    await flow.write(300)
    await flow.bulk(20_000)
    await flow.store.flush()
    await flow.write(100)
    const root = place()
    await flow.replica('r1', root)
    const shipping = await flow.ship()
    await flow.equal()
    // Live: rows, files, and what upkeep does to them.
    await flow.write(200)
    await flow.store.flush()
    await flow.bulk(5000)
    await flow.store.optimize()
    await flow.write(50)
    await flow.equal()
    expect(shipping.status().replicas[0]).toMatchObject({ state: 'in_sync', lag: 0, lastError: null })
    expect(shipping.status().replicas[0]!.files).toBeGreaterThan(1)
    // The replica's process goes and comes back elsewhere.
    await flow.replicas.get('r1')!.close()
    await flow.write(100)
    const back = await flow.replica('r1', root)
    await shipping.assign([{ id: 'r1', endpoint: { data: back.endpoint.data, version: 9 } }])
    await flow.equal()
    // And the primary's.
    await flow.store.close()
    expect(shipping.closed).toBe(true)
    await flow.reopen()
    await flow.ship()
    await flow.write(30)
    await flow.equal()
    await flow.shipping!.close()
    expect(await flow.store.pins()).toEqual([])
  })

  it('two replicas, one of which is away for a while, hear of everything', async () => {
    const flow = await Flow.open(make(), ROOTS[0]![1]())
    await flow.replica('r1', ROOTS[0]![1]())
    const away = ROOTS[0]![1]()
    await flow.replica('r2', away)
    const shipping = await flow.ship()
    await flow.write(100)
    await flow.equal()
    await flow.replicas.get('r2')!.close()
    await until(() => shipping.status().replicas[1]!.state !== 'in_sync')
    await flow.write(500)
    await flow.store.flush()
    const { endpoint } = await flow.replica('r2', away)
    await shipping.assign([flow.targets()[0]!, { id: 'r2', endpoint: { data: endpoint.data, version: 2 } }])
    await flow.equal()
    expect(shipping.log.events().filter(({ event }) => event === 'escalated')).toEqual([])
  })
})
