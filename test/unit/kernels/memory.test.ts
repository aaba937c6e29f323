// test/unit/kernels/memory.test.ts: who owns kernel memory as users of varve/kernels see it: buffers, fills, growth, limits (kernels.md section 10, Memory).
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { KernelInstance } from '../../../bindings/kernels/index.ts'
import {
  allocate,
  bitmapAll,
  bitmapAnd,
  bitmapOr,
  BloomFilter,
  columnOf,
  count,
  Coverage,
  decodeParquetBloom,
  DigestList,
  encodeParquetBloom,
  evaluateBitmap,
  crc32c,
  encodeFrame,
  filter,
  groupBy,
  InvalidConfigError,
  KernelMemoryBusyError,
  KernelMemoryExhaustedError,
  kernelMemory,
  limitKernelMemory,
  lz4BlockDecode,
  lz4BlockEncode,
  lz4FrameDecode,
  lz4FrameBound,
  lz4FrameDecodeInto,
  lz4FrameEncode,
  lz4FrameEncodeInto,
  Lz4CorruptError,
  minMax,
  popcount,
  rangeRoot,
  resyncBytes,
  scanBytes,
  selectedRows,
  Sha256,
  sha256,
  sha256Many,
  sum,
  take,
  toArray,
  trimKernelMemory,
  xxh3,
  xxh3BigInt,
  xxh64,
  type KernelBytes,
} from '../../../bindings/kernels/public.ts'
import { noise } from '../../kernel/bytes.ts'

const MiB = 2 ** 20
const text = noise(5000).map((byte) => byte & 7)
const frames = Uint8Array.from([1, 2, 3].flatMap((lsn) => [...encodeFrame(noise(100, lsn), { kind: 1, flags: 0, local: 0, lsn, epoch: 1 }, 7n)]))

/** Every function that takes bytes: what it makes of these. */
const calls: Readonly<Record<string, { of: Uint8Array<ArrayBuffer>; run: (bytes: KernelBytes) => unknown }>> = {
  xxh3: { of: text, run: (bytes) => xxh3(bytes, { lo: 1, hi: 2 }) },
  xxh3BigInt: { of: text, run: (bytes) => xxh3BigInt(bytes) },
  xxh64: { of: text, run: (bytes) => xxh64(bytes) },
  crc32c: { of: text, run: (bytes) => crc32c(bytes, 5) },
  'sha256 (native from 1 KiB)': { of: text, run: (bytes) => sha256(bytes) },
  'sha256 (Wasm below)': { of: text.slice(0, 700), run: (bytes) => sha256(bytes) },
  sha256Many: { of: text.slice(0, 700), run: (bytes) => sha256Many([bytes, noise(10), bytes, noise(9000), bytes]) },
  'sha256Many of long ones': { of: text, run: (bytes) => sha256Many([noise(10), bytes]) },
  'Sha256, native': { of: text, run: (bytes) => new Sha256().update(noise(3)).update(bytes).digest() },
  'Sha256, Wasm': { of: text, run: (bytes) => new Sha256(false).update(noise(3)).update(bytes).digest() },
  lz4FrameEncode: { of: text, run: (bytes) => lz4FrameEncode(bytes) },
  lz4FrameDecode: { of: lz4FrameEncode(text), run: (bytes) => lz4FrameDecode(bytes, text.length) },
  lz4BlockEncode: { of: text, run: (bytes) => lz4BlockEncode(bytes) },
  lz4BlockDecode: { of: lz4BlockEncode(text)!, run: (bytes) => lz4BlockDecode(bytes, text.length) },
  scanBytes: { of: frames, run: (bytes) => scanBytes(bytes, { firstLsn: 1n, epoch: 1n, seed: 7n }) },
  resyncBytes: { of: frames, run: (bytes) => resyncBytes(bytes, 7n, 8) },
}
const names = Object.keys(calls)

