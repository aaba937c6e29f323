export { KernelInstance, kernels, limitKernels, trimKernels } from './instance.ts'
export type { KernelExports, KernelInstanceOptions } from './instance.ts'
export { kernelModule, nativeZstd, useKernelModule } from './load.ts'
export { BLOOM_HEADER_BYTES, BloomFilter } from './bloom.ts'
export { crc32c, crc32cCombine, xxh3, xxh3BigInt, xxh3Column, xxh3Into, xxh3Var } from './checksum.ts'
export type { Hash64Parts } from './checksum.ts'
export { zstdContentBytes } from './zstd.ts'
export { xxh64, xxh64Column } from './xxh64.ts'
export { checkBuckets, probeBuckets, writeBuckets } from './key-buckets.ts'
export type { BucketPlaces, BucketShape, Candidates } from './key-buckets.ts'
export { canonicalKeys, keyColumnHashes, keyHashes, searchWords64 } from './keys.ts'
export { joinKeys, KeyTable, NO_ROW, repeatedKeys } from './key-table.ts'
export type { KeyColumn } from './key-table.ts'
export { decodeParquetBloom, encodeParquetBloom } from './bloom-parquet.ts'
export { lz4BlockDecode, lz4BlockEncode, lz4FrameBound, lz4FrameDecode, lz4FrameDecodeInto, lz4FrameEncode } from './lz4.ts'
export { chainDigest, Sha256, sha256, sha256Many } from './sha256.ts'
export { rangeRoot } from './digest-list.ts'
export { encodeFrame, resyncBytes, scanBytes, scanInPlace, sealFrame, WAL_STOP, walStopName } from './wal.ts'
export type { FrameFields, WalBytesScan, WalScan, WalScanInput, WalStop } from './wal.ts'
export type { Layout, ValueKind, Vec } from './vec.ts'
export {
  bitmapAll,
  bitmapAnd,
  bitmapAndNot,
  bitmapBytes,
  bitmapEqual,
  bitmapNone,
  bitmapNot,
  bitmapOr,
  bitmapToIndices,
  bitmapXor,
  copyPadded,
  popcount,
  popcountRange,
  sliceBits,
} from './bitmap.ts'
export { evaluateBitmap } from './bitmap-expression.ts'
export type { BitmapExpression } from './bitmap-expression.ts'
export { compareColumns } from './predicate-columns.ts'
export { sameValues } from './same-values.ts'
export { Coverage } from './coverage.ts'
export type { CoverageSource } from './coverage.ts'
export { filter, filterMany, slice, take, takeMany } from './columns.ts'
export { concat, concatMany } from './concat.ts'
export { codeWidth, decodeDictionary, encodeDictionary, unifyDictionaries, widen } from './dictionary.ts'
export type { UnifiedDictionary } from './dictionary.ts'
export { emptyVec, makeVec, nullVec } from './vec-build.ts'
export type { VecParts } from './vec-build.ts'
export { convertInts } from './dictionary.ts'
export { mergeRuns } from './merge.ts'
export { settleTies } from './merge-texts.ts'
export { isSorted, sortIndices, topK } from './sort.ts'
export type { OrderCheck, SortKey } from './sort.ts'
export { decodeInline, decodeInlineOne, InlineDecoder, isInlineFailure } from './inline.ts'
export type { InlineFailure } from './inline.ts'
export { encodeInline, encodeInlineInto, inlineBytes } from './inline-encode.ts'
export { countValid, minMaxVec, sumVec } from './aggregate.ts'
export type { MinMax } from './aggregate.ts'
export { between, compareConst, inList, isNullBitmap, notNullBitmap, startsWith } from './predicate.ts'
export type { CompareOp, Constant } from './predicate.ts'
export { ARROW, arrowSource, isArrowLike, MAP_NAMES, OTHER_NAMES, sourceType } from './arrow-source.ts'
export type { ArrowColumn, ArrowDictionarySource, ArrowNode, ArrowTableSource, Loose, SourceType } from './arrow-source.ts'
export { asBytes, bitsOf, BufferFault, fixedBytes, localOffsets, NO_NULLS, nullsOf, validityTest } from './arrow-buffers.ts'
export type { Nulls } from './arrow-buffers.ts'
export { byteStrings, dictionaryVec } from './arrow-strings.ts'
export { GroupTable } from './groups.ts'
export type { GroupColumn } from './groups.ts'
export { GroupedCount, GroupedDistinct, GroupedFloatSum, GroupedIntSum } from './grouped.ts'
export { GroupedExtreme } from './grouped-extreme.ts'
