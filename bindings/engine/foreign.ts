// engine/foreign.ts: records that other writers of a shared log appended, applied to the state of a live writer.
//
// Invariant: afterwards state and log agree up to the LSN given, and the tracker knows each key that these records wrote: what first-committer-wins needs to
// tell a lost race from a lost slot.

import { assert } from '../assert.ts'
import type { TableChange } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { KeyRun, KeyLayout, type Place, type RowKeys, type TableState } from '../table/index.ts'
import type { ChangeTracker } from './admitted.ts'
import { keyAt } from './key-at.ts'
import { KIND_COMMIT, type StateRecord, type StoreState } from './state.ts'

/** Read and apply what is in the log behind the state. Nothing of this writer's own is queued. */
export async function applyForeign(state: StoreState, log: CommitLog, tracker: ChangeTracker, upto: Lsn): Promise<void> {
  assert(state.observer === undefined, 'one reader at a time')
  // Whoever begins to track while records are applied is told of those that are still to come.
  state.observer = Object.assign(observer(state, tracker), { isIdle: () => !tracker.tracking })
  try {
    while (state.applied < Number(upto)) {
      for await (const batch of log.read(BigInt(state.applied) as Lsn, { end: upto })) await state.applyBatch(batch)
    }
  } finally {
    state.observer = undefined
  }
}

/** What must be noted before a change is applied. */
interface Before {
  readonly firstRow: number
  readonly touched: readonly string[] | undefined
}

function observer(state: StoreState, tracker: ChangeTracker): (lsn: number, record: StateRecord, applied: boolean) => Promise<void> {
  let before = new Map<TableChange, Before>()
  return async (lsn: number, record: StateRecord, applied: boolean) => {
    if (record.kind !== KIND_COMMIT) return
    // Of a branch that is not in memory nobody reads or writes.
    const tables = state.view(record.commit.branch)?.tables
    if (tables === undefined) return
    if (!applied) {
      before = new Map()
      const nextRow = new Map<number, number>()
      for (const change of record.commit.changes) {
        const table = tables.get(change.tableId)
        if (table === undefined) continue
        const firstRow = nextRow.get(table.id) ?? table.now.layer.next
        nextRow.set(table.id, firstRow + (change.inline?.rows ?? 0))
        before.set(change, { firstRow, touched: await keysRemoved(table, change) })
      }
      return
    }
    for (const change of record.commit.changes) {
      const table = tables.get(change.tableId)
      const noted = before.get(change)
      if (table === undefined) continue
      // Tracking began in the middle of it: no key is told, and it counts for every key it may have written.
      if (noted === undefined) tracker.changed(lsn, { table, change })
      else tracker.changed(lsn, { table, change, keys: keysBrought(table, change, noted.firstRow), touched: noted.touched })
    }
  }
}

/** Keys that a delete takes out; undefined: it is told by what it brings, or only as a change of the whole table. */
async function keysRemoved(table: TableState, change: TableChange): Promise<readonly string[] | undefined> {
  if (change.op !== 'delete' || table.keyLayout === undefined || change.deletionVectors !== undefined) return undefined
  const places: Place[] = []
  for (let i = 0; i < (change.hideRows?.length ?? 0); i++) places.push({ fragment: undefined, row: change.hideRows![i]! })
  for (const hide of change.hides ?? []) {
    const fragment = table.fragment(hide.lsn, hide.ordinal)
    for (const row of hide.rows) places.push({ fragment, row })
  }
  const keys: string[] = []
  for (const place of places) keys.push(await keyAt(table, table.keyLayout, place))
  return keys
}

/** Canonical keys of the inline rows of a change that was just applied. */
function keysBrought(table: TableState, change: TableChange, firstRow: number): RowKeys | undefined {
  const rows = change.inline?.rows ?? 0
  if (rows === 0 || table.keyLayout === undefined || change.fragments !== undefined) return undefined
  const keys = new KeyRun(table.keyLayout.stride)
  for (const chunk of table.now.layer.chunks) {
    const from = Math.max(firstRow, chunk.base)
    const end = Math.min(firstRow + rows, chunk.base + chunk.rows)
    if (from >= end) continue
    const columns = chunk.columns.map((column) => column.view(chunk.rows))
    KeyLayout.of(chunk.schema)!.push(columns, from - chunk.base, end - chunk.base, keys)
  }
  assert(keys.rows === rows, 'a change that was applied has its rows in the memory layer', { rows: keys.rows, brought: rows })
  return keys
}
