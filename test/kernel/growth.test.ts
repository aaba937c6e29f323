// Every call that needs kernel memory, while kernel memory does not grow.
import { afterEach, describe, expect, it } from 'vitest'

import { KernelMemoryExhaustedError } from '../../bindings/errors.ts'
import {
  between,
  BloomFilter,
  compareConst,
  concat,
  crc32c,
  decodeInline,
  encodeDictionary,
  encodeInline,
  filter,
  inList,
  kernels,
  lz4FrameDecode,
  lz4FrameEncode,
  mergeRuns,
  minMaxVec,
  scanBytes,
  sha256Many,
  sortIndices,
  sumVec,
  take,
  trimKernels,
  unifyDictionaries,
  xxh3BigInt,
  xxh3Column,
} from '../../bindings/kernels/index.ts'
import type { Layout, Vec } from '../../bindings/kernels/index.ts'
import { noise } from './bytes.ts'
import { randomOf, rowsFor, rowsOf, selectionFor, vecOf } from './vec-model.ts'

const ROWS = 30_000
const LAYOUTS: Readonly<Record<'ints' | 'texts' | 'nested', Layout>> = {
  ints: { kind: 'fixed', width: 8 },
  texts: { kind: 'var' },
  nested: { kind: 'list', item: { kind: 'struct', fields: [{ kind: 'var' }, { kind: 'fixed', width: 4 }] } },
}
const columns = Object.fromEntries(
  Object.entries(LAYOUTS).map(([name, layout]) => [name, vecOf(layout, rowsFor(layout, ROWS, 0.1, randomOf(5)), 9)]),
) as Record<keyof typeof LAYOUTS, Vec>
const { ints, texts, nested } = columns
const rows = Uint32Array.from({ length: ROWS }, (_, i) => (i * 7919) % ROWS)
const { bits } = selectionFor(ROWS, 5, 1)
const bytes = noise(3 << 20)
const frame = lz4FrameEncode(new Uint8Array(3 << 20).map((_, i) => (i >> 8) ^ (i & 7)))
const sorted = take(ints, sortIndices([{ vec: ints, kind: 'i64', descending: false }], ROWS))
const inline = encodeInline([ints, texts, nested], 0, ROWS)
const plain = (v: Vec): unknown => rowsOf(v)

/** What each gives as plain values, so that the second call can be held against a first without faults. */
const CALLS: Readonly<Record<string, () => unknown>> = {
  'take of integers': () => plain(take(ints, rows)),
  'take of texts': () => plain(take(texts, rows)),
  'take of lists': () => plain(take(nested, rows)),
  'filter of integers': () => plain(filter(ints, bits)),
  'filter of texts': () => plain(filter(texts, bits)),
  'filter of lists': () => plain(filter(nested, bits)),
  concat: () => plain(concat([texts, texts])),
  sortIndices: () => [...sortIndices([{ vec: texts, kind: 'bytes', descending: false }], ROWS)],
  mergeRuns: () => [...mergeRuns([[{ vec: sorted, kind: 'i64', descending: false }], [{ vec: sorted, kind: 'i64', descending: false }]])],
  encodeDictionary: () => plain(encodeDictionary(texts, ROWS)!),
  unifyDictionaries: () => unifyDictionaries([texts, texts]).maps.map((map) => [...map]),
  compareConst: () => [...compareConst(ints, 'i64', 'lt', 5n)],
  between: () => [...between(texts, 'bytes', Uint8Array.of(1), Uint8Array.of(200))],
  inList: () => [...inList(texts, 'bytes', [Uint8Array.of(1), Uint8Array.of(0, 1)])],
  sumVec: () => sumVec(ints, 'i64'),
  minMaxVec: () => minMaxVec(texts, 'bytes'),
  crc32c: () => crc32c(bytes),
  xxh3: () => xxh3BigInt(bytes),
  xxh3Column: () => [...xxh3Column(texts, 'bytes')],
  sha256Many: () => sha256Many(Array.from({ length: 3000 }, (_, i) => bytes.subarray(i * 300, i * 300 + 200 + (i % 100)))),
  'bloom filter': () => {
    const hashes = xxh3Column(ints, 'i64')
    return [...BloomFilter.build(hashes).encode()]
  },
  lz4FrameEncode: () => lz4FrameEncode(bytes).length,
  lz4FrameDecode: () => xxh3BigInt(lz4FrameDecode(frame, 3 << 20)),
  scanBytes: () => scanBytes(bytes, { firstLsn: 1n, epoch: 1n, seed: 0n }).stop,
  decodeInline: () => decodeInline(inline, Uint32Array.of(0), Uint32Array.of(ROWS), Object.values(LAYOUTS)),
}

const grow = WebAssembly.Memory.prototype.grow
afterEach(() => {
  WebAssembly.Memory.prototype.grow = grow
})

describe('the n-th growth fails, for every n', () => {
  it.each(Object.entries(CALLS))('%s: a typed error, no region left behind, and the same result when it is called again', (_, call) => {
    const expected = call()
    let failures = 0
    for (let n = 1; ; n++) {
      trimKernels(0)
      const { arena, exports } = kernels()
      // All but a little is taken, so that calls which go in small pieces must grow, too.
      const held = arena.reserve(arena.memoryBytes - exports.arena_base() - 1024)
      const used = arena.usedBytes
      let count = 0
      WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
        if (++count === n) throw new RangeError('no more memory')
        return grow.call(this, pages)
      }
      let error: unknown
      try {
        call()
      } catch (reason) {
        error = reason
      }
      WebAssembly.Memory.prototype.grow = grow
      expect(kernels().arena).toBe(arena)
      expect(arena.usedBytes).toBe(used)
      arena.release(held)
      if (error === undefined) break
      failures++
      expect(error).toBeInstanceOf(KernelMemoryExhaustedError)
      expect(call()).toEqual(expected)
    }
    expect(failures).toBeGreaterThan(0)
  })
})
