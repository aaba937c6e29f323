// bench/upkeep/indexed.ts: selective reads of flights-3m by a declared index, beside a full scan of the same rows, and beside SQLite and DuckDB with the same
// indexes. Warm, in interleaved rounds; the first read of a freshly opened store is told apart. Every answer is held against the same rows counted in memory.
import { join } from 'node:path'

import { and, between, eq, gte, type Predicate, type Scan, Store, t, table } from '../../bindings/index.ts'
import { type Flights, flights3m, sample } from '../data.ts'
import { freshFolder, settleDisk } from '../machine.ts'
import { contenderOf, isInstalled, loadPackage } from '../peers.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'

const definition = { id: t.int64(), date: t.timestamp('ms'), delay: t.int16(), distance: t.int16(), origin: t.utf8(), destination: t.utf8() }
const indexed = table('flights', definition, { key: ['id'], index: ['origin', ['origin', 'date'], 'delay'] })
const plain = table('plain', definition, { key: ['id'] })
type Filter = typeof indexed.Filter

const DAY_MS = 86_400_000
/** Of one turn of a round. */
const TURN_MS = 150
const QUICK_ROWS = 600_000

interface Query {
  readonly name: string
  readonly where: Predicate<Filter>
  readonly sql: string
  readonly passes: (row: number) => boolean
}

/** One way to answer a query. */
interface Engine {
  readonly name: string
  rows(query: Query): Promise<number>
  count(query: Query): Promise<number>
  /** The ten longest delays; how many were given. */
  top(): Promise<number>
  close(): Promise<void>
}

export async function indexes(suite: FigureSuite): Promise<void> {
  const data = suite.quick ? await sample(QUICK_ROWS) : await flights3m()
  const queries = queriesOf(data)
  const folder = freshFolder()
  const engines = [...(await varve(suite, folder, data)), ...(await peers(suite, data))]
  for (const query of queries) {
    let wanted = 0
    for (let row = 0; row < data.rows; row++) if (query.passes(row)) wanted++
    suite.fact(`index.${query.name}.selected`, `${wanted} of ${data.rows} rows`)
    for (const what of ['rows', 'count'] as const) await contest(suite, `index.${query.name}.${what}`, engines, (engine) => engine[what](query), wanted)
  }
  await contest(suite, 'index.top', engines, (engine) => engine.top(), 10)
  for (const engine of engines) await engine.close()
  for (const query of queries) await first(suite, folder, query)
}

/** A rare airport, one of a few thousand flights, that on one day, and long delays: selective each in its own way. */
function queriesOf({ rows, origin, date, delay }: Flights): Query[] {
  const counts = new Map<string, number>()
  for (const name of origin) counts.set(name, (counts.get(name) ?? 0) + 1)
  const names = [...counts].toSorted(([, a], [, b]) => a - b)
  const atShare = (share: number): string => names.find(([, count]) => count >= share * rows)![0]
  const rare = atShare(0.00003)
  const some = atShare(0.002)
  const from = Math.floor(date[rows >> 1]! / DAY_MS) * DAY_MS
  const to = from + DAY_MS - 1
  const late = 480
  const at = (name: string): string => `origin = '${name}'`
  return [
    { name: 'rare-origin', where: eq('origin', rare), sql: at(rare), passes: (row) => origin[row] === rare },
    { name: 'origin', where: eq('origin', some), sql: at(some), passes: (row) => origin[row] === some },
    {
      name: 'origin-day',
      where: and(eq('origin', some), between('date', new Date(from), new Date(to))),
      sql: `${at(some)} AND date BETWEEN $from AND $to`.replace('$from', String(from)).replace('$to', String(to)),
      passes: (row) => origin[row] === some && date[row]! >= from && date[row]! <= to,
    },
    { name: 'late', where: gte('delay', late), sql: `delay >= ${late}`, passes: (row) => delay[row]! >= late },
  ]
}

async function varve(suite: FigureSuite, folder: string, data: Flights): Promise<Engine[]> {
  const store = await Store.open(folder, { upkeep: 'manual' })
  await store.create(indexed)
  await store.create(plain)
  for (const one of [indexed, plain]) await store.append(one, data.table)
  settleDisk()
  const before = (await store.stats()).tables['flights']!.bytes
  const started = performance.now()
  await store.optimize()
  const ms = performance.now() - started
  const { bytes, coverage } = (await store.stats()).tables['flights']!
  suite.fact('index.build', `${rounded(data.rows / ms / 1000)} M rows/s, three indexes at once`)
  suite.fact('index.bytes', `${rounded((bytes - before) / data.rows)} bytes a row, three indexes; coverage ${coverage['origin, date']!.share}`)
  const by = (name: string, of: (where: Predicate<Filter>) => Scan<typeof indexed, object>, one: typeof indexed, close: () => Promise<void>): Engine => ({
    name,
    top: async () => (await store.scan(one, { orderBy: ['delay desc', 'id'], limit: 10, select: ['id', 'delay', 'distance'] }).toArray()).length,
    rows: async ({ where }) => (Object.values(await of(where).toColumns())[0] as ArrayLike<unknown>).length,
    count: ({ where }) => of(where).count(),
    close,
  })
  const select = ['id', 'delay', 'distance'] as const
  return [
    by(
      'varve',
      (where) => store.scan(indexed, { where, select }) as never,
      indexed,
      () => store.close(),
    ),
    by(
      'scan',
      (where) => store.scan(plain, { where: where as never, select }) as never,
      plain as unknown as typeof indexed,
      () => Promise.resolve(),
    ),
  ]
}

