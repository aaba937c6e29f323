// Stores for tests of staged writes: two small tables, a place that can be killed and opened again, and a look at what lies under staging/.
import { onTestFinished } from 'vitest'

import { type Column, type OpenOptions, Store, type Table, t, table } from '../../../bindings/index.ts'
import { FakeFiles } from '../../../bindings/testing/index.ts'
import { simWorld, type SimWorld } from '../../sim/sim-world.ts'

export const items: Table<'items', { id: Column<number, number, 'number'>; v: Column<string, string, 'order'> }, ['id']> = table(
  'items',
  { id: t.int32(), v: t.utf8() },
  { key: ['id'] },
)
export const notes: Table<'notes', { at: Column<number, number, 'number'>; text: Column<string, string, 'order'> }, []> = table('notes', {
  at: t.int32(),
  text: t.utf8(),
})

export const item = (id: number, v = 'x'): { id: number; v: string } => ({ id, v })
export const note = (at: number, text = 'n'): { at: number; text: string } => ({ at, text })

/** A store in fake files: `kill` loses what only the process knew, `reopen` closes first. */
export class Place {
  files: FakeFiles = new FakeFiles()
  sim!: SimWorld
  store!: Store
  private process = 0
  private readonly options: OpenOptions

  private constructor(options: OpenOptions) {
    this.options = options
  }

  static async open(options: OpenOptions = {}): Promise<Place> {
    const place = new Place(options)
    await place.start()
    await place.store.create(items, notes)
    onTestFinished(() => place.store.close().catch(() => undefined))
    return place
  }

  private async start(options: OpenOptions = {}): Promise<void> {
    const n = ++this.process
    this.sim = simWorld({
      seed: n,
      files: this.files,
      host: { pid: n, processStartTime: String(n), isAlive: (pid) => pid >= this.process },
      startMs: 1_700_000_000_000 + n * 1_000_000,
    })
    this.store = await Store.open('/data/store', { upkeep: 'manual', threads: 0, ...this.options, ...options, world: this.sim.world })
  }

  async reopen(options: OpenOptions = {}): Promise<Store> {
    await this.store.close()
    await this.start(options)
    return this.store
  }

  async kill(options: OpenOptions = {}): Promise<Store> {
    this.files = this.files.restart()
    await this.start(options)
    return this.store
  }

  /** Names below staging/, INTENT and LEASE included. */
  async staging(): Promise<string[]> {
    return listed(this.files, '/data/store/staging')
  }
}

async function listed(files: FakeFiles, path: string): Promise<string[]> {
  const names: string[] = []
  let entries: readonly { readonly name: string; readonly isDirectory: boolean }[]
  try {
    entries = await files.readdir(path)
  } catch {
    return names
  }
  for (const { name, isDirectory } of entries) {
    if (isDirectory) {
      names.push(`${name}/`)
      for (const below of await listed(files, `${path}/${name}`)) names.push(`${name}/${below}`)
    } else names.push(name)
  }
  return names.toSorted()
}

/** Keyed rows as `id:v`, unkeyed ones as `at:text`, both sorted. */
export async function contents(store: Pick<Store, 'scan'>): Promise<{ items: string[]; notes: string[] }> {
  const keyed = await store.scan(items).toArray()
  const unkeyed = await store.scan(notes).toArray()
  return {
    items: keyed.toSorted((a, b) => a.id - b.id).map(({ id, v }) => `${id}:${v}`),
    notes: unkeyed.map(({ at, text }) => `${at}:${text}`).toSorted(),
  }
}
