// recovery/pending.ts: every write that is not decided, with what a sweep would do about it. Reads only: also for a read-only handle, and for `varve doctor`.

import { ulidBytes, ulidMs, ulidText } from '../runtime/index.ts'
import type { Decision } from '../table/index.ts'
import { classify } from './classify.ts'
import { idHex, observe, type ObserveParts, type Subject, subjectOf } from './observe.ts'
import { listStaging } from './sweep.ts'

export interface PendingItem {
  readonly writeId: string
  readonly state: 'armed' | 'sealed' | 'unreadable'
  readonly subject: Subject
  readonly decision: Decision
  /** By the time in its id and this machine's clock: for people. */
  readonly ageMs: number
}

/**
 * One list of `staging/`, a read of each INTENT and, unless `files` is false, of every file that was sealed: only then do the decisions tell of damage.
 *
 * @throws StorageError
 */
export async function pendingWrites(parts: ObserveParts, o: { readonly files: boolean } = { files: true }): Promise<PendingItem[]> {
  const { root, world, state } = parts
  const ids = new Set(await listStaging(root, world))
  for (const { writeId } of state.catalog.outcomes.pending.values()) ids.add(ulidText(writeId))
  const items: PendingItem[] = []
  for (const writeId of [...ids].sort()) {
    const subject = await subjectOf(parts, writeId)
    // Decided: what lies there is a leftover of phase D, and no write.
    if (state.catalog.outcomes.of(idHex(writeId)) !== undefined) continue
    if (subject.intent === undefined && subject.file.state === 'absent') continue
    const decision = classify(await observe(parts, subject, o), subject.intent)
    if (decision.kind === 'retire') continue
    const ageMs = Math.max(0, world.clock.nowMs() - ulidMs(ulidBytes(writeId)))
    items.push({ writeId, state: subject.seal !== undefined ? 'sealed' : subject.intent === undefined ? 'unreadable' : 'armed', subject, decision, ageMs })
  }
  return items
}

/** Ids of the writes to a branch that are not decided and whose owner may live. One list of `staging/`, a read of each INTENT. @throws StorageError */
export async function writesOn(parts: Pick<ObserveParts, 'root' | 'world' | 'state' | 'owners'>, branchId: string): Promise<string[]> {
  const { outcomes } = parts.state.catalog
  const ids = new Set(await listStaging(parts.root, parts.world))
  for (const { writeId } of outcomes.pending.values()) ids.add(ulidText(writeId))
  const found: string[] = []
  for (const writeId of [...ids].sort()) {
    if (outcomes.of(idHex(writeId)) !== undefined) continue
    const { intent } = await subjectOf(parts, writeId)
    if (intent?.branchId === branchId && (await parts.owners.liveness(intent)) !== 'dead') found.push(writeId)
  }
  return found
}
