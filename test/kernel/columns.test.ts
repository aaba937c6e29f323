// test/kernel/columns.test.ts: take, filter, concat, slice, dictionaries and bitmaps against plain arrays of rows.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapNone,
  bitmapNot,
  bitmapOr,
  bitmapToIndices,
  concat,
  decodeDictionary,
  emptyVec,
  encodeDictionary,
  filter,
  filterMany,
  kernels,
  nullVec,
  popcount,
  slice,
  take,
  takeMany,
  unifyDictionaries,
  widen,
} from '../../bindings/kernels/index.ts'
import { checkVec, layouts, lengths, randomOf, rowsFor, rowsOf, samples, selectionFor, SELECTION_SHAPES, vecOf } from './vec-model.ts'

const NULL = 0xffffffff
const runs = { numRuns: 400 }

describe('take', () => {
  it('equals picking rows one by one, for every layout', () => {
    fc.assert(
      fc.property(samples(), lengths, fc.integer(), fc.constantFrom(0, 0.1, 1), ({ rows, vec }, n, seed, missing) => {
        const random = randomOf(seed)
        const idx = new Uint32Array(n)
        for (let i = 0; i < n; i++) idx[i] = rows.length === 0 || random.chance(missing) ? NULL : random.below(rows.length)
        expect(rowsOf(checkVec(take(vec, idx)))).toEqual([...idx].map((i) => (i === NULL ? null : rows[i])))
      }),
      runs,
    )
  })

  it('takes a few rows of many without reading the rest', () => {
    const layouts = [{ kind: 'fixed', width: 8 }, { kind: 'var' }, { kind: 'bool' }, { kind: 'list', item: { kind: 'fixed', width: 4 } }] as const
    for (const layout of layouts) {
      const rows = rowsFor(layout, 5000, 0.1, randomOf(7))
      const vec = vecOf(layout, rows)
      const idx = Uint32Array.of(4999, 0, 17, NULL, 17)
      expect(rowsOf(checkVec(take(vec, idx)))).toEqual([rows[4999], rows[0], rows[17], null, rows[17]])
    }
  })

  it('takes many rows, output in several pieces', () => {
    const random = randomOf(3)
    const idx = Uint32Array.from({ length: 60_000 }, () => random.below(20_000))
    for (const layout of [{ kind: 'fixed', width: 8 }, { kind: 'fixed', width: 12 }, { kind: 'var' }] as const) {
      const rows = rowsFor(layout, 20_000, 0.1, randomOf(8))
      const taken = checkVec(take(vecOf(layout, rows), idx))
      const expected = [...idx].map((i) => rows[i])
      expect(rowsOf(taken)).toEqual(expected)
    }
  })

  it('refuses an index outside the column', () => {
    const vec = vecOf({ kind: 'fixed', width: 4 }, ['00000000'])
    expect(() => take(vec, Uint32Array.of(0, 1))).toThrow(/indices lie inside/)
    expect(() => take(vec, Uint32Array.of(NULL - 1))).toThrow(/indices lie inside/)
    // Long lists are checked in kernel memory, at every place of a group of four.
    const long = vecOf({ kind: 'fixed', width: 1 }, rowsFor({ kind: 'fixed', width: 1 }, 100, 0, randomOf(1)))
    for (let at = 0; at < 75; at++) {
      const idx = new Uint32Array(75).fill(99)
      for (const bad of [100, NULL - 1, 0x80000000]) {
        idx[at] = bad
        expect(() => take(long, idx)).toThrow(/indices lie inside/)
      }
      idx[at] = NULL
      expect(take(long, idx).nullCount).toBe(1)
    }
  })

  it('copies whole runs only where the list ascends', () => {
    const rows = rowsFor({ kind: 'var' }, 300, 0, randomOf(2))
    const vec = vecOf({ kind: 'var' }, rows)
    for (let at = 0; at < 140; at++) {
      const idx = Uint32Array.from({ length: 140 }, (_, i) => i + 50)
      idx[at] = 20
      expect(rowsOf(take(vec, idx))).toEqual([...idx].map((i) => rows[i]))
    }
  })

  it('takes the same rows of several columns', () => {
    const a = vecOf({ kind: 'var' }, ['01', null, '0203'])
    const b = vecOf({ kind: 'bool' }, [true, false, null])
    expect(takeMany([a, b], Uint32Array.of(2, 0)).map(rowsOf)).toEqual([
      ['0203', '01'],
      [null, true],
    ])
  })
})

