// test/kernel/groups.test.ts: grouping by hashing and running aggregates by group, against Maps and loops over cells.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bitmapAll,
  GroupedCount,
  GroupedDistinct,
  GroupedExtreme,
  GroupedFloatSum,
  GroupedIntSum,
  GroupTable,
  type Layout,
  makeVec,
  slice,
  type ValueKind,
  type Vec,
} from '../../bindings/kernels/index.ts'
import { extremeOf, groupedRows, keyText, pairwise, sumOf } from './oracles/groups.ts'
import { type Cell, cellAt, kinds, layoutFor, rowsOfKind } from './value-model.ts'
import { checkVec, lengths, randomOf, type Row, SELECTION_SHAPES, selectionFor, vecOf } from './vec-model.ts'

interface Column {
  readonly kind: ValueKind
  /** As the batches bring it; a dict column is stated as var. */
  readonly layout: Layout
  readonly vec: Vec
  readonly cells: readonly Cell[]
}

function columnOf(kind: ValueKind, choice: number, n: number, nulls: number, few: boolean, seed: number): Column {
  const layout = layoutFor(kind, choice)
  const vec = vecOf(layout, rowsOfKind(kind, layout, n, nulls, few, randomOf(seed)), seed)
  return { kind, layout, vec, cells: Array.from({ length: n }, (_, i) => cellAt(vec, kind, i)) }
}

const plain = ({ kind, layout }: Column): { kind: ValueKind; layout: Layout } => ({ kind, layout: layout.kind === 'dict' ? { kind: 'var' } : layout })

/** Rows of both bitmaps cut alike; every part with its own buffers. */
function* partsOf(n: number, cuts: readonly number[]): Generator<[from: number, to: number]> {
  const ends = [...cuts.map((cut) => cut % (n + 1)), n].sort((a, b) => a - b)
  let from = 0
  for (const to of ends) {
    yield [from, to]
    from = to
  }
}

function bitsFrom(bits: Uint8Array | undefined, from: number, to: number): Uint8Array | undefined {
  if (bits === undefined) return undefined
  const out = new Uint8Array(Math.ceil((to - from) / 8))
  for (let i = from; i < to; i++) if (((bits[i >> 3]! >> (i & 7)) & 1) === 1) out[(i - from) >> 3]! |= 1 << ((i - from) & 7)
  return out
}

/** A column whose batches bring plain and dictionary-encoded rows in turn. */
function batchOf(column: Column, from: number, to: number, seed: number): Vec {
  const { layout, vec, kind } = column
  if (kind !== 'bytes' || layout.kind === 'fixed' || seed % 2 === 0) return slice(vec, from, to)
  const rows = column.cells.slice(from, to).map((cell): Row => (cell === null ? null : Buffer.from(cell as Uint8Array).toString('hex')))
  return vecOf(layout.kind === 'dict' ? { kind: 'var' } : { kind: 'dict', width: 4 }, rows, seed)
}

const sampled = fc.record({
  n: lengths,
  seed: fc.integer(),
  few: fc.boolean(),
  nulls: fc.constantFrom(0, 0.2, 1),
  shape: fc.option(fc.nat(SELECTION_SHAPES - 1), { nil: undefined }),
  cuts: fc.array(fc.nat(300), { maxLength: 4 }),
})
const keyed = fc.array(fc.record({ kind: fc.constantFrom(...kinds), choice: fc.nat(4) }), { maxLength: 3 })

interface Run {
  readonly table: GroupTable
  /** Rows of each group, by the oracle. */
  readonly groups: readonly (readonly number[])[]
}

