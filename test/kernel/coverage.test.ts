// test/kernel/coverage.test.ts: sets of rows against a Set, their file against one written row by row, and files that lie.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { CorruptionError } from '../../bindings/errors.ts'
import { bitmapBytes, Coverage, kernels } from '../../bindings/kernels/index.ts'
import { coverageFile, type Part, plainCoverage, sealCoverage, u16s } from './oracles/coverage.ts'
import { randomOf } from './vec-model.ts'

/** Shapes of sets: single rows, short and long ranges, nearly everything, every other row, rows on both sides of a container border, far apart. */
const SHAPES = 8

function rowsOfShape(shape: number, seed: number): number[] {
  const random = randomOf(seed)
  const rows = new Set<number>()
  const add = (start: number, length: number): void => {
    for (let row = start; row < start + length; row++) rows.add(row)
  }
  const size = [40, 700, 70_000, 140_000][random.below(4)]!
  switch (shape) {
    case 0:
      for (let i = random.below(50); i > 0; i--) add(random.below(size), 1)
      break
    case 1:
      for (let i = random.below(40); i > 0; i--) add(random.below(size), random.below(30))
      break
    case 2:
      for (let i = 1 + random.below(3); i > 0; i--) add(random.below(size), random.below(size))
      break
    case 3:
      for (let row = 0; row < size; row++) if (!random.chance(0.01)) rows.add(row)
      break
    case 4:
      for (let row = random.below(2); row < size; row += 2) rows.add(row)
      break
    case 5:
      add(65_536 * (1 + random.below(3)) - random.below(5), random.below(10))
      add(random.below(65_536), 1)
      break
    case 6:
      for (let i = random.below(6); i > 0; i--) add(random.below(0xffffff00), random.below(4))
      break
    default:
      break
  }
  return [...rows].sort((a, b) => a - b)
}

const sets = fc
  .record({ shape: fc.nat(SHAPES - 1), seed: fc.integer() })
  .map(({ shape, seed }) => ({ rows: rowsOfShape(shape, seed), order: randomOf(seed + 1) }))

function shuffled(rows: readonly number[], order: ReturnType<typeof randomOf>): number[] {
  const out = [...rows, ...rows.slice(0, 3)]
  for (let i = out.length - 1; i > 0; i--) {
    const j = order.below(i + 1)
    const row = out[i]!
    out[i] = out[j]!
    out[j] = row
  }
  return out
}

function expectRows(found: Coverage, rows: Set<number>): void {
  const sorted = Uint32Array.from(rows).sort()
  expect(Buffer.compare(new Uint8Array(found.toRows().buffer), new Uint8Array(sorted.buffer))).toBe(0)
  expect(found.count).toBe(rows.size)
  expect(found.end).toBe((sorted.at(-1) ?? -1) + 1)
  let previous = -1
  let ranges = 0
  for (const [start, end] of found.ranges()) {
    if (start <= previous || end <= start) throw new Error(`range ${start}..${end} behind ${previous}`)
    previous = end
    ranges++
  }
  expect(found.rangeCount).toBe(ranges)
  expect(found.equals(Coverage.ofRows(sorted))).toBe(true)
}

