// cli/demo/import.ts: the flights of the Parquet file, with a number each, into the store as one commit.
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { columns, type CommitResult, type Store } from '../../index.ts'
import type { NamedField } from '../column-type.ts'
import { CliError } from '../failure.ts'
import { rowNumbers } from '../formats/column-build.ts'
import { openSource } from '../formats/source.ts'
import { countText, ProgressLine, rateText } from '../render.ts'
import { flights } from './tables.ts'
import { type FlightColumns, Tally } from './tally.ts'

export interface ImportResult {
  readonly tally: Tally
  readonly commit: CommitResult
  readonly fileBytes: number
  readonly ms: number
}

const BATCH_ROWS = 65_536
const FIELDS: readonly NamedField[] = [
  { name: 'date', type: { kind: 'timestamp', unit: 'us' }, nullable: false },
  { name: 'delay', type: { kind: 'int', bits: 16, signed: true }, nullable: true },
  { name: 'distance', type: { kind: 'int', bits: 16, signed: true }, nullable: false },
  { name: 'origin', type: { kind: 'utf8' }, nullable: false },
  { name: 'destination', type: { kind: 'utf8' }, nullable: false },
]

/** The flights file of vega-datasets, wherever npm put it. */
export async function flightsFile(given: string | undefined): Promise<string> {
  if (given !== undefined) return given
  let main: string
  try {
    main = import.meta.resolve('vega-datasets')
  } catch (cause) {
    throw new CliError('the package vega-datasets is not installed', 'Run npm install vega-datasets, or give a file of flights with --data.', cause)
  }
  const [folder] = /^.*\/vega-datasets\//.exec(main) ?? []
  return fileURLToPath(new URL('data/flights-3m.parquet', folder))
}

export async function importFlights(store: Store, file: string, rowsMax: number, signal: AbortSignal): Promise<ImportResult> {
  const { source } = await openSource(file, { format: 'parquet', batchRows: BATCH_ROWS, isHeaderless: false, delimiter: undefined, signal })
  const missing = FIELDS.find(({ name }) => !source.fields.some((field) => field.name === name))
  if (missing !== undefined) throw new CliError(`${file} has no column ${JSON.stringify(missing.name)}`, 'Give the flights of vega-datasets.')
  const tally = new Tally()
  const line = new ProgressLine('import')
  const startMs = performance.now()
  const total = Math.min(source.rowsTotal ?? rowsMax, rowsMax)
  async function* chunks(): AsyncGenerator<ReturnType<typeof columns<FlightColumns & Record<string, ArrayLike<unknown>>>>, undefined> {
    for await (const { data } of source.batches(FIELDS, undefined)) {
      const batch = flightsOf((data as { columns: Record<string, ArrayLike<unknown>> }).columns, tally.rows, rowsMax - tally.rows)
      if (batch.id.length === 0) return
      tally.add(batch)
      yield columns(batch as FlightColumns & Record<string, ArrayLike<unknown>>)
      line.update(`${countText(tally.rows)} rows  ${rateText(tally.rows, performance.now() - startMs, 'rows')}`, tally.rows / total)
    }
  }
  try {
    const commit = await store.append(flights, chunks() as never, { message: 'flights of vega-datasets', signal })
    return { tally, commit, fileBytes: (await stat(file)).size, ms: performance.now() - startMs }
  } finally {
    line.clear()
    await source.close()
  }
}

function flightsOf(data: Record<string, ArrayLike<unknown>>, first: number, rowsMax: number): FlightColumns {
  const rows = Math.min(data['date']!.length, rowsMax)
  const id = rowNumbers(first, rows)
  const part = (name: string): never => {
    const cells = data[name]!
    return (rows === cells.length ? cells : (cells as unknown[]).slice(0, rows)) as never
  }
  return {
    id,
    date: part('date'),
    delay: part('delay'),
    distance: part('distance'),
    origin: part('origin'),
    destination: part('destination'),
  }
}
