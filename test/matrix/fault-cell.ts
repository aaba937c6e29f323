// One cell of the storage-fault matrix: a kind of write, one call of its root, and what goes wrong with that call (recovery.md section 16, roots.md section 6).
//
// What was acknowledged is there; what was refused for certain is not; what nobody could say is there as a whole or not at all, and outcome() tells which.
// The handle works on once the fault is gone, but where its log was poisoned; whatever stays is gone with the next open, and a second one changes nothing.
import { expect } from 'vitest'

import { ClosedError, CODES, OpenLockTimeoutError, PoisonedError, StorageError, type Store, VarveError, type WriteId } from '../../bindings/index.ts'
import { soon } from '../../bindings/runtime/index.ts'
import type { RootCall } from '../../bindings/testing/index.ts'
import { checkSame, checkWhole, lookAt, type Look, namesOf, stagedIn } from './crash-checks.ts'
import { type Ground, Process } from './crash-ground.ts'
import type { Kind } from './crash-kinds.ts'
import { docs, docsOf, notes, notesOf, probes, readRows, type Rows, stock, stockOf, textOf } from './crash-rows.ts'
import { type Possible, Run } from './crash-run.ts'
import { callName, type Fault, planOf } from './fault-calls.ts'
import { groundOf, type Place } from './fault-ground.ts'

export interface Cell {
  readonly kind: Kind
  readonly place: Place
  /** The call that fails, from 1. */
  readonly k: number
  readonly fault: Fault
}

export interface Found {
  readonly call: string
  /** What the caller was told: `ok`, or the error; with `~` when a leftover was announced. */
  readonly told: string
  /** before, after, sealed, same (nothing to tell them apart), or how many commits of how many. */
  readonly state: string
}

const PID = { founder: 1, actor: 2, next: 20 }
const SEED = 77
/** Past the term of a lease. */
const LONG_MS = 35_000
/** Turns of the event loop after which a call is said to hang; now and then time passes. */
const TURNS_MAX = 6_000
const TURNS_PER_SECOND = 100

interface Prepared {
  readonly ground: Ground
  readonly rows: Rows
  readonly held: WriteId | undefined
  readonly isHeld: boolean
}

const bases = new Map<string, Promise<Prepared>>()

/** Rows in fragments and in memory, in tables with and without a key. */
async function baseOf(place: Place): Promise<Prepared> {
  const ground = groundOf(place)
  const founder = new Process(ground, PID.founder, SEED, new Set())
  const store = await founder.open()
  await store.create(docs, notes, stock, probes)
  for (let i = 0; i < 4; i++) await store.append(docs, docsOf(i * 10, 10, 1))
  await store.append(notes, notesOf(0, 10))
  await store.flush()
  await store.delete(docs, [9, 19])
  await store.append(docs, docsOf(40, 6, 2))
  await store.upsert(docs, docsOf(10, 3, 5))
  await store.append(notes, notesOf(10, 10))
  await store.append(stock, stockOf(0, 8, 10))
  const rows = await readRows(store)
  await store.close()
  return { ground, rows, held: undefined, isHeld: false }
}

async function prepare(kind: Kind, place: Place): Promise<Prepared> {
  const base = await once(place, () => baseOf(place))
  if (kind.leaves === 'goesOn' || (kind.before === undefined && kind.leaves === undefined)) return base
  return once(`${place} ${kind.name}`, async () => {
    const ground = await base.ground.fork()
    const alive = new Set<number>()
    const run = new Run(ground, new Process(ground, PID.founder, SEED + 1, alive, kind.options), base.rows, alive)
    await run.process.open()
    await kind.before?.(run)
    run.settle()
    if (kind.leaves === 'killed') run.process.kill()
    else await run.store.close()
    return { ground: ground.killed(), rows: run.rows, held: run.held, isHeld: run.isHeld }
  })
}

function once(key: string, make: () => Promise<Prepared>): Promise<Prepared> {
  let known = bases.get(key)
  if (known === undefined) bases.set(key, (known = make()))
  return known
}

async function begin(kind: Kind, place: Place): Promise<{ run: Run; alive: Set<number> }> {
  const fresh = kind.fresh === true
  const { ground: from, rows, held, isHeld } = fresh ? { ground: groundOf(place), rows: new Map(), held: undefined, isHeld: false } : await prepare(kind, place)
  const ground = fresh ? from : await from.fork()
  const alive = new Set<number>()
  const run = new Run(ground, new Process(ground, PID.actor, SEED + 2, alive, kind.options), rows, alive)
  run.held = held
  run.isHeld = isHeld
  if (kind.opens !== true) await run.process.open()
  if (kind.leaves === 'goesOn') {
    await kind.before!(run)
    run.settle()
  }
  await quiet()
  return { run, alive }
}

/** Kinds with a fault of their own. */
const failing = new Set<string>()

/** The calls of a run without faults. */
export async function learn(kind: Kind, place: Place): Promise<readonly RootCall[]> {
  const { run } = await begin(kind, place)
  const { root } = run.process
  const from = root.calls.length
  await within(run, kind.act(run))
  await quiet()
  const calls = root.calls.slice(from)
  if (run.failure !== undefined) failing.add(kind.name)
  run.process.kill()
  return calls
}

