// engine/tracker.ts: which keys and tables were written since the oldest open transaction began: what first-committer-wins is decided by.
//
// Nothing is kept while no transaction is open. Keys are canonical bytes as latin-1 strings, per table, with the LSN of their last write.
// Invariant: every change that enters the log's queue while a transaction is open is recorded before that transaction can be admitted.

import type { TableChange } from '../format/index.ts'
import { xxh3 } from '../kernels/index.ts'
import type { LiveFragment, TableState } from '../table/index.ts'
import type { AdmittedChange, ChangeTracker } from './admitted.ts'
import { conflict } from './conflict.ts'
import { keyBytesOf, keyText } from './key-text.ts'

export { keyBytesOf, keyText } from './key-text.ts'

/** `fragments`: of the table right behind it. Whoever removes one later, an optimize, a replace, does not change what it says. */
interface Untold {
  readonly lsn: number
  readonly change: TableChange
  readonly fragments: readonly LiveFragment[]
}

interface TableWrites {
  /** Last write of each key. */
  readonly keys: Map<string, number>
  /** Last change that counts as one of every key (replace, deletes by vector; on unkeyed tables all of these). */
  bulkLsn: number
  /** Changes whose keys are asked for one by one: loads, deletes by position. Ascending. */
  readonly untold: Untold[]
  /** Last change of any kind. */
  lastLsn: number
}

/** What a change replaced: should its record be taken back. */
interface Undo {
  readonly lsn: number
  readonly writes: TableWrites
  readonly bulkLsn: number
  readonly lastLsn: number
  /** Keys with the LSN of their last write before, 0 = none. */
  readonly keys: readonly (readonly [string, number])[]
}

export class WriteTracker implements ChangeTracker {
  /** Of changes that are queued. */
  private undo: Undo[] = []
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
    if (--this.open > 0) return
    this.tables.clear()
    this.undo = []
  }

  changed(lsn: number, { table, change, keys, touched }: AdmittedChange): void {
    const writes = this.of(table)
    const before: [string, number][] = []
    const set = (key: string): void => {
      before.push([key, writes.keys.get(key) ?? 0])
      writes.keys.set(key, lsn)
    }
    this.undo.push({ lsn, writes, bulkLsn: writes.bulkLsn, lastLsn: writes.lastLsn, keys: before })
    writes.lastLsn = lsn
    if (keys !== undefined) for (let row = 0; row < keys.rows; row++) set(keyText(keys.data, keys.start(row), keys.end(row)))
    if (touched !== undefined) for (const key of touched) set(key)
    const isTold = change.op !== 'replace' && (keys !== undefined || touched !== undefined) && change.fragments === undefined
    if (isTold) return
    const isWhole = change.op === 'replace' || change.deletionVectors !== undefined || (change.inline !== undefined && keys === undefined)
    if (isWhole || table.keyLayout === undefined) {
      writes.bulkLsn = lsn
      return
    }
    // Rows in memory may have been moved when somebody asks.
    if (change.op === 'delete') for (let i = 0; i < (change.hideRows?.length ?? 0); i++) set(keyText(table.now.layer.keyOf(change.hideRows![i]!)))
    if (change.op !== 'delete' || change.hides !== undefined) writes.untold.push({ lsn, change, fragments: table.now.fragments })
  }

  /** Records up to `lsn` stay. */
  settle(lsn: number): void {
    if (this.undo.length === 0) return
    this.undo = this.undo.filter((each) => each.lsn > lsn)
  }

  /** Records from `first` on never were. */
  takeBack(first: number): void {
    while (this.undo.length > 0 && this.undo.at(-1)!.lsn >= first) {
      const { writes, bulkLsn, lastLsn, keys } = this.undo.pop()!
      writes.bulkLsn = bulkLsn
      writes.lastLsn = lastLsn
      while (writes.untold.length > 0 && writes.untold.at(-1)!.lsn >= first) writes.untold.pop()
      for (const [key, lsn] of keys.toReversed()) {
        if (lsn === 0) writes.keys.delete(key)
        else writes.keys.set(key, lsn)
      }
    }
  }

  /** @throws ConflictError when one of the keys was written above `since` */
  refuseWritten(table: TableState, keys: readonly string[], since: number): void {
    const lost = keys.filter((key) => this.writtenSince(table, key, since) > 0)
    if (lost.length > 0) throw conflict(table, lost, this.writtenSince(table, lost[0]!, since))
  }

  /** The last LSN above `since` that wrote the key, or 0. @throws StorageError, CorruptionError: a fragment that must be asked cannot be read */
  writtenSince(table: TableState, key: string, since: number): number {
    const writes = this.tables.get(table.uid)
    if (writes === undefined) return 0
    const told = Math.max(writes.keys.get(key) ?? 0, writes.bulkLsn)
    for (let i = writes.untold.length - 1; i >= 0; i--) {
      const untold = writes.untold[i]!
      if (untold.lsn <= since || untold.lsn <= told) break
      if (hasWritten(untold, keyBytesOf(key))) return untold.lsn
    }
    return told > since ? told : 0
  }

  /** The last LSN above `since` that changed rows without telling their keys, or 0. */
  bulkSince(table: TableState, since: number): number {
    const writes = this.tables.get(table.uid)
    const lsn = writes === undefined ? 0 : Math.max(writes.bulkLsn, writes.untold.at(-1)?.lsn ?? 0)
    return lsn > since ? lsn : 0
  }

  /** The last LSN above `since` that changed the table, or 0. */
  changedSince(table: TableState, since: number): number {
    const lsn = this.tables.get(table.uid)?.lastLsn ?? 0
    return lsn > since ? lsn : 0
  }

  /** Keys told one by one that were written above `since`, with their last LSN. */
  *keysSince(table: TableState, since: number): Generator<readonly [string, number]> {
    for (const [key, lsn] of this.tables.get(table.uid)?.keys ?? []) if (lsn > since) yield [key, lsn]
  }

  private of(table: TableState): TableWrites {
    let writes = this.tables.get(table.uid)
    if (writes === undefined) this.tables.set(table.uid, (writes = { keys: new Map(), bulkLsn: 0, untold: [], lastLsn: 0 }))
    return writes
  }
}

/**
 * Whether a change that did not tell its keys wrote this one: asked of the fragments that it brought, which have every key of an append or upsert, or of those whose
 * rows it deleted. What was not there counts as yes.
 */
function hasWritten({ lsn, change, fragments }: Untold, key: Uint8Array): boolean {
  const { lo, hi } = xxh3(key)
  if (change.op === 'delete') {
    return (change.hides ?? []).some((hide) => {
      const fragment = fragments.find((each) => each.lsn === hide.lsn && each.ordinal === hide.ordinal)
      return fragment === undefined || hide.rows.includes(fragment.reader.lookupSync(lo, hi, key))
    })
  }
  const brought = fragments.filter((each) => each.lsn === lsn)
  return brought.length < (change.fragments?.length ?? 0) || brought.some(({ reader }) => reader.lookupSync(lo, hi, key) >= 0)
}
