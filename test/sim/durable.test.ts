// The durable-state simulation of test/sim/durable/ over fixed seeds: at least 10,000 states after crashes, and after crashes of their recoveries.

import { describe, expect, it } from 'vitest'

import type { DiskOp } from '../../bindings/root/index.ts'
import { simulate, type SimOptions } from './durable/simulate.ts'

const STATES = Number(process.env['VARVE_STATES'] ?? 10_000)
const STATES_PER_SEED = 150
let calls = 0

/** The first failure on a file system that forgets some operations; undefined: none in so many seeds. */
async function firstFailure(forgets: SimOptions['forgets'], seeds: number): Promise<string | undefined> {
  for (let seed = 1; seed <= seeds; seed++) {
    const { failures } = await simulate({ seed, states: 100, ...(forgets === undefined ? {} : { forgets }) })
    if (failures.length > 0) return failures[0]
  }
  return undefined
}

describe('notices a file system that lies', () => {
  it.each<[string, (op: DiskOp) => boolean]>([
    ['about syncs of files', ({ op }) => op === 'sync'],
    ['about syncs of directories', ({ op }) => op === 'syncDir'],
    ['about syncs of the directory of the log', (op) => op.op === 'syncDir' && op.dir.endsWith('/log')],
    ['about syncs of the fragments', (op) => op.op === 'syncDir' && op.dir.includes('/fragments')],
    ['now and then', ({ op }) => op === 'sync' && ++calls % 3 === 0],
  ])('%s', { timeout: 120_000 }, async (_what, forgets) => {
    expect(await firstFailure(forgets, 20)).toBeDefined()
  })
})

it('opens every state that a crash may leave, with all that was promised, and recovers twice as once', { timeout: 3_600_000 }, async () => {
  const failures: string[] = []
  let states = 0
  for (let seed = Number(process.env['VARVE_SEED'] ?? 1); states < STATES && failures.length === 0; seed++) {
    const report = await simulate({ seed, states: STATES_PER_SEED })
    states += report.states
    failures.push(...report.failures)
  }
  expect(failures.join('\n')).toBe('')
  expect(states).toBeGreaterThanOrEqual(STATES)
})
