// store/describe.ts: a state in numbers and names: what tables() and stats() say.

import type { StateView } from '../engine/index.ts'
import { declaredIndexes, refBytes } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { coverageOf, describeType, type Stats, storedDefault, type TableInfo } from '../table/index.ts'

export function tableInfos(state: StateView): TableInfo[] {
  return [...state.catalog.tables.values()].map((table) => {
    const schema = table.schemas.at(-1)!
    const nameOf = (id: number): string => schema.columns.find((column) => column.id === id)!.name
    return {
      name: table.name,
      rows: table.rows,
      key: schema.key.map(nameOf),
      ...(schema.index.length === 0 ? {} : { index: declaredIndexes(schema).map((columns) => columns.map(nameOf)) }),
      columns: schema.columns.map((column) => {
        const value = storedDefault(column)
        return { name: column.name, type: describeType(column.type), nullable: column.nullable, ...(value === undefined ? {} : { default: value }) }
      }),
      since: BigInt(table.createdLsn) as Lsn,
    }
  })
}

/** `writeBytes`: of rows not yet flushed, all tables together. */
export function tableStats(state: StateView, head: number): { tables: Stats['tables']; writeBytes: number } {
  const tables: Stats['tables'] = {}
  let writeBytes = 0
  for (const table of state.tables.values()) {
    if (!table.isAt(head)) continue
    const { layer, fragments } = table.at(head)
    let stored = 0
    let hidden = 0
    let bytes = 0
    for (const fragment of fragments) {
      stored += fragment.ref.rows
      hidden += fragment.hides.countAt(head)
      bytes += refBytes(fragment.ref)
    }
    writeBytes += layer.byteLength
    const { rows } = state.catalog.table(table.id)!
    tables[table.name] = {
      rows,
      memoryRows: rows - (stored - hidden),
      fragments: fragments.length,
      bytes,
      deletedShare: stored === 0 ? 0 : hidden / stored,
      coverage: coverageOf(
        table.schema,
        rows,
        fragments.map(({ ref, hides }) => ({ ref, liveRows: ref.rows - hides.countAt(head) })),
      ),
    }
  }
  return { tables, writeBytes }
}
