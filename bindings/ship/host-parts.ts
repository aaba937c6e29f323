// ship/host-parts.ts: what a replica host needs of the store side. The host decides what is let in; the parts keep it.
//
// Invariant: what a promise here has resolved for survives an immediate kill.

import type { PendingSeal } from '../catalog/index.ts'
import type { StateRecord } from '../engine/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import type { AckMode, Elided, EpochMark, Manifest, ReplicaId } from './types.ts'
import type { VerifiedFiles } from './verified-files.ts'

/** What a replica has accepted last: whatever is older, or was decided on before that, changes nothing any more. */
export interface AcceptedFence {
  readonly epoch: number
  /** 0: none of that epoch was taken. */
  readonly session: number
  /** No hello of a lower mandate is taken. */
  readonly promised: number
  /** Nor one of that mandate by another decision; '': none of it was met yet. */
  readonly decision: string
}

/** Records as they came: `bytes` are whole frames, `offsets` those of the records among them. */
export interface ReceivedRecords {
  readonly first: number
  readonly last: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  /** digestAt(last), as the primary states it. */
  readonly digest: Uint8Array
  /** Those that were decoded for the files that they may name: all but commits that only add inline rows. undefined: none. */
  readonly records: readonly (StateRecord | undefined)[] | undefined
}

/** The log of a base under way: records (logFrom, baseLsn] of a generation that is not switched to yet. */
export interface BaseTarget {
  /** Something else than a log that went on without this replica may be why the base comes: every file that is here is read before it counts, once in a rebuild. */
  readonly doubts: boolean
  /** Durable when it resolves. @throws ChainDigestError */
  receive(records: ReceivedRecords): Promise<void>
  /**
   * The one atomic switch, and the state behind it. Every other file of the manifest is there.
   *
   * @param checkpoints  by name: that of the base, and older ones that it needs
   * @param worked       told of each step, in bytes about
   */
  install(checkpoints: ReadonlyMap<string, Uint8Array>, worked: (bytes: number) => void): Promise<void>
  /** Leaves what was before. Twice is fine. */
  abandon(): Promise<void>
}

export interface SelfCheck {
  readonly ok: boolean
  readonly firstBad: number
  /** The weakest mode by which what follows this log may have been acknowledged. */
  readonly ackMode: AckMode
}

export interface ReplicaParts {
  readonly world: Pick<World, 'clock' | 'timers' | 'failpoints' | 'logger'>
  readonly root: Root
  readonly replicaId: ReplicaId
  /** What was lately seen to be whole. */
  readonly verified: VerifiedFiles
  /** Hash of the manifest of a base whose files are kept for the next try. */
  readonly rebuildInProgress: Uint8Array | null
  /** It has everything that it ever confirmed. */
  readonly isWhole: boolean
  /** undefined before the first contact. */
  readonly storeId: Uint8Array | undefined
  /** The highest epoch that it has met: no fence is below it. */
  readonly epochSeen: number
  /** The newest fence that was accepted: an epoch at or below that. */
  readonly followed: number
  readonly session: number
  /** The lowest mandate that is still followed. */
  readonly promised: number
  /** Which decision of it is followed; '': none was met yet. */
  readonly decision: string
  /** R */
  readonly durableLsn: number
  /** RC */
  readonly committedLsn: number
  readonly appliedLsn: number
  /** T */
  readonly tailLsn: number
  readonly lineage: readonly EpochMark[] | null
  /** By whose word files are missing that records here name, until the log has come to where they are dead; null: none are. */
  readonly elided: Elided | null
  /** @returns undefined where it is not known */
  digestAt(lsn: number): Promise<Uint8Array | undefined>
  checkpoints(): Promise<readonly number[]>
  /** First contact: the store exists here when it resolves. @throws StoreMismatchError */
  found(storeId: Uint8Array): Promise<void>
  /** Durable before anything is applied under it. */
  fence(newest: AcceptedFence): Promise<void>
  /** Records follow what is here: no base is under way any more. */
  granted(): Promise<void>
  /** What is here is everything that was ever confirmed, durably so when it resolves. */
  whole(): Promise<void>
  /** Seals that no record up to R has decided. */
  pendingSeals(): Promise<readonly PendingSeal[]>
  /** Durable when it resolves; what readers may see of it is folded by and by. May be called again before that, in order. @throws ChainDigestError */
  receive(records: ReceivedRecords): Promise<void>
  /** C as the primary tells it; never goes back. */
  commit(lsn: number): void
  /** Files of records up to `lsn` were skipped: versions below cannot be read here. */
  raiseFloor(lsn: number): Promise<void>
  /**
   * Nothing is being received.
   *
   * @param worked  told of each step, in bytes about
   * @returns digestAt(lsn)
   * @throws CommittedTruncationError, SnapshotAboveTruncationError, TruncationUnsafeError
   */
  truncate(lsn: number, worked: (bytes: number) => void): Promise<Uint8Array>
  /** Recomputes the chain from the newest checkpoint. @throws the signal's reason */
  verifySelf(upTo: number, signal?: AbortSignal): Promise<SelfCheck>
  /** @throws CommittedTruncationError when RC is above its base */
  beginBase(manifest: Manifest, manifestHash: Uint8Array): Promise<BaseTarget>
  /** A file that a record on its way names may be there already: from when it resolves on it is not deleted as one that nothing names. */
  claim(name: string): Promise<void>
}
