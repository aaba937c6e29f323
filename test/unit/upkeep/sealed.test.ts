// Optimize whose writer dies: armed it is rolled back, sealed it goes forward unless a row of it was hidden since (recovery.md sections 5, 10, 18).
import { describe, expect, it } from 'vitest'

import { ConflictError, eq, PendingIntentError, Store, t, table, type WriteId } from '../../../bindings/index.ts'
import { DirRoot } from '../../../bindings/root/index.ts'
import { type FailpointName, FP } from '../../../bindings/runtime/index.ts'
import { failpoints, rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

const STAGED = { inlineLimitBytes: 0 } as const
const SEALED = { inlineLimitBytes: 0, sealMode: 'separate' } as const

async function filled(options: { inlineLimitBytes: number; sealMode?: 'separate' }): Promise<Place> {
  const place = await Place.open(options)
  for (const id of [1, 5, 9]) {
    await place.store.append(items, [item(id), item(id + 1), item(id + 20)])
    await place.store.append(notes, [note(id), note(id + 1)])
  }
  await place.store.delete(items, 2)
  await place.store.deleteWhere(notes, eq('at', 6))
  return place
}

const fragments = async (store: Pick<Store, 'stats'>): Promise<number[]> => Object.values((await store.stats()).tables).map((table) => table.fragments)

/** Killed at a point of an optimize. */
async function killedAt(place: Place, point: FailpointName): Promise<void> {
  const crash = failpoints(place.sim.world).arm(point, { crash: true })
  void place.store.optimize().catch(() => undefined)
  await crash.reached()
  crash[Symbol.dispose]()
  await place.kill(STAGED)
}

describe('an optimize whose process dies', () => {
  it.each([FP.optimize.beforeCompact, FP.optimize.afterCompact, FP.optimize.afterReindex, FP.optimize.beforePublish])(
    'before its record, at %s, is rolled back: its files go, and the next one does the work',
    async (point) => {
      const place = await filled(STAGED)
      const before = await contents(place.store)
      await killedAt(place, point)
      expect(await place.staging()).toEqual([])
      expect(await fragments(place.store)).toEqual([3, 3])
      expect(await contents(place.store)).toEqual(before)
      expect((await place.store.optimize()).skipped).toEqual([])
      expect(await fragments(place.store)).toEqual([1, 1])
      expect(await contents(place.store)).toEqual(before)
    },
  )

  it.each([FP.seal.afterAppend, FP.promote.before, FP.promote.betweenFiles, FP.promote.after, FP.optimize.beforePublish])(
    'behind its seal, at %s, goes forward with the next open, and is told of once',
    async (point) => {
      const place = await filled(SEALED)
      const before = await contents(place.store)
      await killedAt(place, point)
      expect(await place.staging()).toEqual([])
      expect(await fragments(place.store)).toEqual([1, 1])
      expect(await contents(place.store)).toEqual(before)
      const rows = []
      for await (const row of place.store.audit({ kinds: ['rolledForward'] })) rows.push(row)
      expect(rows).toMatchObject([{ by: 'varve:recovery', tables: ['items', 'notes'] }])
      expect(await place.store.outcome(rows[0]!.writeId!)).toBe('published')
      expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
      expect(await contents(await place.kill())).toEqual(before)
      expect((await place.store.optimize()).lsn).toBeUndefined()
    },
  )

  it.each([
    ['keyed', (store: Store) => store.delete(items, 5)],
    ['unkeyed', (store: Store) => store.deleteWhere(notes, eq('at', 5))],
  ] as const)('behind its seal, a row of it hidden since (%s), is rolled back: nothing comes back', async (_, hide) => {
    const place = await filled(SEALED)
    const rv = rendezvous(place.sim.world, FP.seal.afterAppend)
    void place.store.optimize().catch(() => undefined)
    await rv.reached()
    await hide(place.store)
    const after = await contents(place.store)
    await place.kill(STAGED)
    expect(await contents(place.store)).toEqual(after)
    expect(await fragments(place.store)).toEqual([3, 3])
    const rows = []
    for await (const row of place.store.audit({ kinds: ['rolledBack'] })) rows.push(row)
    expect(rows).toMatchObject([{ reason: 'moved' }])
    expect(await place.staging()).toEqual([])
    await place.store.optimize()
    expect(await contents(place.store)).toEqual(after)
  })

  it('behind its seal, rows hidden by a writer that lives, is published with them hidden', async () => {
    const place = await filled(SEALED)
    const rv = rendezvous(place.sim.world, FP.seal.afterAppend)
    const optimizing = place.store.optimize()
    await rv.reached()
    await place.store.upsert(items, [item(9, 'new'), item(50)])
    await place.store.deleteWhere(notes, eq('at', 9))
    const after = await contents(place.store)
    rv.release()
    expect((await optimizing).lsn).toBeDefined()
    rv[Symbol.dispose]()
    expect(await contents(place.store)).toEqual(after)
    expect(await contents(await place.kill())).toEqual(after)
    expect(await place.staging()).toEqual([])
  })

  it('is healed by the next write when it fails behind its seal', async () => {
    const place = await filled(SEALED)
    {
      using _armed = failpoints(place.sim.world).arm(FP.promote.before, { error: 'io', times: 1 })
      await expect(place.store.optimize()).rejects.toMatchObject({ name: 'StorageError' })
    }
    expect((await place.store.pending()).map(({ kind, state }) => [kind, state])).toEqual([['optimize', 'sealed']])
    await place.store.append(notes, note(77))
    expect(await place.store.pending()).toEqual([])
    expect((await fragments(place.store))[0]).toBe(1)
    expect(await place.staging()).toEqual([])
  })
})

describe('an index file that is damaged', () => {
  const named = table('named', { id: t.int32(), name: t.utf8() }, { key: ['id'], index: ['name'] })
  const where = named.where(eq('name', 'n7'))

  it.each([FP.seal.afterAppend, FP.promote.after, undefined])('and was made again is in force after a seal whose owner dies at %s', async (point) => {
    const place = await Place.open(SEALED)
    await place.store.create(named)
    await place.store.append(
      named,
      Array.from({ length: 20_000 }, (_, id) => ({ id, name: `n${id % 100}` })),
    )
    await place.store.optimize()
    const root = new DirRoot('/data/store', place.sim.world)
    const list: string[] = []
    for await (const { name } of root.list('indexes/')) list.push(name)
    for (const name of list) await root.put(name, new Uint8Array((await root.get(name)).bytes.length).fill(7))
    await place.reopen(SEALED)
    expect(await place.store.scan(named, { where }).count()).toBe(200)
    if (point === undefined) await place.store.optimize()
    else await killedAt(place, point)
    await place.kill(STAGED)
    expect(await place.staging()).toEqual([])
    // An index that is found damaged is not asked again.
    expect(await place.store.scan(named, { where }).count()).toBe(200)
    expect(await place.store.scan(named, { where }).explain()).toMatchObject({ index: expect.stringMatching(/^name/) })
  })
})

describe('an undecided write', () => {
  it('Refuses while an intent pends: open, sealed, until it is decided', async () => {
    const place = await filled(STAGED)
    const write = await place.store.stage()
    await write.append(notes, note(70))
    const refused = async (): Promise<unknown> => place.store.optimize().catch((error: unknown) => error)
    expect(await refused()).toBeInstanceOf(PendingIntentError)
    await write.seal()
    expect(await refused()).toMatchObject({ name: 'PendingIntentError', writeIds: [write.id] })
    await place.kill(STAGED)
    expect(await refused()).toBeInstanceOf(PendingIntentError)
    await (await place.store.resume(write.id as WriteId)).publish()
    expect((await place.store.optimize()).lsn).toBeDefined()
    expect((await contents(place.store)).notes).toContain('70:n')
  })

  it.each(['keyed', 'unkeyed'])('A delete by position sealed before an optimize publishes: optimize refuses, the delete goes on (%s)', async (kind) => {
    const place = await filled(STAGED)
    const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
    const optimizing = place.store.optimize().catch((error: unknown) => error)
    await rv.reached()
    const write = await place.store.stage()
    if (kind === 'keyed') await write.deleteWhere(items, eq('id', 5))
    else await write.deleteWhere(notes, eq('at', 5))
    await write.seal()
    rv.release()
    expect(await optimizing).toBeInstanceOf(PendingIntentError)
    rv[Symbol.dispose]()
    expect(await fragments(place.store)).toEqual([3, 3])
    await write.publish()
    const { items: keyed, notes: unkeyed } = await contents(place.store)
    expect(kind === 'keyed' ? keyed : unkeyed).not.toContain(kind === 'keyed' ? '5:x' : '5:n')
    await place.store.optimize()
    expect(await contents(place.store)).toEqual({ items: keyed, notes: unkeyed })
  })

  it.each(['keyed', 'unkeyed'])(
    'A delete by position found before an optimize publishes, and sealed behind it: keyed rebases, unkeyed ConflictError (%s)',
    async (kind) => {
      const place = await filled(STAGED)
      const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
      const optimizing = place.store.optimize()
      await rv.reached()
      const write = await place.store.stage()
      if (kind === 'keyed') await write.deleteWhere(items, eq('id', 5))
      else await write.deleteWhere(notes, eq('at', 5))
      rv.release()
      expect((await optimizing).lsn).toBeDefined()
      rv[Symbol.dispose]()
      const before = await contents(place.store)
      await write.seal()
      if (kind === 'keyed') {
        await write.publish()
        expect((await contents(place.store)).items).toEqual(before.items.filter((row) => row !== '5:x'))
      } else {
        await expect(write.publish()).rejects.toBeInstanceOf(ConflictError)
        await write.rollback()
        expect(await contents(place.store)).toEqual(before)
      }
    },
  )
})
