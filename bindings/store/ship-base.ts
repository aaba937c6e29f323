// store/ship-base.ts: what a base at an LSN is made of: the checkpoint there, the files that a store needs which begins with it, and the log behind it
// (docs/decisions/0023-bases.md).
//
// A checkpoint holds references, not rows: those still in the log are in (logFrom, B]. What has a name there and is still needed (branches, tags, what the next merge
// begins with) is made from an older checkpoint, which is then one of the files, and the base begins behind what that one replays.
// Invariant: two bases at one LSN of one store with the same names alive are the same bytes; every file of one is named by the state at B or by those positions.

import { Branches, Catalog, type Checkpoint, checkpointName, MAIN } from '../catalog/index.ts'
import { decodeRecord, markNames, NamedFiles, newestCheckpoint, readCheckpointFile, StoreState, writeCheckpoint } from '../engine/index.ts'
import { CorruptionError } from '../errors.ts'
import { fromHex, markOf, toHex } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import type { Lsn } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import { Turns } from '../runtime/index.ts'
import type { FileRef, Manifest } from '../ship/index.ts'
import { ColumnCache } from '../table/index.ts'
import { SharedContext } from './context.ts'
import { contentFiles } from './copy-files.ts'
import type { Opened } from './wiring.ts'

/** Records folded between two looks at the clock. */
const LOOK_RECORDS = 256
/** Files looked at one by one; more are compared with a list. */
const HEADS_MAX = 256
const LANES = 8

export type BaseSource = Pick<Opened, 'root' | 'world' | 'log' | 'storeId' | 'state' | 'context'>

interface Place {
  readonly branch: number
  readonly lsn: number
}

/**
 * The manifest of the base that begins with the checkpoint at `lsn`.
 *
 * @throws CorruptionError, StorageError (there is none), HistoryUnavailableError; PinUnresolvedError: what a branch or a tag stands on cannot be made
 */
export async function manifestAt(source: BaseSource, lsn: number): Promise<Manifest> {
  const { root, log, storeId } = source
  const file = await readCheckpointFile(root, storeId, lsn)
  const { digest } = file.checkpoint
  if (toHex(await log.digestAt(BigInt(lsn) as Lsn)) !== toHex(digest)) {
    throw new CorruptionError('checkpoint.corrupt', `${checkpointName(lsn)}: states another digest than the log`, { details: { file: checkpointName(lsn) } })
  }
  const { logFrom, files } = await contentsOf(source, file.checkpoint)
  const lineage = log.lineage.filter(({ firstLsn }) => firstLsn <= BigInt(lsn)).map(({ epoch, firstLsn, mandate }) => markOf(epoch, firstLsn, mandate))
  return {
    storeId,
    baseLsn: lsn,
    digest,
    lineage,
    logFrom,
    logDigest: await log.digestAt(BigInt(logFrom) as Lsn),
    checkpoint: fileRef(checkpointName(lsn), file.bytes),
    files,
  }
}

/** Everything that a base is read from, besides the log. */
export function filesOfBase({ checkpoint, files }: Manifest): FileRef[] {
  return [checkpoint, ...files]
}

async function contentsOf(source: BaseSource, { lsn, catalog }: Checkpoint): Promise<{ readonly logFrom: number; readonly files: FileRef[] }> {
  const branches = namesAlive(catalog, source.state)
  const { places, holders } = placesOf(branches, catalog, lsn)
  const named = new NamedFiles()
  named.ofCatalog(catalog)
  if (places.length === 0) return { logFrom: catalog.replayFrom, files: refsOf(named) }
  const { root, log, storeId, context } = source
  const needed = new Set(contentFiles(named).map(({ name }) => name))
  const { kept, held } = await markNames({ root, log, storeId, context, branches }, lsn, lsn, holders)
  for (const names of [kept, ...held.values()]) for (const name of names) needed.add(name)
  const older = await checkpointsBelow(source, places, lsn)
  let logFrom = catalog.replayFrom
  const files: FileRef[] = []
  for (const each of older) {
    logFrom = Math.min(logFrom, each?.checkpoint.catalog.replayFrom ?? 0)
    if (each === undefined) continue
    const { checkpoint, bytes } = each
    named.ofCatalog(checkpoint.catalog)
    for (const [id, seal] of checkpoint.catalog.outcomes.pending) named.seals.set(id, seal)
    files.push(fileRef(checkpointName(checkpoint.lsn), bytes))
  }
  await namesOfLog(source, logFrom, lsn, named)
  files.push(...refsOf(named).filter(({ name }) => needed.has(name)))
  return { logFrom, files: files.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }
}

/** The names of then, without those that are gone by now: what they alone need may be gone as well. */
function namesAlive({ lsn, branches }: Catalog, { applied, catalog: now }: StoreState): Branches {
  const alive = Branches.of(branches.encode())
  if (lsn >= applied) return alive
  const gone = { timeMs: 0, id: new Uint8Array(16) }
  for (const { name, branch, lsn: at } of alive.tags()) {
    const tag = now.branches.tag(name)
    if (tag?.branch !== branch || tag.lsn !== at) alive.fold(lsn, { ...gone, change: { op: 'untag', name } })
  }
  for (const { id, name } of alive.live()) if (!now.branches.isLive(id)) alive.fold(lsn, { ...gone, change: { op: 'delete', branch: id, name } })
  return alive
}

