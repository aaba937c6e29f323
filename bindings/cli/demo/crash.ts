// cli/demo/crash.ts: a process that commits as fast as it can, or holds a sealed write, and its death by SIGKILL.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { CliError } from '../failure.ts'

export interface CrashResult {
  /** Ids in the order in which the child said that they are durable. */
  readonly acknowledged: readonly bigint[]
  /** From "ready" to the last acknowledgement that was read. */
  readonly ms: number
  readonly signal: string | null
}

/** Starts the child of the demo and kills it once it has acknowledged `killAfter` commits. */
export async function commitAndKill(path: string, commits: number, killAfter: number): Promise<CrashResult> {
  const child = start([path, String(commits)])
  let text = ''
  let errors = ''
  let lines = 0
  let readyMs = 0
  let lastMs = 0
  child.stdout.setEncoding('latin1')
  child.stdout.on('data', (chunk: string) => {
    text += chunk
    lastMs = performance.now()
    if (readyMs === 0) readyMs = lastMs
    for (const c of chunk) if (c === '\n') lines++
    // The first line is "ready".
    if (lines > killAfter) child.kill('SIGKILL')
  })
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (chunk: string) => {
    errors += chunk
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (signal !== 'SIGKILL' && code !== 0)
    throw new CliError(`the writing process failed: ${errors.trim() || `exit code ${code}`}`, 'Run the demo with --debug.')
  // A last line without its end is no acknowledgement.
  const acknowledged = text.split('\n').slice(1, -1).map(BigInt)
  return { acknowledged, ms: lastMs - readyMs, signal }
}

/** Starts a child that stages rows and seals them, and kills it then. @returns the id of the write, which nobody has published */
export async function stageAndKill(path: string, firstId: bigint, rows: number): Promise<string> {
  const child = start([path, 'stage', String(firstId), String(rows)])
  let text = ''
  let errors = ''
  child.stdout.setEncoding('latin1')
  child.stdout.on('data', (chunk: string) => {
    text += chunk
    if (text.split('\n').length > 2) child.kill('SIGKILL')
  })
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (chunk: string) => {
    errors += chunk
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (signal !== 'SIGKILL') throw new CliError(`the staging process failed: ${errors.trim() || `exit code ${code}`}`, 'Run the demo with --debug.')
  return text.split('\n')[1]!
}

/** bindings/cli/demo-child.ts as a process. */
export function start(args: readonly string[]): ChildProcessByStdio<null, Readable, Readable> {
  // The sources run as .ts, the built package as .js.
  const script = fileURLToPath(new URL(`../demo-child${/\.[a-z]+$/.exec(import.meta.url)![0]}`, import.meta.url))
  return spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
}
