// engine/finish.ts: one table of a write in the form that its seal states: files, the keys it wrote, its change (recovery.md section 3).

import { encodeKeysFile, filesOf, type FragmentRef, type Intent, type IntentFile, type Participant, type TableChange } from '../format/index.ts'
import { keyColumnHashes, xxh3 } from '../kernels/index.ts'
import type { StagingArea } from '../staging/index.ts'
import { type CommitResult, Pace, type TableState } from '../table/index.ts'
import type { Engine } from './engine.ts'
import { keyBytesOf } from './key-text.ts'
import type { LoadKeys } from './load-keys.ts'
import type { LoadTuples } from './load-tuples.ts'

/** What a seal needs of one table. */
export interface FinishedTable {
  readonly participant: Participant
  readonly changes: readonly TableChange[]
}

/** A load whose files are staged, to be sealed before they get their final names. Its table's gates are held. */
export interface LargeLoad {
  readonly area: StagingArea
  /** As armed. */
  readonly intent: Intent
  readonly finished: FinishedTable
  /** Digest of its rows, under an idempotency key. */
  readonly request: Uint8Array | undefined
  readonly signal: AbortSignal | undefined
}

/** Above either a load is sealed first, whatever `sealMode` says: promoting it takes long enough for a crash to cost work. */
export const FUSED_FILES_MAX = 64
export const FUSED_BYTES_MAX: number = 1024 ** 3

/** How loads are sealed; write/ does it. */
export interface LoadSealer {
  readonly always: boolean
  /** Seal and publish. @throws ConflictError, rolled back; CommitOutcomeUnknownError, FencedError: it may be published by somebody else */
  readonly publish: (large: LargeLoad) => Promise<CommitResult>
}

/** @param fresh  of each fragment: its keys are not in the table before */
export function intentFiles(refs: readonly FragmentRef[], fresh: (ordinal: number) => boolean): IntentFile[] {
  return refs.flatMap((ref, ordinal) =>
    filesOf(ref).map(({ role, file: { digest, gen = 0, bytes } }) => {
      const isFresh = role === 'fragment' && fresh(ordinal)
      return { digest, gen, role, bytes, rows: ref.rows, ...(isFresh ? { fresh: true as const } : {}) }
    }),
  )
}

/** What a participant wrote. */
export interface WrittenTuples {
  readonly keys: LoadKeys | undefined
  readonly tuples: LoadTuples | undefined
  /** Keys, as keyText. */
  readonly deleted: ReadonlySet<string>
}

/** The `.keys` file of a participant with rule `keys`. */
export async function storeKeys(
  { parts: { world, check } }: Engine,
  table: TableState,
  area: StagingArea,
  { keys, tuples, deleted }: WrittenTuples,
): Promise<NonNullable<Participant['keys']>> {
  const parts = keys?.parts ?? []
  const count = parts.reduce((sum, part) => sum + part.keys.rows, 0) + (tuples?.count ?? 0) + deleted.size
  const hashes = new Uint32Array(count * 2)
  let at = 0
  const note = (key: Uint8Array): void => {
    const { lo, hi } = xxh3(key)
    hashes[at++] = lo
    hashes[at++] = hi
  }
  const pace = new Pace({ world, check, table: table.name, phase: 'keys', total: count })
  for (const { keys: run } of parts) {
    hashes.set(keyColumnHashes(run), at)
    at += 2 * run.rows
    await pace.step(at / 2)
  }
  for (const part of tuples?.hashes() ?? []) {
    hashes.set(part, at)
    at += part.length
    await pace.step(at / 2)
  }
  const gone = [...deleted].map(keyBytesOf)
  for (const key of gone) note(key)
  const file = await area.put('keys', encodeKeysFile(hashes, gone))
  return { exact: file.digest, bytes: file.bytes }
}