/** Groups the rows of `keys` batch by batch; shows each batch to `visit` when its groups are known. */
function grouped(
  keys: readonly Column[],
  { n, seed, shape, cuts }: { n: number; seed: number; shape: number | undefined; cuts: readonly number[] },
  visit: (table: GroupTable, from: number, to: number, seed: number) => void = () => {},
  made: (table: GroupTable) => void = () => {},
): Run {
  const picked = shape === undefined ? undefined : selectionFor(n, shape, seed)
  const chosen = picked && new Set(picked.chosen)
  const found = groupedRows(
    Array.from({ length: n }, (_, row) => keys.map(({ cells }) => cells[row]!)),
    (row) => chosen?.has(row) ?? true,
  )
  // Without columns there is one group, of any number of rows.
  const groups = keys.length === 0 && found.length === 0 ? [[]] : found
  const numberOf = new Map(groups.flatMap((rows, group) => rows.map((row) => [row, group])))
  const table = new GroupTable(keys.map(plain))
  made(table)
  let part = seed & 0xff
  for (const [from, to] of partsOf(n, cuts)) {
    table.assign(
      keys.map((column, i) => batchOf(column, from, to, ++part + i)),
      to - from,
      bitsFrom(picked?.bits, from, to),
    )
    const numbers = table.groups()
    for (let row = from; row < to; row++) if (numberOf.has(row)) expect(numbers[row - from]).toBe(numberOf.get(row))
    visit(table, from, to, ++part)
  }
  expect(table.size).toBe(groups.length)
  return { table, groups }
}

