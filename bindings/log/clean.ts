// log/clean.ts: the clean-close marker: "the log reaches at least this far, with this digest" (log.md section 2).
//
// Invariant: written only after the footer it names is synced and the LOCK was ours; never removed, only replaced by the next clean close.
import { parseHex, toHex } from '../format/index.ts'
import { CorruptionError, StoreTooNewError } from '../errors.ts'
import { getIfThere, type Root } from '../root/index.ts'

import { type Generation, logDir } from './bases.ts'
import { decodeSealed, encodeSealed } from './sealed-json.ts'

export const CLEAN_NAME = 'CLEAN'
const FORMAT = 1

export interface CleanMark {
  readonly storeId: Uint8Array
  readonly lsn: number
  /** Records in the last segment. */
  readonly count: number
  /** digestAt(lsn). */
  readonly digest: Uint8Array
  /** Name of the last segment; '' of a mark that a truncation put: it names no footer. */
  readonly segment: string
  /** Its length, footer included. */
  readonly bytes: number
  /** Of the log it speaks of; absent: 0. */
  readonly generation?: number
}

export function encodeClean(mark: CleanMark): Uint8Array<ArrayBuffer> {
  return encodeSealed({
    format: FORMAT,
    storeId: toHex(mark.storeId),
    lsn: mark.lsn,
    count: mark.count,
    digest: toHex(mark.digest),
    segment: mark.segment,
    bytes: mark.bytes,
    ...(mark.generation === undefined || mark.generation === 0 ? {} : { generation: mark.generation }),
  })
}

/** @throws CorruptionError when the bytes are no mark; StoreTooNewError for a newer format */
export function decodeClean(bytes: Uint8Array): CleanMark {
  const fields = decodeSealed(bytes)
  if (fields === undefined) throw garbage('its check does not match')
  const { format, lsn, count, segment, bytes: length, generation } = fields
  if (format !== FORMAT) {
    throw new StoreTooNewError(`CLEAN has format ${format}; this varve reads ${FORMAT}`, { details: { found: format, supported: FORMAT } })
  }
  const storeId = parseHex(fields['storeId'], 16)
  const digest = parseHex(fields['digest'], 32)
  if (storeId === undefined || digest === undefined || typeof segment !== 'string' || !isCount(lsn) || !isCount(count) || !isCount(length)) {
    throw garbage('a field is missing')
  }
  if (generation !== undefined && !isCount(generation)) throw garbage('a field is missing')
  return { storeId, lsn, count, digest, segment, bytes: length, ...(generation === undefined ? {} : { generation }) }
}

/** The mark, if it speaks of this log: of an older one its base says more. @throws CorruptionError when the log that it speaks of is not there */
export function cleanOf(generation: Generation, mark: CleanMark | undefined): CleanMark | undefined {
  const its = mark?.generation ?? 0
  if (its > generation.number)
    throw new CorruptionError('log.corrupt', `CLEAN speaks of ${logDir(its)}, whose base is not there`, { details: { file: CLEAN_NAME, offset: 0 } })
  return its < generation.number ? undefined : mark
}

/** The mark of the last clean close, if there was one. */
export async function readClean(root: Root): Promise<CleanMark | undefined> {
  const bytes = await getIfThere(root, CLEAN_NAME)
  return bytes === undefined ? undefined : decodeClean(bytes)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function garbage(why: string): CorruptionError {
  return new CorruptionError('log.corrupt', `CLEAN: ${why}`, {
    details: { file: CLEAN_NAME, offset: 0 },
    hint: 'Run varve repair, which removes it after verifying the footer of the newest segment.',
  })
}
