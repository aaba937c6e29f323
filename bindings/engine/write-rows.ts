// engine/write-rows.ts: small writes: rows that travel inside their commit record. The hot path: validate, encode, admit, queue, in one synchronous step.

import type { TableSchema } from '../format/index.ts'
import { encodeInline, take } from '../kernels/index.ts'
import {
  type AnyTable,
  batchBytes,
  byteSink,
  type ColumnBatch,
  type CommitResult,
  KeyLayout,
  KeyRun,
  putKeyValue,
  refitBatch,
  type RowKeys,
  rowsToBatch,
  type WriteOptions,
} from '../table/index.ts'
import { duplicateIn, duplicateKeyError, HideSet, lastOfEach, placesOf, READ_ROUNDS, refuseExisting } from './admission.ts'
import { type Bound, SinkKeys } from './bound.ts'
import type { AdmittedChange } from './admitted.ts'
import type { Engine } from './engine.ts'
import { requestDigest } from './request.ts'
import { keyText } from './tracker.ts'
import { refuseTuples, RowTuples } from './unique.ts'

export type RowOp = 'append' | 'upsert'

/** Append or upsert at most INLINE_ROWS_MAX rows. undefined, and nothing done: they are above inlineLimitBytes. */
export function writeRows(engine: Engine, table: AnyTable, op: RowOp, rows: readonly object[], o: WriteOptions | undefined): Promise<CommitResult> | undefined {
  const bound = engine.binder.bind(table)
  // Constraints are checked by columns.
  if (bound.state.uniques.length > 0) return writeUnique(engine, bound, op, rows, o)
  const { body, keys } = engine.scratch
  body.at = 0
  keys.at = 0
  bound.writer.write(rows, body, keys)
  return body.at > engine.parts.limits.inlineLimitBytes ? undefined : commitRows(engine, bound, op, rows, o, 0, undefined)
}

function writeUnique(engine: Engine, { view }: Bound, op: RowOp, rows: readonly object[], o: WriteOptions | undefined): Promise<CommitResult> | undefined {
  const batch = rowsToBatch(view, rows)
  return batchBytes(batch) > engine.parts.limits.inlineLimitBytes ? undefined : writeBatch(engine, view.table, op, batch, o, view.schema)
}

function writeRowsRound(
  engine: Engine,
  table: AnyTable,
  op: RowOp,
  rows: readonly object[],
  o: WriteOptions | undefined,
  round: number,
  given: Uint8Array | undefined,
): Promise<CommitResult> {
  const bound = engine.binder.bind(table)
  const { body, keys } = engine.scratch
  body.at = 0
  keys.at = 0
  bound.writer.write(rows, body, keys)
  return commitRows(engine, bound, op, rows, o, round, given)
}

/** The rows have just been written to the scratch sinks. */
function commitRows(
  engine: Engine,
  bound: Bound,
  op: RowOp,
  rows: readonly object[],
  o: WriteOptions | undefined,
  round: number,
  given: Uint8Array | undefined,
): Promise<CommitResult> {
  const { body, keys: keySink } = engine.scratch
  const { table } = bound.view
  // Of the rows as they were given: a later round has lost those with repeated keys.
  const request = o?.idempotencyKey === undefined ? undefined : (given ?? requestDigest(op, bound.state.uid, body.bytes.subarray(0, body.at)))
  if (request !== undefined) {
    const replayed = engine.parts.committer.replay(o!.idempotencyKey!, request)
    if (replayed !== undefined) return Promise.resolve(replayed)
  }
  const keys = bound.state.keyLayout === undefined ? undefined : new SinkKeys(rows.length, keySink.bytes, bound.writer.keyEnds)
  const inline = { rows: rows.length, bytes: body.bytes, start: 0, end: body.at }
  if (keys === undefined) return commitInline(engine, bound, op, inline, undefined, new HideSet(), o, request)
  if (keys.rows > 1) {
    const twice = duplicateIn(bound.state, keys)
    if (twice !== undefined) {
      if (op === 'append') throw duplicateKeyError(bound.view, keys.data.slice(keys.start(twice.first), keys.end(twice.first)), twice.first, twice.second, op)
      const kept = Array.from(lastOfEach(bound.state, keys)!, (row) => rows[row]!)
      return writeRowsRound(engine, table, op, kept, o, round, request)
    }
  }
  const places = placesOf(bound.state, keys, round >= READ_ROUNDS)
  if (places instanceof Promise) return places.then(() => writeRowsRound(engine, table, op, rows, o, round + 1, request))
  const hides = new HideSet()
  if (op === 'append') refuseExisting(bound.state, bound.view, keys, places)
  else for (const place of places) if (place !== undefined) hides.add(place)
  return commitInline(engine, bound, op, inline, keys, hides, o, request)
}

