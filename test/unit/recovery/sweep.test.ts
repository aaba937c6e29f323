// What an open does about writes that stopped half-way (recovery.md sections 5 to 7, 16 and 18).
import { describe, expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { failure } from '../store/places.ts'
import { failpoints, FP } from '../../../bindings/testing/index.ts'
import { auditAll, auditOf, contents, damage, items, notes, Place } from './forge.ts'

describe('folders of staging/ without an object', () => {
  const EMPTY = '01JD3Q0V6W2M5K8YB1ZC4E7N9T'
  const leave = (place: Place): void => {
    for (const id of [EMPTY, '01JD3Q0V6W2M5K8YB1ZC4E7N9V']) place.files.mkdirSync(`/data/store/staging/${id}`)
  }
  const folders = async (place: Place): Promise<string[]> => (await place.files.readdir('/data/store/staging')).map(({ name }) => name)

  it('go with an open that had something to decide; held writes stay; one that had nothing reads nothing more', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ mode: 'hold', rows: [1] })
    await place.armed()
    leave(place)
    await place.killed()
    expect(await folders(place)).toEqual([id])
    const write = await place.store.resume(id as never)
    await write.publish()
    expect((await contents(place.store)).notes).toEqual([1])
    leave(place)
    await place.close()
    await place.start()
    expect(await folders(place)).toHaveLength(2)
    expect(place.root.calls.filter(({ name }) => name.startsWith('staging')).map(({ method }) => method)).toEqual(['list'])
  })

  it('go with a repair that has something to do', async () => {
    const place = await Place.open()
    const { id } = await place.armed()
    await damage(place.root, `staging/${id}/INTENT`)
    leave(place)
    place.kill()
    const { actions } = await Store.repair(place.root, { confirm: true, world: place.world })
    expect(actions).toMatchObject([{ kind: 'quarantine-intent', done: true }])
    expect(await folders(place)).toEqual([])
  })
})

