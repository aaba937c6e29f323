// table/table-state.ts: one table as writers and readers of this process see it: memory layer, fragments and who hid which row, at every readable LSN.
//
// Changes are applied when they enter the log's queue, under the LSN they were given; readers look at or below the durable head, so what is not
// durable yet is invisible to them and present for admission. Structures (which fragments, which layer) are replaced, rows are stamped.
// Invariant: version(lsn) for lsn >= the last settle() shows exactly the rows of the log's prefix up to lsn.

import { assert } from '../assert.ts'
import { type CatalogTable, exchanged } from '../catalog/index.ts'
import type { ColumnDef, FlushRecord, FragmentHides as HideList, FragmentRef, OptimizedPart, TableChange, TableSchema } from '../format/index.ts'
import { bitmapAndNot, bitmapOr, bitmapToIndices, copyPadded } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { SourceGroup, TableVersion } from './batch.ts'
import { FragmentHides } from './fragment-hides.ts'
import { fragmentGroup } from './fragment-group.ts'
import type { FragmentReader } from './fragment-reader.ts'
import type { RowKeys } from './memory-index.ts'
import { KeyLayout } from './key-layout.ts'
import { type MemoryChunk, MemoryLayer } from './memory-layer.ts'
import { type Place, readPlace, readPlaceSync, type RowVecs } from './point-read.ts'

export interface LiveFragment {
  readonly lsn: number
  readonly ordinal: number
  readonly ref: FragmentRef
  readonly hides: FragmentHides
  readonly reader: FragmentReader
}

/** Which files and which layer hold the table from `lsn` on. */
export interface Structure {
  readonly lsn: number
  readonly schema: TableSchema
  readonly layer: MemoryLayer
  readonly fragments: readonly LiveFragment[]
  /** The table is gone from here on. */
  readonly isDropped?: true
}

/** What a table needs of its store. */
export interface TableContext {
  readonly seed: number
  readerOf(ref: FragmentRef, table: TableState): FragmentReader
  /** A column of rows older than it: its default or nulls. */
  missingColumn(column: ColumnDef, rows: number): Vec
}

/** Decoded deletion vectors by digest: bitmaps of hidden rows, read before the change that names them is applied. */
export type VectorBitmaps = ReadonlyMap<string, Uint8Array>

/** Table ids stay below: their numbers among those of all branches are exact. */
const IDS = 2 ** 32

export class TableState {
  readonly id: number
  /** Number of the branch whose table it is; 0 = main. */
  branch = 0
  private readonly context: TableContext
  private readonly schemas = new Map<number, TableSchema>()
  private structures: Structure[]
  private keys: { readonly schema: TableSchema; readonly layout: KeyLayout | undefined }
  /** Last record that changed rows or definition, queued ones included. */
  lastLsn: number
  /** How often records were taken back: what was found among queued rows before that may be wrong. */
  rewinds = 0

  private constructor(context: TableContext, schemas: readonly TableSchema[], lsn: number, lastLsn: number, nextRow: number) {
    const schema = schemas.at(-1)!
    this.id = schema.tableId
    this.context = context
    this.lastLsn = lastLsn
    for (const each of schemas) this.schemas.set(each.version, each)
    this.keys = { schema, layout: KeyLayout.of(schema) }
    this.structures = [{ lsn, schema, layer: new MemoryLayer(nextRow, KeyLayout.of(schema), context.seed), fragments: [] }]
  }

  /** Its number among the tables of all branches. */
  get uid(): number {
    return this.branch * IDS + this.id
  }

  /** Of hashes that are no format: chosen keys must not be able to collide. */
  get seed(): number {
    return this.context.seed
  }

  static create(context: TableContext, schema: TableSchema, lsn: number): TableState {
    return new TableState(context, [schema], lsn, lsn, 0)
  }

