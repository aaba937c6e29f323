// cli/commands/scan.ts: `varve scan` and `varve export`: rows of a table, chosen by --where, --select, --order-by, --limit and --at.
import { createWriteStream } from 'node:fs'
import { rename, unlink } from 'node:fs/promises'
import { once } from 'node:events'
import { type AnyTable, predicateFromText, type ReadStore, type Scan } from '../../index.ts'
import { cellText } from '../cell-text.ts'
import type { NamedField } from '../column-type.ts'
import { atOption, type Context, fieldsOf, listOption, type Run, tableInfo, textOption, wholeOption, withReader } from '../command.ts'
import { asUsage, CliError, UsageError } from '../failure.ts'
import { FORMATS_OUT, formatOut, type SinkTarget, writeScan } from '../formats/sink.ts'
import { type Align, bytesText, countText, durationText, ProgressLine, rateText, TableLayout } from '../render.ts'

type Options = Readonly<Record<string, unknown>>

/** Rows of a table on a terminal when no --limit is given. */
const TABLE_ROWS = 100
/** Rows that column widths are taken from. */
const WIDTH_ROWS = 1_000

interface Query {
  readonly scan: Scan<AnyTable, object>
  readonly fields: readonly NamedField[]
}

export const runScan: Run = async (context, [path = '', name = ''], options) => {
  const given = textOption(options, 'format')
  const format = given ?? (context.json ? 'ndjson' : 'table')
  if (context.json && given !== undefined && given !== 'ndjson') throw new UsageError(`--json and --format ${given} exclude each other`, 'Leave one out.')
  return await withReader(path, context, async (store) => {
    if (options['explain'] === true) return await explain(context, (await queryOf(context, store, name, options, undefined)).scan)
    if (format === 'table') return await showTable(context, store, name, options)
    const { scan, fields } = await queryOf(context, store, name, options, undefined)
    const out = outFormat(context, format)
    await writeScan(out, scan, fields, context.out)
    return undefined
  })
}

export const runExport: Run = async (context, [path = '', name = ''], options) => {
  const file = textOption(options, 'output')
  const isStdout = file === undefined || file === '-'
  const format = formatOut(textOption(options, 'format'), isStdout ? undefined : file)
  if (isStdout) outFormat(context, format)
  if (isStdout && context.json && format !== 'ndjson') throw new UsageError('--json describes an export to a file', 'Add -o, or leave --json out.')
  return await withReader(path, context, async (store) => {
    const { scan, fields } = await queryOf(context, store, name, options, undefined)
    const startMs = performance.now()
    if (isStdout) {
      await writeScan(format, scan, fields, context.out)
      return undefined
    }
    const line = new ProgressLine(`export ${name}`)
    const total = await scan.count()
    const target = await FileTarget.create(file)
    let rows: number
    try {
      rows = await writeScan(format, scan, fields, target, (done) => line.update(`${countText(done)} rows`, done / Math.max(1, total)))
      await target.finish()
    } catch (error) {
      await target.abandon()
      throw error
    } finally {
      line.clear()
    }
    const ms = performance.now() - startMs
    if (context.json) await context.out.json({ table: name, file, format, rows, bytes: target.bytes, ms: Math.round(ms) })
    else await context.out.lines([`${file}: ${countText(rows)} rows, ${bytesText(target.bytes)} in ${durationText(ms)}, ${rateText(rows, ms, 'rows')}`])
    return undefined
  })
}

/** Binary formats do not go to a terminal. */
function outFormat(context: Context, format: string): ReturnType<typeof formatOut> {
  if (!(FORMATS_OUT as readonly string[]).includes(format))
    throw new UsageError(`no format ${JSON.stringify(format)} to print`, `Formats: table, ${FORMATS_OUT.join(', ')}.`)
  if (/^(?:arrows?|parquet)$/.test(format) && context.out.isTerminal) throw new UsageError(`${format} is not for a terminal`, 'Send it to a file or a pipe.')
  return formatOut(format, undefined)
}

