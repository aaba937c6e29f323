// write/sealed-keys.ts: the keys of a sealed write: those of its rows, read from its promoted fragments, and whether the log has written one of them since.

import { keyText } from '../engine/index.ts'
import { type FragmentRef, hasKeyHash, type KeysFile, type TableChange } from '../format/index.ts'
import { KeyLayout, KeyRun, type TableState } from '../table/index.ts'
import type { WriteParts } from './parts.ts'
import { keysWritten, type LogRange } from './written-keys.ts'

/** Keys looked up at a time. */
const RUN_ROWS = 32_768

/** Keys of the rows of a fragment that are not hidden, in runs. @throws CorruptionError fragment.corrupt; StorageError */
export async function* keysOfFragment(parts: WriteParts, table: TableState, ref: FragmentRef, hidden: ReadonlySet<number>): AsyncGenerator<KeyRun, undefined> {
  const schema = table.schemaOf(ref.schemaVersion)
  const layout = KeyLayout.of(schema)!
  const reader = parts.engine.parts.state.context.readerOf(ref, table)
  const columns = schema.columns.filter((column) => schema.key.includes(column.id))
  for (let batch = 0; batch < reader.batchCount; batch++) {
    const read = await reader.load(batch, columns)
    const vecs = schema.columns.map((column) => read[columns.indexOf(column)])
    const rows = reader.rowsOf(batch)
    const first = batch * ref.batchRows
    for (let from = 0; from < rows; from += RUN_ROWS) {
      const run = new KeyRun(layout.stride)
      const end = Math.min(rows, from + RUN_ROWS)
      if (hidden.size === 0) layout.push(vecs, from, end, run)
      else for (let row = from; row < end; row++) if (!hidden.has(first + row)) layout.push(vecs, row, row + 1, run)
      if (run.rows > 0) yield run
      parts.read.check()
    }
  }
}

/** Rows of a fragment that the write itself replaced or deleted later. */
export function hiddenOwn(change: TableChange, ordinal: number): ReadonlySet<number> {
  const hidden = new Set<number>()
  for (const hide of change.hides ?? []) if (hide.lsn === 0 && hide.ordinal === ordinal) for (const row of hide.rows) hidden.add(row)
  return hidden
}

export interface WrittenKeys {
  /** As keyText, each once, in log order. */
  readonly keys: readonly string[]
  /** Tuples of unique constraints, each once. */
  readonly tuples: readonly { readonly layout: KeyLayout; readonly tuple: Uint8Array }[]
  /** The last commit that wrote one. */
  readonly lsn: number
}

/** Keys and tuples of the write that the log wrote in a range. Two with one hash count as one: a conflict too many is safe. @throws HistoryUnavailableError */
export async function writtenKeys(
  parts: WriteParts,
  table: TableState,
  keys: KeysFile,
  range: LogRange,
  signal: AbortSignal | undefined,
): Promise<WrittenKeys> {
  const lost = new Set<string>()
  const tuples = new Map<string, { layout: KeyLayout; tuple: Uint8Array }>()
  let last = 0
  const note = (layout: KeyLayout, bytes: Uint8Array, lsn: number): void => {
    const { lo, hi } = layout.hashOf(bytes)
    if (!hasKeyHash(keys, lo, hi)) return
    last = lsn
    if (layout.isKey) lost.add(keyText(bytes))
    else tuples.set(`${layout.id}:${keyText(bytes)}`, { layout, tuple: bytes.slice() })
  }
  await keysWritten(parts, table.id, range, note, signal)
  return { keys: [...lost], tuples: [...tuples.values()], lsn: last }
}

/** Hash of every key and tuple that the log wrote in a range, with the last LSN that wrote it. @throws HistoryUnavailableError */
export async function writtenHashes(parts: WriteParts, table: TableState, range: LogRange): Promise<ReadonlyMap<bigint, number>> {
  const hashes = new Map<bigint, number>()
  await keysWritten(parts, table.id, range, (layout, bytes, lsn) => {
    const { lo, hi } = layout.hashOf(bytes)
    hashes.set((BigInt(hi) << 32n) | BigInt(lo), lsn)
  })
  return hashes
}
