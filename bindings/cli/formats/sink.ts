// cli/formats/sink.ts: rows of a scan to CSV, NDJSON, Arrow or Parquet, batch by batch.
//
// Invariant: a sink holds one batch at a time, and waits for its reader.
import type { AnyTable, Scan } from '../../index.ts'
import { cellJson, cellText } from '../cell-text.ts'
import type { NamedField } from '../column-type.ts'
import { UsageError } from '../failure.ts'

export const FORMATS_OUT = ['csv', 'tsv', 'ndjson', 'arrow', 'arrows', 'parquet'] as const
export type FormatOut = (typeof FORMATS_OUT)[number]

export interface SinkTarget {
  write(data: string | Uint8Array): Promise<void>
}

/** How far a long write is. */
export type OnRows = (rows: number) => void

const CHUNK_CHARACTERS = 64 * 1024

export function formatOut(given: string | undefined, file: string | undefined): FormatOut {
  const extension = file === undefined ? undefined : /\.([a-z]+)$/i.exec(file)?.[1]?.toLowerCase()
  const format = given ?? (extension === 'jsonl' || extension === 'json' ? 'ndjson' : extension === 'feather' || extension === 'ipc' ? 'arrow' : extension)
  if (format === undefined) throw new UsageError('the format is not named', `Add --format ${FORMATS_OUT.join('|')}.`)
  if (!(FORMATS_OUT as readonly string[]).includes(format))
    throw new UsageError(`no format ${JSON.stringify(format)} to write`, `Formats: ${FORMATS_OUT.join(', ')}.`)
  return format as FormatOut
}

/** @returns the rows written */
export async function writeScan(
  format: FormatOut,
  scan: Scan<AnyTable, object>,
  fields: readonly NamedField[],
  target: SinkTarget,
  onRows?: OnRows,
): Promise<number> {
  switch (format) {
    case 'csv':
      return await writeText(scan, target, csvLine(fields, ','), onRows, `${fields.map((field) => csvCell(field.name, ',')).join(',')}\n`)
    case 'tsv':
      return await writeText(scan, target, csvLine(fields, '\t'), onRows, `${fields.map((field) => csvCell(field.name, '\t')).join('\t')}\n`)
    case 'ndjson':
      return await writeText(scan, target, ndjsonLine(fields), onRows)
    case 'arrow':
    case 'arrows': {
      const { writeArrow } = await import('./arrow-out.ts')
      return await writeArrow(format, scan, target, onRows)
    }
    case 'parquet': {
      const { writeParquet } = await import('./parquet-out.ts')
      return await writeParquet(scan, fields, target, onRows)
    }
  }
}

export function ndjsonLine(fields: readonly NamedField[]): (row: object) => string {
  const names = fields.map(({ name }) => `${JSON.stringify(name)}:`)
  return (row) => {
    const cells = fields.map((field, i) => names[i]! + JSON.stringify(cellJson(field.type, (row as Record<string, unknown>)[field.name])))
    return `{${cells.join(',')}}\n`
  }
}

function csvLine(fields: readonly NamedField[], delimiter: string): (row: object) => string {
  return (row) => {
    const cells = fields.map(({ name, type }) => {
      const value = (row as Record<string, unknown>)[name]
      return value === null || value === undefined ? '' : csvCell(cellText(type, value), delimiter)
    })
    // A line of nothing would be skipped as empty: one null column.
    const line = cells.join(delimiter)
    return `${line}\n`
  }
}

/** Quoted where RFC 4180 asks for it, and where it is empty: an empty text is no null. */
function csvCell(text: string, delimiter: string): string {
  if (text !== '' && !/["\r\n]/.test(text) && !text.includes(delimiter) && text === text.trim()) return text
  return `"${text.replaceAll('"', '""')}"`
}

async function writeText(
  scan: Scan<AnyTable, object>,
  target: SinkTarget,
  line: (row: object) => string,
  onRows: OnRows | undefined,
  head = '',
): Promise<number> {
  let rows = 0
  let text = head
  for await (const row of scan.rows()) {
    text += line(row)
    rows++
    if (text.length < CHUNK_CHARACTERS) continue
    await target.write(text)
    text = ''
    onRows?.(rows)
  }
  if (text !== '') await target.write(text)
  return rows
}
