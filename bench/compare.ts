// bench/compare.ts: `npm run bench:check [-- engine|kernels] [--only part,part] [--quick]`: the ratios of fresh runs against those of the last kept record.
// Ratios, never times: the machine may be another one. Both suites when none is named; peers are those of the record that this machine has.
//
// Every part runs in a process of its own. A part in which a ratio fell by more than a fifth runs again, up to three times in all: a ratio counts as fallen
// only when it did in each of them, so what else happened on the machine during one run is not taken for a regression.
// Exit code 1 when a ratio fell, or when nothing was there to compare.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { PARTS as ENGINE } from './engine.bench.ts'
import { PARTS as KERNELS } from './kernels.bench.ts'
import { type KernelResult, lastKept, type Result, rounded, type SuiteName } from './report.ts'

const ALLOWED_LOSS = 0.2
const TRIES = 3

/** `workload vs peer` -> ratio. */
type Ratios = ReadonlyMap<string, number>

const { values, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' }, quick: { type: 'boolean' } } })
const suites: readonly SuiteName[] = ['engine', 'kernels']
const chosen = positionals.length === 0 ? suites : suites.filter((suite) => positionals.includes(suite))
let compared = 0
let fallen = 0
for (const suite of chosen) checkSuite(suite)
console.log(`${compared} ratios compared, ${fallen} fell by more than ${ALLOWED_LOSS * 100} %`)
process.exitCode = fallen > 0 || compared === 0 ? 1 : 0

function checkSuite(suite: SuiteName): void {
  const kept = suite === 'engine' ? engineRecord() : kernelsRecord()
  if (kept === undefined) {
    console.error(`no record of the ${suite} in bench/results: run \`npm run bench -- ${suite} --keep\` first`)
    fallen++
    return
  }
  console.log(`${suite}, against ${kept.file}`)
  const only = values.only?.split(',') ?? []
  const parts = Object.keys(suite === 'engine' ? ENGINE : KERNELS).filter((part) => only.length === 0 || only.includes(part))
  for (const part of parts) checkPart(suite, part, kept.ratios, kept.args)
}

function checkPart(suite: SuiteName, part: string, before: Ratios, args: readonly string[]): void {
  const best = new Map<string, number>()
  let worse: string[] = []
  for (let tries = 0; tries < TRIES && (tries === 0 || worse.length > 0); tries++) {
    if (tries > 0) console.log(`      ${part} again: ${worse.join(', ')}`)
    for (const [what, ratio] of ratiosOf(run(suite, part, args))) best.set(what, Math.max(ratio, best.get(what) ?? 0))
    worse = [...best].filter(([what, ratio]) => ratio < (before.get(what) ?? 0) * (1 - ALLOWED_LOSS)).map(([what]) => what)
  }
  for (const [what, ratio] of best) {
    const was = before.get(what)
    if (was === undefined) continue
    compared++
    console.log(`${worse.includes(what) ? 'WORSE' : 'ok   '} ${what.padEnd(48)} ${was}x then, ${ratio}x now (${rounded((ratio / was - 1) * 100)} %)`)
  }
  fallen += worse.length
}

function run(suite: SuiteName, part: string, args: readonly string[]): readonly (Result | KernelResult)[] {
  const command = [fileURLToPath(new URL('./run.ts', import.meta.url)), suite, '--json', '--only', part, ...args, ...(values.quick === true ? ['--quick'] : [])]
  const printed = execFileSync(process.execPath, command, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 })
  return (JSON.parse(printed) as { results: (Result | KernelResult)[] }).results
}

interface Kept {
  readonly file: string
  readonly ratios: Ratios
  readonly args: readonly string[]
}

function engineRecord(): Kept | undefined {
  const last = lastKept('engine')
  if (last === undefined) return undefined
  const peers = [...new Set(last.record.results.flatMap((result) => Object.keys(result.against)))]
  return { file: last.file, ratios: ratiosOf(last.record.results), args: ['--against', peers.join(',')] }
}

function kernelsRecord(): Kept | undefined {
  const last = lastKept('kernels')
  return last && { file: last.file, ratios: ratiosOf(last.record.results), args: [] }
}

function ratiosOf(results: readonly (Result | KernelResult)[]): Ratios {
  return new Map(
    results.flatMap((result) =>
      'peer' in result
        ? [[`${result.name} vs ${result.peer}`, result.ratio] as const]
        : Object.entries(result.against).map(([peer, ratio]) => [`${result.name} vs ${peer}`, ratio] as const),
    ),
  )
}
