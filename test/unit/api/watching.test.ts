import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { columns, eq, lsn, type Meter, newWriteId, ReadOnlyError, type Store, type StoreEvents, t, table, TableNotFoundError } from '../../../bindings/index.ts'
import { collect, failure, opened, PLACES, tempDirectory } from '../store/places.ts'

const items = table('items', { id: t.int32(), n: t.int64().nullable(), note: t.utf8().default('none') }, { key: ['id'] })
const log = table('log', { at: t.timestamp('us'), what: t.json().nullable() })
const row = (id: number, n: bigint | null = null) => ({ id, n })
const bulk = (rows: number, from = 0) => columns({ id: Int32Array.from({ length: rows }, (_, i) => from + i) })

async function fresh(root: string, options: object = {}): Promise<Store> {
  const store = await opened(root, options)
  await store.create(items, log)
  return store
}

describe.each(PLACES)('events, %s', (_name, place) => {
  it('commit: once per commit, in order, with tables, rows and duration', async () => {
    const store = await fresh(place())
    const seen: StoreEvents['commit'][] = []
    store.on('commit', (event) => seen.push(event))
    const results = await Promise.all([store.append(items, [row(1), row(2)]), store.upsert(items, row(2)), store.append(log, { at: 0n })])
    await store.transact((tx) => {
      tx.delete(items, 1)
      tx.append(log, { at: 1n })
    })
    await store.flush()
    expect(seen.map(({ lsn: at, writeId, tables, rows }) => ({ at, writeId, tables: tables.toSorted(), rows }))).toEqual([
      { at: results[0].lsn, writeId: results[0].writeId, tables: ['items'], rows: 2 },
      { at: results[1].lsn, writeId: results[1].writeId, tables: ['items'], rows: 1 },
      { at: results[2].lsn, writeId: results[2].writeId, tables: ['log'], rows: 1 },
      { at: seen[3]!.lsn, writeId: seen[3]!.writeId, tables: ['items', 'log'], rows: 2 },
    ])
    expect(seen.every(({ durationMs }) => typeof durationMs === 'number' && durationMs >= 0)).toBe(true)
  })

  it('commit: the commit is readable when it is told', async () => {
    const store = await fresh(place())
    const seen: unknown[] = []
    store.on('commit', ({ lsn: at }) => {
      seen.push(store.lsn >= at, store.get(items, 1))
    })
    await store.append(items, row(1))
    expect(seen[0]).toBe(true)
    expect(await seen[1]).toMatchObject({ id: 1 })
  })

  it('schema, upkeep and close', async () => {
    const store = await opened(place())
    const seen: unknown[] = []
    store.on('schema', (event) => seen.push(['schema', event]))
    store.on('upkeep', ({ job, table: name, durationMs }) => seen.push(['upkeep', job, name, typeof durationMs]))
    store.on('close', () => seen.push(['close']))
    await store.create(items, log)
    await store.create(items)
    const at = store.lsn
    await store.append(items, row(1))
    await store.flush()
    await store.close()
    expect(seen).toEqual([
      ['schema', { lsn: at, tables: ['items', 'log'] }],
      ['upkeep', 'flush', 'items', 'number'],
      ['upkeep', 'checkpoint', undefined, 'number'],
      ['close'],
    ])
  })

  it('`using` ends a subscription; twice is fine', async () => {
    const store = await fresh(place())
    let heard = 0
    {
      using subscription = store.on('commit', () => heard++)
      expect(subscription).toBeDefined()
      await store.append(items, row(1))
    }
    await store.append(items, row(2))
    expect(heard).toBe(1)
    const again = store.on('commit', () => heard++)
    again[Symbol.dispose]()
    again[Symbol.dispose]()
    await store.append(items, row(3))
    expect(heard).toBe(1)
  })

  it('the same listener twice is heard twice and ended one by one', async () => {
    const store = await fresh(place())
    let heard = 0
    const listener = (): number => heard++
    const first = store.on('commit', listener)
    store.on('commit', listener)
    await store.append(items, row(1))
    expect(heard).toBe(2)
    first[Symbol.dispose]()
    await store.append(items, row(2))
    expect(heard).toBe(3)
  })

  it('a throwing listener is logged and harms neither the writer nor other listeners', async () => {
    const logged: { code: string; event?: unknown }[] = []
    const store = await fresh(place(), { world: { logger: { log: (entry: never) => logged.push(entry) } } })
    let heard = 0
    store.on('commit', () => {
      throw new Error('listener')
    })
    store.on('commit', () => heard++)
    expect(await store.append(items, row(1))).toMatchObject({ rows: 1 })
    expect(heard).toBe(1)
    expect(logged.filter(({ code }) => code === 'events.listener')).toMatchObject([{ event: 'commit', cause: { message: 'listener' } }])
  })

  it('an unknown event is refused', async () => {
    const store = await fresh(place())
    expect(await failure(() => store.on('comit' as never, () => undefined))).toMatchObject({ code: 'options.invalid' })
  })
})

