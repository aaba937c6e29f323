// store/describe.ts: a state in numbers and names: what tables() and stats() say.

import type { StoreState } from '../engine/index.ts'
import { refBytes } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { describeType, type Stats, storedDefault, type TableInfo } from '../table/index.ts'

export function tableInfos(state: StoreState): TableInfo[] {
  return [...state.catalog.tables.values()].map((table) => {
    const schema = table.schemas.at(-1)!
    return {
      name: table.name,
      rows: table.rows,
      key: schema.key.map((id) => schema.columns.find((column) => column.id === id)!.name),
      columns: schema.columns.map((column) => {
        const value = storedDefault(column)
        return { name: column.name, type: describeType(column.type), nullable: column.nullable, ...(value === undefined ? {} : { default: value }) }
      }),
      since: BigInt(table.createdLsn) as Lsn,
    }
  })
}

/** `writeBytes`: of rows not yet flushed, all tables together. */
export function tableStats(state: StoreState, head: number): { tables: Stats['tables']; writeBytes: number } {
  const tables: Stats['tables'] = {}
  let writeBytes = 0
  for (const table of state.tables.values()) {
    if (!table.isAt(head)) continue
    const { layer, fragments } = table.at(head)
    let stored = 0
    let hidden = 0
    let bytes = 0
    let indexed = 0
    for (const fragment of fragments) {
      const gone = fragment.hides.countAt(head)
      stored += fragment.ref.rows
      hidden += gone
      bytes += refBytes(fragment.ref)
      if (fragment.ref.index !== undefined) indexed += fragment.ref.rows - gone
    }
    writeBytes += layer.byteLength
    const { rows } = state.catalog.table(table.id)!
    const memoryRows = rows - (stored - hidden)
    const covered = indexed + memoryRows
    const key = table.schema.key.map((id) => table.schema.columns.find((column) => column.id === id)!.name).join(',')
    tables[table.name] = {
      rows,
      memoryRows,
      fragments: fragments.length,
      bytes,
      deletedShare: stored === 0 ? 0 : hidden / stored,
      coverage: key === '' ? {} : { [key]: { rows: covered, share: rows === 0 ? 1 : covered / rows } },
    }
  }
  return { tables, writeBytes }
}
