// engine/changes.ts: the change feed: commits after a position, each with its rows as inserts, updates and deletes (api.md section 7).
//
// It walks the log with a state of its own; the rows of a commit are read from the versions right before and right after it, when they are asked for.
// Invariant: on a keyed table a commit gives at most one change per key.

import { type Branches, MAIN } from '../catalog/index.ts'
import { SchemaMismatchError } from '../errors.ts'
import { changedTables, type CommitRecord, type TableChange, type TableSchema } from '../format/index.ts'
import type { CommitLog, LogBatch, Lsn } from '../log/index.ts'
import { ulidText } from '../runtime/index.ts'
import { type AnyTable, byteSink, type Place, putKeyValue, readPlace, type Structure, tableFromSchema, type TableState } from '../table/index.ts'
import { bindTo, type Bound } from './bound.ts'
import type { ReadContext, Row } from './read.ts'
import { branchOf, decodeRecord, KIND_COMMIT, KIND_PUBLISH, KIND_SCHEMA, type RecordBatch, type StateRecord, type StoreState } from './state.ts'
import { keyText } from './tracker.ts'

export type Images = 'after' | 'both' | 'none'

/** What a feed reads; it may end below the head of the log. */
export type FeedLog = Pick<CommitLog, 'read' | 'tailing'>

export interface FeedOptions {
  readonly tables: readonly AnyTable[]
  /** Instead of `tables`: the keys of this table, however it is defined and named meanwhile. */
  readonly keysOf?: number
  readonly images: Images
  readonly signal: AbortSignal
  /** The last position to show; undefined: go on with what is written later. */
  readonly end: Lsn | undefined
  readonly check: () => void
  /** Number of the branch whose history it is: that of what it stands on up to where it begins, then its own. */
  readonly branch: number
  /** As they are when asked. */
  readonly branches: () => Branches
}

export interface FeedChange {
  readonly table: string
  readonly kind: 'insert' | 'update' | 'delete'
  readonly after?: Row
  readonly before?: Row
  readonly key?: Row
}

export interface FeedCommit extends AsyncIterable<FeedChange> {
  readonly lsn: Lsn
  readonly writeId: string
  readonly time: Date
  readonly branch: string
  readonly author?: string
  readonly message?: string
  readonly counts: Readonly<Record<string, { inserted: number; updated: number; deleted: number }>>
  readonly schema: readonly string[]
}

/** One table's part of a commit: what was there before and after, held. */
interface Part {
  readonly bound: Bound
  readonly lsn: number
  readonly before: Structure
  readonly after: Structure
  readonly firstRow: number
  readonly changes: readonly TableChange[]
}

export async function* feed(log: FeedLog, state: StoreState, from: number, o: FeedOptions, context: ReadContext): AsyncGenerator<FeedCommit, undefined> {
  const wanted = new Set(o.tables.map((table) => table.name))
  const ready: FeedCommit[] = []
  const held = new Map<number, { structure: Structure; firstRow: number }>()
  state.observer = (lsn, record, applied) => {
    if (!isOf(o, lsn, record)) return
    if (record.kind === KIND_COMMIT) {
      const { changes } = record.commit
      if (o.keysOf === undefined) {
        if (wanted.size > 0 && !changes.some((change) => wanted.has(state.tables.get(change.tableId)!.name))) return
      } else if (!changes.some((change) => change.tableId === o.keysOf)) return
      if (!applied) {
        held.clear()
        for (const change of record.commit.changes) {
          const { now } = state.tables.get(change.tableId)!
          if (!held.has(change.tableId)) held.set(change.tableId, { structure: now, firstRow: now.layer.next })
        }
      } else ready.push(commitOf(lsn, record, state, o, context, held))
    } else if (record.kind === KIND_SCHEMA && !applied) {
      const names = changedTables(record.schema, (id) => state.tables.get(id)?.name)
      const before = (record.schema.alter ?? []).map(({ tableId }) => state.tables.get(tableId)?.name ?? '')
      if (wanted.size === 0 || [...names, ...before].some((name) => wanted.has(name))) ready.push(schemaCommit(lsn, record, names, o))
    }
  }
  const batches = batchesAfter(log, from, o)
  for await (const batch of batches) {
    for (const one of single(batch)) {
      o.check()
      await state.applyBatch(one)
      for (const commit of ready.splice(0)) yield commit
      o.check()
    }
  }
}

/** Whether it belongs to the history of the branch that was asked for. */
function isOf({ branch, branches }: FeedOptions, lsn: number, record: StateRecord): boolean {
  const own = record.kind === KIND_PUBLISH ? record.publish.commit.branch : branchOf(record)
  return (branch === MAIN ? MAIN : branches().ownerAt(branch, lsn)) === own
}