describe('sets of rows', () => {
  it('union, intersect, subtract and count equal those of a Set', () => {
    fc.assert(
      fc.property(sets, sets, (left, right) => {
        const [a, b] = [new Set(left.rows), new Set(right.rows)]
        const common = new Set(left.rows.filter((row) => b.has(row)))
        const [x, y] = [Coverage.ofRows(left.rows), Coverage.ofRows(shuffled(right.rows, right.order))]
        expectRows(x, a)
        expectRows(y, b)
        expectRows(x.union(y), new Set([...a, ...b]))
        expectRows(x.intersect(y), common)
        expectRows(x.subtract(y), new Set(left.rows.filter((row) => !b.has(row))))
        expect(x.intersectionCount(y)).toBe(common.size)
        expect(x.covers(y)).toBe(common.size === b.size)
        expect(x.covers(x.intersect(y))).toBe(true)
        expect(x.equals(y)).toBe(a.size === b.size && common.size === b.size)
      }),
      { numRuns: 120 },
    )
  })

  it('has exactly its rows, and gives them as a bitmap of any length', () => {
    fc.assert(
      fc.property(sets, fc.nat(200_000), ({ rows }, n) => {
        const set = new Set(rows)
        const found = Coverage.ofRows(rows)
        for (const row of rows.slice(0, 50)) for (const near of [row - 1, row, row + 1]) expect(found.has(near)).toBe(set.has(near))
        for (const none of [-1, 0.5, NaN, Infinity, found.end]) expect(found.has(none)).toBe(set.has(none))
        const bits = found.toBitmap(n)
        expect(bits.length).toBe(bitmapBytes(n))
        const expected = new Uint8Array(bitmapBytes(n))
        for (const row of rows) if (row < n) expected[row >> 3]! |= 1 << (row & 7)
        expect(Buffer.compare(bits, expected)).toBe(0)
        expect(Coverage.ofBitmap(bits, n).equals(Coverage.ofRows(rows.filter((row) => row < n)))).toBe(true)
      }),
      { numRuns: 100 },
    )
  })

  it('merges ranges that touch or overlap, in any order', () => {
    const ranges = (of: readonly [number, number][]): number[] => [...Coverage.ofRanges(of).toRanges()]
    const given: [number, number][] = [
      [20, 30],
      [5, 9],
      [0, 5],
      [9, 9],
      [25, 27],
      [30, 31],
    ]
    expect(ranges(given)).toEqual([0, 9, 20, 31])
    expect([...Coverage.range(0, 5).union(Coverage.range(5, 9)).ranges()]).toEqual([[0, 9]])
    expect([...Coverage.range(5, 9).union(Coverage.range(0, 5)).ranges()]).toEqual([[0, 9]])
    expect([...Coverage.range(0, 9).subtract(Coverage.range(3, 5)).union(Coverage.range(3, 5)).ranges()]).toEqual([[0, 9]])
  })

  it('an empty side gives nothing or the other', () => {
    for (const some of [Coverage.range(3, 9), Coverage.ofBitmap(new Uint8Array(100).fill(0x55), 800)]) {
      for (const none of [Coverage.none, Coverage.range(4, 4), Coverage.ofRows([]), Coverage.ofBitmap(new Uint8Array(1), 8), some.subtract(some)]) {
        expect(none.equals(Coverage.none)).toBe(true)
        expect(some.union(none).equals(some)).toBe(true)
        expect(none.union(some).equals(some)).toBe(true)
        expect(some.subtract(none).equals(some)).toBe(true)
        for (const empty of [some.intersect(none), none.intersect(some), none.subtract(some), none.union(none)]) expect(empty.count).toBe(0)
        expect(some.intersectionCount(none)).toBe(0)
        expect(some.covers(none)).toBe(true)
        expect(none.covers(some)).toBe(false)
      }
    }
  })

  it('reaches to the last row that has a number', () => {
    const all = Coverage.range(0, 0xffffffff)
    expect(all.count).toBe(0xffffffff)
    expect(all.has(0xfffffffe)).toBe(true)
    expect(all.has(0xffffffff)).toBe(false)
    const top = Coverage.ofRows([0xfffffffe])
    expect([...all.subtract(top).ranges()]).toEqual([[0, 0xfffffffe]])
    expect([...all.subtract(top).union(top).ranges()]).toEqual([[0, 0xffffffff]])
    expect([...all.union(top).ranges()]).toEqual([[0, 0xffffffff]])
    expect([...top.union(Coverage.range(2, 5)).ranges()]).toEqual([
      [2, 5],
      [0xfffffffe, 0xffffffff],
    ])
    expect(Coverage.decode(top.encode()).equals(top)).toBe(true)
    for (const row of [0xffffffff, -1, 0.5, NaN]) expect(() => Coverage.ofRows([row])).toThrow(RangeError)
    expect(() => Coverage.ofRows(Uint32Array.of(5, 0xffffffff, 3))).toThrow(RangeError)
    const wrong: [number, number][] = [
      [-1, 2],
      [3, 2],
      [0, 0x1_0000_0000],
      [0.5, 2],
    ]
    for (const [start, end] of wrong) expect(() => Coverage.range(start, end)).toThrow(RangeError)
    expect(() => Coverage.ofBitmap(new Uint8Array(1), 9)).toThrow(RangeError)
  })
})

