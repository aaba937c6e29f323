// The memory transport: the contract, once as it is and once with every frame as bytes.
import { describe, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { transportContract, type MakeTransport } from '../../../bindings/testing/index.ts'

const memory =
  (o: { readonly asBytes: boolean }): MakeTransport =>
  // eslint-disable-next-line typescript/require-await
  async ({ serverKey, clientKey, ...bounds }) => {
    const network = new MemoryNetwork(defaultWorld(), { ...o, ...bounds })
    const client = network.transport('primary', clientKey === undefined ? {} : { key: clientKey })
    return {
      server: network.transport('replica', serverKey === undefined ? {} : { key: serverKey }),
      client,
      endpoint: () => ({ data: 'replica:0', version: 1 }),
      raw: async (endpoint) => {
        const link = await client.connect(endpoint, new AbortController().signal)
        // A connection that is over takes no more bytes.
        return { write: (bytes) => (network.open.length === 0 ? undefined : network.inject('primary', bytes)), end: () => link.close() }
      },
      silent: async () => {
        const silent = await network.transport('nobody').listen({ accept: () => undefined }, { data: 'nobody', version: 1 })
        network.partition('primary', 'nobody')
        return silent.endpoint
      },
    }
  }

transportContract({ describe, it }, 'memory', memory({ asBytes: false }))
transportContract({ describe, it }, 'memory, as bytes', memory({ asBytes: true }))
