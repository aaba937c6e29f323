// Rounds of: a child commits, SIGKILL at a random moment, look at what is there.
//
// Invariant that a round checks: every acknowledged commit is there, every other one wholly there or wholly absent, verify finds nothing. The same directory
// goes through several rounds, so that a recovery works on what an earlier recovery left; between them it is opened read-only, or recovered, or left to the child.

import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { type ReadStore, Store } from '../../bindings/index.ts'
import { type World } from '../../bindings/runtime/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { counters, hot, kindOf, LOAD_ROWS, left, loads, notes, PARTS, right, singleRow, singles, slotOf, targetOf } from './plan.ts'

export interface RoundReport {
  readonly round: number
  readonly durability: 'synced' | 'buffered'
  readonly inFlight: number
  readonly killedAfterMs: number
  readonly begun: number
  readonly acknowledged: number
  /** Acknowledged and not there. */
  readonly lost: number
  /** In part there, or with other contents. */
  readonly wrong: number
  /** Looks of a reader that ran beside the child. */
  readonly looks: number
  /** Of all rounds on this directory: never acknowledged and there, wholly. */
  readonly kept: number
  /** Of all rounds on this directory: never acknowledged and not there, wholly. */
  readonly cut: number
  readonly problems: readonly string[]
}

export interface RoundsOptions {
  readonly rounds: number
  readonly seed: number
  /** Longest life of a child after it is ready, ms. */
  readonly lifeMsMax?: number
  readonly onRound?: (report: RoundReport) => void
}

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url))
/** Rounds on one directory. */
const CHAIN = 5
/** Longest wait before a kill in the middle of an open. */
const OPENING_MS = 60

/** What is known of the commits of one directory, over all its rounds. */
class Known {
  /** With the number of the life that began it. */
  readonly begun = new Map<number, number>()
  readonly acknowledged = new Map<number, bigint>()
  readonly deletes = new Set<number>()
  next = 1
  life = 0
}

export async function runRounds(o: RoundsOptions): Promise<RoundReport[]> {
  const random = seededRandom(o.seed)
  const reports: RoundReport[] = []
  for (let round = 0; round < o.rounds;) {
    const directory = await mkdtemp(join(tmpdir(), 'varve-crash-'))
    const known = new Known()
    const durability = random.u32() % 3 === 0 ? 'buffered' : 'synced'
    try {
      for (let i = 0; i < CHAIN && round < o.rounds; i++, round++) {
        const report = await oneRound(directory, known, durability, round, random, o.lifeMsMax ?? 250)
        reports.push(report)
        o.onRound?.(report)
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
  return reports
}

async function oneRound(
  directory: string,
  known: Known,
  durability: 'synced' | 'buffered',
  round: number,
  random: World['random'],
  lifeMsMax: number,
): Promise<RoundReport> {
  const inFlight = [1, 16, 256][random.u32() % 3]!
  // Now and then before it is ready: in the middle of an open.
  const early = random.u32() % 8 === 0
  const killedAfterMs = early ? random.u32() % OPENING_MS : random.u32() % lifeMsMax
  const before = { begun: known.begun.size, acknowledged: known.acknowledged.size }
  const watcher = !early && random.u32() % 3 === 0 ? new Watcher(directory, known) : undefined
  const errors = await live(directory, known, inFlight, durability, killedAfterMs, early, () => watcher?.start())
  errors.push(...((await watcher?.stop()) ?? []))
  const begun = known.begun.size - before.begun
  const acknowledged = known.acknowledged.size - before.acknowledged
  known.next = Math.max(known.next, ...known.begun.keys()) + 1
  known.life++
  const counts = { lost: 0, wrong: 0, kept: 0, cut: 0 }
  const problems: string[] = [...errors]
  const how = random.u32() % 3
  if (how !== 0 || round % CHAIN === CHAIN - 1) await look(directory, known, true, counts, problems)
  if (how !== 1 || round % CHAIN === CHAIN - 1) await look(directory, known, false, counts, problems)
  return { round, durability, inFlight, killedAfterMs, begun, acknowledged, looks: watcher?.looks ?? 0, ...counts, problems }
}

/** One life of the child. Returns what it complained about. */
function live(
  directory: string,
  known: Known,
  inFlight: number,
  durability: string,
  killedAfterMs: number,
  early: boolean,
  onReady: () => void,
): Promise<string[]> {
  const child = spawn(process.execPath, [CHILD, directory, String(known.next), String(inFlight), durability], { stdio: ['ignore', 'pipe', 'pipe'] })
  let rest = ''
  let complaints = ''
  const kill = (): void => void setTimeout(() => child.kill('SIGKILL'), killedAfterMs)
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      const [what, n, lsn] = line.split(' ')
      if (what === 'ready') onReady()
      if (what === (early ? 'opening' : 'ready')) kill()
      else if (what === 'opening' || what === 'ready') continue
      else if (what === 's') known.begun.set(Number(n), known.life)
      else if (what === 'd') known.deletes.add(Number(n))
      else known.acknowledged.set(Number(n), BigInt(lsn!))
    }
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (complaints += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(signal === 'SIGKILL' ? [] : [`the child ended by itself with ${code ?? signal}: ${complaints}`]))
  })
}

