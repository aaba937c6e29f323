// bench/data.ts: the rows that every benchmark reads: flights-3m of the npm package vega-datasets, and seeded samples of it.
//
// The Parquet file (ZSTD, 11 row groups) is decoded once into Arrow: id int64 = row number, date timestamp(ms), delay and distance int16, origin and destination
// utf8. The result is cached as an uncompressed Arrow file, so that a child process starts from the same bytes in a few milliseconds. The source has no nulls.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { arrow, type ArrowTable } from './arrow.ts'

const ROWS = 3_000_000
const SEED = 20_010_101

/** Where decoded inputs and the stores of a run live: on the disk of the repository, never in a memory file system. */
export const CACHE: string = fileURLToPath(new URL('../node_modules/.cache/varve-bench/', import.meta.url))

/** One row as a JavaScript user writes it; `date` in ms since 1970. */
export interface Flight {
  readonly id: number
  readonly date: number
  readonly delay: number
  readonly distance: number
  readonly origin: string
  readonly destination: string
}

/** The same rows twice: as an Arrow table, and taken apart for engines that take values. */
export interface Flights {
  readonly rows: number
  readonly table: ArrowTable
  readonly id: Int32Array
  readonly date: Float64Array
  readonly delay: Int16Array
  readonly distance: Int16Array
  readonly origin: readonly string[]
  readonly destination: readonly string[]
}

interface Columns {
  readonly id: Int32Array
  readonly date: Float64Array
  readonly delay: Int16Array
  readonly distance: Int16Array
  /** Codes into `names`. */
  readonly origin: Uint16Array
  readonly destination: Uint16Array
  readonly names: readonly string[]
}

/** All three million rows. */
export async function flights3m(): Promise<Flights> {
  return fromColumns(await decoded())
}

/** `rows` of them, drawn without repetition from a fixed seed, in order of id. */
export async function sample(rows: number, seed: number = SEED): Promise<Flights> {
  const all = await decoded()
  return fromColumns(pick(all, drawn(rows, ROWS, seed)))
}

/** `rows` of them in random order, each delay one minute later than before: input for upserts. */
export async function changed(rows: number, seed: number): Promise<Flights> {
  const all = await decoded()
  const some = pick(all, shuffled(drawn(rows, ROWS, seed), seed))
  return fromColumns({ ...some, delay: some.delay.map((delay) => delay + 1) })
}

/** Generator of 32-bit numbers (mulberry32): the same sequence for the same seed on every machine. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x = (x + Math.imul(x ^ (x >>> 7), x | 61)) ^ x
    return (x ^ (x >>> 14)) >>> 0
  }
}

/** The `i`-th row of a synthetic stream of flights: what commits write one by one. */
export function flightAt(i: number, id: number): Flight {
  return { id, date: 978_307_200_000 + i * 60_000, delay: (i % 180) - 20, distance: 100 + (i % 2400), origin: CODES[i % 8]!, destination: CODES[(i + 3) % 8]! }
}

const CODES = ['SFO', 'JFK', 'LAX', 'ORD', 'ATL', 'DFW', 'DEN', 'SEA']

let loaded: Promise<Columns> | undefined

function decoded(): Promise<Columns> {
  loaded ??= readCache() ?? decodeParquet()
  return loaded
}

const CACHE_FILE = `${CACHE}flights-3m-v1.bin`
const NAMES_FILE = `${CACHE}flights-3m-v1.json`

/** Column after column, little-endian: 8 + 4 + 2 + 2 + 2 + 2 bytes a row. */
function readCache(): Promise<Columns> | undefined {
  if (!existsSync(CACHE_FILE) || !existsSync(NAMES_FILE)) return undefined
  const { buffer, byteOffset, byteLength } = readFileSync(CACHE_FILE)
  if (byteLength !== ROWS * 20) return undefined
  let at = byteOffset
  const next = (bytes: number): [ArrayBufferLike, number, number] => [buffer, (at += bytes * ROWS) - bytes * ROWS, ROWS]
  return Promise.resolve({
    date: new Float64Array(...next(8)),
    id: new Int32Array(...next(4)),
    delay: new Int16Array(...next(2)),
    distance: new Int16Array(...next(2)),
    origin: new Uint16Array(...next(2)),
    destination: new Uint16Array(...next(2)),
    names: JSON.parse(readFileSync(NAMES_FILE, 'utf8')) as string[],
  })
}

