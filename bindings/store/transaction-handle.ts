// store/transaction-handle.ts: what transact() hands to its function.

import { type Row, type TransactionState } from '../engine/index.ts'
import type { Lsn } from '../log/index.ts'
import type { AnyTable, LooseScanOptions, Predicate, Scan } from '../table/index.ts'

export interface LooseTransaction {
  readonly lsn: Lsn
  readonly attempt: number
  readonly signal: AbortSignal
  get(table: AnyTable, key: unknown): Promise<Row | undefined>
  getMany(table: AnyTable, keys: Iterable<unknown>): Promise<(Row | undefined)[]>
  has(table: AnyTable, key: unknown): Promise<boolean>
  scan(table: AnyTable, options?: LooseScanOptions): Scan<AnyTable, Row>
  append(table: AnyTable, data: unknown): void
  upsert(table: AnyTable, data: unknown): void
  delete(table: AnyTable, key: unknown): void
  deleteWhere(table: AnyTable, where: Predicate<any>): Promise<number>
  update(table: AnyTable, patch: object | readonly object[]): Promise<number>
  replace(table: AnyTable, data: unknown): void
}

export function transactionHandle(tx: TransactionState, attempt: number, signal: AbortSignal): LooseTransaction {
  return {
    lsn: BigInt(tx.point.lsn) as Lsn,
    attempt,
    signal,
    get: async (table, key) => tx.get(table, key),
    getMany: async (table, keys) => tx.getMany(table, keys),
    has: async (table, key) => (await tx.get(table, key)) !== undefined,
    scan: (table, options = {}) => tx.scan(table, options),
    append: (table, data) => tx.append(table, data),
    upsert: (table, data) => tx.upsert(table, data),
    delete: (table, key) => tx.delete(table, Array.isArray(key) ? (key as readonly unknown[]) : [key]),
    deleteWhere: (table, where) => tx.deleteWhere(table, where),
    update: (table, patch) => tx.update(table, Array.isArray(patch) ? (patch as readonly object[]) : [patch]),
    replace: (table, data) => tx.replace(table, data),
  }
}
