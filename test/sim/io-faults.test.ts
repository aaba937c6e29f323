// An error at the k-th call of the file system, for every k of a workload: commits, transactions, loads, flushes, checkpoints, rolls, close, reopen.
//
// Each operation succeeds or rejects with a code; a failed write or sync of the log poisons the handle, anything else leaves it working; after a kill and a
// reopen everything acknowledged is there, and of what was refused each commit is wholly there or wholly absent.

import { describe, expect, it } from 'vitest'

import { CODES, PoisonedError, Store, VarveError } from '../../bindings/index.ts'
import { FakeFiles, type FakeFault, type FakeOp } from '../../bindings/testing/index.ts'
import { simWorld } from './sim-world.ts'
import { accounts, type AnyRow, apply, type Change, compare, EMPTY, events, pairs, perform, performIn, type State, stateText } from './store-model.ts'

/** Faults at each call; `VARVE_FAULTS=all` tries all of them, else they take turns. */
const ALL = process.env['VARVE_FAULTS'] === 'all'

const FAULTS: readonly FakeFault[] = (['EIO', 'ENOSPC', 'EACCES', 'EMFILE'] as const).flatMap((error) =>
  (['none', 'half', 'whole'] as const).map((effect) => ({ error, effect })),
)

/** What a disk in that state refuses for good. */
const FAILING: Readonly<Record<string, readonly FakeOp[]>> = {
  EIO: ['open', 'stat', 'readdir', 'mkdir', 'link', 'rename', 'unlink', 'syncDir', 'read', 'write', 'datasync', 'sync', 'truncate', 'fstat'],
  ENOSPC: ['mkdir', 'link', 'rename', 'write'],
  EACCES: ['mkdir', 'link', 'rename', 'unlink', 'open'],
}

type Operation =
  | { readonly do: 'open' | 'flush' | 'sync' | 'close' }
  | { readonly do: 'change'; readonly change: Change }
  | { readonly do: 'long'; readonly key: number }
  | { readonly do: 'burst'; readonly keys: readonly number[]; readonly salt: number }
  | { readonly do: 'transact'; readonly parts: readonly Change[] }

const upsert = (keys: readonly number[], salt: number): Change => ({ op: 'upsert', table: 'accounts', keys, salt, form: 'rows' })
const change = (given: Change): Operation => ({ do: 'change', change: given })

const WORKLOAD: readonly Operation[] = [
  { do: 'open' },
  change(upsert([1, 2, 3], 1)),
  change({ op: 'append', table: 'events', keys: [1, 2], salt: 1, form: 'rows' }),
  {
    do: 'transact',
    parts: [
      upsert([2, 4], 2),
      { op: 'append', table: 'pairs', keys: [1, 9], salt: 2, form: 'rows' },
      { op: 'append', table: 'events', keys: [5], salt: 2, form: 'rows' },
    ],
  },
  change({ op: 'bulk', how: 'append', table: 'pairs', start: 100, count: 60, salt: 3, form: 'columns' }),
  { do: 'flush' },
  change({ op: 'delete', table: 'accounts', keys: [1] }),
  change({ op: 'deleteWhere', table: 'pairs', below: -5 }),
  { do: 'burst', keys: [10, 11, 12, 13, 14, 15], salt: 4 },
  { do: 'sync' },
  change({ op: 'bulk', how: 'upsert', table: 'pairs', start: 120, count: 30, salt: 5, form: 'stream' }),
  ...Array.from({ length: 7 }, (_, i): Operation => ({ do: 'long', key: 200 + i })),
  { do: 'flush' },
  change({ op: 'update', table: 'accounts', keys: [2, 10], salt: 6 }),
  { do: 'close' },
  { do: 'open' },
  change({ op: 'replace', table: 'events', keys: [7], salt: 7, form: 'rows' }),
  change(upsert([2, 30], 8)),
  { do: 'close' },
]

/** A row that fills a good part of a segment. */
const longRow = (key: number): AnyRow => ({ id: key, name: `${key}-`.repeat(3000), n: key, tag: null })

