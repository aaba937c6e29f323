// bench/peers.ts: the engines varve is compared with. They live in bench/package.json, are installed when a run names them, and never by the root `npm ci`.
//
// A peer that cannot be installed or loaded on this machine is left out with the reason; it never fails a run.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

import type { Contender } from './contender.ts'
import { duckdb } from './contenders/duckdb.ts'
import { lancedb } from './contenders/lancedb.ts'
import { lmdb } from './contenders/lmdb.ts'
import { sqlite } from './contenders/sqlite.ts'
import { varve } from './contenders/varve.ts'
import { packageVersion } from './machine.ts'

const BENCH = fileURLToPath(new URL('.', import.meta.url))
const requireHere = createRequire(new URL('./package.json', import.meta.url))

const PEERS: Readonly<Record<string, { readonly package: string; make(load: typeof loadPackage, version: string): Promise<Contender> }>> = {
  sqlite: { package: 'better-sqlite3', make: (load, version) => sqlite(load, version) },
  lmdb: { package: 'lmdb', make: lmdb },
  duckdb: { package: '@duckdb/node-api', make: duckdb },
  lancedb: { package: '@lancedb/lancedb', make: lancedb },
}

export const PEER_NAMES: readonly string[] = Object.keys(PEERS)

export interface Field {
  /** varve first. */
  readonly contenders: readonly Contender[]
  readonly skipped: Readonly<Record<string, string>>
}

/** varve and the named peers, installed where they are missing. */
export async function field(names: readonly string[], say: (line: string) => void): Promise<Field> {
  const missing = names.filter((name) => !isInstalled(PEERS[name]!.package))
  const problem = missing.length === 0 ? undefined : installPeers(missing, say)
  const contenders = [ours()]
  const skipped: Record<string, string> = {}
  for (const name of names) {
    try {
      contenders.push(await contenderOf(name))
    } catch (error) {
      skipped[name] = problem ?? String((error as Error).message).split('\n')[0]!
      say(`${name} is left out: ${skipped[name]}`)
    }
  }
  return { contenders, skipped }
}

/** One contender by name; child processes start here. */
export async function contenderOf(name: string): Promise<Contender> {
  if (name === 'varve') return ours()
  const peer = PEERS[name]!
  let version = 'not installed'
  try {
    version = `${peer.package} ${versionOf(peer.package)}`
  } catch (error) {
    // SQLite has a second way in, node:sqlite.
    if (name !== 'sqlite') throw error
  }
  return peer.make(loadPackage, version)
}

function ours(): Contender {
  return varve(packageVersion(new URL('../package.json', import.meta.url)))
}

export function isInstalled(name: string): boolean {
  return existsSync(manifestOf(name))
}

/** Of an installed package; throws where it is not. */
export function versionOf(name: string): string {
  return packageVersion(manifestOf(name))
}

function manifestOf(name: string): URL {
  return new URL(`./node_modules/${name}/package.json`, import.meta.url)
}

export function loadPackage(name: string): Promise<unknown> {
  return import(pathToFileURL(requireHere.resolve(name)).href)
}

/** Peers that have no binary in their package: built where a compiler is, left out where not. */
const BUILT = ['sse4_crc32']

/** Installs what bench/package-lock.json names; a sentence when that failed. Scripts stay off but for those that must be built. */
export function installPeers(missing: readonly string[], say: (line: string) => void): string | undefined {
  say(`installing ${missing.join(', ')} into bench/node_modules`)
  const { status, stderr, error } = npm('ci', '--ignore-scripts')
  // Its failure shows when the package does not load.
  if (status === 0) for (const name of BUILT) npm('rebuild', name)
  return status === 0 ? undefined : `npm ci in bench/ failed: ${(error?.message ?? stderr).trim().split('\n')[0] ?? 'no reason given'}`
}

function npm(...args: string[]): { readonly status: number | null; readonly stderr: string; readonly error?: Error } {
  const bin = fileURLToPath(new URL('../node_modules/.bin', import.meta.url))
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` }
  return spawnSync('npm', [...args, '--prefix', BENCH, '--no-audit', '--no-fund'], { env, encoding: 'utf8', shell: process.platform === 'win32' })
}
