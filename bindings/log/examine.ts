// log/examine.ts: the checks of every open, read-only ones included: is what is stored one log, and does it reach what it must reach? (log.md section 2)
//
// Segments above the newest checkpoint are verified frame by frame, older ones by header, first mark and footer; the chain is folded from the last mark only.
// Invariant: nothing is written here; a log that is shorter than CLEAN or a checkpoint says, has a gap, or has damage that was synced, is CorruptionError. Segments
// below a gap are owed, and no part of the log, where what is missing was given up: a version before this one left them when a delete failed in a trim.
import { CorruptionError } from '../errors.ts'
import { FOOTER_BYTES, SEGMENT_HEADER_BYTES, type SegmentFooter, toHex } from '../format/index.ts'
import type { Root, SegmentFile } from '../root/index.ts'

import { baseName, type Generation } from './bases.ts'
import { cleanOf, type CleanMark } from './clean.ts'
import type { Digest } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { findFooter } from './footer.ts'
import { findSyncedFrame, type Window, WINDOW_BYTES_FIRST } from './frame-cursor.ts'
import { corrupt, digestInside, foldFrom, foldOver, HEAD_BYTES, headIn, readHead, scanSegment, type SegmentHead, type SegmentScan } from './segment-reader.ts'
import { type DigestPoint, firstLsnOf, pointBefore, type SegmentInfo, SegmentList } from './segment-list.ts'
import { decideTail, mayBeTorn, STOP } from './tail.ts'

const LOOKS_AT_ONCE = 16
const FOOTER_SEARCH_BYTES = 64 * 1024
/** The first read of a segment: its header, and the first window of its records. */
const FRONT_BYTES: number = SEGMENT_HEADER_BYTES + WINDOW_BYTES_FIRST
/** Of what is verified, this much is kept for the fold that follows. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024

export interface Floor {
  readonly lsn: number
  readonly digest: Uint8Array
}

export interface Examined {
  readonly segments: SegmentList
  readonly lastLsn: number
  /** digestAt(lastLsn). */
  readonly digest: Digest
  /** The newest segment; undefined for an empty log. */
  readonly newest: NewestSegment | undefined
}

export interface NewestSegment {
  readonly info: SegmentInfo
  readonly scan: SegmentScan
  readonly sealed: boolean
  /** CLEAN names this very footer. */
  readonly clean: boolean
}

export interface ExamineOptions {
  readonly generation: Generation
  readonly storeId: Uint8Array
  readonly clean: CleanMark | undefined
  readonly floors: readonly Floor[]
  /** No floor needs to reach where the log begins. */
  readonly isTrimmedBelowFloors?: boolean
  /** Segments that begin above it are not part of the log. */
  readonly until?: number
  /** What there is, where the caller has just looked. */
  readonly listed?: readonly SegmentName[]
  /** What was read is read again at once, and let go of (SegmentList.letGo): it is kept. */
  readonly keeps?: boolean | undefined
  readonly isGivenUp?: IsGivenUp | undefined
}

/** Whether no record at or below `lsn` is needed: asked where some are missing. Default: all are. */
export type IsGivenUp = (lsn: number) => Promise<boolean>

