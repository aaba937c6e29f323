import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CellType, columnOf, type Field, fieldText, parseField } from '../../../bindings/cli/column-type.ts'
import { Store, table } from '../../../bindings/index.ts'

const unit = fc.constantFrom('s', 'ms', 'us', 'ns')
const flat: fc.Arbitrary<CellType> = fc.oneof(
  fc.constantFrom<CellType>(
    { kind: 'bool' },
    { kind: 'json' },
    { kind: 'binary' },
    { kind: 'uuid' },
    { kind: 'date' },
    { kind: 'utf8' },
    { kind: 'utf8', dictionary: true },
  ),
  fc.record({ kind: fc.constant('int' as const), bits: fc.constantFrom(8, 16, 32, 64), signed: fc.boolean() }) as fc.Arbitrary<CellType>,
  fc.constantFrom<CellType>({ kind: 'float', bits: 32 }, { kind: 'float', bits: 64 }),
  fc.record({ kind: fc.constantFrom('fixedSizeBinary', 'vector'), size: fc.integer({ min: 1, max: 999 }) }) as fc.Arbitrary<CellType>,
  fc.record(
    { kind: fc.constant('timestamp'), unit, tz: fc.constantFrom('UTC', 'Europe/Berlin', '+05:30') },
    { requiredKeys: ['kind', 'unit'] },
  ) as fc.Arbitrary<CellType>,
  fc.record({ kind: fc.constant('time'), unit }) as fc.Arbitrary<CellType>,
  fc
    .integer({ min: 1, max: 38 })
    .chain((precision) => fc.integer({ min: 0, max: precision }).map((scale): CellType => ({ kind: 'decimal', precision, scale }))),
)
const { field } = fc.letrec<{ field: Field }>((tie) => ({
  field: fc.record({
    type: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      flat,
      tie('field').map((item): CellType => ({ kind: 'list', item })),
      fc.tuple(fc.integer({ min: 1, max: 9 }), tie('field')).map(([size, item]): CellType => ({ kind: 'fixedSizeList', size, item })),
      fc
        .uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 5 }), tie('field')), { minLength: 1, maxLength: 3, selector: ([name]) => name })
        .map((fields): CellType => ({ kind: 'struct', fields: fields.map(([name, one]) => ({ name, ...one })) })),
    ),
    nullable: fc.boolean(),
  }),
}))

describe('column types as text', () => {
  it('reads back every type', () => {
    fc.assert(
      fc.property(field, (one) => {
        expect(parseField(fieldText(one))).toEqual(one)
      }),
    )
  })

  it('spells types as the store lists them', async () => {
    await using store = await Store.open('memory:')
    let n = 0
    // Names inside structs are the store's business.
    const listed = field.filter((one) => !fieldText(one).includes('struct'))
    await fc.assert(
      fc.asyncProperty(listed, async (one) => {
        const name = `t${n++}`
        await store.create(table(name, { c: columnOf(one) }))
        const column = (await store.tables()).find((info) => info.name === name)!.columns[0]!
        expect(`${column.type}${column.nullable ? ' or null' : ''}`).toBe(fieldText(one))
      }),
      { numRuns: 60 },
    )
  })

  it.each(['', 'int', 'int7', 'int16 or', 'text', 'list<int8', 'struct<a: int8>', 'timestamp', 'timestamp[h]', 'int8 int8', 'decimal128(4)'])(
    'refuses %j with the place of the fault',
    (text) => {
      expect(() => parseField(text)).toThrow(/character \d+: not a column type/)
    },
  )
})
