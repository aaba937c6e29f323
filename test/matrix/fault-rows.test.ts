// The rows of the storage-fault matrix (recovery.md section 16) by name: what the caller sees, what is left behind, and what it converges by.
//
// Rows held elsewhere are listed in docs/testing.md.
import { describe, expect, it } from 'vitest'

import { columns, ConflictError, PoisonedError, type OpenOptions, type Store, type StoreEvents, type WriteId } from '../../bindings/index.ts'
import type { RootFault, RootFaultPlan, RootMethod } from '../../bindings/testing/index.ts'
import { stagedIn, namesOf } from './crash-checks.ts'
import { type Ground, Process } from './crash-ground.ts'
import { docs, docsOf, notes, notesOf, readRows, stock } from './crash-rows.ts'
import { roleOf } from './fault-calls.ts'
import { groundOf, PLACES, type Place } from './fault-ground.ts'

const SLOTS = PLACES.filter((place) => place.startsWith('slots'))
const SEGMENTS = PLACES.filter((place) => place.startsWith('segments'))
const LINKED = PLACES.filter((place) => place !== 'slots in an object store')
const MANY = 40

const load = (store: Store, writeId?: WriteId): Promise<unknown> => {
  const rows = docsOf(200, MANY, 9)
  const data = columns({ id: rows.map(({ id }) => id), n: rows.map(({ n }) => n), body: rows.map(({ body }) => body) })
  return store.append(docs, data, writeId === undefined ? {} : { writeId })
}

/** Calls of this method on names of this role. */
function on(method: RootMethod, role: string, fault: RootFault, times: number = Infinity): RootFaultPlan {
  let left = times
  return (call) => (call.method === method && roleOf(call.name) === role && left-- > 0 ? fault : undefined)
}

class Site {
  ground: Ground
  process!: Process
  private readonly alive = new Set<number>()
  private pid = 1

  constructor(place: Place) {
    this.ground = groundOf(place)
  }

  static async open(place: Place, o: OpenOptions = {}): Promise<Site> {
    const site = new Site(place)
    await site.next(o)
    await site.store.create(docs, notes, stock)
    await site.store.append(docs, docsOf(0, 5, 1))
    return site
  }

  get store(): Store {
    return this.process.store
  }

  plan(plan: RootFaultPlan | undefined): void {
    this.process.root.plan(plan)
  }

  another(o: OpenOptions = {}): Process {
    const pid = ++this.pid
    return new Process(this.ground, pid, pid, this.alive, o)
  }

  async next(o: OpenOptions = {}): Promise<Store> {
    this.process = this.another(o)
    return this.process.open()
  }

  kill(): void {
    this.process.kill()
    this.process.gone()
    this.ground = this.ground.killed()
  }

  async staging(): Promise<string[]> {
    return stagedIn(await namesOf(this.process.root, 'staging/'))
  }

  /** Intent gone, nothing pending, and the rows of before or, with those of the load, of after; the handle takes writes. */
  async isClean(rows: number): Promise<void> {
    this.plan(undefined)
    expect(await this.staging()).toEqual([])
    expect(await this.store.pending()).toEqual([])
    await this.holds(rows)
    await this.store.append(notes, notesOf(1, 1))
  }

  async holds(rows: number): Promise<void> {
    expect((await readRows(this.store)).get('docs')!.size).toBe(rows)
  }

  /** What recoveries recorded. */
  async recovered(): Promise<string[]> {
    const kinds: string[] = []
    for await (const { kind, by } of this.store.audit()) if (by === 'varve:recovery') kinds.push(kind)
    return kinds
  }

  /** What another process makes of it: whole, and the same when it is opened again. */
  async converges(rows: number, recovered: readonly string[] = []): Promise<void> {
    for (let i = 0; i < 2; i++) {
      await this.next()
      if (this.ground.layout === 'object') await this.process.sim.time.advance(40_000)
      await this.holds(rows)
      expect(await this.recovered()).toEqual(recovered)
      expect(await this.store.pending()).toEqual([])
      expect(await this.staging()).toEqual([])
      expect((await this.store.verify({ level: 'all' })).problems).toEqual([])
      await this.store.close()
      this.process.gone()
      this.ground = this.ground.killed()
    }
  }

