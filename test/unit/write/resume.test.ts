// A sealed write outlives its process: reopens, resume(), holdUntil, checkpoints while it waits, history and feed over what was published.
import { describe, expect, it } from 'vitest'

import { columns, gte, newWriteId, Store, type WriteId } from '../../../bindings/index.ts'
import { collect } from '../store/places.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

/** Staged and sealed: an upsert, a fresh row, a deletion, and rows of a table without a key. */
async function sealed(place: Place): Promise<WriteId> {
  await place.store.append(items, [item(1), item(2), item(3)])
  const write = await place.store.stage({ message: 'nightly', author: 'ada' })
  await write.upsert(items, [item(1, 'new'), item(4, 'new')])
  await write.delete(items, 2)
  await write.append(notes, [note(1), note(2)])
  await write.seal()
  return write.id
}

const PUBLISHED = { items: ['1:new', '3:x', '4:new'], notes: ['1:n', '2:n'] }

describe('a sealed write and the end of its process', () => {
  it.each(['reopen', 'kill'] as const)('is there after %s, three times, invisible, and publishes on request', async (how) => {
    const place = await Place.open()
    const id = await sealed(place)
    for (let round = 0; round < 3; round++) {
      const store = await place[how]()
      expect(await contents(store)).toEqual({ items: ['1:x', '2:x', '3:x'], notes: [] })
      expect(await store.outcome(id)).toBe('pending')
      expect(await store.staged()).toEqual([
        expect.objectContaining({
          writeId: id,
          kind: 'staged',
          mode: 'hold',
          state: 'sealed',
          branch: 'main',
          decision: expect.objectContaining({ kind: 'keep', rule: 'd12' }),
          message: 'nightly',
        }),
      ])
      expect((await store.stats()).pending).toBe(1)
    }
    const write = await place.store.resume(id)
    const result = await write.publish()
    expect(result).toMatchObject({ writeId: id, rows: 5, replayed: false })
    expect(await contents(place.store)).toEqual(PUBLISHED)
    expect(await place.staging()).toEqual([])
    const [commit] = await collect(place.store.changes({ from: (result.lsn - 1n) as never, follow: false }))
    expect(commit).toMatchObject({ lsn: result.lsn, writeId: id, author: 'ada', message: 'nightly' })
    // The outcome and the result survive too.
    const store = await place[how]()
    expect(await contents(store)).toEqual(PUBLISHED)
    expect(await store.outcome(id)).toBe('published')
    const again = await store.resume(id)
    expect(again.state).toBe('published')
    expect(await again.publish()).toMatchObject({ lsn: result.lsn, rows: 5, time: result.time })
    await expect(again.rollback()).rejects.toMatchObject({ code: 'write.already-published' })
  })

  it('held until a time: staged() and pending() tell it', async () => {
    const place = await Place.open()
    const holdUntil = new Date('2100-01-01T00:00:00Z')
    const write = await place.store.stage({ holdUntil })
    await write.append(notes, note(1))
    await write.seal()
    expect(await place.store.staged()).toMatchObject([{ writeId: write.id, holdUntil }])
    await place.reopen()
    expect(await place.store.staged()).toMatchObject([{ writeId: write.id, holdUntil }])
    expect(await place.store.pending()).toMatchObject([{ writeId: write.id, holdUntil }])
  })

  it('in a conflict, or not there: the hint says what to do', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.upsert(items, item(1, 'staged'))
    await write.seal()
    await place.store.upsert(items, item(1))
    await expect(write.publish()).rejects.toMatchObject({
      code: 'write.conflict',
      hint: expect.stringMatching(/stays sealed: roll it back, and stage it again/),
    })
    await expect(place.store.resume(newWriteId())).rejects.toMatchObject({ code: 'options.invalid', hint: expect.stringContaining('store.staged()') })
  })

  it('published by another handle: the same result, as JSON too, and seal() never says LSN 0', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(notes, [note(1)])
    const sealLsn = await write.seal()
    const resumed = await place.store.resume(write.id)
    const first = await resumed.publish()
    const second = await write.publish()
    expect(JSON.parse(JSON.stringify(second))).toEqual(JSON.parse(JSON.stringify(first)))
    expect([await write.seal(), await resumed.seal()]).toEqual([sealLsn, sealLsn])
    for (const isPublishedFirst of [false, true]) {
      const late = await place.store.resume(write.id)
      if (isPublishedFirst) await late.publish()
      expect(await late.seal()).toBe(first.lsn)
      expect(JSON.stringify(await late.publish())).toBe(JSON.stringify(first))
    }
  })

  it('a retry beside the commit it repeats: its result is one for JSON as well', async () => {
    const place = await Place.open()
    const [first, again] = await Promise.all([1, 2].map(() => place.store.append(notes, note(1), { idempotencyKey: 'k' })))
    expect(JSON.parse(JSON.stringify(again))).toEqual({ ...(JSON.parse(JSON.stringify(first)) as object), replayed: true })
  })

  it('unsealed it ends with the process: rolled back at the next open, nothing left', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(items, columns({ id: Int32Array.from({ length: 1000 }, (_, i) => i), v: Array.from({ length: 1000 }, () => 'x') }))
    expect(await place.staging()).not.toEqual([])
    const store = await place.kill()
    expect(await place.staging()).toEqual([])
    expect(await store.outcome(write.id)).toBe('rolledBack')
    expect(await contents(store)).toEqual({ items: [], notes: [] })
    await expect(store.resume(write.id)).resolves.toMatchObject({ state: 'rolledBack' })
    await expect(store.resume(newWriteId())).rejects.toMatchObject({ code: 'options.invalid', key: 'writeId' })
  })

  it('past holdUntil the next open rolls it back: reason expired', async () => {
    const place = await Place.open()
    const write = await place.store.stage({ holdUntil: new Date(place.sim.world.clock.nowMs() + 1_500_000) })
    await write.append(items, item(1))
    await write.seal()
    await place.reopen()
    expect(await place.store.outcome(write.id)).toBe('pending')
    // Each process starts 1,000 s after the one before and nobody writes: the clock of whoever opens tells that the term is over.
    const store = await place.kill()
    expect(await store.outcome(write.id)).toBe('rolledBack')
    const rows = (await collect(store.audit())).filter(({ writeId, kind }) => writeId === write.id && kind !== 'seal')
    expect(rows).toEqual([expect.objectContaining({ reason: 'expired', by: 'varve:recovery' })])
    expect(await place.staging()).toEqual([])
  })

  it('can be rolled back from another process', async () => {
    const place = await Place.open()
    const id = await sealed(place)
    const store = await place.kill()
    const write = await store.resume(id)
    await write.rollback('by hand')
    expect(await store.outcome(id)).toBe('rolledBack')
    expect(await store.staged()).toEqual([])
    expect(await place.staging()).toEqual([])
    expect(await contents(store)).toEqual({ items: ['1:x', '2:x', '3:x'], notes: [] })
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.closed' })
  })

  it('is seen by a read-only handle, which cannot decide it', async () => {
    const place = await Place.open()
    const id = await sealed(place)
    await using reader = await Store.open('/data/store', { readOnly: true, follow: false, threads: 0, world: place.sim.world })
    expect((await reader.staged()).map(({ writeId }) => writeId)).toEqual([id])
    expect((await reader.pending()).map(({ writeId, state }) => [writeId, state])).toEqual([[id, 'sealed']])
    expect(await reader.outcome(id)).toBe('pending')
    await expect((reader as Store).resume(id)).rejects.toMatchObject({ code: 'store.read-only' })
    const write = await place.store.resume(id)
    await write.publish()
    await reader.refresh()
    expect(await reader.outcome(id)).toBe('published')
    expect(await contents(reader)).toEqual(PUBLISHED)
    expect(await reader.staged()).toEqual([])
  })
})

