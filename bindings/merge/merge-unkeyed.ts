// merge/merge-unkeyed.ts: the three-way merge of a table without a key (recovery.md section 13): what the source appended is appended, what it deleted goes;
// rows deleted on both sides are a conflict of the table.
//
// Rows have no names here. A row is the same row by its identity (diff-rows.ts); one that a flush or a compaction has moved is found again by its bytes, of
// equal rows any one, which is the same table.
// Invariant: a row that was only moved counts neither as appended nor as deleted.

import { keyText, type Picked, readRows, type RowSelection, type RowShape, rowsOnlyIn, sameFragments, type TableAt } from '../engine/index.ts'
import { bitmapNone, bitmapToIndices, encodeInline, popcount } from '../kernels/index.ts'
import { ConflictError } from '../errors.ts'
import type { Place } from '../table/index.ts'
import type { TableSides } from './merge-rows.ts'

export interface MergedUnkeyed {
  readonly taken: RowSelection
  /** Rows of the target that go. */
  readonly hidden: readonly Place[]
}

/** 'conflict': both sides deleted rows. */
export async function mergeUnkeyed({ base, theirs, ours, shape }: TableSides, between: () => Promise<void> | undefined): Promise<MergedUnkeyed | 'conflict'> {
  const source = await settled(base, theirs, shape, between)
  if (source.gone.rows === 0) return { taken: source.come, hidden: [] }
  const target = await settled(base, ours, shape, between)
  if (target.gone.rows > 0) return 'conflict'
  return { taken: source.come, hidden: await placesIn(base!, ours!, source.gone, target.moved, shape, between) }
}

interface Settled {
  /** Rows that the base has not. */
  readonly come: RowSelection
  /** Rows of the base that are there no more. */
  readonly gone: RowSelection
  /** Rows of the base that are there under another identity, as they are there. */
  readonly moved: RowSelection
}

/** What one side did to the rows of the base. */
async function settled(base: TableAt | undefined, side: TableAt | undefined, shape: RowShape, between: () => Promise<void> | undefined): Promise<Settled> {
  const come = side === undefined ? NONE : rowsOnlyIn(side, base)
  const left = base === undefined ? NONE : rowsOnlyIn(base, side)
  if (left.rows === 0 || come.rows === 0) return { come, gone: left, moved: NONE }
  const open = new Map<string, number>()
  for await (const { text } of rowTexts(left, shape, between)) open.set(text, (open.get(text) ?? 0) + 1)
  const [fresh, moved, gone] = [new Bits(), new Bits(), new Bits()]
  for await (const { text, picked, row } of rowTexts(come, shape, between)) {
    const count = open.get(text) ?? 0
    if (count > 0) open.set(text, count - 1)
    ;(count > 0 ? moved : fresh).set(picked, row)
  }
  // Of equal rows any one stands for those that are left.
  for await (const { text, picked, row } of rowTexts(left, shape, between)) {
    const count = open.get(text)!
    if (count === 0) continue
    open.set(text, count - 1)
    gone.set(picked, row)
  }
  return { come: fresh.selection(), gone: gone.selection(), moved: moved.selection() }
}

/** Where the rows are in the target, which has them all. */
async function placesIn(
  base: TableAt,
  ours: TableAt,
  gone: RowSelection,
  moved: RowSelection,
  shape: RowShape,
  between: () => Promise<void> | undefined,
): Promise<Place[]> {
  const places: Place[] = []
  const there = sameFragments(base.structure, ours.structure)
  const { layer } = ours.structure
  const open = new Map<string, number>()
  for await (const { text, picked, row } of rowTexts(gone, shape, between)) {
    const fragment = picked.fragment === undefined ? undefined : there.get(picked.fragment)
    const number = picked.start + row
    if (fragment !== undefined && !fragment.hides.isHidden(number, ours.lsn)) places.push({ fragment, row: number })
    else if (picked.chunk !== undefined && layer.has(number) && layer.isLive(number) && layer.lsnOf(number) === picked.chunk.insertLsn[row])
      places.push({ fragment: undefined, row: number })
    else open.set(text, (open.get(text) ?? 0) + 1)
  }
  if (open.size === 0) return places
  for await (const { text, picked, row } of rowTexts(moved, shape, between)) {
    const count = open.get(text) ?? 0
    if (count === 0) continue
    if (count === 1) open.delete(text)
    else open.set(text, count - 1)
    places.push({ fragment: picked.fragment, row: picked.start + row })
  }
  if (open.size > 0) throw changedMeanwhile(ours)
  return places
}

interface RowText {
  readonly text: string
  readonly picked: Picked
  /** In its batch. */
  readonly row: number
}

/** Each row with its bytes: equal texts are equal rows. */
async function* rowTexts(selection: RowSelection, shape: RowShape, between: () => Promise<void> | undefined): AsyncGenerator<RowText, undefined> {
  for await (const { length, columns, picked, bits } of readRows(selection, shape, WHOLE, between)) {
    const places = bitmapToIndices(bits, picked.source.rows)
    for (let row = 0; row < length; row++) {
      yield { text: keyText(encodeInline(columns, row, row + 1)), picked, row: places[row]! }
    }
  }
}

/** Rows picked one by one. */
class Bits {
  readonly #bits = new Map<Picked, Uint8Array>()

  set(picked: Picked, row: number): void {
    let bits = this.#bits.get(picked)
    if (bits === undefined) this.#bits.set(picked, (bits = bitmapNone(picked.source.rows)))
    bits[row >> 3]! |= 1 << (row & 7)
  }

  selection(): RowSelection {
    const picks = [...this.#bits].map(([picked, bits]) => ({ ...picked, bits, rows: popcount(bits, picked.source.rows) }))
    return { picks, rows: picks.reduce((sum, each) => sum + each.rows, 0) }
  }
}

const NONE: RowSelection = { picks: [], rows: 0 }
const WHOLE = { part: 0, parts: 1 } as const

function changedMeanwhile({ state, lsn }: TableAt): ConflictError {
  return new ConflictError(`${state.name}: its rows were deleted while a merge looked for them`, {
    details: { table: state.name, keys: [], total: 0, lsn: BigInt(lsn) },
    hint: 'Merge again.',
  })
}
