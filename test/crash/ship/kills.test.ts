// A primary and two replicas, mode quorum, under load on real disks: SIGKILL of each in random order. What was acknowledged is on the primary and, once all are
// back, on every replica; all three are one history.
//
//   VARVE_SHIP_ROUNDS=200 VARVE_SEED=7 npx vitest run test/crash/ship/kills.test.ts
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { seeded } from '../../unit/format/vecs.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { expectEqual, expectHolds, freePort, type Node, startPrimary, startReplica } from './cluster.ts'

const ROUNDS = Number(process.env['VARVE_SHIP_ROUNDS'] ?? 8)
const SEED = Number(process.env['VARVE_SEED'] ?? 1)
const LANES = 16

it(
  `SIGKILL of primary and replicas in random order, ${ROUNDS} rounds, seed ${SEED}: nothing acknowledged is lost, all end equal`,
  { timeout: 120_000 + ROUNDS * 10_000 },
  async () => {
    const random = seeded(SEED)
    const folder = tempDirectory()
    const folders = { p: join(folder, 'p'), r1: join(folder, 'r1'), r2: join(folder, 'r2') }
    const ports = { r1: await freePort(), r2: await freePort() }
    const replicas = (['r1', 'r2'] as const).map((id) => ({ id, endpoint: `127.0.0.1:${ports[id]}` }))
    const nodes = new Map<keyof typeof folders, Node>()
    const gone: Node[] = []
    let first = 1
    const acknowledged: bigint[] = []
    let settled = 0n
    const start = async (name: keyof typeof folders): Promise<void> => {
      if (name === 'p') {
        nodes.set(name, startPrimary(folders.p, { replicas, ack: 'quorum', first, ackTimeoutMs: 2000 }))
        await nodes.get(name)!.until('ready')
        nodes.get(name)!.tell(`go ${LANES}`)
      } else {
        nodes.set(name, startReplica(folders[name], name, ports[name]))
        await nodes.get(name)!.until('ready')
      }
    }
    const kill = async (name: keyof typeof folders): Promise<void> => {
      const node = nodes.get(name)!
      await node.kill()
      gone.push(node)
      if (name !== 'p') return
      acknowledged.push(...node.acknowledged())
      // Whatever it had begun: ids are never given twice.
      first += 1_000_000
    }
    try {
      for (const name of ['r1', 'r2', 'p'] as const) await start(name)
      for (let round = 0; round < ROUNDS; round++) {
        await pause(100 + random() * 400)
        const victims = (['p', 'r1', 'r2'] as const).filter(() => random() < 0.45)
        for (const name of victims) await kill(name)
        await pause(random() * 300)
        for (const name of victims.toSorted(() => random() - 0.5)) await start(name)
      }
      const primary = nodes.get('p')!
      await primary.ask('pause', 'paused')
      settled = BigInt(await primary.ask('settle', 'settled'))
      acknowledged.push(...primary.acknowledged())
      primary.tell('close')
      expect(await primary.until('closed')).toBe('0')
      for (const id of ['r1', 'r2'] as const) {
        nodes.get(id)!.tell('close')
        await nodes.get(id)!.until('closed')
      }
    } finally {
      for (const node of nodes.values()) await node.kill()
    }
    expect(acknowledged.length).toBeGreaterThan(0)
    const below = BigInt(first + 1_000_000)
    const [a, b, c] = [
      await expectHolds(folders.p, acknowledged, below),
      await expectHolds(folders.r1, acknowledged, below),
      await expectHolds(folders.r2, acknowledged, below),
    ]
    // What the primary writes by itself after that, up to its end, needs one replica, and may have come to none.
    for (const lsn of [b, c]) {
      expect(lsn).toBeGreaterThanOrEqual(settled)
      expect(lsn).toBeLessThanOrEqual(a)
    }
    expect(a - settled).toBeLessThan(10n)
    await expectEqual(folders.r1, folders.p, false)
    await expectEqual(folders.r2, folders.p, false)
  },
)
