// bench/ship/latency.ts: one commit at a time: what a quorum of three on this machine adds to a commit that is durable here, beside the round trip of as many bytes
// between two processes. Rounds alternate, medians count.
import { once } from 'node:events'
import { connect } from 'node:net'
import { ship } from '../../bindings/shipping.ts'
import { commitLoop } from '../contender.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { ReplicaProcess } from './replicas.ts'

/** About what a commit of one row takes in a frame. */
const MESSAGE_BYTES = 256

export async function latency(suite: FigureSuite): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const replicas = [stack.use(await ReplicaProcess.start(freshFolder(), 'r1')), stack.use(await ReplicaProcess.start(freshFolder(), 'r2'))]
  const local = await VarveDatabase.open(freshFolder())
  stack.defer(() => local.store.close())
  const quorum = await VarveDatabase.open(freshFolder())
  stack.defer(() => quorum.store.close())
  const shipping = stack.use(await ship(quorum.store, { replicas: replicas.map(({ id, endpoint }) => ({ id, endpoint })), ack: 'quorum' }))
  await shipping.settled()
  const ms = suite.quick ? 300 : 1000
  const found = { local: [] as number[], quorum: [] as number[], trip: [] as number[] }
  const first = { local: 0, quorum: 0 }
  for (let round = 0; round <= suite.rounds; round++) {
    const one = async (name: 'local' | 'quorum', db: VarveDatabase): Promise<number> => {
      const { commits, latencies } = await commitLoop(db, first[name], 1, ms)
      first[name] += commits
      return medianOf([...latencies])
    }
    const turn = { local: await one('local', local), quorum: await one('quorum', quorum), trip: await roundTrip(replicas[0]!.echoPort, ms) }
    // The first round warms up.
    if (round > 0) for (const name of ['local', 'quorum', 'trip'] as const) found[name].push(turn[name])
  }
  const medians = { local: medianOf(found.local), quorum: medianOf(found.quorum), trip: medianOf(found.trip) }
  const micros = (value: number): string => `${Math.round(value * 1000)} µs`
  suite.fact('latency.local', `${micros(medians.local)} a commit`)
  suite.fact('latency.quorum-3', `${micros(medians.quorum)} a commit`)
  suite.fact('latency.round-trip', `${micros(medians.trip)} for ${MESSAGE_BYTES} bytes there and back`)
  suite.fact(
    'latency.quorum-3.added',
    `${rounded((medians.quorum - medians.local) / medians.trip)} round trips, ${rounded(medians.quorum / medians.local)} of local`,
  )
}

async function roundTrip(port: number, ms: number): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  const message = Buffer.alloc(MESSAGE_BYTES, 1)
  const times: number[] = []
  const end = performance.now() + ms
  while (performance.now() < end) {
    const started = performance.now()
    socket.write(message)
    for (let left = MESSAGE_BYTES; left > 0;) left -= ((await once(socket, 'data')) as [Buffer])[0].length
    times.push(performance.now() - started)
  }
  socket.destroy()
  return medianOf(times)
}
