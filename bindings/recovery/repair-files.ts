// recovery/repair-files.ts: what may be wrong in a store that opens: key indexes, checkpoints, files that nothing names, INTENTs that cannot be read.
//
// Invariant: no byte that a record names is taken away: a damaged index is replaced by one that has the digest of the record, or left; everything else that
// goes is named by no record, no checkpoint and no intent, and goes to quarantine.
import { type Catalog, checkpointName } from '../catalog/index.ts'
import {
  decodeRecord,
  KIND_COMMIT,
  KIND_FLUSH,
  KIND_OPTIMIZE,
  KIND_PUBLISH,
  KIND_SEAL,
  listCheckpoints,
  newestCheckpoint,
  readCheckpoint,
  type StateContext,
  type StateRecord,
} from '../engine/index.ts'
import { StoreState, verifyStore } from '../engine/index.ts'
import { CorruptionError, VarveError } from '../errors.ts'
import {
  deletionVectorName,
  type DeletionVectorRef,
  type FragmentRef,
  type IndexRef,
  filesOf,
  fragmentName,
  toHex,
  indexName,
  type PublishRecord,
  publishedCommit,
  type SealRecord,
  type TableChange,
  type TableSchema,
} from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { stagingPrefix } from '../staging/index.ts'
import { buildIndexes, ColumnCache, FragmentReader, type IndexSpec, missingVec, type RepairAction, type RepairProblem } from '../table/index.ts'
import { driftOf } from './drift.ts'
import { idHex, subjectOf } from './observe.ts'
import { dropCheckpoint } from './repair-claims.ts'
import type { Quarantine } from './repair-quarantine.ts'
import { listStaging } from './sweep.ts'

const CACHE_BYTES = 64 * 1024 * 1024

export interface FileParts {
  readonly root: Root
  readonly world: World
  readonly log: CommitLog
  readonly storeId: Uint8Array
  readonly state: StoreState
  readonly context: () => StateContext
  /** Others may be writing: files that nothing names yet are left alone. */
  readonly isShared: boolean
  /** `staging/` cannot be listed, which doctor tells: only seals are known. */
  readonly withoutStaging?: boolean
  readonly signal?: AbortSignal | undefined
}

export type FileAction = RepairAction & {
  readonly why: string
  readonly originals: readonly string[]
  readonly index?: Owned
  readonly tables: readonly string[]
}

export interface FileFindings {
  readonly actions: readonly FileAction[]
  readonly problems: readonly RepairProblem[]
  /** Undecided writes whose INTENT can be read. */
  readonly pending: readonly string[]
  /** Those of them that are sealed and held: no open decides them, their user does. */
  readonly held: readonly string[]
  readonly orphans: readonly string[]
}

interface Owned {
  readonly ref: FragmentRef
  readonly index: 'key' | IndexRef
  /** SHA-256 of the file, as the record states it. */
  readonly digest: string
  /** Definitions that it may have been built for, the newest first. */
  readonly versions: readonly TableSchema[]
}

/** @throws StorageError of a list; everything else it meets is a finding */
export async function examineFiles(parts: FileParts): Promise<FileFindings> {
  const { root, log, storeId, context, signal } = parts
  const intents = await examineIntents(parts)
  const verified = await verifyStore(root, log, storeId, context(), { level: 'all', signal, onProgress: undefined, catalog: async () => parts.state.catalog })
  const named = await namedFiles(parts)
  const actions: FileAction[] = []
  const problems: RepairProblem[] = []
  for (const problem of verified.problems) {
    const { code, file, message } = problem
    const index = named.indexes.get(file)
    if (actions.some((action) => action.file === file)) continue
    if (index !== undefined) actions.push(rebuildAction(file, message, index))
    else if (file.startsWith('checkpoints/')) actions.push({ ...dropCheckpoint(file, message, true), originals: [file], tables: [] })
    else problems.push({ code, file, message, advice: adviceOf(file) })
  }
  // A record that cannot be read may name anything.
  const drifting = await examineDrift(parts)
  for (const action of drifting) if (!actions.some(({ file }) => file === action.file)) actions.push(action)
  // The rows that the records count are there once these checkpoints are gone.
  const left = drifting.length === 0 ? problems : problems.filter(({ code }) => code !== 'store.invariant')
  const orphans = named.isComplete ? await orphansOf(root, named.files) : []
  if (intents.pending.length === 0 && !parts.isShared) for (const file of orphans) actions.push(orphanAction(file))
  actions.push(...intents.actions)
  return { actions, problems: left, pending: intents.pending, held: heldOf(parts), orphans }
}

