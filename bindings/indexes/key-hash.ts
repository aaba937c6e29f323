// indexes/key-hash.ts: hashes of keys: XXH3-64 (seed 0) of the canonical key bytes (docs/format.md section "Keys"), in bulk.
//
// Invariant: a row's hash depends on its key only: not on the physical type, the dictionary or the batch it lies in.
import { keyHashes as hashesOf } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'

import type { KeyPart } from './key-parts.ts'

/** (low, high) words of each row's key hash. `vecs`: one per part, `rows` rows, no nulls. */
export function keyHashes(parts: readonly KeyPart[], vecs: readonly Vec[], rows: number): Uint32Array<ArrayBuffer> {
  return hashesOf(
    vecs,
    parts.map((part) => part.kind),
    rows,
  )
}
