import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { concat, encodeDictionary, sameValues, slice, type Vec } from '../../bindings/kernels/index.ts'
import { rowsToBatch } from '../../bindings/table/index.ts'
import { everyRow, everyType, viewOf } from '../unit/table/every-type.ts'

const view = viewOf(everyType)
const bitsOf = (bits: Uint8Array, n: number): boolean[] => Array.from({ length: n }, (_, i) => ((bits[i >> 3]! >> (i & 7)) & 1) === 1)

/** A text that is equal exactly for values that are stored as the same bytes. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) =>
    typeof v === 'bigint' ? `${v}n` : typeof v === 'number' ? (Object.is(v, -0) ? '-0' : String(v)) : v instanceof Uint8Array ? [...v] : v,
  )
}

describe('sameValues', () => {
  it('agrees with a comparison of the rows, for every column type, whatever slices and dictionaries they are in', () =>
    fc.assert(
      fc.property(fc.array(everyRow, { minLength: 1, maxLength: 40 }), fc.infiniteStream(fc.nat(39)), fc.nat(7), (rows, picks, shift) => {
        const others = rows.map((row) => {
          const other = rows[picks.next().value! % rows.length]!
          return picks.next().value! % 2 === 0 ? row : other
        })
        const pad = rows.slice(0, shift)
        const left = rowsToBatch(view, rows)
        const right = rowsToBatch(view, [...pad, ...others])
        view.columns.forEach((column, i) => {
          const shifted = slice(right.columns[i]!, pad.length, pad.length + rows.length)
          const encoded = (v: Vec): Vec => (v.layout.kind === 'var' ? (encodeDictionary(v, 1000) ?? v) : v)
          for (const [a, b] of [
            [left.columns[i]!, shifted],
            [encoded(left.columns[i]!), shifted],
            [left.columns[i]!, encoded(concat([shifted]))],
          ] as const) {
            const expected = rows.map((row, at) => textOf(row[column.name]) === textOf(others[at]![column.name]))
            expect(bitsOf(sameValues(a, b), rows.length), column.name).toEqual(expected)
          }
        })
      }),
      { numRuns: 60 },
    ))

  it('refuses columns of several lengths', () => {
    const batch = rowsToBatch(viewOf(everyType), fc.sample(everyRow, { numRuns: 3, seed: 1 }))
    expect(() => sameValues(batch.columns[0]!, slice(batch.columns[0]!, 0, 2))).toThrow(/one length/)
  })
})
