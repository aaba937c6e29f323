// Random columns, rows and predicates with an oracle that works on one row at a time: shared by the predicate and prune tests.
//
// The oracle knows only user values: it compares a stored value with a constant by exact arithmetic of its own, without ranges or units.

import fc from 'fast-check'
import type { ColumnType } from '../../../bindings/format/index.ts'
import type { Vec } from '../../../bindings/kernels/index.ts'
import type { ColumnStats } from '../../../bindings/table/batch.ts'
import { specOf, t } from '../../../bindings/table/columns.ts'
import { schemaFromDefinition, table } from '../../../bindings/table/definition.ts'
import type { PredicateNode } from '../../../bindings/table/predicate.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import type { AnyTable, Column } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'

/** As stored: bool and small numbers as number, 64 and 128 bits as bigint, utf8 as string, bytes as Uint8Array. */
export type Stored = number | bigint | string | Uint8Array | null

interface Kind {
  readonly column: Column<any, any, any>
  readonly stored: fc.Arbitrary<NonNullable<Stored>>
  readonly constant: fc.Arbitrary<unknown>
  /** Sign of stored - constant; NaN: not comparable. */
  readonly compare: (stored: any, constant: any) => number
  readonly ordered?: false
  readonly text?: (stored: any) => string
}

const sign = (a: number | bigint, b: number | bigint): number => (a < b ? -1 : a > b ? 1 : a == b ? 0 : Number.NaN)
const bytes = (max: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: max, max: 3 })
const bufferOrder = (a: Uint8Array | string, b: Uint8Array | string): number => Buffer.compare(Buffer.from(a as string), Buffer.from(b as string))

function int(column: Column<any, any, any>, low: number, high: number): Kind {
  return {
    column,
    stored: fc.oneof(fc.integer({ min: low, max: high }), fc.integer({ min: Math.max(low, -3), max: 3 }), fc.constantFrom(low, high)),
    constant: fc.oneof(
      fc.integer({ min: low - 2, max: high + 2 }),
      fc.integer({ min: -3, max: 3 }),
      fc.constantFrom(low, high, low - 0.5, high + 0.5, 1e300, -1e300, Infinity, -Infinity, 0.5, -0.5, -0),
    ),
    compare: sign,
  }
}

function wide(column: Column<any, any, any>, low: bigint, high: bigint): Kind {
  return {
    column,
    stored: fc.oneof(fc.bigInt({ min: low, max: high }), fc.bigInt({ min: low < 0n ? -3n : 0n, max: 3n }), fc.constantFrom(low, high)),
    constant: fc.oneof(
      fc.bigInt({ min: low - 2n, max: high + 2n }),
      fc.bigInt({ min: -3n, max: 3n }),
      fc.constantFrom(low, high, low - 1n, high + 1n, 1e300, -1e300, Infinity, -Infinity, 2.5, -2.5, 2),
    ),
    compare: sign,
  }
}

function float(column: Column<any, any, any>, single: boolean): Kind {
  const round = (x: number): number => (Number.isFinite(Math.fround(x)) ? Math.fround(x) : x)
  const special = [0, -0, 1, -1, 0.1, Infinity, -Infinity, 2 ** -149, -(2 ** -149)]
  const any = single ? fc.float({ noNaN: true }) : fc.double({ noNaN: true })
  return {
    column,
    stored: fc.oneof(any, fc.constantFrom(...special.map((x) => (single ? Math.fround(x) : x)), Number.NaN)),
    constant: fc.oneof(fc.double({ noNaN: true }), fc.constantFrom(...special, 1e39, -1e39, 3.4028234663852886e38)),
    compare: (stored, constant) => sign(stored, single ? round(constant) : constant),
  }
}

function timestamp(unit: 's' | 'ms' | 'us' | 'ns', nsPerUnit: bigint): Kind {
  const column: Column<any, any, any> = unit === 's' || unit === 'ms' ? t.timestamp(unit) : t.timestamp(unit)
  const near = fc.integer({ min: -3000, max: 3000 })
  return {
    column,
    stored: fc.oneof(
      near.map((ms) => (BigInt(ms) * 1_000_000n) / nsPerUnit),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    ),
    constant: fc.oneof(
      near.map((ms) => new Date(ms)),
      near,
      near.map(BigInt),
      fc.constantFrom(new Date(8.64e15), new Date(-8.64e15), 2n ** 63n, 0.5),
    ),
    compare: (stored, constant) => (constant instanceof Date ? sign(stored * nsPerUnit, BigInt(constant.getTime()) * 1_000_000n) : sign(stored, constant)),
  }
}

