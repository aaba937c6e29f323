// engine/admitted.ts: what admission hands to the committer, and who is told of it.

import type { PendingSeal } from '../catalog/index.ts'
import type { FileGeneration, IntentMerge, RecoveryFacts, TableChange } from '../format/index.ts'
import type { RowKeys, TableState, VectorBitmaps } from '../table/index.ts'
import { keyText } from './key-text.ts'

/** One table's part of a commit, with what applying it needs beside the record. */
export interface AdmittedChange {
  readonly table: TableState
  readonly change: TableChange
  /** Canonical keys of the inline rows, when at hand. */
  readonly keys?: RowKeys | undefined
  /** Keys removed, or written without inline rows, as keyText; with `keys` they are all that changed. */
  readonly touched?: readonly string[] | undefined
  readonly vectors?: VectorBitmaps | undefined
}

/** The Intent behind a commit. */
export interface ArmedWrite {
  readonly writeId: Uint8Array
  /** What it was prepared against. */
  readonly baseLsn: number
  /** Given: the record is the `publish` of this seal. */
  readonly seal?: PendingSeal
  readonly generations?: readonly FileGeneration[]
  readonly recovery?: RecoveryFacts
}

/** Of a write that lost its slot and is tried again. */
export interface AdmitOptions {
  /** Shared logs: keys of it that were written above this LSN are a conflict. */
  readonly conflictsSince?: number
  /** The commit is a merge; of a sealed one its Intent says so. */
  readonly merge?: IntentMerge
  /** Number of the branch of a commit that changes no table. */
  readonly branch?: number
}

/** Called with every change as it enters the queue: who tracks writes for conflict checks. */
export interface ChangeTracker {
  readonly tracking: boolean
  changed(lsn: number, admitted: AdmittedChange): void
  /** Records up to `lsn` are durable. */
  settle?(lsn: number): void
  /** Records from `first` on were taken back. */
  takeBack?(first: number): void
  /** @throws ConflictError when one of the keys was written above `since` */
  refuseWritten?(table: TableState, keys: readonly string[], since: number): void
}

/** Shared logs: of a write that is tried again. @throws ConflictError when one of its keys was written above `since` */
export function refuseWrittenSince(tracker: ChangeTracker, admitted: readonly AdmittedChange[], since: number): void {
  for (const { table, keys, touched } of admitted) {
    if (table.keyLayout === undefined) continue
    const texts = keys === undefined ? (touched ?? []) : Array.from({ length: keys.rows }, (_, row) => keyText(keys.data, keys.start(row), keys.end(row)))
    tracker.refuseWritten?.(table, texts, since)
  }
}
