// bench/upkeep/gets.ts: one row by its key out of 10 M on disk: keys that came in order and keys that did not, numbers and texts. Warm, cold (index and footers in
// memory, no page of data), and absent.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { type AnyTable, columns, Store, t, table } from '../../bindings/index.ts'
import { randomOf } from '../data.ts'
import { countFileReads } from '../file-reads.ts'
import { freshFolder, settleDisk } from '../machine.ts'
import { medianOf, rounded } from '../report.ts'
import type { FigureSuite } from '../figures.ts'

const ROWS = 10_000_000
const QUICK_ROWS = 1_000_000
const BATCH_ROWS = 500_000
const GETS = 20_000
const COLD_GETS = 1000
/** Warm: what is asked for stays decoded. */
const WARM_BYTES = 2 * 1024 ** 3

/** Descriptors are kept open between reads, a second one of a file only while two reads of it are under way. */
const READS_ONLY = { opens: false }

const rest = { at: t.timestamp('ms'), n: t.int32(), origin: t.utf8() }
const ORIGINS = ['ATL', 'BRN', 'CDG', 'DEN', 'EWR', 'FRA', 'GVA', 'HND']

interface Kind {
  readonly table: AnyTable
  readonly key: (place: number) => bigint | string
}

const numbers = table('numbers', { id: t.int64(), ...rest }, { key: ['id'] }) as AnyTable
const texts = table('texts', { id: t.utf8(), ...rest }, { key: ['id'] }) as AnyTable
const KINDS: Readonly<Record<string, Kind>> = {
  int64: { table: numbers, key: (place) => BigInt(place) * 1000n },
  utf8: { table: texts, key: (place) => `user-${String(place).padStart(9, '0')}` },
}

export async function gets(suite: FigureSuite): Promise<void> {
  const rows = suite.quick ? QUICK_ROWS : ROWS
  for (const [name, kind] of Object.entries(KINDS)) {
    for (const order of ['sorted', 'random'] as const) await measure(suite, `${name}-${order}`, kind, rows, order === 'sorted')
  }
}

async function measure(suite: FigureSuite, name: string, { table: of, key }: Kind, rows: number, sorted: boolean): Promise<void> {
  const folder = freshFolder()
  const loading = await Store.open(folder, { upkeep: 'manual' })
  await loading.create(of)
  await loading.append(of, batches(rows, key, sorted) as never)
  const stats = (await loading.stats()).tables[of.name]!
  await loading.close()
  settleDisk()
  suite.fact(`get.${name}.fragments`, `${stats.fragments}, ${rounded(stats.bytes / rows)} bytes a row`)
  const random = randomOf(7)
  const there = (n: number): (bigint | string)[] => Array.from({ length: n }, () => key(2 * (random() % rows)))
  const absent = (n: number): (bigint | string)[] => Array.from({ length: n }, () => key(2 * (random() % rows) + 1))

  {
    const before = heldBytes()
    const store = await Store.open(folder, { upkeep: 'manual', memory: { cacheBytes: WARM_BYTES } })
    const first = performance.now()
    await store.get(of as never, key(0) as never)
    suite.fact(`get.${name}.first`, `${rounded(performance.now() - first)} ms`)
    // Every fragment's index and footer, then every page.
    for (const one of absent(200)) await store.get(of as never, one as never)
    suite.fact(`get.${name}.index-memory`, `${rounded((heldBytes() - before) / 1024 ** 2)} MiB`)
    for (let place = 0; place < rows; place += 8192) await store.get(of as never, key(2 * place) as never)
    for (const one of there(GETS)) await store.get(of as never, one as never)
    const medians: number[] = []
    for (let round = 0; round < suite.rounds; round++) medians.push(await medianMicros(store, of, there(GETS)))
    suite.fact(`get.${name}.warm`, `${rounded(medianOf(medians))} us (${rounded(Math.min(...medians))} to ${rounded(Math.max(...medians))})`)
    suite.fact(`get.${name}.absent`, `${rounded(await medianMicros(store, of, absent(GETS)))} us`)
    const some = absent(GETS)
    const reads = await countFileReads(async () => {
      for (const one of some) await store.get(of as never, one as never)
    })
    suite.fact(`get.${name}.absent-reads-warm`, `${reads} in ${GETS}`)
    await store.close()
  }
  const store = await Store.open(folder, { upkeep: 'manual', memory: { cacheBytes: 0 } })
  for (const one of absent(200)) await store.get(of as never, one as never)
  for (let place = 0; place < rows; place += 65_536) await store.get(of as never, key(2 * place) as never)
  const counts: number[] = []
  const times: number[] = []
  for (const one of there(COLD_GETS)) {
    counts.push(
      await countFileReads(async () => {
        const started = performance.now()
        if ((await store.get(of as never, one as never)) === undefined) throw new Error(`${name}: ${one} is gone`)
        times.push(performance.now() - started)
      }, READS_ONLY),
    )
  }
  suite.fact(`get.${name}.cold-reads`, `${histogram(counts)}, median ${rounded(medianOf(times) * 1000)} us`)
  const none: number[] = []
  for (const one of absent(COLD_GETS * 5)) none.push(await countFileReads(() => store.get(of as never, one as never), READS_ONLY))
  suite.fact(`get.${name}.absent-reads-cold`, histogram(none))
  await store.close()
}

/** Keys are even places; odd ones are absent and lie between them. */
async function* batches(rows: number, key: Kind['key'], sorted: boolean): AsyncGenerator<unknown, undefined> {
  const random = randomOf(1)
  const places = Uint32Array.from({ length: rows }, (_, i) => 2 * i)
  if (!sorted) {
    for (let i = rows - 1; i > 0; i--) {
      const j = random() % (i + 1)
      const place = places[i]!
      places[i] = places[j]!
      places[j] = place
    }
  }
  for (let from = 0; from < rows; from += BATCH_ROWS) {
    const some = places.subarray(from, from + BATCH_ROWS)
    yield columns({
      id: typeof key(0) === 'bigint' ? BigInt64Array.from(some, (place) => key(place) as bigint) : Array.from(some, key),
      at: Array.from(some, (place) => new Date(1_700_000_000_000 + place * 1000)),
      n: Int32Array.from(some),
      origin: Array.from(some, (place) => ORIGINS[(place >> 1) & 7]!),
    })
  }
}

async function medianMicros(store: Store, of: AnyTable, keys: readonly unknown[]): Promise<number> {
  const times = new Float64Array(keys.length)
  for (let i = 0; i < keys.length; i++) {
    const started = performance.now()
    await store.get(of as never, keys[i] as never)
    times[i] = performance.now() - started
  }
  times.sort()
  return times[times.length >> 1]! * 1000
}

/** Bytes of buffers that are in use. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What the first leaves to finalizers, the second finds.
  collect()
  collect()
  return process.memoryUsage().arrayBuffers
}

function histogram(counts: readonly number[]): string {
  const by = new Map<number, number>()
  for (const count of counts) by.set(count, (by.get(count) ?? 0) + 1)
  return [...by]
    .sort(([a], [b]) => a - b)
    .map(([count, times]) => `${count} reads: ${times}`)
    .join(', ')
}
