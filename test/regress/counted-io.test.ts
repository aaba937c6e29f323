// How many calls each operation makes, of the root and of the file system, against the golden counts beside this file (recovery.md section 10, "Counted I/O").
//
// A changed count is reviewed like a change of the API. To accept new ones: VARVE_GOLDEN=write npx vitest run test/regress/counted-io.test.ts
import { readFileSync, writeFileSync } from 'node:fs'

import { afterAll, expect, it } from 'vitest'

import { columns, Store, t, table } from '../../bindings/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { soon } from '../../bindings/runtime/index.ts'
import { type FakeFiles, FaultyRoot } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

type Counts = Record<string, number>

const GOLDEN = new URL('./counted-io.golden.json', import.meta.url)
const DEPTHS = [10, 1000, 100_000]
const LIVE_ROWS = 10
/** Of an open with one segment: that is two by the end, the one found and the one begun. */
const SEGMENT_OPENS = 5

const kv = table('kv', { k: t.int32(), v: t.utf8().nullable() }, { key: ['k'] })
const log = table('log', { a: t.int32() })
const wide = table('wide', { a: t.int32() })

/** A store on files in memory, whose calls are counted; nothing happens by itself. */
class Counted {
  readonly sim: ReturnType<typeof simWorld>
  readonly counts: Record<string, Counts> = {}
  store!: Store
  #root!: FaultyRoot

  constructor(seed: number, files?: FakeFiles) {
    this.sim = simWorld({ seed, host: { pid: seed }, ...(files === undefined ? {} : { files }) })
  }

