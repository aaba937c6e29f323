// The primary dies, a replica takes its place, the old primary comes back as a follower; and a replica that was away for longer than the log reaches back.
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { tempDirectory } from '../../unit/store/places.ts'
import { openProxy } from '../../ship/proxy.ts'
import { expectEqual, expectHolds, freePort, startPrimary, startReplica } from './cluster.ts'

it(
  'a replica is promoted after SIGKILL of the primary: nothing acknowledged is lost, and the old primary follows, cut back to what counts',
  { timeout: 180_000 },
  async () => {
    const folder = tempDirectory()
    const folders = { p: join(folder, 'p'), r1: join(folder, 'r1'), r2: join(folder, 'r2') }
    const ports = { p: await freePort(), r1: await freePort(), r2: await freePort() }
    const r1 = startReplica(folders.r1, 'r1', ports.r1)
    const r2 = startReplica(folders.r2, 'r2', ports.r2)
    const [w1, w2] = [await openProxy(await r1.until('ready')), await openProxy(await r2.until('ready'))]
    const old = startPrimary(folders.p, {
      replicas: [
        { id: 'r1', endpoint: w1.address },
        { id: 'r2', endpoint: w2.address },
      ],
      ack: 'quorum',
      first: 1,
      ackTimeoutMs: 1000,
    })
    const nodes = [r1, r2, old]
    try {
      await old.until('ready')
      old.tell('go 16')
      await old.until('a 200')
      // Its last commits reach nobody: they are in its log, and acknowledged to nobody.
      w1.refuse = true
      w2.refuse = true
      w1.cut()
      w2.cut()
      await old.until('e')
      await old.kill()
      const acknowledged = old.acknowledged()
      const facts = await Promise.all([r1, r2].map(async (node) => JSON.parse(await node.ask('status', 'status')) as { durable: string }))
      const winner = BigInt(facts[0]!.durable) >= BigInt(facts[1]!.durable) ? 'r1' : 'r2'
      const loser = winner === 'r1' ? 'r2' : 'r1'
      const chosen = winner === 'r1' ? r1 : r2
      const [epoch] = (await chosen.ask('promote', 'promoted')).split(' ')
      expect(Number(epoch)).toBeGreaterThan(1)
      const back = startReplica(folders.p, 'p', ports.p)
      nodes.push(back)
      const primary = startPrimary(folders[winner], {
        replicas: [
          { id: loser, endpoint: `127.0.0.1:${ports[loser]}` },
          { id: 'p', endpoint: await back.until('ready') },
        ],
        ack: 'quorum',
        first: 1_000_000,
      })
      nodes.push(primary)
      await primary.until('ready')
      primary.tell('go 8')
      await primary.until('a 1000100')
      await primary.ask('pause', 'paused')
      await primary.ask('settle', 'settled')
      acknowledged.push(...primary.acknowledged())
      primary.tell('close')
      expect(await primary.until('closed')).toBe('0')
      expect(back.lines.some((line) => line.startsWith('truncated'))).toBe(true)
      for (const node of [back, loser === 'r1' ? r1 : r2]) {
        node.tell('close')
        await node.until('closed')
      }
      for (const each of Object.values(folders)) await expectHolds(each, acknowledged, 2_000_000n)
      await expectEqual(folders.p, folders[winner], false)
      await expectEqual(folders[loser], folders[winner], false)
    } finally {
      for (const node of nodes) await node.kill()
      await w1.close()
      await w2.close()
    }
  },
)

it('a replica that was away past retention is rebuilt, and a second time it gets only what it lacks', { timeout: 180_000 }, async () => {
  const folder = tempDirectory()
  const folders = { p: join(folder, 'p'), r1: join(folder, 'r1') }
  const port = await freePort()
  let replica = startReplica(folders.r1, 'r1', port)
  await replica.until('ready')
  const primary = startPrimary(folders.p, {
    replicas: [{ id: 'r1', endpoint: `127.0.0.1:${port}` }],
    ack: 'async',
    first: 1,
    retention: { maxPinnedBytes: 64 * 1024, degradedPinMs: 200 },
  })
  try {
    await primary.until('ready')
    primary.tell('go 8')
    await primary.until('a 500')
    await primary.ask('pause', 'paused')
    await primary.ask('settle', 'settled')
    for (let round = 0; round < 2; round++) {
      await replica.kill()
      const from = primary.lines.length
      primary.tell('go 8')
      await pause(600)
      await primary.ask('pause', 'paused')
      await primary.ask('trim', 'trimmed')
      replica = startReplica(folders.r1, 'r1', port)
      await replica.until('ready')
      await primary.ask('settle', 'settled')
      expect(primary.lines.slice(from).some((line) => line.startsWith('state r1') && line.includes('needs_rebuild'))).toBe(true)
    }
    expect(await primary.ask('events', 'events')).toContain('exec_rebuild_completed')
    primary.tell('close')
    expect(await primary.until('closed')).toBe('0')
    replica.tell('close')
    await replica.until('closed')
    await expectHolds(folders.r1, primary.acknowledged(), 1_000_000n)
    await expectEqual(folders.r1, folders.p, false)
  } finally {
    await primary.kill()
    await replica.kill()
  }
})
