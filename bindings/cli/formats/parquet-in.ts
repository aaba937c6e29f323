// cli/formats/parquet-in.ts: Parquet through hyparquet, one row group at a time.
//
// Values come raw (days, microseconds, unscaled decimals) and are converted here, so that nothing is rounded on the way; nested columns become JSON.
import type { FileMetaData, SchemaElement } from 'hyparquet'
import { type CellType, type NamedField, typeText, type Unit } from '../column-type.ts'
import { CliError } from '../failure.ts'
import { bulkOf, packed } from './column-build.ts'
import { type Batch, type ByteCount, type RowNumbers, type Source, type SourceOptions, unreadable } from './source.ts'

type Convert = (value: unknown) => unknown

interface ParquetColumn {
  readonly field: NamedField
  readonly convert: Convert | undefined
}

const UNITS: Readonly<Record<string, Unit>> = { MILLIS: 'ms', MICROS: 'us', NANOS: 'ns' }
const PER_SECOND: Readonly<Record<Unit, bigint>> = { s: 1n, ms: 1_000n, us: 1_000_000n, ns: 1_000_000_000n }
const RAW = {
  timestampFromMilliseconds: (value: bigint) => value,
  timestampFromMicroseconds: (value: bigint) => value,
  timestampFromNanoseconds: (value: bigint) => value,
  dateFromDays: (days: number) => days,
}
const HINT = 'Check that it is a whole Parquet file.'

export async function openParquet(bytes: ByteCount, o: SourceOptions): Promise<Source> {
  if (bytes.path === undefined) throw unreadable(bytes, 'Parquet cannot be read from a pipe', 'Give the path of the file.')
  const { asyncBufferFromFile, parquetMetadataAsync, parquetRead } = await import('hyparquet')
  const { compressors } = await import('hyparquet-compressors')
  const file = await asyncBufferFromFile(bytes.path)
  let metadata: FileMetaData
  try {
    metadata = await parquetMetadataAsync(file)
  } catch (cause) {
    throw unreadable(bytes, `is not Parquet: ${(cause as Error).message}`, HINT, cause)
  }
  const columns = topColumns(metadata.schema)
  const plain = withoutDecimals(metadata)
  const rowsTotal = Number(metadata.num_rows)

  /** One column at a time: what hyparquet decodes to, 64-bit integers as bigint above all, takes many times the room of what is made of it. */
  const readColumn = async (start: number, end: number, name: string): Promise<unknown[]> => {
    let cells: unknown[] = []
    try {
      await parquetRead({
        file,
        metadata: plain,
        columns: [name],
        compressors,
        rowStart: start,
        rowEnd: end,
        utf8: false,
        parsers: RAW,
        onChunk: ({ columnData, rowStart }) => {
          // As a rule a chunk is the column of the group.
          if (rowStart === start && columnData.length === end - start && Array.isArray(columnData)) {
            cells = columnData as unknown[]
            for (let i = 0; i < cells.length; i++) cells[i] ??= null
            return
          }
          for (let i = Math.max(0, start - rowStart); i < columnData.length && rowStart + i < end; i++) cells.push(columnData[i] ?? null)
        },
      })
    } catch (cause) {
      throw unreadable(bytes, `column ${JSON.stringify(name)}, rows ${start} to ${end}: ${(cause as Error).message}`, HINT, cause)
    }
    if (cells.length !== end - start)
      throw unreadable(bytes, `column ${JSON.stringify(name)} has ${cells.length} of ${end - start} rows from row ${start}`, HINT)
    return cells
  }

  async function* batches(fields: readonly NamedField[], numbers: RowNumbers | undefined): AsyncGenerator<Batch, undefined> {
    const byName = new Map(fields.map((field) => [field.name, field]))
    let start = 0
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows)
      const cells: [string, ArrayLike<unknown>][] = []
      for (const { field, convert } of columns) {
        cells.push([field.name, converted(await readColumn(start, start + rows, field.name), convert, field, byName.get(field.name) ?? field)])
      }
      for (let first = 0; first < rows; first += o.batchRows) {
        const last = Math.min(rows, first + o.batchRows)
        const data = Object.fromEntries(cells.map(([name, column]) => [name, part(column, first, last)]))
        yield { rows: last - first, data: bulkOf(last - first, data, numbers) }
      }
      start += rows
      bytes.done = Math.round(((bytes.total ?? 0) * start) / Math.max(1, rowsTotal))
    }
  }

  return { format: 'parquet', fields: columns.map(({ field }) => field), rowsTotal, batches, close: async () => undefined }
}

