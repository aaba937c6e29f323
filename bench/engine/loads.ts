// bench/engine/loads.ts: three million rows in, point reads over them, a tenth of them replaced, and what they occupy afterwards.
//
// The stores of the last load round stay open for the reads and the upserts. varve and LanceDB take the Arrow table as it is; the others are given its columns
// as JavaScript values, taken apart beforehand: that part of their work is not timed.
import { rmSync } from 'node:fs'

import type { Contender, Database } from '../contender.ts'
import { contest, timed, verify } from '../contest.ts'
import { changed, type Flights, flights3m, randomOf } from '../data.ts'
import { diskBytes, freshFolder, settleDisk } from '../machine.ts'
import { rounded } from '../report.ts'
import { type Suite, takingPart } from '../suite.ts'

const UPSERT_ROWS = 300_000
const KEYS = 2_000_000
const GET_BATCH = 100

interface Loaded {
  readonly contender: Contender
  folder: string
  db: Database | undefined
}

export async function loads(suite: Suite): Promise<void> {
  const data = await flights3m()
  const loaded: Loaded[] = takingPart(suite, 'load').map((contender) => ({ contender, folder: '', db: undefined }))
  await loadTask(suite, loaded, data)
  await getTask(suite, loaded, data)
  await upsertTask(suite, loaded)
  for (const { contender, db, folder } of loaded) {
    await db!.close()
    suite.fact(`bytes-after-upserts.${contender.name}`, diskBytes(folder))
    rmSync(folder, { recursive: true, force: true })
  }
}

async function loadTask(suite: Suite, loaded: readonly Loaded[], data: Flights): Promise<void> {
  const entries = loaded.map((each) => ({
    name: each.contender.name,
    turn: async () => {
      await discard(each)
      each.folder = freshFolder()
      each.db = await each.contender.open(each.folder)
      settleDisk()
      return timed(() => each.db!.load!(data), data.rows)
    },
  }))
  suite.add(await contest('load', 'rows/s', suite.sizes.rounds, entries))
  for (const each of loaded) {
    const { contender, db } = each
    const count = await db!.count()
    verify(count === data.rows, `${contender.name} holds ${count} of ${data.rows} rows`)
    for (const i of [0, 1_234_567, data.rows - 1]) await verifyRow(contender.name, db!, data, i)
    await db!.close()
    suite.fact(`bytes-per-row.${contender.name}`, rounded(diskBytes(each.folder) / data.rows))
    each.db = await contender.open(each.folder)
  }
}

async function getTask(suite: Suite, loaded: readonly Loaded[], data: Flights): Promise<void> {
  const random = randomOf(4711)
  const ids = Int32Array.from({ length: KEYS }, () => random() % data.rows)
  const gets = (which: 'gets' | 'getsSync') => (each: Loaded) => {
    let at = 0
    return {
      name: which === 'gets' ? each.contender.name : `${each.contender.name}-sync`,
      turn: () => getsFor(suite.sizes.turnMs, (n) => each.db![which]!(ids.subarray((at = at + n > KEYS ? 0 : at), (at += n))), true),
    }
  }
  for (const each of loaded) await each.db!.gets!(ids.subarray(0, each.contender.skips?.['slow-gets'] === undefined ? 20_000 : 100))
  suite.add(await contest('get-present', 'gets/s', suite.sizes.rounds, loaded.map(gets('gets'))))
  const both = loaded.filter(({ db }) => db!.getsSync !== undefined)
  const sync = await contest('get-present-sync', 'gets/s', suite.sizes.rounds, both.map(gets('getsSync')))
  suite.fact('get-present.sync', `${sync.median} gets/s`)
}

/** Batches of reads until `ms` have passed; `found` is what each of them must give. */
export async function getsFor(ms: number, batch: (n: number) => Promise<number>, found: boolean): Promise<{ ms: number; operations: number }> {
  let operations = 0
  let hits = 0
  let n = GET_BATCH
  const started = performance.now()
  for (;;) {
    const before = performance.now()
    hits += await batch(n)
    operations += n
    const now = performance.now()
    if (now - started >= ms) {
      verify(hits === (found ? operations : 0), `${hits} of ${operations} keys were found`)
      return { ms: now - started, operations }
    }
    // Large batches for fast engines, so that looking at the clock costs nothing; small ones for slow ones, so that a turn ends in time.
    if (now - before < 2) n = Math.min(n * 2, 100_000)
  }
}

async function upsertTask(suite: Suite, loaded: readonly Loaded[]): Promise<void> {
  const { rounds } = suite.sizes
  const rows: Flights[] = []
  for (let round = 0; round < rounds; round++) rows.push(await changed(UPSERT_ROWS, 100 + round))
  const entries = loaded.map(({ contender, db }) => ({
    name: contender.name,
    turn: async (round: number) => {
      settleDisk()
      return timed(() => db!.upsert!(rows[round]!), UPSERT_ROWS)
    },
  }))
  suite.add(await contest('upsert', 'rows/s', rounds, entries))
  for (const { contender, db } of loaded) {
    for (const i of [0, UPSERT_ROWS - 1]) await verifyRow(contender.name, db!, rows[rounds - 1]!, i)
  }
}

async function verifyRow(who: string, db: Database, data: Flights, i: number): Promise<void> {
  const row = await db.get(data.id[i]!)
  const same =
    row?.date === data.date[i] &&
    row?.delay === data.delay[i] &&
    row?.distance === data.distance[i] &&
    row?.origin === data.origin[i] &&
    row?.destination === data.destination[i]
  verify(same, `${who}: row ${data.id[i]!} is ${JSON.stringify(row)}`)
}

async function discard(each: Loaded): Promise<void> {
  if (each.db === undefined) return
  await each.db.close()
  each.db = undefined
  rmSync(each.folder, { recursive: true, force: true })
}