/** Rows that the records do not count, where an older checkpoint, or none, gives those that they do: the newer ones go. */
async function examineDrift({ root, log, storeId, state, context }: FileParts): Promise<FileAction[]> {
  const found = driftOf(state)
  if (found.length === 0) return []
  const why = found.map(({ table, what }) => `table ${table}: ${what}`).join('; ')
  const dropped: FileAction[] = []
  for (const lsn of (await listCheckpoints(root)).filter((each) => each <= Number(log.head))) {
    const file = checkpointName(lsn)
    dropped.push({ ...dropCheckpoint(file, why, true), originals: [file], tables: found.map(({ table }) => table) })
    const older = await newestCheckpoint(root, storeId, lsn - 1)
    if (older === undefined && log.tail > 0n) return []
    // Rows that were in no fragment then stood in records that are trimmed.
    if (older !== undefined && older.catalog.replayFrom < Number(log.tail)) return []
    try {
      if (driftOf(await StoreState.load(context(), log, older)).length === 0) return dropped
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
    }
  }
  return []
}

function adviceOf(file: string): string {
  return file.startsWith('fragments/') ? 'Restore this file from a backup: its name is the digest of its content.' : 'Restore the store from a backup.'
}

function rebuildAction(file: string, message: string, index: Owned): FileAction {
  const detail = `${message}; it is built again from the columns of ${fragmentName(index.ref.digest, index.ref.gen)}`
  return { kind: 'rebuild-index', file, why: message, detail, safe: true, done: false, originals: [file], index, tables: [index.versions[0]!.name] }
}

function orphanAction(file: string): FileAction {
  const why = 'no record, checkpoint or intent names it'
  return { kind: 'quarantine-orphan', file, why, detail: `${why}: it goes to quarantine`, safe: true, done: false, originals: [file], tables: [] }
}

// intents

async function examineIntents({ root, world, state, withoutStaging }: FileParts): Promise<{ actions: FileAction[]; pending: string[] }> {
  const actions: FileAction[] = []
  const pending = new Set([...state.catalog.outcomes.pending.values()].map(({ intent }) => intent.writeId))
  for (const writeId of withoutStaging === true ? [] : await listStaging(root, world)) {
    const { file, seal, intent } = await subjectOf({ root, world, state }, writeId)
    const { outcomes } = state.catalog
    // Decided: the next sweep removes what is left.
    if (outcomes.of(idHex(writeId)) !== undefined) continue
    if (file.state === 'corrupt' || file.state === 'newer') {
      // The seal decides, whatever became of INTENT.
      if (seal === undefined) actions.push(intentAction(file.path, file.cause, await namesBelow(root, stagingPrefix(writeId)), file.state === 'corrupt'))
    } else if (file.state === 'mismatch') actions.push(intentAction(file.path, file.cause, [file.path], true))
    else if (seal === undefined && intent !== undefined && Number(intent.baseLsn) >= outcomes.floor) {
      const ahead = intent.participants.find(({ tableId, expectedVersion }) => (state.catalog.table(tableId)?.lastLsn ?? Infinity) < Number(expectedVersion))
      if (ahead === undefined) pending.add(writeId)
      else {
        // A sweep would refuse the store for it, and nothing would ever decide it.
        const why = `${file.path}: prepared when table ${ahead.name} was at LSN ${ahead.expectedVersion}, which the log does not have`
        actions.push(intentAction(file.path, why, await namesBelow(root, stagingPrefix(writeId)), false, ''))
      }
    }
  }
  return { actions, pending: [...pending].sort() }
}

