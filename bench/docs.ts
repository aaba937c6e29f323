// bench/docs.ts: writes the figures of a kept record into docs/benchmarks.md, between its markers: prose is written by hand, figures never are.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { type KernelRecord, type KeptRecord, lastKept, show, type SuiteName } from './report.ts'

const PAGE = fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url))

export function quoteEngine(file: string, record: KeptRecord): void {
  const { results, contenders } = record
  const peers = [...new Set(results.flatMap((result) => Object.keys(result.against)))]
  const head = ['', 'unit', 'varve', ...peers]
  const rows = results.map(({ name, unit, median, against }) => [
    `\`${name}\``,
    unit,
    `${show(median)} (${spread(contenders[name]?.['varve'])})`,
    ...peers.map((peer) => (against[peer] === undefined ? '' : `${show(contenders[name]![peer]!.median)}: **${ratio(against[peer])}**`)),
  ])
  replace('engine', file, record, table(head, rows, 2))
}

/** One row per workload, size and peer. */
export function quoteKernels(file: string, record: KernelRecord): void {
  const head = ['', 'unit', 'peer', 'varve', 'peer alone', 'ratio', 'target', '']
  const rows = record.results.map(({ name, unit, median, peer, ratio: times, target }) => [
    `\`${name}\``,
    unit,
    peer,
    `${show(median)} (${spread(record.contenders[name]?.['varve'])})`,
    show(record.contenders[name]![peer]!.median),
    `**${ratio(times)}**`,
    target === null ? '' : `${target}x`,
    target === null ? '' : times >= target ? 'met' : 'missed',
  ])
  replace('kernels', file, record, table(head, rows, 3))
}

/** Replaces the block of that suite; the page must have one. */
function replace(suite: SuiteName, file: string, { machine, versions, commit, rounds, facts }: Omit<KeptRecord, 'results'>, figures: string): void {
  const begin = `<!-- ${suite}: written by bench/docs.ts -->`
  const end = `<!-- end of ${suite} -->`
  const page = readFileSync(PAGE, 'utf8')
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no block ${suite}`)
  const source = `From [\`${file}\`](../${file}): commit \`${commit}\`, ${rounds} rounds, medians (least to most).`
  const where = `${machine['cpu']}, ${machine['cores']} cores, ${machine['memoryGiB']} GiB, ${machine['system']}, ${machine['disk']}; one 4 KiB write with fdatasync takes ${machine['syncMs']} ms.`
  const used = Object.entries(versions).map(([what, version]) => `${what} ${version}`)
  const lines = Object.entries(facts).map(([name, value]) => `| \`${name}\` | ${typeof value === 'object' ? shown(value as object) : String(value)} |`)
  const block = [source, where, `${used.join('; ')}.`, '', figures, '', '| also measured | |', '|---|---|', ...lines].join('\n')
  writeFileSync(PAGE, `${page.slice(0, from)}${begin}\n\n${block}\n\n${page.slice(to)}`)
}

/** The first `words` columns are text, the rest figures. */
function table(head: readonly string[], rows: readonly (readonly string[])[], words: number): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map((_, i) => (i < words ? '---|' : '---:|')).join('')}`, ...rows.map(line)].join('\n')
}

function ratio(value: number): string {
  return value >= 10 ? `${Math.round(value)}x` : `${value.toFixed(value < 0.1 ? 3 : 2)}x`
}

function spread(figures: { readonly min: number; readonly max: number } | undefined): string {
  return figures === undefined || figures.min === figures.max ? 'one figure' : `${show(figures.min)} to ${show(figures.max)}`
}

function shown(value: object): string {
  return Object.entries(value)
    .map(([key, each]) => `${key} ${String(each)}`)
    .join(', ')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const engine = lastKept('engine')
  if (engine !== undefined) quoteEngine(engine.file, engine.record)
  const kernels = lastKept('kernels')
  if (kernels !== undefined) quoteKernels(kernels.file, kernels.record)
}
