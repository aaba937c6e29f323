// bench/contender.ts: what one engine offers to the suite, and the loops that drive every engine in the same way.
//
// An engine lists only what it has; a missing member is reported as "no such operation", never emulated at a loss. Each contender writes its calls as a user of
// that engine would: synchronous engines are called without promises, asynchronous ones are awaited.
import type { Flight, Flights } from './data.ts'

export interface Database {
  /** One durable commit of one row. */
  commit?(row: Flight): Promise<unknown> | void
  /** All rows with their key index; durable when it returns. */
  load?(data: Flights): Promise<void>
  /** Whole rows over existing keys, as one commit. */
  upsert?(data: Flights): Promise<void>
  /** Point reads of every id in turn, each giving a whole row; returns how many were there. */
  gets?(ids: Int32Array): Promise<number>
  /** The same without promises, where the engine has both. */
  getsSync?(ids: Int32Array): Promise<number>
  /** origin, delay and distance of rows with delay >= `delay`, as an Arrow table. */
  scanFilter?(delay: number): Promise<ArrowResult>
  /** The same without making an Arrow table, where the engine's own form is another one; returns the number of rows. */
  scanFilterOwn?(delay: number): Promise<number>
  /** Sum of distance over all rows. */
  sum?(): Promise<number>
  count(): Promise<number>
  get(id: number): Promise<Flight | undefined>
  close(): Promise<void>
}

export interface ArrowResult {
  readonly numRows: number
  getChild(name: string): Iterable<unknown> | null
}

export interface OpenFor {
  /** `commits`: no automatic checkpoint, so that the log keeps every commit (reopen-200k). */
  readonly keepLog?: boolean
  /** Prepare a log whose content matters, not its making: no sync where the engine lets it be chosen. */
  readonly unsynced?: boolean
}

export interface Contender {
  readonly name: string
  /** Package, version, library version. */
  readonly version: string
  /** What one acknowledged commit has gone through. */
  readonly durability: string
  /** Task -> why it does not take part. */
  readonly skips?: Readonly<Record<string, string>>
  open(dir: string, o?: OpenFor): Promise<Database>
}

export interface CommitRun {
  readonly commits: number
  readonly ms: number
  /** Of each commit, in ms, unsorted. */
  readonly latencies: Float64Array
}

const LATENCIES_MAX = 4_000_000

/** Closed loops: `lanes` callers, each of which commits its next row when the last one is durable, until `ms` have passed or `most` commits were begun. */
export async function commitLoop(db: Database, first: number, lanes: number, ms: number, most: number = Number.MAX_SAFE_INTEGER): Promise<CommitRun> {
  const { flightAt } = await import('./data.ts')
  const commit = db.commit!.bind(db)
  const latencies = new Float64Array(Math.min(most, LATENCIES_MAX))
  let begun = 0
  let done = 0
  const started = performance.now()
  const deadline = started + ms
  const lane = async (): Promise<void> => {
    for (;;) {
      const t = performance.now()
      if (t >= deadline || begun >= most) return
      const i = begun++
      const pending = commit(flightAt(i, first + i))
      if (pending !== undefined) await pending
      if (done < latencies.length) latencies[done] = performance.now() - t
      done++
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return { commits: done, ms: performance.now() - started, latencies: latencies.subarray(0, Math.min(done, latencies.length)) }
}

/** Codes and their texts, in order of first use: the cheapest way from JavaScript strings to an Arrow column. */
export function dictionaryOf(texts: readonly string[]): { codes: Uint16Array; names: string[] } {
  const names: string[] = []
  const known = new Map<string, number>()
  const codes = new Uint16Array(texts.length)
  for (let i = 0; i < texts.length; i++) {
    let code = known.get(texts[i]!)
    if (code === undefined) known.set(texts[i]!, (code = names.push(texts[i]!) - 1))
    codes[i] = code
  }
  return { codes, names }
}
