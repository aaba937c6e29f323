// engine/contradiction.ts: the error of a record that passes its checksum and is no record of this log.

import { CorruptionError } from '../errors.ts'

/** @param cause  one that names its record already is given back as it is */
export function contradiction(lsn: number, cause: unknown): CorruptionError {
  if (cause instanceof CorruptionError && cause.code === 'log.corrupt' && cause.lsn !== undefined) return cause
  return new CorruptionError('log.corrupt', `record ${lsn}: ${cause instanceof Error ? cause.message : String(cause)}`, {
    details: { file: 'log', lsn: BigInt(lsn) },
    cause,
  })
}
