// bench/engine/reads.ts: absent keys over a hundred overlapping fragments, a filtered scan to Arrow, a sum. Everything warm: the first call is reported apart.
import type { Contender, Database } from '../contender.ts'
import { VarveDatabase } from '../contenders/varve.ts'
import { contest, timed, type Turn, verify } from '../contest.ts'
import { type Flights, sample, randomOf } from '../data.ts'
import { countFileReads } from '../file-reads.ts'
import { freshFolder } from '../machine.ts'
import { rounded } from '../report.ts'
import { type Suite, takingPart } from '../suite.ts'
import { getsFor } from './loads.ts'

const SAMPLE_ROWS = 200_000
const FRAGMENTS = 100
const DELAY_FROM = 30
const WARM_RUNS = 5

export async function reads(suite: Suite): Promise<void> {
  await absentTask(suite)
  const data = await sample(SAMPLE_ROWS)
  const stores = await Promise.all(
    takingPart(suite, 'scan-filter').map(async (contender) => {
      const db = await contender.open(freshFolder())
      await db.load!(data)
      return { contender, db }
    }),
  )
  await scanTask(suite, stores, data)
  await sumTask(suite, stores, data)
  for (const { db } of stores) await db.close()
}

/** Even ids are there, fragment f holding every hundredth; odd ones are asked for, so statistics exclude no fragment. */
async function absentTask(suite: Suite): Promise<void> {
  const even = Int32Array.from({ length: SAMPLE_ROWS }, (_, i) => 2 * i)
  const random = randomOf(99)
  const absent = Int32Array.from({ length: SAMPLE_ROWS * 2 }, () => 2 * (random() % (SAMPLE_ROWS - 1)) + 1)
  const stores: { name: string; db: Database }[] = []
  for (const contender of takingPart(suite, 'get-absent')) {
    stores.push({
      name: contender.name,
      db: contender.name === 'varve' ? await VarveDatabase.interleaved(freshFolder(), even, FRAGMENTS) : await inOne(contender, even),
    })
  }
  for (const { db } of stores) await db.gets!(absent.subarray(0, 500))
  await stores[0]!.db.gets!(absent)
  const turnOf = ({ name, db }: { name: string; db: Database }) => {
    let at = 0
    return { name, turn: () => getsFor(suite.sizes.turnMs, (n) => db.gets!(absent.subarray((at = at + n > absent.length ? 0 : at), (at += n))), false) }
  }
  suite.add(await contest('get-absent', 'gets/s', suite.sizes.rounds, stores.map(turnOf)))
  const fileReads = await countFileReads(() => stores[0]!.db.gets!(absent.subarray(0, 10_000)))
  suite.fact('get-absent.file-reads', `${fileReads} in 10,000 gets over ${FRAGMENTS} fragments, warm`)
  verify(fileReads === 0, `absent gets read files ${fileReads} times`)
  for (const { db } of stores) await db.close()
}

async function inOne(contender: Contender, even: Int32Array): Promise<Database> {
  const db = await contender.open(freshFolder())
  const all = await sample(even.length)
  const { arrow } = await import('../arrow.ts')
  const id = arrow.makeVector(arrow.makeData({ type: new arrow.Int64(), data: BigInt64Array.from(even, BigInt) }))
  await db.load!({ ...all, id: even, table: all.table.setChild('id', id) as unknown as Flights['table'] })
  return db
}

interface Opened {
  readonly contender: Contender
  readonly db: Database
}

async function scanTask(suite: Suite, stores: readonly Opened[], data: Flights): Promise<void> {
  const wanted = [...data.delay.keys()].filter((i) => data.delay[i]! >= DELAY_FROM)
  const sums = { delay: sumOver(wanted, data.delay), distance: sumOver(wanted, data.distance) }
  for (const { contender, db } of stores) {
    suite.fact(`scan-filter.first.${contender.name}`, `${rounded((await timed(() => db.scanFilter!(DELAY_FROM))).ms)} ms`)
    const result = await db.scanFilter!(DELAY_FROM)
    verify(result.numRows === wanted.length, `${contender.name} gives ${result.numRows} of ${wanted.length} rows`)
    for (const name of ['delay', 'distance'] as const) {
      let sum = 0
      for (const value of result.getChild(name)!) sum += Number(value)
      verify(sum === sums[name], `${contender.name}: ${name} sums to ${sum}, not ${sums[name]}`)
    }
    const names = new Map<string, number>()
    for (const name of result.getChild('origin')!) names.set(String(name), (names.get(String(name)) ?? 0) + 1)
    verify(names.get('ATL') === wanted.filter((i) => data.origin[i] === 'ATL').length, `${contender.name}: origins`)
    for (let i = 0; i < WARM_RUNS; i++) await db.scanFilter!(DELAY_FROM)
  }
  suite.fact('scan-filter.selected', `${wanted.length} of ${data.rows} rows, three columns, one of them text`)
  const entries = stores.map(({ contender, db }) => ({ name: contender.name, turn: () => repeated(() => db.scanFilter!(DELAY_FROM), suite.sizes.turnMs / 2) }))
  suite.add(await contest('scan-filter', 'ms', suite.sizes.rounds, entries))
  const own = stores.filter(({ db }) => db.scanFilterOwn !== undefined)
  if (own.length === 0) return
  const bare = await contest(
    'scan-filter-own',
    'ms',
    suite.sizes.rounds,
    own.map(({ contender, db }) => ({ name: contender.name, turn: () => repeated(() => db.scanFilterOwn!(DELAY_FROM), suite.sizes.turnMs / 2) })),
  )
  for (const [who, { median }] of Object.entries(bare.contenders)) suite.fact(`scan-filter.own-form.${who}`, `${median} ms without making an Arrow table`)
}

async function sumTask(suite: Suite, stores: readonly Opened[], data: Flights): Promise<void> {
  const expected = sumOver([...data.distance.keys()], data.distance)
  for (const { contender, db } of stores) {
    suite.fact(`sum.first.${contender.name}`, `${rounded((await timed(() => db.sum!())).ms)} ms`)
    const sum = await db.sum!()
    verify(sum === expected, `${contender.name} sums to ${sum}, not ${expected}`)
    for (let i = 0; i < WARM_RUNS; i++) await db.sum!()
  }
  const entries = stores.map(({ contender, db }) => ({ name: contender.name, turn: () => repeated(() => db.sum!(), suite.sizes.turnMs / 2) }))
  suite.add(await contest('sum', 'ms', suite.sizes.rounds, entries))
}

/** Over and over for `ms`: one run of a millisecond says little. */
async function repeated(fn: () => Promise<unknown>, ms: number): Promise<Turn> {
  const started = performance.now()
  for (let operations = 1; ; operations++) {
    await fn()
    const spent = performance.now() - started
    if (spent >= ms) return { ms: spent, operations }
  }
}

function sumOver(rows: readonly number[], values: Int16Array): number {
  let sum = 0
  for (const row of rows) sum += values[row]!
  return sum
}
