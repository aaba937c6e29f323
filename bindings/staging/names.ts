// staging/names.ts: what the files of a write are called: in its own directory while it is undecided, and under their content addresses after (core.md section 2).
//
//   staging/<writeId>/INTENT | LEASE | <sha256>.<ext>      fragments/<ab>/<sha256>[.g<n>].arrow|.dv      indexes/<ab>/<sha256>[.g<n>].idx
//
// Invariant: `keys` and `def` files have no other place than staging; they go when the write is decided.
import { assert } from '../assert.ts'
import { deletionVectorName, fragmentName, indexName, INTENT_NAME, STAGING_PREFIX, stagedName, type StagedExtension } from '../format/index.ts'

export interface StagedFile {
  /** SHA-256, lower-case hex. */
  readonly digest: string
  readonly ext: StagedExtension
  readonly bytes: number
  /** On roots without hard links, where the file has its final name from the start: which generation of it. */
  readonly gen?: number
}

type FileId = Pick<StagedFile, 'digest' | 'ext'>

/** `staging/<writeId>/` */
export function stagingPrefix(writeId: string): string {
  return `${STAGING_PREFIX}${writeId}/`
}

export function intentName(writeId: string): string {
  return stagedName(writeId, INTENT_NAME)
}

/** Changes while the owner of a write on an object root is alive. */
export function leaseName(writeId: string): string {
  return stagedName(writeId, 'LEASE')
}

/** `<sha256>.<ext>`: names one file within a write. */
export function fileKey({ digest, ext }: FileId): string {
  return `${digest}.${ext}`
}

export function isPromoted(ext: StagedExtension): boolean {
  return ext === 'arrow' || ext === 'idx' || ext === 'dv'
}

/** The content address. @throws InvariantError for what is never promoted */
export function finalName({ digest, ext }: FileId, gen: number): string {
  assert(isPromoted(ext), 'keys and definitions stay in staging', ext)
  return ext === 'arrow' ? fragmentName(digest, gen) : ext === 'idx' ? indexName(digest, gen) : deletionVectorName(digest, gen)
}

const STAGED = /^staging\/([^/]+)\/([0-9a-f]{64})\.(arrow|idx|dv|keys|def)$/

/** Undefined: not a staged file (INTENT, LEASE, what somebody else put there). */
export function parseStagedName(name: string): { readonly writeId: string; readonly digest: string; readonly ext: StagedExtension } | undefined {
  const found = STAGED.exec(name)
  return found === null ? undefined : { writeId: found[1]!, digest: found[2]!, ext: found[3] as StagedExtension }
}
