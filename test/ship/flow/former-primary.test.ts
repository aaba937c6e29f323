// What a real replica or a former primary holds decides what becomes of it: its own chain, looked through at a conflict (H15), and its checkpoints at a truncation (T4).
import { cp } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'

import type { OpenOptions } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { type RecoveryEventName, replicaId, type ReplicaState } from '../../../bindings/ship/index.ts'
import type { Replica, Shipping } from '../../../bindings/store/index.ts'
import { FailpointRegistry, failpoints, FP } from '../../../bindings/testing/index.ts'
import { auditAll } from '../../unit/recovery/forge.ts'
import { tempDirectory } from '../../unit/store/places.ts'
import { Flow, people, until, WAYS } from './flow-kit.ts'

const memory = WAYS[0]!
const SMALL: OpenOptions = { segmentBytes: 64 * 1024, upkeep: 'manual' }

const events = (shipping: Shipping): RecoveryEventName[] => shipping.log.eventsFor(replicaId('r1')).map(({ event }) => event)

interface Insides {
  readonly o: { readonly log: { readonly head: bigint; readonly tail: bigint; trim(lsn: bigint): Promise<bigint> } }
}
const lsnOf = (checkpoint: string): bigint => BigInt(/(\d{20})/.exec(checkpoint)![1]!)
const logOf = (flow: Flow): Insides['o']['log'] => (flow.store as unknown as Insides).o.log

/** What a primary must not touch before somebody has decided. */
async function contents(root: MemoryRoot): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for await (const { name } of root.list('')) {
    if (/^(LOCK|NODE)/.test(name)) continue
    all[name] = Buffer.from((await root.get(name)).bytes).toString('base64')
  }
  return all
}

describe('H15 a primary whose history is another one asks the replica to look through its own chain', () => {
  /** r1 follows a primary; a backup of that goes on by itself, beyond where r1 is. */
  async function parted(): Promise<{ readonly back: Flow; readonly replica: Replica; readonly root: MemoryRoot }> {
    const [place, saved] = [tempDirectory(), tempDirectory()]
    const flow = await Flow.open(memory.make(), place)
    await flow.write(100)
    await flow.store.close()
    await cp(place, saved, { recursive: true })
    await flow.reopen()
    await flow.write(150)
    const root = new MemoryRoot({})
    const replica = await flow.replica('r1', root)
    await flow.ship()
    await flow.equal()
    await flow.store.close()
    const back = await Flow.open(flow.net, saved)
    back.replicas.set('r1', replica)
    await back.write(1000)
    return { back, replica, root }
  }

  it('H15 it is sound, and something was promised: split_history, halted, and nothing of the replica is touched', async () => {
    const { back, replica, root } = await parted()
    expect(replica.status().committed).toBeGreaterThan(0n)
    const before = await contents(root)
    const shipping = await back.ship()
    await until(() => shipping.status().halted === 1)
    expect(shipping.status().replicas[0]).toMatchObject({ state: 'halted', reason: 'split_history' })
    expect(events(shipping).filter((event) => /^(plan_|exec_)/.test(event))).toEqual([])
    expect(await contents(root)).toEqual(before)
    expect(await back.store.pins()).toEqual([])
  })

  it.each([
    ['at its beginning', 0.1],
    ['in its middle', 0.5],
    ['near its end', 0.9],
  ])('H15 bytes of its log are flipped %s: replica_corrupt, and it is rebuilt', async (_, where) => {
    const { back, replica, root } = await parted()
    const durable = Number(replica.status().durable)
    const segments: string[] = []
    for await (const { name } of root.list('log')) if (name.startsWith('log/') || name.startsWith('log.')) segments.push(name)
    // Where a record stands: the pages behind the last of them are empty.
    const name = segments.toSorted()[0]!
    const { bytes } = await root.get(name)
    const end = bytes.findLastIndex((byte) => byte !== 0)
    let at = Math.floor(end * where)
    while (bytes[at] === 0) at++
    root.corrupt(name, at, Uint8Array.of(bytes[at]! ^ 0x55))
    const states: string[] = []
    const shipping = await back.ship({ autoRebuild: false })
    shipping.registry.subscribe(({ to, reason }) => states.push(`${to} ${reason}`))
    await until(() => shipping.status().needsRebuild === 1)
    expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild', reason: 'replica_corrupt' })
    // It is as it was: a session that found damage has changed nothing.
    expect(Number(replica.status().durable)).toBe(durable)
    expect(replica.status().generation).toBe(0)
    await shipping.close()
    await back.ship()
    await until(() => replica.status().generation === 1)
    await back.equal()
    expect(back.shipping!.status().halted).toBe(0)
  })
})

