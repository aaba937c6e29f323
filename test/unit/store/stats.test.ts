// What stats(), the meter and the tracing channels say beside what test/unit/api/watching.test.ts asks of them: rates, latencies, written bytes, attributes.
import { tracingChannel } from 'node:diagnostics_channel'

import { describe, expect, it, onTestFinished } from 'vitest'

import { columns, type Meter, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { simWorld } from '../../sim/sim-world.ts'
import { opened, PLACES, tempDirectory } from './places.ts'

const items = table('items', { id: t.int32(), note: t.utf8().default('none') }, { key: ['id'] })
const other = table('other', { n: t.int32() })
const bulk = (from: number, rows: number) => columns({ id: Int32Array.from({ length: rows }, (_, i) => from + i) })

describe.each(PLACES)('stats, %s', (_name, place) => {
  it('tells the rate and the latencies of the commits of this handle', async () => {
    const store = await opened(place())
    await store.create(items, other)
    expect((await store.stats()).commits).toMatchObject({ count: 0, perSecond: 0, latencyMs: { p50: 0, p99: 0, p999: 0, max: 0 } })
    for (let id = 0; id < 40; id++) await store.append(items, { id })
    const { commits } = await store.stats()
    expect(commits.count).toBe(40)
    expect(commits.windowMs).toBeGreaterThan(0)
    expect(commits.perSecond).toBeCloseTo((40 * 1000) / commits.windowMs)
    const { p50, p99, p999, max } = commits.latencyMs!
    expect(p50).toBeGreaterThan(0)
    expect([p50, p99, p999, max]).toEqual([p50, p99, p999, max].toSorted((a, b) => a - b))
  })

  it('tells the bytes that were written for those that were committed', async () => {
    const store = await opened(place(), { inlineLimitBytes: 4096 })
    await store.create(items, other)
    const empty = (await store.stats()).writes!
    expect(empty).toMatchObject({ committedBytes: 0, amplification: 0 })
    expect(empty.logBytes).toBeGreaterThan(0)
    await store.append(items, { id: 1 })
    const small = (await store.stats()).writes!
    expect(small.committedBytes).toBeGreaterThan(0)
    expect(small.logBytes - empty.logBytes).toBeGreaterThanOrEqual(small.committedBytes)
    expect(small.fileBytes).toBe(empty.fileBytes)
    await store.append(items, bulk(100, 20_000))
    const loaded = (await store.stats()).writes!
    const { bytes } = (await store.stats()).tables['items']!
    expect(loaded.committedBytes - small.committedBytes).toBe(bytes)
    expect(loaded.fileBytes - small.fileBytes).toBeGreaterThanOrEqual(bytes)
    await store.flush()
    const flushed = (await store.stats()).writes!
    expect(flushed.committedBytes).toBe(loaded.committedBytes)
    expect(flushed.fileBytes).toBeGreaterThan(loaded.fileBytes)
    expect(flushed.amplification).toBeCloseTo((flushed.logBytes + flushed.fileBytes) / flushed.committedBytes)
  })

  it('of a follower tells the rate of the writer by the times of its records, and no latencies', async () => {
    const root = place()
    const store = await opened(root)
    await store.create(items, other)
    for (let id = 0; id < 700; id++) await store.append(items, { id })
    const reader = await opened(root, { readOnly: true })
    const { commits, writes } = await reader.stats()
    expect(writes).toBeUndefined()
    expect(commits.latencyMs).toBeUndefined()
    // The last 512 records are looked at.
    expect(commits.count).toBe(512)
    expect(commits.perSecond).toBeCloseTo((512 * 1000) / commits.windowMs)
  })
})

it('a rate is of the last minute: what was committed before is no part of it', async () => {
  const sim = simWorld({ seed: 1 })
  const root = new MemoryRoot()
  const store = await opened(root, { world: sim.world })
  await store.create(items, other)
  for (let id = 0; id < 30; id++) await store.append(items, { id })
  const reader = await opened(root, { readOnly: true, follow: false, world: sim.world })
  expect((await reader.stats()).commits).toMatchObject({ count: 30, windowMs: 60_000, perSecond: 0.5 })
  expect((await store.stats()).commits.count).toBe(30)
  sim.tick(61_000)
  expect((await reader.stats()).commits).toMatchObject({ count: 0, perSecond: 0 })
  expect((await store.stats()).commits.count).toBe(0)
})

it('a meter is told the root with every value, and the table of what concerns one', async () => {
  const seen = new Map<string, Set<string>>()
  const note: Meter['add'] = (name, _value, attributes) => {
    if (!seen.has(name)) seen.set(name, new Set())
    seen.get(name)!.add(JSON.stringify(attributes))
  }
  const root = tempDirectory()
  const store = await opened(root, { meter: { add: note, record: note } })
  await store.create(items, other)
  await store.append(items, { id: 1 })
  await store.transact((tx) => {
    tx.append(items, { id: 2 })
    tx.append(other, { n: 2 })
  })
  await store.flush()
  await store.close()
  const url = new URL(`file://${root}`).href
  const [both, alone] = [JSON.stringify({ root: url, table: 'items' }), JSON.stringify({ root: url })]
  expect(seen.get('varve.commits')).toEqual(new Set([both, alone]))
  expect(seen.get('varve.commit.duration')).toEqual(new Set([both, alone]))
  expect(seen.get('varve.flush.rows')).toEqual(new Set([both, JSON.stringify({ root: url, table: 'other' })]))
  for (const name of ['varve.group.size', 'varve.sync.duration', 'varve.log.bytes', 'varve.kernel.bytes'])
    expect(seen.get(name), name).toEqual(new Set([alone]))
})

it('a meter is told the log bytes of a store whose log is kept as slots', async () => {
  let bytes = 0
  const add: Meter['add'] = (name, value) => void (bytes += name === 'varve.log.bytes' ? value : 0)
  const store = await opened(new MemoryRoot(), { writers: 'shared', follow: false, meter: { add, record: () => undefined } })
  await store.create(items)
  await store.append(items, { id: 1 })
  expect(bytes).toBeGreaterThan(300)
  expect((await store.stats()).writes!.logBytes).toBe(bytes)
})

it.each(['optimize', 'vacuum', 'recover'] as const)('the channel varve:%s traces with the id of the store', async (name) => {
  const seen: Record<string, unknown>[] = []
  const handlers = { asyncEnd: (message: unknown) => void seen.push({ ...(message as object) }) }
  const channel = tracingChannel(`varve:${name}`)
  channel.subscribe(handlers as never)
  onTestFinished(() => void channel.unsubscribe(handlers as never))
  const store = await opened('memory:')
  await store.create(items)
  await store.append(items, { id: 1 })
  if (name === 'optimize') await store.optimize()
  if (name === 'vacuum') await store.vacuum({ keep: { versions: 1 } })
  expect(seen).toMatchObject([{ storeId: store.id }])
})
