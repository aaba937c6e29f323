// recovery/bulk.ts: many sealed writes published, and armed ones rolled back, by a sweep that has the store to itself: in groups of one sync each.
//
//   promote all, some at a time -> gates of all tables -> one read of the log for the keys written since -> positions -> one synchronous step: queue each, in order
//
// Invariant: what is published here is what publishSealed() would publish one by one, in the same order: the first write that cannot go forward ends the run, and it
// and those behind it are decided afterwards, against what the run made.

import type { PendingSeal } from '../catalog/index.ts'
import { type FileGeneration, type KeysFile, MAIN_BRANCH_ID, type Participant, type RecoveryFacts } from '../format/index.ts'
import { ulidBytes } from '../runtime/index.ts'
import { StagingArea } from '../staging/index.ts'
import type { TableState } from '../table/index.ts'
import { keysOf, promoteSealed, queueSealed, SealedTable, takeGates, type WriteParts, writtenHashes } from '../write/index.ts'
import { idHex } from './observe.ts'

/** Writes whose files are verified and promoted at one time. */
const LANES = 16

export interface BulkStep {
  readonly writeId: string
  readonly recovery: RecoveryFacts
  /** Publish this; without it the write is rolled back. */
  readonly seal?: PendingSeal
  readonly reason?: string
  readonly baseLsn: number
}

/** Rows only, on main, which no other write of the run can be in the way of but by its keys. */
export function isBulk({ intent, changes }: PendingSeal): boolean {
  const isPlain = ({ op, rule, removes, addresses }: Participant): boolean =>
    (op === 'append' || op === 'upsert' || op === 'delete') && rule !== 'exact' && removes.length === 0 && addresses.length === 0
  return (
    intent.branchId === MAIN_BRANCH_ID &&
    intent.kind !== 'schema' &&
    intent.registrations.length === 0 &&
    intent.participants.every(isPlain) &&
    changes.every(({ op }) => op !== 'replace')
  )
}

interface Prepared {
  readonly step: BulkStep
  readonly generations: readonly FileGeneration[]
  readonly keys: readonly (KeysFile | undefined)[]
}

/**
 * Decide the steps in order, as far as nothing is in the way.
 *
 * @returns how many were decided, durably
 * @throws what a failed append throws
 */
export async function decideMany(parts: WriteParts, steps: readonly BulkStep[]): Promise<number> {
  const prepared = await prepare(parts, steps)
  const { committer, tracker, state } = parts.engine.parts
  const tables = new Map<number, TableState>()
  for (const { step } of prepared) {
    for (const { tableId } of step.seal?.intent.participants ?? []) {
      const table = state.tables.get(tableId)
      if (table !== undefined) tables.set(tableId, table)
    }
  }
  using _gates = await takeGates(parts.engine, tables.values())
  tracker.begin()
  try {
    await committer.drained()
    const head = state.applied
    const ready = await admitted(parts, prepared, tables, head)
    // Nothing else writes while a store opens; should it, the writes go one by one.
    if ([...tables.values()].some((table) => tracker.changedSince(table, head) > 0)) return 0
    const queued: Promise<unknown>[] = []
    for (const { step, generations, sealed } of ready) {
      try {
        queued.push(queue(parts, step, generations, sealed))
      } catch {
        break // refused before it was queued: whoever decides it alone is told why
      }
    }
    await Promise.all(queued)
    return queued.length
  } finally {
    tracker.end()
  }
}