/** The digits after the point that exact comparison of decimals needs here. */
const POINT = 400
const scaled = (value: string | number | bigint): bigint => {
  const [mantissa = '', exponent = '0'] = String(value).toLowerCase().split('e')
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.')
  const digits = BigInt(whole + fraction) * 10n ** BigInt(POINT + Number(exponent) - fraction.length)
  return mantissa.startsWith('-') ? -digits : digits
}

const word = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '\u{ff61}', '\u{1f600}', '\0'), maxLength: 4 })
const dayText = (day: number): string => new Date(day * 86_400_000).toISOString().slice(0, 10)
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((b) => b.map((x) => x & 0x11))
const uuidOf = (b: Uint8Array): string =>
  Buffer.from(b)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
const nearDay = fc.integer({ min: -800, max: 800 })

export const KINDS: Readonly<Record<string, Kind>> = {
  bool: { column: t.bool(), stored: fc.constantFrom(0, 1), constant: fc.boolean(), compare: (a, b) => (a === Number(b) ? 0 : Number.NaN), ordered: false },
  int8: int(t.int8(), -128, 127),
  int16: int(t.int16(), -32768, 32767),
  int32: int(t.int32(), -(2 ** 31), 2 ** 31 - 1),
  uint8: int(t.uint8(), 0, 255),
  uint16: int(t.uint16(), 0, 65535),
  uint32: int(t.uint32(), 0, 2 ** 32 - 1),
  int64: wide(t.int64(), -(2n ** 63n), 2n ** 63n - 1n),
  uint64: wide(t.uint64(), 0n, 2n ** 64n - 1n),
  float32: float(t.float32(), true),
  float64: float(t.float64(), false),
  utf8: { column: t.utf8(), stored: word, constant: word, compare: bufferOrder, text: (s) => s },
  dictionary: { column: t.utf8().dictionary(), stored: word, constant: word, compare: bufferOrder, text: (s) => s },
  binary: { column: t.binary(), stored: bytes(4), constant: bytes(5), compare: bufferOrder },
  fixed: {
    column: t.fixedSizeBinary(3),
    stored: fc.uint8Array({ minLength: 3, maxLength: 3, max: 255 }).map((b) => b.map((x) => (x & 1) * 255)),
    constant: fc.uint8Array({ maxLength: 5 }).map((b) => b.map((x) => (x & 1) * 255)),
    compare: bufferOrder,
  },
  uuid: {
    column: t.uuid(),
    stored: uuid,
    constant: uuid.map((b) => uuidOf(b)),
    compare: (stored, constant) => (uuidOf(stored) < constant ? -1 : uuidOf(stored) > constant ? 1 : 0),
    text: uuidOf,
  },
  seconds: timestamp('s', 1_000_000_000n),
  millis: timestamp('ms', 1_000_000n),
  micros: timestamp('us', 1_000n),
  nanos: timestamp('ns', 1n),
  date: {
    column: t.date(),
    stored: nearDay,
    constant: fc.oneof(
      nearDay.map(dayText),
      nearDay,
      fc.integer({ min: -1e8, max: 1e8 }).map((ms) => new Date(ms)),
    ),
    compare: (stored, constant) =>
      typeof constant === 'number' ? sign(stored, constant) : sign(stored * 86_400_000, constant instanceof Date ? constant.getTime() : Date.parse(constant)),
    text: dayText,
  },
  time: int(t.time('s'), 0, 86_399),
  timeMicros: wide(t.time('us'), 0n, 86_399_999_999n),
  decimal: {
    column: t.decimal128(38, 2),
    stored: fc.oneof(fc.bigInt({ min: -400n, max: 400n }), fc.bigInt({ min: -(10n ** 38n) + 1n, max: 10n ** 38n - 1n })),
    constant: fc.oneof(
      fc.integer({ min: -40, max: 40 }).map((n) => String(n / 8)),
      fc.integer({ min: -40, max: 40 }).map((n) => n / 10),
      fc.bigInt({ min: -4n, max: 4n }),
      fc.constantFrom('99999999999999999999999999999999999999.5', '-1e50', 1e300, -1e300, 5e-324, '.5', '2.'),
    ),
    compare: (stored, constant) => sign(stored * 10n ** BigInt(POINT - 2), scaled(constant)),
  },
}

