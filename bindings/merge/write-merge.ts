// merge/write-merge.ts: what a merge, or a revert, has found becomes one commit of the target (recovery.md sections 2, 3 and 13).
//
//   few rows     inline, in one record: no file, no INTENT
//   else         fragments of the source that go over in large part are shared: named again, with the rows hidden that do not; other rows are copied, chunk by
//                chunk, into fragments of a staged write; INTENT -> files -> seal -> publish, which finds the older rows by key
//
// Invariant: whatever was written to one of its keys since the target was read is a conflict, also after a crash: nothing is put on a target nobody looked at.

import {
  type AdmittedChange,
  type Bound,
  conflict,
  Cutter,
  deleteChange,
  encodeBatch,
  intentFiles,
  type FinishedTable,
  flushTable,
  FusedWrite,
  HideSet,
  inlineChange,
  inTurn,
  keyText,
  NOW,
  placesOf,
  READ_ROUNDS,
  refuseTuples,
  type RowSelection,
  type RowShape,
  RowTuples,
} from '../engine/index.ts'
import { encodeKeysFile, type FragmentHides, type FragmentRef, type IntentMerge, type Participant, type TableChange } from '../format/index.ts'
import { bitmapNone, bitmapNot, bitmapToIndices, concatMany, filterMany, slice, type Vec } from '../kernels/index.ts'
import { FP } from '../runtime/index.ts'
import { batchBytes, type ColumnBatch, type CommitResult, KeyRun, type LiveFragment, type Place, type RowKeys, type WriteOptions } from '../table/index.ts'
import { sealAndPublish, type WriteParts } from '../write/index.ts'
import { checkUnique } from './check-unique.ts'

/** One table's part. */
export interface TableResult {
  /** In the target, every stored column. */
  readonly bound: Bound
  readonly shape: RowShape
  /** As the target was read. */
  readonly participant: Participant
  /** Rows that go over as they are. */
  readonly taken: RowSelection
  /** Rows that are new. */
  readonly made: readonly ColumnBatch[]
  /** Keys whose rows go. */
  readonly gone: KeyRun | undefined
  /** Without a key: rows that go. */
  readonly hidden: readonly Place[]
  /** Of every key written or gone. */
  readonly hashes: readonly Uint32Array[]
}

export interface WriteMergeOptions {
  readonly kind: 'merge' | 'restore'
  readonly merge: IntentMerge | undefined
  /** LSN at which the target was read. */
  readonly since: number
  readonly notes: WriteOptions | undefined
  /** Digest of what was asked, under an idempotency key. */
  readonly request: Uint8Array | undefined
  readonly between: () => Promise<void> | undefined
  /** Another merge into the target was recorded since the base was found. */
  readonly isMoved: () => boolean
}

/** Rows that came over by another merge would come over again: the base is to be found anew. Never leaves the store. */
export class MergedMeanwhile extends Error {
  constructor() {
    super('another merge into the branch was recorded since its base was found')
  }
}

/** Above it rows travel in fragments. */
const INLINE_ROWS_MAX = 8192
/** Of a fragment this share of rows goes over, or it is copied. */
const SHARED_PART = 4
const CHUNK_ROWS = 8192
const CHUNK_BYTES = 32 * 1024 * 1024

/** @throws ConflictError: the target has moved; StorageError; CommitOutcomeUnknownError */
export async function writeMerged(parts: WriteParts, tables: readonly TableResult[], o: WriteMergeOptions): Promise<CommitResult> {
  const tuples = new Map<TableResult, readonly Uint32Array[]>()
  for (const table of tables) tuples.set(table, await checkUnique(table, o.kind, o.between))
  const rows = await inlineRows(parts, tables, o)
  return rows === undefined ? writeSealed(parts, tables, tuples, o) : writeInline(parts, tables, rows, o)
}

// inline

