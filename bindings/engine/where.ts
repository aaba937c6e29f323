// engine/where.ts: writes that read first: update by key and patch, delete by predicate.
//
// They retry by themselves: fragments never change, so what was found in them stays found, and the last look at everything else (hidden rows, the memory
// layer, new fragments) is one synchronous step with the queueing.

import type { TableSchema } from '../format/index.ts'
import { bitmapAnd, bitmapToIndices } from '../kernels/index.ts'
import {
  type AccessPath,
  accessPaths,
  type AnyTable,
  byteSink,
  checkedPatches,
  type CommitResult,
  type CompiledPredicate,
  compilePredicate,
  fragmentStats,
  KeyRun,
  type LiveFragment,
  mayMatch,
  Pace,
  type Place,
  type Predicate,
  putKeyValue,
  type RowVecs,
  selectRows,
  tableFromSchema,
  type TableState,
  type WriteOptions,
} from '../table/index.ts'
import { HideSet, NOW, placesOf, READ_ROUNDS } from './admission.ts'
import { bindTo, type Bound } from './bound.ts'
import { deleteStaged, isLargeDelete } from './delete-staged.ts'
import type { Engine } from './engine.ts'
import { requestDigest } from './request.ts'
import type { Row } from './read.ts'
import { keyText } from './tracker.ts'
import { refuseRowTuples } from './unique.ts'
import { deleteChange, rowChanges } from './write-rows.ts'

/** Matching rows of each batch of a fragment; undefined = none in it. */
type Matches = readonly (Uint8Array | undefined)[]

export async function deleteWhere(engine: Engine, table: AnyTable, predicate: Predicate<any>, o: WriteOptions | undefined): Promise<CommitResult> {
  const { committer, world, check } = engine.parts
  const found = new Map<string, Matches>()
  let schema: TableSchema | undefined
  for (;;) {
    const bound = engine.binder.bind(table)
    // A name may stand for another column now.
    if (schema !== bound.view.schema) found.clear()
    schema = bound.view.schema
    const compiled = compilePredicate(predicate, bound.view)
    const request =
      o?.idempotencyKey === undefined ? undefined : requestDigest('deleteWhere', bound.state.uid, new TextEncoder().encode(JSON.stringify(predicate)))
    const replay = (): ReturnType<typeof committer.replay> => (request === undefined ? undefined : committer.replay(o!.idempotencyKey!, request))
    const replayed = replay()
    if (replayed !== undefined) return replayed
    const unseen = (): readonly LiveFragment[] => bound.state.now.fragments.filter((fragment) => !found.has(idOf(fragment)))
    const look = async (): Promise<void> => {
      const pace = new Pace({ ...o, world, check, table: table.name, phase: 'find', total: undefined })
      const sought = soughtIn(bound, compiled)
      for (const fragment of unseen()) found.set(idOf(fragment), await matchesOf(fragment, sought, pace))
    }
    if (unseen().length > 0) {
      await look()
      continue
    }
    check()
    const hides = matchedNow(bound, compiled, found)
    if (!isLargeDelete(hides)) return committer.commit([deleteChange(bound, hides, undefined)], hides.size, o, request)
    const matches = (): HideSet | undefined => (unseen().length > 0 ? undefined : matchedNow(bound, compiled, found))
    return deleteStaged(engine, { bound, look, matches, replay, request }, o)
  }
}

/** The live rows that match, of the table as it is when it resolves. */
export async function findMatches(engine: Engine, bound: Bound, compiled: CompiledPredicate): Promise<HideSet> {
  const { world, check } = engine.parts
  const found = new Map<string, Matches>()
  for (;;) {
    const unseen = bound.state.now.fragments.filter((fragment) => !found.has(idOf(fragment)))
    if (unseen.length === 0) return matchedNow(bound, compiled, found)
    const pace = new Pace({ world, check, table: bound.state.name, phase: 'find', total: undefined })
    const sought = soughtIn(bound, compiled)
    for (const fragment of unseen) found.set(idOf(fragment), await matchesOf(fragment, sought, pace))
  }
}

/** A predicate, and what of the table's indexes it could use. */
interface Sought {
  readonly schema: TableSchema
  readonly compiled: CompiledPredicate
  readonly paths: readonly AccessPath[]
}

function soughtIn({ view: { schema } }: Bound, compiled: CompiledPredicate): Sought {
  return { schema, compiled, paths: accessPaths(compiled, schema) }
}

async function matchesOf(fragment: LiveFragment, { schema, compiled, paths }: Sought, pace: Pace): Promise<Matches> {
  const { ref, reader } = fragment
  const batches = Math.ceil(ref.rows / ref.batchRows)
  const matches: (Uint8Array | undefined)[] = Array.from({ length: batches }, () => undefined)
  if (!mayMatch(compiled, fragmentStats(reader, schema), ref.rows)) return matches
  const selection = await selectRows(reader, paths)
  for (let batch = 0; batch < batches; batch++) {
    const start = batch * ref.batchRows
    const rows = Math.min(ref.batchRows, ref.rows - start)
    const within = selection?.rows.within(start, rows)
    if (selection !== undefined && within === undefined) continue
    if (selection?.isExact === true) matches[batch] = within
    else {
      const passing = compiled.eval(await reader.load(batch, compiled.columns), rows)
      matches[batch] = within === undefined ? passing : bitmapAnd(passing, within, rows)
    }
    await pace.step(batch * ref.batchRows)
  }
  return matches
}

