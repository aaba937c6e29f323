// engine/candidate-tuples.ts: unique constraints over rows that are decided as a whole: staged writes when they are sealed, and what a merge is about to bring
// (recovery.md sections 12 and 13).
//
// Invariant: when it resolves, no row of the candidate that stays has a tuple of another one or of an older row that stays; what is written from then on, rule
// `keys` holds against the hashes of the tuples.

import type { TableSchema } from '../format/index.ts'
import { type ColumnBatch, findKeys, type RowKeys, type Structure, type TableState, type TableView } from '../table/index.ts'
import { HideSet, NOW } from './admission.ts'
import { LoadTuples } from './load-tuples.ts'
import { refuseTakenLoud, repeatedTupleError } from './unique.ts'

export interface Candidate {
  readonly tuples: LoadTuples
  /** Keys that it writes or deletes: their older rows go. */
  readonly keys: readonly RowKeys[]
  /** Older rows that go by position. */
  readonly hidden: HideSet
  /** A row that it took and that does not stay. */
  readonly isGone: (row: number) => boolean
  /** Every older row goes. */
  readonly replaces: boolean
  /** What messages call it. */
  readonly op: string
  readonly between: () => Promise<void> | undefined
}

/** @throws DuplicateKeyError */
export async function refuseCandidate(state: TableState, view: TableView, candidate: Candidate): Promise<void> {
  const { tuples, isGone, between } = candidate
  const repeated = tuples.repeated(isGone)
  if (repeated !== undefined) throw repeatedTupleError(state, view, repeated, candidate.op)
  if (candidate.replaces) return
  for (let seen: Structure | undefined, rewinds = -1; seen !== state.now || rewinds !== state.rewinds;) {
    seen = state.now
    rewinds = state.rewinds
    await tuples.lookAgain(seen, between)
    const hides = tuples.places().next().done === true ? candidate.hidden : await olderRows(state, seen, candidate)
    if (seen !== state.now || rewinds !== state.rewinds) continue
    const taken = tuples.taken(hides, isGone)
    if (taken !== undefined) await refuseTakenLoud(state, view, taken)
  }
}

/** Older rows that go when it is published. */
async function olderRows(state: TableState, structure: Structure, { keys, hidden, between }: Candidate): Promise<HideSet> {
  const layout = state.keyLayout
  if (layout === undefined) return hidden
  const hides = new HideSet()
  for (const run of keys) {
    for (const { fragment, rows } of await findKeys(structure, NOW, run, layout, between)) for (const row of rows) hides.add({ fragment, row })
  }
  return hides
}

/** The rows of a merge, one table. */
export interface MergedRows {
  readonly state: TableState
  readonly view: TableView
  /** Of the batches. */
  readonly schema: TableSchema
  /** Every row that goes over, fragments that are shared included: at least the columns of its constraints, at their places in the schema. */
  readonly batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>
  /** As Candidate. */
  readonly keys: readonly RowKeys[]
  readonly hidden: HideSet
  readonly op: string
  /** Unknown to whoever chooses values. */
  readonly seed: number
  readonly between: () => Promise<void> | undefined
}

/**
 * Hold the rows that a merge brings against each other and against what stays in the target.
 *
 * @returns what it looked at: LoadTuples.hashes() belongs into the `.keys` file; undefined: the table has no unique constraint
 * @throws DuplicateKeyError
 */
export async function refuseMerged(o: MergedRows): Promise<LoadTuples | undefined> {
  const tuples = LoadTuples.of(o.state, o.schema, o.seed)
  if (tuples === undefined) return undefined
  let base = 0
  for await (const batch of o.batches) {
    tuples.add(batch, base)
    base += batch.length
    await o.between()
  }
  await refuseCandidate(o.state, o.view, { ...o, tuples, isGone: () => false, replaces: false })
  return tuples
}
