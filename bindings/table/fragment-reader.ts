// table/fragment-reader.ts: one fragment, read page by page through the column cache: columns of a batch, and rows by key.
//
// One reader per fragment file, shared by all snapshots. The footer is read once, then only the pages asked for; look-ups by key are table/fragment-keys.ts.
// Invariant: nothing is believed unchecked (table/fragment-pages.ts).
import { fragmentName } from '../format/index.ts'
import type { CheckedPage, ColumnDef, ColumnType, FragmentRef, TableSchema } from '../format/index.ts'
import type { KeyIndex } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { Root } from '../root/index.ts'
import type { LogEvent } from '../runtime/index.ts'
import type { ColumnStats } from './batch.ts'
import { fitStats, fitVec } from './column-fit.ts'
import type { CacheEntry, CacheSlots, ColumnCache } from './column-cache.ts'
import { FragmentIndexes } from './fragment-indexes.ts'
import { type Accept, type FoundRow, FragmentKeys } from './fragment-keys.ts'
import { corrupt, decodePage, pageBytes, pageLayout, parseFooter, planRanges, ROW_GAP_BYTES } from './fragment-pages.ts'
import type { ByteRange, FragmentFooter } from './fragment-pages.ts'
import type { KeyLayout } from './key-layout.ts'
import type { RowKeys } from './memory-index.ts'
import { bytesOfVec } from './vec-views.ts'

export interface FragmentReaderOptions {
  readonly root: Root
  readonly ref: FragmentRef
  /** Any version of the table since the fragment was written: key and column types. */
  readonly schema: TableSchema
  readonly cache: ColumnCache
  /** A column of rows older than it: its default or nulls. */
  readonly missing: (column: ColumnDef, rows: number) => Vec
  readonly log?: (event: LogEvent) => void
}

/** Pages asked for together: a column's page of a batch, or (batch -1) its dictionary. */
interface Wanted {
  readonly batch: number
  readonly place: number
}

export class FragmentReader {
  readonly ref: FragmentRef
  readonly file: string
  readonly batchCount: number
  /** The declared ones. */
  readonly indexes: FragmentIndexes
  readonly #o: FragmentReaderOptions
  readonly #keys: FragmentKeys
  /** Of unique constraints, by layout id, those that were asked. */
  readonly #uniques = new Map<string, FragmentKeys>()
  readonly #stats: ReadonlyMap<number, ColumnStats>
  readonly #slots: CacheSlots = []
  readonly #loading = new Map<number, Promise<Vec>>()
  readonly #constants = new Map<number, { readonly column: ColumnDef; readonly vec: Vec }>()
  #footer: FragmentFooter | undefined
  #footerLoading: Promise<FragmentFooter> | undefined

  constructor(o: FragmentReaderOptions) {
    this.#o = o
    this.ref = o.ref
    this.file = fragmentName(o.ref.digest, o.ref.gen)
    this.batchCount = Math.ceil(o.ref.rows / o.ref.batchRows)
    this.#stats = new Map(o.ref.columns.map((stats) => [stats.id, fitStats(stats, o.schema)]))
    this.#keys = new FragmentKeys(this, o)
    this.indexes = new FragmentIndexes(o)
  }

  /** Rows of a batch. */
  rowsOf(batch: number): number {
    return Math.min(this.ref.batchRows, this.ref.rows - batch * this.ref.batchRows)
  }

  /** Statistics over the fragment; they cover hidden rows too. */
  stats(columnId: number): ColumnStats | undefined {
    return this.#stats.get(columnId)
  }

