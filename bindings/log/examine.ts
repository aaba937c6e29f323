// log/examine.ts: the checks of every open, read-only ones included: is what is stored one log, and does it reach what it must reach? (log.md section 2)
//
// Segments above the newest checkpoint are verified frame by frame, older ones by header, first mark and footer; the chain is folded from the last mark only.
// Invariant: nothing is written here; a log that is shorter than CLEAN or a checkpoint says, has a gap, or has damage that was synced, is CorruptionError.
import { CorruptionError } from '../errors.ts'
import { FOOTER_BYTES, SEGMENT_HEADER_BYTES, toHex } from '../format/index.ts'
import type { Root, SegmentFile } from '../root/index.ts'

import { baseName, type Generation } from './bases.ts'
import { cleanOf, type CleanMark } from './clean.ts'
import type { Digest } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { findFooter } from './footer.ts'
import { findSyncedFrame } from './frame-cursor.ts'
import { corrupt, digestInside, foldFrom, readHead, scanSegment, type SegmentHead, type SegmentScan } from './segment-reader.ts'
import { type DigestPoint, firstLsnOf, pointBefore, type SegmentInfo, SegmentList } from './segment-list.ts'
import { decideTail, mayBeTorn } from './tail.ts'

const HEADS_AT_ONCE = 16
const FOOTER_SEARCH_BYTES = 64 * 1024

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
}

