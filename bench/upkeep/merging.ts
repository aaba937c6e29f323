// bench/upkeep/merging.ts: a merge of a branch that changed a tenth of the rows into a main that changed others of them, and the memory of a merge of 100,000 rows.
import { rmSync } from 'node:fs'

import { columns, type KeyedTable, Store, t, table } from '../../bindings/index.ts'
import { inChild } from '../children.ts'
import { freshFolder } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'

export const prices: KeyedTable = table(
  'prices',
  { id: t.int64(), delay: t.int32(), distance: t.int32(), origin: t.utf8(), price: t.float64() },
  { key: ['id'] },
) as unknown as KeyedTable

const LOAD_ROWS = 1_000_000
const PIECE_ROWS = 65_536
const ORIGINS = Array.from({ length: 300 }, (_, i) => `airport ${i}`)

function piece(from: number, rows: number, step: number, salt: number): never {
  return columns({
    id: BigInt64Array.from({ length: rows }, (_, i) => BigInt(from + i * step)),
    delay: Int32Array.from({ length: rows }, (_, i) => (i * 31 + salt) % 500),
    distance: Int32Array.from({ length: rows }, (_, i) => (i * 7 + salt) % 3000),
    origin: Array.from({ length: rows }, (_, i) => ORIGINS[(i * 13 + salt) % ORIGINS.length]!),
    price: Float64Array.from({ length: rows }, (_, i) => i / 7 + salt),
  }) as never
}

/** Every so-many-th row, from `from` on. */
async function* spread(from: number, rows: number, step: number, salt: number): AsyncGenerator<never, undefined> {
  for (let at = 0; at < rows; at += PIECE_ROWS) yield piece(from + at * step, Math.min(PIECE_ROWS, rows - at), step, salt)
}

/** Rows of main, of which dev changes `changed`, and main itself a tenth as many others. */
export async function fillBranches(folder: string, rows: number, changed: number): Promise<void> {
  const store = await Store.open(folder, { upkeep: 'manual' })
  await store.create(prices)
  for (let at = 0; at < rows; at += LOAD_ROWS) await store.append(prices, piece(at, Math.min(LOAD_ROWS, rows - at), 1, 1))
  const dev = await store.branch('dev')
  const step = Math.floor(rows / changed)
  await dev.upsert(prices, spread(0, changed, step, 2))
  await store.upsert(prices, spread(1, Math.floor(changed / 10), step, 3))
  await store.close()
}

interface MergeRun {
  readonly base: number
  readonly peak: number
  readonly exact: boolean
  readonly ms: number
  readonly updated: number
}

async function mergeOf(rows: number, changed: number): Promise<MergeRun> {
  const folder = freshFolder()
  await inChild(['branched', 'varve', folder, String(rows), String(changed)])
  const run = await inChild<MergeRun>(['merge', 'varve', folder])
  rmSync(folder, { recursive: true })
  if (run.updated !== changed) throw new Error(`a merge of ${run.updated} rows, ${changed} expected`)
  return run
}

export async function merging(suite: FigureSuite): Promise<void> {
  const rows = suite.quick ? 1_000_000 : 10_000_000
  const runs: MergeRun[] = []
  for (let round = 0; round < Math.min(3, suite.rounds); round++) runs.push(await mergeOf(rows, rows / 10))
  const seconds = runs.map(({ ms }) => ms / 1000)
  suite.fact(`merge.changed-${rows / 10}-of-${rows}`, `${rounded(medianOf(seconds))} s (${rounded(Math.min(...seconds))} to ${rounded(Math.max(...seconds))})`)
  const { base, peak, exact, ms } = await mergeOf(rows, 100_000)
  suite.fact(
    'merge.memory.delta-100000',
    `${Math.round((peak - base) / 1e6)} MB over ${Math.round(base / 1e6)} MB${exact ? '' : ' (polled)'}, in ${rounded(ms / 1000)} s`,
  )
}
