// store/audit.ts: the log as people ask about it: what happened, and whether a write is in it.

import {
  decodeRecord,
  KIND_AUDIT,
  KIND_BRANCH,
  KIND_COMMIT,
  KIND_FLUSH,
  KIND_MODE,
  KIND_OPTIMIZE,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SCHEMA,
  KIND_SEAL,
  KIND_VACUUM,
  type StateRecord,
} from '../engine/index.ts'
import type { Outcomes } from '../catalog/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { changedTables, toHex, type RecoveryFacts } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { ulidText } from '../runtime/index.ts'
import type { AuditRow, RepairKind, WriteId } from '../table/index.ts'

export interface AuditSource {
  readonly log: CommitLog
  readonly names: (tableId: number) => string
  /** What the fold knows of writes with an Intent. */
  readonly outcomes: Pick<Outcomes, 'of'>
  /** Time of the newest record that has one; 0: none has. */
  readonly timeMs: number
}

/** What AuditRow.kind may be: what records are, what recovery decided, what repair did. */
const RECOVERED_KINDS = ['rolledForward', 'rolledBack', 'orphanDiscarded'] as const satisfies readonly RecoveryFacts['kind'][]
const RECORD_KINDS = ['epoch', 'schema', 'branch', 'commit', 'flush', 'optimize', 'seal', 'publish', 'rollback', 'vacuum', 'mode', 'promotion'] as const
const REPAIR_KINDS: Readonly<Record<RepairKind, true>> = {
  'adopt-log': true,
  'drop-node': true,
  'drop-clean': true,
  'seal-log': true,
  'cut-log': true,
  'drop-checkpoint': true,
  'rebuild-index': true,
  'quarantine-orphan': true,
  'quarantine-intent': true,
}
const KINDS: readonly string[] = [...RECORD_KINDS, ...RECOVERED_KINDS, ...Object.keys(REPAIR_KINDS)]

/** @throws InvalidConfigError */
export function checkKinds(kinds: unknown): void {
  if (kinds === undefined) return
  const fail = (what: string, value: unknown): never => {
    throw new InvalidConfigError(`${what}; known are ${KINDS.join(', ')}`, { details: { key: 'kinds', value } })
  }
  if (!Array.isArray(kinds)) return fail(`kinds takes a list, not ${JSON.stringify(kinds) ?? String(kinds)}`, kinds)
  for (const kind of kinds as unknown[]) if (typeof kind !== 'string' || !KINDS.includes(kind)) fail(`no kind ${JSON.stringify(kind) ?? String(kind)}`, kind)
}

/** Every record after `from`, up to `end`, that had an effect: a decision that came after the outcome of its write is in the log and did nothing. */
export async function* auditRows({ log, names, outcomes, timeMs }: AuditSource, from: Lsn, end: Lsn): AsyncGenerator<AuditRow, undefined> {
  // Records without a time happened at that of the record before; the first ones at that of the next.
  let time: Date | undefined
  const first: AuditRow[] = []
  // Tables are told by the names that they had: of those that are gone nobody else knows one.
  const seen = new Map<number, string>()
  const nameOf = (id: number): string => seen.get(id) ?? names(id)
  for await (const { lsn, record } of records(log, from, end)) {
    const decided = decidedBy(record)
    const outcome = decided === undefined ? undefined : outcomes.of(toHex(decided))
    if (outcome !== undefined && outcome.lsn !== lsn) continue
    const row = rowOf(lsn, record, time ?? new Date(timeMs), nameOf)
    if (record.kind === KIND_SCHEMA) for (const { tableId, name } of [...record.schema.create, ...(record.schema.alter ?? [])]) seen.set(tableId, name)
    if (time === undefined && row.kind === 'epoch') {
      first.push(row)
      continue
    }
    time = row.time
    for (const each of first.splice(0)) yield { ...each, time }
    yield row
  }
  yield* first
}

/** The write that a record decides about; a plain commit has no Intent. */
function decidedBy(record: StateRecord): Uint8Array | undefined {
  if (record.kind === KIND_PUBLISH) return record.publish.commit.writeId
  if (record.kind === KIND_ROLLBACK) return record.rollback.writeId
  if (record.kind === KIND_FLUSH) return record.flush.writeId
  if (record.kind === KIND_OPTIMIZE) return record.optimize.writeId
  return record.kind === KIND_COMMIT && record.commit.isArmed === true ? record.commit.writeId : undefined
}