/** Up to the first whose files are not as they were sealed, or cannot be read: whoever decides it alone says so. */
async function prepare(parts: WriteParts, steps: readonly BulkStep[]): Promise<Prepared[]> {
  const { root, world, committer } = parts.engine.parts
  const done: (Prepared | undefined)[] = steps.map(() => undefined)
  let next = 0
  let failed = false
  const lane = async (): Promise<void> => {
    while (next < steps.length && !failed) {
      const at = next++
      const step = steps[at]!
      try {
        const area = StagingArea.adopt(root, world, step.writeId)
        const { seal } = step
        const generations = seal === undefined ? [] : await promoteSealed(root, area, seal, { isVerified: false, dead: (name) => committer.isDead(name) })
        const keys: (KeysFile | undefined)[] = []
        for (const participant of seal?.intent.participants ?? []) keys.push(await keysOf(area, participant))
        done[at] = { step, generations, keys }
      } catch {
        failed = true
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  const end = done.indexOf(undefined)
  return done.slice(0, end < 0 ? done.length : end) as Prepared[]
}

interface Ready {
  readonly step: BulkStep
  readonly generations: readonly FileGeneration[]
  readonly sealed: readonly SealedTable[]
}

/** Up to the first that meets a key of the log or of one before it. */
async function admitted(parts: WriteParts, prepared: readonly Prepared[], tables: ReadonlyMap<number, TableState>, head: number): Promise<Ready[]> {
  const written = await writtenSince(parts, prepared, tables, head)
  const taken = new Map<number, Set<bigint>>()
  const ready: Ready[] = []
  for (const { step, generations, keys } of prepared) {
    const { seal } = step
    const sealed: SealedTable[] = []
    try {
      for (const [i, participant] of (seal?.intent.participants ?? []).entries()) {
        if (meets(participant, keys[i], written.get(participant.tableId), taken)) return ready
        const table = new SealedTable(parts, seal!, participant, generations, keys[i])
        await table.look()
        sealed.push(table)
      }
    } catch {
      return ready
    }
    ready.push({ step, generations, sealed })
  }
  return ready
}

/** Hash of each key written above the lowest expected version of a table, with its last LSN: one read of the log for all. */
async function writtenSince(
  parts: WriteParts,
  prepared: readonly Prepared[],
  tables: ReadonlyMap<number, TableState>,
  head: number,
): Promise<ReadonlyMap<number, ReadonlyMap<bigint, number>>> {
  const from = new Map<number, number>()
  for (const { step } of prepared) {
    for (const { tableId, rule, expectedVersion } of step.seal?.intent.participants ?? []) {
      if (rule === 'keys') from.set(tableId, Math.min(from.get(tableId) ?? head, Number(expectedVersion)))
    }
  }
  const written = new Map<number, ReadonlyMap<bigint, number>>()
  for (const [tableId, lowest] of from) {
    const table = tables.get(tableId)
    const last = parts.engine.parts.state.catalog.table(tableId)?.lastLsn ?? 0
    if (table !== undefined && last > lowest) written.set(tableId, await writtenHashes(parts, table, { from: lowest, to: head }))
  }
  return written
}

function meets(
  participant: Participant,
  keys: KeysFile | undefined,
  written: ReadonlyMap<bigint, number> | undefined,
  taken: Map<number, Set<bigint>>,
): boolean {
  if (participant.rule !== 'keys') return false
  if (keys === undefined) return true
  const { hashes } = keys
  const expected = Number(participant.expectedVersion)
  let mine = taken.get(participant.tableId)
  if (mine === undefined) taken.set(participant.tableId, (mine = new Set()))
  for (let i = 0; i < hashes.length; i += 2) {
    const hash = (BigInt(hashes[i + 1]!) << 32n) | BigInt(hashes[i]!)
    if (mine.has(hash) || (written?.get(hash) ?? 0) > expected) return true
  }
  for (let i = 0; i < hashes.length; i += 2) mine.add((BigInt(hashes[i + 1]!) << 32n) | BigInt(hashes[i]!))
  return false
}

function queue(
  parts: WriteParts,
  { writeId, seal, recovery, reason, baseLsn }: BulkStep,
  generations: readonly FileGeneration[],
  sealed: readonly SealedTable[],
): Promise<unknown> {
  if (seal !== undefined) return queueSealed(parts, seal, sealed, generations, recovery)
  const { committer, state } = parts.engine.parts
  const sealLsn = state.catalog.outcomes.pending.get(idHex(writeId))?.lsn ?? 0
  return committer.rollback({ writeId: ulidBytes(writeId), sealLsn, reason: reason!, recovery }, baseLsn)
}