export interface Case {
  readonly view: TableView
  readonly kinds: readonly string[]
  /** Rows of stored values, by place of the column. */
  readonly rows: readonly (readonly Stored[])[]
  readonly predicate: PredicateNode
}

/** Some nullable columns, rows and a predicate over them. */
export const cases: fc.Arbitrary<Case> = fc.array(fc.constantFrom(...Object.keys(KINDS)), { minLength: 1, maxLength: 3 }).chain((kinds) =>
  fc.record({
    view: fc.constant(viewOf(kinds)),
    kinds: fc.constant(kinds),
    rows: fc.array(fc.tuple(...kinds.map((kind) => fc.option(kindOf(kind).stored, { freq: 4 }))), { maxLength: 80 }),
    predicate: predicates(kinds),
  }),
)

export function kindOf(name: string): Kind {
  return KINDS[name] as Kind
}

export function viewOf(kinds: readonly string[]): TableView {
  const definition = table('t', Object.fromEntries(kinds.map((kind, i) => [`c${i}`, kindOf(kind).column.nullable()]))) as unknown as AnyTable
  return resolveView(definition, schemaFromDefinition(definition, 1))
}

function predicates(kinds: readonly string[]): fc.Arbitrary<PredicateNode> {
  const leaf = fc.integer({ min: 0, max: kinds.length - 1 }).chain((i) => leaves(`c${i}`, kindOf(kinds[i] as string)))
  const { tree } = fc.letrec<{ tree: PredicateNode }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      leaf,
      fc.record({ op: fc.constantFrom('and', 'or'), of: fc.array(tie('tree'), { maxLength: 3 }) }),
      fc.record({ op: fc.constant('not'), of: tie('tree') }),
    ) as fc.Arbitrary<PredicateNode>,
  }))
  return tree
}

function leaves(column: string, kind: Kind): fc.Arbitrary<PredicateNode> {
  const ops = kind.ordered === false ? ['eq', 'ne'] : ['eq', 'ne', 'gt', 'gte', 'lt', 'lte']
  const choices: fc.Arbitrary<unknown>[] = [
    fc.record({ op: fc.constantFrom(...ops), column: fc.constant(column), value: kind.constant }),
    fc.record({ op: fc.constant('oneOf'), column: fc.constant(column), values: fc.array(kind.constant, { maxLength: 4 }) }),
    fc.record({ op: fc.constantFrom('isNull', 'isNotNull'), column: fc.constant(column) }),
  ]
  if (kind.ordered !== false) {
    choices.push(fc.record({ op: fc.constant('between'), column: fc.constant(column), from: kind.constant, to: kind.constant }))
  }
  if (kind.text !== undefined) {
    const prefix = fc.oneof(
      kind.stored.chain((stored) => {
        const text = Array.from((kind.text as (s: unknown) => string)(stored))
        return fc.nat(text.length).map((n) => text.slice(0, n).join(''))
      }),
      word,
    )
    choices.push(fc.record({ op: fc.constant('startsWith'), column: fc.constant(column), prefix }))
  }
  return fc.oneof(...choices) as fc.Arbitrary<PredicateNode>
}

/** The oracle: whether one row passes. */
export function passes(node: PredicateNode, kinds: readonly string[], row: readonly Stored[]): boolean {
  switch (node.op) {
    case 'and':
      return node.of.every((one) => passes(one, kinds, row))
    case 'or':
      return node.of.some((one) => passes(one, kinds, row))
    case 'not':
      return !passes(node.of, kinds, row)
    case 'ne':
      return !passes({ ...node, op: 'eq' }, kinds, row)
    default:
  }
  const i = Number(node.column.slice(1))
  const kind = kindOf(kinds[i] as string)
  const stored = row[i] ?? null
  if (node.op === 'isNull') return stored === null
  if (node.op === 'isNotNull') return stored !== null
  if (stored === null) return false
  switch (node.op) {
    case 'eq':
      return kind.compare(stored, node.value) === 0
    case 'gt':
      return kind.compare(stored, node.value) > 0
    case 'gte':
      return kind.compare(stored, node.value) >= 0
    case 'lt':
      return kind.compare(stored, node.value) < 0
    case 'lte':
      return kind.compare(stored, node.value) <= 0
    case 'between':
      return kind.compare(stored, node.from) >= 0 && kind.compare(stored, node.to) <= 0
    case 'oneOf':
      return node.values.some((value) => kind.compare(stored, value) === 0)
    case 'startsWith':
      return (kind.text as (s: unknown) => string)(stored).startsWith(node.prefix)
  }
}

