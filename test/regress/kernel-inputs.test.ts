// What varve/kernels made of inputs that nobody expected: digests of kernel memory for arguments that were no bytes, traps, a filter read from memory that moved
// meanwhile, combined CRCs that forgot every 4 GiB of the second part, an error of the host's for 2 GiB in one piece.
import { describe, expect, it } from 'vitest'

import { findNativeSha256 } from '../../bindings/kernels/load.ts'
import { allocate, BloomFilter, Coverage, crc32c, crc32cCombine, InvalidConfigError, kernelMemory, lz4BlockDecode } from '../../bindings/kernels/public.ts'
import { lz4BlockEncode, sha256, trimKernelMemory, xxh3 } from '../../bindings/kernels/public.ts'
import { hex, noise } from '../kernel/bytes.ts'

describe('bytes', () => {
  it('that are an ArrayBuffer or a text have no digest: it was one of whatever lay in kernel memory', () => {
    for (const given of [new ArrayBuffer(64), 'abc', Uint16Array.of(1, 2)] as unknown as Uint8Array[]) {
      expect(() => sha256(given)).toThrow(InvalidConfigError)
      expect(() => crc32c(given)).toThrow(InvalidConfigError)
    }
    expect(() => xxh3(noise(10), 5n as never)).toThrow(RangeError)
  })

  it('of a buffer that was released are refused by native SHA-256, too, which read them', () => {
    const buffer = allocate(5000)
    const view = buffer.bytes
    buffer.release()
    expect(() => sha256(view)).toThrow(InvalidConfigError)
  })
})

describe('a bloom filter', () => {
  it('in kernel memory is decoded when its check makes memory grow', () => {
    const filter = BloomFilter.buildWithBlocks(new Uint32Array(noise(8000).buffer), 60_000)
    const encoded = filter.encode()
    trimKernelMemory(0)
    using buffer = allocate(encoded.length)
    buffer.bytes.set(encoded)
    const { bytes } = kernelMemory()
    expect(hex(BloomFilter.decode(buffer, 'test').bytes)).toBe(hex(filter.bytes))
    expect(kernelMemory().bytes).toBeGreaterThan(bytes)
  })
})

describe('the CRC of two parts', () => {
  it('counts a second part past 4 GiB', () => {
    const LEAST = 1 << 20
    const CRC_OF_ZEROS = new Map([[LEAST, crc32c(new Uint8Array(LEAST))]])
    for (let n = LEAST; n < 2 ** 30; n *= 2) CRC_OF_ZEROS.set(2 * n, crc32cCombine(CRC_OF_ZEROS.get(n)!, CRC_OF_ZEROS.get(n)!, n))
    /** Zeros behind what has that CRC, in parts whose lengths fit 32 bits. */
    const behind = (crc: number, bytes: number): number => {
      let sum = crc
      let left = bytes
      for (let part = 2 ** 30; part >= LEAST; part /= 2) {
        for (; left >= part; left -= part) sum = crc32cCombine(sum, CRC_OF_ZEROS.get(part)!, part)
      }
      return crc32cCombine(sum, crc32c(new Uint8Array(left)), left)
    }
    const head = crc32c(noise(100))
    for (const bytes of [2 ** 32, 2 ** 32 + 5, 5 * 2 ** 30 + 77, 2 ** 31 - 1, 2 ** 40 + 12_345]) {
      expect(crc32cCombine(head, behind(0, bytes), bytes), `${bytes} bytes`).toBe(behind(head, bytes))
    }
  })
})

describe('a number out of range', () => {
  it('is refused before a kernel writes as much, or traps', () => {
    const bomb = lz4BlockEncode(new Uint8Array(8 << 20))!
    for (const stated of [-1, Number.NaN]) expect(() => lz4BlockDecode(bomb, stated)).toThrow(RangeError)
    for (const rows of [-64, -(2 ** 32)]) expect(() => Coverage.ofBitmap(noise(100), rows)).toThrow(RangeError)
  })
})

describe('a running hash of the host', () => {
  it('that takes less than 2 GiB at a time is given no more', () => {
    const pieces: number[] = []
    const running = {
      update: (bytes: Uint8Array) => {
        if (bytes.byteLength >= 2 ** 31) throw new RangeError('data is too long')
        pieces.push(bytes.byteLength)
        return running
      },
      digest: () => new Uint8Array(32),
    }
    const native = findNativeSha256({ process: { getBuiltinModule: () => ({ createHash: () => running }) } })!
    const longest = new Uint8Array(2 ** 31 + 5)
    native.hasher().update(longest)
    native.digest(longest)
    expect(pieces.reduce((sum, n) => sum + n, 0)).toBe(2 * longest.length)
  })
})