function heldOf({ state }: FileParts): string[] {
  const seals = [...state.catalog.outcomes.pending.values()]
  return seals
    .filter(({ intent }) => intent.mode === 'hold')
    .map(({ intent }) => intent.writeId)
    .sort()
}

/** INTENT goes last, as when a write retires: what is left without it is nobody's. */
function intentAction(
  path: string,
  why: string,
  names: readonly string[],
  isSafe: boolean,
  unsafe: string = '. A newer varve may still finish this write',
): FileAction {
  const originals = [...names.filter((name) => name !== path), path]
  const others = originals.length === 1 ? '' : ` with ${originals.length - 1} files of that write, which was not sealed`
  const detail = `${why}; it goes to quarantine${others}${isSafe ? '' : unsafe}`
  return { kind: 'quarantine-intent', file: path, why, detail, safe: isSafe, done: false, originals, tables: [] }
}

async function namesBelow(root: Root, prefix: string): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list(prefix)) names.push(name)
  return names
}

// names

interface Named {
  /** Every content-addressed file that anything names. */
  readonly files: Set<string>
  readonly indexes: Map<string, Owned>
  /** Every record could be read. */
  isComplete: boolean
}

async function namedFiles({ root, log, storeId, state }: FileParts): Promise<Named> {
  const named: Named = { files: new Set(), indexes: new Map(), isComplete: true }
  const schemas = new Map<number, readonly TableSchema[]>([...state.catalog.tables.values()].map((table) => [table.id, table.schemas]))
  const seals = new Map<string, SealRecord>()
  for await (const found of readableRecords(log, (await newestCheckpoint(root, storeId))?.lsn ?? 0)) {
    if (found === 'gap') named.isComplete = false
    else nameRecord(named, schemas, seals, found.record)
  }
  nameCatalog(named, schemas, state.catalog)
  for (const lsn of await listCheckpoints(root)) {
    try {
      nameCatalog(named, schemas, (await readCheckpoint(root, storeId, lsn)).catalog)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
    }
  }
  return named
}

/** Every record that can be read; where one cannot, what lies behind `checkpoint`, which an open needs too. */
export async function* readableRecords(
  log: CommitLog,
  checkpoint: number,
): AsyncGenerator<{ readonly lsn: number; readonly record: StateRecord } | 'gap', undefined> {
  let at = Number(log.tail)
  for (;;) {
    try {
      for await (const batch of log.read(BigInt(at) as Lsn)) {
        for (const offset of batch.offsets) {
          const record = decodeRecord(batch.bytes, offset, at + 1)
          at++
          yield { lsn: at, record }
        }
      }
      return
    } catch (error) {
      if (!(error instanceof CorruptionError) || at >= checkpoint) throw error
      at = checkpoint
      yield 'gap'
    }
  }
}

type Schemas = ReadonlyMap<number, readonly TableSchema[]>

function nameRecord(named: Named, schemas: Schemas, seals: Map<string, SealRecord>, record: StateRecord): void {
  if (record.kind === KIND_FLUSH) {
    nameRefs(named, schemas, record.flush.tableId, record.flush.fragments)
    nameVectors(named, record.flush.deletionVectors)
  } else if (record.kind === KIND_OPTIMIZE) {
    for (const { tableId, fragments, reindexed } of record.optimize.parts) nameRefs(named, schemas, tableId, [...fragments, ...reindexed.map(({ ref }) => ref)])
  } else if (record.kind === KIND_COMMIT) nameChanges(named, schemas, record.commit.changes)
  else if (record.kind === KIND_SEAL) {
    seals.set(toHex(record.seal.writeId), record.seal)
    nameSeal(named, schemas, record.seal)
  } else if (record.kind === KIND_PUBLISH) nameChanges(named, schemas, commitOf(record.publish, seals))
}

/** The seal of a publish may be trimmed: then a checkpoint names its files. */
function commitOf(publish: PublishRecord, seals: ReadonlyMap<string, SealRecord>): readonly TableChange[] {
  const seal = seals.get(toHex(publish.commit.writeId))
  return seal === undefined ? publish.commit.changes : publishedCommit(seal, publish).changes
}

