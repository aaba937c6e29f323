// store/migrations.ts: the format of a store, and its way to the newest one at a read-write open (recovery.md section 14).
//
// VARVE says which format a store was made in; `FORMAT.<n>`, created if absent and never removed, that it was migrated to n. The highest counts. Nothing is
// replaced: each migration ends with its stamp, so whoever comes after a crash, or at the same time, does again what has no stamp and finds done what has one.
// Invariant: migrations run in order, before anything of branches or intents is read; a read-only open runs none.

import { CorruptionError } from '../errors.ts'
import { fromHex, toHex } from '../format/index.ts'
import { checkFormat, decodeSealed, encodeSealed, FORMATS, type Identity } from '../log/index.ts'
import { createOnce, getIfThere, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

export interface Migration {
  /** The format that a store has when it is through. */
  readonly to: number
  /** What must be there before the stamp. Idempotent, and tolerates that another opener has done some of it. */
  readonly run: (root: Root, world: World) => Promise<void>
}

/** Format 2: records 8 to 10, lists of schema records, indexes of fragment references, checkpoints of version 2. Everything of format 1 is read as it is. */
const MIGRATIONS: readonly Migration[] = [{ to: 2, run: async () => undefined }]

const stampName = (format: number): string => `FORMAT.${format}`

/** @throws StoreTooNewError, StoreTooOldError, CorruptionError, StorageError */
export async function formatOf(root: Root, identity: Identity, formats: typeof FORMATS = FORMATS): Promise<number> {
  let { format } = identity
  while (format <= formats.max && (await isStamped(root, identity, format + 1))) format++
  checkFormat(format, formats)
  return format
}

/** @throws as formatOf */
export async function migrate(root: Root, world: World, identity: Identity, migrations: readonly Migration[] = MIGRATIONS): Promise<void> {
  let format = await formatOf(root, identity, { min: FORMATS.min, max: migrations.at(-1)!.to })
  const { failpoints } = world
  let isFirst = true
  for (const migration of migrations) {
    if (migration.to <= format) continue
    if (failpoints.active) await failpoints.hit(isFirst ? FP.open.beforeMigrate : FP.open.betweenMigrations)
    isFirst = false
    await migration.run(root, world)
    await stamp(root, world, identity, migration.to)
    format = migration.to
    world.logger.log({ level: 'info', code: 'open.migrated', format })
  }
}

/** Whoever makes it: afterwards it is there. */
async function stamp(root: Root, world: World, identity: Identity, format: number): Promise<void> {
  const name = stampName(format)
  const attempt = world.random.bytes(16)
  const bytes = encodeSealed({ format, storeId: identity.storeId, atMs: Math.floor(world.clock.nowMs()), attempt: toHex(attempt) })
  const attemptOf = (found: Uint8Array): Uint8Array | undefined => {
    const text = decodeSealed(found)?.['attempt']
    return typeof text === 'string' ? fromHex(text) : undefined
  }
  const { status } = root.caps.segments ? await root.putIfAbsent(name, bytes, { attempt }) : await createOnce(root, name, bytes, { world, attempt, attemptOf })
  if (status === 'exists') await isStamped(root, identity, format)
}

/** @throws CorruptionError when something else has the name */
async function isStamped(root: Root, identity: Identity, format: number): Promise<boolean> {
  const name = stampName(format)
  const bytes = await getIfThere(root, name)
  if (bytes === undefined) return false
  const fields = decodeSealed(bytes)
  if (fields?.['format'] === format && fields['storeId'] === identity.storeId) return true
  throw new CorruptionError('log.corrupt', `${name}: ${fields === undefined ? 'its check fails' : 'it is the stamp of another store or format'}`, {
    details: { file: name, offset: 0 },
  })
}
