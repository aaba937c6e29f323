// bench/docs.ts: writes the figures of a kept record into docs/benchmarks.md, between its markers: prose is written by hand, figures never are.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { type KeptRecord, lastKept, show } from './report.ts'

const PAGE = fileURLToPath(new URL('../docs/benchmarks.md', import.meta.url))

/** Replaces the block of that suite; the page must have one. */
export function quote(name: string, file: string, record: KeptRecord): void {
  const begin = `<!-- ${name}: written by bench/docs.ts -->`
  const end = `<!-- end of ${name} -->`
  const page = readFileSync(PAGE, 'utf8')
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no block ${name}`)
  writeFileSync(PAGE, `${page.slice(0, from)}${begin}\n\n${blockOf(file, record)}\n\n${page.slice(to)}`)
}

function blockOf(file: string, { machine, versions, commit, rounds, results, contenders, facts }: KeptRecord): string {
  const peers = [...new Set(results.flatMap((result) => Object.keys(result.against)))]
  const head = ['', 'unit', 'varve', ...peers]
  const rows = results.map(({ name, unit, median, against }) => [
    `\`${name}\``,
    unit,
    `${show(median)} (${spread(contenders[name]?.['varve'])})`,
    ...peers.map((peer) => (against[peer] === undefined ? '' : `${show(contenders[name]![peer]!.median)}: **${ratio(against[peer])}**`)),
  ])
  const source = `From [\`${file}\`](../${file}): commit \`${commit}\`, ${rounds} rounds, medians (least to most).`
  const where = `${machine['cpu']}, ${machine['cores']} cores, ${machine['memoryGiB']} GiB, ${machine['system']}, ${machine['disk']}; one 4 KiB write with fdatasync takes ${machine['syncMs']} ms.`
  const used = Object.entries(versions).map(([what, version]) => `${what} ${version}`)
  const lines = Object.entries(facts).map(([name, value]) => `| \`${name}\` | ${typeof value === 'object' ? shown(value as object) : String(value)} |`)
  return [source, where, `${used.join('; ')}.`, '', table(head, rows), '', '| also measured | |', '|---|---|', ...lines].join('\n')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map((_, i) => (i < 2 ? '---|' : '---:|')).join('')}`, ...rows.map(line)].join('\n')
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
  for (const name of ['engine', 'kernels']) {
    const last = lastKept(name)
    if (last !== undefined) quote(name, last.file, last.record)
  }
}
