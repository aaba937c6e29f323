// Power cuts: the machine stops at random calls of random histories, and of the recoveries after them; of what was not synced any part may survive.
//
// synced: everything acknowledged before the cut is there; buffered: a prefix that holds everything synced. In both, what is there is the state of one LSN.

import fc from 'fast-check'
import { expect, it } from 'vitest'

import { Store } from '../../bindings/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { History, type Step, steps } from './history.ts'
import { simWorld } from './sim-world.ts'
import { accounts, compare, EMPTY, rowOf, type State } from './store-model.ts'

/** Cuts looked at in all; `VARVE_CUTS=100000` for a long run. */
const CUTS = Number(process.env['VARVE_CUTS'] ?? 2500)
const CUTS_PER_HISTORY = 60

interface Cut {
  readonly files: FakeFiles
  readonly acknowledged: number
  readonly synced: number
  readonly what: string
}

/** Runs a history and takes an image of what a power cut would leave, at random calls. */
async function cutsOf(
  script: readonly Step[],
  durability: 'synced' | 'buffered',
  seed: number,
  inlineLimitBytes: number,
): Promise<{ cuts: Cut[]; history: History }> {
  const random = seededRandom(seed)
  const files = new FakeFiles()
  const sim = simWorld({ seed, files })
  const history = new History({ root: '/data/store', sim, options: { durability, segmentBytes: 64 * 1024, inlineLimitBytes } }, { checks: false })
  const cuts: Cut[] = []
  let wait = random.u32() % 10
  files.plan((call) => {
    if (wait-- > 0 || cuts.length >= CUTS_PER_HISTORY) return undefined
    wait = random.u32() % 24
    const image = files.image(random.u32())
    cuts.push({ files: image, acknowledged: history.acknowledged, synced: history.synced, what: `before call ${call.n}, ${call.op} ${call.path}` })
    return undefined
  })
  await history.open()
  await history.run(script)
  files.plan(undefined)
  await history.close()
  return { cuts, history }
}

function stateAt(history: History, head: number): { lsn: number; state: State } {
  return history.versions.findLast((version) => version.lsn <= head) ?? { lsn: 0, state: EMPTY }
}

async function lastEpoch(store: Store): Promise<number> {
  let last = 0
  for await (const { lsn } of store.audit({ kinds: ['epoch'] })) last = Number(lsn)
  return last
}

/** Opens what a cut left, looks, and may cut that recovery too. Returns how many states were looked at. */
async function recover(
  cut: Cut,
  history: History,
  durability: 'synced' | 'buffered',
  process: number,
  random: { u32(): number },
  before?: number,
): Promise<number> {
  const sim = simWorld({
    seed: random.u32(),
    files: cut.files,
    host: { pid: process, processStartTime: String(process) },
    startMs: 1_700_000_000_000 + process * 100_000,
  })
  let again: Cut | undefined
  let wait = process < 6 && random.u32() % 3 === 0 ? random.u32() % 60 : -1
  cut.files.plan((call) => {
    if (wait >= 0 && wait-- === 0)
      again = { ...cut, files: cut.files.image(random.u32()), what: `${cut.what}; then ${call.op} ${call.path} in open ${process}` }
    return undefined
  })
  const store = await Store.open('/data/store', { world: sim.world, threads: 0, durability, segmentBytes: 64 * 1024 }).catch((error: unknown) => {
    throw new Error(`${cut.what}: the store does not open: ${String(error)}`, { cause: error })
  })
  // An open adds its epoch, and a roll-back for each write that was armed: what the history left ends before the first epoch of a recovery.
  const head = before ?? (await lastEpoch(store)) - 1
  const found = stateAt(history, head)
  const needed = durability === 'synced' ? cut.acknowledged : cut.synced
  expect(found.lsn, `${cut.what}: acknowledged LSN ${needed}`).toBeGreaterThanOrEqual(Math.min(needed, stateAt(history, needed).lsn))
  if ((await store.tables()).length > 0) {
    await compare(store, found.state, `${cut.what}: LSN ${head}`, { light: true })
    if (random.u32() % 8 === 0) {
      const report = await store.verify({ level: 'all' })
      expect(report.problems, cut.what).toEqual([])
      await compare(store, found.state, `${cut.what}: LSN ${head}`)
    }
    // The store goes on: what is acknowledged now outlives the next cut.
    if (random.u32() % 4 === 0) {
      await store.upsert(accounts, rowOf('accounts', 5000 + process, 1))
      await store.sync()
      const after = simWorld({ seed: 1, files: cut.files.image(random.u32()), host: { pid: 900 + process, processStartTime: '9' } })
      const next = await Store.open('/data/store', { world: after.world, threads: 0 })
      expect(await next.get(accounts, { id: 5000 + process } as never), `${cut.what}: written after the recovery`).toEqual(rowOf('accounts', 5000 + process, 1))
      await next.close()
    }
  } else expect(needed, `${cut.what}: no tables`).toBe(0)
  cut.files.plan(undefined)
  if (random.u32() % 2 === 0) await store.close()
  return again === undefined ? 1 : 1 + (await recover(again, history, durability, process + 1, random, head))
}

it('keeps what it promised across a power cut at any moment, and across cuts of the recovery', { timeout: 3_600_000 }, async () => {
  let looked = 0
  const seed = Number(process.env['VARVE_SEED'] ?? 7)
  const scripts = fc.sample(fc.tuple(fc.array(steps, { minLength: 3, maxLength: 25, size: 'max' }), fc.constantFrom(600, 600, 256 * 1024, 256 * 1024, 0)), {
    seed,
    numRuns: Math.ceil(CUTS / CUTS_PER_HISTORY) * 2,
  })
  for (const [i, [script, inlineLimitBytes]] of scripts.entries()) {
    if (looked >= CUTS) break
    const durability = i % 3 === 2 ? 'buffered' : 'synced'
    const steps = script.map((step) => (step.op === 'reopen' ? { ...step, how: 'clean' as const } : step))
    const random = seededRandom(seed * 1000 + i)
    const { cuts, history } = await cutsOf(steps, durability, seed * 1000 + i, inlineLimitBytes)
    for (const cut of cuts) {
      looked += await recover({ ...cut, what: `seed ${seed}, history ${i}, ${durability}, ${cut.what}` }, history, durability, 2, random)
    }
  }
  expect(looked).toBeGreaterThanOrEqual(CUTS)
})
