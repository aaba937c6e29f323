// engine/table-stage.ts: the rows of one staged write for one table: several appends, upserts, deletes and a replace, one after the other, as files of the write.
//
// What they mean together is kept, not their history: of each key the last row, the keys to delete, and whether everything older goes. Which older rows that
// hides is found when the write is published. Holds no lock; nothing is in the log yet.
// Invariant: equal keys never meet in the rows that stay; after a call that failed when rows had been taken the write can only be rolled back.

import { ClosedError, ConflictError } from '../errors.ts'
import type { FragmentHides, Participant, ParticipantOp, TableChange, TableSchema } from '../format/index.ts'
import { bitmapToIndices, take, type Vec } from '../kernels/index.ts'
import type { StagingArea } from '../staging/index.ts'
import {
  type ColumnBatch,
  type CompiledPredicate,
  compilePredicate,
  findKeys,
  type FoundRows,
  KeyLayout,
  KeyRun,
  type Long,
  Pace,
  type Predicate,
} from '../table/index.ts'
import { duplicateKeyError, HideSet, NOW, refuseFound } from './admission.ts'
import type { Bound } from './bound.ts'
import { refuseCandidate } from './candidate-tuples.ts'
import { Cutter } from './cutter.ts'
import type { Engine } from './engine.ts'
import { type FinishedTable, intentFiles, storeKeys } from './finish.ts'
import { flushTable } from './flush.ts'
import { participantOf } from './fused.ts'
import { keyAt } from './key-at.ts'
import { keyBytesOf, keyText } from './key-text.ts'
import { LoadKeys, type LoadPart } from './load-keys.ts'
import { LoadTuples } from './load-tuples.ts'
import { findMatches } from './where.ts'
import { keysOfArgs } from './write-rows.ts'

type Batches = AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>

export class TableStage {
  readonly tableId: number
  /** Among the tables of all branches. */
  readonly tableUid: number
  private readonly engine: Engine
  private readonly bound: Bound
  /** Of its rows: what the table has when its first call is made. */
  readonly schema: TableSchema
  private readonly layout: KeyLayout | undefined
  private readonly area: () => Promise<StagingArea>
  private readonly expectedVersion: number
  private cutter: Cutter
  keys: LoadKeys | undefined
  tuples: LoadTuples | undefined
  /** Keys to delete from older rows, as keyText. */
  deleted: Set<string> = new Set()
  /** Unkeyed tables: older rows to hide. */
  private hidden = new HideSet()
  /** Unkeyed tables: own rows that were deleted, by number. */
  private dropped = new Set<number>()
  private addressed = new Map<string, string>()
  private replaced = false
  private hasUpsert = false
  private hasAppend = false
  /** What waits to be cut was appended: its keys must not be in the table. */
  private isFresh = false
  private rows = 0
  private failure: { readonly error: unknown } | undefined

  /** @param area  arms the write when it is first asked */
  constructor(engine: Engine, bound: Bound, area: () => Promise<StagingArea>) {
    this.engine = engine
    this.bound = bound
    this.schema = bound.view.schema
    this.layout = KeyLayout.of(this.schema)
    this.area = area
    this.tableId = bound.state.id
    this.tableUid = bound.state.uid
    this.expectedVersion = engine.parts.state.catalog.table(this.tableId)?.lastLsn ?? bound.state.lastLsn
    this.cutter = this.newCutter()
    this.keys = this.newKeys()
    this.tuples = this.newTuples()
  }

  private newTuples(): LoadTuples | undefined {
    return LoadTuples.of(this.bound.state, this.schema, this.engine.parts.world.random.u32())
  }

  private newCutter(): Cutter {
    return new Cutter({ world: this.engine.parts.world, table: this.bound.state, schema: this.schema, area: this.area, signal: undefined })
  }

  private newKeys(): LoadKeys | undefined {
    return this.layout === undefined ? undefined : new LoadKeys(this.schema, this.layout, this.engine.parts.world.random.u32())
  }

  /** @throws DuplicateKeyError for a key that is in the table or in this write; what the data throws. Resolves with the rows taken. */
  append(batches: Batches, o?: Long): Promise<number> {
    return this.take('append', batches, o)
  }

