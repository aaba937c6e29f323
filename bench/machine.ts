// bench/machine.ts: where the figures come from (processor, disk, versions, commit), and what the process used meanwhile.
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, fdatasyncSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { CACHE } from './data.ts'
import { medianOf, percentileOf, rounded } from './report.ts'

const REPOSITORY = fileURLToPath(new URL('..', import.meta.url))
const FILE_SYSTEMS: Readonly<Record<number, string>> = { 0xef53: 'ext4', 0x58465342: 'xfs', 0x9123683e: 'btrfs', 0x01021994: 'tmpfs', 0x794c7630: 'overlayfs' }
const SYNC_TRIES = 50

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

export function collectGarbage(): void {
  gc()
}

export function machine(): Record<string, string | number> {
  return {
    cpu: `${cpus()[0]?.model.trim() ?? 'unknown'}`,
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()} ${process.arch}`,
    disk: FILE_SYSTEMS[statfsSync(CACHE).type] ?? 'unknown',
    syncMs: rounded(syncMs()),
  }
}

/** Median of one 4 KiB overwrite and fdatasync on the disk that holds the stores. */
function syncMs(): number {
  const file = join(CACHE, `sync-${process.pid}`)
  const fd = openSync(file, 'w')
  const page = Buffer.alloc(4096, 1)
  const times: number[] = []
  for (let i = 0; i < SYNC_TRIES; i++) {
    const started = performance.now()
    writeSync(fd, page, 0, page.length, 0)
    fdatasyncSync(fd)
    times.push(performance.now() - started)
  }
  closeSync(fd)
  rmSync(file)
  return medianOf(times)
}

/** Short hash of HEAD, `+` when tracked sources differ from it. */
export function commit(): string {
  try {
    const git = (...args: string[]): string => execFileSync('git', args, { cwd: REPOSITORY, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no', '--', 'bindings', 'assembly') === '' ? '' : '+')
  } catch {
    return 'unknown'
  }
}

export function packageVersion(file: URL): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

let folders = 0

/** An empty folder for one store, on the disk of the repository. */
export function freshFolder(): string {
  const folder = join(CACHE, `run-${process.pid}`, String(folders++))
  mkdirSync(folder, { recursive: true })
  return folder
}

export function removeFolders(): void {
  rmSync(join(CACHE, `run-${process.pid}`), { recursive: true, force: true })
}

/** Bytes that the folder occupies, in blocks. */
export function diskBytes(folder: string): number {
  let sum = 0
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    sum += entry.isDirectory() ? diskBytes(path) : statSync(path).blocks * 512
  }
  return sum
}

/** Everything that is still to be written goes to the disk now, not during the next timed part. */
export function settleDisk(): void {
  spawnSync('sync', { stdio: 'ignore' })
}

export interface Delay {
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Processor time that this thread used between two turns: stalls that are its own, whatever else runs on the machine. */
  readonly cpuP99: number
  readonly cpuMax: number
}

/** Delay of the event loop in ms while `fn` runs: intervals of a 1 ms timer, so 1 ms is the floor. */
export async function loopDelay(fn: () => Promise<unknown>): Promise<Delay> {
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  const turns: number[] = []
  let last = process.threadCpuUsage()
  const timer = setInterval(() => {
    const now = process.threadCpuUsage()
    turns.push((now.user - last.user + now.system - last.system) / 1000)
    last = now
  }, 1)
  histogram.enable()
  await fn()
  histogram.disable()
  clearInterval(timer)
  const ms = (nanoseconds: number): number => rounded(nanoseconds / 1e6)
  const used = Float64Array.from(turns)
  return {
    p50: ms(histogram.percentile(50)),
    p99: ms(histogram.percentile(99)),
    max: ms(histogram.max),
    cpuP99: rounded(percentileOf(used, 0.99)),
    cpuMax: rounded(Math.max(0, ...turns)),
  }
}

/** User and system time of all threads of this process while `fn` runs, in microseconds. */
export async function cpuMicros(fn: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await fn()
  const { user, system } = process.cpuUsage(before)
  return user + system
}
