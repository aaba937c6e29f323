// Background upkeep under load: rows far above memory.writeBytes, so that flushes and checkpoints run while commits, transactions and readers go on.

import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const docs = table('docs', { id: t.int32(), version: t.int32(), body: t.utf8() }, { key: ['id'] })
const log = table('log', { n: t.int32(), body: t.utf8() })

const IDS = 300

it.each([1, 2, 3])('keeps every row while upkeep flushes and writers wait for room (seed %i)', { timeout: 240_000 }, async (seed) => {
  const random = seededRandom(seed)
  const root = new MemoryRoot()
  const open = (): Promise<Store> => Store.open(root, { memory: { writeBytes: 128 * 1024, cacheBytes: seed * 20_000 }, segmentBytes: 512 * 1024, threads: 0 })
  let store = await open()
  let flushes = 0
  let checkpoints = 0
  const watch = (): void => {
    store.on('upkeep', ({ job }) => void (job === 'flush' ? flushes++ : checkpoints++))
  }
  watch()
  await store.create(docs, log)
  const latest = new Map<number, { lsn: bigint; version: number }>()
  let logged = 0
  let version = 0
  const body = (n: number): string => `${n} `.repeat(200 + (n % 7) * 100)
  for (let life = 0; life < 3; life++) {
    const writer = async (): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        const id = random.u32() % IDS
        const v = ++version
        const kind = random.u32() % 10
        if (kind < 6) {
          const { lsn } = await store.upsert(docs, { id, version: v, body: body(v) })
          if (lsn > (latest.get(id)?.lsn ?? 0n)) latest.set(id, { lsn, version: v })
        } else if (kind < 8) {
          await store.append(log, { n: v, body: body(v) })
          logged++
        } else {
          let lsn = 0n
          await store.transact(
            async (tx) => {
              const before = await tx.get(docs, id)
              tx.upsert(docs, { id, version: v, body: body(v) })
              tx.append(log, { n: before?.version ?? -1, body: body(v) })
            },
            { retries: 100, onCommitted: (result) => void (lsn = result.lsn) },
          )
          logged++
          if (lsn > (latest.get(id)?.lsn ?? 0n)) latest.set(id, { lsn, version: v })
        }
      }
    }
    const reader = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        const snapshot = await store.snapshot()
        const count = await snapshot.scan(docs).count()
        const rows = await snapshot.scan(docs, { select: ['id', 'version'] }).toArray()
        expect(rows.length).toBe(count)
        expect(new Set(rows.map(({ id }) => id)).size).toBe(count)
        for (const { id, version: seen } of rows.slice(0, 5)) expect((await snapshot.get(docs, id))?.version).toBe(seen)
        await snapshot[Symbol.asyncDispose]()
      }
    }
    await Promise.all([...Array.from({ length: 12 }, writer), reader(), reader()])
    if (life === 1) store[Symbol.dispose]()
    else await store.close()
    store = await open()
    watch()
    const rows = await store.scan(docs).toArray()
    expect(new Map(rows.map((row) => [row.id, row.version]))).toEqual(new Map([...latest].map(([id, { version: v }]) => [id, v])))
    for (const row of rows) if (row.body !== body(row.version)) expect(row.body, `${row.id}`).toBe(body(row.version))
    expect(await store.scan(log).count()).toBe(logged)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  }
  expect(flushes, 'flushes ran by themselves').toBeGreaterThan(3)
  await store.close()
})
