// kernels/key-table.ts: which keys were there before: a hash table over canonical key bytes that grows with the batches put into it, and joins of one batch.
//
// A KeyTable has an instance of the module to itself: its table and keys live in linear memory from batch to batch (copying a table in and out per batch
// would cost more than the look-ups), no one else's growth or limit touches them, and the collector ends them with the object. Joins of one batch are
// scratch on the thread's shared instance.
// Invariant: row numbers count from 0 in the order rows were put; a key's newest row is the answer; equal means equal bytes.
import { assert } from '../assert.ts'
import { KernelInstance } from './instance.ts'
import { scratch } from './scratch.ts'
import { checkSeed, type Hash64Parts } from './checksum.ts'

/** Canonical bytes of some keys, back to back in `data`. */
export interface KeyColumn {
  readonly rows: number
  /** Bytes of every key; 0 = varying: key i ends at ends[i], and the next one begins there. */
  readonly stride: number
  readonly data: Uint8Array
  readonly ends: Uint32Array | undefined
}

/** "No row" among row numbers. */
export const NO_ROW = 0xffff_ffff

/** All that 32-bit offsets reach, less a page. */
const LIMIT_BYTES = 2 ** 32 - 65_536
const FIRST_SLOTS = 1024
/** Slots in use of 16, at most. */
const LOAD = 11
const NO_SEED: Hash64Parts = { lo: 0, hi: 0 }

function bytesOf(keys: KeyColumn): number {
  if (keys.rows === 0) return 0
  return keys.ends === undefined ? keys.rows * keys.stride : keys.ends[keys.rows - 1]!
}

/** Kernels follow the ends of keys: one that lies would lead them out of memory. */
function checkKeys(keys: KeyColumn): void {
  const { rows, data, ends } = keys
  if (!Number.isSafeInteger(rows) || rows < 0) throw new RangeError(`${rows} keys: a whole number from 0 on expected`)
  if (ends !== undefined) {
    if (ends.length < rows) throw new RangeError(`${rows} keys with ${ends.length} ends`)
    for (let i = 1; i < rows; i++) if (ends[i]! < ends[i - 1]!) throw new RangeError(`key ${i} ends before it begins`)
  }
  if (!(bytesOf(keys) <= data.length)) throw new RangeError(`keys of ${bytesOf(keys)} bytes in ${data.length}`)
}

/** A stretch of linear memory that grows. */
class Region {
  at: number
  capacity: number
  readonly #k: KernelInstance

  constructor(k: KernelInstance, bytes: number) {
    this.#k = k
    this.capacity = bytes
    this.at = k.arena.reserve(bytes)
  }

  /** Room for `bytes` bytes, of which the first `used` are kept. */
  grow(bytes: number, used: number): void {
    if (bytes <= this.capacity) return
    const { arena } = this.#k
    const capacity = Math.max(bytes, this.capacity * 2)
    const at = arena.reserve(capacity)
    this.#k.u8.copyWithin(at, this.at, this.at + used)
    arena.release(this.at)
    this.at = at
    this.capacity = capacity
  }
}

/**
 * The keys of batch after batch, and their newest rows.
 *
 * @example new KeyTable(8, { lo, hi }).put(canonicalKeys([ids])) // of each row the earlier one with its key
 */
export class KeyTable {
  readonly #k: KernelInstance
  readonly #stride: number
  readonly #seed: Hash64Parts
  readonly #data: Region
  readonly #ends: Region | undefined
  #slots: number
  #slotCount = FIRST_SLOTS
  #used = 0
  #bytes = 0
  #rows = 0

  /**
   * @param stride  bytes of every key, 0 = varying
   * @param seed  of the hash: unknown to whoever chooses keys
   * @throws RangeError for a stride or seed that is none
   */
  constructor(stride: number, seed: Hash64Parts, o: { readonly limitBytes?: number } = {}) {
    if (!Number.isSafeInteger(stride) || stride < 0) throw new RangeError(`keys of ${stride} bytes: a whole number from 0 on expected`)
    checkSeed(seed)
    this.#k = new KernelInstance({ limitBytes: o.limitBytes ?? LIMIT_BYTES })
    this.#stride = stride
    this.#seed = seed
    this.#data = new Region(this.#k, 64 * 1024)
    this.#ends = stride === 0 ? new Region(this.#k, 16 * 1024) : undefined
    this.#slots = this.#newSlots(FIRST_SLOTS)
  }

