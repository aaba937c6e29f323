// store/observe.ts: observe() and fence(): what a replica says of itself to whoever asks, beside its primary, or before a promotion (docs/shipping.md).

import { toHex } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { fillWorld, type World } from '../runtime/index.ts'
import { fenceReplica, type NodeRecord, observeReplica, TcpTransport, type TlsOptions, type Transport } from '../ship/index.ts'
import { checkEpoch, checkKnown, storeIdOption } from './known-options.ts'

export interface ObserveTarget {
  /** Refused by a replica of another id; default: whoever answers. */
  readonly replicaId?: string
  /** Of the store that is expected there, lower-case hex; default: any. */
  readonly storeId?: string
  /** A position whose chain digest is asked for too. */
  readonly at?: Lsn | bigint
  /** Default: TCP. */
  readonly transport?: Transport
  readonly key?: Uint8Array | string
  readonly tls?: TlsOptions
  readonly world?: Partial<World>
  readonly signal?: AbortSignal
}

/** Digests and ids as lower-case hex. */
export interface Observed {
  readonly replicaId: string
  /** '' before its first contact with a primary. */
  readonly storeId: string
  /** The newest epoch that it has accepted. */
  readonly epochSeen: number
  /** Mandate and epoch of the last record of its log, by which candidates() compares; 0 of an empty one. */
  readonly lastMandate: number
  readonly lastEpoch: number
  /** R: synced there. */
  readonly durableLsn: Lsn
  /** RC: the highest boundary that a primary has called committed. */
  readonly committedLsn: Lsn
  /** Chain digest at `durableLsn`. */
  readonly digest: string
  /** Chain digest at `at`; undefined where that was not asked for, or is not known there. */
  readonly digestAt: string | undefined
  /** LSNs of its checkpoints. */
  readonly checkpoints: readonly Lsn[]
  readonly rebuildInProgress: boolean
  /** It may have lost what it once confirmed: its folder is new, or a base came, and it was not in sync since. Its record helps no promotion. */
  readonly isAmnesic: boolean
}

const KNOWN: readonly string[] = ['replicaId', 'storeId', 'at', 'transport', 'key', 'tls', 'world', 'signal'] satisfies (keyof ObserveTarget)[]

/** @internal observe() of varve/ship */
export async function observeAt(address: string, given: ObserveTarget): Promise<Observed> {
  const { replicaId, storeId, at, transport, key, tls, signal, world: some } = checkKnown('observe', given, KNOWN)
  const world = fillWorld(some)
  const found = await observeReplica({
    world,
    endpoint: { data: address, version: 1 },
    transport: transport ?? new TcpTransport({ world, key, tls }),
    storeId: storeIdOption(storeId) ?? new Uint8Array(16),
    ...(replicaId === undefined ? {} : { replicaId }),
    ...(at === undefined ? {} : { at: Number(at) }),
    ...(signal === undefined ? {} : { signal }),
  })
  return {
    replicaId: found.replicaId,
    storeId: found.storeId,
    epochSeen: found.epochSeen,
    lastMandate: found.lineage?.at(-1)?.mandate ?? 0,
    lastEpoch: found.lineage?.at(-1)?.epoch ?? 0,
    durableLsn: BigInt(found.durableLsn) as Lsn,
    committedLsn: BigInt(found.committedLsn) as Lsn,
    digest: toHex(found.digest),
    digestAt: found.digestThere === undefined ? undefined : toHex(found.digestThere),
    checkpoints: found.checkpoints.map((lsn) => BigInt(lsn) as Lsn),
    rebuildInProgress: found.rebuildInProgress !== null,
    isAmnesic: !found.isWhole,
  }
}

/** As ObserveTarget, and the epoch that is claimed. */
export interface FenceTarget extends Omit<ObserveTarget, 'at'> {
  /** Every primary below it is refused from now on. */
  readonly epoch: number
  /** What the caller knows of the node, for candidates(). Default: voter; amnesic if the node itself says so. */
  readonly role?: NodeRecord['role']
  readonly isAmnesic?: boolean
}

const FENCE_KNOWN: readonly string[] = [
  'epoch',
  'replicaId',
  'storeId',
  'role',
  'isAmnesic',
  'transport',
  'key',
  'tls',
  'world',
  'signal',
] satisfies (keyof FenceTarget)[]

/** @internal fence() of varve/ship */
export async function fenceAt(address: string, given: FenceTarget): Promise<NodeRecord> {
  const { storeId, transport, key, tls, world: some, epoch, replicaId, role, isAmnesic, signal } = checkKnown('fence', given, FENCE_KNOWN)
  checkEpoch('fence', epoch)
  const world = fillWorld(some)
  const door = transport ?? new TcpTransport({ world, key, tls })
  const stop = signal === undefined ? {} : { signal }
  const held = storeId ?? (await observeAt(address, { transport: door, world, ...(replicaId === undefined ? {} : { replicaId }), ...stop })).storeId
  return await fenceReplica({
    world,
    transport: door,
    endpoint: { data: address, version: 1 },
    epoch,
    storeId: storeIdOption(held === '' ? undefined : held) ?? new Uint8Array(16),
    ...(replicaId === undefined ? {} : { replicaId }),
    ...(role === undefined ? {} : { role }),
    ...(isAmnesic === undefined ? {} : { isAmnesic }),
    ...stop,
  })
}
