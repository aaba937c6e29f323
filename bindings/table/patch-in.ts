// table/patch-in.ts: patches (a key and the columns that change) checked through the code's view before anything is read or written.
//
// They come out as values that a view of every stored column takes, so that a patch and the stored row it lies over speak of the same types.
import { cellsToVec } from './cell-vecs.ts'
import { CellFault, quote } from './cells.ts'
import { didYouMean } from './names.ts'
import { showValue } from './physical.ts'
import { errorOf, type Fault, rowPlan } from './row-plan.ts'
import { type CellReader, cellReaderOf } from './rows-out.ts'
import type { TableView, ViewColumn } from './view.ts'

type Patch = Record<string, unknown>

const WRONG_ROWS_MAX = 100

/**
 * What each patch names, undefined left out.
 *
 * @param whole a view of every stored column without choices of the reader
 * @throws SchemaMismatchError, NullKeyError: naming the first wrong patch; `details.total` counts up to 100
 */
export function checkedPatches(view: TableView, whole: TableView, patches: readonly object[]): Patch[] {
  const checked: Patch[] = []
  const readers = new Map<ViewColumn, CellReader>()
  let first: Fault | undefined
  let total = 0
  for (let row = 0; row < patches.length && total < WRONG_ROWS_MAX; row++) {
    let column: string | undefined
    try {
      const patch = patches[row] as Patch
      if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) throw new CellFault(row, '', `expected a row, got ${showValue(patch)}`)
      const values: Patch = {}
      for (const name of Object.keys(patch)) {
        column = undefined
        const target = view.byName.get(name)
        if (target === undefined) throw new CellFault(row, '', `no column ${quote(name)}${didYouMean(name, view.byName.keys())}`)
        if (patch[name] === undefined) continue
        column = name
        const vec = cellsToVec(rowPlan(view).cells[target.index]!, [patch[name]], 1)
        let read = readers.get(target)
        if (read === undefined) readers.set(target, (read = cellReaderOf(whole.columns[target.index]!)))
        values[name] = read(vec, 0)
      }
      checked.push(values)
    } catch (fault) {
      if (!(fault instanceof CellFault)) throw fault
      first ??= { fault: new CellFault(row, fault.path, fault.message, fault.nullKey), column }
      total++
    }
  }
  if (first !== undefined) throw errorOf(view, first, 0, total)
  return checked
}
