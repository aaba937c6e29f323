// bench/contenders/lancedb.ts: LanceDB (the Lance format) with its defaults and a BTREE index on id.
//
// Its writes make a new table version each and issue no sync of their own: the suite counts the syncs and says so. Input is an Arrow table, as it wants.
import { arrow } from '../arrow.ts'
import type { ArrowResult, Contender, Database } from '../contender.ts'
import type { Flight, Flights } from '../data.ts'

interface Query {
  where(sql: string): Query
  select(columns: readonly string[]): Query
  toArray(): Promise<Record<string, unknown>[]>
  toArrow(): Promise<ArrowResult>
}
interface LanceTable {
  add(data: unknown): Promise<unknown>
  createIndex(column: string, o?: object): Promise<void>
  query(): Query
  countRows(): Promise<number>
  mergeInsert(on: string): { whenMatchedUpdateAll(): { whenNotMatchedInsertAll(): { execute(data: unknown): Promise<unknown> } } }
  close(): void
}
interface Connection {
  tableNames(): Promise<string[]>
  createTable(name: string, data: unknown): Promise<LanceTable>
  openTable(name: string): Promise<LanceTable>
  close(): void
}
interface Module {
  connect(dir: string): Promise<Connection>
  Index: { btree(): unknown }
}

export async function lancedb(load: (name: string) => Promise<unknown>, version: string): Promise<Contender> {
  const module = (await load('@lancedb/lancedb')) as Module
  return {
    name: 'lancedb',
    version,
    durability: 'default: new data file and new manifest per commit, neither synced (not the same durability)',
    skips: {
      'commit-256': 'concurrent appends to one table conflict and are retried; measured one at a time only',
      'reopen-200k': 'preparing 200,000 versions takes many minutes',
      'append-10': 'preparing 100,000 versions takes many minutes',
    },
    open: async (dir) => {
      const connection = await module.connect(dir)
      const names = await connection.tableNames()
      return new LanceDatabase(module, connection, names.includes('flights') ? await connection.openTable('flights') : undefined)
    },
  }
}

class LanceDatabase implements Database {
  readonly #module: Module
  readonly #connection: Connection
  #table: LanceTable | undefined

  constructor(module: Module, connection: Connection, table: LanceTable | undefined) {
    this.#module = module
    this.#connection = connection
    this.#table = table
  }

  async commit(row: Flight): Promise<unknown> {
    const batch = tableOf(row)
    if (this.#table !== undefined) return this.#table.add(batch)
    this.#table = await this.#connection.createTable('flights', batch)
    return undefined
  }

  async load(data: Flights): Promise<void> {
    this.#table = await this.#connection.createTable('flights', data.table)
    await this.#table.createIndex('id', { config: this.#module.Index.btree() })
  }

  async upsert(data: Flights): Promise<void> {
    await this.#table!.mergeInsert('id').whenMatchedUpdateAll().whenNotMatchedInsertAll().execute(data.table)
  }

  async gets(ids: Int32Array): Promise<number> {
    let found = 0
    for (let i = 0; i < ids.length; i++) {
      const rows = await this.#table!.query().where(`id = ${ids[i]!}`).toArray()
      if (rows.length === 1) found++
    }
    return found
  }

  scanFilter(minDelay: number): Promise<ArrowResult> {
    return this.#table!.query().where(`delay >= ${minDelay}`).select(['origin', 'delay', 'distance']).toArrow()
  }

  async sum(): Promise<number> {
    const result = await this.#table!.query().select(['distance']).toArrow()
    let total = 0
    for (const chunk of (result.getChild('distance') as unknown as { data: readonly { values: Int16Array }[] }).data) {
      for (let i = 0; i < chunk.values.length; i++) total += chunk.values[i]!
    }
    return total
  }

  async count(): Promise<number> {
    return this.#table === undefined ? 0 : this.#table.countRows()
  }

  async get(id: number): Promise<Flight | undefined> {
    const row = (await this.#table!.query().where(`id = ${id}`).toArray())[0]
    if (row === undefined) return undefined
    return {
      id,
      date: Number(row['date']),
      delay: Number(row['delay']),
      distance: Number(row['distance']),
      origin: String(row['origin']),
      destination: String(row['destination']),
    }
  }

  async close(): Promise<void> {
    this.#table?.close()
    this.#connection.close()
  }
}

function tableOf({ id, date, delay, distance, origin, destination }: Flight): unknown {
  const { makeData, makeVector, Table, Int16, Int64, TimestampMillisecond, Utf8, vectorFromArray } = arrow
  return new Table({
    id: makeVector(makeData({ type: new Int64(), data: BigInt64Array.of(BigInt(id)) })),
    date: makeVector(makeData({ type: new TimestampMillisecond(), data: BigInt64Array.of(BigInt(date)) })),
    delay: makeVector(makeData({ type: new Int16(), data: Int16Array.of(delay) })),
    distance: makeVector(makeData({ type: new Int16(), data: Int16Array.of(distance) })),
    origin: vectorFromArray([origin], new Utf8()),
    destination: vectorFromArray([destination], new Utf8()),
  })
}