/** @throws the assertion that does not hold */
export async function runCell(cell: Cell): Promise<Found> {
  const { kind, place, k, fault } = cell
  const { run, alive } = await begin(kind, place)
  const { root } = run.process
  const struck: RootCall[] = []
  root.plan(planOf(fault, k, (call) => struck.push(call)))
  const leftovers = new Set<string>()
  const hear = (store: Store | undefined): void => {
    store?.on('retireDeferred', () => void leftovers.add('retireDeferred'))
    store?.on('checkpointFailed', () => void leftovers.add('checkpointFailed'))
  }
  hear(run.process.store)
  await within(run, kind.act(run)).catch((error: unknown) => {
    if (error instanceof Hang) throw error
  })
  if (kind.opens === true) hear(run.process.store)
  await quiet()
  root.plan(undefined)
  expect(struck.length, 'the call was reached').toBeGreaterThan(0)
  const judge = new Judge(cell, run, alive)
  const told = judge.error(fault)
  await judge.handle()
  await judge.reopen()
  return { call: callName(struck[0]!), told: [told, ...leftovers].join(' ~ '), state: judge.state }
}

const isDecision = (kind: string): boolean => kind === 'seal' || kind === 'publish' || kind === 'rollback'

class Hang extends Error {}

class Judge {
  state = ''
  private readonly cell: Cell
  private readonly run: Run
  private readonly alive: Set<number>
  private possible: readonly Possible[]
  private readonly total: number
  private ground: Ground
  private pid = PID.next

  constructor(cell: Cell, run: Run, alive: Set<number>) {
    this.cell = cell
    this.run = run
    this.alive = alive
    this.ground = run.ground
    this.possible = run.possible()
    this.total = run.steps.filter(({ effect }) => effect !== undefined).length
  }

  /** What the caller was told: one of the errors of the list, which says what happened. */
  error(fault: Fault): string {
    const failed = this.run.steps.find(({ state }) => state === 'failed')
    if (failed === undefined) {
      expect(
        this.run.steps.filter(({ state }) => state === 'started'),
        'no step is under way',
      ).toEqual([])
      return 'ok'
    }
    if (!failing.has(this.cell.kind.name)) expect(fault.error, `slow is no error: ${textOfError(failed.error)}`).toBeDefined()
    expect(failed.error, textOfError(failed.error)).toBeInstanceOf(VarveError)
    const error = failed.error as VarveError
    expect(Object.keys(CODES), error.code).toContain(error.code)
    expect(['store.invariant'], textOfError(error)).not.toContain(error.code)
    expect(error.kind, textOfError(error)).not.toBe('corrupt')
    if (!(error instanceof StorageError)) return error.name
    // Never "not there", never "there already", for what failed in another way.
    expect([fault.error, 'unknown'], textOfError(error)).toContain(error.class)
    return `${error.name} ${error.class === fault.error ? '' : error.class}`.trim()
  }

  /** The handle that met the fault, now that it is gone. */
  async handle(): Promise<void> {
    const { run } = this
    if (run.process.store === undefined) {
      try {
        await within(run, run.process.open())
      } catch (error) {
        // A LOCK that could not be given back, however often that was tried, is held until its process ends.
        expect(error, textOfError(error)).toBeInstanceOf(OpenLockTimeoutError)
        expect(this.cell.fault.lasts, textOfError(error)).toBeDefined()
        return
      }
      await settled(run.process)
    }
    const { store } = run
    if (store.closed) return
    const wasPoisoned = run.steps.some(({ error }) => error instanceof PoisonedError)
    // Reads go on, also on a poisoned handle.
    if (wasPoisoned) await readRows(store)
    try {
      await within(run, this.probe(store))
    } catch (error) {
      expect(error instanceof PoisonedError || error instanceof ClosedError, `the handle works on: ${textOfError(error)}`).toBe(true)
      return
    }
    if (wasPoisoned) return
    // Whatever was not known is known now: another write heals what the first one came to know of.
    await within(run, store.refresh())
    await within(run, this.probe(store))
    await this.again()
    const text = textOf(await readRows(store))
    this.narrow(({ rows }) => textOf(rows) === text, 'rows of the same handle', text)
    await this.outcomes(store)
    const auto = (await store.pending()).filter(({ mode, state }) => mode === 'auto' && state === 'sealed')
    expect(auto, 'a sealed write of this handle is healed by its next one').toEqual([])
  }

  /** A held write is sealed, published or rolled back by asking again. */
  private async again(): Promise<void> {
    const { run } = this
    const failed = run.steps.find(({ state }) => state === 'failed')
    if (failed === undefined || run.write === undefined || !isDecision(failed.kind)) return
    failed.state = 'started'
    const write = run.write
    const call: Promise<unknown> = failed.kind === 'seal' ? write.seal() : failed.kind === 'publish' ? write.publish() : write.rollback('again')
    try {
      await within(run, call)
      failed.state = 'done'
    } catch (error) {
      // A seal that failed for certain has ended its write; where its roll-back could not be recorded either, its user does it.
      expect(error, textOfError(error)).toBeInstanceOf(VarveError)
      failed.state = 'failed'
      if (this.cell.fault.lasts !== undefined && error instanceof StorageError) await within(run, write.rollback('again'))
      else expect(['write.closed', 'log.fenced', 'write.fenced'], textOfError(error)).toContain((error as VarveError).code)
    }
    this.possible = run.possible()
  }