describe('an open', () => {
  it('of a clean store reads nothing under staging/ beyond one list', async () => {
    const place = await Place.open()
    await place.store.append(notes, { at: 1, text: 'x' })
    await place.close()
    await place.start()
    expect(place.root.calls.filter(({ name }) => name.startsWith('staging')).map(({ method }) => method)).toEqual(['list'])
  })

  it('rolls back an armed write whose owner is gone (d6): files gone, one audit row, a second open changes nothing', async () => {
    const place = await Place.open()
    const { id } = await place.armed({ author: 'nightly' })
    expect((await place.staging()).length).toBe(2)
    const store = await place.killed()
    expect(await place.staging()).toEqual([])
    expect(await store.outcome(id as never)).toBe('rolledBack')
    expect(await auditOf(store, id)).toMatchObject([
      {
        kind: 'rolledBack',
        by: 'varve:recovery',
        for: 'nightly',
        reason: 'unsealed',
        tables: ['notes'],
        outcomes: [{ table: 'notes', op: 'append', outcome: 'rolledBack' }],
      },
    ])
    expect(await contents(store)).toEqual({ items: [], notes: [] })
    await place.close()
    const before = await place.names('')
    const again = await place.start()
    expect(await auditOf(again, id)).toHaveLength(1)
    await again.close()
    expect((await place.names('')).filter((name) => !name.startsWith('log/') && !name.startsWith('LOCK'))).toEqual(
      before.filter((name) => !name.startsWith('log/') && !name.startsWith('LOCK')),
    )
  })

  it('rolls a sealed automatic write forward (d11): rows there, files promoted, one audit row', async () => {
    const place = await Place.open()
    await place.store.append(notes, { at: 9, text: 'x' })
    await place.store.upsert(items, { id: 2, v: 'old' })
    const one = await place.sealed({ rows: [1, 2], author: 'loader' })
    const two = await place.sealed({ table: items, rows: [2, 3] })
    const store = await place.killed()
    expect(await contents(store)).toEqual({ items: ['2:v2', '3:v3'], notes: [1, 2, 9] })
    expect(await place.staging()).toEqual([])
    expect(await store.outcome(one.id as never)).toBe('published')
    expect(await auditOf(store, one.id)).toMatchObject([
      { kind: 'rolledForward', by: 'varve:recovery', for: 'loader', outcomes: [{ table: 'notes', outcome: 'published' }] },
    ])
    expect(await auditOf(store, two.id)).toMatchObject([{ kind: 'rolledForward' }])
    expect(await contents(await place.killed())).toEqual({ items: ['2:v2', '3:v3'], notes: [1, 2, 9] })
    expect(await auditOf(place.store, one.id)).toHaveLength(1)
  })

  it('rolls forward what is promoted in part, and what has lost its staged files after promotion', async () => {
    const place = await Place.open()
    const one = await place.sealed({ table: items, rows: [1] })
    const two = await place.sealed({ rows: [7] })
    const { root } = place
    const staged = one.files.find((name) => name.endsWith('.arrow'))!
    const digest = staged.slice(-70, -6)
    await root.link(staged, `fragments/${digest.slice(0, 2)}/${digest}.arrow`)
    const other = two.files[0]!.slice(-70, -6)
    await root.link(two.files[0]!, `fragments/${other.slice(0, 2)}/${other}.arrow`)
    await root.delete(two.files[0]!)
    expect(await contents(await place.killed())).toEqual({ items: ['1:v1'], notes: [7] })
  })

  it.each(['flip', 'truncate', 'delete'] as const)(
    'rolls back an automatic write with a damaged file (%s, d7) and keeps the bytes in quarantine',
    async (how) => {
      const place = await Place.open()
      const { id, files } = await place.sealed()
      await damage(place.root, files[0]!, how)
      const store = await place.killed()
      expect(await auditOf(store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'damaged' }])
      expect(await contents(store)).toEqual({ items: [], notes: [] })
      expect(await place.staging()).toEqual([])
      expect((await place.names('quarantine/')).length).toBe(how === 'delete' ? 0 : 1)
      await store.append(notes, { at: 1, text: 'x' })
    },
  )

  describe.each(['delete', 'flip', 'truncate'] as const)('with a write whose file of keys is damaged (%s), under a newer table', (how) => {
    const lost = async (mode: 'auto' | 'hold'): Promise<{ place: Place; id: string; keys: string }> => {
      const place = await Place.open()
      const { id, files } = await place.sealed({ table: items, rows: [1], mode })
      await place.store.upsert(items, { id: 5, v: 'other' })
      const keys = files.find((name) => name.endsWith('.keys'))!
      await damage(place.root, keys, how)
      return { place, id, keys }
    }

    it('automatic: rolled back (d7)', async () => {
      const { place, id } = await lost('auto')
      const reader = await place.reader()
      expect(await reader.staged()).toEqual([])
      await reader.close()
      const store = await place.killed()
      expect(await auditOf(store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'damaged' }])
      expect(await contents(store)).toEqual({ items: ['5:other'], notes: [] })
      expect(await place.staging()).toEqual([])
    })

    it('held: the store opens and writes, staged() and pending() tell it (d8), publish() refuses, a roll-back works', async () => {
      const { place, id, keys } = await lost('hold')
      const store = await place.killed()
      await store.append(notes, { at: 1, text: 'x' })
      const [first, ...others] = await store.pending()
      expect(others).toEqual([])
      expect(first).toMatchObject({ writeId: id, decision: { kind: 'refuse', rule: 'd8', reason: 'DamagedStagedWriteError' } })
      expect(first!.decision.evidence[0]).toMatchObject({ rule: how === 'delete' ? 'p3' : 'p4', table: 'items', files: [keys] })
      expect((await store.staged()).map(({ writeId }) => writeId)).toEqual([id])
      const write = await store.resume(id as never)
      await expect(write.publish()).rejects.toMatchObject({ code: 'write.damaged' })
      await write.rollback()
      expect(await store.outcome(id as never)).toBe('rolledBack')
      expect(await place.staging()).toEqual([])
    })
  })

  it('copies a damaged promoted file to quarantine and leaves it where it is', async () => {
    const place = await Place.open()
    const { files } = await place.sealed()
    const digest = files[0]!.slice(-70, -6)
    const target = `fragments/${digest.slice(0, 2)}/${digest}.arrow`
    const { bytes } = await place.root.get(files[0]!)
    await place.root.put(target, bytes.slice(0, 10))
    await place.root.delete(files[0]!)
    await place.killed()
    expect(await place.names('fragments/')).toEqual([target])
    expect(await place.names('quarantine/')).toHaveLength(1)
  })

  it('rolls back what conflicts (d10): another write of its keys, another version of its table, its table gone', async () => {
    const place = await Place.open()
    await place.store.upsert(items, { id: 5, v: 'old' })
    const keys = await place.sealed({ table: items, rows: [1, 5] })
    const free = await place.sealed({ table: items, rows: [6] })
    const exact = await place.sealed({ kind: 'replace', rule: 'exact' })
    const gone = await place.sealed({ alter: (intent) => ({ ...intent, participants: intent.participants.map((each) => ({ ...each, incarnation: 1 })) }) })
    await place.store.upsert(items, { id: 5, v: 'new' })
    await place.store.append(notes, { at: 4, text: 'x' })
    const store = await place.killed()
    expect(await contents(store)).toEqual({ items: ['5:new', '6:v6'], notes: [4] })
    for (const { id } of [keys, exact, gone]) expect(await auditOf(store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'conflict' }])
    expect(await auditOf(store, free.id)).toMatchObject([{ kind: 'rolledForward' }])
  })

  it('keeps a held write over any number of opens (d12), and rolls it back past its term by the clock of whoever opens', async () => {
    const place = await Place.open()
    const kept = await place.sealed({ mode: 'hold', rows: [1] })
    const due = await place.sealed({ mode: 'hold', rows: [2], holdUntil: new Date(1_700_000_000_000 + 2_500_000) })
    const ids: string[][] = []
    // Each process starts 1,000 s after the one before; nothing is written.
    for (let i = 0; i < 3; i++) {
      const store = await place.killed()
      ids.push((await store.staged()).map(({ writeId }) => writeId))
      expect((await store.pending()).map(({ writeId, state, decision }) => [writeId, state, decision.kind])).toContainEqual([kept.id, 'sealed', 'keep'])
      expect(await contents(store)).toEqual({ items: [], notes: [] })
    }
    expect(ids).toEqual([[kept.id, due.id], [kept.id], [kept.id]])
    expect(await auditOf(place.store, due.id)).toMatchObject([{ kind: 'rolledBack', reason: 'expired' }])
    expect(await auditOf(place.store, kept.id)).toEqual([])
  })

  it('takes the newest record where its clock has stepped back behind it', async () => {
    const place = await Place.open()
    place.sim.tick(5_000_000)
    const { id } = await place.sealed({ mode: 'hold', rows: [1], holdUntil: new Date(1_700_000_000_000 + 3_000_000) })
    const store = await place.killed()
    expect(place.world.clock.nowMs()).toBeLessThan(1_700_000_000_000 + 3_000_000)
    expect(await auditOf(store, id)).toMatchObject([{ kind: 'rolledBack', reason: 'expired' }])
  })

  it('leaves a held write with a damaged file to its user (d8): the store opens', async () => {
    const place = await Place.open()
    const { id, files } = await place.sealed({ mode: 'hold' })
    await damage(place.root, files[0]!)
    const store = await place.killed()
    expect(await store.pending()).toMatchObject([{ writeId: id, state: 'sealed', decision: { kind: 'refuse', reason: 'DamagedStagedWriteError', rule: 'd8' } }])
    await store.append(notes, { at: 1, text: 'x' })
  })

  it('discards a write on a branch that is gone (d4), on main, once, also when its files cannot be deleted the first time', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ alter: (intent) => ({ ...intent, branch: 'feature', branchId: '01JD0000000000000000000000' }) })
    place.kill()
    place.root.plan(({ method, name }) => ((method === 'delete' || method === 'deletePrefix') && name.startsWith('staging/') ? { error: 'io' } : undefined))
    const store = await place.start()
    place.root.plan(undefined)
    expect(await auditOf(store, id)).toMatchObject([{ kind: 'orphanDiscarded', reason: 'branch-deleted', outcomes: [{ outcome: 'discarded' }] }])
    expect((await place.staging()).length).toBeGreaterThan(0)
    await store.append(notes, { at: 1, text: 'x' })
    const again = await place.killed()
    expect(await place.staging()).toEqual([])
    expect(await auditOf(again, id)).toHaveLength(1)
    expect(await contents(again)).toEqual({ items: [], notes: [1] })
  })

  it('refuses for a table older than the write expects (d3), and keeps everything', async () => {
    const place = await Place.open()
    const { id } = await place.armed({
      alter: (intent) => ({ ...intent, participants: intent.participants.map((each) => ({ ...each, expectedVersion: '999' })) }),
    })
    await place.close()
    const before = await place.staging()
    const error = await failure(() => place.start())
    expect(error).toMatchObject({ name: 'InvariantError' })
    expect(error.message).toContain(id)
    expect(await place.staging()).toEqual(before)
  })
})

