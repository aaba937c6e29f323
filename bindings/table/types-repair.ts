// table/types-repair.ts: what repair says: each action it would take or took, what a cut loses, and what it cannot put right.

import type { Lsn } from '../log/index.ts'

export type RepairKind =
  /** VARVE is lost or unreadable beside a log without a gap: it is made anew. */
  | 'adopt-log'
  /** NODE is unreadable: it goes, the next open writes it. */
  | 'drop-node'
  /** CLEAN is unreadable: it goes, the next clean close writes it. */
  | 'drop-clean'
  /** The footer of a cleanly closed log is damaged; every record that CLEAN states is there: it is written again. */
  | 'seal-log'
  /** The log is damaged: it is cut after the last LSN that holds together. */
  | 'cut-log'
  /** A checkpoint contradicts the log or itself: it goes, and a new one is written. */
  | 'drop-checkpoint'
  /** An index is damaged or gone: it is built from its columns. */
  | 'rebuild-index'
  /** A file that no record, checkpoint or intent names. */
  | 'quarantine-orphan'
  /** An INTENT that cannot be read. */
  | 'quarantine-intent'

export interface RepairAction {
  readonly kind: RepairKind
  /** Object name. */
  readonly file: string
  /** What and why, for a person. */
  readonly detail: string
  /** No acknowledged commit can get lost by it. */
  readonly safe: boolean
  done: boolean
  /** What beside `confirm` it takes: the option, ready to be copied. */
  readonly needs?: string
}

/** A commit that a cut takes away. */
export interface LostCommit {
  readonly lsn: Lsn
  readonly kind: string
  readonly time?: Date
  readonly writeId?: string
  readonly author?: string
  readonly message?: string
  readonly tables: readonly { readonly table: string; readonly inserted: number; readonly updated: number; readonly deleted: number }[]
}

export interface LostHistory {
  /** The last LSN that is kept. */
  readonly after: Lsn
  /** The highest LSN that anything here states; what lies above it is not known. */
  readonly through: Lsn
  /** Those that can still be read, ascending. */
  readonly commits: readonly LostCommit[]
  /** LSNs in between of which nothing can be read. */
  readonly unreadable: number
}

export interface RepairProblem {
  readonly code: string
  readonly file: string
  readonly message: string
  /** What to do instead. */
  readonly advice: string
}

export interface RepairRefusal {
  readonly message: string
  /** What to do first: writes that are held wait for a person, others for an open. */
  readonly advice: string
}

export interface RepairReport {
  /** false: nothing was changed. */
  readonly confirmed: boolean
  readonly actions: readonly RepairAction[]
  /** With a cut: what it loses, or lost. */
  readonly lost?: LostHistory
  /** What repair cannot put right. */
  readonly problems: readonly RepairProblem[]
  /** Writes that are not decided: repair leaves them to an open, and does not touch files beside them. */
  readonly pending: readonly string[]
  /** In a preview: why a confirmed repair would reject with PendingIntentError instead of doing any of it, and the way out. */
  readonly refusal?: RepairRefusal
  /** Where the originals are; empty: nothing was changed. */
  readonly quarantine: readonly string[]
}
