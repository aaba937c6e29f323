// table/types-upkeep.ts: what a caller asks of upkeep, and what it is told.

import type { Lsn } from '../log/index.ts'
import type { Long } from './types-read.ts'
import type { AnyTable } from './types.ts'

export interface OptimizeOptions extends Long {
  /** Default: all. */
  tables?: readonly AnyTable[]
  /** Of a full fragment; below half of it one is small. Default: 1 Mi rows, or as many as take 128 MiB in memory. */
  target?: { bytes?: number; rows?: number }
  /** Nothing further is begun after it; what is done by then is published. */
  budgetMs?: number
  /** One write for each table: a failure of one leaves the others optimized. */
  perTable?: boolean
}

export interface OptimizeReport {
  /** Of the last record it published; undefined: there was nothing to do. */
  lsn?: Lsn
  /** Coverage: live rows behind each index that the table declares / live rows; 1 where it declares none. */
  tables: Record<string, { fragmentsBefore: number; fragmentsAfter: number; coverageBefore: number; coverageAfter: number }>
  /** What was left: rows were moved by others meanwhile, or the budget was used up. */
  skipped: { table: string; reason: string }[]
}
