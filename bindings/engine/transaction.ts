// engine/transaction.ts: optimistic transactions: reads from one snapshot plus their own writes, one commit, first committer wins (api.md section 5).
//
// Writes are kept per table: by key on keyed tables (the row, or "gone"), as rows and hidden places on unkeyed ones. At commit the keys written (and under
// `serializable` the keys read and the tables scanned) must not have been written since the snapshot; then it is admitted as any other write.
// Invariant: validation, admission and queueing are one synchronous step.

import { ClosedError, DuplicateKeyError, ResourceLimitError } from '../errors.ts'
import {
  type AnyTable,
  checkedPatches,
  compilePredicate,
  formatKey,
  keyObjectFromBytes,
  keyless,
  type LooseScanOptions,
  overlayVersion,
  type Place,
  type Predicate,
  putKeyValue,
  type RowKeys,
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
import type { AdmittedChange } from './admitted.ts'
import { conflict, redefined } from './conflict.ts'
import type { Engine } from './engine.ts'
import { getRow, type ReadContext, type ReadPoint, type Row } from './read.ts'
import { keyBytesOf, keyText } from './tracker.ts'
import { requestDigest } from './request.ts'
import { type Intake, intake, isUntouched, keyTextAt, noWrites, ownBatch, rowAs, type TableWrites } from './table-writes.ts'
import { refuseRowTuples } from './unique.ts'
import { wholeRows } from './where.ts'
import { deleteChange, rowChanges } from './write-rows.ts'

export interface TransactionOutcome {
  readonly changes: readonly AdmittedChange[]
  readonly rows: number
}

/** Rough bytes of a deleted key, for memory.transactionBytes. */
const KEY_BYTES = 128

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
  private updates: Promise<unknown> = Promise.resolve()

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
    return this.getOf(bound, key)
  }

  getMany(table: AnyTable, keys: Iterable<unknown>): Promise<(Row | undefined)[]> {
    this.check()
    const bound = this.point.bind(table)
    return Promise.all(Array.from(keys, (key) => this.getOf(bound, key)))
  }

  private getOf(bound: Bound, key: unknown): Row | undefined | Promise<Row | undefined> {
    const text = keyTextOf(bound, key)
    const written = this.writes.get(bound.state.id)
    const own = written?.byKey.get(text)
    if (own !== undefined) return own === null ? undefined : rowAs(bound, written!.whole, own)
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
    const own = ownBatch(written)
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
    const taken = this.take(bound, written, data)
    const { rows, keys } = taken
    if (keys === undefined) return add(written, rows)
    refuseRepeated(bound, taken, 'append')
    // All or nothing: every row is looked at before the first one is kept.
    rows.forEach((_, i) => {
      const own = written.byKey.get(keyTextAt(keys, i))
      if (own !== undefined && own !== null) throw writtenAlready(bound, keyAt(keys, i), i)
    })
    rows.forEach((row, i) => {
      const text = keyTextAt(keys, i)
      if (!written.byKey.has(text) && !written.replaced) written.fresh.set(text, i)
      written.byKey.set(text, row)
    })
  }

  upsert(table: AnyTable, data: unknown): void {
    const { bound, written } = this.writing(table)
    const { rows, keys } = this.take(bound, written, data)
    if (keys === undefined) throw keyless(bound.view)
    rows.forEach((row, i) => written.byKey.set(keyTextAt(keys, i), row))
  }

  delete(table: AnyTable, keyArgs: readonly unknown[]): void {
    const { bound, written } = this.writing(table)
    const texts = Array.from(keyArgs, (key) => keyTextOf(bound, key))
    this.grow(texts.length * KEY_BYTES)
    for (const text of texts) written.byKey.set(text, null)
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
      const batch = ownBatch(written)!
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

  /** One after the other: each reads, waits and writes whole rows. */
  update(table: AnyTable, patches: readonly object[]): Promise<number> {
    const turn = this.updates.then(() => this.updateNow(table, patches))
    this.updates = turn.catch(() => undefined)
    return turn
  }

  private async updateNow(table: AnyTable, patches: readonly object[]): Promise<number> {
    const { bound, written } = this.writing(table)
    const { whole } = written
    const changed = new Set<string>()
    for (const patch of checkedPatches(bound.view, whole.view, patches)) {
      const key = Object.fromEntries(bound.view.key.map((column) => [column.name, patch[column.name]]))
      const text = keyTextOf(whole, key)
      const stored = await this.getOf(whole, key)
      this.check()
      // What this transaction wrote while the row was read comes before what was read.
      const own = written.byKey.get(text)
      const row = own === undefined ? (written.replaced ? undefined : stored) : own === null ? undefined : rowAs(whole, whole, own)
      if (row === undefined) continue
      this.upsert(whole.view.table, [{ ...row, ...patch }])
      changed.add(text)
    }
    return changed.size
  }

  replace(table: AnyTable, data: unknown): void {
    const { bound, written } = this.writing(table)
    const taken = this.take(bound, written, data)
    const { rows, keys } = taken
    refuseRepeated(bound, taken, 'replace')
    written.replaced = true
    written.byKey.clear()
    written.added.length = 0
    if (keys === undefined) add(written, rows)
    else rows.forEach((row, i) => written.byKey.set(keyTextAt(keys, i), row))
  }

  private writing(table: AnyTable): { bound: Bound; written: TableWrites } {
    this.check()
    const bound = this.point.bind(table)
    let written = this.writes.get(bound.state.id)
    if (written === undefined) {
      written = noWrites(wholeRows(bound))
      this.writes.set(bound.state.id, written)
    }
    return { bound, written }
  }

  private take(bound: Bound, written: TableWrites, data: unknown): Intake {
    const taken = intake(bound, written.whole, data)
    this.grow(taken.bytes)
    return taken
  }

  private grow(bytes: number): void {
    const asked = this.bytes + bytes
    const limit = this.engine.parts.limits.transactionBytes
    if (asked > limit)
      throw new ResourceLimitError(`a transaction of about ${asked} bytes is above memory.transactionBytes (${limit})`, {
        details: { limit: 'memory.transactionBytes', asked },
        hint: 'Write it without a transaction: one append or upsert of a stream is one commit.',
      })
    this.bytes = asked
  }

  // committing

  /** Validate, admit and queue. undefined: nothing was written. */
  async commit(o: TransactOptions): Promise<CommitResult | undefined> {
    const { committer } = this.engine.parts
    const request = o.idempotencyKey === undefined || this.isEmpty() ? undefined : this.request()
    for (let round = 0; ; round++) {
      if (request !== undefined) {
        const replayed = committer.replay(o.idempotencyKey!, request)
        if (replayed !== undefined) return replayed
      }
      const admitted = this.admit(round >= READ_ROUNDS)
      if (admitted instanceof Promise) {
        await admitted
        continue
      }
      if (admitted.changes.length === 0) return undefined
      return committer.commit(admitted.changes, admitted.rows, o, request)
    }
  }

  private isEmpty(): boolean {
    return [...this.writes.values()].every(isUntouched)
  }

  /** What tells a transaction from another under an idempotency key: the tables that it writes. A retry may read, and so write, other rows than the first run. */
  private request(): Uint8Array {
    const ids = [...this.writes.values()].filter((each) => !isUntouched(each)).map(({ whole }) => whole.state.uid)
    return requestDigest('transact', 0, new TextEncoder().encode(ids.toSorted((a, b) => a - b).join()))
  }

  private admit(blocking: boolean): TransactionOutcome | Promise<void> {
    const changes: AdmittedChange[] = []
    let rows = 0
    const waits: Promise<void>[] = []
    if (this.isEmpty()) return { changes: [], rows: 0 }
    for (const { whole } of this.writes.values()) if (whole.view.schema !== whole.state.schema) throw redefined(whole.state.name, whole.state.lastLsn)
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
      if (lsn > 0) throw conflict(bound.state, [], lsn)
    }
    for (const [bound, keys] of this.readKeys) this.validateKeys(bound, keys, since)
    for (const written of this.writes.values()) {
      const { whole: bound } = written
      if (written.replaced) {
        const lsn = tracker.changedSince(bound.state, since)
        if (lsn > 0) throw conflict(bound.state, [], lsn)
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
    if (lost.length > 0) throw conflict(bound.state, lost, last, bound.view)
  }

  private admitTable(written: TableWrites, blocking: boolean): AdmittedChange[] | undefined | Promise<void> {
    const { whole: bound, replaced } = written
    const base = { tableId: bound.state.id, schemaVersion: bound.view.schema.version }
    if (bound.state.keyLayout === undefined) {
      const hides = written.hidden.stillLive(bound.state)
      if (hides.size < written.hidden.size) throw conflict(bound.state, [], bound.state.lastLsn)
      const read = this.admitTuples(bound, written.added, replaced ? undefined : hides, blocking)
      return read ?? changesOf(bound, written.added, replaced, hides)
    }
    const keys = new KeyRun(bound.state.keyLayout.stride)
    // A key appended must not be there, whatever became of its row later in the transaction.
    const texts = [...new Set([...written.byKey.keys(), ...written.fresh.keys()])]
    for (const text of texts) {
      const bytes = keyBytesOf(text)
      keys.push(bytes, 0, bytes.length)
    }
    const places = replaced && written.fresh.size === 0 ? texts.map(() => undefined) : placesOf(bound.state, keys, blocking)
    if (places instanceof Promise) return places
    const gone = new HideSet()
    const over = new HideSet()
    const hidden = new HideSet()
    const rows: Row[] = []
    texts.forEach((text, i) => {
      const row = written.byKey.get(text)
      const place = places[i]
      const appended = written.fresh.get(text)
      if (place !== undefined && appended !== undefined) throw refuseKey(bound.state, bound.view, keyBytesOf(text), place, appended)
      if (place !== undefined && !replaced && row !== undefined) {
        const hides = row === null ? gone : over
        hides.add(place)
        hidden.add(place)
      }
      if (row !== undefined && row !== null) rows.push(row)
    })
    const read = this.admitTuples(bound, rows, replaced ? undefined : hidden, blocking)
    if (read !== undefined) return read
    const changes = changesOf(bound, rows, replaced, over) ?? []
    if (gone.size === 0) return changes
    const touched = texts.filter((text) => written.byKey.get(text) === null)
    return [{ table: bound.state, change: { ...base, op: 'delete', inserted: 0, updated: 0, deleted: gone.size, ...gone.parts() }, touched }, ...changes]
  }

  private admitTuples(bound: Bound, rows: readonly Row[], hides: HideSet | undefined, blocking: boolean): Promise<void> | undefined {
    return refuseRowTuples({ bound, rows, hides, op: 'transaction', since: this.point.lsn }, blocking)
  }
}

function changesOf(bound: Bound, rows: readonly Row[], replaced: boolean, hides: HideSet): AdmittedChange[] | undefined {
  if (replaced) return rowChanges(bound, 'replace', rows, hides)
  if (rows.length > 0) return rowChanges(bound, bound.state.keyLayout === undefined ? 'append' : 'upsert', rows, hides)
  return hides.size === 0 ? undefined : [deleteChange(bound, hides, undefined)]
}

function add(written: TableWrites, rows: readonly Row[]): void {
  for (const row of rows) written.added.push(row)
}

/** @throws DuplicateKeyError for rows of one call with the same key */
function refuseRepeated(bound: Bound, { keys }: Intake, op: string): void {
  const twice = keys === undefined ? undefined : duplicateIn(bound.state, keys)
  if (twice !== undefined) throw duplicateKeyError(bound.view, keyAt(keys!, twice.first), twice.first, twice.second, op)
}

function writtenAlready({ view }: Bound, key: Uint8Array, row: number): DuplicateKeyError {
  const values = keyObjectFromBytes(view, key)
  const { name } = view.schema
  return new DuplicateKeyError(`${name} row ${row}: key ${formatKey(values)} was written by this transaction already; upsert keeps the last`, {
    details: { table: name, columns: view.key.map((column) => column.name), values, rows: [row] },
  })
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