function part(column: ArrayLike<unknown>, first: number, last: number): ArrayLike<unknown> {
  return Array.isArray(column) ? column.slice(first, last) : (column as Int32Array).subarray(first, last)
}

/** Cells of a column in the file as cells of the table's column. What does not fit, the store refuses. */
function converted(cells: unknown[], convert: Convert | undefined, source: NamedField, target: NamedField): ArrayLike<unknown> {
  const { type } = target
  const between = unitsBetween(source, target)
  for (let i = 0; i < cells.length; i++) {
    const raw = cells[i]
    if (raw === null) continue
    let cell = convert === undefined ? raw : convert(raw)
    if (between !== undefined) cell = between(BigInt(cell as number | bigint))
    cells[i] = asNumber(type, cell)
  }
  const isPlain = type.kind === 'timestamp' || type.kind === 'float' || type.kind === 'int'
  return isPlain && !cells.every((cell) => cell === null || typeof cell === (isWide(type) ? 'bigint' : 'number')) ? cells : packed(type, cells)
}

/** The table may have its integers wider or narrower than the file. */
function asNumber(type: CellType, cell: unknown): unknown {
  if (isWide(type)) return typeof cell === 'number' && Number.isInteger(cell) ? BigInt(cell) : cell
  if ((type.kind === 'int' || type.kind === 'float') && typeof cell === 'bigint') return Number(cell)
  return type.kind === 'time' && typeof cell === 'bigint' && (type.unit === 's' || type.unit === 'ms') ? Number(cell) : cell
}

function isWide(type: CellType): boolean {
  return (type.kind === 'int' && type.bits === 64) || type.kind === 'timestamp' || (type.kind === 'time' && (type.unit === 'us' || type.unit === 'ns'))
}

/** From the unit of the file to that of the table; undefined where both are one. CliError: digits would be lost. */
function unitsBetween(source: NamedField, target: NamedField): ((value: bigint) => bigint) | undefined {
  if (source.type.kind !== target.type.kind || (source.type.kind !== 'timestamp' && source.type.kind !== 'time')) return undefined
  const from = PER_SECOND[source.type.unit]
  const to = PER_SECOND[(target.type as { unit: Unit }).unit]
  if (from === to) return undefined
  if (to > from) return (value) => value * (to / from)
  return (value) => {
    if (value % (from / to) === 0n) return value / (from / to)
    throw new CliError(
      `column ${JSON.stringify(source.name)}: ${value} ${(source.type as { unit: Unit }).unit} has more digits than ${typeText(target.type)} holds`,
      'Import into a table with a finer unit.',
    )
  }
}

/** Decimals lose their annotation, so that hyparquet leaves the unscaled integers alone. */
function withoutDecimals(metadata: FileMetaData): FileMetaData {
  if (!metadata.schema.some((element) => element.converted_type === 'DECIMAL')) return metadata
  const schema = metadata.schema.map((element) => {
    if (element.converted_type !== 'DECIMAL') return element
    const { converted_type: _converted, logical_type: _logical, ...plain } = element
    return plain
  })
  return { ...metadata, schema }
}

/** The children of the root: flat ones by type, nested ones as JSON. */
function topColumns(schema: readonly SchemaElement[]): ParquetColumn[] {
  const columns: ParquetColumn[] = []
  let next = 1
  while (next < schema.length) {
    const element = schema[next]!
    const isNested = (element.num_children ?? 0) > 0 || element.repetition_type === 'REPEATED'
    columns.push(isNested ? nestedColumn(element) : flatColumn(element))
    next = afterSubtree(schema, next)
  }
  return columns
}

function afterSubtree(schema: readonly SchemaElement[], at: number): number {
  let next = at + 1
  for (let i = 0; i < (schema[at]!.num_children ?? 0); i++) next = afterSubtree(schema, next)
  return next
}

function nestedColumn(element: SchemaElement): ParquetColumn {
  return { field: { name: element.name, type: { kind: 'json' }, nullable: true }, convert: jsonSafe }
}

