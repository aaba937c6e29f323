// The least and greatest value without groups: of 64 rows or more in one batch the sign of a zero was whichever lane of the kernel had it, so that it changed
// with the way batches cut the rows.
import { describe, expect, it } from 'vitest'
import { GroupedExtreme, GroupTable, makeVec } from '../../bindings/kernels/index.ts'

function extreme(Cells: Float64ArrayConstructor | Float32ArrayConstructor, cells: readonly number[], cuts: readonly number[], which: 'min' | 'max'): number {
  const width = Cells.BYTES_PER_ELEMENT
  const layout = { kind: 'fixed', width } as const
  using table = new GroupTable([])
  const found = new GroupedExtreme(table, { kind: width === 4 ? 'f32' : 'f64', layout }, which)
  let from = 0
  for (const to of [...cuts, cells.length]) {
    const batch = Cells.from(cells.slice(from, to))
    // Two rows do not count: a null with the other sign, and one that was not selected.
    const bits = new Uint8Array(16).fill(255)
    if (from === 0) bits[0]! &= ~1
    const selection = new Uint8Array(16).fill(255)
    if (from === 0) selection[0]! &= ~2
    table.assign([], to - from, selection)
    found.add(makeVec(layout, to - from, { values: new Uint8Array(batch.buffer), validity: bits }))
    from = to
  }
  return new Cells(found.values().values.slice().buffer)[0]!
}

describe.each([['f64', Float64Array] as const, ['f32', Float32Array] as const])('zeros of %s', (_, Cells) => {
  it.each([[[]], [[64]], [[65]], [[3, 66]]])('the first that counts is the extreme, cut at %j', (cuts) => {
    for (const first of [0, -0]) {
      // Rows 0 and 1 have the other sign, row 2 decides, then both signs take turns.
      const cells = Array.from({ length: 128 }, (__, row) => (row < 2 || row % 2 === 1 ? -first : first))
      for (const which of ['min', 'max'] as const) expect(extreme(Cells, cells, cuts, which)).toBe(first)
    }
  })
})