function matchedNow(bound: Bound, compiled: CompiledPredicate, found: ReadonlyMap<string, Matches>): HideSet {
  const hides = new HideSet()
  const { fragments, layer } = bound.state.now
  for (const fragment of fragments) {
    const { batchRows, rows } = fragment.ref
    found.get(idOf(fragment))!.forEach((bitmap, batch) => {
      if (bitmap === undefined) return
      const start = batch * batchRows
      const n = Math.min(batchRows, rows - start)
      const live = fragment.hides.liveAt(NOW, start, start + n)
      const set = hides.rowsOf(fragment)
      for (const row of bitmapToIndices(live === undefined ? bitmap : bitmapAnd(bitmap, live, n), n)) set.add(start + row)
    })
  }
  for (const chunk of layer.chunks) {
    const n = chunk.rows
    const vecs = bound.state.chunkVecs(chunk, compiled.columns)
    const bitmap = compiled.eval(vecs, n)
    const live = chunk.liveAt(NOW, n).bitmap
    for (const row of bitmapToIndices(live === undefined ? bitmap : bitmapAnd(bitmap, live, n), n)) hides.rows.add(chunk.base + row)
  }
  return hides
}

/** With its content: the LSN of one that was taken back is given again. */
function idOf({ lsn, ordinal, ref }: LiveFragment): string {
  return `${lsn}.${ordinal}.${ref.digest}`
}

/** Change columns of rows by key; absent keys are skipped. */
export function updateRows(engine: Engine, table: AnyTable, patches: readonly object[], o: WriteOptions | undefined): Promise<CommitResult> {
  return updateRound(engine, table, patches, o, 0)
}

function updateRound(engine: Engine, table: AnyTable, patches: readonly object[], o: WriteOptions | undefined, round: number): Promise<CommitResult> {
  const code = engine.binder.bind(table)
  const bound = wholeRows(code)
  const merged = mergePatches(bound, checkedPatches(code.view, bound.view, patches))
  const request = o?.idempotencyKey === undefined ? undefined : requestDigest('update', bound.state.uid, new TextEncoder().encode(stableText(merged.patches)))
  if (request !== undefined) {
    const replayed = engine.parts.committer.replay(o!.idempotencyKey!, request)
    if (replayed !== undefined) return Promise.resolve(replayed)
  }
  const blocking = round >= READ_ROUNDS
  const places = placesOf(bound.state, merged.keys, blocking)
  if (places instanceof Promise) return places.then(() => updateRound(engine, table, patches, o, round + 1))
  const rows = patchedRows(bound, merged.patches, places, blocking)
  if (rows instanceof Promise) return rows.then(() => updateRound(engine, table, patches, o, round + 1))
  const hides = new HideSet()
  for (const place of places) if (place !== undefined) hides.add(place)
  const read = refuseRowTuples({ bound, rows: rows as Row[], hides, op: 'update' }, blocking)
  if (read !== undefined) return read.then(() => updateRound(engine, table, patches, o, round + 1))
  const changes = rows.length === 0 ? [deleteChange(bound, hides, [])] : rowChanges(bound, 'upsert', rows, hides)
  return engine.parts.committer.commit(changes, rows.length, o, request)
}

const wholes = new WeakMap<TableState, Bound>()

/** Every stored column as the store has it: columns that the code does not name keep their values, and no choice of a reader narrows them. */
export function wholeRows({ state, view }: Bound): Bound {
  const known = wholes.get(state)
  if (known?.view.schema === view.schema) return known
  const whole = bindTo(tableFromSchema(view.schema), state, view.schema)
  wholes.set(state, whole)
  return whole
}

interface MergedPatches {
  readonly keys: KeyRun
  /** One per key: the patches of that key, later ones over earlier ones. */
  readonly patches: readonly Record<string, unknown>[]
}

function mergePatches(bound: Bound, patches: readonly Record<string, unknown>[]): MergedPatches {
  const keys = new KeyRun(bound.state.keyLayout?.stride ?? 0)
  const byKey = new Map<string, Record<string, unknown>>()
  const sink = byteSink(64)
  for (const patch of patches) {
    sink.at = 0
    putKeyValue(bound.view, Object.fromEntries(bound.view.key.map((column) => [column.name, patch[column.name]])), sink)
    const text = keyText(sink.bytes, 0, sink.at)
    const before = byKey.get(text)
    if (before === undefined) {
      keys.push(sink.bytes, 0, sink.at)
      byKey.set(text, patch)
    } else Object.assign(before, patch)
  }
  return { keys, patches: [...byKey.values()] }
}

/** The rows found, with their patches; a promise when columns must be read first. */
function patchedRows(bound: Bound, patches: readonly object[], places: readonly (Place | undefined)[], blocking: boolean): object[] | Promise<unknown> {
  const rows: object[] = []
  let waits: Promise<RowVecs>[] | undefined
  places.forEach((place, i) => {
    if (place === undefined) return
    const found = bound.state.readPlace(place, bound.columns, blocking)
    if (found instanceof Promise) (waits ??= []).push(found)
    else rows.push({ ...bound.read(found.vecs, found.row), ...patches[i] })
  })
  return waits === undefined ? rows : Promise.all(waits)
}

function stableText(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (typeof v === 'bigint' || (typeof v === 'number' && !Number.isFinite(v))) return { [typeof v]: String(v) }
    return ArrayBuffer.isView(v) ? Array.from(v as Uint8Array) : v
  })
}