beforeEach(() => {
  expect(kernelMemory().usedBytes).toBe(0)
  trimKernelMemory(0)
  limitKernelMemory(512 * MiB)
})
afterEach(() => {
  expect(kernelMemory().usedBytes).toBe(0)
})

/** Makes memory grow, which moves it. */
function grow(): void {
  const { bytes } = kernelMemory()
  allocate(bytes).release()
  expect(kernelMemory().bytes).toBeGreaterThan(bytes)
}

function filled(bytes: Uint8Array): ReturnType<typeof allocate> {
  const buffer = allocate(bytes.length)
  buffer.bytes.set(bytes)
  return buffer
}

describe('a buffer in kernel memory', () => {
  it.each(names)('%s reads it as it reads bytes of the heap', (name) => {
    const { of, run } = calls[name]!
    const expected = run(of)
    using buffer = filled(of)
    expect(run(buffer)).toEqual(expected)
    expect(run(buffer.bytes)).toEqual(expected)
    // Nothing of the input was written to, and what came out is not a view of it.
    expect(buffer.bytes).toEqual(of)
    grow()
    expect(run(buffer)).toEqual(expected)
  })

  it.each(names)('%s reads a view that was good when it was handed in, also when its results make memory grow', (name) => {
    const { of, run } = calls[name]!
    const expected = run(of)
    using buffer = filled(of)
    // No room is left: the first thing the call reserves grows memory and detaches the view it was given.
    const rest = allocate(kernelMemory().bytes - kernelMemory().usedBytes - 110_000)
    const fillers = []
    const { bytes } = kernelMemory()
    while (kernelMemory().bytes === bytes) fillers.push(allocate(100))
    fillers.pop()!.release()
    const view = buffer.bytes
    expect(run(view)).toEqual(expected)
    for (const each of [rest, ...fillers]) each.release()
  })

  it('is read in place: nothing is copied', () => {
    using buffer = allocate(8 * MiB)
    buffer.bytes.set(noise(8 * MiB))
    const { bytes } = kernelMemory()
    const expected = crc32c(noise(8 * MiB).subarray(100))
    const grown = kernelMemory().bytes
    expect(grown).toBeGreaterThan(bytes)
    trimKernelMemory(0)
    using again = filled(noise(8 * MiB))
    const before = kernelMemory().bytes
    expect(crc32c(again.bytes.subarray(100))).toBe(expected)
    expect(sha256(again)).toEqual(sha256(noise(8 * MiB)))
    expect(xxh3(again.bytes.subarray(1))).toEqual(xxh3(again.bytes.slice(1)))
    expect(before).toBeGreaterThan(8 * MiB)
  })

  it('of no bytes is as good as any', () => {
    using buffer = allocate(0)
    expect(xxh3(buffer)).toEqual(xxh3(new Uint8Array(0)))
    expect(sha256(buffer.bytes)).toEqual(sha256(new Uint8Array(0)))
    expect(buffer.byteLength).toBe(0)
  })

  it('of a size that is none is refused', () => {
    for (const bytes of [-1, 1.5, Number.NaN, 2 ** 60]) expect(() => allocate(bytes)).toThrow(RangeError)
  })

  it('is refused after its release, and may be released twice', () => {
    const buffer = filled(text)
    buffer.release()
    buffer.release()
    expect(buffer.released).toBe(true)
    expect(() => buffer.bytes).toThrow(InvalidConfigError)
    for (const name of names) expect(() => calls[name]!.run(buffer), name).toThrow(InvalidConfigError)
  })

  it('is released at the end of its block', () => {
    let kept
    {
      using buffer = allocate(1000)
      kept = buffer
      expect(kernelMemory().usedBytes).toBeGreaterThanOrEqual(1000)
    }
    expect(kept.released).toBe(true)
    expect(kernelMemory().usedBytes).toBe(0)
  })
})

