// The segment log with real processes: lock races, a killed owner, a stopped one that comes back (log.md section 8).
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { afterEach, beforeEach, expect, it } from 'vitest'

import { type CommitLog, lsn, openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { nodeWorld, seededRandom, type World } from '../../bindings/runtime/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'

const STORE_ID = new Uint8Array(16).fill(6)
const KILLS = 6

let dir: string
const children = new Set<ChildProcess>()

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), 'varve-log-')), 'store')
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  await rm(join(dir, '..'), { recursive: true, force: true })
})

interface Child {
  readonly process: ChildProcess
  readonly lines: string[]
  /** The next line that begins with this. */
  said(start: string): Promise<string>
  readonly ended: Promise<void>
}

function run(...args: string[]): Child {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'segment-log-child.ts'), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  const lines: string[] = []
  let listeners: (() => void)[] = []
  const wake = (): void => {
    const woken = listeners
    listeners = []
    for (const listener of woken) listener()
  }
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    wake()
  })
  let over = false
  const ended = new Promise<void>((resolve) =>
    child.on('close', () => {
      over = true
      children.delete(child)
      wake()
      resolve()
    }),
  )
  const said = async (start: string): Promise<string> => {
    for (;;) {
      const line = lines.find((each) => each.startsWith(start))
      if (line !== undefined) return line
      if (over) throw new Error(`the child ended without saying ${start}: ${lines.slice(-3).join(' | ')}`)
      await new Promise<void>((resolve) => listeners.push(resolve))
    }
  }
  return { process: child, lines, said, ended }
}

function open(o: { readOnly?: boolean; world?: Partial<World> } = {}): Promise<CommitLog> {
  const world = { ...nodeWorld(), ...o.world }
  return openSegmentLog(new DirRoot(dir, world), { world, storeId: STORE_ID, readOnly: o.readOnly === true, follow: false })
}

const acknowledgedBy = (child: Child): number[] => child.lines.filter((line) => line.startsWith('ack ')).map((line) => Number(line.slice(4)))

it('two processes, 200 rounds each: never both hold the LOCK', { timeout: 120_000 }, async () => {
  await (await open()).close()
  const pair = [run('hold', dir, '200'), run('hold', dir, '200')]
  await Promise.all(pair.map((child) => child.ended))
  const held = pair.map((child) => child.lines.at(-1))
  expect(
    held.every((line) => /^held \d+$/.test(line ?? '')),
    held.join(', '),
  ).toBe(true)
  const rounds = held.reduce((sum, line) => sum + Number(line!.slice(5)), 0)
  expect(rounds).toBeGreaterThan(20)
  const log = await open()
  const epochs = log.lineage.map(({ epoch }) => epoch)
  expect(epochs.length, 'an epoch per round').toBe(rounds + 2)
  expect(new Set(epochs).size, 'none twice').toBe(rounds + 2)
  await log.close()
})

it('a killed owner: everything it was told is there, under a higher epoch', { timeout: 120_000 }, async () => {
  const random = seededRandom(11)
  const told: number[] = []
  for (let round = 0; round < KILLS; round++) {
    const child = run('append', dir)
    await child.said('ack ')
    await nodeWorld().timers.sleep(random.u32() % 120, undefined, true)
    child.process.kill('SIGKILL')
    await child.ended
    told.push(...acknowledgedBy(child))
    const log = await open()
    const ids = new Set(idsOf(await readAll(log, lsn(0))))
    expect(
      told.filter((id) => !ids.has(id)),
      `round ${round}`,
    ).toEqual([])
    expect(log.epoch).toBe(BigInt(2 * round + 2))
    await log.close()
  }
})

it('a stopped owner whose LOCK is taken over is fenced when it goes on', { timeout: 60_000 }, async () => {
  const child = run('append', dir)
  await child.said('ack ')
  child.process.kill('SIGSTOP')
  // Here the owner counts as of an earlier boot: the proof of death is wrong, and nothing but its own check keeps it out.
  const here = { ...nodeWorld().host, bootId: 'another boot' }
  const log = await open({ world: { host: here } })
  await log.append([record(77)])
  child.process.kill('SIGCONT')
  expect(await child.said('error ')).toBe('error log.fenced')
  await log.append([record(78)])
  const told = acknowledgedBy(child)
  await log.close()
  const again = await open()
  const ids = idsOf(await readAll(again, lsn(0)))
  expect(told.filter((id) => !ids.includes(id))).toEqual([])
  expect(ids.slice(-2)).toEqual([77, 78])
  await again.close()
})

it('a reader beside a live writer follows it and changes no file', { timeout: 60_000 }, async () => {
  const child = run('append', dir)
  await child.said('ack ')
  const reader = await open({ readOnly: true })
  const seen = new Set<number>()
  const stop = new AbortController()
  const tailing = (async () => {
    for await (const batch of reader.tailing(lsn(0), { signal: stop.signal })) {
      for (const frame of batch.frames()) seen.add(new DataView(frame.buffer, frame.byteOffset).getUint32(32, true))
    }
  })()
  tailing.catch(() => {})
  for (let i = 0; i < 60; i++) {
    await reader.refresh()
    await nodeWorld().timers.sleep(10, undefined, true)
  }
  child.process.kill('SIGKILL')
  await child.ended
  const before = await filesOf(dir)
  await reader.refresh()
  const again = await open({ readOnly: true })
  expect(await filesOf(dir), 'files after a read-only open of a killed store').toEqual(before)
  await nodeWorld().timers.sleep(20, undefined, true)
  stop.abort()
  await tailing.catch(() => {})
  const told = acknowledgedBy(child)
  expect(told.length).toBeGreaterThan(100)
  expect(
    told.filter((id) => !seen.has(id)),
    'acknowledged and not seen',
  ).toEqual([])
  expect(again.head).toBe(reader.head)
  await reader.close()
  await again.close()
})

async function filesOf(path: string): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) all[join(entry.parentPath, entry.name)] = (await readFile(join(entry.parentPath, entry.name))).toString('base64')
  }
  return all
}