  async closes(rows: number, recovered: readonly string[] = []): Promise<void> {
    await this.store.close()
    this.process.gone()
    this.ground = this.ground.killed()
    await this.converges(rows, recovered)
  }
}

const failure = async (call: Promise<unknown>): Promise<Record<string, unknown>> => {
  try {
    await call
  } catch (error) {
    return error as Record<string, unknown>
  }
  throw new Error('it succeeded')
}
const BEFORE = 5
const AFTER = BEFORE + MANY
const idOf = (n: number): WriteId => `01HF7YCMK0ANJPDKA23N6TG${String(n).padStart(3, '0')}` as WriteId

describe.each(PLACES)('%s', (place) => {
  it.each(['io', 'permission', 'space'] as const)('A, INTENT put, error (%s): StorageError, clean', async (error) => {
    const site = await Site.open(place)
    site.plan(on('putIfAbsent', 'INTENT', { error }))
    expect((await failure(load(site.store)))['name']).toBe('StorageError')
    await site.isClean(BEFORE)
    await site.closes(BEFORE)
  })

  it('A, INTENT put, error after its effect: success after the read-back', async () => {
    const site = await Site.open(place)
    site.plan(on('putIfAbsent', 'INTENT', { error: 'timeout', when: 'after' }, 1))
    await load(site.store)
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })

  it('... and the read-back fails: StorageError, and what stays armed is rolled back by a sweep (d6)', async () => {
    const site = await Site.open(place)
    site.plan(({ method, name }) =>
      roleOf(name) !== 'INTENT' && roleOf(name) !== 'staging folder' ? undefined : { error: 'timeout', when: method === 'putIfAbsent' ? 'after' : 'before' },
    )
    expect((await failure(load(site.store)))['name']).toBe('StorageError')
    site.plan(undefined)
    expect(await site.staging()).toHaveLength(1)
    await site.store.append(notes, notesOf(1, 1))
    site.kill()
    await site.converges(BEFORE, ['rolledBack'])
  })

  it.each(['io', 'space'] as const)('B, file put, error (%s): StorageError, not tried again; the writer removes its own', async (error) => {
    const site = await Site.open(place)
    const method = place === 'slots in an object store' ? 'putIfAbsent' : 'put'
    const role = place === 'slots in an object store' ? 'fragment' : 'staged file'
    let tries = 0
    site.plan((call) => (call.method === method && roleOf(call.name) === role && call.name.endsWith('.arrow') && ++tries > 0 ? { error } : undefined))
    expect(await failure(load(site.store))).toMatchObject({ name: 'StorageError', class: error })
    expect(tries).toBe(1)
    await site.isClean(BEFORE)
    await site.closes(BEFORE)
  })

  it('D, delete, error: success and an event; the next open retires it without an audit row', async () => {
    const site = await Site.open(place)
    const told: StoreEvents['retireDeferred'][] = []
    site.store.on('retireDeferred', (event) => void told.push(event))
    site.plan(({ method, name }) => ((method === 'delete' || method === 'deletePrefix') && name.startsWith('staging/') ? { error: 'io' } : undefined))
    await load(site.store)
    site.plan(undefined)
    expect(told).toHaveLength(1)
    expect(await site.staging()).toHaveLength(1)
    await site.holds(AFTER)
    await site.closes(AFTER)
  })

  it.each(['before', 'after'] as const)('checkpoint write, error (%s its effect): an event, commits go on, and so does the next checkpoint', async (when) => {
    const site = await Site.open(place)
    const told: StoreEvents['checkpointFailed'][] = []
    site.store.on('checkpointFailed', (event) => void told.push(event))
    site.plan(on('put', 'checkpoint', { error: 'io', when }))
    await site.store.flush().catch((error: unknown) => expect(error).toMatchObject({ name: 'StorageError', class: 'io' }))
    site.plan(undefined)
    expect(told).toHaveLength(1)
    await site.isClean(BEFORE)
    await site.store.flush()
    expect(told).toHaveLength(1)
    await site.closes(BEFORE)
  })
})

