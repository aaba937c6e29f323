// ship/planner.ts: from a hello to a plan: ask for digests, classify, pin what the run will read (docs/shipping.md "Plans").
//
// Invariants: a plan that is handed out holds every pin it needs, or its session is over and it holds none; whatever is found wrong on the way ends the session
// first and gives pins back then. No I/O besides pins and the questions to the replica.

import { FencedError, HistoryUnavailableError, PinRefusedError } from '../errors.ts'
import { HistoryMovedError, NoSessionError, StaleEpochError, WrongSessionKindError } from '../errors-ship.ts'
import { toHex } from '../format/index.ts'
import type { World } from '../runtime/index.ts'
import { manifestHash } from './manifest.ts'
import { digestQuestion } from './match-point.ts'
import { isTruncationOnly, outdated, type PlanOwner, Plans, releaseAll } from './plan.ts'
import { decideSource, type RebuildDecision } from './rebuild-source.ts'
import type { RecoveryEventName, RecoveryLog } from './recovery-log.ts'
import type { Registry } from './registry.ts'
import type { Sender } from './sender.ts'
import { type EndReason, PATHS } from './session-phase.ts'
import type { SessionStatus } from './session.ts'
import type {
  Agreement,
  FullBasePin,
  Handshake,
  Hello,
  HistorySource,
  RecoveryPlan,
  ReplicaId,
  RetainedHistory,
  SessionId,
  ShipPin,
  StreamGrant,
} from './types.ts'

/** What the planner must ask the replica. */
export interface Questions {
  /** undefined: not known there. */
  digestAt(lsn: number): Promise<Uint8Array | undefined>
  /** Its own chain, up to there. */
  verifySelf(upTo: number): Promise<{ readonly ok: boolean }>
}

export interface PlannerParts {
  readonly registry: Registry
  readonly history: HistorySource
  readonly log: RecoveryLog
  readonly world: Pick<World, 'clock' | 'timers' | 'failpoints'>
  /** Files that nothing needs at the target may be left out of a catch-up. */
  readonly elision?: boolean
}

interface Met {
  readonly sender: Sender
  readonly session: SessionStatus
  readonly history: RetainedHistory
  readonly handshake: Handshake
}

/**
 * Makes plans and owns them until an executor does.
 *
 * @example const plan = await planner.planRecovery(id, hello, ask)
 */
export class Planner {
  readonly #parts: PlannerParts
  readonly #plans = new Plans()

  constructor(parts: PlannerParts) {
    this.#parts = parts
  }

  /** @internal */
  get parts(): PlannerParts {
    return this.#parts
  }

  /**
   * Classifies the hello of a connected session and pins what a catch-up reads. A zero gap is complete when this returns.
   *
   * @throws UnknownReplicaError, NoSessionError, WrongSessionKindError: nothing was done
   * @throws FencedError, StoreMismatchError, ReplicaMismatchError, ProtocolVersionError, PinRefusedError, HistoryMovedError, SessionFencedError, TransportError: the
   *   session is over
   */
  async planRecovery(id: ReplicaId, hello: Hello, ask: Questions): Promise<RecoveryPlan> {
    const met = await this.#meet(id, hello, ask, false)
    const { session, handshake } = met
    if (handshake.outcome === 'zero_gap') return this.#zeroGap(met)
    if (handshake.outcome !== 'catch_up') return this.#plan(met, [], null)
    const { start, target, truncateTo, elideDead, proof } = handshake
    if (isTruncationOnly(handshake)) {
      this.#log('plan_truncate_only', met, `truncate to ${truncateTo}`, { truncateTo })
      return this.#plan(met, [], null)
    }
    const pins = await this.#pinned(met, [['log_pin_failed', () => this.#parts.history.pinLog(start, session.id, { elided: elideDead })]])
    await this.#confirmed(met, pins, start)
    const cut = truncateTo === null ? '' : `, after a truncation to ${truncateTo}`
    this.#log('plan_catchup', met, `(${start}, ${target}]: ${proof.reason}${cut}`, { start, target, truncateTo, reason: proof.reason })
    return this.#plan(met, pins, null)
  }