function batchesAfter(log: FeedLog, from: number, { end, signal }: FeedOptions): AsyncIterable<LogBatch> {
  const start = BigInt(from) as Lsn
  return end === undefined ? log.tailing(start, { signal }) : log.read(start, { end, signal })
}

/** The batch record by record, so that a commit is handed out before the next one is applied. */
function* single({ first, bytes, offsets }: LogBatch): Generator<RecordBatch> {
  for (let i = 0; i < offsets.length; i++) yield { first: first + BigInt(i), bytes, offsets: offsets.subarray(i, i + 1) }
}

/** Commits without rows: nothing but the records is read. */
export async function* commitsOnly(
  log: FeedLog,
  names: (tableId: number) => string | undefined,
  from: number,
  o: FeedOptions,
): AsyncGenerator<FeedCommit, undefined> {
  // Tables that this handle has not caught up with are named by the records that made them.
  const made = new Map<number, string>()
  const nameOf = (id: number): string => made.get(id) ?? names(id) ?? `table ${id}`
  const batches = batchesAfter(log, from, o)
  for await (const batch of batches) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      o.check()
      const record = decodeRecord(batch.bytes, offset, lsn)
      if (!isOf(o, lsn, record)) {
        lsn++
        continue
      }
      const commit = record.kind === KIND_PUBLISH ? record.publish.commit : record.kind === KIND_COMMIT ? record.commit : undefined
      if (commit !== undefined) yield { ...header(lsn, commit, o), counts: countsOf(commit, nameOf), schema: [], [Symbol.asyncIterator]: noChanges }
      else if (record.kind === KIND_SCHEMA) {
        const names = changedTables(record.schema, nameOf)
        for (const { tableId, name } of [...record.schema.create, ...(record.schema.alter ?? [])]) made.set(tableId, name)
        yield schemaCommit(lsn, record, names, o)
      }
      lsn++
    }
  }
}

async function* noChanges(): AsyncGenerator<FeedChange, undefined> {
  // Counts only.
}

function header(lsn: number, commit: CommitRecord, { branches }: FeedOptions): Pick<FeedCommit, 'lsn' | 'writeId' | 'time' | 'branch' | 'author' | 'message'> {
  return {
    lsn: BigInt(lsn) as Lsn,
    writeId: ulidText(commit.writeId),
    time: new Date(commit.timeMs),
    branch: branches().nameOf(commit.branch),
    ...(commit.author === undefined ? {} : { author: commit.author }),
    ...(commit.message === undefined ? {} : { message: commit.message }),
  }
}

function schemaCommit(lsn: number, record: StateRecord & { kind: typeof KIND_SCHEMA }, schema: readonly string[], { branches }: FeedOptions): FeedCommit {
  const { timeMs, writeId } = record.schema
  return {
    lsn: BigInt(lsn) as Lsn,
    writeId: ulidText(writeId),
    time: new Date(timeMs),
    branch: branches().nameOf(branchOf(record)),
    counts: {},
    schema,
    [Symbol.asyncIterator]: noChanges,
  }
}

function countsOf(commit: CommitRecord, names: (tableId: number) => string): Record<string, { inserted: number; updated: number; deleted: number }> {
  const counts: Record<string, { inserted: number; updated: number; deleted: number }> = {}
  for (const change of commit.changes) {
    const count = (counts[names(change.tableId)] ??= { inserted: 0, updated: 0, deleted: 0 })
    count.inserted += change.inserted
    count.updated += change.updated
    count.deleted += change.deleted
  }
  return counts
}

function commitOf(
  lsn: number,
  { commit }: { readonly commit: CommitRecord },
  state: StoreState,
  o: FeedOptions,
  context: ReadContext,
  held: ReadonlyMap<number, { structure: Structure; firstRow: number }>,
): FeedCommit {
  const parts: Part[] = []
  let mismatch: SchemaMismatchError | undefined
  for (const { table, tableState } of targets(state, o)) {
    if (tableState === undefined || o.images === 'none') continue
    const changes = commit.changes.filter((change) => change.tableId === tableState.id)
    const before = held.get(tableState.id)
    if (changes.length === 0 || before === undefined) continue
    // The log's bytes are reused by the reader; what is read later is positions, counts and references, which decoding has copied.
    try {
      parts.push({ bound: bindTo(table, tableState), lsn, before: before.structure, after: tableState.now, firstRow: before.firstRow, changes })
    } catch (error) {
      // Of another definition than the program's: its rows cannot be shown, the commits behind it may be.
      if (!(error instanceof SchemaMismatchError)) throw error
      mismatch ??= error
    }
  }
  return {
    ...header(lsn, commit, o),
    counts: countsOf(commit, (id) => state.tables.get(id)!.name),
    schema: [],
    async *[Symbol.asyncIterator]() {
      if (mismatch !== undefined) throw mismatch
      for (const part of parts) yield* changesOf(part, o, context)
    },
  }
}