describe('given an armed write older than the outcomes that are kept', () => {
  it('is retired without a record (d2\u2032): a rollback could contradict a publish', async () => {
    const place = await Place.open()
    const { id } = await place.armed()
    // Stands for 7 days and 100,000 records.
    place.engine.parts.state.catalog.outcomes.floor = 1000
    await place.store.upsert(items, { id: 1, v: 'x' })
    await place.store.flush()
    const store = await place.killed()
    expect(await place.staging()).toEqual([])
    expect(await auditOf(store, id)).toEqual([])
    expect(await store.outcome(id as never)).toBe('unknown')
  })

  it('its owner is refused (FencedError, scope write), and so is a roll-back', async () => {
    const place = await Place.open()
    const { seal, id } = await place.armed()
    place.engine.parts.state.catalog.outcomes.floor = 1000
    expect(await failure(seal)).toMatchObject({ name: 'FencedError', scope: 'write' })
    const { ulidBytes } = await import('../../../bindings/runtime/index.ts')
    const back = async (): Promise<unknown> => place.engine.parts.committer.rollback({ writeId: ulidBytes(id), sealLsn: 0, reason: 'r' }, 1)
    expect(await failure(back)).toMatchObject({ name: 'FencedError', scope: 'write' })
  })
})

describe('given an INTENT that cannot be read', () => {
  const bodies: readonly (readonly [string, (bytes: Uint8Array) => Uint8Array, string])[] = [
    ['truncated', (bytes) => bytes.slice(0, bytes.length - 9), 'CorruptIntentError'],
    ['empty', () => new Uint8Array(0), 'CorruptIntentError'],
    ['with a flipped bit', (bytes) => bytes.map((byte, i) => (i === 40 ? byte ^ 4 : byte)), 'CorruptIntentError'],
    ['of a newer engine', () => new TextEncoder().encode('{"schemaVersion":2}'), 'IntentVersionError'],
  ]
  it.each(bodies)('%s: a read-write open rejects naming the file, a reader opens and shows it, nothing changes', async (_what, body, name) => {
    const place = await Place.open()
    const { id } = await place.armed()
    const path = `staging/${id}/INTENT`
    await place.root.put(path, body((await place.root.get(path)).bytes))
    await place.close()
    const before = await place.tree()
    const reader = await place.reader()
    expect(await reader.pending()).toMatchObject([{ writeId: id, state: 'unreadable', decision: { kind: 'refuse', reason: name } }])
    await reader.close()
    expect(await place.tree()).toEqual(before)
    const error = await failure(() => place.start())
    expect(error).toMatchObject({ name })
    expect(error.message).toContain(path)
    expect((await place.tree()).get(path)).toBe(before.get(path))
    // Not a lasting harm: with the file out of the way the store opens.
    await place.root.deletePrefix(`staging/${id}`)
    place.kill()
    await place.start()
  })

  it('and a seal of the same write, the seal decides, and it is told', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ rows: [4] })
    await place.root.put(`staging/${id}/INTENT`, new Uint8Array([1, 2, 3]))
    const store = await place.killed()
    const shadowed: unknown[] = []
    store.on('intentShadowed', (event) => shadowed.push(event))
    const recovered: unknown[] = []
    store.on('recovered', (event) => recovered.push(event))
    await Promise.resolve()
    expect(shadowed).toEqual([{ writeId: id, path: `staging/${id}/INTENT` }])
    expect(recovered).toEqual([{ writeId: id, decision: 'rolledForward' }])
    expect((await contents(store)).notes).toEqual([4])
    expect(await place.staging()).toEqual([])
  })

  it('and an outcome in the log, it is a leftover and goes', async () => {
    const place = await Place.open()
    const { id } = await place.armed()
    place.kill()
    place.root.plan(({ method, name }) => ((method === 'delete' || method === 'deletePrefix') && name.startsWith('staging/') ? { error: 'io' } : undefined))
    await place.start()
    place.root.plan(undefined)
    await place.root.put(`staging/${id}/INTENT`, new Uint8Array([9]))
    const store = await place.killed()
    expect(await place.staging()).toEqual([])
    expect(await auditOf(store, id)).toHaveLength(1)
  })

  it('because it names another write or disagrees with its seal, the open rejects', async () => {
    const place = await Place.open()
    const one = await place.armed()
    const two = await place.sealed()
    const bytes = (await place.root.get(`staging/${one.id}/INTENT`)).bytes
    await place.close()
    await place.root.put(`staging/${two.id}/INTENT`, bytes)
    await place.root.deletePrefix(`staging/${one.id}`)
    // The seal decides over what cannot be its INTENT at all.
    const store = await place.start()
    expect((await auditAll(store)).find(({ writeId, kind }) => writeId === two.id && kind !== 'seal')).toMatchObject({ kind: 'rolledForward' })
    const three = await place.sealed({ alter: (intent) => ({ ...intent, baseLsn: intent.participants[0]!.files.length === 0 ? intent.baseLsn : '1' }) })
    await place.close()
    expect(await failure(() => place.start())).toMatchObject({ name: 'IntentMismatchError', path: `staging/${three.id}/INTENT` })
  })
})

