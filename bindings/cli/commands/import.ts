// cli/commands/import.ts: `varve import <store> <table> <file|->`: a file of rows as one commit; makes the table when it is not there.
import { type AnyTable, type CommitResult, type Store, table, type TableInfo } from '../../index.ts'
import { type Field, fieldText, type NamedField, columnOf, parseField, typeText } from '../column-type.ts'
import { type Context, fieldsOf, listOption, type Run, textOption, wholeOption, withWriter } from '../command.ts'
import { asUsage, UsageError } from '../failure.ts'
import { type ByteCount, openSource, type RowNumbers, type Source } from '../formats/source.ts'
import { bytesText, countText, durationText, factLines, perSecond, ProgressLine, rateText } from '../render.ts'

type Options = Readonly<Record<string, unknown>>
type Mode = 'append' | 'upsert' | 'replace'

const BATCH_ROWS = 16_384
const BATCH_ROWS_MAX = 1_048_576

interface Target {
  readonly table: AnyTable
  readonly fields: readonly NamedField[]
  readonly isNew: boolean
}

export const run: Run = async (context, [path = '', name = '', file = ''], options) => {
  const batchRows = wholeOption(options, 'batchRows', 1, BATCH_ROWS_MAX) ?? BATCH_ROWS
  const mode = modeOf(options)
  const branch = textOption(options, 'branch')
  await collectEarly()
  const { source, bytes } = await openSource(file, {
    format: textOption(options, 'format'),
    batchRows,
    isHeaderless: options['header'] === false,
    delimiter: textOption(options, 'delimiter'),
    signal: context.signal,
  })
  const startMs = performance.now()
  try {
    const result = await withWriter(path, context, branch === undefined ? 'if-missing' : 'never', async (store) => {
      const target = await targetOf(store, name, source, options, branch)
      const writer = branch === undefined ? store : await store.branch(branch, { create: 'never' })
      const commit = await load(context, writer, target, source, bytes, mode, options)
      // What stats() tells is main's.
      const tableBytes = branch === undefined ? ((await store.stats()).tables[name]?.bytes ?? 0) : 0
      return { target, commit, tableBytes }
    })
    await report(context, name, mode, result, bytes, performance.now() - startMs)
  } finally {
    bytes.close()
    await source.close().catch(() => undefined)
  }
  return undefined
}

function modeOf(options: Options): Mode {
  if (options['upsert'] === true && options['replace'] === true) throw new UsageError('--upsert and --replace exclude each other', 'Choose one.')
  return options['upsert'] === true ? 'upsert' : options['replace'] === true ? 'replace' : 'append'
}

/**
 * Decoding makes garbage faster than V8 likes to collect it when memory is free: told to mind its size, the process stays about a third smaller at the price
 * of a few per cent of its speed. Other engines have no such word and need none.
 */
async function collectEarly(): Promise<void> {
  try {
    const { setFlagsFromString } = await import('node:v8')
    setFlagsFromString('--optimize-for-size')
  } catch {
    // Not V8, or not asked so: memory is still bounded, only later collected.
  }
}

async function targetOf(store: Store, name: string, source: Source, options: Options, branch: string | undefined): Promise<Target> {
  const info = (await store.tables(branch)).find((one) => one.name === name)
  const key = listOption(options, 'key')
  const types = typesOf(options)
  const addId = textOption(options, 'addId')
  if (info !== undefined) {
    if (types.size > 0) throw new UsageError(`table ${name} is there already: its column types stand`, 'Leave --type out, or import into another table.')
    if (key !== undefined && key.join(',') !== info.key.join(','))
      throw new UsageError(`table ${name} has the key ${keyText(info)}, not ${key.join(', ')}`, 'Leave --key out, or import into another table.')
    if (addId !== undefined && !info.columns.some((column) => column.name === addId && column.type === 'int64'))
      throw new UsageError(`table ${name} has no int64 column ${JSON.stringify(addId)}`, 'Name the column that --add-id made.')
    return { table: await store.table(name, branch), fields: fieldsOf(info), isNew: false }
  }
  if (branch !== undefined)
    throw new UsageError(`branch ${branch} has no table ${JSON.stringify(name)}`, 'Only main makes tables: import there, or make a branch of it as it is now.')
  const fields = newFields(source, types, key ?? (addId === undefined ? [] : [addId]), addId)
  const definition = await asUsage(() =>
    table(name, Object.fromEntries(fields.map((field) => [field.name, columnOf(field)])), { key: (key ?? (addId === undefined ? [] : [addId])) as never }),
  )
  await store.create(definition)
  return { table: definition, fields, isNew: true }
}

function keyText(info: TableInfo): string {
  return info.key.length === 0 ? '(none)' : info.key.join(', ')
}

