// ship/fence.ts: before a promotion: a node is made to refuse every primary below an epoch, then it says what it holds (shipping.md section 12, "Promotion").
//
// Records from nodes that are not fenced may be out of date when they are compared: the old primary could still have a write confirmed by a node that was asked before.
// Invariant: what is told here can only be overwritten by a primary of at least that epoch.

import { StaleEpochError } from '../errors-ship.ts'
import { NO_DECISION, toHex } from '../format/index.ts'
import type { World } from '../runtime/index.ts'
import type { NodeRecord } from './candidates.ts'
import type { SelfCheck } from './host-parts.ts'
import { type DecidedAt, decidedIn } from './one-decision.ts'
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
  /** What the caller knows of it, for candidates(). Default: voter; amnesic if the node itself says so. */
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
    const about = {
      replicaId: o.replicaId ?? '',
      storeId: o.storeId,
      endpointVersion: o.endpoint.version,
      mandate: 0,
      decision: NO_DECISION,
      kind: 'fence' as const,
    }
    const hello = await peer.hello(about, signal)
    const verified = await peer.verifySelf(hello.durableLsn, signal)
    return recordOf(hello, o, verified, await decidedAt(hello, (lsn) => peer.digestAt(lsn, signal)))
  } finally {
    await peer.close()
  }
}

/** @param digestAt  of the log that `facts` speak of; undefined where it is not known */
export async function decidedAt(
  { lineage, tailLsn }: Pick<Hello, 'lineage' | 'tailLsn'>,
  digestAt: (lsn: number) => Promise<Uint8Array | undefined>,
): Promise<DecidedAt | undefined> {
  const at = decidedIn(lineage, tailLsn)
  if (at === undefined) return undefined
  const digest = at.lsn > tailLsn ? await digestAt(at.lsn) : undefined
  return { ...at, digest: digest === undefined ? '' : toHex(digest) }
}

/** @throws StaleEpochError */
export function recordOf(
  { replicaId: id, storeId, epochSeen, durableLsn, committedLsn, lineage, rebuildInProgress, isWhole }: Omit<Hello, 'protocol'>,
  { epoch, role = 'voter', isAmnesic = false }: Pick<FenceOptions, 'epoch' | 'role' | 'isAmnesic'>,
  { ok, firstBad, ackMode }: SelfCheck,
  decided: DecidedAt | undefined,
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
    lastMandate: lineage?.at(-1)?.mandate ?? 0,
    lastEpoch: lineage?.at(-1)?.epoch ?? 0,
    decidedAt: decided,
    committedLsn,
    readableLsn: ok ? durableLsn : firstBad - 1,
    isIntact: ok,
    ackMode,
    isAmnesic: isAmnesic || !isWhole,
  }
}
