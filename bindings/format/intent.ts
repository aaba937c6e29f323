// format/intent.ts: the Intent of a write that is more than one record (recovery.md section 3): the file `staging/<writeId>/INTENT` and the body of `seal`.
//
// Canonical JSON: keys sorted, no spaces, lists in a fixed order, and `check` = SHA-256 of the same JSON without it, so that equal intents are equal bytes.
// Invariant: what does not check or is of a newer version is refused, never guessed.

import { CorruptIntentError, IntentVersionError } from '../errors.ts'
import { sha256 } from '../kernels/index.ts'
import { toHex } from './hex.ts'
import type { FileRef, IndexRef } from './fragment-ref.ts'
import type { TableSchema } from './types.ts'

export const INTENT_VERSION = 1

export const INTENT_KINDS = [
  'load',
  'upsert',
  'delete',
  'replace',
  'schema',
  'optimize',
  'merge',
  'index',
  'restore',
  'staged',
  'flush',
  'truncate',
  'install',
] as const
export type IntentKind = (typeof INTENT_KINDS)[number]
export type IntentMode = 'auto' | 'hold'
export type ParticipantOp = 'append' | 'upsert' | 'delete' | 'replace' | 'rewrite' | 'compact' | 'reindex'
/** How a participant may follow what was published since it was prepared. */
export type AdmitRule = 'exact' | 'keys' | 'commute'

export interface IntentFile {
  /** SHA-256, lower-case hex. */
  readonly digest: string
  /** 0 = `<sha256>.<ext>`, n = `<sha256>.g<n>.<ext>`. */
  readonly gen: number
  readonly role: 'fragment' | 'index' | 'deletions' | 'definition'
  readonly bytes: number
  readonly rows: number
  /** Keyed tables: the keys of this fragment must not be in the table before. */
  readonly fresh?: true
}

/** A fragment that older rows are named in by position; `deletions` is the count of rows hidden there when it was read. */
export interface Addressed {
  /** `<lsn>.<ordinal>` of its reference, never the digest: equal contents are two fragments. */
  readonly fragment: string
  readonly deletions: string
}

export interface Participant {
  readonly tableId: number
  /** LSN that created the table: a table of that name made later is another one. */
  readonly incarnation: number
  /** For people only. */
  readonly name: string
  readonly op: ParticipantOp
  /** LSN of the last record that changed this table when the write was prepared, decimal. */
  readonly expectedVersion: string
  readonly rule: AdmitRule
  /** Staged `.keys` file: hashes of the keys it wrote, and the keys it deletes. */
  readonly keys?: { readonly exact: string; readonly bytes: number }
  readonly files: readonly IntentFile[]
  readonly removes: readonly Addressed[]
  readonly addresses: readonly Addressed[]
  /** optimize: how many of `removes`, and of the new fragments, belong together, in their order. */
  readonly groups?: readonly { readonly removes: number; readonly fragments: number }[]
  /** optimize: fragments, as `<lsn>.<ordinal>`, with the files of their further indexes. */
  readonly reindexed?: readonly { readonly fragment: string; readonly index?: FileRef; readonly indexes?: readonly IndexRef[] }[]
}

export interface IntentOwner {
  /** ULID of the open handle that wrote it. */
  readonly writerId: string
  readonly epoch: string
  readonly host?: string
  readonly pid?: number
  /** Start time of that process as World.host tells it. */
  readonly started?: string
}

/** Of a merge: what goes into its commit (format/commit.ts), and names for people. */
export interface IntentMerge {
  readonly source: string
  /** Incarnation of the source. */
  readonly sourceId: string
  /** Decimal, as baseLsn. */
  readonly sourceLsn: string
  readonly baseLsn: string
  /** Numbers of the branches that `source` and `baseLsn` are positions of. */
  readonly branch: number
  readonly baseBranch: number
}

export interface Intent {
  readonly schemaVersion: typeof INTENT_VERSION
  /** ULID; also the name of the staging directory. */
  readonly writeId: string
  readonly kind: IntentKind
  readonly mode: IntentMode
  readonly branch: string
  /** Incarnation of the branch. */
  readonly branchId: string
  /** Snapshot the write was prepared against, decimal. */
  readonly baseLsn: string
  /** Digest of the definitions at baseLsn. */
  readonly schemaDigest: string
  readonly schemaAfter?: string
  readonly merge?: IntentMerge
  readonly owner: IntentOwner
  readonly actor?: string
  readonly message?: string
  /** ISO 8601, for people: nothing compares it. */
  readonly createdAt: string
  /** ISO 8601; compared with record times only. */
  readonly holdUntil?: string
  readonly idempotencyKey?: string
  /** SHA-256 of what was asked under the key, hex: final in the seal. */
  readonly request?: string
  /** Sorted by tableId. */
  readonly participants: readonly Participant[]
  /** Tables it creates. */
  readonly registrations: readonly TableSchema[]
  /** Tables it drops. */
  readonly tombstones: readonly number[]
  /** truncate, install: the generation of the log that is cut, or that begins; `baseLsn` is where it ends, or its base. */
  readonly generation?: number
  /** Random, 32 hex digits: whose INTENT stands under the name. */
  readonly nonce: string
}