async function decodeParquet(): Promise<Columns> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetRead } = await import('hyparquet')
  const { compressors } = await import('hyparquet-compressors')
  const file = await asyncBufferFromFile(fileURLToPath(new URL('../node_modules/vega-datasets/data/flights-3m.parquet', import.meta.url)))
  const metadata = await parquetMetadataAsync(file)
  const names: string[] = []
  const codes = new Map<string, number>()
  const columns = {
    id: Int32Array.from({ length: ROWS }, (_, i) => i),
    date: new Float64Array(ROWS),
    delay: new Int16Array(ROWS),
    distance: new Int16Array(ROWS),
    origin: new Uint16Array(ROWS),
    destination: new Uint16Array(ROWS),
    names,
  }
  const put: Record<string, (row: number, value: unknown) => void> = {
    date: (row, value) => (columns.date[row] = (value as Date).getTime()),
    delay: (row, value) => (columns.delay[row] = Number(value)),
    distance: (row, value) => (columns.distance[row] = Number(value)),
    origin: (row, value) => (columns.origin[row] = codeOf(value as string)),
    destination: (row, value) => (columns.destination[row] = codeOf(value as string)),
  }
  const codeOf = (text: string): number => {
    let code = codes.get(text)
    if (code === undefined) {
      code = names.push(text) - 1
      codes.set(text, code)
    }
    return code
  }
  let rowStart = 0
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows)
    await parquetRead({
      file,
      metadata,
      compressors,
      rowStart,
      rowEnd,
      onChunk: ({ columnName, columnData, rowStart: first }) => {
        for (let i = 0; i < columnData.length; i++) {
          if (columnData[i] === null || columnData[i] === undefined) throw new Error(`null in ${columnName} of row ${first + i}`)
          put[columnName]!(first + i, columnData[i])
        }
      },
    })
    rowStart = rowEnd
  }
  mkdirSync(CACHE, { recursive: true })
  const parts = [columns.date, columns.id, columns.delay, columns.distance, columns.origin, columns.destination]
  writeFileSync(NAMES_FILE, JSON.stringify(names))
  writeFileSync(`${CACHE_FILE}.${process.pid}`, Buffer.concat(parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength))))
  renameSync(`${CACHE_FILE}.${process.pid}`, CACHE_FILE)
  return columns
}

function fromColumns(columns: Columns): Flights {
  const { names, origin, destination, ...numbers } = columns
  const textOf = (codes: Uint16Array): string[] => Array.from(codes, (code) => names[code]!)
  return { rows: columns.id.length, ...numbers, origin: textOf(origin), destination: textOf(destination), table: toArrow(columns) }
}

function toArrow(columns: Columns): ArrowTable {
  const { makeData, makeVector, Table, Int16, Int64, TimestampMillisecond } = arrow
  const big = (values: ArrayLike<number>): BigInt64Array => {
    const out = new BigInt64Array(values.length)
    for (let i = 0; i < values.length; i++) out[i] = BigInt(values[i]!)
    return out
  }
  return new Table({
    id: makeVector(makeData({ type: new Int64(), data: big(columns.id) })),
    date: makeVector(makeData({ type: new TimestampMillisecond(), data: big(columns.date) })),
    delay: makeVector(makeData({ type: new Int16(), data: columns.delay })),
    distance: makeVector(makeData({ type: new Int16(), data: columns.distance })),
    origin: textVector(columns.origin, columns.names),
    destination: textVector(columns.destination, columns.names),
  }) as unknown as ArrowTable
}

function textVector(codes: Uint16Array, names: readonly string[]): InstanceType<(typeof arrow)['Vector']> {
  const bytes = names.map((name) => new TextEncoder().encode(name))
  const valueOffsets = new Int32Array(codes.length + 1)
  for (let i = 0; i < codes.length; i++) valueOffsets[i + 1] = valueOffsets[i]! + bytes[codes[i]!]!.length
  const data = new Uint8Array(valueOffsets[codes.length]!)
  for (let i = 0; i < codes.length; i++) data.set(bytes[codes[i]!]!, valueOffsets[i]!)
  return arrow.makeVector(arrow.makeData({ type: new arrow.Utf8(), valueOffsets, data }))
}

function pick(all: Columns, rows: Int32Array): Columns {
  const take = <A extends Int32Array | Int16Array | Uint16Array | Float64Array>(from: A): A => {
    const out = new (from.constructor as new (n: number) => A)(rows.length)
    for (let i = 0; i < rows.length; i++) out[i] = from[rows[i]!]!
    return out
  }
  return {
    names: all.names,
    id: take(all.id),
    date: take(all.date),
    delay: take(all.delay),
    distance: take(all.distance),
    origin: take(all.origin),
    destination: take(all.destination),
  }
}

/** `count` distinct numbers below `total`, ascending. */
function drawn(count: number, total: number, seed: number): Int32Array {
  const random = randomOf(seed)
  const chosen = new Set<number>()
  while (chosen.size < count) chosen.add(random() % total)
  return Int32Array.from(chosen).sort()
}

function shuffled(numbers: Int32Array, seed: number): Int32Array {
  const random = randomOf(seed + 1)
  for (let i = numbers.length - 1; i > 0; i--) {
    const j = random() % (i + 1)
    const swap = numbers[i]!
    numbers[i] = numbers[j]!
    numbers[j] = swap
  }
  return numbers
}
