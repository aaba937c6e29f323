import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { InvariantError } from '../../bindings/errors.ts'
import type { KeyPart } from '../../bindings/indexes/index.ts'
import { canonicalKeys, keyColumnHashes, keyHashes, kernels, makeVec, NO_ROW, searchWords64, type ValueKind, type Vec } from '../../bindings/kernels/index.ts'
import { dictVecOf, seeded } from '../unit/format/vecs.ts'
import { hex, noise } from './bytes.ts'
import { KeyBytes } from './oracles/key-bytes.ts'
import { oracleXxh3 } from './oracles/xxh3.ts'

const at = (hashes: Uint32Array, i: number): bigint => (BigInt(hashes[2 * i + 1]!) << 32n) | BigInt(hashes[2 * i]!)

interface Column {
  readonly part: KeyPart
  readonly vec: Vec
}

const WIDTHS: Readonly<Record<string, number>> = { i8: 1, u8: 1, i16: 2, u16: 2, i32: 4, u32: 4, f32: 4, i64: 8, u64: 8, f64: 8, i128: 16 }
const SHAPES = [...Object.keys(WIDTHS), 'bool', 'fixed1', 'fixed3', 'fixed8', 'fixed13', 'fixed16', 'fixed31', 'text', 'dict1', 'dict2', 'dict4'] as const

/** A column of `rows` rows in which values repeat, zeros and NaNs among the floats. */
function columnOf(shape: string, rows: number, seed: number): Column {
  const width = WIDTHS[shape] ?? (shape.startsWith('fixed') ? Number(shape.slice(5)) : 0)
  const random = seeded(seed + 1)
  if (width > 0) {
    const kind = (shape.startsWith('fixed') ? 'bytes' : shape) as ValueKind
    const choices = [noise(width, seed + 5), noise(width, seed + 6), new Uint8Array(width), new Uint8Array(width).fill(0xff)]
    // -0 and, with 0xff above, a NaN of another payload.
    choices.push(Uint8Array.from({ length: width }, (_, i) => (i === width - 1 ? 0x80 : 0)))
    const values = new Uint8Array(Buffer.concat(Array.from({ length: rows }, () => choices[Math.floor(random() * choices.length)]!)))
    const bytes = kind === 'bytes' ? width : kind === 'i128' ? 16 : 8
    return { part: { index: 0, kind, bytes }, vec: makeVec({ kind: 'fixed', width }, rows, { values }) }
  }
  if (shape === 'bool')
    return { part: { index: 0, kind: 'bool', bytes: 1 }, vec: makeVec({ kind: 'bool' }, rows, { values: noise(Math.ceil(rows / 8) + 8, seed + 1) }) }
  const words = Array.from(
    { length: rows },
    () => 'customer/'.repeat(Math.floor(random() * 3)) + 'x'.repeat(Math.floor(random() * 70)) + Math.floor(random() * 9),
  )
  const part: KeyPart = { index: 0, kind: 'bytes', bytes: 0 }
  if (shape.startsWith('dict')) return { part, vec: dictVecOf(words, Number(shape.slice(4)) as 1 | 2 | 4) }
  // The first string is somebody else's: offsets start past 0.
  const all = ['other', ...words].map((word) => new TextEncoder().encode(word))
  const offsets = new Int32Array(all.length + 1)
  all.forEach((word, i) => (offsets[i + 1] = offsets[i]! + word.length))
  return { part, vec: makeVec({ kind: 'var' }, rows, { values: new Uint8Array(Buffer.concat(all)), offsets: offsets.subarray(1) }) }
}

/** The oracle's keys: as it writes them, the length before a lone string left out. */
function oracleKeys(columns: readonly Column[], rows: number): string[] {
  const keys = new KeyBytes(
    columns.map(({ part }) => part),
    columns.map(({ vec }) => vec),
    rows,
  )
  const skip = columns.length === 1 && columns[0]!.part.bytes === 0 ? 4 : 0
  return Array.from({ length: rows }, (_, row) => hex(keys.data.subarray(keys.offsets[row]! + skip, keys.offsets[row + 1])))
}

function check(columns: readonly Column[], rows: number, from = 0, to = rows): void {
  const expected = oracleKeys(columns, rows)
  const vecs = columns.map(({ vec }) => vec)
  const kinds = columns.map(({ part }) => part.kind)
  const keys = canonicalKeys(vecs, kinds, from, to)
  expect(keys.rows).toBe(to - from)
  expect(keys.stride > 0).toBe(columns.every(({ part }) => part.bytes > 0))
  const start = (row: number): number => (keys.ends === undefined ? row * keys.stride : row === 0 ? 0 : keys.ends[row - 1]!)
  const found = Array.from({ length: to - from }, (_, row) => hex(keys.data.subarray(start(row), start(row + 1))))
  expect(found).toEqual(expected.slice(from, to))
  const hashes = keyHashes(vecs, kinds, rows)
  expected.forEach((key, row) => expect(at(hashes, row)).toBe(oracleXxh3(Buffer.from(key, 'hex'))))
  expect(Array.from(keyColumnHashes(keys))).toEqual(Array.from(hashes.subarray(2 * from, 2 * to)))
}

