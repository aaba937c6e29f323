// What a replica says while it works on a base, on files that records name, or on a cut: how much it has done, for as long as that grows (docs/shipping.md "Frames", 22).
// Time is a fake clock's.
import { expect, it } from 'vitest'

import { digestInName } from '../../../bindings/format/index.ts'
import type { Root } from '../../../bindings/root/index.ts'
import { defaultWorld, type World } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import type { Replica } from '../../../bindings/store/index.ts'
import { baseOf, bootWorld, fill, items, MemoryRoot, type Primary, primaryOn, RawSender, replicaOn, turns } from './kit.ts'

interface Gate {
  readonly root: Root
  /** Calls that wait. */
  waiting: number
  isShut: boolean
  pass(): void
}

/** A root whose reads of files, or whose deletes of them, go one after the other, each when it may. */
function gated(root: Root, method: 'get' | 'delete' = 'get'): Gate {
  const queue: (() => void)[] = []
  const isOfFile = (names: string | readonly string[]): boolean => [names].flat().some((name) => digestInName(name) !== undefined)
  const proxy = new Proxy(root, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      if (key !== method) return value.bind(target) as unknown
      return async (names: string | readonly string[], o: unknown): Promise<unknown> => {
        if (gate.isShut && isOfFile(names)) await new Promise<void>((resolve) => queue.push(resolve))
        return (await value.call(target, names, o)) as unknown
      }
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

/** A primary with eight files, and a replica on that gate. */
async function rig(gate: Gate): Promise<{ clock: FakeClock; network: MemoryNetwork; primary: Primary; replica: Replica }> {
  const clock = new FakeClock()
  const network = new MemoryNetwork(defaultWorld())
  const primary = await primaryOn()
  await primary.store.create(items)
  for (let i = 0; i < 8; i++) {
    await fill(primary.store, i * 100, i * 100 + 60)
    await primary.store.flush()
  }
  const world: World = { ...bootWorld(), timers: clock.timers, clock: clock.clock }
  return { clock, network, primary, replica: await replicaOn(network, gate.root, { world }) }
}

const said = ({ heard }: RawSender): number[] => heard.flatMap((message) => (message.type === 'working' ? [message.done] : []))

/** A second, over which the primary is heard. */
async function second(sender: RawSender, clock: FakeClock): Promise<void> {
  await sender.send({ type: 'heartbeat', committedLsn: 0, durableLsn: 0 })
  await turns()
  await clock.advance(1000)
}

it('a replica that reads what it holds says how far it is, and nothing of the kind while a read hangs', async () => {
  const gate = gated(new MemoryRoot({}))
  const { clock, network, primary, replica } = await rig(gate)
  await (await RawSender.connect(network, replica, primary, { session: 1 })).catchUp(replica)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello({ kind: 'rebuild' })
  gate.isShut = true
  await sender.manifest(await baseOf(primary))
  await turns()
  expect(gate.waiting).toBeGreaterThan(0)
  // What it has found, before any of it was read.
  await second(sender, clock)
  expect(said(sender)).toHaveLength(1)
  for (let read = 1; read <= 4; read++) {
    gate.pass()
    await turns()
    await second(sender, clock)
    expect(said(sender)).toHaveLength(1 + read)
  }
  expect(said(sender)).toEqual([...new Set(said(sender))].sort((a, b) => a - b))
  // It is there, and no more than that.
  for (let i = 0; i < 3; i++) await second(sender, clock)
  expect(said(sender)).toHaveLength(5)
  expect(sender.heard.filter(({ type }) => type === 'heartbeat').length).toBeGreaterThanOrEqual(2)
  gate.isShut = false
  while (gate.waiting > 0) gate.pass()
})

it('the same of files that records name, where there is no base', async () => {
  const gate = gated(new MemoryRoot({}))
  const { clock, network, primary, replica } = await rig(gate)
  const sender = await RawSender.connect(network, replica, primary)
  await sender.hello()
  for await (const { name } of primary.root.list('fragments/')) await gate.root.put(name, (await primary.root.get(name)).bytes)
  await sender.grant(0)
  gate.isShut = true
  const head = Number(primary.store.lsn)
  await sender.entries(0, head)
  await turns()
  expect(gate.waiting).toBeGreaterThan(0)
  await second(sender, clock)
  const before = said(sender).length
  for (let read = 1; read <= 3; read++) {
    gate.pass()
    await turns()
    await second(sender, clock)
    expect(said(sender)).toHaveLength(before + read)
  }
  await second(sender, clock)
  expect(said(sender)).toHaveLength(before + 3)
  gate.isShut = false
  while (gate.waiting > 0) {
    gate.pass()
    await turns()
  }
  await sender.durable(head)
})

it('the same of a cut, for what it looks for and deletes', async () => {
  const gate = gated(new MemoryRoot({}), 'delete')
  const { clock, network, primary, replica } = await rig(gate)
  const head = Number(primary.store.lsn)
  const first = await RawSender.connect(network, replica, primary, { session: 1 })
  await first.hello()
  await first.grant(0)
  await first.entries(0, head, { committedLsn: head - 200 })
  await first.durable(head)
  const sender = await RawSender.connect(network, replica, primary, { session: 2 })
  await sender.hello()
  gate.isShut = true
  await sender.send({ type: 'truncate', lsn: head - 150 })
  await turns()
  expect(gate.waiting).toBe(1)
  await second(sender, clock)
  expect(said(sender)).toHaveLength(1)
  await second(sender, clock)
  expect(said(sender)).toHaveLength(1)
  gate.isShut = false
  gate.pass()
  await sender.next('truncated')
})

it('a base is installed before what nothing names any more is gone', async () => {
  const gate = gated(new MemoryRoot({}), 'delete')
  const { network, primary, replica } = await rig(gate)
  const stray = `fragments/ab/${'ab'.repeat(32)}.arrow`
  const sender = await RawSender.connect(network, replica, primary)
  await sender.hello({ kind: 'rebuild' })
  await gate.root.put(stray, new Uint8Array(10))
  gate.isShut = true
  const base = await baseOf(primary)
  await sender.transfer(base)
  const baseLsn = await sender.install(base)
  await sender.grant(baseLsn, { committedLsn: baseLsn })
  await replica.ready()
  await turns()
  expect(gate.waiting).toBe(1)
  expect(await gate.root.exists(stray)).toBe(true)
  gate.isShut = false
  gate.pass()
  await turns()
  expect(await gate.root.exists(stray)).toBe(false)
})