  /** From a checkpoint; rows of the memory layer are added by replay. */
  static restore(context: TableContext, table: CatalogTable, lsn: number, vectors: VectorBitmaps): TableState {
    const state = new TableState(context, table.schemas, lsn, table.lastLsn, table.flushedRow)
    const fragments = table.fragments.map((fragment) => {
      const hidden = merged(fragment.ref.rows, fragment.hidden, fragment.vector === undefined ? undefined : vectors.get(fragment.vector.digest))
      const count = fragment.hiddenCount + (fragment.vector?.hidden ?? 0)
      return state.live(fragment.lsn, fragment.ordinal, fragment.ref, new FragmentHides(fragment.ref.rows, hidden, count))
    })
    state.structures = [{ ...state.structures[0]!, fragments }]
    return state
  }

  /** As of the last change, durable or not. */
  get now(): Structure {
    return this.structures.at(-1)!
  }

  get schema(): TableSchema {
    return this.now.schema
  }

  /** The unique constraints in force. */
  get uniques(): readonly KeyLayout[] {
    return KeyLayout.uniques(this.schema)
  }

  get name(): string {
    return this.now.schema.name
  }

  /** Keys of columns in the order of `schema`. */
  get keyLayout(): KeyLayout | undefined {
    const { schema } = this.now
    // Asked several times for each commit.
    if (this.keys.schema !== schema) this.keys = { schema, layout: KeyLayout.of(schema) }
    return this.keys.layout
  }

  /** Dropped, by a record that may not be durable yet. */
  get isDropped(): boolean {
    return this.now.isDropped === true
  }

  /** Every version of the definition, ascending. */
  get versions(): readonly TableSchema[] {
    return [...this.schemas.values()]
  }

  schemaOf(version: number): TableSchema {
    const schema = this.schemas.get(version)
    assert(schema !== undefined, 'a schema version of the table', version)
    return schema
  }

  /** The table was there at `lsn`, which is not below the last settle(). */
  isAt(lsn: number): boolean {
    return this.structures[0]!.lsn <= lsn && (!this.isDropped || this.at(lsn).isDropped !== true)
  }

  at(lsn: number): Structure {
    for (let i = this.structures.length - 1; i >= 0; i--) if (this.structures[i]!.lsn <= lsn) return this.structures[i]!
    assert(false, 'a table has a structure at the LSN it is read at', { table: this.name, lsn })
  }

  /** Structures below the newest one that `head` sees are nobody's but their holders'. */
  settle(head: number): void {
    while (this.structures.length > 1 && this.structures[1]!.lsn <= head) this.structures.shift()
  }

  /** Undo what LSNs from `lsn` on did: there was no room for their records, or others took their place. `lsn` is above every LSN that was settled. */
  takeBack(lsn: number): void {
    this.rewinds++
    while (this.structures.length > 1 && this.now.lsn >= lsn) this.structures.pop()
    for (const version of this.schemas.keys()) if (version > this.schema.version) this.schemas.delete(version)
    for (const { layer, fragments } of this.structures) {
      layer.takeBack(lsn)
      for (const fragment of fragments) fragment.hides.takeBack(lsn)
    }
    this.lastLsn = Math.min(this.lastLsn, lsn - 1)
  }

  /** Apply the change of record `lsn`. `keys`: the inline rows' canonical keys, when at hand. */
  apply(lsn: number, change: TableChange, vectors: VectorBitmaps, keys?: RowKeys): void {
    this.lastLsn = lsn
    if (change.op === 'replace') {
      const { layer, schema } = this.now
      this.push({ lsn, schema, layer: new MemoryLayer(layer.next, this.keyLayout, this.context.seed), fragments: [] })
    }
    if (change.fragments !== undefined && change.fragments.length > 0) this.addFragments(lsn, change.fragments)
    for (const vector of change.deletionVectors ?? []) {
      const fragment = this.fragment(vector.lsn === 0 ? lsn : vector.lsn, vector.ordinal)
      fragment.hides.hide(fresh(vectors.get(vector.digest)!, fragment.hides.hiddenAt(lsn), fragment.ref.rows), lsn)
    }
    for (const hide of change.hides ?? []) this.hide(lsn, hide)
    const { layer } = this.now
    if (change.hideRows !== undefined) for (let i = 0; i < change.hideRows.length; i++) layer.hide(change.hideRows[i]!, lsn)
    if (change.inline !== undefined && change.inline.rows > 0) {
      const { bytes, start, end, rows } = change.inline
      layer.appendInline({ bytes, at: start, end }, rows, lsn, this.schemaOf(change.schemaVersion), keys)
    }
  }

