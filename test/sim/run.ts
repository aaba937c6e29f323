// `npm run sim -- durable --seeds N [--seed S] [--states N] [--fail-fast] [--json]`: the durable-state simulation over many seeds. A seed that fails is printed, and
// `--seed S --seeds 1` runs it again.

import { parseArgs } from 'node:util'

import { simulate } from './durable/simulate.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    states: { type: 'string', default: '150' },
    json: { type: 'boolean', default: false },
    'fail-fast': { type: 'boolean', default: false },
  },
})
const [what = 'durable'] = positionals
if (what !== 'durable') {
  process.stderr.write(`no simulation is called ${what}; there is: durable\n`)
  process.exit(2)
}
const total = { seeds: 0, states: 0, failures: 0 }
const first = Number(values.seed)
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  const { states, failures } = await simulate({ seed, states: Number(values.states) })
  total.seeds++
  total.states += states
  total.failures += failures.length
  for (const failure of failures) process.stderr.write(`FAILED ${failure}\n`)
  if (values['fail-fast'] && total.failures > 0) break
  if (!values.json && total.seeds % 100 === 0) process.stdout.write(`seed ${seed}: ${total.states} states, ${total.failures} failures\n`)
}
process.stdout.write(`${JSON.stringify(total)}\n`)
process.exitCode = total.failures === 0 ? 0 : 1
