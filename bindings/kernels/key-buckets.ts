// kernels/key-buckets.ts: the buckets of a key index (docs/format.md "Key index") in bulk: sorted and packed, checked, probed with many hashes.
//
// Who owns the file knows where its parts lie; these fill and read them. Single probes are the owner's: a call with its copies costs more than one bucket.
// Invariant: buckets that passed checkBuckets name rows below their number only, so a probe of them never leaves them.
import { scratch } from './scratch.ts'

export interface BucketShape {
  /** One more than the highest row that an entry may name. */
  readonly rows: number
  readonly entries: number
  readonly buckets: number
  readonly rowBits: number
  readonly tagBits: number
}

/** Where the parts lie in their file, in bytes; bases 0 = starts are u32 without bases. */
export interface BucketPlaces {
  readonly bases: number
  readonly starts: number
  readonly entries: number
  readonly entryWords: number
  /** A byte an entry; 0 = none. */
  readonly prints: number
}

/** Candidates of many keys: pairs (place of the hash, row). */
export interface Candidates {
  readonly count: number
  /** 2 * count entries. */
  readonly pairs: Uint32Array
}

const PAIRS_MIN = 1024

/**
 * Sort and pack hashes.
 *
 * @param hashes  (low, high) pairs, one an entry
 * @param rowOf  the row of each; undefined: its place
 * @param place  makes the file, zeroed, once it is known whether starts fit u16
 */
export function writeBuckets<T extends { readonly file: Uint8Array; readonly at: BucketPlaces }>(
  shape: BucketShape,
  hashes: Uint32Array,
  rowOf: Uint32Array | undefined,
  place: (narrow: boolean) => T,
): T {
  const { entries: count, buckets, rowBits, tagBits } = shape
  return scratch((k) => {
    const x = k.exports
    const from = k.arena.reserve(count * 8)
    const starts = k.arena.reserve((buckets + 2) * 4)
    const entries = k.arena.reserve(count * 4)
    const prints = k.arena.reserve(count)
    let rows = 0
    if (rowOf !== undefined) {
      rows = k.arena.reserve(count * 4)
      k.u32.set(rowOf.subarray(0, count), rows >>> 2)
    }
    k.u32.set(hashes.subarray(0, 2 * count), from >>> 2)
    k.u32.fill(0, starts >>> 2, (starts >>> 2) + buckets + 2)
    const made = place(x.index_sort(from, count, buckets, rowBits, tagBits, starts, entries, rows, prints) === 1)
    const { file, at } = made
    file.set(k.u8.subarray(prints, prints + count), at.prints)
    // Packed where the hashes lay, which are done with: entries are shorter.
    x.index_pack(entries, count, rowBits + tagBits, from)
    file.set(k.u8.subarray(from, from + 4 * at.entryWords), at.entries)
    const isNarrow = at.bases !== 0
    const groups = 4 * Math.ceil((buckets + 1) / 64)
    const bases = isNarrow ? k.arena.reserve(groups) : 0
    const relative = k.arena.reserve((buckets + 1) * 4)
    x.index_starts(starts, buckets, bases, relative)
    if (isNarrow) file.set(k.u8.subarray(bases, bases + groups), at.bases)
    file.set(k.u8.subarray(relative, relative + (isNarrow ? 2 : 4) * (buckets + 1)), at.starts)
    return made
  })
}

/** 8 words a bucket: a bit for each value of the low 8 bits of its tags. undefined: the buckets contradict their shape. */
export function checkBuckets(shape: BucketShape, file: Uint8Array, at: BucketPlaces): Uint32Array<ArrayBuffer> | undefined {
  const { rows, entries, buckets, rowBits, tagBits } = shape
  return scratch((k) => {
    const p = k.copyIn(file)
    const tags = k.arena.reserve(buckets * 32)
    const good = k.exports.index_check(at.bases === 0 ? 0 : p + at.bases, p + at.starts, p + at.entries, buckets, entries, rows, rowBits, tagBits, tags)
    return good < 0 ? undefined : k.u32.slice(tags >>> 2, (tags >>> 2) + buckets * 8)
  })
}

/** Candidates of `count` hashes, (low, high) pairs, in buckets that passed checkBuckets. */
export function probeBuckets(shape: BucketShape, file: Uint8Array, at: BucketPlaces, hashes: Uint32Array, count: number): Candidates {
  const { buckets, rowBits, tagBits } = shape
  return scratch((k) => {
    const p = k.copyIn(file)
    const from = k.arena.reserve(count * 8)
    k.u32.set(hashes.subarray(0, 2 * count), from >>> 2)
    const state = k.arena.reserve(8)
    k.u32.fill(0, state >>> 2, (state >>> 2) + 2)
    const cap = Math.max(PAIRS_MIN, count + (count >>> 2))
    const pairs = k.arena.reserve(cap * 8)
    const bases = at.bases === 0 ? 0 : p + at.bases
    const prints = at.prints === 0 ? 0 : p + at.prints
    let out = new Uint32Array(0)
    let found = 0
    do {
      const made = k.exports.index_probe(bases, p + at.starts, p + at.entries, buckets, rowBits, tagBits, from, count, state, pairs, cap, prints)
      const words = k.u32.subarray(pairs >>> 2, (pairs >>> 2) + 2 * made)
      if (found === 0) out = words.slice()
      else {
        // Many equal tags in one bucket: rare unless somebody chose the hashes.
        if (2 * (found + made) > out.length) {
          const more = new Uint32Array(4 * (found + made))
          more.set(out)
          out = more
        }
        out.set(words, 2 * found)
      }
      found += made
    } while (k.u32[state >>> 2]! < count)
    return { count: found, pairs: out.subarray(0, 2 * found) }
  })
}
