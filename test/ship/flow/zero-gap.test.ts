// A replica that lacks nothing: between the grant of its session and its stream things fail too.
import { expect, it, vi } from 'vitest'

import { PinRefusedError } from '../../../bindings/errors.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { replicaId, type ReplicaState } from '../../../bindings/ship/index.ts'
import { StoreHistory } from '../../../bindings/store/ship-history.ts'
import { Flow, WAYS } from './flow-kit.ts'

it('a stream whose pin is refused leaves the replica degraded, not in sync without a stream; the next session opens one', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}))
  await flow.write(20)
  await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.equal()
  await flow.shipping!.close()
  const refused = new PinRefusedError('no pin today', { details: { asked: 21n, tail: 0n, floor: 0n } })
  const pins = vi.spyOn(StoreHistory.prototype, 'pinLog').mockRejectedValueOnce(refused)
  const shipping = await flow.ship()
  const states: ReplicaState[] = []
  shipping.registry.subscribe(({ to }) => states.push(to))
  await flow.equal()
  pins.mockRestore()
  expect(states.filter((state) => state !== 'connecting')).toEqual(['in_sync', 'degraded', 'in_sync'])
  const events = shipping.log.eventsFor(replicaId('r1')).filter(({ event }) => ['plan_zero_gap', 'degraded', 'stream_opened', 'session_failed'].includes(event))
  expect(events.map(({ event }) => event)).toEqual(['plan_zero_gap', 'degraded', 'plan_zero_gap', 'stream_opened'])
  expect(events[1]!.detail).toBe('stream_send_failed: no pin today')
})
