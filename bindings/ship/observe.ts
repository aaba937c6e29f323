// ship/observe.ts: a look at what answers at an address, beside whoever ships to it: who it is and how far it got. Fences nobody and changes nothing.
import { NO_DECISION } from '../format/index.ts'
import type { World } from '../runtime/index.ts'

import { Peer } from './peer.ts'
import type { Endpoint, Hello, Transport } from './types.ts'

export interface ObserveOptions {
  readonly transport: Transport
  readonly endpoint: Endpoint
  readonly world: World
  /** Refused by a replica of another id; default: whoever answers. */
  readonly replicaId?: string
  /** Of the store that is expected there. 16 bytes; zeros: any. */
  readonly storeId: Uint8Array
  /** A position whose digest is asked for too. */
  readonly at?: number
  readonly signal?: AbortSignal
}

export interface Observation extends Hello {
  /** digestAt(at); undefined: it was not asked for, or is not known there. */
  readonly digestThere: Uint8Array | undefined
}

/** @throws TransportError, AuthError, StoreMismatchError, ReplicaMismatchError, ProtocolVersionError */
export async function observeReplica(o: ObserveOptions): Promise<Observation> {
  const signal = o.signal ?? new AbortController().signal
  const link = await o.transport.connect(o.endpoint, signal)
  const peer = new Peer(link, { world: o.world, epoch: 0, session: 0, root: undefined, committed: () => 0, head: () => 0 })
  try {
    const hello = await peer.hello(
      { replicaId: o.replicaId ?? '', storeId: o.storeId, endpointVersion: o.endpoint.version, mandate: 0, decision: NO_DECISION, kind: 'observe' },
      signal,
    )
    return { ...hello, digestThere: o.at === undefined ? undefined : await peer.digestAt(o.at, signal) }
  } finally {
    await peer.close()
  }
}
