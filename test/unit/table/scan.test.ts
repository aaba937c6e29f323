import { describe, expect, it } from 'vitest'

import { ClosedError } from '../../../bindings/errors.ts'
import { silentLogger, defaultWorld, type LogEvent, type World } from '../../../bindings/runtime/index.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { eq, gt, isNotNull, lt } from '../../../bindings/table/predicate.ts'
import type { Progress } from '../../../bindings/table/types-read.ts'
import { type FakeGroup, fakeScan, fakeVersion } from './fake-version.ts'

const flights = table('flights', {
  id: t.int64(),
  origin: t.utf8().dictionary(),
  delay: t.int16().nullable(),
  distance: t.int32(),
})
type Flight = typeof flights.Row

const row = (id: number, origin = 'SFO', delay: number | null = id, distance = id * 10): Flight => ({ id: BigInt(id), origin, delay, distance })
const rowsFrom = (first: number, count: number): Flight[] => Array.from({ length: count }, (_, i) => row(first + i))
const fragment = (first: number, count: number, more: object = {}): FakeGroup => ({ batches: [{ rows: rowsFrom(first, count), ...more }] })

/** Three fragments of ten rows, ids 0..29. */
const thirty = (more: object = {}): FakeGroup[] => [fragment(0, 10, more), fragment(10, 10, more), fragment(20, 10, more)]

