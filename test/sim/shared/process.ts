// One process of a simulation: a store handle on the shared root, a random life with it, and its death now and then.
//
// Everything is drawn from its dice; what it asks for and what it is told goes into the book of the simulation.

import {
  ClosedError,
  CommitOutcomeUnknownError,
  type CommitResult,
  ConflictError,
  ContentionError,
  PendingIntentError,
  DuplicateKeyError,
  FencedError,
  InvalidConfigError,
  Store,
  type StagedWrite,
  type Transaction,
  VarveError,
  type WriteId,
} from '../../../bindings/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { newUlid, seededRandom, type World } from '../../../bindings/runtime/index.ts'
import { failpoints, type FakeClock, fakeWorld, FAILPOINTS } from '../../../bindings/testing/index.ts'
import type { Dice } from '../durable/dice.ts'
import {
  accounts,
  type AnyRow,
  type Change,
  dataOf,
  events,
  keyOf,
  NAMES,
  pairs,
  perform,
  performIn,
  rowText,
  TABLES,
  type TableName,
  whereOf,
} from '../store-model.ts'
import { type Attempt, counterRow, COUNTERS, type Step, SUM } from './attempts.ts'
import { SharedNet } from './net.ts'

export interface Ground {
  readonly root: () => Root
  readonly clock: FakeClock
  readonly faults: number
  readonly deaths: number
  /** Processes of one machine know of each other's death at once. */
  readonly sameHost: boolean
  readonly livePids: Set<number>
  readonly attempts: Map<string, Attempt>
  readonly looks: Look[]
  readonly stats: { pid: number; deaths: number; faulted: number; conflicts: number; unknowns: number; published: number; tracked: string[] }
}

/** What one handle showed at one LSN: rows as sorted texts, by table. */
export interface Look {
  readonly who: string
  readonly lsn: number
  readonly rows: Readonly<Record<TableName, readonly string[]>>
}

const DEAD = Symbol('dead')

export class Process {
  readonly name: string
  store!: Store
  net!: SharedNet
  private world!: World
  private life = 0
  private pid = 0
  /** Crashes that wait for their moment. */
  private readonly dooms: Disposable[] = []
  private died: Promise<typeof DEAD> = new Promise(() => {})
  private readonly g: Ground
  private readonly dice: Dice

  constructor(name: string, g: Ground, dice: Dice) {
    this.name = name
    this.g = g
    this.dice = dice
  }

  get who(): string {
    return `${this.name}.${this.life}`
  }

  async open(o: { faults?: number } = {}): Promise<void> {
    const { g, dice } = this
    for (;;) {
      this.life++
      // What a handle that was closed in the middle has left is left by a process that ended.
      g.livePids.delete(this.pid)
      const pid = ++g.stats.pid
      this.pid = pid
      g.livePids.add(pid)
      const host = {
        name: g.sameHost ? 'host' : `host-${pid}`,
        pid,
        processStartTime: String(pid),
        isAlive: (other: number, start: string) => g.livePids.has(other) && start === String(other),
      }
      const base = fakeWorld({ clock: g.clock, seed: dice.seed(), host })
      this.world = { ...base, random: seededRandom(dice.seed()) }
      const points = failpoints(this.world)
      this.died = points.crashed.then((): typeof DEAD => {
        g.livePids.delete(pid)
        return DEAD
      })
      this.net = new SharedNet(g.root(), { world: this.world, dice, faults: o.faults ?? g.faults, wayMs: 6 })
      const opened = await this.alive(
        Store.open(this.net, {
          writers: 'shared',
          threads: 0,
          follow: dice.once(2),
          upkeep: 'manual',
          publishRetries: 60,
          inlineLimitBytes: dice.pick([400, 1200, 256 * 1024]),
          sealMode: dice.pick(['fused', 'fused', 'separate']),
          world: this.world,
        }).then(
          (store) => store,
          (error: unknown) => error as Error,
        ),
      )
      if (opened !== DEAD && !(opened instanceof Error)) {
        this.store = opened
        return
      }
      if (opened instanceof Error && !isPassing(opened)) throw new Error(`${this.who}: open: ${opened.message}`, { cause: opened })
      g.livePids.delete(pid)
      g.stats.faulted += this.net.faulted
      await this.sleep(50)
    }
  }

  /** From here on nothing goes wrong. */
  async calm(): Promise<void> {
    for (const doom of this.dooms.splice(0)) doom[Symbol.dispose]()
    this.net.faults = 0
    // It may have died of something that it did by itself, between two steps.
    if (this.store.closed || failpoints(this.world).stopped) await this.open({ faults: 0 })
  }