/** The first answer of a store that was just opened: directory, blocks and pages come from files, through the page cache. */
async function first(suite: FigureSuite, folder: string, query: Query): Promise<void> {
  const times: Record<string, number[]> = { varve: [], scan: [] }
  for (let round = 0; round < suite.rounds; round++) {
    for (const [name, one] of [
      ['varve', indexed],
      ['scan', plain],
    ] as const) {
      const store = await Store.open(folder, { readOnly: true })
      const started = performance.now()
      await store.scan(one as typeof indexed, { where: query.where, select: ['id', 'delay', 'distance'] }).toColumns()
      times[name]!.push(performance.now() - started)
      await store.close()
    }
  }
  const [ours, scan] = [medianOf(times['varve']!), medianOf(times['scan']!)]
  suite.fact(`index.${query.name}.first`, `${rounded(ours)} ms by index, ${rounded(scan)} ms by scan (${rounded(scan / ours)}x)`)
}

async function contest(suite: FigureSuite, name: string, engines: readonly Engine[], run: (engine: Engine) => Promise<number>, wanted: number): Promise<void> {
  const times = new Map<string, number[]>(engines.map((engine) => [engine.name, []]))
  for (const engine of engines) {
    const found = await run(engine)
    if (found !== wanted) throw new Error(`${name}: ${engine.name} finds ${found} rows, not ${wanted}`)
  }
  for (let round = 0; round < suite.rounds; round++) {
    for (let i = 0; i < engines.length; i++) {
      const engine = engines[(i + round) % engines.length]!
      const started = performance.now()
      let operations = 0
      while (operations === 0 || performance.now() - started < TURN_MS) {
        await run(engine)
        operations++
      }
      times.get(engine.name)!.push((performance.now() - started) / operations)
    }
  }
  const [ours, ...others] = engines.map((engine) => ({ name: engine.name, ms: medianOf(times.get(engine.name)!) }))
  suite.fact(name, `${rounded(ours!.ms)} ms; ${others.map((other) => `${other.name} ${rounded(other.ms)} ms (${rounded(other.ms / ours!.ms)}x)`).join(', ')}`)
}

// peers: loaded by their contenders, then opened again for statements of this suite

const SQL_INDEXES = [
  'CREATE INDEX by_origin ON flights (origin)',
  'CREATE INDEX by_origin_date ON flights (origin, date)',
  'CREATE INDEX by_delay ON flights (delay)',
]

const TOP = 'SELECT id, delay, distance FROM flights ORDER BY delay DESC, id LIMIT 10'

async function peers(suite: FigureSuite, data: Flights): Promise<Engine[]> {
  const made: Engine[] = []
  for (const [name, open] of [
    ['sqlite', sqlite],
    ['duckdb', duckdb],
  ] as const) {
    try {
      const folder = freshFolder()
      const db = await (await contenderOf(name)).open(folder, { unsynced: true })
      await db.load!(data)
      await db.close()
      made.push(await open(folder))
    } catch (error) {
      suite.say(`  ${name} is left out: ${String((error as Error).message).split('\n')[0]}`)
    }
  }
  return made
}

interface SqliteConnection {
  exec(sql: string): unknown
  prepare(sql: string): { all(): unknown[]; get(): unknown }
  close(): void
}

async function sqlite(folder: string): Promise<Engine> {
  const file = join(folder, 'flights.db')
  let db: SqliteConnection
  if (isInstalled('better-sqlite3')) {
    const { default: Better } = (await loadPackage('better-sqlite3')) as { default: new (file: string) => SqliteConnection }
    db = new Better(file)
  } else db = new (await import('node:sqlite')).DatabaseSync(file) as unknown as SqliteConnection
  for (const one of SQL_INDEXES) db.exec(one)
  db.exec('ANALYZE')
  return {
    name: 'sqlite',
    rows: ({ sql }) => Promise.resolve(db.prepare(`SELECT id, delay, distance FROM flights WHERE ${sql}`).all().length),
    count: ({ sql }) => Promise.resolve((db.prepare(`SELECT count(*) AS n FROM flights WHERE ${sql}`).get() as { n: number }).n),
    top: () => Promise.resolve(db.prepare(TOP).all().length),
    close: () => Promise.resolve(db.close()),
  }
}

interface DuckdbConnection {
  run(sql: string): Promise<{ getColumns(): Promise<unknown[][]> }>
  closeSync(): void
}

async function duckdb(folder: string): Promise<Engine> {
  const { DuckDBInstance } = (await loadPackage('@duckdb/node-api')) as {
    DuckDBInstance: { create(file: string): Promise<{ connect(): Promise<DuckdbConnection>; closeSync(): void }> }
  }
  const instance = await DuckDBInstance.create(join(folder, 'flights.duckdb'))
  const db = await instance.connect()
  for (const one of SQL_INDEXES) await db.run(one)
  const text = (sql: string): string => sql.replace(/BETWEEN (\d+) AND (\d+)/, 'BETWEEN make_timestamp_ms($1) AND make_timestamp_ms($2)')
  return {
    name: 'duckdb',
    rows: async ({ sql }) => (await (await db.run(`SELECT id, delay, distance FROM flights WHERE ${text(sql)}`)).getColumns())[0]?.length ?? 0,
    count: async ({ sql }) => Number((await (await db.run(`SELECT count(*) FROM flights WHERE ${text(sql)}`)).getColumns())[0]![0]),
    top: async () => (await (await db.run(TOP)).getColumns())[0]!.length,
    close: async () => {
      db.closeSync()
      instance.closeSync()
    },
  }
}
