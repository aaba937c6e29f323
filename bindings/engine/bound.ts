// engine/bound.ts: a definition of the code bound to a table of the store: its view, row writer and row reader, made once per schema version.

import { TableNotFoundError } from '../errors.ts'
import type { ColumnDef, TableSchema } from '../format/index.ts'
import {
  type AnyTable,
  byteSink,
  type ByteSink,
  InlineRowWriter,
  resolveView,
  type RowKeys,
  type RowReader,
  rowReader,
  type TableState,
  type TableView,
} from '../table/index.ts'
import type { StateView } from './branch-state.ts'

export interface Bound {
  readonly state: TableState
  readonly view: TableView
  /** Stored columns behind the view's, in its order. */
  readonly columns: readonly ColumnDef[]
  readonly read: RowReader
  readonly writer: InlineRowWriter
}

/** Where rows and keys are written on their way into a record; reused, never across an await. */
export interface Scratch {
  readonly body: ByteSink
  readonly keys: ByteSink
}

export function scratch(): Scratch {
  return { body: byteSink(64 * 1024), keys: byteSink(4 * 1024) }
}

/** Keys of the rows an InlineRowWriter has just written. */
export class SinkKeys implements RowKeys {
  readonly rows: number
  readonly stride = 0
  readonly data: Uint8Array
  readonly ends: Uint32Array
  constructor(rows: number, data: Uint8Array, ends: Uint32Array) {
    this.rows = rows
    this.data = data
    this.ends = ends
  }
  start(row: number): number {
    return row === 0 ? 0 : this.ends[row - 1]!
  }
  end(row: number): number {
    return this.ends[row]!
  }
}

export class Binder {
  private readonly state: StateView
  private readonly bounds = new WeakMap<AnyTable, Bound>()

  constructor(state: StateView) {
    this.state = state
  }

  /** @throws TableNotFoundError, SchemaMismatchError */
  bind(table: AnyTable): Bound {
    const known = this.bounds.get(table)
    // A table whose record was taken back is another one when it is made again.
    if (known !== undefined && known.view.schema === known.state.schema && this.state.tables.get(known.state.id) === known.state) return known
    // A caller without types may give anything.
    const name: unknown = (table as AnyTable | undefined | null)?.name
    if (typeof name !== 'string') throw tableNotFound(String(name))
    const state = this.state.byName(name)
    if (state === undefined) throw tableNotFound(name)
    const bound = bindTo(table, state)
    this.bounds.set(table, bound)
    return bound
  }
}

export function bindTo(table: AnyTable, state: TableState, schema: TableSchema = state.schema): Bound {
  const view = resolveView(table, schema)
  let writer: InlineRowWriter | undefined
  return {
    state,
    view,
    columns: view.columns.map((column) => column.column),
    read: rowReader(view.columns),
    // Who only reads needs none.
    get writer() {
      return (writer ??= new InlineRowWriter(view))
    },
  }
}

export function tableNotFound(name: string): TableNotFoundError {
  return new TableNotFoundError(`no table ${JSON.stringify(name)} here`, { details: { table: name } })
}
