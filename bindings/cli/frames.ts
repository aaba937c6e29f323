// cli/frames.ts: what changes, drawn over and over until Ctrl-C.
//
// Invariant: what is no terminal gets plain frames, one after the other, and no control sequence; the cursor comes back however it ends.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Context, wholeOption } from './command.ts'
import { jsonLine } from './output.ts'

const INTERVAL_MS = 1000
const HOME = '\u001B[H'
const CLEAR_BELOW = '\u001B[J'
const CLEAR_RIGHT = '\u001B[K'
const ENTER = '\u001B[?1049h\u001B[?25l'
const LEAVE = '\u001B[?25h\u001B[?1049l'

/** One moment, for people and for programs. */
export interface Frame {
  readonly lines: () => string[]
  readonly json: () => object
}

export interface Pace {
  readonly intervalMs: number
  readonly count: number
}

/** `--interval`, `--count`, `--once`. @throws UsageError */
export function paceOf(options: Readonly<Record<string, unknown>>): Pace {
  const intervalMs = wholeOption(options, 'interval', 50, 3_600_000) ?? INTERVAL_MS
  return { intervalMs, count: options['once'] === true ? 1 : (wholeOption(options, 'count', 1) ?? Infinity) }
}

export async function drawFrames({ out, json, signal }: Context, { intervalMs, count }: Pace, look: () => Promise<Frame>): Promise<void> {
  const isDrawn = out.isTerminal && !json && count > 1
  try {
    if (isDrawn) await out.write(ENTER)
    for (let i = 0; i < count && !signal.aborted; i++) {
      if (i > 0) await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) break
      const frame = await look()
      if (json) await out.write(jsonLine(frame.json()))
      else if (isDrawn) await out.write(drawn(frame.lines(), process.stdout.rows, process.stdout.columns))
      else await out.lines([...(i === 0 ? [] : ['']), ...frame.lines()])
    }
  } finally {
    if (isDrawn) await out.write(LEAVE)
  }
}

/** Over what stands there: each line cut to the width, what is below the last one cleared. */
export function drawn(lines: readonly string[], rows: number, columns: number): string {
  return `${HOME}${lines
    .slice(0, Math.max(1, rows - 1))
    .map((line) => `${line.slice(0, Math.max(1, columns - 1))}${CLEAR_RIGHT}\n`)
    .join('')}${CLEAR_BELOW}`
}