/** The rows of each table, when they are few in all. */
async function inlineRows({ engine }: WriteParts, tables: readonly TableResult[], { between }: WriteMergeOptions): Promise<ColumnBatch[] | undefined> {
  let rows = 0
  for (const { taken, made, gone, hidden } of tables) rows += taken.rows + made.reduce((sum, { length }) => sum + length, 0) + (gone?.rows ?? 0) + hidden.length
  if (rows > INLINE_ROWS_MAX) return undefined
  const all: ColumnBatch[] = []
  let bytes = 0
  for (const { taken, made, shape } of tables) {
    const batches: (readonly Vec[])[] = []
    let length = 0
    for (const { source, bits, rows: count } of taken.picks) {
      await between()
      batches.push(filterMany(await source.load(shape.columns), bits, source.rows, count))
      length += count
    }
    for (const each of made) {
      batches.push(each.columns)
      length += each.length
    }
    const batch = { length, columns: batches.length === 0 ? [] : batches.length === 1 ? batches[0]! : concatMany(batches) }
    bytes += batchBytes(batch)
    if (bytes > engine.parts.limits.inlineLimitBytes) return undefined
    all.push(batch)
  }
  return all
}

async function writeInline(parts: WriteParts, tables: readonly TableResult[], rows: readonly ColumnBatch[], o: WriteMergeOptions): Promise<CommitResult> {
  const { engine } = parts
  const { committer, world } = engine.parts
  const encoded = tables.map(({ bound }, i) => (rows[i]!.length === 0 ? undefined : encodeBatch(bound, rows[i]!)))
  if (world.failpoints.active) await world.failpoints.hit(FP.merge.beforePublish)
  return inTurn(engine, o.notes, async (again) => {
    for (let round = 0; ; round++) {
      const replayed = o.request === undefined ? undefined : committer.replay(o.notes!.idempotencyKey!, o.request)
      if (replayed !== undefined) return replayed
      engine.parts.check()
      if (o.isMoved()) throw new MergedMeanwhile()
      const admitted = tables.map((table, i) => admit(parts, table, rows[i]!, encoded[i], o, round >= READ_ROUNDS))
      const waits = admitted.filter((each) => each instanceof Promise)
      if (waits.length > 0) {
        await Promise.all(waits)
        continue
      }
      const changes = (admitted as AdmittedChange[][]).flat()
      const count = changes.reduce((sum, { change }) => sum + change.inserted + change.updated + change.deleted, 0)
      return committer.commit(
        changes,
        count,
        { ...o.notes, ...again, branch: engine.parts.state.branch, ...(o.merge === undefined ? {} : { merge: o.merge }) },
        o.request,
      )
    }
  })
}

/** Its changes, or what must be waited for first. @throws ConflictError */
function admit(
  parts: WriteParts,
  table: TableResult,
  rows: ColumnBatch,
  encoded: ReturnType<typeof encodeBatch> | undefined,
  { since }: WriteMergeOptions,
  blocking: boolean,
): AdmittedChange[] | Promise<void> {
  const { bound, gone, hidden, participant } = table
  const { state } = bound
  const { tracker } = parts.engine.parts
  const last = tracker.changedSince(state, since)
  if (last > 0 && participant.rule === 'exact') throw conflict(state, [], last)
  const inline = encoded === undefined ? undefined : { rows: encoded.rows, bytes: encoded.body, start: 0, end: encoded.body.length }
  if (state.keyLayout === undefined) {
    const hides = new HideSet()
    for (const place of hidden) hides.add(place)
    if (hides.stillLive(state).size < hidden.length) throw conflict(state, [], state.lastLsn)
    const waits = admitTuples(bound, rows, hides, blocking)
    if (waits !== undefined) return waits
    return [
      ...(hidden.length === 0 ? [] : [deleteChange(bound, hides, undefined)]),
      ...(inline === undefined ? [] : [inlineChange(bound, 'append', inline, undefined, new HideSet())]),
    ]
  }
  const keys = encoded?.keys ?? new KeyRun(state.keyLayout.stride)
  if (last > 0) for (const run of gone === undefined ? [keys] : [keys, gone]) refuseWritten(parts, table, run, since)
  const over = placesOf(state, keys, blocking)
  const away = gone === undefined ? [] : placesOf(state, gone, blocking)
  if (over instanceof Promise || away instanceof Promise) return Promise.all([over, away]).then(() => undefined)
  const changes: AdmittedChange[] = []
  const removed = hideSet(away)
  const waits = admitTuples(bound, rows, hideSet([...over, ...away]), blocking)
  if (waits !== undefined) return waits
  if (removed.size > 0) changes.push(deleteChange(bound, removed, textsOf(gone!)))
  if (inline !== undefined) changes.push(inlineChange(bound, 'upsert', inline, keys, hideSet(over)))
  return changes
}

