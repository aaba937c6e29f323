// format/fragment-ref.ts: what a record or checkpoint keeps of a fragment: enough to find it, to leave it unread, and to read any part of it with two
// requests (docs/format.md section "Fragments").
//
//   32 B digest | varint bytes, rows, batch rows, schema version | u8 flags (1 sorted, 2 index, 4 generation, 8 generation of the index, 16 more indexes)
//   | [varint generation] | 32 B range root | varint footer offset, bytes | 8 B XXH3-64 of the footer | [32 B digest, varint bytes, [varint generation]]
//   | [varint indexes, then per index: u8 kind (0 sorted, 1 unique), varint columns, column ids, 32 B digest, varint bytes, generation]
//   | varint columns, then per column: varint id, stored bytes, null count | u8 flags (1 min, 2 max, 4 NaN told, 8 NaN) | [value] | [value]
//   value = u8 tag: 0 zigzag varint · 1 f64 · 2 two's complement (blob) · 3 bytes (blob)
//
// Invariant: equal refs give equal bytes; min and max are sound bounds of the values, not always values; filesOf() names every file that a reference stands for.
import { DecodeError } from './bytes.ts'
import type { ByteReader, ByteWriter } from './bytes.ts'
import { fromHex, toHex } from './hex.ts'

/** A content-addressed file: SHA-256 in lower-case hex. */
export interface FileRef {
  readonly digest: string
  readonly bytes: number
  /** Which file of that digest: absent = the first, n = `<sha256>.g<n>.<ext>`. */
  readonly gen?: number
}

export const INDEX_KINDS = ['sorted', 'unique'] as const

/** An index of one fragment that is not its key's: a cache of what the fragment says, never needed to read it. */
export interface IndexRef extends FileRef {
  /** sorted: a declared index, its rows in the order of the columns. unique: what a constraint is checked against. */
  readonly kind: (typeof INDEX_KINDS)[number]
  /** Column ids, in the order of the declaration. */
  readonly columns: readonly number[]
}

export type StatValue = number | bigint | Uint8Array

/** One column of a fragment. Statistics cover all its rows, later hidden ones too. */
export interface FragmentColumn {
  readonly id: number
  /** Stored bytes of its pages and dictionary. */
  readonly bytes: number
  readonly nullCount: number
  /** number (<= 32 bits, floats, bool as 0/1), bigint (64 and 128 bits), Uint8Array; bytes may be shortened. Absent: no value, or a type without order. */
  readonly min?: StatValue
  /** As min; shortened bytes are rounded up. */
  readonly max?: StatValue
  /** Floats: whether a NaN is present; min and max leave it out. */
  readonly hasNaN?: boolean
}

export interface FragmentRef extends FileRef {
  readonly rows: number
  /** Rows of every record batch but the last. */
  readonly batchRows: number
  readonly schemaVersion: number
  /** Strictly ascending by key: rows are found by binary search. */
  readonly sorted: boolean
  /** Root of the digest list of all bytes (kernels.md section 3.4), hex. */
  readonly rangeRoot: string
  readonly footerOffset: number
  readonly footerBytes: number
  /** XXH3-64 of the footer, 8 bytes little-endian, hex. */
  readonly footerHash: string
  /** Of the key. */
  readonly index?: FileRef
  /** Of declared indexes and constraints; absent when there is none. */
  readonly indexes?: readonly IndexRef[]
  readonly columns: readonly FragmentColumn[]
}

/** One file that a reference stands for. */
export interface FragmentFile {
  readonly role: 'fragment' | 'index'
  readonly ext: 'arrow' | 'idx'
  /** Below the root. */
  readonly name: string
  readonly file: FileRef
  /** Role index: which one. */
  readonly index?: 'key' | IndexRef
}

/** Every file of a reference, the fragment first: what verify, vacuum, backup and staging go through. */
export function filesOf(ref: FragmentRef): FragmentFile[] {
  const files: FragmentFile[] = [{ role: 'fragment', ext: 'arrow', name: fragmentName(ref.digest, ref.gen), file: ref }]
  const add = (file: FileRef, index: 'key' | IndexRef): void => {
    files.push({ role: 'index', ext: 'idx', name: indexName(file.digest, file.gen), file, index })
  }
  if (ref.index !== undefined) add(ref.index, 'key')
  for (const index of ref.indexes ?? []) add(index, index)
  return files
}

/** The fragment's index of a declaration over these columns; undefined: its rows are not covered. */
export function sortedIndexOf(ref: FragmentRef, columns: readonly number[]): IndexRef | undefined {
  return ref.indexes?.find((each) => each.kind === 'sorted' && each.columns.length === columns.length && each.columns.every((id, i) => id === columns[i]))
}

