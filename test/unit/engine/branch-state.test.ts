// The tables of branches in a live state: made of the log, kept up to date, dropped when idle.

import { describe, expect, it } from 'vitest'

import type { BranchViews, Committer, StateView, StoreState } from '../../../bindings/engine/index.ts'
import { StaleBranchError, Store, t, table } from '../../../bindings/index.ts'

const rows = table('rows', { id: t.int32(), text: t.utf8().nullable() }, { key: ['id'] })

interface Inside {
  readonly committer: Committer
  readonly o: { readonly branches: BranchViews; readonly state: StoreState }
}

async function opened(): Promise<{ store: Store; inside: Inside }> {
  const store = await Store.open('memory:')
  await store.create(rows)
  return { store, inside: store as unknown as Inside }
}

function countOf(view: StateView): number {
  const found = view.byName('rows')!
  expect(view.catalog.table(found.id)!.rows).toBe(found.liveRowsNow())
  return found.liveRowsNow()
}

describe('branches of a live state', () => {
  it('begin with the rows of where they were made, and see no later row of main', async () => {
    const { store, inside } = await opened()
    await store.append(rows, [{ id: 1 }, { id: 2 }])
    const from = Number(store.lsn)
    await store.append(rows, [{ id: 3 }])
    await store.flush()
    await inside.committer.branch({ op: 'create', name: 'dev', branch: 1, parent: 0, from })
    const view = await inside.o.branches.view(1)
    expect(countOf(view)).toBe(2)
    await store.append(rows, [{ id: 4 }])
    expect(countOf(view)).toBe(2)
    expect(countOf(inside.o.state)).toBe(4)
    expect(view.applied).toBe(Number(store.lsn))
    expect(await inside.o.branches.view(1)).toBe(view)
    await store.close()
  })

  it('see what is written, to them and to main, while they are made', async () => {
    const { store, inside } = await opened()
    const { branches } = inside.o
    const dev = await store.branch('dev')
    await dev.append(rows, [{ id: 1 }, { id: 2 }])
    inside.o.state.detach(1)
    const loads = branches as unknown as { load: (position: unknown) => Promise<StoreState> }
    const { load } = loads
    let other: Promise<unknown> | undefined
    loads.load = async (position) => {
      const loaded = await load.call(branches, position)
      await store.append(rows, [{ id: 10 }])
      other ??= store.append(rows, [{ id: 11 }])
      await other
      return loaded
    }
    const view = await branches.view(1)
    expect(view.applied).toBe(Number(store.lsn))
    expect(countOf(view)).toBe(2)
    loads.load = load
    await dev.append(rows, { id: 3 })
    expect(countOf(await branches.view(1))).toBe(3)
    expect(countOf(inside.o.state)).toBe(2)
    await store.close()
  })

  it('are stale once they are deleted', async () => {
    const { store, inside } = await opened()
    await inside.committer.branch({ op: 'create', name: 'dev', branch: 1, parent: 0, from: Number(store.lsn) })
    await inside.o.branches.view(1)
    await inside.committer.branch({ op: 'delete', name: 'dev', branch: 1 })
    expect(inside.o.state.view(1)).toBeUndefined()
    await expect(inside.o.branches.view(1)).rejects.toThrow(StaleBranchError)
    await store.close()
  })

  it('that were dropped show what they were when they were, to whoever holds them', async () => {
    const { store, inside } = await opened()
    const { branches, state } = inside.o
    await inside.committer.branch({ op: 'create', name: 'dev', branch: 1, parent: 0, from: Number(store.lsn) })
    const held = await branches.view(1)
    state.detach(1)
    const stopped = Number(store.lsn)
    await store.append(rows, [{ id: 1 }])
    expect(held.applied).toBe(stopped)
    const again = await branches.view(1)
    expect(again).not.toBe(held)
    expect(again.applied).toBe(Number(store.lsn))
    await store.close()
  })

  it('stay in memory while they are pinned, and a few of those that are not', async () => {
    const { store, inside } = await opened()
    const { branches, state } = inside.o
    const from = Number(store.lsn)
    for (let branch = 1; branch <= 30; branch++) await inside.committer.branch({ op: 'create', name: `b${branch}`, branch, parent: 0, from })
    const pin = branches.pin(1)
    for (let branch = 1; branch <= 30; branch++) await branches.view(branch)
    expect(state.view(1)).toBeDefined()
    expect([...state.views()].length).toBeLessThan(12)
    pin[Symbol.dispose]()
    expect(await branches.view(17)).toMatchObject({ branch: 17 })
    await store.close()
  })
})