  upsert(batches: Batches, o?: Long): Promise<number> {
    return this.take('upsert', batches, o)
  }

  /** Everything older goes, what this write brought before included. */
  async replace(batches: Batches, o?: Long): Promise<number> {
    this.refuseFailed()
    let cleared = false
    const clear = async (first?: ColumnBatch): Promise<void> => {
      if (cleared) return
      if (first !== undefined) this.refuseRepeated(first)
      cleared = true
      await this.cutter.reset()
      this.keys = this.newKeys()
      this.tuples = this.newTuples()
      this.deleted.clear()
      this.hidden = new HideSet()
      this.dropped.clear()
      this.addressed.clear()
      this.replaced = true
      this.rows = 0
    }
    // Only once its data has begun well: an error before that changes nothing.
    const rows = await this.take('append', onFirst(batches, clear), o)
    await clear()
    return rows
  }

  /** @throws DuplicateKeyError */
  private refuseRepeated(batch: ColumnBatch): void {
    const found = this.newKeys()?.add(batch, true).duplicate
    if (found === undefined) return
    const { first, second, part, row } = found
    throw duplicateKeyError(this.bound.view, part.keys.data.slice(part.keys.start(row), part.keys.end(row)), first, second, 'replace')
  }

  private async take(op: 'append' | 'upsert', batches: Batches, o: Long | undefined): Promise<number> {
    this.refuseFailed()
    const { world, check } = this.engine.parts
    const { state, view } = this.bound
    const pace = new Pace({ ...o, world, check, table: state.name, phase: op, total: undefined })
    let taken = 0
    try {
      for await (const given of batches) {
        await pace.step(taken)
        if (given.length === 0) continue
        // It outlives the call, and may be a view on what is the caller's.
        const batch = copied(given)
        const fresh = op === 'append' && this.keys !== undefined && !this.replaced
        if (this.cutter.rowsWaiting > 0 && this.isFresh !== fresh) await this.cutter.cut(this.isFresh)
        this.isFresh = fresh
        const firstRow = taken
        if (fresh) await this.refuseOlder(batch, firstRow)
        let part: LoadPart | undefined
        if (this.keys !== undefined) {
          const added = this.keys.add(batch, op === 'append')
          if (added.duplicate !== undefined) {
            const { first, second, part: where, row } = added.duplicate
            throw duplicateKeyError(view, where.keys.data.slice(where.keys.start(row), where.keys.end(row)), first, second, op)
          }
          part = added.part
          if (op === 'upsert' && this.deleted.size > 0) for (let row = 0; row < part.rows; row++) this.deleted.delete(keyTextOf(part.keys, row))
        }
        this.tuples?.add(batch, part?.base ?? this.rows)
        // From here on its rows count.
        taken += batch.length
        this.rows += batch.length
        if (op === 'upsert') this.hasUpsert = true
        else this.hasAppend = true
        await this.cutter.push(batch, part, fresh)
      }
      pace.finish(taken)
      return taken
    } catch (error) {
      if (taken > 0) this.failure = { error }
      throw error
    }
  }

  /** @throws DuplicateKeyError for a key of an older row that this write does not delete */
  private async refuseOlder(batch: ColumnBatch, firstRow: number): Promise<void> {
    const { state, view } = this.bound
    const layout = this.layout!
    const keys = new KeyRun(layout.stride)
    layout.push(batch.columns, 0, batch.length, keys)
    if (state.now.layer.liveRows === 0 && state.now.fragments.length === 0) return
    const found = await findKeys(state.now, NOW, keys, layout, () => undefined)
    const isDeleted = (key: number): boolean => this.deleted.has(keyText(keys.data, keys.start(key), keys.end(key)))
    refuseFound(state, view, keys, this.deleted.size === 0 ? found : found.map((each) => lessKeys(each, isDeleted)), firstRow)
  }

  /** Delete by key, whether or not it is there. @returns the canonical keys, one after the other */
  async deleteKeys(keyArgs: readonly unknown[]): Promise<Uint8Array> {
    this.refuseFailed()
    const keys = keysOfArgs(this.bound, keyArgs)
    for (const row of this.keys!.findMany(keys)) if (row >= 0) this.keys!.drop(row)
    if (!this.replaced) for (let row = 0; row < keys.rows; row++) this.deleted.add(keyText(keys.data, keys.start(row), keys.end(row)))
    return keys.data.slice(0, keys.rows === 0 ? 0 : keys.end(keys.rows - 1))
  }

