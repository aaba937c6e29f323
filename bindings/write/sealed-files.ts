// write/sealed-files.ts: the files of a sealed write as its Intent names them: verified, read, given their content addresses.

import type { PendingSeal } from '../catalog/index.ts'
import { CorruptionError, DamagedStagedWriteError } from '../errors.ts'
import {
  decodeKeysFile,
  type FileGeneration,
  toHex,
  type Intent,
  type IntentFile,
  type KeysFile,
  type Participant,
  type StagedExtension,
} from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { fileKey, finalName, type StagedFile, StagingArea } from '../staging/index.ts'

const EXTENSIONS = { fragment: 'arrow', index: 'idx', deletions: 'dv', definition: 'def' } as const satisfies Record<IntentFile['role'], StagedExtension>
/** Files read to be verified at one time: each is in memory as a whole. */
const AT_ONCE = 2

/** Everything that was staged, each file once. */
export function stagedFiles({ participants }: Pick<Intent, 'participants'>): StagedFile[] {
  const files = new Map<string, StagedFile>()
  const add = (file: StagedFile): void => void files.set(fileKey(file), file)
  for (const { files: own, keys } of participants) {
    for (const { digest, role, bytes, gen } of own) add({ digest, ext: EXTENSIONS[role], bytes, gen })
    if (keys !== undefined) add({ digest: keys.exact, ext: 'keys', bytes: keys.bytes })
  }
  return [...files.values()]
}

/** Each file has its length and digest, as it will be promoted. @throws CorruptionError staged.corrupt for the first that has not; StorageError */
export async function verifyStaged(area: StagingArea, files: readonly StagedFile[]): Promise<void> {
  const queue = [...files]
  const lane = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) await verifyOne(area, file)
  }
  const lanes = await Promise.allSettled(Array.from({ length: AT_ONCE }, lane))
  for (const each of lanes) if (each.status === 'rejected') throw each.reason as Error
}

async function verifyOne(area: StagingArea, file: StagedFile): Promise<void> {
  try {
    await area.read(file)
  } catch (error) {
    const isMissing = isNotFound(error)
    if (!isMissing && !(error instanceof CorruptionError)) throw error
    const name = error instanceof CorruptionError ? error.file : `staging/${area.writeId}/${fileKey(file)}`
    throw new CorruptionError('staged.corrupt', `${name}: ${isMissing ? 'it is gone' : (error as Error).message}`, { details: { file: name }, cause: error })
  }
}

export interface PromoteSealedOptions {
  readonly isVerified: boolean
  readonly dead: (name: string) => boolean
}

/**
 * Verified and promoted; what an earlier try has done is done again.
 *
 * @param o.isVerified  verifyStaged() has just read them
 * @param o.dead  a vacuum may be deleting the file: it is not relied on
 * @throws DamagedStagedWriteError when a file is missing or differs and no good copy stands under its content address; StorageError
 */
export async function promoteSealed(root: Root, area: StagingArea, seal: PendingSeal, o: PromoteSealedOptions): Promise<FileGeneration[]> {
  const files = stagedFiles(seal.intent)
  const damaged: string[] = []
  let cause: unknown
  const good: StagedFile[] = []
  const promoted = new Map<string, number>()
  for (const file of files) {
    try {
      if (!o.isVerified) await verifyOne(area, file)
      good.push(file)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      const there = await alreadyPromoted(root, file, o.dead)
      if (there !== undefined) promoted.set(fileKey(file), there)
      else {
        damaged.push(error.file)
        cause ??= error
      }
    }
  }
  if (damaged.length > 0) {
    throw new DamagedStagedWriteError(`write ${area.writeId}: ${damaged.length} of its files are missing or damaged, ${damaged[0]} first`, {
      details: { writeId: area.writeId, files: damaged },
      cause,
    })
  }
  for (const [key, gen] of await area.promote(good, { dead: o.dead })) promoted.set(key, gen)
  const generations: FileGeneration[] = []
  for (const file of files) {
    const gen = promoted.get(fileKey(file)) ?? 0
    if (gen > 0) generations.push({ digest: file.digest, ext: file.ext, gen })
  }
  return generations
}

/** The generation under which an earlier promotion left good bytes. */
async function alreadyPromoted(root: Root, file: StagedFile, dead: (name: string) => boolean): Promise<number | undefined> {
  if (file.ext === 'keys' || file.ext === 'def' || !root.caps.hardLink) return undefined
  const gen = file.gen ?? 0
  const name = finalName(file, gen)
  return !dead(name) && (await isGood(root, name, file)) ? gen : undefined
}

async function isGood(root: Root, name: string, file: StagedFile): Promise<boolean> {
  try {
    const { bytes } = await root.get(name)
    return bytes.length === file.bytes && toHex(sha256(bytes)) === file.digest
  } catch (error) {
    if (isNotFound(error)) return false
    throw error
  }
}

/** The keys that a participant wrote. @throws CorruptionError staged.corrupt; StorageError */
export async function keysOf(area: StagingArea, { keys }: Participant): Promise<KeysFile | undefined> {
  return keys === undefined ? undefined : decodeKeysFile(await area.read({ digest: keys.exact, ext: 'keys', bytes: keys.bytes }))
}