describe('filter', () => {
  it('equals keeping rows one by one, for every layout and shape of selection', () => {
    fc.assert(
      fc.property(samples(), fc.nat(SELECTION_SHAPES - 1), fc.integer(), ({ rows, vec }, shape, seed) => {
        const { bits, chosen } = selectionFor(rows.length, shape, seed)
        expect(rowsOf(checkVec(filter(vec, bits)))).toEqual(chosen.map((i) => rows[i]))
      }),
      { numRuns: 1000 },
    )
  })

  it('handles every length up to 257 at every width', () => {
    for (const width of [1, 2, 4, 8, 16, 7]) {
      const rows = rowsFor({ kind: 'fixed', width }, 257, 0.2, randomOf(width))
      for (let n = 0; n <= 257; n++) {
        const vec = vecOf({ kind: 'fixed', width }, rows.slice(0, n), n)
        for (const shape of [2, 5]) {
          const { bits, chosen } = selectionFor(n, shape, n)
          expect(rowsOf(filter(vec, bits))).toEqual(chosen.map((i) => rows[i]))
        }
      }
    }
  })

  it('works in pieces on long columns', () => {
    for (const layout of [{ kind: 'fixed', width: 1 }, { kind: 'fixed', width: 4 }, { kind: 'fixed', width: 8 }, { kind: 'var' }, { kind: 'bool' }] as const) {
      const rows = rowsFor(layout, 150_001, 0.1, randomOf(11))
      const { bits, chosen } = selectionFor(rows.length, 5, 12)
      const kept = checkVec(filter(vecOf(layout, rows), bits, chosen.length))
      expect(rowsOf(kept)).toEqual(chosen.map((i) => rows[i]))
    }
  })

  it('filters several columns by one selection', () => {
    fc.assert(
      fc.property(fc.array(layouts, { minLength: 1, maxLength: 4 }), lengths, fc.nat(SELECTION_SHAPES - 1), fc.integer(), (kinds, n, shape, seed) => {
        const tables = kinds.map((layout, i) => rowsFor(layout, n, 0.2, randomOf(seed + i)))
        const { bits, chosen } = selectionFor(n, shape, seed)
        const kept = filterMany(
          kinds.map((layout, i) => vecOf(layout, tables[i]!, seed)),
          bits,
          n,
        )
        expect(kept.map(rowsOf)).toEqual(tables.map((rows) => chosen.map((i) => rows[i])))
      }),
      runs,
    )
  })

  it('writes nothing behind its output and its slack', () => {
    const k = kernels()
    const mark = k.arena.mark()
    const n = 130
    const src = k.arena.reserve(n * 16)
    const sel = k.arena.reserve(24)
    const out = k.arena.reserve(n * 16 + 256)
    for (let shape = 0; shape < SELECTION_SHAPES; shape++) {
      const { bits, chosen } = selectionFor(n, shape, shape)
      k.u8.fill(0, sel, sel + 24)
      for (const i of chosen) k.u8[sel + (i >>> 3)]! |= 1 << (i & 7)
      expect(popcount(bits, n)).toBe(chosen.length)
      const x = k.exports
      const filters: Record<number, () => number> = {
        1: () => x.filter_8(src, sel, n, out),
        2: () => x.filter_16(src, sel, n, out),
        4: () => x.filter_32(src, sel, n, out),
        8: () => x.filter_64(src, sel, n, out),
        16: () => x.filter_128(src, sel, n, out),
      }
      for (const [width, run] of Object.entries(filters)) {
        const end = out + chosen.length * Number(width) + 16
        k.u8.fill(0xa5, out, out + n * 16 + 256)
        expect(run()).toBe(chosen.length)
        expect(k.u8.subarray(end, out + n * 16 + 256).every((byte) => byte === 0xa5)).toBe(true)
      }
      k.u8.fill(0xa5, out, out + n * 16 + 256)
      expect(x.filter_n(src, sel, n, 3, out)).toBe(chosen.length)
      expect(k.u8.subarray(out + chosen.length * 3, out + 600).every((byte) => byte === 0xa5)).toBe(true)
      k.u8.fill(0xa5, out, out + 600)
      x.filter_bits(src, sel, n, out)
      expect(k.u8.subarray(out + Math.ceil(chosen.length / 8), out + 600).every((byte) => byte === 0xa5)).toBe(true)
    }
    k.arena.rewind(mark)
  })

  it('gives scratch back, also when it fails', () => {
    const vec = vecOf({ kind: 'fixed', width: 4 }, rowsFor({ kind: 'fixed', width: 4 }, 300, 0, randomOf(1)))
    const before = kernels().arena.usedBytes
    filter(vec, selectionFor(300, 5, 1).bits)
    expect(() => filter(vec, selectionFor(300, 5, 1).bits, 3)).toThrow(/stated (count|size)/)
    expect(kernels().arena.usedBytes).toBe(before)
  })
})

