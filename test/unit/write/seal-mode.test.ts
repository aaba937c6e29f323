// Loads under both seal modes: the same outcomes, another number of records; what a crash or an error between seal and publish leaves (recovery.md section 2).
import { describe, expect, it } from 'vitest'

import { columns, type CommitResult } from '../../../bindings/index.ts'
import { failpoints, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { collect } from '../store/places.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

const batch = (from: number, count: number, v = 'bulk') =>
  columns({ id: Int32Array.from({ length: count }, (_, i) => from + i), v: Array.from({ length: count }, () => v) })
const log = (from: number, count: number) =>
  columns({ at: Int32Array.from({ length: count }, (_, i) => from + i), text: Array.from({ length: count }, () => 'n') })
const texts = (from: number, to: number, v = 'bulk'): string[] => Array.from({ length: to - from }, (_, i) => `${from + i}:${v}`)

describe.each(['fused', 'separate'] as const)('a load, sealMode %s', (sealMode) => {
  const open = async (): Promise<Place> => {
    const at = await Place.open({ sealMode, inlineLimitBytes: 0 })
    await at.store.upsert(items, [item(1), item(2), item(3)])
    return at
  }

  it('is one commit of its rows, whatever it does, and leaves no directory', async () => {
    const at = await open()
    const { store } = at
    const results: CommitResult[] = []
    results.push(await store.append(items, batch(10, 5)))
    results.push(await store.upsert(items, batch(3, 3, 'up')))
    results.push(await store.append(notes, log(0, 4)))
    expect(results.map(({ rows, replayed }) => [rows, replayed])).toEqual([
      [5, false],
      [3, false],
      [4, false],
    ])
    expect(await contents(store)).toEqual({ items: ['1:x', '2:x', '3:up', '4:up', '5:up', ...texts(10, 15)], notes: ['0:n', '1:n', '2:n', '3:n'] })
    const replaced = await store.replace(items, batch(100, 2))
    expect(replaced.rows).toBe(2 + 10)
    expect((await contents(store)).items).toEqual(texts(100, 102))
    for (const { writeId } of [...results, replaced]) expect(await store.outcome(writeId)).toBe('published')
    expect(await at.staging()).toEqual([])
    const kinds = (await collect(store.audit())).filter(({ writeId }) => writeId === replaced.writeId).map(({ kind }) => kind)
    expect(kinds).toEqual(sealMode === 'fused' ? ['commit'] : ['seal', 'publish'])
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    await at.kill()
    expect((await contents(at.store)).items).toEqual(texts(100, 102))
  })

  it('refuses what is there, and repeated keys', async () => {
    const { store } = await open()
    await expect(store.append(items, batch(2, 5))).rejects.toMatchObject({ code: 'write.duplicate-key' })
    await expect(store.append(items, columns({ id: Int32Array.of(7, 7), v: ['a', 'b'] }))).rejects.toMatchObject({ code: 'write.duplicate-key' })
    expect(await store.upsert(items, columns({ id: Int32Array.of(7, 7), v: ['a', 'b'] }))).toMatchObject({ rows: 1 })
    expect((await contents(store)).items).toEqual(['1:x', '2:x', '3:x', '7:b'])
  })

  it('an upsert comes after what was written while it was prepared; an append of such a key is a conflict', async () => {
    const at = await Place.open({ sealMode })
    const { store } = at
    await store.append(items, [item(1), item(2)])
    const big = (from: number): ReturnType<typeof batch> => batch(from, 20_000)
    {
      using parked = rendezvous(at.sim.world, FP.promote.after)
      const loading = store.upsert(items, big(0))
      await parked.reached()
      await store.upsert(items, [item(1, 'meanwhile'), item(50_000, 'meanwhile')])
      await store.delete(items, 2)
      await store.append(items, item(90_000, 'meanwhile'))
      parked.release()
      await loading
    }
    expect(await store.get(items, 1)).toEqual(item(1, 'bulk'))
    expect(await store.get(items, 2)).toEqual(item(2, 'bulk'))
    expect(await store.scan(items).count()).toBe(20_002)
    {
      using parked = rendezvous(at.sim.world, FP.promote.after)
      const loading = store.append(items, big(100_000))
      loading.catch(() => undefined)
      await parked.reached()
      await store.append(items, item(100_007, 'meanwhile'))
      parked.release()
      await expect(loading).rejects.toMatchObject({ code: 'write.conflict', table: 'items', keys: [{ id: 100_007 }] })
    }
    expect(await at.staging()).toEqual([])
    expect(await store.scan(items).count()).toBe(20_003)
    expect((await store.stats()).pending).toBe(0)
  })

  it('under an idempotency key it happens once, in either mode, also after the process died', async () => {
    const at = await open()
    const first = await at.store.append(notes, log(0, 50), { idempotencyKey: 'job' })
    expect(await at.store.append(notes, log(0, 50), { idempotencyKey: 'job' })).toMatchObject({ lsn: first.lsn, replayed: true })
    await expect(at.store.append(notes, log(1, 50), { idempotencyKey: 'job' })).rejects.toMatchObject({ code: 'write.idempotency-mismatch' })
    const other = sealMode === 'fused' ? 'separate' : 'fused'
    const store = await at.kill({ sealMode: other })
    expect(await store.append(notes, log(0, 50), { idempotencyKey: 'job' })).toMatchObject({ lsn: first.lsn, replayed: true })
    expect(await store.scan(notes).count()).toBe(50)
  })

  it('aborted before its record: nothing', async () => {
    const at = await open()
    const abort = new AbortController()
    using parked = rendezvous(at.sim.world, FP.stage.afterFile)
    const loading = at.store.append(notes, log(0, 50), { signal: abort.signal })
    loading.catch(() => undefined)
    await parked.reached()
    abort.abort(new Error('enough'))
    parked.release()
    await expect(loading).rejects.toThrow('enough')
    expect(await at.staging()).toEqual([])
    expect((await contents(at.store)).notes).toEqual([])
  })
})

describe('a load that is sealed first', () => {
  const open = (): Promise<Place> => Place.open({ sealMode: 'separate', inlineLimitBytes: 0 })

  it.each([
    [FP.stage.afterFile, 'rolledBack'],
    [FP.seal.beforeAppend, 'rolledBack'],
    [FP.seal.afterAppend, 'published'],
    [FP.promote.before, 'published'],
    [FP.promote.betweenFiles, 'published'],
    [FP.promote.after, 'published'],
    [FP.publish.beforeAppend, 'published'],
    [FP.publish.afterAppend, 'published'],
    [FP.retire.before, 'published'],
  ] as const)('killed at %s: the next open makes it %s, with one row of audit, and its key replays', async (point, outcome) => {
    const at = await open()
    await at.store.upsert(items, item(1))
    const armed = failpoints(at.sim.world).arm(point, { crash: true })
    const loading = at.store.upsert(items, batch(0, 40), { idempotencyKey: 'job', author: 'ada' })
    loading.catch(() => undefined)
    await armed.reached()
    const store = await at.kill()
    expect((await contents(store)).items).toEqual(outcome === 'published' ? texts(0, 40) : ['1:x'])
    expect(await at.staging()).toEqual([])
    expect((await store.stats()).pending).toBe(0)
    const decided = (await collect(store.audit())).filter(({ kind }) => kind === 'rolledForward' || kind === 'rolledBack')
    const byRecovery = point !== FP.publish.afterAppend && point !== FP.retire.before
    expect(decided.map(({ kind, by, for: whom }) => [kind, by, whom])).toEqual(
      byRecovery ? [[outcome === 'published' ? 'rolledForward' : 'rolledBack', 'varve:recovery', 'ada']] : [],
    )
    const again = await store.upsert(items, batch(0, 40), { idempotencyKey: 'job' })
    expect(again).toMatchObject({ rows: 40, replayed: outcome === 'published' })
    await at.kill()
    expect((await contents(at.store)).items).toEqual(texts(0, 40))
  })

  it.each([FP.promote.before, FP.promote.after, FP.publish.beforeAppend])(
    'an error at %s: the outcome is unknown, and the next write publishes it',
    async (point) => {
      const at = await open()
      await at.store.upsert(items, item(1))
      const writeId = await failing(at, point)
      expect((await contents(at.store)).items).toEqual(['1:x'])
      expect(await at.store.outcome(writeId)).toBe('pending')
      await at.store.append(notes, note(1))
      expect(await at.store.outcome(writeId)).toBe('published')
      expect(await contents(at.store)).toEqual({ items: texts(0, 40), notes: ['1:n'] })
      expect(await at.staging()).toEqual([])
    },
  )

  it('a fault that passes is tried again', async () => {
    const at = await open()
    using armed = failpoints(at.sim.world).arm(FP.publish.beforeAppend, { error: 'unavailable', times: 3 })
    await at.store.upsert(items, batch(0, 40))
    expect(armed.fired).toBe(3)
    expect((await contents(at.store)).items).toEqual(texts(0, 40))
    expect(await at.staging()).toEqual([])
  })
})

async function failing(at: Place, point: (typeof FP.promote)['before' | 'after'] | (typeof FP.publish)['beforeAppend']): Promise<CommitResult['writeId']> {
  using _armed = failpoints(at.sim.world).arm(point, { error: 'permission', times: 1 })
  const error = await at.store.upsert(items, batch(0, 40)).then(
    () => undefined,
    (thrown: unknown) => thrown as { writeId: CommitResult['writeId'] },
  )
  expect(error).toMatchObject({ code: 'write.outcome-unknown', intentKept: true, retryable: false })
  return error!.writeId
}