export async function examine(root: Root, given: ExamineOptions): Promise<Examined> {
  const { generation } = given
  if (given.clean !== undefined && !sameBytes(given.clean.storeId, given.storeId)) {
    throw new CorruptionError('log.corrupt', `CLEAN belongs to store ${toHex(given.clean.storeId)}`, { details: { file: 'CLEAN', offset: 0 } })
  }
  const o = { ...given, clean: cleanOf(generation, given.clean) }
  const floor = Math.max(0, ...o.floors.map(({ lsn }) => lsn))
  const firsts = (o.listed ?? (await listSegments(root, generation.dir))).filter(({ firstLsn }) => firstLsn <= (o.until ?? Infinity))
  if (firsts.length === 0) {
    if (generation.tailLsn > floor && o.isTrimmedBelowFloors !== true)
      throw corrupt(
        generation.dir,
        `the log begins after LSN ${generation.tailLsn} and no valid checkpoint reaches that far (newest: ${floor})`,
        0,
        generation.tailLsn,
      )
    const examined = { segments: new SegmentList([], generation), lastLsn: generation.tailLsn, digest: generation.tailDigest, newest: undefined }
    await holdAgainst(root, examined, o)
    return examined
  }
  const looks = await lookAtAll(root, firsts, { storeId: o.storeId, floor, room: { bytes: o.keeps === true ? KEPT_BYTES_MAX : 0 } })
  const from = await startOfRun(firsts, looks, o)
  const owed = firsts.splice(0, from).map(({ name }) => name)
  looks.splice(0, from)
  const tail = firsts[0]!.firstLsn - 1
  if (tail > floor && o.isTrimmedBelowFloors !== true) {
    throw corrupt(firsts[0]!.name, `the log begins after LSN ${tail} and no valid checkpoint reaches that far (newest: ${floor})`, 0, tail)
  }
  if (tail < generation.tailLsn) throw corrupt(firsts[0]!.name, `it begins before LSN ${generation.tailLsn}, where its generation does`, 0, tail + 1)
  if (tail === generation.tailLsn && !sameBytes(looks[0]!.head.digest, generation.tailDigest))
    throw corrupt(firsts[0]!.name, `its first mark is not the digest of ${tail === 0 ? 'the empty log' : 'its base'}`, SEGMENT_HEADER_BYTES, tail + 1)
  const segments = new SegmentList([], generation, owed)
  for (let i = 0; i + 1 < firsts.length; i++) segments.all.push(await settleOlder(root, firsts[i]!, looks[i]!, looks[i + 1]!.head, o.storeId))
  const { newest, digest } = settleNewest(firsts.at(-1)!.name, looks.at(-1)!, o.clean)
  segments.all.push(newest.info)
  const examined = { segments, lastLsn: newest.info.lastLsn, digest, newest }
  await holdAgainst(root, examined, o)
  return examined
}

/** digestAt for tail .. last. `head` is known without reading. */
export async function digestOf(root: Root, segments: SegmentList, lsn: number, head: { readonly lsn: number; readonly digest: Digest }): Promise<Digest> {
  if (lsn === head.lsn) return head.digest
  if (lsn === segments.tail) return segments.all[0]?.points[0]!.digest ?? segments.generation.tailDigest
  const info = segments.find(lsn)!
  const next = segments.all[segments.all.indexOf(info) + 1]
  if (next !== undefined && next.firstLsn === lsn + 1) return next.points[0]!.digest
  return digestInside(root, info, lsn)
}

export interface SegmentName {
  readonly name: string
  readonly firstLsn: number
}

export async function listSegments(root: Root, dir: string): Promise<SegmentName[]> {
  const found: SegmentName[] = []
  for await (const { name } of root.list(dir)) {
    const firstLsn = firstLsnOf(name)
    if (firstLsn !== undefined) found.push({ name, firstLsn })
  }
  return found
}

/** What one look at a segment shows, whatever the one behind it says. */
interface Look {
  readonly head: SegmentHead
  readonly size: number
  /** Of an older one that no floor lies below: all that is needed, if the next one says the same. */
  readonly footer?: SegmentFooter
  readonly records?: Records
  /** It is whole, and what follows its last record is not there. */
  readonly gap?: CorruptionError
}

interface Records {
  readonly scan: SegmentScan
  /** digestAt its last record that counts. */
  readonly digest: Digest
  readonly kept: readonly Window[] | undefined
}

