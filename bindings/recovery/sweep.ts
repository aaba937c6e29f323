// recovery/sweep.ts: what a read-write open does about writes that stopped half-way, after the fold and before the store is ready (recovery.md section 7).
//
// One list of `staging/`, the INTENTs read, each write decided against the fold as it then is, in the order of their ids. Roll-backs change no table, so they are
// queued one behind the other and become durable in groups; a roll forward is waited for.
// Invariant: a store where nothing is pending costs one list and no read; a fault is loud and nothing decided is undone by it.

import { STAGING_PREFIX } from '../format/index.ts'
import type { Root } from '../root/index.ts'
import { FP, newUlid, ulidBytes, ulidText, type World } from '../runtime/index.ts'
import { stagingPrefix } from '../staging/index.ts'
import type { Decision } from '../table/index.ts'
import { idHex, type Subject, subjectOf } from './observe.ts'
import { type Pass, type RecoveryParts, settle } from './settle.ts'

/** INTENTs read, and roll-backs under way, at one time. */
const AT_ONCE = 64

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
  const sweepId = newUlid(world)
  const decisions: Decision[] = []
  const running = new Set<Promise<void>>()
  let before = Promise.resolve()
  let failed: { readonly error: unknown } | undefined
  const start = (subject: Subject): Promise<void> => {
    const at = decisions.length
    decisions.push({ kind: 'defer', writeId: subject.writeId, rule: 'started', evidence: [] })
    const turn = Promise.withResolvers<void>()
    const pass: Pass = { name: 'sweep', sweepId, turn: { before, taken: turn.resolve } }
    before = turn.promise
    const isStray = subject.intent === undefined && subject.file.state === 'absent'
    return (isStray ? strayed(parts, subject) : settle(parts, subject.writeId, pass, subject))
      .then((decision) => void (decisions[at] = decision))
      .catch((error: unknown) => void (failed ??= { error }))
      .finally(turn.resolve)
  }
  try {
    for (const read of prefetched(parts, [...ids].sort())) {
      const subject = await read
      if (failed !== undefined) break
      const work = start(subject)
      running.add(work)
      void work.then(() => running.delete(work))
      // A seal may be published, which changes tables: everything after it is decided against that.
      if (subject.seal !== undefined) await work
      else if (running.size >= AT_ONCE) await Promise.race(running)
    }
  } catch (error) {
    failed ??= { error }
  }
  await Promise.all(running)
  if (failed !== undefined) throw failed.error
  return { decisions, waiting: decisions.filter(({ kind, rule }) => kind === 'wait' && rule === 'd5').map(({ writeId }) => writeId) }
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

/** Files without an INTENT: of a decided write, or put by an owner that was fenced. INTENT goes first in and last out, so they are nobody's. */
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
