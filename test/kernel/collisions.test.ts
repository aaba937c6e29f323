// Keys whose 32-bit hashes are equal and whose bytes are not: so many keys that some collide, by the birthday bound.
import { expect, it } from 'vitest'

import { KernelInstance } from '../../bindings/kernels/index.ts'

/** Expected pairs of equal hashes: n^2 / 2^33, twenty here; none at all once in 10^8 choices of keys, and the keys are always the same. */
const KEYS = 420_000
const SLOTS = 1 << 20

const k = new KernelInstance({ fixedBytes: 40 << 20 })
const x = k.exports
const keys = Buffer.alloc(KEYS * 12)
const offsets = new Uint32Array(KEYS + 1)
for (let i = 0; i < KEYS; i++) {
  // 8 to 11 bytes: equal hashes of equal and of different lengths.
  const at = offsets[i]!
  keys.writeUInt32LE(Math.imul(i, 2_654_435_761) >>> 0, at)
  keys.writeUInt32LE(i, at + 4)
  offsets[i + 1] = at + 8 + (i & 3)
}
const data = k.copyIn(keys)
const ends = k.arena.reserve(offsets.byteLength)
k.u32.set(offsets, ends >>> 2)
const slots = k.arena.reserve(SLOTS * 8)
const out = k.arena.reserve(KEYS * 4)

const pairs = (hashes: Uint32Array): number => hashes.length - new Set(hashes).size
const numbers = (): Uint32Array => k.u32.slice(out >>> 2, (out >>> 2) + KEYS)
const inOrder = Uint32Array.from({ length: KEYS }, (_, i) => i)

it('dict_intern tells them apart', () => {
  const mark = k.arena.mark()
  const entryOffsets = k.arena.reserve(offsets.byteLength)
  const entryData = k.arena.reserve(keys.length)
  k.u8.fill(0, slots, slots + SLOTS * 8)
  k.u32[entryOffsets >>> 2] = 0
  for (const known of [0, KEYS]) {
    expect(x.dict_intern(ends, data, 0, KEYS, slots, SLOTS - 1, entryOffsets, entryData, known, KEYS, out) >>> 0).toBe(KEYS)
    expect(numbers()).toEqual(inOrder)
  }
  const hashes = k.u32.slice(slots >>> 2, (slots >>> 2) + SLOTS * 2).filter((_, i, words) => (i & 1) === 0 && words[i + 1] !== 0)
  expect(pairs(hashes)).toBeGreaterThan(0)
  k.arena.rewind(mark)
})

it('table_put, table_find and table_undo tell them apart', () => {
  k.u8.fill(0, slots, slots + SLOTS * 8)
  expect(x.table_put(slots, SLOTS - 1, data, ends + 4, 0, 0, KEYS, 1, 2, out)).toBe(KEYS)
  expect(numbers().every((row) => row === 0xffff_ffff)).toBe(true)
  expect(x.table_put(slots, SLOTS - 1, data, ends + 4, 0, 0, KEYS, 1, 2, out)).toBe(0)
  expect(numbers()).toEqual(inOrder)
  x.table_undo(slots, SLOTS - 1, data, ends + 4, 0, 0, KEYS, 1, 2, out)
  expect(x.table_find(slots, SLOTS - 1, data, ends + 4, 0, data, ends + 4, KEYS, 1, 2, out)).toBe(KEYS)
  expect(numbers()).toEqual(inOrder)
  const hashes = k.u32.slice(slots >>> 2, (slots >>> 2) + SLOTS * 2).filter((_, i, words) => (i & 1) === 0 && words[i + 1] !== 0)
  expect(pairs(hashes)).toBeGreaterThan(0)
})

it('group_bytes tells them apart', () => {
  const mark = k.arena.mark()
  const head = k.arena.reserve(64)
  const entries = k.arena.reserve(offsets.byteLength)
  const kept = k.arena.reserve(keys.length)
  k.u8.fill(0, slots, slots + SLOTS * 8)
  k.u32[entries >>> 2] = 0
  k.u32.set([slots, SLOTS - 1, 0, 0, KEYS, 0, entries, kept, keys.length], head >>> 2)
  for (let round = 0; round < 2; round++) {
    expect(x.group_bytes(ends, data, 0, 0, 0, 0, KEYS, head, out)).toBe(KEYS)
    expect(numbers()).toEqual(inOrder)
  }
  const hashes = k.u32.slice(slots >>> 2, (slots >>> 2) + SLOTS * 2).filter((_, i, words) => (i & 1) === 1 && words[i - 1] !== 0)
  expect(pairs(hashes)).toBeGreaterThan(0)
  k.arena.rewind(mark)
})
