// log/append-refusals.ts: why an append is refused before anything of it is written, and what its caller is told.
import { CommitOutcomeUnknownError, LsnTakenError, ResourceLimitError, StorageError } from '../errors.ts'
import { PAYLOAD_BYTES_MAX } from '../format/index.ts'

import type { LogRecord, Lsn } from './commit-log.ts'

/** One append is at most this many bytes of frames: it lives in one segment, or one slot. */
const APPEND_BYTES_MAX = 256 * 1024 * 1024

/** `bytes`: what the frames take. @throws ResourceLimitError */
export function checkSizes(records: readonly LogRecord[], bytes: number): void {
  for (let i = 0; i < records.length; i++) {
    const size = records[i]!.payload.length
    if (size > PAYLOAD_BYTES_MAX) {
      throw new ResourceLimitError(`a record of ${size} bytes; the bound is ${PAYLOAD_BYTES_MAX}`, { details: { limit: 'log.recordBytesMax', asked: size } })
    }
  }
  if (bytes > APPEND_BYTES_MAX) {
    throw new ResourceLimitError(`an append of ${bytes} bytes; the bound is ${APPEND_BYTES_MAX}`, { details: { limit: 'log.appendBytesMax', asked: bytes } })
  }
}

/** `expect` is not where the log is, or it was not said while the log had moved on. */
export function takenAfter(expect: Lsn | undefined, head: number): LsnTakenError {
  const why = expect === undefined ? 'other writers appended' : `the next record was expected after LSN ${expect}`
  return new LsnTakenError(`${why}, the log is at ${head}`, { details: { head: BigInt(head) } })
}

/** The error of a group, for one append of it. */
export function unknownOutcome(writeId: string, error: CommitOutcomeUnknownError): CommitOutcomeUnknownError {
  return new CommitOutcomeUnknownError(error.message, { details: { ...error.details, writeId, intentKept: false }, cause: error.cause })
}

/** Behind records of unknown outcome nothing is accepted. */
export function notAccepted(cause: CommitOutcomeUnknownError): StorageError {
  return new StorageError('append: not written, for the outcome of what was appended before it is not known yet', {
    details: { op: 'append', name: 'log', class: 'unavailable' },
    cause,
  })
}
