// bench/engine/facts.ts: what rates do not tell: bytes of log per commit, stalls of the event loop, peak memory, and how often each engine really syncs.
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { inChild } from '../children.ts'
import { commitLoop } from '../contender.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import { type Delay, freshFolder, loopDelay } from '../machine.ts'
import { rounded } from '../report.ts'
import type { Suite } from '../suite.ts'

const FOREVER = Number.MAX_SAFE_INTEGER
const TRACED_COMMITS = 20
const TRACED_GROUPS = 4
const IN_FLIGHT = 256
const FLUSHED_ROWS = 100_000
const SYNC_CALLS = ['fsync', 'fdatasync', 'msync', 'sync_file_range', 'syncfs']
const WRITE_CALLS = ['write', 'pwrite64', 'writev', 'pwritev', 'pwritev2']

export async function facts(suite: Suite): Promise<void> {
  await logBytes(suite)
  await flushing(suite)
  const { base, peak, exact, delay } = await inChild<{ base: number; peak: number; exact: boolean; delay: Delay }>(['import', 'varve', freshFolder()])
  suite.fact('loop-delay.import', delay)
  suite.fact('import.peak-rss-above-base', `${Math.round((peak - base) / 1e6)} MB over ${Math.round(base / 1e6)} MB${exact ? '' : ' (polled)'}`)
  await syncs(suite)
}

async function logBytes(suite: Suite): Promise<void> {
  for (const lanes of [1, IN_FLIGHT]) {
    const db = await VarveDatabase.open(freshFolder(), { keepLog: true })
    const commits = lanes * 40
    const before = (await db.store.stats()).log.bytes
    await commitLoop(db, 0, lanes, FOREVER, commits)
    const after = (await db.store.stats()).log.bytes
    await db.close()
    suite.fact(`log-bytes-per-commit.${lanes}-in-flight`, rounded((after - before) / commits))
  }
}

/** The memory layer of 100,000 one-row commits becomes a fragment. */
async function flushing(suite: Suite): Promise<void> {
  const db = await VarveDatabase.open(freshFolder(), { keepLog: true })
  await commitLoop(db, 0, IN_FLIGHT, FOREVER, FLUSHED_ROWS)
  suite.fact('loop-delay.flush', await loopDelay(() => db.store.flush()))
  await db.close()
}

/** Syncs and synchronous writes of 20 sequential commits, and of 4 times 256 in flight, seen by strace. */
async function syncs(suite: Suite): Promise<void> {
  if (spawnSync('strace', ['-V'], { stdio: 'ignore' }).status !== 0) return suite.fact('syncs', 'strace is not here: syncs were not counted')
  for (const { name, skips, durability } of suite.contenders) {
    suite.fact(`durability.${name}`, durability)
    suite.fact(`syncs.commit-1.${name}`, `${await traced(name, 1, TRACED_COMMITS)} in ${TRACED_COMMITS} commits one after the other`)
    if (skips?.['commit-256'] !== undefined) continue
    suite.fact(`syncs.commit-256.${name}`, `${await traced(name, IN_FLIGHT, TRACED_GROUPS)} in ${TRACED_GROUPS} times ${IN_FLIGHT} commits at once`)
  }
}

async function traced(name: string, lanes: number, groups: number): Promise<string> {
  const folder = freshFolder()
  const file = join(freshFolder(), 'trace')
  const calls = [...SYNC_CALLS, ...WRITE_CALLS, 'openat', 'open', 'access', 'faccessat', 'faccessat2'].map((call) => `?${call}`)
  await inChild(['commits', name, folder, String(lanes), String(groups)], {
    prefix: ['strace', '-f', '-qq', '-s', '64', '-o', file, '-e', `trace=${calls.join(',')}`],
  })
  const counted = countSyncs(readFileSync(file, 'utf8').split('\n'))
  rmSync(folder, { recursive: true, force: true })
  return counted
}

/** Calls between the two marks; a write counts when its descriptor was opened with O_SYNC or O_DSYNC. */
function countSyncs(lines: readonly string[]): string {
  const synchronous = new Set<string>()
  const counts = new Map<string, number>()
  let inside = false
  for (const line of lines) {
    if (line.includes('varve-bench-begin')) inside = true
    if (line.includes('varve-bench-end')) inside = false
    const call = /^\d+\s+(\w+)\((\d+)?/.exec(line)
    if (call === null) continue
    const [, name, fd] = call
    if (name!.startsWith('open') && /O_D?SYNC/.test(line)) synchronous.add(/= (\d+)$/.exec(line)?.[1] ?? '')
    if (!inside) continue
    const what = SYNC_CALLS.includes(name!) ? name! : WRITE_CALLS.includes(name!) && synchronous.has(fd ?? '') ? 'O_DSYNC write' : undefined
    if (what !== undefined) counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  return counts.size === 0 ? 'no sync' : [...counts].map(([what, n]) => `${n} ${what}`).join(' + ')
}
