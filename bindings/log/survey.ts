// log/survey.ts: what of a damaged log still holds together: the longest run of whole appends from its start, why it ends, and what lies behind it.
//
// Where examine.ts throws at the first fault, this looks on and reports; every frame is verified and the whole chain is folded, marks included.
// Invariant: nothing is written; what is called whole here would pass examine.ts if the log ended there.
import { CorruptionError } from '../errors.ts'
import { FOOTER_RECOVERED, FRAME_HEADER_BYTES, KIND_FOOTER, KIND_MARK, SEGMENT_HEADER_BYTES } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'

import type { CommitLog, Digest } from './commit-log.ts'
import { currentGeneration, type Generation } from './bases.ts'
import { sameBytes, zeroDigest } from './digest.ts'
import { headOf, type IsGivenUp, listSegments, type SegmentName } from './examine.ts'
import { sealFooter } from './footer.ts'
import { findFrame, findSyncedFrame, forEachFrame, FrameCursor } from './frame-cursor.ts'
import { ReadOnlyLog } from './read-only-log.ts'
import { syncOf, writeTo } from './segment-io.ts'
import { foldFrom, scanSegment, type SegmentHead } from './segment-reader.ts'
import { type DigestPoint, type SegmentInfo, SegmentList } from './segment-list.ts'
import { decideTail, mayBeTorn, STOP } from './tail.ts'

export interface LogDamage {
  readonly file: string
  readonly offset: number
  /** The first LSN that cannot be believed. */
  readonly lsn: number
  readonly why: string
  /** What is before it is whole, and records up to here are not there. */
  readonly gapEnd?: number
}

export interface LogSurvey {
  /** Every segment there is, ascending. */
  readonly names: readonly SegmentName[]
  /** Those that hold something whole; the last one may be whole in part. */
  readonly segments: SegmentList
  readonly tail: number
  /** The last LSN that holds together with everything before it. */
  readonly lastLsn: number
  /** digestAt(lastLsn). */
  readonly digest: Digest
  /** The newest segment was sealed: nothing behind its footer is missing. */
  readonly sealed: boolean
  /** undefined: the log is whole. */
  readonly damage: LogDamage | undefined
}

export interface SurveyOptions {
  readonly isGivenUp?: IsGivenUp
  /** Only what holds records above it. Default: everything. */
  readonly above?: number
}

/** Reads the whole log. @throws StorageError, StoreTooNewError; damage is an answer, not an error */
export async function surveyLog(root: Root, storeId: Uint8Array, { isGivenUp, above = 0 }: SurveyOptions = {}): Promise<LogSurvey> {
  const generation = await currentGeneration(root)
  const all = await listSegments(root, generation.dir)
  const names = all.slice(
    Math.max(
      0,
      all.findLastIndex(({ firstLsn }) => firstLsn <= above + 1),
    ),
  )
  const segments = new SegmentList([], generation)
  let tail = names[0] === undefined ? generation.tailLsn : names[0].firstLsn - 1
  let at: Reached = { lsn: tail, digest: tail === generation.tailLsn ? generation.tailDigest : undefined, epoch: 0, sealed: false }
  for (let i = 0; i < names.length; i++) {
    const step = await surveySegment(root, names[i]!, names[i + 1]?.firstLsn, at, storeId)
    if (step.info !== undefined) segments.all.push(step.info)
    at = step.at
    const gapEnd = step.damage?.gapEnd
    if (gapEnd !== undefined && (await isGivenUp?.(gapEnd)) === true) {
      segments.owed.push(...segments.all.splice(0).map(({ name }) => name))
      tail = gapEnd
      at = { lsn: tail, digest: undefined, epoch: at.epoch, sealed: false }
    } else if (step.damage !== undefined)
      return { names, segments, tail, lastLsn: at.lsn, digest: at.digest ?? zeroDigest(), sealed: false, damage: step.damage }
  }
  return { names, segments, tail, lastLsn: at.lsn, digest: at.digest ?? zeroDigest(), sealed: at.sealed, damage: undefined }
}

