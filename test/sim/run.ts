// `npm run sim -- durable|shared|ship --seeds N [--seed S] [--states N] [--steps N] [--profile P] [--events N] [--fail-fast] [--json]`: a simulation over many seeds.
// A seed that fails is printed (of ship with its last 200 events), and `--seed S --seeds 1` runs it again.

import { parseArgs } from 'node:util'

import { simulate } from './durable/simulate.ts'
import { type ProfileName, PROFILE_NAMES } from './ship/profiles.ts'
import { simulateShip } from './ship/simulate.ts'
import { simulateShared } from './shared/simulate.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    states: { type: 'string', default: '150' },
    steps: { type: 'string' },
    profile: { type: 'string' },
    events: { type: 'string' },
    json: { type: 'boolean', default: false },
    'fail-fast': { type: 'boolean', default: false },
  },
})
/** What a seed counts, and what it found. */
type Run = (seed: number) => Promise<{ readonly counts: Readonly<Record<string, number>>; readonly failures: readonly string[] }>

const RUNS: Readonly<Record<string, Run>> = {
  durable: async (seed) => {
    const { states, failures } = await simulate({ seed, states: Number(values.states) })
    return { counts: { states }, failures }
  },
  shared: async (seed) => {
    const { failures, seed: _seed, ...counts } = await simulateShared({ seed, ...(values.steps === undefined ? {} : { steps: Number(values.steps) }) })
    return { counts, failures }
  },
  ship: async (seed) => {
    const { profile, events } = values
    if (profile !== undefined && !PROFILE_NAMES.includes(profile as ProfileName))
      throw new Error(`no profile is called ${profile}; there are: ${PROFILE_NAMES.join(', ')}`)
    const { steps, failures, trace } = await simulateShip({
      seed,
      ...(profile === undefined ? {} : { profile: profile as ProfileName }),
      ...(events === undefined ? {} : { events: Number(events) }),
    })
    for (const line of trace) process.stderr.write(`${line}\n`)
    return { counts: { steps }, failures }
  },
}

const [what = 'durable'] = positionals
const run = RUNS[what]
if (run === undefined) {
  process.stderr.write(`no simulation is called ${what}; there are: ${Object.keys(RUNS).join(', ')}\n`)
  process.exit(2)
}
const total: Record<string, number> = { seeds: 0, failures: 0 }
const first = Number(values.seed)
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  const { counts, failures } = await run(seed)
  total['seeds']!++
  total['failures']! += failures.length
  for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count
  for (const failure of failures) process.stderr.write(`FAILED ${failure}\n`)
  if (values['fail-fast'] && total['failures']! > 0) break
  if (!values.json && total['seeds']! % 100 === 0) process.stdout.write(`seed ${seed}: ${JSON.stringify(total)}\n`)
}
process.stdout.write(`${JSON.stringify(total)}\n`)
process.exitCode = total['failures'] === 0 ? 0 : 1
