// Processes that write to one shared directory at once, some of them killed in the middle: nothing lost, nothing doubled, one linear history.
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'

// As in shared-writer.ts.
const events = table('events', { who: t.utf8(), n: t.int32() })
const totals = table('totals', { id: t.int32(), commits: t.int32() }, { key: ['id'] })
const own = (name: string) => table(`own_${name}`, { id: t.int32(), text: t.utf8() }, { key: ['id'] })

const WRITER = fileURLToPath(new URL('./shared-writer.ts', import.meta.url))
const PROCESSES = 8
const COMMITS = 20

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'varve-shared-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

interface Told {
  readonly name: string
  readonly begun: number[]
  readonly acknowledged: number[]
  readonly done: boolean
}

/** Runs one writer to its end, or kills it after so many acknowledgements. */
function run(name: string, killAfter?: number): Promise<Told> {
  const child = spawn(process.execPath, [WRITER, directory, name, String(COMMITS)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const begun: number[] = []
  const acknowledged: number[] = []
  let done = false
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      if (line.startsWith('s ')) begun.push(Number(line.slice(2)))
      if (line.startsWith('a ')) acknowledged.push(Number(line.slice(2)))
      if (line === 'done') done = true
    }
    if (killAfter !== undefined && acknowledged.length >= killAfter) child.kill('SIGKILL')
  })
  return new Promise((resolve) => child.on('close', () => resolve({ name, begun, acknowledged, done })))
}

async function check(told: readonly Told[]): Promise<void> {
  await using store = await Store.open(directory, { create: 'never' })
  const rows = await store.scan(events).toArray()
  const seen = new Set(rows.map((row) => `${row.who} ${row.n}`))
  expect(seen.size, 'no commit twice').toBe(rows.length)
  const begun = new Set(told.flatMap(({ name, begun: all }) => all.map((n) => `${name} ${n}`)))
  for (const each of seen) expect(begun.has(each), `${each} was begun`).toBe(true)
  let inOwn = 0
  for (const { name, acknowledged } of told) {
    for (const n of acknowledged) expect(seen.has(`${name} ${n}`), `${name} ${n} was acknowledged`).toBe(true)
    const mine = await store.scan(own(name)).toArray()
    expect(mine.map((row) => row.id).toSorted((a, b) => a - b)).toEqual(
      rows
        .filter((row) => row.who === name)
        .map((row) => row.n)
        .toSorted((a, b) => a - b),
    )
    inOwn += mine.length
  }
  expect(inOwn).toBe(rows.length)
  expect((await store.get(totals, { id: 1 }))?.commits, 'no increment lost').toBe(rows.length)
  const report = await store.verify({ level: 'all' })
  expect(report.problems).toEqual([])
}

describe('eight processes with one shared directory', () => {
  it('commit side by side: nothing lost, nothing doubled, one linear history', { timeout: 120_000 }, async () => {
    const told = await Promise.all(Array.from({ length: PROCESSES }, (_, i) => run(`p${i}`)))
    for (const each of told) {
      expect(each.done, each.name).toBe(true)
      expect(each.acknowledged.length).toBe(COMMITS)
    }
    await check(told)
  })

  it('go on when half of them are killed, and those that come back find everything', { timeout: 120_000 }, async () => {
    const told = await Promise.all(Array.from({ length: PROCESSES }, (_, i) => run(`k${i}`, i % 2 === 0 ? 3 + i : undefined)))
    for (const each of told) if (Number(each.name.slice(1)) % 2 === 1) expect(each.done, each.name).toBe(true)
    await check(told)
    const later = await run('late')
    expect(later.done).toBe(true)
    await check([...told, later])
  })
})
