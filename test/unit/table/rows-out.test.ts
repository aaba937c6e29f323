import { describe, expect, it } from 'vitest'
import { concat, encodeDictionary, type Vec } from '../../../bindings/kernels/index.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { rowsToBatch } from '../../../bindings/table/rows-in.ts'
import { cellReader, cellReaderOf, plainRowReader, rowReader, textOf } from '../../../bindings/table/rows-out.ts'
import type { Columns } from '../../../bindings/table/types.ts'
import type { TableView } from '../../../bindings/table/view.ts'
import { viewOf } from './every-type.ts'

const one = (column: unknown): TableView => viewOf(table('t', { x: column } as unknown as Columns))
const vecOf = (column: unknown, values: readonly unknown[]): Vec =>
  rowsToBatch(
    one(column),
    values.map((x) => ({ x })),
  ).columns[0]!

/** The values of a column written as one definition and read as another. */
function readAs(written: unknown, read: unknown, values: readonly unknown[]): unknown[] {
  const vec = vecOf(written, values)
  const cell = cellReader(one(read).columns[0]!, vec)
  return values.map((_, i) => cell(i))
}

describe('what the reader chooses', () => {
  it.each([
    [t.int64(), t.int64({ as: 'number' }), [1n, -5n], [1, -5]],
    [t.uint64(), t.uint64({ as: 'number' }), [2n ** 53n - 1n], [2 ** 53 - 1]],
    [t.timestamp('ms'), t.timestamp('ms', { as: 'number' }), [new Date(-7)], [-7]],
    [t.timestamp('ms'), t.timestamp('ms', { as: 'bigint' }), [new Date(-7)], [-7n]],
    [t.timestamp('us'), t.timestamp('us', { as: 'number' }), [5n], [5]],
    [t.date(), t.date({ as: 'date' }), ['2026-11-21'], [new Date('2026-11-21')]],
    [t.date(), t.date({ as: 'number' }), ['1970-01-03'], [2]],
    [t.list(t.int64()), t.list(t.int64({ as: 'number' })), [[1n]], [[1]]],
    [t.struct({ a: t.date() }), t.struct({ a: t.date({ as: 'number' }) }), [{ a: '1970-01-02' }], [{ a: 1 }]],
  ])('%#', (written, read, values, expected) => {
    expect(readAs(written, read, values)).toEqual(expected)
  })

  it('is refused where it would lose something', () => {
    const read = (): unknown => readAs(t.int64(), t.int64({ as: 'number' }), [2n ** 53n])
    expect(read).toThrow(RangeError)
    expect(read).toThrow('x: 9007199254740992 is not a safe integer; read the column as bigint')
    expect(() => readAs(t.uint64(), t.uint64({ as: 'number' }), [2n ** 64n - 1n])).toThrow('x: 18446744073709551615 is not a safe integer')
    expect(() => readAs(t.timestamp('ms', { as: 'bigint' }), t.timestamp('ms'), [2n ** 62n])).toThrow(RangeError)
  })
})

describe('dates as text', () => {
  it.each([0, -1, 59, -719_528, 2_932_896, 2_932_897, -719_529, 11_016, -2_147_483_648, 2_147_483_647])('%i days', (days) => {
    const text = readAs(t.date({ as: 'number' }), t.date(), [days])[0] as string
    expect(readAs(t.date(), t.date({ as: 'number' }), [text])).toEqual([days])
    if (Math.abs(days) < 100_000_000) expect(new Date(text).getTime()).toBe(days * 86_400_000)
  })
})

describe('a reader', () => {
  it('goes from Vec to Vec and back', () => {
    const read = cellReaderOf(one(t.int64()).columns[0]!)
    const a = vecOf(t.int64(), [1n, 2n, -(2n ** 63n)])
    const b = vecOf(t.int64(), [3n, 4n])
    const order: readonly (readonly [Vec, number])[] = [[a, 0], [b, 1], [a, 2], [a, 1], [a, 2], [b, 0], [b, 1], [a, 0]] // prettier-ignore
    expect(order.map(([vec, row]) => read(vec, row))).toEqual([1n, 4n, -(2n ** 63n), 2n, -(2n ** 63n), 3n, 4n, 1n])
  })

  it('reads strings alike whether or not they are a dictionary', () => {
    const values = ['SFO', null, '', 'Zürich', 'x'.repeat(40), 'SFO', null, '🛫']
    const plain = vecOf(t.utf8().nullable(), values)
    const dictionary = encodeDictionary(plain, 100)!
    const read = cellReaderOf(one(t.utf8().nullable()).columns[0]!)
    for (const vec of [plain, dictionary, concat([dictionary, plain]), dictionary]) expect(values.map((_, i) => read(vec, i))).toEqual(values)
  })

  it('gives binary values as views and vectors as copies', () => {
    const blobs = vecOf(t.binary(), [Uint8Array.of(1, 2), Uint8Array.of(3)])
    const blob = cellReader(one(t.binary()).columns[0]!, blobs)(1) as Uint8Array
    expect(blob).toEqual(Uint8Array.of(3))
    expect(blob.buffer).toBe(blobs.values.buffer)
    const vectors = vecOf(t.vector(2), [[1, 2], [3, 4]]) // prettier-ignore
    const vector = cellReader(one(t.vector(2)).columns[0]!, vectors)(1) as Float32Array
    expect(vector).toEqual(Float32Array.of(3, 4))
    expect(vector.buffer).not.toBe(vectors.children[0]!.values.buffer)
  })

  it('parses json anew for every row', () => {
    const read = cellReader(one(t.json()).columns[0]!, vecOf(t.json(), [{ a: [1] }]))
    expect(read(0)).toEqual({ a: [1] })
    expect(read(0)).not.toBe(read(0))
  })
})

describe('rows', () => {
  const names = ['constructor', 'a"b\\', 'valueOf', '\u2028', 'then', 'row', 'vecs', 'r0']
  const view = viewOf(table('t', Object.fromEntries(names.map((name) => [name, t.int32()])) as Columns))
  const row = Object.fromEntries(names.map((name, i) => [name, i]))

  it('are plain objects with any column names', () => {
    const { columns } = rowsToBatch(view, [row])
    const read = rowReader(view.columns)
    expect(read(columns, 0)).toEqual(row)
    expect(Object.getPrototypeOf(read(columns, 0))).toBe(Object.prototype)
    expect(Object.keys(read(columns, 0))).toEqual(names)
    expect(read(columns, 0)).not.toBe(read(columns, 0))
  })

  it('are the same where code cannot be generated', () => {
    const { columns } = rowsToBatch(view, [row])
    expect(plainRowReader(names, view.columns.map(cellReaderOf))(columns, 0)).toEqual(row)
  })

  it('miss columns that are theirs, not those of Object.prototype', () => {
    expect(() => rowsToBatch(view, [{}])).toThrow('t.constructor row 0: missing, and the column has no default')
  })
})

it('decodes UTF-8 of every length', () => {
  for (let length = 0; length < 60; length++) {
    for (const text of ['x'.repeat(length), `${'x'.repeat(length)}ü`, `🛫${'x'.repeat(length)}`, `\ufeff${'y'.repeat(length)}`]) {
      const bytes = new TextEncoder().encode(`ab${text}cd`)
      expect(textOf(bytes, 2, bytes.length - 2)).toBe(text)
    }
  }
})
