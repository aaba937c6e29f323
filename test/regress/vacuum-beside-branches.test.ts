// Two bugs that readers and branches beside a running vacuum met.
//
// A branch that was made while a vacuum, or the verification of a vacuumed store, read the log ended it in PinUnresolvedError. A point read that was refused had
// begun all the same: when its file went, its rejection had nobody to hear it, and ended the process.
import { expect, it } from 'vitest'

import { columns, HistoryUnavailableError, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry } from '../../bindings/runtime/index.ts'
import { FaultyRoot, FP, rendezvous } from '../../bindings/testing/index.ts'

const items = table('items', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const keep = { versions: 1 } as const

function rows(n: number): never {
  return columns({ id: Int32Array.from({ length: 100 }, (_, i) => i), n: Int32Array.from({ length: 100 }, () => n) }) as never
}

async function opened(): Promise<{ store: Store; root: FaultyRoot; world: { failpoints: FailpointRegistry } }> {
  const base = defaultWorld()
  const world = { ...base, failpoints: new FailpointRegistry(base.timers) }
  const root = new FaultyRoot(new MemoryRoot())
  const store = await Store.open(root, { world, threads: 0, upkeep: 'manual', inlineLimitBytes: 100 })
  await store.create(items)
  for (let n = 1; n < 4; n++) await store.replace(items, rows(n))
  await store.flush()
  return { store, root, world }
}

it('a branch that is made of a newer version while a vacuum reads the log does not end it', async () => {
  const { store, root } = await opened()
  let made: Promise<unknown> | undefined
  root.plan(({ method, name }) => {
    if (method !== 'segment.read' && !(method === 'get' && name.startsWith('checkpoints/'))) return undefined
    const late = async (): Promise<void> => {
      root.plan(undefined)
      await store.replace(items, rows(4))
      made = store.branch('late', { create: 'must' })
      await made
    }
    return { wait: late }
  })
  const { deleted } = await store.vacuum({ keep })
  expect(made).toBeDefined()
  expect(deleted).toBeGreaterThan(0)
  expect(await store.scan(items, { at: 'late', limit: 1 }).first()).toEqual({ id: 0, n: 4 })
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
  await store.close()
})

it('a point read that a vacuum refuses ends unheard, whatever becomes of its file', async () => {
  const { store, root, world } = await opened()
  const old = store.lsn - 1n
  const unheard: unknown[] = []
  const hear = (reason: unknown): void => void unheard.push(reason)
  process.on('unhandledRejection', hear)
  try {
    const heard = process.listeners('unhandledRejection').filter((each) => each !== hear)
    for (const each of heard) process.off('unhandledRejection', each)
    using parked = rendezvous(world as never, FP.vacuum.afterMark)
    const running = store.vacuum({ keep })
    await parked.reached({ timeoutMs: 10_000 })
    root.plan(({ method, name }) => (method === 'get' && name.startsWith('fragments/') ? { error: 'notFound' } : undefined))
    const error: unknown = await store.get(items, { id: 7 }, { at: old as never }).catch((each: unknown) => each)
    expect(error).toBeInstanceOf(HistoryUnavailableError)
    await new Promise<void>((resolve) => setImmediate(resolve))
    root.plan(undefined)
    parked.release()
    await running
    for (const each of heard) process.on('unhandledRejection', each)
  } finally {
    process.off('unhandledRejection', hear)
  }
  expect(unheard).toEqual([])
  await store.close()
})