/** Each is opened once; those whose footers will do side by side, the others one after the other. */
async function lookAtAll(root: Root, firsts: readonly SegmentName[], o: LookOptions): Promise<Look[]> {
  const looks: Look[] = []
  const lastOf = (i: number): number | undefined => (i + 1 < firsts.length ? firsts[i + 1]!.firstLsn - 1 : undefined)
  for (let i = 0; i < firsts.length;) {
    let end = i + 1
    while (end < firsts.length && end < i + LOOKS_AT_ONCE && (lastOf(end) ?? Infinity) <= o.floor) end++
    const next = firsts.slice(i, end).map((name, k) => lookAt(root, name, lastOf(i + k), o))
    looks.push(...(await Promise.all(next)))
    for (; i < end; i++) {
      if (i > 0 && looks[i]!.head.epoch < looks[i - 1]!.head.epoch)
        throw corrupt(firsts[i]!.name, `epoch ${looks[i]!.head.epoch} follows ${looks[i - 1]!.head.epoch}`, 16, firsts[i]!.firstLsn)
    }
  }
  return looks
}

/** The segments behind the last gap, if there is one. @throws CorruptionError: what is missing is needed */
async function startOfRun(firsts: readonly SegmentName[], looks: readonly Look[], o: ExamineOptions): Promise<number> {
  const from = looks.findLastIndex(({ gap }) => gap !== undefined) + 1
  if (from > 0 && (await o.isGivenUp?.(firsts[from]!.firstLsn - 1)) !== true) throw looks.find(({ gap }) => gap !== undefined)!.gap!
  return from
}

interface LookOptions {
  readonly storeId: Uint8Array
  readonly floor: number
  /** How much of what was read may still be kept. */
  readonly room: { bytes: number }
}

/** @param lastLsn  where it ends by the name of the next one; undefined: it is the newest */
async function lookAt(root: Root, { name, firstLsn }: SegmentName, lastLsn: number | undefined, o: LookOptions): Promise<Look> {
  const file = await root.segment(name, { open: 'read' })
  try {
    const { size } = file
    const isBelow = lastLsn !== undefined && lastLsn <= o.floor
    const front = new Uint8Array(isBelow && size > FOOTER_SEARCH_BYTES ? HEAD_BYTES : Math.min(size, FRONT_BYTES))
    const held = front.subarray(0, await file.read(0, front))
    const head = headIn(held, name, firstLsn, o.storeId)
    const footer = isBelow ? await lastFooter(file, head, held) : undefined
    if (footer !== undefined && footer.lastLsn === lastLsn) return { head, size, footer }
    const records = await recordsOf(file, name, head, held, lastLsn, o.room)
    return records instanceof CorruptionError ? { head, size, gap: records } : { head, size, records }
  } finally {
    await file.close()
  }
}

/** Looks for the footer from the end of the file. @param held  what it begins with */
async function lastFooter(file: SegmentFile, head: SegmentHead, held: Uint8Array): Promise<SegmentFooter | undefined> {
  for (let span = FOOTER_SEARCH_BYTES; ; span *= 4) {
    const base = Math.max(0, (file.size - span) & ~7)
    let bytes = held
    if (base > 0 || held.length < file.size) {
      const rest = new Uint8Array(file.size - base)
      bytes = rest.subarray(0, await file.read(base, rest))
    }
    const footer = findFooter(bytes, base, head.epoch, head.seed)
    if (footer !== undefined || base === 0) return footer
  }
}

