// bench/upkeep/trickle.ts: 10,000 appends of 100 rows beside automatic upkeep: bytes written for each byte of rows, latency of commits, stalls, and what a scan costs
// afterwards beside the same rows loaded at once.
import { type OpenOptions, Store } from '../../bindings/index.ts'
import { flightAt } from '../data.ts'
import { collectGarbage, freshFolder, loopDelay } from '../machine.ts'
import { medianOf, percentileOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'
import { flights, ROW_BYTES, writtenBytes } from './flights.ts'

const ROWS = 100

/** As it comes; and with so little memory for rows that upkeep has many small fragments to put together. */
const SHAPES: Readonly<Record<string, OpenOptions>> = { trickle: {}, 'trickle-small': { memory: { writeBytes: 256 * 1024 } } }

export async function trickle(suite: FigureSuite): Promise<void> {
  for (const [name, options] of Object.entries(SHAPES)) await trickleInto(suite, `optimize.${name}`, options)
}

async function trickleInto(suite: FigureSuite, task: string, options: OpenOptions): Promise<void> {
  const appends = suite.quick ? 2000 : 10_000
  // Ids in an order that is not the keys': each fragment overlaps the others.
  const rowsOf = (append: number): object[] =>
    Array.from({ length: ROWS }, (_, i) => {
      const n = append * ROWS + i
      const { date, ...flight } = flightAt(n, (n * 7919) % (appends * ROWS))
      return { ...flight, id: BigInt(flight.id), date: new Date(date) }
    })
  const store = await Store.open(freshFolder(), options)
  await store.create(flights)
  const optimized: number[] = []
  using _sub = store.on('upkeep', ({ job, durationMs }) => void (job === 'optimize' && optimized.push(durationMs)))
  const latencies = new Float64Array(appends)
  const before = writtenBytes()
  const delay = await loopDelay(async () => {
    for (let i = 0; i < appends; i++) {
      const rows = rowsOf(i)
      const started = performance.now()
      await store.append(flights, rows as never)
      latencies[i] = performance.now() - started
    }
  })
  const written = writtenBytes() - before
  const { fragments, memoryRows } = (await store.stats()).tables['flights']!
  suite.fact(`${task}.amplification`, rounded(written / (appends * ROWS * ROW_BYTES)))
  suite.fact(`${task}.commit-p50`, `${rounded(medianOf([...latencies]))} ms`)
  suite.fact(`${task}.commit-p999`, `${rounded(percentileOf(latencies, 0.999))} ms`)
  suite.fact(`${task}.commit-max`, `${rounded(Math.max(...latencies))} ms`)
  suite.fact(`${task}.loop-delay`, JSON.stringify(delay))
  suite.fact(`${task}.state`, `${fragments} fragments, ${memoryRows} rows in memory, ${optimized.length} optimizes`)
  await store.flush()

  const bulk = await Store.open(freshFolder())
  await bulk.create(flights)
  await bulk.append(
    flights,
    (function* () {
      for (let i = 0; i < appends; i++) yield* rowsOf(i)
    })() as never,
  )
  const times: { ours: number[]; bulk: number[] } = { ours: [], bulk: [] }
  for (let round = 0; round < 2 * suite.rounds + 1; round++) {
    for (const [name, each] of [
      ['ours', store],
      ['bulk', bulk],
    ] as const) {
      collectGarbage()
      const started = performance.now()
      let rows = 0
      for await (const batch of each.scan(flights).batches()) rows += batch.numRows
      if (rows !== appends * ROWS) throw new Error(`${rows} rows of ${appends * ROWS}`)
      if (round > 0) times[name].push(performance.now() - started)
    }
  }
  const count = async (each: Store): Promise<number> => (await each.stats()).tables['flights']!.fragments
  suite.fact(
    `${task}.scan`,
    `${rounded(medianOf(times.ours) / medianOf(times.bulk))} of bulk-loaded (${await count(store)} against ${await count(bulk)} fragments)`,
  )
  await store.close()
  await bulk.close()
}
