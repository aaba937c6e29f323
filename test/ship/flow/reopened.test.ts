// A primary that comes back with more in its log than NODE calls committed: C reaches the end of the log without a write (shipping.md section 12).
import { expect, it } from 'vitest'

import { MemoryRoot } from '../../../bindings/root/index.ts'
import { replicaId } from '../../../bindings/ship/index.ts'
import { Flow, until, WAYS } from './flow-kit.ts'

const [{ make }] = WAYS as [(typeof WAYS)[number]]
const NAMES = ['r1', 'r2'] as const

/** Its last records were confirmed by nobody. */
async function crashed(): Promise<Flow> {
  const flow = await Flow.open(make(), new MemoryRoot({}))
  for (const id of NAMES) await flow.replica(id, new MemoryRoot({}))
  const first = await flow.ship({ mode: 'quorum' })
  await first.settled()
  await flow.write(30)
  await first.close()
  const shipping = await flow.ship({ ackTimeoutMs: 100 })
  await shipping.settled()
  for (const id of NAMES) await flow.replicas.get(id)!.close()
  await until(() => shipping.status().inSync === 0)
  await Promise.allSettled([0, 1, 2].map((n) => flow.unpromised(n)))
  await flow.crash()
  await flow.reopen()
  for (const id of NAMES) await flow.replica(id, flow.roots.get(id)!)
  return flow
}

it.each([
  ['that catch up', false],
  ['that are rebuilt', true],
])('A6 C reaches H without a write, over replicas %s', async (_, isRebuilt) => {
  const flow = await crashed()
  const shipping = await flow.ship()
  const { committedLsn, durableLsn } = shipping.status()
  expect(committedLsn).toBeLessThan(durableLsn - 2n)
  if (isRebuilt) for (const id of NAMES) shipping.registry.sender(replicaId(id)).markNeedsRebuild('asked_for')
  await shipping.settled({ signal: AbortSignal.timeout(20_000) })
  await until(() => shipping.status().committedLsn >= durableLsn)
  await flow.equal()
})