  /** The next version of the definition: rows stay as they are, and are read through it. */
  alter(lsn: number, schema: TableSchema): void {
    assert(schema.version === this.schema.version + 1, 'versions of a definition are dense', { version: schema.version, after: this.schema.version })
    this.lastLsn = lsn
    this.schemas.set(schema.version, schema)
    this.push({ ...this.now, lsn, schema })
  }

  drop(lsn: number): void {
    const { layer, schema } = this.now
    this.lastLsn = lsn
    this.push({ lsn, schema, layer: new MemoryLayer(layer.next, this.keyLayout, this.context.seed), fragments: [], isDropped: true })
  }

  /** Nobody but holders of older versions sees it any more. */
  get isGone(): boolean {
    return this.structures.length === 1 && this.isDropped
  }

  /** Only what fills the memory layer: for records that a checkpoint has folded already. */
  applyRows(lsn: number, change: TableChange): void {
    const { layer } = this.now
    if (change.hideRows !== undefined) for (let i = 0; i < change.hideRows.length; i++) if (layer.has(change.hideRows[i]!)) layer.hide(change.hideRows[i]!, lsn)
    if (change.inline !== undefined && change.inline.rows > 0) {
      const { bytes, start, end, rows } = change.inline
      layer.appendInline({ bytes, at: start, end }, rows, lsn, this.schemaOf(change.schemaVersion))
    }
  }

  applyFlush(lsn: number, record: FlushRecord): void {
    const { layer, schema } = this.now
    const moved = new Set<MemoryChunk>(layer.chunks.filter((chunk) => chunk.base + chunk.rows <= record.uptoRow))
    // The writer cuts where a chunk ends; a follower's chunks end elsewhere: it hides the moved rows of the chunk that stays.
    layer.hideBelow(record.uptoRow, moved, lsn)
    this.push({ lsn, schema, layer: layer.without(moved), fragments: this.now.fragments.map(forked) })
    this.addFragments(lsn, record.fragments)
    for (const vector of record.deletionVectors) {
      const { count } = this.fragment(vector.lsn, vector.ordinal).hides
      assert(count === vector.hidden, 'a vector of a flush holds what is hidden already', { hidden: count, stated: vector.hidden })
    }
    for (const hide of record.hides) this.hide(lsn, hide)
  }

  /** Parts of one record are applied one after the other; older structures keep the removed fragments, for whoever reads below `lsn`. */
  applyOptimize(lsn: number, part: OptimizedPart): void {
    const { now } = this
    const isFirst = now.lsn !== lsn
    const first = isFirst ? 0 : now.fragments.reduce((next, fragment) => (fragment.lsn === lsn ? Math.max(next, fragment.ordinal + 1) : next), 0)
    const made = part.fragments.map((ref, i) => this.live(lsn, first + i, ref, new FragmentHides(ref.rows)))
    const refs = new Map(part.reindexed.map((each) => [`${each.lsn}.${each.ordinal}`, each.ref]))
    const kept = now.fragments.map((fragment) => {
      const ref = refs.get(`${fragment.lsn}.${fragment.ordinal}`)
      const own = isFirst ? forked(fragment) : fragment
      if (ref === undefined) return own
      const live = this.live(fragment.lsn, fragment.ordinal, ref, own.hides)
      // A damaged file may have been made again under its own name: then this is the reader that gave it up.
      live.reader.indexes.trust()
      return live
    })
    this.push({ ...now, lsn, fragments: exchanged(kept, part.removes, made) })
    for (const hide of part.hides) this.hide(lsn, hide)
  }

