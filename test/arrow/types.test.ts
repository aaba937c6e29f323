// docs/format.md, "Arrow types", against what columnsFromArrow makes of each type of Schema.fbs.
import { readFileSync } from 'node:fs'
import { tableFromArrays } from 'apache-arrow'
import { describe, expect, it } from 'vitest'
import { columnsFromArrow, Store, t, table, UnkeyableTypeError, UnsupportedTypeError, type VarveError } from '../../bindings/index.ts'
import { encodeFlatbuffer, type FlatTable, type FlatValue } from '../../bindings/format/flatbuffer.ts'
import { specOf } from '../../bindings/table/columns.ts'
import { describeType } from '../../bindings/table/physical.ts'

type Slots = readonly (FlatValue | undefined)[]
interface Kind {
  readonly id: number
  readonly slots?: Slots
  readonly children?: readonly FlatTable[]
  readonly isDictionary?: boolean
  readonly extension?: string
}

const i32 = (value: number): FlatValue => ({ as: 'i32', value })
const i16 = (value: number): FlatValue => ({ as: 'i16', value })
const yes: FlatValue = { as: 'bool', value: true }
const text = (value: string): FlatValue => ({ as: 'string', value })

function field(name: string, { id, slots = [], children = [], isDictionary = false, extension }: Kind): FlatTable {
  const dictionary: FlatValue = { as: 'table', value: [{ as: 'i64', value: 0 }] }
  const metadata: FlatValue = { as: 'tables', value: [[text('ARROW:extension:name'), text(extension ?? '')]] }
  return [
    text(name),
    undefined,
    { as: 'i8', value: id },
    { as: 'table', value: slots },
    isDictionary ? dictionary : undefined,
    { as: 'tables', value: children },
    extension === undefined ? undefined : metadata,
  ]
}

/** A stream of nothing but its schema. */
function schemaOf(fields: readonly FlatTable[]): Uint8Array {
  const schema: FlatTable = [i16(0), { as: 'tables', value: fields }]
  const message = encodeFlatbuffer([i16(4), { as: 'i8', value: 1 }, { as: 'table', value: schema }, { as: 'i64', value: 0 }])
  const bytes = new Uint8Array(8 + message.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 0xffffffff, true)
  view.setUint32(4, message.length, true)
  bytes.set(message, 8)
  return bytes
}

const int = (bits: number, signed: boolean): Kind => ({ id: 2, slots: [i32(bits), signed ? yes : undefined] })
const decimal = (bits: number, precision: number, scale: number): Kind => ({ id: 7, slots: [i32(precision), i32(scale), i32(bits)] })
const item = [field('item', int(32, true))]
const pair = [field('entries', { id: 13, children: [field('k', { id: 5 }), field('v', int(32, true))] })]
const union = { id: 14, children: [field('a', int(8, true))] }

/** Every type of Schema.fbs, and each way that its parameters change the answer. */
const TYPES: readonly (readonly [string, Kind])[] = [
  ['null', { id: 1 }],
  ['bool', { id: 6 }],
  ['int8', int(8, true)],
  ['int16', int(16, true)],
  ['int32', int(32, true)],
  ['int64', int(64, true)],
  ['uint8', int(8, false)],
  ['uint16', int(16, false)],
  ['uint32', int(32, false)],
  ['uint64', int(64, false)],
  ['float16', { id: 3, slots: [i16(0)] }],
  ['float32', { id: 3, slots: [i16(1)] }],
  ['float64', { id: 3, slots: [i16(2)] }],
  ['utf8', { id: 5 }],
  ['largeUtf8', { id: 20 }],
  ['utf8View', { id: 24 }],
  ['utf8, extension arrow.json', { id: 5, extension: 'arrow.json' }],
  ['binary', { id: 4 }],
  ['largeBinary', { id: 19 }],
  ['binaryView', { id: 23 }],
  ['fixedSizeBinary(n)', { id: 15, slots: [i32(5)] }],
  ['fixedSizeBinary(16), extension arrow.uuid', { id: 15, slots: [i32(16)], extension: 'arrow.uuid' }],
  ['fixedSizeBinary(0)', { id: 15, slots: [i32(0)] }],
  ['date32', { id: 8, slots: [i16(0)] }],
  ['date64', { id: 8, slots: [i16(1)] }],
  ['time[s], [ms], [us], [ns]', { id: 9, slots: [i16(2), i32(64)] }],
  ['timestamp[s], [ms], [us], [ns]', { id: 10, slots: [i16(2)] }],
  ['timestamp[unit, zone]', { id: 10, slots: [i16(3), text('Europe/Paris')] }],
  ['decimal32, decimal64, decimal128 (p, s)', decimal(128, 10, 2)],
  ['decimal256(p, s) with p up to 38', decimal(256, 38, 2)],
  ['decimal256(p, s) with p above 38', decimal(256, 39, 2)],
  ['decimals with s below 0 or above p', decimal(128, 5, -2)],
  ['list', { id: 12, children: item }],
  ['largeList', { id: 21, children: item }],
  ['fixedSizeList(n)', { id: 16, slots: [i32(3)], children: item }],
  ['fixedSizeList(n) of float32 without nulls', { id: 16, slots: [i32(3)], children: [field('item', { id: 3, slots: [i16(1)] })] }],
  ['fixedSizeList(0)', { id: 16, slots: [i32(0)], children: item }],
  ['struct', { id: 13, children: [field('a', int(8, true))] }],
  ['struct without fields', { id: 13 }],
  ['map', { id: 17, children: pair }],
  ['dictionary of utf8', { id: 5, isDictionary: true }],
  ['dictionary of another type that is not nested', { ...int(64, true), isDictionary: true }],
  ['dictionary of a nested type', { id: 12, children: item, isDictionary: true }],
  ['listView', { id: 25, children: item }],
  ['largeListView', { id: 26, children: item }],
  ['duration', { id: 18 }],
  ['interval', { id: 11 }],
  ['union', union],
  ['runEndEncoded', { id: 22, children: [field('run_ends', int(32, true)), field('values', int(8, true))] }],
]

