// recovery/sweep.ts: what a read-write open does about writes that stopped half-way, after the fold and before the store is ready (recovery.md section 7).
//
// One list of `staging/`, the INTENTs read, each write decided against the fold as it then is, in the order of their ids. Roll-backs change no table, so they are
// queued one behind the other and become durable in groups; a roll forward is waited for. Where there are many they are decided in runs (bulk.ts).
// Invariant: a store where nothing is pending costs one list and no read; a fault is loud and nothing decided is undone by it.

import { STAGING_PREFIX } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, newUlid, ulidBytes, ulidText, type World } from '../runtime/index.ts'
import { stagingPrefix } from '../staging/index.ts'
import type { Decision } from '../table/index.ts'
import { type BulkStep, isBulk } from './bulk.ts'
import { recoveryFacts } from './facts.ts'
import { idHex, type Subject, subjectOf } from './observe.ts'
import { decide, type Pass, type RecoveryParts, retire, settle } from './settle.ts'

/** INTENTs read, and roll-backs under way, at one time. */
const AT_ONCE = 64

/** Writes from which on a sweep decides them in runs, and the length of a run. */
const MANY = 16
const RUN = 256

export interface SweepReport {
  /** Per write, in the order of their ids. */
  readonly decisions: readonly Decision[]
  /** Writes left alone because their writer may live: look again after LEASE_MS. */
  readonly waiting: readonly string[]
}

/** @throws StorageError; CorruptIntentError, IntentVersionError, IntentMismatchError, InvariantError naming the file of the first write that is refused */
export async function sweep(parts: RecoveryParts): Promise<SweepReport> {
  const { root, world, state } = parts
  const staged = await listStaging(root, world)
  if (world.failpoints.active) await world.failpoints.hit(FP.sweep.afterList, {})
  const ids = new Set(staged)
  // A list may be stale: what is sealed is known without it.
  for (const { writeId } of state.catalog.outcomes.pending.values()) ids.add(ulidText(writeId))
  if (ids.size === 0) return { decisions: [], waiting: [] }
  const isMany = parts.decideMany !== undefined && ids.size >= MANY && !world.failpoints.active
  const decisions = await new Sweep(parts, isMany).run([...ids].sort())
  return { decisions, waiting: decisions.filter(({ kind, rule }) => kind === 'wait' && rule === 'd5').map(({ writeId }) => writeId) }
}

interface Waiting {
  readonly at: number
  readonly subject: Subject
  readonly decision: Decision
}

/** One pass over the writes, ascending. */
class Sweep {
  private readonly parts: RecoveryParts
  private readonly isMany: boolean
  private readonly sweepId: string
  private readonly decisions: Decision[] = []
  private readonly running = new Set<Promise<void>>()
  /** When the decision before has entered the log. */
  private before = Promise.resolve()
  /** Decided and not yet carried out: by decideMany(). */
  private run_: Waiting[] = []
  private failed: { readonly error: unknown } | undefined

  constructor(parts: RecoveryParts, isMany: boolean) {
    this.parts = parts
    this.isMany = isMany
    this.sweepId = newUlid(parts.world)
  }

  async run(ids: readonly string[]): Promise<Decision[]> {
    try {
      for (const read of prefetched(this.parts, ids)) {
        const subject = await read
        if (this.failed !== undefined) break
        const at = this.decisions.length
        this.decisions.push({ kind: 'defer', writeId: subject.writeId, rule: 'started', evidence: [] })
        if (!(await this.inRun(at, subject))) await this.alone(at, subject)
      }
      await this.finishRun()
    } catch (error) {
      this.failed ??= { error }
    }
    await Promise.all(this.running)
    if (this.failed !== undefined) throw this.failed.error
    return this.decisions
  }

  /** Into the run, or past it when there is nothing to do in the log. False: it must be settled alone, after the run. */
  private async inRun(at: number, subject: Subject): Promise<boolean> {
    if (!this.isMany || isStray(subject) || subject.file.state === 'mismatch') return false
    const { parts } = this
    const decision = await decide(parts, subject, { name: 'sweep', sweepId: this.sweepId }, true)
    this.decisions[at] = decision
    const { seal } = subject
    if (decision.kind === 'wait' || (decision.kind === 'keep' && decision.shadowed !== true)) return true
    if (decision.kind === 'retire') {
      await this.begin(retire(parts, subject.writeId))
      return true
    }
    // Of a sealed write its files may be damaged, which is told first.
    const isBack = decision.kind === 'discard' || (decision.kind === 'rollback' && seal === undefined)
    const isForward = decision.kind === 'rollForward' && seal !== undefined && isBulk(seal)
    if (decision.shadowed === true || (!isBack && !isForward)) return false
    this.run_.push({ at, subject, decision })
    if (this.run_.length >= RUN) await this.finishRun()
    return true
  }

