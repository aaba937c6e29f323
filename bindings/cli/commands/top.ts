// cli/commands/top.ts: `top`: a store as it changes, drawn over and over: rows, fragments, log and commits of a writer in any process.
//
// It follows as a reader does: rates come from positions, sizes and the times of records, seen twice. Invariant: what is no terminal gets plain frames, one after
// the other, and no control sequence; the cursor comes back however it ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { type ReadStore, type Stats, Store } from '../../index.ts'
import { type Context, type Run, wholeOption } from '../command.ts'
import { jsonLine } from '../output.ts'
import { bytesText, countText, factLines } from '../render.ts'
import { numberText, tablesLines } from './stats.ts'

const INTERVAL_MS = 1000
const HOME = '\u001B[H'
const CLEAR_BELOW = '\u001B[J'
const CLEAR_RIGHT = '\u001B[K'
const ENTER = '\u001B[?1049h\u001B[?25l'
const LEAVE = '\u001B[?25h\u001B[?1049l'

/** A store at one moment. */
export interface Look {
  readonly stats: Stats
  /** Of any clock that does not go back. */
  readonly atMs: number
}

export const run: Run = async (context, [path = ''], options) => {
  const intervalMs = wholeOption(options, 'interval', 50, 3_600_000) ?? INTERVAL_MS
  const count = options['once'] === true ? 1 : (wholeOption(options, 'count', 1) ?? Infinity)
  const { signal } = context
  const store = await Store.open(path, { readOnly: true, signal })
  const isDrawn = context.out.isTerminal && !context.json && count > 1
  try {
    if (isDrawn) await context.out.write(ENTER)
    let before: Look | undefined
    for (let i = 0; i < count && !signal.aborted; i++) {
      if (i > 0) await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) break
      before = await frame(context, path, store, before, isDrawn, i)
    }
  } finally {
    if (isDrawn) await context.out.write(LEAVE)
    await store.close()
  }
  // Ctrl-C is how it ends.
  return undefined
}

async function frame({ out, json }: Context, path: string, store: ReadStore, before: Look | undefined, isDrawn: boolean, i: number): Promise<Look> {
  await store.refresh()
  const now: Look = { stats: await store.stats(), atMs: performance.now() }
  if (json) await out.write(jsonLine({ id: store.id, ...now.stats }))
  else if (isDrawn) await out.write(drawn(topLines(path, store.id, before, now), process.stdout.rows, process.stdout.columns))
  else await out.lines([...(i === 0 ? [] : ['']), ...topLines(path, store.id, before, now)])
  return now
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

/** Over what stands there: each line cut to the width, what is below the last one cleared. */
export function drawn(lines: readonly string[], rows: number, columns: number): string {
  return `${HOME}${lines
    .slice(0, Math.max(1, rows - 1))
    .map((line) => `${line.slice(0, Math.max(1, columns - 1))}${CLEAR_RIGHT}\n`)
    .join('')}${CLEAR_BELOW}`
}
