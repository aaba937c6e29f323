// recovery/settle.ts: carry out the decision about one write, and look again until its goal holds (recovery.md section 6).
//
// Invariant: the log decides. A lost race is looked at again: if the write is decided the goal holds, whoever decided it, and nothing more is recorded. Files go only
// after the outcome is durable. What cannot be settled within the budget is deferred: it stays, and whoever opens or writes goes on.

import {
  AlreadyPublishedError,
  ConflictError,
  ContentionError,
  CorruptionError,
  CorruptIntentError,
  DamagedStagedWriteError,
  FencedError,
  IntentMismatchError,
  IntentVersionError,
  InvariantError,
  LsnTakenError,
  StaleBranchError,
  StorageError,
} from '../errors.ts'
import { retireArea } from '../engine/index.ts'
import { INTENT_VERSION, type RecoveryFacts } from '../format/index.ts'
import type { CommitLog } from '../log/index.ts'
import { FP } from '../runtime/index.ts'
import { StagingArea } from '../staging/index.ts'
import type { Decision } from '../table/index.ts'
import type { BulkStep } from './bulk.ts'
import { classify } from './classify.ts'
import { recoveryFacts } from './facts.ts'
import { idHex, isPast, observe, type ObserveParts, type Subject, subjectOf } from './observe.ts'

/** After a lost slot, with full jitter. */
const BACKOFF_MS = 5
const BACKOFF_MAX_MS = 1000

/** Carries out a decision in the log; write/ does it. */
export interface Decider {
  /** Promote and publish a sealed write. */
  publish(writeId: string, recovery: RecoveryFacts): Promise<void>
  /** The rollback record is durable when it resolves; no file has gone. */
  rollBack(subject: Subject, reason: string, recovery: RecoveryFacts): Promise<void>
  /** The gates that the owner of the write would hold. */
  gates(subject: Subject): Promise<Disposable>
}

/** What a store's listeners are told. */
export interface RecoveryEvents {
  recovered(writeId: string, decision: string): void
  deferred(writeId: string, reason: string): void
  retireDeferred(writeId: string, cause: unknown): void
  intentShadowed(writeId: string, path: string): void
}

export interface RecoveryParts extends ObserveParts {
  readonly log: Pick<CommitLog, 'head' | 'durableHead' | 'sync'>
  readonly decider: Decider
  readonly events: RecoveryEvents
  /** Fold what other writers added; nothing to do where there is one writer. */
  readonly refresh: () => Promise<void>
  /** Rounds for one write before it is deferred. */
  readonly retries: number
  /** Many at a time, where this handle is the only writer: decides the first ones in order and says how many. */
  readonly decideMany?: ((steps: readonly BulkStep[]) => Promise<number>) | undefined
}

export interface Pass {
  readonly name: 'sweep' | 'heal'
  readonly sweepId: string
  /** Given where several are under way: decisions enter the log in the order of the writes. */
  readonly turn?: Turn
}

export interface Turn {
  /** Resolves when the write before has given its decision to the log, or has none to give. */
  readonly before: Promise<void>
  readonly taken: () => void
}

/**
 * @returns the last decision; `defer` where the budget was used up or the owner may live
 * @throws the errors of refusals, StorageError and what a failed append throws
 */
export async function settle(parts: RecoveryParts, writeId: string, pass: Pass, known?: Subject): Promise<Decision> {
  let failed: unknown
  for (let round = 0; round <= parts.retries; round++) {
    const subject = round === 0 && known !== undefined ? known : await again(parts, writeId, round > 0)
    try {
      // Looking is part of the race: what it reads may be retired meanwhile.
      const decision = overruled(await decide(parts, subject, pass), failed)
      if (decision.shadowed === true && round === 0) parts.events.intentShadowed(writeId, subject.file.path)
      return await act(parts, subject, decision, pass)
    } catch (error) {
      if (!isRace(error)) throw error
      failed = error
      const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** round)
      if (error instanceof LsnTakenError) await parts.world.timers.sleep(parts.world.random.u32() % (most + 1), undefined, true)
    }
  }
  const reason = failed instanceof Error ? failed.message : 'the budget was used up'
  parts.events.deferred(writeId, reason)
  return { kind: 'defer', writeId, rule: 'budget', reason, evidence: [] }
}