function commitInline(
  engine: Engine,
  bound: Bound,
  op: RowOp,
  inline: { rows: number; bytes: Uint8Array; start: number; end: number },
  keys: RowKeys | undefined,
  hides: HideSet,
  o: WriteOptions | undefined,
  request: Uint8Array | undefined,
): Promise<CommitResult> {
  return engine.parts.committer.commit([inlineChange(bound, op, inline, keys, hides)], inline.rows, o, request)
}

export function inlineChange(
  bound: Bound,
  op: RowOp | 'replace',
  inline: { rows: number; bytes: Uint8Array; start: number; end: number },
  keys: RowKeys | undefined,
  hides: HideSet,
): AdmittedChange {
  const updated = hides.size
  return {
    table: bound.state,
    change: {
      tableId: bound.state.id,
      schemaVersion: bound.view.schema.version,
      op,
      inserted: inline.rows - updated,
      updated,
      deleted: 0,
      inline,
      ...(updated === 0 ? {} : hides.parts()),
    },
    keys,
  }
}

/** Rows of one inline change: the memory layer takes at most a chunk at a time, and a record that it cannot take would make the log unreadable. */
export const CHANGE_ROWS_MAX = 16_384

/** Any number of rows as changes of one commit; the first one hides what they replace. At least one change. */
export function rowChanges(bound: Bound, op: RowOp | 'replace', rows: readonly object[], hides: HideSet): AdmittedChange[] {
  const isKeyed = bound.state.keyLayout !== undefined
  const changes: AdmittedChange[] = []
  let updates = isKeyed && op !== 'replace' ? hides.size : 0
  for (let from = 0; from === 0 || from < rows.length; from += CHANGE_ROWS_MAX) {
    const part = rows.slice(from, from + CHANGE_ROWS_MAX)
    const encoded = part.length === 0 ? undefined : encodeBatch(bound, rowsToBatch(bound.view, part))
    const updated = Math.min(updates, part.length)
    updates -= updated
    const isFirst = from === 0
    changes.push({
      table: bound.state,
      change: {
        tableId: bound.state.id,
        schemaVersion: bound.view.schema.version,
        op: op === 'replace' && !isFirst ? (isKeyed ? 'upsert' : 'append') : op,
        inserted: part.length - updated,
        updated,
        deleted: !isFirst ? 0 : op === 'replace' ? bound.state.liveRowsNow() : isKeyed ? 0 : hides.size,
        ...(encoded === undefined ? {} : { inline: { rows: encoded.rows, bytes: encoded.body, start: 0, end: encoded.body.length } }),
        ...(!isFirst || op === 'replace' ? {} : hides.parts()),
      },
      keys: encoded?.keys,
    })
  }
  return changes
}

/** A batch as an inline body with its keys: for inputs that are columns already. */
export interface EncodedBatch {
  readonly rows: number
  readonly body: Uint8Array
  readonly keys: KeyRun | undefined
}

export function encodeBatch(bound: Bound, batch: ColumnBatch): EncodedBatch {
  const layout = KeyLayout.of(bound.view.schema)
  let keys: KeyRun | undefined
  if (layout !== undefined) {
    keys = new KeyRun(layout.stride)
    layout.push(batch.columns, 0, batch.length, keys)
  }
  return { rows: batch.length, body: encodeInline(batch.columns, 0, batch.length), keys }
}

