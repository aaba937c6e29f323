// table/types-vacuum.ts: what vacuum takes and tells: public types.

import type { Lsn } from '../log/index.ts'
import type { Long } from './types-read.ts'

/** How much history stays. With both rules what either keeps. The newest version of every branch, tags and open readers stay whatever it says. */
export interface VacuumKeep {
  /** Versions that were the newest at some moment of the last so many days, by this machine's clock. */
  days?: number
  /** The newest so many commits and schema changes of all branches together; 1: the newest version of each branch and nothing older. */
  versions?: number
}

export interface VacuumOptions extends Long {
  keep: VacuumKeep
  /** Tell what would go, and change nothing. */
  dryRun?: boolean
}

export interface VacuumReport {
  /** Of the record that names what was deleted, the last one where there are several; absent: nothing had to be named. */
  lsn?: Lsn
  /** Files that are gone; with `dryRun` those that would go. */
  deleted: number
  bytes: number
  /** What keeps files that `keep` would let go: `tag v1`, `branch dev`, `reader`, `stream`, `write <id>`, `grace`, ... A file that two hold is told of both. */
  heldBack: { by: string; bytes: number }[]
  /** Positions below it cannot be read any more, but for tags and what branches begin with. */
  floor: Lsn
  /** The log begins behind it; with `dryRun` it would. */
  tail: Lsn
  /** Checkpoints that nothing needed. */
  checkpoints: number
}
