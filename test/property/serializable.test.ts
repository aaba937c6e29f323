// Transactions that run at the same time, with plain writes and flushes between their steps: one order explains everything that was read and written.
//
// The order is that of the LSNs: each transaction must have read what the commits before it left, with its own writes over it.

import fc from 'fast-check'
import { expect, it } from 'vitest'

import { ConflictError, DuplicateKeyError, gte, Store, type Transaction } from '../../bindings/index.ts'
import { seededRandom, soon } from '../../bindings/runtime/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { changes } from '../sim/history.ts'
import { simWorld } from '../sim/sim-world.ts'
import {
  accounts,
  type AnyRow,
  apply,
  type Change,
  compare,
  EMPTY,
  events,
  keyOf,
  pairs,
  perform,
  performIn,
  rowOf,
  type State,
  text,
} from '../sim/store-model.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 60)

/** Steps of a transaction: each reads and writes by what it read. */
type Step =
  | { readonly op: 'get'; readonly key: number }
  | { readonly op: 'copy'; readonly from: number; readonly to: number }
  | { readonly op: 'sum'; readonly least: number; readonly into: number }
  | { readonly op: 'count'; readonly into: number }
  | { readonly op: 'write'; readonly change: Change }

const key = fc.nat(12)
const small = changes.filter((change) => change.op !== 'bulk' || change.count < 20)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ op: fc.constant('get' as const), key }),
  fc.record({ op: fc.constant('copy' as const), from: key, to: key }),
  fc.record({ op: fc.constant('sum' as const), least: fc.integer({ min: -40, max: 50 }), into: key }),
  fc.record({ op: fc.constant('count' as const), into: key }),
  fc.record({ op: fc.constant('write' as const), change: small }),
)
type Actor =
  | { readonly kind: 'transaction'; readonly steps: readonly Step[]; readonly delay: number }
  | { readonly kind: 'write'; readonly change: Change; readonly delay: number }
  | { readonly kind: 'flush'; readonly delay: number }
const delay = fc.nat(20)
const actors: fc.Arbitrary<Actor[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('transaction' as const), steps: fc.array(step, { minLength: 1, maxLength: 4 }), delay }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('write' as const), change: small, delay }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const), delay }) },
  ),
  { minLength: 2, maxLength: 10, size: 'max' },
)

const accountOf = (state: State, key: number): AnyRow | undefined => (state.accounts as ReadonlyMap<string, AnyRow>).get(text([key]))
const put = (state: State, row: AnyRow): State => ({ ...state, accounts: new Map(state.accounts as ReadonlyMap<string, AnyRow>).set(text([row['id']]), row) })
const withN = (into: number, n: number): AnyRow => ({ ...rowOf('accounts', into, 3), n })

/** What a step reads and leaves in the model. */
function stepOf(state: State, step: Step): { read: unknown; state: State } {
  switch (step.op) {
    case 'get':
      return { read: accountOf(state, step.key), state }
    case 'copy': {
      const row = accountOf(state, step.from)
      return { read: row, state: row === undefined ? state : put(state, { ...row, id: step.to }) }
    }
    case 'sum': {
      let sum = 0
      for (const row of (state.accounts as ReadonlyMap<string, AnyRow>).values())
        if (row['n'] !== null && (row['n'] as number) >= step.least) sum += row['n'] as number
      return { read: sum, state: put(state, withN(step.into, sum % 50)) }
    }
    case 'count': {
      const count = (state.events as readonly AnyRow[]).length
      return { read: count, state: put(state, withN(step.into, count)) }
    }
    case 'write': {
      const right = apply(state, step.change)
      if (right === undefined) throw new Error('a duplicate key')
      return { read: undefined, state: right.state }
    }
  }
}