describe('a scan', () => {
  it('does nothing before its first use, and then takes one version for good', async () => {
    let asked = 0
    const version = fakeVersion(flights, thirty())
    const scan = fakeScan(
      flights,
      version,
      {},
      {
        version: () => {
          asked++
          return Promise.resolve(version)
        },
      },
    )
    scan.batches()
    scan.rows()
    expect(asked).toBe(0)
    expect(await scan.count()).toBe(30)
    expect((await scan.toArray()).length).toBe(30)
    expect(asked).toBe(1)
  })

  it('asks for the version again when it could not be had', async () => {
    const version = fakeVersion(flights, thirty())
    let failures = 1
    const scan = fakeScan(flights, version, {}, { version: () => (failures-- > 0 ? Promise.reject(new Error('later')) : Promise.resolve(version)) })
    await expect(scan.count()).rejects.toThrow('later')
    expect(await scan.count()).toBe(30)
  })

  it('hands out the selected columns in the order asked', async () => {
    const scan = fakeScan(flights, fakeVersion(flights, [fragment(3, 1)]), { select: ['distance', 'id'] })
    expect(Object.entries((await scan.first())!)).toEqual([
      ['distance', 30],
      ['id', 3n],
    ])
  })

  it('reads the columns of the predicate first, and the others only where rows pass', async () => {
    const version = fakeVersion(flights, thirty())
    const scan = fakeScan(flights, version, { select: ['id'], where: eq<any, string>('origin', 'LAX') })
    expect(await scan.toArray()).toEqual([])
    expect(version.loads).toEqual([])
    const mixed = fakeVersion(flights, [{ batches: [{ rows: [row(1, 'SFO'), row(2, 'JFK')] }, { rows: [row(3, 'LAX'), row(4, 'JFK')] }] }])
    expect(await fakeScan(flights, mixed, { select: ['id'], where: eq<any, string>('origin', 'LAX') }).toArray()).toEqual([{ id: 3n }])
    expect(mixed.loads).toEqual([['origin'], ['origin'], ['id']])
  })

  it('leaves out groups and batches by their statistics, and filters none of which every row passes', async () => {
    const version = fakeVersion(flights, thirty())
    expect(await fakeScan(flights, version, { select: ['id'], where: gt<any, string>('distance', 95) }).count()).toBe(20)
    expect(version.loads).toEqual([])
    const batches = fakeVersion(flights, [
      {
        batches: [
          { rows: rowsFrom(0, 10), stats: true },
          { rows: rowsFrom(10, 10), stats: true },
        ],
      },
    ])
    expect((await fakeScan(flights, batches, { select: ['id'], where: lt<any, string>('distance', 50) }).toArray()).length).toBe(5)
    expect(batches.loads).toEqual([['distance'], ['id']])
  })

  it('answers count from the version when nothing is filtered', async () => {
    const version = fakeVersion(flights, [fragment(0, 10, { deleted: [1, 2], cold: true })])
    expect(await fakeScan(flights, version).count()).toBe(8)
    expect(await fakeScan(flights, version, { limit: 3 }).count()).toBe(3)
    expect(version.loads).toEqual([])
  })

  it('stops reading at the limit', async () => {
    const version = fakeVersion(flights, thirty({ cold: true }))
    expect((await fakeScan(flights, version, { limit: 12, select: ['id'] }).toArray()).map((r) => r['id'])).toEqual(
      Array.from({ length: 12 }, (_, i) => BigInt(i)),
    )
    expect(version.loads.length).toBe(2)
    expect(await fakeScan(flights, version, { limit: 0 }).toArray()).toEqual([])
  })

  it('reads one batch ahead while the caller works', async () => {
    const version = fakeVersion(flights, thirty({ cold: true }))
    const rows = fakeScan(flights, version, { select: ['id'] }).rows()
    await rows.next()
    expect(version.loads.length + version.pending).toBe(2)
    await rows.return!()
  })

  it('gives batches of at most batchRows', async () => {
    const scan = fakeScan(flights, fakeVersion(flights, [fragment(0, 10, { deleted: [0] }), fragment(10, 4)]), { batchRows: 4 })
    const sizes: number[] = []
    for await (const batch of scan) sizes.push(batch.numRows)
    expect(sizes).toEqual([4, 4, 1, 4])
    const table = await scan.toArrow()
    expect(table.numRows).toBe(13)
    expect(table.toArray().map((r) => Number((r as Flight).id))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
  })

  it('can run with a view that depends on the version', async () => {
    const version = fakeVersion(flights, thirty())
    const { resolveView } = await import('../../../bindings/table/resolve-view.ts')
    expect(await fakeScan(flights, version, { limit: 2 }, { view: (v) => resolveView(flights, v.schema) }).toArray()).toHaveLength(2)
  })
})

describe('leaving a scan early', () => {
  it('by break releases what was read ahead at once', async () => {
    const version = fakeVersion(flights, thirty({ cold: true }))
    const signals: (AbortSignal | undefined)[] = []
    for (const group of version.groups) {
      for (const batch of group.batches) {
        const load = batch.load.bind(batch)
        Object.assign(batch, { load: (columns: never, signal?: AbortSignal) => (signals.push(signal), load(columns, signal)) })
      }
    }
    for await (const _ of fakeScan(flights, version).rows()) break
    expect(signals.at(-1)!.aborted).toBe(true)
    // The load that was given up must not become an unhandled rejection.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
  })

  it('by an aborted signal rejects with its reason before anything happens', async () => {
    let asked = 0
    const version = fakeVersion(flights, thirty())
    const reason = new Error('enough')
    const scan = fakeScan(flights, version, { signal: AbortSignal.abort(reason) }, { version: () => (asked++, Promise.resolve(version)) })
    await expect(scan.toArray()).rejects.toBe(reason)
    await expect(scan.rows().next()).rejects.toBe(reason)
    await expect(scan.aggregate({ n: 'count' })).rejects.toBe(reason)
    expect(asked).toBe(0)
  })

  it('by abort while rows are taken rejects the next one', async () => {
    const controller = new AbortController()
    const rows = fakeScan(flights, fakeVersion(flights, thirty({ cold: true })), { signal: controller.signal }).rows()
    await rows.next()
    controller.abort()
    await expect(rows.next()).rejects.toBe(controller.signal.reason)
    expect(await rows.next()).toEqual({ value: undefined, done: true })
  })

  it('by abort while a batch loads rejects with the reason', async () => {
    const controller = new AbortController()
    const all = fakeScan(flights, fakeVersion(flights, thirty({ cold: true })), { signal: controller.signal }).toArray()
    setImmediate(() => controller.abort(new Error('stop')))
    await expect(all).rejects.toThrow('stop')
  })

  it('by closing the store rejects the next call with ClosedError', async () => {
    let closed = false
    const check = (): void => {
      if (closed) throw new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } })
    }
    const scan = fakeScan(flights, fakeVersion(flights, thirty()), {}, { check })
    const rows = scan.rows()
    await rows.next()
    closed = true
    await expect(rows.next()).rejects.toBeInstanceOf(ClosedError)
    await expect(scan.count()).rejects.toBeInstanceOf(ClosedError)
  })

  it('by a failed load rejects with its error', async () => {
    const version = fakeVersion(flights, thirty({ cold: true }))
    version.failure = new Error('disk')
    await expect(fakeScan(flights, version).toArray()).rejects.toThrow('disk')
  })
})

