// bench/ship/outage.ts: the link of a replica is cut for a second while commits go on; how long until it is in sync again, and how much of that is replay.
import { connect, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { ship } from '../../bindings/shipping.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import { commitLoop } from '../contender.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { ReplicaProcess } from './replicas.ts'

const OUTAGE_MS = 1000
const POLL_MS = 2
const LANES = 4

export async function outage(suite: FigureSuite): Promise<void> {
  await using replica = await ReplicaProcess.start(freshFolder(), 'r1')
  await using wire = await Wire.to(replica.endpoint)
  const db = await VarveDatabase.open(freshFolder())
  await using store = db.store
  await using shipping = await ship(store, { replicas: [{ id: 'r1', endpoint: wire.endpoint }] })
  await shipping.settled()
  const back: number[] = []
  const missed: number[] = []
  let first = 0
  for (let round = 0; round < suite.rounds; round++) {
    const before = shipping.status().durableLsn
    wire.cut()
    const ran = await commitLoop(db, first, LANES, OUTAGE_MS)
    first += ran.commits
    const head = shipping.status().durableLsn
    wire.heal()
    const started = performance.now()
    while (!(shipping.status().replicas[0]!.state === 'in_sync' && shipping.status().replicas[0]!.durableLsn >= head)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    back.push(performance.now() - started)
    missed.push(Number(head - before))
  }
  suite.fact('outage.back-in-sync', `${rounded(medianOf(back))} ms after the link was there again (${back.map((ms) => Math.round(ms)).join(', ')})`)
  suite.fact('outage.missed', `${medianOf(missed)} records to replay`)
}

/** A connection in between that can be taken away. */
class Wire implements AsyncDisposable {
  readonly endpoint: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #isCut = false

  private constructor(server: Server) {
    this.#server = server
    this.endpoint = `127.0.0.1:${(server.address() as { port: number }).port}`
  }

  static async to(endpoint: string): Promise<Wire> {
    const [host, port] = endpoint.split(':') as [string, string]
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const wire = new Wire(server)
    server.on('connection', (socket) => {
      if (wire.#isCut) return void socket.destroy()
      const other = connect(Number(port), host)
      for (const [a, b] of [
        [socket, other],
        [other, socket],
      ] as const) {
        wire.#sockets.add(a)
        a.on('error', () => b.destroy())
        a.on('close', () => {
          wire.#sockets.delete(a)
          b.destroy()
        })
        a.pipe(b)
      }
    })
    return wire
  }

  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  heal(): void {
    this.#isCut = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