async function takeStep(tx: Transaction, step: Step): Promise<unknown> {
  switch (step.op) {
    case 'get':
      return tx.get(accounts, keyOf('accounts', step.key) as never)
    case 'copy': {
      const row = (await tx.get(accounts, keyOf('accounts', step.from) as never)) as AnyRow | undefined
      if (row !== undefined) tx.upsert(accounts, { ...row, id: step.to })
      return row
    }
    case 'sum': {
      const { sum } = (await tx.scan(accounts, { where: gte('n' as never, step.least as never) }).aggregate({ sum: { sum: 'n' } } as never)) as { sum: number }
      tx.upsert(accounts, withN(step.into, sum % 50))
      return sum
    }
    case 'count': {
      const count = await tx.scan(events).count()
      tx.upsert(accounts, withN(step.into, count))
      return count
    }
    case 'write':
      await performIn(tx, step.change)
      return undefined
  }
}

async function run(actors: readonly Actor[], start: readonly number[], seed: number, inlineLimitBytes: number): Promise<void> {
  const random = seededRandom(seed)
  const pause = async (turns: number): Promise<void> => {
    for (let left = turns; left > 0; left--) await new Promise<void>((resolve) => soon(resolve))
  }
  const sim = simWorld({ seed, files: new FakeFiles() })
  const store = await Store.open('/data/store', { world: sim.world, threads: 0, inlineLimitBytes, memory: { cacheBytes: seed % 2 === 0 ? 0 : 1e6 } })
  await store.create(accounts, pairs, events)
  let state = EMPTY
  const first: Change = { op: 'bulk', how: 'append', table: 'accounts', start: 0, count: 10, salt: 1, form: 'columns' }
  await perform(store, first)
  state = apply(state, first)!.state
  if (start.length > 0) await store.flush()
  const base = Number(store.lsn)

  const done: { lsn: number; replay: (state: State) => State; what: string }[] = []
  const readOnly: { lsn: number; steps: readonly Step[]; reads: readonly unknown[] }[] = []
  const ran = actors.map(async (actor) => {
    await pause(actor.delay)
    try {
      if (actor.kind === 'flush') return await store.flush()
      if (actor.kind === 'write') {
        const { lsn } = await perform(store, actor.change)
        done.push({ lsn: Number(lsn), what: text(actor.change), replay: (before) => apply(before, actor.change)!.state })
        return
      }
      let reads: unknown[] = []
      let lsn = 0
      let at = 0
      await store.transact(
        async (tx) => {
          reads = []
          at = Number(tx.lsn)
          for (const step of actor.steps) {
            reads.push(await takeStep(tx, step))
            await pause(random.u32() % 6)
          }
        },
        { retries: 20, onCommitted: (result) => (lsn = Number(result.lsn)) },
      )
      if (lsn === 0) return void readOnly.push({ lsn: at, steps: actor.steps, reads })
      const replay = (before: State): State => {
        let view = before
        actor.steps.forEach((step, i) => {
          const right = stepOf(view, step)
          expect(text(normal(reads[i])), `LSN ${lsn}, ${text(step)}: read`).toBe(text(normal(right.read)))
          view = right.state
        })
        return view
      }
      done.push({ lsn, what: text(actor.steps), replay })
    } catch (error) {
      if (!(error instanceof DuplicateKeyError || error instanceof ConflictError)) throw error
    }
  })
  await Promise.all(ran)
  done.sort((a, b) => a.lsn - b.lsn)
  const states = new Map([[base, state]])
  for (const { lsn, replay } of done) states.set(lsn, (state = replay(state)))
  for (const { lsn, steps, reads } of readOnly) {
    let view = states.get([...states.keys()].filter((each) => each <= lsn).at(-1)!)!
    steps.forEach((step, i) => {
      const right = stepOf(view, step)
      expect(text(normal(reads[i])), `read only at LSN ${lsn}, ${text(step)}`).toBe(text(normal(right.read)))
      view = right.state
    })
  }
  await compare(store, state, 'in the end')
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
  await store.close()
}

const normal = (read: unknown): unknown =>
  typeof read === 'object' && read !== null ? Object.entries(read).sort(([a], [b]) => (a < b ? -1 : 1)) : read === undefined ? 'nothing' : read

it('gives concurrent transactions one order, that of their LSNs', () =>
  fc.assert(fc.asyncProperty(actors, fc.subarray([1]), fc.nat(1000), fc.constantFrom(600, 256 * 1024), run), { numRuns: RUNS }))
