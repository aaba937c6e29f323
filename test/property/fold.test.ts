// The fold is deterministic: the same log gives the same state byte for byte, from its start, from any checkpoint, in the writer, in a follower, after a reopen.

import fc from 'fast-check'
import { expect, it } from 'vitest'

import { checkpointBody, checkpointName, encodeCheckpoint } from '../../bindings/catalog/index.ts'
import { listCheckpoints, readCheckpoint, ReadPoint, scanAt, StoreState } from '../../bindings/engine/index.ts'
import { fromHex, toHex } from '../../bindings/format/index.ts'
import { type OpenOptions, Store } from '../../bindings/index.ts'
import { type CommitLog, type Lsn, openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { SharedContext } from '../../bindings/store/context.ts'
import { ColumnCache } from '../../bindings/table/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { History, kindsAfter, type Step, steps } from '../sim/history.ts'
import { simWorld } from '../sim/sim-world.ts'
import { type AnyRow, NAMES, stateRows, TABLES, text } from '../sim/store-model.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)

const script: fc.Arbitrary<Step[]> = fc
  .array(steps, { minLength: 3, maxLength: 30, size: 'max' })
  .map((list) => list.map((step) => (step.op === 'reopen' ? { ...step, how: 'clean' as const } : step)))

/** Merged into fragments of one row, whose record alone is three quarters of a MiB: the close flushes `pairs` and writes a checkpoint, which a history of few rows seldom comes to. */
const FLUSHED_BY_THE_CLOSE: Step[] = [
  { op: 'bulk', how: 'upsert', table: 'accounts', start: 0, count: 1576, salt: 2, form: 'columns' },
  {
    op: 'transact',
    parts: [
      { op: 'deleteWhere', table: 'accounts', below: -21 },
      { op: 'append', table: 'pairs', keys: [0], salt: 0, form: 'rows' },
    ],
    race: undefined,
    retries: 0,
  },
  { op: 'optimize', rows: 1 },
  { op: 'append', table: 'pairs', keys: [1], salt: 0, form: 'rows' },
  { op: 'reopen', how: 'clean' },
]

const bodyOf = (state: StoreState): string => toHex(checkpointBody(state.catalog))
/** The state behind a handle. */
const inner = (store: unknown): StoreState => (store as { o: { state: StoreState } }).o.state

const ordered = (rows: readonly AnyRow[]): string[] => rows.map((row) => text(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)))).sort()

/** Rows of every table of a state, as texts. */
async function contents(state: StoreState, lsn: number, world: ReturnType<typeof simWorld>['world']): Promise<string> {
  const context = { world, sortBytes: 1e9, missingColumn: state.context.missingColumn, check: () => {} }
  const all: string[][] = []
  for (const name of NAMES) {
    if (state.byName(name) === undefined) continue
    all.push(ordered((await scanAt(context as never, TABLES[name], {}, async () => new ReadPoint(state, lsn)).toArray()) as AnyRow[]))
  }
  return text(all)
}

async function check(steps: readonly Step[], options: OpenOptions, seed: number): Promise<void> {
  const files = new FakeFiles()
  const sim = simWorld({ seed, files })
  const history = new History({ root: '/data/store', sim, options }, { checks: false })
  await history.open()
  const follower = await Store.open('/data/store', { world: sim.world, threads: 0, readOnly: true, follow: false })
  const followed = new Map<number, string>()
  for (const step of steps) {
    await history.run([step])
    followed.set(Number(await follower.refresh()), bodyOf(inner(follower)))
    expect(bodyOf(inner(follower)), 'follower and writer').toBe(bodyOf(inner(history.store)))
  }
  const storeId = fromHex(history.store.id)
  const live = bodyOf(inner(history.store))
  const head = Number(history.store.lsn)

  const root = new DirRoot('/data/store', sim.world)
  const log: CommitLog = await openSegmentLog(root, {
    world: sim.world,
    storeId,
    readOnly: true,
    durability: 'synced',
    groupCommitMs: 0,
    bufferedSyncMs: 100,
    segmentBytes: 65_536,
    follow: false,
    floors: [],
    openRetry: { delaysMs: [], cleanupStale: false },
  } as never)
  const fresh = (): SharedContext => new SharedContext(root, new ColumnCache(1e6), sim.world)
  expect(bodyOf(await StoreState.load(fresh(), log, undefined)), 'from the start').toBe(live)
  const checkpoints = await listCheckpoints(root)
  const stride = Math.max(1, Math.floor(head / 6))
  const targets = [...new Set([...checkpoints, head, ...history.versions.map((version) => version.lsn).filter((_, i) => i % stride === 0)])]
  for (const lsn of targets) {
    const whole = await StoreState.load(fresh(), log, undefined, lsn)
    const rows = await contents(whole, lsn, sim.world)
    const version = history.versions.findLast((each) => each.lsn <= lsn)!
    expect(rows, `rows at ${lsn}`).toBe(text(NAMES.map((name) => ordered(stateRows(version.state, name)))))
    if (followed.has(lsn)) expect(bodyOf(whole), `the follower at ${lsn}`).toBe(followed.get(lsn))
    for (const at of checkpoints) {
      if (at > lsn) continue
      const resumed = await StoreState.load(fresh(), log, await readCheckpoint(root, storeId, at), lsn)
      expect(bodyOf(resumed), `LSN ${lsn} from the checkpoint ${at}`).toBe(bodyOf(whole))
      expect(await contents(resumed, lsn, sim.world), `rows at ${lsn} from the checkpoint ${at}`).toBe(rows)
    }
    if (!checkpoints.includes(lsn)) continue
    const stored = (await root.get(checkpointName(lsn))).bytes
    const made = encodeCheckpoint(storeId, lsn, await log.digestAt(BigInt(lsn) as Lsn), checkpointBody(whole.catalog))
    expect(toHex(made), `checkpoint file ${lsn}`).toBe(toHex(stored))
  }
  await log.close()
  await follower.close()
  await history.close()

  const again = await Store.open('/data/store', { ...options, threads: 0, world: sim.world })
  // Much log behind the close lets it flush.
  expect((await kindsAfter(again, head)).filter((kind) => kind !== 'flush')).toEqual(['epoch'])
  const reloaded = await StoreState.load(fresh(), (again as unknown as { o: { log: CommitLog } }).o.log, undefined, head)
  expect(bodyOf(reloaded), 'after a reopen').toBe(live)
  await again.close()
}

it('gives byte-identical checkpoints from the start, from any checkpoint, in a follower and after a reopen', { timeout: 3_600_000 }, () =>
  fc.assert(
    fc.asyncProperty(
      script,
      fc.record({ segmentBytes: fc.constantFrom(64 * 1024, 16 * 1024 * 1024), inlineLimitBytes: fc.constantFrom(600, 600, 256 * 1024, 256 * 1024, 0) }),
      fc.nat(1000),
      check,
    ),
    { numRuns: RUNS, examples: [[FLUSHED_BY_THE_CLOSE, { segmentBytes: 64 * 1024, inlineLimitBytes: 600 }, 0]] },
  ),
)
