// The documentation snippets of the public API, run as they stand: if one of these needs a change, the documentation does too.
// Branches, schema changes, upkeep calls and backup join with their features.
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { and, between, columns, eq, gt, gte, isNull, lsn, lt, newWriteId, not, oneOf, or, startsWith, Store, t, table } from '../../bindings/index.ts'
import type { CommitResult } from '../../bindings/index.ts'

// 1 define
const flights = table(
  'flights',
  {
    id: t.int64(),
    date: t.timestamp('ms'),
    origin: t.utf8().dictionary(),
    destination: t.utf8().dictionary(),
    delay: t.int16().nullable(),
    distance: t.int16().nullable(),
  },
  { key: ['id'], index: ['origin'] },
)
const seats = table('seats', { flight: t.int64(), row: t.int16(), taken: t.bool().default(false), holder: t.utf8().nullable() }, { key: ['flight', 'row'] })
const events = table('events', {
  at: t.timestamp(),
  kind: t.utf8().typed<'seat-taken' | 'seat-freed'>(),
  data: t.json<{ seat: number }>().nullable(),
  vec: t.vector(3).nullable(),
})
type Flight = typeof flights.Row
const f = (id: bigint, delay: number | null = null): typeof flights.Insert => ({ id, delay, date: new Date(0), origin: 'SFO', destination: 'JFK' })

