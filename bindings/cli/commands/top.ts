// cli/commands/top.ts: `top`: a store as it changes, drawn over and over: rows, fragments, log and commits of a writer in any process.
//
// It follows as a reader does: rates come from positions, sizes and the times of records, seen twice.
import { type Stats, Store } from '../../index.ts'
import type { Run } from '../command.ts'
import { drawFrames, paceOf } from '../frames.ts'
import { bytesText, countText, factLines } from '../render.ts'
import { numberText, tablesLines } from './stats.ts'

/** A store at one moment. */
export interface Look {
  readonly stats: Stats
  /** Of any clock that does not go back. */
  readonly atMs: number
}

export const run: Run = async (context, [path = ''], options) => {
  const pace = paceOf(options)
  const store = await Store.open(path, { readOnly: true, signal: context.signal })
  let before: Look | undefined
  try {
    await drawFrames(context, pace, async () => {
      await store.refresh()
      const [last, now] = [before, { stats: await store.stats(), atMs: performance.now() }]
      before = now
      return { lines: () => topLines(path, store.id, last, now), json: () => ({ id: store.id, ...now.stats }) }
    })
  } finally {
    await store.close()
  }
  // Ctrl-C is how it ends.
  return undefined
}

/** One frame. Without a look before there are no rates but those of the records. */
export function topLines(path: string, id: string, before: Look | undefined, now: Look): string[] {
  const { stats } = now
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1000
  const rate = (of: (stats: Stats) => number): number | undefined =>
    before === undefined || seconds <= 0 ? undefined : (of(stats) - of(before.stats)) / seconds
  const records = rate(({ lsn }) => Number(lsn))
  const logBytes = rate(({ log }) => log.bytes)
  const { commits, log } = stats
  const facts = factLines([
    ['store', `${path}  ${id}`],
    ['head', `LSN ${stats.lsn}${records === undefined ? '' : `  ${signed(records, numberText)}/s`}`],
    ['commits', `${numberText(commits.perSecond)}/s of late, ${countText(commits.count)} in ${countText(Math.round(commits.windowMs / 1000))} s`],
    [
      'log',
      `${bytesText(log.bytes)}${logBytes === undefined ? '' : `  ${signed(logBytes, (n) => bytesText(Math.round(n)))}/s`}, ${countText(log.segments)} ${log.segments === 1 ? 'segment' : 'segments'} from LSN ${log.tail}`,
    ],
    ['pending', countText(stats.pending)],
  ])
  const tables = tablesLines(stats, {
    heading: 'rows/s',
    cell: (name) => {
      const rows = rate(({ tables: all }) => all[name]?.rows ?? 0)
      return rows === undefined ? '' : signed(rows, numberText)
    },
  })
  return tables.length === 0 ? [...facts, '', 'no tables'] : [...facts, '', ...tables]
}

function signed(value: number, text: (value: number) => string): string {
  if (value === 0) return '0'
  return `${value < 0 ? '-' : '+'}${text(Math.abs(value))}`
}
