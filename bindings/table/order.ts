// table/order.ts: the rows of a scan in the order asked for: the first `limit` rows kept on the way (top-rows.ts), or everything sorted.
//
// Invariant: stable in storage order; NaN after numbers and nulls last in both directions (kernels/sort); what is held in memory stays below
// `sortBytes`, else ResourceLimitError.

import { concat, sortIndices, type Vec } from '../kernels/index.ts'
import type { ColumnBatch } from './batch.ts'
import { Held, inOrder, type OrderOptions, placeOf, sortKeys, unite } from './order-parts.ts'
import { eachSelected, SelectCursor } from './scan-select.ts'
import { topRows } from './top-rows.ts'

/** The ordered rows in batches of at most batchRows. Nothing is handed out before the last source row was seen. */
export async function orderedBatches(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  if (o.plan.limit === 0) return []
  return o.plan.limit < o.plan.storedRows ? topRows(o) : sortedRows(o)
}

async function sortedRows(o: OrderOptions): Promise<Iterable<ColumnBatch>> {
  const { plan, pace } = o
  const columns = unite(o.columns, plan.order)
  const cursor = new SelectCursor({ ...plan, columns, limit: Infinity, signal: o.signal, check: () => pace.check() })
  const held = new Held(o)
  const batches: (readonly Vec[])[] = []
  try {
    await eachSelected(cursor, pace, (selected) => {
      held.add(selected.columns)
      batches.push(selected.columns)
    })
  } finally {
    cursor.close()
  }
  if (batches.length === 0) return []
  const whole: Vec[] = []
  for (const i of columns.keys()) {
    whole.push(concat(batches.map((batch) => batch[i]!)))
    const turn = pace.step(plan.storedRows)
    if (turn !== undefined) await turn
  }
  const keys = plan.order.map(({ column }) => whole[placeOf(columns, column.column)]!)
  const indices = sortIndices(sortKeys(keys, plan.order), whole[0]!.length)
  return inOrder(o, whole.slice(0, o.columns.length), indices.subarray(0, Math.min(plan.limit, indices.length)))
}
