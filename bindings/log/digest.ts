// log/digest.ts: small hashes and comparisons that the log needs outside its hot path.
import { DIGEST_BYTES } from '../format/index.ts'
import { xxh3BigInt } from '../kernels/index.ts'

import type { Digest } from './commit-log.ts'

/** digestAt(0). */
export function zeroDigest(): Digest {
  return new Uint8Array(DIGEST_BYTES) as Digest
}

/** XXH3-64 with seed 0. */
export function hash64(bytes: Uint8Array): bigint {
  return xxh3BigInt(bytes)
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}

/** @returns undefined when it is not `bytes` bytes of lower-case hex */
export function fromHex(text: unknown, bytes: number): Uint8Array<ArrayBuffer> | undefined {
  if (typeof text !== 'string' || text.length !== bytes * 2 || !/^[0-9a-f]*$/.test(text)) return undefined
  const out = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i++) out[i] = Number.parseInt(text.slice(i * 2, i * 2 + 2), 16)
  return out
}
