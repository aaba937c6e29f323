// table/fragment-keys.ts: rows of a fragment by key, or by the tuple of a unique constraint: bounds first, then the key index, then the key columns of one batch (performance.md sections 4, 5).
//
// The index is read whole at its first use. Fragments sorted by their key have a filter for an index and are searched by bisection.
// Invariant: an answer rests on equal keys in checked columns, never on a hash. An index that is not the one its reference names, or is gone, is rebuilt from the key columns.
import { CorruptionError, StorageError } from '../errors.ts'
import { DecodeError, indexName, toHex } from '../format/index.ts'
import type { ColumnDef, FileRef } from '../format/index.ts'
import { BINARY_SEARCH, compareKey, decodeKeyIndex, encodeKeyIndex, encodeUniqueIndex, keyHashes, keyParts, SEARCH_ROW, tupleHashes } from '../indexes/index.ts'
import type { KeyIndex, KeyPart } from '../indexes/index.ts'
import { concat, NO_ROW, searchWords64, sha256, type Vec } from '../kernels/index.ts'
import type { FragmentReader, FragmentReaderOptions } from './fragment-reader.ts'
import { KeyBounds } from './key-bounds.ts'
import type { KeyLayout } from './key-layout.ts'
import { searchWords } from './key-search.ts'
import type { RowKeys } from './memory-index.ts'

/** The key columns of a batch, ready for comparing. */
interface BatchKeys {
  readonly vecs: readonly Vec[]
  /** (low, high) words of a single 64-bit integer key. */
  readonly words: Uint32Array | undefined
}

/** Says whether a row with the sought tuple is one that counts. A key is in a fragment once; the tuple of a constraint may be there again in rows that are hidden. */
export type Accept = (row: number) => boolean

/** Row of a look-up that had to read, -1: not here; with the columns that were wanted along with it, where they were read on the way. */
export interface FoundRow {
  readonly row: number
  /** Of the batch of the row. */
  readonly vecs?: readonly Vec[]
}

/** Key columns read for one look-up: they stay at hand even if the cache is too small for them. */
type HeldKeys = ReadonlyMap<number, readonly Vec[]>

/** Many keys on their way through one fragment. */
interface FragmentJoin {
  readonly keys: RowKeys
  readonly hashes: Uint32Array
  readonly asked: Uint32Array
  readonly accept: Accept | undefined
  /** Of each asked key. */
  readonly rows: Uint32Array
  /** By batch: places among the asked that may be there, and with an index of buckets the row that each names. */
  readonly places: (number[] | undefined)[]
  readonly named: (number[] | undefined)[]
  /** Places whose key several batches may hold. */
  readonly wide: number[]
  /** The next batch. */
  batch: number
}

/** Answers of `#find` below -1: -2 - batch, the batch whose key columns must be read first. */
const NONE = -1
const MUST_READ = -2
/** A batch's words are copied into kernel memory for a search when each sought key pays for this many of them. */
const KEY_REPAYS_WORDS = 512

export class FragmentKeys {
  readonly #reader: FragmentReader
  readonly #o: FragmentReaderOptions
  readonly #parts: readonly KeyPart[]
  readonly #columns: readonly ColumnDef[]
  /** Rows may be exempt: no key of the table. */
  readonly #isUnique: boolean
  readonly #file: FileRef | undefined
  /** The key is one 64-bit integer and compared by words. */
  readonly #isWord: boolean
  readonly #isSigned: boolean
  readonly #bounds: KeyBounds
  #batchBounds: readonly KeyBounds[] | undefined
  #index: KeyIndex | undefined
  #loading: Promise<KeyIndex> | undefined

