// bench/figures.ts: a suite of figures: parts that say what they found, kept as one record. Contests against others are suite.ts.
import { mkdirSync } from 'node:fs'

import { CACHE } from './data.ts'
import { commit, machine, packageVersion, removeFolders } from './machine.ts'
import { keep } from './report.ts'

export interface FigureSuite {
  /** Interleaved repetitions; the median counts. */
  readonly rounds: number
  readonly quick: boolean
  /** One figure; names as `optimize.rate`, with its unit. */
  fact(name: string, value: number | string): void
  say(line: string): void
}

export type FigureParts = Readonly<Record<string, (suite: FigureSuite) => Promise<void>>>

export async function runFigures(
  name: 'upkeep' | 'ship',
  parts: FigureParts,
  o: { only: readonly string[]; quick: boolean; json: boolean; keep: boolean },
): Promise<void> {
  const say = (line: string): void => (o.json ? console.error(line) : console.log(line))
  mkdirSync(CACHE, { recursive: true })
  const facts: Record<string, unknown> = {}
  const suite: FigureSuite = {
    rounds: o.quick ? 3 : 5,
    quick: o.quick,
    say,
    fact: (fact, value) => {
      facts[fact] = value
      say(`  ${fact}: ${value}`)
    },
  }
  try {
    for (const [part, perform] of Object.entries(parts)) if (o.only.length === 0 || o.only.includes(part)) await perform(suite)
  } finally {
    removeFolders()
  }
  const versions = { varve: packageVersion(new URL('../package.json', import.meta.url)), node: process.version }
  const record = { date: new Date().toISOString().slice(0, 10), commit: commit(), rounds: suite.rounds, machine: machine(), versions, facts }
  if (o.json) console.log(JSON.stringify(record, undefined, 2))
  if (o.keep) say(`kept as ${keep(name, record)}`)
}
