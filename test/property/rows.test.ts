import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeInline, type Vec } from '../../bindings/kernels/index.ts'
import { byteSink, sinkBytes } from '../../bindings/table/byte-sink.ts'
import { KeyLayout } from '../../bindings/table/key-layout.ts'
import { keyObjectFromBytes } from '../../bindings/table/key-object.ts'
import { keyBytesFromValue } from '../../bindings/table/key-values.ts'
import { KeyRun } from '../../bindings/table/memory-index.ts'
import { InlineRowWriter } from '../../bindings/table/row-inline.ts'
import { rowsToBatch } from '../../bindings/table/rows-in.ts'
import { rowReader } from '../../bindings/table/rows-out.ts'
import { t } from '../../bindings/table/columns.ts'
import { table } from '../../bindings/table/definition.ts'
import type { TableView } from '../../bindings/table/view.ts'
import { everyRow, everyType, viewOf } from '../unit/table/every-type.ts'

const view = viewOf(everyType)

/** The keys of stored rows, by the other road. */
function keysOf(of: TableView, columns: readonly Vec[], rows: number): KeyRun {
  const layout = KeyLayout.of(of.schema)!
  const keys = new KeyRun(layout.stride)
  layout.push(columns, 0, rows, keys)
  return keys
}
const rowsOf = fc.array(everyRow, { minLength: 1, maxLength: 64 })

describe('rows in every type', () => {
  it('come back as they were written', () => {
    const read = rowReader(view.columns)
    fc.assert(
      fc.property(rowsOf, (rows) => {
        const { columns, length } = rowsToBatch(view, rows)
        expect(length).toBe(rows.length)
        for (const vec of columns) expect(vec.validity === undefined).toBe(vec.nullCount === 0)
        expect(rows.map((_, i) => read(columns, i))).toEqual(rows)
      }),
      { numRuns: 60 },
    )
  })

  it('are written inline byte for byte as by way of columns', () => {
    const writer = new InlineRowWriter(view)
    fc.assert(
      fc.property(fc.array(rowsOf, { minLength: 1, maxLength: 3 }), (batches) => {
        const out = byteSink(64)
        const keys = byteSink(64)
        for (const rows of batches) {
          const start = out.at
          const keyStart = keys.at
          writer.write(rows, out, keys)
          const { columns, length } = rowsToBatch(view, rows)
          expect(sinkBytes(out, start)).toEqual(encodeInline(columns, 0, length))
          const expected = keysOf(view, columns, length)
          expect(sinkBytes(keys, keyStart)).toEqual(expected.data.slice(0, expected.end(length - 1)))
          expect([...writer.keyEnds.subarray(0, length)]).toEqual(rows.map((_, i) => keyStart + expected.end(i)))
        }
      }),
      { numRuns: 60 },
    )
  })
})

const KEYABLE = ['bool', 'i8', 'i32', 'u16', 'u32', 'asNumber', 'f64', 'dict', 'hash', 'seconds', 'us', 'date', 'clock'] as const

describe('keys', () => {
  it.each([...KEYABLE.map((name) => [name]), ['dict', 'id', 'text2'], ['f32b', 'bool'], ['blob2', 'uuid2', 'price2', 'u64b']])(
    'of %s %s %s %s have one spelling',
    (...names) => {
      const key = names.filter((name) => name !== undefined) as string[]
      const keyed = table(
        'keyed',
        {
          ...everyType.columns,
          text2: t.utf8(),
          f32b: t.float32(),
          blob2: t.binary(),
          uuid2: t.uuid(),
          price2: t.decimal128(38, 10),
          u64b: t.uint64(),
        } as never,
        { key: key as never },
      )
      const keyedView = viewOf(keyed)
      const more = fc.record({
        text2: fc.string({ unit: 'binary', maxLength: 300 }),
        // NaN as a key is refused.
        f32b: fc.float({ noNaN: true }),
        f64: fc.double({ noNaN: true }),
        blob2: fc.uint8Array({ maxLength: 9 }),
        uuid2: fc.uuid(),
        price2: fc.constantFrom('1.0000000000', '-1.0000000000'),
        u64b: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      })
      const writer = new InlineRowWriter(keyedView)
      fc.assert(
        fc.property(fc.array(fc.tuple(everyRow, more), { minLength: 1, maxLength: 5 }), (parts) => {
          const rows = parts.map(([a, b]) => ({ ...a, ...b }) as Record<string, unknown>)
          const { columns, length } = rowsToBatch(keyedView, rows)
          const all = keysOf(keyedView, columns, length)
          const keys = byteSink(16)
          writer.write(rows, byteSink(16), keys)
          expect(sinkBytes(keys)).toEqual(all.data.slice(0, all.end(length - 1)))
          for (const [i, row] of rows.entries()) {
            const own = all.data.slice(all.start(i), all.end(i))
            const asObject = Object.fromEntries(key.map((name) => [name, row[name]]))
            expect(keyBytesFromValue(keyedView, asObject)).toEqual(own)
            if (key.length === 1) expect(keyBytesFromValue(keyedView, row[key[0]!])).toEqual(own)
            expect(keyBytesFromValue(keyedView, keyObjectFromBytes(keyedView, own))).toEqual(own)
          }
        }),
        { numRuns: 20 },
      )
    },
  )
})
