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
  /** A state of one's own at a position of the retained log. @throws HistoryUnavailableError */
  readonly stateAt: (lsn: number) => Promise<StoreState>
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
  const state = await source.stateAt(from)
  let view: TableView | undefined
  const sink = byteSink(64)
  const commits = feed(
    source.engine.parts.log,
    state,
    from,
    { tables: [], keysOf: tableId, images: 'after', signal: signal ?? new AbortController().signal, end: BigInt(to) as Lsn, check: source.read.check },
    source.read,
  )
  for await (const commit of commits) {
    // As of this commit: the feed walks the state.
    const schema = state.tables.get(tableId)?.schema
    if (schema === undefined) continue
    if (view?.schema !== schema) view = resolveView(keysOnly(schema), schema)
    for await (const change of commit) {
      sink.at = 0
      putKeyValue(view, change.key ?? change.after!, sink)
      onKey(sink.bytes.subarray(0, sink.at), Number(commit.lsn))
    }
  }
}
