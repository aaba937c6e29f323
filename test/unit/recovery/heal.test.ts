// At the entry of a write: sealed writes whose owner is gone are decided first (recovery.md sections 7, 8 and 18, "Sweep and heal").
import { describe, expect, it } from 'vitest'

import { eq, type Store, t, table } from '../../../bindings/index.ts'
import { ulidBytes } from '../../../bindings/runtime/index.ts'
import { failpoints, FP } from '../../../bindings/testing/index.ts'
import { failure } from '../store/places.ts'
import { auditOf, contents, damage, forge, items, notes, Place } from './forge.ts'

const extra = table('extra', { n: t.int32() })
const later = table('items', { ...items.columns, note: t.utf8().nullable() }, { key: ['id'] })

function looks(store: Store): number {
  return (store as unknown as { recovering: { healer: { looks: number } } }).recovering.healer.looks
}

const WRITES: readonly (readonly [string, (store: Store) => Promise<unknown>])[] = [
  ['append', (store) => store.append(notes, { at: 100, text: 'x' })],
  [
    'a large append',
    (store) =>
      store.append(
        notes,
        Array.from({ length: 30_000 }, (_, at) => ({ at: 100 + at, text: 'text' })),
      ),
  ],
  ['upsert', (store) => store.upsert(items, { id: 100, v: 'x' })],
  ['update', (store) => store.update(items, { id: 1, v: 'changed' })],
  ['delete', (store) => store.delete(items, 77)],
  ['deleteWhere', (store) => store.deleteWhere(items, eq('id', 77))],
  ['replace', (store) => store.replace(extra, [{ n: 1 }])],
  ['transact', (store) => store.transact((tx) => tx.append(notes, [{ at: 100, text: 'x' }]))],
  ['create', (store) => store.create(table('more', { n: t.int32() }))],
  ['schema apply', (store) => store.apply([later, table('more', { n: t.int32() })])],
  ['optimize', (store) => store.optimize()],
  ['merge', (store) => store.merge('dev')],
  ['a merge into a branch', (store) => store.merge('main', { into: 'dev' })],
  ['revert', (store) => store.revert(store.lsn, { tables: [extra] })],
  ['a write on a branch', async (store) => (await store.branch('dev')).upsert(items, { id: 50, v: 'dev' })],
  ['vacuum', (store) => store.vacuum({ keep: { versions: 1 } })],
]

