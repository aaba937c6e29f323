// table/types-branches.ts: the types of branches and tags (api.md section 6). Types only.

import type { Lsn } from '../log/index.ts'
import type { At, Reader } from './types-read.ts'
import type { Writer } from './types-store.ts'
import type { OptimizeOptions, OptimizeReport } from './types-upkeep.ts'

declare const brand: unique symbol
/** One incarnation of a branch; a branch that is deleted and made again has another. A ULID. */
export type BranchId = string & { readonly [brand]: 'BranchId' }

export interface BranchInfo {
  name: string
  branchId: BranchId
  /** It began with the rows of this position. */
  from: Lsn
  /** The last commit that changed it; `from` while there is none. */
  head: Lsn
}

export interface TagInfo {
  name: string
  lsn: Lsn
  /** When it was made. */
  time: Date
  message?: string
}

export interface BranchOptions {
  /** What a new branch begins with: a position or time of main, or the name of a tag or branch. Default: main as it is. A branch that is there is not asked. */
  from?: At
  /** Default "if-missing"; "must": BranchExistsError; "never": BranchNotFoundError. */
  create?: 'if-missing' | 'must' | 'never'
}

export interface TagOptions {
  /** Default: main as it is. */
  at?: At
  /** At most 4 KiB. */
  message?: string
}

/**
 * Reads and writes go to one branch; nothing to close. Each read sees the branch as it is then, `at` a position of its own history. Deleted meanwhile:
 * StaleBranchError, also when a branch of that name was made again.
 */
export interface Branch extends Reader, Writer {
  readonly name: string
  readonly branchId: BranchId
  /** The last commit that changed it; where it begins while there is none. */
  readonly lsn: Lsn
  /**
   * As Store.optimize(), for the tables of this branch. Files that other branches read stay as they are.
   *
   * @throws PendingIntentError while a staged write to it is undecided; the signal's reason, and nothing has changed
   * @cost reads and writes the fragments that are small, or have more than a tenth of their rows deleted; commits go on meanwhile
   */
  optimize(o?: OptimizeOptions): Promise<OptimizeReport>
}

export interface ReadBranches {
  /** Main first, the others by name. */
  branches(): Promise<BranchInfo[]>
  /** By name. */
  tags(): Promise<TagInfo[]>
}

export interface Branching {
  /**
   * A branch by its name, made when it is not there: one record, whatever the store holds. Names are `[a-z0-9][a-z0-9._/-]{0,127}`, shared with tags; `main` is there,
   * `varve/` is reserved.
   *
   * @throws InvalidNameError, BranchExistsError, BranchNotFoundError, HistoryUnavailableError (from)
   * @cost one commit when it is made; its first use reads the log from the checkpoint below where it begins
   * @example const dev = await store.branch('dev')
   */
  branch(name: string, o?: BranchOptions): Promise<Branch>
  /**
   * One record; files go with the next vacuum. A sealed write on it is rolled back by the next write or open.
   *
   * @throws BranchNotFoundError; InvalidNameError for main; PendingIntentError while somebody works on a write to it
   */
  deleteBranch(name: string): Promise<void>
  /** Name a position for good. @throws InvalidNameError, BranchExistsError, BranchNotFoundError (at), HistoryUnavailableError (at), ResourceLimitError */
  tag(name: string, o?: TagOptions): Promise<void>
  /** @throws BranchNotFoundError */
  deleteTag(name: string): Promise<void>
}
