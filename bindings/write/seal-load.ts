// write/seal-load.ts: a load that is sealed before its files get their final names (`sealMode: "separate"`, or above 64 files or 1 GiB): a crash from then on
// loses no work, recovery publishes it (recovery.md section 2).
//
// Invariant: from the seal on a failure that is no definite conflict leaves the write to recovery and says so; a conflict is recorded before it is told.

import { type FinishedTable, inTurn, isIndeterminate, type LargeLoad } from '../engine/index.ts'
import { ClosedError, CommitOutcomeUnknownError, ConflictError, FencedError, PoisonedError, StorageError } from '../errors.ts'
import type { Intent } from '../format/index.ts'
import type { StagingArea } from '../staging/index.ts'
import type { CommitResult } from '../table/index.ts'
import { publishedResult } from './outcome.ts'
import { idHex, type WriteParts } from './parts.ts'
import { publishSealed } from './publish.ts'
import { rollbackWrite } from './rollback.ts'
import { sealWrite } from './seal.ts'

const BACKOFF_MS = 5
const BACKOFF_MAX_MS = 1000

/** A write of the engine whose files are staged. */
export interface SealedWork {
  readonly area: StagingArea
  /** As armed. */
  readonly intent: Intent
  readonly finished: readonly FinishedTable[]
  /** Digest of what was asked, under an idempotency key. */
  readonly request: Uint8Array | undefined
  readonly signal: AbortSignal | undefined
  /** The gates of its tables are held. */
  readonly isGated: boolean
  /** As PublishOptions.comesAfter. */
  readonly comesAfter: boolean
}

/** sealAndPublish() of a load: its table's gates are held. */
export function sealLoad(parts: WriteParts, large: LargeLoad): Promise<CommitResult> {
  return sealAndPublish(parts, { ...large, finished: [large.finished], isGated: true, comesAfter: !parts.engine.parts.log.shared })
}

/**
 * Seal and publish; durable when it resolves. The caller removes the staging directory.
 *
 * @throws ConflictError, rolled back; CommitOutcomeUnknownError: it is sealed, and recovery decides; FencedError; before the seal what the seal throws
 */
export async function sealAndPublish(parts: WriteParts, work: SealedWork): Promise<CommitResult> {
  const { area, intent, finished, request, signal } = work
  try {
    const sealed = await sealWrite(parts, area, intent, finished, { request, signal })
    if (typeof sealed !== 'number') return sealed
  } catch (error) {
    if (isIndeterminate(error)) throw unknownOutcome(intent.writeId, error)
    // The answer was lost, the seal was not: it stands in the log.
    if (isOver(error) || !parts.engine.parts.state.catalog.outcomes.pending.has(idHex(intent.writeId))) throw error
  }
  try {
    return await published(parts, work)
  } catch (error) {
    // Published all the same: by the try whose answer was lost, or by whoever was quicker.
    const decided = parts.engine.parts.state.catalog.outcomes.of(idHex(intent.writeId))
    if (decided?.outcome === 'published') return publishedResult(parts.engine.parts.log, intent.writeId, decided)
    if (isOver(error)) throw error
    const reason = error instanceof ConflictError ? 'conflict' : signal?.aborted === true && error === signal.reason ? 'aborted' : undefined
    if (reason === undefined) throw unknownOutcome(intent.writeId, error)
    // Nobody else would: no user holds it, and what follows on its tables should not have to look at it.
    await inTurn(parts.engine, undefined, () => rollbackWrite(parts, intent.writeId, reason))
    throw error
  }
}

/** Of the handle, or of the write: nothing more is done about it here. */
function isOver(error: unknown): boolean {
  return error instanceof FencedError || error instanceof ClosedError || error instanceof PoisonedError
}

/** Faults that pass are tried again, as often as a lost slot is. */
async function published(parts: WriteParts, { intent, signal, isGated, comesAfter }: SealedWork): Promise<CommitResult> {
  const { world, limits } = parts.engine.parts
  for (let round = 0; ; round++) {
    try {
      return await publishSealed(parts, intent.writeId, { isGated, isVerified: true, comesAfter, signal })
    } catch (error) {
      if (!(error instanceof StorageError && error.retryable && error.class !== 'space') || round >= limits.publishRetries) throw error
      await world.timers.sleep(world.random.u32() % (Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** round) + 1), signal, true)
    }
  }
}

function unknownOutcome(writeId: string, cause: unknown): CommitOutcomeUnknownError {
  if (cause instanceof CommitOutcomeUnknownError) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new CommitOutcomeUnknownError(`write ${writeId} is sealed and could not be published: ${why}`, { details: { writeId, intentKept: true }, cause })
}