describe('the file of a set', () => {
  it('equals one written row by row, and reads back', () => {
    fc.assert(
      fc.property(sets, ({ rows }) => {
        const set = Coverage.ofRows(rows)
        const bytes = set.encode()
        expect(Buffer.compare(bytes, plainCoverage(rows))).toBe(0)
        expect(Coverage.decode(bytes).equals(set)).toBe(true)
        // At any place of a larger buffer.
        const padded = new Uint8Array(bytes.length + 3)
        padded.set(bytes, 3)
        expect(Coverage.decode(padded.subarray(3)).equals(set)).toBe(true)
      }),
      { numRuns: 150 },
    )
  })

  it('chooses the smallest container, ties to runs, then arrays', () => {
    const size = (rows: readonly number[]): number => Coverage.ofRows(rows).encode().length - 20
    const every = (step: number, n: number): number[] => Array.from({ length: n }, (_, i) => i * step)
    expect(size([])).toBe(0)
    expect(size(every(1, 65_536))).toBe(8 + 4)
    expect(size(every(3, 100))).toBe(8 + 200)
    expect(size(every(2, 32_768))).toBe(8 + 8192)
    expect(size(every(65_536, 3))).toBe(3 * 10)
    const kind = (rows: readonly number[]): number => new DataView(Coverage.ofRows(rows).encode().buffer).getUint16(16, true)
    expect(kind([1, 2])).toBe(2) // 4 bytes either way
    expect(kind(every(2, 4096))).toBe(0) // as large as a bitmap
    expect(kind(every(2, 4097))).toBe(1)
    expect(kind(every(4, 2048).flatMap((row) => [row, row + 1]))).toBe(2) // all three are 8192 bytes
  })

  it('is refused with one flipped bit, and cut short anywhere', () => {
    const bytes = Coverage.ofRows([1, 2, 3, 9, 70_000, 70_002]).encode()
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const broken = bytes.slice()
        broken[at]! ^= 1 << bit
        expect(() => Coverage.decode(broken)).toThrow(CorruptionError)
      }
      expect(() => Coverage.decode(bytes.slice(0, at))).toThrow(CorruptionError)
    }
  })

  it('is refused when it lies under a good check, with what and where', () => {
    const part = (kind: number, count: number, data: Uint8Array, key = 0): Part => ({ key, kind, count, data })
    const bitmap = (set: (i: number) => boolean): Uint8Array => Uint8Array.from({ length: 8192 }, (_, i) => (set(i) ? 0x55 : 0))
    const good = part(0, 1, u16s([7]), 3)
    const cases: [string, Uint8Array, RegExp, number][] = [
      ['rows out of order', coverageFile([part(0, 3, u16s([1, 5, 3]))]), /contradicts itself/, 12],
      ['a row twice', coverageFile([part(0, 3, u16s([1, 5, 5]))]), /contradicts itself/, 12],
      ['runs that overlap', coverageFile([part(2, 2, u16s([10, 100, 50, 200]))]), /contradicts itself/, 12],
      ['runs that touch', coverageFile([part(2, 2, u16s([10, 9, 20, 5]))]), /contradicts itself/, 12],
      ['runs out of order', coverageFile([part(2, 2, u16s([100, 9, 20, 5]))]), /contradicts itself/, 12],
      ['a run past its container', coverageFile([part(2, 1, u16s([65_535, 1]))]), /contradicts itself/, 12],
      ['a long run one row past its container', coverageFile([part(2, 1, u16s([60_000, 5_536]))]), /contradicts itself/, 12],
      ['an array that runs would beat', coverageFile([part(0, 3, u16s([1, 2, 3]))]), /not the smallest/, 12],
      ['runs that an array would beat', coverageFile([part(2, 2, u16s([1, 0, 3, 0]))]), /not the smallest/, 12],
      [
        'a bitmap that an array would beat',
        coverageFile([
          part(
            1,
            4,
            bitmap((i) => i === 0),
          ),
        ]),
        /not the smallest/,
        12,
      ],
      [
        'a bitmap of another count',
        coverageFile([
          part(
            1,
            32_767,
            bitmap(() => true),
          ),
        ]),
        /contradicts itself/,
        12,
      ],
      [
        'an empty bitmap',
        coverageFile([
          part(
            1,
            1,
            bitmap(() => false),
          ),
        ]),
        /contradicts itself/,
        12,
      ],
      ['an unknown kind', coverageFile([part(3, 1, u16s([7]))]), /of kind 3/, 16],
      ['a container twice', coverageFile([good, good]), /container 3 behind 3/, 22],
      ['containers out of order', coverageFile([good, part(0, 1, u16s([7]), 2)]), /container 2 behind 3/, 22],
      ['a container past the last', coverageFile([part(0, 1, u16s([7]), 65_536)]), /container 65536/, 12],
      ['a row that has no number', coverageFile([part(0, 1, u16s([65_535]), 65_535)]), /row 4294967295/, 12],
      ['a count past the end', coverageFile([part(0, 65_536, u16s([7]))]), /cut short/, 12],
      ['a bitmap past the end', coverageFile([part(1, 5000, u16s([7]))]), /cut short/, 12],
      ['fewer containers than stated', coverageFile([good], 2), /cut short/, 22],
      ['very many containers', coverageFile([good], 0xffffffff), /cut short/, 22],
      ['bytes behind', coverageFile([good], 1, 5), /5 bytes behind/, 22],
      ['more containers than stated', coverageFile([good], 0), /10 bytes behind/, 12],
      ['nothing', new Uint8Array(0), /0 bytes/, 0],
    ]
    const magic = coverageFile([good])
    magic[0]! ^= 1
    cases.push(['another magic', sealCoverage(magic), /magic/, 0])
    const version = coverageFile([good])
    version[4] = 2
    cases.push(['a newer version', sealCoverage(version), /version 2/, 4])
    for (const [name, bytes, what, offset] of cases) {
      let thrown: unknown
      try {
        Coverage.decode(bytes, { file: 'some.dv' })
      } catch (error) {
        thrown = error
      }
      expect(thrown, name).toBeInstanceOf(CorruptionError)
      const error = thrown as CorruptionError
      expect([error.code, error.file, error.offset], name).toEqual(['coverage.corrupt', 'some.dv', offset])
      expect(error.message, name).toMatch(what)
    }
  })

  it('is refused with a row that the fragment does not have', () => {
    const bytes = Coverage.range(5, 100).encode()
    expect(Coverage.decode(bytes, { rows: 100 }).count).toBe(95)
    expect(() => Coverage.decode(bytes, { rows: 99 })).toThrow(/row 99 in a set over 99 rows/)
  })

  it('is either refused or the one file of its set, whatever its containers hold', () => {
    const arbitrary = fc.array(fc.record({ key: fc.nat(3), kind: fc.nat(2), rows: fc.array(fc.nat(40), { minLength: 2, maxLength: 8 }) }), { maxLength: 3 })
    let read = 0
    fc.assert(
      fc.property(arbitrary, (parts) => {
        const bytes = coverageFile(
          parts.map(({ key, kind, rows }) => {
            const even = rows.slice(0, rows.length & ~1)
            if (kind === 1) return { key, kind, count: rows.length, data: new Uint8Array(8192).fill(0x11 * rows[0]!) }
            return kind === 2 ? { key, kind, count: even.length / 2, data: u16s(even) } : { key, kind, count: rows.length, data: u16s(rows) }
          }),
        )
        let set: Coverage | undefined
        try {
          set = Coverage.decode(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(CorruptionError)
        }
        if (set === undefined) return
        read++
        expect(Buffer.compare(set.encode(), bytes)).toBe(0)
      }),
      { numRuns: 2000 },
    )
    expect(read).toBeGreaterThan(50)
  })
})