  async open(): Promise<void> {
    const { world } = this.sim
    this.#root = new FaultyRoot(new DirRoot('/data/store', world))
    this.store = await Store.open(this.#root, { world, threads: 0, upkeep: 'manual' })
  }

  /** Counts what `run` does, and what it leaves to the background. */
  async count(name: string, run: () => Promise<unknown>): Promise<void> {
    const { files } = this.sim
    const first = files.calls.length
    const before = this.#root as FaultyRoot | undefined
    const firstOfRoot = before?.calls.length ?? 0
    await run()
    await settled(files)
    const calls = this.#root === before ? this.#root.calls.slice(firstOfRoot) : this.#root.calls
    const counts: Counts = {}
    for (const { method, name: object } of calls) tally(counts, `root ${method} ${placeOf(object)}`)
    for (const { op, path } of files.calls.slice(first)) tally(counts, `file ${op} ${placeOf(path.replace('/data/store', '').replace(/^\//, ''))}`)
    this.counts[name] = Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

function tally(counts: Counts, what: string): void {
  counts[what] = (counts[what] ?? 0) + 1
}

/** The folder, or the kind of name at the top: what a count is about. */
function placeOf(name: string): string {
  if (name === '') return '/'
  const at = name.indexOf('/')
  const top = at < 0 ? name : name.slice(0, at + 1)
  return top
    .replace(/^LOCK\.\d+$/, 'LOCK')
    .replace(/^\..*tmp$/, 'temporary')
    .replace(/^(.*)\.[0-9a-f]+\.tmp$/, '$1.tmp')
}

/** Until no more calls come. */
async function settled(files: FakeFiles): Promise<void> {
  for (let seen = -1, quiet = 0; quiet < 20; quiet = seen === files.calls.length ? quiet + 1 : 0) {
    seen = files.calls.length
    await new Promise<void>((resolve) => soon(resolve))
  }
}

async function operations(): Promise<Record<string, Counts>> {
  const counted = new Counted(1)
  await counted.count('create a store', () => counted.open())
  const { store } = counted
  await store.create(kv)
  await store.create(log)
  await store.create(wide)
  for (let i = 0; i < 20; i++) await store.upsert(kv, { k: i, v: `${i}` })
  await settled(counted.sim.files)
  await counted.count('inline commit', () => store.upsert(kv, { k: 3, v: 'three' }))
  await counted.count('100 inline commits at once', () => Promise.all(Array.from({ length: 100 }, (_, i) => store.upsert(kv, { k: i, v: 'x' }))))
  await counted.count('transaction over two tables', () =>
    store.transact(async (tx) => {
      await tx.upsert(kv, { k: 4, v: 'four' })
      await tx.append(log, { a: 1 })
    }),
  )
  await counted.count('flush of two tables', () => store.flush())
  await counted.count('upsert of a row that is in a fragment', () => store.upsert(kv, { k: 5, v: 'five' }))
  await counted.count('load, keyed, 1 fragment', () => store.append(kv, columns(keyed(1000, 100_000))))
  await counted.count('load over old keys, 1 fragment', () => store.upsert(kv, columns(keyed(50, 100_000))))
  await counted.count('load, 3 fragments', () => store.append(wide, columns({ a: Int32Array.from({ length: 600_000 }, (_, i) => i) })))
  const staged = await store.stage()
  await counted.count('staged write: append, 1 fragment', () => staged.append(wide, columns({ a: new Int32Array(1000) })))
  await counted.count('staged write: seal', () => staged.seal())
  await counted.count('staged write: publish', () => staged.publish())
  await counted.count('get, cold', () => store.get(kv, 2000))
  await counted.count('get, warm', () => store.get(kv, 2000))
  await counted.count('get of an absent key', () => store.get(kv, -1))
  await counted.count('close', () => store.close())
  await counted.count('open after a clean close', () => counted.open())
  await counted.count('get after a reopen, cold', () => counted.store.get(kv, 2000))
  await counted.count('get of an absent key after a reopen', () => counted.store.get(kv, -1))
  const after = new Counted(2, counted.sim.files.restart())
  await after.count('open after a kill', () => after.open())
  await after.store.close()
  return { ...counted.counts, ...after.counts, ...(await optimizing()) }
}

/** Three fragments of a table with a key and a declared index, and of one without. */
async function optimizing(): Promise<Record<string, Counts>> {
  const counted = new Counted(3)
  await counted.open()
  const { store } = counted
  const indexed = table('indexed', kv.columns, { key: ['k'], index: ['v'] })
  await store.create(indexed, log)
  for (let i = 0; i < 3; i++) {
    await store.append(indexed, { k: i, v: `${i}` })
    await store.append(log, { a: i })
    await store.flush()
  }
  await settled(counted.sim.files)
  await counted.count('optimize, 2 tables of 3 fragments, 1 declared index', () => store.optimize())
  await counted.count('optimize with nothing to do', () => store.optimize())
  await counted.count('inline commit behind an optimize', () => store.append(log, { a: 9 }))
  const dev = await store.branch('dev')
  await dev.append(log, { a: 7 })
  await settled(counted.sim.files)
  await counted.count('inline commit on a branch', () => dev.append(log, { a: 8 }))
  await store.close()
  return counted.counts
}

function keyed(first: number, count: number): { k: Int32Array; v: string[] } {
  return { k: Int32Array.from({ length: count }, (_, i) => first + i), v: Array.from({ length: count }, (_, i) => `value ${i}`) }
}

/** The same ten live rows behind `depth` commits; checkpoints come as the store writes them: at a flush and at close. */
async function behind(depth: number): Promise<Record<string, Counts>> {
  const counted = new Counted(depth)
  await counted.open()
  await counted.store.create(kv)
  let begun = 0
  const lane = async (): Promise<void> => {
    while (begun < depth) {
      const i = begun++
      await counted.store.upsert(kv, { k: i % LIVE_ROWS, v: `value ${i % LIVE_ROWS}` })
    }
  }
  await Promise.all(Array.from({ length: 256 }, lane))
  await counted.store.flush()
  await counted.store.close()
  await counted.count('open after a clean close', () => counted.open())
  const segments = counted.sim.files.paths().filter((path) => /log\/\d{20}\.wal$/.test(path)).length
  expect(counted.counts['open after a clean close']!['root segment log/'], 'opens of segments').toBeLessThanOrEqual(SEGMENT_OPENS + 2 * (segments - 1))
  await counted.store.upsert(kv, { k: 1, v: 'value 1' })
  await settled(counted.sim.files)
  await counted.count('inline commit', () => counted.store.upsert(kv, { k: 1, v: 'value 1' }))
  await counted.count('get, cold', () => counted.store.get(kv, 2))
  await counted.count('get, warm', () => counted.store.get(kv, 2))
  await counted.count('get of an absent key', () => counted.store.get(kv, 77))
  await counted.count('flush', () => counted.store.flush())
  await counted.count('close', () => counted.store.close())
  return counted.counts
}

interface Golden {
  operations: Record<string, Counts>
  depths: Record<string, Record<string, Counts>>
}

const found: Golden = { operations: {}, depths: {} }

function golden(): Golden {
  try {
    return JSON.parse(readFileSync(GOLDEN, 'utf8')) as Golden
  } catch {
    return { operations: {}, depths: {} }
  }
}

afterAll(() => {
  if (process.env['VARVE_GOLDEN'] === 'write') writeFileSync(GOLDEN, `${JSON.stringify(found, null, 2)}\n`)
})

const REVIEW = 'a changed count is reviewed; to accept it: VARVE_GOLDEN=write npx vitest run test/regress/counted-io.test.ts'

it('every operation makes the calls that it made before', async () => {
  found.operations = await operations()
  if (process.env['VARVE_GOLDEN'] !== 'write') expect(found.operations, REVIEW).toEqual(golden().operations)
  // What section 10 of the specification fixes, whatever the golden file says.
  const commit = { 'root isCurrent LOCK': 1, 'root segment.datasync log/': 1, 'root segment.write log/': 1 }
  const files = { 'file datasync log/': 1, 'file stat LOCK': 1, 'file write log/': 1 }
  for (const name of [
    'inline commit',
    '100 inline commits at once',
    'transaction over two tables',
    'inline commit behind an optimize',
    'inline commit on a branch',
  ])
    expect(found.operations[name], name).toEqual({ ...commit, ...files })
  // 1 + k + i files, k + i links, one append; directories: the new one, its files, its end.
  for (const [name, files] of [
    ['load, keyed, 1 fragment', 2],
    ['load, 3 fragments', 3],
  ] as const) {
    const counts = found.operations[name]!
    expect(sum(counts, /^root put(IfAbsent)? staging/), name).toBe(1 + files)
    expect(sum(counts, /^root link (fragments|indexes)/), name).toBe(files)
    expect(sum(counts, /^root segment\.(write|datasync) log/), name).toBe(2)
    expect(sum(counts, /^file syncDir staging/), name).toBeLessThanOrEqual(3)
  }
  // Its groups: an INTENT, of each table a fragment, with a key its index, and the declared one; one append.
  const optimize = found.operations['optimize, 2 tables of 3 fragments, 1 declared index']!
  expect(sum(optimize, /^root put(IfAbsent)? staging/)).toBe(1 + 4)
  expect(sum(optimize, /^root link (fragments|indexes)/)).toBe(4)
  expect(sum(optimize, /^root segment\.write log/)).toBe(1)
  expect(found.operations['optimize with nothing to do']).toEqual({ 'root list staging/': 1, 'file readdir staging': 1 })
  expect(found.operations['get, warm']).toEqual({})
  expect(found.operations['get of an absent key']).toEqual({})
})

function sum(counts: Counts, which: RegExp): number {
  return Object.entries(counts).reduce((total, [call, n]) => total + (which.test(call) ? n : 0), 0)
}

it.each(DEPTHS)('behind %i commits: the calls that were made before', async (depth) => {
  found.depths[depth] = await behind(depth)
  if (process.env['VARVE_GOLDEN'] !== 'write') expect(found.depths[depth], REVIEW).toEqual(golden().depths[depth])
})

it('the counts are flat: the same behind 10, 1,000 and 100,000 commits', () => {
  const [first, ...others] = DEPTHS.map((depth) => found.depths[depth]!)
  for (const other of others) {
    for (const [name, counts] of Object.entries(first!)) expect(plain(name, other[name]!), name).toEqual(plain(name, counts))
  }
})

/** An open looks at every segment that is retained and reads the newest, so these calls follow the bytes of the log (docs/testing.md). */
function plain(name: string, counts: Counts): Counts {
  if (!name.startsWith('open')) return counts
  return Object.fromEntries(
    Object.entries(counts).filter(([call]) => !/^(root segment|root segment\.(read|close)|file (open|close|read|stat|fstat)) log\/$/.test(call)),
  )
}
