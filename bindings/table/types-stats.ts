// table/types-stats.ts: what stats() says (api.md section 8, and more). Types only.

import type { Lsn } from '../log/index.ts'
import type { AckMode } from './types-ack.ts'

export interface TableStats {
  rows: number
  /** Not in a fragment yet. */
  memoryRows: number
  fragments: number
  /** Of the fragments with their indexes; deletion vectors are not counted. */
  bytes: number
  /** Of the rows stored in fragments, those that are hidden. */
  deletedShare: number
  /** By index: the key ("id") and each declared one ("origin, date"): rows that are found through it, and their share of all. */
  coverage: Record<string, { rows: number; share: number }>
}

/** Commits of late. */
export interface CommitStats {
  count: number
  /** What was looked at: up to a minute, less in a store that was opened since, or where a reader looked at its last records only. */
  windowMs: number
  perSecond: number
  /** From the call to the answer; of this handle's own commits, within 1/32. Absent on a handle that only reads: it sees commits by their records. */
  latencyMs?: { p50: number; p99: number; p999: number; max: number }
}

/** Bytes since this handle was opened. */
export interface WriteStats {
  /** Rows as they were committed: inline batches, and the files of loads. */
  committedBytes: number
  /** Written to the log: rows, frames, and records of upkeep. */
  logBytes: number
  /** Written to all other files: loads, flushes, merged fragments, indexes, checkpoints. */
  fileBytes: number
  /** (logBytes + fileBytes) / committedBytes; 0 while nothing was committed. */
  amplification: number
}

export interface Stats {
  lsn: Lsn
  durableLsn: Lsn
  /** Readers see versions up to here: the newest one, unless commits wait for replicas. */
  committedLsn: Lsn
  /** Whom a commit waits for, as the log says: nobody, a majority of the nodes, all of them. */
  ackMode: AckMode
  tables: Record<string, TableStats>
  log: {
    segments: number
    bytes: number
    bytesSinceCheckpoint: number
    tail: Lsn
    /** The oldest position that can be read; 0 until a vacuum. */
    floor: Lsn
  }
  memory: { cacheBytes: number; writeBytes: number; kernelBytes: number }
  pins: number
  pending: number
  supersededOutcomes: number
  commits: CommitStats
  /** Absent on a handle that only reads. */
  writes?: WriteStats
}
