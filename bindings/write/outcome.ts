// write/outcome.ts: what became of a write: asked of the fold, then of the retained log (recovery.md section 4).

import { commitResult, decodeRecord, KIND_COMMIT, KIND_PUBLISH, KIND_ROLLBACK, type StoreState } from '../engine/index.ts'
import { type CommitRecord, toHex } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import { ulidBytes, ulidText } from '../runtime/index.ts'
import { intentName } from '../staging/index.ts'
import type { CommitResult } from '../table/index.ts'

export type Outcome = 'published' | 'rolledBack' | 'pending' | 'unknown'

export interface OutcomeSource {
  readonly root: Root
  readonly log: CommitLog
  readonly state: StoreState
  /** C: what lies above is folded, and may come to nothing. */
  readonly committed: number
  /** A commit of this id waits for its group. */
  readonly isQueued: (writeIdHex: string) => boolean
}

/** @param writeId  16 bytes @cost nothing for writes with an Intent; else the retained log is read */
export async function outcomeOf({ root, log, state, committed, isQueued }: OutcomeSource, writeId: Uint8Array): Promise<Outcome> {
  const id = toHex(writeId)
  const { outcomes, keys } = state.catalog
  const told = ({ lsn }: { readonly lsn: number }, outcome: Outcome): Outcome => (lsn > committed ? 'pending' : outcome)
  const known = outcomes.of(id)
  if (known !== undefined) return told(known, known.outcome)
  // Asked in one step with the head: a write that is durable a moment later is in neither.
  if (outcomes.pending.has(id) || isQueued(id)) return 'pending'
  for (const remembered of keys.values()) if (toHex(remembered.writeId) === id) return told(remembered, 'published')
  const found = await outcomeInLog(log, id, BigInt(state.applied) as Lsn)
  if (found !== undefined) return told(found, found.outcome)
  // Armed: whoever finds it may still decide.
  return (await root.exists(intentName(ulidText(writeId)))) ? 'pending' : 'unknown'
}

/** The first outcome in log order. */
async function outcomeInLog(log: CommitLog, writeIdHex: string, end: Lsn): Promise<{ lsn: number; outcome: 'published' | 'rolledBack' } | undefined> {
  for await (const batch of log.read(log.tail, { end })) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn)
      if (record.kind === KIND_ROLLBACK && toHex(record.rollback.writeId) === writeIdHex) return { lsn, outcome: 'rolledBack' }
      const commit = record.kind === KIND_PUBLISH ? record.publish.commit : record.kind === KIND_COMMIT ? record.commit : undefined
      if (commit !== undefined && toHex(commit.writeId) === writeIdHex) return { lsn, outcome: 'published' }
      lsn++
    }
  }
  return undefined
}

/** The result of a publish that this handle did not make itself: from its record; without rows where that is no longer in the log. */
export async function publishedResult(
  log: CommitLog,
  writeId: string,
  { lsn, timeMs }: { readonly lsn: number; readonly timeMs: number },
): Promise<CommitResult> {
  const commit = lsn > Number(log.tail) ? await commitAt(log, lsn) : undefined
  const rows = commit?.changes.reduce((sum, change) => sum + change.inserted + change.updated + change.deleted, 0) ?? 0
  return commitResult(lsn, ulidBytes(writeId), timeMs, rows, false)
}

async function commitAt(log: CommitLog, lsn: number): Promise<CommitRecord | undefined> {
  for await (const batch of log.read(BigInt(lsn - 1) as Lsn, { end: BigInt(lsn) as Lsn })) {
    const record = decodeRecord(batch.bytes, batch.offsets[0]!, lsn)
    return record.kind === KIND_PUBLISH ? record.publish.commit : record.kind === KIND_COMMIT ? record.commit : undefined
  }
  return undefined
}
