// ship/host-parts.ts: what a replica host needs of the store side. The host decides what is let in; the parts keep it.
//
// Invariant: what a promise here has resolved for survives an immediate kill.

import type { PendingSeal } from '../catalog/index.ts'
import type { StateRecord } from '../engine/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import type { EpochMark, Manifest, ReplicaId } from './types.ts'

/** Records as they came, decoded once: `bytes` are whole frames, `offsets` those of the records among them. */
export interface ReceivedRecords {
  readonly first: number
  readonly last: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  /** digestAt(last), as the primary states it. */
  readonly digest: Uint8Array
  readonly records: readonly StateRecord[]
}

/** The log of a base under way: records (logFrom, baseLsn] of a generation that is not switched to yet. */
export interface BaseTarget {
  /** Durable when it resolves. @throws ChainDigestError */
  receive(records: ReceivedRecords): Promise<void>
  /** The one atomic switch. Every other file of the manifest is there. @param checkpoints  by name: that of the base, and older ones that it needs */
  install(checkpoints: ReadonlyMap<string, Uint8Array>): Promise<void>
  /** Leaves what was before. Twice is fine. */
  abandon(): Promise<void>
}

export interface ReplicaParts {
  readonly world: Pick<World, 'clock' | 'timers' | 'failpoints' | 'logger'>
  readonly root: Root
  readonly replicaId: ReplicaId
  /** Hash of the manifest of a base whose files are kept for the next try. */
  readonly rebuildInProgress: Uint8Array | null
  /** undefined before the first contact. */
  readonly storeId: Uint8Array | undefined
  /** The newest fence that was accepted. */
  readonly epochSeen: number
  readonly session: number
  /** R */
  readonly durableLsn: number
  /** RC */
  readonly committedLsn: number
  readonly appliedLsn: number
  readonly lineage: readonly EpochMark[] | null
  /** @returns undefined where it is not known */
  digestAt(lsn: number): Promise<Uint8Array | undefined>
  checkpoints(): Promise<readonly number[]>
  /** First contact: the store exists here when it resolves. @throws StoreMismatchError */
  found(storeId: Uint8Array): Promise<void>
  /** Durable before anything is applied under it. */
  fence(epoch: number, session: number): Promise<void>
  /** Seals that no record up to R has decided. */
  pendingSeals(): Promise<readonly PendingSeal[]>
  /** Durable when it resolves; what readers may see of it is folded by and by. May be called again before that, in order. @throws ChainDigestError */
  receive(records: ReceivedRecords): Promise<void>
  /** C as the primary tells it; never goes back. */
  commit(lsn: number): void
  /** Files of records up to `lsn` were skipped: versions below cannot be read here. */
  raiseFloor(lsn: number): Promise<void>
  /** Nothing is being received. @returns digestAt(lsn) @throws CommittedTruncationError, SnapshotAboveTruncationError, TruncationUnsafeError */
  truncate(lsn: number): Promise<Uint8Array>
  /** Recomputes the chain from the newest checkpoint. */
  verifySelf(upTo: number): Promise<{ readonly ok: boolean; readonly firstBad: number }>
  /** @throws CommittedTruncationError when RC is above its base */
  beginBase(manifest: Manifest, manifestHash: Uint8Array): Promise<BaseTarget>
  /** A file that a record on its way names was there already: it is not deleted as one that nothing names. */
  fileFound(name: string): void
}
