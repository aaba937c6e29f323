// format/self-check.ts: XXH3-64 (seed 0) over bytes, and files that end in it.
//
// Invariant: the last 8 bytes of a self-checking file are the XXH3-64 of all before them, little-endian.
import { kernels } from '../kernels/index.ts'

const CHECK_BYTES = 8

/** XXH3-64 as 8 bytes little-endian. */
export function xxh3Bytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const kernel = kernels()
  const { arena } = kernel
  const mark = arena.mark()
  try {
    const out = arena.reserve(CHECK_BYTES)
    const at = kernel.copyIn(bytes)
    kernel.exports.xxh3(at, bytes.length, 0, 0, out)
    return kernel.copyOut(out, CHECK_BYTES)
  } finally {
    arena.rewind(mark)
  }
}

/** Fills the last 8 bytes. */
export function writeCheck(file: Uint8Array): void {
  const end = file.length - CHECK_BYTES
  file.set(xxh3Bytes(file.subarray(0, end)), end)
}

export function hasCheck(file: Uint8Array): boolean {
  const end = file.length - CHECK_BYTES
  if (end < 0) return false
  const expected = xxh3Bytes(file.subarray(0, end))
  for (let i = 0; i < CHECK_BYTES; i++) if (file[end + i] !== expected[i]) return false
  return true
}
