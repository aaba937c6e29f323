// Does the writer of an INTENT live (recovery.md section 7)? Only what is provable is said to be dead.
import { describe, expect, it } from 'vitest'

import type { Intent } from '../../../bindings/format/index.ts'
import { Owners } from '../../../bindings/recovery/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'

const ID = '01JD0000000000000000000001'
const LEASE = `staging/${ID}/LEASE`

function intentOf(owner: Partial<Intent['owner']>): Intent {
  return { writeId: ID, owner: { writerId: 'other', epoch: '1', ...owner } } as Intent
}

function watch(o: { isExclusive?: boolean; live?: string; alive?: boolean | undefined } = {}): { owners: Owners; root: MemoryRoot; clock: FakeClock } {
  const clock = new FakeClock()
  const world = fakeWorld({ clock, host: { name: 'here', pid: 1, processStartTime: '1', isAlive: () => o.alive } })
  const root = new MemoryRoot()
  const owners = new Owners({ root, world, writerId: 'me', isExclusive: o.isExclusive ?? false, isLive: (id) => id === o.live })
  return { owners, root, clock }
}

describe('an owner', () => {
  it('of this handle lives while its write is worked on, and not after', async () => {
    expect(await watch({ live: ID }).owners.liveness(intentOf({ writerId: 'me' }))).toBe('alive')
    expect(await watch().owners.liveness(intentOf({ writerId: 'me' }))).toBe('dead')
  })

  it('of another handle is gone where this one holds the store alone', async () => {
    expect(await watch({ isExclusive: true, alive: true }).owners.liveness(intentOf({ host: 'here', pid: 2 }))).toBe('dead')
  })

  it('of another process of this host lives as that does; what cannot be told is watched', async () => {
    expect(await watch({ alive: true }).owners.liveness(intentOf({ host: 'here', pid: 2, started: '5' }))).toBe('alive')
    expect(await watch({ alive: false }).owners.liveness(intentOf({ host: 'here', pid: 2, started: '5' }))).toBe('dead')
    expect(await watch({ alive: undefined }).owners.liveness(intentOf({ host: 'here', pid: 2 }))).toBe('unknown')
    expect(await watch({ alive: true }).owners.liveness(intentOf({ host: 'here', pid: 1 })), 'another handle of this process').toBe('unknown')
    expect(await watch({ alive: false }).owners.liveness(intentOf({ host: 'there', pid: 2 }))).toBe('unknown')
  })

  it('elsewhere is gone when its LEASE stood still for 30 s of this clock, and lives while it changes', async () => {
    const { owners, root, clock } = watch()
    const look = (): Promise<string> => owners.liveness(intentOf({ host: 'there', pid: 2 }))
    expect(await look()).toBe('unknown')
    for (let i = 0; i < 6; i++) {
      await clock.advance(20_000)
      await root.put(LEASE, new Uint8Array([i]))
      expect(await look()).toBe('alive')
    }
    await clock.advance(29_999)
    expect(await look()).toBe('unknown')
    // A wall clock that jumps says nothing.
    clock.step(86_400_000)
    expect(await look()).toBe('unknown')
    await clock.advance(1)
    expect(await look()).toBe('dead')
    await root.put(LEASE, new Uint8Array([9]))
    expect(await look()).toBe('alive')
  })

  it('that never wrote a LEASE is gone after the same time', async () => {
    const { owners, clock } = watch()
    expect(await owners.liveness(intentOf({ host: 'there' }))).toBe('unknown')
    await clock.advance(30_000)
    expect(await owners.liveness(intentOf({ host: 'there' }))).toBe('dead')
  })
})
