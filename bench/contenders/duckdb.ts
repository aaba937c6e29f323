// bench/contenders/duckdb.ts: DuckDB through @duckdb/node-api with its defaults and a PRIMARY KEY on id.
//
// Its Node client hands out chunks of 2,048 rows and has no Arrow export, so the Arrow table is made here from the chunks; the time to the chunks alone is
// reported beside it. `items` of the integer vectors is read directly: the documented way, one call a value, costs several times as much.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { arrowResult } from '../arrow-result.ts'
import type { Contender, Database, OpenFor } from '../contender.ts'
import type { Flight, Flights } from '../data.ts'

interface Vector {
  readonly items: Int16Array
  getItem(i: number): unknown
}
interface DataChunk {
  rowCount: number
  getColumnVector(i: number): Vector
  setColumnValues(i: number, values: readonly unknown[]): void
  getRows(): unknown[][]
}
interface Result {
  fetchAllChunks(): Promise<DataChunk[]>
  getRows(): Promise<unknown[][]>
}
interface Prepared {
  bind(values: readonly unknown[], types?: readonly unknown[]): void
  run(): Promise<Result>
}
interface Connection {
  run(sql: string): Promise<Result>
  prepare(sql: string): Promise<Prepared>
  createAppender(table: string): Promise<{ appendDataChunk(chunk: DataChunk): void; closeSync(): void }>
  closeSync(): void
}
interface Module {
  version(): string
  DuckDBInstance: { create(file: string): Promise<{ connect(): Promise<Connection>; closeSync(): void }> }
  DuckDBDataChunk: { create(types: readonly unknown[], rows?: number): DataChunk }
  DuckDBTimestampMillisecondsValue: new (ms: bigint) => unknown
  BIGINT: unknown
  SMALLINT: unknown
  VARCHAR: unknown
  TIMESTAMP_MS: unknown
}

const CHUNK_ROWS = 2048
const LANES_MAX = 16
const INSERT = 'INSERT INTO flights VALUES ($1, make_timestamp_ms($2), $3, $4, $5, $6)'
const COLUMNS =
  'id BIGINT PRIMARY KEY, date TIMESTAMP_MS NOT NULL, delay SMALLINT NOT NULL, distance SMALLINT NOT NULL, origin VARCHAR NOT NULL, destination VARCHAR NOT NULL'

export async function duckdb(load: (name: string) => Promise<unknown>, version: string): Promise<Contender> {
  const module = (await load('@duckdb/node-api')) as Module
  return {
    name: 'duckdb',
    version: `${version}, DuckDB ${module.version()}`,
    durability: 'default: the WAL is written and synced per commit',
    skips: { 'reopen-200k': 'preparing 200,000 one-row commits takes minutes', 'append-10': 'preparing 100,000 one-row commits takes minutes' },
    open: (dir, o) => openDuckdb(module, dir, o),
  }
}

async function openDuckdb(module: Module, dir: string, o: OpenFor = {}): Promise<Database> {
  mkdirSync(dir, { recursive: true })
  const instance = await module.DuckDBInstance.create(join(dir, 'flights.duckdb'))
  const connection = await instance.connect()
  if (o.keepLog === true) await connection.run("PRAGMA wal_autocheckpoint = '1TB'")
  await connection.run(`CREATE TABLE IF NOT EXISTS flights (${COLUMNS})`)
  const connect = (): Promise<Connection> => instance.connect()
  return new DuckdbDatabase(module, connection, connect, () => instance.closeSync(), {
    insert: await connection.prepare(INSERT),
    get: await connection.prepare('SELECT id, epoch_ms(date), delay, distance, origin, destination FROM flights WHERE id = $1'),
    scan: await connection.prepare('SELECT origin, delay, distance FROM flights WHERE delay >= $1'),
    sum: await connection.prepare('SELECT sum(distance) FROM flights'),
  })
}

class DuckdbDatabase implements Database {
  readonly #module: Module
  readonly #db: Connection
  readonly #connect: () => Promise<Connection>
  readonly #end: () => void
  readonly #prepared: Readonly<Record<'insert' | 'get' | 'scan' | 'sum', Prepared>>
  /** Connections of callers in flight, each with its own statement: a prepared statement holds one set of values. */
  readonly #idle: Prepared[] = []
  readonly #lanes: Connection[] = []
  readonly #waiting: ((insert: Prepared) => void)[] = []

  constructor(
    module: Module,
    db: Connection,
    connect: () => Promise<Connection>,
    end: () => void,
    prepared: Readonly<Record<'insert' | 'get' | 'scan' | 'sum', Prepared>>,
  ) {
    this.#module = module
    this.#db = db
    this.#connect = connect
    this.#end = end
    this.#prepared = prepared
    this.#idle.push(prepared.insert)
  }