  private remove(key: Uint8Array): void {
    this.keys!.remove(key)
    if (!this.replaced) this.deleted.add(keyText(key))
  }

  /** Delete what matches in the table as it is now and in the rows of this write. */
  async deleteWhere(predicate: Predicate<any>): Promise<void> {
    this.refuseFailed()
    const { state, view } = this.bound
    const compiled = compilePredicate(predicate, view)
    await this.dropOwn(compiled)
    if (this.replaced) return
    const layout = state.keyLayout
    if (layout === undefined) return this.hideOlder(compiled)
    const matches = await findMatches(this.engine, this.bound, compiled)
    for (const place of matches.places(state)) {
      const key = await keyAt(state, layout, place)
      // A row that this write has replaced is not there any more for it.
      if (this.keys!.find(keyBytesOf(key)) < 0) this.deleted.add(key)
    }
  }

  /** Rows of this write that match: read back from their fragments. */
  private async dropOwn(compiled: CompiledPredicate): Promise<void> {
    if (this.rows === 0) return
    if (this.cutter.rowsWaiting > 0) await this.cutter.cut(this.isFresh)
    await this.cutter.drain()
    const { layout, schema } = this
    const { state } = this.bound
    const { check } = this.engine.parts
    const area = await this.area()
    const hidden = new Map(this.cutter.ownHides().map((hide) => [hide.ordinal, new Set(hide.rows)]))
    let base = 0
    for (const [ordinal, ref] of this.cutter.refs.entries()) {
      const reader = this.engine.stagedReader(state, area, ref)
      const keyColumns = layout === undefined ? [] : layout.parts.map((part) => schema.columns[part.index]!)
      for (let batch = 0; batch < reader.batchCount; batch++) {
        check()
        const rows = reader.rowsOf(batch)
        const first = batch * ref.batchRows
        const bitmap = compiled.eval(await reader.load(batch, compiled.columns), rows)
        if (bitmap === undefined) continue
        const columns: (Vec | undefined)[] = Array.from(schema.columns, () => undefined)
        const keyVecs = await reader.load(batch, keyColumns)
        layout?.parts.forEach((part, i) => (columns[part.index] = keyVecs[i]))
        for (const row of bitmapToIndices(bitmap, rows)) {
          if (hidden.get(ordinal)?.has(first + row) === true) continue
          if (layout === undefined) {
            this.dropped.add(base + first + row)
            continue
          }
          const key = new KeyRun(layout.stride)
          layout.push(columns, row, row + 1, key)
          this.remove(key.data.slice(key.start(0), key.end(0)))
        }
      }
      base += ref.rows
    }
  }

  /** Unkeyed: rows of fragments are named by position, so the table's rows in memory move into fragments first. */
  private async hideOlder(compiled: CompiledPredicate): Promise<void> {
    const { state } = this.bound
    await flushTable(this.engine, state)
    const matches = await findMatches(this.engine, this.bound, compiled)
    for (const place of matches.places(state)) {
      const { fragment } = place
      if (fragment === undefined) {
        throw new ConflictError(`${state.name}: rows were added while a delete of a staged write looked for them`, {
          details: { table: state.name, keys: [], total: 0, lsn: BigInt(state.lastLsn) },
          hint: 'Delete again.',
        })
      }
      this.hidden.add(place)
      this.addressed.set(`${fragment.lsn}.${fragment.ordinal}`, String(fragment.hides.count))
    }
  }

  /** What the INTENT says before there are files. */
  prepared(): Participant {
    return { ...participantOf(this.engine, this.bound.state, this.op), expectedVersion: String(this.expectedVersion) }
  }

  private get op(): ParticipantOp {
    if (this.replaced) return 'replace'
    if (this.hasUpsert) return 'upsert'
    return this.hasAppend ? 'append' : 'delete'
  }

