// The keys of a staged write: round trips, one form per set, and bytes that somebody made or broke.
import { describe, expect, it } from 'vitest'

import { DecodeError, decodeKeysFile, encodeKeysFile, hasKeyHash, writeCheck } from '../../../bindings/format/index.ts'
import { seededRandom } from '../../../bindings/runtime/index.ts'

const words = (...hashes: [low: number, high: number][]): Uint32Array => Uint32Array.from(hashes.flat())
const key = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)

describe('the keys of a staged write', () => {
  it('ascend, each once, whatever order they came in', () => {
    const file = encodeKeysFile(words([5, 0], [0xffffffff, 1], [5, 0], [0, 0xffffffff], [4, 1]), [key(2), key(1, 9), key(2), key(), key(1)])
    const { hashes, deleted } = decodeKeysFile(file)
    expect([...hashes]).toEqual([5, 0, 4, 1, 0xffffffff, 1, 0, 0xffffffff])
    expect(deleted).toEqual([key(), key(1), key(1, 9), key(2)])
    expect(
      encodeKeysFile(hashes.slice().reverse().length === 8 ? words([0, 0xffffffff], [4, 1], [0xffffffff, 1], [5, 0]) : hashes, deleted.toReversed()),
    ).toEqual(file)
  })

  it('are found by hash, and others are not', () => {
    const random = seededRandom(4)
    for (const count of [0, 1, 2, 3, 1000]) {
      const all = Uint32Array.from({ length: count * 2 }, () => random.u32())
      const file = decodeKeysFile(encodeKeysFile(all, []))
      for (let i = 0; i < all.length; i += 2) expect(hasKeyHash(file, all[i]!, all[i + 1]!)).toBe(true)
      for (let i = 0; i < 200; i++) expect(hasKeyHash(file, random.u32(), random.u32())).toBe(false)
    }
  })

  it('nothing written is a file too', () => {
    expect(decodeKeysFile(encodeKeysFile(new Uint32Array(0), []))).toEqual({ hashes: new Uint32Array(0), deleted: [] })
  })

  it('every bit flipped and every length cut is refused', () => {
    const file = encodeKeysFile(words([1, 2], [3, 4]), [key(1, 2, 3), key(9)])
    for (let bit = 0; bit < file.length * 8; bit++) {
      const broken = file.slice()
      broken[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => decodeKeysFile(broken)).toThrow(DecodeError)
    }
    for (let length = 0; length < file.length; length++) expect(() => decodeKeysFile(file.slice(0, length))).toThrow(DecodeError)
    expect(() => decodeKeysFile(Uint8Array.from([...file, 0]))).toThrow(DecodeError)
  })

  it('bytes that check but lie are refused, quickly and without memory for what they claim', () => {
    const lies: readonly ((view: DataView) => void)[] = [
      (view) => view.setUint32(0, 0x12345678, true),
      (view) => view.setUint32(4, 2, true),
      (view) => view.setUint32(8, 0xffffffff, true),
      (view) => view.setUint32(8, 3, true),
      (view) => view.setUint32(12, 0xffffffff, true),
      (view) => view.setUint32(12, 1, true),
      (view) => view.setUint32(12, 3, true),
      // Hashes out of order, and one twice.
      (view) => view.setUint32(20, 9, true),
      (view) => view.setBigUint64(24, view.getBigUint64(16, true), true),
      // A key longer than the file; keys out of order.
      (view) => view.setUint32(32, 0xffffffff, true),
      (view) => view.setUint32(32, 100, true),
      (view) => view.setUint8(36, 200),
    ]
    for (const [i, lie] of lies.entries()) {
      const file = encodeKeysFile(words([1, 2], [3, 4]), [key(1, 2, 3), key(9)])
      lie(new DataView(file.buffer))
      writeCheck(file)
      expect(() => decodeKeysFile(file), `lie ${i}`).toThrow(DecodeError)
    }
  })

  it('random bytes behind a good check are refused', () => {
    const random = seededRandom(9)
    for (let round = 0; round < 500; round++) {
      const file = new Uint8Array(24 + (random.u32() % 100))
      file.set(random.bytes(file.length - 8))
      file.set([0x56, 0x4b, 0x45, 0x59, 1, 0, 0, 0])
      if (random.u32() % 2 === 0) file.set([random.u32() % 8, 0, 0, 0, random.u32() % 8, 0, 0, 0], 8)
      writeCheck(file)
      expect(() => decodeKeysFile(file)).toThrow(DecodeError)
    }
  })
})