describe.each(SEGMENTS)('%s', (place) => {
  it('C, sync of the log, error: PoisonedError for all who wait; a reopen folds what is there', async () => {
    const site = await Site.open(place)
    site.plan(({ method }) => (method === 'segment.datasync' ? { error: 'io' } : undefined))
    const writes = await Promise.allSettled([1, 2, 3].map((n) => site.store.append(docs, docsOf(100 + n, 1, n))))
    expect(writes.map((each) => each.status === 'rejected' && each.reason instanceof PoisonedError)).toEqual([true, true, true])
    site.plan(undefined)
    await site.holds(BEFORE + 3).catch(() => site.holds(BEFORE))
    expect(await failure(site.store.append(notes, notesOf(1, 1)))).toMatchObject({ kind: 'closed' })
    site.kill()
    // The machine runs on: the bytes are there.
    await site.converges(BEFORE + 3)
  })

  it('B′, seal append, error: PoisonedError; a reopen finds what was written: sealed, and rolled forward', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    site.plan(({ method }) => (method === 'segment.datasync' ? { error: 'io' } : undefined))
    expect(await failure(load(site.store))).toBeInstanceOf(PoisonedError)
    site.kill()
    await site.converges(AFTER, ['rolledForward'])
  })
})

describe.each(SLOTS)('%s', (place) => {
  it('B′, seal append, error before it: StorageError, clean', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    site.plan(on('putIfAbsent', 'slot', { error: 'permission' }, 1))
    expect(await failure(load(site.store))).toMatchObject({ name: 'StorageError', class: 'permission' })
    await site.isClean(BEFORE)
    await site.closes(BEFORE)
  })

  it('B′, seal append, error after its effect: the slot is read back, the write goes on', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    site.plan(on('putIfAbsent', 'slot', { error: 'timeout', when: 'after' }, 1))
    await load(site.store)
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })

  it('... and the read-back fails: CommitOutcomeUnknownError; sealed, and healed', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(1)
    site.plan(({ name }) => (roleOf(name) === 'slot' || roleOf(name) === 'FLOOR' ? { error: 'timeout', when: 'after' } : undefined))
    expect(await failure(load(site.store, id))).toMatchObject({ name: 'CommitOutcomeUnknownError', intentKept: true })
    site.plan(undefined)
    await site.store.refresh()
    await site.store.append(notes, notesOf(1, 1))
    expect(await site.store.outcome(id)).toBe('published')
    await site.isClean(AFTER)
    await site.closes(AFTER, ['rolledForward'])
  })

  it('C, publish append, error before it: tried again', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    site.plan(nth('putIfAbsent', 'slot', 2, { error: 'unavailable' }))
    await load(site.store)
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })

  it('... again and again: CommitOutcomeUnknownError; sealed, and healed', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(2)
    site.plan(nth('putIfAbsent', 'slot', 2, { error: 'unavailable' }, true))
    expect(await failure(load(site.store, id))).toMatchObject({ name: 'CommitOutcomeUnknownError', intentKept: true })
    site.plan(undefined)
    await site.store.refresh()
    await site.store.append(notes, notesOf(1, 1))
    expect(await site.store.outcome(id)).toBe('published')
    // Found to be published, it is retired by the next open.
    await site.holds(AFTER)
    await site.closes(AFTER)
  })

  it('C, publish append, error after its effect: success, once in the log', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(3)
    site.plan(nth('putIfAbsent', 'slot', 2, { error: 'timeout', when: 'after' }))
    await load(site.store, id)
    const publishes: string[] = []
    for await (const { kind, writeId } of site.store.audit({ kinds: ['publish'] })) if (writeId === id) publishes.push(kind)
    expect(publishes).toEqual(['publish'])
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })

  it('C, the slot is lost, no conflict: success after another round', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const other = site.another()
    await other.open()
    site.plan(nth('putIfAbsent', 'slot', 2, { wait: async () => void (await other.store.append(notes, notesOf(7, 1))) }))
    await load(site.store)
    await site.isClean(AFTER)
    await other.store.close()
    await site.closes(AFTER)
  })

  it('C, the slot is lost, a conflict: ConflictError, and the roll-back is recorded', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(4)
    const other = site.another()
    await other.open()
    site.plan(nth('putIfAbsent', 'slot', 2, { wait: async () => void (await other.store.append(docs, docsOf(201, 1, 1))) }))
    expect(await failure(load(site.store, id))).toBeInstanceOf(ConflictError)
    expect(await site.store.outcome(id)).toBe('rolledBack')
    await site.isClean(BEFORE + 1)
    await other.store.close()
    await site.closes(BEFORE + 1)
  })

  it('the tail of the log cannot be read by a write: that one rejects, the next does not', async () => {
    const site = await Site.open(place)
    const other = site.another()
    await other.open()
    await other.store.append(notes, notesOf(7, 1))
    site.plan(on('get', 'slot', { error: 'permission' }))
    // It cannot get past the winner that it cannot read.
    expect((await failure(site.store.append(notes, notesOf(8, 1))))['name']).toMatch(/^(?:StorageError|ContentionError)$/)
    site.plan(undefined)
    await site.store.append(notes, notesOf(9, 1))
    await other.store.close()
    await site.closes(BEFORE)
  })

  it('sweep, roll-back append, error after its effect: the open succeeds, one audit row', async () => {
    const site = await Site.open(place)
    site.plan(({ name }) => (roleOf(name) === 'fragment' ? { wait: () => new Promise<void>(() => {}) } : undefined))
    load(site.store).catch(() => undefined)
    for (let i = 0; i < 200 && (await site.staging()).length === 0; i++) await new Promise<void>((resolve) => setImmediate(resolve))
    expect(await site.staging()).toHaveLength(1)
    site.kill()
    const sweeper = site.another()
    sweeper.root.plan(on('putIfAbsent', 'slot', { error: 'timeout', when: 'after' }))
    await sweeper.open()
    await sweeper.sim.time.advance(40_000)
    sweeper.root.plan(undefined)
    await sweeper.store.close()
    sweeper.gone()
    await site.converges(BEFORE, ['rolledBack'])
  })
})