describe('GroupTable', () => {
  it('numbers groups in first-seen order and gives their keys back', () => {
    fc.assert(
      fc.property(sampled, keyed, (o, of) => {
        const keys = of.map(({ kind, choice }, i) => columnOf(kind, choice, o.n, o.nulls, o.few, o.seed + i))
        const { table, groups } = grouped(keys, o)
        for (const [c, vec] of table.keys().entries()) {
          checkVec(vec)
          const { kind, cells } = keys[c]!
          expect(Array.from({ length: vec.length }, (_, i) => keyText(cellAt(vec, kind, i)))).toEqual(groups.map((rows) => keyText(cells[rows[0]!]!)))
        }
        table[Symbol.dispose]()
      }),
      { numRuns: 600 },
    )
  })

  it.each([
    ['i32', 1],
    ['i64', 3],
    ['f64', 1],
    ['u16', 1],
  ] as const)('grows in the middle of a batch: 70,000 values of %s', (kind, step) => {
    const n = 70_000
    const values = { i32: Int32Array, i64: BigInt64Array, f64: Float64Array, u16: Uint16Array }[kind]
    const cells = Array.from({ length: n }, (_, i) => (i * step) % (kind === 'u16' ? 2 ** 16 : n))
    const array = values === BigInt64Array ? BigInt64Array.from(cells, BigInt) : (values as Int32ArrayConstructor).from(cells)
    const vec = makeVec({ kind: 'fixed', width: array.BYTES_PER_ELEMENT }, n, { values: new Uint8Array(array.buffer) })
    using table = new GroupTable([{ kind, layout: vec.layout }])
    const counts = new GroupedCount(table)
    for (let i = 0; i < 2; i++) {
      table.assign([vec], n)
      counts.add()
    }
    const seen = new Map<number, number>()
    const expected = cells.map((cell) => seen.get(cell) ?? (seen.set(cell, seen.size), seen.size - 1))
    expect(table.groups()).toEqual(Uint32Array.from(expected))
    expect(table.size).toBe(seen.size)
    expect(counts.counts().reduce((a, b) => a + b)).toBe(2 * n)
    expect(table.keys()[0]!.values.slice(0, 64)).toEqual(vec.values.slice(0, 64))
  })

  it.each(['i32', 'i64', 'u64', 'f64'] as const)('keeps null and zero of %s apart when the table grows between them', (kind) => {
    const n = 3000
    const width = kind === 'i32' ? 4 : 8
    const values = new Uint8Array(n * width)
    const view = new DataView(values.buffer)
    // Null first, then every value from 1 on, then zero, then null again: what stands behind a null is zero, too.
    for (let i = 1; i < n - 2; i++) {
      if (kind === 'i32') view.setInt32(i * 4, i, true)
      else if (kind === 'f64') view.setFloat64(i * 8, i, true)
      else view.setBigInt64(i * 8, BigInt(i), true)
    }
    const validity = bitmapAll(n)
    for (const row of [0, n - 1]) validity[row >> 3]! &= ~(1 << (row & 7))
    const vec = makeVec({ kind: 'fixed', width }, n, { values, validity })
    using table = new GroupTable([{ kind, layout: vec.layout }])
    table.assign([vec], n)
    expect(table.groups()).toEqual(Uint32Array.from({ length: n }, (_, row) => (row === n - 1 ? 0 : row)))
    expect(table.size).toBe(n - 1)
  })

  it('keeps more than 2^16 texts apart, however alike they begin', () => {
    const n = 70_000
    const texts = Array.from({ length: n }, (_, i) => `the same beginning of every text ${'x'.repeat(i % 9)}${i}`)
    const offsets = new Int32Array(n + 1)
    const data = Buffer.from(texts.join(''))
    texts.forEach((text, i) => (offsets[i + 1] = offsets[i]! + text.length))
    const vec = makeVec({ kind: 'var' }, n, { values: data, offsets })
    using table = new GroupTable([{ kind: 'bytes', layout: { kind: 'var' } }])
    table.assign([vec], n)
    table.assign([slice(vec, 1000, n)], n - 1000)
    expect(table.size).toBe(n)
    expect(table.groups()).toEqual(Uint32Array.from({ length: n - 1000 }, (_, i) => i + 1000))
    expect(Buffer.compare(table.keys()[0]!.values, data)).toBe(0)
  })

  it('tells empty texts, nulls and zeros apart, and a text from its extension by a zero byte', () => {
    const rows = ['', null, '00', '0000', '0000000000000000', '000000000000000000', '', null, '00']
    using table = new GroupTable([{ kind: 'bytes', layout: { kind: 'var' } }])
    table.assign([vecOf({ kind: 'var' }, rows)], rows.length)
    expect([...table.groups()]).toEqual([0, 1, 2, 3, 4, 5, 0, 1, 2])
  })

  it('goes from a grid of pairs to hashing without changing a number', () => {
    const n = 90_000
    const ints = (at: (i: number) => number): Vec =>
      makeVec({ kind: 'fixed', width: 4 }, n, { values: new Uint8Array(Int32Array.from({ length: n }, (_, i) => at(i)).buffer) })
    const [a, b, c] = [ints((i) => i % 300), ints((i) => (i * 7) % 450), ints((i) => (i < 40_000 ? 1 : i))]
    const of = { kind: 'i32', layout: { kind: 'fixed', width: 4 } } as const
    using table = new GroupTable([of, of, of])
    const seen = new Map<string, number>()
    for (let from = 0; from < n; from += 9_000) {
      table.assign(
        [a, b, c].map((vec) => slice(vec, from, from + 9_000)),
        9_000,
      )
      const numbers = table.groups()
      for (let i = 0; i < 9_000; i++) {
        const row = from + i
        const key = `${row % 300},${(row * 7) % 450},${row < 40_000 ? 1 : row}`
        if (!seen.has(key)) seen.set(key, seen.size)
        if (numbers[i] !== seen.get(key)) expect.fail(`row ${row}: group ${numbers[i]}, not ${seen.get(key)}`)
      }
    }
    const keys = table.keys().map(({ values }) => new Int32Array(values.buffer, values.byteOffset, table.size))
    expect(Array.from({ length: table.size }, (_, g) => keys.map((column) => column[g]).join())).toEqual([...seen.keys()])
  })

  it('a small limit leaves room for few pairs of many numbers', () => {
    const n = 1500
    const vec = makeVec({ kind: 'fixed', width: 4 }, n, { values: new Uint8Array(Int32Array.from({ length: n }, (_, i) => i).buffer) })
    const of = { kind: 'i32', layout: vec.layout } as const
    using table = new GroupTable([of, of, of], { limitBytes: 1 << 20 })
    table.assign([vec, vec, vec], n)
    table.assign([vec, vec, vec], n)
    expect(table.groups()).toEqual(Uint32Array.from({ length: n }, (_, i) => i))
    expect(table.size).toBe(n)
  })

  it('throws a typed error where the limit is passed, and the next table works', () => {
    const n = 100_000
    const vec = makeVec({ kind: 'fixed', width: 8 }, n, { values: new Uint8Array(BigInt64Array.from({ length: n }, (_, i) => BigInt(i)).buffer) })
    const of = [{ kind: 'i64', layout: vec.layout }] as const
    const small = new GroupTable(of, { limitBytes: 1 << 20 })
    expect(() => small.assign([vec], n)).toThrow(expect.objectContaining({ code: 'kernel.memory-exhausted' }))
    small[Symbol.dispose]()
    using table = new GroupTable(of)
    table.assign([vec], n)
    expect(table.size).toBe(n)
  })
})