describe('given a sealed write that its handle gave up', () => {
  it.each(WRITES)('%s recovers it and succeeds, without a reopen', async (what, write) => {
    const place = await Place.open()
    await place.store.create(extra)
    const dev = await place.store.branch('dev')
    await dev.upsert(items, { id: 60, v: 'dev' })
    const { id } = await place.sealed({ table: items, rows: [1, 2], orphaned: true, author: 'a' })
    const told: unknown[] = []
    place.store.on('recovered', (event) => told.push(event))
    await write(place.store)
    expect(told).toEqual([{ writeId: id, decision: 'rolledForward' }])
    expect((await contents(place.store)).items.filter((text) => text.startsWith('2:'))).toEqual(['2:v2'])
    if (what === 'update') expect((await contents(place.store)).items).toContain('1:changed')
    expect(await place.staging()).toEqual([])
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledForward', by: 'varve:recovery', for: 'a' }])
    expect(await contents(await place.killed())).toEqual(await contents(place.store))
  })

  it('the write is checked against the rows that were recovered: a duplicate of one is refused', async () => {
    const place = await Place.open()
    await place.sealed({ table: items, rows: [1, 2], orphaned: true })
    expect(await failure(() => place.store.append(items, [{ id: 2, v: 'mine' }]))).toMatchObject({ name: 'DuplicateKeyError' })
    expect((await contents(place.store)).items).toEqual(['1:v1', '2:v2'])
  })

  it('a transaction sees it in its snapshot', async () => {
    const place = await Place.open()
    await place.sealed({ table: items, rows: [1], orphaned: true })
    const seen = await place.store.transact(async (tx) => tx.get(items, 1))
    expect(seen).toEqual({ id: 1, v: 'v1' })
  })

  it('and its files are damaged, it is rolled back, the write goes on', async () => {
    const place = await Place.open()
    const { id, files } = await place.sealed({ orphaned: true })
    await damage(place.root, files[0]!)
    await place.store.append(notes, { at: 50, text: 'x' })
    expect((await contents(place.store)).notes).toEqual([50])
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'damaged' }])
    expect(await place.names('quarantine/')).toHaveLength(1)
  })

  it('several are decided in the order of their ids, each against what the ones before made', async () => {
    const place = await Place.open()
    const first = await place.sealed({ table: items, rows: [1] })
    const second = await place.sealed({ table: items, rows: [1, 2] })
    const third = await place.sealed({ table: items, rows: [3] })
    for (const { id } of [third, second, first]) place.engine.parts.intents.end(id)
    await place.store.append(notes, { at: 1, text: 'x' })
    expect((await contents(place.store)).items).toEqual(['1:v1', '3:v3'])
    expect(await auditOf(place.store, second.id)).toMatchObject([{ kind: 'rolledBack', reason: 'conflict' }])
  })

  it('writes that come at once wait for one recovery', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    await Promise.all(Array.from({ length: 20 }, (_, i) => place.store.append(notes, { at: 10 + i, text: 'x' })))
    expect((await contents(place.store)).notes).toHaveLength(21)
    expect(await auditOf(place.store, id)).toHaveLength(1)
    expect(looks(place.store)).toBeLessThanOrEqual(2)
  })
})

describe('given definitions that changed since a write was sealed', () => {
  it('that take its rows, it is rolled forward: older rows of it read as all older rows', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ table: items, rows: [1, 2] })
    await place.store.apply([later])
    place.engine.parts.intents.end(id)
    await place.store.append(notes, { at: 1, text: 'x' })
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledForward' }])
    expect(await place.store.get(later, 2)).toEqual({ id: 2, v: 'v2', note: null })
  })

  it('that are stricter, it is rolled back with reason schema (d9), once', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ table: items, rows: [1, 2] })
    await place.store.apply([table('items', items.columns, { key: ['id'], unique: [['v']] })])
    place.engine.parts.intents.end(id)
    await place.store.append(notes, { at: 1, text: 'x' })
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'schema' }])
    expect(await contents(place.store)).toEqual(await contents(await place.killed()))
    expect(await place.staging()).toEqual([])
  })

  it('after any roll-back a schema apply works immediately', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ table: items, rows: [1, 2] })
    await place.store.apply([table('items', items.columns, { key: ['id'], unique: [['v']] })])
    place.engine.parts.intents.end(id)
    const plan = await place.store.apply([table('items', { ...items.columns, note: t.utf8().nullable() }, { key: ['id'], unique: [['v']] })])
    expect(plan.steps.map(({ kind }) => kind)).toEqual(['addColumn'])
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'schema' }])
  })
})