/** One run of the workload: what was acknowledged, and every state that the store may show after a reopen. */
class Run {
  files = new FakeFiles()
  acknowledged: State = EMPTY
  possible: State[] = [EMPTY]
  store: Store | undefined
  poisoned: Error | undefined
  everPoisoned = false
  readonly failures: { operation: Operation; error: unknown }[] = []
  private readonly durability: 'synced' | 'buffered'
  private process = 0

  constructor(durability: 'synced' | 'buffered') {
    this.durability = durability
  }

  async open(): Promise<Store> {
    const sim = simWorld({ seed: 3, files: this.files, host: { pid: 10 + this.process, processStartTime: `${this.process}` } })
    const store = await Store.open('/data/store', { world: sim.world, threads: 0, durability: this.durability, segmentBytes: 65_536, inlineLimitBytes: 600 })
    try {
      await store.create(accounts, pairs, events)
    } catch (error) {
      await store.close().catch(() => undefined)
      throw error
    }
    return store
  }

  kill(): void {
    this.files = this.files.restart()
    this.process++
    this.store = undefined
  }

  async run(): Promise<void> {
    for (const operation of WORKLOAD) {
      if (operation.do === 'open') {
        if (!(await this.tryOpen(operation))) return
      } else await this.one(operation)
    }
  }

  private async tryOpen(operation: Operation): Promise<boolean> {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        this.store = await this.open()
        this.poisoned = undefined
        return true
      } catch (error) {
        this.failed(operation, error)
      }
    }
    return false
  }

  private async one(operation: Operation): Promise<void> {
    const store = this.store!
    switch (operation.do) {
      case 'flush':
        return this.attempt(operation, () => store.flush())
      case 'sync':
        return this.attempt(operation, () => store.sync())
      case 'close':
        return this.attempt(operation, () => store.close())
      case 'change':
        return this.attempt(
          operation,
          () => perform(store, operation.change),
          (state) => apply(state, operation.change)!.state,
        )
      case 'long':
        return this.attempt(
          operation,
          () => store.upsert(accounts, longRow(operation.key)),
          (state) => put(state, longRow(operation.key)),
        )
      case 'transact':
        return this.attempt(
          operation,
          () =>
            store.transact(async (tx) => {
              for (const part of operation.parts) await performIn(tx, part)
            }),
          (state) => operation.parts.reduce((view, part) => apply(view, part)!.state, state),
        )
      case 'burst': {
        const outcomes = operation.keys.map((key) =>
          this.attempt(
            operation,
            () => perform(store, upsert([key], operation.salt)),
            (state) => apply(state, upsert([key], operation.salt))!.state,
          ),
        )
        await Promise.all(outcomes)
      }
    }
  }

  private async attempt(operation: Operation, call: () => Promise<unknown>, effect?: (state: State) => State): Promise<void> {
    const wasPoisoned = this.poisoned !== undefined
    try {
      await call()
    } catch (error) {
      this.failed(operation, error)
      if (effect === undefined) return
      if (wasPoisoned) expect((error as VarveError).kind, `${JSON.stringify(operation)} after a poisoning`).toBe('closed')
      // Only a failed write or sync of the log leaves the outcome open; any other refusal happened before the record was written.
      if (!(error instanceof PoisonedError)) return
      if (!wasPoisoned) this.possible = distinct([...this.possible, ...this.possible.map(effect)])
      this.poisoned = error
      this.everPoisoned = true
      return
    }
    if (effect === undefined) return
    expect(wasPoisoned, `${JSON.stringify(operation)} succeeded on a poisoned store`).toBe(false)
    this.acknowledged = effect(this.acknowledged)
    this.possible = distinct(this.possible.map(effect))
  }

  private failed(operation: Operation, error: unknown): void {
    this.failures.push({ operation, error })
    expect(error, `${JSON.stringify(operation)}: ${String((error as Error).stack)}`).toBeInstanceOf(VarveError)
    expect(Object.keys(CODES), `${JSON.stringify(operation)}: ${String(error)}`).toContain((error as VarveError).code)
    expect((error as VarveError).code, `${JSON.stringify(operation)}: ${String((error as Error).stack)}`).not.toBe('store.invariant')
    expect((error as VarveError).kind, `${JSON.stringify(operation)}: ${String((error as Error).stack)}`).not.toBe('corrupt')
  }
}

