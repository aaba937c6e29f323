// bench/contenders/sqlite.ts: SQLite through better-sqlite3, or through node:sqlite where that package has no build: WAL, synchronous = FULL, STRICT table.
//
// Both packages share prepare/run/get/all; the calls are synchronous, so 256 callers in flight wait for each other: nothing groups their commits.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { arrowResult } from '../arrow-result.ts'
import type { Contender, Database, OpenFor } from '../contender.ts'
import type { Flight, Flights } from '../data.ts'

interface Statement {
  run(...values: unknown[]): unknown
  get(...values: unknown[]): unknown
  all(...values: unknown[]): unknown[]
}

interface Connection {
  prepare(sql: string): Statement
  exec(sql: string): unknown
  close(): void
}

const SCHEMA = `CREATE TABLE IF NOT EXISTS flights (
  id INTEGER PRIMARY KEY, date INTEGER NOT NULL, delay INTEGER NOT NULL, distance INTEGER NOT NULL, origin TEXT NOT NULL, destination TEXT NOT NULL
) STRICT`
const VALUES = '(id, date, delay, distance, origin, destination) VALUES (?, ?, ?, ?, ?, ?)'

/** better-sqlite3 when it loads, else node:sqlite, which is said in the version. */
export async function sqlite(load: (name: string) => Promise<unknown>, version: string): Promise<Contender> {
  let connect: (file: string) => Connection
  let client: string
  try {
    const Better = (await load('better-sqlite3')) as { default: new (file: string) => Connection }
    new Better.default(':memory:').close()
    connect = (file) => new Better.default(file)
    client = version
  } catch (error) {
    const { DatabaseSync } = await import('node:sqlite')
    connect = (file) => new DatabaseSync(file) as unknown as Connection
    client = `node:sqlite (better-sqlite3 did not load: ${String((error as Error).message).split('\n')[0]})`
  }
  const probe = connect(':memory:')
  const { v } = probe.prepare('SELECT sqlite_version() AS v').get() as { v: string }
  probe.close()
  return {
    name: 'sqlite',
    version: `${client}, SQLite ${v}`,
    durability: 'WAL, synchronous = FULL: one fsync of the WAL per commit, checkpoints at 1,000 pages',
    open: (dir, o) => Promise.resolve(new SqliteDatabase(connect, dir, o)),
  }
}

class SqliteDatabase implements Database {
  readonly #db: Connection
  readonly #insert: Statement
  readonly #get: Statement
  readonly #scan: Statement
  readonly #sum: Statement

  constructor(connect: (file: string) => Connection, dir: string, o: OpenFor = {}) {
    mkdirSync(dir, { recursive: true })
    this.#db = connect(join(dir, 'flights.db'))
    this.#db.exec('PRAGMA journal_mode = WAL')
    this.#db.exec(`PRAGMA synchronous = ${o.unsynced === true ? 'OFF' : 'FULL'}`)
    if (o.keepLog === true) this.#db.exec('PRAGMA wal_autocheckpoint = 0')
    this.#db.exec(SCHEMA)
    this.#insert = this.#db.prepare(`INSERT INTO flights ${VALUES}`)
    this.#get = this.#db.prepare('SELECT * FROM flights WHERE id = ?')
    this.#scan = this.#db.prepare('SELECT origin, delay, distance FROM flights WHERE delay >= ?')
    this.#sum = this.#db.prepare('SELECT sum(distance) AS total FROM flights')
  }

  commit({ id, date, delay, distance, origin, destination }: Flight): void {
    this.#insert.run(id, date, delay, distance, origin, destination)
  }

  async load(data: Flights): Promise<void> {
    this.#writeAll(this.#insert, data)
  }

  async upsert(data: Flights): Promise<void> {
    this.#writeAll(this.#db.prepare(`INSERT OR REPLACE INTO flights ${VALUES}`), data)
  }

  #writeAll(statement: Statement, { rows, id, date, delay, distance, origin, destination }: Flights): void {
    this.#db.exec('BEGIN')
    for (let i = 0; i < rows; i++) statement.run(id[i]!, date[i]!, delay[i]!, distance[i]!, origin[i]!, destination[i]!)
    this.#db.exec('COMMIT')
  }

  async gets(ids: Int32Array): Promise<number> {
    let found = 0
    for (let i = 0; i < ids.length; i++) if (this.#get.get(ids[i]!) !== undefined) found++
    return found
  }

  async scanFilter(minDelay: number): Promise<ReturnType<typeof arrowResult>> {
    const rows = this.#scan.all(minDelay) as { origin: string; delay: number; distance: number }[]
    const delay = new Int16Array(rows.length)
    const distance = new Int16Array(rows.length)
    const origin = new Array<string>(rows.length)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      delay[i] = row.delay
      distance[i] = row.distance
      origin[i] = row.origin
    }
    return arrowResult(origin, delay, distance)
  }

  async scanFilterOwn(minDelay: number): Promise<number> {
    return this.#scan.all(minDelay).length
  }

  async sum(): Promise<number> {
    return (this.#sum.get() as { total: number }).total
  }

  async count(): Promise<number> {
    return (this.#db.prepare('SELECT count(*) AS n FROM flights').get() as { n: number }).n
  }

  async get(id: number): Promise<Flight | undefined> {
    const row = this.#get.get(id) as Flight | undefined
    return row === undefined ? undefined : { ...row }
  }

  async close(): Promise<void> {
    this.#db.close()
  }
}
