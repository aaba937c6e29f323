// indexes/key-hash.ts: hashes of keys: XXH3-64 (seed 0) of the canonical key bytes (docs/format.md section "Keys"), in bulk.
//
// Invariant: a row's hash depends on its key only: not on the physical type, the dictionary or the batch it lies in.
import { xxh3Column, xxh3Var } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'

import { KeyBytes } from './key-bytes.ts'
import type { KeyPart } from './key-parts.ts'

/** (low, high) words of each row's key hash. `vecs`: one per part, `rows` rows, no nulls. */
export function keyHashes(parts: readonly KeyPart[], vecs: readonly Vec[], rows: number): Uint32Array<ArrayBuffer> {
  if (parts.length === 1) return xxh3Column(vecs[0]!, parts[0]!.kind)
  const keys = new KeyBytes(parts, vecs, rows)
  return xxh3Var(keys.offsets, keys.data, rows)
}