  /** @throws DuplicateKeyError */
  private async refuseTuples(): Promise<void> {
    const { tuples, keys, dropped, layout } = this
    if (tuples === undefined) return
    const gone = new KeyRun(layout?.stride ?? 0)
    for (const text of this.deleted) {
      const key = keyBytesOf(text)
      gone.push(key, 0, key.length)
    }
    await refuseCandidate(this.bound.state, this.bound.view, {
      tuples,
      keys: keys === undefined ? [] : [gone, ...keys.parts.map((part) => part.keys)],
      hidden: this.hidden,
      isGone: (row) => (keys === undefined ? dropped.has(row) : keys.isDropped(row)),
      replaces: this.replaced,
      op: 'staged write',
      between: () => undefined,
    })
  }

  /** Every file of the table is stored when it resolves. @throws DuplicateKeyError; what a fragment failed with */
  async finish(): Promise<FinishedTable> {
    this.refuseFailed()
    await this.refuseTuples()
    if (this.cutter.rowsWaiting > 0) await this.cutter.cut(this.isFresh)
    await this.cutter.drain()
    const { state } = this.bound
    const prepared = this.prepared()
    const { refs, marks } = this.cutter
    const files = intentFiles(refs, (ordinal) => marks[ordinal] === true)
    const keys = prepared.rule === 'keys' ? await storeKeys(this.engine, state, await this.area(), this) : undefined
    const participant: Participant = {
      ...prepared,
      ...(keys === undefined ? {} : { keys }),
      files,
      addresses: [...this.addressed].map(([fragment, deletions]) => ({ fragment, deletions })),
    }
    const older = this.hidden.parts().hides ?? []
    const own = this.keys === undefined ? this.unkeyedHides() : this.cutter.ownHides()
    const hides: FragmentHides[] = [...older, ...own]
    if (refs.length === 0 && hides.length === 0 && !this.replaced) return { participant, changes: [] }
    const inserted = refs.reduce((sum, ref) => sum + ref.rows, 0) - own.reduce((sum, hide) => sum + hide.rows.length, 0)
    const change: TableChange = {
      tableId: state.id,
      schemaVersion: this.schema.version,
      op: this.replaced ? 'replace' : this.hasUpsert ? 'upsert' : this.hasAppend ? 'append' : 'delete',
      inserted,
      updated: 0,
      deleted: this.hidden.size,
      ...(hides.length === 0 ? {} : { hides }),
      ...(refs.length === 0 ? {} : { fragments: refs }),
    }
    return { participant, changes: [change] }
  }

  /** Rows of an unkeyed table are cut in the order they came, none left out. */
  private unkeyedHides(): FragmentHides[] {
    if (this.dropped.size === 0) return []
    const lists: FragmentHides[] = []
    const rows = [...this.dropped].sort((a, b) => a - b)
    let base = 0
    this.cutter.refs.forEach((ref, ordinal) => {
      const inside = rows.filter((row) => row >= base && row < base + ref.rows).map((row) => row - base)
      if (inside.length > 0) lists.push({ lsn: 0, ordinal, rows: Uint32Array.from(inside) })
      base += ref.rows
    })
    return lists
  }

  /** A call failed when rows had been taken. */
  get isFailed(): boolean {
    return this.failure !== undefined
  }

  private refuseFailed(): void {
    if (this.failure === undefined) return
    throw new ClosedError('write.closed', `a call of this write failed after rows of ${this.bound.state.name} had been taken: it can only be rolled back`, {
      details: { what: 'staged write' },
      cause: this.failure.error,
    })
  }
}

function copied({ length, columns }: ColumnBatch): ColumnBatch {
  const every = Uint32Array.from({ length }, (_, row) => row)
  return { length, columns: columns.map((column) => take(column, every)) }
}

function keyTextOf(keys: KeyRun, row: number): string {
  return keyText(keys.data, keys.start(row), keys.end(row))
}

/** Without the keys that pass the test. */
function lessKeys({ fragment, rows, keys }: FoundRows, test: (key: number) => boolean): FoundRows {
  const kept = keys.map((key) => !test(key))
  return { fragment, rows: rows.filter((_, i) => kept[i]), keys: keys.filter((_, i) => kept[i]) }
}

/** Calls `first` before the first batch is handed on. */
async function* onFirst(batches: Batches, first: (batch: ColumnBatch) => Promise<void>): AsyncGenerator<ColumnBatch, undefined> {
  for await (const batch of batches) {
    await first(batch)
    yield batch
  }
}
