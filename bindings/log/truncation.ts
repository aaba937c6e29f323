// log/truncation.ts: whether a replica may give up its records above an LSN (shipping.md section 7). Pure.
//
// Safe: nothing that was promised goes, nobody shows what goes, and what stays can be folded from what is there.
import { CommittedTruncationError, SnapshotAboveTruncationError, TruncationUnsafeError } from '../errors-ship.ts'

import type { Hold } from './reclaim.ts'
import type { SegmentList } from './segment-list.ts'

export interface TruncateOptions {
  /** Checkpoints that the caller trusts; a state is made of one and of the records above its `replayFrom`. */
  readonly checkpoints: readonly { readonly lsn: number; readonly replayFrom: number }[]
}

interface TruncationFacts extends TruncateOptions {
  readonly head: number
  /** RC */
  readonly committed: number
  /** Versions below it lack files. */
  readonly floor: number
  readonly segments: SegmentList
  readonly holds: readonly Pick<Hold, 'lsn' | 'owner'>[]
}

/** @throws CommittedTruncationError, SnapshotAboveTruncationError, TruncationUnsafeError */
export function checkTruncation(last: number, o: TruncationFacts): void {
  if (last < o.committed) throw belowCommitted(`a truncation to ${last}`, last, o.committed)
  const { tail, generation } = o.segments
  const refuse = (why: string): TruncationUnsafeError =>
    new TruncationUnsafeError(`the log cannot be truncated to ${last}: ${why}`, { details: { last: BigInt(last), head: BigInt(o.head), tail: BigInt(tail) } })
  if (last > o.head) throw refuse(`it ends at ${o.head}`)
  if (last < tail) throw refuse(`it begins after ${tail}`)
  // What is left is not written down anywhere: the digest at its end is in the first segment, which would go.
  if (last === tail && tail !== generation.tailLsn) throw refuse('no record of it would be left')
  const { base } = generation
  if (base !== undefined && last < base.baseLsn) throw refuse(`its base is ${base.baseLsn}`)
  if (last < o.floor) throw refuse(`files of versions below ${o.floor} were left out`)
  const isWhole = tail === 0 && base === undefined
  if (!isWhole && !o.checkpoints.some(({ lsn, replayFrom }) => lsn <= last && replayFrom >= tail)) {
    throw refuse(`no checkpoint at or below it whose records are there (they begin after ${tail})`)
  }
  const above = o.holds.find(({ lsn }) => lsn > last)
  if (above !== undefined) {
    throw new SnapshotAboveTruncationError(`${above.owner} shows version ${above.lsn}, above ${last}`, {
      details: { owner: above.owner, lsn: BigInt(above.lsn), last: BigInt(last) },
    })
  }
}

export function belowCommitted(what: string, lsn: number, committed: number): CommittedTruncationError {
  return new CommittedTruncationError(`${what} would give up what was promised up to ${committed}`, {
    details: { lsn: BigInt(lsn), committed: BigInt(committed) },
  })
}