describe('canonical keys of a batch', () => {
  for (const shape of SHAPES) {
    it(`one column, ${shape}: bytes and hashes as row by row`, () => {
      for (const rows of [0, 1, 2, 63, 64, 65, 257]) check([columnOf(shape, rows, rows + 7)], rows)
    })
  }

  it('tuples of any columns, any range of rows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...SHAPES), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 257 }),
        fc.nat(),
        fc.nat(),
        fc.nat(1000),
        (shapes, rows, a, b, seed) => {
          const [from, to] = [a % (rows + 1), b % (rows + 1)].toSorted((x, y) => x - y)
          check(
            shapes.map((shape, i) => columnOf(shape, rows, seed + i)),
            rows,
            from,
            to,
          )
        },
      ),
      { numRuns: 80 },
    )
    expect(kernels().arena.usedBytes).toBe(0)
  })

  it('every number of rows up to 257', () => {
    for (let rows = 0; rows <= 257; rows++) check([columnOf('text', rows, rows), columnOf('i32', rows, rows)], rows)
  })

  it('kernels write nothing behind their keys, at every alignment', () => {
    const k = kernels()
    for (let shift = 0; shift < 16; shift++) {
      for (const width of [1, 3, 7, 8, 9, 16, 65, 100]) {
        const mark = k.arena.mark()
        const p = k.arena.reserve(5 * width + 16) + shift
        const out = k.arena.reserve(5 * width + 64) + shift
        const values = noise(5 * width, width)
        k.u8.set(values, p)
        k.u8.fill(0xaa, out, out + 5 * width + 32)
        k.exports.key_fixed(p, width, 5, out, width, 0)
        expect(hex(k.u8.slice(out, out + 5 * width))).toBe(hex(values))
        expect(k.u8.slice(out + 5 * width, out + 5 * width + 32).every((byte) => byte === 0xaa)).toBe(true)
        k.arena.rewind(mark)
      }
    }
  })

  it('rows of a dictionary without entries are refused', () => {
    const dictionary = makeVec({ kind: 'var' }, 0, { offsets: Int32Array.of(0) })
    const vec = makeVec({ kind: 'dict', width: 1 }, 2, { values: new Uint8Array(8), dictionary })
    expect(() => canonicalKeys([vec], ['bytes'])).toThrow(InvariantError)
  })
})

describe('many words in an ascending column', () => {
  const EDGES = [0n, 1n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 32n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]
  const word = fc.oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.nat(40).map(BigInt), fc.constantFrom(...EDGES))
  const wordsOf = (values: readonly bigint[]): Uint32Array => new Uint32Array(BigUint64Array.from(values).buffer)

  it('are found where a Map has them, signed and unsigned, asked in any order', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 257 }), fc.array(word, { maxLength: 60 }), fc.boolean(), fc.boolean(), (values, others, signed, ordered) => {
        const by = (a: bigint, b: bigint): number => {
          const [x, y] = signed ? [BigInt.asIntN(64, a), BigInt.asIntN(64, b)] : [a, b]
          return x < y ? -1 : Number(x > y)
        }
        const column = [...new Set(values)].toSorted(by)
        const rows = new Map(column.map((value, row) => [value, row]))
        const asked = ordered ? [...others, ...values].toSorted(by) : [...others, ...values]
        expect(Array.from(searchWords64(wordsOf(column), signed, wordsOf(asked)))).toEqual(asked.map((value) => rows.get(value) ?? NO_ROW))
      }),
    )
  })

  it('columns of 0..257 rows, each row and each gap', () => {
    for (let n = 0; n <= 257; n++) {
      const column = Array.from({ length: n }, (_, i) => BigInt(2 * i + 1))
      const asked = Array.from({ length: 2 * n + 2 }, (_, i) => BigInt(i))
      const expected = asked.map((value) => (value % 2n === 1n && value < BigInt(2 * n) ? Number(value >> 1n) : NO_ROW))
      expect(Array.from(searchWords64(wordsOf(column), true, wordsOf(asked)))).toEqual(expected)
      expect(Array.from(searchWords64(wordsOf(column), true, wordsOf(asked.toReversed())))).toEqual(expected.toReversed())
    }
  })

  it('a column out of order answers within its rows', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 80 }), fc.array(word, { maxLength: 80 }), (column, asked) => {
        searchWords64(wordsOf(column), true, wordsOf(asked)).forEach((row, i) => {
          if (row !== NO_ROW) expect(column[row]).toBe(asked[i])
        })
      }),
    )
  })
})
