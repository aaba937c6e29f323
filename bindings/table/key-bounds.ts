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

  constructor(parts: readonly KeyPart[], stats: ColumnStats | undefined) {
    this.#part = parts[0]
    this.#isTuple = parts.length > 1
    const isUnknown = this.#part === undefined || stats === undefined || stats.hasNaN === true
    this.#min = isUnknown || stats.min === undefined ? undefined : boundVec(this.#part!, stats.min)
    this.#max = isUnknown || stats.max === undefined ? undefined : boundVec(this.#part!, stats.max)
  }

  mayHold(key: Uint8Array): boolean {
    if (this.#min !== undefined && compareFirstPart(this.#part!, this.#isTuple, this.#min, 0, key) > 0) return false
    return this.#max === undefined || compareFirstPart(this.#part!, this.#isTuple, this.#max, 0, key) >= 0
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
