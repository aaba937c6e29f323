// format/outcome.ts: payloads of the records that decide about a write with an Intent: `seal` (kind 4), `publish` (5), `rollback` (6); and `audit` (11).
//
//   seal:      u8 version | u53 time ms | 16 B writeId | blob Intent | varint n | n table changes (format/commit.ts): its new fragments, no older positions
//   publish:   u8 version | varint seal LSN | text recovery or "" | varint n | n of: 32 B digest, u8 extension, varint generation | a commit whose fragments are left out
//   rollback:  u8 version | u53 time ms | 16 B writeId | varint seal LSN, 0 = it was not sealed | text reason | text recovery or ""
//   audit:     u8 version | u53 time ms | 16 B id | text JSON
//
// Invariant: for each writeId the first publish or rollback in log order is the outcome (recovery.md section 1). A publish states every effect on older rows by
// position, found when it was published; its fragments are those of the seal, under the generations that promotion gave them.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { type CommitRecord, decodeChange, decodeCommit, decodeList, encodeChange, encodeCommit, type TableChange, WRITE_ID_BYTES } from './commit.ts'
import { fromHex, toHex } from './hex.ts'
import { type FragmentRef, withGenerations } from './fragment-ref.ts'
import { decodeIntent, encodeIntent, type Intent } from './intent.ts'

const VERSION = 1

export const STAGED_EXTENSIONS = ['arrow', 'idx', 'dv', 'keys', 'def'] as const
export type StagedExtension = (typeof STAGED_EXTENSIONS)[number]

export interface SealRecord {
  readonly timeMs: number
  /** 16 bytes. */
  readonly writeId: Uint8Array
  readonly intent: Intent
  /** One per participant that adds rows or hides by position, in the order of the participants. */
  readonly changes: readonly TableChange[]
}

/** A promoted file that is not the first of its digest. */
export interface FileGeneration {
  readonly digest: string
  readonly ext: StagedExtension
  readonly gen: number
}

/** Audit facts of a recovery, inside the record that decides: outcome and audit are one durable write. */
export interface RecoveryFacts {
  /** Always `varve:recovery`. */
  readonly by: string
  /** The actor of the write. */
  readonly for?: string
  readonly kind: 'rolledForward' | 'rolledBack' | 'orphanDiscarded'
  readonly sweepId: string
  readonly participants: readonly { readonly table: string; readonly op: string; readonly outcome: string }[]
  /** Names of tables it registers. */
  readonly registrations: readonly string[]
}

export interface PublishRecord {
  readonly sealLsn: number
  readonly recovery?: RecoveryFacts
  readonly generations: readonly FileGeneration[]
  /** Without fragments. */
  readonly commit: CommitRecord
}

export interface RollbackRecord {
  readonly timeMs: number
  readonly writeId: Uint8Array
  readonly sealLsn: number
  readonly reason: string
  readonly recovery?: RecoveryFacts
}

export interface AuditRecord {
  readonly timeMs: number
  /** 16 bytes: of the action. */
  readonly id: Uint8Array
  readonly facts: AuditFacts
}

/** What `repair` did. */
export interface AuditFacts {
  readonly kind: string
  readonly by: string
  readonly for?: string
  readonly reason?: string
  readonly tables: readonly string[]
  readonly [detail: string]: unknown
}

export function encodeSeal(w: ByteWriter, record: SealRecord): void {
  w.u8(VERSION)
  w.u53(record.timeMs)
  w.raw(record.writeId)
  w.blob(encodeIntent(record.intent))
  w.varint(record.changes.length)
  for (const change of record.changes) encodeChange(w, change)
}

/** @throws DecodeError, CorruptIntentError, IntentVersionError */
export function decodeSeal(r: ByteReader, lsn: number): SealRecord {
  version(r, 'seal')
  const timeMs = r.u53()
  const writeId = r.raw(WRITE_ID_BYTES).slice()
  const intent = decodeIntent(r.blob(), `seal ${lsn}`)
  const changes = decodeList(r, () => decodeChange(r))
  ended(r, 'seal')
  return { timeMs, writeId, intent, changes }
}

