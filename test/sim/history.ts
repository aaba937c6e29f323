// Runs a random history against a store and a model of it, side by side: changes one by one and in bursts, transactions, flushes, snapshots, reopens.
//
// Invariant: after every step the store shows what the model shows; the model of every LSN that ever was is kept for time travel, the feed and the checkpoints.

import fc from 'fast-check'
import { expect } from 'vitest'

import {
  ConflictError,
  DuplicateKeyError,
  type OpenOptions,
  PendingIntentError,
  type ReadStore,
  type Root,
  type Snapshot,
  Store,
  type Transaction,
  type VarveError,
} from '../../bindings/index.ts'
import {
  accounts,
  type AnyRow,
  type Applied,
  apply,
  type Change,
  compare,
  EMPTY,
  events,
  keyOf,
  NAMES,
  pairs,
  perform,
  performIn,
  same,
  type State,
  stateText,
  type TableName,
  text,
  textOf,
} from './store-model.ts'
import { soon } from '../../bindings/runtime/index.ts'
import { checkDiff, type KnownVersion } from './diff-check.ts'
import type { SimWorld } from './sim-world.ts'

export type Step =
  | Change
  | { readonly op: 'transact'; readonly parts: readonly Change[]; readonly race: Change | undefined; readonly retries: number }
  | { readonly op: 'burst'; readonly changes: readonly Change[]; readonly flush: boolean; readonly aborts: readonly (number | null)[] }
  | { readonly op: 'flush' }
  | { readonly op: 'optimize'; readonly rows: number }
  | { readonly op: 'sync' }
  | { readonly op: 'snapshot' }
  | { readonly op: 'release'; readonly which: number }
  | { readonly op: 'travel'; readonly to: number }
  | { readonly op: 'reopen'; readonly how: 'clean' | 'kill' }
  | { readonly op: 'tick'; readonly ms: number }

/** Log since the checkpoint from which on a clean close flushes what is in memory and writes another. */
const CLOSE_BYTES = 1024 * 1024
/** No roll-back record is longer. */
const ROLLBACK_BYTES = 512

const key = fc.nat(60)
const keys = fc.array(key, { minLength: 1, maxLength: 6 })
const salt = fc.nat(8)
const name = fc.constantFrom<TableName>('accounts', 'accounts', 'pairs', 'events')
const keyed = fc.constantFrom<'accounts' | 'pairs'>('accounts', 'accounts', 'pairs')
const form = fc.constantFrom('rows' as const, 'rows' as const, 'columns' as const, 'stream' as const)

export const changes: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('upsert' as const), table: keyed, keys, salt, form }) },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('append' as const), table: name, keys: fc.uniqueArray(key, { minLength: 1, maxLength: 6 }), salt, form }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('append' as const), table: name, keys, salt, form }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('bulk' as const),
      how: fc.constantFrom('upsert' as const, 'append' as const, 'replace' as const),
      table: keyed,
      start: fc.nat(200),
      count: fc.integer({ min: 1, max: 200 }),
      salt,
      form: fc.constantFrom('columns' as const, 'stream' as const),
    }),
  },
  // Enough rows for deletion vectors of their own.
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('bulk' as const),
      how: fc.constantFrom('upsert' as const, 'upsert' as const, 'append' as const),
      table: keyed,
      start: fc.nat(100),
      count: fc.integer({ min: 1500, max: 2500 }),
      salt,
      form: fc.constantFrom('columns' as const, 'stream' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('update' as const), table: keyed, keys, salt }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('delete' as const), table: keyed, keys }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('deleteWhere' as const), table: name, below: fc.option(fc.integer({ min: -45, max: 0 }), { freq: 5 }) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('replace' as const), table: name, keys: fc.uniqueArray(key, { maxLength: 6 }), salt, form }) },
)

