// table/fragment-indexes.ts: the sorted indexes of one fragment as scans use them: heads and blocks through the column cache, rows as a bitmap.
//
// A head (header and directory) is fetched once, blocks as ranges ask for them, neighbours with one request. Everything is checked before it is believed.
// Invariant: an index is a cache of its fragment: one that is damaged, gone or of another form is told in the log once, is used no more by this reader, and
// the answer is undefined: the fragment is scanned.

import { type ColumnDef, DecodeError, indexName, type IndexRef, sortedIndexOf } from '../format/index.ts'
import { keyCode, type KeyRange, type ReadBlock, RowMarks, SortedIndex, type SortedIdentity } from '../indexes/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { CacheSlots } from './column-cache.ts'
import { rebuildable } from './fragment-keys.ts'
import type { FragmentReaderOptions } from './fragment-reader.ts'
import type { OrderPath, SortedAccess } from './index-access.ts'
import { fixedVec } from './vec-views.ts'

/** First request for a head: most are shorter. */
const HEAD_BYTES = 16 * 1024

/** An index that is used: its file, and its bytes in memory by place: 0 the head, 1 + n block n. */
interface OpenIndex {
  readonly ref: IndexRef
  readonly file: string
  readonly identity: SortedIdentity
  readonly slots: CacheSlots
  damaged: boolean
}

/** Blocks fetched for one look-up: they stay at hand even if the cache is too small for them. */
type HeldBlocks = Map<number, Uint8Array>

/** What the head says of an access. */
export interface Estimate {
  /** Rows at most, and at least. */
  readonly rows: number
  readonly atLeast: number
  /** Bytes of the blocks. */
  readonly bytes: number
}

export class FragmentIndexes {
  readonly #o: FragmentReaderOptions
  readonly #open = new Map<string, OpenIndex>()

  constructor(o: FragmentReaderOptions) {
    this.#o = o
  }

  /** There is an index over these columns, and it was not found damaged. */
  has(columns: readonly ColumnDef[]): boolean {
    return this.#of(columns)?.damaged === false
  }

  /** What was found damaged was built again. */
  trust(): void {
    for (const index of this.#open.values()) index.damaged = false
  }

  /** Bytes of its file. */
  bytesOf(columns: readonly ColumnDef[]): number {
    return this.#of(columns)?.ref.bytes ?? 0
  }

  /** It was found damaged, or of columns as they were before their types changed. */
  isDamaged(columns: readonly ColumnDef[]): boolean {
    return this.#of(columns)?.damaged === true
  }

  /** From memory; undefined when the head is not there. */
  peek(access: SortedAccess): Estimate | undefined {
    const index = this.#of(access.columns)
    const head = index === undefined || index.damaged ? undefined : this.#headNow(index)
    if (head === undefined) return undefined
    let rows = 0
    let least = 0
    let bytes = 0
    for (const range of access.ranges) {
      const { first, last, atMost, atLeast } = head.span(range)
      rows += atMost
      least += atLeast
      if (last >= first) bytes += head.offsets[last + 1]! - head.offsets[first]!
    }
    return { rows, atLeast: least, bytes }
  }

  /** As peek, after the head was read where it must be. Undefined: it is damaged. */
  async estimate(access: SortedAccess, signal?: AbortSignal): Promise<Estimate | undefined> {
    const index = this.#of(access.columns)
    if (index === undefined || index.damaged) return undefined
    return (await this.#guarded(index, () => this.#head(index, signal))) === undefined ? undefined : this.peek(access)
  }

  /** The ranges that hold the first rows of an order, from memory; undefined: the head is not there, or they are all. */
  leadingNow(path: OrderPath): SortedAccess | undefined {
    const index = this.#of(path.columns)
    const head = index === undefined || index.damaged ? undefined : this.#headNow(index)
    if (head === undefined) return undefined
    const range = leadingRange(head, path, (block) => index!.slots[1 + block]?.vec.values)
    return typeof range === 'object' ? accessOf(path, range) : undefined
  }

  /** As leadingNow, after what must be read was. */
  async leading(path: OrderPath, signal?: AbortSignal): Promise<SortedAccess | undefined> {
    const index = this.#of(path.columns)
    if (index === undefined || index.damaged) return undefined
    return this.#guarded(index, async () => {
      const head = await this.#head(index, signal)
      const held: HeldBlocks = new Map()
      for (;;) {
        const range = leadingRange(head, path, (block) => held.get(block) ?? index.slots[1 + block]?.vec.values)
        if (typeof range !== 'number') return range === undefined ? undefined : accessOf(path, range)
        await this.#fetch(index, head, [range], held, signal)
      }
    })
  }

