// log/backup-mark.ts: the file BACKUP: how far a backup is whole (docs/backup.md).
//
// Written last, after everything that it vouches for is durable, and replaced whole by the next run. A store whose VARVE says `backup` is read up to here and no
// further: what a run that was cut off has put behind it is not there for anybody.
import { CorruptionError, StoreTooNewError } from '../errors.ts'
import { parseHex, toHex } from '../format/index.ts'
import { getIfThere, type Root } from '../root/index.ts'

import type { Digest } from './commit-log.ts'
import { decodeSealed, encodeSealed } from './sealed-json.ts'

export const BACKUP_NAME = 'BACKUP'
const FORMAT = 1

export interface BackupMark {
  readonly storeId: Uint8Array
  readonly lsn: number
  /** digestAt(lsn). */
  readonly digest: Digest
  /** Versions below cannot be read: files of theirs were gone when it was made, and no record up to `lsn` says so. */
  readonly historyFloor: number
  /** Wall clock of whoever made it, unix ms; for people. */
  readonly atMs: number
}

export function encodeBackupMark(mark: BackupMark): Uint8Array<ArrayBuffer> {
  return encodeSealed({
    format: FORMAT,
    storeId: toHex(mark.storeId),
    lsn: mark.lsn,
    digest: toHex(mark.digest),
    historyFloor: mark.historyFloor,
    atMs: Math.floor(mark.atMs),
  })
}

/** @returns undefined when there is none: no run has come to its end @throws CorruptionError, StoreTooNewError, StorageError */
export async function readBackupMark(root: Root): Promise<BackupMark | undefined> {
  const bytes = await getIfThere(root, BACKUP_NAME)
  if (bytes === undefined) return undefined
  const fields = decodeSealed(bytes)
  if (fields === undefined) throw damaged('its check does not match')
  const { format, lsn, historyFloor, atMs } = fields
  if (format !== FORMAT) {
    throw new StoreTooNewError(`${BACKUP_NAME} has format ${format}; this varve reads ${FORMAT}`, { details: { found: format, supported: FORMAT } })
  }
  const storeId = parseHex(fields['storeId'], 16)
  const digest = parseHex(fields['digest'], 32)
  if (storeId === undefined || digest === undefined || !Number.isSafeInteger(lsn) || !Number.isSafeInteger(historyFloor) || typeof atMs !== 'number')
    throw damaged('a field is missing')
  return { storeId, lsn: lsn as number, digest: digest as Uint8Array as Digest, historyFloor: historyFloor as number, atMs }
}

function damaged(why: string): CorruptionError {
  return new CorruptionError('log.corrupt', `${BACKUP_NAME}: ${why}`, {
    details: { file: BACKUP_NAME, offset: 0 },
    hint: 'Make the backup anew, into an empty place.',
  })
}
