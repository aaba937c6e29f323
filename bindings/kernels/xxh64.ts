// kernels/xxh64.ts: XXH64 over bytes and columns of the JavaScript heap: for formats of others that ask for it, such as Parquet's filters.
//
// Invariant: a value hashes as the bytes it is stored in (Parquet's plain encoding, strings without their length), never in a canonical form: varve's own
// keys have xxh3Column for that.
import { InvariantError } from '../errors.ts'
import { bytesIn, type KernelBytes, lengthOf } from './buffer.ts'
import { checkSeed, type Hash64Parts } from './checksum.ts'
import { scratch } from './scratch.ts'
import { varColumn } from './sort-keys.ts'
import type { Vec } from './vec.ts'

/**
 * XXH64 of bytes, as two words.
 *
 * @param bytes  any length; a KernelBuffer is read in place
 * @param seed  low and high word; 0 when left out
 * @throws RangeError, InvalidConfigError, KernelMemoryExhaustedError as `xxh3`
 * @example const { lo, hi } = xxh64(bytes)
 */
export function xxh64(bytes: KernelBytes, seed?: Hash64Parts): Hash64Parts {
  if (seed !== undefined) checkSeed(seed)
  return scratch((k) => {
    const n = lengthOf(bytes)
    const at = bytesIn(k, bytes)
    const out = k.arena.reserve(8)
    k.exports.xxh64(at, n, seed?.lo ?? 0, seed?.hi ?? 0, out)
    return { lo: k.u32[out >>> 2]!, hi: k.u32[(out >>> 2) + 1]! }
  })
}

/** XXH64 (seed 0) of each value of a fixed-width or var column, as (low, high) words. Nulls hash as whatever lies there. */
export function xxh64Column(vec: Vec): Uint32Array<ArrayBuffer> {
  const { layout, length: n } = vec
  return scratch((k) => {
    const out = k.arena.reserve(n * 8)
    if (layout.kind === 'var') {
      const { offsets, data } = varColumn(k, vec)
      k.exports.xxh64_var(offsets, data, n, out)
    } else if (layout.kind === 'fixed') {
      k.exports.xxh64_fixed(k.copyIn(vec.values.subarray(0, n * layout.width)), layout.width, n, out)
    } else {
      throw new InvariantError(`invariant broken: a column of layout ${layout.kind} is not hashed by its bytes`, {
        details: { expected: 'fixed or var', observed: layout.kind },
      })
    }
    return k.u32.slice(out >>> 2, (out >>> 2) + n * 2)
  })
}
