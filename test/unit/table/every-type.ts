// A table with a column of every type, and rows for it.
import fc from 'fast-check'
import { t } from '../../../bindings/table/columns.ts'
import { schemaFromDefinition, table } from '../../../bindings/table/definition.ts'
import { resolveView } from '../../../bindings/table/resolve-view.ts'
import type { AnyTable } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'

export function viewOf(definition: AnyTable): TableView {
  return resolveView(definition, schemaFromDefinition(definition, 1))
}

export const everyType: AnyTable = table(
  'every',
  {
    id: t.int64(),
    bool: t.bool(),
    i8: t.int8(),
    i16: t.int16().nullable(),
    i32: t.int32(),
    u8: t.uint8().nullable(),
    u16: t.uint16(),
    u32: t.uint32(),
    u64: t.uint64().nullable(),
    asNumber: t.int64({ as: 'number' }),
    f32: t.float32().nullable(),
    f64: t.float64(),
    text: t.utf8().nullable(),
    dict: t.utf8().dictionary(),
    dictOrNull: t.utf8().dictionary().nullable(),
    blob: t.binary().nullable(),
    hash: t.fixedSizeBinary(5),
    uuid: t.uuid().nullable(),
    json: t.json<unknown>(),
    seconds: t.timestamp('s'),
    ms: t.timestamp('ms', { tz: 'UTC' }).nullable(),
    us: t.timestamp('us'),
    ns: t.timestamp('ns').nullable(),
    date: t.date(),
    days: t.date({ as: 'number' }).nullable(),
    clock: t.time('s'),
    clockNs: t.time('ns').nullable(),
    price: t.decimal128(38, 10).nullable(),
    list: t.list(t.utf8().nullable()).nullable(),
    lists: t.list(t.list(t.int16())),
    struct: t.struct({ a: t.int64({ as: 'number' }), b: t.utf8().nullable(), c: t.struct({ d: t.bool() }).nullable() }).nullable(),
    fsl: t.fixedSizeList(3, t.int32().nullable()).nullable(),
    vector: t.vector(4).nullable(),
    boolOrNull: t.bool().nullable(),
    structs: t.list(t.struct({ x: t.float64(), y: t.decimal128(5, 2).nullable() })).nullable(),
  },
  { key: ['id'] },
)

const int = (min: number, max: number): fc.Arbitrary<number> => fc.oneof(fc.integer({ min, max }), fc.constantFrom(min, max, 0))
const big = (min: bigint, max: bigint): fc.Arbitrary<bigint> => fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max, 0n, 1n << 32n))
const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.string({ maxLength: 60 }), fc.constantFrom('', 'SFO', 'Zürich', '🛫'.repeat(30)))
const few = fc.constantFrom('SFO', 'JFK', '', 'Zürich', '🛫')
const orNull = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(value, { nil: null, freq: 3 })
const I64: readonly [bigint, bigint] = [-(2n ** 63n), 2n ** 63n - 1n]
const dateText = (days: number): string => {
  const iso = new Date(days * 86_400_000).toISOString()
  return iso.slice(0, iso.indexOf('T'))
}

/** Rows as they are read back. */
export const everyRow: fc.Arbitrary<Record<string, unknown>> = fc.record({
  id: big(...I64),
  bool: fc.boolean(),
  i8: int(-128, 127),
  i16: orNull(int(-32_768, 32_767)),
  i32: int(-(2 ** 31), 2 ** 31 - 1),
  u8: orNull(int(0, 255)),
  u16: int(0, 65_535),
  u32: int(0, 2 ** 32 - 1),
  u64: orNull(big(0n, 2n ** 64n - 1n)),
  asNumber: int(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  f32: orNull(fc.float()),
  f64: fc.double(),
  text: orNull(text),
  dict: few,
  dictOrNull: orNull(few),
  blob: orNull(fc.uint8Array({ maxLength: 20 })),
  hash: fc.uint8Array({ minLength: 5, maxLength: 5 }),
  uuid: orNull(fc.uuid()),
  json: fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown),
  seconds: int(-8_640_000_000_000, 8_640_000_000_000).map((s) => new Date(s * 1000)),
  ms: orNull(int(-8.64e15, 8.64e15).map((ms) => new Date(ms))),
  us: big(...I64),
  ns: orNull(big(...I64)),
  date: int(-719_528, 2_932_896).map(dateText),
  days: orNull(int(-(2 ** 31), 2 ** 31 - 1)),
  clock: int(0, 86_399),
  clockNs: orNull(big(0n, 86_399_999_999_999n)),
  price: orNull(big(-(10n ** 38n) + 1n, 10n ** 38n - 1n)).map((unscaled) => {
    if (unscaled === null) return null
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(11, '0')
    return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -10)}.${digits.slice(-10)}`
  }),
  list: orNull(fc.array(orNull(text), { maxLength: 4 })),
  lists: fc.array(fc.array(int(-32_768, 32_767), { maxLength: 3 }), { maxLength: 3 }),
  struct: orNull(fc.record({ a: int(-5, Number.MAX_SAFE_INTEGER), b: orNull(text), c: orNull(fc.record({ d: fc.boolean() })) })),
  fsl: orNull(fc.array(orNull(int(-(2 ** 31), 2 ** 31 - 1)), { minLength: 3, maxLength: 3 })),
  vector: orNull(fc.float32Array({ minLength: 4, maxLength: 4 })),
  boolOrNull: orNull(fc.boolean()),
  structs: orNull(fc.array(fc.record({ x: fc.double(), y: orNull(fc.constantFrom('1.50', '-999.99', '0.00')) }), { maxLength: 3 })),
})