function nameSeal(named: Named, schemas: Schemas, seal: SealRecord): void {
  nameChanges(named, schemas, seal.changes)
  for (const { files } of seal.intent.participants) {
    for (const { digest, gen, role } of files) {
      if (role === 'fragment') named.files.add(fragmentName(digest, gen))
      if (role === 'index') named.files.add(indexName(digest, gen))
      if (role === 'deletions') named.files.add(deletionVectorName(digest, gen))
    }
  }
}

function nameChanges(named: Named, schemas: Schemas, changes: readonly TableChange[]): void {
  for (const change of changes) {
    nameRefs(named, schemas, change.tableId, change.fragments ?? [])
    nameVectors(named, change.deletionVectors ?? [])
  }
}

function nameCatalog(named: Named, schemas: Schemas, catalog: Catalog): void {
  for (const table of catalog.tables.values()) {
    for (const { ref, vector } of table.fragments) {
      nameRefs(named, schemas, table.id, [ref])
      if (vector !== undefined) nameVectors(named, [vector])
    }
  }
  for (const seal of catalog.outcomes.pending.values()) nameSeal(named, schemas, seal)
}

function nameRefs(named: Named, schemas: Schemas, tableId: number, refs: readonly FragmentRef[]): void {
  for (const ref of refs) {
    // Newest first: an index is built for the columns as they are then, which may be later than its fragment.
    const versions = (schemas.get(tableId) ?? []).filter(({ version }) => version >= ref.schemaVersion).toReversed()
    for (const { name, file, index } of filesOf(ref)) {
      named.files.add(name)
      if (index !== undefined && versions.length > 0) named.indexes.set(name, { ref, index, digest: file.digest, versions })
    }
  }
}

function nameVectors(named: Named, vectors: readonly DeletionVectorRef[]): void {
  for (const { digest, gen } of vectors) named.files.add(deletionVectorName(digest, gen))
}

async function orphansOf(root: Root, named: ReadonlySet<string>): Promise<string[]> {
  const orphans: string[] = []
  for (const prefix of ['fragments/', 'indexes/']) for await (const { name } of root.list(prefix)) if (!named.has(name)) orphans.push(name)
  return orphans
}

// doing

/** Each step may crash and be repeated. @returns why it could not be done */
export async function runFileAction(parts: FileParts, quarantine: Quarantine, action: FileAction): Promise<string | undefined> {
  const { root } = parts
  let rebuilt: Uint8Array | undefined
  if (action.index !== undefined) {
    // Before anything is touched: only bytes with the digest that the record states may stand under this name.
    const made = await rebuildIndex(parts, action.index)
    if (typeof made === 'string') return made
    rebuilt = made
  }
  const note = await quarantine.note({ kind: action.kind, what: action.detail, why: action.why, from: action.file, originals: action.originals })
  await quarantine.keep(note)
  if (rebuilt !== undefined) await root.put(action.file, rebuilt)
  else for (const name of action.originals) await root.delete(name)
  action.done = true
  return undefined
}

async function rebuildIndex({ root, world, signal }: FileParts, { ref, index, digest, versions }: Owned): Promise<Uint8Array | string> {
  let found = ''
  for (const schema of versions) {
    const spec: IndexSpec = index === 'key' ? { kind: 'key', columns: schema.key } : index
    if (!spec.columns.every((id) => schema.columns.some((column) => column.id === id))) continue
    const reader = new FragmentReader({ root, ref, schema, cache: new ColumnCache(CACHE_BYTES), missing: missingVec, log: (event) => world.logger.log(event) })
    try {
      for await (const built of buildIndexes({ reader, schema, specs: [spec], workers: world.workers, signal })) {
        if (built.digest === digest) return built.file
        found = built.digest
      }
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
      return `the fragment it would be built from cannot be read: ${error.message}`
    }
  }
  return `what its columns give has digest ${found}, the record states ${digest}`
}
