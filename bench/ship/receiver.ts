// bench/ship/receiver.ts: the thread that pieces are sent to: hashes what comes, over a bare socket or over frames, and says so when that was all of a round.
import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:net'
import { parentPort } from 'node:worker_threads'

import { type Link, TcpTransport } from '../../bindings/shipping.ts'

export interface Ports {
  readonly bare: number
  readonly frames: string
}

export const KEY: string = '5a'.repeat(32)

async function receive(port: NonNullable<typeof parentPort>): Promise<void> {
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

// Whoever wants the key alone is on another thread.
if (parentPort !== null) await receive(parentPort)