function targets(state: StoreState, { tables, keysOf }: FeedOptions): { readonly table: AnyTable; readonly tableState: TableState | undefined }[] {
  if (keysOf === undefined) return tables.map((table) => ({ table, tableState: state.byName(table.name) }))
  const tableState = state.tables.get(keysOf)
  return tableState === undefined ? [] : [{ table: keysOnly(tableState.schema), tableState }]
}

const keyTables = new WeakMap<TableSchema, AnyTable>()

/** The table as a program knows it that names its key and nothing else. */
export function keysOnly(schema: TableSchema): AnyTable {
  let table = keyTables.get(schema)
  if (table === undefined) {
    const ids = new Set([...schema.key, ...schema.unique.flat()])
    table = tableFromSchema({ ...schema, columns: schema.columns.filter((column) => ids.has(column.id)), unique: [], index: [] })
    keyTables.set(schema, table)
  }
  return table
}

async function* changesOf(part: Part, o: FeedOptions, context: ReadContext): AsyncGenerator<FeedChange, undefined> {
  const { bound, before, after, lsn } = part
  const table = bound.state.name
  const read = async (structure: Structure, place: Place): Promise<Row> => {
    o.check()
    const { vecs, row } = await readPlace(structure, place, bound.columns, context.missingColumn)
    return bound.read(vecs, row)
  }
  const isKeyed = bound.state.keyLayout !== undefined
  const older = new Map<string, Place>()
  for (const place of hiddenPlaces(part)) {
    if (isKeyed) {
      older.set(keyOf(bound, await read(before, place)), place)
      continue
    }
    yield { table, kind: 'delete', key: {}, before: await read(before, place) }
  }
  for (const place of newPlaces(part)) {
    if (place.fragment !== undefined && place.fragment.hides.isHidden(place.row, lsn)) continue
    const row = await read(after, place)
    if (!isKeyed) {
      yield { table, kind: 'insert', after: row }
      continue
    }
    const key = keyOf(bound, row)
    const old = older.get(key)
    older.delete(key)
    if (old === undefined) yield { table, kind: 'insert', after: row }
    else yield { table, kind: 'update', after: row, ...(o.images === 'both' ? { before: await read(before, old) } : {}) }
  }
  for (const place of older.values()) {
    const row = await read(before, place)
    const key = Object.fromEntries(bound.view.key.map((column) => [column.name, row[column.name]]))
    yield { table, kind: 'delete', key, ...(o.images === 'both' ? { before: row } : {}) }
  }
}

const sink = byteSink(64)

function keyOf(bound: Bound, row: Row): string {
  sink.at = 0
  putKeyValue(bound.view, Object.fromEntries(bound.view.key.map((column) => [column.name, row[column.name]])), sink)
  return keyText(sink.bytes, 0, sink.at)
}

/** Rows that the commit hid, as they were before it. */
function* hiddenPlaces({ before, changes, lsn }: Part): Generator<Place> {
  for (const change of changes) {
    if (change.op === 'replace') {
      for (const fragment of before.fragments)
        for (let row = 0; row < fragment.ref.rows; row++) if (!fragment.hides.isHidden(row, lsn - 1)) yield { fragment, row }
      for (const chunk of before.layer.chunks) {
        const rows = chunk.rowsAt(lsn - 1)
        for (let row = 0; row < rows; row++) if (chunk.hiddenAt[row]! > lsn - 1) yield { fragment: undefined, row: chunk.base + row }
      }
    }
    for (let i = 0; i < (change.hideRows?.length ?? 0); i++) yield { fragment: undefined, row: change.hideRows![i]! }
    for (const hide of change.hides ?? []) {
      if (hide.lsn === 0) continue
      const fragment = before.fragments.find((each) => each.lsn === hide.lsn && each.ordinal === hide.ordinal)!
      for (const row of hide.rows) yield { fragment, row }
    }
    for (const vector of change.deletionVectors ?? []) {
      const fragment = before.fragments.find((each) => each.lsn === vector.lsn && each.ordinal === vector.ordinal)!
      for (let row = 0; row < fragment.ref.rows; row++) if (fragment.hides.isHidden(row, lsn) && !fragment.hides.isHidden(row, lsn - 1)) yield { fragment, row }
    }
  }
}

/** Rows that the commit brought. */
function* newPlaces({ after, changes, firstRow, lsn }: Part): Generator<Place> {
  let row = firstRow
  for (const change of changes) {
    for (let i = 0; i < (change.inline?.rows ?? 0); i++) yield { fragment: undefined, row: row++ }
    if (change.fragments === undefined) continue
    for (const fragment of after.fragments) if (fragment.lsn === lsn) for (let at = 0; at < fragment.ref.rows; at++) yield { fragment, row: at }
  }
}
