// cli/failure.ts: how commands fail: exit codes, and errors as people and programs read them.
//
// Invariant: what goes wrong is said on stderr, once, with code, cause and hint; a stack only with --debug. stdout carries results only.
import { VarveError } from '../index.ts'
import { printable } from './render.ts'

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  problems: 3,
  locked: 4,
  interrupted: 130,
} as const

/** As `varve --help` and docs/cli.md print them. */
export const EXIT_CODES: readonly (readonly [number, string])[] = [
  [EXIT.ok, 'done (also when the reader of a pipe went away)'],
  [EXIT.failed, 'the operation failed'],
  [EXIT.usage, 'wrong arguments, or an expression that does not parse'],
  [EXIT.problems, 'verify, doctor or repair found problems that are still there; schema diff found a difference'],
  [EXIT.locked, 'another process holds the lock of the store'],
  [EXIT.interrupted, 'interrupted'],
]

/** The arguments are wrong; nothing was done. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError'
  readonly code: string
  readonly hint: string
  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = cause instanceof VarveError ? cause.code : 'cli.usage'
    this.hint = hint
  }
}

/** The input or what was found is not as it should be. */
export class CliError extends Error {
  override readonly name: string = 'CliError'
  readonly code: string = 'cli.input'
  readonly hint: string
  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.hint = hint
  }
}

/** Whoever read our output went away: no failure. */
export class BrokenPipe extends Error {
  override readonly name: string = 'BrokenPipe'
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof BrokenPipe) return EXIT.ok
  if (error instanceof UsageError) return EXIT.usage
  if (error instanceof VarveError && (error.code === 'lock.held' || error.code === 'lock.timeout')) return EXIT.locked
  return EXIT.failed
}

/** Runs what reads an argument: whatever it throws is a wrong argument. */
export async function asUsage<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof UsageError || !(error instanceof Error)) throw error
    throw new UsageError(error.message, hintOf(error) ?? 'See --help.', error)
  }
}

/** One error for a person. */
export function errorText(error: unknown, debug: boolean): string {
  const lines = [`error: ${messageOf(error)}${codeOf(error)}`]
  for (const cause of causesOf(error)) lines.push(`cause: ${messageOf(cause)}${codeOf(cause)}`)
  const hint = hintOf(error)
  if (hint !== undefined) lines.push(`hint:  ${printable(hint)}`)
  if (debug && error instanceof Error && error.stack !== undefined) lines.push(error.stack)
  return `${lines.join('\n')}\n`
}

/** One error as one line of JSON. */
export function errorJson(error: unknown, debug: boolean): string {
  const body = {
    code: rawCodeOf(error) ?? 'cli.failed',
    ...(error instanceof VarveError ? { kind: error.kind, details: error.toJSON()['details'] } : {}),
    message: error instanceof Error ? error.message : String(error),
    causes: causesOf(error).map((cause) => (cause instanceof Error ? cause.message : String(cause))),
    hint: hintOf(error),
    ...(debug && error instanceof Error ? { stack: error.stack } : {}),
  }
  return `${JSON.stringify({ error: body })}\n`
}

/** What led to it, nearest first; one that only repeats the message is left out. */
function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = []
  let seen = messageOf(error)
  for (
    let cause = error instanceof Error ? error.cause : undefined;
    cause !== undefined && causes.length < 5;
    cause = cause instanceof Error ? cause.cause : undefined
  ) {
    const message = messageOf(cause)
    if (!seen.includes(message)) causes.push(cause)
    seen += message
  }
  return causes
}

function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return printable(text, '\n')
}

function codeOf(error: unknown): string {
  const code = rawCodeOf(error)
  return code === undefined || messageOf(error).includes(code) ? '' : ` [${code}]`
}

function rawCodeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

function hintOf(error: unknown): string | undefined {
  const hint = (error as { hint?: unknown } | null)?.hint
  return typeof hint === 'string' ? hint : undefined
}
