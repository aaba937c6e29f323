// kernels/groups.ts: the rows of a stream of batches, grouped by the values of one or several columns: numbers of groups in first-seen order.
//
// Each column numbers its values, pairs of numbers then fold the second and further columns into the first. The numbers of one batch stay in kernel memory,
// where running aggregates (grouped.ts) take them from. Null is a value; -0 is 0; every NaN is one value; utf8 and binary go by bytes.
// Invariant: memory grows with the number of groups and distinct values, never with the number of rows; how rows are cut into batches changes nothing.
import { assert } from '../assert.ts'
import { GroupMemory, Room } from './group-memory.ts'
import { bitsIn, type Interner, internerFor, PairInterner } from './interner.ts'
import { take } from './columns.ts'
import type { Layout, ValueKind, Vec } from './vec.ts'

/** A column that rows are grouped by: how its values compare, and their plain layout. Batches may bring it dictionary-encoded. */
export interface GroupColumn {
  readonly kind: ValueKind
  readonly layout: Layout
}

/** Numbers the groups of rows, batch by batch. Holds memory of its own until it is disposed of; after an error it is good for nothing else. */
export class GroupTable implements Disposable {
  /** @internal */
  readonly memory: GroupMemory
  readonly #interners: readonly Interner[]
  /** pairs[c - 1] joins the group so far with column c. */
  readonly #pairs: readonly PairInterner[]
  readonly #groups: Room
  readonly #numbers: Room
  readonly #mask: Room
  #selection: Uint8Array | undefined
  #length = 0

  /**
   * @param columns  none: every row is group 0
   * @param o.limitBytes  bound of the memory for groups and their aggregates
   * @param o.seed  of the hashes, where values are not one's own: unknown to whoever chooses them
   */
  constructor(columns: readonly GroupColumn[], o: { readonly limitBytes?: number; readonly seed?: number } = {}) {
    this.memory = new GroupMemory(o.limitBytes, o.seed)
    this.#groups = new Room(this.memory, false)
    this.#numbers = new Room(this.memory, false)
    this.#mask = new Room(this.memory, false)
    this.#interners = columns.map(({ kind, layout }) => internerFor(this.memory, kind, layout))
    this.#pairs = columns.slice(1).map(() => new PairInterner(this.memory))
  }

  /** Groups seen so far; without columns, one. */
  get size(): number {
    return this.isWhole ? 1 : (this.#pairs.at(-1)?.size ?? this.#interners[0]!.size)
  }

  /** Whether there are no columns, so that every row is in group 0: aggregates then run over whole columns. @internal */
  get isWhole(): boolean {
    return this.#interners.length === 0
  }

  /** Rows of the batch. */
  get length(): number {
    return this.#length
  }

  /** The rows of the batch that count; undefined: all. */
  get selection(): Uint8Array | undefined {
    return this.#selection
  }

  /** Where the numbers of the batch lie, as u32. @internal */
  get groupsAt(): number {
    return this.#groups.at
  }

  /**
   * Takes a batch: the columns in their order, and which of its rows count.
   *
   * @throws KernelMemoryExhaustedError when the groups pass the limit
   */
  assign(vecs: readonly Vec[], length: number, selection?: Uint8Array): void {
    assert(vecs.length === this.#interners.length, 'a batch has every column that is grouped by', vecs.length)
    this.#length = length
    this.#selection = selection
    if (this.isWhole) return
    const groups = this.#groups.ensure(length * 4)
    const mask = bitsIn(this.memory, this.#mask, selection, length)
    for (const [c, interner] of this.#interners.entries()) {
      const vec = vecs[c]!
      assert(vec.length === length, 'columns grouped by have the length of their batch', vec.length)
      if (c === 0) {
        interner.number(vec, mask, groups)
        continue
      }
      const before = c === 1 ? this.#interners[0]!.size : this.#pairs[c - 2]!.size
      const numbers = this.#numbers.ensure(length * 4)
      interner.number(vec, mask, numbers)
      this.#pairs[c - 1]!.number(groups, numbers, before, interner.size, mask, length, groups)
    }
  }

  /** The group of every row of the batch; what stands at rows that do not count means nothing. */
  groups(): Uint32Array<ArrayBuffer> {
    if (this.isWhole) return new Uint32Array(this.#length)
    const start = this.#groups.at >>> 2
    return this.memory.k.u32.slice(start, start + this.#length)
  }

  /** The values of each column by group, as columns of `size` rows. */
  keys(): Vec[] {
    const values = this.#interners.map((interner) => interner.values())
    if (values.length < 2) return values
    // From the last fold back to the first: each tells the numbers of its column, and the groups before it.
    let groups: Uint32Array | undefined
    const columns: Vec[] = []
    for (let c = values.length - 1; c > 0; c--) {
      const { first, second } = this.#pairs[c - 1]!.pairs()
      columns[c] = take(values[c]!, groups === undefined ? second : groups.map((group) => second[group]!))
      groups = groups === undefined ? first : groups.map((group) => first[group]!)
    }
    columns[0] = take(values[0]!, groups!)
    return columns
  }

  /** Gives the memory back, and with it that of every aggregate on these groups. Idempotent. */
  [Symbol.dispose](): void {
    this.memory.release()
  }
}