describe('a growth between two calls', () => {
  it('leaves a fresh view to whoever asks the buffer', () => {
    using buffer = filled(text)
    const stale = buffer.bytes
    grow()
    expect(stale.byteLength).toBe(0)
    expect(buffer.bytes).toEqual(text)
  })

  it.each(names)('%s refuses a view that went stale, and does not take it for nothing', (name) => {
    const { of, run } = calls[name]!
    using buffer = filled(of)
    const stale = buffer.bytes
    grow()
    const error = caught(() => run(stale))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ code: 'options.invalid', key: 'bytes' })
  })

  it('refuses a view of memory that was given back', () => {
    using _below = allocate(100)
    const buffer = filled(text)
    using _above = allocate(100)
    const view = buffer.bytes
    buffer.release()
    expect(() => xxh3(view)).toThrow(InvalidConfigError)
    expect(() => xxh3(view.subarray(64))).toThrow(InvalidConfigError)
  })

  it('results are copies: a later call does not change them', () => {
    using buffer = filled(text)
    const packed = lz4FrameEncode(buffer)
    const before = packed.slice()
    const plain = lz4FrameDecode(packed, text.length)
    buffer.bytes.fill(9)
    lz4FrameEncode(noise(5000))
    expect(packed).toEqual(before)
    expect(plain).toEqual(text)
  })
})

describe('LZ4 from and to buffers', () => {
  it('decodes what it encodes, without leaving kernel memory', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat(40), fc.boolean(), (bytes, spare, inPlace) => {
        using plain = filled(bytes)
        using packed = allocate(lz4FrameBound(bytes.length) + spare)
        const size = lz4FrameEncodeInto(inPlace ? plain : bytes, packed)
        expect(packed.bytes.subarray(0, size)).toEqual(lz4FrameEncode(bytes))
        using again = allocate(bytes.length + spare)
        again.bytes.fill(0xaa)
        lz4FrameDecodeInto(packed.bytes.subarray(0, size), again, bytes.length)
        expect(again.bytes.subarray(0, bytes.length)).toEqual(bytes)
        expect(again.bytes.subarray(bytes.length).every((byte) => byte === 0xaa)).toBe(true)
        expect(plain.bytes).toEqual(bytes)
      }),
      { numRuns: 60 },
    )
  })

  it('refuses targets that are too small, hold the input or are released', () => {
    const frame = lz4FrameEncode(text)
    using small = allocate(text.length - 1)
    expect(() => lz4FrameEncodeInto(text, small)).toThrow(RangeError)
    expect(() => lz4FrameDecodeInto(frame, small, text.length)).toThrow(RangeError)
    for (const length of [-1, 0.5]) expect(() => lz4FrameDecodeInto(frame, small, length)).toThrow(RangeError)
    expect(() => lz4FrameDecodeInto(frame, small)).toThrow(Lz4CorruptError)
    using wide = filled(new Uint8Array(2 * lz4FrameBound(text.length)))
    expect(() => lz4FrameEncodeInto(wide.bytes.subarray(100, 200), wide)).toThrow(/holds the input/)
    expect(() => lz4FrameDecodeInto(wide, wide)).toThrow(InvalidConfigError)
    const gone = allocate(2 * lz4FrameBound(text.length))
    gone.release()
    expect(() => lz4FrameEncodeInto(text, gone)).toThrow(InvalidConfigError)
  })
})