/** @returns an error where they are whole and end too early */
async function recordsOf(
  file: SegmentFile,
  name: string,
  head: SegmentHead,
  held: Uint8Array<ArrayBuffer>,
  lastLsn: number | undefined,
  room: { bytes: number },
): Promise<Records | CorruptionError> {
  const windows: Window[] = []
  let bytes = 0
  let newest: Window | undefined
  const seen = (window: Window): void => {
    newest = window
    bytes += window.bytes.length
    if (bytes <= room.bytes || windows.length === 0) windows.push(window)
  }
  const until = lastLsn === undefined ? {} : { until: lastLsn, closed: true }
  const scan = await scanSegment(file, head, { ...until, held: held.subarray(SEGMENT_HEADER_BYTES), seen })
  if (lastLsn === undefined) await checkTail(file, name, head, scan, newest)
  else if (scan.wholeLsn < lastLsn) {
    const error = corrupt(name, `its records end at LSN ${scan.wholeLsn}, the next segment begins at ${lastLsn + 1}`, scan.stopOffset, scan.nextLsn)
    if (scan.stop === STOP.footer && scan.wholeLsn === scan.nextLsn - 1) return error
    throw error
  }
  const last = lastLsn ?? scan.wholeLsn
  const point = pointBefore(scan.points, last) ?? firstPoint(head)
  const digest = foldOver(windows, point, last) ?? (await foldFrom(file, head, point, last, scan.wholeEnd, name))
  const isKept = bytes <= room.bytes
  if (isKept) room.bytes -= bytes
  return { scan, digest, kept: isKept ? windows : undefined }
}

/** What the end of the newest segment means. @throws CorruptionError */
async function checkTail(file: SegmentFile, name: string, head: SegmentHead, scan: SegmentScan, last: Window | undefined): Promise<void> {
  const later = mayBeTorn(scan.stop) ? await findSyncedFrame(file, head, scan.stopOffset, scan.nextLsn, last) : undefined
  const decision = decideTail({ stop: scan.stop, stopOffset: scan.stopOffset, nextLsn: scan.nextLsn, later })
  if (decision.kind === 'damage') {
    throw new CorruptionError('log.corrupt', `${name} at offset ${decision.offset}: ${decision.why}`, {
      details: { file: name, offset: decision.offset, lsn: BigInt(decision.lsn), laterOffset: decision.laterOffset },
    })
  }
  if (scan.wholeLsn < head.firstLsn) throw corrupt(name, 'its first group, synced before the segment got its name, is gone', scan.stopOffset, head.firstLsn)
}

export async function headOf(root: Root, name: string, firstLsn: number, storeId: Uint8Array): Promise<SegmentHead> {
  const file = await root.segment(name, { open: 'read' })
  try {
    return await readHead(file, name, firstLsn, storeId)
  } finally {
    await file.close()
  }
}

/** The next segment's name and first mark decide where an older one ends; what lies behind is not part of the log. */
async function settleOlder(root: Root, segment: SegmentName, look: Look, next: SegmentHead, storeId: Uint8Array): Promise<SegmentInfo> {
  const { name } = segment
  const { head, size, footer } = look
  const lastLsn = next.firstLsn - 1
  const info = { name, firstLsn: head.firstLsn, lastLsn, epoch: head.epoch, seed: head.seed, mandate: head.mandate, size, sealed: true, own: false }
  if (footer !== undefined && saysTheSame(footer, head, next)) return { ...info, used: footer.bytesUsed, points: [firstPoint(head)], allPoints: false }
  // A footer that says something else decides nothing: the records do.
  const { records, gap } = look.records === undefined ? await lookAt(root, segment, lastLsn, { storeId, floor: 0, room: { bytes: 0 } }) : look
  if (gap !== undefined) throw gap
  const { scan, digest, kept } = records!
  if (!sameBytes(digest, next.digest)) throw corrupt(name, `its digest at LSN ${lastLsn} is not what the next segment begins with`, scan.wholeEnd, lastLsn)
  checkFooter(name, head, scan, lastLsn, digest)
  return { ...info, used: scan.wholeEnd, points: scan.points, allPoints: true, kept }
}

function saysTheSame(footer: SegmentFooter, head: SegmentHead, next: SegmentHead): boolean {
  const records = next.firstLsn - head.firstLsn
  return footer.firstLsn === head.firstLsn && footer.lastLsn === next.firstLsn - 1 && footer.records === records && sameBytes(footer.digest, next.digest)
}

function firstPoint({ firstLsn, digest }: SegmentHead): DigestPoint {
  return { lsn: firstLsn - 1, offset: SEGMENT_HEADER_BYTES, digest }
}

