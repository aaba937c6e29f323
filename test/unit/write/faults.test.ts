// What goes wrong between the first row and the outcome of a staged write: errors, damage, somebody else's decision, a process that ends
// (recovery.md sections 4, 15 and 16).
import { describe, expect, it } from 'vitest'

import type { StagedWrite, Store } from '../../../bindings/index.ts'
import { failpoints, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { rollbackWrite, type Writes } from '../../../bindings/write/index.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

async function staged(store: Store): Promise<StagedWrite> {
  const write = await store.stage()
  await write.upsert(items, [item(1, 'new'), item(2, 'new')])
  await write.append(notes, note(1))
  return write
}

/** As a recovery of another process would. */
function rollBack(store: Store, write: StagedWrite): Promise<number> {
  return rollbackWrite((store as unknown as { writes: Writes }).writes, write.id, 'by another')
}

const BEFORE = { items: ['1:x'], notes: [] }
const AFTER = { items: ['1:new', '2:new'], notes: ['1:n'] }

async function place(): Promise<Place> {
  const at = await Place.open()
  await at.store.append(items, item(1))
  return at
}

describe('an error', () => {
  it('between two fragments of one table: seal rejects with it, nothing is left, and the store goes on', async () => {
    const at = await place()
    const write = await at.store.stage()
    await write.append(items, [item(7, 'new')])
    {
      // An upsert behind an append begins a fragment of its own.
      using _armed = failpoints(at.sim.world).arm(FP.stage.betweenChunks, { error: 'io', times: 1 })
      await write.upsert(items, [item(1, 'new')])
      await expect(write.seal()).rejects.toMatchObject({ code: 'root.io' })
    }
    expect(await contents(at.store)).toEqual(BEFORE)
    expect(at.files.paths().filter((path) => path.includes('/staging/'))).toEqual([])
    await at.store.upsert(items, item(1, 'y'))
  })

  it.each([FP.stage.beforeFile, FP.stage.afterFile, FP.stage.beforeSync, FP.stage.afterSync, FP.seal.beforeAppend])(
    'at %s: seal rejects with it, nothing is left, and the store goes on',
    async (point) => {
      const at = await place()
      const write = await staged(at.store)
      {
        using _armed = failpoints(at.sim.world).arm(point, { error: 'io', times: 1 })
        await expect(write.seal()).rejects.toMatchObject({ code: 'root.io' })
      }
      expect(write.state).toBe('rolledBack')
      expect(await at.staging()).toEqual([])
      expect(await at.store.outcome(write.id)).toBe('rolledBack')
      await expect(write.publish()).rejects.toMatchObject({ code: 'write.closed' })
      const again = await staged(at.store)
      await again.publish()
      expect(await contents(at.store)).toEqual(AFTER)
    },
  )

  it('at the INTENT: the call rejects with it, nothing is there, and another write may begin', async () => {
    const at = await place()
    const write = await at.store.stage()
    {
      using _armed = failpoints(at.sim.world).arm(FP.intent.write, { error: 'io', times: 1 })
      await expect(write.append(notes, note(1))).rejects.toMatchObject({ code: 'root.io' })
    }
    expect(write.state).toBe('rolledBack')
    expect(await at.staging()).toEqual([])
    const { rows } = await (await staged(at.store)).publish()
    expect(rows).toBe(3)
  })

  it.each([FP.promote.before, FP.promote.betweenFiles, FP.promote.after, FP.publish.afterAdmit, FP.publish.beforeAppend])(
    'at %s: publish rejects with it, the write stays sealed, and publish can be called again',
    async (point) => {
      const at = await place()
      const write = await staged(at.store)
      await write.seal()
      {
        using _armed = failpoints(at.sim.world).arm(point, { error: 'io', times: 1 })
        await expect(write.publish()).rejects.toMatchObject({ code: 'root.io' })
      }
      expect(write.state).toBe('sealed')
      expect(await at.store.outcome(write.id)).toBe('pending')
      expect(await contents(at.store)).toEqual(BEFORE)
      await write.publish()
      expect(await contents(at.store)).toEqual(AFTER)
      expect(await at.staging()).toEqual([])
    },
  )

  it('while the directory is removed: publish resolves, an event tells, the next open removes it', async () => {
    const at = await place()
    const events: unknown[] = []
    using _sub = at.store.on('retireDeferred', (event) => events.push(event.writeId))
    const write = await staged(at.store)
    {
      using _armed = failpoints(at.sim.world).arm(FP.retire.before, { error: 'io', times: 1 })
      await write.publish()
    }
    expect(events).toEqual([write.id])
    expect(await contents(at.store)).toEqual(AFTER)
    expect(await at.staging()).not.toEqual([])
    const store = await at.kill()
    expect(await at.staging()).toEqual([])
    expect(await contents(store)).toEqual(AFTER)
    const decided = []
    for await (const row of store.audit()) if (row.writeId === write.id && row.kind !== 'seal') decided.push(row.kind)
    expect(decided).toEqual(['publish'])
  })
})

describe('damage of staged files', () => {
  const damage = async (at: Place): Promise<void> => {
    for (const name of await at.staging()) {
      if (!name.endsWith('.arrow')) continue
      const handle = await at.files.open(`/data/store/staging/${name}`, 'r+')
      const stat = await handle.stat()
      await handle.truncate(stat.size - 9)
      await handle.close()
    }
  }

  it('before the seal: CorruptionError, nothing is left', async () => {
    const at = await place()
    const write = await staged(at.store)
    using parked = rendezvous(at.sim.world, FP.stage.afterFile, { when: ({ ext }) => ext === 'arrow' })
    const sealing = write.seal()
    sealing.catch(() => undefined)
    await parked.reached()
    await damage(at)
    parked.release()
    await expect(sealing).rejects.toMatchObject({ code: 'staged.corrupt', file: expect.stringContaining(`staging/${write.id}/`) })
    expect(write.state).toBe('rolledBack')
    expect(await at.staging()).toEqual([])
    expect(await contents(at.store)).toEqual(BEFORE)
  })

  it('after it: publish is DamagedStagedWriteError, the write stays for its user, the store opens', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    await damage(at)
    await expect(write.publish()).rejects.toMatchObject({ code: 'write.damaged', writeId: write.id })
    expect(await contents(at.store)).toEqual(BEFORE)
    const store = await at.kill()
    const resumed = await store.resume(write.id)
    await expect(resumed.publish()).rejects.toMatchObject({ code: 'write.damaged', writeId: write.id })
    expect(resumed.state).toBe('sealed')
    expect((await store.staged()).map(({ writeId }) => writeId)).toEqual([write.id])
    expect(await contents(store)).toEqual(BEFORE)
    await store.append(items, item(50))
    await resumed.rollback()
    expect(await at.staging()).toEqual([])
  })

  it('of files that were promoted by an earlier try: the good copy counts', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    {
      using _armed = failpoints(at.sim.world).arm(FP.promote.after, { error: 'io', times: 1 })
      await expect(write.publish()).rejects.toMatchObject({ code: 'root.io' })
    }
    for (const name of await at.staging()) if (name.endsWith('.arrow')) await at.files.unlink(`/data/store/staging/${name}`)
    const store = await at.kill()
    await (await store.resume(write.id)).publish()
    expect(await contents(store)).toEqual(AFTER)
  })
})

