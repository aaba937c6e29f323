// `npm run crash -- --rounds N [--seed S] [--json]`: kills real processes in the middle of their commits and shows what was there afterwards.

import { parseArgs } from 'node:util'

import { type RoundReport, runRounds } from './rounds.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    seed: { type: 'string', default: String(process.pid) },
    json: { type: 'boolean', default: false },
    life: { type: 'string', default: '250' },
  },
})
const COLUMNS = ['round', 'durability', 'inFlight', 'killedAfterMs', 'begun', 'acknowledged', 'looks', 'lost', 'wrong', 'kept', 'cut'] as const

function line(cells: readonly unknown[]): string {
  return cells.map((cell) => String(cell).padStart(14)).join('')
}

if (!values.json) process.stdout.write(`seed ${values.seed}\n${line(COLUMNS)}\n`)
const reports = await runRounds({
  rounds: Number(values.rounds),
  seed: Number(values.seed),
  lifeMsMax: Number(values.life),
  onRound: (report: RoundReport) => {
    if (values.json) return
    process.stdout.write(`${line(COLUMNS.map((column) => report[column]))}\n`)
    for (const problem of report.problems) process.stdout.write(`  ${problem}\n`)
  },
})
const sum = (column: 'begun' | 'acknowledged' | 'lost' | 'wrong' | 'kept' | 'cut'): number => reports.reduce((total, report) => total + report[column], 0)
const total = {
  rounds: reports.length,
  begun: sum('begun'),
  acknowledged: sum('acknowledged'),
  lost: sum('lost'),
  wrong: sum('wrong'),
  problems: reports.flatMap((report) => report.problems).length,
}
process.stdout.write(values.json ? `${JSON.stringify({ seed: Number(values.seed), total, reports })}\n` : `${JSON.stringify(total)}\n`)
process.exitCode = total.lost + total.wrong + total.problems === 0 ? 0 : 1
