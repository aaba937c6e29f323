// test/unit/table/fake-version.ts: a TableVersion held in arrays, for tests of reads: groups of batches with hidden rows, true statistics, and batches
// that are in memory at once, or only after a turn of the event loop.

import { definitionOf, schemaFromDefinition } from '../../../bindings/table/definition.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import type { BatchSource, ColumnStats, SourceGroup, TableVersion } from '../../../bindings/table/batch.ts'
import { cellOf } from '../../../bindings/table/cells.ts'
import { cellsToVec } from '../../../bindings/table/cell-vecs.ts'
import { specOf } from '../../../bindings/table/columns.ts'
import { Misfit, toPhysical } from '../../../bindings/table/physical.ts'
import type { LooseScanOptions } from '../../../bindings/table/scan-plan.ts'
import { createScan, type ScanRequest } from '../../../bindings/table/scan.ts'
import type { AnyTable } from '../../../bindings/table/types.ts'
import type { Scan } from '../../../bindings/table/types-read.ts'
import { type ColumnDef, valueKindOf } from '../../../bindings/format/index.ts'
import type { ValueKind, Vec } from '../../../bindings/kernels/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'

export interface FakeBatch {
  readonly rows: readonly object[]
  /** Hidden rows. */
  readonly deleted?: readonly number[]
  /** Not in memory: loads after a turn of the event loop. */
  readonly cold?: boolean
  /** Columns handed out as dictionaries; default none. */
  readonly dict?: boolean
  readonly stats?: boolean
}

export interface FakeGroup {
  readonly kind?: 'fragment' | 'memory'
  readonly batches: readonly FakeBatch[]
}

export interface FakeVersion extends TableVersion {
  /** Names of the columns of every load, in order. */
  readonly loads: string[][]
  /** Loads that were asked for and not yet given. */
  pending: number
  /** Makes cold loads fail. */
  failure: Error | undefined
}

export function fakeVersion(table: AnyTable, groups: readonly FakeGroup[]): FakeVersion {
  const schema = schemaFromDefinition(table, 1)
  const loads: string[][] = []
  const sources = groups.map(({ kind = 'fragment', batches }, g): SourceGroup => {
    const rows = batches.flatMap((batch) => batch.rows)
    const made = batches.map((batch) => fakeBatch(table, batch, schema.columns, version))
    return {
      kind,
      id: `1.${g}`,
      rows: rows.length,
      liveRows: made.reduce((sum, batch) => sum + batch.liveCount, 0),
      bytes: kind === 'memory' ? 0 : rows.length * 10,
      stats: (id) => (kind === 'memory' ? undefined : statsOf(table, schema.columns, rows, id)),
      bytesOf: (columns) => rows.length * columns.length,
      batches: made,
    }
  })
  function version(): FakeVersion {
    return result
  }
  const result: FakeVersion = {
    lsn: 7n,
    schema,
    liveRows: sources.reduce((sum, group) => sum + group.liveRows, 0),
    groups: sources,
    loads,
    pending: 0,
    failure: undefined,
  }
  return result
}

/** The rows that live, in storage order. */
export function liveRows(groups: readonly FakeGroup[]): object[] {
  return groups.flatMap(({ batches }) => batches.flatMap(({ rows, deleted = [] }) => rows.filter((_, i) => !deleted.includes(i))))
}

/** A scan over the version, in the world of a real process. */
export function fakeScan<R = Record<string, unknown>>(
  table: AnyTable,
  version: TableVersion,
  options: LooseScanOptions = {},
  request: Partial<ScanRequest> = {},
): Scan<AnyTable, R> {
  return createScan<AnyTable, R>({
    view: resolveView(table, version.schema),
    version: () => Promise.resolve(version),
    options,
    world: defaultWorld(),
    sortBytes: 1 << 28,
    check: () => {},
    ...request,
  })
}

