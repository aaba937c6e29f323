import { describe, expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { failure, opened, PLACES } from '../../unit/store/places.ts'
import { cluster, Cluster, note, notes } from './cluster.ts'

describe.each(PLACES)('a store that waits for replicas, %s', (_name, place) => {
  it('shows a row when a majority has it, not before', async () => {
    const one = await cluster(place(), 'quorum')
    const { store, prompt } = one
    expect(await store.get(notes, 1)).toBeUndefined()
    prompt.clear()
    const commit = store.append(notes, note(1))
    let isDone = false
    void commit.then(() => (isDone = true))
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(isDone).toBe(false)
    expect(await store.get(notes, 1)).toBeUndefined()
    await using head = await store.snapshot(undefined, { readUncommitted: true })
    expect(await head.get(notes, 1)).toEqual(note(1))
    one.confirms('r2')
    await commit
    expect(await store.get(notes, 1)).toEqual(note(1))
  })

  it('resolves when the first of two confirms', async () => {
    const one = await cluster(place(), 'quorum', { silent: ['r2'] })
    const { lsn } = await one.store.append(notes, note(1))
    expect(one.store.lsn).toBe(lsn)
    expect(await one.store.get(notes, 1)).toEqual(note(1))
    expect((await one.store.stats()).ackMode).toBe('quorum')
  })

  it('takes no write where nobody ships', async () => {
    const at = place()
    const one = await cluster(at, 'quorum')
    await one.store.append(notes, note(1))
    one.detach()
    expect((await failure(() => one.store.append(notes, note(2)))).name).toBe('AckUnavailableError')
    await one.store.close()
    const again = await opened(at)
    expect((await failure(() => again.append(notes, note(2)))).name).toBe('AckUnavailableError')
    const two = await new Cluster(again, ['r1', 'r2']).attach()
    two.follow('r1', 0)
    two.confirms('r1')
    await again.append(notes, note(2))
    expect(await again.scan(notes).count()).toBe(2)
  })
})

it('a mode other than async is of logs with one writer', async () => {
  await using store = await Store.open('memory:')
  await store.setAckMode('async')
  expect((await store.stats()).ackMode).toBe('async')
})
