// oracles/key-buckets.ts: the bucketed key index (docs/format.md "Key index"), built and read row by row in plain TypeScript.

import { writeCheck } from '../../../bindings/format/index.ts'

const HEADER_BYTES = 32
const CHECK_BYTES = 8
const GROUP_BUCKETS = 64
const BUCKET_ENTRIES = 12
const TAG_BITS_MAX = 12

/** The file of `rows` hashes, (low, high) pairs. */
export function oracleKeyIndex(hashes: Uint32Array, rows: number): Uint8Array<ArrayBuffer> {
  const buckets = Math.max(1, Math.ceil(rows / BUCKET_ENTRIES))
  const rowBits = Math.max(1, 32 - Math.clz32(Math.max(0, rows - 1)))
  const tagBits = Math.min(TAG_BITS_MAX, 32 - rowBits)
  const scale = buckets / 0x1_0000_0000
  // Counting sort by bucket: starts[b + 1] first counts, then is the place of the bucket's next entry.
  const starts = new Uint32Array(buckets + 2)
  const bucketOf = new Uint32Array(rows)
  for (let i = 0; i < rows; i++) {
    const bucket = Math.floor(hashes[2 * i + 1]! * scale)
    bucketOf[i] = bucket
    starts[bucket + 2]!++
  }
  for (let b = 2; b <= buckets + 1; b++) starts[b]! += starts[b - 1]!
  const entries = new Uint32Array(rows)
  const tagMask = (1 << tagBits) - 1
  for (let i = 0; i < rows; i++) entries[starts[bucketOf[i]! + 1]!++] = (((hashes[2 * i]! & tagMask) << rowBits) | i) >>> 0
  // Now starts[b] is where bucket b begins and starts[buckets] the end.
  const prints = Uint8Array.from(entries, (entry) => hashes[2 * (entry % 2 ** rowBits)]! >>> tagBits)
  return writeBuckets({ rows, buckets, rowBits, tagBits, starts, entries, prints })
}

function writeBuckets(o: {
  rows: number
  buckets: number
  rowBits: number
  tagBits: number
  starts: Uint32Array
  entries: Uint32Array
  prints: Uint8Array
}): Uint8Array<ArrayBuffer> {
  const { rows, buckets, rowBits, tagBits, starts, entries, prints } = o
  const bits = rowBits + tagBits
  const groups = Math.ceil((buckets + 1) / GROUP_BUCKETS)
  let narrow = true
  for (let b = 0; b <= buckets; b++) if (starts[b]! - starts[b - (b % GROUP_BUCKETS)]! > 0xffff) narrow = false
  const startBytes = narrow ? 2 : 4
  const at = layoutBuckets(buckets, rows, bits, startBytes)
  const file = new Uint8Array(at.end + round8(rows) + CHECK_BYTES)
  file.set(prints, at.end)
  new Uint32Array(file.buffer, 0, 8).set([0x58444956, 2, 0, rows, buckets, rowBits, tagBits, startBytes])
  if (narrow) {
    const bases = new Uint32Array(file.buffer, at.bases, groups)
    const relative = new Uint16Array(file.buffer, at.starts, buckets + 1)
    for (let g = 0; g < groups; g++) bases[g] = starts[g * GROUP_BUCKETS]!
    for (let b = 0; b <= buckets; b++) relative[b] = starts[b]! - bases[Math.floor(b / GROUP_BUCKETS)]!
  } else {
    new Uint32Array(file.buffer, at.starts, buckets + 1).set(starts.subarray(0, buckets + 1))
  }
  const words = new Uint32Array(file.buffer, at.entries, at.entryWords)
  for (let i = 0; i < rows; i++) {
    const bit = i * bits
    const word = bit >>> 5
    const shift = bit & 31
    words[word]! |= entries[i]! << shift
    if (shift + bits > 32) words[word + 1]! |= entries[i]! >>> (32 - shift)
  }
  writeCheck(file)
  return file
}

function layoutBuckets(
  buckets: number,
  rows: number,
  bits: number,
  startBytes: number,
): { bases: number; starts: number; entries: number; entryWords: number; end: number } {
  const bases = HEADER_BYTES
  const starts = bases + (startBytes === 2 ? round8(4 * Math.ceil((buckets + 1) / GROUP_BUCKETS)) : 0)
  const entries = starts + round8(startBytes * (buckets + 1))
  const entryWords = Math.ceil((rows * bits) / 32)
  return { bases, starts, entries, entryWords, end: entries + round8(4 * entryWords) }
}

function round8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}

/** Pairs (place, row) of every hash whose bucket holds its tag and print, by looking at every row. */
export function oracleCandidates(hashes: Uint32Array, rows: number, asked: Uint32Array, count: number): number[] {
  const buckets = Math.max(1, Math.ceil(rows / BUCKET_ENTRIES))
  const tagBits = Math.min(TAG_BITS_MAX, 32 - Math.max(1, 32 - Math.clz32(rows - 1)))
  // The tag, and the print above it.
  const tagMask = 2 ** (tagBits + 8) - 1
  const bucketOf = (high: number): number => Number((BigInt(high) * BigInt(buckets)) >> 32n)
  const pairs: number[] = []
  for (let i = 0; i < count; i++) {
    for (let row = 0; row < rows; row++) {
      const isHit = bucketOf(hashes[2 * row + 1]!) === bucketOf(asked[2 * i + 1]!) && (hashes[2 * row]! & tagMask) === (asked[2 * i]! & tagMask)
      if (isHit) pairs.push(i, row)
    }
  }
  return pairs
}
