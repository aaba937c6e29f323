// test/kernel/aggregate.test.ts: counts, sums and extremes against loops over cells.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { countValid, minMaxVec, sumVec, type ValueKind, type Vec } from '../../bindings/kernels/index.ts'
import { lengths, randomOf, selectionFor, SELECTION_SHAPES, vecOf } from './vec-model.ts'
import { type Cell, cellAt, compareValues, kinds, layoutFor, rowsOfKind } from './value-model.ts'

const sampled = fc.record({
  kind: fc.constantFrom(...kinds),
  choice: fc.nat(5),
  n: lengths,
  seed: fc.integer(),
  few: fc.boolean(),
  nulls: fc.constantFrom(0, 0.2, 1),
  shape: fc.option(fc.nat(SELECTION_SHAPES - 1), { nil: undefined }),
})

interface Sample {
  readonly vec: Vec
  readonly selection: Uint8Array | undefined
  readonly cells: readonly (Cell | undefined)[]
}

/** A column, a selection of it, and its cells with the rows left out as undefined. */
function sample(kind: ValueKind, choice: number, n: number, seed: number, few: boolean, nulls: number, shape: number | undefined): Sample {
  const layout = layoutFor(kind, choice)
  const vec = vecOf(layout, rowsOfKind(kind, layout, n, nulls, few, randomOf(seed)), seed)
  const picked = shape === undefined ? undefined : selectionFor(n, shape, seed)
  const rows = picked && new Set(picked.chosen)
  const cells = Array.from({ length: n }, (_, i) => (rows && !rows.has(i) ? undefined : (cellAt(vec, kind, i) ?? undefined)))
  return { vec, selection: picked?.bits, cells }
}

/** The kernel's tree, written down again: leaves of 128 rows in four lanes, then pairs. */
function pairwise(cells: readonly (number | undefined)[]): number {
  const leaves: number[] = []
  for (let first = 0; first < cells.length; first += 128) {
    const lanes = [0, 0, 0, 0]
    for (let i = first; i < Math.min(cells.length, first + 128); i++) lanes[i % 4]! += cells[i] ?? 0
    leaves.push(lanes[0]! + lanes[1]! + (lanes[2]! + lanes[3]!))
  }
  const tree = (from: number, to: number): number => {
    if (to - from <= 1) return leaves[from] ?? 0
    const half = 2 ** (Math.ceil(Math.log2(to - from)) - 1)
    return tree(from, from + half) + tree(from + half, to)
  }
  return tree(0, leaves.length)
}

describe('sumVec', () => {
  it('is exact for integers', () => {
    fc.assert(
      fc.property(sampled, ({ kind, choice, n, seed, few, nulls, shape }) => {
        fc.pre(/^[iu](8|16|32|64)$/.test(kind))
        const { vec, selection, cells } = sample(kind, choice, n, seed, few, nulls, shape)
        let total = 0n
        for (const cell of cells) total += BigInt((cell as number | bigint | undefined) ?? 0)
        expect(sumVec(vec, kind, selection)).toBe(kind.endsWith('64') ? total : Number(total))
      }),
      { numRuns: 800 },
    )
  })

  it('passes 64 bits without wrapping, over several pieces', () => {
    const rows = Array.from({ length: 40_000 }, () => 'ffffffffffffff7f')
    const vec = vecOf({ kind: 'fixed', width: 8 }, rows)
    expect(sumVec(vec, 'i64')).toBe(40_000n * (2n ** 63n - 1n))
    expect(sumVec(vec, 'u64')).toBe(40_000n * (2n ** 63n - 1n))
    const least = vecOf(
      { kind: 'fixed', width: 8 },
      rows.map(() => '0000000000000080'),
    )
    expect(sumVec(least, 'i64')).toBe(-40_000n * 2n ** 63n)
  })

  it('adds floats pairwise, the same however the other rows were left out', () => {
    fc.assert(
      fc.property(sampled, fc.constantFrom('f32' as const, 'f64' as const), ({ choice, n, seed, few, nulls, shape }, kind) => {
        const { vec, selection, cells } = sample(kind, choice, n, seed, few, nulls, shape)
        expect(sumVec(vec, kind, selection)).toBe(pairwise(cells as (number | undefined)[]))
      }),
      { numRuns: 500 },
    )
  })

  it('adds long float columns as one tree', () => {
    for (const n of [16_384, 16_385, 49_152, 70_000]) {
      const random = randomOf(n)
      const values = Float64Array.from({ length: n }, () => (random.u32() - 2 ** 31) / 3)
      const vec: Vec = {
        layout: { kind: 'fixed', width: 8 },
        length: n,
        nullCount: 0,
        validity: undefined,
        values: new Uint8Array(values.buffer),
        offsets: undefined,
        children: [],
        dictionary: undefined,
      }
      expect(sumVec(vec, 'f64')).toBe(pairwise([...values]))
    }
  })

  it('of no rows is zero', () => {
    expect(sumVec(vecOf({ kind: 'fixed', width: 8 }, []), 'i64')).toBe(0n)
    expect(sumVec(vecOf({ kind: 'fixed', width: 4 }, [null]), 'i32')).toBe(0)
    expect(sumVec(vecOf({ kind: 'fixed', width: 8 }, [null]), 'f64')).toBe(0)
  })

  it('reads integers that are stored narrower than their kind', () => {
    expect(sumVec(vecOf({ kind: 'fixed', width: 2 }, ['ffff', '0100', '0200']), 'i64')).toBe(2n)
    expect(minMaxVec(vecOf({ kind: 'fixed', width: 1 }, ['ff', '01']), 'i64')).toEqual({ min: -1n, max: 1n })
    expect(minMaxVec(vecOf({ kind: 'fixed', width: 1 }, ['ff', '01']), 'u32')).toEqual({ min: 1, max: 255 })
  })
})

describe('minMaxVec and countValid', () => {
  it('look at every piece of a long column', () => {
    for (const kind of ['bytes', 'i32', 'f64'] as const) {
      for (const choice of [0, 1, 3]) {
        const { vec, selection, cells } = sample(kind, choice, 40_000, choice, false, 0.1, 5)
        const known = cells.filter((cell) => cell !== undefined && !Number.isNaN(cell)) as Exclude<Cell, null>[]
        const ordered = known.sort(compareValues)
        const found = minMaxVec(vec, kind, selection)
        expect(compareValues(found!.min, ordered[0]!)).toBe(0)
        expect(compareValues(found!.max, ordered.at(-1)!)).toBe(0)
      }
    }
  })

  it('equal loops over the cells, NaN and nulls skipped', () => {
    fc.assert(
      fc.property(sampled, ({ kind, choice, n, seed, few, nulls, shape }) => {
        const { vec, selection, cells } = sample(kind, choice, n, seed, few, nulls, shape)
        const known = cells.filter((cell) => cell !== undefined) as Exclude<Cell, null>[]
        expect(countValid(vec, selection)).toBe(known.length)
        const ordered = known.filter((cell) => !Number.isNaN(cell)).sort(compareValues)
        const found = minMaxVec(vec, kind, selection)
        if (ordered.length === 0) {
          expect(found).toBeUndefined()
          return
        }
        expect(compareValues(found!.min, ordered[0]!)).toBe(0)
        expect(compareValues(found!.max, ordered.at(-1)!)).toBe(0)
        expect(typeof found!.min).toBe(typeof ordered[0]!)
      }),
      { numRuns: 1000 },
    )
  })
})
