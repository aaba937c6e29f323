// table/key-bounds.ts: the bounds of the first key column as a quick "certainly not here" for sought keys.
//
// Invariant: `mayHold` is never false for a key that lies between the bounds; unknown bounds hold everything.
import { compareFirstPart } from '../indexes/index.ts'
import type { KeyPart } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnStats } from './batch.ts'

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
    if (this.#words !== undefined) return this.#words.mayHold(key)
    if (this.#min !== undefined && compareFirstPart(this.#part!, this.#isTuple, this.#min, 0, key) > 0) return false
    return this.#max === undefined || compareFirstPart(this.#part!, this.#isTuple, this.#max, 0, key) >= 0
  }
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

  mayHold(key: Uint8Array): boolean {
    const top = key[4]! | (key[5]! << 8) | (key[6]! << 16) | (key[7]! << 24)
    const high = this.#isSigned ? top : top >>> 0
    if (high < this.#minHigh || high > this.#maxHigh) return false
    if (high !== this.#minHigh && high !== this.#maxHigh) return true
    const low = (key[0]! | (key[1]! << 8) | (key[2]! << 16) | (key[3]! << 24)) >>> 0
    return (high > this.#minHigh || low >= this.#minLow) && (high < this.#maxHigh || low <= this.#maxLow)
  }
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
