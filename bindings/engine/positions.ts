// engine/positions.ts: any branch at any LSN: the newest checkpoint below what it stands on, then the log, each part of it for the branch it belongs to.
//
// Invariant: what is loaded depends on the log alone; it is the caller's own, and no live state is touched.

import type { Branches } from '../catalog/index.ts'
import type { CommitLog } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import { newestCheckpoint } from './checkpoints.ts'
import { type StateContext, StoreState } from './state.ts'

/** A place in the history of a branch. */
export interface Position {
  /** Its number; 0 = main. */
  readonly branch: number
  readonly lsn: number
}

export interface PositionSource {
  readonly root: Root
  readonly log: CommitLog
  readonly storeId: Uint8Array
  readonly context: StateContext
  /** As they are now: a branch is told by what it stands on. */
  readonly branches: () => Branches
  /** Of checkpoints that fail their check; an older one, or the log from its start, stands in. */
  readonly invalid: (file: string, cause: unknown) => void
}

/**
 * The tables of a branch as they were at an LSN: `tables`, `byName` and `catalog.tables` of the state are the branch's. It may be taken further along its branch with applyBatch().
 *
 * @throws StorageError, CorruptionError
 * @cost reads a checkpoint, and the log from there or from the oldest row in memory then
 */
export async function loadPosition(source: PositionSource, { branch, lsn }: Position): Promise<StoreState> {
  const path = source.branches().path(branch)
  // A checkpoint has the tables of main: it is of use as far as the branch is main.
  const upto = Math.min(lsn, path[0]!.upto)
  return StoreState.load(source.context, source.log, await newestCheckpoint(source.root, source.storeId, upto, source.invalid), lsn, path)
}