export const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: changes },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('transact' as const),
      parts: fc.array(changes, { minLength: 1, maxLength: 4 }),
      race: fc.option(changes, { nil: undefined, freq: 2 }),
      retries: fc.nat(2),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('burst' as const),
      changes: fc.array(changes, { minLength: 2, maxLength: 8 }),
      flush: fc.boolean(),
      // Turns of the event loop after which the call is aborted.
      aborts: fc.array(fc.option(fc.nat(25), { freq: 3 }), { maxLength: 8 }),
    }),
  },
  { weight: 4, arbitrary: fc.constant({ op: 'flush' as const }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('optimize' as const), rows: fc.constantFrom(1, 4, 40, 1_000_000) }) },
  { weight: 1, arbitrary: fc.constant({ op: 'sync' as const }) },
  { weight: 2, arbitrary: fc.constant({ op: 'snapshot' as const }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('release' as const), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('travel' as const), to: fc.nat(1000) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('reopen' as const), how: fc.constantFrom('clean' as const, 'kill' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('tick' as const), ms: fc.nat(150) }) },
)

export interface Place {
  readonly root: string | Root
  readonly sim: SimWorld
  readonly options: OpenOptions
  /** The place after a kill of the process that had it open; undefined: the root knows no such thing. */
  killed?(): Place
}

interface Version {
  readonly lsn: number
  readonly timeMs: number
  readonly state: State
  /** Of a commit without any table a feed of tables tells nothing. */
  readonly isTold: boolean
}

export class History {
  place: Place
  store!: Store
  follower: ReadStore | undefined
  state: State = EMPTY
  /** One per commit, ascending; the first is the empty store with its tables. */
  readonly versions: Version[] = []
  private snapshots: { readonly snapshot: Snapshot; readonly state: State; readonly lsn: bigint }[] = []
  private readonly follows: boolean
  /** Records that the next open or close adds beside the epoch. */
  protected extraRecords = 0
  private readonly checks: boolean
  /** Highest LSN acknowledged so far, also inside a step. */
  acknowledged = 0
  /** Highest LSN that sync() or a close has made durable. */
  synced = 0

  constructor(place: Place, o: { follows?: boolean; checks?: boolean } = {}) {
    this.place = place
    this.follows = o.follows ?? false
    this.checks = o.checks ?? true
  }

  async open(): Promise<void> {
    this.store = await Store.open(this.place.root as string, { ...this.place.options, threads: 0, world: this.place.sim.world })
    await this.store.create(accounts, pairs, events)
    if (this.versions.length === 0) this.versions.push({ lsn: Number(this.store.lsn), timeMs: 0, state: EMPTY, isTold: true })
    if (this.follows)
      this.follower = await Store.open(this.place.root as string, {
        ...this.place.options,
        threads: 0,
        world: this.place.sim.world,
        readOnly: true,
        follow: false,
      })
  }

  async run(script: readonly Step[]): Promise<void> {
    for (const [i, step] of script.entries()) {
      this.place.sim.tick(i % 3)
      await this.step(step)
      if (this.checks) await this.check(`step ${i} ${text(step)}`)
    }
  }

  private async step(step: Step): Promise<void> {
    switch (step.op) {
      case 'transact':
        return this.transact(step)
      case 'burst':
        return this.burst(step)
      case 'flush':
        return this.store.flush()
      case 'optimize':
        return this.optimize(step.rows)
      case 'sync':
        this.synced = Number(await this.store.sync())
        expect(this.synced).toBe(Number(this.store.lsn))
        return
      case 'snapshot': {
        const snapshot = await this.store.snapshot()
        this.snapshots.push({ snapshot, state: this.state, lsn: snapshot.lsn })
        if (this.follower === undefined) return
        await this.follower.refresh()
        this.snapshots.push({ snapshot: await this.follower.snapshot(), state: this.state, lsn: snapshot.lsn })
        return
      }
      case 'release':
        for (const { snapshot } of this.snapshots.splice(step.which % (this.snapshots.length + 1), 1)) await snapshot[Symbol.asyncDispose]()
        return
      case 'travel':
        return this.travel(this.versions[step.to % this.versions.length]!)
      case 'reopen':
        return this.reopen(step.how)
      case 'tick':
        return this.place.sim.time.advance(step.ms)
      default:
        return this.change(step)
    }
  }

  /** Refused while a write is staged and not decided. */
  private async optimize(rows: number): Promise<void> {
    try {
      await this.store.optimize({ target: { rows } })
    } catch (error) {
      if (!(error instanceof PendingIntentError)) throw error
      expect((await this.store.pending()).length, 'what is told to be pending is').toBeGreaterThan(0)
    }
  }

