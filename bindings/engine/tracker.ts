// engine/tracker.ts: which keys and tables were written since the oldest open transaction began: what first-committer-wins is decided by.
//
// Nothing is kept while no transaction is open. Keys are canonical bytes as latin-1 strings, per table, with the LSN of their last write.
// Invariant: every change that enters the log's queue while a transaction is open is recorded before that transaction can be admitted.

import type { TableState } from '../table/index.ts'
import type { AdmittedChange, ChangeTracker } from './committer.ts'

interface TableWrites {
  /** Last write of each key. */
  readonly keys: Map<string, number>
  /** Last change that is not told key by key (loads, replace, deletes by position). */
  bulkLsn: number
  /** Last change of any kind. */
  lastLsn: number
}

export class WriteTracker implements ChangeTracker {
  private readonly tables = new Map<number, TableWrites>()
  private open = 0

  get tracking(): boolean {
    return this.open > 0
  }

  /** Start to record; to be matched by end(). */
  begin(): void {
    this.open++
  }

  end(): void {
    if (--this.open === 0) this.tables.clear()
  }

  changed(lsn: number, { table, change, keys, touched }: AdmittedChange): void {
    const writes = this.of(table)
    writes.lastLsn = lsn
    if (keys !== undefined) for (let row = 0; row < keys.rows; row++) writes.keys.set(keyText(keys.data, keys.start(row), keys.end(row)), lsn)
    if (touched !== undefined) for (const key of touched) writes.keys.set(key, lsn)
    const isTold = change.op !== 'replace' && (keys !== undefined || touched !== undefined) && change.fragments === undefined
    if (!isTold) writes.bulkLsn = lsn
  }

  /** The last LSN above `since` that wrote the key, or 0. A bulk change counts as a write of every key: the caller may then read again. */
  writtenSince(table: TableState, key: string, since: number): number {
    const writes = this.tables.get(table.id)
    if (writes === undefined) return 0
    const lsn = Math.max(writes.keys.get(key) ?? 0, writes.bulkLsn)
    return lsn > since ? lsn : 0
  }

  /** The last LSN above `since` that changed the table, or 0. */
  changedSince(table: TableState, since: number): number {
    const lsn = this.tables.get(table.id)?.lastLsn ?? 0
    return lsn > since ? lsn : 0
  }

  /** Keys told one by one that were written above `since`, with their last LSN. */
  *keysSince(table: TableState, since: number): Generator<readonly [string, number]> {
    for (const [key, lsn] of this.tables.get(table.id)?.keys ?? []) if (lsn > since) yield [key, lsn]
  }

  private of(table: TableState): TableWrites {
    let writes = this.tables.get(table.id)
    if (writes === undefined) this.tables.set(table.id, (writes = { keys: new Map(), bulkLsn: 0, lastLsn: 0 }))
    return writes
  }
}

/** Key bytes as a string usable in a Map. */
export function keyText(bytes: Uint8Array, start: number = 0, end: number = bytes.length): string {
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}

export function keyBytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}