  private async outcomes(store: Store): Promise<void> {
    let applied = this.possible.at(-1)!.applied
    for (const { writeId, kind, effect } of this.run.steps) {
      const isThere = effect !== undefined && applied-- > 0
      if (writeId === undefined || isDecision(kind) || effect === undefined) continue
      const outcome = await store.outcome(writeId)
      expect(isThere ? ['published'] : ['rolledBack', 'unknown', 'pending'], `outcome of ${isThere ? 'what is there' : 'what is not there'}`).toContain(outcome)
    }
  }

  /** By another process: after a close, a kill or a power cut, in turns. */
  async reopen(): Promise<void> {
    const { run, cell } = this
    const { process } = run
    const way = process.store === undefined ? 1 : cell.k % 3
    if (way === 0) {
      await within(run, process.store.close()).catch((error: unknown) => expect(error, textOfError(error)).toBeInstanceOf(VarveError))
      process.gone()
      this.ground = this.ground.killed()
    } else {
      process.kill()
      this.alive.delete(PID.actor)
      this.ground = way === 1 ? this.ground.killed() : this.ground.cut(cell.k)
    }
    const first = this.next()
    await within(this.run, first.open())
    await settled(first)
    const seen = await lookAt(first.store, first.root)
    this.narrow(
      ({ rows, held }) => textOf(rows) === seen.text && held === seen.held.length > 0,
      `rows after ${['a close', 'a kill', 'a power cut'][way]}`,
      seen.text,
    )
    this.state = this.name(seen)
    await checkWhole(first.store, seen)
    await this.outcomes(first.store)
    await first.store.close()
    first.gone()
    const second = this.next()
    await within(this.run, second.open())
    await settled(second)
    checkSame(await lookAt(second.store, second.root), seen)
    await this.finish(second, seen)
    await second.store.close()
    second.gone()
  }

  private next(): Process {
    const pid = ++this.pid
    return new Process(this.ground, pid, SEED + pid, this.alive, this.cell.kind.options)
  }

  private narrow(which: (state: Possible) => boolean, what: string, found: string): void {
    const left = this.possible.filter(which)
    if (left.length === 0) expect(found, `${what} are none of the ${this.possible.length} possible`).toBe(textOf(this.possible[0]!.rows))
    expect(left.length, what).toBeGreaterThan(0)
    this.possible = left
  }

  private name({ held }: Look): string {
    const { applied } = this.possible.at(-1)!
    if (held.length > 0) return 'sealed'
    if (this.total === 0) return 'same'
    return applied === 0 ? 'before' : applied === this.total ? 'after' : `${applied} of ${this.total}`
  }

  private async finish(process: Process, { held }: Look): Promise<void> {
    const { store } = process
    for (const writeId of held) {
      const write = await store.resume(writeId)
      if (this.cell.kind.ends === 'rollback') await write.rollback()
      else await write.publish()
    }
    await this.probe(store)
    expect(stagedIn(await namesOf(process.root, 'staging/')), 'staging/ in the end').toEqual([])
    if (held.length > 0) expect((await store.verify({ level: 'all' })).problems).toEqual([])
  }

  private async probe(store: Store): Promise<void> {
    if (!(await store.tables()).some(({ name }) => name === 'probes')) return
    const n = ++this.pid * 10
    await store.upsert(probes, { n })
    expect(await store.get(probes, n)).toEqual({ n })
  }
}

export function textOfError(error: unknown): string {
  return error instanceof Error ? `${error.stack}${error.cause === undefined ? '' : `\n  because ${textOfError(error.cause)}`}` : String(error)
}

/** @throws Hang when it does not come to its end */
async function within<T>(run: Run, work: Promise<T>): Promise<T> {
  let isOver = false
  const over = (): void => void (isOver = true)
  work.then(over, over)
  for (let turn = 1; turn <= TURNS_MAX && !isOver; turn++) {
    if (turn % TURNS_PER_SECOND === 0) await run.process.sim.time.advance(1000)
    await new Promise<void>((resolve) => soon(resolve))
  }
  if (!isOver) throw new Hang(`nothing comes of it in ${TURNS_MAX} turns: ${run.steps.map(({ name, state }) => `${name} ${state}`).join(', ')}`)
  return work
}

/** On hosts of their own, writers are known to be gone once their LEASE has stood still long enough. */
async function settled(process: Process): Promise<void> {
  await quiet()
  if (process.root.caps.segments) return
  await process.sim.time.advance(LONG_MS)
  await quiet()
}

/** Until everything has run that can run by itself. */
async function quiet(): Promise<void> {
  for (let i = 0; i < 12; i++) await new Promise<void>((resolve) => soon(resolve))
}