describe.each([
  ['memory', () => 'memory:'],
  ['directory', () => mkdtempSync(join(tmpdir(), 'varve-usage-'))],
])('API usage on a %s root', (_name, place) => {
  const root = place()
  let store: Store
  let done: CommitResult
  let ipc: Uint8Array

  beforeAll(async () => {
    // 2 open and create
    store = await Store.open(root)
    await store.create(flights, seats, events)
  })
  afterAll(async () => {
    await store.close()
    if (root !== 'memory:') rmSync(root, { recursive: true, force: true })
  })

  it('appends rows and columns, upserts with an idempotency key', async () => {
    const first = await store.append(flights, [f(1n, 75), f(2n), { id: 3n, date: new Date(), origin: 'LAX', destination: 'SFO', delay: -4 }])
    expect(first).toMatchObject({ rows: 3, replayed: false })
    await store.append(seats, columns({ flight: [7n, 7n], row: Int16Array.of(3, 4) }))
    done = await store.upsert(flights, f(2n, 61), { message: 'late news', idempotencyKey: 'job-17' })
    const again = await store.upsert(flights, f(2n, 61), { message: 'late news', idempotencyKey: 'job-17' })
    expect(again).toMatchObject({ lsn: done.lsn, writeId: done.writeId, replayed: true })
    await expect(store.upsert(flights, f(2n, 62), { idempotencyKey: 'job-17' })).rejects.toMatchObject({ code: 'write.idempotency-mismatch' })
  })

  it('reads by key', async () => {
    const one = await store.get(flights, 2n)
    const same: Flight | undefined = await store.get(flights, { id: 2n })
    expect(one).toEqual(same)
    expect(one).toEqual({ id: 2n, date: new Date(0), origin: 'SFO', destination: 'JFK', delay: 61, distance: null })
    expect(await store.get(seats, { flight: 7n, row: 3 })).toEqual({ flight: 7n, row: 3, taken: false, holder: null })
    const many = await store.getMany(flights, [1n, 2n, 99n])
    expect(many.map((row) => row?.id)).toEqual([1n, 2n, undefined])
    expect(await store.has(flights, 99n)).toBe(false)
    expect(await store.has(flights, 1n)).toBe(true)
  })

  it('scans to rows, with reusable predicates, sorted and limited', async () => {
    const late = await store
      .scan(flights, { select: ['origin', 'delay'], where: and(gt('delay', 60), or(eq('origin', 'SFO'), startsWith('destination', 'J'))) })
      .toArray()
    expect(late).toEqual([
      { origin: 'SFO', delay: 75 },
      { origin: 'SFO', delay: 61 },
    ])
    const quiet = flights.where(and(not(gt('delay', 0)), between('date', new Date(0), new Date())))
    expect(await store.scan(flights, { where: quiet }).count()).toBe(1)
    const worst = await store.scan(flights, { orderBy: ['delay desc', 'id'], limit: 10 }).first()
    expect(worst?.id).toBe(1n)
  })

  it('gives Arrow, columns, IPC and batches', async () => {
    const arrow = await store.scan(flights).toArrow()
    expect(arrow.numRows).toBe(3)
    const cols = await store.scan(flights, { select: ['id', 'delay'] }).toColumns()
    expect([...cols.id].sort()).toEqual([1n, 2n, 3n])
    ipc = await store.scan(flights).toIpc()
    expect(ipc.length).toBeGreaterThan(100)
    let n = 0
    for await (const batch of store.scan(flights, { batchRows: 2 })) {
      expect(batch.numRows).toBeLessThanOrEqual(2)
      n += batch.numRows
    }
    expect(n).toBe(3)
  })

  it('aggregates, grouped and not, and explains', async () => {
    const sums = await store.scan(flights).aggregate({ n: 'count', km: { sum: 'distance' }, mean: { avg: 'delay' }, last: { max: 'date' } })
    expect(sums).toMatchObject({ n: 3, km: 0, mean: 44 })
    const byOrigin = await store.scan(flights, { where: isNull('distance') }).aggregate({ n: 'count', top: { max: 'delay' } }, { by: ['origin'] })
    expect(byOrigin).toEqual(
      expect.arrayContaining([
        { origin: 'SFO', n: 2, top: 75 },
        { origin: 'LAX', n: 1, top: -4 },
      ]),
    )
    expect((await store.scan(flights, { where: eq('id', 1n) }).explain()).text).toContain('flights')
  })

  it('transacts over several tables, updates, deletes, replaces', async () => {
    const lsns: bigint[] = []
    const take = () =>
      store.transact(
        async (tx) => {
          const seat = await tx.get(seats, { flight: 7n, row: 3 })
          if (!seat || seat.taken) return false
          tx.upsert(seats, { ...seat, taken: true })
          tx.append(events, { at: new Date(), kind: 'seat-taken', data: { seat: seat.row } })
          return true
        },
        { retries: 8, onCommitted: (r) => lsns.push(r.lsn) },
      )
    const taken = await Promise.all([take(), take(), take()])
    expect(taken.filter(Boolean)).toHaveLength(1)
    expect(lsns).toHaveLength(1)
    expect(await store.scan(events).count()).toBe(1)
    expect(await store.update(seats, { flight: 7n, row: 4, holder: 'Ada' })).toMatchObject({ rows: 1 })
    expect(await store.get(seats, { flight: 7n, row: 4 })).toMatchObject({ holder: 'Ada', taken: false })
    expect(await store.delete(flights, [3n, 404n])).toMatchObject({ rows: 1 })
    expect(await store.deleteWhere(events, lt('at', new Date(0)))).toMatchObject({ rows: 0 })
    await store.replace(events, [])
    expect(await store.scan(events).count()).toBe(0)
  })

  it('takes streams: generator, async iterable, IPC file, Arrow of any library', async () => {
    await store.append(
      flights,
      (function* () {
        for (let i = 10n; i < 20n; i++) yield f(i)
      })(),
    )
    const progress: number[] = []
    await store.upsert(
      flights,
      (async function* () {
        yield [f(20n), f(21n)]
        yield f(22n)
      })(),
      { signal: AbortSignal.timeout(60_000), onProgress: (p) => progress.push(p.done) },
    )
    const arrow = await store.scan(flights).toArrow()
    await store.upsert(flights, arrow)
    await store.upsert(flights, ipc)
    const path = join(mkdtempSync(join(tmpdir(), 'varve-ipc-')), 'rows.arrows')
    writeFileSync(path, ipc)
    await store.upsert(flights, createReadStream(path))
    rmSync(path)
    expect(await store.scan(flights).count()).toBe(16)
  })

  it('holds snapshots with synchronous reads, and travels in time', async () => {
    await using snap = await store.snapshot()
    expect(snap.getSync(flights, 2n)?.delay).toBe(61)
    await store.upsert(flights, f(2n, 5))
    expect(snap.getSync(flights, 2n)?.delay).toBe(61)
    expect((await store.get(flights, 2n))?.delay).toBe(5)
    const before = await store.get(flights, 2n, { at: lsn(done.lsn - 1n) })
    expect(before?.delay).toBe(null)
    const then = await store.scan(flights, { at: snap.lsn, where: gte('delay', 0) }).count()
    expect(then).toBe(2)
    expect(await store.scan(flights, { at: new Date() }).count()).toBe(16)
  })

  it('stages a write that outlives its process', async () => {
    const count = await store.scan(events).count()
    const write = await store.stage('nightly load')
    await write.append(events, { at: new Date(), kind: 'seat-freed' })
    await write.seal()
    expect(await store.scan(events).count()).toBe(count)
    const resumed = await store.resume(write.id)
    await resumed.publish()
    expect(await store.outcome(write.id)).toBe('published')
    expect(await store.scan(events).count()).toBe(count + 1)
  })

  it('feeds changes, typed by table', async () => {
    const seen: unknown[] = []
    for await (const commit of store.changes({ from: 0, tables: [flights, seats], images: 'both', follow: false }))
      for await (const c of commit)
        if (c.table === 'seats' && c.kind === 'update') seen.push([c.before?.taken, c.after.taken])
        else if (c.kind === 'delete') seen.push(c.key)
    expect(seen).toContainEqual([false, true])
    expect(seen).toContainEqual({ id: 3n })
  })

  it('watches, verifies, and is read beside the writer', async () => {
    const commits: bigint[] = []
    using _sub = store.on('commit', (e) => commits.push(e.lsn))
    const id = newWriteId()
    await store.append(events, { at: 0, kind: 'seat-taken' }, { writeId: id })
    expect(commits).toEqual([store.lsn])
    expect(await store.outcome(id)).toBe('published')
    expect(await store.outcome(newWriteId())).toBe('unknown')
    const { ok, problems } = await store.verify({ level: 'all' })
    expect(problems).toEqual([])
    expect(ok).toBe(true)
    if (root === 'memory:') return
    await using reader = await Store.open(root, { readOnly: true })
    expect(await reader.scan(flights, { where: oneOf('origin', ['SFO', 'LAX']) }).count()).toBe(16)
    await store.upsert(flights, f(100n))
    await reader.refresh()
    expect(await reader.has(flights, 100n)).toBe(true)
  })

  it('backs up, reads the copy, and restores it as it was', async () => {
    const copy = `memory:usage-copy-${root}`
    const restored = `memory:usage-restored-${root}`
    const { lsn: at, digest } = await store.backup(copy)
    await using reader = await Store.open(copy, { readOnly: true })
    expect(await reader.scan(flights).count()).toBe(await store.scan(flights).count())
    expect((await reader.verify({ level: 'all', against: copy })).digest).toEqual(digest)
    await Store.restore(copy, restored, { at: lsn(at - 1n) })
    await using then = await Store.open(restored, { readOnly: true })
    expect(await then.scan(events).count()).toBe(await store.scan(events, { at: lsn(at - 1n) }).count())
  })
})