  private async finishRun(): Promise<void> {
    while (this.run_.length > 0 && this.failed === undefined) {
      const run = this.run_
      const done = await this.parts.decideMany!(run.map(({ subject, decision }) => stepOf(subject, decision, this.sweepId)))
      for (const { subject, decision } of run.slice(0, done)) {
        this.parts.events.recovered(subject.writeId, recoveryFacts(decision, subject.intent, this.sweepId).kind)
        await this.begin(retire(this.parts, subject.writeId))
      }
      // The first that was in the way of the others.
      const [stopped] = (this.run_ = run.slice(done))
      if (stopped === undefined) return
      this.run_ = this.run_.slice(1)
      await this.start(stopped.at, await subjectOf(this.parts, stopped.subject.writeId))
    }
  }

  private async alone(at: number, subject: Subject): Promise<void> {
    await this.finishRun()
    const work = this.start(at, subject)
    // A seal may be published, which changes tables: everything after it is decided against that.
    if (subject.seal !== undefined) await work
    else await this.begin(work)
  }

  private start(at: number, subject: Subject): Promise<void> {
    const turn = Promise.withResolvers<void>()
    const pass: Pass = { name: 'sweep', sweepId: this.sweepId, turn: { before: this.before, taken: turn.resolve } }
    this.before = turn.promise
    return (isStray(subject) ? strayed(this.parts, subject) : settle(this.parts, subject.writeId, pass, subject))
      .then((decision) => void (this.decisions[at] = decision))
      .catch((error: unknown) => void (this.failed ??= { error }))
      .finally(turn.resolve)
  }

  /** In the background, a bounded number at a time. */
  private async begin(work: Promise<void>): Promise<void> {
    const kept = work.finally(() => void this.running.delete(kept))
    this.running.add(kept)
    if (this.running.size >= AT_ONCE) await Promise.race(this.running)
  }
}

/** INTENT goes first in and last out. */
function isStray({ intent, file }: Subject): boolean {
  return intent === undefined && file.state === 'absent'
}

function stepOf({ writeId, seal, intent }: Subject, decision: Decision, sweepId: string): BulkStep {
  const recovery = recoveryFacts(decision, intent, sweepId)
  const baseLsn = Number(intent!.baseLsn)
  return decision.kind === 'rollForward' ? { writeId, recovery, baseLsn, seal: seal! } : { writeId, recovery, baseLsn, reason: decision.reason! }
}

/** The writes that have something in `staging/`, ascending. @throws StorageError */
export async function listStaging(root: Root, world: Pick<World, 'failpoints'>): Promise<string[]> {
  const { failpoints } = world
  const list = async (): Promise<string[]> => {
    const ids = new Set<string>()
    for await (const { name } of root.list(STAGING_PREFIX)) {
      const id = name.slice(STAGING_PREFIX.length, name.indexOf('/', STAGING_PREFIX.length))
      if (isUlid(id)) ids.add(id)
    }
    return [...ids].sort()
  }
  const ids = failpoints.active ? await failpoints.around(FP.intent.list, {}, list) : await list()
  if (failpoints.active) await failpoints.hit(FP.intent.listAfter, {})
  return ids
}

/**
 * Removes folders below `staging/` that hold no object, and temporary files there: what a process leaves that was killed before its INTENT had its name. Only for whoever
 * is alone in the store. A failure is told and left to the next pass.
 */
export async function sweepStagingFolders(root: Root, world: Pick<World, 'logger'>): Promise<void> {
  try {
    await root.sweepTemporary?.(Number.MAX_SAFE_INTEGER, { prefix: STAGING_PREFIX })
  } catch (cause) {
    world.logger.log({ level: 'warn', code: 'sweep.foldersFailed', cause })
  }
}

/** Subjects in order, read a window ahead; what fails is thrown when its turn comes. */
function* prefetched(parts: RecoveryParts, ids: readonly string[]): Generator<Promise<Subject>, undefined> {
  const window: Promise<Subject>[] = []
  for (let at = 0; at < ids.length || window.length > 0;) {
    while (window.length < AT_ONCE && at < ids.length) {
      const read = subjectOf(parts, ids[at++]!)
      read.catch(() => undefined)
      window.push(read)
    }
    yield window.shift()!
  }
}

/** Files without an INTENT: of a decided write, or put by an owner that was fenced. They are nobody's. */
async function strayed({ root, state, world }: RecoveryParts, { writeId }: Subject): Promise<Decision> {
  await root.deletePrefix(stagingPrefix(writeId))
  const outcome = state.catalog.outcomes.of(idHex(writeId))?.outcome
  world.logger.log({ level: 'info', code: 'sweep.strays', writeId, outcome })
  return { kind: 'retire', writeId, rule: 'd2', evidence: [{ rule: 'd2', what: 'files without an INTENT' }] }
}

function isUlid(text: string): boolean {
  if (text.length !== 26) return false
  try {
    return ulidText(ulidBytes(text)) === text
  } catch {
    return false
  }
}