describe('T4 a former primary with a log that begins behind its first checkpoints', () => {
  /** r1 was the primary and wrote what nobody has, above D. Its log begins at the checkpoint below D, which `lacks` says whether it is gone; `at`: D is that checkpoint. */
  async function returned(o: { readonly lacks?: boolean; readonly at?: boolean } = {}): Promise<{
    readonly heir: Flow
    readonly agreed: bigint
    readonly ended: bigint
    readonly root: MemoryRoot
  }> {
    const net = memory.make()
    const root = new MemoryRoot({})
    const old = await Flow.open(net, root, SMALL)
    await old.write(1500)
    await old.store.flush()
    if (o.at !== true) await old.write(100)
    const copy = new MemoryRoot({})
    await old.replica('r2', copy)
    await old.ship()
    await old.equal()
    await old.shipping!.close()
    const agreed = old.replicas.get('r2')!.status().durable
    await old.write(1500)
    await old.store.flush()
    await old.write(20)
    const ended = old.store.lsn
    const below: string[] = []
    let above = 0
    for await (const { name } of root.list('checkpoints/'))
      if (lsnOf(name) <= agreed) below.push(name)
      else above++
    expect([above > 0, below.length > 0]).toEqual([true, true])
    const log = logOf(old)
    await log.trim(lsnOf(below.at(-1)!))
    expect(log.tail).toBeGreaterThan(0n)
    expect(log.tail === agreed).toBe(o.at === true)
    if (o.lacks === true) for (const name of below) await root.delete(name)
    await old.store.close()
    const store = await old.replicas.get('r2')!.promote({ acceptLossAbove: agreed })
    const heir = await old.successor(copy, store)
    heir.replicas.clear()
    await heir.replica('r1', root)
    await heir.write(40)
    return { heir, agreed, ended, root }
  }

  const seen = (shipping: Shipping): ReplicaState[] => {
    const states: ReplicaState[] = []
    shipping.registry.subscribe(({ to }) => states.push(to))
    return states
  }

  it('T4 an older trusted one below D with its tail: it is cut and folded anew, and follows', async () => {
    const { heir, agreed, ended } = await returned()
    const replica = heir.replicas.get('r1')!
    expect(replica.status().durable).toBeGreaterThanOrEqual(ended)
    const cut: bigint[] = []
    replica.on('truncated', ({ durable }) => cut.push(durable))
    const shipping = await heir.ship()
    await heir.equal()
    expect(cut).toEqual([agreed])
    expect(events(shipping)).toContain('truncation_recorded')
    expect(events(shipping)).not.toContain('escalated')
    expect(replica.status().generation).toBe(0)
  })

  it('T4 only one above D: TruncationUnsafeError, truncation_escalated, needs_rebuild, never in sync; a rebuild brings it back', async () => {
    const { heir, ended, root } = await returned({ lacks: true })
    const replica = heir.replicas.get('r1')!
    const before = await contents(root)
    const shipping = await heir.ship({ autoRebuild: false })
    const states = seen(shipping)
    await until(() => shipping.status().needsRebuild === 1)
    expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild', reason: 'truncation_unsafe' })
    expect(events(shipping)).toContain('truncation_escalated')
    expect(events(shipping)).not.toContain('truncation_recorded')
    expect(shipping.log.eventsFor(replicaId('r1')).some(({ detail }) => detail.includes('TruncationUnsafeError') || detail.includes('truncation_unsafe'))).toBe(
      true,
    )
    expect(states).not.toContain('in_sync')
    expect(replica.status().durable).toBeGreaterThanOrEqual(ended)
    expect(await contents(root)).toEqual(before)
    expect(await heir.store.pins()).toEqual([])
    await shipping.close()
    await heir.ship()
    await until(() => replica.status().generation === 1)
    await heir.equal()
  })

  it('T4 D is where its log begins: nothing of it would be left to go on from, so it is not begun, and a rebuild brings it back', async () => {
    const { heir, ended, root } = await returned({ at: true })
    const shipping = await heir.ship({ autoRebuild: false })
    await until(() => shipping.status().needsRebuild === 1)
    expect(shipping.status().replicas[0]).toMatchObject({ state: 'needs_rebuild', reason: 'truncation_unsafe' })
    await shipping.close()
    // It can be opened: no truncation is under way.
    await heir.replicas.get('r1')!.close()
    const replica = await heir.replica('r1', root)
    expect(replica.status().durable).toBeGreaterThanOrEqual(ended)
    await heir.ship()
    await until(() => replica.status().generation === 1)
    await heir.equal()
  })
})

it('a load that a former primary had begun on records that were cut off does not keep it from being promoted: it is rolled back', async () => {
  const plain = defaultWorld()
  const world = { ...plain, failpoints: new FailpointRegistry(plain.timers) }
  const [root, other] = [new MemoryRoot({}), new MemoryRoot({})]
  const flow = await Flow.open(memory.make(), root, { ...SMALL, world })
  const replica = await flow.replica('r1', other)
  await flow.ship()
  await flow.write(20)
  await flow.equal()
  await flow.shipping!.close()
  const shared = flow.store.lsn
  // Alone it goes on, and dies with a load under way.
  await flow.write(30)
  const held = new Map<string, Uint8Array>()
  const keep = async (): Promise<void> => {
    for await (const { name } of root.list('staging/')) held.set(name, (await root.get(name)).bytes)
  }
  using armed = failpoints(world).arm(FP.promote.before, { run: keep })
  await flow.bulk(20_000)
  expect([...held.keys()].filter((name) => name.endsWith('/INTENT'))).toHaveLength(1)
  await flow.crash()
  flow.replicas.clear()

  const heir = await flow.successor(other, await replica.promote({ acceptLossAbove: Number(shared) }))
  for (const [name, bytes] of held) await root.put(name, bytes as Uint8Array<ArrayBuffer>)
  const back = await heir.replica('p', root)
  await heir.ship()
  await heir.equal()
  const agreed = heir.store.lsn
  expect(agreed).toBeLessThan(shared + 30n)
  await heir.shipping!.close()
  await heir.store.close()
  heir.replicas.clear()

  const again = await back.promote({ acceptLossAbove: Number(agreed) })
  onTestFinished(() => again.close())
  expect(await again.pending()).toEqual([])
  expect((await auditAll(again)).find(({ reason }) => reason === 'given-up')).toMatchObject({ outcomes: [{ outcome: 'rolledBack', table: 'people' }] })
  expect(await again.scan(people).count()).toBe((await flow.rows(again)).length)
  expect(armed.hits).toBeGreaterThan(0)
  const left: string[] = []
  for await (const { name } of root.list('staging/')) left.push(name)
  expect(left).toEqual([])
})