/** What must be makeable besides main at `lsn`, as positions, and as name-walk.ts wants to hear of them. */
function placesOf(branches: Branches, { merges }: Catalog, lsn: number): { readonly places: Place[]; readonly holders: Parameters<typeof markNames>[3] } {
  const tags = branches.tags().map(({ name, branch, lsn: at }) => ({ by: `tag ${name}`, branch, lsn: at }))
  const bases = merges.bases((id) => branches.isLive(id)).map(({ branch, lsn: at, into }) => ({ by: `merge into ${branches.nameOf(into)}`, branch, lsn: at }))
  const holders = [...tags, ...bases].map((each) => ({ ...each, branch: branches.ownerAt(each.branch, each.lsn), isPoint: true }))
  const ends = branches.live().map(({ id }) => ({ branch: id, lsn }))
  // A checkpoint has the tables of main: it is of use as far as a branch is main.
  const places = [...holders, ...ends].map(({ branch, lsn: at }) => ({ branch, lsn: Math.min(at, branches.path(branch)[0]!.upto) }))
  return { places: places.filter((each) => each.lsn < lsn || each.branch !== MAIN), holders }
}

/** The newest valid checkpoint at or below each place, without the one at `base`; undefined: the log from its start. */
async function checkpointsBelow(
  { root, storeId }: BaseSource,
  places: readonly Place[],
  base: number,
): Promise<(Awaited<ReturnType<typeof readCheckpointFile>> | undefined)[]> {
  const found = new Map<number, Awaited<ReturnType<typeof readCheckpointFile>> | undefined>()
  for (const upto of new Set(places.map(({ lsn }) => lsn))) {
    const lsn = (await newestCheckpoint(root, storeId, upto))?.lsn ?? 0
    if (lsn !== base && !found.has(lsn)) found.set(lsn, lsn === 0 ? undefined : await readCheckpointFile(root, storeId, lsn))
  }
  return [...found.values()]
}

async function namesOfLog({ log, world }: BaseSource, from: number, end: number, named: NamedFiles): Promise<void> {
  const turns = new Turns(world)
  for await (const batch of log.read(BigInt(from) as Lsn, { end: BigInt(end) as Lsn })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      named.ofRecord(decodeRecord(batch.bytes, offset, lsn++))
      if (lsn % LOOK_RECORDS === 0) await turns.step()
    }
  }
}

function refsOf(named: NamedFiles): FileRef[] {
  return contentFiles(named).map(({ name, file }) => ({ name, hash: fromHex(file.digest), bytes: file.bytes }))
}

function fileRef(name: string, bytes: Uint8Array): FileRef {
  return { name, hash: sha256(bytes), bytes: bytes.length }
}

/** The first of the files that is not there with its length; undefined: all are. @throws StorageError */
export async function absentFile(root: Root, files: readonly FileRef[]): Promise<string | undefined> {
  if (files.length > HEADS_MAX) {
    const there = new Map<string, number>()
    for (const prefix of ['fragments/', 'indexes/', 'checkpoints/']) for await (const { name, size } of root.list(prefix)) there.set(name, size)
    return files.find(({ name, bytes }) => there.get(name) !== bytes)?.name
  }
  const queue = files.values()
  let absent: string | undefined
  const lane = async (): Promise<void> => {
    for (const { name, bytes } of queue) {
      if (absent !== undefined) return
      if ((await sizeOf(root, name)) !== bytes) absent ??= name
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return absent
}

async function sizeOf(root: Root, name: string): Promise<number | undefined> {
  try {
    return (await root.head(name))?.size
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

/** One of an older version, of its records alone. @throws as catalogAt(), StorageError */
export async function makeCheckpoint(source: Omit<BaseSource, 'state' | 'context'>, lsn: number): Promise<void> {
  const { root, world, storeId, log } = source
  const catalog = await catalogAt({ ...source, context: new SharedContext(root, new ColumnCache(0), world) }, lsn)
  await writeCheckpoint(root, storeId, log, catalog, world.failpoints)
}

/** The catalog as it was at `lsn`, folded without rows from the newest checkpoint below. @throws CorruptionError, HistoryUnavailableError, StorageError */
export async function catalogAt({ root, log, storeId, context, world }: Omit<BaseSource, 'state'>, lsn: number): Promise<Catalog> {
  const base = await newestCheckpoint(root, storeId, lsn)
  const state = StoreState.ofCatalog(context, base?.catalog ?? new Catalog())
  const turns = new Turns(world)
  for await (const batch of log.read(BigInt(state.applied) as Lsn, { end: BigInt(lsn) as Lsn })) {
    let at = Number(batch.first)
    for (const offset of batch.offsets) {
      state.fold(at, state.resolve(at, decodeRecord(batch.bytes, offset, at)))
      at++
      if (at % LOOK_RECORDS === 0) await turns.step()
    }
  }
  return state.catalog
}