  /** @param unique  of a constraint; undefined: the key */
  constructor(reader: FragmentReader, o: FragmentReaderOptions, unique?: Pick<KeyLayout, 'columns' | 'parts' | 'defs'>) {
    this.#reader = reader
    this.#o = o
    this.#isUnique = unique !== undefined
    this.#parts = unique?.parts ?? keyParts(o.schema)
    this.#columns = unique?.defs ?? this.#parts.map((part) => o.schema.columns[part.index]!)
    this.#file = unique === undefined ? o.ref.index : o.ref.indexes?.find(({ kind, columns }) => kind === 'unique' && isSame(columns, unique.columns))
    const kind = this.#parts.length === 1 ? this.#parts[0]!.kind : undefined
    this.#isWord = kind === 'i64' || kind === 'u64'
    this.#isSigned = kind === 'i64'
    this.#bounds = new KeyBounds(this.#parts, reader.stats(this.#columns[0]?.id ?? -1))
  }

  mayHold(key: Uint8Array): boolean {
    return this.#bounds.mayHold(key)
  }

  /** Those of `asked` that the bounds do not rule out. */
  within(keys: RowKeys, asked: Uint32Array, ascending: boolean): Uint32Array {
    return this.#bounds.within(keys, asked, ascending)
  }

  /** True: certainly not here, by the index in memory. False says nothing. */
  lacks(low: number, high: number): boolean {
    return this.#index !== undefined && !this.#index.mayHold(low, high)
  }

  lookup(low: number, high: number, key: Uint8Array, accept?: Accept, want?: readonly ColumnDef[]): number | Promise<FoundRow> {
    if (this.#index !== undefined) {
      const found = this.#find(this.#index, low, high, key, undefined, accept)
      if (found >= NONE) return found
    }
    return this.#lookupSlow(low, high, key, accept, want)
  }

