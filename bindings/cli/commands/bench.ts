// cli/commands/bench.ts: `varve bench`: a short measurement of this machine, in this process; `npm run bench` is the thorough one, with peers.
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { columns, gt, Store, t, table } from '../../index.ts'
import { type Context, type Run, textOption, wholeOption } from '../command.ts'
import { bytesText, countText, durationText, ProgressLine, tableLines } from '../render.ts'

const ROWS = 200_000
const RUNS = 3
const COMMITS_ALONE = 300
const COMMITS_TOGETHER = 8_192
const IN_FLIGHT = 256
const GETS = 20_000
const BATCH_ROWS = 16_384

interface Result {
  readonly name: string
  readonly unit: string
  readonly median: number
  readonly runs: number
}

// oxlint-disable-next-line typescript/explicit-module-boundary-types -- local to this file
const flights = table(
  'flights',
  { id: t.int64(), date: t.timestamp('us'), delay: t.int16().nullable(), distance: t.int16(), origin: t.utf8(), destination: t.utf8() },
  { key: ['id'] },
)
const notes = table('notes', { id: t.int64(), text: t.utf8() }, { key: ['id'] })

export const run: Run = async (context, _args, options) => {
  const rows = wholeOption(options, 'rows', 1_000, 100_000_000) ?? ROWS
  const place = await mkdtemp(join(textOption(options, 'dir') ?? tmpdir(), 'varve-bench-'))
  const line = new ProgressLine('bench')
  try {
    const results: Result[] = []
    for (const [name, unit, work] of WORK) {
      const values: number[] = []
      for (let i = 0; i < RUNS; i++) {
        context.signal.throwIfAborted()
        line.update(`${name} ${i + 1} of ${RUNS}`, results.length / WORK.length)
        values.push(await work(join(place, `${name}-${i}`), rows))
      }
      results.push({ name, unit, median: values.toSorted((a, b) => a - b)[Math.floor(RUNS / 2)]!, runs: RUNS })
    }
    line.clear()
    await print(context, results)
  } finally {
    line.clear()
    await rm(place, { recursive: true, force: true })
  }
  return undefined
}

type Work = (place: string, rows: number) => Promise<number>

const WORK: readonly (readonly [name: string, unit: string, work: Work])[] = [
  ['commit-1', 'commits/s', async (place) => await withStore(place, async (store) => await perSecond(COMMITS_ALONE, async () => await commitAlone(store)))],
  [
    'commit-256',
    'commits/s',
    async (place) => await withStore(place, async (store) => await perSecond(COMMITS_TOGETHER, async () => await commitTogether(store))),
  ],
  ['load', 'rows/s', async (place, rows) => await withStore(place, async (store) => await perSecond(rows, async () => await load(store, rows)))],
  ['get-present', 'gets/s', async (place, rows) => await loaded(place, rows, async (store) => await perSecond(GETS, async () => await gets(store, rows)))],
  [
    'scan-filter',
    'ms',
    async (place, rows) =>
      await loaded(
        place,
        rows,
        async (store) => await elapsed(async () => await store.scan(flights, { select: ['id', 'origin', 'delay'], where: gt('delay', 60) }).toArrow()),
      ),
  ],
  [
    'sum',
    'ms',
    async (place, rows) =>
      await loaded(
        place,
        rows,
        async (store) => await elapsed(async () => await store.scan(flights).aggregate({ delay: { sum: 'delay' }, distance: { sum: 'distance' } })),
      ),
  ],
]

async function withStore<R>(place: string, work: (store: Store) => Promise<R>): Promise<R> {
  const store = await Store.open(place, { create: 'must' })
  try {
    await store.create(flights, notes)
    return await work(store)
  } finally {
    await store.close()
  }
}

async function loaded(place: string, rows: number, work: (store: Store) => Promise<number>): Promise<number> {
  return await withStore(place, async (store) => {
    await load(store, rows)
    return await work(store)
  })
}

async function commitAlone(store: Store): Promise<void> {
  for (let i = 0; i < COMMITS_ALONE; i++) await store.append(notes, { id: BigInt(i), text: 'one writer' })
}

async function commitTogether(store: Store): Promise<void> {
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < COMMITS_TOGETHER) await store.append(notes, { id: BigInt(next++), text: 'many writers' })
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, writer))
}

async function load(store: Store, rows: number): Promise<void> {
  async function* batches(): AsyncGenerator<ReturnType<typeof batchOf>, undefined> {
    for (let first = 0; first < rows; first += BATCH_ROWS) yield batchOf(first, Math.min(BATCH_ROWS, rows - first))
  }
  await store.append(flights, batches())
}

// oxlint-disable-next-line typescript/explicit-function-return-type -- the type of columns() says it
function batchOf(first: number, rows: number) {
  const airports = ['SFO', 'LAX', 'JFK', 'ORD', 'ATL', 'DFW', 'DEN']
  return columns({
    id: BigInt64Array.from({ length: rows }, (_, i) => BigInt(first + i)),
    date: BigInt64Array.from({ length: rows }, (_, i) => BigInt(first + i) * 60_000_000n),
    delay: Int16Array.from({ length: rows }, (_, i) => ((first + i) * 7919) % 181),
    distance: Int16Array.from({ length: rows }, (_, i) => 100 + (((first + i) * 104_729) % 2500)),
    origin: Array.from({ length: rows }, (_, i) => airports[(first + i) % 7]!),
    destination: Array.from({ length: rows }, (_, i) => airports[(first + i * 3) % 7]!),
  })
}

async function gets(store: Store, rows: number): Promise<void> {
  for (let i = 0; i < GETS; i++) await store.get(flights, BigInt((i * 48_271) % rows))
}

async function elapsed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return performance.now() - startMs
}

async function perSecond(count: number, work: () => Promise<unknown>): Promise<number> {
  return (count * 1000) / (await elapsed(work))
}

async function print(context: Context, results: readonly Result[]): Promise<void> {
  if (context.json) {
    const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), memoryBytes: totalmem() }
    await context.out.json({ machine, versions: { node: process.version }, durability: 'synced', results })
    return
  }
  const rows = results.map(({ name, unit, median }) => [name, unit === 'ms' ? durationText(median) : `${countText(Math.round(median))} ${unit}`])
  await context.out.lines([
    `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, ${bytesText(totalmem())}; node ${process.version}; durable commits; median of ${RUNS}`,
    '',
    ...tableLines(['what', 'median'], rows, ['left', 'right']),
  ])
}
