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