/** Bytes of all its files. */
export function refBytes(ref: FragmentRef): number {
  return filesOf(ref).reduce((sum, { file }) => sum + file.bytes, 0)
}

/** The reference under the generations that its files were given. @param generationOf  undefined: as it is */
export function withGenerations(ref: FragmentRef, generationOf: (digest: string, ext: FragmentFile['ext']) => number | undefined): FragmentRef {
  const under = <T extends FileRef>(file: T, ext: FragmentFile['ext']): T => {
    const gen = generationOf(file.digest, ext)
    if (gen === undefined || gen === (file.gen ?? 0)) return file
    const { gen: _gen, ...rest } = file
    return (gen === 0 ? rest : { ...rest, gen }) as T
  }
  const { index, indexes } = ref
  const renamed = under(ref, 'arrow')
  return {
    ...renamed,
    ...(index === undefined ? {} : { index: under(index, 'idx') }),
    ...(indexes === undefined ? {} : { indexes: indexes.map((each) => under(each, 'idx')) }),
  }
}

export function fragmentName(digest: string, gen: number = 0): string {
  return contentName('fragments', digest, 'arrow', gen)
}

export function deletionVectorName(digest: string, gen: number = 0): string {
  return contentName('fragments', digest, 'dv', gen)
}

export function indexName(digest: string, gen: number = 0): string {
  return contentName('indexes', digest, 'idx', gen)
}

function contentName(folder: string, digest: string, ext: string, gen: number): string {
  return `${folder}/${digest.slice(0, 2)}/${digest}${gen === 0 ? '' : `.g${gen}`}.${ext}`
}

const SORTED = 1
const INDEXED = 2
const HAS_GEN = 4
const INDEX_HAS_GEN = 8
const MORE_INDEXES = 16
const HAS_MIN = 1
const HAS_MAX = 2
const NAN_TOLD = 4
const HAS_NAN = 8

export function encodeFragmentRef(w: ByteWriter, ref: FragmentRef): void {
  w.raw(fromHex(ref.digest))
  w.varint(ref.bytes)
  w.varint(ref.rows)
  w.varint(ref.batchRows)
  w.varint(ref.schemaVersion)
  const { gen = 0, index, indexes = [] } = ref
  const indexGen = index?.gen ?? 0
  w.u8(
    (ref.sorted ? SORTED : 0) |
      (index === undefined ? 0 : INDEXED) |
      (gen === 0 ? 0 : HAS_GEN) |
      (indexGen === 0 ? 0 : INDEX_HAS_GEN) |
      (indexes.length === 0 ? 0 : MORE_INDEXES),
  )
  if (gen !== 0) w.varint(gen)
  w.raw(fromHex(ref.rangeRoot))
  w.varint(ref.footerOffset)
  w.varint(ref.footerBytes)
  w.raw(fromHex(ref.footerHash))
  if (index !== undefined) {
    w.raw(fromHex(index.digest))
    w.varint(index.bytes)
    if (indexGen !== 0) w.varint(indexGen)
  }
  if (indexes.length > 0) {
    w.varint(indexes.length)
    for (const each of indexes) encodeIndexRef(w, each)
  }
  w.varint(ref.columns.length)
  for (const column of ref.columns) {
    w.varint(column.id)
    w.varint(column.bytes)
    encodeStats(w, column)
  }
}

/** @throws DecodeError */
export function decodeFragmentRef(r: ByteReader): FragmentRef {
  const digest = toHex(r.raw(32))
  const bytes = r.varint()
  const rows = r.varint()
  const batchRows = r.varint()
  const schemaVersion = r.varint()
  const flags = r.u8()
  const isIndexed = (flags & INDEXED) !== 0
  if ((flags & ~31) !== 0 || (!isIndexed && (flags & INDEX_HAS_GEN) !== 0)) throw new DecodeError(`fragment flags ${flags}`, r.at - 1)
  const gen = (flags & HAS_GEN) === 0 ? undefined : generation(r)
  const rangeRoot = toHex(r.raw(32))
  const footerOffset = r.varint()
  const footerBytes = r.varint()
  if (footerOffset + footerBytes > bytes) throw new DecodeError('a footer outside its fragment', r.at)
  const footerHash = toHex(r.raw(8))
  const index = isIndexed ? indexRef(r, (flags & INDEX_HAS_GEN) !== 0) : undefined
  const indexes = (flags & MORE_INDEXES) === 0 ? undefined : indexRefs(r)
  const count = r.varint()
  if (count > r.left) throw new DecodeError(`${count} columns in ${r.left} bytes`, r.at)
  const columns: FragmentColumn[] = []
  for (let i = 0; i < count; i++) columns.push({ id: r.varint(), bytes: r.varint(), ...decodeStats(r) })
  const sorted = (flags & SORTED) !== 0
  return {
    digest,
    bytes,
    ...(gen === undefined ? {} : { gen }),
    rows,
    batchRows,
    schemaVersion,
    sorted,
    rangeRoot,
    footerOffset,
    footerBytes,
    footerHash,
    ...(index && { index }),
    ...(indexes && { indexes }),
    columns,
  }
}

