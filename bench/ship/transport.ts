// bench/ship/transport.ts: what the frames of shipping cost on a loopback socket: pieces of files of 256 KiB, hashed where they arrive, beside a bare socket that
// carries the same bytes into the same hash. Sender and receiver have a thread each; rounds alternate, medians count. CPU time is that of both threads: it stays
// where it is when others use the machine, too.
//
//   node bench/ship/transport.ts [--mib 512] [--rounds 7]
import { createHash } from 'node:crypto'
import { connect, createServer, type Server } from 'node:net'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

import { type Link, TcpTransport } from '../../bindings/shipping.ts'

const PIECE_BYTES = 256 * 1024
const KEY = '5a'.repeat(32)

interface Ports {
  readonly bare: number
  readonly frames: string
}

/** Hashes what comes, and says so when that was all of a round. */
async function receive(): Promise<void> {
  const port = parentPort!
  let left = 0
  let hash = createHash('sha256')
  port.on('message', (bytes: number) => {
    left = bytes
    hash = createHash('sha256')
    port.postMessage('ready')
  })
  const take = (bytes: Uint8Array): void => {
    hash.update(bytes)
    left -= bytes.length
    if (left === 0) port.postMessage(hash.digest('hex'))
  }
  const server: Server = createServer((socket) => void socket.on('data', take))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accept = (link: Link): void => {
    void (async () => {
      for await (const { message } of link.frames) if (message.type === 'fragment') take(message.bytes)
    })()
  }
  const listening = await new TcpTransport({ key: KEY }).listen({ accept }, { data: '127.0.0.1:0', version: 1 })
  const ports: Ports = { bare: (server.address() as { port: number }).port, frames: listening.endpoint.data }
  port.postMessage(ports)
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { mib: { type: 'string', default: '512' }, rounds: { type: 'string', default: '7' } } })
  const pieces = (Number(values.mib) * 1024 * 1024) / PIECE_BYTES
  const worker = new Worker(new URL(import.meta.url))
  const heard = <T>(): Promise<T> => new Promise((resolve) => worker.once('message', resolve))
  const ports = await heard<Ports>()
  const piece = new Uint8Array(PIECE_BYTES).map((_, i) => i * 31 + (i >>> 8))
  const hash = new Uint8Array(32)

  const socket = connect({ host: '127.0.0.1', port: ports.bare, noDelay: true })
  const link = await new TcpTransport({ key: KEY }).connect({ data: ports.frames, version: 1 }, new AbortController().signal)
  const contenders: Readonly<Record<string, () => Promise<void>>> = {
    bare: async () => {
      for (let i = 0; i < pieces; i++) if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve))
    },
    frames: async () => {
      const total = pieces * PIECE_BYTES
      for (let i = 0; i < pieces; i++) {
        await link.send({ epoch: 1, session: 1, message: { type: 'fragment', hash, offset: i * PIECE_BYTES, total, dead: false, bytes: piece } })
      }
    },
  }
  const rates: Record<string, number[]> = { bare: [], frames: [] }
  const work: Record<string, number[]> = { bare: [], frames: [] }
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? ['bare', 'frames'] : ['frames', 'bare']) {
      const ready = heard()
      worker.postMessage(pieces * PIECE_BYTES)
      await ready
      const done = heard()
      const started = performance.now()
      const before = process.cpuUsage()
      await contenders[name]!()
      await done
      // The first round warms up.
      if (round === 0) continue
      const { user, system } = process.cpuUsage(before)
      work[name]!.push((user + system) / 1000 / ((pieces * PIECE_BYTES) / 1e9))
      rates[name]!.push((pieces * PIECE_BYTES) / 1000 / (performance.now() - started))
    }
  }
  const [bare, frames] = [median(rates['bare']!), median(rates['frames']!)]
  const ratios = rates['frames']!.map((rate, i) => rate / rates['bare']![i]!)
  console.log(`bare socket with SHA-256: ${bare.toFixed(0)} MB/s`)
  console.log(`frames with SHA-256:      ${frames.toFixed(0)} MB/s`)
  console.log(`ratio: ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} .. ${Math.max(...ratios).toFixed(2)})`)
  console.log(`CPU time: ${median(work['bare']!).toFixed(0)} and ${median(work['frames']!).toFixed(0)} ms/GB`)
  await link.close()
  socket.destroy()
  await worker.terminate()
}

await (isMainThread ? main() : receive())
