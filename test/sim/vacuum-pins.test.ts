// Readers that come while vacuums run: a hold that is granted is honoured, and one that is not says so. No read of any kind ever meets a file that is missing.

import { expect, it } from 'vitest'

import { columns, HistoryUnavailableError, PinRefusedError, type Lsn, type ReadStore, type Snapshot, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { soon } from '../../bindings/runtime/index.ts'
import { FaultyRoot } from '../../bindings/testing/index.ts'
import { Dice } from './durable/dice.ts'
import { simWorld } from './sim-world.ts'

const items = table('items', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const SEEDS = Number(process.env['VARVE_SEEDS'] ?? 1000)
const FIRST = Number(process.env['VARVE_SEED'] ?? 1)
const VERSIONS = 7
const ROWS = 90

/** Row i of version n. */
const valueOf = (i: number, n: number): number => n * 1000 + (i % 10)

function rowsOf(n: number): never {
  return columns({ id: Int32Array.from({ length: ROWS }, (_, i) => i), n: Int32Array.from({ length: ROWS }, (_, i) => valueOf(i, n)) }) as never
}

async function turns(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await new Promise<void>((resolve) => soon(resolve))
}

/** What became of the readers of all seeds. */
const seen: Record<string, { granted: number; refused: number }> = {}

type Act = (race: Race, at: Version) => Promise<void>
interface Version {
  readonly lsn: Lsn
  readonly n: number
}

class Race {
  readonly dice: Dice
  readonly root: FaultyRoot
  readonly memory = new MemoryRoot()
  store!: Store
  reader!: ReadStore
  readonly versions: Version[] = []
  readonly snapshots: { readonly snapshot: Snapshot; readonly n: number }[] = []

  constructor(seed: number) {
    this.dice = new Dice(seed)
    this.root = new FaultyRoot(this.memory)
  }

  async write(n: number): Promise<void> {
    const { lsn } = await this.store.replace(items, rowsOf(n))
    this.versions.push({ lsn, n })
  }

  async run(seed: number): Promise<void> {
    const { dice } = this
    const { world } = simWorld({ seed })
    this.store = await Store.open(this.root, { world, threads: 0, upkeep: 'manual', inlineLimitBytes: 100 })
    await this.store.create(items)
    for (let n = 1; n <= VERSIONS; n++) {
      await this.write(n)
      if (dice.once(3)) await this.store.flush()
    }
    this.reader = await Store.open(this.memory, { world: simWorld({ seed }).world, threads: 0, readOnly: true, follow: false })
    this.root.plan(() => (dice.once(2) ? { wait: () => turns(dice.int(4)) } : undefined))
    const running: Promise<unknown>[] = [this.vacuums()]
    for (let i = 0; i < 5; i++) running.push(this.reads(dice.int(60)))
    if (dice.once(2)) running.push(turns(dice.int(40)).then(() => this.write(VERSIONS + 1)))
    await Promise.all(running)
    this.root.plan(undefined)
    await this.store.vacuum({ keep: { versions: 1 } })
    for (const { snapshot, n } of this.snapshots) {
      await shows(snapshot, n)
      await snapshot[Symbol.asyncDispose]()
    }
    expect((await this.store.verify({ level: 'all' })).problems).toEqual([])
    await this.reader.close()
    await this.store.close()
  }

  private async vacuums(): Promise<void> {
    for (let i = 1 + this.dice.int(2); i > 0; i--) {
      await turns(this.dice.int(20))
      await this.store.vacuum({ keep: { versions: 1 + this.dice.int(3) } })
    }
  }

  private async reads(after: number): Promise<void> {
    const name = this.dice.pick(Object.keys(ACTS))
    const at = this.dice.pick(this.versions)
    await turns(after)
    const count = (seen[name] ??= { granted: 0, refused: 0 })
    try {
      await ACTS[name]!(this, at)
      count.granted++
    } catch (error) {
      if (!(error instanceof HistoryUnavailableError || error instanceof PinRefusedError)) throw new Error(`${name} of LSN ${at.lsn}`, { cause: error })
      count.refused++
    }
  }
}

async function shows(from: Pick<ReadStore, 'scan'>, n: number, at?: Lsn | string): Promise<void> {
  const rows = await from.scan(items, { orderBy: 'id', ...(at === undefined ? {} : { at }) }).toArray()
  expect(rows).toEqual(Array.from({ length: ROWS }, (_, i) => ({ id: i, n: valueOf(i, n) })))
}

const ACTS: Readonly<Record<string, Act>> = {
  scan: ({ store }, { lsn, n }) => shows(store, n, lsn),
  get: async ({ store }, { lsn, n }) => expect(await store.get(items, { id: 7 }, { at: lsn })).toEqual({ id: 7, n: valueOf(7, n) }),
  snapshot: async (race, { lsn, n }) => {
    const snapshot = await race.store.snapshot(lsn)
    race.snapshots.push({ snapshot, n })
    await turns(race.dice.int(60))
    // Granted: from now on nothing refuses.
    await shows(snapshot, n).catch((error: unknown) => Promise.reject(new Error('a granted snapshot was refused', { cause: error })))
  },
  feed: async ({ store, dice }, { lsn, n }) => {
    let last = n
    let isGranted = false
    try {
      for await (const batch of store.changes({ from: lsn, tables: [items], images: 'both', follow: false })) {
        isGranted = true
        for await (const change of batch as unknown as AsyncIterable<{ before?: { id: number; n: number }; after?: { id: number; n: number } }>) {
          if (change.before !== undefined) expect(change.before.n).toBe(valueOf(change.before.id, last))
          if (change.after !== undefined) expect(change.after.n).toBe(valueOf(change.after.id, last + 1))
        }
        last++
        await turns(dice.int(8))
      }
    } catch (error) {
      throw isGranted ? new Error('a feed that had begun was broken', { cause: error }) : error
    }
  },
  backup: async ({ store }) => {
    const copy = new MemoryRoot()
    await store.backup(copy)
    const copied = await Store.open(copy, { readOnly: true, follow: false, threads: 0 })
    expect((await copied.verify({ level: 'all' })).problems).toEqual([])
    expect(await copied.scan(items).count()).toBe(ROWS)
    await copied.close()
  },
  tag: async ({ store, dice }, { lsn, n }) => {
    const name = `t${dice.int(1_000_000)}`
    await store.tag(name, { at: lsn })
    await turns(dice.int(30))
    await shows(store, n, name).catch((error: unknown) => Promise.reject(new Error('a tag was not kept', { cause: error })))
  },
  branch: async ({ store, dice }, { lsn, n }) => {
    const name = `b${dice.int(1_000_000)}`
    const branch = await store.branch(name, { from: lsn })
    await turns(dice.int(30))
    await shows(branch, n).catch((error: unknown) => Promise.reject(new Error('a branch was not kept', { cause: error })))
  },
  // Of another process: nothing holds a version for it, so it may be refused at any time, and goes on after a refresh.
  elsewhere: async ({ reader }, { lsn, n }) => {
    try {
      await shows(reader, n, lsn)
    } catch (error) {
      if (!(error instanceof HistoryUnavailableError)) throw error
      await reader.refresh()
      expect(await reader.scan(items).count()).toBe(ROWS)
      throw error
    }
  },
}

it('a pin granted is a pin honoured: what is read while vacuums run meets no missing file', { timeout: 600_000 }, async () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    try {
      await new Race(seed).run(seed)
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
  if (SEEDS < 200) return
  for (const [name, { granted, refused }] of Object.entries(seen)) {
    expect(granted, name).toBeGreaterThan(0)
    if (name !== 'backup') expect(refused, name).toBeGreaterThan(0)
  }
})
