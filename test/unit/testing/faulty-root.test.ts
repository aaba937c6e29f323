// The failpoints of a wrapped root: each method fails before its effect, after it, and not at all once the world has stopped.
import { setImmediate as turn } from 'node:timers/promises'

import { describe, expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { failpoints, fakeWorld, FaultyRoot, FP } from '../../../bindings/testing/index.ts'

const BYTES = new Uint8Array([1, 2, 3])

/** A call of each method, and whether its effect is to be seen in the root below. Reads have none. */
const METHODS: Readonly<
  Record<keyof typeof FP.root, { call: (root: FaultyRoot) => Promise<unknown>; done?: (inner: FaultyRoot['inner']) => Promise<boolean> }>
> = {
  get: { call: (root) => root.get('a') },
  head: { call: (root) => root.head('a') },
  put: { call: (root) => root.put('new', BYTES), done: (inner) => inner.exists('new') },
  putIfAbsent: { call: (root) => root.putIfAbsent('new', BYTES), done: (inner) => inner.exists('new') },
  list: { call: (root) => namesIn(root) },
  delete: { call: (root) => root.delete('a'), done: async (inner) => !(await inner.exists('a')) },
  rename: { call: (root) => root.rename('a', 'new'), done: (inner) => inner.exists('new') },
  link: { call: (root) => root.link('a', 'new'), done: (inner) => inner.exists('new') },
  syncDir: { call: (root) => root.syncDir('') },
}

async function namesIn(root: FaultyRoot): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) names.push(name)
  return names
}

async function start(): Promise<{ root: FaultyRoot; world: ReturnType<typeof fakeWorld> }> {
  const world = fakeWorld()
  const root = new FaultyRoot(new MemoryRoot(), { failpoints: world.failpoints })
  await root.put('a', BYTES)
  return { root, world }
}

describe.each(Object.entries(METHODS))('root.%s', (method, { call, done }) => {
  const name = FP.root[method as keyof typeof FP.root]

  it('fails before its effect', async () => {
    const { root, world } = await start()
    using armed = failpoints(world).arm(name, { error: 'permission' })
    await expect(call(root)).rejects.toMatchObject({ code: 'root.permission' })
    if (done !== undefined) expect(await done(root.inner)).toBe(false)
    expect(armed.fired).toBe(1)
  })

  it('fails after its effect: the answer is lost', async () => {
    const { root, world } = await start()
    using _ = failpoints(world).arm(name, { errorAfterEffect: 'unknown' })
    await expect(call(root)).rejects.toMatchObject({ code: 'root.unknown' })
    if (done !== undefined) expect(await done(root.inner)).toBe(true)
  })

  it('never settles in a world that stops there, and has no effect', async () => {
    const { root, world } = await start()
    using _ = failpoints(world).arm(name, { crash: true })
    let settled = false
    call(root).then(
      () => (settled = true),
      () => (settled = true),
    )
    for (let i = 0; i < 5; i++) await turn()
    expect([settled, failpoints(world).stopped]).toEqual([false, true])
    if (done !== undefined) expect(await done(root.inner)).toBe(false)
  })

  it('is slow on the clock of the world, and then works', async () => {
    const { root, world } = await start()
    using rv = failpoints(world).arm(name, { park: true })
    const called = call(root)
    await rv.reached()
    rv.release()
    await called
    if (done !== undefined) expect(await done(root.inner)).toBe(true)
  })
})