function put(state: State, row: AnyRow): State {
  const next = new Map(state.accounts as ReadonlyMap<string, AnyRow>)
  next.set(JSON.stringify([row['id']]), row)
  return { ...state, accounts: next }
}

function distinct(states: readonly State[]): State[] {
  return states.length === 1 ? [...states] : [...new Map(states.map((state) => [stateText(state), state])).values()]
}

async function contents(store: Store): Promise<string> {
  const rows = async (table: typeof accounts): Promise<AnyRow[]> => (await store.scan(table).toArray()) as AnyRow[]
  return stateText({ accounts: (await rows(accounts)) as never, pairs: (await rows(pairs)) as never, events: await rows(events) })
}

async function walk(k: number, fault: FakeFault & { readonly lasts: boolean }, durability: 'synced' | 'buffered'): Promise<boolean> {
  const run = new Run(durability)
  if (fault.lasts) run.files.plan(({ n, op }) => (n >= k && FAILING[fault.error]!.includes(op) ? fault : undefined))
  else run.files.failAt(k, fault)
  await run.run()
  const label = `call ${k} (${JSON.stringify(run.files.calls[k - 1])}), ${JSON.stringify(fault)}, ${durability}`
  const struck = run.files.calls.length >= k
  run.files.plan(undefined)
  const refused = run.failures.filter(
    ({ operation }) => operation.do === 'change' || operation.do === 'long' || operation.do === 'transact' || operation.do === 'burst',
  )
  // What is no failure of the log's own write or sync costs at most the operation it met (a load spans several calls, a burst is one group).
  if (!fault.lasts && !run.everPoisoned && run.store !== undefined && !run.failures.some(({ operation }) => operation.do === 'open')) {
    expect(
      new Set(refused.map(({ operation }) => operation)).size,
      `${label}: refused without a poisoning: ${refused.map(({ error }) => String(error)).join('; ')}`,
    ).toBeLessThanOrEqual(1)
  }
  if (run.store !== undefined && !run.store.closed) await compare(run.store, run.acknowledged, `${label}: the handle that failed`, { light: true })
  run.kill()
  const store = await run.open().catch((error: unknown) => {
    throw new Error(`${label}: no reopen: ${(error as Error).stack}`, { cause: error })
  })
  const found = await contents(store)
  expect(run.possible.map(stateText), `${label}: after the reopen`).toContain(found)
  expect((await store.verify({ level: 'all' })).problems, label).toEqual([])
  const right = run.possible.find((state) => stateText(state) === found)!
  await compare(store, right, label, k % 5 === 0 ? {} : { light: true })
  await perform(store, upsert([400], 1))
  if (durability === 'synced') {
    // What a failed sync left in the page cache only must not be what later commits rest on.
    run.files = run.files.crash(k)
    run.kill()
    const last = await run.open()
    await compare(last, apply(right, upsert([400], 1))!.state, `${label}: after a power cut`, { light: true })
    await last.close()
  } else await store.close()
  return struck
}

describe('an error at any call of the file system', () => {
  for (const durability of ['synced', 'buffered'] as const) {
    it(`costs no acknowledged commit and makes no wrong one: ${durability}`, { timeout: 3_600_000 }, async () => {
      // Both walk the same calls but for the syncs; in turns they are one walk and a third.
      for (let k = 1; ; k += ALL || durability === 'synced' ? 1 : 3) {
        const faults = ALL ? FAULTS : [FAULTS[(k * 5 + (durability === 'synced' ? 0 : 7)) % FAULTS.length]!]
        let struck = false
        for (const fault of faults) struck = (await walk(k, { ...fault, lasts: false }, durability)) || struck
        if (!struck) {
          expect(k, 'the workload has calls').toBeGreaterThan(300)
          break
        }
      }
    })
  }
})

describe('a disk that is broken or full from some call on', () => {
  it.each(['EIO', 'ENOSPC', 'EACCES'])('costs no acknowledged commit and makes no wrong one: %s', { timeout: 3_600_000 }, async (error) => {
    for (let k = 1 + error.length; ; k += ALL ? 1 : 11) {
      if (!(await walk(k, { error, effect: 'none', lasts: true }, k % 3 === 0 ? 'buffered' : 'synced'))) break
    }
  })
})
