// cli/commands/demo.ts: `varve demo`: the whole store on real data in a minute: load, ask, change, crash, recover, go back, read elsewhere.
//
// Invariant: everything it claims is compared with values that were computed without the store; exit code 0 only if all of it held.
import { mkdtemp, readdir, stat } from 'node:fs/promises'
import { randomInt } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { columns, type Lsn, Store } from '../../index.ts'
import { type Context, type Run, textOption, wholeOption } from '../command.ts'
import { commitAndKill, stageAndKill } from '../demo/crash.ts'
import { beside, evolve } from '../demo/evolve.ts'
import { readForeign } from '../demo/fragment.ts'
import { flightsFile, importFlights } from '../demo/import.ts'
import { REPLICA, replicate } from '../demo/replicate.ts'
import { Report } from '../demo/report.ts'
import { bookingOf, bookings, flights } from '../demo/tables.ts'
import { count, hourOf, numbersOf, type Sums, type Tally } from '../demo/tally.ts'
import { EXIT, UsageError } from '../failure.ts'
import { bytesText, countText, durationText, perSecond, ProgressLine, rateText, tableLines } from '../render.ts'

const COMMITS = 2_000
const KILL_ROUNDS = 5
const WORST_ROUTES = 5
const LATER_MINUTES = 15
const SAMPLE_ROWS = 500
const STAGED_FROM = 1_000_000n
const STAGED_ROWS = 1_000

interface LogEvent {
  readonly code: string
  readonly [field: string]: unknown
}

