// bench/ship/latency.ts: one commit at a time: what a quorum of three on this machine adds to a commit that is durable here, beside the round trip of as many bytes
// between two processes, and what the same three syncs cost with bare sockets and files. Rounds alternate, medians count.
import { once } from 'node:events'
import { connect } from 'node:net'
import { ship } from '../../bindings/shipping.ts'
import { commitLoop } from '../contender.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import type { FigureSuite } from '../figures.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import { ReplicaProcess } from './replicas.ts'
import { SyncedFile } from './synced-file.ts'

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
  const file = new SyncedFile(`${freshFolder()}.bare`)
  const ms = suite.quick ? 300 : 1000
  const found = { local: [] as number[], quorum: [] as number[], trip: [] as number[], bare: [] as number[] }
  const first = { local: 0, quorum: 0 }
  for (let round = 0; round <= suite.rounds; round++) {
    const one = async (name: 'local' | 'quorum', db: VarveDatabase): Promise<number> => {
      const { commits, latencies } = await commitLoop(db, first[name], 1, ms)
      first[name] += commits
      return medianOf([...latencies])
    }
    const turn = {
      local: await one('local', local),
      quorum: await one('quorum', quorum),
      trip: await roundTrip(replicas[0]!.echoPort, ms),
      bare: await bareQuorum(replicas, file, ms),
    }
    // The first round warms up.
    if (round > 0) for (const name of ['local', 'quorum', 'trip', 'bare'] as const) found[name].push(turn[name])
  }
  const medians = { local: medianOf(found.local), quorum: medianOf(found.quorum), trip: medianOf(found.trip), bare: medianOf(found.bare) }
  const micros = (value: number): string => `${Math.round(value * 1000)} µs`
  suite.fact('latency.local', `${micros(medians.local)} a commit`)
  suite.fact('latency.quorum-3', `${micros(medians.quorum)} a commit`)
  suite.fact('latency.round-trip', `${micros(medians.trip)} for ${MESSAGE_BYTES} bytes there and back`)
  suite.fact('latency.bare', `${micros(medians.bare)} for ${MESSAGE_BYTES} bytes written and synced here and on one of two others`)
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

/** To two processes and the file here at once, until it is synced here and one of them has answered: what no quorum of three on this machine can be quicker than. */
async function bareQuorum(replicas: readonly ReplicaProcess[], file: SyncedFile, ms: number): Promise<number> {
  const sockets = replicas.map(({ logPort }) => connect({ port: logPort, host: '127.0.0.1', noDelay: true }))
  const message = Buffer.alloc(MESSAGE_BYTES, 1)
  const times: number[] = []
  const answers: (() => void)[] = []
  await Promise.all(
    sockets.map(async (socket, i) => {
      await once(socket, 'connect')
      let bytes = 0
      socket.on('data', ({ length }: Buffer) => {
        for (bytes += length; bytes >= MESSAGE_BYTES; bytes -= MESSAGE_BYTES) answers[i]!()
      })
    }),
  )
  const end = performance.now() + ms
  while (performance.now() < end) {
    const started = performance.now()
    const there = sockets.map((_, i) => new Promise<void>((resolve) => (answers[i] = resolve)))
    for (const socket of sockets) socket.write(message)
    const here = new Promise<void>((resolve) => setImmediate(() => file.append(message, resolve)))
    await Promise.all([here, Promise.race(there)])
    times.push(performance.now() - started)
    // The slower one would be in the way of the next.
    await Promise.all(there)
  }
  for (const socket of sockets) socket.destroy()
  return medianOf(times)
}