  async commit({ id, date, delay, distance, origin, destination }: Flight): Promise<void> {
    const { BIGINT, SMALLINT, VARCHAR } = this.#module
    const insert = await this.#lane()
    try {
      insert.bind([BigInt(id), BigInt(date), delay, distance, origin, destination], [BIGINT, BIGINT, SMALLINT, SMALLINT, VARCHAR, VARCHAR])
      await insert.run()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#idle.push(insert)
      else next(insert)
    }
  }

  async #lane(): Promise<Prepared> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#lanes.length >= LANES_MAX) return new Promise((resolve) => this.#waiting.push(resolve))
    const connection = await this.#connect()
    this.#lanes.push(connection)
    return connection.prepare(INSERT)
  }

  load(data: Flights): Promise<void> {
    return this.#append('flights', data)
  }

  async upsert(data: Flights): Promise<void> {
    await this.#db.run('CREATE OR REPLACE TEMP TABLE incoming AS SELECT * FROM flights LIMIT 0')
    await this.#append('incoming', data)
    await this.#db.run('INSERT OR REPLACE INTO flights SELECT * FROM incoming')
  }

  async #append(table: string, data: Flights): Promise<void> {
    const { BIGINT, SMALLINT, VARCHAR, TIMESTAMP_MS, DuckDBDataChunk, DuckDBTimestampMillisecondsValue } = this.#module
    const types = [BIGINT, TIMESTAMP_MS, SMALLINT, SMALLINT, VARCHAR, VARCHAR]
    const appender = await this.#db.createAppender(table)
    for (let from = 0; from < data.rows; from += CHUNK_ROWS) {
      const end = Math.min(from + CHUNK_ROWS, data.rows)
      const chunk = DuckDBDataChunk.create(types, end - from)
      chunk.setColumnValues(0, Array.from(data.id.subarray(from, end), BigInt))
      chunk.setColumnValues(
        1,
        Array.from(data.date.subarray(from, end), (ms) => new DuckDBTimestampMillisecondsValue(BigInt(ms))),
      )
      chunk.setColumnValues(2, Array.from(data.delay.subarray(from, end)))
      chunk.setColumnValues(3, Array.from(data.distance.subarray(from, end)))
      chunk.setColumnValues(4, data.origin.slice(from, end))
      chunk.setColumnValues(5, data.destination.slice(from, end))
      appender.appendDataChunk(chunk)
    }
    appender.closeSync()
  }

  async gets(ids: Int32Array): Promise<number> {
    let found = 0
    for (let i = 0; i < ids.length; i++) if ((await this.#row(ids[i]!)) !== undefined) found++
    return found
  }

  async #row(id: number): Promise<unknown[] | undefined> {
    const { get } = this.#prepared
    get.bind([BigInt(id)], [this.#module.BIGINT])
    return (await (await get.run()).getRows())[0]
  }

  async scanFilter(minDelay: number): Promise<ReturnType<typeof arrowResult>> {
    const chunks = await this.#filtered(minDelay)
    const rows = chunks.reduce((sum, chunk) => sum + chunk.rowCount, 0)
    const origin = new Array<string>(rows)
    const delay = new Int16Array(rows)
    const distance = new Int16Array(rows)
    let at = 0
    for (const chunk of chunks) {
      const texts = chunk.getColumnVector(0)
      for (let i = 0; i < chunk.rowCount; i++) origin[at + i] = texts.getItem(i) as string
      delay.set(chunk.getColumnVector(1).items, at)
      distance.set(chunk.getColumnVector(2).items, at)
      at += chunk.rowCount
    }
    return arrowResult(origin, delay, distance)
  }

  async scanFilterOwn(minDelay: number): Promise<number> {
    return (await this.#filtered(minDelay)).reduce((sum, chunk) => sum + chunk.rowCount, 0)
  }

  async #filtered(minDelay: number): Promise<DataChunk[]> {
    const { scan } = this.#prepared
    scan.bind([minDelay], [this.#module.SMALLINT])
    return (await scan.run()).fetchAllChunks()
  }

  async sum(): Promise<number> {
    return Number((await (await this.#prepared.sum.run()).getRows())[0]![0])
  }

  async count(): Promise<number> {
    return Number((await (await this.#db.run('SELECT count(*) FROM flights')).getRows())[0]![0])
  }

  async get(id: number): Promise<Flight | undefined> {
    const row = await this.#row(id)
    if (row === undefined) return undefined
    const [, date, delay, distance, origin, destination] = row as [bigint, bigint, number, number, string, string]
    return { id, date: Number(date), delay, distance, origin, destination }
  }

  async close(): Promise<void> {
    for (const lane of this.#lanes) lane.closeSync()
    this.#db.closeSync()
    this.#end()
  }
}
