// cli/formats/ndjson-in.ts: one JSON object a line; types are guessed from the first rows.
//
// Integers that a double cannot hold are read from their digits. A name that is missing is null.
import { cellFromJson, guessJson } from '../cell-text.ts'
import type { CellType, NamedField } from '../column-type.ts'
import { bulkOf, misfit, packed } from './column-build.ts'
import { type Batch, type ByteCount, type RowNumbers, type Source, type SourceOptions, unreadable } from './source.ts'

type Row = Readonly<Record<string, unknown>>

interface Line {
  readonly text: string
  readonly row: Row
}

const SAMPLE_ROWS = 5_000
/** Digits from which on a double may be wrong. */
const LONG_NUMBER = /\d{16}/
const JSON_TYPE: CellType = { kind: 'json' }
const HINT = 'Write one JSON object a line.'

export async function openNdjson(bytes: ByteCount, o: SourceOptions): Promise<Source> {
  const lines = rowsOf(bytes)
  const sample: Line[] = []
  const types = new Map<string, CellType | undefined>()
  try {
    for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
      sample.push(next.value)
      for (const [name, value] of Object.entries(next.value.row)) {
        types.set(name, value === null ? types.get(name) : guessJson(value, types.get(name)))
      }
      if (sample.length >= SAMPLE_ROWS) break
    }
  } catch (error) {
    await lines.return(undefined)
    throw error
  }
  const fields = [...types].map(([name, type]) => ({ name, type: type ?? ({ kind: 'utf8' } as const), nullable: true }))
  const source = new NdjsonSource(bytes, sample, lines, o.batchRows)
  return {
    format: 'ndjson',
    fields,
    rowsTotal: undefined,
    batches: (wanted, numbers) => source.batches(wanted, numbers),
    close: async () => {
      await lines.return(undefined)
    },
  }
}

async function* rowsOf(bytes: ByteCount): AsyncGenerator<Line, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  let line = 0
  const parse = (text: string): Line | undefined => {
    line++
    if (text.trim() === '') return undefined
    let row: unknown
    try {
      row = LONG_NUMBER.test(text) ? parseExactly(text) : JSON.parse(text)
    } catch (cause) {
      throw unreadable(bytes, `line ${line}: ${(cause as Error).message}`, HINT, cause)
    }
    if (typeof row === 'object' && row !== null && !Array.isArray(row)) return { text, row: row as Row }
    throw unreadable(
      bytes,
      `line ${line} holds ${Array.isArray(row) ? 'an array' : String(row)}, not an object`,
      Array.isArray(row) ? 'Write its elements one a line: jq -c ".[]".' : HINT,
    )
  }
  const decode = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true })
    } catch (cause) {
      throw unreadable(bytes, `is not UTF-8 after line ${line}`, 'Convert it, such as with iconv.', cause)
    }
  }
  for await (const chunk of bytes.read()) {
    const parts = (rest + decode(chunk)).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      const parsed = parse(part)
      if (parsed !== undefined) yield parsed
    }
  }
  const last = parse(rest + decode())
  if (last !== undefined) yield last
}

/** One line as one row of these fields; names beyond them go along. @throws SyntaxError, or what says that a value does not fit its field */
export function rowFromLine(fields: readonly NamedField[], text: string): Row {
  const row = LONG_NUMBER.test(text) ? parseExactly(text) : (JSON.parse(text) as unknown)
  if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new SyntaxError('not an object')
  const line = { text, row: row as Row }
  const made: Record<string, unknown> = { ...row }
  for (const field of fields) if (field.name in line.row) made[field.name] = cellOf(field, line)
  return made
}

/** As JSON.parse, but with bigint for integers that a double cannot hold. */
function parseExactly(text: string): unknown {
  const revive = (_key: string, value: unknown, context: { readonly source?: string }): unknown =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source ?? '') ? BigInt(context.source!) : value
  return (JSON.parse as (text: string, revive: (key: string, value: unknown, context: { readonly source?: string }) => unknown) => unknown)(text, revive)
}

class NdjsonSource {
  readonly #bytes: ByteCount
  readonly #sample: Line[]
  readonly #lines: AsyncGenerator<Line, undefined>
  readonly #batchRows: number
  #row = 0

  constructor(bytes: ByteCount, sample: Line[], lines: AsyncGenerator<Line, undefined>, batchRows: number) {
    this.#bytes = bytes
    this.#sample = sample
    this.#lines = lines
    this.#batchRows = batchRows
  }

  async *batches(fields: readonly NamedField[], numbers: RowNumbers | undefined): AsyncGenerator<Batch, undefined> {
    const byName = new Map(fields.map((field) => [field.name, field]))
    let lines = this.#sample.splice(0)
    for (;;) {
      while (lines.length < this.#batchRows) {
        const { done, value } = await this.#lines.next()
        if (done === true) break
        lines.push(value)
      }
      if (lines.length === 0) return
      for (let start = 0; start < lines.length; start += this.#batchRows) {
        const part = lines.slice(start, start + this.#batchRows)
        const data = this.#columns(byName, part)
        this.#row += part.length
        yield { rows: part.length, data: bulkOf(part.length, data, numbers) }
      }
      lines = []
    }
  }

  #columns(byName: ReadonlyMap<string, NamedField>, lines: readonly Line[]): Record<string, ArrayLike<unknown>> {
    const names = new Set<string>()
    for (const { row } of lines) for (const name in row) names.add(name)
    const data: Record<string, ArrayLike<unknown>> = {}
    for (const name of names) {
      // A name that the table lacks goes along as JSON, so that the store names it.
      const field = byName.get(name) ?? { name, type: JSON_TYPE, nullable: true }
      const cells: unknown[] = []
      try {
        for (const line of lines) cells.push(cellOf(field, line))
      } catch (fault) {
        throw misfit(this.#bytes.name, this.#row + cells.length + 1, field, fault)
      }
      data[name] = cells.includes(undefined) ? cells : packed(field.type, cells)
    }
    return data
  }
}

function cellOf(field: NamedField, { text, row }: Line): unknown {
  const value = row[field.name]
  if (value === undefined || value === null) return value
  // A JSON column keeps what JSON.parse makes of it: the store takes no bigint there.
  if (field.type.kind === 'json') return typeof value === 'object' || typeof value === 'bigint' ? (JSON.parse(text) as Row)[field.name] : value
  return cellFromJson(field.type, value)
}
