// `npm run sim -- durable|shared|ship --seeds N [--seed S] [--states N] [--steps N] [--profile P] [--events N] [--mutants] [--fail-fast] [--json]`: a simulation over many seeds.
// A seed that fails is printed (of ship with its last 200 events), and `--seed S --seeds 1` runs it again.

import { parseArgs } from 'node:util'

import { simulate } from './durable/simulate.ts'
import { runMutants, runShip } from './ship/run.ts'
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
    mutants: { type: 'boolean', default: false },
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
}

const [what = 'durable'] = positionals
const total = what === 'ship' ? await ship() : await simulated()
process.stdout.write(`${JSON.stringify(total)}\n`)
process.exitCode = total['failures'] === 0 ? 0 : 1

function ship(): Promise<Record<string, number>> {
  const { events, profile } = values
  return (values.mutants ? runMutants : runShip)({
    first: Number(values.seed),
    seeds: Number(values.seeds),
    failFast: values['fail-fast'],
    say: (line) => void (values.json || process.stdout.write(`${line}\n`)),
    complain: (line) => void process.stderr.write(`${line}\n`),
    ...(events === undefined ? {} : { events: Number(events) }),
    ...(profile === undefined ? {} : { profile }),
  })
}

async function simulated(): Promise<Record<string, number>> {
  const run = RUNS[what]
  if (run === undefined) {
    process.stderr.write(`no simulation is called ${what}; there are: ${Object.keys(RUNS).join(', ')}, ship\n`)
    process.exit(2)
  }
  const sum: Record<string, number> = { seeds: 0, failures: 0 }
  const first = Number(values.seed)
  for (let seed = first; seed < first + Number(values.seeds); seed++) {
    const { counts, failures } = await run(seed)
    sum['seeds']!++
    sum['failures']! += failures.length
    for (const [name, count] of Object.entries(counts)) sum[name] = (sum[name] ?? 0) + count
    for (const failure of failures) process.stderr.write(`FAILED ${failure}\n`)
    if (values['fail-fast'] && sum['failures']! > 0) break
    if (!values.json && sum['seeds']! % 100 === 0) process.stdout.write(`seed ${seed}: ${JSON.stringify(sum)}\n`)
  }
  return sum
}
