import { describe, expect, it } from 'vitest'

import { type Store, t, table } from '../../../bindings/index.ts'
import { failure, opened, PLACES } from '../store/places.ts'

const KiB = 1024
const tables = Array.from({ length: 6 }, (_, i) => table(`table${i}`, { id: t.int32(), text: t.utf8() }, { key: ['id'] }))
const text = 'x'.repeat(500)

describe.each(PLACES)('back-pressure at memory.writeBytes, %s', (_name, place) => {
  const fill = async (store: Store, targets: readonly (typeof tables)[number][], rounds: number): Promise<number> => {
    let most = 0
    const pending: Promise<unknown>[] = []
    for (let round = 0; round < rounds; round++) {
      for (const target of targets)
        pending.push(
          store.append(
            target,
            Array.from({ length: 20 }, (_, i) => ({ id: round * 20 + i, text })),
          ),
        )
      if (round % 8 === 7) {
        await Promise.all(pending)
        most = Math.max(most, (await store.stats()).memory.writeBytes)
      }
    }
    await Promise.all(pending)
    return most
  }

  it.each([
    ['auto', 1],
    ['manual', 1],
    ['auto', 6],
    ['manual', 6],
  ] as const)('writes wait for a flush and do not fail: upkeep %s, %d tables', async (upkeep, count) => {
    const limit = 256 * KiB
    const store = await opened(place(), { upkeep, memory: { writeBytes: limit } })
    const targets = tables.slice(0, count)
    await store.create(...targets)
    const rounds = 480 / count
    const most = await fill(store, targets, rounds)
    for (const target of targets) expect(await store.scan(target).count()).toBe(rounds * 20)
    const stats = await store.stats()
    expect(Object.values(stats.tables).some(({ fragments }) => fragments > 0)).toBe(true)
    // A group in flight and the looks at the size are not free; without any flush it would be several MiB.
    expect(most).toBeLessThan(limit + 1536 * KiB)
  })

  it('updates, deletes and transactions wait too', async () => {
    const store = await opened(place(), { upkeep: 'manual', memory: { writeBytes: 128 * KiB } })
    const [one] = tables
    await store.create(one!)
    await fill(store, [one!], 100)
    for (let round = 0; round < 60; round++) {
      await store.update(
        one!,
        Array.from({ length: 20 }, (_, id) => ({ id, text: `${round}${text}` })),
      )
      await store.transact((tx) => tx.upsert(one!, { id: 5000, text: `${round}${text}` }))
      await store.delete(one!, 100 + round)
    }
    expect(await store.scan(one!).count()).toBe(2000 - 60 + 1)
    expect((await store.stats()).tables['table0']!.fragments).toBeGreaterThan(0)
  })

  it('the event loop goes on while writers wait', async () => {
    const store = await opened(place(), { upkeep: 'manual', memory: { writeBytes: 64 * KiB } })
    await store.create(...tables)
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await fill(store, tables, 60)
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
  })
})

it('a write that waits is aborted with the reason of its signal, and is not written', async () => {
  // Flushes hang: nothing ever makes room.
  let release: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (release = resolve))
  const { MemoryRoot } = await import('../../../bindings/root/index.ts')
  const memory = new MemoryRoot()
  const root = new Proxy(memory, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      if (name !== 'put') return value.bind(target) as unknown
      return async (file: string, ...rest: unknown[]) => {
        if (file.endsWith('.arrow')) await gate
        return (value as (...all: unknown[]) => unknown).call(target, file, ...rest)
      }
    },
  })
  const store = await opened(root, { upkeep: 'auto', memory: { writeBytes: 64 * KiB } })
  const [one] = tables
  await store.create(one!)
  let id = 0
  const abort = new AbortController()
  const reason = new Error('waited long enough')
  let waiting: Promise<unknown> | undefined
  for (let round = 0; round < 2000 && waiting === undefined; round++) {
    const write = store.append(one!, { id: id++, text: text.repeat(4) }, { signal: abort.signal })
    const outcome = await Promise.race([write.then(() => 'done'), new Promise((resolve) => setTimeout(resolve, 50, 'waits'))])
    if (outcome === 'waits') waiting = write
  }
  expect(waiting).toBeDefined()
  abort.abort(reason)
  expect(await failure(() => waiting)).toBe(reason)
  const calls: (() => Promise<unknown>)[] = [
    () => store.update(one!, { id: 0, text: 'changed' }, { signal: AbortSignal.timeout(20) }),
    () => store.transact((tx) => tx.upsert(one!, { id: 0, text: 'changed' }), { signal: AbortSignal.timeout(20) }),
  ]
  for (const call of calls) expect((await failure(call)).name).toBe('TimeoutError')
  release()
  await store.append(one!, { id: 1_000_000, text })
  expect(await store.has(one!, id - 1)).toBe(false)
  expect((await store.get(one!, 0))?.text).not.toBe('changed')
})
