// A table that contradicts its records (recovery.md sections 9 and 18): writes are refused, with one of three answers, each of them true.
import { describe, expect, it } from 'vitest'

import { decodeCheckpoint, encodeCheckpoint, checkpointBody } from '../../../bindings/catalog/index.ts'
import type { Intent } from '../../../bindings/format/index.ts'
import { driftError, driftOf } from '../../../bindings/recovery/index.ts'
import { failure } from '../store/places.ts'
import { contents, items, notes, Place } from './forge.ts'

/** Closes the store with a checkpoint that counts a row too many: whole by its check, and wrong. */
async function drifted(place: Place): Promise<void> {
  await place.store.append(notes, [
    { at: 1, text: 'x' },
    { at: 2, text: 'y' },
  ])
  await place.store.flush()
  await place.close()
  const [name] = (await place.names('checkpoints/')).slice(-1)
  const { lsn, digest, storeId, catalog } = decodeCheckpoint((await place.root.get(name!)).bytes)
  const table = catalog.byName('notes')!
  ;(catalog.tables as Map<number, unknown>).set(table.id, { ...table, rows: table.rows + 1 })
  await place.root.put(name!, encodeCheckpoint(storeId, lsn, digest, checkpointBody(catalog)))
}

describe('given a table whose rows are not those that its records count', () => {
  it('reads go on, every write is refused with the advice to repair, and nothing is written on top', async () => {
    const place = await Place.open()
    await drifted(place)
    const store = await place.start()
    expect((await contents(store)).notes).toEqual([1, 2])
    const before = await place.tree()
    const writes = [
      () => store.append(notes, { at: 3, text: 'z' }),
      () => store.upsert(items, { id: 1, v: 'x' }),
      () => store.transact((tx) => tx.append(notes, [{ at: 3, text: 'z' }])),
      () => store.create(items),
      () => store.flush(),
    ]
    for (const write of writes) {
      const error = await failure(write)
      expect(error).toMatchObject({ name: 'DriftError', code: 'recovery.drift', kind: 'corrupt', state: 'uncovered' })
      expect(error.message).toContain('run varve repair')
      expect(error.message).toContain('notes')
    }
    expect(await place.tree()).toEqual(before)
  })

  it('covered by a pending write of the branch: the advice is to reopen', async () => {
    const place = await Place.open()
    await place.sealed({ mode: 'hold', rows: [5] })
    await drifted(place)
    const store = await place.start()
    const error = await failure(() => store.append(notes, { at: 3, text: 'z' }))
    expect(error).toMatchObject({ name: 'DriftError', state: 'covered' })
    expect(error.message).toContain('reopen read-write')
  })

  it('and a list that fails: the third advice with its cause', async () => {
    const place = await Place.open()
    await drifted(place)
    const store = await place.start()
    place.root.plan(({ method, name }) => (method === 'list' && name.startsWith('staging') ? { error: 'permission' } : undefined))
    const error = await failure(() => store.append(notes, { at: 3, text: 'z' }))
    expect(error).toMatchObject({ name: 'DriftError', state: 'unknown', cause: { name: 'StorageError', class: 'permission' } })
    expect(error.message).toMatch(/could not be classified because .*permission.*: run varve repair, or reopen read-write/)
    place.root.plan(undefined)
    expect(await failure(() => store.append(notes, { at: 3, text: 'z' }))).toMatchObject({ state: 'uncovered' })
  })

  it('a write pending on another branch, or on other tables, does not change the advice', () => {
    const found = [{ tableId: 3, table: 'notes', what: 'w' }]
    const intent = { branchId: 'main', participants: [{ tableId: 3 }] } as unknown as Intent
    expect(driftError(found, 'main', [{ intent }]).state).toBe('covered')
    expect(driftError(found, 'main', [{ intent: { ...intent, branchId: 'feature' } }]).state).toBe('uncovered')
    expect(driftError(found, 'main', [{ intent: { ...intent, participants: [] } }, { intent: undefined }]).state).toBe('uncovered')
    expect(driftError(found, 'main', { cause: new Error('EIO') }).state).toBe('unknown')
  })
})

describe('given nothing that contradicts', () => {
  it('a store has no drift, whatever was written, and an orphan file is none for a writer', async () => {
    const place = await Place.open()
    await place.store.append(notes, { at: 1, text: 'x' })
    await place.store.upsert(items, [
      { id: 1, v: 'a' },
      { id: 2, v: 'b' },
    ])
    await place.store.upsert(items, { id: 1, v: 'c' })
    await place.store.delete(items, 2)
    await place.store.flush()
    await place.store.replace(notes, [{ at: 7, text: 'y' }])
    await place.root.put(`fragments/aa/${'a'.repeat(64)}.arrow`, new Uint8Array([1]))
    const store = await place.killed()
    expect(driftOf(place.engine.parts.state)).toEqual([])
    await store.append(notes, { at: 8, text: 'z' })
  })
})