  /** Closed, and its process over. */
  async end(): Promise<void> {
    await this.store.close()
    this.g.livePids.delete(this.pid)
  }

  /** The promise, or DEAD when the process dies first. */
  private alive<T>(work: Promise<T>): Promise<T | typeof DEAD> {
    return Promise.race([work, this.died])
  }

  private sleep(ms: number): Promise<void> {
    return this.g.clock.timers.sleep(this.dice.int(ms + 1))
  }

  async live(steps: number): Promise<void> {
    const { dice, g } = this
    for (let i = 0; i < steps; i++) {
      await this.sleep(25)
      const isDoomed = dice.int(1000) < g.deaths * 1000
      if (isDoomed) this.dooms.push(failpoints(this.world).arm(dice.pick(FAILPOINTS), { crash: true, times: 1, after: dice.int(4), mayMiss: true }))
      const work: Promise<unknown> = dice.once(5) ? Promise.all([this.step(), this.step(), this.step()]) : this.step()
      const ended = await this.alive(work as Promise<unknown>)
      if (ended === DEAD || this.store.closed) {
        if (ended === DEAD) g.stats.deaths++
        await this.open()
      }
    }
  }

  private async step(): Promise<void> {
    const { dice } = this
    const roll = dice.int(100)
    if (roll < 42) return this.write()
    if (roll < 57) return this.transact()
    if (roll < 70) return this.stage()
    if (roll < 78) return this.resume()
    if (roll < 82) return this.quietly(() => this.store.flush())
    if (roll < 84) return this.quietly(() => this.store.optimize().catch(unlessUndecided))
    if (roll < 89) return this.quietly(() => this.store.refresh())
    if (roll < 97) return this.look()
    if (roll < 98) return this.create()
    return this.quietly(() => this.store.close())
  }

  /** A call that changes no rows: it may fail of a fault, and of nothing else. */
  private async quietly(call: () => Promise<unknown>): Promise<void> {
    try {
      await call()
    } catch (error) {
      if (!isPassing(error) && !isOver(error) && !(error instanceof ContentionError)) throw this.told('a call', error)
    }
  }

  async create(): Promise<void> {
    await this.quietly(() => this.store.create(accounts, pairs, events))
  }

  // rows

  private attempt(steps: readonly Step[], isStaged: boolean, writeId: string = newUlid(this.world), key?: string): Attempt {
    const attempt: Attempt = { writeId, who: this.who, steps, isStaged, key, startLsn: Number(this.store.lsn), told: 'open', conflicts: [] }
    this.g.attempts.set(writeId, attempt)
    return attempt
  }

  private async write(): Promise<void> {
    const change = drawChange(this.dice)
    const key = this.dice.once(6) ? `key-${this.dice.int(6)}` : undefined
    const attempt = this.attempt([change], false, undefined, key === undefined ? undefined : `${key} ${JSON.stringify(change)}`)
    await this.settle(attempt, () => perform(this.store, change, { writeId: attempt.writeId as WriteId }))
  }

  private async transact(): Promise<void> {
    const { dice } = this
    const steps: Step[] = [dice.once(3) ? { op: 'sum', key: SUM } : { op: 'count', key: dice.pick(COUNTERS) }]
    if (dice.once(3)) steps.push({ ...drawChange(dice, ['upsert', 'delete']), form: 'rows' } as Change)
    if (dice.once(2)) steps.push({ op: 'append', table: 'events', keys: [dice.int(50)], salt: dice.int(50), form: 'rows' })
    const attempt = this.attempt(steps, false)
    await this.settle(attempt, async () => {
      let told: CommitResult | undefined
      await this.store.transact((tx) => run(tx, steps), { writeId: attempt.writeId as WriteId, retries: dice.pick([0, 5, 20]), onCommitted: (r) => (told = r) })
      return told!
    })
  }

  private async stage(): Promise<void> {
    const { dice } = this
    const changes = dice.list(1, 3, () => drawChange(dice, ['upsert', 'append', 'delete', 'bulk', 'replace']))
    let attempt: Attempt | undefined
    let write: StagedWrite
    try {
      const startLsn = Number(this.store.lsn)
      write = await this.store.stage()
      attempt = { ...this.attempt(changes, true, write.id), startLsn }
      this.g.attempts.set(write.id, attempt)
    } catch (error) {
      return this.refused(attempt, error)
    }
    try {
      for (const change of changes) await stageChange(write, change)
      attempt.told = 'maybe'
      await write.seal()
    } catch (error) {
      // Whether its seal is in the log may not be known: then somebody else may publish it.
      if (!(error instanceof CommitOutcomeUnknownError) && !isOver(error)) attempt.told = 'no'
      this.refused(undefined, error)
      await write[Symbol.asyncDispose]().catch((failed: unknown) => this.refused(undefined, failed))
      return
    }
    if (dice.once(3)) return void (await write[Symbol.asyncDispose]())
    await this.finish(write, attempt)
  }

