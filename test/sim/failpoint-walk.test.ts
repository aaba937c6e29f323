// Walks the failpoints of an open, the log, a flush, a checkpoint and the root below them: an error or a crash at each of their arrivals, then two opens.
//
// Given what was acknowledged before, then it is there; a commit that was not is there as a whole or not at all; the second open finds what the first did.
import { describe, expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { type FailpointAction, type FailpointName, failpoints, FakeFiles, FaultyRoot, FP } from '../../bindings/testing/index.ts'
import { simWorld } from './sim-world.ts'

const docs = table('docs', { id: t.int32(), batch: t.int32(), body: t.utf8() }, { key: ['id'] })

const ROWS = 3
const POINTS: readonly FailpointName[] = [
  FP.open.beforeLock,
  FP.open.afterLock,
  FP.open.beforeEpoch,
  FP.open.afterVersionFile,
  FP.open.probe,
  FP.log.node,
  FP.log.preallocate,
  FP.log.beforeWrite,
  FP.log.shortWrite,
  FP.log.beforeSync,
  FP.log.afterSync,
  FP.log.beforeLockCheck,
  FP.log.roll,
  FP.log.beforeFooter,
  FP.log.afterFooter,
  FP.log.beforeClean,
  FP.log.afterClean,
  FP.checkpoint.beforeWrite,
  FP.checkpoint.beforeRename,
  FP.checkpoint.afterRename,
  FP.flush.beforeFragment,
  FP.flush.beforePublish,
  FP.flush.afterPublish,
  FP.root.get,
  FP.root.put,
  FP.root.putIfAbsent,
  FP.root.list,
  FP.root.delete,
  FP.root.link,
  FP.root.syncDir,
]

const ACTIONS: Readonly<Record<string, FailpointAction>> = {
  error: { error: 'io' },
  crash: { crash: true },
}
/** Of a point that surrounds its effect. */
const LOST: FailpointAction = { errorAfterEffect: 'timeout' }

const wraps = (name: FailpointName): boolean => name.startsWith('root.') || name === FP.open.probe

interface Outcome {
  readonly disk: FakeFiles
  readonly acknowledged: ReadonlySet<number>
  readonly started: ReadonlySet<number>
  readonly fired: number
}

/** Two lives of a store on one disk, with one point armed. Ends when the store is closed or the world has stopped. */
async function live(seed: number, name: FailpointName, action: FailpointAction, after: number): Promise<Outcome> {
  const disk = new FakeFiles()
  const acknowledged = new Set<number>()
  const started = new Set<number>()
  const { world } = simWorld({ seed, files: disk })
  const points = failpoints(world)
  using armed = points.arm(name, { ...action, after, times: 1, mayMiss: true })
  const put = async (store: Store, batch: number): Promise<void> => {
    started.add(batch)
    await store.upsert(
      docs,
      Array.from({ length: ROWS }, (_, i) => ({ id: batch * ROWS + i, batch, body: `${batch}.${i}` })),
    )
    acknowledged.add(batch)
  }
  const work = async (): Promise<void> => {
    for (let open = 0; open < 2; open++) {
      const store = await Store.open(new FaultyRoot(new DirRoot('/data/store', world), { failpoints: points }), { world, threads: 0, segmentBytes: 64 * 1024 })
      try {
        if (!(await store.tables()).some((each) => each.name === 'docs')) await store.create(docs)
        for (let i = 0; i < 3; i++) await put(store, open * 10 + i)
        await store.flush()
        await put(store, open * 10 + 5)
      } finally {
        await store.close()
      }
    }
  }
  // An error ends a life as it would end a caller's: what it was is not the matter here.
  await Promise.race([work().catch(() => undefined), points.crashed])
  return { disk, acknowledged, started, fired: armed.fired }
}

/** What a new process finds, as batches. */
async function look(disk: FakeFiles, pid: number, { acknowledged, started }: Outcome): Promise<readonly number[]> {
  const isAlive = (other: number): boolean => other === pid
  const { world } = simWorld({ seed: pid, files: disk, host: { pid, processStartTime: String(pid), isAlive } })
  const store = await Store.open('/data/store', { world, threads: 0 })
  try {
    const batches: number[] = []
    if ((await store.tables()).some((each) => each.name === 'docs')) {
      const found = new Map<number, string[]>()
      for await (const { batch, body } of store.scan(docs).rows()) found.set(batch, [...(found.get(batch) ?? []), body])
      for (const [batch, bodies] of found) {
        expect(bodies.toSorted(), `batch ${batch}`).toEqual(Array.from({ length: ROWS }, (_, i) => `${batch}.${i}`))
        batches.push(batch)
      }
    }
    for (const batch of acknowledged) expect(batches, 'acknowledged').toContain(batch)
    for (const batch of batches) expect(started, 'invented').toContain(batch)
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
    return batches.toSorted((a, b) => a - b)
  } finally {
    await store.close()
  }
}

describe('a failpoint of a plain store', () => {
  const cells: Record<string, number> = {}
  for (const name of POINTS) {
    for (const [what, action] of Object.entries(wraps(name) ? { ...ACTIONS, lost: LOST } : ACTIONS)) {
      it(`${name}, ${what}: nothing acknowledged is lost, nothing is half there`, async () => {
        let arrivals = 0
        for (let after = 0; ; after++) {
          const outcome = await live(7 + after, name, action, after)
          if (outcome.fired === 0) break
          arrivals++
          // The process alone is gone, or the machine with what was not synced.
          for (const [how, disk] of [
            ['kill', outcome.disk.image(after, 'all')],
            ['power cut', outcome.disk.image(after)],
          ] as const) {
            const first = await look(disk, 2, outcome).catch((cause: unknown) => {
              throw new Error(`arrival ${after}, ${how}`, { cause })
            })
            expect(await look(disk.restart(), 3, outcome), `arrival ${after}, ${how}: the second open`).toEqual(first)
          }
        }
        expect(arrivals, 'the workload arrives here').toBeGreaterThan(0)
        cells[`${name} ${what}`] = arrivals
      })
    }
  }

  it('decides every cell', () => {
    expect(Object.keys(cells).length).toBe(POINTS.length * 2 + POINTS.filter(wraps).length)
  })
})