describe('concat and slice', () => {
  it('puts columns of any layout together', () => {
    fc.assert(
      fc.property(layouts, fc.array(lengths, { minLength: 1, maxLength: 4 }), fc.integer(), fc.constantFrom(0, 0.3), (layout, counts, seed, nulls) => {
        const parts = counts.map((n, i) => rowsFor(layout, n, i === 1 ? 0 : nulls, randomOf(seed + i)))
        const all = checkVec(concat(parts.map((rows, i) => vecOf(layout, rows, seed + 9 * i))))
        expect(rowsOf(all)).toEqual(parts.flat())
      }),
      runs,
    )
  })

  it('puts long var and list columns together', () => {
    for (const layout of [{ kind: 'var' }, { kind: 'list', item: { kind: 'var' } }] as const) {
      const parts = [1500, 3, 1027].map((n, i) => rowsFor(layout, n, 0.1, randomOf(i)))
      expect(rowsOf(checkVec(concat(parts.map((rows, i) => vecOf(layout, rows, i)))))).toEqual(parts.flat())
    }
  })

  it('slices at any row, and what was sliced can be filtered, taken and put together', () => {
    fc.assert(
      fc.property(samples(), fc.nat(), fc.nat(), fc.integer(), ({ rows, vec }, a, b, seed) => {
        const start = a % (rows.length + 1)
        const end = start + (b % (rows.length - start + 1))
        const part = checkVec(slice(vec, start, end))
        expect(rowsOf(part)).toEqual(rows.slice(start, end))
        const { bits, chosen } = selectionFor(part.length, 5, seed)
        expect(rowsOf(checkVec(filter(part, bits)))).toEqual(chosen.map((i) => rows[start + i]))
        expect(rowsOf(checkVec(concat([slice(vec, 0, start), part, slice(vec, end, rows.length)])))).toEqual(rows)
        const last = Uint32Array.from({ length: part.length }, (_, i) => part.length - 1 - i)
        expect(rowsOf(checkVec(take(part, last)))).toEqual(rows.slice(start, end).toReversed())
      }),
      runs,
    )
  })

  it('unifies dictionaries in first-seen order and widens the codes when they no longer fit', () => {
    const name = (i: number): string => i.toString(16).padStart(8, '0')
    const first = Array.from({ length: 200 }, (_, i) => name(i))
    const second = Array.from({ length: 200 }, (_, i) => (i === 5 ? null : name(i + 100)))
    const all = checkVec(concat([vecOf({ kind: 'dict', width: 1 }, first), vecOf({ kind: 'dict', width: 1 }, second)]))
    expect(all.layout).toEqual({ kind: 'dict', width: 2 })
    expect(rowsOf(all)).toEqual([...first, ...second])
    expect(rowsOf(all.dictionary!).slice(0, 200)).toEqual(first)
  })

  it('keeps a dictionary that all parts share', () => {
    const whole = vecOf({ kind: 'dict', width: 1 }, ['01', '02', null, '01', '0302'])
    const all = concat([slice(whole, 0, 2), slice(whole, 3, 5)])
    expect(all.dictionary).toBe(whole.dictionary)
    expect(rowsOf(all)).toEqual(['01', '02', '01', '0302'])
  })

  it('decodes a dictionary column that meets a plain one', () => {
    const all = checkVec(concat([vecOf({ kind: 'dict', width: 2 }, ['01', null]), vecOf({ kind: 'var' }, ['', '02'])]))
    expect(all.layout).toEqual({ kind: 'var' })
    expect(rowsOf(all)).toEqual(['01', null, '', '02'])
  })

  it('writes bits at any offset without touching their neighbours', () => {
    const k = kernels()
    const mark = k.arena.mark()
    const dst = k.arena.reserve(64)
    const src = k.arena.reserve(64)
    fc.assert(
      fc.property(fc.nat(70), fc.nat(70), fc.nat(200), fc.integer(), (dstBit, srcBit, n, seed) => {
        const random = randomOf(seed)
        for (let i = 0; i < 64; i++) k.u8[src + i] = random.u32()
        k.u8.fill(0xa5, dst, dst + 64)
        const bit = (p: number, i: number): number => (k.u8[p + (i >>> 3)]! >>> (i & 7)) & 1
        const end = dstBit + n
        k.exports.concat_bits(dst, dstBit, src, srcBit, n)
        for (let i = 0; i < 512; i++) {
          const behind = n > 0 && i >= end && i < Math.ceil(end / 8) * 8
          const expected = i >= dstBit && i < end ? bit(src, srcBit + i - dstBit) : behind ? 0 : (0xa5 >>> (i & 7)) & 1
          if (bit(dst, i) !== expected) throw new Error(`bit ${i}`)
        }
        k.u8.fill(0xa5, dst, dst + 64)
        k.exports.fill_bits(dst, dstBit, n)
        for (let i = 0; i < 512; i++) {
          const behind = n > 0 && i >= end && i < Math.ceil(end / 8) * 8
          const expected = i >= dstBit && i < end ? 1 : behind ? 0 : (0xa5 >>> (i & 7)) & 1
          if (bit(dst, i) !== expected) throw new Error(`filled bit ${i}`)
        }
      }),
      runs,
    )
    k.arena.rewind(mark)
  })
})