/** Publishing saw more than observe() did (a key written in a way that only the admission finds, a file that went bad since): what it said stands. */
function overruled(decision: Decision, failed: unknown): Decision {
  if (decision.kind !== 'rollForward') return decision
  const reason =
    failed instanceof ConflictError ? 'conflict' : failed instanceof DamagedStagedWriteError || failed instanceof CorruptionError ? 'damaged' : undefined
  if (reason === undefined) return decision
  return {
    ...decision,
    kind: 'rollback',
    rule: reason === 'conflict' ? 'd10' : 'd7',
    reason,
    evidence: [...decision.evidence, { rule: 'publish', what: (failed as Error).message }],
  }
}

async function again(parts: RecoveryParts, writeId: string, refresh: boolean): Promise<Subject> {
  if (refresh) await parts.refresh()
  return subjectOf(parts, writeId)
}

/**
 * Seen and judged. What would refuse the store for a table that is too old is looked at once more: this fold may be behind.
 *
 * @param isLight  without reading its files or the keys written since: whoever acts on it does that
 * @throws the errors of refusals; StorageError
 */
export async function decide(parts: RecoveryParts, subject: Subject, pass: Pass, isLight: boolean = false): Promise<Decision> {
  // A held write is not read: its files are its user's concern, who is told on use. Past its term it goes whatever they are, unless they are damaged.
  const files = !isLight && subject.seal !== undefined && (subject.intent?.mode === 'auto' || isPast(parts, subject.intent))
  const decision = classify(await observe(parts, subject, { files }), subject.intent)
  if (decision.rule === 'd3') {
    await parts.refresh()
    const second = classify(await observe(parts, subject, { files }), subject.intent)
    if (second.rule === 'd3') throw refusal(subject, second)
    return second
  }
  if (decision.kind === 'refuse' && decision.rule === 'd1') throw refusal(subject, decision)
  return courteous(parts, subject, decision, pass)
}

/** A writer that lives finishes its own write. In a heal, one that may live too: a sweep has a whole open to itself, a heal only a moment. */
async function courteous(parts: RecoveryParts, { intent, seal }: Subject, decision: Decision, pass: Pass): Promise<Decision> {
  if (intent === undefined || seal === undefined) return decision
  if (decision.kind !== 'rollForward' && decision.kind !== 'rollback' && decision.kind !== 'rebase') return decision
  const owner = await parts.owners.liveness(intent)
  if (owner === 'dead' || (owner === 'unknown' && pass.name === 'sweep')) return decision
  const what = owner === 'alive' ? 'its writer lives' : 'its writer may live'
  return { ...decision, kind: 'wait', reason: what, evidence: [...decision.evidence, { rule: 'owner', what }] }
}

async function act(parts: RecoveryParts, subject: Subject, decision: Decision, pass: Pass): Promise<Decision> {
  const { failpoints } = parts.world
  const { writeId } = subject
  const context = { writeId, branch: subject.intent?.branch, path: subject.file.path }
  switch (decision.kind) {
    case 'retire':
      await retire(parts, writeId)
      return decision
    case 'rollForward':
    case 'rollback':
    case 'discard':
      break
    default:
      return decision
  }
  if (failpoints.active && pass.name === 'sweep') await failpoints.hit(FP.sweep.beforeGates, context)
  using _gates = await parts.decider.gates(subject)
  if (failpoints.active && pass.name === 'heal') await failpoints.hit(FP.heal.afterGates, context)
  // Whoever held the gates may have finished it meanwhile.
  if (parts.state.catalog.outcomes.of(idHex(writeId)) !== undefined) return settledElsewhere(parts, writeId)
  const facts = recoveryFacts(decision, subject.intent, pass.sweepId)
  if (decision.kind === 'rollForward') {
    if (failpoints.active) await failpoints.hit(FP.sweep.beforeRollForward, context)
    await parts.decider.publish(writeId, facts)
  } else {
    if (failpoints.active) await failpoints.hit(decision.kind === 'discard' ? FP.sweep.beforeDiscard : FP.sweep.beforeRollBack, context)
    if (decision.reason === 'damaged') await quarantine(parts, decision)
    await pass.turn?.before
    const rolledBack = parts.decider.rollBack(subject, decision.reason ?? 'unsealed', facts)
    pass.turn?.taken()
    await rolledBack
    if (failpoints.active) await failpoints.hit(FP.sweep.afterRollBack, context)
  }
  parts.events.recovered(writeId, facts.kind)
  await retire(parts, writeId)
  return decision
}

