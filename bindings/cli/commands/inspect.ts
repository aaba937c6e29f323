// cli/commands/inspect.ts: `tables`, `log` and `verify`: what a store is made of.
import type { Commit, Comparison, Lsn, ReadStore, TableInfo, VerifyReport } from '../../index.ts'
import { atOption, type Context, type Run, tableInfo, textOption, wholeOption, withReader } from '../command.ts'
import { EXIT, UsageError } from '../failure.ts'
import { jsonLine } from '../output.ts'
import { bytesText, countText, printable, ProgressLine, tableLines } from '../render.ts'

const LOG_COMMITS = 20
const LEVELS = ['log', 'files', 'all'] as const

export const runTables: Run = async (context, [path = ''], options) =>
  await withReader(path, context, async (store) => {
    const infos = await store.tables(atOption(options))
    if (context.json) return await done(context.out.json(infos))
    if (infos.length === 0) return await done(context.out.lines(['no tables']))
    const rows = infos.map((info) => [info.name, countText(info.rows), String(info.columns.length), keyText(info), String(info.since)])
    return await done(context.out.lines(tableLines(['table', 'rows', 'columns', 'key', 'since LSN'], rows, ['left', 'right', 'right', 'left', 'right'])))
  })

export const runLog: Run = async (context, [path = ''], options) =>
  await withReader(path, context, async (store) => {
    const limit = wholeOption(options, 'limit', 1) ?? LOG_COMMITS
    const from = wholeOption(options, 'from', 0)
    const table = textOption(options, 'table')
    const branch = textOption(options, 'branch')
    if (table !== undefined) await tableInfo(store, table, branch)
    // A vacuum has taken what is older than the floor.
    const commits = await newest(context, store, from ?? (await store.stats()).log.floor, limit, table, branch)
    if (context.json) {
      for (const commit of commits) await context.out.write(jsonLine(commitJson(commit)))
      return undefined
    }
    const rows = commits.map((commit) => [
      String(commit.lsn),
      commit.time.toISOString(),
      commit.writeId,
      commit.author ?? '',
      [...(commit.message === undefined ? [] : [commit.message]), ...changesOf(commit)].join('  '),
    ])
    const hasAuthor = commits.some((commit) => commit.author !== undefined)
    const without = (row: string[]): string[] => (hasAuthor ? row : row.filter((_cell, i) => i !== 3))
    return await done(context.out.lines(tableLines(without(['LSN', 'time', 'write', 'author', 'what']), rows.map(without), ['right'])))
  })

export const runVerify: Run = async (context, [path = ''], options) => {
  const level = textOption(options, 'level') ?? 'all'
  if (!(LEVELS as readonly string[]).includes(level)) throw new UsageError(`no level ${JSON.stringify(level)}`, `Levels: ${LEVELS.join(', ')}.`)
  const against = textOption(options, 'against')
  return await withReader(path, context, async (store) => {
    const line = new ProgressLine('verify')
    let report: VerifyReport
    try {
      report = await store.verify({
        level: level as 'all',
        ...(against === undefined ? {} : { against }),
        signal: context.signal,
        onProgress: (p) => line.update(`${p.phase} ${countText(p.done)} ${p.unit}`, p.total === undefined || p.total === 0 ? undefined : p.done / p.total),
      })
    } finally {
      line.clear()
    }
    if (context.json) await context.out.json(report)
    else await context.out.lines(verifyLines(report))
    return report.ok ? EXIT.ok : EXIT.problems
  })
}

function verifyLines(report: VerifyReport): string[] {
  const { checked, problems } = report
  const what = `${countText(checked.records)} records and ${countText(checked.files)} files (${bytesText(checked.bytes)}) up to LSN ${report.lsn}`
  const digest = `digest ${hex(report.digest)}`
  const { against } = report
  const compared = against === undefined ? [] : comparisonLines(against)
  if (report.ok) return [`ok: ${what}`, digest, ...compared]
  const lines = problems.map((problem) => {
    const place = [
      problem.file,
      ...(problem.offset === undefined ? [] : [`offset ${problem.offset}`]),
      ...(problem.lsn === undefined ? [] : [`LSN ${problem.lsn}`]),
    ].join(', ')
    return `${problem.code}  ${printable(place)}: ${printable(problem.message)}`
  })
  return [`${countText(problems.length)} problem${problems.length === 1 ? '' : 's'} in ${what}`, ...lines, digest, ...compared]
}

function comparisonLines({ url, head, lsn, equal, digest, state, files }: Comparison): string[] {
  const verdict = equal ? `equal up to LSN ${lsn}` : `not equal (compared up to LSN ${lsn})`
  return [
    `against ${printable(url)} (ends at LSN ${head}): ${verdict}`,
    ...(digest === undefined ? [] : [`  chain  ${hex(digest)}`]),
    ...(state === undefined ? [] : [`  state  ${hex(state)}`]),
    ...(digest === undefined ? [] : [`  files  ${countText(files)} with the same bytes`]),
  ]
}

function hex(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex')
}

/** The newest commits first, however long the log is. */
async function newest(
  context: Context,
  store: ReadStore,
  from: Lsn | number,
  limit: number,
  table: string | undefined,
  branch: string | undefined,
): Promise<Commit<[]>[]> {
  const kept: Commit<[]>[] = []
  const changes = store.changes({ from, follow: false, signal: context.signal, ...(branch === undefined ? {} : { branch }) })
  for await (const commit of changes) {
    if (table !== undefined && !(table in commit.counts) && !commit.schema.includes(table)) continue
    kept.push(commit)
    if (kept.length > limit * 2) kept.splice(0, kept.length - limit)
  }
  return kept.slice(-limit).toReversed()
}

function commitJson(commit: Commit<[]>): object {
  const { lsn, time, writeId, branch, author, message, counts, schema } = commit
  return { lsn, time, writeId, branch, author, message, counts, schema }
}

/** `flights +10 ~2 -1`. */
function changesOf(commit: Commit<[]>): string[] {
  const made = commit.schema.map((name) => `${name}: definition`)
  const changed = Object.entries(commit.counts).map(([name, { inserted, updated, deleted }]) => {
    const parts = [inserted > 0 ? ` +${countText(inserted)}` : '', updated > 0 ? ` ~${countText(updated)}` : '', deleted > 0 ? ` -${countText(deleted)}` : '']
    return `${name}${parts.join('') || ' no rows'}`
  })
  return [...made, ...changed]
}

/** As `varve init --table` takes it. */
function keyText(info: TableInfo): string {
  return info.key.length === 0 ? '(none)' : info.key.join(', ')
}

async function done(work: Promise<void>): Promise<undefined> {
  await work
}
