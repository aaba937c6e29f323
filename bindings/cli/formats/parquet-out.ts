// cli/formats/parquet-out.ts: rows of a scan as Parquet through hyparquet-writer, one row group at a time.
//
// Flat columns keep their type (seconds become milliseconds, which Parquet starts at); lists, structs and vectors are written as JSON.
import type { SchemaElement } from 'hyparquet'
import type { AnyTable, Scan } from '../../index.ts'
import { cellJson } from '../cell-text.ts'
import type { CellType, NamedField, Unit } from '../column-type.ts'
import type { OnRows, SinkTarget } from './sink.ts'

const GROUP_ROWS = 100_000
const DAY_MS = 86_400_000
const UNITS = { s: 'MILLIS', ms: 'MILLIS', us: 'MICROS', ns: 'NANOS' } as const satisfies Readonly<Record<Unit, string>>
const DECIMAL_BYTES = 16

export async function writeParquet(
  scan: Scan<AnyTable, object>,
  fields: readonly NamedField[],
  target: SinkTarget,
  onRows: OnRows | undefined,
): Promise<number> {
  const { ByteWriter, ParquetWriter } = await import('hyparquet-writer')
  const bytes = new ByteWriter()
  const schema: SchemaElement[] = [{ name: 'root', num_children: fields.length }, ...fields.map(elementOf)]
  const writer = new ParquetWriter({ writer: bytes, schema, createdBy: 'varve' })
  const drain = async (): Promise<void> => {
    const part = bytes.getBytes().slice()
    // Where the next byte goes in the buffer; `offset`, its place in the file, goes on.
    bytes.index = 0
    if (part.length > 0) await target.write(part)
  }
  let rows = 0
  let group: unknown[][] = fields.map(() => [])
  const flush = async (): Promise<void> => {
    const columnData = fields.map((field, i) => ({ name: field.name, data: group[i]!, offsetIndex: false }))
    await writer.write({ columnData, rowGroupSize: GROUP_ROWS })
    group = fields.map(() => [])
    await drain()
    onRows?.(rows)
  }
  for await (const row of scan.rows()) {
    for (const [i, { name, type }] of fields.entries()) {
      const value = (row as Record<string, unknown>)[name]
      group[i]!.push(value === null || value === undefined ? null : parquetValue(type, value))
    }
    rows++
    if (group[0]!.length === GROUP_ROWS) await flush()
  }
  if (group[0]!.length > 0) await flush()
  await writer.finish()
  await drain()
  return rows
}

function elementOf({ name, type, nullable }: NamedField): SchemaElement {
  return { name, repetition_type: nullable ? 'OPTIONAL' : 'REQUIRED', ...physicalOf(type) }
}

function physicalOf(type: CellType): Omit<SchemaElement, 'name'> {
  switch (type.kind) {
    case 'bool':
      return { type: 'BOOLEAN' }
    case 'int':
      return {
        type: type.bits === 64 ? 'INT64' : 'INT32',
        converted_type: `${type.signed ? '' : 'U'}INT_${type.bits}`,
        logical_type: { type: 'INTEGER', bitWidth: type.bits, isSigned: type.signed },
      }
    case 'float':
      return { type: type.bits === 64 ? 'DOUBLE' : 'FLOAT' }
    case 'utf8':
      return { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } }
    case 'binary':
      return { type: 'BYTE_ARRAY' }
    case 'fixedSizeBinary':
      return { type: 'FIXED_LEN_BYTE_ARRAY', type_length: type.size }
    case 'uuid':
      return { type: 'FIXED_LEN_BYTE_ARRAY', type_length: 16, logical_type: { type: 'UUID' } }
    case 'date':
      return { type: 'INT32', converted_type: 'DATE', logical_type: { type: 'DATE' } }
    case 'timestamp':
      return { type: 'INT64', logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: type.tz !== undefined, unit: UNITS[type.unit] } }
    case 'time':
      return { type: UNITS[type.unit] === 'MILLIS' ? 'INT32' : 'INT64', logical_type: { type: 'TIME', isAdjustedToUTC: false, unit: UNITS[type.unit] } }
    case 'decimal':
      return { type: 'FIXED_LEN_BYTE_ARRAY', type_length: DECIMAL_BYTES, converted_type: 'DECIMAL', precision: type.precision, scale: type.scale }
    default:
      return { type: 'BYTE_ARRAY', converted_type: 'JSON', logical_type: { type: 'JSON' } }
  }
}

function parquetValue(type: CellType, value: unknown): unknown {
  switch (type.kind) {
    case 'date':
      return Date.parse(`${value as string}T00:00:00Z`) / DAY_MS
    case 'time':
      return type.unit === 's' ? (value as number) * 1000 : value
    case 'decimal':
      return BigInt((value as string).replace('.', ''))
    case 'list':
    case 'fixedSizeList':
    case 'struct':
    case 'vector':
      return cellJson(type, value)
    default:
      return value
  }
}
