// bench/ship/transport.ts: what the frames of shipping cost on a loopback socket: pieces of files of 256 KiB, hashed where they arrive, beside a bare socket that
// carries the same bytes into the same hash. Sender and receiver have a thread each; rounds alternate, medians count. CPU time is that of both threads: it stays
// where it is when others use the machine, too.
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'

import { TcpTransport } from '../../bindings/shipping.ts'
import type { FigureSuite } from '../figures.ts'
import { medianOf } from '../report.ts'
import { KEY, type Ports } from './receiver.ts'

const PIECE_BYTES = 256 * 1024
const NAMES = ['bare', 'frames'] as const

export async function transport({ rounds, quick, fact }: FigureSuite): Promise<void> {
  const pieces = quick ? 512 : 2048
  const bytes = pieces * PIECE_BYTES
  const worker = new Worker(new URL('./receiver.ts', import.meta.url))
  const heard = <T>(): Promise<T> => new Promise((resolve) => worker.once('message', resolve))
  const ports = await heard<Ports>()
  const piece = new Uint8Array(PIECE_BYTES).map((_, i) => i * 31 + (i >>> 8))
  const hash = new Uint8Array(32)
  const socket = connect({ host: '127.0.0.1', port: ports.bare, noDelay: true })
  const link = await new TcpTransport({ key: KEY }).connect({ data: ports.frames, version: 1 }, new AbortController().signal)
  const send = {
    bare: async (): Promise<void> => {
      for (let i = 0; i < pieces; i++) if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve))
    },
    frames: async (): Promise<void> => {
      for (let i = 0; i < pieces; i++) {
        await link.send({ epoch: 1, session: 1, message: { type: 'fragment', hash, offset: i * PIECE_BYTES, total: bytes, dead: false, bytes: piece } })
      }
    },
  }
  const rates = { bare: [] as number[], frames: [] as number[] }
  const work = { bare: [] as number[], frames: [] as number[] }
  for (let round = 0; round <= rounds; round++) {
    for (const name of round % 2 === 0 ? NAMES : NAMES.toReversed()) {
      const ready = heard()
      worker.postMessage(bytes)
      await ready
      const done = heard()
      const before = process.cpuUsage()
      const started = performance.now()
      await send[name]()
      await done
      // The first round warms up.
      if (round === 0) continue
      rates[name].push(bytes / 1000 / (performance.now() - started))
      const { user, system } = process.cpuUsage(before)
      work[name].push((user + system) / 1000 / (bytes / 1e9))
    }
  }
  const ratios = rates.frames.map((rate, i) => rate / rates.bare[i]!)
  fact('transport.bare', `${medianOf(rates.bare).toFixed(0)} MB/s, ${medianOf(work.bare).toFixed(0)} ms CPU/GB`)
  fact('transport.frames', `${medianOf(rates.frames).toFixed(0)} MB/s, ${medianOf(work.frames).toFixed(0)} ms CPU/GB`)
  fact('transport.ratio', `${medianOf(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} .. ${Math.max(...ratios).toFixed(2)})`)
  await link.close()
  socket.destroy()
  await worker.terminate()
}
