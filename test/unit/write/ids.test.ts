// One id, one write: what outcome() says of a writeId is about one write only (recovery.md section 1).
import { describe, expect, it } from 'vitest'

import { columns, newWriteId, type Store, type WriteId } from '../../../bindings/index.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

const many = (at: number): ReturnType<typeof columns<{ at: Int32Array; text: string[] }>> =>
  columns({ at: new Int32Array(20_000).fill(at), text: Array.from({ length: 20_000 }, () => 'n') })

/** Every call that takes a writeId. */
const CALLS: readonly (readonly [string, (store: Store, writeId: WriteId) => Promise<unknown>])[] = [
  ['append', (store, writeId) => store.append(notes, note(9), { writeId })],
  ['append of many rows', (store, writeId) => store.append(notes, many(9), { writeId })],
  ['upsert', (store, writeId) => store.upsert(items, item(9), { writeId })],
  ['update', (store, writeId) => store.update(items, item(9), { writeId })],
  ['delete', (store, writeId) => store.delete(items, 9, { writeId })],
  ['transact', (store, writeId) => store.transact((tx) => tx.append(notes, note(9)), { writeId })],
  ['stage', (store, writeId) => store.stage({ writeId })],
]

async function refused(store: Store, writeId: WriteId): Promise<void> {
  for (const [name, call] of CALLS) {
    await expect(call(store, writeId), name).rejects.toMatchObject({ code: 'options.invalid', key: 'writeId', value: writeId })
  }
}

describe('the id of another write is refused by every call', () => {
  it('of a staged one: open, staged, sealed, published', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await refused(place.store, write.id)
    await write.append(notes, note(1))
    await refused(place.store, write.id)
    await write.seal()
    await refused(place.store, write.id)
    await write.publish()
    await refused(place.store, write.id)
    expect(await place.store.outcome(write.id)).toBe('published')
    expect(await contents(place.store)).toEqual({ items: [], notes: ['1:n'] })
  })

  it('of one that is sealed or rolled back, after its process was killed', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(notes, note(1))
    await write.seal()
    const store = await place.kill()
    await refused(store, write.id)
    await (await store.resume(write.id)).rollback()
    await refused(await place.kill(), write.id)
    expect(await place.store.outcome(write.id)).toBe('rolledBack')
    expect(await contents(place.store)).toEqual({ items: [], notes: [] })
  })

  it('of a commit: queued, recent, and of a large one after a reopen', async () => {
    const place = await Place.open()
    const [small, large] = [newWriteId(), newWriteId()]
    const first = place.store.append(notes, note(1), { writeId: small })
    const second = place.store.append(notes, note(2), { writeId: small })
    await expect(second).rejects.toMatchObject({ code: 'options.invalid', key: 'writeId' })
    await first
    await refused(place.store, small)
    await place.store.append(items, columns({ id: Int32Array.from({ length: 20_000 }, (_, i) => i), v: Array.from({ length: 20_000 }, () => 'x') }), {
      writeId: large,
    })
    await refused(place.store, large)
    await refused(await place.reopen(), large)
    expect((await contents(place.store)).notes).toEqual(['1:n'])
  })
})

describe('an id may be named again', () => {
  it('by a retry under its idempotency key: the result of then', async () => {
    const place = await Place.open()
    const o = { writeId: newWriteId(), idempotencyKey: 'k' }
    const { lsn } = await place.store.append(notes, note(1), o)
    expect(await place.store.append(notes, note(1), o)).toMatchObject({ lsn, writeId: o.writeId, replayed: true })
    expect((await contents(place.store)).notes).toEqual(['1:n'])
  })

  it('after a call that failed: nothing of it is anywhere', async () => {
    const place = await Place.open()
    const writeId = newWriteId()
    await place.store.append(items, item(1))
    await expect(place.store.append(items, item(1), { writeId })).rejects.toMatchObject({ code: 'write.duplicate-key' })
    expect(await place.store.append(items, item(2), { writeId })).toMatchObject({ writeId })
  })
})
