// engine/queued.ts: records that the log has been given and has not acknowledged, and who is told of them.

import { CommitOutcomeUnknownError } from '../errors.ts'
import { type TableChange, toHex } from '../format/index.ts'
import { ulidText } from '../runtime/index.ts'
import { KIND_COMMIT, KIND_SEAL, type StateRecord } from './state.ts'
import { writeOf } from './write-of.ts'

export interface Queued {
  readonly lsn: number
  readonly record: StateRecord
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
  readonly value: unknown
  readonly startedMs: number
  /** Its caller has been told that it waits too long. */
  isTold?: true
}

/** Who waits until everything up to an LSN is acknowledged. */
export interface Waiter {
  lsn: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
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

/** Of a record that is in the log or not: nobody knows. */
export function outcomeUnknown({ lsn, record }: Queued, cause: Error): CommitOutcomeUnknownError {
  const { id, intentKept } = writeOf(record)
  const writeId = id === undefined ? '' : ulidText(id)
  return new CommitOutcomeUnknownError(`write ${writeId} may be in the log at LSN ${lsn}, or not: the answer was lost`, {
    details: { writeId, intentKept },
    cause,
  })
}

/** Who has waited since `beforeMs` or longer is told `error`; records stay where they are. Both lists are in the order of their times. @returns since when the next one waits */
export function expire(queued: readonly Queued[], from: number, waiters: Waiter[], beforeMs: number, error: (lsn: number) => Error): number | undefined {
  let next: number | undefined
  for (let i = from; i < queued.length && next === undefined; i++) {
    const each = queued[i]!
    if (each.startedMs > beforeMs) next = each.startedMs
    else if (each.isTold !== true) {
      each.isTold = true
      each.reject(error(each.lsn))
    }
  }
  while (waiters.length > 0 && waiters[0]!.startedMs <= beforeMs) {
    const { lsn, reject } = waiters.shift()!
    reject(error(lsn))
  }
  const first = waiters[0]?.startedMs
  return next === undefined || (first !== undefined && first < next) ? first : next
}