export function encodePublish(w: ByteWriter, record: PublishRecord): void {
  w.u8(VERSION)
  w.varint(record.sealLsn)
  encodeFacts(w, record.recovery)
  w.varint(record.generations.length)
  for (const { digest, ext, gen } of record.generations) {
    w.raw(fromHex(digest))
    w.u8(STAGED_EXTENSIONS.indexOf(ext))
    w.varint(gen)
  }
  encodeCommit(w, { ...record.commit, changes: record.commit.changes.map(withoutFragments) })
}

/** @throws DecodeError */
export function decodePublish(r: ByteReader): PublishRecord {
  version(r, 'publish')
  const sealLsn = r.varint()
  const recovery = decodeFacts(r)
  const generations = decodeList(r, () => {
    const digest = toHex(r.raw(32))
    const ext = STAGED_EXTENSIONS[r.u8()]
    if (ext === undefined) throw new DecodeError('a file of an unknown extension', r.at - 1)
    return { digest, ext, gen: r.varint() }
  })
  const commit = decodeCommit(r)
  return { sealLsn, ...(recovery === undefined ? {} : { recovery }), generations, commit }
}

export function encodeRollback(w: ByteWriter, record: RollbackRecord): void {
  w.u8(VERSION)
  w.u53(record.timeMs)
  w.raw(record.writeId)
  w.varint(record.sealLsn)
  w.text(record.reason)
  encodeFacts(w, record.recovery)
}

/** @throws DecodeError */
export function decodeRollback(r: ByteReader): RollbackRecord {
  version(r, 'rollback')
  const timeMs = r.u53()
  const writeId = r.raw(WRITE_ID_BYTES).slice()
  const sealLsn = r.varint()
  const reason = r.text()
  const recovery = decodeFacts(r)
  ended(r, 'rollback')
  return { timeMs, writeId, sealLsn, reason, ...(recovery === undefined ? {} : { recovery }) }
}

export function encodeAudit(w: ByteWriter, record: AuditRecord): void {
  w.u8(VERSION)
  w.u53(record.timeMs)
  w.raw(record.id)
  w.text(JSON.stringify(record.facts))
}

/** @throws DecodeError */
export function decodeAudit(r: ByteReader): AuditRecord {
  version(r, 'audit')
  const timeMs = r.u53()
  const id = r.raw(WRITE_ID_BYTES).slice()
  const read = parsed(r) as AuditFacts | undefined
  if (read === undefined || typeof read.kind !== 'string' || !Array.isArray(read.tables)) throw new DecodeError('an audit record without kind and tables', r.at)
  ended(r, 'audit')
  return { timeMs, id, facts: read }
}

/** The commit that a publish is: the seal's fragments, as promoted, in the last change of their table. */
export function publishedCommit(seal: SealRecord, publish: PublishRecord): CommitRecord {
  const changes = [...publish.commit.changes]
  for (const sealed of seal.changes) {
    if (sealed.fragments === undefined) continue
    const at = changes.findLastIndex((change) => change.tableId === sealed.tableId)
    if (at < 0) throw new DecodeError(`a publish without a change of table ${sealed.tableId}, whose fragments were sealed`, 0)
    changes[at] = { ...changes[at]!, fragments: sealed.fragments.map((ref) => promotedRef(ref, publish.generations)) }
  }
  return { ...publish.commit, isArmed: true, changes }
}

/** A sealed fragment under the names that promotion gave its files. */
export function promotedRef(ref: FragmentRef, generations: readonly FileGeneration[]): FragmentRef {
  if (generations.length === 0) return ref
  return withGenerations(ref, (digest, ext) => generations.find((each) => each.digest === digest && each.ext === ext)?.gen)
}

function withoutFragments(change: TableChange): TableChange {
  const { fragments: _fragments, ...rest } = change
  return rest
}

export function encodeFacts(w: ByteWriter, recovery: RecoveryFacts | undefined): void {
  w.text(recovery === undefined ? '' : JSON.stringify(recovery))
}

export function decodeFacts(r: ByteReader): RecoveryFacts | undefined {
  return parsed(r) as RecoveryFacts | undefined
}

function parsed(r: ByteReader): unknown {
  const at = r.at
  const text = r.text()
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    throw new DecodeError('facts that are not JSON', at)
  }
}

function version(r: ByteReader, what: string): void {
  const found = r.u8()
  if (found !== VERSION) throw new DecodeError(`${what} version ${found}`, r.at - 1)
}

function ended(r: ByteReader, what: string): void {
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a ${what}`, r.at)
}
