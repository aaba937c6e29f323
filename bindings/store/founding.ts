// store/founding.ts: whose store a root holds, and making one where there is none (recovery.md section 7, "Creating a store").
//
//   segments: nothing, or known empty folders -> LOCK, log (its marks carry the new id) -> VARVE by put-if-absent: the commit point
//   slots:    nothing, or known empty folders -> VARVE by put-if-absent: the commit point -> log
//
// Invariant: before VARVE a root is new to the next open, which goes on with the id that the log carries; from VARVE on no error path removes anything. Of creators
// that race one makes the store and the others open that one.

import { NotAStoreError, ReadOnlyError, StoreExistsError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import {
  type BackupMark,
  decodeIdentity,
  encodeIdentity,
  type Identity,
  IDENTITY_NAME,
  type LogLayout,
  logStoreId,
  readBackupMark,
  storeIdBytes,
} from '../log/index.ts'
import type { ResolvedOptions } from '../options.ts'
import { createOnce, getIfThere, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'
import { formatOf, migrate } from './migrations.ts'

/** Creators met before this one gives up: each round somebody else got further. */
const ROUNDS = 4

export interface Known {
  readonly storeId: Uint8Array
  readonly isNew: boolean
  readonly attempt: Uint8Array
  readonly layout: LogLayout
  /** Of a backup: how far it is whole. */
  readonly mark?: BackupMark
  /** Versions below cannot be read, whatever the log says. */
  readonly historyFloor: number
}

/**
 * Open with the id of the store that is there, or of a new one; a new one exists when it resolves.
 *
 * @param storeId  of a new store; undefined: any
 * @param open  takes the LOCK; what it opened is closed again by `close` when another creator was first
 * @throws NotAStoreError, StoreExistsError, CorruptionError, StorageError and what `open` throws
 */
export async function found<T>(
  root: Root,
  world: World,
  options: ResolvedOptions,
  open: (known: Known) => Promise<T>,
  close: (opened: T) => Promise<void>,
  storeId?: Uint8Array,
): Promise<{ opened: T; storeId: Uint8Array }> {
  for (let round = 1; ; round++) {
    const known = await identify(root, world, options, storeId)
    let opened: T | undefined
    try {
      // Slots carry no store id, and nobody holds a LOCK: whoever writes VARVE makes the store.
      if (known.isNew && known.layout === 'slots') await writeIdentity(root, world, known)
      opened = await open(known)
      if (known.isNew && known.layout === 'segments') await writeIdentity(root, world, known)
      return { opened, storeId: known.storeId }
    } catch (error) {
      if (opened !== undefined) await close(opened).catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'open.releaseFailed', cause }))
      if (!known.isNew || round === ROUNDS) throw error
      const isLate = error instanceof StoreExistsError && options.create !== 'must'
      if (!isLate && !(await isAnothers(root, known.storeId))) throw error
    }
  }
}

async function identify(root: Root, world: World, options: ResolvedOptions, wanted: Uint8Array | undefined): Promise<Known> {
  const attempt = world.random.bytes(16)
  const made = async (identity: Identity): Promise<Known> => {
    if (options.create === 'must' && !options.readOnly) throw storeExists(root, identity)
    const mark = identity.copy === undefined ? undefined : await wholeCopy(root, identity, options.readOnly)
    // Before anything else is read: what follows is in the newest format, or only read.
    await (options.readOnly ? formatOf(root, identity) : migrate(root, world, identity))
    return {
      storeId: storeIdBytes(identity),
      isNew: false,
      attempt,
      layout: identity.log,
      historyFloor: mark?.historyFloor ?? identity.historyFloor ?? 0,
      ...(mark === undefined ? {} : { mark }),
    }
  }
  const identity = await readIdentity(root)
  if (identity !== undefined) return await made(identity)
  // A crash between the first segment and VARVE leaves a log: it is this store's, and its id stands in each mark.
  const logId = await logStoreId(root)
  if (options.readOnly || (options.create === 'never' && logId === undefined)) {
    throw new NotAStoreError(`${root.url} holds no varve store`, { details: { url: root.url } })
  }
  if (logId === undefined && (await isOccupied(root))) {
    // Another creator may have got past VARVE since we looked for it.
    const late = await readIdentity(root)
    if (late !== undefined) return await made(late)
    throw occupied(root)
  }
  const layout = logId === undefined && (options.writers === 'shared' || !root.caps.segments) ? 'slots' : 'segments'
  return { storeId: logId ?? wanted ?? world.random.bytes(16), isNew: true, attempt, layout, historyFloor: 0 }
}

