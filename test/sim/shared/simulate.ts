// Several stores that share one log, over a root whose requests fail, with processes that die: run from a seed, on virtual time, and held against one linear history.
//
// The model is made from the log afterwards: commit after commit, each is what some attempt asked for, applied to the state before it. Then everything that any
// handle ever showed must be the model at that LSN, and everything that any caller was told must be true.
// Nothing here depends on the machine: a seed that fails, fails again.

import { Store, VarveError } from '../../../bindings/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import { Dice } from '../durable/dice.ts'
import { elapse } from '../object-log-writers.ts'
import { EMPTY, NAMES, rowText, type State, stateRows, type TableName, TABLES, textOf } from '../store-model.ts'
import { after, type Attempt, keysWritten } from './attempts.ts'
import { type Ground, type Look, Process } from './process.ts'

export interface SharedReport {
  readonly seed: number
  readonly commits: number
  readonly looks: number
  readonly deaths: number
  readonly faults: number
  readonly conflicts: number
  readonly unknowns: number
  readonly published: number
  readonly failures: string[]
}

export interface SharedOptions {
  readonly seed: number
  /** Steps of each process. Default 14. */
  readonly steps?: number
}

interface Point {
  readonly lsn: number
  readonly state: State
}

interface History {
  readonly points: Point[]
  /** By writeId. */
  readonly commits: Map<string, { lsn: number; before: State; rows: number }>
  readonly failures: string[]
}

export async function simulateShared(o: SharedOptions): Promise<SharedReport> {
  const dice = new Dice(o.seed)
  const clock = new FakeClock(undefined, { turns: 1 })
  const memory = new MemoryRoot({})
  const g: Ground = {
    root: () => memory,
    clock,
    faults: dice.pick([0, 0, 0.01, 0.03]),
    deaths: dice.pick([0, 0, 0.05, 0.1]),
    sameHost: dice.once(2),
    livePids: new Set(),
    attempts: new Map(),
    looks: [],
    stats: { pid: 0, deaths: 0, faulted: 0, conflicts: 0, unknowns: 0, published: 0, tracked: [] },
  }
  const failures: string[] = []
  const processes = Array.from({ length: 2 + dice.int(3) }, (_, i) => new Process(`p${i + 1}`, g, new Dice(dice.seed())))
  let commits = 0
  try {
    const lives = processes.map(async (each) => {
      await each.open()
      do await each.create()
      while (!(await isThere(each.store)))
      await each.live(o.steps ?? 14)
    })
    await elapse(clock, Promise.all(lives), 250)
    const history = await elapse(clock, end(g, processes, dice), 250)
    failures.push(...history.failures)
    commits = history.commits.size
  } catch (error) {
    failures.push(error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error))
  }
  const { deaths, conflicts, unknowns, published } = g.stats
  const faults = processes.reduce((sum, { net }) => sum + (net?.faulted ?? 0), g.stats.faulted)
  return {
    seed: o.seed,
    commits,
    looks: g.looks.length,
    deaths,
    faults,
    conflicts,
    unknowns,
    published,
    failures: failures.map((each) => `seed ${o.seed}: ${each}`),
  }
}

async function isThere(store: Store): Promise<boolean> {
  try {
    return (await store.tables()).length >= NAMES.length
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    return false
  }
}

/** No more faults: the handles come to rest, others come, and what they find is held against what was told. */
async function end(g: Ground, processes: readonly Process[], dice: Dice): Promise<History> {
  const failures: string[] = []
  for (const each of processes) await each.calm()
  const late = new Process('late', g, new Dice(dice.seed()))
  await late.open({ faults: 0 })
  // Beyond the term of the leases of the dead.
  await g.clock.timers.sleep(100_000)
  const digests = new Set<string>()
  for (const each of [...processes, late]) {
    await each.store.refresh()
    await each.look()
  }
  for (const each of [...processes, late]) {
    await each.store.refresh()
    digests.add(`${each.store.lsn} ${String((await each.store.verify({ level: 'log' })).digest)}`)
  }
  if (digests.size !== 1) failures.push(`the handles disagree about the log: ${[...digests].join(', ')}`)
  const history = await historyOf(g, late.store)
  history.failures.push(...failures)
  const stagedLeft = (await late.store.staged()).map(({ writeId }) => String(writeId))
  await checkRest(g, late.store, history, stagedLeft)
  for (const each of [...processes, late]) await each.end()
  const again = new Process('again', g, new Dice(dice.seed()))
  await again.open({ faults: 0 })
  await again.look()
  const pending = (await again.store.pending()).filter(({ state, mode }) => state !== 'sealed' || mode !== 'hold')
  if (pending.length > 0)
    history.failures.push(
      `still pending at the end: ${pending.map(({ writeId, state, owner, decision }) => `${writeId} ${state} ${owner} ${decision.kind} ${decision.reason}`).join('; ')}`,
    )
  const { problems } = await again.store.verify({ level: 'all' })
  for (const { code, file, message } of problems) history.failures.push(`verify: ${code} ${file} ${message}`)
  await checkStaging(g.root(), stagedLeft, history.failures)
  await again.store.close()
  await checkCold(g, history)
  for (const look of g.looks) checkLook(history, look)
  for (const attempt of g.attempts.values()) checkAttempt(history, attempt)
  return history
}