  /** Statistics over one batch; undefined until the footer was read. */
  batchStats(batch: number, columnId: number): ColumnStats | undefined {
    const place = this.#footer?.places.get(columnId)
    return place === undefined ? undefined : fitStats({ ...this.#footer!.directory.batches[batch]!.stats[place]!, id: columnId }, this.#o.schema)
  }

  /** What a column was declared as when the fragment was written; undefined: it is newer. */
  typeOf(columnId: number): ColumnType | undefined {
    return this.#o.schema.columns.find((column) => column.id === columnId)?.type
  }

  /** Stored bytes of these columns. */
  bytesOf(columns: readonly ColumnDef[]): number {
    let bytes = 0
    for (const column of columns) bytes += this.ref.columns.find((stored) => stored.id === column.id)?.bytes ?? 0
    return bytes
  }

  /** Everything asked is in memory. */
  ready(batch: number, columns: readonly ColumnDef[]): boolean {
    const footer = this.#footer
    if (footer === undefined) return false
    for (const column of columns) {
      const place = footer.places.get(column.id)
      if (place !== undefined && this.#slots[this.#slot(batch, place)] === undefined) return false
    }
    return true
  }

  /** As load, for the sake of one row: in as few requests as can be. */
  loadRow(batch: number, columns: readonly ColumnDef[]): Promise<readonly Vec[]> {
    return this.load(batch, columns, undefined, ROW_GAP_BYTES)
  }

  /** @throws CorruptionError fragment.corrupt; StorageError */
  async load(batch: number, columns: readonly ColumnDef[], signal?: AbortSignal, gapBytes?: number): Promise<readonly Vec[]> {
    const footer = this.#footer ?? (await this.#openFooter())
    const { vecs, wanted } = this.#cached(footer, batch, columns)
    if (wanted.length === 0) return vecs as readonly Vec[]
    signal?.throwIfAborted()
    const fetched = new Map(await Promise.all(this.#fetch(footer, wanted, gapBytes).map(async ([slot, vec]) => [slot, await vec] as const)))
    return columns.map((column, i) => vecs[i] ?? this.#fit(footer, column, fetched.get(this.#slot(batch, footer.places.get(column.id)!))!))
  }

  /** As load, blocking; memory and local roots. */
  loadSync(batch: number, columns: readonly ColumnDef[]): readonly Vec[] {
    const footer = this.#footer ?? this.#openFooterSync()
    const { vecs, wanted } = this.#cached(footer, batch, columns)
    if (wanted.length === 0) return vecs as readonly Vec[]
    const fetched = this.#fetchSync(footer, wanted)
    return columns.map((column, i) => vecs[i] ?? this.#fit(footer, column, fetched.get(this.#slot(batch, footer.places.get(column.id)!))!))
  }

  /** The entry of a column's page in the cache; undefined when it must be read. Counts as a use. */
  cached(batch: number, columnId: number): CacheEntry | undefined {
    const place = this.#footer?.places.get(columnId)
    const entry = place === undefined ? undefined : this.#slots[this.#slot(batch, place)]
    if (entry !== undefined) this.#o.cache.touch(entry)
    return entry
  }

  /** The footer is in memory. */
  get isOpen(): boolean {
    return this.#footer !== undefined
  }

  /** Reads the footer, so that statistics by batch are there. */
  async open(): Promise<void> {
    if (this.#footer === undefined) await this.#openFooter()
  }

  openSync(): void {
    if (this.#footer === undefined) this.#openFooterSync()
  }

  // Look-ups are by the key, or by the tuple of a unique constraint where `layout` is one: then `accept` says which rows count.

  #by(layout: KeyLayout | undefined): FragmentKeys {
    if (layout === undefined || layout.isKey) return this.#keys
    let keys = this.#uniques.get(layout.id)
    if (keys === undefined) this.#uniques.set(layout.id, (keys = new FragmentKeys(this, this.#o, layout.fit(this.#o.schema))))
    return keys
  }

  /** False: the fragment holds no such key, by the bounds of the first key column. No I/O. `key`: canonical bytes. */
  mayHold(key: Uint8Array, layout?: KeyLayout): boolean {
    return this.#by(layout).mayHold(key)
  }

  /** Those of `asked` (numbers of `keys`, in order) that the bounds of the first key column do not rule out. `ascending`: by key. No I/O. */
  within(keys: RowKeys, asked: Uint32Array, ascending: boolean, layout?: KeyLayout): Uint32Array {
    return this.#by(layout).within(keys, asked, ascending)
  }

  /** True: the key of this hash is certainly not here, by the index in memory. False says nothing. No I/O. */
  lacks(low: number, high: number, layout?: KeyLayout): boolean {
    const lacks = this.#by(layout).lacks(low, high)
    if (lacks) this.#o.cache.filterSkips++
    return lacks
  }

  /** The row of a key in the fragment, live or not; -1 when it is not there. A promise only when something must be read first: then `want` is read along. `low`, `high`: XXH3-64 of `key`. */
  lookup(low: number, high: number, key: Uint8Array, layout?: KeyLayout, accept?: Accept, want?: readonly ColumnDef[]): number | Promise<FoundRow> {
    return this.#by(layout).lookup(low, high, key, accept, want)
  }

  /** As lookup, of many keys at once: of each asked one its row, or NO_ROW. `hashes`: of all keys; `asked`: which of them. */
  lookupMany(keys: RowKeys, hashes: Uint32Array, asked: Uint32Array, layout?: KeyLayout, accept?: Accept): Promise<Uint32Array> {
    return this.#by(layout).lookupMany(keys, hashes, asked, accept)
  }

  /** The same without I/O; undefined when something must be read first. */
  lookupManyNow(keys: RowKeys, hashes: Uint32Array, asked: Uint32Array, layout?: KeyLayout, accept?: Accept): Uint32Array | undefined {
    return this.#by(layout).lookupManyNow(keys, hashes, asked, accept)
  }

  /** As lookup, blocking; memory and local roots. */
  lookupSync(low: number, high: number, key: Uint8Array, layout?: KeyLayout, accept?: Accept): number {
    return this.#by(layout).lookupSync(low, high, key, accept)
  }

  /** Reads the index, so that look-ups of absent keys need no I/O. */
  openIndex(layout?: KeyLayout): Promise<KeyIndex> {
    return this.#by(layout).open()
  }

  /** The index is in memory. */
  isIndexed(layout?: KeyLayout): boolean {
    return this.#by(layout).isOpen
  }

  openIndexSync(): KeyIndex {
    return this.#keys.openSync()
  }

  /** Gives its share of the cache back. */
  close(): void {
    this.#o.cache.drop(this.#slots)
    this.indexes.close()
  }

  #slot(batch: number, place: number): number {
    // Batch -1 holds the dictionaries.
    return (batch + 1) * this.ref.columns.length + place
  }

  /** The columns that are in memory, undefined in the place of the others; and what to fetch for those. */
  #cached(footer: FragmentFooter, batch: number, columns: readonly ColumnDef[]): { vecs: readonly (Vec | undefined)[]; wanted: readonly Wanted[] } {
    let wanted = NOTHING
    const vecs: (Vec | undefined)[] = []
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i]!
      const place = footer.places.get(column.id)
      const entry = place === undefined ? undefined : this.#slots[this.#slot(batch, place)]
      if (place === undefined) vecs.push(this.#constant(column, this.rowsOf(batch)))
      else if (entry === undefined) {
        if (wanted === NOTHING) wanted = []
        wanted.push({ batch, place })
        vecs.push(undefined)
      } else {
        this.#o.cache.touch(entry)
        vecs.push(fitVec(entry.vec, footer.fields[place]!.type, column))
      }
    }
    return { vecs, wanted }
  }

  #fit(footer: FragmentFooter, column: ColumnDef, vec: Vec): Vec {
    return fitVec(vec, footer.fields[footer.places.get(column.id)!]!.type, column)
  }

  #constant(column: ColumnDef, rows: number): Vec {
    const key = column.id * 2 + (rows === this.ref.batchRows ? 0 : 1)
    const held = this.#constants.get(key)
    if (held?.column === column) return held.vec
    const vec = this.#o.missing(column, rows)
    this.#constants.set(key, { column, vec })
    return vec
  }

  /** One promise per page asked for, by slot; pages under way are shared. */
  #fetch(footer: FragmentFooter, wanted: readonly Wanted[], gapBytes: number | undefined): (readonly [slot: number, vec: Promise<Vec>])[] {
    const fresh = this.#withDictionaries(footer, wanted).filter(({ batch, place }) => !this.#loading.has(this.#slot(batch, place)))
    if (fresh.length > 0) {
      const done = this.#read(footer, fresh, gapBytes)
      for (const { batch, place } of fresh) {
        const slot = this.#slot(batch, place)
        const vec = done.then((vecs) => vecs.get(slot)!)
        // Whoever asked sees the failure; a dictionary that nobody awaits must not become an unhandled rejection.
        vec.catch(() => {})
        this.#loading.set(slot, vec)
        done.then(
          () => this.#loading.delete(slot),
          () => this.#loading.delete(slot),
        )
      }
    }
    return wanted.map(({ batch, place }) => {
      const slot = this.#slot(batch, place)
      return [slot, this.#loading.get(slot)!] as const
    })
  }

  async #read(footer: FragmentFooter, wanted: readonly Wanted[], gapBytes: number | undefined): Promise<Map<number, Vec>> {
    // Taken before anything is awaited: a dictionary that is put out meanwhile is still ours, and only earlier reads are waited for.
    const dictionaries = new Map<number, Vec>()
    const pending: Promise<unknown>[] = []
    for (const { place } of wanted) {
      const slot = this.#slot(-1, place)
      const held = this.#slots[slot]
      if (held !== undefined) dictionaries.set(slot, held.vec)
      else if (this.#loading.has(slot)) pending.push(this.#loading.get(slot)!.then((vec) => dictionaries.set(slot, vec)))
    }
    const ranges = planRanges(
      wanted.map((each) => this.#page(footer, each)),
      gapBytes,
    )
    // All at once: whichever fails first, none is left unheard.
    const [fetched] = await Promise.all([Promise.all(ranges.map((range) => this.#get(range))), Promise.all(pending)])
    return this.#decode(footer, wanted, ranges, fetched, dictionaries)
  }

  #fetchSync(footer: FragmentFooter, wanted: readonly Wanted[]): Map<number, Vec> {
    const all = this.#withDictionaries(footer, wanted)
    const dictionaries = new Map<number, Vec>()
    for (const { place } of wanted) {
      const held = this.#slots[this.#slot(-1, place)]
      if (held !== undefined) dictionaries.set(this.#slot(-1, place), held.vec)
    }
    const ranges = planRanges(all.map((each) => this.#page(footer, each)))
    const fetched = ranges.map((range) => this.#getSync(range))
    return this.#decode(footer, all, ranges, fetched, dictionaries)
  }

  /** The dictionaries first that the wanted pages need and memory lacks. */
  #withDictionaries(footer: FragmentFooter, wanted: readonly Wanted[]): Wanted[] {
    const places = new Set<number>()
    for (const { place } of wanted) if (footer.fields[place]!.dictionary !== undefined && this.#slots[this.#slot(-1, place)] === undefined) places.add(place)
    return [...[...places].map((place) => ({ batch: -1, place })), ...wanted]
  }

  #page(footer: FragmentFooter, { batch, place }: Wanted): CheckedPage {
    return batch < 0 ? footer.directory.columns[place]!.dictionary! : footer.directory.batches[batch]!.pages[place]!
  }

  #decode(
    footer: FragmentFooter,
    wanted: readonly Wanted[],
    ranges: readonly ByteRange[],
    fetched: readonly Uint8Array[],
    dictionaries: ReadonlyMap<number, Vec>,
  ): Map<number, Vec> {
    const vecs = new Map<number, Vec>(dictionaries)
    const { cache } = this.#o
    for (const each of wanted) {
      const { batch, place } = each
      const field = footer.fields[place]!
      const page = this.#page(footer, each)
      const bytes = pageBytes(page, ranges, fetched)
      const slot = this.#slot(batch, place)
      if (batch < 0) {
        const dictionary = decodePage(this.file, `dictionary of ${field.name}`, page, { kind: 'var' }, bytes)
        vecs.set(slot, dictionary)
        cache.put(this.#slots, slot, dictionary, bytesOfVec(dictionary))
        continue
      }
      const stored = decodePage(this.file, `column ${field.name} of batch ${batch}`, page, pageLayout(field), bytes)
      if (field.dictionary === undefined) {
        vecs.set(slot, stored)
        cache.put(this.#slots, slot, stored, bytesOfVec(stored))
        continue
      }
      const home = this.#slot(-1, place)
      const held = this.#slots[home]
      if (held !== undefined) cache.touch(held)
      const dictionary = vecs.get(home)
      if (dictionary === undefined) throw corrupt(this.file, page.offset, `column ${field.name} has no dictionary`)
      const vec: Vec = { ...stored, layout: { kind: 'dict', width: field.dictionary.width }, dictionary }
      vecs.set(slot, vec)
      cache.put(this.#slots, slot, vec, bytesOfVec(stored))
    }
    return vecs
  }

  async #get({ start, end }: ByteRange): Promise<Uint8Array> {
    try {
      return (await this.#o.root.get(this.file, { range: { start, end }, immutable: true })).bytes
    } catch (cause) {
      throw this.#truncated(cause, start)
    }
  }

  #getSync({ start, end }: ByteRange): Uint8Array {
    try {
      return this.#o.root.getSync(this.file, { range: { start, end }, immutable: true }).bytes
    } catch (cause) {
      throw this.#truncated(cause, start)
    }
  }

  #truncated(cause: unknown, offset: number): unknown {
    return cause instanceof RangeError ? corrupt(this.file, offset, `shorter than its ${this.ref.bytes} bytes`, cause) : cause
  }

  #openFooter(): Promise<FragmentFooter> {
    this.#footerLoading ??= this.#get(this.#footerRange())
      .then((bytes) => this.#opened(bytes))
      .finally(() => (this.#footerLoading = undefined))
    return this.#footerLoading
  }

  #openFooterSync(): FragmentFooter {
    return this.#opened(this.#getSync(this.#footerRange()))
  }

  #opened(bytes: Uint8Array): FragmentFooter {
    return (this.#footer ??= parseFooter(this.ref, bytes))
  }

  #footerRange(): ByteRange {
    return { start: this.ref.footerOffset, end: this.ref.footerOffset + this.ref.footerBytes }
  }
}

const NOTHING: Wanted[] = []
