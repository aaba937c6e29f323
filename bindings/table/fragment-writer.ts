// table/fragment-writer.ts: batches of a table to the bytes of one fragment, its key index and the reference a record carries. Pure: runs in any thread.
//
// Invariant: the file is a plain Arrow file that any Arrow reader opens; equal input gives equal bytes. The reference holds what a reader needs to leave
// the fragment alone (statistics, sortedness) and to check every byte it believes (footer hash here, page hashes in the footer, kernels.md section 3.4).
import { assert } from '../assert.ts'
import { ArrowWriter, BATCH_ROWS, declaredIndexes, encodePageDirectory, PAGES_KEY, toHex, valueKindOf, xxh3Bytes } from '../format/index.ts'
import type { CheckedPage, FragmentColumn, FragmentRef, IndexRef, Page, PageStats, TableSchema } from '../format/index.ts'
import {
  compareRows,
  encodeKeyIndex,
  encodeSorted,
  encodeUniqueIndex,
  isStrictlyAscending,
  keyHashes,
  keyParts,
  tupleHashes,
  tupleParts,
} from '../indexes/index.ts'
import type { KeyPart } from '../indexes/index.ts'
import { concat, lz4FrameEncode, rangeRoot, sha256, slice, sortIndices, take } from '../kernels/index.ts'
import type { Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import { columnStats, dictionaryStats, mergeStats } from './column-stats.ts'
import { physicalColumn } from './fragment-columns.ts'
import type { PhysicalColumn } from './fragment-columns.ts'

/** Chunk of the digest list (kernels.md section 3.4). */

export interface EncodeFragmentInput {
  readonly schema: TableSchema
  /** Columns in the order of the schema; key columns without nulls. Not changed, not retained. */
  readonly batches: readonly ColumnBatch[]
  /** Put the rows in key order first: a fragment in key order needs no index but a filter. */
  readonly sortByKey?: boolean
  /** With the declared indexes: optimize gives them, what is written in passing goes without. */
  readonly withDeclared?: boolean
  /** Rows of a record batch; for tests. */
  readonly batchRows?: number
}

export interface EncodedFile {
  readonly file: Uint8Array<ArrayBuffer>
  /** SHA-256, lower-case hex. */
  readonly digest: string
}

export interface EncodedFragment extends EncodedFile {
  /** Keyed tables. */
  readonly index?: EncodedFile
  /** Of `ref.indexes`, in their order. */
  readonly indexes: readonly EncodedFile[]
  readonly ref: FragmentRef
  /** With sortByKey: for each row of the fragment its place in the input. */
  readonly order?: Uint32Array<ArrayBuffer>
}

/** Encode one fragment of 1 .. 2^26 - 1 rows. */
export function encodeFragment(input: EncodeFragmentInput): EncodedFragment {
  const { schema } = input
  const batchRows = input.batchRows ?? BATCH_ROWS
  const arranged = input.sortByKey === true ? inKeyOrder(schema, input.batches) : undefined
  const batches = (arranged?.batches ?? input.batches).filter((batch) => batch.length > 0)
  const rows = batches.reduce((sum, batch) => sum + batch.length, 0)
  assert(rows > 0 && rows < 2 ** 26, 'a fragment has 1 .. 2^26 - 1 rows', rows)
  for (const batch of batches) assert(batch.columns.length === schema.columns.length, 'a batch has the columns of its schema', batch.columns.length)

  const columns = schema.columns.map((column, i) =>
    physicalColumn(
      column,
      batches.map((batch) => batch.columns[i]!),
      i,
    ),
  )
  const written = writeFile(schema, columns, rows, batchRows)
  const file = written.file
  const digest = toHex(sha256(file))

  const parts = keyParts(schema)
  const keys = parts.map((part) => columns[part.index]!.vec)
  const sorted = parts.length > 0 && ascends(parts, keys, rows)
  const index = parts.length === 0 ? undefined : encodedFile(encodeKeyIndex(keyHashes(parts, keys, rows), rows, sorted))
  const uniques = schema.unique.map((ids) => {
    const tuple = tupleParts(schema, ids)
    const vecs = tuple.map((part) => columns[part.index]!.vec)
    const { hashes, rowOf } = tupleHashes(tuple, vecs, rows)
    return encodedFile(encodeUniqueIndex(hashes, rowOf, rows))
  })
  const declared = (input.withDeclared === true ? declaredIndexes(schema) : []).map((ids) => {
    const places = ids.map((id) => schema.columns.findIndex((column) => column.id === id))
    const vecs = places.map((place) => columns[place]!.vec)
    return encodedFile(encodeSorted({ fragment: digest, rows, columns: places.map((place) => schema.columns[place]!), vecs }))
  })
  const indexes = [
    ...uniques.map((each, i) => indexRef('unique', schema.unique[i]!, each)),
    ...declared.map((each, i) => indexRef('sorted', declaredIndexes(schema)[i]!, each)),
  ]
  const ref: FragmentRef = {
    digest,
    bytes: file.length,
    rows,
    batchRows,
    schemaVersion: schema.version,
    sorted,
    rangeRoot: toHex(rangeRoot(file)),
    footerOffset: written.footerOffset,
    footerBytes: written.footerBytes,
    footerHash: toHex(xxh3Bytes(file.subarray(written.footerOffset, written.footerOffset + written.footerBytes))),
    ...(index === undefined ? {} : { index: { digest: index.digest, bytes: index.file.length } }),
    ...(indexes.length === 0 ? {} : { indexes }),
    columns: written.columns,
  }
  return {
    file,
    digest,
    ...(index === undefined ? {} : { index }),
    indexes: [...uniques, ...declared],
    ref,
    ...(arranged === undefined ? {} : { order: arranged.order }),
  }
}

function indexRef(kind: IndexRef['kind'], columns: readonly number[], { digest, file }: EncodedFile): IndexRef {
  return { kind, columns, digest, bytes: file.length }
}

function inKeyOrder(schema: TableSchema, batches: readonly ColumnBatch[]): { batches: readonly ColumnBatch[]; order: Uint32Array<ArrayBuffer> } {
  const length = batches.reduce((sum, batch) => sum + batch.length, 0)
  const columns = schema.columns.map((_, i) => concat(batches.map((batch) => batch.columns[i]!)))
  const order = sortIndices(
    keyParts(schema).map((part) => ({ vec: columns[part.index]!, kind: part.kind })),
    length,
  ).slice()
  return { batches: [{ length, columns: columns.map((column) => take(column, order)) }], order }
}

interface WrittenFile {
  readonly file: Uint8Array<ArrayBuffer>
  readonly footerOffset: number
  readonly footerBytes: number
  readonly columns: readonly FragmentColumn[]
}

function writeFile(schema: TableSchema, columns: readonly PhysicalColumn[], rows: number, batchRows: number): WrittenFile {
  const writer = new ArrowWriter(
    columns.map((column) => column.field),
    { compress: lz4FrameEncode, metadata: { 'varve:table': schema.name, 'varve:schema': String(schema.version) } },
  )
  const checked = (page: Page): CheckedPage => ({ ...page, hash: xxh3Bytes(writer.out.bytes.subarray(page.offset, page.offset + page.bytes)) })
  writer.startFile()
  const directoryColumns = columns.map(({ field, vec }, i) => {
    const { id } = schema.columns[i]!
    return field.dictionary === undefined ? { id } : { id, dictionary: checked(writer.dictionary(field.dictionary.id, vec.dictionary!)) }
  })
  const kinds = schema.columns.map((column) => valueKindOf(column.type))
  const batches: { rows: number; pages: CheckedPage[]; stats: PageStats[] }[] = []
  for (let start = 0; start < rows; start += batchRows) {
    const end = Math.min(rows, start + batchRows)
    const vecs = columns.map(({ vec }) => slice(vec, start, end))
    const pages = writer.batch(end - start, vecs).map(checked)
    batches.push({ rows: end - start, pages, stats: vecs.map((vec, i) => columnStats(vec, kinds[i])) })
  }
  const footerOffset = writer.endFile({ [PAGES_KEY]: encodePageDirectory({ columns: directoryColumns, batches }) })
  const file = writer.take()
  const refColumns = directoryColumns.map(({ id, dictionary }, i) => {
    const bytes = batches.reduce((sum, batch) => sum + batch.pages[i]!.bytes, dictionary?.bytes ?? 0)
    const { vec } = columns[i]!
    const isBytes = kinds[i] === 'bytes' && vec.layout.kind === 'dict'
    return { id, bytes, ...(isBytes ? dictionaryStats(vec) : mergedStats(batches, i)) }
  })
  // Behind the footer: its length and the magic.
  return { file, footerOffset, footerBytes: file.length - 10 - footerOffset, columns: refColumns }
}

function mergedStats(batches: readonly { rows: number; stats: readonly PageStats[] }[], column: number): PageStats {
  let stats = batches[0]!.stats[column]!
  let seen = batches[0]!.rows
  for (const batch of batches.slice(1)) {
    stats = mergeStats(stats, batch.stats[column]!, seen, batch.rows)
    seen += batch.rows
  }
  return stats
}

function ascends(parts: readonly KeyPart[], keys: readonly Vec[], rows: number): boolean {
  // Most fragments that are not sorted show it early: the first rows decide before a pass over all.
  const probe = Math.min(rows, 64)
  for (let row = 1; row < probe; row++) if (compareRows(parts, keys, row - 1, keys, row) >= 0) return false
  return isStrictlyAscending(parts, keys, rows)
}

function encodedFile(file: Uint8Array<ArrayBuffer>): EncodedFile {
  return { file, digest: toHex(sha256(file)) }
}