  /**
   * As planRecovery, of a session of kind rebuild: decides what the rebuild starts from and pins that.
   *
   * @throws as planRecovery
   */
  async planRebuild(id: ReplicaId, hello: Hello, ask: Questions): Promise<RecoveryPlan> {
    const met = await this.#meet(id, hello, ask, true)
    const { session, history } = met
    // Halted, and nobody has overruled it.
    if (met.sender.session()?.id !== session.id) return this.#plan(met, [], null)
    const decision = decideSource(history, hello.committedLsn)
    const source = this.#parts.history
    const { baseLsn, target, reason } = decision
    const pins =
      decision.source === 'full_base'
        ? await this.#pinned(met, [['full_base_pin_failed', () => source.pinFullBase(baseLsn, session.id)]])
        : await this.#pinned(met, [
            ['snapshot_pin_failed', () => source.pinSnapshot(baseLsn, session.id)],
            ['log_pin_failed_during_rebuild', () => source.pinLog(baseLsn, session.id, { isRebuild: true })],
          ])
    const { lsn, manifest } = pins[0] as FullBasePin
    await this.#confirmed(met, pins, manifest.logFrom)
    const event = decision.source === 'full_base' ? 'plan_rebuild_full_base' : 'plan_rebuild_snapshot_tail'
    this.#log(event, met, `base ${lsn}, target ${target}: ${reason}`, { baseLsn: lsn, target, reason, files: manifest.files.length })
    return this.#plan(met, pins, { ...decision, baseLsn: lsn }, manifest)
  }

  /** Ends the plan's session, if it is the active one, and gives its pins back. Of a plan that runs: its executor does. Twice is once. */
  cancelPlan(plan: RecoveryPlan, reason: string): void {
    const owner = this.#plans.cancel(plan)
    if (owner === null) return
    if (owner !== undefined) return owner.cancel(reason)
    this.endSession(plan, reason)
    this.#plans.release(plan)
    this.#parts.log.append('plan_cancelled', plan.replicaId, plan.fence.sessionId, reason, { reason })
  }

  /** @internal Of executors. @throws PlanConsumedError */
  claim(plan: RecoveryPlan, owner: PlanOwner): void {
    this.#plans.claim(plan, owner)
  }

  /** @internal Of executors. @returns false: they were given back before */
  release(plan: RecoveryPlan): boolean {
    return this.#plans.release(plan)
  }

  /** @internal Ends it for a caller's reason, if it is the active one. */
  endSession({ replicaId, fence, rebuild }: RecoveryPlan, reason: string): boolean {
    const { registry } = this.#parts
    if (!registry.has(replicaId)) return false
    return registry.sender(replicaId).invalidate(fence.sessionId, reason, rebuild === null ? 'disconnected' : 'needs_rebuild')
  }

  // From a hello to a handshake

  async #meet(id: ReplicaId, hello: Hello, ask: Questions, isRebuild: boolean): Promise<Met> {
    const { registry, history: source, elision = false } = this.#parts
    const sender = registry.sender(id)
    const session = sender.session()
    if (session === null) throw new NoSessionError(`replica ${id} has no active session`, { details: { replicaId: id } })
    if ((PATHS[session.kind] === 'rebuild') !== isRebuild) {
      const wanted = isRebuild ? 'a rebuild' : 'a catch-up'
      throw new WrongSessionKindError(`${wanted} of replica ${id} is planned in a session of kind ${session.kind}`, {
        details: { replicaId: id, sessionId: session.id },
      })
    }
    sender.checkHello(session.id, hello)
    try {
      // Only a rebuild begins with a checkpoint.
      const history = await source.read({ positions: !isRebuild })
      const agreement = await this.#agreement(hello, history, ask)
      const handshake = sender.recordHandshake(session.id, hello, history, agreement, { elision })
      return { sender, session, history, handshake }
    } catch (error) {
      // What ended the session has said so; a question that found no answer is a link that failed.
      if (isEnded(sender, session.id)) throw error
      noteFence(registry, id, session.fence.epoch, error)
      sender.fail(session.id, error instanceof HistoryUnavailableError ? 'history_moved' : 'transport_failed', textOf(error))
      throw error
    }
  }

  async #agreement(hello: Hello, history: RetainedHistory, ask: Questions): Promise<Agreement | null> {
    const at = digestQuestion(hello, history)
    if (at === null) return null
    const own = await this.#parts.history.digestAt(at)
    const theirs = at === hello.durableLsn ? hello.digest : await ask.digestAt(at)
    if (theirs === undefined) return { matchLsn: at, agrees: undefined }
    const agrees = toHex(own) === toHex(theirs)
    if (agrees) return { matchLsn: at, agrees }
    return { matchLsn: at, agrees, replicaSound: (await ask.verifySelf(at)).ok }
  }

  // Pins

  /** One after the other; when one is refused the session ends, and those before go, the last one first. */
  async #pinned(met: Met, wanted: readonly (readonly [EndReason, () => Promise<ShipPin>])[]): Promise<ShipPin[]> {
    const { sender, session } = met
    const pins: ShipPin[] = []
    for (const [reason, take] of wanted) {
      try {
        const pin = await take()
        // Before the pin goes.
        pin.onLimit = (limit) => void sender.fail(session.id, limit)
        pins.push(pin)
      } catch (error) {
        sender.fail(session.id, reason, textOf(error))
        releaseAll(pins)
        throw error instanceof PinRefusedError ? refusedAgain(error) : error
      }
    }
    return pins
  }

  /** What was pinned is what was planned: nothing was trimmed between the two, and the session is still the one. */
  async #confirmed(met: Met, pins: readonly ShipPin[], from: number): Promise<void> {
    const { sender, session } = met
    try {
      sender.checkFence(session.fence)
      const { tailLsn } = await this.#parts.history.read({ positions: true })
      sender.checkFence(session.fence)
      if (tailLsn <= from) return
      throw new HistoryMovedError(`the log begins after ${tailLsn}, the plan for replica ${session.fence.replicaId} reads from ${from} on`, {
        details: { replicaId: session.fence.replicaId, sessionId: session.id, tail: tailLsn, from },
      })
    } catch (error) {
      const isStale = !sender.fail(session.id, 'history_moved', textOf(error))
      releaseAll(pins)
      if (isStale) {
        const reason = outdated(sender, session.fence) ?? sender.status().reason
        this.#log('plan_cancelled', met, reason, { reason })
      }
      throw error
    }
  }

  // Plans

  #zeroGap(met: Met): RecoveryPlan {
    const { sender, session, handshake } = met
    // In the step that classified: no record can come between.
    const grant = sender.completeCatchUp(session.id)
    this.#log('plan_zero_gap', met, `${handshake.reason}: ${handshake.proof.detail}`, { start: handshake.start, reason: handshake.reason })
    return this.#plan(met, [], null, undefined, grant)
  }

  #plan(
    { session, handshake }: Met,
    pins: readonly ShipPin[],
    decision: RebuildDecision | null,
    manifest?: FullBasePin['manifest'],
    grant: StreamGrant | null = null,
  ): RecoveryPlan {
    const { outcome, proof, start, target, truncateTo, elideDead } = handshake
    const rebuild = decision === null || manifest === undefined ? null : { ...decision, manifest, manifestHash: manifestHash(manifest) }
    return this.#plans.made({
      replicaId: session.fence.replicaId,
      fence: session.fence,
      outcome,
      proof,
      start: rebuild === null ? start : rebuild.baseLsn,
      target: rebuild === null ? target : rebuild.target,
      truncateTo: rebuild === null ? truncateTo : null,
      elideDead: rebuild === null && elideDead,
      rebuild,
      pins,
      grant,
    })
  }

  #log(event: RecoveryEventName, { session }: Met, detail: string, fields: Readonly<Record<string, unknown>>): void {
    this.#parts.log.append(event, session.fence.replicaId, session.id, detail, fields)
  }
}

