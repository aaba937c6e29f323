import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { DecodeError, writeCheck } from '../../../bindings/format/index.ts'
import type { ColumnDef, ColumnType, TableSchema } from '../../../bindings/format/index.ts'
import {
  BINARY_SEARCH,
  compareKey,
  compareRows,
  decodeKeyIndex,
  encodeKeyIndex,
  encodeUniqueIndex,
  isStrictlyAscending,
  keyHashes,
  keyParts,
  SEARCH_ROW,
} from '../../../bindings/indexes/index.ts'
import { slice, xxh3 } from '../../../bindings/kernels/index.ts'
import { KeyLayout } from '../../../bindings/table/key-layout.ts'
import { KeyRun } from '../../../bindings/table/memory-index.ts'
import { dictVecOf, int, randomCell, seeded, vecOf } from '../format/vecs.ts'
import type { Cell } from '../format/vecs.ts'

function randomHashes(rows: number, seed: number): Uint32Array<ArrayBuffer> {
  const random = seeded(seed)
  return Uint32Array.from({ length: 2 * rows }, () => Math.floor(random() * 2 ** 32))
}

describe('a bucketed key index', () => {
  for (const rows of [1, 2, 11, 12, 13, 1000, 65_537]) {
    it(`finds each of ${rows} rows`, () => {
      const hashes = randomHashes(rows, rows)
      const index = decodeKeyIndex(encodeKeyIndex(hashes, rows, false), rows)
      for (let row = 0; row < rows; row++) {
        const count = index.probe(hashes[2 * row]!, hashes[2 * row + 1]!)
        expect(index.hits.subarray(0, count).includes(row)).toBe(true)
      }
    })
  }

  it('holds what a Map holds, hashes in common included', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1)), { minLength: 1, maxLength: 300 }),
        (pairs) => {
          const hashes = Uint32Array.from(pairs.flat())
          const oracle = new Map<string, number[]>()
          pairs.forEach(([low, high], row) => oracle.set(`${low},${high}`, [...(oracle.get(`${low},${high}`) ?? []), row]))
          const index = decodeKeyIndex(encodeKeyIndex(hashes, pairs.length, false), pairs.length)
          for (const [low, high] of pairs) {
            const count = index.probe(low, high)
            const found = Array.from(index.hits.subarray(0, count))
            for (const row of oracle.get(`${low},${high}`)!) expect(found).toContain(row)
            // The low words differ in their tags, so nothing else comes along within a bucket.
            for (const row of found) expect(pairs[row]![0]).toBe(low)
          }
        },
      ),
    )
  })

  it('takes at most 5 bytes a row at 256 Ki rows and hardly ever names a row for an absent key', () => {
    const rows = 262_144
    const file = encodeKeyIndex(randomHashes(rows, 1), rows, false)
    expect(file.length / rows).toBeLessThanOrEqual(5)
    const index = decodeKeyIndex(file, rows)
    const absent = randomHashes(20_000, 2)
    let named = 0
    for (let i = 0; i < 20_000; i++) named += index.probe(absent[2 * i]!, absent[2 * i + 1]!)
    expect(named / 20_000).toBeLessThan(0.0005)
  })

  it('wide starts: one bucket that holds more than 64 Ki rows', () => {
    const rows = 70_000
    const hashes = new Uint32Array(2 * rows)
    for (let row = 0; row < rows; row++) hashes[2 * row] = row
    const index = decodeKeyIndex(encodeKeyIndex(hashes, rows, false), rows)
    for (const row of [0, 1, 65_535, 65_536, 69_999]) {
      const count = index.probe(row, 0)
      expect(index.hits.subarray(0, count).includes(row)).toBe(true)
    }
  })

  it('probes in bulk as one by one', () => {
    const hashes = randomHashes(500, 9)
    for (const sorted of [false, true]) {
      const index = decodeKeyIndex(encodeKeyIndex(hashes, 500, sorted), 500)
      const asked = Uint32Array.from([...hashes, ...randomHashes(500, 10)])
      const { count, pairs } = index.probeMany(asked, 1000)
      const expected: number[] = []
      for (let i = 0; i < 1000; i++) {
        const hits = index.probe(asked[2 * i]!, asked[2 * i + 1]!)
        if (hits === BINARY_SEARCH) expected.push(i, SEARCH_ROW)
        else for (let k = 0; k < hits; k++) expected.push(i, index.hits[k]!)
      }
      expect(Array.from(pairs)).toEqual(expected)
      expect(count).toBe(expected.length / 2)
    }
  })
})