type Row = Record<string, unknown>

/** A reader in this process beside the living writer: what it sees is whole, and never behind what was acknowledged before it looked. */
class Watcher {
  private readonly directory: string
  private readonly known: Known
  private readonly problems: string[] = []
  private running: Promise<void> = Promise.resolve()
  private stopped = false
  looks = 0

  constructor(directory: string, known: Known) {
    this.directory = directory
    this.known = known
  }

  start(): void {
    this.running = this.watch().catch((error: unknown) => void this.problems.push(`watcher: ${(error as Error).stack}`))
  }

  async stop(): Promise<readonly string[]> {
    this.stopped = true
    await this.running
    return this.problems
  }

  private async watch(): Promise<void> {
    const store = await Store.open(this.directory, { readOnly: true })
    try {
      let last = 0n
      do {
        const before = [...this.known.acknowledged.keys()].filter((n) => kindOf(n) === 'single' && !isDeleted(this.known, n))
        const head = await store.refresh()
        if (head < last) this.problems.push(`watcher: went back from ${last} to ${head}`)
        last = head
        const snapshot = await store.snapshot()
        const seen = new Set(((await snapshot.scan(singles, { select: ['n'] as never }).toArray()) as Row[]).map((row) => row['n']))
        for (const n of before)
          if (!seen.has(n) && !isDeleted(this.known, n)) this.problems.push(`watcher: commit ${n} was acknowledged before the look at ${head} and is not seen`)
        const lefts = new Set(((await snapshot.scan(left).toArray()) as Row[]).map((row) => row['n']))
        const rights = grouped((await snapshot.scan(right).toArray()) as Row[])
        for (const n of new Set([...lefts, ...rights.keys()])) {
          if (!lefts.has(n) || rights.get(n)?.length !== PARTS) this.problems.push(`watcher: transaction ${String(n)} is seen in part at ${snapshot.lsn}`)
        }
        for (const [n, rows] of grouped((await snapshot.scan(loads).toArray()) as Row[])) {
          if (rows.length !== LOAD_ROWS) this.problems.push(`watcher: load ${String(n)} is seen in part at ${snapshot.lsn}: ${rows.length}`)
        }
        await snapshot[Symbol.asyncDispose]()
        this.looks++
      } while (!this.stopped)
    } finally {
      await store.close()
    }
  }
}

const isDeleted = (known: Known, n: number): boolean => [...known.deletes].some((by) => targetOf(by) === n)

async function look(
  directory: string,
  known: Known,
  readOnly: boolean,
  counts: { lost: number; wrong: number; kept: number; cut: number },
  problems: string[],
): Promise<void> {
  let store: ReadStore
  try {
    store = readOnly ? await Store.open(directory, { readOnly: true, follow: false }) : await Store.open(directory, { segmentBytes: 64 * 1024 })
  } catch (error) {
    // Killed before there was a store.
    if (known.acknowledged.size === 0 && (error as { code?: string }).code === 'store.not-a-store') return
    problems.push(`open${readOnly ? ' read-only' : ''}: ${(error as Error).stack}`)
    counts.lost += known.acknowledged.size
    return
  }
  try {
    const report = await store.verify({ level: readOnly ? 'files' : 'all' })
    for (const problem of report.problems) problems.push(`verify: ${problem.code} ${problem.message}`)
    if ((await store.tables()).length === 0) {
      counts.lost += known.acknowledged.size
      return
    }
    await check(store, known, counts, problems)
    if (!readOnly) problems.push(...(await unowned(directory, store)))
  } catch (error) {
    problems.push(`reading: ${(error as Error).stack}`)
  } finally {
    await store.close()
  }
}

/** After a sweep nothing is staged but what a held write owns. */
async function unowned(directory: string, store: ReadStore): Promise<string[]> {
  const owners = new Set((await store.staged()).map(({ writeId }) => String(writeId)))
  const there = await readdir(join(directory, 'staging')).catch(() => [])
  const left: string[] = []
  for (const name of there.filter((each) => !owners.has(each))) {
    // Temporary files and empty folders go after an hour.
    const files = (await readdir(join(directory, 'staging', name))).filter((file) => !file.endsWith('.tmp'))
    if (files.length > 0) left.push(`staging/${name} belongs to no write that is pending: ${files.join()}`)
  }
  return left
}

