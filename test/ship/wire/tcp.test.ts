// The TCP transport: the contract over real sockets and over those of a fake world.
import { describe, it } from 'vitest'

import { soon } from '../../../bindings/runtime/index.ts'
import { TcpTransport } from '../../../bindings/ship/index.ts'
import { FakeNetwork, type MakeTransport, transportContract } from '../../../bindings/testing/index.ts'
import { keyOf, LOCAL, sockets } from './sockets.ts'

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