/** The commit point. A lost answer is told by reading the name: our attempt, or our store id from a creator that died, is ours. */
async function writeIdentity(root: Root, world: World, { storeId, attempt, layout }: Known): Promise<void> {
  const { failpoints } = world
  const bytes = encodeIdentity(storeId, Math.floor(world.clock.nowMs()), attempt, layout)
  let status: 'created' | 'exists'
  try {
    status = root.caps.segments
      ? (await root.putIfAbsent(IDENTITY_NAME, bytes, { attempt })).status
      : (await createOnce(root, IDENTITY_NAME, bytes, { world, attempt, attemptOf: attemptIn })).status
  } catch (error) {
    const found = await readIdentity(root).catch((cause: unknown) => {
      world.logger.log({ level: 'warn', code: 'open.identityUnread', cause })
      throw error
    })
    if (found === undefined) throw error
    // What failed may have been the sync of its name.
    if (root.caps.segments) await root.syncDir('')
    status = 'exists'
  }
  if (status === 'exists') {
    const there = await readIdentity(root)
    if (there?.storeId !== toHex(storeId)) throw storeExists(root, there)
  }
  if (failpoints.active) await failpoints.hit(FP.open.afterVersionFile)
}

/** A copy opens read-only, as far as it is whole. @throws ReadOnlyError, NotAStoreError */
async function wholeCopy(root: Root, { copy, storeId }: Identity, readOnly: boolean): Promise<BackupMark> {
  if (copy === 'backup' && !readOnly) {
    throw new ReadOnlyError(`${root.url} is a backup of store ${storeId}: it is not written to`, {
      details: { url: root.url, storeId },
      hint: 'Open it with readOnly, or make a store of it elsewhere: Store.restore(from, to).',
    })
  }
  const mark = copy === 'backup' ? await readBackupMark(root) : undefined
  if (mark !== undefined) return mark
  const what = copy === 'backup' ? 'a backup' : 'a restore'
  throw new NotAStoreError(`${root.url} holds ${what} of store ${storeId} that is not finished`, {
    details: { url: root.url },
    hint: `Run the ${copy === 'backup' ? 'backup' : 'restore'} again: it goes on where it was cut off.`,
  })
}

/** What VARVE says. @returns undefined without one @throws CorruptionError, StoreTooNewError, StorageError */
export async function readIdentity(root: Root): Promise<Identity | undefined> {
  const bytes = await getIfThere(root, IDENTITY_NAME)
  return bytes === undefined ? undefined : decodeIdentity(bytes)
}

/** Another creator got further: VARVE, or a log, of another id. */
async function isAnothers(root: Root, storeId: Uint8Array): Promise<boolean> {
  try {
    const there = (await readIdentity(root))?.storeId ?? hexOf(await logStoreId(root))
    return there !== undefined && there !== toHex(storeId)
  } catch {
    return false // the error that brought us here says more
  }
}

function hexOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : toHex(bytes)
}

function attemptIn(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return Uint8Array.from(decodeIdentity(bytes).attempt.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
  } catch {
    return undefined
  }
}

function storeExists(root: Root, identity: Identity | undefined): StoreExistsError {
  const storeId = identity?.storeId ?? ''
  return new StoreExistsError(`${root.url} holds store ${storeId}`, { details: { storeId } })
}

/** What a creator may leave that stopped before VARVE. */
export const FOUNDING_NAMES: RegExp = /^(LOCK\.\d+|NODE|log\/(\d{20}|free-\d+)\.wal|probe\/.*|hints\/caps)$/

/** For a root without a store. @throws NotAStoreError where none can be founded */
export async function checkVacant(root: Root): Promise<void> {
  if ((await isOccupied(root)) && (await logStoreId(root)) === undefined) throw occupied(root)
}

function occupied(root: Root): NotAStoreError {
  return new NotAStoreError(`${root.url} holds other files and no varve store`, {
    details: { url: root.url },
    hint: 'Choose an empty directory, or one that holds a store.',
  })
}

async function isOccupied(root: Root): Promise<boolean> {
  for await (const { name } of root.list('')) if (!FOUNDING_NAMES.test(name)) return true
  return false
}
