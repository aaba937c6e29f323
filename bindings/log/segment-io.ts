// log/segment-io.ts: calls of a segment file as promises, and what their failures mean to the log.
//
// Invariant: nothing is retried after a failed write or sync; want of room for a segment is the one failure that is no poison, for nothing was written.
import { PoisonedError, StorageError, VarveError } from '../errors.ts'
import type { SegmentFile } from '../root/index.ts'

/** There was no room for a segment, and no byte of the group was written. */
export class NoRoom extends Error {
  readonly why: StorageError
  constructor(why: StorageError) {
    super(why.message)
    this.why = why
  }
}

export function writeTo(file: SegmentFile, at: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => file.write(at, bytes, (error) => (error === null ? resolve() : reject(error))))
}

export function syncOf(file: SegmentFile): Promise<void> {
  return new Promise((resolve, reject) => file.datasync((error) => (error === null ? resolve() : reject(error))))
}

export function poison(what: string, cause: unknown): PoisonedError {
  return new PoisonedError(`${what}: the log accepts nothing more until it is reopened`, { details: {}, cause })
}

/** What ends the handle: our own verdicts as they are, want of room for a segment (nothing was written), anything else as poison. */
export function asFatal(error: unknown): Error {
  if (error instanceof VarveError && !(error instanceof StorageError)) return error
  if (error instanceof NoRoom) return error.why
  return poison('a write, sync or name failed', error)
}
