import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { DecodeError } from '../../bindings/format/index.ts'
import { hasCheck, writeCheck } from '../../bindings/format/index.ts'
import { decodeKeyIndex, encodeKeyIndex, SEARCH_ROW } from '../../bindings/indexes/index.ts'
import { hex, noise } from './bytes.ts'
import { oracleCandidates, oracleKeyIndex } from './oracles/key-buckets.ts'

const hashes = (rows: number, seed: number): Uint32Array<ArrayBuffer> => new Uint32Array(noise(rows * 8, seed).buffer)

/** Hashes of which many fall into one bucket and share their tags. */
const crowded = fc
  .array(fc.tuple(fc.constantFrom(0, 1, 0xfff, 0x1000, 2 ** 31, 2 ** 32 - 1), fc.constantFrom(0, 1, 2 ** 30, 2 ** 31, 2 ** 32 - 1)), {
    minLength: 1,
    maxLength: 257,
  })
  .map((pairs) => Uint32Array.from(pairs.flat()))

describe('the buckets of a key index', () => {
  it('have the bytes of a row-by-row build, at every number of rows up to 257', () => {
    for (let rows = 1; rows <= 257; rows++) {
      const some = hashes(rows, rows)
      expect(hex(encodeKeyIndex(some, rows, false)), `${rows} rows`).toBe(hex(oracleKeyIndex(some, rows)))
    }
    for (const rows of [768 * 12, 4096 * 12 + 1, 65_536, 65_537, 262_144]) {
      const some = hashes(rows, rows)
      expect(Buffer.compare(encodeKeyIndex(some, rows, false), oracleKeyIndex(some, rows)), `${rows} rows`).toBe(0)
    }
  })

  it('have them for crowded buckets too, starts of 32 bits included', () => {
    fc.assert(
      fc.property(crowded, (some) => {
        expect(hex(encodeKeyIndex(some, some.length / 2, false))).toBe(hex(oracleKeyIndex(some, some.length / 2)))
      }),
    )
    for (const high of [0, 2 ** 32 - 1]) {
      const rows = 70_000
      const one = Uint32Array.from({ length: 2 * rows }, (_, i) => (i & 1 ? high : i >> 1))
      expect(Buffer.compare(encodeKeyIndex(one, rows, false), oracleKeyIndex(one, rows))).toBe(0)
    }
  })

  it('name the rows that a look at every row names, for few hashes and for many', () => {
    fc.assert(
      fc.property(crowded, crowded, fc.boolean(), (some, others, repeated) => {
        const rows = some.length / 2
        const index = decodeKeyIndex(encodeKeyIndex(some, rows, false), rows)
        // Asked often enough, the index goes through kernel memory.
        const asked = repeated ? Uint32Array.from(Array.from({ length: 20 }, () => [...others, ...some]).flat()) : others
        const { count, pairs } = index.probeMany(asked, asked.length / 2)
        expect(pairs).toHaveLength(2 * count)
        expect(Array.from(pairs)).toEqual(oracleCandidates(some, rows, asked, asked.length / 2))
      }),
      { numRuns: 60 },
    )
  })

  it('name every row of one full bucket for each of many hashes with its tag', () => {
    const rows = 3000
    const same = new Uint32Array(2 * rows)
    const index = decodeKeyIndex(encodeKeyIndex(same, rows, false), rows)
    const { count, pairs } = index.probeMany(same, 900)
    expect(count).toBe(900 * rows)
    for (const i of [0, 1, rows, 450 * rows + 17, 900 * rows - 1]) expect([pairs[2 * i], pairs[2 * i + 1]]).toEqual([Math.floor(i / rows), i % rows])
  })

  it('of a sorted fragment ask for a search', () => {
    const some = hashes(500, 3)
    const index = decodeKeyIndex(encodeKeyIndex(some, 500, true), 500)
    const { count, pairs } = index.probeMany(some, 500)
    expect(count).toBe(500)
    expect(Array.from(pairs)).toEqual(Array.from({ length: 500 }, (_, i) => [i, SEARCH_ROW]).flat())
    expect(index.probeMany(some, 0)).toEqual({ count: 0, pairs: new Uint32Array(0) })
  })
})

describe('hostile index bytes', () => {
  it('behind a good check are refused or answer within their rows, and never trap', () => {
    const rows = 300
    const some = hashes(rows, 5)
    const asked = Uint32Array.from(Array.from({ length: 8 }, () => [...some]).flat())
    const good = encodeKeyIndex(some, rows, false)
    let refused = 0
    let accepted = 0
    const attempt = (bytes: Uint8Array<ArrayBuffer>): void => {
      writeCheck(bytes)
      expect(hasCheck(bytes)).toBe(true)
      let index
      try {
        index = decodeKeyIndex(bytes, rows)
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError)
        refused++
        return
      }
      accepted++
      for (const [probed, count] of [
        [asked, asked.length / 2],
        [some, 3],
      ] as const) {
        const { pairs } = index.probeMany(probed, count)
        for (let i = 1; i < pairs.length; i += 2) if (pairs[i]! >= rows) expect.unreachable(`row ${pairs[i]!}`)
      }
      for (let i = 0; i < rows; i++) {
        const hits = index.probe(some[2 * i]!, some[2 * i + 1]!)
        for (let k = 0; k < hits; k++) if (index.hits[k]! >= rows) expect.unreachable(`row ${index.hits[k]!}`)
      }
    }
    for (let at = 0; at < good.length - 8; at++) {
      for (const value of [0, 0xff, good[at]! ^ 1, good[at]! ^ 0x80]) {
        const bytes = good.slice()
        bytes[at] = value
        attempt(bytes)
      }
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: good.length - 40, maxLength: good.length - 40 }), (content) => {
        const bytes = good.slice()
        bytes.set(content, 32)
        attempt(bytes)
      }),
      { numRuns: 50 },
    )
    expect(refused).toBeGreaterThan(100)
    expect(accepted).toBeGreaterThan(100)
  })
})
