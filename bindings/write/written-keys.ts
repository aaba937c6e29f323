// write/written-keys.ts: which keys and unique tuples of a table were written in a part of the log: what rule `keys` is decided by when nobody watched (recovery.md section 3).
//
// The change feed tells them, with key columns alone read. A flush moves rows and writes none, so it is not in it; a replace writes every key it removes or brings.

import { type Engine, feed, keysOnly, type ReadContext, type StoreState } from '../engine/index.ts'
import type { TableSchema } from '../format/index.ts'
import { HistoryUnavailableError } from '../errors.ts'
import type { Lsn } from '../log/index.ts'
import { byteSink, KeyLayout, putKeyValue, resolveView, rowsToBatch, type TableView } from '../table/index.ts'

export interface LogRange {
  /** Exclusive. */
  readonly from: number
  /** Inclusive; durable. */
  readonly to: number
}

export interface FeedSource {
  readonly engine: Engine
  readonly read: ReadContext
  /** A state of one's own: a branch, by its number, at a position of the retained log. @throws HistoryUnavailableError */
  readonly stateAt: (lsn: number, branch: number) => Promise<StoreState>
}

/**
 * Every key and every tuple of a constraint written in the range, once a commit, with its commit. The bytes are only good during the call.
 *
 * @throws HistoryUnavailableError when the table changed behind `from`, and what it was then is gone
 * @cost reads the log of the range, and the key columns of what it names
 */
export async function keysWritten(
  source: FeedSource,
  tableId: number,
  { from, to }: LogRange,
  onTuple: (layout: KeyLayout, tuple: Uint8Array, lsn: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  if (from >= to) return
  let shape: Shape | undefined
  const sink = byteSink(64)
  const { log, state } = source.engine.parts
  const start = await startOf(source, tableId, from)
  const walked = await source.stateAt(start, state.branch)
  const commits = feed(
    log,
    walked,
    start,
    {
      tables: [],
      keysOf: tableId,
      images: 'after',
      signal: signal ?? new AbortController().signal,
      end: BigInt(to) as Lsn,
      check: source.read.check,
      branch: state.branch,
      branches: () => state.catalog.branches,
    },
    source.read,
  )
  for await (const commit of commits) {
    // As of this commit: the feed walks the state.
    const schema = walked.tables.get(tableId)?.schema
    if (schema === undefined) continue
    if (shape?.of !== schema) shape = shapeOf(schema)
    const { view, key, uniques } = shape
    const lsn = Number(commit.lsn)
    for await (const change of commit) {
      if (key !== undefined) {
        sink.at = 0
        putKeyValue(view, change.key ?? keyOf(view, change.after!), sink)
        onTuple(key, sink.bytes.subarray(0, sink.at), lsn)
      }
      // A row that goes frees its tuples, which is nobody's conflict.
      if (change.after === undefined || uniques.length === 0) continue
      const { columns } = rowsToBatch(view, [change.after])
      for (const layout of uniques) {
        const { keys } = layout.tuples(columns, 1)
        if (keys.rows > 0) onTuple(layout, keys.data.subarray(0, keys.end(0)), lsn)
      }
    }
  }
}

/** A table as a program knows it that names the columns of its key and constraints and nothing else. */
interface Shape {
  readonly of: TableSchema
  readonly view: TableView
  readonly key: KeyLayout | undefined
  readonly uniques: readonly KeyLayout[]
}

function shapeOf(schema: TableSchema): Shape {
  const table = keysOnly(schema)
  // Without the other columns, so that its rows can be encoded.
  const narrow = { ...schema, columns: schema.columns.filter(({ name }) => Object.hasOwn(table.columns, name)), index: [] }
  return { of: schema, view: resolveView(table, narrow), key: KeyLayout.of(narrow), uniques: KeyLayout.uniques(narrow) }
}

function keyOf(view: TableView, row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(view.key.map(({ name }) => [name, row[name]]))
}

/** Versions below the fragment floor cannot be read, and need not be where the table is at the floor what it was at `from`. */
async function startOf({ engine, stateAt }: FeedSource, tableId: number, from: number): Promise<number> {
  const { state } = engine.parts
  const floor = state.catalog.fragmentFloor
  if (from >= floor) return from
  const { lastLsn = from } = (await stateAt(floor, state.branch)).catalog.table(tableId) ?? {}
  if (lastLsn <= from) return floor
  throw new HistoryUnavailableError(`what was written to table ${tableId} behind LSN ${from} cannot be told: versions below ${floor} are gone`, {
    details: { asked: BigInt(from), floor: BigInt(floor) },
  })
}