/** `col=type`, as often as it is given. */
function typesOf(options: Options): Map<string, Field> {
  const types = new Map<string, Field>()
  for (const text of (options['type'] as readonly string[] | undefined) ?? []) {
    const at = text.indexOf('=')
    if (at < 1) throw new UsageError(`--type: ${JSON.stringify(text)} is not column=type`, 'Write, for example, --type delay=int16.')
    const field = parseField(text.slice(at + 1))
    // Imported columns may be null unless they are part of the key: a file's later rows are not known yet.
    types.set(text.slice(0, at), { type: field.type, nullable: true })
  }
  return types
}

function newFields(source: Source, types: ReadonlyMap<string, Field>, key: readonly string[], addId: string | undefined): NamedField[] {
  const names = source.fields.map(({ name }) => name)
  const missing = [...types.keys(), ...key.filter((name) => name !== addId)].find((name) => !names.includes(name))
  if (missing !== undefined)
    throw new UsageError(`the file has no column ${JSON.stringify(missing)}`, names.length === 0 ? 'It has no columns.' : `It has ${names.join(', ')}.`)
  if (addId !== undefined && names.includes(addId))
    throw new UsageError(`the file has a column ${JSON.stringify(addId)} of its own`, 'Choose another name for --add-id.')
  if (names.length === 0 && addId === undefined)
    throw new UsageError('the file has no columns to make a table of', 'Make the table with varve init --table first.')
  const fields = source.fields.map(({ name, type, nullable }): NamedField => {
    const given = types.get(name)
    return { name, type: given?.type ?? type, nullable: (given?.nullable ?? nullable) && !key.includes(name) }
  })
  return addId === undefined ? fields : [{ name: addId, type: { kind: 'int', bits: 64, signed: true }, nullable: false }, ...fields]
}

type Into = Pick<Store, 'append' | 'upsert' | 'replace' | 'scan'>

async function load(context: Context, store: Into, target: Target, source: Source, bytes: ByteCount, mode: Mode, options: Options): Promise<CommitResult> {
  const numbers = await numbersOf(store, target, mode, textOption(options, 'addId'))
  const line = new ProgressLine(`import ${target.table.name}`)
  const startMs = performance.now()
  let rows = 0
  async function* chunks(): AsyncGenerator<never, undefined> {
    for await (const batch of source.batches(target.fields, numbers)) {
      yield batch.data as never
      rows += batch.rows
      const share = source.rowsTotal === undefined ? shareOf(bytes) : rows / source.rowsTotal
      line.update(`${countText(rows)} rows  ${rateText(rows, performance.now() - startMs, 'rows')}`, share)
    }
  }
  const message = textOption(options, 'message')
  const write = { signal: context.signal, ...(message === undefined ? {} : { message }) }
  try {
    if (mode === 'upsert') return await store.upsert(target.table as never, chunks(), write)
    return await store[mode](target.table, chunks(), write)
  } finally {
    line.clear()
  }
}

function shareOf(bytes: ByteCount): number | undefined {
  return bytes.total === undefined || bytes.total === 0 ? undefined : bytes.done / bytes.total
}

/** Row numbers go on behind the highest there is; an upsert or replace counts from 0 again, so that the same file gives the same keys. */
async function numbersOf(store: Into, target: Target, mode: Mode, column: string | undefined): Promise<RowNumbers | undefined> {
  if (column === undefined) return undefined
  if (target.isNew || mode !== 'append') return { column, next: 0 }
  const { last } = (await store.scan(target.table).aggregate({ last: { max: column as never } })) as { last: bigint | null }
  return { column, next: last === null ? 0 : Number(last) + 1 }
}

interface Loaded {
  readonly target: Target
  readonly commit: CommitResult
  readonly tableBytes: number
}

async function report(context: Context, name: string, mode: Mode, { target, commit, tableBytes }: Loaded, bytes: ByteCount, ms: number): Promise<void> {
  if (context.json) {
    await context.out.json({
      table: name,
      mode,
      created: target.isNew,
      columns: Object.fromEntries(target.fields.map((field) => [field.name, fieldText(field)])),
      key: target.table.key,
      rows: commit.rows,
      bytesIn: bytes.done,
      tableBytes,
      ms: Math.round(ms),
      rowsPerSecond: Math.round(perSecond(commit.rows, ms)),
      lsn: commit.lsn,
      writeId: commit.writeId,
    })
    return
  }
  const done = mode === 'append' ? 'appended' : mode === 'upsert' ? 'upserted' : 'replaced'
  const lines = factLines([
    ['rows', `${countText(commit.rows)} ${done} in ${durationText(ms)}, ${rateText(commit.rows, ms, 'rows')}`],
    ['read', bytesText(bytes.done)],
    ...(tableBytes === 0 ? [] : [['table', `${bytesText(tableBytes)} in fragments and indexes`] as const]),
    ['commit', `LSN ${commit.lsn}, write ${commit.writeId}`],
  ])
  if (target.isNew) {
    const columns = target.fields.map(({ name: column, type, nullable }) => `${column} ${typeText(type)}${nullable ? ' or null' : ''}`)
    lines.unshift(`made table ${name}(${columns.join(', ')}; ${target.table.key.length === 0 ? 'no key' : `key ${target.table.key.join(', ')}`})`)
  }
  await context.out.lines(lines)
}
