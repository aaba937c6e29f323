// bench/report.ts: what a run produces, and how it is shown and kept.
//
// `--json` prints exactly { machine, versions, results } of the engine, { results } of the kernels. A kept record adds the date, the commit, every contender's own figures and the facts (sizes, syncs,
// delays, CPU), so that docs/benchmarks.md can quote them.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Result {
  readonly name: string
  readonly unit: string
  /** varve's. */
  readonly median: number
  /** Latency of single operations of varve in ms, where they were timed one by one. */
  readonly p99?: number
  readonly runs: number
  /** Per peer, above 1 = varve better. */
  readonly against: Readonly<Record<string, number>>
}

export interface Figures {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly p99?: number
}

export interface Outcome extends Result {
  /** Every contender's figures in the unit of the result. */
  readonly contenders: Readonly<Record<string, Figures>>
}

export interface Report {
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly results: readonly Result[]
}

export interface KeptRecord extends Report {
  readonly date: string
  readonly commit: string
  readonly rounds: number
  readonly contenders: Readonly<Record<string, Readonly<Record<string, Figures>>>>
  readonly facts: Readonly<Record<string, unknown>>
}

/** One workload and size against one peer. */
export interface KernelResult {
  readonly name: string
  readonly unit: string
  /** varve's. */
  readonly median: number
  readonly peer: string
  /** Above 1 = varve better. */
  readonly ratio: number
  /** The least ratio asked for; null = none. */
  readonly target: number | null
}

export interface KernelRecord extends Omit<KeptRecord, 'results'> {
  readonly results: readonly KernelResult[]
}

/** Figures by name. */
export type FiguresRecord = Omit<KeptRecord, 'results' | 'contenders'>

interface Records {
  readonly engine: KeptRecord
  readonly kernels: KernelRecord
  readonly upkeep: FiguresRecord
  readonly ship: FiguresRecord
}

export type SuiteName = keyof Records

const RESULTS = fileURLToPath(new URL('./results/', import.meta.url))

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function percentileOf(values: Float64Array, share: number): number {
  return values.toSorted()[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0
}

export function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

/** `higher` better: ours / theirs; else theirs / ours. */
export function ratioOf(unit: string, ours: number, theirs: number): number {
  return rounded(unit.endsWith('/s') ? ours / theirs : theirs / ours)
}

/** One line per result: every contender's median with its spread, varve first. */
export function showOutcome({ name, unit, contenders, against }: Outcome): string {
  const cells = Object.entries(contenders).map(([who, { median, min, max }]) => {
    const ratio = against[who]
    return `${who} ${show(median)}${min === max ? '' : ` (${show(min)} to ${show(max)})`}${ratio === undefined ? '' : ` ${ratio.toFixed(2)}x`}`
  })
  return `${name.padEnd(12)} ${unit.padEnd(10)} ${cells.join('   ')}`
}

export function show(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}

export function showTable(results: readonly Result[]): string {
  const peers = [...new Set(results.flatMap((result) => Object.keys(result.against)))]
  const rows = results.map(({ name, unit, median, p99, runs, against }) => [
    name,
    show(median),
    unit,
    p99 === undefined ? '' : `${show(p99)} ms`,
    String(runs),
    ...peers.map((peer) => (against[peer] === undefined ? '-' : `${against[peer].toFixed(2)}x`)),
  ])
  const all = [['name', 'varve', 'unit', 'p99', 'runs', ...peers.map((peer) => `vs ${peer}`)], ...rows]
  const widths = all[0]!.map((_, i) => Math.max(...all.map((row) => row[i]!.length)))
  return all.map((row) => row.map((cell, i) => (i === 0 || i === 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')).join('\n')
}

/** Writes bench/results/<date>-<name>.json; returns its path within the repository. */
export function keep<N extends SuiteName>(name: N, record: Records[N]): string {
  mkdirSync(RESULTS, { recursive: true })
  const file = `${record.date}-${name}.json`
  writeFileSync(`${RESULTS}${file}`, `${JSON.stringify(record, undefined, 2)}\n`)
  return `bench/results/${file}`
}

/** The newest kept record of that name. */
export function lastKept<N extends SuiteName>(name: N): { file: string; record: Records[N] } | undefined {
  if (!existsSync(RESULTS)) return undefined
  const files = readdirSync(RESULTS, { withFileTypes: true }).map((entry) => entry.name)
  const file = files
    .filter((each) => each.endsWith(`-${name}.json`))
    .toSorted()
    .at(-1)
  return file === undefined ? undefined : { file: `bench/results/${file}`, record: JSON.parse(readFileSync(`${RESULTS}${file}`, 'utf8')) as Records[N] }
}
