// write/seal.ts: phase B′: every file verified, its name durable, then the record that tells of all of them (recovery.md section 2).
//
// Invariant: a seal names only files that were read back and found good; from its record on recovery knows the write.

import { type FinishedTable, inTurn } from '../engine/index.ts'
import { IdempotencyMismatchError } from '../errors.ts'
import type { Intent } from '../format/index.ts'
import { FP } from '../runtime/index.ts'
import type { StagingArea } from '../staging/index.ts'
import type { CommitResult } from '../table/index.ts'
import { KeyWait, pendingUnder } from './key-wait.ts'
import type { WriteParts } from './parts.ts'
import { stagedFiles, verifyStaged } from './sealed-files.ts'

export interface SealWriteOptions {
  /** Digest of what was asked, under the idempotency key of the intent. */
  readonly request: Uint8Array | undefined
  readonly signal: AbortSignal | undefined
}

/**
 * Seal a write whose tables are finished; durable when it resolves.
 *
 * @param armed  its INTENT
 * @returns the LSN of the seal; or the result of the same request, when its idempotency key was published before: then nothing was sealed
 * @throws CorruptionError staged.corrupt; ResourceLimitError; StaleBranchError; FencedError (scope write); IdempotencyMismatchError; PendingIntentError; StorageError
 */
export async function sealWrite(
  parts: WriteParts,
  area: StagingArea,
  armed: Intent,
  finished: readonly FinishedTable[],
  o: SealWriteOptions,
): Promise<number | CommitResult> {
  const { committer, intents, world } = parts.engine.parts
  const { failpoints } = world
  const context = { writeId: armed.writeId, branch: armed.branch }
  const intent = intents.seal(armed, { participants: finished.map(({ participant }) => participant), request: o.request })
  const changes = finished.flatMap((table) => table.changes)
  await verifyStaged(area, stagedFiles(intent))
  await area.sync()
  const replayed = await replayOf(parts, intent, o)
  if (replayed !== undefined) return replayed
  if (failpoints.active) await failpoints.hit(FP.seal.beforeAppend, context)
  o.signal?.throwIfAborted()
  parts.read.check()
  const lsn = await inTurn(parts.engine, o, async () => {
    committer.numberOf(intent)
    return committer.seal(intent, changes)
  })
  if (failpoints.active) await failpoints.hit(FP.seal.afterAppend, context)
  return lsn
}

/** What the idempotency key of a write stands for already, once that is decided; undefined: nothing. @throws IdempotencyMismatchError, PendingIntentError */
export async function replayOf(parts: WriteParts, { writeId, idempotencyKey, request }: Intent, o: SealWriteOptions): Promise<CommitResult | undefined> {
  if (idempotencyKey === undefined || o.request === undefined) return undefined
  const { committer } = parts.engine.parts
  const wait = new KeyWait(parts)
  for (;;) {
    const replayed = committer.replay(idempotencyKey, o.request)
    if (replayed !== undefined) return await replayed
    const other = pendingUnder(parts, idempotencyKey, writeId)
    if (other === undefined) return undefined
    if (other.request !== request)
      throw new IdempotencyMismatchError(`idempotency key ${JSON.stringify(idempotencyKey)} was used with another request`, {
        details: { key: idempotencyKey },
      })
    await wait.round(idempotencyKey, other, o.signal)
  }
}
