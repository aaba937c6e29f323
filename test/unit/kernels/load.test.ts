// The embedded module is decoded by what the host has; the bytes are the same.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

import { decodeBase64 } from '../../../bindings/kernels/load.ts'
import { WASM_BASE64 } from '../../../bindings/kernels/wasm.gen.ts'

const WASM = readFileSync('assembly/build/varve.wasm')
const own = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, 'base64'))

describe('the embedded module', () => {
  it.each([
    ['by the language', { Uint8Array: { fromBase64: own }, Buffer: { from: () => new Uint8Array(0) } }],
    ['by Buffer', { Uint8Array: {}, Buffer }],
    ['by atob alone', {}],
    ['here', undefined],
  ])('is decoded %s', (_how, host) => {
    const bytes = decodeBase64(WASM_BASE64, host)
    expect(Buffer.compare(bytes, WASM)).toBe(0)
    expect(WebAssembly.validate(bytes)).toBe(true)
  })
})
