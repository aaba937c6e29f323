// store/copy-files.ts: the files that a copy needs besides its log, each verified by its SHA-256 on the way.
//
// Invariant: a file gets its name in the target only when all its bytes were read and have the digest that its name states.

import { checkpointBody, checkpointName, encodeCheckpoint } from '../catalog/index.ts'
import { listCheckpoints, type NamedFiles, readCheckpoint } from '../engine/index.ts'
import { CorruptionError } from '../errors.ts'
import { decodeIntent, type FileRef, toHex } from '../format/index.ts'
import { Sha256, sha256 } from '../kernels/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { fileKey, finalName, intentName, type StagedFile, stagingPrefix } from '../staging/index.ts'
import { stagedFiles } from '../write/index.ts'
import type { CopyTarget } from './copy-target.ts'

/** Files copied at one time. */
const LANES = 4
/** A larger file is copied in pieces of this size. */
const PIECE_BYTES = 2 * 1024 * 1024
const CODE_OF = { arrow: 'fragment.corrupt', idx: 'index.corrupt', dv: 'coverage.corrupt', keys: 'staged.corrupt', def: 'staged.corrupt' } as const

export interface ContentFile {
  readonly name: string
  readonly file: Pick<FileRef, 'digest' | 'bytes'>
}

/** What was written. */
export interface CopyCount {
  files: number
  bytes: number
}

