// runtime/random.ts: randomness from the runtime's own generator, drawn 4 KiB at a time (one system call for many ids).
import type { World } from './world.ts'

const POOL_BYTES = 4096
const DRAW_BYTES_MAX = 65_536 // what getRandomValues fills in one call

/** A source with its own pool. Bytes handed out are copies and are never handed out again. */
export function systemRandom(): World['random'] {
  const pool = new Uint8Array(POOL_BYTES)
  const view = new DataView(pool.buffer)
  let used = POOL_BYTES
  const take = (n: number): number => {
    if (used + n > POOL_BYTES) {
      crypto.getRandomValues(pool)
      used = 0
    }
    used += n
    return used - n
  }
  return {
    bytes(n) {
      const out = new Uint8Array(n)
      if (n <= POOL_BYTES / 4) {
        const at = take(n)
        out.set(pool.subarray(at, at + n))
        pool.fill(0, at, at + n)
      } else for (let at = 0; at < n; at += DRAW_BYTES_MAX) crypto.getRandomValues(out.subarray(at, at + DRAW_BYTES_MAX))
      return out
    },
    u32: () => view.getUint32(take(4)),
  }
}

/** A small seeded generator (sfc32) for tests and simulations: same seed, same bytes. */
export function seededRandom(seed: number): World['random'] {
  let a = seed | 0
  let b = 0x9e3779b9 | 0
  let c = 0x243f6a88 | 0
  let counter = 1
  const u32 = (): number => {
    const t = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + t
    c |= 0
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) u32()
  return {
    bytes(n) {
      const out = new Uint8Array(n)
      for (let i = 0; i < n; i++) out[i] = u32() >>> 24
      return out
    },
    u32,
  }
}
