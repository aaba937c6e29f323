// engine/transaction.ts: optimistic transactions: reads from one snapshot plus their own writes, one commit, first committer wins (api.md section 5).
//
// Writes are kept per table: by key on keyed tables (the row, or "gone"), as rows and hidden places on unkeyed ones. At commit the keys written (and under
// `serializable` the keys read and the tables scanned) must not have been written since the snapshot; then it is admitted as any other write.
// Invariant: validation, admission and queueing are one synchronous step.

import { ClosedError, ConflictError, ResourceLimitError } from '../errors.ts'
import {
  type AnyTable,
  batchesOf,
  compilePredicate,
  formatKey,
  keyObjectFromBytes,
  type LooseScanOptions,
  overlayVersion,
  type Place,
  type Predicate,
  putKeyValue,
  type RowKeys,
  rowReader,
  rowsToBatch,
  type Scan,
  type TableVersion,
  type TransactOptions,
  byteSink,
  collectPlaces,
  createScan,
  findKey,
  KeyRun,
} from '../table/index.ts'
import type { CommitResult } from '../table/index.ts'
import { duplicateIn, duplicateKeyError, HideSet, placesOf, READ_ROUNDS, refuseKey } from './admission.ts'
import type { Bound } from './bound.ts'
import type { AdmittedChange } from './committer.ts'
import type { Engine } from './engine.ts'
import { getRow, type ReadContext, type ReadPoint, type Row } from './read.ts'
import { keyBytesOf, keyText } from './tracker.ts'
import { deleteChange, encodeBatch, rowChanges } from './write-rows.ts'

interface TableWrites {
  readonly bound: Bound
  /** Keyed: the row as it shall be, or null = gone. */
  readonly byKey: Map<string, Row | null>
  /** Keys appended: they must not be in the snapshot. */
  readonly fresh: Set<string>
  /** Unkeyed: rows to add. */
  readonly added: Row[]
  /** Unkeyed: stored rows to hide. */
  readonly hidden: HideSet
  readonly hiddenPlaces: Place[]
  /** Everything older goes. */
  replaced: boolean
}

export interface TransactionOutcome {
  readonly changes: readonly AdmittedChange[]
  readonly rows: number
}

/** Rough bytes of a row held by a transaction, for memory.transactionBytes. */
const ROW_BYTES = 128

export class TransactionState {
  readonly point: ReadPoint
  private readonly engine: Engine
  private readonly context: ReadContext
  private readonly serializable: boolean
  private readonly writes = new Map<number, TableWrites>()
  /** Keys read, per table. */
  private readonly readKeys = new Map<Bound, Set<string>>()
  private readonly scanned = new Set<Bound>()
  private bytes = 0
  private closed = false

  constructor(engine: Engine, context: ReadContext, point: ReadPoint, o: TransactOptions) {
    this.engine = engine
    this.context = context
    this.point = point
    this.serializable = (o.isolation ?? 'serializable') === 'serializable'
  }

  close(): void {
    this.closed = true
  }

  private check(): void {
    if (this.closed) throw new ClosedError('transaction.closed', 'the transaction has settled', { details: { what: 'transaction' } })
    this.context.check()
  }

  // reading

  get(table: AnyTable, key: unknown): Row | undefined | Promise<Row | undefined> {
    this.check()
    const bound = this.point.bind(table)
    const text = keyTextOf(bound, key)
    const written = this.writes.get(bound.state.id)
    const own = written?.byKey.get(text)
    if (own !== undefined) return own === null ? undefined : { ...own }
    if (written?.replaced === true) return undefined
    this.noteRead(bound, text)
    return getRow(this.context, bound, this.point.structure(bound), this.point.lsn, key)
  }

  scan(table: AnyTable, options: LooseScanOptions): Scan<AnyTable, Row> {
    this.check()
    const bound = this.point.bind(table)
    if (this.serializable) this.scanned.add(bound)
    return createScan<AnyTable, Row>({
      view: bound.view,
      version: () => this.version(bound),
      options,
      world: this.context.world,
      sortBytes: this.context.sortBytes,
      check: () => this.check(),
    })
  }

