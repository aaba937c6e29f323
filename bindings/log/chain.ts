// log/chain.ts: folding the chain digest over frames that were read (log.md section 1).
//
// digestAt(n) = SHA-256(digestAt(n - 1) || SHA-256(record bytes of n)); record bytes are 8 .. 32 + length of the frame with `local` taken as 0.
// Invariant: the frames handed in were verified; marks and footers are not part of the chain and not handed in.
import type { KernelInstance } from '../kernels/index.ts'

import type { Digest } from './commit-log.ts'

/** Hashes per kernel call: bounds the scratch. */
const STEP = 4096

/** The digest after the `count` frames whose offsets (u32, from `frames`) lie at `offsets` in kernel memory. */
export function advanceIn(kernel: KernelInstance, digest: Digest, frames: number, offsets: number, count: number): Digest {
  const { arena, exports } = kernel
  const mark = arena.mark()
  try {
    const state = arena.reserve(32)
    const hashes = arena.reserve(Math.min(count, STEP) * 32)
    kernel.u8.set(digest, state)
    for (let done = 0; done < count; done += STEP) {
      const n = Math.min(STEP, count - done)
      exports.record_hashes(frames, offsets + done * 4, n, hashes)
      exports.chain_advance(state, hashes, n, 0)
    }
    return kernel.copyOut(state, 32) as Uint8Array as Digest
  } finally {
    arena.rewind(mark)
  }
}

/** As advanceIn, for frames on the JavaScript heap. */
export function advanceOver(kernel: KernelInstance, digest: Digest, bytes: Uint8Array, offsets: Uint32Array): Digest {
  if (offsets.length === 0) return digest
  const { arena } = kernel
  const mark = arena.mark()
  try {
    const frames = kernel.copyIn(bytes)
    const list = arena.reserve(offsets.length * 4)
    kernel.u32.set(offsets, list >>> 2)
    return advanceIn(kernel, digest, frames, list, offsets.length)
  } finally {
    arena.rewind(mark)
  }
}
