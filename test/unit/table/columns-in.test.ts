import { describe, expect, it } from 'vitest'
import { NullKeyError, SchemaMismatchError } from '../../../bindings/errors.ts'
import { t } from '../../../bindings/table/columns.ts'
import { columns, isColumnData } from '../../../bindings/table/column-data.ts'
import { columnsToBatch, columnsToBatches } from '../../../bindings/table/columns-in.ts'
import { table } from '../../../bindings/table/definition.ts'
import { rowReader } from '../../../bindings/table/rows-out.ts'
import { viewOf } from './every-type.ts'

const flights = viewOf(
  table(
    'flights',
    {
      id: t.int64(),
      delay: t.int16().nullable(),
      origin: t.utf8().dictionary().default('SFO'),
      at: t.timestamp('us').nullable(),
      x: t.float64().nullable(),
      day: t.date().nullable(),
      n: t.int64({ as: 'number' }).nullable(),
    },
    { key: ['id'] },
  ),
)
const read = rowReader(flights.columns)

describe('columns()', () => {
  it('takes typed arrays of the stored layout without a copy', () => {
    const id = BigInt64Array.of(1n, 2n)
    const delay = Int16Array.of(3, -4)
    const at = BigInt64Array.of(5n, 6n)
    const x = Float64Array.of(0.5, Number.NaN)
    const data = columns({ id, delay, at, x })
    expect(isColumnData(data)).toBe(true)
    const batch = columnsToBatch(flights, data)
    expect([0, 1, 3, 4].map((i) => batch.columns[i]!.values.buffer)).toEqual([id.buffer, delay.buffer, at.buffer, x.buffer])
    expect(read(batch.columns, 1)).toEqual({ id: 2n, delay: -4, origin: 'SFO', at: 6n, x: Number.NaN, day: null, n: null })
  })

  it('copies a typed array that does not lie on 8 bytes', () => {
    const all = Int16Array.of(0, 1, 2, 3)
    const batch = columnsToBatch(flights, columns({ id: [1n, 2n], delay: all.subarray(1, 3) }))
    expect(batch.columns[1]!.values.byteOffset % 8).toBe(0)
    expect([0, 1].map((i) => read(batch.columns, i)['delay'])).toEqual([1, 2])
  })

  it('checks other arrays value by value, typed ones of another type too', () => {
    const batch = columnsToBatch(flights, columns({ id: Int32Array.of(7, 8), delay: [1, undefined], day: ['2026-11-21', null], n: BigInt64Array.of(1n, 2n) }))
    expect(read(batch.columns, 1)).toEqual({ id: 8n, delay: null, origin: 'SFO', at: null, x: null, day: null, n: 2 })
    expect(() => columnsToBatch(flights, columns({ id: [1n], n: BigInt64Array.of(2n ** 60n) }))).toThrow(
      'flights.n row 0: 1152921504606846976n is not a safe integer, and the column is read as number',
    )
    expect(() => columnsToBatch(flights, columns({ id: [1n], delay: Float64Array.of(1.5) }))).toThrow('flights.delay row 0: expected int16 or null, got 1.5')
  })

  it('counts rows over batches', () => {
    const ids = Array.from({ length: 10 }, (_, i) => (i === 7 ? null : BigInt(i)))
    const walk = (): unknown => [...columnsToBatches(flights, columns({ id: ids }), { targetRows: 3 })]
    expect(walk).toThrow(NullKeyError)
    expect(walk).toThrow('flights.id row 7: a key cannot be null')
  })

  it.each([
    [{ id: [1n, 2n], delay: [1] }, 'flights columns: "delay" has 1 rows, "id" has 2'],
    [{ delay: new Int16Array(99), id: new BigInt64Array(100) }, 'flights columns: "delay" has 99 rows, "id" has 100'],
    [{ id: [1n], dely: [1] }, 'flights columns: no column "dely"; did you mean "delay"?'],
    [{ id: [1n], delay: 5 as never }, 'flights columns: "delay" is 5, expected an array'],
    [{ id: [1n], delay: null as never }, 'flights columns: "delay" is null, expected an array'],
    [{ delay: [1] }, 'flights.id row 0: missing, and the column has no default'],
    [{ id: [1n, 2n], delay: [1, 40_000] }, 'flights.delay row 1: 40000 is outside int16 (-32768..32767)'],
  ])('refuses %#', (data, message) => {
    const write = (): unknown => columnsToBatch(flights, columns(data as Record<string, unknown[]>))
    expect(write).toThrow(SchemaMismatchError)
    expect(write).toThrow(message)
  })
})
