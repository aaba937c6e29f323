// Vacuum on a root that can do no more than an object store, where several hosts write: what is young stays, what is open stays, leases hold.
import { describe, expect, it, onTestFinished } from 'vitest'

import { columns, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot, type ObjectInfo, type PutOptions, type RootCaps } from '../../../bindings/root/index.ts'
import type { World } from '../../../bindings/runtime/index.ts'
import { FakeClock, fakeWorld, failpoints, FaultyRoot, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { QUIET } from '../store/places.ts'

const items = table('items', { id: t.int32(), n: t.int64() })
const ROWS = 20_000
/** Rows of a write from which a file is stored before it ends. */
const MANY = 270_000
const rows = (n: number, count: number = ROWS) =>
  columns({ id: Int32Array.from({ length: count }, (_, i) => i), n: BigInt64Array.from({ length: count }, () => BigInt(n)) })
const HOUR = 3600 * 1000
const DAY = 24 * HOUR
const keep = { versions: 1 } as const

/** Objects with the times that their storage gave them. */
class Bucket extends FaultyRoot {
  readonly #times: Map<string, number>
  readonly #now: () => number
  constructor(inner: MemoryRoot, times: Map<string, number>, world: World) {
    super(inner, world)
    this.#times = times
    this.#now = () => world.clock.nowMs()
  }
  override get caps(): RootCaps {
    return { ...super.caps, hardLink: false, segments: false, syncRead: false, syncDir: false }
  }
  override async put(name: string, bytes: Uint8Array, o?: PutOptions): Promise<{ tag: string }> {
    const put = await super.put(name, bytes, o)
    this.#times.set(name, this.#now())
    return put
  }
  override async putIfAbsent(...given: Parameters<FaultyRoot['putIfAbsent']>): ReturnType<FaultyRoot['putIfAbsent']> {
    const put = await super.putIfAbsent(...given)
    if (put.status === 'created') this.#times.set(given[0], this.#now())
    return put
  }
  override async *list(...given: Parameters<FaultyRoot['list']>): AsyncIterable<ObjectInfo> {
    for await (const info of super.list(...given)) yield { ...info, timeMs: this.#times.get(info.name) ?? 0 }
  }
}

class Cloud {
  readonly clock = new FakeClock()
  readonly memory = new MemoryRoot()
  readonly #times = new Map<string, number>()
  #hosts = 0

  /** A writer on a host of its own. */
  async host(): Promise<{ readonly store: Store; readonly world: World }> {
    const n = ++this.#hosts
    const world = fakeWorld({ clock: this.clock, seed: n, host: { name: `host-${n}` } })
    const root = new Bucket(this.memory, this.#times, world)
    const opening = Store.open(root, { ...QUIET, world, follow: false })
    await this.clock.advance(1)
    const store = await opening
    onTestFinished(() => this.during(store.close()).catch(() => undefined))
    return { store, world }
  }

  async names(): Promise<string[]> {
    const found: string[] = []
    for await (const { name } of this.memory.list('fragments/')) found.push(name)
    return found
  }

  /** Time goes on while the call runs, for retries and renewals. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    work.then(
      () => (isOver = true),
      () => (isOver = true),
    )
    for (let i = 0; i < 2000 && !isOver; i++) await this.clock.advance(5)
    if (!isOver) throw new Error('it does not end')
    return work
  }
}

const first = (store: Store): Promise<unknown> => store.scan(items, { limit: 1 }).first()

describe('vacuum on an object root', () => {
  it('leaves what is younger than a day, says so, and takes it later', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    await cloud.during(store.replace(items, rows(2)))
    const young = await cloud.during(store.vacuum({ keep }))
    expect(young).toMatchObject({ deleted: 0, heldBack: [{ by: 'grace', bytes: expect.any(Number) }] })
    await cloud.clock.advance(DAY + HOUR)
    const old = await cloud.during(store.vacuum({ keep }))
    expect(old).toMatchObject({ deleted: 1, heldBack: [] })
    expect(await first(store)).toEqual({ id: 0, n: 2n })
  })

  it('a write stays open and unsealed for 3 days, vacuum runs hourly / it publishes and reads back', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    const { store: other } = await cloud.host()
    const write = await store.stage()
    await cloud.during(write.append(items, rows(1, MANY)))
    await cloud.during(other.replace(items, rows(2)))
    await cloud.during(other.replace(items, rows(3)))
    expect(await cloud.names()).toHaveLength(3)
    let deleted = 0
    const holders = new Set<string>()
    for (let hour = 0; hour < 72; hour++) {
      cloud.clock.step(HOUR)
      await cloud.clock.advance(1000)
      const report = await cloud.during(other.vacuum({ keep }))
      deleted += report.deleted
      for (const { by } of report.heldBack) holders.add(by)
    }
    expect(holders).toContain(`write ${write.id}`)
    await cloud.during(store.refresh())
    await cloud.during(write.publish())
    await cloud.during(other.refresh())
    expect(await other.scan(items).count()).toBe(MANY + ROWS)
    expect((await cloud.during(other.verify())).problems).toEqual([])
    await cloud.clock.advance(2 * DAY)
    deleted += (await cloud.during(other.vacuum({ keep }))).deleted
    expect(deleted).toBe(1)
    expect(await other.scan(items).count()).toBe(MANY + ROWS)
  }, 60_000)

  it('Its bytes equal an old orphan that vacuum then names / it had used .g1, publishes, orphan gone', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const [orphan] = await cloud.names()
    await cloud.during(store.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    const { store: other } = await cloud.host()
    const write = await store.stage()
    await cloud.during(write.append(items, rows(1)))
    await cloud.during(write.seal())
    expect(await cloud.names()).toContain(orphan!.replace('.arrow', '.g1.arrow'))
    const report = await cloud.during(other.vacuum({ keep }))
    expect(report.deleted).toBe(1)
    expect(await cloud.names()).not.toContain(orphan)
    await cloud.during(write.publish())
    expect(await store.scan(items).count()).toBe(2 * ROWS)
    expect((await cloud.during(store.verify())).problems).toEqual([])
  })

  it('a name that a vacuum has named is not used again, however its file came to go', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const [gone] = await cloud.names()
    await cloud.during(store.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    const { store: other } = await cloud.host()
    await cloud.during(other.vacuum({ keep }))
    // `store` has not heard of it: it puts the same name, looks at the log, and takes the next one.
    await cloud.during(store.replace(items, rows(1)))
    expect(await cloud.names()).toContain(gone!.replace('.arrow', '.g1.arrow'))
    expect(await first(store)).toEqual({ id: 0, n: 1n })
    expect((await cloud.during(store.verify())).problems).toEqual([])
  })

  it('A commit naming a doomed-to-be file of another process lands between the plan and the record: it stays', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const { store: other, world } = await cloud.host()
    await cloud.during(store.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    using parked = rendezvous(world, FP.vacuum.afterMark)
    const running = other.vacuum({ keep })
    running.catch(() => undefined)
    const reached = parked.reached({ timeoutMs: 10_000 })
    await cloud.during(reached)
    await cloud.during(store.replace(items, rows(1)))
    parked.release()
    await cloud.during(running)
    await cloud.during(other.refresh())
    expect(await first(other)).toEqual({ id: 0, n: 1n })
    expect((await cloud.during(other.verify())).problems).toEqual([])
  })

  it("Vacuum parked between batches, another writer's clock 30 days ahead, the same bytes promoted again / the deletes are planned again, the file stays", async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const [old] = await cloud.names()
    await cloud.during(store.replace(items, rows(2)))
    const { store: other, world } = await cloud.host()
    await cloud.clock.advance(2 * DAY)
    using parked = rendezvous(world, FP.vacuum.beforeDelete)
    const running = other.vacuum({ keep })
    running.catch(() => undefined)
    await cloud.during(parked.reached({ timeoutMs: 10_000 }))
    const { store: ahead } = await cloud.host()
    cloud.clock.step(30 * DAY)
    await cloud.during(ahead.replace(items, rows(1)))
    const { lsn: head } = ahead
    parked.release()
    const report = await cloud.during(running)
    // Named anew behind what the other writer appended.
    expect(report.lsn).toBeGreaterThan(head)
    expect(await cloud.names()).not.toContain(old)
    await cloud.during(other.refresh())
    expect(await first(other)).toEqual({ id: 0, n: 1n })
    expect((await cloud.during(other.verify())).problems).toEqual([])
  })

  it('a snapshot of another process is honoured by its lease, and named', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const { store: other } = await cloud.host()
    const snapshot = await cloud.during(store.snapshot())
    await cloud.during(other.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    const held = await cloud.during(other.vacuum({ keep }))
    expect(held).toMatchObject({ deleted: 0, heldBack: [{ by: 'reader elsewhere' }] })
    expect(await snapshot.scan(items, { limit: 1 }).first()).toEqual({ id: 0, n: 1n })
    await snapshot[Symbol.asyncDispose]()
    await cloud.clock.advance(HOUR)
    expect(await cloud.during(other.vacuum({ keep }))).toMatchObject({ deleted: 1, heldBack: [] })
  })

  it('a write stays sealed for 3 days, vacuum runs daily / its files stay, it publishes and reads back', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    const { store: other } = await cloud.host()
    const write = await store.stage()
    await cloud.during(write.append(items, rows(1)))
    await cloud.during(write.seal())
    await cloud.during(other.replace(items, rows(2)))
    await cloud.during(other.replace(items, rows(3)))
    let deleted = 0
    for (let day = 0; day < 3; day++) {
      await cloud.clock.advance(DAY + HOUR)
      deleted += (await cloud.during(other.vacuum({ keep }))).deleted
    }
    expect(deleted).toBe(1)
    await cloud.during(store.refresh())
    await cloud.during(write.publish())
    expect(await store.scan(items).count()).toBe(2 * ROWS)
    expect((await cloud.during(store.verify())).problems).toEqual([])
  })

  it('a snapshot of another process is granted between the plan and the record: its files stay until it is released', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    const { store: other, world } = await cloud.host()
    await cloud.during(other.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    const parked = rendezvous(world, FP.vacuum.afterMark)
    const running = other.vacuum({ keep })
    running.catch(() => undefined)
    await cloud.during(parked.reached({ timeoutMs: 10_000 }))
    const snapshot = await cloud.during(store.snapshot())
    parked.release()
    expect(await cloud.during(running)).toMatchObject({ deleted: 0, heldBack: [{ by: 'reader elsewhere' }] })
    parked[Symbol.dispose]()
    expect(await snapshot.scan(items, { limit: 1 }).first()).toEqual({ id: 0, n: 1n })
    await snapshot[Symbol.asyncDispose]()
    await cloud.clock.advance(HOUR)
    expect((await cloud.during(other.vacuum({ keep }))).deleted).toBe(1)
    expect(await first(other)).toEqual({ id: 0, n: 2n })
  })

  it('stands still for more than an hour between the record and the deletes: it plans again before it deletes', async () => {
    const cloud = new Cloud()
    const { store, world } = await cloud.host()
    await cloud.during(store.create(items))
    await cloud.during(store.replace(items, rows(1)))
    await cloud.during(store.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    const lsns: bigint[] = []
    const stood = async (): Promise<void> => {
      lsns.push(store.lsn)
      if (lsns.length === 1) await cloud.clock.advance(2 * HOUR)
    }
    using _ = failpoints(world).arm(FP.vacuum.beforeDelete, { run: stood })
    const report = await cloud.during(store.vacuum({ keep }))
    expect(report.deleted).toBe(1)
    expect(lsns).toHaveLength(2)
    expect(await first(store)).toEqual({ id: 0, n: 2n })
  })

  it('a write whose owner is gone holds nothing back: it is decided first', async () => {
    const cloud = new Cloud()
    const { store, world } = await cloud.host()
    await cloud.during(store.create(items))
    const { store: other } = await cloud.host()
    const crash = failpoints(world).arm(FP.promote.before, { crash: true })
    void store.replace(items, rows(1)).catch(() => undefined)
    await cloud.during(crash.reached())
    crash[Symbol.dispose]()
    await cloud.during(other.replace(items, rows(2)))
    await cloud.clock.advance(2 * DAY)
    // Its LEASE must stand still under watch before it counts as gone: until then the file stays.
    expect(await cloud.during(other.vacuum({ keep }))).toMatchObject({ deleted: 0 })
    await cloud.clock.advance(HOUR)
    expect(await cloud.during(other.vacuum({ keep }))).toMatchObject({ deleted: 1, heldBack: [] })
    expect(await first(other)).toEqual({ id: 0, n: 2n })
    expect(await other.pending()).toEqual([])
  })

  it('Writers of equal bytes, one rolled back: the file of the other stays', async () => {
    const cloud = new Cloud()
    const { store } = await cloud.host()
    await cloud.during(store.create(items))
    const { store: other } = await cloud.host()
    const [one, two] = [await store.stage(), await other.stage()]
    await cloud.during(one.append(items, rows(1)))
    await cloud.during(two.append(items, rows(1)))
    await cloud.during(one.seal())
    await cloud.during(two.seal())
    await cloud.during(one.rollback())
    await cloud.clock.advance(2 * DAY)
    await cloud.during(store.vacuum({ keep }))
    await cloud.during(other.refresh())
    await cloud.during(two.publish())
    expect(await other.scan(items).count()).toBe(ROWS)
    expect((await cloud.during(other.verify())).problems).toEqual([])
  })
})
