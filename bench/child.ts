// bench/child.ts: work that needs a process of its own: stores to be killed, cold opens, peak memory, traced commits. Prints one JSON line; `fill` and `open`
// then end by SIGKILL, so that nothing is closed.
//
//   node bench/child.ts fill <contender> <folder> <commits>
//   node bench/child.ts open <contender> <folder> <commits>
//   node bench/child.ts import varve <folder>
//   node bench/child.ts commits <contender> <folder> <lanes> <groups>
//   node bench/child.ts flights varve <folder> <times> <1 = overlapping>
//   node bench/child.ts optimize varve <folder>
//   node bench/child.ts branched varve <folder> <rows> <changed>
//   node bench/child.ts merge varve <folder>
import fs from 'node:fs'

import { commitLoop } from './contender.ts'
import { collectGarbage, loopDelay } from './machine.ts'
import { contenderOf } from './peers.ts'

const IN_FLIGHT = 256
const POLL_MS = 2

const [job, name, folder, ...rest] = process.argv.slice(2)
const contender = await contenderOf(name!)
const numbers = rest.map(Number)

if (job === 'fill') {
  const db = await contender.open(folder!, { keepLog: true, unsynced: true })
  const { commits } = await commitLoop(db, 0, IN_FLIGHT, Number.MAX_SAFE_INTEGER, numbers[0]!)
  end({ commits })
} else if (job === 'open') {
  const last = numbers[0]! - 1
  const started = performance.now()
  const db = await contender.open(folder!, { keepLog: true })
  const opened = performance.now()
  const row = await db.get(last)
  const ms = performance.now() - started
  end({ ms, openMs: opened - started, found: row !== undefined, count: await db.count() })
} else if (job === 'import') {
  print(await importing())
} else if (job === 'commits') {
  await tracedCommits(numbers[0]!, numbers[1]!)
} else if (job === 'flights') {
  await fillFlights(numbers[0]!, numbers[1] === 1)
} else if (job === 'optimize') {
  print(await optimizing())
} else if (job === 'branched') {
  const { fillBranches } = await import('./upkeep/merging.ts')
  await fillBranches(folder!, numbers[0]!, numbers[1]!)
} else if (job === 'merge') {
  print(await merging())
} else throw new Error(`no job ${job}`)

/** flights-3m `times` over, in fragments of 100,000 rows. */
async function fillFlights(times: number, isOverlapping: boolean): Promise<void> {
  const { flights3m } = await import('./data.ts')
  const { flights, openManual, piece } = await import('./upkeep/flights.ts')
  const data = await flights3m()
  const store = await openManual(folder!)
  await store.create(flights)
  for (let time = 0; time < times; time++) {
    for (let i = 0; i < 30; i++) {
      const part = isOverlapping ? piece(data, i, data.rows, 30, time * data.rows) : piece(data, i * 100_000, (i + 1) * 100_000, 1, time * data.rows)
      await store.append(flights, part as never)
    }
  }
  await store.close()
}

async function optimizing(): Promise<object> {
  const { flights, openManual } = await import('./upkeep/flights.ts')
  const store = await openManual(folder!)
  await store.scan(flights, { limit: 1 }).toArray()
  const { measured } = await withPeak(() => store.optimize())
  const { rows, fragments } = (await store.stats()).tables['flights']!
  await store.close()
  return { ...measured, rows, fragments }
}

async function merging(): Promise<object> {
  const { openManual } = await import('./upkeep/flights.ts')
  const { prices } = await import('./upkeep/merging.ts')
  const store = await openManual(folder!)
  await store.scan(prices, { limit: 1 }).toArray()
  const { measured, result } = await withPeak(() => store.merge('dev'))
  await store.close()
  return { ...measured, updated: result.tables['prices']?.updated ?? 0 }
}

/** Between two look-ups of names that a tracer sees. */
async function tracedCommits(lanes: number, groups: number): Promise<void> {
  const db = await contender.open(folder!)
  await commitLoop(db, 0, lanes, Number.MAX_SAFE_INTEGER, lanes)
  let next = lanes
  fs.existsSync('varve-bench-begin')
  for (let i = 0; i < groups; i++) next += (await commitLoop(db, next, lanes, Number.MAX_SAFE_INTEGER, lanes)).commits
  fs.existsSync('varve-bench-end')
  await db.close()
}

async function importing(): Promise<object> {
  const { flights3m } = await import('./data.ts')
  const { VarveDatabase } = await import('./contenders/varve.ts')
  const data = await flights3m()
  const db = await VarveDatabase.open(folder!)
  const { measured, result } = await withPeak(() => loopDelay(() => db.load(data)))
  await db.close()
  return { ...measured, delay: result }
}

/** Resident memory before a piece of work and at its highest; `exact`: as the kernel counts it, else by looking often. */
async function withPeak<R>(work: () => Promise<R>): Promise<{ measured: { base: number; peak: number; exact: boolean; ms: number }; result: R }> {
  collectGarbage()
  const base = process.memoryUsage.rss()
  const exact = resetPeak()
  let peak = base
  const poll = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), POLL_MS)
  const started = performance.now()
  const result = await work()
  const ms = performance.now() - started
  clearInterval(poll)
  if (exact) peak = Math.max(peak, peakRss())
  return { measured: { base, peak, exact, ms }, result }
}

/** Linux keeps a high-water mark that can be set back; elsewhere memory is polled. */
function resetPeak(): boolean {
  try {
    fs.writeFileSync('/proc/self/clear_refs', '5')
    return true
  } catch {
    return false
  }
}

function peakRss(): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
}

function print(value: object): void {
  fs.writeSync(1, `${JSON.stringify(value)}\n`)
}

function end(value: object): void {
  print(value)
  process.kill(process.pid, 'SIGKILL')
}
