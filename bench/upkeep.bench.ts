// bench/upkeep.bench.ts: what a store does by itself, and what it costs whoever writes meanwhile (issue 5). Figures, not contests: each part says what it found.
import { mkdirSync } from 'node:fs'

import { CACHE } from './data.ts'
import { commit, machine, packageVersion, removeFolders } from './machine.ts'
import { keep } from './report.ts'
import { backup } from './upkeep/backup.ts'
import { branches } from './upkeep/branches.ts'
import { compacting } from './upkeep/compacting.ts'
import { gets } from './upkeep/gets.ts'
import { indexes } from './upkeep/indexed.ts'
import { memory } from './upkeep/memory.ts'
import { merging } from './upkeep/merging.ts'
import { trickle } from './upkeep/trickle.ts'

export interface UpkeepSuite {
  /** Interleaved repetitions; the median counts. */
  readonly rounds: number
  readonly quick: boolean
  /** One figure; names as `optimize.rate`, with its unit. */
  fact(name: string, value: number | string): void
  say(line: string): void
}

export const PARTS: Readonly<Record<string, (suite: UpkeepSuite) => Promise<void>>> = { trickle, compacting, indexes, gets, memory, backup, branches, merging }

export async function runUpkeep(o: { only: readonly string[]; quick: boolean; json: boolean; keep: boolean }): Promise<void> {
  const say = (line: string): void => (o.json ? console.error(line) : console.log(line))
  mkdirSync(CACHE, { recursive: true })
  const facts: Record<string, unknown> = {}
  const suite: UpkeepSuite = {
    rounds: o.quick ? 3 : 5,
    quick: o.quick,
    say,
    fact: (name, value) => {
      facts[name] = value
      say(`  ${name}: ${value}`)
    },
  }
  try {
    for (const [part, perform] of Object.entries(PARTS)) if (o.only.length === 0 || o.only.includes(part)) await perform(suite)
  } finally {
    removeFolders()
  }
  const versions = { varve: packageVersion(new URL('../package.json', import.meta.url)), node: process.version }
  const record = { date: new Date().toISOString().slice(0, 10), commit: commit(), rounds: suite.rounds, machine: machine(), versions, facts }
  if (o.json) console.log(JSON.stringify(record, undefined, 2))
  if (o.keep) say(`kept as ${keep('upkeep', record)}`)
}