/** Segments and where they end. */
export type LogExtent = Pick<LogSurvey, 'segments' | 'lastLsn' | 'digest'>

/** A part of the log, for reading. Nothing to close. */
export function readSurveyed(root: Root, world: World, storeId: Uint8Array, { segments, lastLsn, digest }: LogExtent): CommitLog {
  return new ReadOnlyLog(root, { world, storeId, floors: [], follow: false }, { segments, lastLsn, digest, newest: undefined })
}

interface Reached {
  readonly lsn: number
  /** undefined: the first retained segment says it. */
  readonly digest: Digest | undefined
  readonly epoch: number
  readonly sealed: boolean
}

interface Step {
  readonly at: Reached
  readonly info?: SegmentInfo
  readonly damage?: LogDamage
}

async function surveySegment(root: Root, { name, firstLsn }: SegmentName, nextFirst: number | undefined, at: Reached, storeId: Uint8Array): Promise<Step> {
  const bad = (why: string, offset: number, lsn: number): Step => ({ at, damage: { file: name, offset, lsn, why } })
  if (firstLsn !== at.lsn + 1) return bad(`the records before it end at LSN ${at.lsn}, it begins at ${firstLsn}`, 0, at.lsn + 1)
  let head: SegmentHead
  try {
    head = await headOf(root, name, firstLsn, storeId)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return bad(error.message, typeof error.offset === 'number' ? error.offset : 0, firstLsn)
  }
  if (head.epoch < at.epoch) return bad(`epoch ${head.epoch} follows ${at.epoch}`, 16, firstLsn)
  if (at.digest !== undefined && !sameBytes(head.digest, at.digest))
    return bad('its first mark is not the digest of the records before it', SEGMENT_HEADER_BYTES, firstLsn)
  const file = await root.segment(name, { open: 'read' })
  try {
    const scan = await scanSegment(file, head, nextFirst === undefined ? {} : { until: nextFirst - 1, closed: true })
    if (scan.wholeLsn < firstLsn) return bad('its first group does not verify', scan.stopOffset, firstLsn)
    const start: DigestPoint = { lsn: firstLsn - 1, offset: SEGMENT_HEADER_BYTES, digest: head.digest }
    const marks = scan.points.filter((point) => point.lsn > start.lsn && point.lsn <= scan.wholeLsn && point.offset < scan.wholeEnd)
    let good = start
    for (const mark of marks) {
      const digest = await foldFrom(file, head, good, mark.lsn, scan.wholeEnd, name)
      if (!sameBytes(digest, mark.digest)) {
        const info = infoOf(name, head, file.size, { lsn: good.lsn, end: good.offset, sealed: false, points: [start] })
        const damage = { file: name, offset: mark.offset, lsn: good.lsn + 1, why: `the records up to LSN ${mark.lsn} are not what its mark there states` }
        return { at: { lsn: good.lsn, digest: good.digest, epoch: head.epoch, sealed: false }, damage, ...(good.lsn >= firstLsn ? { info } : {}) }
      }
      good = mark
    }
    const digest = await foldFrom(file, head, good, scan.wholeLsn, scan.wholeEnd, name)
    const later = nextFirst === undefined && mayBeTorn(scan.stop) ? await findSyncedFrame(file, head, scan.stopOffset, scan.nextLsn) : undefined
    const sealed = scan.stop === STOP.footer && scan.wholeLsn === scan.nextLsn - 1
    const why = nextFirst === undefined ? newestFault(scan, later, firstLsn, digest) : scan.wholeLsn < nextFirst - 1 ? endsEarly(scan, nextFirst) : undefined
    const info = infoOf(name, head, file.size, { lsn: scan.wholeLsn, end: scan.wholeEnd, sealed, points: [start, ...marks] })
    const reached = { lsn: scan.wholeLsn, digest, epoch: head.epoch, sealed }
    const gap = nextFirst !== undefined && sealed ? { gapEnd: nextFirst - 1 } : {}
    return { at: reached, info, ...(why === undefined ? {} : { damage: { file: name, offset: scan.stopOffset, lsn: scan.wholeLsn + 1, why, ...gap } }) }
  } finally {
    await file.close()
  }
}

