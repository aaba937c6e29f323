// table/fragment-reader.ts: one fragment, read page by page through the column cache: columns of a batch, and rows by key.
//
// One reader per fragment file, shared by all snapshots. The footer is read once, then only the pages asked for; an index is read whole at its first use.
// Invariant: nothing is believed unchecked (table/fragment-pages.ts). An index that fails its check or is gone is rebuilt from the key columns.
import { CorruptionError, StorageError } from '../errors.ts'
import { DecodeError, fragmentName, indexName } from '../format/index.ts'
import type { CheckedPage, ColumnDef, FragmentRef, TableSchema } from '../format/index.ts'
import { BINARY_SEARCH, compareKey, decodeKeyIndex, encodeKeyIndex, keyHashes, keyParts } from '../indexes/index.ts'
import type { KeyIndex, KeyPart } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { Root } from '../root/index.ts'
import type { LogEvent } from '../runtime/index.ts'
import type { ColumnStats } from './batch.ts'
import { fitStats, fitVec } from './column-fit.ts'
import type { CacheSlots, ColumnCache } from './column-cache.ts'
import { corrupt, decodePage, pageBytes, pageLayout, parseFooter, planRanges } from './fragment-pages.ts'
import type { ByteRange, FragmentFooter } from './fragment-pages.ts'
import { KeyBounds } from './key-bounds.ts'
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
  readonly #o: FragmentReaderOptions
  readonly #parts: readonly KeyPart[]
  readonly #keyColumns: readonly ColumnDef[]
  readonly #bounds: KeyBounds
  readonly #stats: ReadonlyMap<number, ColumnStats>
  readonly #slots: CacheSlots = []
  readonly #loading = new Map<number, Promise<Vec>>()
  readonly #constants = new Map<number, Vec>()
  #footer: FragmentFooter | undefined
  #footerLoading: Promise<FragmentFooter> | undefined
  #batchBounds: readonly KeyBounds[] | undefined
  #index: KeyIndex | undefined
  #indexLoading: Promise<KeyIndex> | undefined

  constructor(o: FragmentReaderOptions) {
    this.#o = o
    this.ref = o.ref
    this.file = fragmentName(o.ref.digest)
    this.batchCount = Math.ceil(o.ref.rows / o.ref.batchRows)
    this.#parts = keyParts(o.schema)
    this.#keyColumns = this.#parts.map((part) => o.schema.columns[part.index]!)
    this.#stats = new Map(o.ref.columns.map((stats) => [stats.id, fitStats(stats, o.schema)]))
    this.#bounds = new KeyBounds(this.#parts, this.#stats.get(this.#keyColumns[0]?.id ?? -1))
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

  /** @throws CorruptionError fragment.corrupt; StorageError */
  async load(batch: number, columns: readonly ColumnDef[], signal?: AbortSignal): Promise<readonly Vec[]> {
    const footer = this.#footer ?? (await this.#openFooter())
    const wanted: Wanted[] = []
    const vecs = columns.map((column) => this.#cached(footer, batch, column, wanted))
    if (wanted.length === 0) return vecs as readonly Vec[]
    signal?.throwIfAborted()
    const fetched = new Map(await Promise.all(this.#fetch(footer, wanted).map(async ([slot, vec]) => [slot, await vec] as const)))
    return columns.map((column, i) => vecs[i] ?? this.#fit(footer, column, fetched.get(this.#slot(batch, footer.places.get(column.id)!))!))
  }

  /** As load, blocking; memory and local roots. */
  loadSync(batch: number, columns: readonly ColumnDef[]): readonly Vec[] {
    const footer = this.#footer ?? this.#openFooterSync()
    const wanted: Wanted[] = []
    const vecs = columns.map((column) => this.#cached(footer, batch, column, wanted))
    if (wanted.length === 0) return vecs as readonly Vec[]
    const fetched = this.#fetchSync(footer, wanted)
    return columns.map((column, i) => vecs[i] ?? this.#fit(footer, column, fetched.get(this.#slot(batch, footer.places.get(column.id)!))!))
  }

  /** The key's columns of a batch, in key order. */
  keyColumns(batch: number): Promise<readonly Vec[]> {
    return this.load(batch, this.#keyColumns)
  }

  keyColumnsSync(batch: number): readonly Vec[] {
    return this.loadSync(batch, this.#keyColumns)
  }

  /** False: the fragment holds no such key, by the bounds of the first key column. No I/O. */
  mayHold(key: Uint8Array): boolean {
    return this.#bounds.mayHold(key)
  }

  /**
   * The row of a key in the fragment, live or not; -1 when it is not there. A promise only when something must be read first.
   *
   * @param low, high  XXH3-64 of `key`, its canonical bytes
   */
  lookup(low: number, high: number, key: Uint8Array): number | Promise<number> {
    if (this.#index !== undefined) {
      const found = this.#find(this.#index, low, high, key, undefined)
      if (found >= -1) return found
    }
    return this.#lookupSlow(low, high, key)
  }

  async #lookupSlow(low: number, high: number, key: Uint8Array): Promise<number> {
    const index = this.#index ?? (await this.#openIndex())
    const held = new Map<number, readonly Vec[]>()
    for (;;) {
      const found = this.#find(index, low, high, key, held)
      if (found >= -1) return found
      if (this.#footer === undefined) await this.#openFooter()
      else held.set(-2 - found, await this.keyColumns(-2 - found))
    }
  }

  /** As lookup, blocking; memory and local roots. */
  lookupSync(low: number, high: number, key: Uint8Array): number {
    const index = this.#index ?? this.#openIndexSync()
    const found = this.#find(index, low, high, key, undefined)
    if (found >= -1) return found
    const held = new Map<number, readonly Vec[]>()
    for (;;) {
      const again = this.#find(index, low, high, key, held)
      if (again >= -1) return again
      if (this.#footer === undefined) this.#openFooterSync()
      else held.set(-2 - again, this.keyColumnsSync(-2 - again))
    }
  }

  /** Index and footer in memory. */
  get hasIndex(): boolean {
    return this.#index !== undefined
  }

  /** Reads the key index (and the footer), so that look-ups of absent keys need no I/O. */
  async openIndex(): Promise<KeyIndex> {
    if (this.#footer === undefined) await this.#openFooter()
    return this.#index ?? (await this.#openIndex())
  }

  openIndexSync(): KeyIndex {
    if (this.#footer === undefined) this.#openFooterSync()
    return this.#index ?? this.#openIndexSync()
  }

  /** Gives its share of the cache back. */
  close(): void {
    this.#o.cache.drop(this.#slots)
  }

  /** Row, -1 for none, or -2 - batch when the key columns of that batch (or the footer) must be read first. */
  #find(index: KeyIndex, low: number, high: number, key: Uint8Array, held: ReadonlyMap<number, readonly Vec[]> | undefined): number {
    const count = index.probe(low, high)
    if (count === BINARY_SEARCH) return this.#search(key, held)
    const { hits } = index
    const { batchRows } = this.ref
    for (let i = 0; i < count; i++) {
      const row = hits[i]!
      const batch = Math.floor(row / batchRows)
      const vecs = held?.get(batch) ?? this.#readyKeys(batch)
      if (vecs === undefined) return -2 - batch
      if (compareKey(this.#parts, vecs, row - batch * batchRows, key) === 0) return row
    }
    return -1
  }

  /** Binary search in a fragment that is sorted by its key. */
  #search(key: Uint8Array, held: ReadonlyMap<number, readonly Vec[]> | undefined): number {
    const footer = this.#footer
    if (footer === undefined) return -2
    this.#batchBounds ??= footer.directory.batches.map((_, batch) => new KeyBounds(this.#parts, this.batchStats(batch, this.#keyColumns[0]!.id)))
    const bounds = this.#batchBounds
    const { batchRows, rows } = this.ref
    let first = 0
    while (first < bounds.length && !bounds[first]!.mayHold(key)) first++
    if (first === bounds.length) return -1
    let last = bounds.length - 1
    while (!bounds[last]!.mayHold(key)) last--
    let start = first * batchRows
    let end = Math.min(rows, (last + 1) * batchRows)
    let batch = -1
    let vecs: readonly Vec[] = []
    while (start < end) {
      const mid = (start + end) >>> 1
      const at = Math.floor(mid / batchRows)
      if (at !== batch) {
        const keys = held?.get(at) ?? this.#readyKeys(at)
        if (keys === undefined) return -2 - at
        vecs = keys
        batch = at
      }
      const order = compareKey(this.#parts, vecs, mid - at * batchRows, key)
      if (order === 0) return mid
      if (order < 0) start = mid + 1
      else end = mid
    }
    return -1
  }

  #readyKeys(batch: number): readonly Vec[] | undefined {
    return this.ready(batch, this.#keyColumns) ? this.loadSync(batch, this.#keyColumns) : undefined
  }

  #slot(batch: number, place: number): number {
    // Batch -1 holds the dictionaries.
    return (batch + 1) * this.ref.columns.length + place
  }

  /** The column from memory, or undefined after noting what to fetch. */
  #cached(footer: FragmentFooter, batch: number, column: ColumnDef, wanted: Wanted[]): Vec | undefined {
    const place = footer.places.get(column.id)
    if (place === undefined) return this.#constant(column, this.rowsOf(batch))
    const entry = this.#slots[this.#slot(batch, place)]
    if (entry === undefined) {
      wanted.push({ batch, place })
      return undefined
    }
    this.#o.cache.touch(entry)
    return this.#fit(footer, column, entry.vec)
  }

  #fit(footer: FragmentFooter, column: ColumnDef, vec: Vec): Vec {
    return fitVec(vec, footer.fields[footer.places.get(column.id)!]!.type, column)
  }

  #constant(column: ColumnDef, rows: number): Vec {
    const key = column.id * 2 + (rows === this.ref.batchRows ? 0 : 1)
    let vec = this.#constants.get(key)
    if (vec === undefined) this.#constants.set(key, (vec = this.#o.missing(column, rows)))
    return vec
  }

  /** One promise per page asked for, by slot; pages under way are shared. */
  #fetch(footer: FragmentFooter, wanted: readonly Wanted[]): (readonly [slot: number, vec: Promise<Vec>])[] {
    const fresh = this.#withDictionaries(footer, wanted).filter(({ batch, place }) => !this.#loading.has(this.#slot(batch, place)))
    if (fresh.length > 0) {
      const done = this.#read(footer, fresh)
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

  async #read(footer: FragmentFooter, wanted: readonly Wanted[]): Promise<Map<number, Vec>> {
    // Taken before anything is awaited: a dictionary that is put out meanwhile is still ours, and only earlier reads are waited for.
    const dictionaries = new Map<number, Vec>()
    const pending: Promise<unknown>[] = []
    for (const { place } of wanted) {
      const slot = this.#slot(-1, place)
      const held = this.#slots[slot]
      if (held !== undefined) dictionaries.set(slot, held.vec)
      else if (this.#loading.has(slot)) pending.push(this.#loading.get(slot)!.then((vec) => dictionaries.set(slot, vec)))
    }
    const ranges = planRanges(wanted.map((each) => this.#page(footer, each)))
    const fetched = await Promise.all(ranges.map((range) => this.#get(range)))
    await Promise.all(pending)
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
      return (await this.#o.root.get(this.file, { range: { start, end } })).bytes
    } catch (cause) {
      throw this.#truncated(cause, start)
    }
  }

  #getSync({ start, end }: ByteRange): Uint8Array {
    try {
      return this.#o.root.getSync(this.file, { range: { start, end } }).bytes
    } catch (cause) {
      throw this.#truncated(cause, start)
    }
  }

  #truncated(cause: unknown, offset: number): unknown {
    return cause instanceof RangeError ? corrupt(this.file, offset, `shorter than its ${this.ref.bytes} bytes`, cause) : cause
  }

  #openFooter(): Promise<FragmentFooter> {
    this.#footerLoading ??= this.#get(this.#footerRange())
      .then((bytes) => (this.#footer ??= parseFooter(this.ref, bytes)))
      .finally(() => (this.#footerLoading = undefined))
    return this.#footerLoading
  }

  #openFooterSync(): FragmentFooter {
    return (this.#footer ??= parseFooter(this.ref, this.#getSync(this.#footerRange())))
  }

  #footerRange(): ByteRange {
    return { start: this.ref.footerOffset, end: this.ref.footerOffset + this.ref.footerBytes }
  }

  #openIndex(): Promise<KeyIndex> {
    this.#indexLoading ??= this.#readIndex().finally(() => (this.#indexLoading = undefined))
    return this.#indexLoading
  }

  async #readIndex(): Promise<KeyIndex> {
    const { index } = this.ref
    let why: unknown
    try {
      if (index !== undefined) return (this.#index = decodeKeyIndex((await this.#o.root.get(indexName(index.digest))).bytes, this.ref.rows))
    } catch (cause) {
      why = this.#rebuildable(cause)
    }
    const batches: (readonly Vec[])[] = []
    for (let batch = 0; batch < this.batchCount; batch++) batches.push(await this.keyColumns(batch))
    return (this.#index = this.#rebuilt(batches, why))
  }

  #openIndexSync(): KeyIndex {
    const { index } = this.ref
    let why: unknown
    try {
      if (index !== undefined) return (this.#index = decodeKeyIndex(this.#o.root.getSync(indexName(index.digest)).bytes, this.ref.rows))
    } catch (cause) {
      why = this.#rebuildable(cause)
    }
    const batches: (readonly Vec[])[] = []
    for (let batch = 0; batch < this.batchCount; batch++) batches.push(this.keyColumnsSync(batch))
    return (this.#index = this.#rebuilt(batches, why))
  }

  /** Damage or absence: the index is only a cache of the fragment. */
  #rebuildable(cause: unknown): unknown {
    const isGone = cause instanceof StorageError && (cause.class === 'notFound' || cause.class === 'corrupt')
    if (cause instanceof DecodeError || cause instanceof CorruptionError || isGone) return cause
    throw cause
  }

  #rebuilt(batches: readonly (readonly Vec[])[], why: unknown): KeyIndex {
    const { index, rows, sorted } = this.ref
    const hashes = new Uint32Array(2 * rows)
    let at = 0
    for (const vecs of batches) {
      const count = vecs[0]!.length
      hashes.set(keyHashes(this.#parts, vecs, count).subarray(0, 2 * count), at)
      at += 2 * count
    }
    const file = index === undefined ? 'none' : indexName(index.digest)
    this.#o.log?.({ level: 'warn', code: 'index.rebuilt', file, fragment: this.file, rows, cause: String(why ?? 'no index') })
    return decodeKeyIndex(encodeKeyIndex(hashes, rows, sorted), rows)
  }
}