async function settledElsewhere(parts: RecoveryParts, writeId: string): Promise<Decision> {
  const outcome = parts.state.catalog.outcomes.of(idHex(writeId))!
  await retire(parts, writeId)
  return { kind: 'retire', writeId, rule: 'd2', evidence: [{ rule: 'd2', what: `the log says ${outcome.outcome}` }] }
}

/** Phase D, behind a durable outcome. A failure is told and left to the next pass. */
export async function retire(parts: RecoveryParts, writeId: string): Promise<void> {
  parts.owners.forget(writeId)
  const failed = await retireArea(parts.log, StagingArea.adopt(parts.root, parts.world, writeId))
  if (failed === undefined) return
  parts.world.logger.log({ level: 'warn', code: 'retire.deferred', writeId, cause: failed })
  parts.events.retireDeferred(writeId, failed)
}

/** Damaged bytes are kept for whoever wants to know; copied, since only vacuum deletes under fragments/ and indexes/. Never an error: none of it is anybody's row. */
async function quarantine({ root, world }: RecoveryParts, { writeId, evidence }: Decision): Promise<void> {
  for (const name of evidence.filter(({ rule }) => rule === 'p4').flatMap(({ files }) => files ?? [])) {
    const copy = `quarantine/${writeId}-${name.slice(name.lastIndexOf('/') + 1)}`
    try {
      await root.putIfAbsent(copy, (await root.get(name)).bytes)
      world.logger.log({ level: 'warn', code: 'recovery.quarantined', writeId, file: name, copy })
    } catch (cause) {
      world.logger.log({ level: 'warn', code: 'recovery.quarantineFailed', writeId, file: name, cause })
    }
  }
}

/** Somebody else was quicker, or something changed since it was looked at: look again. */
function isRace(error: unknown): boolean {
  if (error instanceof FencedError) return error.scope === 'write'
  // Whoever finished it has retired its files meanwhile; if nobody did, the next look says that they are missing.
  if (error instanceof StorageError) return error.class === 'notFound'
  return (
    error instanceof ConflictError ||
    error instanceof StaleBranchError ||
    error instanceof ContentionError ||
    error instanceof LsnTakenError ||
    error instanceof AlreadyPublishedError ||
    error instanceof DamagedStagedWriteError ||
    (error instanceof CorruptionError && error.code === 'staged.corrupt')
  )
}

function refusal({ file, writeId }: Subject, { reason, evidence }: Decision): Error {
  const what = evidence[0]?.what ?? reason!
  const details = { path: file.path, reason: what }
  const hint = 'Run varve repair, which moves it to quarantine; or open the store readOnly.'
  if (reason === 'IntentVersionError') {
    return new IntentVersionError(what, {
      details: { path: file.path, found: INTENT_VERSION + 1, supported: INTENT_VERSION },
      hint: 'Open the store with the newer version of varve.',
    })
  }
  if (reason === 'InvariantError') {
    return new InvariantError(`write ${writeId} (${file.path}): ${evidence.map((each) => each.what).join('; ')}`, {
      details: { expected: 'tables at or after the versions the write was prepared against', observed: evidence.map((each) => each.what) },
    })
  }
  return reason === 'IntentMismatchError' ? new IntentMismatchError(what, { details, hint }) : new CorruptIntentError(what, { details, hint })
}
