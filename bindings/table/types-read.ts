// table/types-read.ts: the types of data in and of reading (api.md sections 3 and 4). Types only.

import type { Lsn } from '../log/index.ts'
import type { AnyTable, KeyedTable, Predicate, Show, Sortable } from './types.ts'

/** Any Table or RecordBatch, of any copy of any Arrow library. */
export interface ArrowLike {
  readonly schema: { readonly fields: readonly unknown[] }
  readonly numRows: number
  getChild(name: string): unknown
}

/** Made by columns(). */
export interface ColumnData<C> {
  readonly columns: C
}

type Cells<I> =
  | readonly I[]
  | (Extract<I, number> extends never ? never : Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array)
  | (Extract<I, bigint> extends never ? never : BigInt64Array | BigUint64Array)
type CellsOf<I> = Show<{ [P in keyof I]: Cells<I[P]> }>

export type Rows<T extends AnyTable> = T['Insert'] | readonly T['Insert'][]
/** Whole batches. Uint8Array: Arrow IPC, file or stream format. */
export type Bulk<T extends AnyTable> = ColumnData<CellsOf<T['Insert']>> | ArrowLike | Uint8Array
export type Chunk<T extends AnyTable> = Rows<T> | Bulk<T>
/** Async iterables, web and Node streams, generators. */
export type Stream<T extends AnyTable> = AsyncIterable<Chunk<T>> | ReadableStream<Chunk<T>> | (Iterable<T['Insert']> & { next(): unknown })

declare const brand: unique symbol
/** Names one write for outcome(); a ULID. */
export type WriteId = string & { readonly [brand]: 'WriteId' }
export type PinId = string & { readonly [brand]: 'PinId' }

/** A position, "as it was then" (the last commit whose time <= Date), or the name of a tag or branch. */
export type At = Lsn | number | Date | string

export interface Progress {
  phase: string
  done: number
  total?: number
  unit: 'rows' | 'bytes' | 'files' | 'commits'
  table?: string
  elapsedMs: number
}

export interface Long {
  signal?: AbortSignal
  /** First, last and at most 10 a second between; a throwing listener is logged and dropped. */
  onProgress?: (p: Progress) => void
}

export type Name<T extends AnyTable> = keyof T['Row'] & string
export type OrderBy<T extends AnyTable> = Sortable<T['Filter']> | `${Sortable<T['Filter']>} ${'asc' | 'desc'}`
/** A key; the bare value where the key is one column. */
export type KeyArg<T extends KeyedTable> = T['Key'] | (T['key'] extends readonly [infer Only extends keyof T['Key']] ? T['Key'][Only] : never)

export interface ScanOptions<T extends AnyTable, S extends Name<T>> extends Long {
  /** Default: every column of the definition. */
  select?: readonly S[]
  where?: Predicate<T['Filter']>
  /** In both directions NaN comes after numbers and nulls come last; no order is promised without it. */
  orderBy?: OrderBy<T> | readonly OrderBy<T>[]
  /** With orderBy: top-k in memory; orderBy alone above memory.sortBytes (256 MiB) is ResourceLimitError. */
  limit?: number
  at?: At
  /** Upper bound; default 65 536. */
  batchRows?: number
}

type Num<T extends AnyTable> = { [P in keyof T['Filter']]: T['Filter'][P] extends { flavour: 'number' } ? P : never }[keyof T['Filter']] & string
/** sum of no rows is 0 (0n); avg, min and max of no rows are null; nulls are skipped. */
export type Aggregate<T extends AnyTable> =
  | 'count'
  | { count: Name<T> }
  | { distinct: Name<T> }
  | { sum: Num<T> }
  | { avg: Num<T> }
  | { min: Sortable<T['Filter']> }
  | { max: Sortable<T['Filter']> }
type Cell<T extends AnyTable, C> = C extends keyof T['Row'] ? T['Row'][C] : never
export type Result<T extends AnyTable, A> = A extends { sum: infer C }
  ? NonNullable<Cell<T, C>>
  : A extends { avg: any }
    ? number | null
    : A extends { min: infer C } | { max: infer C }
      ? Cell<T, C> | null
      : number