export const run: Run = async (context, _args, options) => {
  const rowsMax = wholeOption(options, 'rows', 1_000) ?? Number.MAX_SAFE_INTEGER
  const file = await flightsFile(textOption(options, 'data'))
  const path = await placeOf(textOption(options, 'dir'))
  const report = new Report(context.out, context.json)
  const startMs = performance.now()
  const before = await loadAndChange(context, report, path, file, rowsMax)
  await crash(context, report, path)
  await stagedWrite(context, report, path)
  await lookBack(context, report, path, before)
  await evolve(report, path, before, context.signal)
  await replicate(report, path, context.signal)
  report.figure('whole demo', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
  await close(context, report, path)
  return report.ok ? EXIT.ok : EXIT.failed
}

async function placeOf(given: string | undefined): Promise<string> {
  if (given === undefined) return await mkdtemp(join(tmpdir(), 'varve-demo-'))
  const names = await readdir(given).catch(() => [])
  if (names.length > 0) throw new UsageError(`${given} is not empty`, 'Name an empty or a new folder.')
  return given
}

/** What later steps hold their findings against. */
interface Before {
  readonly tally: Tally
  /** The position between the import and the corrections. */
  readonly lsn: Lsn
  readonly corrected: number
}

async function loadAndChange(context: Context, report: Report, path: string, file: string, rowsMax: number): Promise<Before> {
  const store = await Store.open(path, { create: 'must' })
  try {
    await store.create(flights, bookings)
    await report.step('Import flights from Parquet, one commit, with a key index')
    const { tally, commit, fileBytes, ms } = await importFlights(store, file, rowsMax, context.signal)
    const { bytes } = (await store.stats()).tables['flights']!
    await report.say([
      `${countText(commit.rows)} rows in ${durationText(ms)}: ${rateText(commit.rows, ms, 'rows')}, ${(bytes / commit.rows).toFixed(1)} bytes a row on disk`,
    ])
    report.figure('import', perSecond(commit.rows, ms), 'rows/s', `${countText(commit.rows)} rows, ${rateText(commit.rows, ms, 'rows')}`)
    report.figure('flights on disk', bytes, 'bytes', `${bytesText(bytes)}, ${(bytes / commit.rows).toFixed(1)} bytes a row with its key index`)
    report.figure('Parquet file', fileBytes, 'bytes', bytesText(fileBytes))
    await report.check('the store counts the rows of the file', tally.rows, await store.scan(flights).count())
    await sumsHold(report, store, 'delays and distances add up to the sums of the file', tally, 0)
    await worstRoutes(report, store, tally)
    await hoursOfDay(report, store, tally)
    const corrected = await correct(context, report, store, tally)
    return { tally, lsn: commit.lsn, corrected }
  } finally {
    await store.close()
  }
}

async function sumsHold(report: Report, store: Store, claim: string, tally: Tally, corrected: number, at?: Lsn): Promise<void> {
  const sums = await store
    .scan(flights, at === undefined ? {} : { at })
    .aggregate({ rows: 'count', known: { count: 'delay' }, delay: { sum: 'delay' }, distance: { sum: 'distance' } })
  const expected = { rows: tally.rows, known: tally.all.known, delay: tally.all.delay + corrected * LATER_MINUTES, distance: tally.distance }
  await report.check(claim, expected, sums)
}

async function worstRoutes(report: Report, store: Store, tally: Tally): Promise<void> {
  const least = Math.max(5, Math.round(tally.rows / 6_000))
  await report.step(`Question: which routes with at least ${countText(least)} flights are the latest?`)
  const startMs = performance.now()
  const routes = await store
    .scan(flights)
    .aggregate({ flights: 'count', known: { count: 'delay' }, delay: { sum: 'delay' }, mean: { avg: 'delay' } }, { by: ['origin', 'destination'] })
  const ms = performance.now() - startMs
  const worst = routes
    .filter((route) => route.flights >= least && route.mean !== null)
    .toSorted((a, b) => b.mean! - a.mean!)
    .slice(0, WORST_ROUTES)
  const rows = worst.map((route) => [`${route.origin} → ${route.destination}`, countText(route.flights), `${route.mean!.toFixed(1)} min`])
  await report.say(tableLines(['route', 'flights', 'mean delay'], rows, ['left', 'right', 'right']))
  const wrong = routes.filter((route) => {
    const sums = tally.route(route.origin, route.destination)
    const isMean = route.mean === null ? sums.known === 0 : Math.abs(route.mean - sums.delay / sums.known) < 1e-6
    return sums.flights !== route.flights || sums.known !== route.known || sums.delay !== route.delay || !isMean
  })
  await report.check(
    `all ${countText(tally.routeCount)} routes have the flights and mean delays of the file (${durationText(ms)})`,
    [tally.routeCount, 0],
    [routes.length, wrong.length],
  )
  report.figure('group by route', ms, 'ms', durationText(ms))
}

async function hoursOfDay(report: Report, store: Store, tally: Tally): Promise<void> {
  await report.step('Question: at which hours do flights run late? (Arrow batches of two columns, summed here)')
  const hours: Sums[] = Array.from({ length: 24 }, () => ({ flights: 0, known: 0, delay: 0 }))
  const startMs = performance.now()
  for await (const batch of store.scan(flights, { select: ['date', 'delay'] })) {
    const dates = numbersOf((batch.getChild('date') as { toArray(): BigInt64Array }).toArray())
    const delays = batch.getChild('delay') as { get(row: number): number | null }
    for (let row = 0; row < batch.numRows; row++) count(hours[hourOf(dates(row))]!, delays.get(row))
  }
  const ms = performance.now() - startMs
  const means = hours.map(({ delay, known }) => (known === 0 ? 0 : delay / known))
  const most = Math.max(1, ...means)
  const rows = hours.flatMap(({ flights: n }, hour) =>
    n === 0
      ? []
      : [[`${String(hour).padStart(2, '0')}:00`, countText(n), means[hour]!.toFixed(1), '▇'.repeat(Math.max(0, Math.round((means[hour]! / most) * 30)))]],
  )
  await report.say(tableLines(['hour', 'flights', 'mean delay', ''], rows, ['left', 'right', 'right']))
  await report.check(`every hour has the flights and delays of the file (${durationText(ms)})`, tally.hours, hours)
  report.figure('scan two columns', ms, 'ms', `${durationText(ms)}, ${rateText(tally.rows, ms, 'rows')}`)
}

/** Every tenth flight turns out to have been later. */
async function correct(context: Context, report: Report, store: Store, tally: Tally): Promise<number> {
  await report.step(`Upsert 10 %: every tenth flight was ${LATER_MINUTES} minutes later than reported`)
  const line = new ProgressLine('upsert')
  const startMs = performance.now()
  let rows = 0
  async function* corrections(): AsyncGenerator<ReturnType<typeof columns>, undefined> {
    for await (const batch of store.scan(flights)) {
      const ids = (batch.getChild('id') as { toArray(): BigInt64Array }).toArray()
      const picked: number[] = []
      const numbers = numbersOf(ids)
      for (let row = 0; row < ids.length; row++) if (numbers(row) % 10 === 0) picked.push(row)
      const cells = (name: string): unknown[] => {
        const child = batch.getChild(name) as { get(row: number): unknown }
        return picked.map((row) => child.get(row))
      }
      const dates = (batch.getChild('date') as { toArray(): BigInt64Array }).toArray()
      yield columns({
        id: BigInt64Array.from(picked, (row) => ids[row]!),
        date: BigInt64Array.from(picked, (row) => dates[row]!),
        delay: (cells('delay') as (number | null)[]).map((delay) => (delay === null ? null : delay + LATER_MINUTES)),
        distance: cells('distance'),
        origin: cells('origin'),
        destination: cells('destination'),
      })
      rows += picked.length
      line.update(`${countText(rows)} rows`, rows / tally.tenths)
    }
  }
  const commit = await store.upsert(flights, corrections() as never, { message: 'late news', signal: context.signal }).finally(() => line.clear())
  const ms = performance.now() - startMs
  await report.say([`${countText(commit.rows)} rows in ${durationText(ms)}: ${rateText(commit.rows, ms, 'rows')}, one commit at LSN ${commit.lsn}`])
  report.figure('upsert', perSecond(commit.rows, ms), 'rows/s', `${countText(commit.rows)} rows, ${rateText(commit.rows, ms, 'rows')}`)
  await report.check('every tenth flight was written', tally.tenths, commit.rows)
  await sumsHold(report, store, 'the sum of delays grew by exactly that, and no row was added', tally, tally.tenthsKnown)
  return tally.tenthsKnown
}

async function crash(context: Context, report: Report, path: string): Promise<void> {
  await report.step(`Another process makes ${countText(COMMITS)} durable commits at once and is killed (SIGKILL) in the middle`)
  // Another moment in every demo.
  let killAfter = randomInt(COMMITS / 10, COMMITS / 2)
  let outcome = await commitAndKill(path, COMMITS, killAfter)
  // It may have been quicker than the signal: once more, with new rows out of the way and an earlier signal.
  for (let round = 1; round < KILL_ROUNDS && outcome.acknowledged.length === COMMITS; round++) {
    context.signal.throwIfAborted()
    await clearBookings(path)
    killAfter = Math.max(1, Math.floor(killAfter / 4))
    outcome = await commitAndKill(path, COMMITS, killAfter)
  }
  const { acknowledged, ms, signal } = outcome
  await report.check(
    `it was killed after ${countText(acknowledged.length)} acknowledgements, before all ${countText(COMMITS)}`,
    ['SIGKILL', true],
    [signal, acknowledged.length > 0 && acknowledged.length < COMMITS],
  )
  report.figure(
    'commits',
    perSecond(acknowledged.length, ms),
    'commits/s',
    `${countText(acknowledged.length)} acknowledged until the kill, ${rateText(acknowledged.length, ms, 'commits')}`,
  )

  await report.step('Reopen the store')
  const events: LogEvent[] = []
  const startMs = performance.now()
  const store = await Store.open(path, { create: 'never', world: { logger: { log: (event: LogEvent) => events.push(event) } } })
  try {
    const openMs = performance.now() - startMs
    report.figure('reopen after the kill', openMs, 'ms', durationText(openMs))
    const rows = await store.scan(bookings).toArray()
    const found = new Map(rows.map((row) => [row.id, row]))
    const missing = acknowledged.filter((id) => !found.has(id))
    const wrong = rows.filter((row) => JSON.stringify(row, text) !== JSON.stringify(bookingOf(row.id), text))
    await report.say([`open in ${durationText(openMs)}, epoch ${store.epoch}, head at LSN ${store.lsn}`])
    await report.check(`every one of the ${countText(acknowledged.length)} acknowledged commits is there`, 0, missing.length)
    await report.check('every booking that is there is whole and there once', [0, found.size], [wrong.length, rows.length])
    const unacknowledged = found.size - acknowledged.length + missing.length
    await report.say([
      `${countText(unacknowledged)} more had reached the log, but the process died before it said so`,
      `${countText(COMMITS - found.size)} never reached the log whole, and none of them was acknowledged`,
      ...cutLines(events),
    ])
  } finally {
    await store.close()
  }
}

function cutLines(events: readonly LogEvent[]): string[] {
  const torn = events.filter(({ code }) => code === 'log.tornTail')
  if (torn.length === 0) return ['cut: nothing, the last append in the log was whole']
  return torn.map(
    (event) =>
      `cut: ${countText(Number(event['bytes']))} bytes of an append torn at offset ${String(event['offset'])} of ${String(event['segment'])}, kept in ${String(event['copy'])}`,
  )
}

/** A write that outlives the process that staged it. */
async function stagedWrite(context: Context, report: Report, path: string): Promise<void> {
  await report.step(`Another process stages ${countText(STAGED_ROWS)} bookings, seals them, and is killed before it publishes`)
  const id = await stageAndKill(path, STAGED_FROM, STAGED_ROWS)
  const store = await Store.open(path, { create: 'never', signal: context.signal })
  try {
    const before = await store.scan(bookings).count()
    const first = await store.get(bookings, STAGED_FROM)
    const pending = await store.staged()
    await report.say(
      pending.map(
        (write) => `${write.writeId}: ${write.state}, "${write.message}", ${write.mode === 'hold' ? 'kept until somebody decides' : 'decided at open'}`,
      ),
    )
    await report.check('its rows are not there, the write is', [undefined, [id]], [first, pending.map(({ writeId }) => String(writeId))])
    const startMs = performance.now()
    await using write = await store.resume(pending[0]!.writeId)
    const commit = await write.publish()
    report.figure('publish a staged write', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
    await report.say([`published here, at LSN ${commit.lsn}: ${await store.outcome(commit.writeId)}`])
    await report.check('all of its rows are there at once', before + STAGED_ROWS, await store.scan(bookings).count())
  } finally {
    await store.close()
  }
}

async function clearBookings(path: string): Promise<void> {
  const store = await Store.open(path, { create: 'never' })
  try {
    await store.replace(bookings, [])
  } finally {
    await store.close()
  }
}

async function lookBack(context: Context, report: Report, path: string, before: Before): Promise<void> {
  const store = await Store.open(path, { create: 'never', signal: context.signal })
  try {
    await report.step(`Go back: the table as it was at LSN ${before.lsn}, before the corrections`)
    const startMs = performance.now()
    await sumsHold(report, store, 'the sums are those of the file again', before.tally, 0, before.lsn)
    report.figure('sums at an older LSN', performance.now() - startMs, 'ms', durationText(performance.now() - startMs))
    const [then, now] = [await store.get(flights, 0n, { at: before.lsn }), await store.get(flights, 0n)]
    await report.check(
      `flight 0 was ${then?.delay} minutes late then and is ${now?.delay} minutes late now`,
      then?.delay === null ? null : (then?.delay ?? NaN) + LATER_MINUTES,
      now?.delay ?? null,
    )
    await readElsewhere(report, store, path, before)
    await report.step('Verify every byte of the store')
    const checkMs = performance.now()
    const verified = await store.verify({ level: 'all', signal: context.signal })
    const ms = performance.now() - checkMs
    await report.check(
      `${countText(verified.checked.records)} records and ${countText(verified.checked.files)} files (${bytesText(verified.checked.bytes)}) agree with the log (${durationText(ms)})`,
      [],
      verified.problems,
    )
    const { log, tables } = await store.stats()
    report.figure('log', log.bytes, 'bytes', `${bytesText(log.bytes)} in ${log.segments} segments`)
    report.figure(
      'tables',
      Object.values(tables).reduce((sum, { bytes }) => sum + bytes, 0),
      'bytes',
      bytesText(Object.values(tables).reduce((sum, { bytes }) => sum + bytes, 0)),
    )
  } finally {
    await store.close()
  }
  const bytes = await folderBytes(path)
  report.figure('store on disk', bytes, 'bytes', `${bytesText(bytes)}, with every older version, before the vacuum`)
}

async function readElsewhere(report: Report, store: Store, path: string, before: Before): Promise<void> {
  await report.step('Open a file of the store with another reader (the npm package apache-arrow)')
  const foreign = await readForeign(path, SAMPLE_ROWS)
  if (foreign === undefined) {
    await report.check('there is a fragment of flights', true, false)
    return
  }
  await report.say([`${foreign.file}`, `${countText(foreign.rows)} rows, ${bytesText(foreign.bytes)}: ${foreign.columns.join(', ')}`])
  await report.check('the file is named by the SHA-256 of its bytes', foreign.named, foreign.digest)
  // A fragment holds the rows of one commit: those of the import, or the corrected ones.
  const ids = foreign.sample.map(({ id }) => id)
  const [then, now] = [await store.getMany(flights, ids, { at: before.lsn }), await store.getMany(flights, ids)]
  const same = (rows: readonly (object | undefined)[]): number =>
    rows.filter((row, i) => JSON.stringify(sorted(row), text) === JSON.stringify(sorted(foreign.sample[i]), text)).length
  await report.check(`${countText(ids.length)} of its rows, spread over the file, are the rows that varve reads`, ids.length, Math.max(same(then), same(now)))
}

function sorted(row: object | undefined): unknown {
  return row === undefined ? undefined : Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))
}