describe.each(LINKED)('%s', (place) => {
  it('promote, link, error: CommitOutcomeUnknownError of an automatic write; sealed, and healed by the next write', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(5)
    site.plan(on('link', 'fragment', { error: 'io' }))
    expect(await failure(load(site.store, id))).toMatchObject({ name: 'CommitOutcomeUnknownError', intentKept: true })
    expect(await site.store.outcome(id)).toBe('pending')
    site.plan(undefined)
    await site.store.append(notes, notesOf(1, 1))
    expect(await site.store.outcome(id)).toBe('published')
    await site.isClean(AFTER)
    await site.closes(AFTER, ['rolledForward'])
  })

  it('... of a held one: publish rejects with the StorageError, it stays sealed and can be published again', async () => {
    const site = await Site.open(place)
    const write = await site.store.stage()
    await write.append(docs, docsOf(200, MANY, 9))
    await write.seal()
    site.plan(on('link', 'fragment', { error: 'io' }))
    expect(await failure(write.publish())).toMatchObject({ name: 'StorageError', class: 'io' })
    expect(write.state).toBe('sealed')
    site.plan(undefined)
    await write.publish()
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })

  it('promote, a file cut short after the seal: rolled back (d7), the file in quarantine', async () => {
    const site = await Site.open(place, { sealMode: 'separate' })
    const id = idOf(6)
    const { root } = site.process
    const cut = async (): Promise<void> => {
      root.plan(undefined)
      for (const name of await namesOf(root, 'staging/')) if (name.endsWith('.arrow')) await root.put(name, (await root.get(name)).bytes.slice(0, 100))
      site.plan(on('link', 'fragment', { error: 'io' }))
    }
    site.plan(on('link', 'fragment', { error: 'io', wait: cut }, 1))
    expect(await failure(load(site.store, id))).toMatchObject({ name: 'CommitOutcomeUnknownError', intentKept: true })
    site.plan(undefined)
    await site.store.append(notes, notesOf(1, 1))
    expect(await site.store.outcome(id)).toBe('rolledBack')
    expect((await namesOf(root, 'quarantine/')).filter((name) => name.includes('.arrow')).length).toBeGreaterThan(0)
    await site.isClean(BEFORE)
    await site.closes(BEFORE, ['rolledBack'])
  })
})