/** A lazy read of one snapshot, taken at the first use. Every method below runs it; running it twice reads the same LSN. */
export interface Scan<T extends AnyTable, R> extends AsyncIterable<RecordBatch> {
  /** What `for await` over the scan itself gives; views where the layout allows, valid after the scan. */
  batches(): AsyncIterableIterator<RecordBatch>
  /** One at a time. */
  rows(): AsyncIterableIterator<R>
  toArray(): Promise<R[]>
  /** As limit 1. */
  first(): Promise<R | undefined>
  toArrow(): Promise<ArrowTable>
  /** Stream format; apache-arrow is not loaded. */
  toIpc(): Promise<Uint8Array>
  /** Typed arrays where numbers without nulls, else plain arrays. */
  toColumns(): Promise<{ [P in keyof R]: ColumnOut<R[P]> }>
  /** From statistics where they suffice. */
  count(): Promise<number>
  aggregate<const A extends Readonly<Record<string, Aggregate<T>>>>(spec: A): Promise<Show<{ -readonly [P in keyof A]: Result<T, A[P]> }>>
  aggregate<const A extends Readonly<Record<string, Aggregate<T>>>, B extends Name<T>>(
    spec: A,
    o: { by: readonly B[] },
  ): Promise<Show<Pick<T['Row'], B> & { -readonly [P in keyof A]: Result<T, A[P]> }>[]>
  /** Fragments read and pruned and why, bytes, index used, coverage; reads no data. */
  explain(): Promise<Explain>
}

export type ColumnOut<V> = [V] extends [number]
  ? Float64Array | Int32Array | Int16Array | Int8Array | Uint32Array | Uint16Array | Uint8Array | Float32Array
  : [V] extends [bigint]
    ? BigInt64Array | BigUint64Array
    : V[]

/** An apache-arrow RecordBatch. */
export interface RecordBatch extends ArrowLike {
  readonly numCols: number
  toArray(): unknown[]
}

/** An apache-arrow Table. */
export interface ArrowTable extends ArrowLike {
  readonly batches: readonly RecordBatch[]
  toArray(): unknown[]
}

/** What a scan would do, as far as memory tells. */
export interface Explain {
  lsn: Lsn
  /** Fragments that would be read. */
  fragments: number
  /** Fragments that would not, by what tells that none of their rows passes. */
  pruned: { fragments: number; by: 'statistics' | 'bloom' | 'index' }[]
  /** Compressed bytes of columns and indexes to read, at most. */
  bytes: number
  /** The index used by its columns (`"origin, date"`): a declared one, the key or a unique constraint; absent: none. */
  index?: string
  /** Share of the live rows that it covers; 0 without one. */
  coverage: number
  /** Rows that are looked at in memory. */
  memoryRows: number
  /** The same for people. */
  text: string
}

export interface Reader {
  get<T extends KeyedTable>(table: T, key: KeyArg<T>, o?: { at?: At; signal?: AbortSignal }): Promise<T['Row'] | undefined>
  /** In the order asked. */
  getMany<T extends KeyedTable>(table: T, keys: Iterable<KeyArg<T>>, o?: { at?: At; signal?: AbortSignal }): Promise<(T['Row'] | undefined)[]>
  has<T extends KeyedTable>(table: T, key: KeyArg<T>, o?: { at?: At; signal?: AbortSignal }): Promise<boolean>
  scan<T extends AnyTable, const S extends Name<T> = Name<T>>(table: T, o?: ScanOptions<T, S>): Scan<T, Show<Pick<T['Row'], S>>>
}

/** One version of the store to read from. A pin (owner "reader") while open: upkeep works around it; held above memory.snapshotWarnMs it raises `snapshotHeld`. */
export interface Snapshot extends Reader, AsyncDisposable {
  readonly lsn: Lsn
  readonly time: Date
  /** Memory and local roots only (blocks for one cached read at most); else UnsupportedRootError { feature: "sync-read" }. */
  getSync<T extends KeyedTable>(table: T, key: KeyArg<T>): T['Row'] | undefined
}
