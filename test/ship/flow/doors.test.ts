// What somebody who runs replicas has in hand: to fence them from anywhere, to have one made whole again, and to be told what helps when one does not open.
import { readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

import { candidates, fence, observe } from '../../../bindings/shipping.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failure, tempDirectory } from '../../unit/store/places.ts'
import { Flow, WAYS } from './flow-kit.ts'

const tcp = WAYS.find(({ name }) => name === 'tcp')!

function filesIn(folder: string, end: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(end))
    .map((name) => join(folder, name))
}

describe('fence()', () => {
  it('M1 fences replicas by their addresses alone: their records make a candidate, and the primary is refused', async () => {
    const flow = await Flow.open(tcp.make(), new MemoryRoot({}))
    for (const id of ['r1', 'r2']) await flow.replica(id, new MemoryRoot({}))
    const shipping = await flow.ship()
    await flow.write(20)
    await flow.equal()
    const epoch = shipping.status().epoch + 3
    const told = Promise.withResolvers<number>()
    shipping.on('fenced', ({ seen }) => told.resolve(seen))
    const storeId = flow.store.id
    const records = await Promise.all(flow.targets().map(({ id, endpoint }) => fence(endpoint, { epoch, replicaId: id })))
    expect(candidates(records, 'async', 3, { storeId, epoch }).candidates).toMatchObject([{ id: 'r1', readableLsn: Number(flow.store.lsn) }, { id: 'r2' }])
    await flow.write(1).catch(() => undefined)
    expect(await told.promise).toBe(epoch)
    expect(await observe(flow.targets()[0]!.endpoint)).toMatchObject({ epochSeen: epoch })
  })

  it.each([
    ['of an older epoch', { epoch: 1 }, 'StaleEpochError'],
    ['of another replica', { epoch: 9, replicaId: 'r7' }, 'ReplicaMismatchError'],
    ['of another store', { epoch: 9, storeId: '0f'.repeat(16) }, 'StoreMismatchError'],
    ['of no epoch', { epoch: 0 }, 'InvalidConfigError'],
    ['with an option that there is not', { epoch: 9, at: 4 } as never, 'InvalidConfigError'],
  ])('M1 refuses one %s, and fences nobody', async (_what, o, name) => {
    const flow = await Flow.open(tcp.make(), new MemoryRoot({}))
    const { endpoint } = await flow.replica('r1', new MemoryRoot({}))
    await flow.reopen().catch(() => undefined)
    const shipping = await flow.ship()
    await flow.write(3)
    await flow.equal()
    await fence(endpoint.data, { epoch: 4 })
    expect(await failure(() => fence(endpoint.data, o))).toMatchObject({ name })
    expect((await observe(endpoint.data)).epochSeen).toBe(4)
    await shipping.close()
  })
})

describe('the signal of Replica.open', () => {
  it('ends the open alone: aborted since, the first greeting, a rebuild and a promotion go on', async () => {
    const flow = await Flow.open(tcp.make(), new MemoryRoot({}))
    const bound = new AbortController()
    const replica = await flow.replica('r1', new MemoryRoot({}), { signal: bound.signal })
    bound.abort(new Error('the time to open is over'))
    const shipping = await flow.ship()
    await flow.write(9)
    await flow.equal()
    await shipping.rebuild('r1')
    await flow.equal()
    const lsn = Number(flow.store.lsn)
    await flow.crash()
    await using store = await replica.promote({ epoch: 7, acceptLossAbove: lsn })
    await flow.successor(new MemoryRoot({}), store).then((heir) => heir.write(3))
    expect(Number(store.lsn)).toBeGreaterThanOrEqual(lsn + 3)
    expect(await failure(() => flow.replica('r2', new MemoryRoot({}), { signal: bound.signal }))).toMatchObject({ message: 'the time to open is over' })
  })
})

describe('a replica that was damaged', () => {
  it.each([
    [
      'a byte of each file flipped',
      (path: string) =>
        writeFileSync(
          path,
          readFileSync(path).map((byte, i) => (i === 100 ? byte ^ 1 : byte)),
        ),
    ],
    ['its files deleted', unlinkSync],
  ])('H16 rebuild() makes it whole: %s', async (_what, damage) => {
    const flow = await Flow.open(tcp.make(), tempDirectory(), { inlineLimitBytes: 1024 })
    const folder = tempDirectory()
    await flow.replica('r1', folder)
    const shipping = await flow.ship()
    await flow.bulk(500)
    await flow.store.flush()
    await flow.equal()
    const files = filesIn(folder, '.arrow')
    expect(files.length).toBeGreaterThan(0)
    for (const path of files) damage(path)
    const { store } = flow.replicas.get('r1')!
    expect((await store.verify({ level: 'files' })).ok).toBe(false)
    expect(await shipping.rebuild('r1')).toBe(true)
    await flow.equal()
    expect((await store.verify({ level: 'files' })).problems).toEqual([])
    expect(await failure(() => shipping.rebuild('r2'))).toMatchObject({ name: 'UnknownReplicaError' })
  })

  it('H16 a log that does not hold together is refused, with a hint that fits a replica; an empty folder under its id is made whole', async () => {
    const flow = await Flow.open(tcp.make(), new MemoryRoot({}))
    const folder = tempDirectory()
    const first = await flow.replica('r1', folder)
    const shipping = await flow.ship()
    await flow.write(50)
    await flow.equal()
    await first.close()
    const [log] = filesIn(folder, '.wal')
    writeFileSync(
      log!,
      readFileSync(log!).map((byte, i) => (i === 300 ? byte ^ 1 : byte)),
    )
    const error = await failure(() => flow.replica('r1', folder))
    expect(error).toMatchObject({ name: 'CorruptionError', code: 'log.corrupt' })
    expect(error['hint']).toContain('move')
    const { endpoint } = await flow.replica('r1', tempDirectory())
    await shipping.assign([{ id: 'r1', endpoint: endpoint.data }])
    await flow.equal()
  })
})
