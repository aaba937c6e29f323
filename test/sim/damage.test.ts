// Damage: a flipped bit anywhere in any file of a store, a file gone, the log cut at any byte. What is read is right, or the error has a code; never wrong data.

import { beforeAll, describe, expect, it } from 'vitest'

import { CODES, type ReadStore, Store, VarveError } from '../../bindings/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
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

/** Bits flipped per file; `VARVE_FLIPS=100000` flips one in every byte. */
const FLIPS = Number(process.env['VARVE_FLIPS'] ?? 16)
const SEED = Number(process.env['VARVE_SEED'] ?? 11)

const FOOTER_BYTES_MAX = 128

interface Built {
  readonly files: FakeFiles
  /** Bytes of the newest segment when it got its name. */
  readonly bornBytes: number
  /** The state at each commit, and the right one last. */
  readonly states: readonly { readonly lsn: number; readonly state: State }[]
}

/** A store with every kind of file: two checkpoints, indexes, deletion vectors, rolled segments, rows in the log. */
async function build(close: boolean): Promise<Built> {
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
  store = await open(2)
  const bornBytes = usedOf(files.contents(newestOf(files))!)
  await run({ op: 'delete', table: 'accounts', keys: [41, 2000] })
  for (let i = 0; i < 4; i++) await run({ op: 'upsert', table: 'accounts', keys: [i, 3000 + i], salt: 3 + i, form: 'rows' })
  await run({ op: 'append', table: 'events', keys: keys(60, 3), salt: 2, form: 'rows' })
  if (close) await store.close()
  return { files: files.restart(), states, bornBytes }
}

const newestOf = (files: FakeFiles): string => files.paths().findLast((path) => /log\/\d+\.wal$/.test(path))!
/** Frames end at multiples of eight. */
const usedOf = (bytes: Uint8Array): number => (bytes.findLastIndex((byte) => byte !== 0) + 8) & ~7

function kindOf(path: string): string {
  return /\.(arrow|dv|idx|ckpt)$/.exec(path)?.[1] ?? /log\/\d+\.(wal)$/.exec(path)?.[1] ?? /(VARVE|LOCK|NODE|CLEAN)/.exec(path)?.[1] ?? 'other'
}

