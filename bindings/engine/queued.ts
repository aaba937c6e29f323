// engine/queued.ts: records that the log has been given and has not acknowledged, and who is told of them.

import { type TableChange, toHex } from '../format/index.ts'
import { KIND_COMMIT, KIND_SEAL, type StateRecord } from './state.ts'

export interface Queued {
  readonly lsn: number
  readonly record: StateRecord
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
  readonly value: unknown
  readonly startedMs: number
}

export interface CommitterHooks {
  /** After each group: the new durable head. */
  durable(head: number): void
  committed(info: { lsn: number; writeId: Uint8Array; branch: number; changes: readonly TableChange[]; durationMs: number }): void
  schemaChanged(lsn: number, tables: readonly string[]): void
  failed(error: Error): void
}

/** Whether one of the records from `from` on is a commit of this write. */
export function hasCommit(queued: readonly Queued[], from: number, writeIdHex: string): boolean {
  for (let i = from; i < queued.length; i++) {
    const { record } = queued[i]!
    if (record.kind === KIND_COMMIT && toHex(record.commit.writeId) === writeIdHex) return true
  }
  return false
}

/** Whether one of them seals a write of this branch other than this one. */
export function hasSeal(queued: readonly Queued[], from: number, branchId: string, exceptHex: string | undefined): boolean {
  for (let i = from; i < queued.length; i++) {
    const { record } = queued[i]!
    if (record.kind === KIND_SEAL && record.seal.intent.branchId === branchId && toHex(record.seal.writeId) !== exceptHex) return true
  }
  return false
}