describe('when kernel memory does not grow', () => {
  const n = 60_000
  const random = randomOf(3)
  const fixed = (array: Int32Array | BigInt64Array | Float64Array): Vec =>
    makeVec({ kind: 'fixed', width: array.BYTES_PER_ELEMENT }, n, { values: new Uint8Array(array.buffer) })
  const a = fixed(Int32Array.from({ length: n }, () => random.below(20_000)))
  const b = vecOf(
    { kind: 'var' },
    Array.from({ length: n }, () => Buffer.from(`text ${random.below(9000)}`).toString('hex')),
  )
  const floats = fixed(Float64Array.from({ length: n }, () => random.u32() / 3))
  const decimals = vecOf(
    { kind: 'fixed', width: 16 },
    Array.from({ length: n }, (_, i) => i.toString(16).padStart(32, '0')),
  )
  const column = { kind: 'bytes', layout: { kind: 'var' } } as const

  function everything(): unknown {
    using table = new GroupTable([{ kind: 'i32', layout: a.layout }, column])
    const sums = new GroupedIntSum(table, 'i128')
    const pairwiseSums = new GroupedFloatSum(table, 'f64')
    const distinct = new GroupedDistinct(table, column)
    const most = new GroupedExtreme(table, column, 'max')
    for (let from = 0; from < n; from += n / 2) {
      const part = (vec: Vec): Vec => slice(vec, from, from + n / 2)
      table.assign([part(a), part(b)], n / 2)
      sums.add(part(decimals))
      pairwiseSums.add(part(floats))
      distinct.add(part(b))
      most.add(part(b))
    }
    const { size } = table
    return [size, sums.at(size - 1), pairwiseSums.sums(), distinct.counts(), most.values(), table.keys()]
  }

  it('the n-th growth is a typed error for every n, and the next run gives what it should', () => {
    const { grow } = WebAssembly.Memory.prototype
    const expected = everything()
    let failures = 0
    for (let n = 1, done = false; !done; n++) {
      let count = 0
      WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
        if (++count === n) throw new RangeError('no more memory')
        return grow.call(this, pages)
      }
      try {
        everything()
        done = true
      } catch (error) {
        failures++
        expect(error).toMatchObject({ code: 'kernel.memory-exhausted' })
      } finally {
        WebAssembly.Memory.prototype.grow = grow
      }
    }
    expect(failures).toBeGreaterThan(3)
    expect(everything()).toEqual(expected)
  })

  it('no memory for an instance is that error, too', () => {
    const { Instance } = WebAssembly
    // What an earlier run left for the next one is taken first.
    using first = new GroupTable([column])
    try {
      WebAssembly.Instance = class {
        constructor() {
          throw new RangeError('no address space')
        }
      } as unknown as typeof WebAssembly.Instance
      expect(() => new GroupTable([column])).toThrow(expect.objectContaining({ code: 'kernel.memory-exhausted' }))
    } finally {
      WebAssembly.Instance = Instance
    }
    expect(first.size).toBe(0)
  })
})

