// bench/ship/idle.ts: what a replica that is in sync, and to which nothing is sent, costs its primary: heap and buffers, sockets of Node included. The replicas share a
// process of their own and hold their logs in memory there. Beside it, what as many connections cost that do nothing: sockets of the runtime, with one listener each.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
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
  const bare = await bareSockets(replicas.echoPort, more)
  await using shipping = await ship(store, { replicas: targets.slice(0, FIRST) })
  // They come and go until all code is compiled and the RecoveryLog, which has room for a fixed number of events, is full.
  for (let warm = 0; warm < 6; warm++) {
    await shipping.assign(targets)
    await shipping.settled()
    await shipping.assign(targets.slice(0, FIRST))
  }
  const before = await used()
  await shipping.assign(targets)
  await shipping.settled()
  const after = await used()
  const each = (after - before) / more
  suite.fact('idle.bare-socket', `${rounded(bare / 1024)} KiB for each of ${more} connections`)
  suite.fact('idle.follower', `${rounded(each / 1024)} KiB for each of ${more} more that follow and have nothing to do, its socket included`)
  suite.fact('idle.sender', `${rounded((each - bare) / 1024)} KiB without the socket`)
}

/** @returns bytes for each of so many connections that send and hear nothing */
async function bareSockets(port: number, count: number): Promise<number> {
  const open = (n: number): Promise<Socket[]> =>
    Promise.all(
      Array.from({ length: n }, async () => {
        const socket = connect({ port, host: '127.0.0.1', noDelay: true })
        socket.on('data', () => {})
        await once(socket, 'connect')
        return socket
      }),
    )
  const first = await open(FIRST)
  const before = await used()
  const rest = await open(count)
  const bytes = ((await used()) - before) / count
  for (const socket of [...first, ...rest]) socket.destroy()
  return bytes
}

async function used(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    collectGarbage()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
