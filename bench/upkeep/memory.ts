// bench/upkeep/memory.ts: peak memory of an optimize of flights-3m ten times over, in a process of its own, above what it had before.
import { rmSync } from 'node:fs'

import { inChild } from '../children.ts'
import { freshFolder } from '../machine.ts'
import { rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'

interface MemoryRun {
  readonly base: number
  readonly peak: number
  readonly exact: boolean
  readonly rows: number
  readonly ms: number
  readonly fragments: number
}

export async function memory(suite: FigureSuite): Promise<void> {
  for (const shape of ['ranges', 'overlapping']) {
    const folder = freshFolder()
    await inChild(['flights', 'varve', folder, suite.quick ? '1' : '10', shape === 'overlapping' ? '1' : '0'])
    const { base, peak, exact, rows, ms, fragments } = await inChild<MemoryRun>(['optimize', 'varve', folder])
    rmSync(folder, { recursive: true })
    const grown = `${Math.round((peak - base) / 1e6)} MB over ${Math.round(base / 1e6)} MB${exact ? '' : ' (polled)'}`
    suite.fact(`optimize.memory.${shape}`, `${grown}: ${rows} rows into ${fragments} fragments at ${rounded(rows / ms / 1000)} M rows/s`)
  }
}
