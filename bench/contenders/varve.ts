// bench/contenders/varve.ts: varve through its public door.
import { columns, gte, Store, t, table } from '../../bindings/index.ts'
import type { ArrowResult, Contender, Database, OpenFor } from '../contender.ts'
import type { Flight, Flights } from '../data.ts'

/** Six columns, keyed by id; the definition that every benchmark of the engine uses. */
const flights = table(
  'flights',
  { id: t.int64(), date: t.timestamp('ms'), delay: t.int16(), distance: t.int16(), origin: t.utf8(), destination: t.utf8() },
  { key: ['id'] },
)

export function varve(version: string): Contender {
  return {
    name: 'varve',
    version,
    durability: 'one write and one fdatasync of the log per group of commits, before any of them resolves',
    open: (dir, o) => VarveDatabase.open(dir, o),
  }
}

export class VarveDatabase implements Database {
  readonly store: Store

  private constructor(store: Store) {
    this.store = store
  }

  static async open(dir: string, o: OpenFor = {}): Promise<VarveDatabase> {
    const store = await Store.open(dir, o.keepLog === true ? { upkeep: 'manual' } : {})
    await store.create(flights)
    return new VarveDatabase(store)
  }

  /** `ids` in `fragments` staged loads, each holding every `fragments`-th of them, so that their key ranges overlap. */
  static async interleaved(dir: string, ids: Int32Array, fragments: number): Promise<VarveDatabase> {
    const store = await Store.open(dir, { inlineLimitBytes: 0, upkeep: 'manual' })
    await store.create(flights)
    for (let f = 0; f < fragments; f++) {
      const some = ids.filter((_, i) => i % fragments === f)
      const data = columns({
        id: BigInt64Array.from(some, BigInt),
        date: Array.from(some, (id) => new Date(id * 60_000)),
        delay: new Int16Array(some.length).fill(5),
        distance: Int16Array.from(some, (id) => id % 2400),
        origin: Array.from(some, (id) => (id % 4 === 0 ? 'SFO' : 'JFK')),
        destination: Array.from(some, () => 'ORD'),
      })
      await store.append(flights, data)
    }
    const made = (await store.stats()).tables['flights']!.fragments
    if (made !== fragments) throw new Error(`${made} fragments, not ${fragments}`)
    return new VarveDatabase(store)
  }

  commit(row: Flight): Promise<unknown> {
    return this.store.append(flights, insertOf(row))
  }

  replaceRow(row: Flight): Promise<unknown> {
    return this.store.upsert(flights, insertOf(row))
  }

  appendRows(rows: readonly Flight[]): Promise<unknown> {
    return this.store.append(flights, rows.map(insertOf))
  }

  async load(data: Flights): Promise<void> {
    await this.store.append(flights, data.table)
  }

  async upsert(data: Flights): Promise<void> {
    await this.store.upsert(flights, data.table)
  }

  async gets(ids: Int32Array): Promise<number> {
    let found = 0
    for (let i = 0; i < ids.length; i++) if ((await this.store.get(flights, BigInt(ids[i]!))) !== undefined) found++
    return found
  }

  async getsSync(ids: Int32Array): Promise<number> {
    await using snapshot = await this.store.snapshot()
    let found = 0
    for (let i = 0; i < ids.length; i++) if (snapshot.getSync(flights, BigInt(ids[i]!)) !== undefined) found++
    return found
  }

  scanFilter(delay: number): Promise<ArrowResult> {
    return this.store
      .scan(flights, { select: ['origin', 'delay', 'distance'], where: gte('delay', delay) })
      .toArrow() as Promise<unknown> as Promise<ArrowResult>
  }

  async sum(): Promise<number> {
    return Number((await this.store.scan(flights).aggregate({ total: { sum: 'distance' } })).total)
  }

  count(): Promise<number> {
    return this.store.scan(flights).count()
  }

  async get(id: number): Promise<Flight | undefined> {
    const row = await this.store.get(flights, BigInt(id))
    return row === undefined ? undefined : { ...row, id: Number(row.id), date: row.date.getTime() }
  }

  close(): Promise<void> {
    return this.store.close()
  }
}

function insertOf({ id, date, delay, distance, origin, destination }: Flight): (typeof flights)['Insert'] {
  return { id: BigInt(id), date: new Date(date), delay, distance, origin, destination }
}
