// kernels/pairwise-sum.ts: the running sum of a column of floats that comes in batches.
//
// Values that are neither null nor left out are added in row order: runs of 128 one by one, runs joined like the carries of a binary counter (the
// summation of NumPy and Julia, made incremental). Invariant: the sum depends on the sequence of values only, not on how batches cut it.
import { assert } from '../assert.ts'
import { bitmapAnd, bitmapIn } from './bitmap.ts'
import { pieceRows } from './pieces.ts'
import { scratch } from './scratch.ts'
import { kindCode } from './sort-keys.ts'
import { widthOf } from './vec-build.ts'
import type { Vec } from './vec.ts'

/** group-sums.ts: the run, then the block of its sums. */
const STATE_BYTES = 344
const BLOCK_AT = 16
const FLOATS_ROWS = pieceRows(8)

export class PairwiseSum {
  readonly #state = new Uint8Array(STATE_BYTES)

  /** A column of f32 or f64, or those of its rows whose bit is set. */
  add(v: Vec, kind: 'f32' | 'f64', selection?: Uint8Array): void {
    const width = widthOf(v.layout)
    assert(width === (kind === 'f32' ? 4 : 8), 'floats are stored as they are', v.layout)
    const mask = v.validity === undefined || selection === undefined ? (v.validity ?? selection) : bitmapAnd(v.validity, selection, v.length)
    scratch((k) => {
      const { exports } = k
      const state = k.copyIn(this.#state)
      const bits = mask === undefined ? 0 : bitmapIn(k, mask, v.length)
      const raw = k.arena.reserve(Math.min(FLOATS_ROWS, v.length) * width)
      const kept = bits === 0 ? raw : k.arena.reserve(Math.min(FLOATS_ROWS, v.length) * width + 16)
      const words = width === 8 ? kept : k.arena.reserve(Math.min(FLOATS_ROWS, v.length) * 8)
      for (let first = 0; first < v.length; first += FLOATS_ROWS) {
        let n = Math.min(FLOATS_ROWS, v.length - first)
        k.u8.set(v.values.subarray(first * width, (first + n) * width), raw)
        if (bits !== 0) n = (width === 8 ? exports.filter_64 : exports.filter_32)(raw, bits + (first >>> 3), n, kept)
        if (width === 4) exports.group_widen(kept, kindCode(kind, 4), 0, n, words)
        exports.sum_runs(words, n, state)
      }
      this.#state.set(k.u8.subarray(state, state + STATE_BYTES))
    })
  }

  /** 0 without values. */
  get sum(): number {
    return scratch((k) => {
      const state = k.copyIn(this.#state)
      return k.exports.sum_of_runs(state, state + BLOCK_AT)
    })
  }
}
