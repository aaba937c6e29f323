// write/key-wait.ts: waiting for the sealed write that holds an idempotency key: what becomes of it decides what the key stands for (recovery.md section 2).
//
// Invariant: it waits for what somebody decides; a write that only its user can decide is refused with its name, not waited for.

import { PendingIntentError } from '../errors.ts'
import type { Intent } from '../format/index.ts'
import { LEASE_MS } from '../staging/index.ts'
import type { WriteParts } from './parts.ts'

/** An automatic write whose owner shows no sign of life for so long is healed by the next call. */
const AUTO_MS = LEASE_MS + 5000
/** Shared logs: another process may stand between its seal and its publish. */
const OTHERS_MS = 2000

/** A sealed write that holds the key. */
export function pendingUnder({ engine }: WriteParts, key: string, exceptWriteId?: string): Intent | undefined {
  for (const { intent } of engine.parts.state.catalog.outcomes.pending.values()) {
    if (intent.idempotencyKey === key && intent.writeId !== exceptWriteId) return intent
  }
  return undefined
}

/** Of one call: how long it has waited for a holder that this store does not work on. */
export class KeyWait {
  private readonly parts: WriteParts
  private sinceMs: number | undefined

  constructor(parts: WriteParts) {
    this.parts = parts
  }

  /** One round: until something was decided, or a while later. @throws PendingIntentError, ClosedError, the signal's reason */
  async round(key: string, holder: Intent, signal: AbortSignal | undefined): Promise<void> {
    const { parts } = this
    const { log, committer } = parts.engine.parts
    this.refuseIdle(key, holder)
    await parts.nextDecision(signal)
    parts.read.check()
    if (!log.shared) return
    await log.refresh()
    await committer.caughtUp()
  }

  private refuseIdle(key: string, { writeId, mode, owner }: Intent): void {
    const { log, intents, world } = this.parts.engine.parts
    if (this.parts.working.has(writeId) || (mode === 'auto' && intents.isLive(writeId))) return
    const patienceMs = mode === 'auto' ? AUTO_MS : log.shared && owner.writerId !== intents.owner.writerId ? OTHERS_MS : 0
    const now = world.clock.monoMs()
    this.sinceMs ??= now
    if (now - this.sinceMs < patienceMs) return
    throw new PendingIntentError(`idempotency key ${JSON.stringify(key)}: write ${writeId} holds it, sealed and not decided`, {
      details: { writeIds: [writeId] },
      hint:
        mode === 'auto'
          ? 'Try again: the next write to the store decides it once its owner is gone.'
          : `Publish it or roll it back: (await store.resume('${writeId}')).publish(), or varve staged publish ${writeId}; then try again.`,
    })
  }
}