describe('bitmaps, row numbers and hashes in kernel memory', () => {
  const column = columnOf(Int32Array.from({ length: 64 }, (_, i) => i))
  const calls = {
    filter: (view: Uint8Array) => toArray(filter(column, view)),
    sum: (view: Uint8Array) => sum(column, view),
    count: (view: Uint8Array) => count(column, view),
    minMax: (view: Uint8Array) => minMax(column, view),
    selectedRows: (view: Uint8Array) => selectedRows(view, 64),
    popcount: (view: Uint8Array) => popcount(view, 64),
    bitmapAnd: (view: Uint8Array) => bitmapAnd(bitmapAll(64), view, 64),
    bitmapOr: (view: Uint8Array) => bitmapOr(view, view, 64),
    groupBy: (view: Uint8Array) => groupBy([column], { n: { count: true } }, view).size,
    take: (view: Uint8Array) => toArray(take(column, new Uint32Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength / 4))),
    'BloomFilter.build': (view: Uint8Array) => BloomFilter.build(new Uint32Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength / 4)).bytes,
    'BloomFilter.decode': (view: Uint8Array) => BloomFilter.decode(view, 'test').blocks,
    decodeParquetBloom: (view: Uint8Array) => decodeParquetBloom(view, 'test').blocks,
    evaluateBitmap: (view: Uint8Array) => evaluateBitmap({ or: [{ not: bitmapAll(64) }, () => view] }, 64).slice(),
    'Coverage.ofBitmap': (view: Uint8Array) => Coverage.ofBitmap(view, 64).toRows(),
    'Coverage.ofRows': (view: Uint8Array) => Coverage.ofRows(new Uint32Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength / 4)).toRows(),
    'Coverage.decode': (view: Uint8Array) => Coverage.decode(view).toRows(),
    DigestList: (view: Uint8Array) => new DigestList(view).root,
    rangeRoot: (view: Uint8Array) => rangeRoot(view),
    encodeFrame: (view: Uint8Array) => encodeFrame(view, { kind: 1, flags: 0, local: 0, lsn: 1, epoch: 1 }, 7n),
  }
  const inputs: Readonly<Record<string, Uint8Array>> = {
    take: new Uint8Array(Uint32Array.of(3, 5, 63).buffer),
    'BloomFilter.decode': BloomFilter.build(Uint32Array.of(1, 2)).encode(),
    decodeParquetBloom: encodeParquetBloom(BloomFilter.build(Uint32Array.of(1, 2))),
    'Coverage.ofRows': new Uint8Array(Uint32Array.of(3, 5, 63).buffer),
    'Coverage.decode': Coverage.ofRows([1, 2, 9]).encode(),
    DigestList: noise(200_000),
    rangeRoot: noise(100),
  }

  it.each(Object.entries(calls))('%s reads them, and refuses a view that went stale', (name, run) => {
    const of = inputs[name] ?? Uint8Array.of(1, 2, 4, 8, 16, 32, 64, 128)
    using buffer = filled(of)
    const expected = run(of)
    expect(run(buffer.bytes)).toEqual(expected)
    const stale = buffer.bytes
    grow()
    // A view of a stale view is one, too: what JavaScript itself refuses is no answer either.
    const error = caught(() => run(stale))
    expect(error instanceof InvalidConfigError || error instanceof TypeError).toBe(true)
  })
})

describe('a fill', () => {
  it('gives what the writer resolves to, and its bytes are there', async () => {
    using buffer = allocate(4)
    const result = await buffer.fill(async (view) => {
      await Promise.resolve()
      view.set([1, 2, 3, 4])
      return view.length
    })
    expect(result).toBe(4)
    expect([...buffer.bytes]).toEqual([1, 2, 3, 4])
  })

  it('that is pending makes a call that must grow throw KernelMemoryBusyError, and lets others pass', async () => {
    using buffer = allocate(1000)
    const gate = Promise.withResolvers<void>()
    let view: Uint8Array | undefined
    const pending = buffer.fill(async (bytes) => {
      view = bytes
      await gate.promise
    })
    const { bytes } = kernelMemory()
    expect(() => allocate(bytes)).toThrow(KernelMemoryBusyError)
    expect(() => xxh3BigInt(noise(bytes))).toThrow(KernelMemoryBusyError)
    expect(crc32c(noise(100))).toBe(crc32c(noise(100)))
    expect(view!.byteLength).toBe(1000)
    gate.resolve()
    await pending
    allocate(bytes).release()
  })

  it('that fails ends the wait for it', async () => {
    using buffer = allocate(10)
    await expect(buffer.fill(() => Promise.reject(new TypeError('no file')))).rejects.toThrow('no file')
    await expect(
      buffer.fill(() => {
        throw new TypeError('no file at all')
      }),
    ).rejects.toThrow('at all')
    grow()
  })

  it('keeps the memory of a buffer that is released meanwhile until it has ended', async () => {
    const buffer = allocate(1000)
    const gate = Promise.withResolvers<void>()
    const pending = buffer.fill((view) => gate.promise.then(() => view.fill(7).length))
    buffer.release()
    expect(() => buffer.bytes).toThrow(InvalidConfigError)
    using other = allocate(1000)
    other.bytes.fill(1)
    gate.resolve()
    expect(await pending).toBe(1000)
    expect(other.bytes.every((byte) => byte === 1)).toBe(true)
    await expect(buffer.fill(() => Promise.resolve())).rejects.toThrow(InvalidConfigError)
  })
})

