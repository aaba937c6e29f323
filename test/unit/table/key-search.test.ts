import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { searchWords } from '../../../bindings/table/key-search.ts'

function search(values: readonly bigint[], signed: boolean, key: bigint): number {
  const words = new Uint32Array(BigInt64Array.from(values.map((value) => BigInt.asIntN(64, value))).buffer)
  return searchWords(words, signed, new Uint8Array(BigInt64Array.of(BigInt.asIntN(64, key)).buffer))
}

describe('searchWords', () => {
  for (const signed of [true, false]) {
    it(`finds what indexOf finds, and the place of the rest, ${signed ? 'signed' : 'unsigned'}`, () => {
      const near = signed ? fc.bigInt({ min: -50n, max: 50n }) : fc.bigInt({ min: 0n, max: 100n })
      const far = signed ? fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) : fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
      const wide = fc.constantFrom(2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 62n)
      fc.assert(
        fc.property(fc.uniqueArray(fc.oneof(near, far, wide), { maxLength: 80 }), fc.oneof(near, far, wide), (unsorted, other) => {
          const values = unsorted.sort((a, b) => (a < b ? -1 : 1))
          values.forEach((value, i) => expect(search(values, signed, value)).toBe(i))
          const at = values.indexOf(other)
          expect(search(values, signed, other)).toBe(at >= 0 ? at : -1 - values.filter((value) => value < other).length)
        }),
        { numRuns: 300 },
      )
    })
  }
})