  private async resume(): Promise<void> {
    let write: StagedWrite
    try {
      await this.store.refresh()
      const staged = await this.store.staged()
      if (staged.length === 0) return
      const id = this.dice.pick(staged).writeId
      write = await this.store.resume(id)
    } catch (error) {
      if (error instanceof InvalidConfigError) return
      return this.refused(undefined, error)
    }
    await this.finish(write, this.g.attempts.get(write.id)!)
  }

  private async finish(write: StagedWrite, attempt: Attempt): Promise<void> {
    const { dice } = this
    try {
      if (dice.once(6)) {
        await write.rollback('sim')
        this.settled(attempt, 'rolledBack')
        return
      }
      const { lsn } = await write.publish()
      this.g.stats.published++
      this.settled(attempt, 'ack', Number(lsn))
      if (dice.once(3)) this.settled(attempt, 'ack', Number((await write.publish()).lsn))
    } catch (error) {
      this.noteConflict(attempt, error)
      // Somebody else decided: the history will say what.
      if (!(error instanceof FencedError && error.scope === 'write') && !(error instanceof ConflictError) && !isDecided(error)) this.refused(undefined, error)
      if (error instanceof ConflictError && dice.once(2)) {
        await write.rollback('conflict').then(
          () => this.settled(attempt, 'rolledBack'),
          (failed: unknown) => this.refused(undefined, isDecided(failed) ? undefined : failed),
        )
      }
    } finally {
      await write[Symbol.asyncDispose]().catch((failed: unknown) => this.refused(undefined, failed))
    }
  }

  private settled(attempt: Attempt, told: Attempt['told'], lsn?: number): void {
    if (attempt.told === 'ack' && (told !== 'ack' || attempt.lsn !== lsn)) {
      throw new Error(`${this.who}: ${attempt.writeId} was published at LSN ${attempt.lsn}, and is now told to be ${told} ${lsn ?? ''}`)
    }
    if (attempt.told === 'rolledBack' && told === 'ack')
      throw new Error(`${this.who}: ${attempt.writeId} was rolled back, and is now told to be published at ${lsn}`)
    attempt.told = told
    if (lsn !== undefined) attempt.lsn = lsn
  }

  private async settle(attempt: Attempt, call: () => Promise<{ lsn: bigint; rows: number }>): Promise<void> {
    try {
      const { lsn, rows } = await call()
      attempt.told = 'ack'
      attempt.lsn = Number(lsn)
      attempt.rows = rows
    } catch (error) {
      this.refused(attempt, error)
    }
  }

  /** A call failed: what does that say about its rows? */
  private refused(attempt: Attempt | undefined, error: unknown): void {
    if (error === undefined) return
    if (attempt !== undefined) {
      this.noteConflict(attempt, error)
      attempt.told = error instanceof CommitOutcomeUnknownError || isOver(error) ? 'maybe' : 'no'
    }
    if (error instanceof CommitOutcomeUnknownError) this.g.stats.unknowns++
    if (!isExpected(error)) throw this.told(attempt === undefined ? 'a call' : JSON.stringify(attempt.steps), error)
  }

  private noteConflict(attempt: Attempt, error: unknown): void {
    if (!(error instanceof ConflictError)) return
    this.g.stats.conflicts++
    attempt.conflicts.push({ error, headLsn: Number(this.store.lsn) })
  }

  private told(what: string, error: unknown): Error {
    const { message, code = '', stack } = error as Error & { code?: string }
    return Object.assign(new Error(`${this.who}: ${what}: ${code} ${message}`, { cause: error }), { stack: stack ?? '' })
  }

  // looking

