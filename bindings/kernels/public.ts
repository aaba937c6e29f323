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
  VarveError,
} from '../errors.ts'
export type { ErrorCode, ErrorKind } from '../errors.ts'
export { crc32c, crc32cCombine, xxh3, xxh3BigInt, xxh3Column } from './checksum.ts'
export type { Hash64Parts } from './checksum.ts'
export { xxh64, xxh64Column } from './xxh64.ts'
export { Sha256, sha256, sha256Many } from './sha256.ts'
export { BloomFilter } from './bloom.ts'
export { decodeParquetBloom, encodeParquetBloom } from './bloom-parquet.ts'
export { lz4BlockDecode, lz4BlockEncode, lz4FrameBound, lz4FrameDecode, lz4FrameEncode } from './lz4.ts'
export { encodeFrame, resyncBytes, scanBytes, WAL_STOP, walStopName } from './wal.ts'
export type { FrameFields, WalBytesScan, WalScan, WalStop } from './wal.ts'
export { bitmapAll, bitmapAnd, bitmapAndNot, bitmapNone, bitmapNot, bitmapOr, bitmapToIndices, popcount } from './bitmap.ts'
export { filter, filterMany, slice, take, takeMany } from './columns.ts'
export { concat } from './concat.ts'
export { decodeDictionary, encodeDictionary, unifyDictionaries } from './dictionary.ts'
export type { UnifiedDictionary } from './dictionary.ts'
export { isSorted, sortIndices, topK } from './sort.ts'
export type { OrderCheck, SortKey } from './sort.ts'
export { mergeRuns } from './merge.ts'
export { between, compareConst, inList, isNullBitmap, notNullBitmap, startsWith } from './predicate.ts'
export type { CompareOp, Constant } from './predicate.ts'
export { countValid, minMaxVec, sumVec } from './aggregate.ts'
export type { MinMax } from './aggregate.ts'
export type { Layout, ValueKind, Vec } from './vec.ts'
export { kernelModule, useKernelModule } from './load.ts'
export { allocate } from './buffer.ts'
export type { KernelBuffer, KernelBytes } from './buffer.ts'
export { kernelMemory, limitKernelMemory, trimKernelMemory } from './memory.ts'
export type { KernelMemory } from './memory.ts'
