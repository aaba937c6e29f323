// cli/formats/source.ts: files of rows to read: format by name, bytes with their count, batches of columns.
//
// Invariant: a source holds one batch (of Parquet: one row group) at a time, however long its file is.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { extname } from 'node:path'
import type { Bulk } from '../../index.ts'
import type { NamedField } from '../column-type.ts'
import { CliError, UsageError } from '../failure.ts'

export const FORMATS_IN = ['csv', 'tsv', 'ndjson', 'parquet', 'arrow'] as const
export type FormatIn = (typeof FORMATS_IN)[number]

const EXTENSIONS: Readonly<Record<string, FormatIn>> = {
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.json': 'ndjson',
  '.parquet': 'parquet',
  '.arrow': 'arrow',
  '.arrows': 'arrow',
  '.feather': 'arrow',
  '.ipc': 'arrow',
}

export interface SourceOptions {
  readonly format: string | undefined
  readonly batchRows: number
  /** CSV without a line of names. */
  readonly isHeaderless: boolean
  readonly delimiter: string | undefined
  /** Ends a read that waits for bytes. */
  readonly signal: AbortSignal
}

export interface Batch {
  readonly rows: number
  readonly data: Bulk<any>
}

/** Prepended to every batch: numbers from `next` on. */
export interface RowNumbers {
  readonly column: string
  next: number
}

export interface Source {
  readonly format: FormatIn
  /** As the file's schema has them, or as its first rows suggest. */
  readonly fields: readonly NamedField[]
  readonly rowsTotal: number | undefined
  /** The rows as columns of the given types; fields beyond the source's own are left out. */
  batches(fields: readonly NamedField[], numbers: RowNumbers | undefined): AsyncGenerator<Batch, undefined>
  close(): Promise<void>
}

/** The bytes of a file or of stdin, counted. */
export class ByteCount {
  done = 0
  total: number | undefined
  readonly name: string
  readonly path: string | undefined
  readonly #signal: AbortSignal
  #stop: (() => void) | undefined

  constructor(file: string, signal: AbortSignal) {
    this.#signal = signal
    this.name = file === '-' ? 'stdin' : file
    this.path = file === '-' ? undefined : file
  }

  /** Ends a read that waits for bytes: a pipe may stay open for ever. */
  close(): void {
    if (this.#stop === undefined) return
    this.#signal.removeEventListener('abort', this.#stop)
    this.#stop()
    this.#stop = undefined
  }

  async *read(): AsyncGenerator<Buffer, undefined> {
    const stream = this.path === undefined ? process.stdin : createReadStream(this.path, { highWaterMark: 256 * 1024 })
    this.#stop = () => {
      stream.destroy(this.#signal.aborted ? (this.#signal.reason as Error) : undefined)
    }
    this.#signal.addEventListener('abort', this.#stop)
    try {
      this.#signal.throwIfAborted()
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        this.done += chunk.length
        yield chunk
      }
    } finally {
      this.close()
    }
  }
}

export interface OpenedSource {
  readonly source: Source
  readonly bytes: ByteCount
}

/** @throws UsageError: no such format; CliError: what the file holds cannot be read as it */
export async function openSource(file: string, o: SourceOptions): Promise<OpenedSource> {
  const format = formatOf(file, o.format)
  const bytes = new ByteCount(file, o.signal)
  if (bytes.path !== undefined) {
    const info = await stat(bytes.path).catch((cause: NodeJS.ErrnoException) => {
      throw new UsageError(cause.code === 'ENOENT' ? `no file ${bytes.name}` : `${bytes.name}: ${cause.message}`, 'Check the path.', cause)
    })
    if (info.isDirectory()) throw new UsageError(`${bytes.name} is a directory`, 'Name one file.')
    bytes.total = info.size
  }
  try {
    return { bytes, source: await sourceOf(format, bytes, o) }
  } catch (error) {
    bytes.close()
    throw error
  }
}

async function sourceOf(format: FormatIn, bytes: ByteCount, o: SourceOptions): Promise<Source> {
  switch (format) {
    case 'csv':
    case 'tsv': {
      const { openCsv } = await import('./csv-in.ts')
      return await openCsv(bytes, { ...o, delimiter: o.delimiter ?? (format === 'tsv' ? '\t' : ',') })
    }
    case 'ndjson': {
      const { openNdjson } = await import('./ndjson-in.ts')
      return await openNdjson(bytes, o)
    }
    case 'parquet': {
      const { openParquet } = await import('./parquet-in.ts')
      return await openParquet(bytes, o)
    }
    case 'arrow': {
      const { openArrow } = await import('./arrow-in.ts')
      return await openArrow(bytes)
    }
  }
}

function formatOf(file: string, given: string | undefined): FormatIn {
  const format = given ?? EXTENSIONS[extname(file).toLowerCase()]
  if (format === undefined) throw new UsageError(`${file}: the format does not show from the name`, `Add --format ${FORMATS_IN.join('|')}.`)
  if (!(FORMATS_IN as readonly string[]).includes(format))
    throw new UsageError(`no format ${JSON.stringify(format)} to read`, `Formats: ${FORMATS_IN.join(', ')}.`)
  return format as FormatIn
}

/** What went wrong inside a file, with its name. */
export function unreadable(bytes: ByteCount, what: string, hint: string, cause?: unknown): CliError {
  return new CliError(`${bytes.name}: ${what}`, hint, cause)
}
