// cli/formats/csv-in.ts: CSV and TSV (RFC 4180) through csv-parse; types are guessed from the first rows.
//
// An unquoted empty field is null, a quoted one is an empty string.
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { cellFromText, guessText } from '../cell-text.ts'
import type { CellType, NamedField } from '../column-type.ts'
import { bulkOf, misfit, packed } from './column-build.ts'
import { type Batch, type ByteCount, type RowNumbers, type Source, type SourceOptions, unreadable } from './source.ts'

/** Null: an unquoted empty field. Where nothing can be a quoted one, fields come as they are and '' is null. */
type Cells = (string | null)[]

const SAMPLE_ROWS = 5_000
const QUOTE = 0x22
const UTF8: CellType = { kind: 'utf8' }
const HINT = 'Correct the line, or name the --delimiter.'

export async function openCsv(bytes: ByteCount, o: SourceOptions & { readonly delimiter: string }): Promise<Source> {
  const { parse } = await import('csv-parse')
  const distinct = await mayHoldEmptyTexts(bytes)
  const input = Readable.from(bytes.read())
  const parser = parse({
    bom: true,
    delimiter: o.delimiter,
    relax_column_count: true,
    ...(distinct ? { cast: (value: string, { quoting }: { quoting: boolean }) => (value === '' && !quoting ? null : value) } : {}),
  })
  input.on('error', (error) => parser.destroy(error))
  input.pipe(parser)
  const records = (parser as unknown as AsyncIterable<Cells>)[Symbol.asyncIterator]()
  let width = 0
  let row = 0
  const next = async (): Promise<Cells | undefined> => {
    for (;;) {
      let cells: Cells
      try {
        const { done, value } = await records.next()
        if (done === true) return undefined
        cells = value
      } catch (cause) {
        throw unreadable(bytes, (cause as Error).message, HINT, cause)
      }
      // An empty line is a row only where a row is one cell.
      if (cells.length === 1 && (cells[0] === null || cells[0] === '') && width !== 1) continue
      if (width !== 0 || o.isHeaderless) row++
      if (width !== 0 && cells.length !== width) throw unreadable(bytes, `row ${row} has ${cells.length} cells, expected ${width}`, HINT)
      width = cells.length
      return cells
    }
  }
  const close = async (): Promise<void> => {
    input.destroy()
    parser.destroy()
  }
  try {
    const first = await next()
    if (first === undefined) throw unreadable(bytes, 'is empty', 'Name a file that has at least a line of column names.')
    const names = o.isHeaderless ? first.map((_cell, i) => `c${i + 1}`) : first.map((cell) => (cell ?? '').trim())
    checkNames(bytes, names)
    const sample: Cells[] = o.isHeaderless ? [first] : []
    for (let record = await next(); record !== undefined; record = await next()) {
      sample.push(record)
      if (sample.length >= SAMPLE_ROWS) break
    }
    const fields = names.map((name, i) => ({ name, type: guess(sample, i), nullable: true }))
    const source = new CsvSource(bytes, names, sample, next, o.batchRows, !distinct)
    return { format: 'csv', fields, rowsTotal: undefined, batches: (wanted, numbers) => source.batches(wanted, numbers), close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Two quotes in a row: only then can a field be an empty text, and only then is telling it from null worth its price. */
async function mayHoldEmptyTexts({ path }: ByteCount): Promise<boolean> {
  if (path === undefined) return true
  let wasQuote = false
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    if ((wasQuote && chunk[0] === QUOTE) || chunk.includes('""')) return true
    wasQuote = chunk.at(-1) === QUOTE
  }
  return false
}

function checkNames(bytes: ByteCount, names: readonly string[]): void {
  const empty = names.indexOf('')
  if (empty !== -1) throw unreadable(bytes, `column ${empty + 1} has no name`, 'Name it in the first line, or import with --no-header.')
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined)
    throw unreadable(bytes, `two columns are named ${JSON.stringify(twice)}`, 'Rename one in the first line, or import with --no-header.')
}

function guess(sample: readonly Cells[], column: number): CellType {
  let type: CellType | undefined
  for (const record of sample) {
    const cell = record[column]
    if (cell === null || cell === undefined || cell === '') continue
    type = guessText(cell, type)
    if (type.kind === 'utf8') break
  }
  return type ?? UTF8
}

class CsvSource {
  readonly #bytes: ByteCount
  readonly #names: readonly string[]
  readonly #sample: Cells[]
  readonly #next: () => Promise<Cells | undefined>
  readonly #batchRows: number
  readonly #emptyIsNull: boolean
  #row = 0

  constructor(bytes: ByteCount, names: readonly string[], sample: Cells[], next: () => Promise<Cells | undefined>, batchRows: number, emptyIsNull: boolean) {
    this.#emptyIsNull = emptyIsNull
    this.#bytes = bytes
    this.#names = names
    this.#sample = sample
    this.#next = next
    this.#batchRows = batchRows
  }

  async *batches(fields: readonly NamedField[], numbers: RowNumbers | undefined): AsyncGenerator<Batch, undefined> {
    const byName = new Map(fields.map((field) => [field.name, field]))
    // A column that the table lacks goes along as text, so that the store names it.
    const wanted = this.#names.map((name): NamedField => byName.get(name) ?? { name, type: UTF8, nullable: true })
    let records = this.#sample.splice(0)
    for (;;) {
      while (records.length < this.#batchRows) {
        const record = await this.#next()
        if (record === undefined) break
        records.push(record)
      }
      if (records.length === 0) return
      for (let start = 0; start < records.length; start += this.#batchRows) {
        const part = records.length > this.#batchRows ? records.slice(start, start + this.#batchRows) : records
        const data: Record<string, ArrayLike<unknown>> = {}
        for (const [i, field] of wanted.entries()) data[field.name] = this.#column(field, i, part)
        this.#row += part.length
        yield { rows: part.length, data: bulkOf(part.length, data, numbers) }
      }
      records = []
    }
  }

  #column(field: NamedField, column: number, records: readonly Cells[]): ArrayLike<unknown> {
    const { type } = field
    const mayBeEmpty = type.kind === 'utf8' || type.kind === 'binary'
    // An empty text in a column without nulls: all that CSV can say.
    const empty = mayBeEmpty && !field.nullable ? cellFromText(type, '') : null
    const cells: unknown[] = []
    try {
      for (const record of records) {
        const text = record[column]!
        cells.push(text === null || (text === '' && (this.#emptyIsNull || !mayBeEmpty)) ? empty : cellFromText(type, text))
      }
    } catch (fault) {
      throw misfit(this.#bytes.name, this.#row + cells.length + 1, field, fault)
    }
    return packed(type, cells)
  }
}
