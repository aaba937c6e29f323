// bench/upkeep/compacting.ts: rows a second that optimize writes anew, on flights-3m in 30 fragments: one key range after the other, overlapping, and without a key.
import { type Flights, flights3m } from '../data.ts'
import { freshFolder, loopDelay, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'
import { flights, openManual, piece, unkeyed } from './flights.ts'

const PIECES = 30

const SHAPES = {
  ranges: { table: flights, part: (data: Flights, i: number, rows: number) => piece(data, (i * rows) / PIECES, ((i + 1) * rows) / PIECES) },
  overlapping: { table: flights, part: (data: Flights, i: number, rows: number) => piece(data, i, rows, PIECES) },
  unkeyed: { table: unkeyed, part: (data: Flights, i: number, rows: number) => piece(data, (i * rows) / PIECES, ((i + 1) * rows) / PIECES) },
} as const

export async function compacting(suite: FigureSuite): Promise<void> {
  const data = await flights3m()
  const rows = suite.quick ? 600_000 : data.rows
  const rates: Record<string, number[]> = {}
  const stalls: Record<string, number> = {}
  for (let round = 0; round < suite.rounds; round++) {
    for (const [name, { table, part }] of Object.entries(SHAPES)) {
      const store = await openManual(freshFolder())
      await store.create(table)
      for (let i = 0; i < PIECES; i++) await store.append(table, part(data, i, rows) as never)
      settleDisk()
      let ms = 0
      const delay = await loopDelay(async () => {
        const started = performance.now()
        await store.optimize()
        ms = performance.now() - started
      })
      ;(rates[name] ??= []).push(rows / ms / 1000)
      stalls[name] = Math.max(stalls[name] ?? 0, delay.max)
      const { fragments } = (await store.stats()).tables['flights']!
      if (fragments >= PIECES || (await store.scan(table).count()) !== rows) throw new Error(`${name}: ${fragments} fragments`)
      await store.close()
    }
  }
  for (const [name, values] of Object.entries(rates)) {
    suite.fact(`optimize.rate.${name}`, `${rounded(medianOf(values))} M rows/s (${rounded(Math.min(...values))} to ${rounded(Math.max(...values))})`)
    suite.fact(`optimize.loop-delay-max.${name}`, `${stalls[name]} ms`)
  }
}
