// bench/upkeep/backup.ts: bytes a second of a backup (verified, synced) beside a bare copy of the same files with as many syncs; and what a backup costs that finds nothing new.
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { Store } from '../../bindings/index.ts'
import { flights3m } from '../data.ts'
import { freshFolder, loopDelay, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'
import { flights, openManual, piece } from './flights.ts'

const PIECES = 30
const LANES = 4

export async function backup(suite: FigureSuite): Promise<void> {
  const data = await flights3m()
  const rows = suite.quick ? 600_000 : data.rows
  const source = freshFolder()
  const store = await openManual(source)
  await store.create(flights)
  for (let i = 0; i < PIECES; i++) await store.append(flights, piece(data, (i * rows) / PIECES, ((i + 1) * rows) / PIECES) as never)
  const rates: Record<string, number[]> = { backup: [], bare: [], restore: [] }
  const ratios: number[] = []
  const idle: number[] = []
  let stall = 0
  for (let round = 0; round < suite.rounds; round++) {
    const [target, copy, restored] = [freshFolder(), freshFolder(), freshFolder()]
    const bytes = { backup: 0, bare: 0, restore: 0 }
    const ms: Record<string, number> = {}
    const timed = async (name: keyof typeof bytes, work: () => Promise<number>): Promise<void> => {
      settleDisk()
      const started = performance.now()
      bytes[name] = await work()
      ms[name] = performance.now() - started
      rates[name]!.push(bytes[name] / ms[name] / 1e6)
    }
    const runs = [
      () => timed('bare', () => bareCopy(source, copy)),
      async () => {
        const delay = await loopDelay(() => timed('backup', async () => (await store.backup(target)).copiedBytes))
        stall = Math.max(stall, delay.max)
      },
    ]
    for (const run of round % 2 === 0 ? runs : runs.toReversed()) await run()
    const started = performance.now()
    const { copied } = await store.backup(target)
    if (copied !== 0) throw new Error(`a second backup copied ${copied} files`)
    idle.push(performance.now() - started)
    await timed('restore', async () => (await Store.restore(target, restored)).copiedBytes)
    // Bytes a second: the copies differ by what a backup leaves out.
    ratios.push(bytes.backup / ms['backup']! / (bytes.bare / ms['bare']!))
    for (const folder of [target, copy, restored]) await rm(folder, { recursive: true })
  }
  await store.close()
  for (const [name, values] of Object.entries(rates)) {
    suite.fact(
      `backup.rate.${name}`,
      `${rounded(medianOf(values) * 1000)} MB/s (${rounded(Math.min(...values) * 1000)} to ${rounded(Math.max(...values) * 1000)})`,
    )
  }
  suite.fact('backup.of-bare-copy', `${rounded(medianOf(ratios))} (${rounded(Math.min(...ratios))} to ${rounded(Math.max(...ratios))})`)
  suite.fact('backup.nothing-new', `${rounded(medianOf(idle))} ms (${rounded(Math.min(...idle))} to ${rounded(Math.max(...idle))})`)
  suite.fact('backup.loop-delay-max', `${stall} ms`)
}

/** Every file read, written and synced under the same name. @returns the bytes */
async function bareCopy(from: string, to: string): Promise<number> {
  const entries = await readdir(from, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const queue = files.values()
  let bytes = 0
  const lane = async (): Promise<void> => {
    for (const file of queue) {
      const data = await readFile(file)
      const path = join(to, file.slice(from.length))
      await mkdir(dirname(path), { recursive: true })
      const handle = await open(path, 'w')
      await handle.writeFile(data)
      await handle.sync()
      await handle.close()
      bytes += data.length
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return bytes
}