/** @throws DuplicateKeyError */
function admitTuples({ state, view }: Bound, { columns, length }: ColumnBatch, hides: HideSet, blocking: boolean): Promise<void> | undefined {
  const tuples = length === 0 ? undefined : RowTuples.of(state, columns, length)
  return tuples === undefined ? undefined : refuseTuples(tuples, state, view, hides, blocking, { op: 'merge' })
}

/** @throws ConflictError when a key was written since the target was read */
function refuseWritten({ engine }: WriteParts, { bound }: TableResult, keys: RowKeys, since: number): void {
  const { tracker } = engine.parts
  const lost = textsOf(keys).filter((text) => tracker.writtenSince(bound.state, text, since) > 0)
  if (lost.length > 0) throw conflict(bound.state, lost, tracker.writtenSince(bound.state, lost[0]!, since), bound.view)
}

function textsOf(keys: RowKeys): string[] {
  return Array.from({ length: keys.rows }, (_, row) => keyText(keys.data, keys.start(row), keys.end(row)))
}

function hideSet(places: readonly (Place | undefined)[]): HideSet {
  const hides = new HideSet()
  for (const place of places) if (place !== undefined) hides.add(place)
  return hides
}

// sealed

async function writeSealed(
  parts: WriteParts,
  tables: readonly TableResult[],
  tuples: ReadonlyMap<TableResult, readonly Uint32Array[]>,
  o: WriteMergeOptions,
): Promise<CommitResult> {
  const { engine } = parts
  const { failpoints } = engine.parts.world
  const { kind, merge, notes, request } = o
  for (const { bound, hidden } of tables) {
    if (!hidden.some(({ fragment }) => fragment === undefined)) continue
    // A sealed write names rows of fragments only: it is decided again when they are there.
    await flushTable(engine, bound.state)
    throw conflict(bound.state, [], bound.state.lastLsn)
  }
  const [table, ...also] = tables.map(({ bound }) => bound.state)
  const fused = new FusedWrite(engine, { kind, table: table!, also, op: 'upsert', notes, ...(merge === undefined ? {} : { merge }) })
  let result: CommitResult
  try {
    const area = await fused.area()
    const finished: FinishedTable[] = []
    for (const each of tables) finished.push(await finish(parts, each, tuples.get(each)!, fused, o))
    if (failpoints.active) await failpoints.hit(FP.merge.beforePublish, { writeId: fused.writeId })
    if (o.isMoved()) throw new MergedMeanwhile()
    const work = { area, intent: fused.intent!, finished, request, signal: notes?.signal, isGated: false, comesAfter: false }
    result = await sealAndPublish(parts, work)
  } catch (error) {
    await fused.giveUp(error)
    throw error
  }
  await fused.retire()
  return result
}

/** Every file of the table is staged when it resolves. */
async function finish(parts: WriteParts, table: TableResult, tuples: readonly Uint32Array[], fused: FusedWrite, o: WriteMergeOptions): Promise<FinishedTable> {
  const { bound, participant, taken, made, gone, hidden, hashes } = table
  const { world } = parts.engine.parts
  const { schema } = bound.view
  const cutter = new Cutter({ world, table: bound.state, schema, area: fused.area, signal: o.notes?.signal })
  const { shared, copied } = sorted(taken)
  try {
    for await (const chunk of chunksOf(copied, made, table.shape, o.between)) {
      if (world.failpoints.active && cutter.rowsWaiting > 0) await world.failpoints.hit(FP.merge.betweenChunks, { table: bound.state.name })
      await cutter.push(chunk, undefined)
    }
    if (cutter.rowsWaiting > 0) await cutter.cut()
  } finally {
    await cutter.settled()
  }
  cutter.check()
  const refs: FragmentRef[] = [...shared.map(({ fragment }) => fragment.ref), ...cutter.refs]
  const hides: FragmentHides[] = [...hidesOf(hidden), ...shared.flatMap(({ left }, ordinal) => (left.length === 0 ? [] : [{ lsn: 0, ordinal, rows: left }]))]
  const inserted = taken.rows + made.reduce((sum, { length }) => sum + length, 0)
  const change: TableChange = {
    tableId: bound.state.id,
    schemaVersion: schema.version,
    op: bound.state.keyLayout === undefined ? (inserted === 0 ? 'delete' : 'append') : 'upsert',
    inserted,
    updated: 0,
    deleted: hidden.length,
    ...(hides.length === 0 ? {} : { hides }),
    ...(refs.length === 0 ? {} : { fragments: refs }),
  }
  return {
    participant: {
      ...participant,
      files: intentFiles(cutter.refs, () => false),
      addresses: addressesOf(hidden),
      ...(participant.rule === 'commute' ? {} : { keys: await storeKeys(await fused.area(), [...hashes, ...tuples], gone) }),
    },
    changes: refs.length === 0 && hides.length === 0 ? [] : [change],
  }
}

