// log/segment-list.ts: what a handle knows of its segments: names, LSN ranges and the points from which a digest can be folded.
//
// Invariant: ascending by first LSN; each but the last ends where the next begins; `tail` is the first one's first LSN - 1. What is owed lies below it.
import { markOf } from '../format/index.ts'

import { Generation, type LineageMark } from './bases.ts'
import type { CommitLog, Digest, Epoch, Lsn } from './commit-log.ts'
import type { Window } from './frame-cursor.ts'
import { FRESH_NODE, type TailFacts, tailEpochAt } from './node-state.ts'

export const LOG_PREFIX = 'log/'
const NAME = /^log(?:\.\d{10})?\/(\d{20})\.wal$/

/** The chain digest at `lsn`, and where in the file the frame (or mark) after it begins. */
export interface DigestPoint {
  readonly lsn: number
  readonly offset: number
  readonly digest: Digest
}

export interface SegmentInfo {
  readonly name: string
  readonly firstLsn: number
  readonly epoch: number
  readonly seed: bigint
  /** By whose decision its records were written (format/mandate.ts). */
  readonly mandate: number
  /** Last LSN in it that counts; of the newest one the last acknowledged. */
  lastLsn: number
  /** Offset behind the last record that counts. */
  used: number
  /** Bytes of the file. */
  size: number
  /** The last write of it was a footer. */
  sealed: boolean
  /** Created by this handle: nobody else has a descriptor on it, so it may be recycled. */
  readonly own: boolean
  /** Ascending by LSN; the first is digestAt(firstLsn - 1) at the first mark. Others may be missing until somebody asks. */
  points: DigestPoint[]
  /** All marks of the segment are in `points`. */
  allPoints: boolean
  /** All its records, verified, as the open has read them; until the open is over. */
  kept?: readonly Window[] | undefined
}

export function segmentName(firstLsn: number, dir: string = LOG_PREFIX): string {
  return `${dir}${String(firstLsn).padStart(20, '0')}.wal`
}

/** @returns undefined for a name that is not a segment's */
export function firstLsnOf(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

export class SegmentList {
  readonly all: SegmentInfo[]
  readonly generation: Generation
  /** Names, oldest first, of what was trimmed and may still be there, since its delete failed: until it is gone nothing behind it goes, which would leave a gap. */
  readonly owed: string[]
  constructor(all: SegmentInfo[] = [], generation: Generation = new Generation(), owed: string[] = []) {
    this.all = all
    this.generation = generation
    this.owed = owed
  }

  get newest(): SegmentInfo | undefined {
    return this.all.at(-1)
  }

  get tail(): number {
    return this.all[0] === undefined ? this.generation.tailLsn : this.all[0].firstLsn - 1
  }

  /** The segment that holds `lsn`. */
  find(lsn: number): SegmentInfo | undefined {
    let low = 0
    let high = this.all.length - 1
    while (low <= high) {
      const mid = (low + high) >>> 1
      const segment = this.all[mid]!
      if (lsn < segment.firstLsn) high = mid - 1
      else if (lsn > segment.lastLsn) low = mid + 1
      else return segment
    }
    return undefined
  }

  /** The open is over. */
  letGo(): void {
    for (const segment of this.all) segment.kept = undefined
  }

  /** Bytes in use, preallocation not counted. */
  get bytes(): number {
    let sum = 0
    for (const segment of this.all) sum += segment.used
    return sum
  }

  /** Bytes in use of the segments that hold records above `lsn`: what stays when everything at or below it is trimmed. */
  bytesAbove(lsn: number): number {
    let sum = 0
    for (let i = this.all.length - 1; i >= 0 && this.all[i]!.lastLsn > lsn; i--) sum += this.all[i]!.used
    return sum
  }

  /**
   * One mark per epoch that began a segment here, and one for the record at `tail` where that is of an older one: a log that ends exactly there is of this lineage.
   *
   * @param known  of the record at `tail`
   */
  lineage(known: TailFacts = FRESH_NODE): LineageMark[] {
    const { tail } = this
    const tailEpoch = tailEpochAt(tail, known)
    const marks: LineageMark[] = [...(this.generation.base?.lineage ?? [])].filter(({ firstLsn }) => firstLsn <= tail)
    const begun = marks.at(-1)?.epoch ?? 0
    const first = this.all[0]
    // The mandate of an older epoch whose records are gone is not known, and no record is left that it would be asked of.
    if (tail > 0 && tailEpoch > begun && tailEpoch <= (first?.epoch ?? tailEpoch))
      marks.push(markOf(tailEpoch, tail, first?.epoch === tailEpoch ? first.mandate : undefined))
    for (const { epoch, firstLsn, mandate } of this.all) if (marks.at(-1)?.epoch !== epoch) marks.push(markOf(epoch, firstLsn, mandate))
    return marks
  }
}

/** As a log tells it to who reads it. */
export function openMark({ epoch, firstLsn, ...mandate }: LineageMark): CommitLog['lineage'][number] {
  return { epoch: BigInt(epoch) as Epoch, firstLsn: BigInt(firstLsn) as Lsn, ...mandate }
}

/** The last point at or before `lsn`. */
export function pointBefore(points: readonly DigestPoint[], lsn: number): DigestPoint | undefined {
  let low = 0
  let high = points.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if (points[mid]!.lsn <= lsn) low = mid + 1
    else high = mid
  }
  return points[low - 1]
}
