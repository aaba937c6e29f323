// table/group-by.ts: gives every row the number of its group, groups in first-seen order.
//
// One encoder per column turns its values into small numbers; a PairTable folds the second and further columns into the first.
// Invariant: memory grows with the number of groups and distinct values, never with the number of rows.

import type { Vec } from '../kernels/index.ts'
import { type KeyEncoder, keyEncoder } from './key-encoder.ts'
import { PairTable } from './key-tables.ts'
import type { ViewColumn } from './view.ts'

/** Assigns group numbers to rows, batch by batch. */
export class Grouper {
  readonly #encoders: readonly KeyEncoder[]
  /** pairs[k - 1] joins the group so far with column k. */
  readonly #pairs: readonly PairTable[]
  #groups: Uint32Array = new Uint32Array(0)
  #scratch: Uint32Array = new Uint32Array(0)

  /** At least one column. */
  constructor(columns: readonly ViewColumn[]) {
    this.#encoders = columns.map((column) => keyEncoder(column))
    this.#pairs = columns.slice(1).map(() => new PairTable())
  }

  /** Number of groups seen. */
  get size(): number {
    return this.#pairs.at(-1)?.size ?? this.#encoders[0]!.size
  }

  /** The group of every row; `vecs` in the order of the columns. Valid until the next call. */
  assign(vecs: readonly Vec[], length: number): Uint32Array {
    if (this.#groups.length < length) {
      this.#groups = new Uint32Array(length)
      this.#scratch = new Uint32Array(length)
    }
    this.#encoders[0]!.encode(vecs[0]!, this.#groups)
    let count = this.#encoders[0]!.size
    for (const [k, pairs] of this.#pairs.entries()) {
      const encoder = this.#encoders[k + 1]!
      encoder.encode(vecs[k + 1]!, this.#scratch)
      pairs.combine(this.#groups, this.#scratch, length, count, encoder.size)
      count = pairs.size
    }
    return this.#groups
  }

  /** Readers of the groups' values, one per column. */
  cells(): ((group: number) => unknown)[] {
    return this.#encoders.map((encoder, k) => {
      const cell = encoder.cells()
      return (group) => cell(this.#numberIn(k, group))
    })
  }

  /** The number that column k's encoder gave to the value of this group. */
  #numberIn(k: number, group: number): number {
    let number = group
    for (let p = this.#pairs.length; p > k; p--) number = this.#pairs[p - 1]!.first[number]!
    return k === 0 ? number : this.#pairs[k - 1]!.second[number]!
  }
}
