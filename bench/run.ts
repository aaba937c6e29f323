// bench/run.ts: the door to the benchmarks.
//
//   npm run bench -- engine [--against sqlite,lmdb,duckdb,lancedb | all] [--only commits,reads] [--quick] [--json] [--keep]
//   npm run bench -- kernels [--only bloom,lz4] [--quick] [--json] [--keep]
//   npm run bench -- upkeep [--only trickle,compacting] [--quick] [--json] [--keep]
//   npm run bench -- ship [--only stream,latency,joining,outage,idle,transport,memory] [--quick] [--json] [--keep]
//
// --json prints { machine, versions, results } (kernels: { results }) on standard output and everything else on standard error; --keep writes
// bench/results/<date>-<suite>.json and the tables of docs/benchmarks.md.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { CACHE } from './data.ts'
import { quoteEngine } from './docs.ts'
import { type FigureParts, runFigures } from './figures.ts'
import { PARTS as ENGINE } from './engine.bench.ts'
import { PARTS as KERNELS, runKernels } from './kernels.bench.ts'
import { commit, machine, packageVersion, removeFolders } from './machine.ts'
import { field, PEER_NAMES } from './peers.ts'
import { type Figures, keep, type Outcome, type Report, showOutcome, showTable } from './report.ts'
import { PARTS as SHIP } from './ship.bench.ts'
import { FULL, QUICK, type Suite } from './suite.ts'
import { PARTS as UPKEEP } from './upkeep.bench.ts'

const FIGURES: Readonly<Record<'upkeep' | 'ship', FigureParts>> = { upkeep: UPKEEP, ship: SHIP }
const SUITES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { engine: ENGINE, kernels: KERNELS, ...FIGURES }
/** Kernels run for some ms: on a busy machine a compiler that works in the background would leave one contender or the other unoptimized. */
const COMPILE_IN_LINE = ['--no-concurrent-recompilation', '--no-concurrent-osr', '--wasm-sync-tier-up']
const USAGE = `npm run bench -- ${Object.keys(SUITES).join('|')} [--against ${PEER_NAMES.join(',')}|all] [--only part,part] [--quick] [--json] [--keep]`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { against: { type: 'string' }, only: { type: 'string' }, json: { type: 'boolean' }, quick: { type: 'boolean' }, keep: { type: 'boolean' } },
})
const [name = 'engine'] = positionals
const parts = SUITES[name]
const peers = values.against === 'all' ? PEER_NAMES : list(values.against)
const only = list(values.only)
const unknown = [...peers.filter((peer) => !PEER_NAMES.includes(peer)), ...only.filter((part) => parts?.[part] === undefined)]
const isPartial = only.length > 0 || values.quick === true
if (parts === undefined || positionals.length > 1 || unknown.length > 0) {
  console.error(unknown.length > 0 ? `unknown: ${unknown.join(', ')}\n${USAGE}` : USAGE)
  process.exitCode = 2
} else if (values.keep === true && isPartial) {
  console.error('--keep is for whole runs: without --only and --quick')
  process.exitCode = 2
} else if (name === 'kernels' && COMPILE_IN_LINE.some((flag) => !process.execArgv.includes(flag))) {
  const [, file, ...rest] = process.argv
  process.exitCode = spawnSync(process.execPath, [...COMPILE_IN_LINE, file!, ...rest], { stdio: 'inherit' }).status ?? 1
} else if (name === 'kernels') {
  await runKernels({ only, quick: values.quick === true, json: values.json === true, keep: values.keep === true })
} else if (name === 'upkeep' || name === 'ship') {
  await runFigures(name, FIGURES[name], { only, quick: values.quick === true, json: values.json === true, keep: values.keep === true })
} else await runEngine()

async function runEngine(): Promise<void> {
  const say = (line: string): void => (values.json === true ? console.error(line) : console.log(line))
  mkdirSync(CACHE, { recursive: true })
  const { contenders, skipped } = await field(peers, say)
  const outcomes: Outcome[] = []
  const facts: Record<string, unknown> = {}
  const suite: Suite = {
    contenders,
    sizes: values.quick === true ? QUICK : FULL,
    say,
    add: (outcome) => {
      outcomes.push(outcome)
      say(showOutcome(outcome))
    },
    fact: (what, value) => {
      facts[what] = value
      say(`  ${what}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    },
  }
  const started = performance.now()
  try {
    for (const [part, perform] of Object.entries(ENGINE)) if (only.length === 0 || only.includes(part)) await perform(suite)
  } finally {
    removeFolders()
  }
  const report: Report = {
    machine: machine(),
    versions: {
      varve: packageVersion(new URL('../package.json', import.meta.url)),
      node: process.version,
      ...Object.fromEntries(contenders.slice(1).map((contender) => [contender.name, contender.version])),
      ...Object.fromEntries(Object.entries(skipped).map(([peer, reason]) => [peer, `left out: ${reason}`])),
    },
    results: outcomes.map(({ name: what, unit, median, p99, runs, against }) => ({
      name: what,
      unit,
      median,
      ...(p99 === undefined ? {} : { p99 }),
      runs,
      against,
    })),
  }
  say(`\n${showTable(report.results)}\n`)
  say(`${JSON.stringify(report.machine)}\n${JSON.stringify(report.versions)}\n${((performance.now() - started) / 1000).toFixed(0)} s`)
  if (values.json === true) console.log(JSON.stringify(report, undefined, 2))
  if (values.keep !== true) return
  const figures: Record<string, Readonly<Record<string, Figures>>> = Object.fromEntries(outcomes.map((outcome) => [outcome.name, outcome.contenders]))
  const record = { date: new Date().toISOString().slice(0, 10), commit: commit(), rounds: suite.sizes.rounds, ...report, contenders: figures, facts }
  const file = keep('engine', record)
  quoteEngine(file, record)
  say(`kept as ${file}, quoted in docs/benchmarks.md`)
}

function list(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(',').filter((each) => each !== '')
}
