// kernels/coverage.ts: a set of row numbers of one fragment: which rows an index covers, which rows are deleted (kernels.md section 7).
//
// Immutable: every operation gives a new set. Rows are 0 .. 4,294,967,294. The words that hold a set are coverage-words.ts, the file is coverage-file.ts.
import { type KernelBytes, settled, settledWords } from './buffer.ts'
import { bitAt, bitmapBytes, bitmapEqual, bitmapIn, bitmapNone, trim } from './bitmap.ts'
import { packCoverage, unpackCoverage } from './coverage-file.ts'
import { bitsIn, combine, commonCount, countRows, NO_ROWS, rangesIn, reserveRanges, type RowWords, wordsOfBits, wordsOfRanges } from './coverage-words.ts'
import { scratch } from './scratch.ts'

/** One more than the highest row that a set can hold. */
const ROWS_MAX = 0xffffffff

export interface CoverageSource {
  /** How the bytes are named in an error. */
  readonly file?: string
  /** Rows of the fragment: a row at or behind it is refused. */
  readonly rows?: number
}

/**
 * An immutable set of row numbers (0 .. 4,294,967,294), as ranges or as a bitmap, whichever is smaller.
 *
 * @example
 * const indexed = Coverage.range(0, 1000).union(Coverage.ofRows([5000, 5001]))
 * const left = Coverage.range(0, 8192).subtract(indexed)   // rows without an index
 */
export class Coverage {
  /** No row. */
  static readonly none: Coverage = new Coverage(NO_ROWS)

  readonly #rows: RowWords
  #count: number | undefined

  private constructor(rows: RowWords) {
    this.#rows = rows
  }

  /** Rows start .. end - 1. @throws RangeError unless 0 <= start <= end <= 4,294,967,295 */
  static range(start: number, end: number): Coverage {
    return Coverage.ofRanges([[start, end]])
  }

  /** Half-open ranges in any order; they may overlap, touch or be empty. @throws RangeError as `range` */
  static ofRanges(ranges: Iterable<readonly [start: number, end: number]>): Coverage {
    const words: number[] = []
    for (const [start, end] of [...ranges].toSorted((a, b) => a[0] - b[0])) {
      if (!(Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end && end <= ROWS_MAX)) throw new RangeError(`rows ${start}..${end}`)
      if (start === end) continue
      if (words.length > 0 && start <= words.at(-1)!) words[words.length - 1] = Math.max(words.at(-1)!, end)
      else words.push(start, end)
    }
    const count = words.length / 2
    return scratch((k) => {
      const at = reserveRanges(k, count)
      k.u32.set(words, at >>> 2)
      return new Coverage(wordsOfRanges(k, at, count))
    })
  }

  /** Rows in any order, repeats allowed. @throws RangeError for a row that is no integer of 0 .. 4,294,967,294 */
  static ofRows(rows: Uint32Array | readonly number[]): Coverage {
    const given = Array.isArray(rows) ? (rows as readonly number[]) : settledWords(rows as Uint32Array)
    if (Array.isArray(given)) for (const row of given) checkRow(row)
    return scratch((k) => {
      const n = given.length
      const at = k.arena.reserve(n * 4)
      const out = reserveRanges(k, n)
      k.u32.set(given, at >>> 2)
      let count = k.exports.rows_to_ranges(at, n, out) >>> 0
      if (count === ROWS_MAX) {
        // Out of order, or a number too high.
        k.u32.subarray(at >>> 2, (at >>> 2) + n).sort()
        count = k.exports.rows_to_ranges(at, n, out) >>> 0
        if (count === ROWS_MAX) checkRow(ROWS_MAX)
      }
      return new Coverage(wordsOfRanges(k, out, count))
    })
  }

  /**
   * Rows whose bit is set among the first n of a bitmap (bit i of byte i >> 3).
   *
   * @throws RangeError for a bitmap of fewer bits; InvalidConfigError (key `bytes`) for a stale view
   */
  static ofBitmap(bitmap: Uint8Array, n: number): Coverage {
    const bits = settled(bitmap)
    checkRows(n)
    if (bits.length * 8 < n) throw new RangeError(`a bitmap of ${bits.length} bytes for ${n} rows: ${Math.ceil(n / 8)} expected`)
    return scratch((k) => new Coverage(wordsOfBits(k, bitmapIn(k, bits, n), bitmapBytes(n))))
  }

  /**
   * The set in the bytes of `encode`. Another way to write the same set is refused.
   *
   * @throws CorruptionError coverage.corrupt: anything wrong with the bytes; says what and at which byte; RangeError, InvalidConfigError as `ofBitmap`
   */
  static decode(bytes: KernelBytes, source: CoverageSource = {}): Coverage {
    const given = settled(bytes)
    const rows = source.rows ?? ROWS_MAX
    if (!(rows >= 0)) throw new RangeError(`a set over ${rows} rows: a number from 0 on expected`)
    return scratch((k) => new Coverage(unpackCoverage(k, given, source.file ?? 'coverage', Math.min(rows, ROWS_MAX))))
  }