/** When a newer primary was met, or a node that waits for a decision, nothing is shipped below it any more, to anybody. @returns whether one was */
export function noteFence(registry: Registry, id: ReplicaId, epoch: number, error: unknown): boolean {
  // A node that has lost the LOCK of its own root speaks of numbers of that LOCK, which are no epochs.
  const seen = error instanceof StaleEpochError ? error.held : error instanceof FencedError && error.scope === 'primary' ? Number(error.seen) : 0
  // By starting again this primary has passed the epoch of a fence, and not the fence.
  const details = error instanceof StaleEpochError ? error.details : {}
  const isUndecided = details['mandate'] !== undefined
  if (seen <= epoch && !isUndecided) return false
  // It follows another decision of the same number: that is one vote.
  if (typeof details['isSettled'] === 'boolean' && !registry.outvoted(id, details['isSettled'])) return false
  registry.fence(seen, id, Math.max(seen, isUndecided ? epoch + 1 : 0))
  return true
}

export function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

function isEnded(sender: Sender, id: SessionId): boolean {
  return sender.session()?.id !== id
}

function refusedAgain(cause: PinRefusedError): PinRefusedError {
  const { asked, tail, floor } = cause
  return new PinRefusedError(cause.message, { details: { asked, tail, floor }, cause })
}
