// recovery/facts.ts: the audit facts that ride inside the record that decides a recovered write (recovery.md section 6): outcome and audit are one durable write.

import type { Intent, RecoveryFacts } from '../format/index.ts'
import type { Decision } from '../table/index.ts'

const RECOVERY_ACTOR = 'varve:recovery'

const OUTCOMES = { rolledForward: 'published', rolledBack: 'rolledBack', orphanDiscarded: 'discarded' } as const

/** @param sweepId  of the pass: equal in every record that one sweep or heal wrote */
export function recoveryFacts(decision: Decision, intent: Intent | undefined, sweepId: string): RecoveryFacts {
  const kind = decision.kind === 'rollForward' ? 'rolledForward' : decision.kind === 'discard' ? 'orphanDiscarded' : 'rolledBack'
  return {
    by: RECOVERY_ACTOR,
    ...(intent?.actor === undefined ? {} : { for: intent.actor }),
    kind,
    sweepId,
    participants: (intent?.participants ?? []).map(({ name, op }) => ({ table: name, op, outcome: OUTCOMES[kind] })),
    registrations: (intent?.registrations ?? []).map(({ name }) => name),
  }
}