  /** The rows in the ranges, from memory; undefined when something must be read, or the index is damaged. */
  rowsNow(access: SortedAccess): RowMarks | undefined {
    const index = this.#of(access.columns)
    const head = index === undefined || index.damaged ? undefined : this.#headNow(index)
    if (head === undefined) return undefined
    try {
      return this.#mark(index!, head, access, undefined)
    } catch (cause) {
      this.#tell(index!, damageOf(cause))
      return undefined
    }
  }

  /** The rows in the ranges. Undefined: the index is damaged. @throws StorageError that says nothing about the file; what `signal` was aborted with */
  async rows(access: SortedAccess, signal?: AbortSignal): Promise<RowMarks | undefined> {
    const index = this.#of(access.columns)
    if (index === undefined || index.damaged) return undefined
    return this.#guarded(index, async () => {
      const head = await this.#head(index, signal)
      const held: HeldBlocks = new Map()
      const missing = this.#gather(index, head, access, held)
      if (missing.length > 0) await this.#fetch(index, head, missing, held, signal)
      return this.#mark(index, head, access, held)!
    })
  }

  /** Gives its share of the cache back. */
  close(): void {
    for (const { slots } of this.#open.values()) this.#o.cache.drop(slots)
  }

  #of(columns: readonly ColumnDef[]): OpenIndex | undefined {
    const { ref: fragment } = this.#o
    const ref = sortedIndexOf(
      fragment,
      columns.map(({ id }) => id),
    )
    if (ref === undefined) return undefined
    const codes = columns.map(({ type }) => keyCode(type))
    // Whoever reads at an older schema has the types of then: an index serves one of them.
    const name = `${ref.digest}:${codes.join()}`
    let index = this.#open.get(name)
    if (index === undefined) {
      const identity = { fragment: fragment.digest, rows: fragment.rows, columns: columns.map(({ id }, i) => ({ id, code: codes[i] })) }
      index = { ref, file: indexName(ref.digest, ref.gen), identity, slots: [], damaged: false }
      this.#open.set(name, index)
    }
    return index
  }

  #headNow({ slots }: OpenIndex): SortedIndex | undefined {
    const entry = slots[0]
    if (entry === undefined) return undefined
    this.#o.cache.touch(entry)
    return entry.derived as SortedIndex
  }

  async #head(index: OpenIndex, signal: AbortSignal | undefined): Promise<SortedIndex> {
    const known = this.#headNow(index)
    if (known !== undefined) return known
    signal?.throwIfAborted()
    const { ref, identity, slots } = index
    let bytes = await this.#get(index, 0, Math.min(HEAD_BYTES, ref.bytes))
    const length = SortedIndex.headLength(bytes, identity)
    if (length > ref.bytes) throw new DecodeError(`a head of ${length} bytes in a file of ${ref.bytes}`, 0)
    if (length > bytes.length) bytes = await this.#get(index, 0, length)
    const head = new SortedIndex(bytes, identity)
    if (head.offsets[head.blocks] !== ref.bytes) throw new DecodeError(`blocks up to ${head.offsets[head.blocks]} in a file of ${ref.bytes} bytes`, length)
    this.#o.cache.put(slots, 0, NO_BYTES, head.byteLength)
    slots[0]!.derived = head
    // A short file came whole.
    const all = Array.from({ length: head.blocks }, (_, block) => block).filter((block) => head.offsets[block + 1]! <= bytes.length)
    for (const block of all) this.#keep(index, head, block, bytes.subarray(head.offsets[block], head.offsets[block + 1]))
    return head
  }

  /** Takes the blocks of an access that are in memory; returns the others, ascending. */
  #gather({ slots }: OpenIndex, head: SortedIndex, { ranges }: SortedAccess, held: HeldBlocks): number[] {
    const missing: number[] = []
    for (const range of ranges) {
      const { first, last } = head.span(range)
      for (let block = first; block <= last; block++) {
        const entry = slots[1 + block]
        if (entry !== undefined) held.set(block, entry.vec.values)
        else if (missing.at(-1) !== block) missing.push(block)
      }
    }
    return missing
  }

  /** Reads blocks, neighbours together. */
  async #fetch(index: OpenIndex, head: SortedIndex, blocks: readonly number[], held: HeldBlocks, signal: AbortSignal | undefined): Promise<void> {
    const runs: { first: number; last: number }[] = []
    for (const block of blocks) {
      const run = runs.at(-1)
      if (run !== undefined && run.last === block - 1) run.last = block
      else runs.push({ first: block, last: block })
    }
    if (runs.length > 0) signal?.throwIfAborted()
    await Promise.all(
      runs.map(async ({ first, last }) => {
        const start = head.offsets[first]!
        const bytes = await this.#get(index, start, head.offsets[last + 1]!)
        for (let block = first; block <= last; block++) {
          held.set(block, this.#keep(index, head, block, bytes.subarray(head.offsets[block]! - start, head.offsets[block + 1]! - start)))
        }
      }),
    )
  }

  /** Checks a block and puts a copy of it into the cache: what it was read with need not stay. */
  #keep({ slots }: OpenIndex, head: SortedIndex, block: number, bytes: Uint8Array): Uint8Array {
    if (!head.checks(block, bytes)) throw new DecodeError(`block ${block}: its check fails`, head.offsets[block]!)
    const own = bytes.slice()
    this.#o.cache.put(slots, 1 + block, fixedVec(1, own.length, own), own.length)
    return own
  }

  /** Undefined: a block is neither held nor in memory. */
  #mark({ slots }: OpenIndex, head: SortedIndex, { ranges }: SortedAccess, held: HeldBlocks | undefined): RowMarks | undefined {
    const spans = ranges.map((range) => ({ range, ...head.span(range) }))
    const rows = new RowMarks(
      head.rows,
      spans.reduce((sum, { atMost }) => sum + atMost, 0),
    )
    for (const { range, first, last } of spans) {
      for (let block = first; block <= last; block++) {
        const entry = slots[1 + block]
        if (entry !== undefined) this.#o.cache.touch(entry)
        const bytes = held?.get(block) ?? entry?.vec.values
        if (bytes === undefined) return undefined
        head.mark(block, bytes, range, rows)
      }
    }
    return rows
  }

  async #get({ file }: OpenIndex, start: number, end: number): Promise<Uint8Array> {
    return (await this.#o.root.get(file, { range: { start, end }, immutable: true })).bytes
  }

  /** What fails because of the file makes it damaged. */
  async #guarded<T>(index: OpenIndex, read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read()
    } catch (cause) {
      this.#tell(index, damageOf(cause))
      return undefined
    }
  }

  #tell(index: OpenIndex, cause: Error): void {
    if (index.damaged) return
    index.damaged = true
    this.#o.cache.drop(index.slots)
    this.#o.log?.({ level: 'warn', code: 'index.damaged', file: index.file, columns: index.ref.columns, cause: cause.message })
  }
}

function leadingRange(head: SortedIndex, { descending, entries, prefix }: OrderPath, read: ReadBlock): KeyRange | number | undefined {
  return descending ? head.trailing(entries, read) : head.leading(entries, prefix, read)
}

function accessOf({ columns, label, prefix }: OrderPath, range: KeyRange): SortedAccess {
  return { columns, label, ranges: [range], isExact: true, depth: prefix }
}

const NO_BYTES: Vec = fixedVec(1, 0, new Uint8Array(0))

/** Damage or absence. Anything else is thrown. */
function damageOf(cause: unknown): Error {
  // A range behind the end of a file that is too short.
  return cause instanceof RangeError ? cause : rebuildable(cause)
}
