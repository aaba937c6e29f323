// A primary and a replica with a proxy between them: cuts, half-open connections, slow peers and flipped bytes while commits go on. Whatever the network does, the
// replica ends equal, and never holds anything else on the way.
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { tempDirectory } from '../../unit/store/places.ts'
import { openProxy, type Proxy } from '../../ship/proxy.ts'
import { expectEqual, expectHolds, freePort, type Node, startPrimary, startReplica } from './cluster.ts'

const LANES = 8

interface Pair {
  readonly primary: Node
  readonly replica: Node
  readonly proxy: Proxy
  readonly folders: { readonly p: string; readonly r: string }
}

async function withPair(work: (pair: Pair) => Promise<void>): Promise<void> {
  const folder = tempDirectory()
  const folders = { p: join(folder, 'p'), r: join(folder, 'r') }
  const replica = startReplica(folders.r, 'r1', await freePort())
  const proxy = await openProxy(await replica.until('ready'))
  const primary = startPrimary(folders.p, { replicas: [{ id: 'r1', endpoint: proxy.address }], ack: 'async', first: 1 })
  try {
    await primary.until('ready')
    primary.tell(`go ${LANES}`)
    await work({ primary, replica, proxy, folders })
    await primary.ask('pause', 'paused')
    await primary.ask('settle', 'settled')
    primary.tell('close')
    expect(await primary.until('closed'), 'pins that are left').toBe('0')
    replica.tell('close')
    await replica.until('closed')
    const acknowledged = primary.acknowledged()
    expect(acknowledged.length).toBeGreaterThan(0)
    await expectHolds(folders.r, acknowledged, 1_000_000n)
    await expectEqual(folders.r, folders.p, false)
  } finally {
    await primary.kill()
    await replica.kill()
    await proxy.close()
  }
}

/** Until the replica follows the live stream: a session that has not come so far ends in another way. @returns the line from which on its end is told */
async function untilLive(primary: Node): Promise<number> {
  for (;;) {
    const from = primary.lines.length
    const { replicas } = JSON.parse(await primary.ask('status', 'status')) as { replicas: readonly { state: string }[] }
    if (replicas[0]!.state === 'in_sync') return from
    await pause(50)
  }
}

describe('a replica behind a bad network ends equal', () => {
  it('cut again and again', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy }) => {
      for (let i = 0; i < 8; i++) {
        await pause(250)
        proxy.cut()
      }
    })
  })

  it('refused for a while', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy }) => {
      await pause(300)
      proxy.refuse = true
      proxy.cut()
      await pause(1500)
      proxy.refuse = false
    })
  })

  it('half-open: nothing arrives and nobody is told', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy, primary }) => {
      const from = await untilLive(primary)
      proxy.faults.swallow = true
      await primary.until('state r1 in_sync degraded', from)
      proxy.faults.swallow = false
      proxy.cut()
    })
  })

  it('a peer that takes nothing for a while', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy }) => {
      await pause(500)
      proxy.faults.hold = true
      await pause(4500)
      proxy.faults.hold = false
    })
  })

  it('slow: 200 KiB a second', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy, primary }) => {
      proxy.faults.bytesPerSecond = 200 * 1024
      await pause(3000)
      await primary.ask('pause', 'paused')
      proxy.faults.bytesPerSecond = 0
    })
  })

  it('one byte of 50,000 is another one', { timeout: 120_000 }, async () => {
    await withPair(async ({ proxy, replica }) => {
      proxy.faults.flipEvery = 50_000
      await pause(4000)
      proxy.faults.flipEvery = 0
      // Damage is found where it arrives: nothing of it was ever taken.
      expect(replica.lines.filter((line) => line.startsWith('failed'))).toEqual([])
    })
  })
})
