// On a full disk the log takes queued records back and gives their LSNs again; the store must forget what it had applied for them, key by key.
import { expect, it } from 'vitest'

import { DirRoot } from '../../bindings/root/index.ts'
import { Store, t, table } from '../../bindings/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const kv = table('kv', { k: t.int32(), v: t.utf8().nullable(), on: t.bool() }, { key: ['k'] })
const TEXT = 'x'.repeat(400)

it('takes back what had no room, and goes on when there is room again', async () => {
  const { world, files, time } = simWorld({ seed: 7 })
  const root = new DirRoot('/data/store', world)
  const model = new Map<number, { k: number; v: string | null; on: boolean }>()
  {
    await using store = await Store.open(root, { world, threads: 0, segmentBytes: 64 * 1024, upkeep: 'manual' })
    await store.create(kv)
    await store.append(
      kv,
      Array.from({ length: 50 }, (_, k) => ({ k, v: null, on: true })),
    )
    await store.flush()
    for (let k = 0; k < 50; k++) model.set(k, { k, v: null, on: true })
    files.plan((call) => (call.op === 'open' && call.path.includes('/.free-') ? { error: 'ENOSPC' } : undefined))
    let refused = 0
    for (let round = 0; round < 8; round++) {
      const rows = Array.from({ length: 120 }, (_, i) => ({ k: (i * 7 + round) % 160, v: `${round} ${TEXT}`, on: i % 2 === 0 }))
      const outcomes = await Promise.allSettled(rows.map((row) => (row.k % 5 === 4 ? store.delete(kv, row.k) : store.upsert(kv, row))))
      outcomes.forEach((outcome, i) => {
        const row = rows[i]!
        if (outcome.status === 'rejected') {
          expect(outcome.reason).toMatchObject({ code: 'root.space' })
          refused++
        } else if (row.k % 5 === 4) model.delete(row.k)
        else model.set(row.k, row)
      })
      expect(await store.scan(kv, { orderBy: 'k' }).toArray()).toEqual([...model.values()].sort((a, b) => a.k - b.k))
      for (const k of [0, 3, 4, 100, 159]) expect(await store.get(kv, k)).toEqual(model.get(k))
    }
    expect(refused).toBeGreaterThan(100)
    files.plan(undefined)
    // The log looks for room again by a timer.
    for (let tries = 0; tries < 5; tries++) {
      await time.advance(200)
      if (await store.upsert(kv, { k: 1000, v: null, on: false }).then(Boolean, () => false)) break
    }
    model.set(1000, { k: 1000, v: null, on: false })
    await store.flush()
  }
  await using again = await Store.open(new DirRoot('/data/store', world), { world, threads: 0 })
  expect(await again.scan(kv, { orderBy: 'k' }).toArray()).toEqual([...model.values()].sort((a, b) => a.k - b.k))
  expect((await again.verify({ level: 'all' })).problems).toEqual([])
})
