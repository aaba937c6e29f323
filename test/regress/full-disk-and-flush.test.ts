// A flush under way while the log took records back (full disk) said that it had moved commits up to an LSN that was then given to others: after a reopen
// from a checkpoint their rows were missing. A load had the same trouble with what it held for "written since".
import { expect, it } from 'vitest'

import { DirRoot } from '../../bindings/root/index.ts'
import { columns, Store, t, table } from '../../bindings/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const kv = table('kv', { k: t.int32(), v: t.utf8() }, { key: ['k'] })
const TEXT = 'x'.repeat(400)

async function refusedBurst(store: Store, model: Map<number, string>): Promise<void> {
  const burst = Array.from({ length: 300 }, (_, i) => store.upsert(kv, { k: 1000 + i, v: TEXT }).then(() => model.set(1000 + i, TEXT)))
  await Promise.allSettled(burst)
  for (let i = 0; i < 20; i++) {
    await store.upsert(kv, { k: 5 + i, v: 'small' }).then(
      () => model.set(5 + i, 'small'),
      () => undefined,
    )
  }
}

it.each([0, 1, 2, 3, 5, 8, 13])('keeps acknowledged rows when a flush begins %i turns before records are taken back', async (turns) => {
  const { world, files, time } = simWorld({ seed: turns + 1 })
  const root = (): DirRoot => new DirRoot('/data/store', world)
  const model = new Map<number, string>()
  {
    await using store = await Store.open(root(), { world, threads: 0, segmentBytes: 64 * 1024, upkeep: 'manual' })
    await store.create(kv)
    for (let k = 0; k < 50; k++) {
      await store.upsert(kv, { k, v: 'first' })
      model.set(k, 'first')
    }
    await time.advance(500)
    files.plan((call) => (call.op === 'open' && call.path.includes('/.free-') ? { error: 'ENOSPC' } : undefined))
    const flushed = store.flush().catch(() => undefined)
    for (let i = 0; i < turns; i++) await Promise.resolve()
    await refusedBurst(store, model)
    await flushed
    files.plan(undefined)
    expect(await store.scan(kv).count()).toBe(model.size)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  }
  await using again = await Store.open(root(), { world, threads: 0 })
  expect(new Map((await again.scan(kv).toArray()).map(({ k, v }) => [k, v]))).toEqual(model)
})

it.each([0, 4, 9, 16, 25])('keeps keys unique when a load begins %i turns before records are taken back', async (turns) => {
  const { world, files, time } = simWorld({ seed: turns + 50 })
  await using store = await Store.open(new DirRoot('/data/store', world), { world, threads: 0, segmentBytes: 64 * 1024, inlineLimitBytes: 0, upkeep: 'manual' })
  await store.create(kv)
  await store.upsert(kv, { k: 0, v: 'first' })
  await time.advance(500)
  files.plan((call) => (call.op === 'open' && call.path.includes('/.free-') ? { error: 'ENOSPC' } : undefined))
  const loaded = store
    .upsert(kv, columns({ k: Int32Array.from({ length: 300 }, (_, k) => k), v: Array.from({ length: 300 }, () => 'load') }))
    .catch(() => undefined)
  for (let i = 0; i < turns; i++) await Promise.resolve()
  await refusedBurst(store, new Map())
  await loaded
  files.plan(undefined)
  const keys = (await store.scan(kv).toArray()).map(({ k }) => k)
  expect(new Set(keys).size).toBe(keys.length)
})

it('writes checkpoints also when no single session writes much', async () => {
  const { world } = simWorld({ seed: 3 })
  const root = (): DirRoot => new DirRoot('/data/store', world)
  let replayed = 0
  for (let session = 0; session < 6; session++) {
    await using store = await Store.open(root(), { world, threads: 0 })
    if (session === 0) await store.create(kv)
    for (let i = 0; i < 40; i++) await store.upsert(kv, { k: session * 40 + i, v: 'y'.repeat(10_000) })
    replayed = Math.max(replayed, (await store.stats()).log.bytesSinceCheckpoint)
  }
  await using last = await Store.open(root(), { world, threads: 0 })
  expect(await last.scan(kv).count()).toBe(240)
  const { log } = await last.stats()
  expect(log.bytes).toBeGreaterThan(2_000_000)
  expect(log.bytesSinceCheckpoint).toBeLessThan(1_600_000)
})
