// What a pin costs (shipping.md section 9): on a shared root a lease, which goes with it; and the log that came while it was held, which is bounded.
import { expect, it, onTestFinished } from 'vitest'

import { t, table } from '../../../bindings/index.ts'
import { StorageError } from '../../../bindings/errors.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { type ShipHistoryParts, StoreHistory } from '../../../bindings/store/ship-history.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { failure, opened } from '../../unit/store/places.ts'

const items = table('items', { id: t.int32() }, { key: ['id'] })

async function leases(root: MemoryRoot): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('leases/')) names.push(name)
  return names
}

it('P10 a pin takes its lease with it; a lease that cannot be had leaves neither, and nothing of the log is held back', async () => {
  const memory = new MemoryRoot()
  let isCut = false
  const root = new Proxy(memory, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function') return value
      const call = value.bind(target) as (name: string, ...rest: unknown[]) => unknown
      if (key !== 'put' && key !== 'putIfAbsent') return call
      return (name: string, ...rest: unknown[]) =>
        isCut && name.startsWith('leases/')
          ? Promise.reject(new StorageError('no way there', { details: { class: 'io', op: key, name } }))
          : call(name, ...rest)
    },
  })
  const store = await opened(root, { writers: 'shared', follow: false })
  await store.create(items)
  for (let id = 0; id < 20; id++) await store.append(items, { id })
  const { o } = store as unknown as { o: ShipHistoryParts }
  const history = new StoreHistory({ ...o, committed: () => Infinity })
  onTestFinished(() => history[Symbol.dispose]())
  const before = await leases(memory)
  const pin = await history.pinLog(5, { epoch: 1, seq: 1 })
  expect((await leases(memory)).length).toBe(before.length + 1)
  expect(await store.pins()).toHaveLength(1)
  pin.release()
  while ((await leases(memory)).length > before.length) await new Promise((resolve) => setImmediate(resolve))
  expect(await store.pins()).toEqual([])
  isCut = true
  expect(await failure(() => history.pinLog(5, { epoch: 1, seq: 1 }))).toMatchObject({ name: 'StorageError' })
  expect(await store.pins()).toEqual([])
  expect((await leases(memory)).length).toBe(before.length)
})

it('P8 what counts against a pin is the log that came while it was held, not what was there before', async () => {
  const clock = new FakeClock(1_700_000_000_000, { turns: 1 })
  const store = await opened(new MemoryRoot({}), { segmentBytes: 64 * 1024, world: { clock: clock.clock, timers: clock.timers } })
  await store.create(items)
  const write = (from: number): Promise<unknown> => Promise.all(Array.from({ length: 2000 }, (_, id) => store.append(items, { id: from + id })))
  for (const from of [0, 2000, 4000]) await write(from)
  const { o } = store as unknown as { o: ShipHistoryParts }
  const history = new StoreHistory({ ...o, committed: () => Infinity, limits: { maxPinnedBytes: 96 * 1024 } })
  onTestFinished(() => history[Symbol.dispose]())
  expect(o.log.bytes).toBeGreaterThan(160 * 1024)
  const pin = await history.pinLog(1, { epoch: 1, seq: 1 })
  const told: string[] = []
  pin.onLimit = (limit) => void told.push(limit)
  await clock.advance(3000)
  expect([pin.valid, told]).toEqual([true, []])
  for (const from of [10_000, 20_000, 30_000]) await write(from)
  await clock.advance(3000)
  expect([pin.valid, told]).toEqual([false, ['retention_exceeded']])
})
