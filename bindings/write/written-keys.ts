// write/written-keys.ts: which keys of a table were written in a part of the log: what rule `keys` is decided by when nobody watched (recovery.md section 3).
//
// The change feed tells them, with key columns alone read. A flush moves rows and writes none, so it is not in it; a replace writes every key it removes or brings.

import { type Engine, feed, keysOnly, type ReadContext, type StoreState } from '../engine/index.ts'
import type { Lsn } from '../log/index.ts'
import { byteSink, putKeyValue, resolveView, type TableView } from '../table/index.ts'

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
  tableId: number,
  { from, to }: LogRange,
  onKey: (key: Uint8Array, lsn: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  if (from >= to) return
  let view: TableView | undefined
  const sink = byteSink(64)
  const { log, state } = source.engine.parts
  const walked = await source.stateAt(from, state.branch)
  const commits = feed(
    log,
    walked,
    from,
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
    if (view?.schema !== schema) view = resolveView(keysOnly(schema), schema)
    for await (const change of commit) {
      sink.at = 0
      putKeyValue(view, change.key ?? change.after!, sink)
      onKey(sink.bytes.subarray(0, sink.at), Number(commit.lsn))
    }
  }
}
