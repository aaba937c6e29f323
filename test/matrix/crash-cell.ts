// One cell of the crash matrix: a kind of write, a failpoint with one of its arrivals, what goes wrong there, and how the store is found again.
//
// What was acknowledged is there, what was not is there as a whole or not at all, and which of the two is said by what the caller was told (crash-run.ts).
import { expect } from 'vitest'

import { ClosedError, PoisonedError, type Store, VarveError, type WriteId } from '../../bindings/index.ts'
import { soon } from '../../bindings/runtime/index.ts'
import { type FailpointAction, type FailpointName, FP } from '../../bindings/testing/index.ts'
import { checkSame, checkWhole, lookAt, type Look, namesOf, orphansOf, stagedIn } from './crash-checks.ts'
import { type Ground, isShared, type Layout, newGround, notePassed, type Passed, Process } from './crash-ground.ts'
import type { Kind } from './crash-kinds.ts'
import { hash } from './crash-hash.ts'
import { after, docs, docsOf, type Effect, notes, notesOf, probes, readRows, type Rows, stock, stockOf, textOf } from './crash-rows.ts'
import { isUnknown, nameOf, type Possible, Run } from './crash-run.ts'

export const FAULTS = ['killed', 'error', 'lost'] as const
/** killed: the process is gone; error: before the effect; lost: the effect happens, its answer does not arrive. */
export type Fault = (typeof FAULTS)[number]

export const FINDS = ['reopen', 'reopen twice', 'read-only first', 'next writer'] as const
/** How the store is found again. */
export type Find = (typeof FINDS)[number]

export interface Cell {
  readonly kind: Kind
  readonly layout: Layout
  readonly point: FailpointName
  /** Arrivals that pass before the one that is struck. */
  readonly arrival: number
  readonly fault: Fault
  readonly find: Find
}

export interface Found {
  /** What the caller was told: `ok`, `killed`, or the class of the error. */
  readonly told: string
  /** before, after, sealed, same (there is nothing to tell them apart), or how many steps of how many. */
  readonly state: string
}

const ACTIONS: Readonly<Record<Fault, FailpointAction>> = { killed: { crash: true }, error: { error: 'io' }, lost: { errorAfterEffect: 'timeout' } }
const PID = { founder: 1, actor: 2, other: 9, next: 20 }
const SEED = 77
const TURNS_MAX = 20_000
/** Past the term of a lease. */
const LONG_MS = 35_000
/** Each table of a write leaves a fragment and an index. */
const ORPHANS_MAX = 8

interface Prepared {
  readonly ground: Ground
  readonly rows: Rows
  readonly held: WriteId | undefined
  readonly isHeld: boolean
}

const bases = new Map<Layout, Promise<Prepared>>()
/** Steps with an effect on rows in a run without faults, by kind. */
const totals = new Map<string, number>()
const prepared = new Map<string, Promise<Prepared>>()