/** Files of older versions, checkpoints and log that nothing needs. */
async function withHistory(place: Place): Promise<Site> {
  const site = await Site.open(place)
  for (let salt = 1; salt < 5; salt++) {
    await load(site.store)
    await site.store.flush()
    await site.store.delete(
      docs,
      docsOf(200, MANY, 9).map(({ id }) => id as number),
    )
    await site.store.flush()
  }
  await load(site.store)
  await site.store.optimize()
  await site.store.flush()
  return site
}

const contentOf = async (site: Site): Promise<string[]> => [
  ...(await namesOf(site.process.root, 'fragments/')),
  ...(await namesOf(site.process.root, 'indexes/')),
]

describe.each(SEGMENTS)('%s', (place) => {
  const keep = { versions: 1 } as const

  it.each(['content folders', 'staging'])(
    'vacuum list, error (%s): vacuum rejects loudly, nothing is changed, and it goes through when it is cleared',
    async (role) => {
      const site = await withHistory(place)
      const before = await contentOf(site)
      site.plan(({ method, name }) => (method === 'list' && roleOf(name) === role ? { error: 'io' } : undefined))
      expect(await failure(site.store.vacuum({ keep }))).toMatchObject({ name: 'StorageError', class: 'io' })
      site.plan(undefined)
      expect(await contentOf(site)).toEqual(before)
      const { lsn } = await site.store.vacuum({ keep })
      expect(lsn).toBeDefined()
      expect((await contentOf(site)).length).toBeLessThan(before.length)
      await site.isClean(AFTER)
      await site.closes(AFTER)
    },
  )

  it.each(['before', 'after'] as const)(
    'vacuum delete, error at the k-th file (%s its effect): VacuumError with the partial count; a re-run takes the rest',
    async (when) => {
      let strikes = 0
      for (let k = 1; ; k++) {
        const site = await withHistory(place)
        const before = await contentOf(site)
        let left = k
        site.plan(({ method, name }) => (method === 'delete' && /^(fragments|indexes)\//.test(name) && --left === 0 ? { error: 'io', when } : undefined))
        const outcome = await site.store.vacuum({ keep }).then(
          () => undefined,
          (error: Record<string, unknown>) => error,
        )
        site.plan(undefined)
        if (outcome === undefined) {
          await site.store.close()
          break
        }
        strikes++
        const there = await contentOf(site)
        expect(outcome, `delete ${k}`).toMatchObject({ name: 'VacuumError', deleted: before.length - there.length, cause: { class: 'io' } })
        const again = await site.store.vacuum({ keep })
        expect(again, `delete ${k}`).toMatchObject({ deleted: outcome['left'] })
        expect(await site.store.vacuum({ keep })).toMatchObject({ deleted: 0, checkpoints: 0 })
        await site.isClean(AFTER)
        await site.closes(AFTER)
      }
      expect(strikes).toBeGreaterThan(2)
    },
  )

  it.each(['before', 'after'] as const)('checkpoint trim, error (%s its effect): vacuum rejects, commits go on, the next vacuum trims', async (when) => {
    const site = await withHistory(place)
    site.plan(on('delete', 'checkpoint', { error: 'io', when }))
    expect(await failure(site.store.vacuum({ keep }))).toMatchObject({ name: 'StorageError', class: 'io' })
    site.plan(undefined)
    await site.store.append(notes, notesOf(1, 1))
    const { deleted, checkpoints } = await site.store.vacuum({ keep })
    expect(deleted).toBe(0)
    expect(checkpoints > 0).toBe(when === 'before')
    expect(await namesOf(site.process.root, 'checkpoints/')).toHaveLength(2)
    await site.isClean(AFTER)
    await site.closes(AFTER)
  })
})

function nth(method: RootMethod, role: string, n: number, fault: RootFault, lasts = false): RootFaultPlan {
  let seen = 0
  return (call) => {
    if (call.method !== method || roleOf(call.name) !== role) return undefined
    seen++
    return seen === n || (lasts && seen > n) ? fault : undefined
  }
}