describe('what happens between seal and publish', () => {
  it.each<readonly [string, (store: Store) => Promise<unknown>]>([
    ['a flush', (store) => store.flush()],
    ['other keys written', (store) => store.upsert(items, [item(3, 'y'), item(50)])],
    [
      'other keys written in bulk',
      (store) => store.upsert(items, columns({ id: Int32Array.from({ length: 500 }, (_, i) => 100 + i), v: Array.from({ length: 500 }, () => 'y') })),
    ],
    ['rows of the other table', (store) => store.append(notes, note(9))],
    ['deletions of other keys', (store) => store.delete(items, 3)],
    ['deletions of other keys by predicate', (store) => store.deleteWhere(items, gte('id', 3))],
  ])('%s: it is published over that', async (_name, meanwhile) => {
    for (const reopens of [false, true]) {
      for (const inlineLimitBytes of [256 * 1024, 0]) {
        const place = await Place.open({ inlineLimitBytes })
        const id = await sealed(place)
        await meanwhile(place.store)
        const before = await contents(place.store)
        if (reopens) await place.kill()
        await (await place.store.resume(id)).publish()
        const expected = new Map(before.items.map((text) => [text.split(':')[0]!, text]))
        expected.delete('2')
        expected.set('1', '1:new').set('4', '4:new')
        expect(await contents(place.store)).toEqual({
          items: [...expected.values()].toSorted((a, b) => Number(a.split(':')[0]) - Number(b.split(':')[0])),
          notes: [...before.notes, '1:n', '2:n'].toSorted(),
        })
        expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
      }
    }
  })

  it.each<readonly [string, (store: Store) => Promise<unknown>, readonly unknown[]]>([
    ['a key it upserts', (store) => store.upsert(items, item(1, 'mine')), [{ id: 1 }]],
    ['a key it adds', (store) => store.append(items, item(4, 'mine')), [{ id: 4 }]],
    ['a key it deletes', (store) => store.update(items, { id: 2, v: 'mine' }), [{ id: 2 }]],
    ['a key it deletes, deleted', (store) => store.delete(items, 2), [{ id: 2 }]],
    [
      'two of them, in bulk',
      (store) => store.upsert(items, columns({ id: Int32Array.from({ length: 4 }, (_, i) => i + 1), v: ['a', 'b', 'c', 'd'] })),
      [{ id: 1 }, { id: 2 }, { id: 4 }],
    ],
    ['everything, by a replace', (store) => store.replace(items, []), [{ id: 1 }, { id: 2 }]],
  ])('%s: ConflictError naming the keys, and it stays sealed', async (_name, meanwhile, keys) => {
    for (const reopens of [false, true]) {
      for (const inlineLimitBytes of [256 * 1024, 0]) {
        const place = await Place.open({ inlineLimitBytes })
        const id = await sealed(place)
        await meanwhile(place.store)
        const lsn = place.store.lsn
        if (reopens) await place.kill()
        const before = await contents(place.store)
        const write = await place.store.resume(id)
        const error = await write.publish().then(
          () => undefined,
          (thrown: unknown) => thrown as { keys: readonly unknown[] },
        )
        expect(error).toMatchObject({ code: 'write.conflict', table: 'items', total: keys.length, lsn })
        expect(error!.keys.toSorted((a, b) => (a as { id: number }).id - (b as { id: number }).id)).toEqual(keys)
        expect(write.state).toBe('sealed')
        expect(await contents(place.store)).toEqual(before)
        await write.rollback('lost')
        expect(await place.staging()).toEqual([])
        expect(await contents(place.store)).toEqual(before)
      }
    }
  })

  it('a replace is published only over the version it was staged on', async () => {
    const place = await Place.open()
    await place.store.append(notes, note(1))
    const write = await place.store.stage()
    await write.replace(notes, [note(2)])
    await write.seal()
    await place.store.flush()
    await place.store.append(items, item(1))
    await place.kill()
    await (await place.store.resume(write.id)).publish()
    expect((await contents(place.store)).notes).toEqual(['2:n'])
    const second = await place.store.stage()
    await second.replace(notes, [note(3)])
    await second.seal()
    await place.store.append(notes, note(4))
    await expect(second.publish()).rejects.toMatchObject({ code: 'write.conflict', table: 'notes', total: 0 })
    expect((await contents(place.store)).notes).toEqual(['2:n', '4:n'])
  })

  it('deletions by position in a table without a key: published while its fragments are as they were, else a conflict', async () => {
    const place = await Place.open()
    await place.store.append(notes, [note(1), note(2), note(3)])
    const first = await place.store.stage()
    await first.deleteWhere(notes, gte('at', 3))
    await first.append(notes, note(7))
    await first.seal()
    await place.store.append(notes, note(4))
    await place.store.flush()
    await place.kill()
    await (await place.store.resume(first.id)).publish()
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '4:n', '7:n'])
    const second = await place.store.stage()
    await second.deleteWhere(notes, gte('at', 7))
    await second.seal()
    await place.store.deleteWhere(notes, gte('at', 7))
    await expect(second.publish()).rejects.toMatchObject({ code: 'write.conflict', table: 'notes' })
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '4:n'])
  })

  it('two sealed writes of one key: the second is a conflict; of other keys: both', async () => {
    const place = await Place.open()
    const writes = []
    for (const rows of [[item(1, 'a'), item(2, 'a')], [item(2, 'b')], [item(3, 'c')]]) {
      const write = await place.store.stage()
      await write.upsert(items, rows)
      await write.seal()
      writes.push(write)
    }
    const outcomes = await Promise.allSettled(writes.map((write) => write.publish()))
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(outcomes[1]).toMatchObject({ reason: { code: 'write.conflict', keys: [{ id: 2 }] } })
    expect((await contents(place.store)).items).toEqual(['1:a', '2:a', '3:c'])
  })
})

