// merge/plan-base.ts: the newest common ancestor of two positions: what both sides of a merge have in common (recovery.md section 13). Pure.
//
// A position has in it everything its branch did up to there, what the branch was made of, and what was merged into it. All branches share one log, so that of
// each branch a position has a prefix: a position is told by the LSN up to which it has each branch.
// Invariant: the base is in both positions, and no other position that is in both has it in itself.

import type { MergeEntry } from '../catalog/index.ts'
import type { Position } from '../engine/index.ts'

export interface Lineage {
  /** Where a branch was made; undefined: main. */
  readonly origin: (branch: number) => Position | undefined
  readonly merges: readonly MergeEntry[]
}

/** Of every branch that is in a position, the LSN up to which it is. */
export function ancestry(position: Position, { origin, merges }: Lineage): ReadonlyMap<number, number> {
  const upto = new Map<number, number>()
  const open: Position[] = [position]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const { branch, lsn } = at
    const known = upto.get(branch)
    if (known !== undefined && known >= lsn) continue
    upto.set(branch, lsn)
    const from = origin(branch)
    // Before a branch was made, what stands under its number is its parent's.
    if (from !== undefined) open.push({ branch: from.branch, lsn: Math.min(from.lsn, lsn) })
    for (const merge of merges) if (merge.into === branch && merge.lsn <= lsn) open.push({ branch: merge.source, lsn: merge.sourceLsn })
  }
  return upto
}

/** @returns undefined when the positions have nothing in common, which two branches of one store always have */
export function mergeBase(source: Position, target: Position, lineage: Lineage): Position | undefined {
  const ours = ancestry(target, lineage)
  const common: Position[] = []
  for (const [branch, lsn] of ancestry(source, lineage)) {
    const there = ours.get(branch)
    if (there === undefined) continue
    const upto = Math.min(lsn, there)
    const from = lineage.origin(branch)
    // Neither has anything of the branch itself: its parent is there under its own number.
    if (from === undefined || upto > from.lsn) common.push({ branch, lsn: upto })
  }
  const within = common.map((position) => ancestry(position, lineage))
  const isIn = (position: Position, ancestors: ReadonlyMap<number, number>): boolean => (ancestors.get(position.branch) ?? -1) >= position.lsn
  const newest = common.filter((position, i) => !common.some((_, j) => j !== i && isIn(position, within[j]!)))
  // Merges to and fro can leave several, none in another: any of them is sound, a later one leaves less to decide.
  return newest.toSorted((a, b) => b.lsn - a.lsn || a.branch - b.branch)[0]
}