describe('a name under which other bytes lie', () => {
  it('is passed over for the next generation; what is published reads back, then and later', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    for (const name of await at.staging()) {
      const found = /([0-9a-f]{64})\.(arrow|idx)$/.exec(name)
      if (found === null) continue
      const folder = `/data/store/${found[2] === 'arrow' ? 'fragments' : 'indexes'}`
      for (const path of [folder, `${folder}/${found[1]!.slice(0, 2)}`]) await at.files.mkdir(path).catch(() => undefined)
      const handle = await at.files.open(`${folder}/${found[1]!.slice(0, 2)}/${found[1]}.${found[2]}`, 'wx')
      handle.writeSync(0, Uint8Array.of(1, 2, 3))
      await handle.close()
    }
    await write.publish()
    for (let open = 0; open < 2; open++) {
      expect(await contents(at.store)).toEqual(AFTER)
      expect(await at.store.get(items, 2)).toEqual(item(2, 'new'))
      expect((await at.store.verify({ level: 'all' })).problems).toEqual([])
      await at.kill()
    }
  })
})

describe('somebody else decides', () => {
  it('rolled back before the seal: FencedError, no rows, nothing left', async () => {
    const at = await place()
    const write = await staged(at.store)
    using parked = rendezvous(at.sim.world, FP.seal.beforeAppend)
    const sealing = write.seal()
    sealing.catch(() => undefined)
    await parked.reached()
    await rollBack(at.store, write)
    parked.release()
    await expect(sealing).rejects.toMatchObject({ code: 'log.fenced', scope: 'write' })
    expect(write.state).toBe('rolledBack')
    expect(await at.store.outcome(write.id)).toBe('rolledBack')
    expect(await contents(at.store)).toEqual(BEFORE)
    expect(await at.staging()).toEqual([])
  })

  it('rolled back before the publish: FencedError, and one outcome in the log', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    using parked = rendezvous(at.sim.world, FP.publish.beforeAppend)
    const publishing = write.publish()
    publishing.catch(() => undefined)
    await parked.reached()
    await rollBack(at.store, write)
    parked.release()
    await expect(publishing).rejects.toMatchObject({ code: 'log.fenced', scope: 'write' })
    expect(write.state).toBe('rolledBack')
    expect(await contents(at.store)).toEqual(BEFORE)
    const decided = []
    for await (const row of at.store.audit()) if (row.writeId === write.id) decided.push(row.kind)
    expect(decided).toEqual(['seal', 'rollback'])
  })

  it('published through another handle: both resolve with one result', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    const other = await at.store.resume(write.id)
    const results = await Promise.all([write.publish(), other.publish()])
    expect(results[0]).toMatchObject({ lsn: results[1]!.lsn, writeId: write.id, rows: 3 })
    expect(results[1]).toMatchObject({ rows: 3 })
    const third = await at.store.resume(write.id)
    expect(await third.publish()).toMatchObject({ lsn: results[0]!.lsn, rows: 3, time: results[0]!.time })
    expect(await contents(at.store)).toEqual(AFTER)
    let publishes = 0
    for await (const row of at.store.audit({ kinds: ['publish'] })) if (row.writeId === write.id) publishes++
    expect(publishes).toBe(1)
  })

  it('a commit of one of its keys while it is admitted: told as a conflict once that one is durable', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    using parked = rendezvous(at.sim.world, FP.publish.beforeAppend)
    const publishing = write.publish()
    publishing.catch(() => undefined)
    await parked.reached()
    const { lsn } = await at.store.upsert(items, item(2, 'mine'))
    parked.release()
    await expect(publishing).rejects.toMatchObject({ code: 'write.conflict', keys: [{ id: 2 }], lsn })
    expect(write.state).toBe('sealed')
  })

  it('a commit of other keys while it is admitted is no conflict', async () => {
    const at = await place()
    const write = await staged(at.store)
    await write.seal()
    using parked = rendezvous(at.sim.world, FP.publish.beforeAppend)
    const publishing = write.publish()
    await parked.reached()
    await at.store.upsert(items, item(9, 'mine'))
    await at.store.append(notes, note(9))
    parked.release()
    await publishing
    expect(await contents(at.store)).toEqual({ items: ['1:new', '2:new', '9:mine'], notes: ['1:n', '9:n'] })
  })
})

