// What people do by mistake, and what they are told: a wrong address, a wrong store, a folder used twice, options that there are not.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { LockHeldError, OpenLockTimeoutError, Store } from '../../../bindings/index.ts'
import { AuthError, InvalidEndpointError } from '../../../bindings/errors-ship.ts'
import { replicaId } from '../../../bindings/ship/index.ts'
import { Replica, ship } from '../../../bindings/store/index.ts'
import { opened, tempDirectory } from '../../unit/store/places.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

const LISTEN = '127.0.0.1:0'
const KEY = '11'.repeat(32)
const ONCE = { openRetry: { delaysMs: [] } }

describe('a replica that is not the one that is meant', () => {
  it.each(WAYS)('S5 one of another store halts, over $name', async ({ make }) => {
    const flow = await Flow.open(make(), tempDirectory())
    const replica = await flow.replica('r1', tempDirectory(), { storeId: '0123456789abcdef0123456789abcdef' })
    const shipping = await flow.ship()
    await until(() => shipping.status().halted === 1)
    expect(shipping.status().replicas).toMatchObject([{ state: 'halted', reason: 'store_mismatch', lastError: { code: 'ship.store-mismatch' } }])
    // Before anybody could have listened, perhaps: the log has it in any case.
    expect(shipping.log.eventsFor(replicaId('r1'))).toContainEqual(expect.objectContaining({ event: 'handshake_failed' }))
    expect(replica.status().durable).toBe(0n)
  })

  it.each(WAYS)('S5 one of another name stays disconnected, and nothing of it is touched, over $name', async ({ make }) => {
    const flow = await Flow.open(make(), tempDirectory())
    const replica = await flow.replica('r1', tempDirectory())
    const shipping = await flow.ship({})
    await shipping.assign([{ id: 'r2', endpoint: replica.endpoint.data }])
    await until(() => shipping.log.eventsFor(replicaId('r2')).some(({ event }) => event === 'handshake_failed'))
    expect(shipping.status().replicas).toMatchObject([{ id: 'r2', reason: 'replica_mismatch', lastError: { code: 'ship.replica-mismatch' } }])
  })
})

describe('a folder', () => {
  it('of a replica that no primary has reached yet is taken already: for another replica, and for a store', async () => {
    const place = tempDirectory()
    const replica = await Replica.open(place, { replicaId: 'r1', listen: LISTEN })
    await expect(Replica.open(place, { replicaId: 'r1', listen: LISTEN, ...ONCE })).rejects.toBeInstanceOf(LockHeldError)
    await expect(Store.open(place, { openRetry: { delaysMs: [1] } })).rejects.toBeInstanceOf(OpenLockTimeoutError)
    // The first one lost nothing by it.
    const store = await opened(tempDirectory())
    await store.create(people)
    const shipping = await ship(store, { replicas: [replica.endpoint.data] })
    await shipping.settled()
    expect(replica.status().storeId).toBe(store.id)
    await expect(Replica.open(place, { replicaId: 'r1', listen: LISTEN, ...ONCE })).rejects.toBeInstanceOf(LockHeldError)
    await shipping.close()
    await replica.close()
    await (await Replica.open(place, { replicaId: 'r1', listen: LISTEN, ...ONCE })).close()
  })

  it('that holds other things is refused, and nothing is put into it', async () => {
    const place = tempDirectory()
    writeFileSync(join(place, 'notes.txt'), 'of somebody')
    await expect(Replica.open(place, { replicaId: 'r1', listen: LISTEN })).rejects.toMatchObject({ code: 'store.not-a-store' })
    expect(readdirSync(place)).toEqual(['notes.txt'])
  })

  it('that was left before any primary came is free again', async () => {
    const place = tempDirectory()
    await (await Replica.open(place, { replicaId: 'r1', listen: LISTEN })).close()
    await (await Replica.open(place, { replicaId: 'r2', listen: LISTEN, ...ONCE })).close()
    await (await opened(place)).close()
  })
})

describe('what is said', () => {
  it('an address that is taken, a certificate that is missing, a key that is another: each by its cause', async () => {
    const replica = await Replica.open('memory:', { replicaId: 'r1', listen: LISTEN, key: KEY })
    const at = replica.endpoint.data
    const taken = await Replica.open('memory:', { replicaId: 'r2', listen: at, key: KEY }).catch((error: unknown) => error)
    expect(taken).toBeInstanceOf(InvalidEndpointError)
    expect((taken as Error).message).toBe(`${at} cannot be listened on: EADDRINUSE`)
    await expect(Replica.open('memory:', { replicaId: 'r2', listen: LISTEN, tls: { ca: '' } })).rejects.toMatchObject({ code: 'options.invalid' })
    const store = await opened('memory:')
    const refused = await ship(store, { replicas: [at], key: '22'.repeat(32) }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(AuthError)
    expect((refused as Error).message).toBe(`${at} refuses the shared key of this side`)
    await replica.close()
    await expect(ship(store, { replicas: [at], key: KEY })).rejects.toThrow(`${at} cannot be reached: ECONNREFUSED`)
  })

  it('a role, an event that there is not; a write to a replica; a wait for what is closed', async () => {
    const [way] = WAYS
    const flow = await Flow.open(way!.make(), tempDirectory())
    const replica = await flow.replica('r1', tempDirectory())
    const shipping = await flow.ship()
    const [target] = flow.targets()
    await expect(shipping.assign([{ ...target!, role: 'leader' as 'learner' }])).rejects.toMatchObject({ code: 'options.invalid', details: { key: 'role' } })
    expect(() => replica.on('changed' as 'state', () => {})).toThrow('no listener of "changed"')
    await shipping.settled()
    expect(shipping.status().replicas).toMatchObject([{ role: 'voter' }])
    await expect((replica.store as Store).append(people, [])).rejects.toMatchObject({
      code: 'store.read-only',
      hint: expect.stringContaining('primary') as string,
    })
    await shipping.close()
    await expect(shipping.settled()).rejects.toMatchObject({ code: 'store.closed' })
    await replica.close()
    await expect(replica.ready()).rejects.toMatchObject({ code: 'store.closed' })
  })

  it('of what the readers of a replica see, in a stream that has nothing to send, and after it', async () => {
    const flow = await Flow.open(WAYS[0]!.make(), tempDirectory())
    const replica = await flow.replica('r1', tempDirectory())
    const shipping = await flow.ship()
    await flow.write(20)
    await shipping.settled()
    await until(() => replica.status().lsn === flow.store.lsn)
    await until(() => shipping.status().replicas[0]!.appliedLsn === flow.store.lsn)
    await replica.close()
    await until(() => shipping.status().degraded === 1)
    expect(shipping.status().replicas).toMatchObject([{ durableLsn: flow.store.lsn, appliedLsn: flow.store.lsn }])
  })
})
