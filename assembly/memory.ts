// memory.ts: where things lie in linear memory. Static tables and scratch come first, the arena (owned by TypeScript) after them.
//
// Invariant: no kernel writes outside its own statics, its stated outputs and SCRATCH; kernels never yield, so they share SCRATCH.

/** Shared scratch of all kernels, 64-byte aligned: valid only inside one call. */
export const SCRATCH_BYTES: usize = 32768
export const SCRATCH: usize = memory.data(32768, 64)

/** First byte of the arena. */
export function arena_base(): usize {
  return (__heap_base + 63) & ~(<usize>63)
}
