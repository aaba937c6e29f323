// bench/engine/history.ts: does history cost? The same ten live rows behind 10, 1,000 and 100,000 commits; then an open, and appends of ten rows each.
//
// All depths hold the same: one fragment of ten rows and a checkpoint (flush, clean close), so that what differs is history alone. Every depth is opened from a copy in every round, in turn, so that the appends of one round are no history of the next.
import { cpSync, rmSync } from 'node:fs'

import { VarveDatabase } from '../contenders/varve.ts'
import { verify } from '../contest.ts'
import { type Flight, flightAt } from '../data.ts'
import { collectGarbage, freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { Suite } from '../suite.ts'

const DEPTHS = [10, 1000, 100_000]
const LIVE_ROWS = 10
const APPENDS = 40
const ROWS_EACH = 10
const IN_FLIGHT = 256

interface Depth {
  readonly commits: number
  readonly folder: string
  readonly openMs: number[]
  readonly appendMs: number[]
}

export async function history(suite: Suite): Promise<void> {
  const depths: Depth[] = []
  for (const commits of DEPTHS) depths.push({ commits, folder: await behind(commits), openMs: [], appendMs: [] })
  const { historyRounds } = suite.sizes
  for (let round = -1; round < historyRounds; round++) {
    for (let i = 0; i < depths.length; i++) await visit(depths[(i + round + depths.length) % depths.length]!, round >= 0)
  }
  const opens = depths.map(({ openMs }) => medianOf(openMs))
  const appends = depths.map(({ appendMs }) => medianOf(appendMs))
  const ratio = Math.max(...[opens, appends].flatMap((times) => times.slice(1).map((ms) => ms / times[0]!)))
  suite.add({
    name: 'append-10',
    unit: 'x',
    median: rounded(ratio),
    runs: historyRounds,
    against: {},
    contenders: { varve: { median: rounded(ratio), min: rounded(ratio), max: rounded(ratio) } },
  })
  depths.forEach(({ commits }, i) => {
    suite.fact(`append-10.behind-${commits}`, {
      openMs: rounded(opens[i]!),
      appendMs: rounded(appends[i]!),
      largestRatio: rounded(Math.max(opens[i]! / opens[0]!, appends[i]! / appends[0]!)),
    })
  })
  for (const { folder } of depths) rmSync(folder, { recursive: true, force: true })
}

/** A store whose ten rows were written `commits` times in all, flushed and closed cleanly. */
async function behind(commits: number): Promise<string> {
  const folder = freshFolder()
  const db = await VarveDatabase.open(folder)
  let begun = 0
  const lane = async (): Promise<void> => {
    while (begun < commits) {
      const i = begun++
      await db.replaceRow(flightAt(i, i % LIVE_ROWS))
    }
  }
  await Promise.all(Array.from({ length: Math.min(commits, IN_FLIGHT) }, lane))
  verify((await db.count()) === LIVE_ROWS, 'ten live rows')
  await db.store.flush()
  await db.close()
  return folder
}

async function visit({ commits, folder, openMs, appendMs }: Depth, counts: boolean): Promise<void> {
  const copy = freshFolder()
  cpSync(folder, copy, { recursive: true })
  settleDisk()
  collectGarbage()
  const started = performance.now()
  const db = await VarveDatabase.open(copy)
  await db.get(3)
  const opened = performance.now() - started
  verify(Number(db.store.lsn) >= commits, `${commits} commits of history`)
  const begin = performance.now()
  for (let i = 0; i < APPENDS; i++) await db.appendRows(rowsFrom(LIVE_ROWS + i * ROWS_EACH))
  const appended = (performance.now() - begin) / APPENDS
  verify((await db.count()) === LIVE_ROWS + APPENDS * ROWS_EACH, 'rows after the appends')
  await db.close()
  rmSync(copy, { recursive: true, force: true })
  if (!counts) return
  openMs.push(opened)
  appendMs.push(appended)
}

function rowsFrom(first: number): readonly Flight[] {
  return Array.from({ length: ROWS_EACH }, (_, i) => flightAt(i, first + i))
}
