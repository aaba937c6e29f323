// What the transport contract needs of real sockets: used by the tests and by the program that other runtimes run.
import { connect, createServer, type Server, type Socket } from 'node:net'

import { type Endpoint, TcpTransport } from '../../../bindings/ship/index.ts'
import type { MakeTransport } from '../../../bindings/testing/index.ts'

export const keyOf = (key: string | undefined): { readonly key?: string } => (key === undefined ? {} : { key })
export const LOCAL: Endpoint = { data: '127.0.0.1:0', version: 1 }

/** Real sockets on loopback. */
// eslint-disable-next-line typescript/require-await
export const sockets: MakeTransport = async ({ serverKey, clientKey, ...bounds }) => {
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
