// merge/merge.ts: a three-way merge of branches, and a revert, as one commit of the target (recovery.md section 13).
//
//   capture the target -> definitions -> per table: merge-rows.ts / merge-unkeyed.ts -> conflicts? -> write-merge.ts; when the target moved meanwhile, all over
//
// The source and the base stay as they were captured. A revert is the merge of an old state into what is there now, with what is there now as the base.
// Invariant: nothing is written while a conflict is open; what is written was decided against the target it is put on.

import { type Bound, bindTo, type Engine, inTurn, participantOf, ReadPoint, requestDigest, type RowShape, type TableAt } from '../engine/index.ts'
import { MAIN } from '../catalog/index.ts'
import { ConflictError } from '../errors.ts'
import { type IntentMerge, type TableSchema, valueKindOf } from '../format/index.ts'
import { FP } from '../runtime/index.ts'
import { type CommitResult, type MergeOptions, type MergeResult, Pace, tableFromSchema, type TableState, type WriteOptions } from '../table/index.ts'
import type { WriteParts } from '../write/index.ts'
import { Conflicts } from './conflicts.ts'
import { mergeRows, type TableSides } from './merge-rows.ts'
import { mergeUnkeyed } from './merge-unkeyed.ts'
import { planSchema, type SchemaPlan, type SideTable } from './plan-schema.ts'
import { MergedMeanwhile, type TableResult, writeMerged } from './write-merge.ts'

/** Times that a merge begins again because the target was written to. */
const ATTEMPTS = 8

export interface MergeRequest {
  /** Of the target. */
  readonly parts: WriteParts
  readonly source: ReadPoint
  readonly base: ReadPoint
  /** For the record, and for messages. */
  readonly merge: IntentMerge
  readonly into: string
  /** Whether the target, as it is now, has anything of its own. */
  readonly isFastForward: () => boolean
  /** Something was merged into the target since the base was found: another base may hold now. */
  readonly isMoved: () => boolean
}

/** One table as it was decided. */
interface Decided {
  readonly tableId: number
  /** Whose columns the rows have. */
  readonly schema: TableSchema
  readonly shape: RowShape
  readonly rows: Pick<TableResult, 'taken' | 'made' | 'gone' | 'hidden' | 'hashes'>
  readonly counts: { readonly inserted: number; readonly updated: number; readonly deleted: number }
}

interface Classified {
  readonly schema: SchemaPlan
  readonly tables: readonly Decided[]
}

/**
 * Merge; durable when it resolves.
 *
 * @throws MergeConflictError, SchemaConflictError, and nothing was written; ConflictError: the target was written to all the time; MergedMeanwhile: the caller
 * finds the base again; what a write throws
 */
export async function mergeInto(request: MergeRequest, o: MergeOptions): Promise<MergeResult> {
  const { parts, source, base, merge, into } = request
  const { engine } = parts
  const asked = `${merge.source}\n${into}\n${o.granularity ?? 'column'}\n${typeof o.onConflict === 'function' ? 'function' : (o.onConflict ?? 'fail')}`
  const digest = o.idempotencyKey === undefined ? undefined : requestDigest('merge', 0, new TextEncoder().encode(asked))
  return attempts(
    engine,
    async (ours, between) => {
      if (request.isMoved()) throw new MergedMeanwhile()
      const conflicts = new Conflicts(o.onConflict)
      const fastForward = request.isFastForward()
      await hit(engine, FP.merge.afterCapture)
      const byColumn = o.granularity !== 'row'
      const decided = await classify(engine, { base, theirs: source, ours }, conflicts, byColumn, between)
      await hit(engine, FP.merge.afterClassify)
      if (conflicts.open > 0 && o.dryRun !== true) throw conflicts.error(merge.source, into)
      const tables = Object.fromEntries(decided.tables.map(({ tableId, counts }) => [nameOf([ours, source], tableId), counts]))
      if (o.dryRun === true) return { fastForward, tables, conflicts: conflicts.told }
      const write = { kind: 'merge' as const, merge, since: ours.lsn, notes: o, request: digest, between, isMoved: request.isMoved }
      const result = await writeDecided(parts, decided, write, 'keys')
      return { lsn: result.lsn, fastForward, tables, conflicts: conflicts.told }
    },
    o,
  )
}

/**
 * The tables as they were at `to`, in a new commit.
 *
 * @param tables  ids; undefined: all that there are
 * @throws ConflictError: a table was written to all the time
 */