function indexRef(r: ByteReader, hasGen: boolean): FileRef {
  const digest = toHex(r.raw(32))
  const bytes = r.varint()
  return hasGen ? { digest, bytes, gen: generation(r) } : { digest, bytes }
}

function encodeIndexRef(w: ByteWriter, { kind, columns, digest, bytes, gen = 0 }: IndexRef): void {
  w.u8(INDEX_KINDS.indexOf(kind))
  w.varint(columns.length)
  for (const id of columns) w.varint(id)
  w.raw(fromHex(digest))
  w.varint(bytes)
  w.varint(gen)
}

function decodeIndexRef(r: ByteReader): IndexRef {
  const kind = INDEX_KINDS[r.u8()]
  if (kind === undefined) throw new DecodeError('an index of an unknown kind', r.at - 1)
  const count = r.varint()
  if (count === 0 || count > r.left) throw new DecodeError(`an index of ${count} columns`, r.at)
  const columns = Array.from({ length: count }, () => r.varint())
  const digest = toHex(r.raw(32))
  const bytes = r.varint()
  const gen = r.varint()
  return { kind, columns, digest, bytes, ...(gen === 0 ? {} : { gen }) }
}

function indexRefs(r: ByteReader): IndexRef[] {
  const count = r.varint()
  if (count === 0 || count > r.left) throw new DecodeError(`${count} indexes in ${r.left} bytes`, r.at)
  return Array.from({ length: count }, () => decodeIndexRef(r))
}

function generation(r: ByteReader): number {
  const gen = r.varint()
  if (gen === 0) throw new DecodeError('a generation of 0 is not written', r.at)
  return gen
}

type Stats = Pick<FragmentColumn, 'nullCount' | 'min' | 'max' | 'hasNaN'>

export function encodeStats(w: ByteWriter, stats: Stats): void {
  const { min, max, hasNaN } = stats
  w.varint(stats.nullCount)
  w.u8((min === undefined ? 0 : HAS_MIN) | (max === undefined ? 0 : HAS_MAX) | (hasNaN === undefined ? 0 : NAN_TOLD) | (hasNaN ? HAS_NAN : 0))
  if (min !== undefined) encodeValue(w, min)
  if (max !== undefined) encodeValue(w, max)
}

export function decodeStats(r: ByteReader): Stats {
  const nullCount = r.varint()
  const flags = r.u8()
  if (flags > 15) throw new DecodeError(`statistics flags ${flags}`, r.at - 1)
  const min = (flags & HAS_MIN) === 0 ? undefined : decodeValue(r)
  const max = (flags & HAS_MAX) === 0 ? undefined : decodeValue(r)
  return {
    nullCount,
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    ...((flags & NAN_TOLD) === 0 ? {} : { hasNaN: (flags & HAS_NAN) !== 0 }),
  }
}

function encodeValue(w: ByteWriter, value: StatValue): void {
  if (typeof value === 'number') {
    const isSmall = Number.isInteger(value) && Math.abs(value) < 2 ** 51 && !Object.is(value, -0)
    w.u8(isSmall ? 0 : 1)
    if (isSmall) w.varint(value < 0 ? -2 * value - 1 : 2 * value)
    else w.f64(value)
  } else if (typeof value === 'bigint') {
    w.u8(2)
    w.blob(twosComplement(value))
  } else {
    w.u8(3)
    w.blob(value)
  }
}

function decodeValue(r: ByteReader): StatValue {
  const tag = r.u8()
  if (tag === 0) {
    const zigzag = r.varint()
    return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
  }
  if (tag === 1) return r.f64()
  if (tag === 2) return fromTwosComplement(r.blob())
  if (tag === 3) return r.blob().slice()
  throw new DecodeError(`a statistic of kind ${tag}`, r.at - 1)
}

/** The fewest little-endian bytes that hold `value` with its sign. */
function twosComplement(value: bigint): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (;;) {
    const byte = Number(BigInt.asUintN(8, rest))
    bytes.push(byte)
    rest >>= 8n
    if (rest === (byte >= 128 ? -1n : 0n)) return Uint8Array.from(bytes)
  }
}

function fromTwosComplement(bytes: Uint8Array): bigint {
  if (bytes.length > 32) throw new DecodeError(`an integer of ${bytes.length} bytes`, 0)
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!)
  return BigInt.asIntN(8 * bytes.length, value)
}