  /** The snapshot's rows with this transaction's writes over them. */
  private async version(bound: Bound): Promise<TableVersion> {
    const base = this.point.version(bound)
    const written = this.writes.get(bound.state.id)
    if (written === undefined) return base
    const rows = ownRows(written)
    const own = rows.length === 0 ? undefined : rowsToBatch(bound.view, rows)
    if (written.replaced) return overlayVersion(base, this.point.structure(bound), 'all', own)
    const hides: Place[] = []
    for (const text of written.byKey.keys()) {
      const place = await this.placeOf(bound, text)
      if (place !== undefined) hides.push(place)
    }
    return overlayVersion(base, this.point.structure(bound), [...hides, ...written.hiddenPlaces], own)
  }

  private placeOf(bound: Bound, text: string): Place | undefined | Promise<Place | undefined> {
    return findKey(this.point.structure(bound), this.point.lsn, keyBytesOf(text))
  }

  private noteRead(bound: Bound, text: string): void {
    if (!this.serializable) return
    let keys = this.readKeys.get(bound)
    if (keys === undefined) this.readKeys.set(bound, (keys = new Set()))
    keys.add(text)
  }

  // writing

  append(table: AnyTable, data: unknown): void {
    const { bound, written } = this.writing(table)
    const rows = this.rowsOf(bound, data)
    if (bound.state.keyLayout === undefined) {
      written.added.push(...rows)
      return
    }
    const { keys } = encodeBatch(bound, rowsToBatch(bound.view, rows))
    const twice = duplicateIn(keys!)
    if (twice !== undefined) throw duplicateKeyError(bound.view, keyAt(keys!, twice.first), twice.first, twice.second, 'append')
    rows.forEach((row, i) => {
      const text = keyText(keys!.data, keys!.start(i), keys!.end(i))
      const own = written.byKey.get(text)
      if (own !== undefined && own !== null) throw duplicateKeyError(bound.view, keyAt(keys!, i), i, i, 'append')
      if (own === undefined && !written.replaced) written.fresh.add(text)
      written.byKey.set(text, row)
    })
  }

  upsert(table: AnyTable, data: unknown): void {
    const { bound, written } = this.writing(table)
    const rows = this.rowsOf(bound, data)
    if (rows.length === 0) return
    const { keys } = encodeBatch(bound, rowsToBatch(bound.view, rows))
    rows.forEach((row, i) => written.byKey.set(keyText(keys!.data, keys!.start(i), keys!.end(i)), row))
  }

  delete(table: AnyTable, keyArgs: readonly unknown[]): void {
    const { bound, written } = this.writing(table)
    for (const key of keyArgs) {
      const text = keyTextOf(bound, key)
      written.byKey.set(text, null)
    }
    this.grow(keyArgs.length)
  }

  async deleteWhere(table: AnyTable, predicate: Predicate<any>): Promise<number> {
    const { bound, written } = this.writing(table)
    if (this.serializable) this.scanned.add(bound)
    const compiled = compilePredicate(predicate, bound.view)
    if (bound.state.keyLayout !== undefined) {
      const keyNames = bound.view.key.map((column) => column.name)
      const keys = await this.scan(table, { where: predicate, select: keyNames }).toArray()
      this.delete(table, keys)
      return keys.length
    }
    const places = written.replaced ? [] : await collectPlaces(this.point.version(bound), this.point.structure(bound), compiled)
    let count = 0
    for (const place of places) {
      if (written.hidden.has(place)) continue
      written.hidden.add(place)
      written.hiddenPlaces.push(place)
      count++
    }
    if (written.added.length > 0) {
      const batch = rowsToBatch(bound.view, written.added)
      const bitmap = compiled.eval(
        compiled.columns.map((column) => batch.columns[bound.view.schema.columns.findIndex((each) => each.id === column.id)]!),
        batch.length,
      )
      const kept = written.added.filter((_, i) => ((bitmap[i >> 3]! >> (i & 7)) & 1) === 0)
      count += written.added.length - kept.length
      written.added.splice(0, written.added.length, ...kept)
    }
    return count
  }