it('checkpointInvalid tells of a checkpoint that fails its check, also to those who listen once the store is open', async () => {
  const root = tempDirectory()
  const store = await fresh(root)
  await store.append(items, row(1))
  await store.flush()
  await store.close()
  const [name] = readdirSync(join(root, 'checkpoints'))
  const file = join(root, 'checkpoints', name!)
  const bytes = readFileSync(file)
  bytes[bytes.length >> 1]! ^= 1
  writeFileSync(file, bytes)
  const logged: { code: string }[] = []
  const again = await opened(root, { world: { logger: { log: (entry: never) => logged.push(entry) } } })
  const heard: string[] = []
  again.on('checkpointInvalid', ({ file: damaged }) => heard.push(damaged))
  await new Promise((resolve) => setImmediate(resolve))
  expect(heard).toEqual([`checkpoints/${name}`])
  expect(logged.some(({ code }) => code === 'checkpoint.invalid')).toBe(true)
  expect(await again.get(items, 1)).toEqual({ id: 1, n: null, note: 'none' })
})

it('checkpointInvalid tells of one that a read of the past meets', async () => {
  const root = tempDirectory()
  const store = await fresh(root)
  await store.append(items, row(1))
  await store.flush()
  const { lsn: then } = store
  await store.append(items, row(2))
  const [name] = readdirSync(join(root, 'checkpoints'))
  const file = join(root, 'checkpoints', name!)
  writeFileSync(file, readFileSync(file).fill(0, 50, 60))
  const heard: string[] = []
  store.on('checkpointInvalid', ({ file: damaged }) => heard.push(damaged))
  expect(await store.scan(items, { at: then }).count()).toBe(1)
  expect(heard).toEqual([`checkpoints/${name}`])
})

describe.each(PLACES)('meters, %s', (_name, place) => {
  it('count and record under the documented names, numbers only', async () => {
    const counts = new Map<string, number>()
    const values: unknown[] = []
    const note = (name: string, value: number, attributes?: Record<string, string>): void => {
      counts.set(name, (counts.get(name) ?? 0) + value)
      values.push(value, ...Object.values(attributes ?? {}).map((text) => (typeof text === 'string' ? 0 : text)))
      for (const key of Object.keys(attributes ?? {})) expect(['table', 'root']).toContain(key)
    }
    const meter: Meter = { add: note, record: note }
    const root = place()
    const store = await fresh(root, { meter, memory: { cacheBytes: 0 } })
    await Promise.all(Array.from({ length: 20 }, (_, id) => store.append(items, row(id, 1n))))
    await failure(() =>
      store.transact(
        async (tx) => {
          await tx.get(items, 1)
          await store.upsert(items, row(1))
          tx.delete(items, 1)
        },
        { retries: 1 },
      ),
    )
    await store.flush()
    await store.append(items, bulk(20_000, 1000))
    for (let i = 0; i < 3; i++) expect(await store.scan(items, { where: eq('id', 5) }).count()).toBe(1)
    for (let id = 0; id < 20; id++) await store.get(items, id)
    for (let id = 5_000_000; id < 5_000_050; id++) await store.get(items, id)
    await store.stats()
    await store.close()
    const documented = [
      'varve.commits',
      'varve.commit.duration',
      'varve.group.size',
      'varve.sync.duration',
      'varve.log.bytes',
      'varve.read.bytes',
      'varve.cache.hits',
      'varve.cache.misses',
      'varve.bloom.skips',
      'varve.conflicts',
      'varve.flush.rows',
      'varve.kernel.bytes',
    ]
    for (const name of counts.keys()) expect(documented).toContain(name)
    expect(values.every((value) => typeof value === 'number' && Number.isFinite(value))).toBe(true)
    expect(counts.get('varve.commits')).toBe(23)
    expect(counts.get('varve.conflicts')).toBe(2)
    expect(counts.get('varve.flush.rows')).toBe(20)
    expect(counts.get('varve.log.bytes')).toBeGreaterThan(1000)
    expect([...counts.keys()].toSorted()).toEqual(documented.filter((name) => name !== 'varve.bloom.skips' || counts.has(name)).toSorted())
  })

  it('a throwing meter harms nothing', async () => {
    const fail = (): never => {
      throw new Error('meter')
    }
    const store = await fresh(place(), { meter: { add: fail, record: fail } })
    expect(await store.append(items, row(1))).toMatchObject({ rows: 1 })
    await store.flush()
    expect(await store.get(items, 1)).toMatchObject({ id: 1 })
  })
})

