// The TCP transport: the contract over real sockets and over those of a fake world.
import { connect, createServer, type Server, type Socket } from 'node:net'
import { describe, it } from 'vitest'

import { soon } from '../../../bindings/runtime/index.ts'
import { type Endpoint, TcpTransport } from '../../../bindings/ship/index.ts'
import { FakeNetwork, type MakeTransport, transportContract } from '../../../bindings/testing/index.ts'

const keyOf = (key: string | undefined): { readonly key?: string } => (key === undefined ? {} : { key })
const LOCAL: Endpoint = { data: '127.0.0.1:0', version: 1 }

// eslint-disable-next-line typescript/require-await
const sockets: MakeTransport = async ({ serverKey, clientKey, ...bounds }) => {
  const silent: Server[] = []
  const raw: Socket[] = []
  return {
    server: new TcpTransport({ ...keyOf(serverKey), ...bounds }),
    client: new TcpTransport({ ...keyOf(clientKey), ...bounds }),
    endpoint: () => LOCAL,
    raw: async ({ data }) => {
      const socket = connect({ host: '127.0.0.1', port: Number(data.split(':')[1]), noDelay: true })
      raw.push(socket)
      socket.on('error', () => undefined)
      await new Promise((resolve) => socket.once('connect', resolve))
      return { write: (bytes) => void socket.write(bytes), end: () => new Promise((resolve) => socket.end(resolve)) }
    },
    silent: async () => {
      const server = createServer((socket) => void raw.push(socket))
      silent.push(server)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return { data: `127.0.0.1:${(server.address() as { port: number }).port}`, version: 1 }
    },
    // eslint-disable-next-line typescript/require-await
    dispose: async () => {
      for (const socket of raw) socket.destroy()
      for (const server of silent) server.close()
    },
  }
}

const pieces =
  (pieceBytes: number): MakeTransport =>
  // eslint-disable-next-line typescript/require-await
  async ({ serverKey, clientKey, ...bounds }) => {
    const network = new FakeNetwork({ pieceBytes })
    const world = { network }
    return {
      server: new TcpTransport({ world, ...keyOf(serverKey), ...bounds }),
      client: new TcpTransport({ world, ...keyOf(clientKey), ...bounds }),
      endpoint: () => LOCAL,
      raw: async ({ data }) => {
        const stream = await network.connect({ host: '127.0.0.1', port: Number(data.split(':')[1]) }, { signal: new AbortController().signal })
        return {
          write: (bytes) => stream.write([bytes], () => undefined),
          end: () => {
            stream.end()
            return new Promise((resolve) => soon(resolve))
          },
        }
      },
      silent: async () => {
        const { address } = await network.listen({ host: '127.0.0.1', port: 0 }, { accept: () => undefined })
        return { data: `127.0.0.1:${address.port}`, version: 1 }
      },
    }
  }

transportContract({ describe, it }, 'TCP', sockets)
transportContract({ describe, it }, 'TCP, in pieces of 64 KiB', pieces(65_536))