  async update(table: AnyTable, patches: readonly object[]): Promise<number> {
    const changed = new Set<string>()
    for (const patch of patches as readonly Record<string, unknown>[]) {
      const { bound } = this.writing(table)
      const key = Object.fromEntries(bound.view.key.map((column) => [column.name, patch[column.name]]))
      const row = await this.get(table, key)
      if (row === undefined) continue
      this.upsert(table, [{ ...row, ...Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) }])
      changed.add(keyTextOf(bound, key))
    }
    return changed.size
  }

  replace(table: AnyTable, data: unknown): void {
    const { bound, written } = this.writing(table)
    const rows = this.rowsOf(bound, data)
    written.replaced = true
    written.byKey.clear()
    written.added.length = 0
    if (bound.state.keyLayout === undefined) written.added.push(...rows)
    else this.append(table, rows)
  }

  private writing(table: AnyTable): { bound: Bound; written: TableWrites } {
    this.check()
    const bound = this.point.bind(table)
    let written = this.writes.get(bound.state.id)
    if (written === undefined) {
      written = { bound, byKey: new Map(), fresh: new Set(), added: [], hidden: new HideSet(), hiddenPlaces: [], replaced: false }
      this.writes.set(bound.state.id, written)
    }
    return { bound, written }
  }

  /** Checked, and as they will be read back: nothing that the caller passed in is kept. */
  private rowsOf(bound: Bound, data: unknown): Row[] {
    const rows: Row[] = []
    for (const batch of batchesOf(bound.view, data)) {
      const read = rowReader(bound.view.columns)
      const vecs = bound.view.columns.map((column) => batch.columns[column.index]!)
      for (let i = 0; i < batch.length; i++) rows.push(read(vecs, i))
    }
    this.grow(rows.length)
    return rows
  }

  private grow(rows: number): void {
    this.bytes += rows * ROW_BYTES
    const limit = this.engine.parts.limits.transactionBytes
    if (this.bytes > limit)
      throw new ResourceLimitError(`a transaction of about ${this.bytes} bytes is above memory.transactionBytes (${limit})`, {
        details: { limit: 'memory.transactionBytes', asked: this.bytes },
        hint: 'Write it without a transaction: one append or upsert of a stream is one commit.',
      })
  }

  // committing

  /** Validate, admit and queue. undefined: nothing was written. */
  async commit(o: TransactOptions): Promise<CommitResult | undefined> {
    const { committer } = this.engine.parts
    for (let round = 0; ; round++) {
      const admitted = this.admit(round >= READ_ROUNDS)
      if (admitted instanceof Promise) {
        await admitted
        continue
      }
      if (admitted.changes.length === 0) return undefined
      return committer.commit(admitted.changes, admitted.rows, o, undefined)
    }
  }

  private admit(blocking: boolean): TransactionOutcome | Promise<void> {
    const changes: AdmittedChange[] = []
    let rows = 0
    const waits: Promise<void>[] = []
    const isEmpty = [...this.writes.values()].every((each) => !each.replaced && each.byKey.size === 0 && each.added.length === 0 && each.hidden.size === 0)
    if (isEmpty) return { changes: [], rows: 0 }
    this.validate()
    for (const written of this.writes.values()) {
      const change = this.admitTable(written, blocking)
      if (change instanceof Promise) waits.push(change)
      else if (change !== undefined) {
        changes.push(...change)
        for (const each of change) rows += each.change.inserted + each.change.updated + each.change.deleted
      }
    }
    return waits.length > 0 ? Promise.all(waits).then(() => undefined) : { changes, rows }
  }

  private validate(): void {
    const { tracker } = this.engine.parts
    const since = this.point.lsn
    for (const bound of this.scanned) {
      const lsn = tracker.changedSince(bound.state, since)
      if (lsn > 0) throw conflict(bound, [], lsn)
    }
    for (const [bound, keys] of this.readKeys) this.validateKeys(bound, keys, since)
    for (const written of this.writes.values()) {
      const { bound } = written
      if (written.replaced) {
        const lsn = tracker.changedSince(bound.state, since)
        if (lsn > 0) throw conflict(bound, [], lsn)
      }
      this.validateKeys(bound, written.byKey.keys(), since)
    }
  }

  private validateKeys(bound: Bound, keys: Iterable<string>, since: number): void {
    const { tracker } = this.engine.parts
    const lost: string[] = []
    let last = 0
    for (const key of keys) {
      const lsn = tracker.writtenSince(bound.state, key, since)
      if (lsn === 0) continue
      lost.push(key)
      last = Math.max(last, lsn)
    }
    if (lost.length > 0) throw conflict(bound, lost, last)
  }

  private admitTable(written: TableWrites, blocking: boolean): AdmittedChange[] | undefined | Promise<void> {
    const { bound, replaced } = written
    const base = { tableId: bound.state.id, schemaVersion: bound.view.schema.version }
    if (bound.state.keyLayout === undefined) {
      const hides = written.hidden.stillLive(bound.state)
      if (hides.size < written.hidden.size) throw conflict(bound, [], bound.state.lastLsn)
      return changesOf(bound, written.added, replaced, hides)
    }
    const keys = new KeyRun(bound.state.keyLayout.stride)
    // A key appended must not be there, whatever became of its row later in the transaction.
    const texts = [...new Set([...written.byKey.keys(), ...written.fresh])]
    for (const text of texts) {
      const bytes = keyBytesOf(text)
      keys.push(bytes, 0, bytes.length)
    }
    const places = replaced && written.fresh.size === 0 ? texts.map(() => undefined) : placesOf(bound.state, keys, blocking)
    if (places instanceof Promise) return places
    const gone = new HideSet()
    const over = new HideSet()
    const rows: Row[] = []
    texts.forEach((text, i) => {
      const row = written.byKey.get(text)
      const place = places[i]
      if (place !== undefined && written.fresh.has(text)) throw refuseKey(bound.state, bound.view, keyBytesOf(text), place, 0)
      if (place !== undefined && !replaced && row !== undefined) (row === null ? gone : over).add(place)
      if (row !== undefined && row !== null) rows.push(row)
    })
    const changes = changesOf(bound, rows, replaced, over) ?? []
    if (gone.size === 0) return changes
    const touched = texts.filter((text) => written.byKey.get(text) === null)
    return [{ table: bound.state, change: { ...base, op: 'delete', inserted: 0, updated: 0, deleted: gone.size, ...gone.parts() }, touched }, ...changes]
  }
}

