// engine/schema-apply.ts: store.apply: plan, look at the rows that a step depends on, one schema record (recovery.md section 14).
//
// The schema gate is held throughout, so that no load, flush or publish of this process is under way with definitions that change; writes of a few rows take no
// gate, so what they brought meanwhile is looked at in the very step that queues the record.
// Invariant: nothing is written by a call that is refused; a plan without steps writes no record.

import { InvalidConfigError, UnsupportedMigrationError } from '../errors.ts'
import { bitmapAnd, bitmapNot, popcount, type Vec } from '../kernels/index.ts'
import type { Lsn } from '../log/index.ts'
import { FP } from '../runtime/index.ts'
import {
  type AnyTable,
  fragmentStats,
  KeyLayout,
  type LiveFragment,
  type Long,
  Pace,
  resolveView,
  type SchemaPlan,
  tableFromSchema,
  type TableState,
} from '../table/index.ts'
import { NOW } from './admission.ts'
import type { Engine } from './engine.ts'
import { inTurn } from './in-turn.ts'
import { nextTableId } from './state.ts'
import { describeStep, type NotNullCheck, planSchema, type SchemaChange, type SchemaCheck, type SchemaStep, type UniqueCheck } from './plan-schema.ts'
import { UniqueAudit } from './unique-audit.ts'

export interface ApplyOptions extends Long {
  /** Names of tables to drop. */
  drop?: readonly string[]
  allowDataLoss?: boolean
  /** Say what would be done, or refuse what would be refused. */
  dryRun?: boolean
}

const OPTIONS: Readonly<Record<keyof ApplyOptions, (value: unknown) => boolean>> = {
  drop: (value) => Array.isArray(value) && value.every((name) => typeof name === 'string'),
  allowDataLoss: (value) => typeof value === 'boolean',
  dryRun: (value) => typeof value === 'boolean',
  signal: (value) => value instanceof AbortSignal,
  onProgress: (value) => typeof value === 'function',
}

/** @throws InvalidConfigError */
export function checkApplyOptions(o: ApplyOptions): void {
  for (const [key, value] of Object.entries(o)) {
    const isGood = Object.hasOwn(OPTIONS, key) ? OPTIONS[key as keyof ApplyOptions] : undefined
    if (isGood === undefined) throw new InvalidConfigError(`apply takes no option ${key}`, { details: { key, value } })
    if (value !== undefined && !isGood(value)) throw new InvalidConfigError(`${key}: ${String(value)} cannot be`, { details: { key, value } })
  }
}

/** @throws UnsupportedMigrationError, DataLossRefusedError, SchemaConflictError, InvalidConfigError; DuplicateKeyError: rows share a tuple that is to be unique */
export async function applySchema(engine: Engine, tables: readonly AnyTable[], o: ApplyOptions): Promise<SchemaPlan> {
  using _held = await engine.gates.take({ schema: 'exclusive' }, { signal: o.signal })
  const plan = await inTurn(engine, o, () => applyNow(engine, tables, o))
  if (plan.lsn !== undefined) await afterwards(engine)
  return plan
}

/** The definitions are durable: nothing that goes wrong from here on fails the caller. */
async function afterwards({ parts: { world } }: Engine): Promise<void> {
  const { failpoints, logger } = world
  if (!failpoints.active) return
  for (const point of [FP.schema.afterDefinitions, FP.schema.beforeCatalogReload]) {
    await failpoints.hit(point).catch((cause: unknown) => logger.log({ level: 'warn', code: 'schema.afterApply', cause }))
  }
}

async function applyNow(engine: Engine, tables: readonly AnyTable[], o: ApplyOptions): Promise<SchemaPlan> {
  const { state, committer, world, check } = engine.parts
  const { failpoints } = world
  const planNow = (): SchemaChange => {
    const accepted = [...state.tables.values()].filter((table) => !table.isDropped).map((table) => table.versions)
    return planSchema(accepted, tables, { drop: o.drop, allowDataLoss: o.allowDataLoss, nextTableId: nextTableId(state) })
  }
  const looked: Looked = { seen: new Set(), audits: new Map() }
  let isReady = false
  let plan = planNow()
  if (failpoints.active) await failpoints.hit(FP.schema.afterPreview)
  for (;;) {
    check()
    o.signal?.throwIfAborted()
    // Others may have changed definitions or brought rows while something was waited for.
    plan = planNow()
    const { steps } = plan
    if (steps.length === 0) {
      await committer.drained()
      return { steps: [] }
    }
    if (await lookAtFragments(engine, plan.checks, looked, o)) continue
    if (!isReady && o.dryRun !== true && failpoints.active) {
      isReady = true
      await failpoints.hit(FP.schema.beforeDefinitions)
      continue
    }
    const shared = lookAtMemory(engine, plan.checks, looked)
    if (shared !== undefined) throw await shared()
    if (o.dryRun === true) return { steps: [...steps] }
    const lsn = await committer.schema({ create: plan.create, alter: plan.alter, drop: plan.drop })
    return { steps: [...steps], lsn: BigInt(lsn) as Lsn }
  }
}

