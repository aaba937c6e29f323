// One key, one effect: staged writes under idempotency keys, alone, beside each other, and over the end of a process (recovery.md section 2); limits of an Intent.
import { describe, expect, it } from 'vitest'

import { columns, type StagedWrite, type Store, t, table } from '../../../bindings/index.ts'
import { FP, rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

async function nightly(store: Store, o: { rows?: readonly number[]; chunks?: boolean; key?: string } = {}): Promise<StagedWrite> {
  const write = await store.stage({ idempotencyKey: o.key ?? 'nightly' })
  const rows = o.rows ?? [1, 2, 3]
  if (o.chunks === true)
    await write.append(
      notes,
      (async function* () {
        for (const at of rows) yield [note(at)]
      })(),
    )
  else await write.append(notes, columns({ at: Int32Array.from(rows), text: rows.map(() => 'n') }))
  await write.delete(items, [7])
  return write
}

describe('an idempotency key of a staged write', () => {
  it('published before, with the same request in other pieces: the first result, and no rows twice', async () => {
    const place = await Place.open()
    const first = await (await nightly(place.store)).publish()
    expect(first.replayed).toBe(false)
    for (const chunks of [false, true]) {
      const again = await nightly(place.store, { chunks })
      expect(await again.publish()).toMatchObject({ lsn: first.lsn, writeId: first.writeId, rows: 3, replayed: true })
      expect(await again.publish()).toMatchObject({ replayed: true })
      expect(await place.store.outcome(again.id)).toBe('rolledBack')
      expect(await again.seal()).toBe(first.lsn)
    }
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '3:n'])
    expect(await place.staging()).toEqual([])
  })

  it.each<readonly [string, (store: Store) => Promise<StagedWrite>]>([
    ['other rows', (store) => nightly(store, { rows: [1, 2, 4] })],
    ['rows in another order', (store) => nightly(store, { rows: [3, 2, 1] })],
    [
      'one call more',
      async (store) => {
        const write = await nightly(store)
        await write.append(items, item(9))
        return write
      },
    ],
  ])('with another request (%s): IdempotencyMismatchError, and nothing of it', async (_name, stage) => {
    const place = await Place.open()
    await (await nightly(place.store)).publish()
    const write = await stage(place.store)
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.idempotency-mismatch', key: 'nightly' })
    expect(write.state).toBe('rolledBack')
    expect(await place.staging()).toEqual([])
    expect(await contents(place.store)).toEqual({ items: [], notes: ['1:n', '2:n', '3:n'] })
  })

  it('sealed, its publish under way: a second one waits, and replays what is published', async () => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const second = await nightly(place.store)
    using meeting = rendezvous(place.sim.world, FP.publish.beforeAppend)
    const publishing = first.publish()
    await meeting.reached()
    let settled = false
    const waiting = second.publish().finally(() => (settled = true))
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(false)
    meeting.release()
    const { lsn } = await publishing
    expect(await waiting).toMatchObject({ lsn, replayed: true })
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '3:n'])
  })

  it('sealed and rolled back: the second one goes on with its own rows', async () => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const second = await nightly(place.store)
    const rolling = first.rollback()
    const waiting = second.publish()
    await rolling
    expect(await waiting).toMatchObject({ writeId: second.id, replayed: false })
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '3:n'])
  })

  it('sealed by a write of another call: that one waits, and a signal ends the wait', async () => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const abort = new AbortController()
    using meeting = rendezvous(place.sim.world, FP.publish.beforeAppend)
    const publishing = first.publish()
    await meeting.reached()
    const waiting = place.store.append(notes, note(9), { idempotencyKey: 'nightly', signal: abort.signal })
    const other = place.store.append(notes, note(9), { idempotencyKey: 'nightly' })
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    meeting.release()
    await publishing
    await expect(other).rejects.toMatchObject({ code: 'write.idempotency-mismatch' })
    // Another key waits for nobody.
    await place.store.append(notes, note(8), { idempotencyKey: 'else' })
    expect((await contents(place.store)).notes).toEqual(['1:n', '2:n', '3:n', '8:n'])
  })

  it.each([false, true])('held by a sealed write that nobody works on (its process killed: %s): PendingIntentError at once, which names it', async (killed) => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const store = killed ? await place.kill() : place.store
    const refused = { code: 'write.pending-intent', writeIds: [first.id], retryable: true, hint: expect.stringContaining(`store.resume('${first.id}')`) }
    await expect(store.append(notes, note(9), { idempotencyKey: 'nightly' })).rejects.toMatchObject(refused)
    await expect(store.transact((tx) => tx.append(notes, note(9)), { idempotencyKey: 'nightly' })).rejects.toMatchObject(refused)
    const second = await nightly(store)
    await expect(second.publish()).rejects.toMatchObject(refused)
    expect(second.state).toBe('staged')
    // Its rows are still there: it goes on once the first one is decided.
    await (await store.resume(first.id)).rollback()
    expect(await second.publish()).toMatchObject({ writeId: second.id, replayed: false })
    expect((await contents(store)).notes).toEqual(['1:n', '2:n', '3:n'])
  })

  it('waited for, whose publish ends in a conflict: PendingIntentError, not a wait without an end', async () => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const second = await nightly(place.store)
    await place.store.append(items, item(7))
    using meeting = rendezvous(place.sim.world, FP.promote.before)
    const publishing = first.publish().catch((error: unknown) => error)
    await meeting.reached()
    const waiting = second.publish().catch((error: unknown) => error)
    meeting.release()
    expect(await publishing).toMatchObject({ code: 'write.conflict' })
    expect(await waiting).toMatchObject({ code: 'write.pending-intent', writeIds: [first.id] })
  })

  it('outlives the process: sealed, killed, published by resume, then retried', async () => {
    const place = await Place.open()
    const first = await nightly(place.store)
    await first.seal()
    const store = await place.kill()
    const { lsn } = await (await store.resume(first.id)).publish()
    const later = await place.kill()
    const again = await nightly(later)
    expect(await again.publish()).toMatchObject({ lsn, writeId: first.id, replayed: true })
    expect((await contents(later)).notes).toEqual(['1:n', '2:n', '3:n'])
  })
})

describe('limits of a write', () => {
  it('1,024 tables, and no more: refused before anything is on disk', async () => {
    const place = await Place.open()
    const tables = Array.from({ length: 1025 }, (_, i) => table(`t${i}`, { a: t.int32() }))
    await place.store.create(...tables)
    const calls = place.files.calls.length
    const write = await place.store.stage()
    // Nothing but the names: no rows, so nothing is cut and nothing has a file.
    for (const one of tables.slice(0, 1024)) await write.append(one, [])
    await expect(write.append(tables[1024]!, [{ a: 1 }])).rejects.toMatchObject({ code: 'options.limit', asked: 1025 })
    const names = place.files.calls.slice(calls).map(({ path, to }) => `${path} ${to ?? ''}`)
    expect(names.filter((name) => /\.(arrow|idx|keys)/.test(name))).toEqual([])
    await write.rollback()
  })
})
