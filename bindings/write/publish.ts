// write/publish.ts: from sealed to published: promote the files, admit against what is there now, one record (recovery.md sections 2 and 4).
//
//   promote (idempotent) -> gates -> [ durable head -> rules against the log -> positions of older rows -> one synchronous step: nothing new? queue ] -> durable
//
// It works from the fold and the files alone: the same road for the handle that sealed, for resume() and for recovery.
// Invariant: the positions in the record are those of the very state it is queued behind; a definite conflict is told only of what is durable.

import { isNotFound } from '../root/index.ts'
import type { PendingSeal } from '../catalog/index.ts'
import { inTurn, whileAlive } from '../engine/index.ts'
import { ConflictError, ContentionError, CorruptionError, DamagedStagedWriteError, FencedError } from '../errors.ts'
import { type FileGeneration, fromHex, type RecoveryFacts } from '../format/index.ts'
import { FP } from '../runtime/index.ts'
import { StagingArea } from '../staging/index.ts'
import type { CommitResult, WriteOptions } from '../table/index.ts'
import { takeGates, idHex, type WriteParts } from './parts.ts'
import { rollbackWrite } from './rollback.ts'
import { publishOptimize } from './sealed-optimize.ts'
import { keysOf, promoteSealed } from './sealed-files.ts'
import { SealedTable } from './sealed-table.ts'

export interface PublishOptions {
  /** Audit facts, when recovery does it. */
  readonly recovery?: RecoveryFacts
  /** The caller holds the gates of its tables (takeGates). */
  readonly isGated?: boolean
  /** The staged files were read and found good a moment ago. */
  readonly isVerified?: boolean
  /**
   * Its caller lives and asked for an upsert or a replace: it comes after what was written since it was prepared, as a small one would. Not on a log of several
   * writers, where two upserts of one key at a time are a conflict.
   */
  readonly comesAfter?: boolean
  readonly signal?: AbortSignal | undefined
}

/** Times that admission is begun again because something was queued meanwhile that it must see. */
const ROUNDS = 32

/**
 * Publish a sealed write: durable when it resolves. Its staging directory is left to retireWrite().
 *
 * @param writeId  ULID text
 * @throws ConflictError, the write stays sealed; StaleBranchError; FencedError (scope write) when it is not pending; DamagedStagedWriteError; ContentionError; StorageError
 */
export async function publishSealed(parts: WriteParts, writeId: string, o: PublishOptions = {}): Promise<CommitResult> {
  try {
    return await whileAlive(() => promoteAndPublish(parts, writeId, o))
  } catch (error) {
    // Files that are gone or half removed are what a decided write looks like to a fold that has not heard of it.
    const isGone = error instanceof DamagedStagedWriteError || error instanceof CorruptionError || isNotFound(error)
    if (!isGone) throw error
    const { log, committer } = parts.engine.parts
    if (log.shared) {
      await log.refresh()
      await committer.caughtUp()
    }
    sealOf(parts, writeId)
    throw error
  }
}

async function promoteAndPublish(parts: WriteParts, writeId: string, o: PublishOptions): Promise<CommitResult> {
  const { engine } = parts
  const { root, world, state, committer } = engine.parts
  const seal = sealOf(parts, writeId)
  engine.parts.committer.numberOf(seal.intent)
  const area = StagingArea.adopt(root, world, writeId)
  const generations = await promoteSealed(root, area, seal, { isVerified: o.isVerified === true, dead: (name) => committer.isDead(name) })
  const tables = seal.intent.participants.flatMap(({ tableId }) => state.tables.get(tableId) ?? [])
  const gates = o.isGated === true ? undefined : await takeGates(engine, tables, { signal: o.signal })
  try {
    if (seal.intent.kind === 'optimize') return await inTurn(engine, o, async () => publishOptimize(parts, sealOf(parts, writeId), generations, o))
    return await inTurn(engine, o, () => publishOnce(parts, sealOf(parts, writeId), area, generations, o))
  } finally {
    gates?.[Symbol.dispose]()
  }
}

/** @throws FencedError */
function sealOf({ engine }: WriteParts, writeId: string): PendingSeal {
  const { committer, state } = engine.parts
  const seal = state.catalog.outcomes.pending.get(idHex(writeId))
  if (seal !== undefined) return seal
  const decision = committer.decisionOf(idHex(writeId))
  const what = decision === undefined ? 'is not pending' : `was ${decision.outcome === 'published' ? 'published' : 'rolled back'} at LSN ${decision.lsn}`
  throw new FencedError(`write ${writeId} ${what}`, {
    details: { scope: 'write', held: 0n, seen: BigInt(decision?.lsn ?? state.catalog.outcomes.floor) },
    hint: 'Ask store.outcome(writeId); stage the write again when it was rolled back.',
  })
}