describe('storage faults of a sweep', () => {
  it.each(['io', 'permission', 'unavailable'] as const)('the list fails (%s): the open rejects, nothing changes, the next one does it', async (error) => {
    const place = await Place.open()
    const { id } = await place.armed()
    place.kill()
    const before = await place.staging()
    place.root.plan(({ method, name }) => (method === 'list' && name.startsWith('staging') ? { error } : undefined))
    expect(await failure(() => place.start())).toMatchObject({ name: 'StorageError', class: error })
    expect(await place.staging()).toEqual(before)
    place.root.plan(undefined)
    const store = await place.start()
    expect(await auditOf(store, id)).toHaveLength(1)
  })

  it.each(['io', 'permission'] as const)('an INTENT cannot be read for another reason than absence (%s): the open rejects', async (error) => {
    const place = await Place.open()
    const { id } = await place.armed()
    place.kill()
    place.root.plan(({ method, name }) => (method === 'get' && name.endsWith('INTENT') ? { error } : undefined))
    const thrown = await failure(() => place.start())
    expect(thrown).toMatchObject({ name: 'StorageError', class: error })
    expect(thrown.message).toContain(id)
    place.root.plan(undefined)
    await place.start()
    expect(await auditOf(place.store, id)).toHaveLength(1)
  })

  it('an INTENT gone after it was listed: what else is there, a late LEASE of a fenced owner or keys, is deleted', async () => {
    const place = await Place.open()
    const decided = await place.armed()
    await place.killed()
    await place.root.put(`staging/${decided.id}/LEASE`, new Uint8Array([1]))
    await place.root.put(`staging/01JD0000000000000000000000/${'a'.repeat(64)}.keys`, new Uint8Array([1]))
    const left = await place.armed()
    await place.close()
    await place.root.delete(`staging/${left.id}/INTENT`)
    const store = await place.start()
    expect(await place.staging()).toEqual([])
    expect(await auditOf(store, decided.id)).toHaveLength(1)
    expect(await auditOf(store, left.id)).toEqual([])
  })

  it('a list that misses entries: a seal is found by the fold, an armed one by a later sweep', async () => {
    const place = await Place.open()
    const sealed = await place.sealed({ rows: [3] })
    const armed = await place.armed()
    place.kill()
    using hidden = failpoints(place.world).arm(FP.intent.list, { mayMiss: true })
    const { inner } = place.root
    const list = inner.list.bind(inner)
    inner.list = (prefix, o) => (prefix === 'staging/' ? empty() : list(prefix, o))
    const store = await place.start()
    inner.list = list
    expect((await contents(store)).notes).toEqual([3])
    expect(await store.outcome(sealed.id as never)).toBe('published')
    expect(hidden.hits).toBe(1)
    const again = await place.killed()
    expect(await again.outcome(armed.id as never)).toBe('rolledBack')
    expect(await place.staging()).toEqual([])
  })

  it('a delete after the rollback fails: the open succeeds, it is told, the next pass retires without a second row', async () => {
    const place = await Place.open()
    const { id } = await place.armed()
    place.kill()
    place.root.plan(({ method, name }) =>
      (method === 'delete' || method === 'deletePrefix') && name.startsWith('staging/') ? { error: 'permission' } : undefined,
    )
    const store = await place.start()
    const told: unknown[] = []
    store.on('retireDeferred', ({ writeId }) => told.push(writeId))
    await Promise.resolve()
    expect(told).toEqual([id])
    place.root.plan(undefined)
    expect((await place.staging()).length).toBeGreaterThan(0)
    expect(await store.pending()).toEqual([])
    const again = await place.killed()
    expect(await place.staging()).toEqual([])
    expect(await auditOf(again, id)).toHaveLength(1)
  })

  it('a delete fails after each k: the next sweep leaves staging empty', async () => {
    for (let k = 1; k <= 4; k++) {
      const place = await Place.open()
      const { id } = await place.armed({ table: items })
      place.kill()
      place.root.failAt(
        k,
        { error: 'io', when: k % 2 === 0 ? 'after' : 'before' },
        ({ method, name }) => method.startsWith('delete') && name.startsWith('staging/'),
      )
      await place.start()
      place.root.plan(undefined)
      const again = await place.killed()
      expect(await place.staging()).toEqual([])
      expect(await auditOf(again, id)).toHaveLength(1)
      await again.close()
    }
  })

  it.each([FP.intent.list, FP.intent.listAfter, FP.intent.read, FP.sweep.afterList, FP.sweep.beforeGates, FP.sweep.beforeRollBack, FP.sweep.afterRollBack])(
    'an error at %s: the open rejects loudly and the next one ends with one outcome, one row',
    async (point) => {
      const place = await Place.open()
      const { id } = await place.armed()
      place.kill()
      {
        using armed = failpoints(place.world).arm(point, { error: 'io', times: 1 })
        expect(await failure(() => place.start())).toMatchObject({ name: 'StorageError' })
        expect(armed.fired).toBe(1)
      }
      const store = await place.start()
      expect(await place.staging()).toEqual([])
      expect(await auditOf(store, id)).toHaveLength(1)
    },
  )

  it.each([FP.sweep.beforeRollForward, FP.sweep.beforeGates, FP.promote.before, FP.publish.beforeAppend])(
    'an error at %s of a roll forward: the next open does it',
    async (point) => {
      const place = await Place.open()
      const { id } = await place.sealed({ rows: [8] })
      place.kill()
      {
        using armed = failpoints(place.world).arm(point, { error: 'io', times: 1 })
        await failure(() => place.start())
        expect(armed.fired).toBe(1)
      }
      const store = await place.start()
      expect((await contents(store)).notes).toEqual([8])
      expect(await auditOf(store, id)).toHaveLength(1)
    },
  )

  it('an error at sweep.beforeDiscard', async () => {
    const place = await Place.open()
    const { id } = await place.armed({ alter: (intent) => ({ ...intent, branchId: '01JD0000000000000000000000' }) })
    place.kill()
    {
      using armed = failpoints(place.world).arm(FP.sweep.beforeDiscard, { error: 'io', times: 1 })
      await failure(() => place.start())
      expect(armed.fired).toBe(1)
    }
    expect(await auditOf(await place.start(), id)).toMatchObject([{ kind: 'orphanDiscarded' }])
  })
})

