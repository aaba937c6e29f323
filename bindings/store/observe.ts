// store/observe.ts: observe(): what a replica says of itself to whoever asks, beside its primary (docs/shipping.md).

import { InvalidConfigError } from '../errors.ts'
import { fromHex, toHex } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { fillWorld, type World } from '../runtime/index.ts'
import { observeReplica, TcpTransport, type TlsOptions, type Transport } from '../ship/index.ts'
import { checkKnown } from './known-options.ts'

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
}

const KNOWN: readonly string[] = ['replicaId', 'storeId', 'at', 'transport', 'key', 'tls', 'world', 'signal'] satisfies (keyof ObserveTarget)[]

/** @internal observe() of varve/ship */
export async function observeAt(address: string, given: ObserveTarget): Promise<Observed> {
  const { replicaId, storeId, at, transport, key, tls, signal, world: some } = checkKnown('observe', given, KNOWN)
  if (storeId !== undefined && !/^[0-9a-f]{32}$/.test(storeId))
    throw new InvalidConfigError('storeId is 32 lower-case hex digits', { details: { key: 'storeId', value: storeId } })
  const world = fillWorld(some)
  const found = await observeReplica({
    world,
    endpoint: { data: address, version: 1 },
    transport: transport ?? new TcpTransport({ world, ...(key === undefined ? {} : { key }), ...(tls === undefined ? {} : { tls }) }),
    storeId: storeId === undefined ? new Uint8Array(16) : fromHex(storeId),
    ...(replicaId === undefined ? {} : { replicaId }),
    ...(at === undefined ? {} : { at: Number(at) }),
    ...(signal === undefined ? {} : { signal }),
  })
  return {
    replicaId: found.replicaId,
    storeId: found.storeId,
    epochSeen: found.epochSeen,
    durableLsn: BigInt(found.durableLsn) as Lsn,
    committedLsn: BigInt(found.committedLsn) as Lsn,
    digest: toHex(found.digest),
    digestAt: found.digestThere === undefined ? undefined : toHex(found.digestThere),
    checkpoints: found.checkpoints.map((lsn) => BigInt(lsn) as Lsn),
    rebuildInProgress: found.rebuildInProgress !== null,
  }
}
