// A vacuum's record waits for replicas like any other, and those may need a pin before they can confirm it.
import { describe, expect, it } from 'vitest'

import { lsn, type Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { Flow, people, until, WAYS } from '../flow/flow-kit.ts'

/** Versions with files of their own: there is something to name, and log to trim. */
async function aged(flow: Flow): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await flow.bulk(2000)
    await flow.store.flush()
    await flow.store.optimize()
  }
}

const filesOf = (root: MemoryRoot): string[] => root.namesSync().filter((name) => name.startsWith('fragments/'))
const vacuumed = (store: Store): Promise<{ readonly deleted: number }> => store.vacuum({ keep: { versions: 1 } })

describe('a vacuum whose record waits for a replica that has fallen out', () => {
  // In real time: an acknowledgement may take longer than the test, so that nothing but the replica can end the wait.
  const LONG_MS = 30_000

  async function waiting(): Promise<{ readonly flow: Flow; readonly report: Promise<{ readonly deleted: number }>; readonly recorded: bigint }> {
    const root = new MemoryRoot({})
    const flow = await Flow.open(WAYS[0]!.make(), root, { segmentBytes: 16 * 1024, inlineLimitBytes: 256, threads: 0, upkeep: 'manual' })
    await flow.replica('r1', new MemoryRoot({}))
    await flow.replica('r2', new MemoryRoot({}))
    const shipping = await flow.ship({ ackTimeoutMs: LONG_MS })
    await shipping.settled({ signal: AbortSignal.timeout(30_000) })
    await flow.store.setAckMode('all')
    await aged(flow)
    // A log that has a tail: who comes with nothing needs a base.
    await vacuumed(flow.store)
    await aged(flow)
    await flow.equal()
    const before = flow.store.lsn
    const files = filesOf(root)
    flow.net.network!.partition('primary', 'r1')
    const report = vacuumed(flow.store)
    report.catch(() => undefined)
    await until(() => shipping.status().durableLsn > before)
    // Nobody but r1 is missing.
    await until(() => flow.replicas.get('r2')!.status().durable > before)
    expect(flow.store.lsn).toBe(before)
    expect(filesOf(root)).toEqual(files)
    await flow.replicas.get('r1')!.close()
    flow.net.network!.heal()
    await until(() => shipping.status().inSync === 1)
    return { flow, report, recorded: before + 1n }
  }

  it('ends when the replica is back: its stream is pinned, and no file goes before the record is committed', async () => {
    const { flow, report, recorded } = await waiting()
    await flow.replica('r1', flow.roots.get('r1')!)
    expect((await report).deleted).toBeGreaterThan(0)
    expect(flow.store.lsn).toBeGreaterThanOrEqual(lsn(recorded))
    await flow.equal()
  }, 60_000)

  it('ends when the replica is back with an empty disk: a base is pinned, and what it needs stays', async () => {
    const { flow, report } = await waiting()
    await flow.replica('r1', new MemoryRoot({}))
    expect((await report).deleted).toBeGreaterThan(0)
    await flow.equal()
    expect(flow.shipping!.log.events().map(({ event }) => event)).toContain('exec_rebuild_completed')
    expect(await flow.store.scan(people).count()).toBe(12_000)
  }, 60_000)
})
