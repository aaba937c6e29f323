// engine/delete-staged.ts: a delete by predicate that hides many rows of a fragment: they travel as a deletion vector file, not row by row in the record.
//
//   INTENT -> a `.dv` per large fragment -> its final name -> one synchronous step: what matches now? queue the record -> the directory goes
//
// Invariant: a vector in the record holds exactly the rows that are hidden once the record is: those hidden before and those that match. A fragment whose
// hidden rows changed after its vector was written is told row by row instead.

import type { DeletionVectorRef, FragmentHides as HideList } from '../format/index.ts'
import { bitmapEqual, Coverage, popcount } from '../kernels/index.ts'
import { fileKey, type StagedFile } from '../staging/index.ts'
import type { CommitResult, TableState, WriteOptions } from '../table/index.ts'
import { type HideSet, NOW } from './admission.ts'
import type { Bound } from './bound.ts'
import type { AdmittedChange } from './admitted.ts'
import type { Engine } from './engine.ts'
import { FusedWrite } from './fused.ts'
import { whileAlive } from './record-files.ts'

/** Rows of one fragment from which on a vector is smaller and quicker than their numbers, the files' syncs included. */
const VECTOR_ROWS_MIN = 16_384

interface StagedVector {
  readonly file: StagedFile
  /** What the file says: bits of hidden rows. */
  readonly hidden: Uint8Array
  readonly count: number
}

export interface StagedDelete {
  readonly bound: Bound
  /** Reads fragments that were not looked at yet. */
  readonly look: () => Promise<void>
  /** What matches now, in the fragments that were looked at and in memory; undefined: there are others. */
  readonly matches: () => HideSet | undefined
  /** The same request made before, under an idempotency key. */
  readonly replay: () => Promise<CommitResult> | CommitResult | undefined
  readonly request: Uint8Array | undefined
}

/** Whether the delete is better staged. */
export function isLargeDelete(hides: HideSet): boolean {
  return hides.size >= VECTOR_ROWS_MIN && hides.parts().hides?.some(({ rows }) => rows.length >= VECTOR_ROWS_MIN) === true
}

/** Holds the table's layout lock: no flush moves its rows meanwhile. */
export function deleteStaged(engine: Engine, staged: StagedDelete, o: WriteOptions | undefined): Promise<CommitResult> {
  const { state } = staged.bound
  const lock = engine.layoutLock(state)
  return lock.run(
    async () => {
      const fused = new FusedWrite(engine, { kind: 'delete', table: state, op: 'delete', notes: o })
      let result: CommitResult
      try {
        result = await publish(engine, staged, fused, o)
      } catch (error) {
        await fused.giveUp(error)
        throw error
      }
      await fused.retire()
      return result
    },
    { signal: o?.signal },
  )
}

async function publish(engine: Engine, staged: StagedDelete, fused: FusedWrite, o: WriteOptions | undefined): Promise<CommitResult> {
  const { state } = staged.bound
  let hides = await matchesNow(staged)
  const vectors = new Map<string, StagedVector>()
  for (const hide of hides.parts().hides ?? []) {
    if (hide.rows.length < VECTOR_ROWS_MIN) continue
    o?.signal?.throwIfAborted()
    const hidden = hiddenWith(state, hide)
    const file = await (await fused.area()).put('dv', Coverage.ofBitmap(hidden, state.fragment(hide.lsn, hide.ordinal).ref.rows).encode())
    vectors.set(idOf(hide), { file, hidden, count: popcount(hidden, hidden.length * 8) })
  }
  return whileAlive(async () => {
    const gens = await fused.promote([...vectors.values()].map(({ file }) => file))
    // From the last wait in here on everything is one step with the queueing.
    hides = await matchesNow(staged)
    engine.parts.check()
    const replayed = staged.replay()
    if (replayed !== undefined) return replayed
    return engine.parts.committer.commit([changeOf(staged.bound, hides, vectors, gens)], hides.size, o, staged.request, fused.armed)
  })
}

async function matchesNow(staged: StagedDelete): Promise<HideSet> {
  for (;;) {
    const found = staged.matches()
    if (found !== undefined) return found
    await staged.look()
  }
}

function changeOf({ state, view }: Bound, hides: HideSet, vectors: ReadonlyMap<string, StagedVector>, gens: ReadonlyMap<string, number>): AdmittedChange {
  const { hideRows, hides: lists = [] } = hides.parts()
  const inline: HideList[] = []
  const refs: DeletionVectorRef[] = []
  const bitmaps = new Map<string, Uint8Array>()
  for (const hide of lists) {
    const vector = vectors.get(idOf(hide))
    if (vector === undefined || !bitmapEqual(hiddenWith(state, hide), vector.hidden, vector.hidden.length * 8)) {
      inline.push(hide)
      continue
    }
    const { file, count, hidden } = vector
    const gen = gens.get(fileKey(file)) ?? file.gen ?? 0
    refs.push({ lsn: hide.lsn, ordinal: hide.ordinal, digest: file.digest, bytes: file.bytes, ...(gen === 0 ? {} : { gen }), hidden: count })
    bitmaps.set(file.digest, hidden)
  }
  return {
    table: state,
    change: {
      tableId: state.id,
      schemaVersion: view.schema.version,
      op: 'delete',
      inserted: 0,
      updated: 0,
      deleted: hides.size,
      ...(hideRows === undefined ? {} : { hideRows }),
      ...(inline.length === 0 ? {} : { hides: inline }),
      ...(refs.length === 0 ? {} : { deletionVectors: refs }),
    },
    vectors: bitmaps,
  }
}

/** Bits of the rows that are hidden when these are too. */
function hiddenWith(table: TableState, hide: HideList): Uint8Array {
  const { ref, hides } = table.fragment(hide.lsn, hide.ordinal)
  const hidden = new Uint8Array((ref.rows + 7) >> 3)
  const before = hides.hiddenAt(NOW)
  if (before !== undefined) hidden.set(before.subarray(0, hidden.length))
  for (const row of hide.rows) hidden[row >> 3]! |= 1 << (row & 7)
  return hidden
}

function idOf({ lsn, ordinal }: { readonly lsn: number; readonly ordinal: number }): string {
  return `${lsn}.${ordinal}`
}