  private async change(change: Change): Promise<void> {
    const right = apply(this.state, change)
    if (right === undefined) {
      await expect(perform(this.store, change), text(change)).rejects.toBeInstanceOf(DuplicateKeyError)
      return
    }
    const result = await perform(this.store, change)
    expect(result.rows, `${text(change)}: rows`).toBe(right.rows)
    this.committed(result, right.state)
  }

  protected committed(result: { lsn: bigint; time: Date }, state: State, isTold = true): void {
    this.state = state
    this.acknowledged = Math.max(this.acknowledged, Number(result.lsn))
    this.versions.push({ lsn: Number(result.lsn), timeMs: result.time.getTime(), state, isTold })
  }

  /** Many at once; what is acknowledged took effect in LSN order, what is refused had no effect. */
  private async burst({ changes: asked, flush, aborts }: Step & { op: 'burst' }): Promise<void> {
    const aborted = new Error('aborted by the test')
    const running = asked.map((change, i) =>
      perform(this.store, change, aborts[i] == null ? {} : { signal: abortAfter(aborts[i], aborted) }).then(
        (result) => {
          this.acknowledged = Math.max(this.acknowledged, Number(result.lsn))
          return { change, result, error: undefined }
        },
        (error: unknown) => ({ change, result: undefined, error: error as VarveError }),
      ),
    )
    const flushing = flush ? this.store.flush() : undefined
    const outcomes = await Promise.all(running)
    await flushing
    for (const { change, error } of outcomes) {
      if (error === undefined || error === (aborted as unknown)) continue
      if (!(error instanceof DuplicateKeyError || error instanceof ConflictError)) throw error
      expect(change.op === 'append' || change.op === 'replace' || change.op === 'bulk', `${text(change)} refused: ${error.message}`).toBe(true)
    }
    const done = outcomes.filter((outcome) => outcome.result !== undefined).sort((a, b) => Number(a.result!.lsn - b.result!.lsn))
    for (const { change, result } of done) {
      const right = apply(this.state, change)
      expect(right, `${text(change)} at LSN ${result!.lsn} holds a key twice`).toBeDefined()
      expect(result!.rows, `${text(change)} at LSN ${result!.lsn}: rows`).toBe(right!.rows)
      this.committed(result!, right!.state)
    }
  }

  private async transact({ parts, race, retries }: Step & { op: 'transact' }): Promise<void> {
    const { store } = this
    let base = this.state
    let raced = false
    let committed: { lsn: bigint; time: Date } | undefined
    const run = store.transact(
      async (tx) => {
        base = this.state
        await this.inside(tx, parts)
        if (race === undefined || tx.attempt > 0) return
        const right = apply(this.state, race)
        if (right === undefined) return
        raced = true
        this.committed(await perform(store, race), right.state)
      },
      {
        retries,
        onCommitted: (result) => {
          committed = result
          this.acknowledged = Math.max(this.acknowledged, Number(result.lsn))
        },
      },
    )
    const error = await run.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    if (error instanceof ConflictError) {
      expect(raced, 'a conflict has a cause').toBe(true)
      expect(retries, 'a conflict is tried again').toBe(0)
      return
    }
    // Each part as it meets what the ones before it left; undefined: one of them holds a key twice.
    const after = replay(this.state, parts)
    if (error instanceof DuplicateKeyError) return expect(after, `refused: ${error.message}`).toBeUndefined()
    if (error !== undefined) throw error as Error
    // What read only may stand at its snapshot, before the race.
    if (committed === undefined) return expect(stateText(replay(base, parts)!), 'a transaction without a commit changed nothing').toBe(stateText(base))
    expect(after, 'a duplicate key was let through').toBeDefined()
    this.committed(committed, after!)
  }

