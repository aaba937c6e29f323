// A store with every kind of file, and a look at everything that it offers after damage: right data, or an error that has a code.

import { expect } from 'vitest'

import { CODES, type ReadStore, Store, VarveError } from '../../bindings/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from './sim-world.ts'
import {
  accounts,
  apply,
  type Change,
  compare,
  EMPTY,
  events,
  NAMES,
  pairs,
  perform,
  rowOf,
  type State,
  stateRows,
  stateText,
  TABLES,
  text,
} from './store-model.ts'

export interface Built {
  readonly files: FakeFiles
  /** Bytes of the newest segment when it got its name. */
  readonly bornBytes: number
  /** Files as they were at the close before, where they differ. */
  readonly older: ReadonlyMap<string, Uint8Array>
  /** The state at each commit, and the right one last. */
  readonly states: readonly { readonly lsn: number; readonly state: State }[]
}

/** A store with every kind of file: two checkpoints, indexes, deletion vectors, rolled segments, rows in the log. */
export async function build(close: boolean): Promise<Built> {
  const files = new FakeFiles()
  const states: { lsn: number; state: State }[] = []
  let state = EMPTY
  const open = (process: number): Promise<Store> =>
    Store.open('/data/store', {
      world: simWorld({ seed: 5, files, host: { pid: process, processStartTime: `${process}` } }).world,
      threads: 0,
      segmentBytes: 65_536,
      inlineLimitBytes: 16_384,
    })
  let store = await open(1)
  await store.create(accounts, pairs, events)
  const run = async (change: Change): Promise<void> => {
    const { lsn } = await perform(store, change)
    state = apply(state, change)!.state
    states.push({ lsn: Number(lsn), state })
  }
  const keys = (start: number, count: number): number[] => Array.from({ length: count }, (_, i) => start + i)
  await run({ op: 'bulk', how: 'append', table: 'accounts', start: 0, count: 2600, salt: 1, form: 'columns' })
  await run({ op: 'append', table: 'events', keys: keys(0, 50), salt: 1, form: 'rows' })
  await run({ op: 'deleteWhere', table: 'accounts', below: 30 })
  await store.flush()
  for (let i = 0; i < 14; i++) await run({ op: 'upsert', table: 'pairs', keys: keys(i * 50, 50), salt: i, form: 'rows' })
  await run({ op: 'upsert', table: 'accounts', keys: keys(40, 30), salt: 2, form: 'rows' })
  await store.flush()
  for (let i = 0; i < 50; i++) await run({ op: 'upsert', table: 'pairs', keys: keys((i % 12) * 30, 60), salt: 20 + i, form: 'rows' })
  await store.close()
  const older = new Map(files.paths().map((path) => [path, files.contents(path)!]))
  store = await open(2)
  const bornBytes = usedOf(files.contents(newestOf(files))!)
  await run({ op: 'delete', table: 'accounts', keys: [41, 2000] })
  for (let i = 0; i < 4; i++) await run({ op: 'upsert', table: 'accounts', keys: [i, 3000 + i], salt: 3 + i, form: 'rows' })
  await run({ op: 'append', table: 'events', keys: keys(60, 3), salt: 2, form: 'rows' })
  if (close) await store.close()
  return { files: files.restart(), states, bornBytes, older }
}

export const newestOf = (files: FakeFiles): string => files.paths().findLast((path) => /log\/\d+\.wal$/.test(path))!
/** Frames end at multiples of eight. */
export const usedOf = (bytes: Uint8Array): number => (bytes.findLastIndex((byte) => byte !== 0) + 8) & ~7

export function kindOf(path: string): string {
  return /\.(arrow|dv|idx|ckpt)$/.exec(path)?.[1] ?? /log\/\d+\.(wal)$/.exec(path)?.[1] ?? /(VARVE|LOCK|NODE|CLEAN)/.exec(path)?.[1] ?? 'other'
}