describe('dictionaries and widths', () => {
  it('encodes and decodes to the same rows', () => {
    fc.assert(
      fc.property(samples(fc.constant({ kind: 'var' } as const)), ({ rows, vec }) => {
        const distinct = new Set(rows.filter((row) => row !== null)).size
        const encoded = encodeDictionary(vec, rows.length)
        expect(rowsOf(checkVec(encoded!))).toEqual(rows)
        expect(encoded!.dictionary!.length).toBe(distinct)
        expect(rowsOf(checkVec(decodeDictionary(encoded!)))).toEqual(rows)
        if (distinct > 0) expect(encodeDictionary(vec, distinct - 1)).toBeUndefined()
      }),
      runs,
    )
  })

  it('encodes more than 65,536 distinct values with codes of four bytes', () => {
    const rows = Array.from({ length: 70_000 }, (_, i) => i.toString(16).padStart(6, '0'))
    const encoded = encodeDictionary(vecOf({ kind: 'var' }, rows), rows.length)!
    expect(encoded.layout).toEqual({ kind: 'dict', width: 4 })
    expect(rowsOf(encoded)).toEqual(rows)
  })

  it('maps each dictionary to the unified one', () => {
    const a = vecOf({ kind: 'var' }, ['01', '02'])
    const b = vecOf({ kind: 'var' }, ['02', '', '01'])
    const unified = unifyDictionaries([a, b, a])
    expect(rowsOf(unified.dictionary)).toEqual(['01', '02', ''])
    expect(unified.maps.map((map) => [...map])).toEqual([
      [0, 1],
      [1, 2, 0],
      [0, 1],
    ])
  })

  it('widens and cuts integers', () => {
    for (const from of [1, 2, 4, 8]) {
      for (const to of [1, 2, 4, 8]) {
        for (const signed of [true, false]) {
          const rows = rowsFor({ kind: 'fixed', width: from }, 67, 0.1, randomOf(from * to))
          const wide = checkVec(widen(vecOf({ kind: 'fixed', width: from }, rows), from, to, signed))
          const expected = rows.map((row) => {
            if (row === null) return null
            const bytes = Buffer.from(row as string, 'hex')
            const fill = signed && bytes[from - 1]! >= 128 ? 0xff : 0
            return Buffer.from(Array.from({ length: to }, (_, i) => bytes[i] ?? fill)).toString('hex')
          })
          expect(rowsOf(wide)).toEqual(expected)
        }
      }
    }
  })

  it('makes empty and all-null columns of every layout', () => {
    fc.assert(
      fc.property(layouts, lengths, (layout, n) => {
        expect(rowsOf(checkVec(emptyVec(layout)))).toEqual([])
        expect(rowsOf(checkVec(nullVec(layout, n)))).toEqual(Array.from({ length: n }, () => null))
      }),
      runs,
    )
  })
})

