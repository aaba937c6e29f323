// kernels/public.ts: the door `varve/kernels`: the kernels for people who never open a store.
//
// Plain functions over Uint8Array and columns in Arrow layout; pages: docs/kernels.md. Invariant: what is exported here keeps its meaning between
// releases; what index.ts exports beyond it is the engine's own.
export {
  CorruptionError,
  DictionaryOverflowError,
  InvalidConfigError,
  InvariantError,
  KernelMemoryBusyError,
  KernelMemoryExhaustedError,
  Lz4CorruptError,
  Lz4TooLargeError,
  Lz4UnsupportedError,
  OffsetOverflowError,
  RunNotSortedError,
  UnsupportedTypeError,
  VarveError,
} from '../errors.ts'
export type { ErrorCode, ErrorKind } from '../errors.ts'
// Memory.
export { allocate } from './buffer.ts'
export type { KernelBuffer, KernelBytes } from './buffer.ts'
export { kernelMemory, limitKernelMemory, trimKernelMemory } from './memory.ts'
export type { KernelMemory } from './memory.ts'
export { kernelModule, useKernelModule } from './load.ts'
// Bytes: checksums, digests, compression, frames of the log.
export { crc32c, crc32cCombine, xxh3, xxh3BigInt } from './checksum.ts'
export type { Hash64Parts } from './checksum.ts'
export { xxh64 } from './xxh64.ts'
export { Sha256, sha256, sha256Many } from './sha256.ts'
export { CHUNK_BYTES, DigestList, isChunkOf, rangeRoot } from './digest-list.ts'
export { lz4BlockDecode, lz4BlockEncode, lz4FrameBound, lz4FrameDecode, lz4FrameEncode } from './lz4.ts'
export { lz4FrameDecodeInto, lz4FrameEncodeInto } from './lz4-buffer.ts'
export { lz4Codec, registerArrowCodecs } from './arrow-codecs.ts'
export type { ArrowCodec, ArrowCompression } from './arrow-codecs.ts'
export { encodeFrame, resyncBytes, scanBytes, WAL_STOP, walStopName } from './wal.ts'
export type { FrameFields, WalBytesScan, WalScan, WalStop } from './wal.ts'
// Columns.
export { columnOf } from './column.ts'
export type { ArrowVectorLike, Column } from './column.ts'
export type { ArrowField, ArrowTimeUnit, ArrowType } from './column-type.ts'
export { toArray, toArrow } from './column-out.ts'
export type { ArrowLibrary } from './column-out.ts'
export { concat, decodeDictionary, encodeDictionary, filter, filterMany, slice, take, takeMany, unifyDictionaries } from './column-rows.ts'
export { isSorted, mergeRuns, sortIndices, topK } from './column-order.ts'
export type { OrderBy } from './column-order.ts'
export type { OrderCheck } from './sort.ts'
export { between, compare, inList, isNotNull, isNull, selectedRows, startsWith } from './column-where.ts'
export type { CompareOp } from './predicate.ts'
export { bitmapAll, bitmapAnd, bitmapAndNot, bitmapNone, bitmapNot, bitmapOr, evaluateBitmap, popcount } from './column-bits.ts'
export type { BitmapExpression } from './bitmap-expression.ts'
export { count, groupBy, mean, minMax, sum } from './column-sums.ts'
export type { Aggregate, Aggregated, Groups } from './column-sums.ts'
export type { Layout, Vec } from './vec.ts'
// Keys, and sets of keys and rows.
export { canonicalKeys, join, keyHashes } from './column-keys.ts'
export { KeyTable, NO_ROW } from './key-table.ts'
export type { KeyColumn } from './key-table.ts'
export { Coverage } from './coverage.ts'
export type { CoverageSource } from './coverage.ts'
export { xxh3Column, xxh64Column } from './column-hash.ts'
export { BloomFilter } from './bloom.ts'
export { decodeParquetBloom, encodeParquetBloom } from './bloom-parquet.ts'
