// table/key-bounds.ts: the bounds of the first key column as a quick "certainly not here" for sought keys.
//
// Invariant: `mayHold` is never false for a key that lies between the bounds; unknown bounds hold everything.
import { compareFirstPart } from '../indexes/index.ts'
import type { KeyPart } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnStats } from './batch.ts'
import type { RowKeys } from './memory-index.ts'

const WORD_BYTES = 8

export class KeyBounds {
  readonly #part: KeyPart | undefined
  readonly #isTuple: boolean
  readonly #min: Vec | undefined
  readonly #max: Vec | undefined
  /** Both bounds of a 64-bit integer as words: the quick way of nearly every table. */
  readonly #words: WordBounds | undefined

  constructor(parts: readonly KeyPart[], stats: ColumnStats | undefined) {
    this.#part = parts[0]
    this.#isTuple = parts.length > 1
    const isUnknown = this.#part === undefined || stats === undefined || stats.hasNaN === true
    this.#min = isUnknown || stats.min === undefined ? undefined : boundVec(this.#part!, stats.min)
    this.#max = isUnknown || stats.max === undefined ? undefined : boundVec(this.#part!, stats.max)
    const kind = this.#part?.kind
    const isWord = kind !== undefined && this.#part!.bytes === 8 && kind !== 'f32' && kind !== 'f64' && kind !== 'bytes'
    if (isWord && typeof stats?.min !== 'undefined' && typeof stats.max !== 'undefined') {
      this.#words = new WordBounds(kind.charCodeAt(0) === 105 /* i */, BigInt(stats.min as number | bigint), BigInt(stats.max as number | bigint))
    }
  }

  mayHold(key: Uint8Array): boolean {
    if (this.#words !== undefined) return !this.#words.isBelow(key, 0) && !this.#words.isAbove(key, 0)
    if (this.#min !== undefined && compareFirstPart(this.#part!, this.#isTuple, this.#min, 0, key) > 0) return false
    return this.#max === undefined || compareFirstPart(this.#part!, this.#isTuple, this.#max, 0, key) >= 0
  }

  /** Those of `asked`, numbers of `keys` in order, for which mayHold. `ascending`: they ascend by key. */
  within(keys: RowKeys, asked: Uint32Array, ascending: boolean): Uint32Array {
    const words = this.#words
    if (words === undefined || keys.stride !== WORD_BYTES) {
      return asked.filter((key) => this.mayHold(keys.data.subarray(keys.start(key), keys.end(key))))
    }
    const { data } = keys
    if (!ascending) return asked.filter((key) => !words.isBelow(data, key * WORD_BYTES) && !words.isAbove(data, key * WORD_BYTES))
    const from = firstOf(asked, (key) => !words.isBelow(data, key * WORD_BYTES))
    return asked.subarray(
      from,
      Math.max(
        from,
        firstOf(asked, (key) => words.isAbove(data, key * WORD_BYTES)),
      ),
    )
  }
}

/** The first place whose number passes the test; all behind it do. */
function firstOf(asked: Uint32Array, test: (key: number) => boolean): number {
  let low = 0
  let high = asked.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (test(asked[mid]!)) high = mid
    else low = mid + 1
  }
  return low
}

class WordBounds {
  readonly #isSigned: boolean
  readonly #minLow: number
  readonly #minHigh: number
  readonly #maxLow: number
  readonly #maxHigh: number

  constructor(isSigned: boolean, min: bigint, max: bigint) {
    this.#isSigned = isSigned
    this.#minLow = Number(BigInt.asUintN(32, min))
    this.#minHigh = Number(isSigned ? BigInt.asIntN(32, min >> 32n) : BigInt.asUintN(32, min >> 32n))
    this.#maxLow = Number(BigInt.asUintN(32, max))
    this.#maxHigh = Number(isSigned ? BigInt.asIntN(32, max >> 32n) : BigInt.asUintN(32, max >> 32n))
  }

  /** The key of 8 bytes at `at` is less than the least. */
  isBelow(key: Uint8Array, at: number): boolean {
    const high = this.#high(key, at)
    return high < this.#minHigh || (high === this.#minHigh && low(key, at) < this.#minLow)
  }

  isAbove(key: Uint8Array, at: number): boolean {
    const high = this.#high(key, at)
    return high > this.#maxHigh || (high === this.#maxHigh && low(key, at) > this.#maxLow)
  }

  #high(key: Uint8Array, at: number): number {
    const top = key[at + 4]! | (key[at + 5]! << 8) | (key[at + 6]! << 16) | (key[at + 7]! << 24)
    return this.#isSigned ? top : top >>> 0
  }
}

function low(key: Uint8Array, at: number): number {
  return (key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24)) >>> 0
}

/** One row that holds the bound, in the widest form of its kind. */
function boundVec(part: KeyPart, bound: number | bigint | Uint8Array): Vec {
  const base = { length: 1, nullCount: 0, validity: undefined, offsets: undefined, children: [], dictionary: undefined }
  if (bound instanceof Uint8Array) return { ...base, layout: { kind: 'var' }, values: bound.slice(), offsets: Int32Array.of(0, bound.length) }
  const values = new Uint8Array(16)
  const view = new DataView(values.buffer)
  if (part.kind === 'bool') {
    values[0] = Number(bound)
    return { ...base, layout: { kind: 'bool' }, values }
  }
  if (part.kind === 'f32' || part.kind === 'f64') {
    if (part.kind === 'f32') view.setFloat32(0, Number(bound), true)
    else view.setFloat64(0, Number(bound), true)
    return { ...base, layout: { kind: 'fixed', width: part.kind === 'f32' ? 4 : 8 }, values }
  }
  const wide = BigInt(bound)
  view.setBigInt64(0, BigInt.asIntN(64, wide), true)
  view.setBigInt64(8, BigInt.asIntN(64, wide >> 64n), true)
  return { ...base, layout: { kind: 'fixed', width: part.bytes }, values }
}
