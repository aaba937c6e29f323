// store/promotion.ts: what is told of a promotion: in the audit of the store for good, and in the RecoveryLog of the primary that came of it (shipping.md section 12).

import type { AuditFacts } from '../format/index.ts'
import type { RecoveryLog, ReplicaId } from '../ship/index.ts'
import type { Promotion } from './wiring.ts'

/** "replica r1, epoch 4: kept up to LSN 20; given up: what others have above 20" */
export function promotionText({ replicaId, durableLsn, committedLsn, acceptLossAbove, lostUpTo }: Promotion, epoch: number): string {
  const range =
    lostUpTo === undefined ? `what others have above ${durableLsn}` : lostUpTo > durableLsn ? `${durableLsn + 1}..${lostUpTo}` : 'nothing that is known'
  const given = acceptLossAbove === undefined && lostUpTo === undefined ? 'nothing' : range
  return `replica ${replicaId}, epoch ${epoch}: kept up to LSN ${durableLsn}, ${committedLsn} was called committed; given up: ${given}`
}

export function auditOf(promotion: Promotion, epoch: number): AuditFacts {
  return { kind: 'promotion', by: 'varve:promotion', reason: promotionText(promotion, epoch), tables: [] }
}

export function logPromotion(log: RecoveryLog, promotion: Promotion, epoch: number): void {
  const { replicaId, durableLsn: durable, committedLsn: committed, acceptLossAbove, lostUpTo } = promotion
  const loss = acceptLossAbove === undefined && lostUpTo === undefined ? {} : { acceptLossAbove, lostAbove: durable, lostUpTo }
  log.append('promoted', replicaId as ReplicaId, null, promotionText(promotion, epoch), { epoch, durable, committed, ...loss })
}