async function queryOf(context: Context, store: ReadStore, name: string, options: Options, limit: number | undefined): Promise<Query> {
  const at = atOption(options)
  const info = await tableInfo(store, name, at)
  const table = await store.table(name, at)
  const all = fieldsOf(info)
  const select = listOption(options, 'select')
  const fields = select === undefined ? all : select.map((column) => fieldNamed(name, all, column))
  const text = textOption(options, 'where')
  const where = text === undefined ? undefined : await asUsage(() => predicateFromText(table, text))
  const orderBy = listOption(options, 'orderBy')
  for (const column of orderBy ?? []) fieldNamed(name, all, column.replace(/\s+(?:asc|desc)$/, ''))
  const wanted = limit ?? wholeOption(options, 'limit', 0)
  const scan = store.scan(table, {
    signal: context.signal,
    ...(select === undefined ? {} : { select: select as never[] }),
    ...(where === undefined ? {} : { where: where as never }),
    ...(orderBy === undefined ? {} : { orderBy: orderBy as never[] }),
    ...(wanted === undefined ? {} : { limit: wanted }),
    ...(at === undefined ? {} : { at }),
  }) as Scan<AnyTable, object>
  return { scan, fields }
}

function fieldNamed(table: string, fields: readonly NamedField[], column: string): NamedField {
  const field = fields.find(({ name }) => name === column)
  if (field === undefined) throw new UsageError(`${table} has no column ${JSON.stringify(column)}`, `It has ${fields.map(({ name }) => name).join(', ')}.`)
  return field
}

async function explain(context: Context, scan: Scan<AnyTable, object>): Promise<undefined> {
  const plan = await scan.explain()
  if (context.json) await context.out.json(plan)
  else await context.out.lines([plan.text])
}

async function showTable(context: Context, store: ReadStore, name: string, options: Options): Promise<undefined> {
  const limit = wholeOption(options, 'limit', 0)
  // One more than is shown, to know whether there are more.
  const { scan, fields } = await queryOf(context, store, name, options, limit ?? TABLE_ROWS + 1)
  const aligns = fields.map(({ type }): Align => (['int', 'float', 'decimal'].includes(type.kind) ? 'right' : 'left'))
  const headings = fields.map((field) => field.name)
  const shown = limit ?? TABLE_ROWS
  let ahead: string[][] = []
  let layout: TableLayout | undefined
  let rows = 0
  const flush = async (): Promise<void> => {
    const isFirst = layout === undefined
    layout ??= new TableLayout(headings, ahead, aligns)
    await context.out.lines([...(isFirst ? layout.head() : []), ...ahead.map((row) => layout!.line(row))])
    ahead = []
  }
  for await (const row of scan.rows()) {
    if (++rows > shown) break
    ahead.push(fields.map((field) => shownCell(field, (row as Record<string, unknown>)[field.name])))
    if (ahead.length >= WIDTH_ROWS) await flush()
  }
  if (ahead.length > 0 || layout === undefined) await flush()
  if (rows > shown) process.stderr.write(`first ${countText(shown)} rows; --limit N shows more\n`)
}

function shownCell({ type }: NamedField, value: unknown): string {
  return value === null || value === undefined ? 'null' : cellText(type, value)
}

/** A file that appears under its name when it is whole. */
class FileTarget implements SinkTarget {
  bytes = 0
  readonly #path: string
  readonly #stream: ReturnType<typeof createWriteStream>
  #failure: Error | undefined

  private constructor(path: string) {
    this.#path = path
    this.#stream = createWriteStream(`${path}.part`)
    this.#stream.on('error', (error) => {
      this.#failure = error
    })
  }

  static async create(path: string): Promise<FileTarget> {
    const target = new FileTarget(path)
    try {
      await once(target.#stream, 'open')
    } catch (cause) {
      throw new CliError(`${path} cannot be written: ${(cause as Error).message}`, 'Check the path.', cause)
    }
    return target
  }

  async write(data: string | Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    this.bytes += typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
    if (!this.#stream.write(data)) await once(this.#stream, 'drain')
  }

  async finish(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#stream.end(() => resolve())
    await promise
    if (this.#failure !== undefined) throw this.#failure
    await rename(`${this.#path}.part`, this.#path)
  }

  async abandon(): Promise<void> {
    this.#stream.destroy()
    await unlink(`${this.#path}.part`).catch(() => undefined)
  }
}