function settleNewest(name: string, { head, size, records }: Look, clean: CleanMark | undefined): { newest: NewestSegment; digest: Digest } {
  const { scan, digest, kept } = records!
  const points = scan.points.filter((point) => point.offset < scan.wholeEnd)
  const sealed = scan.stop === STOP.footer
  if (sealed) {
    if (scan.wholeLsn !== scan.nextLsn - 1 || scan.footer?.lastLsn !== scan.wholeLsn)
      throw corrupt(name, 'its footer does not follow a whole append', scan.stopOffset, scan.nextLsn)
    checkFooter(name, head, scan, scan.wholeLsn, digest)
  }
  const end = scan.wholeEnd + FOOTER_BYTES
  const isClean = clean?.segment === name
  if (isClean && !(sealed && clean.lsn === scan.wholeLsn && clean.bytes === end && clean.count === scan.wholeLsn - head.firstLsn + 1)) {
    throw corrupt(
      name,
      `CLEAN says it was closed at LSN ${clean.lsn} with ${clean.bytes} bytes; its records end at LSN ${scan.wholeLsn}`,
      scan.stopOffset,
      scan.nextLsn,
    )
  }
  const info: SegmentInfo = {
    name,
    firstLsn: head.firstLsn,
    lastLsn: scan.wholeLsn,
    epoch: head.epoch,
    seed: head.seed,
    mandate: head.mandate,
    used: scan.wholeEnd,
    size,
    sealed,
    own: false,
    points,
    allPoints: true,
    kept,
  }
  return { newest: { info, scan, sealed, clean: isClean }, digest }
}

/** A footer that speaks of exactly these records must be right about them. */
function checkFooter(name: string, head: SegmentHead, scan: SegmentScan, lastLsn: number, digest: Digest): void {
  const { footer } = scan
  if (footer === undefined || footer.lastLsn !== lastLsn) return
  const records = lastLsn - head.firstLsn + 1
  if (footer.firstLsn !== head.firstLsn || footer.records !== records || footer.bytesUsed !== scan.wholeEnd || !sameBytes(footer.digest, digest)) {
    throw corrupt(name, `its footer contradicts its ${records} records`, scan.wholeEnd, lastLsn)
  }
}

/** The log must reach CLEAN and the newest checkpoint, with the digests they state. */
async function holdAgainst(root: Root, { segments, lastLsn, digest }: Examined, o: ExamineOptions): Promise<void> {
  const { base, dir } = segments.generation
  const last = segments.newest ?? { name: dir, used: 0 }
  const claims: { lsn: number; digest: Uint8Array; who: string }[] = o.floors.map((floor) => ({ ...floor, who: 'a checkpoint' }))
  if (o.clean !== undefined) claims.push({ ...o.clean, who: 'CLEAN' })
  if (base !== undefined && base.baseLsn <= (o.until ?? Infinity)) claims.push({ lsn: base.baseLsn, digest: base.digest, who: baseName(base.generation) })
  for (const claim of claims) {
    if (lastLsn < claim.lsn) throw tooShort(last.name, lastLsn, claim.lsn, claim.who, last.used)
    if (claim.lsn < segments.tail) continue
    const found = await digestOf(root, segments, claim.lsn, { lsn: lastLsn, digest })
    if (!sameBytes(found, claim.digest)) {
      const info = segments.find(claim.lsn) ?? last
      throw corrupt(info.name, `its digest at LSN ${claim.lsn} is not the one ${claim.who} states`, info.used, claim.lsn)
    }
  }
}

function tooShort(file: string, lastLsn: number, wanted: number, who: string, offset: number): CorruptionError {
  return new CorruptionError('log.corrupt', `${file}: the log ends at LSN ${lastLsn}; ${who} says it reached ${wanted}`, {
    details: { file, offset, lsn: BigInt(lastLsn) },
  })
}
