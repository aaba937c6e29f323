// errors-evolution.ts: the error classes of what changes a store's shape: definitions, branches, merges. They are handed out by errors.ts.

import { type ErrorInit, VarveError } from './error-base.ts'

/** One table or column is defined two ways. */
export class SchemaConflictError extends VarveError {
  override readonly name: string = 'SchemaConflictError'
  readonly table: string
  readonly column: string | undefined
  constructor(message: string, init: ErrorInit<{ table: string; column?: string | undefined }>) {
    super('schema.conflict', message, init)
    this.table = init.details.table
    this.column = init.details.column
  }
}

/** apply() cannot make this step. */
export class UnsupportedMigrationError extends VarveError {
  override readonly name: string = 'UnsupportedMigrationError'
  /** `kind` as in a SchemaPlan, or what is wanted: narrow, retype, changeKey. */
  readonly step: { readonly table: string; readonly kind: string; readonly column?: string }
  constructor(message: string, init: ErrorInit<{ step: { readonly table: string; readonly kind: string; readonly column?: string } }>) {
    super('schema.unsupported-migration', message, init)
    this.step = init.details.step
  }
}

/** A step would lose rows or columns, and allowDataLoss was not given. */
export class DataLossRefusedError extends VarveError {
  override readonly name: string = 'DataLossRefusedError'
  readonly steps: readonly { readonly table: string; readonly kind: string; readonly column?: string }[]
  constructor(message: string, init: ErrorInit<{ steps: readonly { readonly table: string; readonly kind: string; readonly column?: string }[] }>) {
    super('schema.data-loss', message, init)
    this.steps = init.details.steps
  }
}

/** A tag or branch has the name already. */
export class BranchExistsError extends VarveError {
  override readonly name: string = 'BranchExistsError'
  readonly branch: string
  constructor(message: string, init: ErrorInit<{ branch: string }>) {
    super('branch.exists', message, init)
    this.branch = init.details.branch
  }
}

/** The branch was deleted, or deleted and made again. */
export class StaleBranchError extends VarveError {
  override readonly name: string = 'StaleBranchError'
  readonly branch: string
  readonly branchId: string
  constructor(message: string, init: ErrorInit<{ branch: string; branchId: string }>) {
    super('branch.stale', message, init)
    this.branch = init.details.branch
    this.branchId = init.details.branchId
  }
}

/** Rows that both sides of a merge made something else of; nothing was written. */
export class MergeConflictError extends VarveError {
  override readonly name: string = 'MergeConflictError'
  /** The first 1,000, as MergeConflict. */
  readonly conflicts: readonly object[]
  readonly total: number
  constructor(message: string, init: ErrorInit<{ conflicts: readonly object[]; total: number }>) {
    super('branch.merge-conflict', message, init)
    this.conflicts = init.details.conflicts
    this.total = init.details.total
  }
}
