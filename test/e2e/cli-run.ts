// e2e/cli-run.ts: the command `varve` as a process of its own, from the bundle of the run where its project has one (bundled.ts), else from the sources.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inject, onTestFinished } from 'vitest'

export const SOURCES: string = fileURLToPath(new URL('../../bindings/cli/main.ts', import.meta.url))
const MAIN = inject('cli') ?? SOURCES

export interface CliResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** stdout as one JSON document. */
  json(): any
  /** stdout as one JSON document a line. */
  lines(): any[]
}

export function startCli(args: readonly string[], nodeArgs: readonly string[] = [], main: string = MAIN): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [...nodeArgs, main, ...args])
}

export async function cli(args: readonly string[], input?: string | Uint8Array, nodeArgs: readonly string[] = [], main: string = MAIN): Promise<CliResult> {
  const child = startCli(args, nodeArgs, main)
  const outs: Buffer[] = []
  const errs: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => outs.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => errs.push(chunk))
  // It may end without reading everything.
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  const stdout = Buffer.concat(outs).toString()
  const parsed = (): unknown => JSON.parse(stdout)
  const lines = (): unknown[] =>
    stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line): unknown => JSON.parse(line))
  return { code, stdout, stderr: Buffer.concat(errs).toString(), json: parsed, lines }
}

/** As cli, for a call that must succeed. */
export async function ok(args: readonly string[], input?: string | Uint8Array): Promise<CliResult> {
  const result = await cli(args, input)
  if (result.code !== 0) throw new Error(`varve ${args.join(' ')} ended with ${result.code}: ${result.stderr}`)
  return result
}

/** A folder that is removed after the test. */
export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-cli-'))
  onTestFinished(async () => await rm(folder, { recursive: true, force: true }))
  return folder
}
