// Optimize beside what others see and do: loads of the same bytes, followers, the feed, large merges, aborts, budgets.
import { describe, expect, it } from 'vitest'

import { columns, ConflictError, eq, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { failpoints, rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from '../write/helpers.ts'

const STAGED = { inlineLimitBytes: 0 } as const
const MANUAL = { threads: 0, upkeep: 'manual', inlineLimitBytes: 0 } as const

describe('loads', () => {
  it("The same unkeyed batch appended while optimize is parked at optimize.beforePublish: both copies' rows stay", async () => {
    const place = await Place.open(STAGED)
    const batch = [note(1), note(2)]
    await place.store.append(notes, batch)
    await place.store.append(notes, [note(3)])
    const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
    const optimizing = place.store.optimize()
    await rv.reached()
    await place.store.append(notes, batch)
    rv.release()
    await optimizing
    rv[Symbol.dispose]()
    expect((await contents(place.store)).notes).toEqual(['1:n', '1:n', '2:n', '2:n', '3:n'])
    expect((await contents(await place.kill())).notes).toEqual(['1:n', '1:n', '2:n', '2:n', '3:n'])
  })

  it('The same file twice in one table, one of them removed: the other stays live with its own deletions', async () => {
    const place = await Place.open(STAGED)
    const twin = Array.from({ length: 20 }, (_, i) => note(i))
    const full = Array.from({ length: 30 }, (_, i) => note(100 + i))
    await place.store.append(notes, twin)
    await place.store.append(notes, [note(50)])
    await place.store.append(notes, full)
    await place.store.append(notes, twin)
    await place.store.deleteWhere(notes, eq('at', 3))
    const { notes: before } = await contents(place.store)
    // Small is what has fewer than 20 rows: one of the twins has a neighbour that is put to it, the other none.
    expect((await place.store.optimize({ target: { rows: 40 } })).tables['notes']).toMatchObject({ fragmentsBefore: 4, fragmentsAfter: 3 })
    expect((await contents(place.store)).notes).toEqual(before)
    await place.store.deleteWhere(notes, eq('at', 4))
    const after = before.filter((row) => row !== '4:n')
    expect((await contents(place.store)).notes).toEqual(after)
    expect((await contents(await place.kill())).notes).toEqual(after)
    expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
  })
})

describe('a transaction', () => {
  it('that began before a load and an optimize of what it brought meets the keys of that load, and no others', async () => {
    const place = await Place.open(STAGED)
    await place.store.append(items, item(1))
    const meanwhile = async (id: number): Promise<void> => {
      await place.store.append(items, [item(id), item(id + 1)])
      await place.store.optimize()
    }
    await place.store.transact(async (tx) => {
      tx.upsert(items, item(70, 'mine'))
      await meanwhile(10)
    })
    await expect(
      place.store.transact(
        async (tx) => {
          tx.upsert(items, item(21, 'mine'))
          await meanwhile(20)
        },
        { retries: 0 },
      ),
    ).rejects.toBeInstanceOf(ConflictError)
    expect((await contents(place.store)).items).toEqual(['1:x', '10:x', '11:x', '20:x', '21:x', '70:mine'])
  })
})

describe('whoever reads', () => {
  it('a follower sees the same rows, and the feed shows no optimize and every row of the commits around it', async () => {
    const root = new MemoryRoot()
    const store = await Store.open(root, MANUAL)
    await store.create(items)
    const follower = await Store.open(root, { readOnly: true, follow: false })
    for (let i = 0; i < 3; i++) await store.append(items, [item(i), item(i + 10)])
    await store.optimize()
    await store.upsert(items, item(1, 'new'))
    await store.delete(items, 2)
    await follower.refresh()
    expect(await contents(withNotes(follower))).toEqual(await contents(withNotes(store)))
    const seen: unknown[] = []
    for await (const commit of store.changes({ from: 0, tables: [items], images: 'both', follow: false })) {
      for await (const { kind, after, before } of commit) seen.push([kind, after?.v, before?.v])
    }
    expect(seen.slice(-2)).toEqual([
      ['update', 'new', 'x'],
      ['delete', undefined, 'x'],
    ])
    expect(seen.length).toBe(8)
    await follower.close()
    await store.close()
  })
})

/** Of stores that have only items. */
function withNotes(store: Pick<Store, 'scan'>): Pick<Store, 'scan'> {
  return { scan: ((asked: never) => ((asked as { name: string }).name === 'notes' ? { toArray: async () => [] } : store.scan(asked))) as never }
}

describe('many rows', () => {
  const pairs = table('pairs', { a: t.utf8(), b: t.int64(), v: t.float64().nullable() }, { key: ['a', 'b'] })
  const rows = 90_000
  const part = (n: number, of: number): object => {
    const picks = Array.from({ length: rows / of }, (_, i) => i * of + n)
    // Not in key order: the text decides first.
    return columns({
      a: picks.map((i) => `k${i % 7}`),
      b: BigInt64Array.from(picks, (i) => BigInt((i * 7919) % rows)),
      v: picks.map((i) => (i % 5 === 0 ? null : i / 2)),
    } as never)
  }

  it.each([0, 1])('of a composite key, in overlapping fragments in no order, come out sorted and apart (%i threads)', { timeout: 60_000 }, async (threads) => {
    const store = await Store.open(new MemoryRoot(), { ...MANUAL, threads })
    await store.create(pairs)
    for (let n = 0; n < 3; n++) await store.append(pairs, part(n, 3) as never)
    await store.deleteWhere(pairs, eq('a', 'k3'))
    const expected = await store.scan(pairs, { orderBy: ['a', 'b'] }).toArray()
    const { tables } = await store.optimize({ target: { rows: 50_000 } })
    expect(tables['pairs']).toMatchObject({ fragmentsBefore: 3, fragmentsAfter: 2 })
    // A scan without an order gives fragments one after the other.
    expect(differing(await store.scan(pairs).toArray(), expected)).toEqual([])
    expect(await store.get(pairs, { a: 'k2', b: BigInt((2 * 7919) % rows) })).toEqual(
      expected.find(({ a, b }) => a === 'k2' && b === BigInt((2 * 7919) % rows)),
    )
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    expect((await store.optimize({ target: { rows: 50_000 } })).lsn).toBeUndefined()
    await store.close()
  })
})

/** The first rows that are not the same: a difference of so many rows is not to be printed. */
function differing(found: readonly object[], wanted: readonly object[]): unknown[] {
  const length = Math.max(found.length, wanted.length)
  const keyOf = (row: object | undefined): string => JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
  return Array.from({ length }, (_, i) => i)
    .filter((i) => keyOf(found[i]) !== keyOf(wanted[i]))
    .slice(0, 3)
    .map((i) => [i, found[i], wanted[i]])
}

describe('a call', () => {
  it('that is aborted changes nothing, at once or amid its work', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) await place.store.append(notes, note(i))
    const { lsn } = place.store
    await expect(place.store.optimize({ signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
    const rv = rendezvous(place.sim.world, FP.optimize.beforePublish)
    const controller = new AbortController()
    const optimizing = place.store.optimize({ signal: controller.signal })
    await rv.reached()
    controller.abort(new Error('enough'))
    rv.release()
    await expect(optimizing).rejects.toThrow('enough')
    rv[Symbol.dispose]()
    expect(place.store.lsn).toBe(lsn)
    expect(await place.staging()).toEqual([])
  })

  it('with a budget does what it has begun, and tells what it left; per table it publishes each alone', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) {
      await place.store.append(notes, note(i))
      await place.store.append(items, item(i))
    }
    const report = await place.store.optimize({ perTable: true, budgetMs: 0 })
    expect(report.tables).toMatchObject({ items: { fragmentsAfter: 1 }, notes: { fragmentsAfter: 1 } })
    const records = []
    for await (const { kind, tables } of place.store.audit({ kinds: ['optimize'] })) records.push([kind, tables])
    expect(records).toEqual([
      ['optimize', ['items']],
      ['optimize', ['notes']],
    ])
  })

  it('per table, of which one fails, leaves the others optimized', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) {
      await place.store.append(notes, note(i))
      await place.store.append(items, item(i))
    }
    using _armed = failpoints(place.sim.world).arm(FP.optimize.afterCompact, { error: 'io', times: 1, when: ({ table: name }) => name === 'notes' })
    await expect(place.store.optimize({ perTable: true })).rejects.toMatchObject({ name: 'StorageError' })
    const { tables } = await place.store.stats()
    expect([tables['items']!.fragments, tables['notes']!.fragments]).toEqual([1, 3])
  })

  it('reports progress, and refuses a target that is none', async () => {
    const place = await Place.open(STAGED)
    for (let i = 0; i < 3; i++) await place.store.append(notes, note(i))
    await expect(place.store.optimize({ target: { rows: 0 } })).rejects.toMatchObject({ name: 'InvalidConfigError' })
    const told: [string, number][] = []
    await place.store.optimize({ onProgress: ({ phase, done }) => void told.push([phase, done]) })
    expect([told[0], told.at(-1)]).toEqual([
      ['optimize', 0],
      ['optimize', 3],
    ])
  })
})
