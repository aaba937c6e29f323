// write/written-keys.ts: which keys of a table were written in a part of the log: what rule `keys` is decided by when nobody watched (recovery.md section 3).
//
// The change feed tells them, with key columns alone read. A flush moves rows and writes none, so it is not in it; a replace writes every key it removes or brings.

import { type Engine, feed, type ReadContext, type StoreState } from '../engine/index.ts'
import type { TableSchema } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { type AnyTable, byteSink, putKeyValue, resolveView, tableFromSchema } from '../table/index.ts'

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
 * Every key written in the range, once a commit, with its commit. The bytes are only good during the call.
 *
 * @throws HistoryUnavailableError when the log no longer reaches back to `from`
 * @cost reads the log of the range, and the key columns of what it names
 */
export async function keysWritten(
  source: FeedSource,
  schema: TableSchema,
  { from, to }: LogRange,
  onKey: (key: Uint8Array, lsn: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  if (from >= to) return
  const table = keysOnly(schema)
  const view = resolveView(table, schema)
  const sink = byteSink(64)
  const { log, state } = source.engine.parts
  const commits = feed(
    log,
    await source.stateAt(from, state.branch),
    from,
    {
      tables: [table],
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
    for await (const change of commit) {
      sink.at = 0
      putKeyValue(view, change.key ?? change.after!, sink)
      onKey(sink.bytes.subarray(0, sink.at), Number(commit.lsn))
    }
  }
}

/** The table as a program knows it that names its key and nothing else. */
function keysOnly(schema: TableSchema): AnyTable {
  return tableFromSchema({ ...schema, columns: schema.columns.filter((column) => schema.key.includes(column.id)), unique: [], index: [] })
}