async function publishOnce(
  parts: WriteParts,
  seal: PendingSeal,
  area: StagingArea,
  generations: readonly FileGeneration[],
  o: PublishOptions,
): Promise<CommitResult> {
  const { committer, tracker, state, world } = parts.engine.parts
  const { failpoints } = world
  const { intent } = seal
  const context = { writeId: intent.writeId, branch: intent.branch }
  const tables: SealedTable[] = []
  for (const participant of intent.participants) {
    tables.push(new SealedTable(parts, seal, participant, generations, await keysOf(area, participant), o.comesAfter))
  }
  tracker.begin()
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await committer.drained()
      const head = state.applied
      for (const table of tables) await table.check(head, o.signal)
      for (const table of tables) await table.look()
      if (failpoints.active) {
        await failpoints.hit(FP.publish.afterAdmit, context)
        await failpoints.hit(FP.publish.beforeAppend, context)
      }
      parts.read.check()
      o.signal?.throwIfAborted()
      if (tables.some((table) => table.isStale(head))) continue
      refuseMergedTwice(parts, seal)
      for (const table of tables) table.takeLate(head)
      const known = replayOf(parts, seal)
      if (known !== undefined) return await giveWay(parts, seal, known)
      const result = await queueSealed(parts, seal, tables, generations, o.recovery)
      if (failpoints.active) await failpoints.hit(FP.publish.afterAppend, context)
      return result
    }
  } finally {
    tracker.end()
  }
  throw new ContentionError(`write ${intent.writeId}: its tables changed ${ROUNDS} times while it was published`, { details: { rounds: ROUNDS } })
}

/** A merge is what its base makes it: behind another merge into its branch, rows without a key would come over a second time. @throws ConflictError */
function refuseMergedTwice({ engine }: WriteParts, { intent }: PendingSeal): void {
  if (intent.merge === undefined) return
  const { catalog, branch } = engine.parts.state
  const other = catalog.merges.all.findLast(({ into, lsn }) => into === branch && lsn > Number(intent.baseLsn))
  if (other === undefined) return
  const table = intent.participants[0]?.name ?? ''
  throw new ConflictError(`write ${intent.writeId}: another merge into ${JSON.stringify(intent.branch)} was recorded at LSN ${other.lsn}`, {
    details: { table, keys: [], total: 0, lsn: BigInt(other.lsn) },
    hint: 'Merge again: it begins with what that one has brought.',
  })
}

/** What the idempotency key of the write stands for by now: another write under it was quicker. @throws IdempotencyMismatchError */
function replayOf({ engine }: WriteParts, { intent }: PendingSeal): CommitResult | Promise<CommitResult> | undefined {
  const { idempotencyKey, request } = intent
  return idempotencyKey === undefined || request === undefined ? undefined : engine.parts.committer.replay(idempotencyKey, fromHex(request))
}

/** The rows are in the store already: this write ends without them. */
async function giveWay(parts: WriteParts, { intent }: PendingSeal, known: CommitResult | Promise<CommitResult>): Promise<CommitResult> {
  const result = await known
  await rollbackWrite(parts, intent.writeId, 'replayed')
  return result
}

/** Queue a sealed write whose tables were checked and looked at, in the step in which nothing was found stale. @throws FencedError */
export function queueSealed(
  { engine }: WriteParts,
  seal: PendingSeal,
  tables: readonly SealedTable[],
  generations: readonly FileGeneration[],
  recovery: RecoveryFacts | undefined,
): Promise<CommitResult> {
  const { intent } = seal
  const admitted = tables.flatMap((table) => table.changes())
  const rows = admitted.reduce((sum, { change }) => sum + change.inserted + change.updated + change.deleted, 0)
  const request = intent.request === undefined ? undefined : fromHex(intent.request)
  const armed = { writeId: seal.writeId, baseLsn: Number(intent.baseLsn), seal, generations, ...(recovery === undefined ? {} : { recovery }) }
  return engine.parts.committer.commit(admitted, rows, notesOf(seal), request, armed)
}

function notesOf({ intent }: PendingSeal): WriteOptions {
  const { actor, message, idempotencyKey } = intent
  return {
    ...(actor === undefined ? {} : { author: actor }),
    ...(message === undefined ? {} : { message }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  }
}