describe('an index of unique tuples', () => {
  it('holds the rows that have one and no others, none at all included', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 200 }), fc.nat(), (present, seed) => {
        const rowOf = Uint32Array.from(present.flatMap((has, row) => (has ? [row] : [])))
        const hashes = randomHashes(rowOf.length, seed)
        const index = decodeKeyIndex(encodeUniqueIndex(hashes, rowOf, present.length), present.length)
        expect(index.rows).toBe(present.length)
        rowOf.forEach((row, i) => {
          const count = index.probe(hashes[2 * i]!, hashes[2 * i + 1]!)
          expect(Array.from(index.hits.subarray(0, count))).toContain(row)
        })
        const { count, pairs } = index.probeMany(hashes, rowOf.length)
        const found = new Set(Array.from({ length: count }, (_, i) => pairs[2 * i + 1]!))
        expect([...found].sort((a, b) => a - b)).toEqual(Array.from(rowOf))
      }),
    )
  })
})

describe('an index of version 1, without prints', () => {
  it('is read as before', () => {
    const rows = 3000
    const hashes = randomHashes(rows, 12)
    const now = encodeKeyIndex(hashes, rows, false)
    const file = new Uint8Array(now.length - Math.ceil(rows / 8) * 8)
    file.set(now.subarray(0, file.length - 8))
    new DataView(file.buffer).setUint32(4, 1, true)
    writeCheck(file)
    const [then, index] = [decodeKeyIndex(file, rows), decodeKeyIndex(now, rows)]
    const asked = Uint32Array.from([...hashes, ...randomHashes(rows, 13)])
    for (let i = 0; i < 2 * rows; i++) {
      const count = index.probe(asked[2 * i]!, asked[2 * i + 1]!)
      const before = then.probe(asked[2 * i]!, asked[2 * i + 1]!)
      expect(Array.from(then.hits.subarray(0, before))).toEqual(expect.arrayContaining(Array.from(index.hits.subarray(0, count))))
    }
    expect(then.probeMany(asked, 2 * rows).count).toBeGreaterThanOrEqual(index.probeMany(asked, 2 * rows).count)
  })
})

describe('the filter of a sorted fragment', () => {
  it('never misses a key and takes about 20 bits a key', () => {
    const rows = 20_000
    const hashes = randomHashes(rows, 4)
    const file = encodeKeyIndex(hashes, rows, true)
    expect(file.length * 8).toBeLessThan(rows * 20.2)
    const index = decodeKeyIndex(file, rows)
    for (let row = 0; row < rows; row++) expect(index.probe(hashes[2 * row]!, hashes[2 * row + 1]!)).toBe(BINARY_SEARCH)
    const absent = randomHashes(rows, 5)
    let named = 0
    for (let i = 0; i < rows; i++) named += index.probe(absent[2 * i]!, absent[2 * i + 1]!) === 0 ? 0 : 1
    expect(named / rows).toBeLessThan(0.001)
  })
})

describe('a damaged index', () => {
  it('is refused, whichever bit was flipped or byte cut', () => {
    const hashes = randomHashes(40, 3)
    for (const sorted of [false, true]) {
      const file = encodeKeyIndex(hashes, 40, sorted)
      for (let at = 0; at < file.length; at++) {
        for (let bit = 0; bit < 8; bit++) {
          const broken = file.slice()
          broken[at]! ^= 1 << bit
          expect(() => decodeKeyIndex(broken, 40), `${at}.${bit}`).toThrow(DecodeError)
        }
        expect(() => decodeKeyIndex(file.slice(0, at), 40)).toThrow(DecodeError)
      }
      expect(() => decodeKeyIndex(file, 41)).toThrow(DecodeError)
    }
  })
})