/** A reader that comes at the end sees the model too. */
async function checkCold(g: Ground, history: History): Promise<void> {
  const reader = await Store.open(g.root(), { readOnly: true, threads: 0, follow: false, world: fakeWorld({ clock: g.clock }) })
  const rows: Record<string, string[]> = {}
  for (const name of NAMES)
    rows[name] = ((await reader.scan(TABLES[name]).toArray()) as never as Record<string, unknown>[]).map((row) => rowText(name, row)).sort()
  checkLook(history, { who: 'reader', lsn: Number(reader.lsn), rows: rows as never })
  await reader.close()
}

/** Commit after commit: each was asked for, once, and could follow the one before. */
async function historyOf(g: Ground, store: Store): Promise<History> {
  const history: History = { points: [{ lsn: 0, state: EMPTY }], commits: new Map(), failures: [] }
  let state: State = EMPTY
  const created = new Set<string>()
  for await (const commit of store.changes({ from: 0, follow: false })) {
    if (commit.schema.length > 0) {
      for (const name of commit.schema) {
        if (created.has(name)) history.failures.push(`table ${name} is created twice`)
        created.add(name)
      }
      continue
    }
    const lsn = Number(commit.lsn)
    const id = String(commit.writeId)
    const attempt = g.attempts.get(id)
    if (attempt === undefined) {
      history.failures.push(`LSN ${lsn}: nobody asked for ${id}`)
      continue
    }
    const seen = history.commits.get(id)
    if (seen !== undefined) history.failures.push(`${id} of ${attempt.who} is in the log at LSN ${seen.lsn} and at ${lsn}`)
    const next = after(state, attempt.steps)
    if (next === undefined) {
      history.failures.push(`LSN ${lsn} (${attempt.who}) doubles a key: ${JSON.stringify(attempt.steps)}`)
      return history
    }
    history.commits.set(id, { lsn, before: state, rows: next.rows })
    state = next.state
    history.points.push({ lsn, state })
  }
  return history
}

function stateAt({ points }: History, lsn: number): Point {
  let low = 0
  let high = points.length - 1
  while (low < high) {
    const mid = (low + high + 1) >> 1
    if (points[mid]!.lsn <= lsn) low = mid
    else high = mid - 1
  }
  return points[low]!
}

const texts = new WeakMap<object, string[]>()

function textsOf(state: State, name: TableName): string[] {
  let known = texts.get(state[name])
  if (known === undefined) {
    known = stateRows(state, name)
      .map((row) => rowText(name, row))
      .sort()
    texts.set(state[name], known)
  }
  return known
}

function checkLook(history: History, { who, lsn, rows }: Look): void {
  const point = stateAt(history, lsn)
  for (const name of NAMES) {
    const right = textsOf(point.state, name)
    const got = rows[name]
    if (got.length === right.length && got.every((each, i) => each === right[i])) continue
    const extra = got.filter((each) => !right.includes(each))
    const missing = right.filter((each) => !got.includes(each))
    history.failures.push(
      `${who} at LSN ${lsn} (commit ${point.lsn}): ${name} has ${got.length} rows, not ${right.length}; too much: ${extra.slice(0, 3).join(' ; ')}; missing: ${missing.slice(0, 3).join(' ; ')}`,
    )
  }
}

