// engine/read.ts: reads at one LSN: point look-ups and scans over the structures held by a snapshot.
//
// Invariant: a ReadPoint holds the structures of its LSN, so nothing that happens later changes what it shows.

import { HistoryUnavailableError } from '../errors.ts'
import type { ColumnDef } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import {
  type AnyTable,
  byteSink,
  createScan,
  findKey,
  findKeySync,
  type LooseScanOptions,
  type Place,
  putKeyValue,
  readPlace,
  readPlaceSync,
  type Scan,
  type Structure,
  type TableState,
  type TableVersion,
} from '../table/index.ts'
import type { World } from '../runtime/index.ts'
import { type Bound, bindTo, tableNotFound } from './bound.ts'
import { namesOfRefs } from './record-files.ts'
import type { StateView } from './branch-state.ts'
import type { TableAt } from './diff-rows.ts'

export interface ReadContext {
  readonly world: World
  readonly sortBytes: number
  readonly missingColumn: (column: ColumnDef, rows: number) => Vec
  /** Throws when the store takes no more calls. */
  readonly check: () => void
  /** The version stays readable until what it gives is called. Absent: somebody holds it already. @throws HistoryUnavailableError */
  readonly hold?: ((point: HeldPoint) => () => void) | undefined
}

/** What a read shows. */
export interface HeldPoint {
  readonly lsn: number
  readonly branch: number
  /** Names of its files; absent: they are those of the branch at the LSN. */
  readonly files?: () => Iterable<string>
}

export type Row = Record<string, unknown>

/** A state at an LSN, with its structures held. */
export class ReadPoint {
  readonly lsn: number
  /** Number of the branch that it shows. */
  readonly branch: number
  /** Time of the record at `lsn`, or of the last one before it that has a time. */
  readonly timeMs: number
  private readonly held = new Map<number, { readonly state: TableState; readonly structure: Structure }>()
  private readonly bounds = new Map<AnyTable, Bound>()

  constructor(state: StateView, lsn: number) {
    if (lsn > state.applied)
      throw new HistoryUnavailableError(`LSN ${lsn} is after the head ${state.applied}`, { details: { asked: BigInt(lsn), floor: BigInt(state.applied) } })
    this.lsn = lsn
    this.branch = state.branch
    this.timeMs = state.catalog.timeMs
    for (const [id, table] of state.tables) if (table.isAt(lsn)) this.held.set(id, { state: table, structure: table.at(lsn) })
  }

  /** @throws TableNotFoundError, SchemaMismatchError */
  bind(table: AnyTable): Bound {
    const known = this.bounds.get(table)
    if (known !== undefined) return known
    // By the names of this LSN.
    for (const { state, structure } of this.held.values()) {
      if (structure.schema.name !== table.name) continue
      const bound = bindTo(table, state, structure.schema)
      this.bounds.set(table, bound)
      return bound
    }
    throw tableNotFound(table.name)
  }

  /** A table of that name is there. */
  has(name: string): boolean {
    for (const { structure } of this.held.values()) if (structure.schema.name === name) return true
    return false
  }

  tableIds(): Iterable<number> {
    return this.held.keys()
  }

  /** A table by its id, which a rename leaves as it is. */
  at(tableId: number): TableAt | undefined {
    const held = this.held.get(tableId)
    return held === undefined ? undefined : { ...held, lsn: this.lsn }
  }

  /** Names of the files that it consists of. */
  readonly files = (): string[] => [...this.held.values()].flatMap(({ structure }) => namesOfRefs(structure.fragments.map(({ ref }) => ref)))

  structure(bound: Bound): Structure {
    return this.held.get(bound.state.id)!.structure
  }

  version(bound: Bound): TableVersion {
    return bound.state.version(this.lsn, this.structure(bound))
  }
}

const sink = byteSink(256)

/** Canonical bytes of a key argument. Valid until the next call when `borrowed`. */
function keyOf(bound: Bound, key: unknown): Uint8Array {
  sink.at = 0
  putKeyValue(bound.view, key, sink)
  return sink.bytes.slice(0, sink.at)
}

/** The row of a key. A promise only when something must be read first. */
export function getRow(context: ReadContext, bound: Bound, structure: Structure, lsn: number, key: unknown): Row | undefined | Promise<Row | undefined> {
  const place = findKey(structure, lsn, keyOf(bound, key), undefined, bound.columns)
  if (place === undefined) return undefined
  if (place instanceof Promise) return place.then((found) => (found === undefined ? undefined : rowOf(context, bound, structure, found)))
  return rowOf(context, bound, structure, place)
}

function rowOf(context: ReadContext, bound: Bound, structure: Structure, place: Place): Row | Promise<Row> {
  const { fragment, row: at, vecs: read } = place
  if (fragment !== undefined && read !== undefined) return bound.read(read, at % fragment.ref.batchRows)
  const found = readPlace(structure, place, bound.columns, context.missingColumn)
  return found instanceof Promise ? found.then(({ vecs, row }) => bound.read(vecs, row)) : bound.read(found.vecs, found.row)
}

export function getRowSync(context: ReadContext, bound: Bound, structure: Structure, lsn: number, key: unknown): Row | undefined {
  const place = findKeySync(structure, lsn, keyOf(bound, key))
  if (place === undefined) return undefined
  const { vecs, row } = readPlaceSync(structure, place, bound.columns, context.missingColumn)
  return bound.read(vecs, row)
}

export function hasRow(bound: Bound, structure: Structure, lsn: number, key: unknown): boolean | Promise<boolean> {
  const place = findKey(structure, lsn, keyOf(bound, key))
  return place instanceof Promise ? place.then((found) => found !== undefined) : place !== undefined
}

export function scanAt(context: ReadContext, table: AnyTable, options: LooseScanOptions, point: () => Promise<ReadPoint>): Scan<AnyTable, Row> {
  let bound: Bound | undefined
  let held: ReadPoint | undefined
  const { hold } = context
  return createScan<AnyTable, Row>({
    view: () => bound!.view,
    version: async () => {
      const at = await point()
      held = at
      bound = at.bind(table)
      return at.version(bound)
    },
    options,
    world: context.world,
    sortBytes: context.sortBytes,
    check: context.check,
    ...(hold === undefined ? {} : { hold: () => hold(held!) }),
  })
}