describe.each(PLACES)('stats, tables, pins, audit, verify, %s', (_name, place) => {
  it('stats counts rows in memory and in fragments, hidden rows, coverage, log and memory', async () => {
    const store = await fresh(place())
    await store.append(items, [row(1), row(2), row(3), row(4)])
    await store.append(log, { at: 1n })
    const young = await store.stats()
    expect(young.lsn).toBe(store.lsn)
    expect(young.durableLsn).toBe(store.lsn)
    expect(young.tables['items']).toMatchObject({ rows: 4, memoryRows: 4, fragments: 0, bytes: 0, deletedShare: 0, coverage: { id: { rows: 4, share: 1 } } })
    expect(young.tables['log']).toMatchObject({ rows: 1, memoryRows: 1, coverage: {} })
    expect(young.log.segments).toBeGreaterThan(0)
    expect(young.log.bytes).toBeGreaterThan(0)
    expect(young.log.tail).toBe(0n)
    expect(young.memory.writeBytes).toBeGreaterThan(0)
    expect(young.memory.kernelBytes).toBeGreaterThan(0)
    expect(young).toMatchObject({ pins: 0, pending: 0, supersededOutcomes: 0 })
    await store.flush()
    await store.delete(items, 2)
    await store.append(items, row(9))
    const old = await store.stats()
    expect(old.tables['items']).toMatchObject({ rows: 4, memoryRows: 1, fragments: 1, deletedShare: 0.25, coverage: { id: { rows: 4, share: 1 } } })
    expect(old.tables['items']!.bytes).toBeGreaterThan(0)
    expect(old.log.bytesSinceCheckpoint).toBeLessThan(old.log.bytes)
    expect(JSON.stringify(old.tables)).toBeTypeOf('string')
  })

  it('tables() describes the stored definition, table(name) is one to read and write with', async () => {
    const store = await fresh(place())
    await store.append(items, row(1, 2n))
    expect(await store.tables()).toEqual([
      {
        name: 'items',
        rows: 1,
        key: ['id'],
        columns: [
          { name: 'id', type: 'int32', nullable: false },
          { name: 'n', type: 'int64', nullable: true },
          { name: 'note', type: 'utf8', nullable: false, default: 'none' },
        ],
        since: 2n,
      },
      {
        name: 'log',
        rows: 0,
        key: [],
        columns: [
          { name: 'at', type: expect.stringContaining('timestamp'), nullable: false },
          { name: 'what', type: 'json', nullable: true },
        ],
        since: 2n,
      },
    ])
    const stored = await store.table('items')
    expect(stored.name).toBe('items')
    expect(stored.key).toEqual(['id'])
    expect(Object.keys(stored.columns)).toEqual(['id', 'n', 'note'])
    expect(await store.scan(stored).toArray()).toEqual([{ id: 1, n: 2n, note: 'none' }])
    await store.append(stored, { id: 2 })
    expect(await store.get(items, 2)).toEqual({ id: 2, n: null, note: 'none' })
    expect(await failure(() => store.table('nope'))).toBeInstanceOf(TableNotFoundError)
  })

  it('tables() gives defaults as rows have them', async () => {
    const store = await opened(place())
    const data = Uint8Array.of(1, 2)
    const full = table('full', {
      big: t.int64().default(2n ** 60n),
      day: t.date().default('2026-11-21'),
      at: t.timestamp('us').default(5n),
      price: t.decimal128(10, 2).default('1.5'),
      data: t.binary().default(data),
      doc: t.json().default({ a: 1 }),
      list: t.list(t.int8()).default([1]),
      f: t.float64().default(NaN),
    })
    await store.create(full)
    await store.append(full, {})
    const defaults = { big: 2n ** 60n, day: '2026-11-21', at: 5n, price: '1.50', data, doc: { a: 1 }, list: [1], f: NaN }
    expect(await store.scan(full).first()).toEqual(defaults)
    const [info] = await store.tables()
    expect(Object.fromEntries(info!.columns.map(({ name, default: value }) => [name, value]))).toEqual(defaults)
    await store.append(await store.table('full'), {})
    expect(await store.scan(full).toArray()).toEqual([defaults, defaults])
  })

  it('audit lists every record from a position on, by kind', async () => {
    const root = place()
    const store = await fresh(root)
    const done = await store.append(items, row(1), { author: 'ada' })
    await store.flush()
    const rows = await collect(store.audit())
    expect(rows.map(({ kind }) => kind)).toEqual(['epoch', 'schema', 'commit', 'flush'])
    expect(rows.map(({ lsn: at }) => at)).toEqual([1n, 2n, 3n, 4n])
    expect(rows[2]).toMatchObject({ lsn: done.lsn, writeId: done.writeId, time: done.time, by: 'ada', tables: ['items'] })
    expect(rows[1]).toMatchObject({ tables: ['items', 'log'] })
    // An epoch has no time: that of the record before it, or of the next where it is the first.
    expect(rows[0]!.time).toEqual(rows[1]!.time)
    expect(rows[1]!.time.getTime()).toBeGreaterThan(0)
    for (const kinds of [['comit'], ['commit', 7], 'commit', []] as never[]) {
      const listed = collect(store.audit({ kinds }))
      if ((kinds as unknown[]).length === 0) await expect(listed).resolves.toEqual([])
      else
        await expect(listed).rejects.toMatchObject({ code: 'options.invalid', key: 'kinds', message: expect.stringContaining('rolledBack, orphanDiscarded') })
    }
    expect(rows[3]).toMatchObject({ by: 'upkeep', tables: ['items'] })
    expect((await collect(store.audit({ from: lsn(2) }))).map(({ kind }) => kind)).toEqual(['commit', 'flush'])
    expect((await collect(store.audit({ kinds: ['schema', 'flush'] }))).map(({ kind }) => kind)).toEqual(['schema', 'flush'])
    await store.close()
    const again = await opened(root)
    const later = await collect(again.audit({ from: lsn(4) }))
    expect(later.map(({ kind, time }) => [kind, time])).toEqual([['epoch', rows[3]!.time]])
  })

  it('verify checks the log, the files, or all; the digest is of the head', async () => {
    const store = await fresh(place())
    await store.append(items, bulk(20_000))
    await store.delete(items, [1, 2, 3])
    await store.flush()
    const reports = []
    for (const level of ['log', 'files', 'all'] as const) {
      const progress: { phase: string; done: number; unit: string }[] = []
      const report = await store.verify({ level, onProgress: (p) => progress.push(p) })
      expect(report).toMatchObject({ ok: true, lsn: store.lsn, problems: [] })
      expect(report.digest).toHaveLength(32)
      expect(report.checked.records).toBe(Number(store.lsn))
      expect(progress.length).toBeGreaterThan(0)
      reports.push(report)
    }
    const [ofLog, ofFiles, ofAll] = reports
    expect(ofFiles!.digest).toEqual(ofLog!.digest)
    expect(ofAll!.digest).toEqual(ofLog!.digest)
    expect(ofFiles!.checked.files).toBeGreaterThan(ofLog!.checked.files)
    expect(ofAll!.checked.bytes).toBeGreaterThanOrEqual(ofFiles!.checked.bytes)
    expect(await failure(() => store.verify({ level: 'deep' as never }))).toMatchObject({ code: 'options.invalid' })
    const reason = new Error('stop')
    expect(await failure(() => store.verify({ signal: AbortSignal.abort(reason) }))).toBe(reason)
  })

  it('waitCommitted resolves at once for what is there, rejects with the reason of its signal', async () => {
    const store = await fresh(place())
    const done = await store.append(items, row(1))
    await store.waitCommitted(done.lsn)
    const abort = new AbortController()
    const reason = new Error('no longer')
    const waiting = store.waitCommitted(lsn(done.lsn + 1n), { signal: abort.signal })
    waiting.catch(() => undefined)
    abort.abort(reason)
    expect(await failure(() => waiting)).toBe(reason)
    const next = store.waitCommitted(lsn(done.lsn + 1n))
    await store.append(items, row(2))
    await next
  })

  it('sync is a barrier under buffered durability', async () => {
    const root = place()
    const store = await fresh(root, { durability: 'buffered', bufferedSyncMs: 60_000 })
    const done = await store.append(items, row(1))
    expect(await store.sync()).toBe(done.lsn)
    expect((await store.stats()).durableLsn).toBe(done.lsn)
  })
})