/** What a reader may find wrong: a coded error. Wrong data or any other error fails the test. */
export async function allowed(label: string, work: () => Promise<unknown>): Promise<VarveError | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (!(error instanceof VarveError) || !Object.hasOwn(CODES, error.code) || error.code === 'store.invariant') {
      throw new Error(`${label}: ${(error as Error).stack ?? String(error)}`, { cause: error })
    }
    return error
  }
}

/** Looks at everything a damaged store offers. Returns the codes it answered with. */
export async function look(files: FakeFiles, built: Built, readOnly: boolean, label: string, mayLose: readonly State[] = []): Promise<Set<string>> {
  const codes = new Set<string>()
  const note = (error: VarveError | undefined): void => {
    if (error !== undefined) codes.add(error.code)
  }
  const { world } = simWorld({ seed: 6, files, host: { pid: 50, processStartTime: '50' } })
  let store: ReadStore | undefined
  note(
    await allowed(`${label}: open`, async () => {
      store = readOnly
        ? await Store.open('/data/store', { world, threads: 0, readOnly: true, follow: false })
        : await Store.open('/data/store', { world, threads: 0 })
    }),
  )
  if (store === undefined) return codes
  const reader: ReadStore = store
  const right = built.states.at(-1)!
  let { state } = right
  for (const shorter of mayLose) if (await isState(reader, shorter)) state = shorter
  for (const name of NAMES) {
    note(
      await allowed(`${label}: scan of ${name}`, async () =>
        expect(sorted(await reader.scan(TABLES[name]).toArray()), name).toBe(sorted(stateRows(state, name))),
      ),
    )
    note(await allowed(`${label}: count of ${name}`, async () => expect(await reader.scan(TABLES[name]).count()).toBe(stateRows(state, name).length)))
  }
  const asked = [0, 1, 2, 3, 7, 40, 41, 69, 500, 1999, 2000, 2599, 3000, 3003, 9999]
  for (const name of ['accounts', 'pairs'] as const) {
    for (const key of asked) {
      const key1 = name === 'pairs' ? key % 500 : key
      const id = rowOf(name, key1, 0)
      const keyObject = name === 'accounts' ? { id: id['id'] } : { a: id['a'], b: id['b'] }
      const row = (state[name] as ReadonlyMap<string, unknown>).get(text(Object.values(keyObject)))
      note(
        await allowed(`${label}: get of ${text(keyObject)}`, async () =>
          expect(inOrder(await reader.get(TABLES[name], keyObject as never))).toBe(inOrder(row)),
        ),
      )
    }
  }
  const past = built.states[Math.floor(built.states.length / 2)]!
  note(await allowed(`${label}: at ${past.lsn}`, () => compare(reader, past.state, `${label}: at ${past.lsn}`, { at: past.lsn as never, light: true })))
  let report: Awaited<ReturnType<ReadStore['verify']>> | undefined
  await allowed(`${label}: verify`, async () => {
    report = await reader.verify({ level: 'all' })
  })
  for (const problem of report?.problems ?? []) {
    expect(Object.keys(CODES), `${label}: verify: ${problem.message}`).toContain(problem.code)
    expect(problem.code, `${label}: verify: ${problem.message}`).not.toBe('store.invariant')
    codes.add(`verify ${problem.code}`)
  }
  if (!readOnly) note(await allowed(`${label}: write`, () => (reader as Store).upsert(accounts, rowOf('accounts', 4000, 1) as never)))
  note(await allowed(`${label}: close`, () => reader.close()))
  return codes
}

const inOrder = (row: unknown): string => (row === undefined ? 'nothing' : text(Object.entries(row as object).sort(([a], [b]) => (a < b ? -1 : 1))))
const sorted = (rows: readonly unknown[]): string => rows.map(inOrder).sort().join('\n')

async function isState(reader: ReadStore, state: State): Promise<boolean> {
  try {
    const rows = async (name: 'accounts' | 'pairs' | 'events'): Promise<never> => (await reader.scan(TABLES[name]).toArray()) as never
    return stateText({ accounts: await rows('accounts'), pairs: await rows('pairs'), events: await rows('events') }) === stateText(state)
  } catch {
    return false
  }
}