/** What has been read of the rows that are there. */
interface Looked {
  readonly seen: Set<string>
  readonly audits: Map<string, UniqueAudit>
}

/** @returns whether something was waited for */
async function lookAtFragments(engine: Engine, checks: readonly SchemaCheck[], looked: Looked, o: ApplyOptions): Promise<boolean> {
  const { state, world, check } = engine.parts
  let hasWaited = false
  let last: number | undefined
  for (const one of checks) {
    const table = state.tables.get(one.tableId)!
    if (last !== undefined && last !== table.id && world.failpoints.active) await world.failpoints.hit(FP.schema.betweenTables)
    last = table.id
    const pace = new Pace({ ...o, world, check, table: table.name, phase: 'validate', total: undefined })
    if ('unique' in one) {
      const audit = auditOf(engine, one, looked)
      if ((await audit?.look(() => pace.step(0))) === true) hasWaited = true
      continue
    }
    let rows = 0
    for (const fragment of table.now.fragments) {
      if (looked.seen.has(idOf(one, fragment))) continue
      hasWaited = true
      await lookAtFragment(table, fragment, one, pace, rows)
      looked.seen.add(idOf(one, fragment))
      rows += fragment.ref.rows
    }
  }
  return hasWaited
}

/** undefined: of no columns there is nothing to read. */
function auditOf({ parts: { state, world } }: Engine, { tableId, unique }: UniqueCheck, { audits }: Looked): UniqueAudit | undefined {
  if (unique.length === 0) return undefined
  const table = state.tables.get(tableId)!
  const id = `${tableId}.${table.schema.version}:${unique.join()}`
  let audit = audits.get(id)
  if (audit === undefined) audits.set(id, (audit = new UniqueAudit(table, KeyLayout.unique(table.schema, unique), world.random.u32())))
  return audit
}

async function lookAtFragment(table: TableState, fragment: LiveFragment, { column, step }: NotNullCheck, pace: Pace, before: number): Promise<void> {
  const { reader, ref, hides } = fragment
  if (fragmentStats(reader, table.schema)(column.id)?.nullCount === 0) return
  for (let batch = 0; batch < reader.batchCount; batch++) {
    const start = batch * ref.batchRows
    const rows = reader.rowsOf(batch)
    const [vec] = await reader.load(batch, [column])
    refuseNulls(vec!, hides.liveAt(NOW, start, start + rows), step)
    await pace.step(before + start + rows)
  }
}

/** The last look, in one step with the queueing. @returns what to throw for rows with one tuple */
function lookAtMemory(engine: Engine, checks: readonly SchemaCheck[], looked: Looked): (() => Promise<Error>) | undefined {
  for (const one of checks) {
    const table = engine.parts.state.tables.get(one.tableId)!
    if ('unique' in one) {
      const audit = auditOf(engine, one, looked)
      const shared = audit?.find()
      if (shared !== undefined) return () => audit!.error(resolveView(tableFromSchema(table.schema), table.schema), shared)
      if (audit === undefined && table.liveRowsNow() > 1) return async () => refusedByRows(one.step, 'its rows would all have the same value')
      continue
    }
    for (const chunk of table.now.layer.chunks) {
      const [vec] = table.chunkVecs(chunk, [one.column])
      refuseNulls(vec!, chunk.liveAt(NOW, chunk.rows).bitmap, one.step)
    }
  }
  return undefined
}

function refuseNulls(vec: Vec, live: Uint8Array | undefined, step: SchemaStep): void {
  if (vec.nullCount === 0 || vec.validity === undefined) return
  const nulls = bitmapNot(vec.validity, vec.length)
  const count = popcount(live === undefined ? nulls : bitmapAnd(nulls, live, vec.length), vec.length)
  if (count === 0) return
  throw refusedByRows(step, `${count} rows or more are null`)
}

function refusedByRows(step: SchemaStep, why: string): UnsupportedMigrationError {
  const { table, kind, column } = step
  return new UnsupportedMigrationError(`${describeStep(step)}: ${why}`, {
    details: { step: { table, kind, ...(column === undefined ? {} : { column }) } },
    hint: 'Give these rows other values first.',
  })
}

function idOf({ column }: NotNullCheck, { lsn, ordinal, ref }: LiveFragment): string {
  return `${column.id}:${lsn}.${ordinal}.${ref.digest}`
}
