// bench/contenders/lmdb.ts: lmdb-js with its defaults: rows as objects (msgpackr), commits batched by event turn, promises that resolve after the sync.
import type { Contender, Database } from '../contender.ts'
import type { Flight, Flights } from '../data.ts'

interface LmdbStore {
  get(key: number): Omit<Flight, 'id'> | undefined
  put(key: number, value: object): Promise<boolean>
  putSync(key: number, value: object): void
  transactionSync(fn: () => void): void
  getRange(): Iterable<{ key: number; value: Omit<Flight, 'id'> }>
  getCount(): number
  readonly flushed: Promise<unknown>
  close(): Promise<void>
}

export async function lmdb(load: (name: string) => Promise<unknown>, version: string): Promise<Contender> {
  const { open } = (await load('lmdb')) as { open(o: object): LmdbStore }
  return {
    name: 'lmdb',
    version,
    durability: 'default sync: one fdatasync and one O_DSYNC write of the meta page per transaction; puts of one event turn share a transaction',
    skips: { 'scan-filter': 'a key-value store: no filter', sum: 'a key-value store: no aggregate' },
    open: async (dir, o) => new LmdbDatabase(open({ path: dir, ...(o?.unsynced === true ? { noSync: true } : {}) })),
  }
}

class LmdbDatabase implements Database {
  readonly #db: LmdbStore

  constructor(db: LmdbStore) {
    this.#db = db
  }

  commit({ id, date, delay, distance, origin, destination }: Flight): Promise<unknown> {
    return this.#db.put(id, { date, delay, distance, origin, destination })
  }

  async load({ rows, id, date, delay, distance, origin, destination }: Flights): Promise<void> {
    const db = this.#db
    db.transactionSync(() => {
      for (let i = 0; i < rows; i++) {
        db.putSync(id[i]!, { date: date[i]!, delay: delay[i]!, distance: distance[i]!, origin: origin[i]!, destination: destination[i]! })
      }
    })
    await db.flushed
  }

  upsert(data: Flights): Promise<void> {
    return this.load(data)
  }

  async gets(ids: Int32Array): Promise<number> {
    let found = 0
    for (let i = 0; i < ids.length; i++) if (this.#db.get(ids[i]!) !== undefined) found++
    return found
  }

  async count(): Promise<number> {
    return this.#db.getCount()
  }

  async get(id: number): Promise<Flight | undefined> {
    const row = this.#db.get(id)
    return row === undefined ? undefined : { id, ...row }
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}