async function storeKeys(
  area: Awaited<ReturnType<FusedWrite['area']>>,
  hashes: readonly Uint32Array[],
  gone: KeyRun | undefined,
): Promise<{ exact: string; bytes: number }> {
  const all = new Uint32Array(hashes.reduce((sum, each) => sum + each.length, 0))
  let at = 0
  for (const each of hashes) {
    all.set(each, at)
    at += each.length
  }
  const keys = Array.from({ length: gone?.rows ?? 0 }, (_, row) => gone!.data.slice(gone!.start(row), gone!.end(row)))
  const file = await area.put('keys', encodeKeysFile(all, keys))
  return { exact: file.digest, bytes: file.bytes }
}

interface Shared {
  readonly fragment: LiveFragment
  /** Rows that do not go over. */
  readonly left: Uint32Array
}

/** Fragments that go over as files, and rows that are copied. */
function sorted(taken: RowSelection): { readonly shared: readonly Shared[]; readonly copied: RowSelection['picks'] } {
  const byFragment = new Map<LiveFragment | undefined, RowSelection['picks'][number][]>()
  for (const picked of taken.picks) {
    const list = byFragment.get(picked.fragment)
    if (list === undefined) byFragment.set(picked.fragment, [picked])
    else list.push(picked)
  }
  const shared: Shared[] = []
  const copied: RowSelection['picks'][number][] = []
  for (const [fragment, picks] of byFragment) {
    const rows = picks.reduce((sum, each) => sum + each.rows, 0)
    if (fragment === undefined || rows * SHARED_PART < fragment.ref.rows) {
      copied.push(...picks)
      continue
    }
    const bits = bitmapNone(fragment.ref.rows)
    for (const { bits: own, start, source } of picks) bits.set(own.subarray(0, (source.rows + 7) >> 3), start >> 3)
    shared.push({ fragment, left: bitmapToIndices(bitmapNot(bits, fragment.ref.rows), fragment.ref.rows) })
  }
  return { shared, copied }
}

async function* chunksOf(
  copied: RowSelection['picks'],
  made: readonly ColumnBatch[],
  shape: RowShape,
  between: () => Promise<void> | undefined,
): AsyncGenerator<ColumnBatch, undefined> {
  for (const { source, bits, rows } of copied) {
    await between()
    yield* chunks({ length: rows, columns: filterMany(await source.load(shape.columns), bits, source.rows, rows) })
  }
  for (const batch of made) yield* chunks(batch)
}

function* chunks(batch: ColumnBatch): Generator<ColumnBatch, undefined> {
  const wide = Math.floor((CHUNK_BYTES * batch.length) / Math.max(1, batchBytes(batch)))
  const step = Math.max(8, Math.min(CHUNK_ROWS, wide - (wide % 8)))
  for (let from = 0; from < batch.length; from += step) {
    const end = Math.min(batch.length, from + step)
    yield { length: end - from, columns: end - from === batch.length ? batch.columns : batch.columns.map((column) => slice(column, from, end)) }
  }
}

function hidesOf(hidden: readonly Place[]): FragmentHides[] {
  return [...(hideSet(hidden).parts().hides ?? [])]
}

function addressesOf(hidden: readonly Place[]): { fragment: string; deletions: string }[] {
  const fragments = new Set(hidden.flatMap(({ fragment }) => fragment ?? []))
  return [...fragments].map(({ lsn, ordinal, hides }) => ({ fragment: `${lsn}.${ordinal}`, deletions: String(hides.countAt(NOW)) }))
}
