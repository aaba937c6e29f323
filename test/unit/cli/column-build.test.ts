import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packed, rowNumbers } from '../../../bindings/cli/formats/column-build.ts'
import type { CellType } from '../../../bindings/cli/column-type.ts'

describe('columns for the store', () => {
  it('packs numbers into the array of their type, and never wraps one', () => {
    const bits = fc.constantFrom(8 as const, 16 as const, 32 as const, 64 as const)
    fc.assert(
      fc.property(
        bits,
        fc.boolean(),
        fc.array(fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n })),
        fc.integer({ min: 0, max: 66 }),
        (width, signed, values, shift) => {
          const cells = values.map((value) => (width === 64 ? value >> BigInt(shift) : Number(value >> BigInt(shift))))
          const column = packed({ kind: 'int', bits: width, signed }, cells)
          expect(Array.from(column)).toEqual(cells)
        },
      ),
    )
  })

  it('leaves a column with a null as it is', () => {
    const cells = [1, null]
    expect(packed({ kind: 'int', bits: 8, signed: true }, cells)).toBe(cells)
  })

  it.each<[CellType, unknown[], Function]>([
    [{ kind: 'int', bits: 16, signed: false }, [65535], Uint16Array],
    [{ kind: 'int', bits: 64, signed: true }, [-1n], BigInt64Array],
    [{ kind: 'float', bits: 64 }, [0.5], Float64Array],
    [{ kind: 'timestamp', unit: 'us' }, [5n], BigInt64Array],
    [{ kind: 'timestamp', unit: 'ms' }, [5n], Array],
  ])('%s', (type, cells, expected) => {
    expect(packed(type, cells)).toBeInstanceOf(expected)
  })

  it('numbers rows across 32 bits', () => {
    expect([...rowNumbers(2 ** 32 - 2, 4)]).toEqual([2n ** 32n - 2n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 32n + 1n])
    expect([...rowNumbers(0, 3)]).toEqual([0n, 1n, 2n])
  })
})