describe('progress', () => {
  /** A clock that moves 30 ms at every look. */
  const slow = (events: LogEvent[] = []): World => {
    let now = 0
    const world = defaultWorld()
    return { ...world, clock: { ...world.clock, monoMs: () => (now += 30) as never }, logger: { log: (event) => void events.push(event) } }
  }

  it('reports first, last and at most every 100 ms between', async () => {
    const reports: Progress[] = []
    const version = fakeVersion(
      flights,
      Array.from({ length: 20 }, (_, i) => fragment(i * 10, 10)),
    )
    await fakeScan(flights, version, { onProgress: (p) => reports.push(p) }, { world: slow() }).toArray()
    expect(reports[0]).toMatchObject({ phase: 'scan', done: 0, total: 200, unit: 'rows', table: 'flights' })
    expect(reports.at(-1)).toMatchObject({ done: 200, total: 200 })
    expect(reports.length).toBeGreaterThan(3)
    const between = reports.slice(0, -1).map((p) => p.elapsedMs)
    for (let i = 1; i < between.length; i++) expect(between[i]! - between[i - 1]!).toBeGreaterThanOrEqual(100)
  })

  it('drops a listener that throws, logs it once and finishes', async () => {
    const events: LogEvent[] = []
    let calls = 0
    const onProgress = (): void => {
      calls++
      throw new Error('broken')
    }
    const version = fakeVersion(flights, thirty())
    expect((await fakeScan(flights, version, { onProgress }, { world: slow(events) }).toArray()).length).toBe(30)
    expect(calls).toBe(1)
    expect(events).toMatchObject([{ level: 'warn', code: 'progress.listener-failed' }])
  })

  it('gives the event loop its turns', async () => {
    let turns = 0
    const tick = (): void => {
      turns++
      handle = setImmediate(tick)
    }
    let handle = setImmediate(tick)
    const version = fakeVersion(
      flights,
      Array.from({ length: 20 }, (_, i) => fragment(i * 10, 10)),
    )
    await fakeScan(flights, version, {}, { world: { ...slow(), logger: silentLogger } }).toArray()
    expect(turns).toBeGreaterThanOrEqual(10)
    // Also while no row passes.
    turns = 0
    expect(await fakeScan(flights, version, { where: eq<any, string>('delay', -1000) }, { world: slow() }).count()).toBe(0)
    turns = 0
    const hidden = fakeVersion(
      flights,
      Array.from({ length: 20 }, (_, i) => ({ kind: 'memory', batches: [{ rows: rowsFrom(i * 10, 10) }] })),
    )
    expect(await fakeScan(flights, hidden, { where: eq<any, string>('delay', -1000) }, { world: slow() }).toArray()).toEqual([])
    clearImmediate(handle)
    expect(turns).toBeGreaterThanOrEqual(10)
  })
})

describe('what does not fit', () => {
  const version = fakeVersion(flights, thirty())
  it.each([
    [{ select: ['dely'] }, 'flights: no column "dely"; did you mean "delay"?'],
    [{ orderBy: 'dely desc' }, 'flights: no column "dely"; did you mean "delay"?'],
    [{ limit: -1 }, 'scan: limit must be a whole number of at least 0, got -1'],
    [{ limit: 1.5 }, 'scan: limit must be a whole number of at least 0, got 1.5'],
    [{ batchRows: 0 }, 'scan: batchRows must be a whole number of at least 1, got 0'],
    [{ limt: 3 }, 'scan of flights: no option "limt"; did you mean "limit"?'],
    [{ where: isNotNull<any, string>('carrier') }, 'flights: no column "carrier"'],
  ])('%j', async (options, message) => {
    await expect(fakeScan(flights, version, options as never).toArray()).rejects.toThrow(message)
    expect(version.loads).toEqual([])
  })
})

describe('explain', () => {
  it('tells what is read and what is left out, and reads nothing', async () => {
    const version = fakeVersion(flights, [...thirty(), { kind: 'memory', batches: [{ rows: rowsFrom(30, 5), deleted: [0] }] }])
    const explained = await fakeScan(flights, version, {
      select: ['id'],
      where: gt<any, string>('distance', 155),
      orderBy: 'distance desc',
      limit: 3,
    }).explain()
    expect(explained).toMatchObject({ lsn: 7n, fragments: 2, pruned: [{ fragments: 1, by: 'statistics' }], coverage: 0, memoryRows: 4 })
    // Fragment 2 needs distance and id of 10 rows; fragment 3 matches with every row but orders by distance.
    expect(explained.bytes).toBe(40)
    expect(explained.text).toBe(
      [
        'scan of flights at LSN 7: 34 rows',
        '  reads 2 fragments (40 B compressed) and 4 rows in memory',
        '  skips 1 fragment by statistics',
        '  filters by distance; every row of 1 fragment passes',
        '  keeps the first 3 by distance desc',
        '  gives id',
      ].join('\n'),
    )
    expect(version.loads).toEqual([])
  })
})