/** A Vec of stored values; a dictionary one for dictionary columns. */
export function vecOf(kind: string, values: readonly Stored[]): Vec {
  const { type } = specOf(kindOf(kind).column)
  const n = values.length
  const validity = new Uint8Array(((n + 63) >> 6) << 3)
  values.forEach((value, i) => {
    if (value !== null) validity[i >> 3]! |= 1 << (i & 7)
  })
  const nullCount = values.filter((value) => value === null).length
  const base = { length: n, nullCount, validity: nullCount === 0 ? undefined : validity, offsets: undefined, children: [], dictionary: undefined }
  if (type.kind === 'utf8' && type.dictionary) {
    const entries = [...new Set(values.filter((value) => value !== null))] as string[]
    const codes = Uint16Array.from(values, (value) => (value === null ? 0 : entries.indexOf(value as string)))
    return { ...base, layout: { kind: 'dict', width: 2 }, values: new Uint8Array(codes.buffer), dictionary: vecOf('utf8', entries) }
  }
  if (type.kind === 'utf8' || type.kind === 'binary') {
    const parts = values.map((value) => Buffer.from((value ?? '') as string))
    const offsets = new Int32Array(n + 1)
    parts.forEach((part, i) => (offsets[i + 1] = offsets[i]! + part.length))
    return { ...base, layout: { kind: 'var' }, values: Uint8Array.from(Buffer.concat(parts)), offsets }
  }
  if (type.kind === 'bool') {
    const bits = new Uint8Array(((n + 63) >> 6) << 3)
    values.forEach((value, i) => {
      if (value === 1) bits[i >> 3]! |= 1 << (i & 7)
    })
    return { ...base, layout: { kind: 'bool' }, values: bits }
  }
  return { ...base, ...fixedOf(type, values) }
}

function fixedOf(type: ColumnType, values: readonly Stored[]): Pick<Vec, 'layout' | 'values'> {
  const width = { int: 0, float: 0, fixedSizeBinary: 0, timestamp: 8, date: 4, time: 0, decimal: 16 }[type.kind as 'int']
  const bytes = width || ('bytes' in type ? type.bytes : 'bits' in type ? type.bits / 8 : 'unit' in type && (type.unit === 's' || type.unit === 'ms') ? 4 : 8)
  const out = new Uint8Array(((bytes * values.length + 63) >> 6) << 6)
  const view = new DataView(out.buffer)
  values.forEach((value, i) => {
    const at = i * bytes
    if (value === null) return out.fill(0xa5, at, at + bytes)
    if (value instanceof Uint8Array) return out.set(value, at)
    if (type.kind === 'float') return bytes === 4 ? view.setFloat32(at, value as number, true) : view.setFloat64(at, value as number, true)
    let rest = BigInt(value)
    for (let k = 0; k < bytes; k++, rest >>= 8n) out[at + k] = Number(rest & 255n)
  })
  return { layout: { kind: 'fixed', width: bytes }, values: out }
}

/** Exact statistics of a column, in the forms of ColumnStats. */
export function statsOf(kind: string, values: readonly Stored[]): ColumnStats {
  const { type } = specOf(kindOf(kind).column)
  const present = values
    .filter((value) => value !== null && !Number.isNaN(value))
    .map((value) => (typeof value === 'string' ? Uint8Array.from(Buffer.from(value)) : (value as number | bigint | Uint8Array)))
  const sorted = present.toSorted((a, b) => (a instanceof Uint8Array ? Buffer.compare(a, b as Uint8Array) : sign(a, b as number)))
  const nullCount = values.filter((value) => value === null).length
  return {
    nullCount,
    ...(sorted.length === 0 ? {} : { min: sorted[0]!, max: sorted.at(-1)! }),
    ...(type.kind === 'float' ? { hasNaN: values.some((value) => Number.isNaN(value)) } : {}),
  }
}