  version(lsn: number, structure: Structure = this.at(lsn)): TableVersion {
    const groups: SourceGroup[] = []
    for (const { lsn: born, ordinal, ref, hides, reader } of structure.fragments) {
      groups.push(fragmentGroup(reader, `${born}.${ordinal}`, (start, end) => hides.liveAt(lsn, start, end), ref.rows - hides.countAt(lsn), structure.schema))
    }
    const memory = structure.layer.group(lsn, (column, rows) => this.context.missingColumn(column, rows))
    if (memory.rows > 0) groups.push(memory)
    let liveRows: number | undefined
    return {
      lsn: BigInt(lsn),
      schema: structure.schema,
      get liveRows() {
        return (liveRows ??= groups.reduce((sum, group) => sum + group.liveRows, 0))
      },
      groups,
    }
  }

  fragment(lsn: number, ordinal: number): LiveFragment {
    for (const fragment of this.now.fragments) if (fragment.lsn === lsn && fragment.ordinal === ordinal) return fragment
    assert(false, 'a change names a fragment of its table', { table: this.name, fragment: `${lsn}.${ordinal}` })
  }

  /** Live rows with everything queued. */
  liveRowsNow(): number {
    const { fragments, layer } = this.now
    let rows = layer.liveRows
    for (const fragment of fragments) rows += fragment.ref.rows - fragment.hides.count
    return rows
  }

  /** Columns of a chunk of the memory layer as it is now. */
  chunkVecs(chunk: MemoryChunk, columns: readonly ColumnDef[]): readonly Vec[] {
    return columns.map((column) => chunk.view(column, chunk.rows, (missing, rows) => this.context.missingColumn(missing, rows)))
  }

  readPlace(place: Place, columns: readonly ColumnDef[], blocking: boolean): RowVecs | Promise<RowVecs> {
    const missing = (column: ColumnDef, rows: number): Vec => this.context.missingColumn(column, rows)
    return blocking ? readPlaceSync(this.now, place, columns, missing) : readPlace(this.now, place, columns, missing)
  }

  private hide(lsn: number, hide: HideList): void {
    const fragment = this.fragment(hide.lsn === 0 ? lsn : hide.lsn, hide.ordinal)
    fragment.hides.hide(hide.rows, lsn)
    if (fragment.hides.isLong) this.push({ ...this.now, lsn, fragments: this.now.fragments.map((each) => (each === fragment ? forked(each) : each)) })
  }

  private addFragments(lsn: number, refs: readonly FragmentRef[]): void {
    const added = refs.map((ref, ordinal) => this.live(lsn, ordinal, ref, new FragmentHides(ref.rows)))
    this.push({ ...this.now, lsn, fragments: [...this.now.fragments, ...added] })
  }

  private live(lsn: number, ordinal: number, ref: FragmentRef, hides: FragmentHides): LiveFragment {
    return { lsn, ordinal, ref, hides, reader: this.context.readerOf(ref, this) }
  }

  private push(structure: Structure): void {
    if (this.now.lsn === structure.lsn) this.structures[this.structures.length - 1] = structure
    else this.structures.push(structure)
  }
}

function forked(fragment: LiveFragment): LiveFragment {
  return { ...fragment, hides: fragment.hides.fork() }
}

/** Rows of either bitmap, in a new one for all rows; undefined when there is neither. */
function merged(rows: number, a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array | undefined {
  if (a === undefined && b === undefined) return undefined
  return a === undefined || b === undefined ? copyPadded((a ?? b)!, rows) : bitmapOr(a, b, rows)
}

/** Rows of `vector` that `hidden` does not hold yet, ascending. */
function fresh(vector: Uint8Array, hidden: Uint8Array | undefined, rows: number): Uint32Array {
  return bitmapToIndices(hidden === undefined ? copyPadded(vector, rows) : bitmapAndNot(vector, hidden, rows), rows)
}