describe('checkpoints, history and the feed', () => {
  it('a checkpoint made while a write is sealed has it', async () => {
    const place = await Place.open()
    const id = await sealed(place)
    // A flush of everything ends in a checkpoint.
    await place.store.flush()
    await place.reopen()
    expect(place.files.calls.some(({ path, to }) => /checkpoints\/\d{20}\.ckpt/.test(`${path} ${to ?? ''}`))).toBe(true)
    expect((await place.store.staged()).map(({ writeId }) => writeId)).toEqual([id])
    await (await place.store.resume(id)).publish()
    expect(await contents(place.store)).toEqual(PUBLISHED)
    await place.kill()
    expect(await contents(place.store)).toEqual(PUBLISHED)
  })

  it('the feed tells a published write as a commit: inserts, updates and deletes at its LSN, once each', async () => {
    for (const inlineLimitBytes of [256 * 1024, 0]) {
      const place = await Place.open({ inlineLimitBytes })
      const id = await sealed(place)
      await place.store.append(notes, note(8))
      const { lsn } = await (await place.store.resume(id)).publish()
      for (const reopens of [false, true]) {
        if (reopens) await place.kill()
        const told: string[] = []
        for await (const commit of place.store.changes({ from: Number(lsn) - 1, tables: [items, notes], images: 'both', follow: false })) {
          expect(commit).toMatchObject({
            lsn,
            writeId: id,
            counts: { items: { inserted: 1, updated: 1, deleted: 1 }, notes: { inserted: 2, updated: 0, deleted: 0 } },
          })
          for await (const change of commit)
            told.push(`${change.table} ${change.kind} ${JSON.stringify(change.before ?? null)} ${JSON.stringify(change.after ?? null)}`)
        }
        expect(told.toSorted()).toEqual([
          'items delete {"id":2,"v":"x"} null',
          'items insert null {"id":4,"v":"new"}',
          'items update {"id":1,"v":"x"} {"id":1,"v":"new"}',
          'notes insert null {"at":1,"text":"n"}',
          'notes insert null {"at":2,"text":"n"}',
        ])
      }
    }
  })

  it('time travel shows the rows from the LSN of the publish on, not from that of the seal', async () => {
    const place = await Place.open()
    const id = await sealed(place)
    const sealedAt = place.store.lsn
    const { lsn } = await (await place.store.resume(id)).publish()
    await place.store.delete(items, [1, 3, 4])
    for (const reopens of [false, true]) {
      if (reopens) await place.reopen()
      const at = async (position: bigint) => (await contents({ scan: (table, o) => place.store.scan(table, { ...o, at: position as never }) })).items
      expect(await at(sealedAt)).toEqual(['1:x', '2:x', '3:x'])
      expect(await at(lsn)).toEqual(['1:new', '3:x', '4:new'])
      expect(await at(place.store.lsn)).toEqual([])
    }
  })
})
