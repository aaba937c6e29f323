// proof/register.ts: where each export of the module is proven. A new kernel gets cases in this folder (see harness.ts) or, where its own test does as much
// (every length, alignments, canaries around its outputs, an oracle), a line in PROVEN_ELSEWHERE. guard.test.ts fails for an export with neither.
import { AGGREGATE, INLINE } from './aggregate-inline.ts'
import { BITS_TAKE } from './bits-take.ts'
import { CONCAT_PREDICATE } from './concat-predicate.ts'
import { GROUPED } from './groups.ts'
import type { Proofs } from './harness.ts'
import { HASHES } from './hashes.ts'
import { KEYS } from './keys.ts'
import { LOG_LZ4 } from './log-lz4.ts'
import { SORT_MERGE } from './sort-merge.ts'

export const PROOFS: Proofs = { ...BITS_TAKE, ...CONCAT_PREDICATE, ...SORT_MERGE, ...AGGREGATE, ...INLINE, ...HASHES, ...LOG_LZ4, ...KEYS, ...GROUPED }

/** Test file under test/kernel, by what the names begin with. */
export const PROVEN_ELSEWHERE: readonly (readonly [file: string, names: RegExp])[] = [
  ['coverage.test.ts', /^(bits_(op|and_card|runs|end|to_ranges)|ranges_\w+|rows_to_ranges|container_\w+)$/],
]

/** No kernels: what sets the module up. */
export const NO_KERNELS: readonly string[] = ['init', 'arena_base']