  /** Rows put so far. */
  get rows(): number {
    return this.#rows
  }

  /** Distinct keys. */
  get size(): number {
    return this.#used
  }

  /** Bytes of linear memory. */
  get byteLength(): number {
    return this.#k.arena.memoryBytes
  }

  /**
   * Put the keys of the next rows. Of each row the one that was its key's newest, earlier rows of the same batch included, or NO_ROW.
   *
   * @throws RangeError for keys of another length, or that contradict themselves; KernelMemoryExhaustedError; and nothing was put
   */
  put(keys: KeyColumn): Uint32Array<ArrayBuffer> {
    const { rows } = keys
    this.#check(keys)
    this.#append(keys)
    return this.#scratch(rows * 4, (before) => {
      const { exports } = this.#k
      const ends = this.#ends?.at ?? 0
      this.#used += exports.table_put(
        this.#slots,
        this.#slotCount - 1,
        this.#data.at,
        ends,
        this.#stride,
        this.#rows,
        rows,
        this.#seed.lo,
        this.#seed.hi,
        before,
      )
      this.#rows += rows
      this.#bytes += bytesOf(keys)
      return this.#words(before, rows)
    })
  }

  /** Of each key its newest row, or NO_ROW. Errors as `put`. */
  find(keys: KeyColumn): Uint32Array<ArrayBuffer> {
    const { rows } = keys
    this.#check(keys)
    return this.#scratch(rows * 4, (out) => {
      const k = this.#k
      const theirs = k.copyIn(keys.data.subarray(0, bytesOf(keys)))
      const theirEnds = endsIn(k, keys)
      const { lo, hi } = this.#seed
      k.exports.table_find(this.#slots, this.#slotCount - 1, this.#data.at, this.#ends?.at ?? 0, this.#stride, theirs, theirEnds, rows, lo, hi, out)
      return this.#words(out, rows)
    })
  }

  /** Takes back the newest rows that the last put gave keys it did not bring: `before` is what that put answered. Its own keys stay. @throws RangeError for anything else */
  undo(before: Uint32Array): void {
    const rows = before.length
    if (rows > this.#rows) throw new RangeError(`${rows} rows to take back of ${this.#rows}`)
    for (const row of before) if (row >= this.#rows && row !== NO_ROW) throw new RangeError(`row ${row} to take back to, of ${this.#rows}`)
    this.#scratch(rows * 4, (at) => {
      const k = this.#k
      k.u32.set(before, at >>> 2)
      const first = this.#rows - rows
      const { lo, hi } = this.#seed
      k.exports.table_undo(this.#slots, this.#slotCount - 1, this.#data.at, this.#ends?.at ?? 0, this.#stride, first, rows, lo, hi, at)
    })
  }

  #check(keys: KeyColumn): void {
    const fits = this.#stride === 0 ? keys.ends !== undefined : keys.stride === this.#stride || keys.ends !== undefined
    if (!fits) throw new RangeError(`keys of ${keys.stride} bytes in a table of ${this.#stride} (0: varying)`)
    checkKeys(keys)
    if (this.#stride !== 0 && bytesOf(keys) !== keys.rows * this.#stride) {
      throw new RangeError(`${keys.rows} keys of ${bytesOf(keys)} bytes in a table of keys of ${this.#stride}`)
    }
  }

  /** Room for everything first: what throws leaves the table as it was. */
  #append(keys: KeyColumn): void {
    const k = this.#k
    const bytes = bytesOf(keys)
    const { rows } = keys
    this.#data.grow(this.#bytes + bytes, this.#bytes)
    this.#ends?.grow((this.#rows + rows) * 4, this.#rows * 4)
    this.#makeSlots(this.#used + rows)
    k.u8.set(keys.data.subarray(0, bytes), this.#data.at + this.#bytes)
    if (this.#ends === undefined) return
    const to = (this.#ends.at >>> 2) + this.#rows
    k.u32.set(keys.ends!.subarray(0, rows), to)
    if (this.#bytes > 0) k.exports.rebase_offsets(to * 4, rows, this.#bytes, to * 4)
  }

  #makeSlots(keys: number): void {
    let count = this.#slotCount
    while (keys * 16 >= count * LOAD) count *= 2
    if (count === this.#slotCount) return
    const k = this.#k
    const slots = this.#newSlots(count)
    k.exports.table_grow(this.#slots, this.#slotCount, slots, count - 1)
    k.arena.release(this.#slots)
    this.#slots = slots
    this.#slotCount = count
  }

  #newSlots(count: number): number {
    const at = this.#k.arena.reserve(count * 8)
    this.#k.u8.fill(0, at, at + count * 8)
    return at
  }

  #scratch<T>(bytes: number, run: (at: number) => T): T {
    const { arena } = this.#k
    const mark = arena.mark()
    try {
      return run(arena.reserve(bytes))
    } finally {
      arena.rewind(mark)
    }
  }

  #words(at: number, count: number): Uint32Array<ArrayBuffer> {
    return this.#k.u32.slice(at >>> 2, (at >>> 2) + count)
  }
}

function endsIn(k: KernelInstance, { ends, rows }: KeyColumn): number {
  if (ends === undefined) return 0
  const at = k.arena.reserve(rows * 4)
  k.u32.set(ends.subarray(0, rows), at >>> 2)
  return at
}

/** A table of one batch, in scratch memory of the shared instance. */
function tableOf<T>(keys: KeyColumn, seed: Hash64Parts, run: (k: KernelInstance, table: ScratchTable, before: number) => T): T {
  return scratch((k) => {
    let count = 16
    while (keys.rows * 16 >= count * LOAD) count *= 2
    const slots = k.arena.reserve(count * 8)
    const before = k.arena.reserve(keys.rows * 4)
    const data = k.copyIn(keys.data.subarray(0, bytesOf(keys)))
    const ends = endsIn(k, keys)
    k.u8.fill(0, slots, slots + count * 8)
    const added = k.exports.table_put(slots, count - 1, data, ends, keys.stride, 0, keys.rows, seed.lo, seed.hi, before)
    return run(k, { slots, mask: count - 1, data, ends, added }, before)
  })
}

interface ScratchTable {
  readonly slots: number
  readonly mask: number
  readonly data: number
  readonly ends: number
  readonly added: number
}

/**
 * Of each row the row before it with the same key, or NO_ROW; undefined when all keys differ.
 *
 * @param seed  of the hash: unknown to whoever chooses keys, where these are not one's own
 */
export function repeatedKeys(keys: KeyColumn, seed: Hash64Parts = NO_SEED): Uint32Array<ArrayBuffer> | undefined {
  if (keys.rows < 2) return undefined
  return tableOf(keys, seed, (k, { added }, before) => (added === keys.rows ? undefined : k.u32.slice(before >>> 2, (before >>> 2) + keys.rows)))
}

/** Hash join: of each probe key the newest build row with it, or NO_ROW, and how many were found. `seed`: as of repeatedKeys. */
export function joinKeys(build: KeyColumn, probe: KeyColumn, seed: Hash64Parts = NO_SEED): { readonly rows: Uint32Array<ArrayBuffer>; readonly found: number } {
  return tableOf(build, seed, (k, { slots, mask, data, ends }) => {
    const out = k.arena.reserve(probe.rows * 4)
    const theirs = k.copyIn(probe.data.subarray(0, bytesOf(probe)))
    const theirEnds = endsIn(k, probe)
    const stride = ends === 0 ? build.stride : probe.stride
    assert(ends !== 0 || theirEnds !== 0 || build.stride === probe.stride, 'keys of one kind are joined', [build.stride, probe.stride])
    const found = k.exports.table_find(slots, mask, data, ends, stride, theirs, theirEnds, probe.rows, seed.lo, seed.hi, out)
    return { rows: k.u32.slice(out >>> 2, (out >>> 2) + probe.rows), found }
  })
}
