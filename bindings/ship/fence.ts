// ship/fence.ts: before a promotion: a node is made to refuse every primary below an epoch, then it says what it holds (shipping.md section 12, "Promotion").
//
// Records from nodes that are not fenced may be out of date when they are compared: the old primary could still have a write confirmed by a node that was asked before.
// Invariant: what is told here can only be overwritten by a primary of at least that epoch.

import { StaleEpochError } from '../errors-ship.ts'
import type { World } from '../runtime/index.ts'
import type { NodeRecord } from './candidates.ts'
import { Peer } from './peer.ts'
import { replicaId } from './replica-id.ts'
import type { Endpoint, Hello, Transport } from './types.ts'

export interface FenceOptions {
  readonly transport: Transport
  readonly endpoint: Endpoint
  readonly world: World
  /** Every primary below it is refused from now on. */
  readonly epoch: number
  /** 16 bytes. */
  readonly storeId: Uint8Array
  /** Refused by a replica of another id; default: whoever answers. */
  readonly replicaId?: string
  /** What the caller knows of it, for candidates(). Defaults: voter, not amnesic. */
  readonly role?: NodeRecord['role']
  readonly isAmnesic?: boolean
  readonly signal?: AbortSignal
}

/**
 * Fences a replica, and asks it for the record that candidates() compares.
 *
 * @throws StaleEpochError when it has seen a newer epoch; TransportError, AuthError, StoreMismatchError, ReplicaMismatchError, ProtocolVersionError
 * @cost one sync of the replica; it reads its log from its newest checkpoint on
 */
export async function fenceReplica(o: FenceOptions): Promise<NodeRecord> {
  const signal = o.signal ?? new AbortController().signal
  const link = await o.transport.connect(o.endpoint, signal)
  const peer = new Peer(link, { world: o.world, epoch: o.epoch, session: 0, root: undefined, committed: () => 0, head: () => 0 })
  try {
    const about = { replicaId: o.replicaId ?? '', storeId: o.storeId, endpointVersion: o.endpoint.version, kind: 'fence' as const }
    const hello = await peer.hello(about, signal)
    return recordOf(hello, o, await peer.verifySelf(hello.durableLsn, signal))
  } finally {
    await peer.close()
  }
}

/** @throws StaleEpochError */
export function recordOf(
  { replicaId: id, storeId, epochSeen, durableLsn, lineage, rebuildInProgress }: Omit<Hello, 'protocol'>,
  { epoch, role = 'voter', isAmnesic = false }: Pick<FenceOptions, 'epoch' | 'role' | 'isAmnesic'>,
  { ok, firstBad }: { readonly ok: boolean; readonly firstBad: number },
): NodeRecord {
  if (epochSeen > epoch) throw new StaleEpochError(`epoch ${epoch}; ${id} has seen ${epochSeen}`, { details: { held: epochSeen, seen: epoch } })
  return {
    id: replicaId(id),
    storeId,
    role,
    // Nobody ships to it any more.
    state: rebuildInProgress === null ? 'degraded' : 'rebuilding',
    isRunning: true,
    epochSeen,
    lastEpoch: lineage?.at(-1)?.epoch ?? 0,
    readableLsn: ok ? durableLsn : firstBad - 1,
    isIntact: ok,
    isAmnesic,
  }
}
