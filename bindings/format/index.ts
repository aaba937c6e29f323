export { declaredIndexes, indexLabel, layoutOf, valueKindOf } from './types.ts'
export type { ColumnDef, ColumnType, FieldDef, TableSchema, TimeUnit } from './types.ts'
export { ByteReader, ByteWriter, DecodeError } from './bytes.ts'
export { InlineCommit } from './inline-commit.ts'
export { decodeCommit, decodeList, decodeVectors, encodeCommit, encodeVectors, WRITE_ID_BYTES } from './commit.ts'
export { canonicalJson, decodeIntent, encodeIntent, INTENT_NAME, INTENT_VERSION, MAIN_BRANCH, MAIN_BRANCH_ID, STAGING_PREFIX, stagedName } from './intent.ts'
export type { Addressed, AdmitRule, Intent, IntentFile, IntentKind, IntentMerge, IntentMode, IntentOwner, Participant, ParticipantOp } from './intent.ts'
export {
  decodeAudit,
  decodePublish,
  decodeRollback,
  decodeSeal,
  encodeAudit,
  encodePublish,
  encodeRollback,
  encodeSeal,
  promotedRef,
  publishedCommit,
} from './outcome.ts'
export type { AuditFacts, AuditRecord, FileGeneration, PublishRecord, RecoveryFacts, RollbackRecord, SealRecord, StagedExtension } from './outcome.ts'
export type { CommitHeader, CommitRecord, DeletionVectorRef, FragmentHides, InlineRows, MergeParent, Op, TableChange } from './commit.ts'
export { decodeNames, decodeVacuum, digestInName, encodeNames, encodeVacuum, isContentName } from './vacuum.ts'
export type { VacuumRecord } from './vacuum.ts'
export { decodeBranch, encodeBranch } from './branch.ts'
export { ACK_MODES, decodeAckMode, decodeMode, encodeMode, weakerMode } from './mode.ts'
export type { AckMode, ModeRecord } from './mode.ts'
export type { BranchChange, BranchRecord } from './branch.ts'
export { decodeFlush, encodeFlush } from './flush.ts'
export { decodeOptimize, encodeOptimize } from './optimize.ts'
export type { FragmentId, OptimizedPart, OptimizeRecord, Reindexed } from './optimize.ts'
export type { FlushRecord } from './flush.ts'
export {
  decodeFragmentRef,
  deletionVectorName,
  encodeFragmentRef,
  filesOf,
  fragmentName,
  indexName,
  refBytes,
  sortedIndexOf,
  withGenerations,
} from './fragment-ref.ts'
export type { FileRef, FragmentColumn, FragmentFile, FragmentRef, IndexRef, StatValue } from './fragment-ref.ts'
export { readFooter } from './arrow-schema.ts'
export type { ArrowField } from './arrow-schema.ts'
export { readFlatbuffer, structI64 } from './flatbuffer.ts'
export type { FlatReader } from './flatbuffer.ts'
export { buildVec, footerRange, readArrow } from './arrow-read.ts'
export { ArrowStreamWriter, ArrowWriter, BATCH_ROWS } from './arrow-write.ts'
export type { Page } from './arrow-write.ts'
export { decodeKeysFile, encodeKeysFile, hasKeyHash } from './keys-file.ts'
export type { KeysFile } from './keys-file.ts'
export { decodePageDirectory, encodePageDirectory, PAGES_KEY } from './page-directory.ts'
export type { CheckedPage, PageDirectory, PageStats } from './page-directory.ts'
export { hasCheck, writeCheck, xxh3Bytes } from './self-check.ts'
export { changedTables, decodeSchemaRecord, encodeSchemaRecord } from './schema-record.ts'
export type { SchemaRecord } from './schema-record.ts'
export {
  DECISION_BYTES,
  decisionOfEpoch,
  epochOfMandate,
  hasVoted,
  isOfOneNumber,
  isPromotion,
  type Mark,
  mandateOfClaim,
  mandateOfPromotion,
  markOf,
  NO_DECISION,
} from './mandate.ts'
export { decodeEpochRecord, encodeEpochRecord, EPOCH_PAYLOAD_BYTES, KIND_EPOCH, WRITER_ID_BYTES } from './epoch.ts'
export type { EpochRecord } from './epoch.ts'
export {
  FLAG_MORE,
  FRAME_HEADER_BYTES,
  frameBytes,
  frameKind,
  KIND_FOOTER,
  KIND_MARK,
  LOCAL_SYNCED_BEFORE,
  PAYLOAD_BYTES_MAX,
  readFrameHeader,
  readU53,
  writeFrameHeader,
  writeU53,
} from './frame.ts'
export type { FrameHeader } from './frame.ts'
export {
  DIGEST_BYTES,
  FOOTER_BYTES,
  FOOTER_CLOSED,
  FOOTER_PAYLOAD_BYTES,
  FOOTER_RECOVERED,
  FOOTER_ROLLED,
  MARK_BYTES,
  MARK_PAYLOAD_BYTES,
  readFooterPayload,
  readMarkPayload,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  SEGMENT_VERSION,
  writeFooterPayload,
  writeMarkPayload,
  writeSegmentHeader,
} from './segment.ts'
export type { Hash64, SegmentFooter, SegmentHeader } from './segment.ts'
export { ATTEMPT_BYTES, readSlotHeader, SLOT_HEADER_BYTES, SLOT_VERSION, writeSlotHeader } from './slot.ts'
export type { SlotHeader } from './slot.ts'
export { fromHex, parseHex, toHex } from './hex.ts'
export type { Elided, Message } from './ship-messages.ts'
export { decodeMessage, encodeMessage, FILE_PIECE_BYTES_MAX, messageBytes } from './ship-codec.ts'
export { encodeShipFrame, SHIP_FRAME_BYTES_MAX, ShipFrameDecoder, ShipFrameError } from './ship-frame.ts'
export type { ShipFrame, ShipFrameFault } from './ship-frame.ts'
export { decodeManifest, encodeManifest } from './ship-manifest.ts'
export type { ManifestFacts } from './ship-manifest.ts'