function changesOf(bound: Bound, rows: readonly Row[], replaced: boolean, hides: HideSet): AdmittedChange[] | undefined {
  if (replaced) return rowChanges(bound, 'replace', rows, hides)
  if (rows.length > 0) return rowChanges(bound, bound.state.keyLayout === undefined ? 'append' : 'upsert', rows, hides)
  return hides.size === 0 ? undefined : [deleteChange(bound, hides, undefined)]
}

function ownRows(written: TableWrites): Row[] {
  const rows = [...written.added]
  for (const row of written.byKey.values()) if (row !== null) rows.push(row)
  return rows
}

function keyAt(keys: RowKeys, row: number): Uint8Array {
  return keys.data.slice(keys.start(row), keys.end(row))
}

const sink = byteSink(64)

function keyTextOf(bound: Bound, key: unknown): string {
  sink.at = 0
  putKeyValue(bound.view, key, sink)
  return keyText(sink.bytes, 0, sink.at)
}

const KEYS_SHOWN = 100

function conflict(bound: Bound, keys: readonly string[], lsn: number): ConflictError {
  const shown = keys.slice(0, KEYS_SHOWN).map((text) => keyObjectFromBytes(bound.view, keyBytesOf(text)))
  const what = shown.length === 0 ? 'it' : `key ${formatKey(shown[0]!)}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`
  return new ConflictError(`${bound.state.name}: LSN ${lsn} changed ${what} first`, {
    details: { table: bound.state.name, keys: shown, total: keys.length, lsn: BigInt(lsn) },
  })
}