describe('aggregates by group', () => {
  const values = fc.record({ kind: fc.constantFrom(...kinds), choice: fc.nat(4) })

  it('count rows and values, and distinct values, as loops do', () => {
    fc.assert(
      fc.property(sampled, keyed, values, (o, of, { kind, choice }) => {
        const keys = of.map((key, i) => columnOf(key.kind, key.choice, o.n, o.nulls, true, o.seed + i))
        const column = columnOf(kind, choice, o.n, 0.3, o.few, o.seed - 1)
        let all!: { rows: GroupedCount; valid: GroupedCount; distinct: GroupedDistinct }
        const visit = (_: GroupTable, from: number, to: number, seed: number): void => {
          const vec = batchOf(column, from, to, seed)
          all.rows.add()
          all.valid.add(vec)
          all.distinct.add(vec)
        }
        const made = (table: GroupTable): void => {
          all = { rows: new GroupedCount(table), valid: new GroupedCount(table), distinct: new GroupedDistinct(table, plain(column)) }
        }
        const { table, groups } = grouped(keys, o, visit, made)
        const cells = groups.map((rows) => rows.map((row) => column.cells[row]!).filter((cell) => cell !== null))
        expect([...all.rows.counts()]).toEqual(groups.map((rows) => rows.length))
        expect([...all.valid.counts()]).toEqual(cells.map((each) => each.length))
        expect([...all.distinct.counts()]).toEqual(cells.map((each) => new Set(each.map(keyText)).size))
        table[Symbol.dispose]()
      }),
      { numRuns: 400 },
    )
  })

  it('sum integers and decimals exactly, beyond their own range', () => {
    fc.assert(
      fc.property(sampled, keyed, values, (o, of, { kind, choice }) => {
        fc.pre(/^[iu]/.test(kind))
        const keys = of.map((key, i) => columnOf(key.kind, key.choice, o.n, o.nulls, true, o.seed + i))
        const column = columnOf(kind, choice, o.n, 0.2, o.few, o.seed - 1)
        let sums!: GroupedIntSum
        const { table, groups } = grouped(
          keys,
          o,
          (_, from, to, seed) => sums.add(batchOf(column, from, to, seed)),
          (t) => (sums = new GroupedIntSum(t, kind)),
        )
        expect(groups.map((_, group) => sums.at(group))).toEqual(groups.map((rows) => sumOf(rows.map((row) => column.cells[row]!))))
        table[Symbol.dispose]()
      }),
      { numRuns: 500 },
    )
  })

  it.each([
    ['i64', 'ffffffffffffff7f', 2n ** 63n - 1n],
    ['i64', '0000000000000080', -(2n ** 63n)],
    ['u64', 'ffffffffffffffff', 2n ** 64n - 1n],
    ['i128', 'ffffffffffffffffffffffffffffff7f', 2n ** 127n - 1n],
    ['i128', '00000000000000000000000000000080', -(2n ** 127n)],
    ['i128', 'ffffffffffffffffffffffffffffffff', -1n],
    ['i128', 'ffffffffffffffffffffffffffffff00', 2n ** 120n - 1n],
  ] as const)('add up ten thousand extremes of %s: %s', (kind, row, value) => {
    const vec = vecOf(
      { kind: 'fixed', width: row.length / 2 },
      Array.from({ length: 10_000 }, () => row),
    )
    using table = new GroupTable([])
    table.assign([], vec.length)
    const sums = new GroupedIntSum(table, kind)
    sums.add(vec)
    expect(sums.at(0)).toBe(value * 10_000n)
  })

  it('sum floats pairwise in row order, however batches cut them', () => {
    fc.assert(
      fc.property(sampled, fc.constantFrom('f32' as const, 'f64' as const), fc.integer({ min: 0, max: 3 }), (o, kind, groupsMax) => {
        const n = o.n * 6
        const random = randomOf(o.seed)
        const key: Column = columnOf('u8', 0, n, 0, true, o.seed)
        const few = { ...key, cells: key.cells.map(() => random.below(Math.max(1, groupsMax))) }
        const keyVec = {
          ...few,
          vec: vecOf(
            few.layout,
            few.cells.map((cell) => Buffer.from([cell]).toString('hex')),
          ),
        }
        const column = columnOf(kind, 0, n, o.nulls === 1 ? 0.9 : o.nulls, false, o.seed - 1)
        let sums!: GroupedFloatSum
        const run = grouped(
          groupsMax === 0 ? [] : [keyVec],
          { ...o, n, cuts: o.cuts.map((cut) => cut * 6) },
          (_, from, to, seed) => sums.add(batchOf(column, from, to, seed)),
          (table) => (sums = new GroupedFloatSum(table, kind)),
        )
        const expected = run.groups.map((rows) => pairwise(rows.map((row) => column.cells[row]!)))
        expect([...sums.sums()]).toEqual(expected)
        run.table[Symbol.dispose]()
      }),
      { numRuns: 300 },
    )
  })

  it.each(['f32', 'f64'] as const)('sum long columns of %s pairwise, whole or in pieces, some rows left out', (kind) => {
    const n = 40_000
    const random = randomOf(11)
    const cells = Array.from({ length: n }, () => Math.fround((random.u32() - 2 ** 31) / 7))
    const values = kind === 'f32' ? Float32Array.from(cells) : Float64Array.from(cells)
    const vec = makeVec({ kind: 'fixed', width: values.BYTES_PER_ELEMENT }, n, { values: new Uint8Array(values.buffer) })
    for (const [cuts, shape] of [[[]], [[1, 130, 20_000]], [[9_000], 6], [[], 5]] as const) {
      const picked = shape === undefined ? undefined : selectionFor(n, shape, 3)
      using table = new GroupTable([])
      const sums = new GroupedFloatSum(table, kind)
      for (const [from, to] of partsOf(n, cuts)) {
        table.assign([], to - from, bitsFrom(picked?.bits, from, to))
        sums.add(slice(vec, from, to))
      }
      expect([...sums.sums()]).toEqual([pairwise(picked === undefined ? cells : picked.chosen.map((row) => cells[row]!))])
    }
  })

  it('sum floats of more than a thousand groups with full runs each', () => {
    const groups = 1500
    const n = groups * 300
    const random = randomOf(7)
    const key = Uint16Array.from({ length: n }, () => random.below(groups))
    const value = Float64Array.from({ length: n }, () => (random.u32() - 2 ** 31) / 3)
    const [keys, floats] = [key, value].map((array) => makeVec({ kind: 'fixed', width: array.BYTES_PER_ELEMENT }, n, { values: new Uint8Array(array.buffer) }))
    using table = new GroupTable([{ kind: 'u16', layout: keys!.layout }])
    const sums = new GroupedFloatSum(table, 'f64')
    for (let from = 0; from < n; from += 50_000) {
      const to = Math.min(n, from + 50_000)
      table.assign([slice(keys!, from, to)], to - from)
      sums.add(slice(floats!, from, to))
    }
    const cells = new Map<number, number[]>()
    key.forEach((group, i) => cells.set(group, [...(cells.get(group) ?? []), value[i]!]))
    expect([...sums.sums()]).toEqual([...cells.values()].map(pairwise))
  })

  it('find the least and greatest value, the first of equal ones; NaN and null are none', () => {
    fc.assert(
      fc.property(sampled, keyed, values, fc.constantFrom('min' as const, 'max' as const), (o, of, { kind, choice }, which) => {
        const keys = of.map((key, i) => columnOf(key.kind, key.choice, o.n, o.nulls, true, o.seed + i))
        const column = columnOf(kind, choice, o.n, 0.2, o.few, o.seed - 1)
        let extreme!: GroupedExtreme
        const { table, groups } = grouped(
          keys,
          o,
          (_, from, to, seed) => extreme.add(batchOf(column, from, to, seed)),
          (t) => (extreme = new GroupedExtreme(t, plain(column), which)),
        )
        const found = checkVec(extreme.values())
        const expected = groups.map((rows) =>
          extremeOf(
            rows.map((row) => column.cells[row]!),
            which,
          ),
        )
        expect(found.length).toBe(groups.length)
        for (const [group, cell] of expected.entries()) {
          const got = cellAt(found, kind, group)
          if (!(Object.is(got, cell) || (cell instanceof Uint8Array && keyText(got) === keyText(cell)))) expect(got).toEqual(cell)
        }
        table[Symbol.dispose]()
      }),
      { numRuns: 800 },
    )
  })
})