  async #lookupSlow(low: number, high: number, key: Uint8Array, accept: Accept | undefined, want: readonly ColumnDef[] = []): Promise<FoundRow> {
    const index = this.#index ?? (await this.open())
    const held = new Map<number, readonly Vec[]>()
    const wanted = new Map<number, readonly Vec[]>()
    for (;;) {
      const row = this.#find(index, low, high, key, held, accept)
      if (row >= NONE) {
        const vecs = wanted.get(Math.floor(row / this.#o.ref.batchRows))
        return vecs === undefined ? { row } : { row, vecs }
      }
      if (!this.#reader.isOpen) await this.#reader.open()
      else {
        // What the row is read for lies beside its key: one request for both.
        const batch = MUST_READ - row
        const columns = [...new Set([...this.#columns, ...want])]
        const vecs = await this.#reader.loadRow(batch, columns)
        held.set(batch, vecs.slice(0, this.#columns.length))
        if (want.length > 0)
          wanted.set(
            batch,
            want.map((column) => vecs[columns.indexOf(column)]!),
          )
      }
    }
  }

  lookupSync(low: number, high: number, key: Uint8Array, accept?: Accept): number {
    const index = this.#index ?? this.openSync()
    let held: Map<number, readonly Vec[]> | undefined
    for (;;) {
      const found = this.#find(index, low, high, key, held, accept)
      if (found >= NONE) return found
      held ??= new Map()
      if (!this.#reader.isOpen) this.#reader.openSync()
      else held.set(MUST_READ - found, this.#reader.loadSync(MUST_READ - found, this.#columns))
    }
  }

  /** The index is in memory. */
  get isOpen(): boolean {
    return this.#index !== undefined
  }

  async open(): Promise<KeyIndex> {
    if (this.#index !== undefined) return this.#index
    this.#loading ??= this.#read().finally(() => (this.#loading = undefined))
    return this.#loading
  }

  openSync(): KeyIndex {
    return (this.#index ??= this.#readSync())
  }

  /**
   * Rows of many keys: of each asked one its row, or NO_ROW. The index is asked for all of them in one go, then each batch of key columns once.
   *
   * @param hashes  of all `keys`, (low, high) words
   * @param asked  which of them, by number; if they ascend, a fragment that is sorted by a 64-bit integer is walked once
   */
  async lookupMany(keys: RowKeys, hashes: Uint32Array, asked: Uint32Array, accept?: Accept): Promise<Uint32Array> {
    const index = this.#index ?? (await this.open())
    if (!this.#reader.isOpen && this.#holdsNone(index, hashes, asked)) return new Uint32Array(asked.length).fill(NO_ROW)
    if (!this.#reader.isOpen) await this.#reader.open()
    const join = this.#join(index, keys, hashes, asked, accept)
    const held = new Map<number, readonly Vec[]>()
    for (let left = -1; ;) {
      const next = this.#goOn(index, join, held)
      if (next === NONE) return join.rows
      // One key may need several batches: they stay at hand until it is found, whatever the cache keeps.
      const now = join.wide.length + join.places.length - join.batch
      if (now !== left) held.clear()
      left = now
      held.set(MUST_READ - next, await this.#reader.load(MUST_READ - next, this.#columns))
    }
  }

  /** The same from memory; undefined when something must be read first. */
  lookupManyNow(keys: RowKeys, hashes: Uint32Array, asked: Uint32Array, accept?: Accept): Uint32Array | undefined {
    const index = this.#index
    if (index === undefined) return undefined
    if (!this.#reader.isOpen) return this.#holdsNone(index, hashes, asked) ? new Uint32Array(asked.length).fill(NO_ROW) : undefined
    const join = this.#join(index, keys, hashes, asked, accept)
    return this.#goOn(index, join, undefined) === NONE ? join.rows : undefined
  }

  /** Certainly none of them, by the index alone: without a footer there is no more to ask. */
  #holdsNone(index: KeyIndex, hashes: Uint32Array, asked: Uint32Array): boolean {
    return asked.every((key) => !index.mayHold(hashes[2 * key]!, hashes[2 * key + 1]!))
  }

  #join(index: KeyIndex, keys: RowKeys, hashes: Uint32Array, asked: Uint32Array, accept: Accept | undefined): FragmentJoin {
    const { batchRows } = this.#o.ref
    const join: FragmentJoin = { keys, hashes, asked, accept, rows: new Uint32Array(asked.length).fill(NO_ROW), places: [], named: [], wide: [], batch: 0 }
    const { count, pairs } = index.probeMany(wordsOf(hashes, asked), asked.length)
    for (let i = 0; i < count; i++) {
      const place = pairs[2 * i]!
      const row = pairs[2 * i + 1]!
      if (row !== SEARCH_ROW) {
        const batch = Math.floor(row / batchRows)
        ;(join.places[batch] ??= []).push(place)
        ;(join.named[batch] ??= []).push(row)
        continue
      }
      const key = asked[place]!
      const { first, last } = this.#batchesOf(keys.data.subarray(keys.start(key), keys.end(key)))
      if (first === last) (join.places[first] ??= []).push(place)
      else if (first < last) join.wide.push(place)
    }
    return join
  }

  /** NONE when the join is done, or MUST_READ - batch. */
  #goOn(index: KeyIndex, join: FragmentJoin, held: HeldKeys | undefined): number {
    const { keys, hashes, asked, wide } = join
    for (; wide.length > 0; wide.pop()) {
      const key = asked[wide.at(-1)!]!
      const row = this.#find(index, hashes[2 * key]!, hashes[2 * key + 1]!, keys.data.subarray(keys.start(key), keys.end(key)), held, join.accept)
      if (row < NONE) return row
      if (row >= 0) join.rows[wide.at(-1)!] = row
    }
    for (; join.batch < join.places.length; join.batch++) {
      const some = join.places[join.batch]
      if (some === undefined) continue
      const columns = this.#batchKeys(join.batch, held)
      if (columns === undefined) return MUST_READ - join.batch
      this.#match(columns, join, some)
    }
    return NONE
  }

  /** Places `some` of the asked against the batch at hand: the row each names, or a search. */
  #match({ vecs, words }: BatchKeys, { keys, asked, accept, rows, named: all, batch }: FragmentJoin, some: readonly number[]): void {
    const base = batch * this.#o.ref.batchRows
    const named = all[batch]
    if (words !== undefined && keys.stride === 8 && named === undefined && some.length * KEY_REPAYS_WORDS >= words.length) {
      const sought = Uint32Array.from(some, (place) => asked[place]!)
      searchWords64(words, this.#isSigned, wordsOf(wordsIn(keys), sought)).forEach((row, i) => {
        if (row !== NO_ROW) rows[some[i]!] = base + row
      })
      return
    }
    some.forEach((place, i) => {
      const key = asked[place]!
      const bytes = keys.data.subarray(keys.start(key), keys.end(key))
      if (named === undefined) {
        const row = words === undefined ? this.#bisect(vecs, bytes) : searchWords(words, this.#isSigned, bytes)
        if (row >= 0) rows[place] = base + row
      } else if (compareKey(this.#parts, vecs, named[i]! - base, bytes) === 0 && accept?.(named[i]!) !== false) rows[place] = named[i]!
    })
  }

  /** Row, NONE, or MUST_READ - batch. */
  #find(index: KeyIndex, low: number, high: number, key: Uint8Array, held: HeldKeys | undefined, accept: Accept | undefined): number {
    const count = index.probe(low, high)
    if (count === 0) return NONE
    if (count === BINARY_SEARCH) return this.#search(key, held)
    const { hits } = index
    const { batchRows } = this.#o.ref
    for (let i = 0; i < count; i++) {
      const row = hits[i]!
      const batch = Math.floor(row / batchRows)
      const keys = this.#batchKeys(batch, held)
      if (keys === undefined) return MUST_READ - batch
      if (compareKey(this.#parts, keys.vecs, row - batch * batchRows, key) === 0 && accept?.(row) !== false) return row
    }
    return NONE
  }

  /** Bisection in a fragment that is sorted by its key: over the batches whose bounds hold the key. */
  #search(key: Uint8Array, held: HeldKeys | undefined): number {
    if (!this.#reader.isOpen) return MUST_READ
    let { first, last } = this.#batchesOf(key)
    while (first <= last) {
      const batch = (first + last) >>> 1
      const keys = this.#batchKeys(batch, held)
      if (keys === undefined) return MUST_READ - batch
      const row = keys.words === undefined ? this.#bisect(keys.vecs, key) : searchWords(keys.words, this.#isSigned, key)
      if (row >= 0) return batch * this.#o.ref.batchRows + row
      const before = -1 - row
      if (before === 0) last = batch - 1
      else if (before === keys.vecs[0]!.length) first = batch + 1
      else return NONE
    }
    return NONE
  }

  /** The batches whose bounds hold the key: they ascend with their rows, so they lie together. None: last < first. The reader is open. */
  #batchesOf(key: Uint8Array): { first: number; last: number } {
    const { id } = this.#columns[0]!
    this.#batchBounds ??= Array.from({ length: this.#reader.batchCount }, (_, batch) => new KeyBounds(this.#parts, this.#reader.batchStats(batch, id)))
    const bounds = this.#batchBounds
    let first = 0
    while (first < bounds.length && !bounds[first]!.mayHold(key)) first++
    let last = bounds.length - 1
    while (last > first && !bounds[last]!.mayHold(key)) last--
    return { first, last }
  }

  /** Row of the key, or -1 - the number of rows below it. */
  #bisect(vecs: readonly Vec[], key: Uint8Array): number {
    let start = 0
    let end = vecs[0]!.length
    while (start < end) {
      const mid = (start + end) >>> 1
      const order = compareKey(this.#parts, vecs, mid, key)
      if (order === 0) return mid
      if (order < 0) start = mid + 1
      else end = mid
    }
    return -1 - start
  }

  /** The key columns of a batch from memory; undefined when they must be read. */
  #batchKeys(batch: number, held: HeldKeys | undefined): BatchKeys | undefined {
    const entry = this.#reader.cached(batch, this.#columns[0]!.id)
    if (entry?.derived !== undefined) return entry.derived as BatchKeys
    const vecs = held?.get(batch) ?? (this.#reader.ready(batch, this.#columns) ? this.#reader.loadSync(batch, this.#columns) : undefined)
    if (vecs === undefined) return undefined
    const { values, length, layout } = vecs[0]!
    const isWord = this.#isWord && layout.kind === 'fixed' && layout.width === 8
    const keys = { vecs, words: isWord ? new Uint32Array(values.buffer, values.byteOffset, 2 * length) : undefined }
    if (entry !== undefined) entry.derived = keys
    return keys
  }

  async #read(): Promise<KeyIndex> {
    const { rows } = this.#o.ref
    const index = this.#file
    let why: Error | undefined
    try {
      if (index !== undefined) return (this.#index = believed(index, (await this.#o.root.get(indexName(index.digest, index.gen))).bytes, rows))
    } catch (cause) {
      why = rebuildable(cause)
    }
    const batches: (readonly Vec[])[] = []
    for (let batch = 0; batch < this.#reader.batchCount; batch++) batches.push(await this.#reader.load(batch, this.#columns))
    return (this.#index = this.#rebuilt(batches, why))
  }

  #readSync(): KeyIndex {
    const { rows } = this.#o.ref
    const index = this.#file
    let why: Error | undefined
    try {
      if (index !== undefined) return believed(index, this.#o.root.getSync(indexName(index.digest, index.gen)).bytes, rows)
    } catch (cause) {
      why = rebuildable(cause)
    }
    const batches: (readonly Vec[])[] = []
    for (let batch = 0; batch < this.#reader.batchCount; batch++) batches.push(this.#reader.loadSync(batch, this.#columns))
    return this.#rebuilt(batches, why)
  }

  #rebuilt(batches: readonly (readonly Vec[])[], why: Error | undefined): KeyIndex {
    const { rows, sorted } = this.#o.ref
    const index = this.#file
    if (this.#isUnique) return decodeKeyIndex(this.#uniqueIndex(batches, rows), rows)
    const hashes = new Uint32Array(2 * rows)
    let at = 0
    for (const vecs of batches) {
      const count = vecs[0]!.length
      hashes.set(keyHashes(this.#parts, vecs, count).subarray(0, 2 * count), at)
      at += 2 * count
    }
    const file = index === undefined ? 'none' : indexName(index.digest, index.gen)
    this.#o.log?.({ level: 'warn', code: 'index.rebuilt', file, fragment: this.#reader.file, rows, cause: why?.message ?? 'no index' })
    return decodeKeyIndex(encodeKeyIndex(hashes, rows, sorted), rows)
  }

  #uniqueIndex(batches: readonly (readonly Vec[])[], rows: number): Uint8Array {
    const all = this.#columns.map((_, i) => concat(batches.map((vecs) => vecs[i]!)))
    const { hashes, rowOf } = tupleHashes(this.#parts, all, rows)
    return encodeUniqueIndex(hashes, rowOf, rows)
  }
}

/** The same columns in the same order. */
function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i])
}

/** Damage or absence: the index is only a cache of the fragment. Anything else is thrown. */
export function rebuildable(cause: unknown): Error {
  const isGone = cause instanceof StorageError && (cause.class === 'notFound' || cause.class === 'corrupt')
  if (cause instanceof DecodeError || cause instanceof CorruptionError || isGone) return cause
  throw cause
}

/** (low, high) words of some of them, by number. */
function wordsOf(words: Uint32Array, some: Uint32Array): Uint32Array {
  const out = new Uint32Array(2 * some.length)
  for (let i = 0; i < some.length; i++) {
    out[2 * i] = words[2 * some[i]!]!
    out[2 * i + 1] = words[2 * some[i]! + 1]!
  }
  return out
}

/** Keys of 8 bytes as words. */
function wordsIn({ data, rows }: RowKeys): Uint32Array {
  const bytes = data.byteOffset % 4 === 0 ? data : data.slice()
  return new Uint32Array(bytes.buffer, bytes.byteOffset, 2 * rows)
}

/** Its own check says that a file is whole; only its digest says that it is the index of this fragment and of this tuple. @throws DecodeError */
function believed({ digest }: FileRef, bytes: Uint8Array, rows: number): KeyIndex {
  const found = toHex(sha256(bytes))
  if (found !== digest) throw new DecodeError(`an index of digest ${found}`, 0)
  return decodeKeyIndex(bytes, rows)
}