  async look(): Promise<void> {
    try {
      const { store } = this
      await using snapshot = await store.snapshot(this.dice.once(4) && store.lsn > 6n ? ((store.lsn - BigInt(this.dice.int(4))) as never) : undefined)
      const rows: Record<string, readonly string[]> = {}
      for (const name of NAMES) {
        const got = (await snapshot.scan(TABLES[name]).toArray()) as unknown as AnyRow[]
        rows[name] = got.map((row) => rowText(name, row)).sort()
        if ((await snapshot.scan(TABLES[name]).count()) !== got.length)
          throw new Error(`${this.who}: ${name} at LSN ${snapshot.lsn}: count() is not the number of rows`)
      }
      this.g.looks.push({ who: this.who, lsn: Number(snapshot.lsn), rows: rows as Look['rows'] })
    } catch (error) {
      if (!isPassing(error) && !isOver(error) && (error as VarveError).code !== 'table.not-found') throw this.told('a look', error)
    }
  }
}

async function run(tx: Transaction, steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    if (step.op === 'count') {
      const row = (await tx.get(accounts, { id: step.key } as never)) as AnyRow | undefined
      tx.upsert(accounts, counterRow(step.key, ((row?.['n'] as number | undefined) ?? 0) + 1) as never)
    } else if (step.op === 'sum') tx.upsert(accounts, counterRow(step.key, await tx.scan(events).count()) as never)
    else await performIn(tx, step)
  }
}

async function stageChange(write: StagedWrite, change: Change): Promise<void> {
  const table = TABLES[change.table]
  if (change.op === 'delete') return write.delete(table, change.keys.map((key) => keyOf(change.table, key)) as never)
  if (change.op === 'deleteWhere') return write.deleteWhere(table, whereOf(change.table, change.below))
  const how = change.op === 'bulk' ? change.how : (change.op as 'append' | 'upsert' | 'replace')
  return (write[how] as (table: unknown, data: unknown) => Promise<void>)(table, dataOf(change))
}

const KEYS = 40

/** One of the changes of store-model, of small tables, so that writers meet. */
function drawChange(
  dice: Dice,
  ops: readonly Change['op'][] = ['upsert', 'upsert', 'append', 'append', 'bulk', 'update', 'delete', 'deleteWhere', 'replace'],
): Change {
  const op = dice.pick(ops)
  const keyed = dice.pick(['accounts', 'accounts', 'pairs'] as const)
  const any = dice.pick(['accounts', 'pairs', 'events', 'events'] as const)
  const salt = dice.int(1000)
  const keys = dice.list(1, 3, () => dice.int(KEYS))
  const form = dice.pick(['rows', 'rows', 'columns'] as const)
  switch (op) {
    case 'bulk': {
      const table = dice.pick(['accounts', 'pairs', 'events'] as const)
      const how = table === 'events' ? 'append' : dice.pick(['upsert', 'upsert', 'append', 'append', 'replace'] as const)
      return {
        op,
        how,
        table,
        start: how === 'append' ? dice.int(2000) : dice.int(KEYS * 2),
        count: 20 + dice.int(60),
        salt,
        form: dice.pick(['columns', 'stream']),
      }
    }
    case 'upsert':
      return { op, table: keyed, keys, salt, form }
    case 'append':
      return { op, table: any, keys: [...new Set(any === 'events' ? keys : keys.map((key) => key + dice.int(2) * 500))], salt, form }
    case 'replace':
      return dice.once(3) ? { op, table: any, keys: [...new Set(keys)], salt, form } : { op: 'upsert', table: keyed, keys, salt, form }
    case 'update':
      return { op, table: keyed, keys, salt }
    case 'delete':
      return { op, table: keyed, keys }
    case 'deleteWhere':
      return { op, table: any, below: dice.once(3) ? null : -35 }
  }
}

/** A fault of the root, or what follows from one. */
function isPassing(error: unknown): boolean {
  return error instanceof VarveError && (error.code.startsWith('root.') || error instanceof CommitOutcomeUnknownError)
}

/** The handle takes no more calls. */
function isOver(error: unknown): boolean {
  return (
    error instanceof ClosedError ||
    (error instanceof VarveError && error.code === 'store.poisoned') ||
    (error instanceof Error && error.name === 'FailpointError')
  )
}

function isDecided(error: unknown): boolean {
  return error instanceof VarveError && error.code === 'write.already-published'
}

function isExpected(error: unknown): boolean {
  return (
    isPassing(error) ||
    isOver(error) ||
    error instanceof ConflictError ||
    error instanceof ContentionError ||
    error instanceof DuplicateKeyError ||
    (error instanceof FencedError && error.scope === 'write') ||
    (error instanceof VarveError && error.code === 'table.not-found')
  )
}

/** Somebody's write is staged: optimize says so and does nothing. */
function unlessUndecided(error: unknown): void {
  if (!(error instanceof PendingIntentError)) throw error
}