describe('the process ends', () => {
  it.each([
    [FP.intent.writeAfter, 'rolledBack'],
    [FP.stage.beforeFile, 'rolledBack'],
    [FP.stage.afterFile, 'rolledBack'],
    [FP.stage.beforeSync, 'rolledBack'],
    [FP.stage.afterSync, 'rolledBack'],
    [FP.seal.beforeAppend, 'rolledBack'],
    [FP.seal.afterAppend, 'pending'],
    [FP.promote.before, 'pending'],
    [FP.promote.betweenFiles, 'pending'],
    [FP.promote.after, 'pending'],
    [FP.publish.afterAdmit, 'pending'],
    [FP.publish.beforeAppend, 'pending'],
    [FP.publish.afterAppend, 'published'],
    [FP.retire.before, 'published'],
    [FP.retire.betweenFiles, 'published'],
    [FP.retire.after, 'published'],
  ] as const)('at %s: %s, and a second open changes nothing', async (point, outcome) => {
    const at = await place()
    const armed = failpoints(at.sim.world).arm(point, { crash: true })
    const write = await at.store.stage()
    const work = async (): Promise<void> => {
      await write.upsert(items, [item(1, 'new'), item(2, 'new')])
      await write.append(notes, note(1))
      await write.publish()
    }
    work().catch(() => undefined)
    await armed.reached()
    await at.kill()
    for (let open = 0; open < 2; open++) {
      const { store } = at
      expect(await store.outcome(write.id)).toBe(outcome)
      expect(await contents(store)).toEqual(outcome === 'published' ? AFTER : BEFORE)
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      if (outcome !== 'pending') expect(await at.staging()).toEqual([])
      await at.kill()
    }
    if (outcome === 'pending') {
      await (await at.store.resume(write.id)).publish()
      expect(await contents(at.store)).toEqual(AFTER)
      expect(await at.staging()).toEqual([])
    }
    const decided = []
    for await (const row of at.store.audit()) if (row.writeId === write.id && row.kind !== 'seal') decided.push(row.kind)
    expect(decided).toHaveLength(1)
  })
})
