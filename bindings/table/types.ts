// table/types.ts: the compile-time face of definitions and predicates (api.md sections 1 and 2): what `typeof flights.Row` and `gt("delay", 60)` mean.
//
// Types only. At run time a column is a ColumnBuilder (columns.ts), a table a TableDefinition (definition.ts), a predicate a node (predicate.ts).
// Cost: every mapped type here runs once per table; the budget is tested in test/types/budget.test.ts.

/** What a column may do: sum, sort and compare, equal only, nothing. */
export type Flavour = 'number' | 'order' | 'equal' | 'none'

/** A column of a definition. T: the type read, I: the type written (with undefined: may be left out), F: its flavour. */
export interface Column<T, I = T, F extends Flavour = Flavour> {
  /** Type only; absent at run time. */
  readonly $: { read: T; write: I; flavour: F }
  /** Allows null; undefined is stored as null. */
  nullable(): Column<T | null, I | null | undefined, F>
  /** A constant, kept in the definition; also the value of rows older than the column. */
  default(value: NonNullable<I>): Column<T, I | undefined, F>
  /** For apply(): the same data under the new name. */
  renamedFrom(name: string): this
  /** Compile time only: branded ids, string unions. */
  typed<U extends T>(): Column<U, U | Extract<I, null | undefined>, F>
}

export interface Utf8Column<T, I = T> extends Column<T, I, 'order'> {
  /** Dictionary-encoded; up to 2^31 - 1 distinct values per fragment. */
  dictionary(): Utf8Column<T, I>
  nullable(): Utf8Column<T | null, I | null | undefined>
  default(value: NonNullable<I>): Utf8Column<T, I | undefined>
}

export type Columns = Readonly<Record<string, Column<any, any, any>>>

/** So that an editor shows a row and not an expression. */
export type Show<T> = { [K in keyof T]: T[K] } & {}
type Read<C> = C extends Column<infer T, any, any> ? T : never
type Write<C> = C extends { readonly $: { write: infer I } } ? I : never
type Flav<C> = C extends { readonly $: { flavour: infer F } } ? F : never
type Optional<C> = { [K in keyof C]: undefined extends Write<C[K]> ? K : never }[keyof C]

/** The row read from columns. */
export type RowOf<C> = Show<{ -readonly [K in keyof C]: Read<C[K]> }>
/** The row written to columns. */
export type InsertOf<C> = Show<{ -readonly [K in Exclude<keyof C, Optional<C>>]: Write<C[K]> } & { -readonly [K in Optional<C>]?: Write<C[K]> }>
type KeyOf<C, K extends readonly string[]> = Show<{ [P in K[number] & keyof C]: Write<C[P]> }>
type UpdateOf<C, K extends readonly string[]> = Show<KeyOf<C, K> & { [P in Exclude<keyof C, K[number]>]?: Write<C[P]> }>
type FilterOf<C> = { [P in keyof C as Flav<C[P]> extends 'none' ? never : P]: { value: NonNullable<Write<C[P]>>; flavour: Flav<C[P]> } }
type IsAny<T> = 0 extends 1 & T ? true : false
/** The columns that may be part of a key; any name where the columns are known at run time only. */
export type KeyColumn<C> = {
  [P in keyof C]: Flav<C[P]> extends 'none' ? never : IsAny<Read<C[P]>> extends true ? P : null extends Read<C[P]> ? never : P
}[keyof C] &
  string

/** A definition; made by table(). */
export interface Table<N extends string = string, C extends Columns = Columns, K extends readonly string[] = readonly string[]> {
  readonly name: N
  readonly columns: C
  readonly key: K
  /** Type only, as the four below: `typeof flights.Row`. */
  readonly Row: RowOf<C>
  readonly Insert: InsertOf<C>
  readonly Key: KeyOf<C, K>
  readonly Update: UpdateOf<C, K>
  readonly Filter: FilterOf<C>
  /** Returns p; gives a predicate that stands alone its types. */
  where(p: Predicate<FilterOf<C>>): Predicate<FilterOf<C>>
}

export interface AnyTable {
  readonly name: string
  readonly columns: Columns
  readonly key: readonly string[]
  readonly Row: object
  readonly Insert: object
  readonly Key: object
  readonly Update: object
  readonly Filter: object
}

export interface KeyedTable extends AnyTable {
  readonly key: readonly [string, ...string[]]
}

export interface TableOptions<C extends Columns, K extends readonly KeyColumn<C>[]> {
  /** Enforced; unkeyed tables are append, deleteWhere, replace. */
  key?: K
  /** Enforced; a null exempts the row. */
  unique?: readonly (readonly (keyof C & string)[])[]
  /** Sorted indexes: each a column, or several in their order. Key and unique have theirs. Built by optimize; a scan uses one where it selects few rows. */
  index?: readonly ((keyof C & string) | readonly (keyof C & string)[])[]
  /** For apply(): the same data under the new name. */
  renamedFrom?: string
}

declare const filter: unique symbol

/** A condition on rows whose columns are F. Plain data at run time; structured-cloneable and JSON-safe by toJSON(). */
export interface Predicate<F> {
  readonly [filter]: (columns: F) => void
}

export type Val<F, C extends keyof F> = F[C] extends { value: infer V } ? V : never
export type Sortable<F> = { [C in keyof F]: F[C] extends { flavour: 'equal' } ? never : C }[keyof F] & string
export type Textual<F> = { [C in keyof F]: Val<F, C> extends string ? C : never }[keyof F] & string
