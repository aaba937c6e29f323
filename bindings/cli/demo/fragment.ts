// cli/demo/fragment.ts: one of the store's files, read by the apache-arrow package instead of by varve.
import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { loadArrow } from '../formats/arrow-codecs.ts'

export interface ForeignFlight {
  readonly id: bigint
  readonly date: bigint
  readonly delay: number | null
  readonly distance: number
  readonly origin: string
  readonly destination: string
}

export interface ForeignRead {
  readonly file: string
  readonly rows: number
  readonly bytes: number
  readonly columns: readonly string[]
  /** Digest of the file's bytes and the one that its name states. */
  readonly digest: string
  readonly named: string
  /** Rows spread over the file. */
  readonly sample: readonly ForeignFlight[]
}

const FLIGHT_COLUMNS = ['id', 'date', 'delay', 'distance', 'origin', 'destination']

/** The largest fragment that holds flights. */
export async function readForeign(path: string, sampleRows: number): Promise<ForeignRead | undefined> {
  const { tableFromIPC } = await loadArrow()
  for (const file of await fragmentFiles(path)) {
    const bytes = await readFile(file)
    const table = tableFromIPC(bytes)
    const names = table.schema.fields.map((field) => field.name)
    if (!FLIGHT_COLUMNS.every((name) => names.includes(name))) continue
    const [id, date, delay, distance, origin, destination] = FLIGHT_COLUMNS.map((name) => table.getChild(name)!)
    const sample: ForeignFlight[] = []
    const step = Math.max(1, Math.floor(table.numRows / sampleRows))
    for (let row = 0; row < table.numRows; row += step) {
      const minutes = delay!.get(row) as number | bigint | null
      sample.push({
        id: BigInt(id!.get(row) as number | bigint),
        date: microseconds(date!.get(row) as number | bigint),
        delay: minutes === null ? null : Number(minutes),
        distance: Number(distance!.get(row)),
        origin: String(origin!.get(row)),
        destination: String(destination!.get(row)),
      })
    }
    return {
      file,
      rows: table.numRows,
      bytes: bytes.length,
      columns: table.schema.fields.map((field) => `${field.name} ${String(field.type)}`),
      digest: createHash('sha256').update(bytes).digest('hex'),
      named: /([0-9a-f]{64})[^/\\]*$/.exec(file)?.[1] ?? '',
      sample,
    }
  }
  return undefined
}

async function fragmentFiles(path: string): Promise<string[]> {
  const root = join(path, 'fragments')
  const names = await readdir(root, { recursive: true })
  const files = await Promise.all(
    names.filter((name) => name.endsWith('.arrow')).map(async (name) => ({ file: join(root, name), bytes: (await stat(join(root, name))).size })),
  )
  return files.toSorted((a, b) => b.bytes - a.bytes).map(({ file }) => file)
}

/** apache-arrow gives timestamps as milliseconds, with a fraction. */
function microseconds(value: number | bigint): bigint {
  return typeof value === 'bigint' ? value : BigInt(Math.round(value * 1000))
}