/** Rows in fragments and in memory, in tables with and without a key. */
async function baseOf(layout: Layout): Promise<Prepared> {
  const ground = newGround(layout)
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

async function prepare(kind: Kind, layout: Layout): Promise<Prepared> {
  if (kind.fresh === true) return { ground: newGround(layout), rows: new Map(), held: undefined, isHeld: false }
  const base = await once(bases, layout, () => baseOf(layout))
  if (kind.leaves === 'goesOn' || (kind.before === undefined && kind.leaves === undefined)) return base
  return once(prepared, `${layout} ${kind.name}`, async () => {
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

async function once<K, V>(cache: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  let known = cache.get(key)
  if (known === undefined) cache.set(key, (known = make()))
  return known
}

/** Up to where the kind acts. `other`: a second writer of the store, which was there before. */
async function begin(kind: Kind, layout: Layout, withOther: boolean): Promise<{ run: Run; alive: Set<number>; other: Process | undefined }> {
  const { ground: from, rows, held, isHeld } = await prepare(kind, layout)
  const ground = kind.fresh === true ? newGround(layout) : await from.fork()
  const alive = new Set<number>()
  let other: Process | undefined
  if (withOther) {
    other = new Process(ground, PID.other, SEED + 9, alive, kind.options)
    await other.open()
  }
  const run = new Run(ground, new Process(ground, PID.actor, SEED + 2, alive, kind.options), rows, alive)
  run.held = held
  run.isHeld = isHeld
  if (kind.opens !== true) await run.process.open()
  if (kind.leaves === 'goesOn') {
    await kind.before!(run)
    run.settle()
  }
  return { run, alive, other }
}

/** A run without faults: the points it passes; its rows must be the model's. */
export function learn(kind: Kind, layout: Layout): Promise<Passed> {
  return settling(learnNow(kind, layout))
}

async function learnNow(kind: Kind, layout: Layout): Promise<Passed> {
  const { run } = await begin(kind, layout, false)
  const passed = notePassed(run.process.points)
  await kind.act(run)
  await quiet()
  totals.set(kind.name, effectsOf(run))
  run.process.kill()
  const next = new Process(run.ground.killed(), PID.next, SEED + 3, new Set([PID.next]), kind.options)
  await next.open()
  await settled(next, run.ground.layout)
  const text = textOf(await readRows(next.store))
  const [only] = run.possible().filter((state) => textOf(state.rows) === text)
  // Of several it is the last: where an answer was lost, the effect was not.
  expect(text, 'rows after a run without faults').toBe(textOf(run.possible().at(-1)!.rows))
  expect(await next.store.staged()).toHaveLength(only!.held ? 1 : 0)
  await next.store.close()
  return passed
}

/** @throws the assertion that does not hold; an Error when a call does not settle */
export function runCell(cell: Cell): Promise<Found> {
  return settling(cellNow(cell))
}

async function cellNow(cell: Cell): Promise<Found> {
  const { kind, layout, point, arrival, fault, find } = cell
  const { run, alive, other } = await begin(kind, layout, find === 'next writer' && isShared(layout) && kind.opens !== true)
  const { process } = run
  const { arrivals } = notePassed(process.points)
  {
    using armed = process.points.arm(point, { ...ACTIONS[fault], after: arrival, times: 1, mayMiss: true })
    await Promise.race([kind.act(run).catch(() => undefined), process.points.crashed])
    await quiet()
    expect(armed.fired, `arrival ${arrival} of ${armed.hits}`).toBe(1)
  }
  const told = fault === 'killed' ? 'killed' : run.failure === undefined ? 'ok' : nameOf(run.failure)
  // What a process that is gone would have thrown at itself nobody sees.
  const isOwnEnd = fault === 'killed' && (run.failure as Error | undefined)?.name === 'FailpointError'
  if (run.failure !== undefined && !isOwnEnd) expect(run.failure, 'an error of the list').toBeInstanceOf(VarveError)
  const promoted = (arrivals.get(FP.promote.before) ?? 0) > 0 || kind.promoted === true || layout === 'object'
  const finder = new Finder(cell, run, alive, promoted)
  if (fault === 'killed') {
    alive.delete(PID.actor)
    process.kill()
    await finder.afterKill(other)
  } else await finder.afterError(other)
  return { told, state: finder.state }
}

class Finder {
  state = ''
  private readonly cell: Cell
  private readonly run: Run
  private readonly alive: Set<number>
  private readonly promoted: boolean
  private ground: Ground
  private possible: readonly Possible[]
  private readonly total: number
  private pid = PID.next

  constructor(cell: Cell, run: Run, alive: Set<number>, promoted: boolean) {
    this.cell = cell
    this.run = run
    this.alive = alive
    this.promoted = promoted
    this.ground = run.ground
    this.possible = run.possible()
    this.total = totals.get(cell.kind.name) ?? effectsOf(run)
  }

  private get seed(): number {
    const { kind, point, arrival } = this.cell
    return hash(`${kind.name} ${point} ${arrival}`)
  }

  async afterKill(other: Process | undefined): Promise<void> {
    switch (this.cell.find) {
      case 'reopen':
        this.ground = this.ground.cut(this.seed)
        return this.twice()
      case 'reopen twice':
        this.ground = this.ground.killed()
        await this.openAndDie()
        return this.twice()
      case 'read-only first':
        this.ground = this.ground.killed()
        await this.readOnly()
        return this.twice()
      case 'next writer':
        if (other !== undefined) await this.heal(other, PID.other)
        else this.ground = this.ground.cut(this.seed)
        return this.twice(true)
    }
  }

  async afterError(other: Process | undefined): Promise<void> {
    const { process } = this.run
    switch (this.cell.find) {
      case 'reopen':
        await this.close()
        this.ground = this.ground.killed()
        return this.twice()
      case 'reopen twice':
        process.kill()
        this.alive.delete(PID.actor)
        this.ground = this.ground.killed()
        await this.openAndDie()
        return this.twice()
      case 'read-only first':
        // Beside the process that met an error and lives on.
        await this.readOnly()
        process.kill()
        this.alive.delete(PID.actor)
        this.ground = this.ground.cut(this.seed)
        return this.twice()
      case 'next writer':
        await this.goOn()
        await this.close()
        if (other !== undefined) await this.heal(other, PID.other)
        this.ground = this.ground.killed()
        return this.twice()
    }
  }

  private next(): Process {
    return new Process(this.ground, ++this.pid, this.seed + this.pid, this.alive, this.cell.kind.options)
  }

  /** Opened, looked at, closed, opened again: the same; then its user decides what is held, and it takes writes. */
  private async twice(writesFirst = false): Promise<void> {
    const before = stagedIn(await namesOf(this.next().root, 'staging/'))
    const first = this.next()
    await first.open()
    if (writesFirst) await this.probe(first.store)
    await settled(first, this.cell.layout)
    const seen = await lookAt(first.store, first.root)
    this.judge(seen)
    await checkWhole(first.store, seen)
    this.checkRecovered(seen, before)
    this.checkOrphans(seen)
    await this.checkIds(first.store, seen)
    await first.store.close()
    first.gone()
    const second = this.next()
    await second.open()
    await settled(second, this.cell.layout)
    const again = await lookAt(second.store, second.root)
    checkSame(again, seen)
    await this.finish(second, again)
    await second.store.close()
    second.gone()
  }

  private async openAndDie(): Promise<void> {
    const once = this.next()
    await once.open()
    await quiet()
    once.kill()
    // What it did and what was not synced before it may be lost together.
    this.ground = this.ground.cut(this.seed + 1)
  }

  /** A reader changes nothing, sees one of the states that are possible, and tells what a writer would do. */
  private async readOnly(): Promise<void> {
    const reader = this.next()
    const files = await namesOf(reader.root)
    try {
      const store = await reader.openReadOnly()
      const text = textOf(await readRows(store))
      // What is sealed for good comes with the writer that finds it.
      if (!this.possible.some(({ rows }) => textOf(rows) === text)) expect(await store.pending(), 'a reader sees less only where a write waits').not.toEqual([])
      await store.close()
    } catch (error) {
      if (this.cell.kind.fresh !== true) throw error
      expect(nameOf(error)).toBe('NotAStoreError')
    }
    expect(await namesOf(reader.root), 'a read-only open changes nothing').toEqual(files)
    reader.gone()
  }

  /** The handle that met the error is used on. */
  private async goOn(): Promise<void> {
    const { run } = this
    const { kind } = this.cell
    if (run.process.store === undefined) {
      await run.process.open()
      await settled(run.process, this.cell.layout)
    }
    const { store } = run
    if (store.closed) return
    try {
      await this.probe(store)
      // What was not known before the first is known now, and decided at the entry of the second.
      await this.probe(store)
    } catch (error) {
      const isOver = run.steps.some(({ error: failed }) => failed instanceof PoisonedError) || error instanceof PoisonedError || error instanceof ClosedError
      expect(isOver, `the handle is used on: ${String(error)}`).toBe(true)
      return
    }
    await this.again()
    const text = textOf(await readRows(store))
    this.narrow((state) => textOf(state.rows) === text, 'rows of the same handle')
    for (const step of run.steps) {
      if (step.writeId === undefined || step.kind !== 'plain' || step.state !== 'failed') continue
      const outcome = await store.outcome(step.writeId)
      expect(isUnknown(step) ? ['published', 'rolledBack', 'pending', 'unknown'] : ['rolledBack', 'unknown'], `outcome of ${step.name}`).toContain(outcome)
    }
    // Armed and not known to be over it may be: that is a sweep's to decide.
    if (kind.fresh !== true)
      expect(
        (await store.pending()).filter(({ mode, state }) => mode === 'auto' && state === 'sealed'),
        'healed',
      ).toEqual([])
  }

  /** The held write that met an error is published, or rolled back, on the same handle. */
  private async again(): Promise<void> {
    const { run } = this
    const failed = run.steps.find(({ state }) => state === 'failed')
    if (failed === undefined || run.write === undefined || (failed.kind !== 'seal' && failed.kind !== 'publish' && failed.kind !== 'rollback')) return
    // A write that could not be sealed has ended with that.
    if (run.write.state === 'rolledBack' && failed.kind !== 'rollback')
      return this.narrow(({ held, applied }) => !held && applied === 0, 'a write that rolled itself back')
    failed.state = 'started'
    if (failed.kind === 'seal') await run.write.seal()
    else if (failed.kind === 'publish') await run.write.publish()
    else await run.write.rollback('again')
    failed.state = 'done'
    this.possible = run.possible()
  }

  /** A writer that was there before finds what the dead one left. */
  private async heal(other: Process, pid: number): Promise<void> {
    // The first shows it what the other has sealed, the second sees its LEASE, the third sees it stand still.
    await this.probe(other.store)
    await this.probe(other.store)
    await other.sim.time.advance(LONG_MS)
    await this.probe(other.store)
    const auto = (await other.store.pending()).filter(({ mode, state }) => mode === 'auto' && state === 'sealed')
    expect(auto, 'sealed writes of a dead owner are healed').toEqual([])
    const text = textOf(await readRows(other.store))
    this.narrow((state) => textOf(state.rows) === text, 'rows that the other writer sees')
    await other.store.close()
    this.alive.delete(pid)
  }

  private async close(): Promise<void> {
    const { process } = this.run
    await process.store?.close().catch((error: unknown) => expect(error).toBeInstanceOf(VarveError))
    process.gone()
  }

  private narrow(which: (state: Possible) => boolean, what: string): void {
    const left = this.possible.filter(which)
    if (left.length === 0) throw new Error(`${what}: none of the ${this.possible.length} states that are possible`)
    this.possible = left
  }

  private judge({ text, held, rows }: Look): void {
    const isHeld = held.length > 0
    const match = this.possible.filter((state) => state.held === isHeld && textOf(state.rows) === text)
    if (match.length === 0) {
      const wanted = this.possible.map((state) => `${state.held ? 'sealed, ' : ''}${state.applied} of ${this.total} steps`).join(' | ')
      const closest = this.possible.map((state) => differences(state.rows, rows)).sort((a, b) => a.length - b.length)[0]
      throw new Error(`neither of: ${wanted}; there is ${isHeld ? 'a sealed write and ' : ''}${closest === '' ? 'the same rows' : closest}`)
    }
    const { applied } = match.at(-1)!
    this.possible = match
    this.state = isHeld ? 'sealed' : this.total === 0 ? 'same' : applied === 0 ? 'before' : applied === this.total ? 'after' : `${applied} of ${this.total}`
  }

  /** Every write that was found undecided has one outcome now, with its audit facts; nobody else's has any. */
  private checkRecovered({ facts, held }: Look, staged: readonly string[]): void {
    for (const writeId of staged) {
      if (held.includes(writeId as WriteId)) continue
      expect(facts.decided.get(writeId), `write ${writeId} was left in staging/ and is decided`).toHaveLength(1)
    }
    // No process wrote anything by itself after the one that is gone.
    const own = this.cell.fault === 'killed' ? this.run.steps.filter(({ state }) => state === 'done') : []
    for (const { writeId, name } of own) {
      const [decided] = facts.decided.get(writeId ?? '') ?? []
      if (decided !== undefined) expect(decided.recovered, `${name} was acknowledged: recovery has no part in it`).toBe(false)
    }
    if (this.cell.fault !== 'killed') return
    for (const [writeId, [decided]] of facts.decided) {
      const wasLive =
        this.run.steps.some(({ kind, state }) => kind === 'rollback' && state === 'started') || this.run.steps.some(({ name }) => name === 'leave')
      if (decided!.outcome === 'rolledBack' && !wasLive && !this.run.steps.some(({ kind }) => kind === 'rollback')) {
        expect(decided!.recovered, `write ${writeId} was rolled back by a recovery, which says so`).toBe(true)
      }
    }
  }

  private checkOrphans(look: Look): void {
    const orphans = orphansOf(look)
    const undone = [...look.facts.decided.values()].some(([only]) => only!.outcome === 'rolledBack') || this.cell.fault !== 'killed'
    if (this.promoted && undone) expect(orphans.length, `orphans ${orphans.join(' ')}`).toBeLessThanOrEqual(ORPHANS_MAX)
    else expect(orphans, 'files without an owner').toEqual([])
  }

  /** outcome() says what the rows say. */
  private async checkIds(store: Store, { held }: Look): Promise<void> {
    let applied = this.possible.at(-1)!.applied
    for (const { writeId, kind, effect } of this.run.steps) {
      const isThere = effect !== undefined && applied-- > 0
      if (writeId === undefined || kind !== 'plain' || effect === undefined) continue
      const outcome = await store.outcome(writeId)
      if (isThere) expect(outcome, 'outcome of what is there').toBe('published')
      else expect(['rolledBack', 'unknown'], 'outcome of what is not there').toContain(outcome)
    }
    for (const writeId of held) expect(await store.outcome(writeId)).toBe('pending')
  }

  /** The held write is decided by its user, and the store takes writes. */
  private async finish(process: Process, { held }: Look): Promise<void> {
    const { store } = process
    for (const writeId of held) {
      const write = await store.resume(writeId)
      expect(write.state).toBe('sealed')
      if (this.cell.kind.ends === 'rollback') await write.rollback()
      else await write.publish()
      const effects = this.run.steps.filter(({ kind }) => kind === 'publish').map(({ effect }) => effect)
      const rows = await readRows(store)
      if (effects.length > 0 && this.cell.kind.ends === undefined) expect(textOf(rows)).toBe(textOf(allOf(this.possible.at(-1)!.rows, effects)))
      expect(await store.staged()).toEqual([])
    }
    await this.probe(store)
    expect(stagedIn(await namesOf(process.root, 'staging/')), 'staging/ in the end').toEqual([])
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  }

  private async probe(store: Store): Promise<void> {
    if (!(await store.tables()).some(({ name }) => name === 'probes')) return
    const n = ++this.pid * 10
    await store.upsert(probes, { n })
    expect(await store.get(probes, n)).toEqual({ n })
  }
}

function effectsOf({ steps }: Run): number {
  return steps.filter(({ effect }) => effect !== undefined).length
}

function allOf(rows: Rows, effects: readonly (Effect | undefined)[]): Rows {
  return effects.reduce<Rows>((all, effect) => after(all, effect), rows)
}

function differences(wanted: Rows, found: Rows): string {
  const told: string[] = []
  for (const name of new Set([...wanted.keys(), ...found.keys()])) {
    const want = wanted.get(name) ?? new Map<string, string>()
    const have = found.get(name) ?? new Map<string, string>()
    const missing = [...want].filter(([key, text]) => have.get(key) !== text).length
    const extra = [...have].filter(([key, text]) => want.get(key) !== text).length
    if (name !== 'probes' && missing + extra > 0) told.push(`${name}: ${missing} missing or other, ${extra} too many or other`)
  }
  return told.join('; ')
}

/** On hosts of their own, writers are known to be gone once their LEASE has stood still long enough. */
async function settled(process: Process, layout: Layout): Promise<void> {
  await quiet()
  if (layout !== 'object') return
  await process.sim.time.advance(LONG_MS)
  await quiet()
}

/** Until everything has run that can run by itself. */
async function quiet(): Promise<void> {
  for (let i = 0; i < 12; i++) await new Promise<void>((resolve) => soon(resolve))
}

/** Time stands still unless it is moved: what does not settle within so many turns never does. */
async function settling<T>(work: Promise<T>): Promise<T> {
  let isOver = false
  const result = work.finally(() => (isOver = true))
  const watch = async (): Promise<never> => {
    for (let i = 0; i < TURNS_MAX && !isOver; i++) await new Promise<void>((resolve) => soon(resolve))
    throw new Error('a call never settles')
  }
  return Promise.race([result, watch()])
}
