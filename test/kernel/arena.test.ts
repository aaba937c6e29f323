import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { KernelMemoryBusyError, KernelMemoryExhaustedError } from '../../bindings/errors.ts'
import { crc32c, KernelInstance, kernelModule, kernels, scanBytes, trimKernels, useKernelModule } from '../../bindings/kernels/index.ts'
import { noise } from './bytes.ts'

describe('arena', () => {
  it('gives aligned regions that do not overlap and have 16 readable bytes behind', () => {
    const k = new KernelInstance({ limitBytes: 1 << 24 })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5000), fc.nat(20), fc.boolean()), { maxLength: 60 }), (script) => {
        k.arena.reset()
        const live = new Map<number, number>()
        for (const [bytes, which, drop] of script) {
          if (drop && live.size > 0) {
            const offset = [...live.keys()][which % live.size]!
            live.delete(offset)
            k.arena.release(offset)
            continue
          }
          const offset = k.arena.reserve(bytes)
          expect(offset % 64).toBe(0)
          for (const [other, size] of live) expect(offset + bytes <= other || other + size <= offset).toBe(true)
          expect(k.memory.buffer.byteLength).toBeGreaterThanOrEqual(offset + bytes + 16)
          live.set(offset, bytes)
        }
        for (const offset of live.keys()) k.arena.release(offset)
        expect(k.arena.usedBytes).toBe(0)
      }),
      { numRuns: 100 },
    )
  })

  it('gives scratch back in stack order, and leaves living regions alone', () => {
    const k = new KernelInstance({ limitBytes: 1 << 22 })
    const kept = k.arena.reserve(100)
    const outer = k.arena.mark()
    const a = k.arena.reserve(1000)
    const inner = k.arena.mark()
    const b = k.arena.reserve(1000)
    expect(b).toBeGreaterThan(a)
    k.arena.rewind(inner)
    expect(k.arena.reserve(10)).toBe(b)
    // A region of before the mark may go meanwhile.
    k.arena.release(kept)
    k.arena.rewind(outer)
    expect(k.arena.usedBytes).toBe(0)
    expect(() => k.arena.rewind(outer)).toThrow(/rewind/)
    expect(() => k.arena.release(12_345)).toThrow(/reserved/)
  })

  it('views stay fresh across growth', () => {
    const k = new KernelInstance({ limitBytes: 1 << 26 })
    const p = k.copyIn(noise(100))
    const stale = k.u8
    const { byteLength } = k.memory.buffer
    k.arena.reserve(8 << 20)
    expect(k.memory.buffer.byteLength).toBeGreaterThan(byteLength)
    expect(stale.byteLength).toBe(0)
    expect([...k.u8.subarray(p, p + 100)]).toEqual([...noise(100)])
    expect([k.u32.byteLength, k.i32.byteLength, k.f64.byteLength, k.view.byteLength]).toEqual(Array.from({ length: 4 }, () => k.memory.buffer.byteLength))
  })

  it('refuses growth while a read into a view is pending', () => {
    const k = new KernelInstance({ limitBytes: 1 << 26 })
    k.arena.beginRead()
    const small = k.arena.reserve(10)
    expect(() => k.arena.reserve(16 << 20)).toThrow(KernelMemoryBusyError)
    k.arena.endRead()
    expect(k.arena.reserve(16 << 20)).toBeGreaterThan(small)
    expect(() => k.arena.endRead()).toThrow(/beginRead/)
  })

  it('names what was wanted and the limit when it is exhausted', () => {
    const k = new KernelInstance({ limitBytes: 1 << 20 })
    const error = catchError(() => k.arena.reserve(2 << 20)) as KernelMemoryExhaustedError
    expect(error).toBeInstanceOf(KernelMemoryExhaustedError)
    expect(error.limit).toBe(1 << 20)
    expect(error.wanted).toBeGreaterThan(2 << 20)
    expect(k.arena.reserve(1000)).toBeGreaterThan(0)
    expect(catchError(() => new KernelInstance().arena.reserve(2 ** 40))).toBeInstanceOf(KernelMemoryExhaustedError)
  })

  it('a fixed instance has its bytes at once and never grows', () => {
    const k = new KernelInstance({ fixedBytes: 1 << 20 })
    const { buffer } = k.memory
    const p = k.arena.reserve((1 << 20) - 16)
    expect(p).toBeGreaterThan(0)
    expect(() => k.arena.reserve(1 << 16)).toThrow(KernelMemoryExhaustedError)
    expect(k.memory.buffer).toBe(buffer)
  })

  it('stops growing after the first of many cycles', () => {
    const bytes = noise(300_000)
    scanBytes(bytes, { firstLsn: 1n, epoch: 0n, seed: 1n })
    const k = new KernelInstance({ limitBytes: 1 << 24 })
    let size = 0
    for (let i = 0; i < 10_000; i++) {
      const a = k.arena.reserve(70_000)
      const b = k.arena.reserve(5000)
      const mark = k.arena.mark()
      k.arena.reserve(200_000)
      k.arena.rewind(mark)
      k.arena.release(i % 2 ? a : b)
      k.arena.release(i % 2 ? b : a)
      if (i === 0) size = k.memory.buffer.byteLength
    }
    expect(k.memory.buffer.byteLength).toBe(size)
  })
})

describe('shared instance', () => {
  it('is dropped when idle and large, kept while anything is in use', () => {
    const k = kernels()
    k.arena.release(k.arena.reserve(4 << 20))
    expect(trimKernels()).toBe(false)
    const held = k.arena.reserve(10)
    expect(trimKernels(1 << 20)).toBe(false)
    k.arena.release(held)
    expect(trimKernels(1 << 20)).toBe(true)
    expect(trimKernels(1 << 20)).toBe(false)
    expect(kernels()).not.toBe(k)
    expect(kernels().memory.buffer.byteLength).toBeLessThan(4 << 20)
  })
})

describe('module', () => {
  it('imports nothing, is at most 128 KiB, and init is harmless twice', () => {
    const module = kernelModule()
    expect(WebAssembly.Module.imports(module)).toEqual([])
    useKernelModule(module)
    expect(kernelModule()).toBe(module)
    const k = new KernelInstance()
    k.exports.init()
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
  })
})

function catchError(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}
