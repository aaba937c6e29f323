// format/keys-file.ts: the keys that a staged write wrote into one table (`.keys`, in staging only; docs/format.md section "Keys of a staged write").
//
//   "VKEY" | u32 version 1 | u32 hashes | u32 deleted keys | u64 hashes, ascending, each once | deleted keys: u32 length, bytes | 8 B XXH3-64 of all before
//   hash = XXH3-64 (seed 0) of the canonical key bytes, of rows written and of keys deleted; deleted keys ascend by bytes, each once
//
// Invariant: equal sets give equal bytes. A hash that two keys share counts as a conflict; the deleted keys are exact, since publishing has to find them.
import { DecodeError } from './bytes.ts'
import { hasCheck, writeCheck } from './self-check.ts'

const MAGIC = 0x59454b56
const VERSION = 1
const HEADER_BYTES = 16
const CHECK_BYTES = 8
const HASH_BYTES = 8

export interface KeysFile {
  /** (low, high) words of each hash, ascending by value, each once. */
  readonly hashes: Uint32Array
  /** Canonical bytes, ascending, each once. */
  readonly deleted: readonly Uint8Array[]
}

/** @param hashes  (low, high) words in any order, repeats allowed; deleted keys included @param deleted  canonical bytes in any order */
export function encodeKeysFile(hashes: Uint32Array, deleted: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const sorted = sortedHashes(hashes)
  const keys = sortedKeys(deleted)
  let bytes = HEADER_BYTES + sorted.byteLength + CHECK_BYTES
  for (const key of keys) bytes += 4 + key.length
  const out = new Uint8Array(bytes)
  const view = new DataView(out.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint32(4, VERSION, true)
  view.setUint32(8, sorted.length / 2, true)
  view.setUint32(12, keys.length, true)
  let at = HEADER_BYTES
  for (let i = 0; i < sorted.length; i++, at += 4) view.setUint32(at, sorted[i]!, true)
  for (const key of keys) {
    view.setUint32(at, key.length, true)
    out.set(key, at + 4)
    at += 4 + key.length
  }
  writeCheck(out)
  return out
}

/** @throws DecodeError whatever is wrong with the bytes */
export function decodeKeysFile(bytes: Uint8Array): KeysFile {
  if (bytes.length < HEADER_BYTES + CHECK_BYTES || !hasCheck(bytes)) throw new DecodeError('keys whose check fails', 0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0, true) !== MAGIC) throw new DecodeError('not the keys of a write', 0)
  if (view.getUint32(4, true) !== VERSION) throw new DecodeError(`keys version ${view.getUint32(4, true)}`, 4)
  const end = bytes.length - CHECK_BYTES
  const hashCount = view.getUint32(8, true)
  const keyCount = view.getUint32(12, true)
  if (hashCount * HASH_BYTES > end - HEADER_BYTES) throw new DecodeError(`${hashCount} hashes in ${end - HEADER_BYTES} bytes`, 8)
  const hashes = new Uint32Array(hashCount * 2)
  let at = HEADER_BYTES
  for (let i = 0; i < hashes.length; i++, at += 4) hashes[i] = view.getUint32(at, true)
  for (let i = 2; i < hashes.length; i += 2) {
    if (compareHash(hashes, i - 2, hashes[i]!, hashes[i + 1]!) >= 0) throw new DecodeError('hashes out of order', HEADER_BYTES + i * 4)
  }
  if (keyCount * 4 > end - at) throw new DecodeError(`${keyCount} keys in ${end - at} bytes`, 12)
  const deleted: Uint8Array[] = []
  for (let i = 0; i < keyCount; i++) {
    const length = at + 4 > end ? -1 : view.getUint32(at, true)
    if (length < 0 || length > end - at - 4) throw new DecodeError('a key cut short', at)
    const key = bytes.slice(at + 4, at + 4 + length)
    if (i > 0 && compareBytes(deleted[i - 1]!, key) >= 0) throw new DecodeError('keys out of order', at)
    deleted.push(key)
    at += 4 + length
  }
  if (at !== end) throw new DecodeError(`${end - at} bytes behind the keys`, at)
  return { hashes, deleted }
}

/** Whether a key of this hash was written. */
export function hasKeyHash({ hashes }: Pick<KeysFile, 'hashes'>, low: number, high: number): boolean {
  let from = 0
  let to = hashes.length / 2
  while (from < to) {
    const middle = (from + to) >>> 1
    const order = compareHash(hashes, middle * 2, low >>> 0, high >>> 0)
    if (order === 0) return true
    if (order < 0) from = middle + 1
    else to = middle
  }
  return false
}

function compareHash(hashes: Uint32Array, at: number, low: number, high: number): number {
  return hashes[at + 1]! - high || hashes[at]! - low
}

function sortedHashes(hashes: Uint32Array): Uint32Array {
  const values = new BigUint64Array(hashes.length / 2)
  const words = new Uint32Array(values.buffer)
  words.set(hashes)
  values.sort()
  let kept = 0
  for (let i = 0; i < words.length; i += 2) {
    if (i > 0 && words[i] === words[kept - 2] && words[i + 1] === words[kept - 1]) continue
    words[kept++] = words[i]!
    words[kept++] = words[i + 1]!
  }
  return words.subarray(0, kept)
}

function sortedKeys(keys: readonly Uint8Array[]): Uint8Array[] {
  const sorted = keys.toSorted(compareBytes)
  return sorted.filter((key, i) => i === 0 || compareBytes(sorted[i - 1]!, key) !== 0)
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}