export async function examine(root: Root, given: ExamineOptions): Promise<Examined> {
  const { generation } = given
  if (given.clean !== undefined && !sameBytes(given.clean.storeId, given.storeId)) {
    throw new CorruptionError('log.corrupt', `CLEAN belongs to store ${toHex(given.clean.storeId)}`, { details: { file: 'CLEAN', offset: 0 } })
  }
  const o = { ...given, clean: cleanOf(generation, given.clean) }
  const floor = Math.max(0, ...o.floors.map(({ lsn }) => lsn))
  const firsts = (await listSegments(root, generation.dir)).filter(({ firstLsn }) => firstLsn <= (o.until ?? Infinity))
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
  const heads = await readHeads(root, firsts, o.storeId)
  const tail = firsts[0]!.firstLsn - 1
  if (tail > floor && o.isTrimmedBelowFloors !== true) {
    throw corrupt(firsts[0]!.name, `the log begins after LSN ${tail} and no valid checkpoint reaches that far (newest: ${floor})`, 0, tail)
  }
  if (tail < generation.tailLsn) throw corrupt(firsts[0]!.name, `it begins before LSN ${generation.tailLsn}, where its generation does`, 0, tail + 1)
  if (tail === generation.tailLsn && !sameBytes(heads[0]!.digest, generation.tailDigest))
    throw corrupt(firsts[0]!.name, `its first mark is not the digest of ${tail === 0 ? 'the empty log' : 'its base'}`, SEGMENT_HEADER_BYTES, tail + 1)
  const segments = new SegmentList([], generation)
  for (let i = 0; i + 1 < firsts.length; i++) segments.all.push(await examineOlder(root, firsts[i]!.name, heads[i]!, heads[i + 1]!, floor))
  const { newest, digest } = await examineNewest(root, firsts.at(-1)!.name, heads.at(-1)!, o.clean)
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

async function readHeads(root: Root, firsts: readonly SegmentName[], storeId: Uint8Array): Promise<SegmentHead[]> {
  const heads: SegmentHead[] = []
  for (let i = 0; i < firsts.length; i += HEADS_AT_ONCE) {
    heads.push(...(await Promise.all(firsts.slice(i, i + HEADS_AT_ONCE).map(({ name, firstLsn }) => headOf(root, name, firstLsn, storeId)))))
  }
  for (let i = 1; i < heads.length; i++) {
    if (heads[i]!.epoch < heads[i - 1]!.epoch)
      throw corrupt(firsts[i]!.name, `epoch ${heads[i]!.epoch} follows ${heads[i - 1]!.epoch}`, 16, firsts[i]!.firstLsn)
  }
  return heads
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
async function examineOlder(root: Root, name: string, head: SegmentHead, next: SegmentHead, floor: number): Promise<SegmentInfo> {
  const lastLsn = next.firstLsn - 1
  const file = await root.segment(name, { open: 'read' })
  try {
    const start: DigestPoint = { lsn: head.firstLsn - 1, offset: SEGMENT_HEADER_BYTES, digest: head.digest }
    const info = { name, firstLsn: head.firstLsn, lastLsn, epoch: head.epoch, seed: head.seed, size: file.size, sealed: true, own: false }
    if (lastLsn <= floor) {
      const bytesUsed = await matchingFooter(file, head, next)
      if (bytesUsed !== undefined) return { ...info, used: bytesUsed, points: [start], allPoints: false }
    }
    const scan = await scanSegment(file, head, { until: lastLsn, closed: true })
    if (scan.wholeLsn < lastLsn)
      throw corrupt(name, `its records end at LSN ${scan.wholeLsn}, the next segment begins at ${next.firstLsn}`, scan.stopOffset, scan.nextLsn)
    const point = pointBefore(scan.points, lastLsn) ?? start
    const digest = await foldFrom(file, head, point, lastLsn, scan.wholeEnd, name)
    if (!sameBytes(digest, next.digest)) throw corrupt(name, `its digest at LSN ${lastLsn} is not what the next segment begins with`, scan.wholeEnd, lastLsn)
    checkFooter(name, head, scan, lastLsn, digest)
    return { ...info, used: scan.wholeEnd, points: scan.points, allPoints: true }
  } finally {
    await file.close()
  }
}

/** Looks for the footer from the end of the file. @returns its offset when it says what the next segment says */
async function matchingFooter(file: SegmentFile, head: SegmentHead, next: SegmentHead): Promise<number | undefined> {
  for (let span = FOOTER_SEARCH_BYTES; ; span *= 4) {
    const base = Math.max(0, (file.size - span) & ~7)
    const bytes = new Uint8Array(file.size - base)
    const n = await file.read(base, bytes)
    const footer = findFooter(bytes.subarray(0, n), base, head.epoch, head.seed)
    if (footer !== undefined) {
      const records = next.firstLsn - head.firstLsn
      const same =
        footer.firstLsn === head.firstLsn && footer.lastLsn === next.firstLsn - 1 && footer.records === records && sameBytes(footer.digest, next.digest)
      return same ? footer.bytesUsed : undefined
    }
    if (base === 0) return undefined
  }
}

async function examineNewest(root: Root, name: string, head: SegmentHead, clean: CleanMark | undefined): Promise<{ newest: NewestSegment; digest: Digest }> {
  const file = await root.segment(name, { open: 'read' })
  try {
    const scan = await scanSegment(file, head)
    const later = mayBeTorn(scan.stop) ? await findSyncedFrame(file, head, scan.stopOffset, scan.nextLsn) : undefined
    const decision = decideTail({ stop: scan.stop, stopOffset: scan.stopOffset, nextLsn: scan.nextLsn, later })
    if (decision.kind === 'damage') {
      throw new CorruptionError('log.corrupt', `${name} at offset ${decision.offset}: ${decision.why}`, {
        details: { file: name, offset: decision.offset, lsn: BigInt(decision.lsn), laterOffset: decision.laterOffset },
      })
    }
    if (scan.wholeLsn < head.firstLsn) throw corrupt(name, 'its first group, synced before the segment got its name, is gone', scan.stopOffset, head.firstLsn)
    const points = scan.points.filter((point) => point.offset < scan.wholeEnd)
    const digest = await foldFrom(file, head, points.at(-1)!, scan.wholeLsn, scan.wholeEnd, name)
    const sealed = decision.kind === 'sealed'
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
      used: scan.wholeEnd,
      size: file.size,
      sealed,
      own: false,
      points,
      allPoints: true,
    }
    return { newest: { info, scan, sealed, clean: isClean }, digest }
  } finally {
    await file.close()
  }
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