/** The one branch there is until branches can be made. */
export const MAIN_BRANCH = 'main'
export const MAIN_BRANCH_ID = '00000000000000000000000000'

export const INTENT_NAME = 'INTENT'
export const STAGING_PREFIX = 'staging/'

/** `staging/<writeId>/<name>`. */
export function stagedName(writeId: string, name: string): string {
  return `${STAGING_PREFIX}${writeId}/${name}`
}

export function encodeIntent(intent: Intent): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(canonicalJson({ ...intent, check: checkOf(intent) }))
}

/** @param path  what to call it in errors @throws CorruptIntentError, IntentVersionError */
export function decodeIntent(bytes: Uint8Array, path: string): Intent {
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Record<string, unknown>
  } catch (cause) {
    throw corrupt(path, 'not JSON', cause)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw corrupt(path, 'not an object')
  const { check, ...intent } = parsed
  const found = intent['schemaVersion']
  if (typeof found === 'number' && found > INTENT_VERSION) {
    throw new IntentVersionError(`${path} has version ${found}; this engine reads up to ${INTENT_VERSION}`, {
      details: { path, found, supported: INTENT_VERSION },
    })
  }
  if (found !== INTENT_VERSION) throw corrupt(path, `version ${JSON.stringify(found)}`)
  if (check !== checkOf(intent)) throw corrupt(path, 'its check fails')
  const reason = shapeProblem(intent)
  if (reason !== undefined) throw corrupt(path, reason)
  return intent as unknown as Intent
}

/** JSON with sorted keys and no spaces: equal values are equal bytes. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`
}

function checkOf(intent: object): string {
  return toHex(sha256(new TextEncoder().encode(canonicalJson(intent))))
}

/** What a good check does not tell: bytes that somebody made on purpose. */
function shapeProblem(intent: Record<string, unknown>): string | undefined {
  for (const key of ['writeId', 'branch', 'branchId', 'baseLsn', 'schemaDigest', 'createdAt', 'nonce']) if (typeof intent[key] !== 'string') return `no ${key}`
  if (!/^[0-9A-HJKMNP-TV-Z]{26}$/.test(intent['writeId'] as string)) return 'a writeId that is no ULID'
  if (!/^\d{1,16}$/.test(intent['baseLsn'] as string)) return 'a baseLsn that is no LSN'
  if (!INTENT_KINDS.includes(intent['kind'] as IntentKind)) return `kind ${JSON.stringify(intent['kind'])}`
  if (intent['mode'] !== 'auto' && intent['mode'] !== 'hold') return `mode ${JSON.stringify(intent['mode'])}`
  const owner = intent['owner'] as Partial<IntentOwner> | undefined
  if (typeof owner?.writerId !== 'string' || typeof owner.epoch !== 'string') return 'no owner'
  if (!Array.isArray(intent['registrations']) || !Array.isArray(intent['tombstones'])) return 'no registrations or tombstones'
  const merge = intent['merge'] as Partial<IntentMerge> | undefined
  if (merge !== undefined && !isMerge(merge)) return 'a merge without positions'
  const isOfLog = intent['kind'] === 'truncate' || intent['kind'] === 'install'
  if (isOfLog !== Number.isSafeInteger(intent['generation'])) return 'a generation where none belongs, or none'
  if (!Array.isArray(intent['participants'])) return 'no participants'
  return (intent['participants'] as Partial<Participant>[]).map(participantProblem).find((problem) => problem !== undefined)
}

function isMerge({ branch, baseBranch, sourceLsn, baseLsn }: Partial<IntentMerge>): boolean {
  const isLsn = (text: unknown): boolean => typeof text === 'string' && /^\d{1,16}$/.test(text)
  return Number.isSafeInteger(branch) && Number.isSafeInteger(baseBranch) && isLsn(sourceLsn) && isLsn(baseLsn)
}

function participantProblem(participant: Partial<Participant>): string | undefined {
  const { tableId, incarnation, name, op, expectedVersion, rule, files, removes, addresses } = participant
  if (!Number.isSafeInteger(tableId) || !Number.isSafeInteger(incarnation) || typeof name !== 'string' || typeof op !== 'string')
    return 'a participant without identity'
  if (typeof expectedVersion !== 'string' || !/^\d{1,16}$/.test(expectedVersion)) return `participant ${name}: expectedVersion`
  if (rule !== 'exact' && rule !== 'keys' && rule !== 'commute') return `participant ${name}: rule`
  if (!Array.isArray(files) || !Array.isArray(removes) || !Array.isArray(addresses)) return `participant ${name}: no files`
  const isFile = (file: Partial<IntentFile>): boolean =>
    typeof file.digest === 'string' && /^[0-9a-f]{64}$/.test(file.digest) && Number.isSafeInteger(file.bytes) && Number.isSafeInteger(file.gen)
  return files.every(isFile) ? undefined : `participant ${name}: a file without digest and length`
}

function corrupt(path: string, reason: string, cause?: unknown): CorruptIntentError {
  return new CorruptIntentError(`${path}: ${reason}`, { details: { path, reason }, ...(cause === undefined ? {} : { cause }) })
}
