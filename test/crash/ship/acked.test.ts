// A replica as a process is killed in the very turn in which its word reached the primary: what it said was durable is there, in the same bytes, when it is opened
// again by somebody else and when it comes back.
//
//   VARVE_SHIP_ROUNDS=100 npx vitest run test/crash/ship/acked.test.ts
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { type Lsn, Store } from '../../../bindings/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { Replica, ship } from '../../../bindings/shipping.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { expectEqual, expectHolds, freePort, type Node, startReplica } from './cluster.ts'
import { entries, entryOf } from './tables.ts'

const ROUNDS = Number(process.env['VARVE_SHIP_ROUNDS'] ?? 3)
const LANES = 16

it(
  `K3 SIGKILL of a replica right after an acknowledgement, ${ROUNDS} rounds: what it acknowledged survives`,
  { timeout: 60_000 + ROUNDS * 15_000 },
  async () => {
    const folder = tempDirectory()
    const folders = { p: join(folder, 'p'), r: join(folder, 'r') }
    const port = await freePort()
    let node: Node = startReplica(folders.r, 'r1', port)
    await node.until('ready')
    const store = await Store.open(folders.p)
    await store.create(entries)
    const shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: `127.0.0.1:${port}` }], ack: 'all', allowIndeterminate: true })
    let next = 1n
    const acknowledged: bigint[] = []
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await shipping.settled({ signal: AbortSignal.timeout(30_000) })
        // In mode all a commit resolves by the word of the replica.
        const victim = node
        const last = 40 + round * 17
        let told = 0n as Lsn
        let count = 0
        const lane = async (): Promise<void> => {
          while (victim.isUp && count < last) {
            const id = next++
            const { lsn } = await store.append(entries, entryOf(id))
            acknowledged.push(id)
            if (count >= last) continue
            told = lsn > told ? lsn : told
            if (++count === last) void victim.kill()
          }
        }
        const lanes = Promise.all(Array.from({ length: LANES }, lane))
        // Those that it did not answer any more commit when it is back.
        lanes.catch(() => undefined)
        while (victim.isUp) await new Promise((resolve) => setImmediate(resolve))
        await victim.kill()
        expect(told).toBeGreaterThan(0n)
        await expectDurable(folders.r, told)
        node = startReplica(folders.r, 'r1', port)
        await node.until('ready')
        await Promise.allSettled([lanes])
      }
      await shipping.settled({ signal: AbortSignal.timeout(30_000) })
      await shipping.close()
      node.tell('close')
      await node.until('closed')
    } finally {
      await node.kill()
      await shipping.close()
      await store.close().catch(() => undefined)
    }
    await expectHolds(folders.r, acknowledged, next)
    await expectEqual(folders.r, folders.p, false)
  },
)

/** Opened by another process, before any primary reaches it. */
async function expectDurable(place: string, lsn: Lsn): Promise<void> {
  const transport = new MemoryNetwork(defaultWorld()).transport('r1')
  const replica = await Replica.open(place, { replicaId: 'r1', transport, endpoint: { data: 'r1', version: 1 } })
  try {
    expect(replica.status().durable).toBeGreaterThanOrEqual(lsn)
  } finally {
    await replica.close()
  }
}