describe('given nothing that a write must wait for', () => {
  it('a heal costs no I/O and no look: with nothing pending, and with held writes and live owners', async () => {
    const place = await Place.open()
    const calls = async (): Promise<string[]> => {
      const from = place.root.calls.length
      await place.store.append(notes, { at: 1, text: 'x' })
      return place.root.calls.slice(from).map(({ method }) => method)
    }
    await calls()
    const plain = await calls()
    expect(looks(place.store)).toBe(0)
    await place.sealed({ mode: 'hold', orphaned: true })
    const live = await place.sealed({ rows: [70] })
    await calls()
    expect(looks(place.store)).toBe(1)
    for (let i = 0; i < 10; i++) expect(await calls()).toEqual(plain)
    expect(looks(place.store), 'looked at once, then known').toBe(1)
    expect((await contents(place.store)).notes).not.toContain(70)
    // Its owner gives up: the next write decides it.
    place.engine.parts.intents.end(live.id)
    await calls()
    expect((await contents(place.store)).notes).toContain(70)
    expect(await calls()).toEqual(plain)
  })

  it('armed leftovers of this process are the sweep’s: no write looks at them', async () => {
    const place = await Place.open()
    const { id } = await place.armed({ orphaned: true })
    const from = place.root.calls.length
    await place.store.append(notes, { at: 1, text: 'x' })
    expect(place.root.calls.slice(from).filter(({ name }) => name.startsWith('staging'))).toEqual([])
    expect(await place.store.pending()).toMatchObject([{ writeId: id, state: 'armed', decision: { kind: 'rollback', reason: 'unsealed' } }])
  })

  it('a live owner is left alone, and publishes normally afterwards', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [70] })
    await place.store.append(notes, { at: 1, text: 'x' })
    expect(place.engine.parts.state.catalog.outcomes.pending.size).toBe(1)
    expect(await place.store.pending()).toMatchObject([{ writeId: id, state: 'sealed', decision: { kind: 'rollForward' } }])
    expect((await contents(place.store)).notes).toEqual([1])
  })
})

describe('faults of a heal', () => {
  it.each([FP.heal.enter, FP.heal.afterGates, FP.sweep.beforeRollForward, FP.promote.before, FP.publish.afterAdmit])(
    'at %s: that write rejects loudly, the next one recovers and succeeds',
    async (point) => {
      const place = await Place.open()
      const { id } = await place.sealed({ rows: [1], orphaned: true })
      {
        using armed = failpoints(place.world).arm(point, { error: 'io', times: 1 })
        expect(await failure(() => place.store.append(notes, { at: 2, text: 'x' }))).toMatchObject({ name: 'StorageError', class: 'io' })
        expect(armed.fired).toBe(1)
      }
      await place.store.append(notes, { at: 3, text: 'x' })
      expect((await contents(place.store)).notes).toEqual([1, 3])
      expect(await auditOf(place.store, id)).toHaveLength(1)
    },
  )

  it('at heal.beforeReload: the write rejects, the recovered one is published, the next write goes on', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    {
      using armed = failpoints(place.world).arm(FP.heal.beforeReload, { error: 'io', times: 1 })
      expect(await failure(() => place.store.append(notes, { at: 2, text: 'x' }))).toMatchObject({ name: 'StorageError' })
      expect(armed.fired).toBe(1)
    }
    expect(await auditOf(place.store, id)).toHaveLength(1)
    await place.store.append(notes, { at: 3, text: 'x' })
    expect((await contents(place.store)).notes).toEqual([1, 3])
  })

  it('the files cannot be removed: it is told, and the write succeeds', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    const told: unknown[] = []
    place.store.on('retireDeferred', ({ writeId }) => told.push(writeId))
    place.root.plan(({ method, name }) => (method.startsWith('delete') && name.startsWith('staging/') ? { error: 'io' } : undefined))
    await place.store.append(notes, { at: 2, text: 'x' })
    place.root.plan(undefined)
    expect(told).toEqual([id])
    expect((await contents(await place.killed())).notes).toEqual([1, 2])
    expect(await place.staging()).toEqual([])
  })

  it('parked at the gates while its owner finishes: it finds its goal reached and records nothing', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    const point = failpoints(place.world).arm(FP.heal.afterGates, { park: true, times: 1 })
    const write = place.store.append(notes, { at: 2, text: 'x' })
    await point.reached()
    await place.engine.parts.committer.rollback({ writeId: ulidBytes(id), sealLsn: sealLsnOf(place, id), reason: 'by hand' }, 0)
    point.release()
    await write
    point[Symbol.dispose]()
    expect((await contents(place.store)).notes).toEqual([2])
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rollback', reason: 'by hand' }])
    expect(await place.staging()).toEqual([])
  })
})

