// nodejs-polars, where it is installed, and a frame that it writes: the same values by formula, so that a file it made once can be checked without it.
//
//   node test/arrow/polars.ts     writes test/data/polars/*.arrow again
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { polarsFrom } from '../../.ci/engines.mjs'

/** What the tests use of nodejs-polars; its own types are not installed. */
export interface Polars {
  readonly Int32: unknown
  readonly Int64: unknown
  readonly UInt64: unknown
  readonly Utf8: unknown
  readonly Date: unknown
  readonly Categorical: unknown
  Datetime(unit: string): unknown
  Series(name: string, values: unknown, type?: unknown): PolarsSeries
  DataFrame(columns: Readonly<Record<string, unknown>>): PolarsFrame
  readIPC(source: Uint8Array | string): PolarsFrame
  readIPCStream(source: Uint8Array | string): PolarsFrame
  scanIPC(path: string): { collectSync(): PolarsFrame }
}
interface PolarsSeries {
  cast(type: unknown): PolarsSeries
}
export interface PolarsFrame {
  readonly height: number
  readonly columns: readonly string[]
  getColumn(name: string): PolarsColumn
  writeIPC(o: { compression: 'lz4' | 'zstd' | 'uncompressed' }): Uint8Array
}
interface PolarsColumn {
  cast(type: unknown): PolarsColumn
  toArray(): unknown[]
}

/** Polars, or why it is not there. */
export async function loadPolars(): Promise<{ polars: Polars; reason?: undefined } | { polars?: undefined; reason: string }> {
  const { from, reason } = await polarsFrom()
  if (from === undefined) return { reason }
  return { polars: createRequire(from)('nodejs-polars') as Polars }
}

export const FRAME_ROWS = 20_000
const ORIGINS = ['SFO', 'LAX', 'Zürich', '東京', 'a text longer than twelve bytes']

/** The values of a row: columns of 160 kB, so that LZ4 makes several blocks of 64 KiB, and short periods, so that they reach back into each other. */
export function frameRow(i: number): Record<string, unknown> {
  return {
    id: BigInt(i % 100),
    share: (i % 64) / 8,
    origin: i % 7 === 0 ? null : ORIGINS[i % ORIGINS.length]!,
    on: i % 3 === 0,
    day: i % 50,
    at: BigInt((i % 50) * 1_000_001),
    carrier: `c${i % 20}`,
  }
}

export function makeFrame(polars: Polars): PolarsFrame {
  const rows = Array.from({ length: FRAME_ROWS }, (_, i) => frameRow(i))
  const column = (name: string): unknown[] => rows.map((row) => row[name])
  return polars.DataFrame({
    id: polars.Series('id', BigInt64Array.from(column('id') as bigint[]), polars.Int64),
    share: Float64Array.from(column('share') as number[]),
    origin: column('origin'),
    on: column('on'),
    day: polars.Series('day', column('day'), polars.Int32).cast(polars.Date),
    at: polars.Series('at', BigInt64Array.from(column('at') as bigint[]), polars.Int64).cast(polars.Datetime('us')),
    carrier: polars.Series('carrier', column('carrier')).cast(polars.Categorical),
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { polars, reason } = await loadPolars()
  if (polars === undefined) throw new Error(reason)
  for (const compression of ['lz4', 'zstd'] as const) {
    writeFileSync(new URL(`../data/polars/${compression}.arrow`, import.meta.url), makeFrame(polars).writeIPC({ compression }))
  }
}