/** Commit one batch inline. `made`: the definition that its columns follow. */
export async function writeBatch(
  engine: Engine,
  table: AnyTable,
  op: RowOp | 'replace',
  input: ColumnBatch,
  o: WriteOptions | undefined,
  made: TableSchema,
): Promise<CommitResult> {
  let batch = input
  let schema = made
  let request: Uint8Array | undefined
  /** Of the rows as they were given, those that an upsert keeps. */
  let kept: Uint32Array | undefined
  for (let round = 0; ; round++) {
    const bound = engine.binder.bind(table)
    batch = refitBatch(batch, schema, bound.view.schema)
    schema = bound.view.schema
    let encoded = encodeBatch(bound, batch)
    // Of the data as it was given: the next round has lost its repeated keys.
    if (o?.idempotencyKey !== undefined) request ??= requestDigest(op, bound.state.uid, encoded.body)
    if (request !== undefined) {
      const replayed = engine.parts.committer.replay(o!.idempotencyKey!, request)
      if (replayed !== undefined) return replayed
    }
    if (encoded.keys !== undefined) {
      const twice = duplicateIn(bound.state, encoded.keys)
      if (twice !== undefined) {
        if (op !== 'upsert')
          throw duplicateKeyError(
            bound.view,
            encoded.keys.data.slice(encoded.keys.start(twice.first), encoded.keys.end(twice.first)),
            twice.first,
            twice.second,
            op,
          )
        const rows = lastOfEach(bound.state, encoded.keys)!
        kept = rows
        batch = { length: rows.length, columns: batch.columns.map((column) => take(column, rows)) }
        encoded = encodeBatch(bound, batch)
      }
    }
    const hides = new HideSet()
    if (encoded.keys !== undefined && op !== 'replace') {
      const places = placesOf(bound.state, encoded.keys, round >= READ_ROUNDS)
      if (places instanceof Promise) {
        await places
        continue
      }
      if (op === 'append') refuseExisting(bound.state, bound.view, encoded.keys, places)
      else for (const place of places) if (place !== undefined) hides.add(place)
    }
    const tuples = RowTuples.of(bound.state, batch.columns, batch.length)
    if (tuples !== undefined) {
      const read = refuseTuples(tuples, bound.state, bound.view, op === 'replace' ? undefined : hides, round >= READ_ROUNDS, { op, rowOf: kept })
      if (read !== undefined) {
        await read
        continue
      }
    }
    const inline = { rows: encoded.rows, bytes: encoded.body, start: 0, end: encoded.body.length }
    const change = op === 'replace' ? replaceChange(bound, inline, encoded.keys) : inlineChange(bound, op, inline, encoded.keys, hides)
    return engine.parts.committer.commit([change], change.change.inserted + change.change.updated + change.change.deleted, o, request)
  }
}

/** Everything out, these rows in. */
export function replaceChange(
  bound: Bound,
  inline: { rows: number; bytes: Uint8Array; start: number; end: number },
  keys: RowKeys | undefined,
): AdmittedChange {
  return {
    table: bound.state,
    change: {
      tableId: bound.state.id,
      schemaVersion: bound.view.schema.version,
      op: 'replace',
      inserted: inline.rows,
      updated: 0,
      deleted: bound.state.liveRowsNow(),
      ...(inline.rows === 0 ? {} : { inline }),
    },
    keys: inline.rows === 0 ? undefined : keys,
  }
}

/** Delete by key; absent keys are skipped. */
export function deleteKeys(engine: Engine, table: AnyTable, keyArgs: readonly unknown[], o: WriteOptions | undefined): Promise<CommitResult> {
  return deleteRound(engine, table, keyArgs, o, 0)
}

function deleteRound(engine: Engine, table: AnyTable, keyArgs: readonly unknown[], o: WriteOptions | undefined, round: number): Promise<CommitResult> {
  const bound = engine.binder.bind(table)
  const keys = keysOfArgs(bound, keyArgs)
  const request =
    o?.idempotencyKey === undefined ? undefined : requestDigest('delete', bound.state.uid, keys.data.subarray(0, keys.rows === 0 ? 0 : keys.end(keys.rows - 1)))
  if (request !== undefined) {
    const replayed = engine.parts.committer.replay(o!.idempotencyKey!, request)
    if (replayed !== undefined) return Promise.resolve(replayed)
  }
  const places = placesOf(bound.state, keys, round >= READ_ROUNDS)
  if (places instanceof Promise) return places.then(() => deleteRound(engine, table, keyArgs, o, round + 1))
  const hides = new HideSet()
  for (const place of places) if (place !== undefined) hides.add(place)
  return engine.parts.committer.commit([deleteChange(bound, hides, engine.parts.tracker.tracking ? keyTexts(keys) : [])], hides.size, o, request)
}

export function deleteChange(bound: Bound, hides: HideSet, touched: readonly string[] | undefined): AdmittedChange {
  return {
    table: bound.state,
    change: { tableId: bound.state.id, schemaVersion: bound.view.schema.version, op: 'delete', inserted: 0, updated: 0, deleted: hides.size, ...hides.parts() },
    touched,
  }
}

/** Canonical keys of what callers gave, each once. */
export function keysOfArgs(bound: Bound, keyArgs: readonly unknown[]): KeyRun {
  const keys = new KeyRun(bound.state.keyLayout?.stride ?? 0)
  const sink = byteSink(64)
  const seen = new Set<string>()
  for (const arg of keyArgs) {
    sink.at = 0
    putKeyValue(bound.view, arg, sink)
    const text = keyText(sink.bytes, 0, sink.at)
    if (seen.has(text)) continue
    seen.add(text)
    keys.push(sink.bytes, 0, sink.at)
  }
  return keys
}

function keyTexts(keys: RowKeys): string[] {
  return Array.from({ length: keys.rows }, (_, row) => keyText(keys.data, keys.start(row), keys.end(row)))
}