/** Fragments, indexes and deletion vectors, sorted by name. */
export function contentFiles({ fragments, vectors }: NamedFiles): ContentFile[] {
  const files: ContentFile[] = [...fragments.values()].map(({ file }) => ({ name: file.name, file: file.file }))
  for (const [name, file] of vectors) files.push({ name, file })
  return files.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** Which of them the target lacks: not there, or of another length. */
export async function missingIn(target: CopyTarget, files: readonly ContentFile[]): Promise<ContentFile[]> {
  const there = new Map<string, number>()
  for (const prefix of ['fragments/', 'indexes/']) for await (const { name, size } of target.root.list(prefix)) there.set(name, size)
  return files.filter(({ name, file }) => {
    if (there.get(name) !== file.bytes) return true
    target.counts(name)
    return false
  })
}

/** @param absent  asked for each file that the source lacks: throws when it should be there */
export async function copyContent(
  source: Root,
  target: CopyTarget,
  files: readonly ContentFile[],
  o: {
    readonly signal: AbortSignal | undefined
    readonly copied: (file: ContentFile) => void
    readonly absent: (name: string, cause: unknown) => Promise<void>
  },
): Promise<void> {
  const queue = files.values()
  let failed: unknown
  const lane = async (): Promise<void> => {
    for (const each of queue) {
      if (failed !== undefined) return
      o.signal?.throwIfAborted()
      try {
        await copyOne(source, target, each)
        o.copied(each)
      } catch (error) {
        if (!isNotFound(error)) throw error
        await o.absent(each.name, error)
      }
    }
  }
  const lanes = Array.from({ length: LANES }, () =>
    lane().catch((error: unknown) => {
      failed ??= error
    }),
  )
  await Promise.all(lanes)
  if (failed !== undefined) throw failed
}

async function copyOne(source: Root, target: CopyTarget, { name, file }: ContentFile): Promise<void> {
  if (file.bytes <= PIECE_BYTES) {
    const { bytes } = await source.get(name)
    checkDigest(name, file, bytes.length, toHex(sha256(bytes)))
    return await target.put(name, bytes)
  }
  await target.putLarge(name, pieces(source, name, file))
}

/** Throws behind the last piece when the whole is not what it should be: the file never gets its name. */
async function* pieces(source: Root, name: string, file: ContentFile['file']): AsyncGenerator<Uint8Array> {
  const size = (await source.head(name))?.size
  if (size !== undefined && size !== file.bytes) checkDigest(name, file, size, 'unknown')
  const hash = new Sha256()
  for (let at = 0; at < file.bytes; at += PIECE_BYTES) {
    const { bytes } = await source.get(name, { range: { start: at, end: Math.min(file.bytes, at + PIECE_BYTES) } })
    hash.update(bytes)
    yield bytes
  }
  checkDigest(name, file, file.bytes, toHex(hash.digest()))
}

function checkDigest(name: string, { digest, bytes }: ContentFile['file'], length: number, found: string): void {
  if (length === bytes && found === digest) return
  const why = length === bytes ? `digest ${found}, expected ${digest}` : `${length} bytes, expected ${bytes}`
  const ext = name.slice(name.lastIndexOf('.') + 1) as keyof typeof CODE_OF
  throw new CorruptionError(CODE_OF[ext], `${name}: ${why}`, {
    details: { file: name },
    hint: 'Nothing of it was copied. Run varve verify on the source, and restore this file from an older backup.',
  })
}

/** Checkpoints at or below `lsn` that the target lacks; one that fails its check, or contradicts the log, is left out: others stand in. */
export async function copyCheckpoints(
  source: { readonly root: Root; readonly log: CommitLog; readonly storeId: Uint8Array; readonly world: World },
  target: CopyTarget,
  lsn: number,
  count: CopyCount,
): Promise<void> {
  const there = new Set(await listCheckpoints(target.root))
  for (const each of there) target.counts(checkpointName(each))
  for (const each of (await listCheckpoints(source.root)).filter((at) => at <= lsn && !there.has(at)).reverse()) {
    try {
      const { digest, catalog } = await readCheckpoint(source.root, source.storeId, each)
      if (toHex(await source.log.digestAt(BigInt(each) as Lsn)) !== toHex(digest)) continue
      const bytes = encodeCheckpoint(target.identity.storeId, each, digest, checkpointBody(catalog))
      await target.put(checkpointName(each), bytes)
      count.files++
      count.bytes += bytes.length
    } catch (cause) {
      // Removed meanwhile, or damaged: a cache of the log either way.
      if (!(cause instanceof CorruptionError) && !isNotFound(cause) && BigInt(each) >= source.log.tail) throw cause
      source.world.logger.log({ level: 'warn', code: 'backup.checkpointSkipped', file: checkpointName(each), cause })
    }
  }
}

/** The files of sealed writes that nobody has decided. @returns the ids of the writes, those whose files were all there and the others */
export async function copyPending(source: Root, target: CopyTarget, { seals }: NamedFiles, count: CopyCount): Promise<{ kept: string[]; lost: string[] }> {
  const kept: string[] = []
  const lost: string[] = []
  for (const { intent } of seals.values()) {
    const { writeId } = intent
    let isWhole = true
    for (const file of stagedFiles(intent)) {
      const found = await firstOf(source, namesOf(writeId, file))
      if (found === undefined) {
        isWhole = false
        continue
      }
      const [name] = namesOf(writeId, file, target.root)
      checkDigest(name!, file, found.length, toHex(sha256(found)))
      await add(target, name!, found, count)
    }
    const armed = await firstOf(source, [intentName(writeId)])
    if (armed !== undefined) {
      decodeIntent(armed, intentName(writeId))
      await add(target, intentName(writeId), armed, count)
    }
    ;(isWhole ? kept : lost).push(writeId)
  }
  return { kept, lost }
}

/** Where a staged file may be: in the folder of its write, or, once promoted or on roots without links, under its content address. */
function namesOf(writeId: string, file: StagedFile, root?: Root): string[] {
  const staged = `${stagingPrefix(writeId)}${fileKey(file)}`
  if (file.ext === 'keys' || file.ext === 'def') return [staged]
  const promoted = finalName(file, file.gen ?? 0)
  return root?.caps.hardLink === false ? [promoted] : [staged, promoted]
}

async function add(target: CopyTarget, name: string, bytes: Uint8Array, count: CopyCount): Promise<void> {
  if ((await target.root.head(name))?.size === bytes.length) return target.counts(name)
  await target.put(name, bytes)
  count.files++
  count.bytes += bytes.length
}

async function firstOf(root: Root, names: readonly string[]): Promise<Uint8Array | undefined> {
  for (const name of names) {
    try {
      return (await root.get(name)).bytes
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
  return undefined
}