async function* records(log: CommitLog, from: Lsn, end: Lsn): AsyncGenerator<{ lsn: number; record: StateRecord }, undefined> {
  for await (const batch of log.read(from, { end })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      yield { lsn, record: decodeRecord(batch.bytes, offset, lsn) }
      lsn++
    }
  }
}

function rowOf(lsn: number, record: StateRecord, before: Date, names: (tableId: number) => string): AuditRow {
  const at = { lsn: BigInt(lsn) as Lsn, by: 'writer' }
  if (record.kind === KIND_COMMIT) {
    const { timeMs, writeId, author, changes } = record.commit
    const tables = [...new Set(changes.map((change) => names(change.tableId)))]
    return { ...at, time: new Date(timeMs), kind: 'commit', writeId: ulidText(writeId) as WriteId, by: author ?? 'writer', tables }
  }
  if (record.kind === KIND_SCHEMA) {
    const { timeMs, writeId } = record.schema
    return { ...at, time: new Date(timeMs), kind: 'schema', writeId: ulidText(writeId) as WriteId, tables: changedTables(record.schema, names) }
  }
  if (record.kind === KIND_FLUSH) {
    const { timeMs, tableId } = record.flush
    return { ...at, time: new Date(timeMs), kind: 'flush', by: 'upkeep', tables: [names(tableId)] }
  }
  if (record.kind === KIND_OPTIMIZE) {
    const { timeMs, writeId, parts, recovery } = record.optimize
    const tables = [...new Set(parts.map(({ tableId }) => names(tableId)))]
    return recovered({ ...at, time: new Date(timeMs), kind: 'optimize', writeId: ulidText(writeId) as WriteId, by: 'upkeep', tables }, recovery)
  }
  if (record.kind === KIND_PUBLISH) {
    const { recovery, commit } = record.publish
    const tables = [...new Set(commit.changes.map((change) => names(change.tableId)))]
    const row = { ...at, time: new Date(commit.timeMs), kind: 'publish', writeId: ulidText(commit.writeId) as WriteId, by: commit.author ?? 'writer', tables }
    return recovered(row, recovery)
  }
  if (record.kind === KIND_SEAL) {
    const { timeMs, writeId, intent } = record.seal
    const tables = intent.participants.map((participant) => participant.name)
    return { ...at, time: new Date(timeMs), kind: 'seal', writeId: ulidText(writeId) as WriteId, by: intent.actor ?? 'writer', tables }
  }
  if (record.kind === KIND_ROLLBACK) {
    const { timeMs, writeId, reason, recovery } = record.rollback
    return recovered({ ...at, time: new Date(timeMs), kind: 'rollback', writeId: ulidText(writeId) as WriteId, reason, tables: [] }, recovery)
  }
  if (record.kind === KIND_BRANCH) {
    const { timeMs, id, change } = record.branch
    return { ...at, time: new Date(timeMs), kind: 'branch', writeId: ulidText(id) as WriteId, reason: `${change.op} ${change.name}`, tables: [] }
  }
  if (record.kind === KIND_VACUUM) {
    const { timeMs, names } = record.vacuum
    return { ...at, time: new Date(timeMs), kind: 'vacuum', by: 'upkeep', reason: `${names.length} files`, tables: [] }
  }
  if (record.kind === KIND_AUDIT) {
    const { timeMs, facts } = record.audit
    return {
      ...at,
      time: new Date(timeMs),
      kind: facts.kind,
      by: facts.by,
      ...(facts.reason === undefined ? {} : { reason: facts.reason }),
      tables: [...facts.tables],
    }
  }
  if (record.kind === KIND_MODE) {
    const { timeMs, id, mode, before: old, forced } = record.mode
    const reason = `${old} -> ${mode}${forced ? ', forced' : ''}`
    return { ...at, time: new Date(timeMs), kind: 'mode', writeId: ulidText(id) as WriteId, reason, tables: [] }
  }
  return { ...at, time: before, kind: 'epoch', tables: [] }
}

/** What recovery decided: one row a write, since the facts ride inside the record that decides. */
function recovered(row: AuditRow, facts: RecoveryFacts | undefined): AuditRow {
  if (facts === undefined) return row
  const { by, kind, participants, registrations } = facts
  return {
    ...row,
    kind,
    by,
    ...(facts.for === undefined ? {} : { for: facts.for }),
    tables: [...new Set([...participants.map(({ table }) => table), ...registrations])],
    outcomes: [...participants],
  }
}