describe('the limit', () => {
  it('is told by the error that meets it', () => {
    limitKernelMemory(2 * MiB)
    const error = caught(() => allocate(3 * MiB))
    expect(error).toBeInstanceOf(KernelMemoryExhaustedError)
    expect(error).toMatchObject({ code: 'kernel.memory-exhausted', limit: 2 * MiB })
    expect((error as KernelMemoryExhaustedError).wanted).toBeGreaterThan(3 * MiB)
    expect(() => xxh3BigInt(noise(3 * MiB))).toThrow(KernelMemoryExhaustedError)
    // The store of a program that met it goes on.
    expect(crc32c(noise(MiB))).toBe(crc32c(noise(MiB)))
    limitKernelMemory(8 * MiB)
    allocate(3 * MiB).release()
  })

  it('does not bound a CRC, which goes through memory in pieces', () => {
    const bytes = noise(5 * MiB + 3)
    const whole = crc32c(bytes, 7)
    limitKernelMemory(2 * MiB)
    expect(crc32c(bytes, 7)).toBe(whole)
    const half = 2 * MiB + 1
    expect(crc32c(bytes.subarray(half), crc32c(bytes.subarray(0, half), 7))).toBe(whole)
  })

  it('holds at once, also below what memory has grown to, and leaves what is held alone', () => {
    using buffer = filled(noise(4 * MiB))
    limitKernelMemory(2 * MiB)
    expect(kernelMemory().limitBytes).toBe(2 * MiB)
    expect(() => allocate(100)).toThrow(KernelMemoryExhaustedError)
    expect(buffer.bytes.length).toBe(4 * MiB)
    expect(buffer.bytes.subarray(0, 100)).toEqual(noise(4 * MiB).subarray(0, 100))
  })

  it('out of bounds is refused', () => {
    for (const bytes of [0, 1000, MiB - 1, 2 ** 32 + 1, 2 ** 33, Number.NaN, 1.5 * MiB + 0.5]) expect(() => limitKernelMemory(bytes)).toThrow(RangeError)
  })

  it('is 512 MiB when nobody says otherwise', () => {
    expect(new KernelInstance().arena.limitBytes).toBe(512 * MiB)
  })
})

describe('10,000 cycles of allocate, fill, scan and release', () => {
  it('grow memory in the first one only', async () => {
    let size = 0
    for (let i = 0; i < 10_000; i++) {
      using buffer = allocate(frames.length)
      if (i % 100 === 0) await buffer.fill((view) => Promise.resolve(view.set(frames)))
      else buffer.bytes.set(frames)
      expect(scanBytes(buffer, { firstLsn: 1n, epoch: 1n, seed: 7n }).count).toBe(3)
      if (i === 0) size = kernelMemory().bytes
    }
    expect(kernelMemory().bytes).toBe(size)
  })
})

describe('trimKernelMemory', () => {
  it('lets go of what has grown, unless a buffer is held', () => {
    const buffer = allocate(4 * MiB)
    expect(trimKernelMemory(0)).toBe(false)
    buffer.release()
    expect(trimKernelMemory(MiB)).toBe(true)
    expect(kernelMemory().bytes).toBeLessThan(4 * MiB)
  })
})

function caught(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}