type Scanned = Awaited<ReturnType<typeof scanSegment>>

function endsEarly(scan: Scanned, nextFirst: number): string {
  return `its records end at LSN ${scan.wholeLsn}, the next segment begins at ${nextFirst}`
}

function newestFault(scan: Scanned, later: number | undefined, firstLsn: number, digest: Digest): string | undefined {
  const decision = decideTail({ stop: scan.stop, stopOffset: scan.stopOffset, nextLsn: scan.nextLsn, later })
  if (decision.kind === 'damage') return decision.why
  if (decision.kind === 'torn') return undefined
  const { footer, wholeLsn, wholeEnd } = scan
  if (footer === undefined || wholeLsn !== scan.nextLsn - 1 || footer.lastLsn !== wholeLsn) return 'its footer does not follow a whole append'
  const agrees = footer.firstLsn === firstLsn && footer.records === wholeLsn - firstLsn + 1 && footer.bytesUsed === wholeEnd && sameBytes(footer.digest, digest)
  return agrees ? undefined : `its footer contradicts its ${wholeLsn - firstLsn + 1} records`
}

function infoOf(
  name: string,
  head: SegmentHead,
  size: number,
  o: { readonly lsn: number; readonly end: number; readonly sealed: boolean; readonly points: DigestPoint[] },
): SegmentInfo {
  const { firstLsn, epoch, seed, mandate } = head
  return { name, firstLsn, lastLsn: o.lsn, epoch, seed, mandate, used: o.end, size, sealed: o.sealed, own: false, points: o.points, allPoints: true }
}

export interface CutPoint {
  /** undefined: nothing is kept. */
  readonly info: SegmentInfo | undefined
  readonly lsn: number
  /** Offset behind the last record that is kept. */
  readonly offset: number
  readonly digest: Digest
}

/**
 * Where the log ends if it is cut after `lsn`: at the end of the append that holds it or, inside one, of the append before; with `exact` behind that very record.
 * `lsn` lies in the whole part.
 */
export async function cutPointAt(
  root: Root,
  survey: Pick<LogSurvey, 'segments' | 'tail'>,
  lsn: number,
  o: { readonly exact?: boolean } = {},
): Promise<CutPoint> {
  let upTo = lsn
  for (;;) {
    const info = survey.segments.find(upTo)
    if (info === undefined)
      return { info, lsn: survey.tail, offset: 0, digest: survey.segments.all[0]?.points[0]?.digest ?? survey.segments.generation.tailDigest }
    const file = await root.segment(info.name, { open: 'read' })
    try {
      const scan = await scanSegment(file, info, { until: upTo, limit: info.used, closed: o.exact === true })
      if (scan.wholeLsn >= info.firstLsn) {
        const point = info.points.findLast((each) => each.lsn <= scan.wholeLsn)!
        const digest = await foldFrom(file, info, point, scan.wholeLsn, scan.wholeEnd, info.name)
        return { info, lsn: scan.wholeLsn, offset: scan.wholeEnd, digest }
      }
    } finally {
      await file.close()
    }
    upTo = info.firstLsn - 1
  }
}

/** The same log as it will be after a cut. */
export function surveyAt(survey: LogSurvey, cut: CutPoint): LogSurvey {
  const { names, tail } = survey
  const all = survey.segments.all
    .filter(({ firstLsn }) => firstLsn <= cut.lsn)
    .map((info) =>
      info.firstLsn === cut.info?.firstLsn ? { ...info, lastLsn: cut.lsn, used: cut.offset, points: info.points.filter(({ lsn }) => lsn <= cut.lsn) } : info,
    )
  return { names, tail, segments: new SegmentList(all, survey.segments.generation), lastLsn: cut.lsn, digest: cut.digest, sealed: true, damage: undefined }
}