export async function revertTo(parts: WriteParts, to: ReadPoint, tables: ReadonlySet<number> | undefined, o: WriteOptions): Promise<CommitResult> {
  const { engine } = parts
  const asked = `${to.lsn}\n${tables === undefined ? '' : [...tables].toSorted((a, b) => a - b).join()}`
  const digest = o.idempotencyKey === undefined ? undefined : requestDigest('revert', 0, new TextEncoder().encode(asked))
  return attempts(
    engine,
    async (ours, between) => {
      const decided: Decided[] = []
      for (const tableId of ours.tableIds()) {
        if (tables !== undefined && !tables.has(tableId)) continue
        const now = ours.at(tableId)!
        const shape = shapeOf(now.structure.schema)
        const sides = { base: now, theirs: to.at(tableId), ours: now, shape, seed: now.state.seed }
        const rows = await decideTable(sides, boundOf(now), new Conflicts('theirs'), true, between)
        if (rows !== undefined) decided.push({ tableId, schema: now.structure.schema, shape, ...rows })
      }
      const write = { kind: 'restore' as const, merge: undefined, since: ours.lsn, notes: o, request: digest, between, isMoved: () => false }
      return writeDecided(parts, { schema: NO_SCHEMA, tables: decided }, write, 'exact')
    },
    o,
  )
}

/** Runs it on the target as it is, again as long as somebody writes what it has decided about. */
async function attempts<T>(engine: Engine, run: (ours: ReadPoint, between: () => Promise<void> | undefined) => Promise<T>, o: WriteOptions): Promise<T> {
  const { committer, tracker, state, world, check, log } = engine.parts
  const pace = new Pace({ ...o, world, check, table: '', phase: 'merge', total: undefined })
  for (let attempt = 1; ; attempt++) {
    // What is queued now is part of what is captured: the tracker knows only what comes later.
    tracker.begin()
    try {
      if (log.shared) await committer.caughtUp()
      await committer.drained()
      const done = await run(new ReadPoint(state, state.applied), () => pace.step(undefined))
      pace.finish(0)
      return done
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt >= ATTEMPTS) throw error
    } finally {
      tracker.end()
    }
    pace.check()
  }
}

interface Points {
  readonly base: ReadPoint
  readonly theirs: ReadPoint
  readonly ours: ReadPoint
}

async function classify(
  engine: Engine,
  { base, theirs, ours }: Points,
  conflicts: Conflicts,
  byColumn: boolean,
  between: () => Promise<void> | undefined,
): Promise<Classified> {
  const schema: { create: TableSchema[]; alter: TableSchema[]; drop: number[] } = { create: [], alter: [], drop: [] }
  const tables: Decided[] = []
  for (const tableId of new Set([...base.tableIds(), ...theirs.tableIds(), ...ours.tableIds()])) {
    const [b, s, t] = [base.at(tableId), theirs.at(tableId), ours.at(tableId)]
    const plan = planSchema(sideOf(b, b), sideOf(s, b), sideOf(t, b))
    schema.create.push(...plan.create)
    schema.alter.push(...plan.alter)
    schema.drop.push(...plan.drop)
    // Gone on one side and untouched on the other: no rows to speak of.
    if (s === undefined || (t === undefined && b !== undefined)) continue
    const merged = plan.alter.at(-1) ?? plan.create[0] ?? t!.structure.schema
    const shape = shapeOf(merged)
    const sides = { base: b, theirs: s, ours: t, shape, seed: engine.parts.state.context.seed }
    const rows = await decideTable(sides, boundOf(t ?? s, merged), conflicts, byColumn, between)
    if (rows !== undefined) tables.push({ tableId, schema: merged, shape, ...rows })
  }
  return { schema, tables }
}

/** undefined: nothing is to be done. */
async function decideTable(
  sides: TableSides,
  bound: Bound,
  conflicts: Conflicts,
  byColumn: boolean,
  between: () => Promise<void> | undefined,
): Promise<Pick<Decided, 'rows' | 'counts'> | undefined> {
  if (sides.shape.keyAt.length === 0) {
    let found = await mergeUnkeyed(sides, between)
    if (found === 'conflict') {
      // Taking theirs makes the table what it is there: as if the target had done nothing.
      if (conflicts.resolveTable(bound.view.schema.name) !== 'theirs') return undefined
      found = await mergeUnkeyed({ ...sides, base: sides.ours }, between)
      if (found === 'conflict') return undefined
    }
    const { taken, hidden } = found
    if (taken.rows === 0 && hidden.length === 0) return undefined
    return { rows: { taken, made: [], gone: undefined, hidden, hashes: [] }, counts: { inserted: taken.rows, updated: 0, deleted: hidden.length } }
  }
  const merged = await mergeRows(sides, { byColumn, between, resolve: (rows) => conflicts.resolve(bound, sides.shape, rows) })
  const { taken, made, gone, hashes, inserted, updated, deleted } = merged
  if (inserted + updated + deleted === 0) return undefined
  return { rows: { taken, made, gone, hidden: [], hashes }, counts: { inserted, updated, deleted } }
}