describe('the kernels under it', () => {
  const k = kernels()
  const CANARY = 0xa5

  /** Runs with `bytes` of input at each alignment and an output between canaries; the output's bytes. */
  function between(bytes: number, slack: number, run: (out: number) => void): Uint8Array {
    const mark = k.arena.mark()
    const at = k.arena.reserve(bytes + slack + 64)
    k.u8.fill(CANARY, at, at + bytes + slack + 64)
    run(at + 32)
    expect(k.u8.subarray(at, at + 32).every((byte) => byte === CANARY)).toBe(true)
    expect(k.u8.subarray(at + 32 + bytes + slack, at + bytes + slack + 64).every((byte) => byte === CANARY)).toBe(true)
    const out = k.copyOut(at + 32, bytes)
    k.arena.rewind(mark)
    return out
  }

  it('bits_op does what bytes do, for every length and alignment, and writes nothing else', () => {
    const random = randomOf(5)
    const mark = k.arena.mark()
    const [a, b] = [k.arena.reserve(320), k.arena.reserve(320)]
    for (let i = 0; i < 320; i++) {
      k.u8[a + i] = random.u32()
      k.u8[b + i] = random.u32()
    }
    const ops: ((x: number, y: number) => number)[] = [(x, y) => x & y, (x, y) => x | y, (x, y) => x & ~y, (x) => ~x, (x, y) => x ^ y]
    for (let n = 0; n <= 257; n++) {
      const [shiftA, shiftB] = [n & 15, random.below(16)]
      for (const [op, plain] of ops.entries()) {
        const out = between(n, 0, (at) => k.exports.bits_op(op, a + shiftA, b + shiftB, n, at))
        for (let i = 0; i < n; i++)
          if (out[i] !== (plain(k.u8[a + shiftA + i]!, k.u8[b + shiftB + i]!) & 0xff)) throw new Error(`op ${op}, ${n} bytes, byte ${i}`)
      }
    }
    k.arena.rewind(mark)
  })

  it('counts and converts every length of bitmap of every shape', () => {
    const random = randomOf(6)
    const shapes: ((i: number) => boolean)[] = [() => false, () => true, (i) => i % 2 === 1, (i) => i === 77, () => random.chance(0.5), (i) => i % 64 === 63]
    for (let words = 0; words <= 33; words++) {
      for (const shape of shapes) {
        const n = words * 64
        const set = Array.from({ length: n }, (_, i) => shape(i))
        const bits = new Uint8Array(words * 8)
        set.forEach((on, i) => on && (bits[i >> 3]! |= 1 << (i & 7)))
        const edges = set.flatMap((on, i) => (on !== (set[i - 1] ?? false) ? [i] : []))
        if (set.at(-1)) edges.push(n)
        const mark = k.arena.mark()
        const at = k.arena.reserve(bits.length + 16) + random.below(16)
        k.u8.set(bits, at)
        expect(k.exports.bits_popcount(at, n)).toBe(set.filter(Boolean).length)
        expect(k.exports.bits_and_card(at, at, bits.length)).toBe(set.filter(Boolean).length)
        expect(k.exports.bits_runs(at, bits.length)).toBe(edges.length / 2)
        expect(k.exports.bits_end(at, bits.length)).toBe(set.lastIndexOf(true) + 1)
        const ranges = between(edges.length * 4, 32, (out) => expect(k.exports.bits_to_ranges(at, bits.length, 5, out)).toBe(edges.length / 2))
        expect([...new Uint32Array(ranges.buffer)]).toEqual(edges.map((row) => row + 5))
        const list = k.copyIn(ranges)
        const back = between(bits.length, 0, (out) => {
          k.u8.fill(0, out, out + bits.length)
          expect(k.exports.ranges_to_bits(list, edges.length / 2, 5, bits.length, out)).toBe(edges.length / 2)
        })
        expect(Buffer.compare(back, bits)).toBe(0)
        k.arena.rewind(mark)
      }
    }
  })

  it('ranges_to_bits takes what lies within its window, and says how many ranges end there', () => {
    const list = k.copyIn(new Uint8Array(Uint32Array.of(2, 5, 60, 70, 100, 300, 400, 500).buffer))
    const windows: [number, number, number, number[]][] = [
      [0, 8, 1, [2, 3, 4, 60, 61, 62, 63]],
      [64, 8, 2, [0, 1, 2, 3, 4, 5, ...Array.from({ length: 28 }, (_, i) => 36 + i)]],
      [128, 16, 2, Array.from({ length: 128 }, (_, i) => i)],
      [320, 8, 3, []],
      [448, 8, 4, Array.from({ length: 52 }, (_, i) => i)],
      [512, 8, 4, []],
    ]
    for (const [base, bytes, done, rows] of windows) {
      const bits = between(bytes, 0, (out) => {
        k.u8.fill(0, out, out + bytes)
        expect(k.exports.ranges_to_bits(list, 4, base, bytes, out), `window at ${base}`).toBe(done)
      })
      expect([...Coverage.ofBitmap(bits, bytes * 8).toRows()], `window at ${base}`).toEqual(rows)
    }
    k.arena.release(list)
  })

  it('merges of range lists keep to the room they state', () => {
    fc.assert(
      fc.property(sets, sets, (left, right) => {
        const [a, b] = [Coverage.ofRows(left.rows.slice(0, 300)).toRanges(), Coverage.ofRows(right.rows.slice(0, 300)).toRanges()]
        const mark = k.arena.mark()
        const place = (words: Uint32Array): number => {
          const at = k.arena.reserve(words.byteLength + 16) + 4
          k.u32.set(words, at >>> 2)
          return at
        }
        const [x, y] = [place(a), place(b)]
        const [an, bn] = [a.length / 2, b.length / 2]
        between((an + bn) * 8, 0, (out) => k.exports.ranges_and(x, an, y, bn, out))
        between((an + bn + 1) * 8, 0, (out) => k.exports.ranges_andnot(x, an, y, bn, out))
        between((an + bn + 2) * 8 + 4, 0, (out) => k.exports.ranges_or(x, an, y, bn, out + 4))
        k.arena.rewind(mark)
      }),
      { numRuns: 100 },
    )
  })
})