describe.each(PLACES)('a read-only handle, %s', (_name, place) => {
  it('answers every write with ReadOnlyError', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(items, row(1))
    const reader = (await opened(root, { readOnly: true })) as unknown as Store
    expect(reader.readOnly).toBe(true)
    const calls: (() => unknown)[] = [
      () => reader.create(items),
      () => reader.append(items, row(2)),
      () => reader.upsert(items, row(2)),
      () => reader.update(items, { id: 1, n: 1n }),
      () => reader.delete(items, 1),
      () => reader.deleteWhere(items, eq('id', 1)),
      () => reader.replace(items, []),
      () => reader.transact(() => 1),
      () => reader.flush(),
      () => reader.sync(),
    ]
    for (const call of calls) {
      const error = await failure(call)
      expect(error).toBeInstanceOf(ReadOnlyError)
      expect(error).toMatchObject({ code: 'store.read-only', kind: 'invalid' })
    }
    expect(await store.scan(items).count()).toBe(1)
  })

  it('reads all that a writer reads: gets, scans, snapshots, tables, stats, audit, verify, outcome', async () => {
    const root = place()
    const store = await fresh(root)
    const id = newWriteId()
    await store.append(items, bulk(20_000), { writeId: id })
    await store.update(items, { id: 3, n: 9n })
    await using reader = await opened(root, { readOnly: true })
    expect(reader.id).toBe(store.id)
    expect(reader.lsn).toBe(store.lsn)
    expect(await reader.get(items, 3)).toEqual({ id: 3, n: 9n, note: 'none' })
    expect(await reader.scan(items).count()).toBe(20_000)
    await using snapshot = await reader.snapshot()
    expect(snapshot.getSync(items, 3)).toEqual({ id: 3, n: 9n, note: 'none' })
    expect((await reader.tables())[0]?.rows).toBe(20_000)
    expect((await reader.stats()).tables['items']?.rows).toBe(20_000)
    expect(await reader.outcome(id)).toBe('published')
    expect((await collect(reader.audit())).length).toBe(Number(store.lsn))
    expect(await reader.verify({ level: 'all' })).toMatchObject({ ok: true, problems: [] })
    expect((await reader.get(items, 3, { at: lsn(store.lsn - 1n) }))?.n).toBe(null)
  })

  it('follows by itself; with follow: false only by refresh()', async () => {
    const root = place()
    const store = await fresh(root)
    const following = await opened(root, { readOnly: true })
    const standing = await opened(root, { readOnly: true, follow: false })
    await using before = await standing.snapshot()
    const done = await store.append(items, row(1))
    await following.waitCommitted(done.lsn)
    expect(await following.has(items, 1)).toBe(true)
    expect(standing.lsn).toBeLessThan(done.lsn)
    expect(await standing.has(items, 1)).toBe(false)
    expect(await standing.refresh()).toBe(done.lsn)
    expect(await standing.has(items, 1)).toBe(true)
    expect(await before.has(items, 1)).toBe(false)
    // Through flushes, bulk loads and new tables.
    await store.flush()
    await store.append(items, bulk(20_000, 100))
    const later = table('later', { a: t.int8() })
    await store.create(later)
    await store.append(later, { a: 1 })
    await store.replace(items, [row(7)])
    expect(await standing.refresh()).toBe(store.lsn)
    expect(await standing.scan(items).toArray()).toEqual([{ id: 7, n: null, note: 'none' }])
    expect(await standing.scan(later).count()).toBe(1)
    expect(await store.refresh()).toBe(store.lsn)
  })

  it('goes on when the writer closes and another one opens', async () => {
    const root = place()
    const first = await fresh(root)
    await first.append(items, row(1))
    await using reader = await opened(root, { readOnly: true })
    await first.close()
    expect(await reader.has(items, 1)).toBe(true)
    const second = await opened(root)
    await second.append(items, row(2))
    await reader.refresh()
    expect(await reader.has(items, 2)).toBe(true)
    expect(reader.epoch).toBe(second.epoch)
  })

  it('opens beside no writer at all, and holds no lock', async () => {
    const root = place()
    const store = await fresh(root)
    await store.append(items, row(1))
    await store.close()
    await using reader = await opened(root, { readOnly: true })
    expect(await reader.has(items, 1)).toBe(true)
    const writer = await opened(root, { openRetry: { delaysMs: [] } })
    await writer.append(items, row(2))
    await reader.refresh()
    expect(await reader.has(items, 2)).toBe(true)
  })
})