describe('keys of rows', () => {
  const keyTypes: readonly ColumnType[] = [
    { kind: 'bool' },
    int(8),
    int(16),
    int(32),
    int(64),
    int(8, false),
    int(32, false),
    int(64, false),
    { kind: 'float', bits: 32 },
    { kind: 'float', bits: 64 },
    { kind: 'utf8' },
    { kind: 'binary' },
    { kind: 'fixedSizeBinary', bytes: 5 },
    { kind: 'timestamp', unit: 'ms' },
    { kind: 'date' },
    { kind: 'time', unit: 's' },
    { kind: 'decimal', precision: 20, scale: 2 },
  ]
  const schemaOf = (types: readonly ColumnType[]): TableSchema => ({
    tableId: 1,
    version: 1,
    name: 't',
    columns: types.map((type, i): ColumnDef => ({ id: i + 1, name: `c${i}`, type, nullable: false })),
    key: types.map((_, i) => i + 1),
    unique: [],
    index: [],
  })

  function canonical(schema: TableSchema, vecs: readonly ReturnType<typeof vecOf>[], rows: number): Uint8Array[] {
    const layout = KeyLayout.of(schema)!
    const keys = new KeyRun(layout.stride)
    layout.push(vecs, 0, rows, keys)
    return Array.from({ length: rows }, (_, row) => keys.data.slice(keys.start(row), keys.end(row)))
  }

  function order(a: Cell, b: Cell): number {
    if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b)
    if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b))
    return a! < b! ? -1 : a! > b! ? 1 : 0
  }

  const cases = [
    ...keyTypes.map((type) => [type]),
    [keyTypes[10]!, keyTypes[3]!],
    [keyTypes[0]!, keyTypes[11]!, keyTypes[9]!, keyTypes[16]!],
    [keyTypes[12]!, keyTypes[10]!, keyTypes[10]!],
  ]
  for (const types of cases) {
    it(`hash as their canonical bytes and compare by value: ${types.map((type) => type.kind).join(', ')}`, () => {
      const random = seeded(31)
      const rows = 120
      const cells = types.map((type) => Array.from({ length: rows }, () => randomCell(type, random, false)))
      const schema = schemaOf(types)
      const parts = keyParts(schema)
      const vecs = types.map((type, i) => vecOf(type, cells[i]!))
      const bytes = canonical(schema, vecs, rows)
      const hashes = keyHashes(parts, vecs, rows)
      bytes.forEach((key, row) => expect([hashes[2 * row], hashes[2 * row + 1]]).toEqual([xxh3(key).lo, xxh3(key).hi]))
      const sliced = keyHashes(
        parts,
        vecs.map((vec) => slice(vec, 8, 70)),
        62,
      )
      expect(Array.from(sliced)).toEqual(Array.from(hashes.subarray(16, 140)))
      for (let a = 0; a < rows; a++) {
        for (let b = 0; b < rows; b += 7) {
          const expected = types.reduce((sign, _, i) => sign || order(cells[i]![a]!, cells[i]![b]!), 0)
          expect(Math.sign(compareKey(parts, vecs, a, bytes[b]!))).toBe(Math.sign(expected))
          expect(Math.sign(compareRows(parts, vecs, a, vecs, b))).toBe(Math.sign(expected))
        }
      }
    })
  }

  it('dictionaries hash and compare as their values', () => {
    const words = ['b', 'a', 'ccc', 'a', '']
    const schema = schemaOf([{ kind: 'utf8' }, { kind: 'utf8' }])
    const parts = keyParts(schema)
    const plain = [vecOf({ kind: 'utf8' }, words), vecOf({ kind: 'utf8' }, words)]
    const coded = [dictVecOf(words, 2), dictVecOf(words, 1)]
    expect(keyHashes(parts, coded, 5)).toEqual(keyHashes(parts, plain, 5))
    expect(keyHashes(parts.slice(0, 1), coded, 5)).toEqual(keyHashes(parts.slice(0, 1), plain, 5))
    for (let a = 0; a < 5; a++) for (let b = 0; b < 5; b++) expect(compareRows(parts, coded, a, plain, b)).toBe(compareRows(parts, plain, a, plain, b))
  })

  for (const types of cases) {
    it(`ascend strictly or not, whatever their number: ${types.map((type) => type.kind).join(', ')}`, () => {
      const random = seeded(77)
      const schema = schemaOf(types)
      const parts = keyParts(schema)
      const tuples = Array.from({ length: 300 }, () => types.map((type) => randomCell(type, random, false)))
      const compare = (a: readonly Cell[], b: readonly Cell[]): number => types.reduce((sign, _, i) => sign || order(a[i]!, b[i]!), 0)
      const sorted = tuples.toSorted(compare).filter((tuple, i, all) => i === 0 || compare(all[i - 1]!, tuple) !== 0)
      const ascends = (some: readonly (readonly Cell[])[]): boolean =>
        isStrictlyAscending(
          parts,
          types.map((type, i) =>
            vecOf(
              type,
              some.map((tuple) => tuple[i]!),
            ),
          ),
          some.length,
        )
      expect(ascends(sorted)).toBe(true)
      for (const at of [1, 31, 32, 33, 64, 200].filter((each) => each < sorted.length)) {
        expect(ascends(sorted.toSpliced(at, 0, sorted[at - 1]!)), `row ${at} twice`).toBe(false)
        expect(ascends(sorted.with(at, sorted[at - 1]!).with(at - 1, sorted[at]!)), `row ${at} before the one before it`).toBe(false)
      }
    })
  }

  it('ascend strictly or not', () => {
    const parts = keyParts(schemaOf([int(64)]))
    const ascends = (values: readonly bigint[]): boolean => isStrictlyAscending(parts, [vecOf(int(64), values)], values.length)
    expect(ascends([])).toBe(true)
    expect(ascends([5n])).toBe(true)
    expect(ascends([-(2n ** 63n), -1n, 0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 63n - 1n])).toBe(true)
    expect(ascends([1n, 1n])).toBe(false)
    expect(ascends([2n ** 32n, 1n])).toBe(false)
    const small = keyParts(schemaOf([int(16)]))
    expect(isStrictlyAscending(small, [vecOf(int(16), [-5, 3, 300])], 3)).toBe(true)
    expect(isStrictlyAscending(small, [vecOf(int(16), [3, -5])], 2)).toBe(false)
  })
})
