// Who writes nothing: a read-only open, a refresh, pending() (recovery.md sections 7 and 18).
import { describe, expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { contents, damage, items, Place } from './forge.ts'

describe('a read-only open', () => {
  it('with pending, damaged, corrupt and newer intents: opens, writes nothing, and pending() lists each with what a sweep would do', async () => {
    const place = await Place.open()
    const armed = await place.armed()
    const sealed = await place.sealed({ rows: [1] })
    const held = await place.sealed({ mode: 'hold', rows: [2] })
    const broken = await place.sealed({ rows: [3] })
    const corrupt = await place.armed()
    const newer = await place.armed()
    await damage(place.root, broken.files[0]!)
    await damage(place.root, `staging/${corrupt.id}/INTENT`)
    await place.root.put(`staging/${newer.id}/INTENT`, new TextEncoder().encode('{"schemaVersion":9}'))
    place.kill()
    const before = await place.tree()
    const writes = place.root.calls.length
    const reader = await Store.open(place.root, { world: place.world, readOnly: true, threads: 0 })
    const pending = await reader.pending()
    expect(pending.map(({ writeId, state, decision }) => [writeId, state, decision.kind, decision.reason])).toEqual([
      [armed.id, 'armed', 'rollback', 'unsealed'],
      [sealed.id, 'sealed', 'rollForward', undefined],
      [held.id, 'sealed', 'keep', undefined],
      [broken.id, 'sealed', 'rollback', 'damaged'],
      [corrupt.id, 'unreadable', 'refuse', 'CorruptIntentError'],
      [newer.id, 'unreadable', 'refuse', 'IntentVersionError'],
    ])
    expect(JSON.parse(JSON.stringify(pending)), 'plain data').toEqual(pending)
    expect(await contents(reader as Store)).toEqual({ items: [], notes: [] })
    await reader.refresh()
    await reader.close()
    expect(await place.tree()).toEqual(before)
    const kinds = new Set(place.root.calls.slice(writes).map(({ method }) => method))
    expect([...kinds].filter((method) => /put|delete|link|rename|segment\.write|datasync|truncate|syncDir/.test(method))).toEqual([])
  })

  it.each(['.arrow', '.idx', '.keys'])(
    'of a held write with a damaged %s: staged(), pending() and doctor say the same, from a reader and from a writer',
    async (ending) => {
      const place = await Place.open()
      const whole = await place.sealed({ mode: 'hold', rows: [2] })
      const { id, files } = await place.sealed({ mode: 'hold', table: items, rows: [1] })
      await damage(
        place.root,
        files.find((name) => name.endsWith(ending))!,
      )
      const store = await place.killed()
      const reader = await place.reader()
      const doctor = await Store.doctor(place.root, { world: place.world })
      const told = await store.pending()
      expect(told.map(({ writeId, decision }) => [writeId, decision.kind, decision.rule])).toEqual([
        [whole.id, 'keep', 'd12'],
        [id, 'refuse', 'd8'],
      ])
      const decisions = told.map(({ decision }) => decision)
      for (const other of [await store.staged(), await reader.staged(), await reader.pending(), doctor.pending]) {
        expect(other.map(({ decision }) => decision)).toEqual(decisions)
      }
      expect(doctor.ok).toBe(false)
      await reader.close()
    },
  )

  it('beside a live writer: its write is waited for, not rolled back', async () => {
    const place = await Place.open()
    const { id } = await place.armed()
    const reader = await place.reader()
    expect(await reader.pending()).toMatchObject([{ writeId: id, state: 'armed', decision: { kind: 'wait' } }])
    await reader.close()
  })

  it('sees what recovery of another process made of a sealed write', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ table: items, rows: [1, 2] })
    const store = await place.killed()
    const reader = await place.reader()
    await reader.refresh()
    expect(await contents(reader)).toEqual(await contents(store))
    expect(await reader.outcome(id as never)).toBe('published')
    expect(await reader.pending()).toEqual([])
    await reader.close()
  })
})

describe('stats()', () => {
  it('count what is pending and the decisions that came too late', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ mode: 'hold' })
    expect((await place.store.stats()).pending).toBe(1)
    const { committer, state } = place.engine.parts
    const seal = [...state.catalog.outcomes.pending.values()].find(({ intent }) => intent.writeId === id)!
    await committer.rollback({ writeId: seal.writeId, sealLsn: seal.lsn, reason: 'by hand' }, 0)
    const stats = await place.store.stats()
    expect([stats.pending, stats.supersededOutcomes]).toEqual([0, 0])
  })
})