function checkAttempt(history: History, attempt: Attempt): void {
  const { writeId, who, told, lsn, rows, isStaged } = attempt
  const found = history.commits.get(writeId)
  const what = `${writeId} of ${who} ${isStaged ? '(staged) ' : ''}${JSON.stringify(attempt.steps).slice(0, 300)}`
  if (told === 'ack' && found?.lsn !== lsn) history.failures.push(`${what}: acknowledged at LSN ${lsn}, in the log at ${found?.lsn ?? 'none'}`)
  if (
    told === 'ack' &&
    rows !== undefined &&
    found !== undefined &&
    attempt.steps.length === 1 &&
    attempt.steps[0]!.op !== 'count' &&
    attempt.steps[0]!.op !== 'sum' &&
    rows !== found.rows
  )
    history.failures.push(`${what}: told ${rows} rows, ${found.rows} by the model`)
  if ((told === 'no' || told === 'rolledBack') && found !== undefined) history.failures.push(`${what}: ${told}, and is in the log at LSN ${found.lsn}`)
  for (const { error, headLsn } of attempt.conflicts) checkConflict(history, attempt, error, headLsn, what)
}

/** A conflict names what another commit wrote since the write was begun. */
function checkConflict(history: History, attempt: Attempt, error: Attempt['conflicts'][number]['error'], headLsn: number, what: string): void {
  const name = error.table as TableName
  const written = new Set<string>()
  let changed = false
  for (const [id, commit] of history.commits) {
    if (commit.lsn <= attempt.startLsn || commit.lsn > headLsn || id === attempt.writeId) continue
    const keys = keysWritten(commit.before, historySteps(history, id), name)
    if (keys === undefined) continue
    changed = true
    if (keys === 'all') return
    for (const key of keys) written.add(key)
  }
  if (!changed) history.failures.push(`${what}: a conflict on ${name}, which nobody changed from LSN ${attempt.startLsn} to ${headLsn}: ${error.message}`)
  for (const key of error.keys) {
    const text = textOf(name, key as never)
    if (!written.has(text))
      history.failures.push(`${what}: a conflict about ${text} of ${name}, which nobody wrote from LSN ${attempt.startLsn} to ${headLsn}: ${error.message}`)
  }
}

const steps_ = new WeakMap<History, Map<string, Attempt>>()
function historySteps(history: History, id: string): Attempt['steps'] {
  return steps_.get(history)!.get(id)!.steps
}

/** Outcomes, audit rows and counters. */
async function checkRest(g: Ground, store: Store, history: History, stagedLeft: readonly string[]): Promise<void> {
  steps_.set(history, g.attempts as Map<string, Attempt>)
  const audited = new Set<string>()
  for await (const row of store.audit()) {
    if (row.writeId === undefined || row.by !== 'varve:recovery') continue
    const id = String(row.writeId)
    if (audited.has(id)) history.failures.push(`${id} has two audit rows`)
    audited.add(id)
    const isIn = history.commits.has(id)
    const attempt = g.attempts.get(id)
    // A flush has a writeId too, and is no commit.
    if (attempt === undefined) continue
    if ((row.kind === 'rolledForward') !== isIn) history.failures.push(`${id}: audited as ${row.kind}, and ${isIn ? 'in' : 'not in'} the log`)
    if (attempt.told === 'rolledBack' || (attempt.told === 'ack' && attempt.lsn === undefined))
      history.failures.push(`${id} was ${attempt.told} by its user and is audited as ${row.kind}`)
  }
  for (const attempt of g.attempts.values()) {
    if (!attempt.isStaged) continue
    const outcome = await store.outcome(attempt.writeId as never)
    const isIn = history.commits.has(attempt.writeId)
    const right = isIn ? 'published' : stagedLeft.includes(attempt.writeId) ? 'pending' : 'not'
    if (right === 'not' ? outcome === 'published' || outcome === 'pending' : outcome !== right)
      history.failures.push(`outcome of ${attempt.writeId} (${attempt.told}) is ${outcome}, the log says ${right}`)
  }
}

/** Only sealed writes that wait for their users own something there. */
async function checkStaging(root: Root, left: readonly string[], failures: string[]): Promise<void> {
  for await (const { name } of root.list('staging/')) {
    if (!left.includes(name.split('/')[1]!)) failures.push(`${name} is left of a decided write`)
  }
}