/**
 * Ends the log at `cut`: later segments go, newest first, so that no step leaves a gap; then the segment that holds it gets its footer there and is shortened.
 * What is taken away was copied by the caller. Each step may crash and be repeated.
 */
export async function cutLog(root: Root, generation: Generation, cut: CutPoint, check: () => void): Promise<void> {
  for (const { name, firstLsn } of (await listSegments(root, generation.dir)).toReversed()) {
    if (firstLsn <= cut.lsn) break
    check()
    await root.delete(name)
  }
  const { info } = cut
  if (info === undefined) return
  const records = cut.lsn - info.firstLsn + 1
  const footer = sealFooter(
    { reason: FOOTER_RECOVERED, records, firstLsn: info.firstLsn, lastLsn: cut.lsn, bytesUsed: cut.offset, digest: cut.digest },
    info.epoch,
    info.seed,
  )
  const file = await root.segment(info.name, { open: 'write' })
  try {
    check()
    // First what is cut off, for good: a footer that is torn over it would look like damage in the midst of the log.
    await file.truncate(cut.offset)
    await syncOf(file)
    await writeTo(file, cut.offset, footer)
    await syncOf(file)
  } finally {
    await file.close()
  }
}

export interface FoundRecord {
  readonly lsn: number
  readonly file: string
  /** One verified frame. */
  readonly bytes: Uint8Array
}

/** Every record above `lsn` that can still be read, whatever lies between: what a cut there takes away. */
export async function* recordsBehind(root: Root, survey: LogSurvey, lsn: number, storeId: Uint8Array): AsyncGenerator<FoundRecord, undefined> {
  for (const [i, { name, firstLsn }] of survey.names.entries()) {
    const nextFirst = survey.names[i + 1]?.firstLsn ?? Infinity
    if (nextFirst - 1 <= lsn) continue
    let head: SegmentHead
    try {
      head = await headOf(root, name, firstLsn, storeId)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      continue
    }
    yield* framesOf(root, name, head, lsn, nextFirst)
  }
}

/** All frames of one segment with an LSN above `lsn`, also those behind a place that does not verify. */
async function* framesOf(root: Root, name: string, head: SegmentHead, lsn: number, nextFirst: number): AsyncGenerator<FoundRecord, undefined> {
  const file = await root.segment(name, { open: 'read' })
  try {
    let from: { offset: number; lsn: number } | undefined = { offset: SEGMENT_HEADER_BYTES, lsn: head.firstLsn }
    while (from !== undefined) {
      const cursor: FrameCursor = new FrameCursor(file, head, { ...from, limit: file.size })
      let stop = { offset: from.offset, lsn: from.lsn, isEnd: false }
      for (let window = await cursor.next(); window !== undefined; window = await cursor.next()) {
        const found: FoundRecord[] = []
        let next = window.firstLsn
        forEachFrame(window, (at, kind) => {
          if (kind === KIND_MARK || kind === KIND_FOOTER) return
          if (next > lsn && next < nextFirst) {
            const length = new DataView(window!.bytes.buffer, window!.bytes.byteOffset).getUint32(at + 8, true)
            found.push({ lsn: next, file: name, bytes: window!.bytes.subarray(at, at + FRAME_HEADER_BYTES + length) })
          }
          next++
        })
        yield* found
        stop = { offset: window.base + window.consumed, lsn: window.nextLsn, isEnd: window.stop === STOP.footer }
      }
      if (stop.isEnd) return
      from = await findFrame(file, head, stop.offset + 8, stop.lsn)
    }
  } finally {
    await file.close()
  }
}