describe('a crash inside the sweep', () => {
  const points = [
    FP.intent.listAfter,
    FP.sweep.afterList,
    FP.sweep.beforeGates,
    FP.sweep.beforeRollBack,
    FP.sweep.afterRollBack,
    FP.sweep.beforeRollForward,
    FP.promote.after,
    FP.publish.afterAppend,
    FP.retire.before,
    FP.retire.betweenFiles,
    FP.retire.after,
  ]
  it.each(points.flatMap((point) => [1, 2].map((seed) => [point, seed] as const)))(
    'at %s, unsynced effects dropped by seed %i: the next open ends the same',
    async (point, seed) => {
      const place = await Place.open()
      const armed = await place.armed({ table: items })
      const sealed = await place.sealed({ rows: [1] })
      place.kill()
      const point_ = failpoints(place.world).arm(point, { crash: true })
      const dying = place.start()
      dying.catch(() => undefined)
      await point_.reached()
      place.files = place.files.crash(seed)
      place.next()
      ;(place as unknown as { prepared: boolean }).prepared = true
      const store = await place.start()
      expect(await contents(store)).toEqual({ items: [], notes: [1] })
      expect(await place.staging()).toEqual([])
      expect(await auditOf(store, armed.id)).toMatchObject([{ kind: 'rolledBack' }])
      expect(await auditOf(store, sealed.id)).toMatchObject([{ kind: 'rolledForward' }])
    },
  )
})

describe('a power cut after a sweep under durability buffered', () => {
  it.each([1, 2, 3, 4, 5, 6])('leaves no pending write without its files, seed %i', async (seed) => {
    const place = await Place.open({ durability: 'buffered', bufferedSyncMs: 60_000 })
    const sealed = await place.sealed({ table: items, rows: [1] })
    const armed = await place.armed()
    await place.store.sync()
    await place.killed({ durability: 'buffered', bufferedSyncMs: 60_000 })
    expect(await place.staging()).toEqual([])
    place.crashed(seed)
    const store = await place.start()
    expect((await contents(store)).items).toEqual(['1:v1'])
    expect(await auditOf(store, sealed.id)).toMatchObject([{ kind: 'rolledForward' }])
    expect(await auditOf(store, armed.id)).toMatchObject([{ kind: 'rolledBack' }])
  })
})

async function* empty(): AsyncGenerator<never, undefined> {}
