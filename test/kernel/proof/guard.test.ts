import { existsSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { kernelModule, KernelInstance } from '../../../bindings/kernels/index.ts'
import { prove } from './harness.ts'
import type { Case, Cases, Output } from './harness.ts'
import { NO_KERNELS, PROOFS, PROVEN_ELSEWHERE } from './register.ts'

const kernels = WebAssembly.Module.exports(kernelModule())
  .filter(({ kind, name }) => kind === 'function' && !NO_KERNELS.includes(name))
  .map(({ name }) => name)

describe('the register of proofs', () => {
  it('has a case, or names the test, for every export of the module', () => {
    const unproven = kernels.filter((name) => !(name in PROOFS) && !PROVEN_ELSEWHERE.some(([, names]) => names.test(name)))
    expect(unproven, 'add cases, or a line to PROVEN_ELSEWHERE in test/kernel/proof/register.ts').toEqual([])
    expect(kernels.length).toBeGreaterThan(90)
  })

  it('names nothing that is not there', () => {
    expect(Object.keys(PROOFS).filter((name) => !kernels.includes(name))).toEqual([])
    for (const [file, names] of PROVEN_ELSEWHERE) {
      expect(existsSync(new URL(`../${file}`, import.meta.url)), file).toBe(true)
      expect(
        kernels.some((name) => names.test(name)),
        String(names),
      ).toBe(true)
    }
    const { exports } = new KernelInstance({ fixedBytes: 1 << 16 })
    expect(Object.keys(PROOFS).filter((name) => typeof exports[name as keyof typeof exports] !== 'function')).toEqual([])
  })
})

describe('the module', () => {
  it('may be set up again: nothing changes', () => {
    const { exports, u8, arena } = new KernelInstance({ fixedBytes: 1 << 16 })
    const at = arena.reserve(9)
    u8.set(Buffer.from('123456789'), at)
    exports.init()
    expect(exports.crc32c(0, at, 9) >>> 0).toBe(0xe3069283)
  })
})

describe('the harness', () => {
  const copied = (change: (output: Output) => Output, call: Case['call'] = (x, at) => x.row_numbers(at[0]!, 0, 3)): Cases => {
    const expected = new Uint8Array(Uint32Array.of(0, 1, 2).buffer)
    return () => [{ inputs: [Uint8Array.of(1)], outputs: [change({ expected })], call: (x, at) => call(x, at.slice(1)) }]
  }
  const proof =
    (cases: Cases): (() => number) =>
    () =>
      prove('planted', cases, [0])

  it('passes what is right', () => {
    expect(proof(copied((output) => output))()).toBe(18)
  })

  it('notices a wrong byte, a byte behind the bound and before it, a changed input, a wrong result', () => {
    expect(proof(copied(({ expected }) => ({ expected: expected.with(4, 9) })))).toThrow('differs at byte 4')
    expect(proof(copied(({ expected }) => ({ expected: expected.subarray(0, 8) })))).toThrow('was written')
    expect(
      proof(
        copied(
          (output) => output,
          (x, at) => x.row_numbers(at[0]! - 4, 0, 4),
        ),
      ),
    ).toThrow()
    expect(proof(() => [{ inputs: [new Uint8Array(8)], outputs: [], call: (x, at) => x.row_numbers(at[0]!, 7, 1) }])).toThrow('was written')
    expect(proof(() => [{ inputs: [Uint8Array.of(255)], outputs: [], call: (x, at) => x.xxh32(at[0]!, 1, 0), result: 1 }])).toThrow('returned')
  })

  it('notices a read past the readable bytes, and a result that depends on what lies behind', () => {
    const read =
      (readable: number): Cases =>
      () => [{ inputs: [{ bytes: new Uint8Array(8), readable }], outputs: [], call: (x, at) => x.xxh32(at[0]!, 9, 0) }]
    expect(proof(read(8))).toThrow('out of bounds')
    expect(proof(() => [{ inputs: [new Uint8Array(8)], outputs: [], call: (x, at) => x.xxh32(at[0]!, 9, 0), result: 1_000 }])).toThrow('returned')
  })
})
