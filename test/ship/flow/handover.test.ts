// The handover from catch-up to live stream while a writer appends as fast as it can (shipping.md section 6).
//
//   VARVE_RUNS=20 VARVE_SEED=1 npx vitest run test/ship/flow/handover.test.ts
import { expect, it } from 'vitest'

import { fillWorld, seededRandom } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork, replicaId } from '../../../bindings/ship/index.ts'
import { opened } from '../../unit/store/places.ts'
import { FakeReplica } from './fake-replica.ts'
import { people, until } from './flow-kit.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 1)
const SEED = Number(process.env['VARVE_SEED'] ?? 1)
const ENTRIES = 100_000
const LANES = 256

it.each(Array.from({ length: RUNS }, (_, run) => SEED + run))(
  `C9 handover while the writer appends at full speed: each of ${ENTRIES} LSNs once, in order (seed %i)`,
  async (seed) => {
    const random = seededRandom(seed)
    const network = new MemoryNetwork({ ...fillWorld(undefined), random })
    network.delay([0, random.u32() % 3])
    const store = await opened('memory:')
    await store.create(people)
    let next = 0
    const write = (rows: number): Promise<unknown> =>
      Promise.all(Array.from({ length: rows }, () => store.append(people, { id: BigInt(next++), name: 'a', group: 1 })))
    // What is there before shipping begins: the catch-up; the rest comes during it, around the grant and in the stream.
    for (const before = random.u32() % (ENTRIES / 4); next < before;) await write(1000)
    // Its oracle throws at any record that is not the next one, and at any chain digest that is not its own.
    const replica = new FakeReplica()
    await network.transport('r1').listen(replica, { data: 'r1', version: 1 })
    const shipping = await store.ship({ replicas: [{ id: 'r1', endpoint: 'r1' }], transport: network.transport('primary'), maxHandoverLag: 8192 })
    const lane = async (): Promise<void> => {
      while (next < ENTRIES) await store.append(people, { id: BigInt(next++), name: 'a', group: 1 })
    }
    await Promise.all(Array.from({ length: LANES }, lane))
    await until(() => replica.durableLsn >= Number(store.lsn) && shipping.status().inSync === 1)
    const { log } = (store as unknown as { o: { log: { head: bigint; digestAt(lsn: bigint): Promise<Uint8Array> } } }).o
    expect(replica.records.last).toBe(Number(log.head))
    expect(replica.records.last).toBeGreaterThanOrEqual(ENTRIES)
    expect(Buffer.from(replica.records.digest())).toEqual(Buffer.from(await log.digestAt(log.head)))
    const events = shipping.log.eventsFor(replicaId('r1')).map(({ event }) => event)
    expect(events.filter((event) => event === 'stream_opened')).toHaveLength(1)
    expect(events).not.toContain('stream_closed')
    // Sent once: no more than there are.
    expect(shipping.status().replicas[0]!.records).toBe(replica.records.last)
    expect(network.open).toHaveLength(1)
  },
)