function fakeBatch(table: AnyTable, batch: FakeBatch, schema: readonly ColumnDef[], version: () => FakeVersion): BatchSource {
  const { rows, deleted = [], cold = false } = batch
  const definition = definitionOf(table)
  const vecs = new Map(
    schema.map((column) => {
      const cell = cellOf(column, specOf(definition.columns[column.name]), false)
      const vec = cellsToVec(
        cell,
        rows.map((row) => (row as Record<string, unknown>)[column.name]),
        rows.length,
      )
      return [column.id, batch.dict === true && vec.layout.kind === 'var' ? dictionaryEncoded(vec) : vec]
    }),
  )
  const live = new Uint8Array(Math.ceil(rows.length / 64) * 8)
  for (let i = 0; i < rows.length; i++) if (!deleted.includes(i)) live[i >> 3]! |= 1 << (i & 7)
  const given = (columns: readonly ColumnDef[]): Vec[] => {
    version().loads.push(columns.map(({ name }) => name))
    return columns.map(({ id }) => vecs.get(id)!)
  }
  return {
    rows: rows.length,
    live: () => (deleted.length > 0 ? live : undefined),
    liveCount: rows.length - new Set(deleted).size,
    ...(batch.stats === true ? { stats: (id: number) => statsOf(table, schema, rows, id) } : {}),
    async load(columns, signal) {
      version().pending++
      await new Promise((resolve) => setImmediate(resolve))
      version().pending--
      signal?.throwIfAborted()
      if (version().failure !== undefined) throw version().failure!
      return given(columns)
    },
    loadSync(columns) {
      if (cold) throw new Error('this batch is not in memory')
      return given(columns)
    },
    ready: () => !cold,
  }
}

/** Statistics as a writer makes them; -0 becomes 0, which no reader may notice. */
function statsOf(table: AnyTable, schema: readonly ColumnDef[], rows: readonly object[], id: number): ColumnStats | undefined {
  const column = schema.find((c) => c.id === id)!
  const kind = valueKindOf(column.type)
  const spec = specOf(definitionOf(table).columns[column.name])
  let nullCount = 0
  let hasNaN = false
  const values: (number | bigint | Uint8Array)[] = []
  for (const row of rows) {
    const value = (row as Record<string, unknown>)[column.name] ?? null
    if (value === null) {
      nullCount++
      continue
    }
    if (kind === undefined) continue
    const physical = toPhysical(column.type, value, spec.children)
    if (physical instanceof Misfit) throw new Error(physical.reason)
    if (Number.isNaN(physical)) hasNaN = true
    else
      values.push(typeof physical === 'string' ? new TextEncoder().encode(physical) : typeof physical === 'boolean' ? Number(physical) : normal(physical, kind))
  }
  if (kind === undefined || values.length === 0) return { nullCount, hasNaN }
  const sorted = values.toSorted((a, b) => (a instanceof Uint8Array ? Buffer.compare(a, b as Uint8Array) : a < (b as number) ? -1 : a > (b as number) ? 1 : 0))
  return { nullCount, hasNaN, min: sorted[0]!, max: sorted.at(-1)! }
}

function normal(value: unknown, kind: ValueKind): number | bigint | Uint8Array {
  if (kind === 'i64' || kind === 'u64' || kind === 'i128') return BigInt(value as number | bigint)
  if (typeof value === 'number') return kind === 'f32' ? Math.fround(value) + 0 : value + 0
  return value as Uint8Array
}

function dictionaryEncoded(vec: Vec): Vec {
  const texts = new Map<string, number>()
  const entries: Uint8Array[] = []
  const codes = new Uint16Array(vec.length)
  for (let i = 0; i < vec.length; i++) {
    if (vec.validity !== undefined && ((vec.validity[i >> 3]! >> (i & 7)) & 1) === 0) continue
    const bytes = vec.values.subarray(vec.offsets![i], vec.offsets![i + 1])
    const key = Buffer.from(bytes).toString('latin1')
    if (!texts.has(key)) texts.set(key, entries.push(bytes) - 1)
    codes[i] = texts.get(key)!
  }
  const offsets = new Int32Array(entries.length + 1)
  for (const [i, bytes] of entries.entries()) offsets[i + 1] = offsets[i]! + bytes.length
  const values = Uint8Array.from(entries.flatMap((bytes) => [...bytes]))
  const dictionary: Vec = {
    layout: { kind: 'var' },
    length: entries.length,
    nullCount: 0,
    validity: undefined,
    values,
    offsets,
    children: [],
    dictionary: undefined,
  }
  return { ...vec, layout: { kind: 'dict', width: 2 }, values: new Uint8Array(codes.buffer), offsets: undefined, dictionary }
}