  /** A transaction sees its snapshot with its own writes over it. */
  private async inside(tx: Transaction, parts: readonly Change[]): Promise<void> {
    let view: State | undefined = this.state
    await compare(tx, view, 'transaction, at its start', { light: true })
    for (const part of parts) {
      const right: Applied | undefined = view === undefined ? undefined : apply(view, part)
      const count = await performIn(tx, part)
      view = right?.state
      if (view === undefined || right === undefined) continue // a key twice: refused now or at the commit
      if (count !== undefined) expect(count, `transaction, ${text(part)}: count`).toBe(right.rows)
      const at = 'keys' in part && part.table === 'accounts' ? (part.keys[0] ?? 1) : 1
      expect(await tx.get(accounts, keyOf('accounts', at) as never), 'transaction, get').toEqual((view.accounts as ReadonlyMap<string, AnyRow>).get(text([at])))
    }
    if (view !== undefined) await compare(tx, view, 'transaction, its own writes', { light: true })
  }

  private async travel(version: Version): Promise<void> {
    await compare(this.store, version.state, `at LSN ${version.lsn}`, { at: version.lsn as never })
    // The last commit of that millisecond or before.
    const last = this.versions.findLast((each) => each.timeMs <= version.timeMs)!
    if (version.timeMs > 0) await compare(this.store, last.state, `at ${version.timeMs} ms`, { at: new Date(version.timeMs) as never, light: true })
  }

  private async reopen(how: 'clean' | 'kill'): Promise<void> {
    for (const { snapshot } of this.snapshots.splice(0)) await snapshot[Symbol.asyncDispose]()
    await this.follower?.close()
    const { digest, lsn } = await this.store.verify({ level: 'log' })
    const { bytesSinceCheckpoint } = (await this.store.stats()).log
    const killed = how === 'clean' ? undefined : this.place.killed?.()
    const isClean = killed === undefined
    if (isClean) {
      const head = Number(this.store.lsn)
      await this.store.close()
      this.synced = head
    } else {
      const dead = this.store
      this.place = killed
      dead.close().catch(() => undefined)
    }
    await this.open()
    const report = await this.store.verify({ level: 'log' })
    expect(report.problems).toEqual([])
    expect(digest.length).toBe(32)
    const added = await kindsAfter(this.store, Number(lsn))
    expect(Number(report.lsn), `records from ${lsn} on: ${added.join(', ')}`).toBe(Number(lsn) + added.length)
    const flushes = added.filter((kind) => kind === 'flush').length
    expect(added.length - flushes, `an open adds its epoch record: ${added.join(', ')}`).toBe(1 + this.extraRecords)
    // What a close rolls back is log, too.
    const bytes = bytesSinceCheckpoint + this.extraRecords * ROLLBACK_BYTES
    if (flushes > 0) expect(isClean ? bytes : 0, 'only a clean close with much log behind it flushes').toBeGreaterThanOrEqual(CLOSE_BYTES)
    if (isClean) expect((await this.store.stats()).log.bytesSinceCheckpoint, 'left by a clean close').toBeLessThan(CLOSE_BYTES)
    this.extraRecords = 0
  }

  async check(what: string): Promise<void> {
    await compare(this.store, this.state, what)
    const tables = await this.store.tables()
    for (const name of NAMES) same(tables.find((each) => each.name === name)?.rows, sizeOf(this.state, name), `${what}: rows of ${name}`)
    for (const { snapshot, state, lsn } of this.snapshots) {
      expect(snapshot.lsn).toBe(lsn)
      await compare(snapshot, state, `${what}: snapshot of ${lsn}`)
    }
    if (this.follower !== undefined) {
      same(await this.follower.refresh(), this.store.lsn, `${what}: follower`)
      await compare(this.follower, this.state, `${what}: follower`)
    }
  }

  /** What must hold of the whole history. */
  async finish(): Promise<void> {
    const stride = Math.max(1, Math.floor(this.versions.length / 8))
    for (let i = 0; i < this.versions.length; i += stride) await this.travel(this.versions[i]!)
    await this.differences(stride)
    await this.feed()
    const report = await this.store.verify({ level: 'all' })
    expect(report.problems).toEqual([])
    expect(report.ok).toBe(true)
  }