describe('bitmaps', () => {
  const read = (bits: Uint8Array): number[] => Array.from({ length: bits.length * 8 }, (_, i) => i).filter((i) => (bits[i >>> 3]! >>> (i & 7)) & 1)

  it('counts, lists and combines like sets of rows', () => {
    fc.assert(
      fc.property(
        fc.oneof(lengths, fc.integer({ min: 500, max: 3000 })),
        fc.nat(SELECTION_SHAPES - 1),
        fc.nat(SELECTION_SHAPES - 1),
        fc.integer(),
        (n, s, t, seed) => {
          const a = selectionFor(n, s, seed)
          const b = selectionFor(n, t, seed + 1)
          const inB = new Set(b.chosen)
          const inA = new Set(a.chosen)
          const all = Array.from({ length: n }, (_, i) => i)
          expect(popcount(a.bits, n)).toBe(a.chosen.length)
          expect([...bitmapToIndices(a.bits, n)]).toEqual(a.chosen)
          expect(read(bitmapAnd(a.bits, b.bits, n))).toEqual(a.chosen.filter((i) => inB.has(i)))
          expect(read(bitmapOr(a.bits, b.bits, n))).toEqual(all.filter((i) => inA.has(i) || inB.has(i)))
          expect(read(bitmapAndNot(a.bits, b.bits, n))).toEqual(a.chosen.filter((i) => !inB.has(i)))
          expect(read(bitmapNot(a.bits, n))).toEqual(all.filter((i) => !inA.has(i)))
          expect(read(bitmapAll(n))).toEqual(all)
          expect(read(bitmapNone(n))).toEqual([])
        },
      ),
      runs,
    )
  })

  it('counts from views at any byte offset', () => {
    const random = randomOf(5)
    const bytes = Uint8Array.from({ length: 80 }, () => random.u32())
    for (let at = 0; at < 9; at++) {
      for (let n = 0; n <= 257; n++) {
        let expected = 0
        for (let i = 0; i < n; i++) expected += (bytes[at + (i >>> 3)]! >>> (i & 7)) & 1
        expect(popcount(bytes.subarray(at), n)).toBe(expected)
      }
    }
  })
})