/** What a reader may find wrong: a coded error. Wrong data or any other error fails the test. */
async function allowed(label: string, work: () => Promise<unknown>): Promise<VarveError | undefined> {
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
async function look(files: FakeFiles, built: Built, readOnly: boolean, label: string, mayLose: readonly State[] = []): Promise<Set<string>> {
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

/** Bytes of a file to damage: both ends, and some between. */
function places(size: number, random: { u32(): number }): number[] {
  if (FLIPS >= size) return Array.from({ length: size }, (_, i) => i)
  const found = new Set<number>()
  for (let i = 0; i < FLIPS / 4; i++) found.add(Math.min(size - 1, random.u32() % 128)).add(Math.max(0, size - 1 - (random.u32() % 128)))
  while (found.size < Math.min(size, FLIPS)) found.add(random.u32() % size)
  return [...found]
}

for (const how of ['closed', 'killed'] as const) {
  describe(`a store that was ${how}`, () => {
    let built: Built
    let newest: string
    beforeAll(async () => {
      built = await build(how === 'closed')
      newest = built.files
        .paths()
        .filter((path) => /log\/\d+\.wal$/.test(path))
        .at(-1)!
    })
    /** Bytes that are in use in the newest segment. */
    const used = (): number => usedOf(built.files.contents(newest)!)

    it('has every kind of file', async () => {
      const kinds = new Set(built.files.paths().map(kindOf))
      for (const kind of ['arrow', 'dv', 'idx', 'ckpt', 'wal', 'VARVE', 'LOCK', 'NODE', 'CLEAN']) expect([...kinds]).toContain(kind)
      expect(built.files.paths().filter((path) => path.endsWith('.wal')).length).toBeGreaterThan(2)
      expect(await look(built.files.image(1, 'all'), built, false, 'undamaged')).toEqual(new Set())
    })

    it('shows right data or a coded error for a flipped bit anywhere', { timeout: 3_600_000 }, async () => {
      const random = seededRandom(SEED)
      let flips = 0
      // What lies behind the records of an older segment, its footer included, is no part of the log; of the newest one every byte is.
      const isLog = (path: string, at: number, bytes: Uint8Array): boolean =>
        how === 'closed' && kindOf(path) === 'wal' && (path === newest || at < usedOf(bytes) - FOOTER_BYTES_MAX)
      const silent: string[] = []
      for (const path of built.files.paths()) {
        const bytes = built.files.contents(path)!
        const kind = kindOf(path)
        const size = path === newest && how === 'killed' ? Math.min(bytes.length, used() + 64) : bytes.length
        for (const at of places(size, random)) {
          const files = built.files.image(1, 'all')
          const bit = random.u32() & 7
          files.corrupt(path, at, Uint8Array.of(bytes[at]! ^ (1 << bit)))
          const label = `${path}, byte ${at} of ${bytes.length}, bit ${bit}`
          const codes = await look(files, built, random.u32() % 3 === 0, label, how === 'killed' && path === newest ? [built.states.at(-2)!.state] : [])
          // Files with a digest are verified whole; the log by its frames and chain.
          if (codes.size === 0 && (['arrow', 'dv', 'idx', 'ckpt'].includes(kind) || isLog(path, at, bytes))) silent.push(label)
          flips++
        }
      }
      expect(silent, 'damage that verify does not see').toEqual([])
      expect(flips).toBeGreaterThan(200)
    })

    it('shows right data or a coded error without any one of its files', { timeout: 600_000 }, async () => {
      // After a kill nothing tells that there was a segment after the last close: its loss is a loss of the newest records.
      const before = built.states.findLast(({ lsn }) => lsn < Number(/(\d+)\.wal/.exec(newest)![1]))!.state
      for (const path of built.files.paths()) {
        for (const readOnly of [false, true]) {
          const files = built.files.image(1, 'all')
          files.unlinkSync(path)
          const codes = await look(files, built, readOnly, `without ${path}`, how === 'killed' && path === newest ? [before] : [])
          if (['arrow', 'dv'].includes(kindOf(path)) || (kindOf(path) === 'wal' && (how === 'closed' || path !== newest)))
            expect([...codes], `without ${path}`).not.toEqual([])
        }
      }
    })

    it('shows a whole prefix, or refuses, when its log is cut at any byte of the last frames', { timeout: 600_000 }, async () => {
      const end = used()
      const stride = FLIPS >= 1000 ? 1 : 5
      for (let at = end - 700; at <= end; at += at > end - 160 ? 1 : stride) {
        for (const fill of ['short', 'zeros'] as const) {
          const files = built.files.image(1, 'all')
          if (fill === 'short') {
            const handle = files.openSync(newest, 'r+')
            handle.truncateSync(at)
            handle.datasyncSync()
            handle.closeSync()
          } else files.corrupt(newest, at, new Uint8Array(end - at))
          const label = `cut at ${at} of ${end}, ${fill}`
          const { world } = simWorld({ seed: 6, files, host: { pid: 50, processStartTime: '50' } })
          const readOnly = at % 4 === 0
          let store: ReadStore | undefined
          const refused = await allowed(label, async () => {
            store = readOnly
              ? await Store.open('/data/store', { world, threads: 0, readOnly: true, follow: false })
              : await Store.open('/data/store', { world, threads: 0 })
          })
          if (store === undefined) {
            expect(refused!.kind, label).toBe('corrupt')
            // A segment is born whole: a crash cannot cut into what it began with.
            expect(how === 'closed' || at < built.bornBytes, `${label}: ${refused!.message}`).toBe(true)
            continue
          }
          if (how === 'closed') expect(files.contents(newest), `${label}: opened`).toEqual(built.files.contents(newest))
          const head = Number(store.lsn) - (readOnly ? 0 : 1)
          const found = built.states.findLast(({ lsn }) => lsn <= head)!
          await compare(store, found.state, `${label}: LSN ${head}`, { light: true })
          expect((await store.verify({ level: 'all' })).problems, label).toEqual([])
          await store.close()
        }
      }
    })
  })
}
