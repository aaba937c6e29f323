// bench/ship/idle.ts: what a replica that is in sync, and to which nothing is sent, costs its primary: heap and buffers, sockets of Node included. The replicas share a
// process of their own and hold their logs in memory there.
import { ship } from '../../bindings/shipping.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import type { FigureSuite } from '../figures.ts'
import { collectGarbage, freshFolder } from '../machine.ts'
import { rounded } from '../report.ts'
import { ReplicaProcess } from './replicas.ts'

const FIRST = 32

export async function idle(suite: FigureSuite): Promise<void> {
  const more = suite.quick ? 32 : 128
  await using replicas = await ReplicaProcess.start('memory', 'r', FIRST + more)
  const db = await VarveDatabase.open(freshFolder())
  await using store = db.store
  const targets = replicas.endpoints.map((endpoint, i) => ({ id: `r${i}`, endpoint, role: 'learner' as const }))
  await using shipping = await ship(store, { replicas: targets.slice(0, FIRST) })
  await shipping.settled()
  const before = await used()
  await shipping.assign(targets)
  await shipping.settled()
  const after = await used()
  suite.fact('idle.sender', `${rounded((after - before) / more / 1024)} KiB for each of ${more} more that follow and have nothing to do`)
}

async function used(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    collectGarbage()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
