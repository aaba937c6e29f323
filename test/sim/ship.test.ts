// Seeded runs of a cluster: a writer and replicas on disks that lose what was not synced, over a network that loses and damages what is sent.
//
//   VARVE_RUNS=2000 VARVE_SEED=1 vitest run test/sim/ship.test.ts      or      npm run sim -- ship --seeds 20000 --seed 1
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { describe, expect, it } from 'vitest'

import { Cluster } from './ship/cluster.ts'
import { runShards } from './ship/shards.ts'
import { simulateShip } from './ship/simulate.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 300)
const FIRST = Number(process.env['VARVE_SEED'] ?? 9)
/** What happens rarely, and in so many seeds. */
const RARE = [
  'async store, acked as quorum',
  'async store, acked as all',
  'quorum store, acked as all',
  'a write waits too long',
  'a retry finds its record',
  'a retry after a reopen finds its record',
  'a retry after a promotion finds its record',
  'a retry after a promotion writes',
  'the mode is changed',
  'a change of the mode waits too long',
  'another ship() in one open',
  'a replica fails by its disk',
]

describe('a cluster that ships its log', () => {
  it('keeps every invariant after every event', async () => {
    let acked = 0
    const counts = new Map<string, number>()
    const failures: string[] = []
    const seeds = Array.from({ length: RUNS }, (_, i) => ({ seed: FIRST + i }))
    await runShards(seeds, (report) => {
      acked += report.acked
      for (const [what, count] of Object.entries(report.counts)) counts.set(what, (counts.get(what) ?? 0) + count)
      failures.push(...report.trace, ...report.failures)
      return report.failures.length === 0
    })
    expect(failures.join('\n')).toBe('')
    // The histories are worth something.
    expect(acked).toBeGreaterThan(RUNS * 100)
    if (RUNS >= 135) expect(RARE.filter((what) => !counts.has(what))).toEqual([])
  }, 3_600_000)

  it('runs the same way twice from one seed, bit for bit', async () => {
    const o = { seed: FIRST + 6, events: 300 }
    const [first, second] = [await simulateShip(o), await simulateShip(o)]
    expect(second).toEqual(first)
    expect((await simulateShip({ ...o, seed: o.seed + 1 })).hash).not.toBe(first.hash)
  })

  // A killed process ends nothing of what it began: whatever the runtime keeps for it would be kept for good.
  it('leaves nothing behind in its process', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const clusters: WeakRef<Cluster>[] = []
    const { start } = Cluster.prototype
    Cluster.prototype.start = function (machine) {
      if (clusters.at(-1)?.deref() !== this) clusters.push(new WeakRef(this))
      start.call(this, machine)
    }
    try {
      for (let i = 0; i < 3; i++) await simulateShip({ seed: FIRST + i, events: 300 })
    } finally {
      Cluster.prototype.start = start
    }
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => void setImmediate(resolve))
      collect()
    }
    // The last one may be on the stack.
    expect(clusters.slice(0, 2).map((cluster) => cluster.deref())).toEqual([undefined, undefined])
  })
})
