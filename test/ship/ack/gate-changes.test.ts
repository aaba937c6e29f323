// Changes of the acknowledgement mode that come at a bad moment (shipping.md section 12).
import { describe, expect, it } from 'vitest'

import type { Acker, Committer } from '../../../bindings/engine/index.ts'
import type { AckMode } from '../../../bindings/format/index.ts'
import { fillWorld } from '../../../bindings/runtime/index.ts'
import { type CommittedStore, QuorumGate } from '../../../bindings/store/quorum-gate.ts'
import { failure, PLACES } from '../../unit/store/places.ts'
import { cluster, settles } from './cluster.ts'

/** Everything up to LSN 4 is committed, and nobody listens. */
function gateAt4(mode: AckMode, node: CommittedStore | undefined): QuorumGate {
  const committer = { durable: () => undefined, expire: () => undefined, fail: () => undefined } as unknown as Committer
  return new QuorumGate(() => committer, fillWorld(undefined), node, { mode, since: 0, committed: 4, head: 4, changes: [], isOpening: false, isPlain: true })
}

it('A9 a change whose record never reached the log is not waited for, and nothing else that came with it stays', async () => {
  const gate = gateAt4('async', undefined)
  gate.queued(5, { mode: 'quorum', before: 'async', forced: false, timeMs: 0, id: new Uint8Array(16) })
  expect((await failure(() => gate.admit(undefined))).name).toBe('AckUnavailableError')
  gate.takeBack(6)
  expect((await failure(() => gate.admit(undefined))).name).toBe('AckUnavailableError')
  gate.takeBack(5)
  gate.admit(undefined)
  await gate.steady()
  gate.durable(7)
  expect([gate.mode, gate.committed]).toEqual(['async', 7])
})

it('A9 a forced change that comes while a weaker one is made durable is waited for like any other', async () => {
  const written: (() => void)[] = []
  const node: CommittedStore = {
    committed: 4,
    noteCommitted: () => undefined,
    update: () => new Promise<void>((resolve) => void written.push(resolve)),
  }
  const gate = gateAt4('all', node)
  gate.attach({ durable: () => undefined, neededNodes: () => 2, reachable: 3, committedIn: () => 5 } as unknown as Acker)
  const record = { timeMs: 0, id: new Uint8Array(16) }
  gate.queued(5, { ...record, mode: 'quorum', before: 'all', forced: false })
  gate.durable(5)
  gate.queued(6, { ...record, mode: 'async', before: 'quorum', forced: true })
  gate.durable(6)
  expect(written).toHaveLength(2)
  written[0]!()
  await settles()
  let isSteady = false
  const steady = gate.steady().then(() => (isSteady = true))
  await settles()
  expect([isSteady, gate.mode]).toEqual([false, 'all'])
  written[1]!()
  await steady
  expect([gate.mode, gate.committed]).toEqual(['async', 6])
})

it('A9 records behind a change that was forced to a stronger mode are committed by that mode', () => {
  const node: CommittedStore = { committed: 4, noteCommitted: () => undefined, update: () => Promise.resolve() }
  const gate = gateAt4('async', node)
  gate.attach({ durable: () => undefined, neededNodes: () => 2, reachable: 3, committedIn: () => 4 } as unknown as Acker)
  gate.queued(5, { mode: 'quorum', before: 'async', forced: true, timeMs: 0, id: new Uint8Array(16) })
  // In one group with what comes behind it.
  gate.durable(7)
  expect([gate.mode, gate.committed]).toEqual(['quorum', 5])
})

describe.each(PLACES)('in a store, %s', (_name, place) => {
  it('A9 a change behind one that waits is made after it, and is the mode then', async () => {
    const one = await cluster(place(), 'quorum')
    one.prompt.clear()
    const first = one.store.setAckMode('all')
    await one.synced()
    const second = one.store.setAckMode('quorum')
    let isOver = false
    void second.then(() => (isOver = true))
    await settles()
    expect(isOver).toBe(false)
    one.confirms('r1')
    one.confirms('r2')
    await Promise.all([first, second])
    expect((await one.store.stats()).ackMode).toBe('quorum')
  })
})
