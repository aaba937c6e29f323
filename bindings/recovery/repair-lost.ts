// recovery/repair-lost.ts: what a cut of the log takes away, commit by commit, as far as it can still be read.
import { decodeRecord, KIND_BRANCH, KIND_COMMIT, KIND_PUBLISH, KIND_ROLLBACK, KIND_SCHEMA, KIND_SEAL, type StateRecord } from '../engine/index.ts'
import { VarveError } from '../errors.ts'
import { changedTables } from '../format/index.ts'
import { type CutPoint, type Lsn, recordsBehind } from '../log/index.ts'
import { ulidText } from '../runtime/index.ts'
import type { LostCommit, LostHistory } from '../table/index.ts'
import type { LogFindings, LogParts } from './repair-log.ts'

/** What the cut takes away. Names of tables are those of the state before, and of tables made behind the cut. */
export async function lostBehind({ root }: LogParts, { survey, storeId, state, stated }: LogFindings, cut: CutPoint): Promise<LostHistory> {
  const names = new Map([...(state?.catalog.tables.values() ?? [])].map(({ id, name }) => [id, name]))
  const commits: LostCommit[] = []
  let through = Math.max(stated, cut.lsn)
  let readable = 0
  for await (const { lsn, bytes } of recordsBehind(root, survey, cut.lsn, storeId)) {
    through = Math.max(through, lsn)
    readable++
    try {
      const commit = lostCommit(lsn, decodeRecord(bytes, 0, lsn), names)
      if (commit !== undefined) commits.push(commit)
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
      commits.push({ lsn: BigInt(lsn) as Lsn, kind: 'unreadable', tables: [] })
    }
  }
  return { after: BigInt(cut.lsn) as Lsn, through: BigInt(through) as Lsn, commits, unreadable: Math.max(0, through - cut.lsn - readable) }
}

/** undefined: a record that brings nothing (epoch, flush, audit). */
function lostCommit(lsn: number, record: StateRecord, names: Map<number, string>): LostCommit | undefined {
  const at = { lsn: BigInt(lsn) as Lsn }
  switch (record.kind) {
    case KIND_SCHEMA: {
      const tables = changedTables(record.schema, (id) => names.get(id)).map((table) => ({ table, inserted: 0, updated: 0, deleted: 0 }))
      for (const { tableId, name } of [...record.schema.create, ...(record.schema.alter ?? [])]) names.set(tableId, name)
      return { ...at, kind: 'schema', time: new Date(record.schema.timeMs), writeId: ulidText(record.schema.writeId), tables }
    }
    case KIND_COMMIT:
    case KIND_PUBLISH: {
      const { timeMs, writeId, author, message, changes } = record.kind === KIND_COMMIT ? record.commit : record.publish.commit
      const tables = changes.map(({ tableId, inserted, updated, deleted }) => ({ table: names.get(tableId) ?? `#${tableId}`, inserted, updated, deleted }))
      const notes = { ...(author === undefined ? {} : { author }), ...(message === undefined ? {} : { message }) }
      return { ...at, kind: 'commit', time: new Date(timeMs), writeId: ulidText(writeId), ...notes, tables }
    }
    case KIND_BRANCH: {
      const { timeMs, id, change } = record.branch
      return { ...at, kind: 'branch', time: new Date(timeMs), writeId: ulidText(id), message: `${change.op} ${change.name}`, tables: [] }
    }
    case KIND_SEAL:
      return { ...at, kind: 'seal', time: new Date(record.seal.timeMs), writeId: ulidText(record.seal.writeId), tables: [] }
    case KIND_ROLLBACK:
      return { ...at, kind: 'rollback', time: new Date(record.rollback.timeMs), writeId: ulidText(record.rollback.writeId), tables: [] }
    default:
      return undefined
  }
}
