// store/branch-handle.ts: what store.branch() hands out: reads and writes of one branch.
//
// Invariant: it holds nothing between calls; a call on a branch that was deleted rejects with StaleBranchError, also when its name was given again.

import type { BranchEntry } from '../catalog/index.ts'
import type { Row, StoreState } from '../engine/index.ts'
import type { Lsn } from '../log/index.ts'
import { showAs } from '../runtime/index.ts'
import type {
  AnyTable,
  At,
  BranchId,
  CommitResult,
  LooseScanOptions,
  OptimizeOptions,
  OptimizeReport,
  Predicate,
  Scan,
  StageOptions,
  TransactOptions,
  WriteOptions,
} from '../table/index.ts'
import type { StagedWriteHandle } from '../write/index.ts'
import type { BranchWriter, BranchWriters } from './branch-writers.ts'
import type { Reads } from './reads.ts'
import type { RowWriter } from './row-writer.ts'
import type { ReadOptions } from './snapshot.ts'

export interface BranchHandleParts {
  readonly name: string
  readonly branchId: BranchId
  /** Its number; 0 = main. */
  readonly branch: number
  readonly state: StoreState
  /** C */
  readonly committed: () => number
  readonly reads: Reads
  readonly writers: BranchWriters
  readonly optimize: (writer: BranchWriter, o: OptimizeOptions) => Promise<OptimizeReport>
  /** @throws StaleBranchError when the branch was deleted */
  readonly assertLive: () => void
}

export class BranchHandle {
  readonly name: string
  readonly branchId: BranchId
  private readonly parts: BranchHandleParts

  constructor(parts: BranchHandleParts) {
    this.parts = parts
    this.name = parts.name
    this.branchId = parts.branchId
  }

  get lsn(): Lsn {
    const { state, branch, committed } = this.parts
    return BigInt(Math.min(headOf(state, state.catalog.branches.numbered(branch)), committed())) as Lsn
  }

  toJSON(): object {
    return { name: this.name, branchId: this.branchId, lsn: String(this.lsn) }
  }

  get(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    return this.parts.reads.get(table, key, o)
  }

  getMany(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    return this.parts.reads.getMany(table, keys, o)
  }

  has(table: AnyTable, key: unknown, o?: ReadOptions): Promise<boolean> {
    return this.parts.reads.has(table, key, o)
  }

  scan(table: AnyTable, options?: LooseScanOptions & { at?: At }): Scan<AnyTable, Row> {
    return this.parts.reads.scan(table, options)
  }

  append(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.append(table, data, o))
  }

  upsert(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.upsert(table, data, o))
  }

  replace(table: AnyTable, data: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.replace(table, data, o))
  }

  update(table: AnyTable, patch: object | readonly object[], o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.update(table, patch, o))
  }

  delete(table: AnyTable, key: unknown, o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.delete(table, key, o))
  }

  deleteWhere(table: AnyTable, where: Predicate<any>, o?: WriteOptions): Promise<CommitResult> {
    return this.write((rows) => rows.deleteWhere(table, where, o))
  }

  transact<R>(fn: (tx: never) => Promise<R> | R, o?: TransactOptions): Promise<R> {
    return this.write((rows) => rows.transact(fn, o))
  }

  stage(given?: string | StageOptions): Promise<StagedWriteHandle> {
    return this.write((rows) => rows.stage(given))
  }

  async optimize(o: OptimizeOptions = {}): Promise<OptimizeReport> {
    const { assertLive, writers, branch, optimize } = this.parts
    assertLive()
    return writers.use(branch, (writer) => optimize(writer, o))
  }

  private async write<T>(fn: (rows: RowWriter) => Promise<T>): Promise<T> {
    this.parts.assertLive()
    return this.parts.writers.use(this.parts.branch, ({ rows }) => fn(rows))
  }
}

showAs(BranchHandle, (handle) => handle.toJSON())

/** The last record that changed a branch. @param entry  undefined: main */
export function headOf({ catalog }: StoreState, entry: BranchEntry | undefined): number {
  if (entry !== undefined) return entry.head
  let head = 0
  for (const { lastLsn } of catalog.tables.values()) head = Math.max(head, lastLsn)
  return head
}
