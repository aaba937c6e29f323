// What a replica says while it works on a base: how much it has done, for as long as that grows (docs/shipping.md "Frames", 22). Time is a fake clock's.
import { expect, it } from 'vitest'

import { digestInName } from '../../../bindings/format/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { defaultWorld, type World } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { baseOf, bootWorld, fill, items, MemoryRoot, primaryOn, RawSender, replicaOn, turns } from './kit.ts'

interface Gate {
  readonly root: Root
  /** Reads of files that wait. */
  waiting: number
  isShut: boolean
  pass(): void
}

/** A root whose files are read one after the other, each when it may be. */
function gated(root: Root): Gate {
  const queue: (() => void)[] = []
  const get: Root['get'] = async (name, o) => {
    if (gate.isShut && digestInName(name) !== undefined) await new Promise<void>((resolve) => queue.push(resolve))
    return await root.get(name, o)
  }
  const proxy = new Proxy(root, {
    get(target, key) {
      if (key === 'get') return get
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
  const gate: Gate = {
    root: proxy,
    get waiting() {
      return queue.length
    },
    isShut: false,
    pass: () => queue.shift()!(),
  }
  return gate
}

it('a replica that reads what it holds says how far it is, and nothing of the kind while a read hangs', async () => {
  const clock = new FakeClock()
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  for (let i = 0; i < 8; i++) {
    await fill(primary.store, i * 100, i * 100 + 60)
    await primary.store.flush()
  }
  const gate = gated(new MemoryRoot({}))
  const world: World = { ...bootWorld(), timers: clock.timers, clock: clock.clock }
  const replica = await replicaOn(network, gate.root, { world })
  await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello({ kind: 'rebuild' })
  gate.isShut = true
  await sender.manifest(await baseOf(primary))
  await turns()
  expect(gate.waiting).toBeGreaterThan(0)
  const said = (): number[] => sender.heard.flatMap((message) => (message.type === 'working' ? [message.done] : []))
  /** A second, over which the primary is heard. */
  const second = async (): Promise<void> => {
    await sender.send({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 })
    await turns()
    await clock.advance(1000)
  }
  // What it has found, before any of it was read.
  await second()
  expect(said()).toHaveLength(1)
  for (let read = 1; read <= 4; read++) {
    gate.pass()
    await turns()
    await second()
    expect(said()).toHaveLength(1 + read)
  }
  expect(said()).toEqual([...new Set(said())].sort((a, b) => a - b))
  // It is there, and no more than that.
  for (let i = 0; i < 3; i++) await second()
  expect(said()).toHaveLength(5)
  expect(sender.heard.filter(({ type }) => type === 'heartbeat').length).toBeGreaterThanOrEqual(2)
  gate.isShut = false
  while (gate.waiting > 0) gate.pass()
})