function text(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/** How this very command is called from here: the built package has a bin, the sources run on the Node of the repository. */
function invocation(): string {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  return import.meta.url.endsWith('.ts') ? `npx node ${relative(process.cwd(), main)}` : 'npx varve'
}

async function folderBytes(path: string): Promise<number> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(entries.filter((entry) => entry.isFile()).map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function close(context: Context, report: Report, path: string): Promise<void> {
  const failed = report.claims.filter(({ ok }) => !ok)
  const varve = invocation()
  const commands = [
    `${varve} tables ${path}`,
    `${varve} scan ${path} flights --where "delay > 300 and origin in ('SFO', 'LAX')" --order-by "delay desc" --limit 10`,
    `${varve} get ${path} flights 42`,
    `${varve} log ${path} --limit 5`,
    `${varve} stats ${path}`,
    `${varve} verify ${path} --against ${beside(path, REPLICA)}`,
    `${varve} export ${path} flights --where "origin = 'SFO'" -o sfo.csv`,
  ]
  if (context.json) {
    await context.out.json({ ok: report.ok, store: path, claims: report.claims, figures: report.figures, commands })
    return
  }
  const figures = report.figures.map((figure) => [figure.name, figure.text])
  await context.out.lines(['', ...tableLines(['figure', 'value'], figures), ''])
  await context.out.lines([
    report.ok
      ? `All ${report.claims.length} claims held.`
      : `${failed.length} of ${report.claims.length} claims did NOT hold: ${failed.map(({ claim }) => claim).join('; ')}`,
  ])
  await context.out.lines([
    '',
    `The store is yours to explore (delete ${path} and the backup and the replica beside it when you are done):`,
    ...commands.map((command) => `  ${command}`),
  ])
}
