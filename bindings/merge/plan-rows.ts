// merge/plan-rows.ts: what a three-way merge makes of one key, by what became of its row on both sides since their common base (recovery.md section 13). Pure.
//
//   B  S    T               result                B  S    T               result
//   -  -    any             keep                  b  s≠b  t ≠ b, t ≠ s    column by column, else conflict bothChanged
//   -  s    -               take                  b  s≠b  -               conflict changedDeleted
//   -  s    t = s           keep                  b  -    t = b           remove
//   -  s    t ≠ s           conflict bothAdded    b  -    t ≠ b           conflict deletedChanged
//   b  s=b  any             keep                  b  -    -               keep
//   b  s≠b  t = b           take
//   b  s≠b  t = s           keep
//
// "Ours" is the target, "theirs" the source. Equal means that the stored bytes of every column are equal (kernels/same-values.ts).

export type MergeConflictKind = 'bothAdded' | 'bothChanged' | 'deletedChanged' | 'changedDeleted'

/** keep: the target stays as it is; take: the source's row; remove: no row; mix: columns of both. */
export type RowVerdict = 'keep' | 'take' | 'remove' | 'mix' | MergeConflictKind

/** What became of a key. Without a row on a side what is said of its equality counts for nothing. */
export interface RowFacts {
  readonly inBase: boolean
  readonly inTheirs: boolean
  readonly inOurs: boolean
  /** Theirs is the base's row. */
  readonly theirsAsBase: boolean
  readonly oursAsBase: boolean
  readonly theirsAsOurs: boolean
  /** No column was changed by both sides to two values; never so when rows are merged whole. */
  readonly isApart: boolean
}

export function rowVerdict(facts: RowFacts): RowVerdict {
  const { inBase, inTheirs, inOurs, theirsAsBase, oursAsBase, theirsAsOurs, isApart } = facts
  if (!inBase) {
    if (!inTheirs) return 'keep'
    if (!inOurs) return 'take'
    return theirsAsOurs ? 'keep' : 'bothAdded'
  }
  if (!inTheirs) {
    if (!inOurs) return 'keep'
    return oursAsBase ? 'remove' : 'deletedChanged'
  }
  if (theirsAsBase) return 'keep'
  if (!inOurs) return 'changedDeleted'
  if (oursAsBase) return 'take'
  if (theirsAsOurs) return 'keep'
  return isApart ? 'mix' : 'bothChanged'
}

/** Whose value a column of a row that both sides changed gets; a conflict: both changed it, to two values. */
export function columnVerdict(theirsAsBase: boolean, oursAsBase: boolean, theirsAsOurs: boolean): 'ours' | 'theirs' | 'conflict' {
  if (theirsAsBase || theirsAsOurs) return 'ours'
  return oursAsBase ? 'theirs' : 'conflict'
}