describe('given a budget that is used up', () => {
  it('a heal defers: the write goes on, it is told once, later writes are not slowed, and it is tried again after a while', async () => {
    const place = await Place.open({ publishRetries: 2 })
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    const told: unknown[] = []
    place.store.on('deferred', ({ writeId, reason }) => told.push([writeId, typeof reason]))
    {
      using armed = failpoints(place.world).arm(FP.publish.afterAdmit, { error: 'write.contention' })
      await place.store.append(notes, { at: 2, text: 'x' })
      expect(armed.fired).toBe(3)
      for (let i = 0; i < 5; i++) await place.store.append(notes, { at: 3, text: 'x' })
      expect(armed.fired, 'not tried at every write').toBe(3)
    }
    expect(told).toEqual([[id, 'string']])
    expect((await contents(place.store)).notes).not.toContain(1)
    place.sim.tick(31_000)
    await place.store.append(notes, { at: 4, text: 'x' })
    expect((await contents(place.store)).notes).toContain(1)
    expect(await auditOf(place.store, id)).toHaveLength(1)
  })

  it('a sweep defers: the store opens, pending() shows it, the next open does it', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1] })
    place.kill()
    const told: unknown[] = []
    {
      using armed = failpoints(place.world).arm(FP.publish.afterAdmit, { error: 'write.contention' })
      const store = await place.start({ publishRetries: 1 })
      store.on('deferred', ({ writeId }) => told.push(writeId))
      await Promise.resolve()
      expect(armed.fired).toBe(2)
    }
    expect(told).toEqual([id])
    expect(await place.store.pending()).toMatchObject([{ writeId: id, state: 'sealed', decision: { kind: 'rollForward' } }])
    expect((await contents(await place.killed())).notes).toEqual([1])
  })

  it('a conflict that only the publish finds rolls it back: no loop', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [1], orphaned: true })
    using armed = failpoints(place.world).arm(FP.publish.afterAdmit, { error: 'write.conflict', times: 1 })
    await place.store.append(notes, { at: 2, text: 'x' })
    expect(armed.fired).toBe(1)
    expect(await auditOf(place.store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'conflict' }])
  })
})

function sealLsnOf(place: Place, id: string): number {
  return [...place.engine.parts.state.catalog.outcomes.pending.values()].find(({ intent }) => intent.writeId === id)!.lsn
}

describe('many at once', () => {
  it('fifty mixed writes: each is decided against what those before it made, in the order of their ids', async () => {
    const place = await Place.open()
    const ids: { id: string; want: string }[] = []
    for (let i = 0; i < 50; i++) {
      // Two of three keyed writes meet the key of an earlier one.
      const made =
        i % 5 === 0
          ? { forged: await place.armed({ rows: [i] }), want: 'unsealed' }
          : i % 5 === 1
            ? { forged: await place.sealed({ rows: [i] }), want: 'published' }
            : i % 5 === 2
              ? { forged: await place.sealed({ table: items, rows: [i % 3] }), want: i < 15 ? 'published' : 'conflict' }
              : i % 5 === 3
                ? { forged: await place.sealed({ kind: 'replace', rule: 'exact', rows: [1000 + i] }), want: 'conflict' }
                : { forged: await place.sealed({ mode: 'hold', rows: [i] }), want: 'kept' }
      ids.push({ id: made.forged.id, want: made.want })
    }
    const store = await place.killed()
    const found = await Promise.all(
      ids.map(async ({ id }) => {
        const [row] = await auditOf(store, id)
        return row === undefined ? 'kept' : row.kind === 'rolledForward' ? 'published' : row.reason!
      }),
    )
    expect(found).toEqual(ids.map(({ want }) => want))
    const decided = ids.filter(({ want }) => want !== 'kept').map(({ id }) => id)
    const rows = []
    for await (const row of store.audit({ kinds: ['rolledForward', 'rolledBack'] })) rows.push(row.writeId)
    expect(rows, 'in the order of their ids').toEqual(decided)
    expect((await contents(store)).notes).toEqual(ids.flatMap(({ want }, i) => (want === 'published' && i % 5 === 1 ? [i] : [])))
    await forge(place.engine)
  })
})