  /** diff() between neighbours and far apart, forwards and backwards. */
  private async differences(stride: number): Promise<void> {
    const known = (version: Version): KnownVersion => ({ at: version.lsn as never, state: version.state })
    const first = this.versions[0]!
    for (let i = stride; i < this.versions.length; i += stride) {
      await checkDiff(this.store, known(this.versions[i - stride]!), known(this.versions[i]!))
      await checkDiff(this.store, known(this.versions[i]!), known(first))
    }
    await checkDiff(this.store, known(first), { at: this.store.lsn, state: this.state })
  }

  /** The change feed, replayed from the start and from the middle, gives every version. */
  private async feed(): Promise<void> {
    for (const from of [0, Math.floor(this.versions.length / 2)]) {
      let state: State = from === 0 ? EMPTY : this.versions[from]!.state
      const start = from === 0 ? 0 : this.versions[from]!.lsn
      const byLsn = new Map(this.versions.map((version) => [version.lsn, version]))
      let seen = 0
      for await (const commit of this.store.changes({ from: start, tables: [accounts, pairs, events], images: 'both', follow: false })) {
        if (commit.schema.length > 0) continue
        const counts: Record<string, { inserted: number; updated: number; deleted: number }> = {}
        const next: Record<TableName, Map<string, AnyRow> | AnyRow[]> = {
          accounts: new Map(state.accounts as never),
          pairs: new Map(state.pairs as never),
          events: [...(state.events as AnyRow[])],
        }
        for await (const change of commit) {
          const table = change.table as TableName
          const count = (counts[table] ??= { inserted: 0, updated: 0, deleted: 0 })
          if (change.kind === 'insert') count.inserted++
          else if (change.kind === 'update') count.updated++
          else count.deleted++
          const label = `feed, LSN ${commit.lsn}, ${text(change)}`
          if (table === 'events') {
            const list = next.events as AnyRow[]
            if (change.kind === 'insert') list.push(change.after as AnyRow)
            else {
              const at = list.findIndex((row) => sortedText(row) === sortedText(change.before as AnyRow))
              expect(at, label).toBeGreaterThanOrEqual(0)
              list.splice(at, 1)
            }
            continue
          }
          const rows = next[table] as Map<string, AnyRow>
          const row = (change.after ?? change.key) as AnyRow
          const at = textOf(table, row)
          expect(sortedText(change.before as AnyRow | undefined), label).toBe(sortedText(change.kind === 'insert' ? undefined : rows.get(at)))
          if (change.kind === 'insert') expect(rows.has(at), label).toBe(false)
          if (change.kind === 'delete') rows.delete(at)
          else rows.set(at, change.after as AnyRow)
        }
        state = next
        seen++
        const version = byLsn.get(Number(commit.lsn))
        expect(version, `feed: a commit ${commit.lsn} that nobody made`).toBeDefined()
        expect(stateText(state), `feed: the state after LSN ${commit.lsn}`).toBe(stateText(version!.state))
      }
      expect(seen, 'feed: every commit').toBe(this.versions.slice(from + 1).filter((version) => version.isTold).length)
    }
  }

  async close(): Promise<void> {
    for (const { snapshot } of this.snapshots.splice(0)) await snapshot[Symbol.asyncDispose]()
    await this.follower?.close()
    await this.store.close()
  }
}

/** What the records after an LSN are. */
export async function kindsAfter(store: ReadStore, lsn: number): Promise<string[]> {
  const kinds: string[] = []
  for await (const { kind } of store.audit({ from: lsn as never })) kinds.push(kind)
  return kinds
}

function abortAfter(turns: number, reason: Error): AbortSignal {
  const abort = new AbortController()
  const turn = (left: number): void => (left === 0 ? abort.abort(reason) : soon(() => turn(left - 1)))
  turn(turns)
  return abort.signal
}

function replay(state: State, parts: readonly Change[]): State | undefined {
  let view: State | undefined = state
  for (const part of parts) view = view === undefined ? undefined : apply(view, part)?.state
  return view
}

function sizeOf(state: State, table: TableName): number {
  const rows = state[table]
  return Array.isArray(rows) ? rows.length : (rows as ReadonlyMap<string, AnyRow>).size
}

function sortedText(row: AnyRow | undefined): string {
  return row === undefined ? '-' : text(Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))))
}
