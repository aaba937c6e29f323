// A live stream and its sender: S19 of shipping.md section 16.
import { describe, expect, it } from 'vitest'

import { SessionFencedError } from '../../../bindings/errors-ship.ts'
import type { Sender } from '../../../bindings/ship/index.ts'
import { catchingUp, makeSender, policy, R1 } from './kit.ts'

/** A live stream whose end is written down. */
function stream(): { closed: string[]; close(reason: string): void } {
  const closed: string[] = []
  return { closed, close: (reason) => void closed.push(reason) }
}

function inSync(sender: Sender, live = stream()): { live: ReturnType<typeof stream>; grant: ReturnType<Sender['completeCatchUp']> } {
  const id = catchingUp(sender)
  sender.recordProgress(id, 100)
  const grant = sender.completeCatchUp(id)
  sender.streamOpened(grant.fence, live)
  return { live, grant }
}

describe('S19: one session or one stream', () => {
  it('S19 attaching beside a live stream closes it first; then the session becomes active, never both', () => {
    const context = policy()
    const sender = makeSender(context)
    const seen: (string | null)[] = []
    const live = { close: (reason: string) => void seen.push(reason, sender.session()?.phase ?? null) }
    const id = catchingUp(sender)
    sender.recordProgress(id, 100)
    sender.streamOpened(sender.completeCatchUp(id).fence, live)
    expect(sender.status()).toMatchObject({ state: 'in_sync', streaming: true, session: null })
    const next = sender.attach(1, 'catchup')
    expect(seen).toEqual(['session_attached', null])
    expect(sender.status()).toMatchObject({ state: 'disconnected', streaming: false, session: { id: next } })
    expect(
      context.log
        .events()
        .slice(-3)
        .map((entry) => entry.event),
    ).toEqual(['stream_opened', 'stream_closed', 'session_created'])
  })

  it.each<readonly [string, string, (sender: Sender) => unknown]>([
    ['supersede', 'assignment', (sender) => sender.supersede('catchup', 'assignment')],
    ['an epoch raise', 'epoch_advanced:1->2', (sender) => sender.updateEpoch(2)],
    ['an endpoint change', 'endpoint_changed', (sender) => sender.updateEndpoint({ data: 'b:1', version: 2 })],
    ['stop', 'sender_stopped', (sender) => sender.stop()],
    ['a newer primary', 'fenced', (sender) => sender.fence(2, R1)],
    ['halt', 'split_history', (sender) => sender.halt('split_history')],
    ['needs_rebuild', 'retention_exceeded', (sender) => sender.markNeedsRebuild('retention_exceeded')],
    ['degraded', 'lag_exceeded', (sender) => sender.markDegraded('lag_exceeded')],
  ])('S19 %s closes the live stream, and what comes over it afterwards counts for nothing', (_, reason, event) => {
    const sender = makeSender()
    const { live, grant } = inSync(sender)
    expect(sender.recordDurable(grant.fence, 120)).toBe(true)
    expect(sender.recordDurable(grant.fence, 110)).toBe(true)
    event(sender)
    expect(live.closed).toEqual([reason])
    expect(sender.status()).toMatchObject({ streaming: false, durableLsn: 120 })
    expect(sender.isLive(grant.fence)).toBe(false)
    expect(sender.recordDurable(grant.fence, 130)).toBe(false)
    expect(sender.streamClosed(grant.fence, 'ack_timeout')).toBe(false)
    expect(sender.state).not.toBe('in_sync')
  })

  it.each([
    ['stream_send_failed', 'degraded'],
    ['ack_timeout', 'degraded'],
    ['lag_exceeded', 'degraded'],
    ['transport_failed', 'degraded'],
    ['lease_lost', 'degraded'],
    ['retention_exceeded', 'needs_rebuild'],
    ['closed', 'disconnected'],
  ])('S19 a live stream that ends by %s leaves the replica %s', (reason, state) => {
    const context = policy()
    const sender = makeSender(context)
    const { live, grant } = inSync(sender)
    expect(sender.streamClosed({ ...grant.fence, endpointVersion: 2 }, reason)).toBe(false)
    expect(sender.streamClosed(grant.fence, reason, 'as it was')).toBe(true)
    expect(sender.status()).toMatchObject({ state, reason, streaming: false })
    expect(live.closed).toEqual([reason])
    const events = context.log.events().map((entry) => entry.event)
    expect(events.filter((event) => event === 'stream_closed')).toHaveLength(1)
    expect(events.includes('degraded')).toBe(state === 'degraded')
    expect(events.includes('retention_exceeded')).toBe(state === 'needs_rebuild')
    if (state === 'degraded') expect(context.log.events().at(-1)).toMatchObject({ event: 'degraded', detail: `${reason}: as it was`, fields: { reason } })
  })

  it('S19 only the last grant opens a stream, once', () => {
    const sender = makeSender()
    const { grant } = inSync(sender)
    expect(() => sender.streamOpened(grant.fence, stream())).toThrow(SessionFencedError)
    sender.markDegraded('ack_timeout')
    expect(() => sender.streamOpened(grant.fence, stream())).toThrow(SessionFencedError)
    const id = catchingUp(sender)
    expect(() => sender.streamOpened(grant.fence, stream())).toThrow(SessionFencedError)
    expect(() => sender.streamOpened(sender.session()!.fence, stream())).toThrow(SessionFencedError)
    sender.recordProgress(id, 100)
    const next = sender.completeCatchUp(id)
    expect(() => sender.streamOpened(grant.fence, stream())).toThrow(SessionFencedError)
    sender.streamOpened(next.fence, stream())
    expect(sender.isLive(next.fence)).toBe(true)
  })

  it('a degraded mark means nothing while a session works, or in a worse state', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    expect(sender.markDegraded('ack_timeout')).toBe(false)
    expect(sender.session()?.id).toBe(id)
    sender.markNeedsRebuild('lineage_conflict')
    expect(sender.markDegraded('ack_timeout')).toBe(false)
    expect(sender.state).toBe('needs_rebuild')
  })

  it('S19 a grant that was not used is worth nothing once a session is attached', () => {
    const sender = makeSender()
    const id = catchingUp(sender)
    sender.recordProgress(id, 100)
    const grant = sender.completeCatchUp(id)
    const next = sender.attach(1, 'catchup')
    expect(() => sender.streamOpened(grant.fence, stream())).toThrow(SessionFencedError)
    expect(sender.status()).toMatchObject({ state: 'disconnected', streaming: false, session: { id: next } })
  })

  it('a detail that only repeats the reason is said once', () => {
    const context = policy()
    const sender = makeSender(context)
    inSync(sender)
    sender.markDegraded('ack_timeout')
    expect(context.log.events().at(-1)).toMatchObject({ event: 'degraded', detail: 'ack_timeout' })
  })
})
