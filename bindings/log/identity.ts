// log/identity.ts: the file VARVE: format version, store id, created at, attempt id; written once, last, by put-if-absent.
//
// JSON with a check over its other fields, so that a flipped bit is told from another format.

import { CorruptionError, StoreTooNewError, StoreTooOldError } from '../errors.ts'
import { fromHex, toHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'

export const IDENTITY_NAME = 'VARVE'
/** What this version reads; it writes the newest. */
export const FORMATS: { readonly min: number; readonly max: number } = Object.freeze({ min: 1, max: 2 })

export interface Identity {
  readonly format: number
  /** 16 bytes as 32 hex digits. */
  readonly storeId: string
  readonly createdMs: number
  readonly attempt: string
  /** How the log is kept: segments of one writer, or slots that writers compete for. Absent in the file: segments. */
  readonly log: LogLayout
  /** What is no store to write to: a backup of one, or a place that a restore has not finished. Absent in the file: a store. */
  readonly copy?: CopyState
  /** Of a restored store: versions below cannot be read, files of theirs were gone already. Absent: 0. */
  readonly historyFloor?: number
}

export type LogLayout = 'segments' | 'slots'
export type CopyState = 'backup' | 'restoring'

export function encodeIdentity(
  storeId: Uint8Array,
  createdMs: number,
  attempt: Uint8Array,
  log: LogLayout = 'segments',
  copy?: CopyState,
  historyFloor = 0,
): Uint8Array {
  const identity: Identity = {
    format: FORMATS.max,
    storeId: toHex(storeId),
    createdMs,
    attempt: toHex(attempt),
    log,
    ...(copy === undefined ? {} : { copy }),
    ...(historyFloor === 0 ? {} : { historyFloor }),
  }
  const { log: layout, copy: state, historyFloor: floor, ...rest } = identity
  const more = {
    ...(layout === 'segments' ? {} : { log: layout }),
    ...(state === undefined ? {} : { copy: state }),
    ...(floor === undefined ? {} : { historyFloor: floor }),
  }
  return new TextEncoder().encode(`${JSON.stringify({ ...rest, ...more, check: checkOf(identity) }, undefined, 2)}\n`)
}

/** @throws CorruptionError, StoreTooNewError */
export function decodeIdentity(bytes: Uint8Array): Identity {
  let parsed: Partial<Identity> & { check?: unknown }
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Partial<Identity> & { check?: unknown }
  } catch (cause) {
    throw damaged('not JSON', cause)
  }
  if (typeof parsed.format === 'number') checkFormat(parsed.format)
  const identity: Identity = {
    format: Number(parsed.format),
    storeId: String(parsed.storeId),
    createdMs: Number(parsed.createdMs),
    attempt: String(parsed.attempt),
    log: parsed.log ?? 'segments',
    ...(parsed.copy === undefined ? {} : { copy: parsed.copy }),
    ...(parsed.historyFloor === undefined ? {} : { historyFloor: parsed.historyFloor }),
  }
  if (parsed.check !== checkOf(identity)) throw damaged('its check fails')
  if (identity.log !== 'segments' && identity.log !== 'slots') {
    throw new StoreTooNewError(`the store keeps its log as ${JSON.stringify(identity.log)}`, { details: { found: identity.format, supported: FORMATS } })
  }
  if (identity.copy !== undefined && identity.copy !== 'backup' && identity.copy !== 'restoring') {
    throw new StoreTooNewError(`the store is a copy of kind ${JSON.stringify(identity.copy)}`, { details: { found: identity.format, supported: FORMATS } })
  }
  return identity
}

/** @throws StoreTooNewError, StoreTooOldError */
export function checkFormat(format: number, formats: typeof FORMATS = FORMATS): void {
  const { min, max } = formats
  if (format > max) {
    throw new StoreTooNewError(`the store has format ${format}; this version reads ${min} to ${max}`, { details: { found: format, supported: formats } })
  }
  if (format >= min) return
  throw new StoreTooOldError(`the store has format ${format}; this version reads ${min} to ${max}`, {
    details: { found: format, supported: formats },
    hint: 'With the version that wrote it, export each table (store.scan(table).toIpc()) and import that into a new store (store.append).',
  })
}

export function storeIdBytes(identity: Identity): Uint8Array {
  return fromHex(identity.storeId)
}

function checkOf(identity: Identity): string {
  return toHex(
    sha256(
      new TextEncoder().encode(
        JSON.stringify([
          identity.format,
          identity.storeId,
          identity.createdMs,
          identity.attempt,
          ...(identity.log === 'segments' ? [] : [identity.log]),
          ...(identity.copy === undefined ? [] : [identity.copy]),
          ...(identity.historyFloor === undefined ? [] : [identity.historyFloor]),
        ]),
      ),
    ),
  ).slice(0, 32)
}

function damaged(reason: string, cause?: unknown): CorruptionError {
  return new CorruptionError('log.corrupt', `${IDENTITY_NAME}: ${reason}`, {
    details: { file: IDENTITY_NAME, offset: 0 },
    ...(cause === undefined ? {} : { cause }),
  })
}