  /** The set as a VCOV file: array, bitmap or runs per 65,536 rows, and a checksum. The same rows give the same bytes. */
  encode(): Uint8Array<ArrayBuffer> {
    return scratch((k) => packCoverage(k, this.#rows))
  }

  /** How many rows. */
  get count(): number {
    return (this.#count ??= scratch((k) => countRows(k, this.#rows)))
  }

  /** One more than the highest row; 0 when there is none. */
  get end(): number {
    return this.#rows.end
  }

  /** How many ranges the rows make up. */
  get rangeCount(): number {
    return this.#rows.rangeCount
  }

  has(row: number): boolean {
    const { ranges, bits, end, rangeCount } = this.#rows
    if (!Number.isInteger(row) || row < 0 || row >= end) return false
    if (bits !== undefined) return bitAt(bits, row)
    // How many ranges start at or before the row.
    let low = 0
    for (let high = rangeCount; low < high;) {
      const mid = (low + high) >>> 1
      if (ranges![2 * mid]! <= row) low = mid + 1
      else high = mid
    }
    return low > 0 && row < ranges![2 * low - 1]!
  }

  /** Whether every row of the other set is in this one. */
  covers(other: Coverage): boolean {
    return other.end <= this.end && this.intersectionCount(other) === other.count
  }

  equals(other: Coverage): boolean {
    const [a, b] = [this.#rows, other.#rows]
    if (a === b) return true
    if (a.end !== b.end || a.rangeCount !== b.rangeCount) return false
    // Equal ends and counts of ranges mean the same form.
    if (a.bits !== undefined) return bitmapEqual(a.bits, b.bits!, a.end)
    return a.ranges!.every((word, i) => word === b.ranges![i])
  }

  /** Rows of either. */
  union(other: Coverage): Coverage {
    if (this.end === 0) return other
    if (other.end === 0) return this
    return scratch((k) => new Coverage(combine(k, 'or', this.#rows, other.#rows)))
  }

  /** Rows of both. */
  intersect(other: Coverage): Coverage {
    if (this.end === 0 || other.end === 0) return Coverage.none
    return scratch((k) => new Coverage(combine(k, 'and', this.#rows, other.#rows)))
  }

  /** Rows of this set that are not in the other. */
  subtract(other: Coverage): Coverage {
    if (this.end === 0 || other.end === 0) return this
    return scratch((k) => new Coverage(combine(k, 'andnot', this.#rows, other.#rows)))
  }

  /** How many rows are in both: the count of `intersect`, without the set. */
  intersectionCount(other: Coverage): number {
    if (this.end === 0 || other.end === 0) return 0
    return scratch((k) => commonCount(k, this.#rows, other.#rows))
  }

  /** The ranges in order, half open. */
  *ranges(): IterableIterator<[start: number, end: number]> {
    const words = this.toRanges()
    for (let i = 0; i < words.length; i += 2) yield [words[i]!, words[i + 1]!]
  }

  /** The ranges as start, end, start, end, … A copy. */
  toRanges(): Uint32Array<ArrayBuffer> {
    const { ranges, rangeCount } = this.#rows
    if (ranges !== undefined) return ranges.slice()
    return scratch((k) => {
      const at = rangesIn(k, this.#rows) >>> 2
      return k.u32.slice(at, at + rangeCount * 2)
    })
  }

  /** The rows in order. */
  toRows(): Uint32Array<ArrayBuffer> {
    const n = this.count
    return scratch((k) => {
      const out = k.arena.reserve(n * 4)
      k.exports.ranges_to_rows(rangesIn(k, this.#rows), this.rangeCount, out)
      return k.u32.slice(out >>> 2, (out >>> 2) + n)
    })
  }

  /** A bitmap of n rows, padded with zero bits to 64; rows from n on are left out. @throws RangeError unless n is a whole number below 2^32 */
  toBitmap(n: number): Uint8Array<ArrayBuffer> {
    checkRows(n)
    const out = bitmapNone(n)
    const bytes = bitmapBytes(Math.min(n, this.end))
    scratch((k) => {
      const at = bitsIn(k, this.#rows, bytes)
      out.set(k.u8.subarray(at, at + bytes))
    })
    return trim(out, n)
  }
}

function checkRow(row: number): void {
  if (!(Number.isInteger(row) && row >= 0 && row < ROWS_MAX)) throw new RangeError(`row ${row} of a set: a whole number from 0 to 4,294,967,294 expected`)
}

function checkRows(n: number): void {
  if (!(Number.isInteger(n) && n >= 0 && n <= ROWS_MAX)) throw new RangeError(`a bitmap of ${n} rows: a whole number from 0 to 4,294,967,295 expected`)
}