function flatColumn(element: SchemaElement): ParquetColumn {
  const [type, convert] = typeOf(element)
  return { field: { name: element.name, type, nullable: element.repetition_type !== 'REQUIRED' }, convert }
}

function typeOf(element: SchemaElement): [CellType, Convert?] {
  const { type, converted_type: converted, logical_type: logical } = element
  if (converted === 'DECIMAL' || logical?.type === 'DECIMAL') {
    const scale = element.scale ?? 0
    return [{ kind: 'decimal', precision: element.precision ?? 38, scale }, (value) => decimalText(unscaled(value), scale)]
  }
  if (logical?.type === 'TIMESTAMP') return [{ kind: 'timestamp', unit: UNITS[logical.unit] ?? 'us', ...(logical.isAdjustedToUTC ? { tz: 'UTC' } : {}) }]
  if (converted === 'TIMESTAMP_MILLIS' || converted === 'TIMESTAMP_MICROS')
    return [{ kind: 'timestamp', unit: converted === 'TIMESTAMP_MILLIS' ? 'ms' : 'us', tz: 'UTC' }]
  if (converted === 'DATE' || logical?.type === 'DATE') return [{ kind: 'date' }, dayText]
  if (logical?.type === 'TIME') return [{ kind: 'time', unit: UNITS[logical.unit] ?? 'us' }]
  if (converted === 'TIME_MILLIS' || converted === 'TIME_MICROS') return [{ kind: 'time', unit: converted === 'TIME_MILLIS' ? 'ms' : 'us' }]
  if (logical?.type === 'UUID') return [{ kind: 'uuid' }]
  if (logical?.type === 'FLOAT16') return [{ kind: 'float', bits: 32 }]
  if (converted === 'JSON' || logical?.type === 'JSON') return [{ kind: 'json' }, jsonSafe]
  if (converted === 'UTF8' || converted === 'ENUM' || logical?.type === 'STRING' || logical?.type === 'ENUM') return [{ kind: 'utf8' }, textOf]
  switch (type) {
    case 'BOOLEAN':
      return [{ kind: 'bool' }]
    case 'INT32':
    case 'INT64':
      return [intOf(element)]
    case 'INT96':
      return [{ kind: 'timestamp', unit: 'ns' }]
    case 'FLOAT':
      return [{ kind: 'float', bits: 32 }]
    case 'DOUBLE':
      return [{ kind: 'float', bits: 64 }]
    case 'FIXED_LEN_BYTE_ARRAY':
      return [{ kind: 'fixedSizeBinary', size: element.type_length ?? 1 }]
    default:
      return [{ kind: 'binary' }]
  }
}

function intOf({ type, converted_type: converted, logical_type: logical }: SchemaElement): CellType {
  const [, unsigned, bits] = /^(U?)INT_(8|16|32|64)$/.exec(converted ?? '') ?? []
  if (bits !== undefined) return { kind: 'int', bits: Number(bits) as 8, signed: unsigned === '' }
  if (logical?.type === 'INTEGER') return { kind: 'int', bits: logical.bitWidth as 8, signed: logical.isSigned }
  return { kind: 'int', bits: type === 'INT64' ? 64 : 32, signed: true }
}

function unscaled(value: unknown): bigint {
  if (!(value instanceof Uint8Array)) return BigInt(value as number | bigint)
  let number = 0n
  for (const byte of value) number = number * 256n + BigInt(byte)
  return BigInt.asIntN(value.length * 8, number)
}

function decimalText(value: bigint, scale: number): string {
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0')
  const sign = value < 0n ? '-' : ''
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

function dayText(value: unknown): unknown {
  return typeof value === 'number' ? new Date(value * 86_400_000).toISOString().slice(0, -14) : value
}

const decoder = new TextDecoder()

function textOf(value: unknown): unknown {
  return value instanceof Uint8Array ? decoder.decode(value) : value
}

/** What JSON columns take: no bigint, no bytes, no dates. */
function jsonSafe(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, item: unknown) => {
      if (typeof item === 'bigint') return Number.isSafeInteger(Number(item)) ? Number(item) : item.toString()
      if (item instanceof Uint8Array) return Buffer.from(item).toString('base64')
      return item
    }),
  )
}
