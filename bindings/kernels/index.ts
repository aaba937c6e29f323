export { Arena } from './arena.ts'
export { KernelInstance, kernels, trimKernels } from './instance.ts'
export type { KernelExports, KernelInstanceOptions } from './instance.ts'
export { kernelModule, useKernelModule } from './load.ts'
export { BLOOM_BITS_PER_KEY, BLOOM_HEADER_BYTES, BloomFilter } from './bloom.ts'
export { crc32c, crc32cCombine, xxh3, xxh3BigInt, xxh3Column, xxh3Into, xxh3Var } from './checksum.ts'
export type { Hash64Parts } from './checksum.ts'
export { lz4BlockDecode, lz4BlockEncode, lz4FrameBound, lz4FrameDecode, lz4FrameDecodeInto, lz4FrameEncode, lz4FrameEncodeInto } from './lz4.ts'
export { chainDigest, chainInPlace, Sha256, sha256, sha256Many } from './sha256.ts'
export { encodeFrame, resyncBytes, resyncInPlace, scanBytes, scanInPlace, sealFrame, WAL_STOP, walStopName } from './wal.ts'
export type { FrameFields, WalBytesScan, WalScan, WalScanInput, WalStop } from './wal.ts'
export type { Layout, ValueKind, Vec } from './vec.ts'
export {
  bitAt,
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapBytes,
  bitmapNone,
  bitmapNot,
  bitmapOr,
  bitmapToIndices,
  popcount,
  popcountRange,
  sliceBits,
} from './bitmap.ts'
export { filter, filterMany, slice, take, takeMany } from './columns.ts'
export { concat, concatMany } from './concat.ts'
export { codeWidth, decodeDictionary, encodeDictionary, unifyDictionaries, widen } from './dictionary.ts'
export type { UnifiedDictionary } from './dictionary.ts'
export { NULL_INDEX } from './gather.ts'
export { emptyVec, makeVec, nullVec } from './vec-build.ts'
export type { VecParts } from './vec-build.ts'
export { convertInts } from './dictionary.ts'
export { mergeRuns } from './merge.ts'
export { isSorted, sortIndices, topK } from './sort.ts'
export type { OrderCheck, SortKey } from './sort.ts'
export { decodeInline, decodeInlineOne, InlineDecoder, isInlineFailure } from './inline.ts'
export type { InlineFailure } from './inline.ts'
export { encodeInline, encodeInlineInto, inlineBytes } from './inline-encode.ts'
export { countValid, minMaxVec, sumVec } from './aggregate.ts'
export type { MinMax } from './aggregate.ts'
export { between, compareConst, inList, isNullBitmap, notNullBitmap, startsWith } from './predicate.ts'
export type { CompareOp, Constant } from './predicate.ts'