async function writeDecided(
  parts: WriteParts,
  { schema, tables }: Classified,
  o: Parameters<typeof writeMerged>[2],
  rule: 'keys' | 'exact',
): Promise<CommitResult> {
  const { engine } = parts
  const { state } = engine.parts
  if (schema.create.length + schema.alter.length + schema.drop.length > 0) await bringDefinitions(engine, schema)
  const results: TableResult[] = []
  for (const { tableId, schema: made, shape, rows } of tables) {
    const table = state.tables.get(tableId)
    if (table?.schema.version !== made.version) throw movedOn(made, state.applied)
    results.push({
      bound: boundOf({ state: table, structure: table.now, lsn: o.since }),
      shape,
      participant: participantAt(engine, table, rule, o.since),
      ...rows,
    })
  }
  return writeMerged(parts, results, o)
}

function participantAt(engine: Engine, table: TableState, rule: 'keys' | 'exact', since: number): TableResult['participant'] {
  const participant = participantOf(engine, table, table.keyLayout === undefined ? 'append' : 'upsert')
  const expected = Math.min(Number(participant.expectedVersion), since)
  return { ...participant, expectedVersion: String(expected), rule: rule === 'exact' ? 'exact' : participant.rule }
}

/**
 * The target gets the definitions that the source has, in a record before that of the rows: without them it is as it was, with columns and tables that are empty.
 *
 * @throws ConflictError: they have changed since they were looked at
 */
async function bringDefinitions(engine: Engine, { create, alter, drop }: SchemaPlan): Promise<void> {
  const { committer, state } = engine.parts
  using _held = await engine.gates.take({ schema: 'exclusive' })
  for (const schema of [...create, ...alter].filter((each, i, all) => all.findIndex(({ tableId }) => tableId === each.tableId) === i)) {
    const there = state.tables.get(schema.tableId)
    if ((there?.schema.version ?? 0) + 1 !== schema.version) throw movedOn(schema, state.applied)
  }
  await inTurn(engine, undefined, () => committer.schema({ create, alter, drop, ...(state.branch === MAIN ? {} : { branch: state.branch }) }))
}

function movedOn({ name, version }: TableSchema, lsn: number): ConflictError {
  return new ConflictError(`${name}: its definition has changed while version ${version} of it was merged`, {
    details: { table: name, keys: [], total: 0, lsn: BigInt(lsn) },
  })
}

const NO_SCHEMA: SchemaPlan = { create: [], alter: [], drop: [] }

function sideOf(side: TableAt | undefined, base: TableAt | undefined): SideTable | undefined {
  if (side === undefined) return undefined
  const { schema } = side.structure
  return { schemas: side.state.versions.filter(({ version }) => version <= schema.version), isChanged: base === undefined || isChanged(side, base) }
}

/** A record since then wrote rows of it, or its definition. */
function isChanged(side: TableAt, base: TableAt): boolean {
  return side.state.lastLsn > base.lsn
}

function shapeOf(schema: TableSchema): RowShape {
  const keyAt = schema.key.map((id) => schema.columns.findIndex((column) => column.id === id))
  return { columns: schema.columns, keyAt, keyKinds: keyAt.map((at) => valueKindOf(schema.columns[at]!.type)!) }
}

function boundOf({ state, structure }: TableAt, schema: TableSchema = structure.schema): Bound {
  return bindTo(tableFromSchema(schema), state, schema)
}

function nameOf(points: readonly ReadPoint[], tableId: number): string {
  for (const point of points) {
    const at = point.at(tableId)
    if (at !== undefined) return at.structure.schema.name
  }
  return `table ${tableId}`
}

async function hit(engine: Engine, point: (typeof FP.merge)[keyof typeof FP.merge]): Promise<void> {
  const { failpoints } = engine.parts.world
  if (failpoints.active) await failpoints.hit(point)
}
