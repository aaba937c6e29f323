// cli/command.ts: what every command is given, and the ways it opens a store.
import { type At, lsn, type ReadStore, Store, type TableInfo } from '../index.ts'
import { type Field, type NamedField, parseField } from './column-type.ts'
import { UsageError } from './failure.ts'
import type { Output } from './output.ts'

export interface Context {
  readonly out: Output
  /** Results for programs: JSON on stdout. */
  readonly json: boolean
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
}

/** @returns the exit code; nothing: done */
export type Run = (context: Context, args: readonly string[], options: Readonly<Record<string, unknown>>) => Promise<number | undefined>

/** Reads beside a writer of any process. */
export async function withReader<R>(path: string, { signal }: Context, work: (store: ReadStore) => Promise<R>): Promise<R> {
  const store = await Store.open(path, { readOnly: true, follow: false, signal })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

export async function withWriter<R>(
  path: string,
  { signal }: Context,
  create: 'if-missing' | 'must' | 'never',
  work: (store: Store) => Promise<R>,
): Promise<R> {
  const store = await Store.open(path, { create, signal })
  let result: R
  try {
    result = await work(store)
  } catch (error) {
    // What went wrong first is what is told.
    await store.close().catch(() => undefined)
    throw error
  }
  await store.close()
  return result
}

export function textOption(options: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** @throws UsageError: not a whole number in the range */
export function wholeOption(options: Readonly<Record<string, unknown>>, name: string, low: number, high: number = Number.MAX_SAFE_INTEGER): number | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : NaN
  if (number >= low && number <= high) return number
  const flag = name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
  throw new UsageError(
    `--${flag}: ${JSON.stringify(value)} is not a whole number from ${low}${high === Number.MAX_SAFE_INTEGER ? '' : ` to ${high}`}`,
    'See --help.',
  )
}

/** Ctrl-C is how some commands end: sockets alone keep no process. */
export async function interrupted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const alive = setInterval(() => undefined, 60_000)
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  clearInterval(alive)
}

/** `a,b` and repeated options as one list. */
export function listOption(options: Readonly<Record<string, unknown>>, name: string): string[] | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  const texts = Array.isArray(value) ? (value as string[]) : [String(value)]
  const names = texts.flatMap((text) => text.split(',')).map((text) => text.trim())
  if (names.some((text) => text === ''))
    throw new UsageError(`--${name}: an empty name in ${JSON.stringify(texts.join(','))}`, 'Write names with commas between them.')
  return names
}

/** `1200`: a position; an ISO date: as it was then; else the name of a tag or branch. `--branch` names the newest position of one. */
export function atOption(options: Readonly<Record<string, unknown>>): At | undefined {
  const text = textOption(options, 'at')
  const branch = textOption(options, 'branch')
  if (branch !== undefined && text !== undefined) throw new UsageError('--branch and --at exclude each other', 'Make a branch or a tag of that position first.')
  if (branch !== undefined) return branch
  if (text === undefined) return undefined
  if (/^\d+$/.test(text)) return lsn(BigInt(text))
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return text
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new UsageError(`--at: ${JSON.stringify(text)} is not a date`, 'Write an LSN, or a date such as 2026-11-21T10:00:00Z.')
  return date
}

/** The columns of a stored table. */
export function fieldsOf(info: TableInfo): NamedField[] {
  return info.columns.map((column) => ({ name: column.name, type: typeOf(column.type), nullable: column.nullable }))
}

function typeOf(text: string): Field['type'] {
  return parseField(text).type
}

/** The table as it is listed. UsageError: it is not there. */
export async function tableInfo(store: ReadStore, name: string, at?: At): Promise<TableInfo> {
  const infos = await store.tables(at)
  const info = infos.find((one) => one.name === name)
  if (info !== undefined) return info
  const known = infos.length === 0 ? 'The store has no tables.' : `The store has ${infos.map((one) => one.name).join(', ')}.`
  throw new UsageError(`no table ${JSON.stringify(name)}`, known)
}