function made(kind: Kind): string {
  try {
    const columns = columnsFromArrow(schemaOf([field('c', kind)]))
    return `\`${describeType(specOf(columns['c']).type)}\``
  } catch (error) {
    expect(error).toBeInstanceOf(UnsupportedTypeError)
    expect(error).toMatchObject({ code: 'table.unsupported-type', details: { column: 'c' } })
    return 'refused'
  }
}

describe('Arrow types', () => {
  const page = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('## Arrow types'))
  const listed = section
    .slice(0, section.indexOf('\n## ', 3) < 0 ? undefined : section.indexOf('\n## ', 3))
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| Arrow') && !line.startsWith('|-'))
    .map((line) =>
      line
        .split('|')
        .slice(1, 3)
        .map((cell) => cell.trim()),
    )

  it('are listed in docs/format.md with what becomes of them', () => {
    expect(listed).toEqual(TYPES.map(([name, kind]) => [name, made(kind)]))
  })

  it('are all there: none of Schema.fbs is missing', () => {
    const ids = new Set(TYPES.map(([, kind]) => kind.id))
    // 1 to 26, without the number of the schema's own end.
    expect([...ids].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 26 }, (_, i) => i + 1))
  })

  it.each([
    ['narrow decimals', decimal(32, 5, 2), '`decimal128(5, 2)`'],
    ['decimals of eight bytes', decimal(64, 18, 0), '`decimal128(18, 0)`'],
    ['time of seconds', { id: 9, slots: [i16(0), i32(32)] }, '`time[s]`'],
    ['an instant of seconds', { id: 10, slots: [i16(0)] }, '`timestamp[s]`'],
    ['an unknown type', { id: 99 }, 'refused'],
    ['a decimal of no digits', decimal(128, 0, 0), 'refused'],
    ['a scale above the precision', decimal(128, 5, 6), 'refused'],
    ['a list without an item', { id: 12 }, 'refused'],
    ['a map of one thing', { id: 17, children: [field('entries', { id: 13, children: [field('k', { id: 5 })] })] }, 'refused'],
  ] as const)('%s', (_what, kind, wanted) => {
    expect(made(kind as Kind)).toBe(wanted)
  })

  it('are refused where they are, however deep', () => {
    const deep = field('trips', { id: 12, children: [field('item', { id: 13, children: [field('kind', union)] })] })
    expect(() => columnsFromArrow(schemaOf([deep]))).toThrow('columnsFromArrow: column "trips[].kind": no column takes Arrow union without loss')
  })

  it('are nullable where Arrow says so, and where they are null', () => {
    const nullable = field('n', { id: 6 }).with(1, yes)
    const columns = columnsFromArrow(schemaOf([nullable, field('x', { id: 1 }), field('b', { id: 6 })]))
    expect(Object.entries(columns).map(([name, column]) => [name, specOf(column).nullable])).toEqual([
      ['n', true],
      ['x', true],
      ['b', false],
    ])
  })

  it('make tables with a key, whose column the code may say more about', async () => {
    const nullable = field('id', int(64, true)).with(1, yes)
    const columns = columnsFromArrow(schemaOf([nullable, field('on', { id: 6 })]))
    expect(() => table('trips', columns, { key: ['id'] })).toThrow(UnkeyableTypeError)
    const trips = table('trips', { ...columns, id: t.int64() }, { key: ['id'] })
    await using store = await Store.open('memory:')
    await store.create(trips)
    await store.upsert(trips, tableFromArrays({ id: BigInt64Array.of(1n, 2n), on: [true, true] }))
    await store.upsert(trips, tableFromArrays({ id: BigInt64Array.of(1n), on: [false] }))
    expect(await store.scan(trips, { orderBy: 'id' }).toArray()).toEqual([
      { id: 1n, on: false },
      { id: 2n, on: true },
    ])
  })

  it.each([
    ['no columns', [], 'columnsFromArrow: the Arrow data has no columns'],
    ['a name twice', [field('a', { id: 6 }), field('a', { id: 5 })], 'columnsFromArrow: column "a" is there twice'],
    [
      'a name twice in a struct',
      [field('s', { id: 13, children: [field('a', { id: 6 }), field('a', { id: 6 })] })],
      'columnsFromArrow: column "s.a" is there twice',
    ],
    ['a name that no column may have', [field('', { id: 6 })], 'columnsFromArrow: column name "" is empty'],
  ])('refuses %s', (_what, fields, message) => {
    expect(() => columnsFromArrow(schemaOf(fields))).toThrow(message)
  })

  it.each([
    ['bytes that are not Arrow', new TextEncoder().encode('id,delay\n1,2\n3,4\n'), 'table.schema', 'columnsFromArrow: the bytes are not readable Arrow IPC: '],
    ['no bytes', new Uint8Array(0), 'table.schema', 'columnsFromArrow: the bytes are not readable Arrow IPC: '],
    ['an object that is not Arrow', { schema: {} }, 'table.unsupported-type', 'columnsFromArrow: expected Arrow data, got object'],
    ['nothing', null, 'table.unsupported-type', 'columnsFromArrow: expected Arrow data, got null'],
  ])('refuses %s', (_what, data, code, message) => {
    try {
      columnsFromArrow(data as never)
      expect.unreachable()
    } catch (error) {
      expect((error as VarveError).code).toMatch(code)
      expect((error as VarveError).message).toContain(message)
    }
  })
})