async function check(store: ReadStore, known: Known, counts: { lost: number; wrong: number; kept: number; cut: number }, problems: string[]): Promise<void> {
  Object.assign(counts, { lost: 0, wrong: 0, kept: 0, cut: 0 })
  const rows = async (table: typeof singles): Promise<Row[]> => (await store.scan(table).toArray()) as Row[]
  const single = new Map((await rows(singles)).map((row) => [row['n'], row]))
  const lefts = new Map((await rows(left)).map((row) => [row['n'], row]))
  const rights = grouped(await rows(right))
  const noted = grouped(await rows(notes))
  const loaded = grouped(await rows(loads))
  const slots = new Map((await rows(hot)).map((row) => [row['slot'], row['n']]))
  const deleted = new Map([...known.deletes].map((n) => [targetOf(n), n]))
  let counted = 0
  let counting = 0
  const wrong = (n: number, what: string): void => {
    counts.wrong++
    problems.push(`commit ${n} (${kindOf(n)}): ${what}`)
  }
  const verdict = (n: number, isThere: boolean): void => {
    if (known.acknowledged.has(n)) {
      if (isThere) return
      counts.lost++
      problems.push(`commit ${n} (${kindOf(n)}, LSN ${known.acknowledged.get(n)}) was acknowledged and is not there`)
    } else if (isThere) counts.kept++
    else counts.cut++
  }
  for (const n of known.begun.keys()) {
    const kind = kindOf(n)
    if (kind === 'single') {
      const row = single.get(n)
      if (row !== undefined && !equal(row, singleRow(n))) wrong(n, `reads ${show(row)}`)
      const by = deleted.get(n)
      if (by === undefined) verdict(n, row !== undefined)
      else if (known.acknowledged.has(by) && row !== undefined) {
        counts.lost++
        problems.push(`delete ${by} was acknowledged, its row ${n} is there`)
      }
    } else if (kind === 'multi' || kind === 'staged') {
      const here = [lefts.has(n) ? 1 : 0, rights.get(n)?.length ?? 0, noted.get(n)?.length ?? 0]
      const isWhole = here.join() === `1,${PARTS},1`
      if (!isWhole && here.join() !== '0,0,0') wrong(n, `in part: ${here.join()}`)
      else if (isWhole && rights.get(n)!.some((row) => row['value'] !== n + (row['part'] as number))) wrong(n, 'other values')
      else verdict(n, isWhole)
    } else if (kind === 'load') {
      const here = loaded.get(n) ?? []
      if (here.length !== 0 && here.length !== LOAD_ROWS) wrong(n, `${here.length} rows of ${LOAD_ROWS}`)
      else if (here.some((row) => row['value'] !== BigInt(n) * 1000n + BigInt(row['i'] as number))) wrong(n, 'other values')
      else verdict(n, here.length > 0)
    } else if (kind === 'count') {
      counting++
      if (known.acknowledged.has(n)) counted++
    }
  }
  for (const table of [single, lefts, rights, noted, loaded]) {
    for (const n of table.keys()) if (!known.begun.has(n as number)) wrong(n as number, 'is there and was never begun')
  }
  checkSlots(known, slots, counts, problems)
  const value = ((await store.get(counters, { name: 'all' } as never)) as Row | undefined)?.['value'] ?? 0
  if ((value as number) < counted || (value as number) > counting) {
    counts.lost += Math.max(0, counted - (value as number))
    problems.push(`the counter shows ${String(value)}: ${counted} increments were acknowledged, ${counting} begun`)
  }
  await checkGets(store, single, known, problems)
}

/** A slot shows its last acknowledged commit, or one that was never acknowledged. */
function checkSlots(known: Known, slots: ReadonlyMap<unknown, unknown>, counts: { lost: number }, problems: string[]): void {
  const last = new Map<number, { n: number; lsn: bigint }>()
  for (const [n, lsn] of known.acknowledged) {
    if (kindOf(n) === 'hot' && lsn > (last.get(slotOf(n))?.lsn ?? 0n)) last.set(slotOf(n), { n, lsn })
  }
  for (const [slot, { n, lsn }] of last) {
    const shown = slots.get(slot) as number | undefined
    if (shown === n) continue
    // Of the same life or a later one: what an earlier life left is older than anything acknowledged since.
    if (shown !== undefined && !known.acknowledged.has(shown) && slotOf(shown) === slot && (known.begun.get(shown) ?? -1) >= known.begun.get(n)!) continue
    counts.lost++
    problems.push(`slot ${slot} shows commit ${shown}; commit ${n} was acknowledged at LSN ${lsn}`)
  }
}

async function checkGets(store: ReadStore, single: ReadonlyMap<unknown, Row>, known: Known, problems: string[]): Promise<void> {
  const asked = [...known.begun.keys()].filter((n) => n % 11 === 0)
  const got = await store.getMany(singles, asked.map((n) => ({ n })) as never)
  asked.forEach((n, i) => {
    if (!equal(got[i] as Row | undefined, single.get(n))) problems.push(`get of ${n} gives ${show(got[i])}, the scan ${show(single.get(n))}`)
  })
}

function grouped(rows: readonly Row[]): Map<unknown, Row[]> {
  const groups = new Map<unknown, Row[]>()
  for (const row of rows) {
    const group = groups.get(row['n'])
    if (group === undefined) groups.set(row['n'], [row])
    else group.push(row)
  }
  return groups
}

function equal(a: object | undefined, b: object | undefined): boolean {
  return show(a) === show(b)
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  return JSON.stringify(
    Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1)),
    (_key, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v),
  )
}
