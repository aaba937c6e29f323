// Tracing channels as a monitoring tool sees them: by name, through node:diagnostics_channel, without a line of varve.
import { tracingChannel } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'

import { DuplicateKeyError, Store, t, table } from '../../../bindings/index.ts'
import { isTraced, traced } from '../../../bindings/runtime/index.ts'

type Phase = 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error'
interface Seen {
  readonly phase: Phase
  readonly message: Record<string, unknown>
}

const undo: (() => void)[] = []
afterEach(() => {
  for (const each of undo.splice(0)) each()
})

/** What one channel publishes from now on; messages as they are at that moment. */
function watch(name: string): Seen[] {
  const seen: Seen[] = []
  const on = (phase: Phase) => (message: unknown) => void seen.push({ phase, message: { ...(message as object) } })
  const handlers = { start: on('start'), end: on('end'), asyncStart: on('asyncStart'), asyncEnd: on('asyncEnd'), error: on('error') }
  const channel = tracingChannel(name)
  channel.subscribe(handlers)
  undo.push(() => void channel.unsubscribe(handlers))
  return seen
}

const phases = (seen: readonly Seen[]): Phase[] => seen.map(({ phase }) => phase)
const ROUND: Phase[] = ['start', 'end', 'asyncStart', 'asyncEnd']
const seats = table('seats', { id: t.int32(), holder: t.utf8().nullable() }, { key: ['id'] })

describe('traced', () => {
  it('is off until somebody subscribes, and off again afterwards', () => {
    expect(isTraced('get')).toBe(false)
    watch('varve:get')
    expect(isTraced('get')).toBe(true)
    expect(isTraced('scan')).toBe(false)
    for (const each of undo.splice(0)) each()
    expect(isTraced('get')).toBe(false)
  })

  it('passes result and error through, and publishes both', async () => {
    const seen = watch('varve:scan')
    await expect(
      traced(
        'scan',
        { table: 'seats' },
        async () => 3,
        (rows) => ({ rows }),
      ),
    ).resolves.toBe(3)
    expect(phases(seen)).toEqual(ROUND)
    expect(seen[0]!.message).toEqual({ table: 'seats' })
    expect(seen[3]!.message).toMatchObject({ table: 'seats', rows: 3, result: 3 })
    seen.length = 0
    const failure = new RangeError('no')
    await expect(traced('scan', {}, () => Promise.reject(failure))).rejects.toBe(failure)
    expect(phases(seen)).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
    expect(seen[2]!.message).toMatchObject({ error: failure })
  })
})

describe('a store', () => {
  it('traces its open with the id that it found', async () => {
    const seen = watch('varve:open')
    await using store = await Store.open('memory:')
    expect(phases(seen)).toEqual(ROUND)
    expect(seen.at(-1)!.message).toMatchObject({ storeId: store.id, lsn: store.lsn })
  })

  it('traces each commit with table, position, id and rows', async () => {
    await using store = await Store.open('memory:')
    await store.create(seats)
    const seen = watch('varve:commit')
    const done = await store.append(seats, [{ id: 1 }, { id: 2 }])
    expect(phases(seen)).toEqual(ROUND)
    expect(seen[0]!.message).toEqual({ storeId: store.id, table: 'seats' })
    expect(seen[3]!.message).toMatchObject({ storeId: store.id, table: 'seats', lsn: done.lsn, writeId: done.writeId, rows: 2 })
    seen.length = 0
    await expect(store.append(seats, { id: 1 })).rejects.toThrow(DuplicateKeyError)
    expect(phases(seen)).toContain('error')
    seen.length = 0
    await store.update(seats, { id: 1, holder: 'Ada' })
    await store.delete(seats, 2)
    await store.transact((tx) => tx.upsert(seats, { id: 3 }))
    expect(phases(seen)).toEqual([...ROUND, ...ROUND, ...ROUND])
    expect(seen.at(-1)!.message).toMatchObject({ rows: 1, lsn: store.lsn })
    seen.length = 0
    await store.transact((tx) => tx.get(seats, 3))
    expect(seen.at(-1)!.message).not.toHaveProperty('lsn')
  })

  it('traces look-ups and the runs of scans', async () => {
    await using store = await Store.open('memory:')
    await store.create(seats)
    await store.append(seats, [{ id: 1 }, { id: 2 }, { id: 3 }])
    const gets = watch('varve:get')
    const scans = watch('varve:scan')
    await store.get(seats, 1)
    await store.get(seats, 9)
    await store.getMany(seats, [1, 9, 2])
    expect(gets.filter(({ phase }) => phase === 'asyncEnd').map(({ message }) => message['rows'])).toEqual([1, 0, 2])
    const scan = store.scan(seats)
    expect(scans).toEqual([])
    expect(await scan.toArray()).toHaveLength(3)
    expect(await scan.count()).toBe(3)
    expect(phases(scans)).toEqual([...ROUND, ...ROUND])
    expect(scans.at(-1)!.message).toMatchObject({ storeId: store.id, table: 'seats' })
    scans.length = 0
    let rows = 0
    for await (const batch of scan) rows += batch.numRows
    expect(rows).toBe(3)
    expect(phases(scans)).toEqual(ROUND)
    scans.length = 0
    for await (const row of store.scan(seats).rows()) if (row.id === 1) break
    expect(phases(scans)).toEqual(ROUND)
  })
})
