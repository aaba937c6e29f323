// Many writers on one object log (log.md section 8, "Many writers"), and what trim, pins and readers mean there.
import { beforeEach, describe, expect, it } from 'vitest'

import { CorruptionError, FencedError, HistoryUnavailableError, LsnTakenError, PinRefusedError } from '../../bindings/errors.ts'
import { lsn, type Lsn, type ObjectWriteLog } from '../../bindings/log/index.ts'
import { FP } from '../../bindings/runtime/index.ts'
import { chainOf, idOf, idsOf, readAll, recordsOf } from '../../bindings/testing/contracts/log-records.ts'
import { FaultyRoot } from '../../bindings/testing/faulty-root.ts'
import { Bench, type Handle, recordOf } from './object-log-helpers.ts'

const WEEK_MS = 7 * 24 * 3_600_000
const name = (first: number): string => `log/${String(first).padStart(20, '0')}`

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})

/** What a listener of this log was told. */
function listen(log: ObjectWriteLog): string[] {
  const told: string[] = []
  log.listen({
    durable: (last) => void told.push(`durable ${last}`),
    failed: (error) => void told.push(`failed ${(error as { code?: string }).code}`),
    rejected: (first, error) => void told.push(`rejected ${first} ${(error as { code?: string }).code} head ${(error as { head?: bigint }).head}`),
    foreign: (last) => void told.push(`foreign ${last}`),
    unknown: (first, last) => void told.push(`unknown ${first}..${last}`),
  })
  return told
}

describe('shared writers', () => {
  it('8 writers x 100 appends: one chain of 800 records and 8 epochs, each writer in its own order, no error', async () => {
    const writers = await Promise.all(Array.from({ length: 8 }, () => bench.writer()))
    expect(new Set(writers.map(({ log }) => log.epoch)).size).toBe(8)
    await bench.elapse(
      Promise.all(
        writers.map(async ({ commit }, w) => {
          for (let i = 0; i < 100; i++) await commit(w * 1000 + i)
        }),
      ),
    )
    const cold = await bench.reader()
    expect(cold.head).toBe(808n)
    const ids = idsOf(await readAll(cold, lsn(0)))
    expect(ids).toHaveLength(800)
    for (let w = 0; w < 8; w++) {
      const own = ids.filter((id) => Math.floor(id / 1000) === w)
      expect(own).toEqual(Array.from({ length: 100 }, (_, i) => w * 1000 + i))
    }
    const chain = await chainOf(cold)
    for (const { log } of writers) expect(await log.digestAt(log.head)).toEqual(chain[Number(log.head)])
  })

  it('a loser gives everything it queued back, once, and goes on only for who has read the winners', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await b.log.refresh()
    await a.log.refresh()
    const told = listen(a.log)
    const won = await b.log.append([recordOf(1), recordOf(2)], { expect: b.log.head })
    const first = a.log.append([recordOf(10)], { expect: lsn(2) })
    const second = a.log.append([recordOf(11), recordOf(12)])
    a.log.submit([recordOf(13)])
    await expect(first).rejects.toMatchObject({ code: 'log.lsn-taken', head: won.last })
    await expect(second).rejects.toBeInstanceOf(LsnTakenError)
    expect(told).toEqual([`rejected 3 log.lsn-taken head ${won.last}`])
    expect([a.log.head, a.log.submitted]).toEqual([won.last, won.last])
    expect(() => a.log.submit([recordOf(14)])).toThrow(LsnTakenError)
    await expect(a.log.append([recordOf(14)], { expect: lsn(3) })).rejects.toBeInstanceOf(LsnTakenError)
    // The winners are there to be read; then the append is taken, and those behind it need say nothing.
    expect(idsOf(await readAll(a.log, lsn(2)))).toEqual([1, 2])
    const again = [a.log.append([recordOf(10)], { expect: a.log.head }), a.log.append([recordOf(11)])]
    expect((await Promise.all(again)).map(({ first }) => first)).toEqual([5n, 6n])
    expect(told.slice(1)).toEqual(['durable 6'])
  })

  it('refresh tells of records of others; what was queued for their LSNs is given back instead', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    const told = listen(a.log)
    await b.commit(1)
    expect(await a.log.refresh()).toBe(3n)
    expect(await a.log.refresh()).toBe(3n)
    expect(told).toEqual(['foreign 3'])
    expect(() => a.log.submit([recordOf(5)])).toThrow(LsnTakenError)
    await b.commit(2)
    // The look begins before the queued record is on its way.
    const looking = a.log.refresh()
    a.log.submit([recordOf(6)], { expect: lsn(3) })
    await looking
    expect(told.slice(1)).toEqual(['rejected 4 log.lsn-taken head 4'])
    expect(idsOf(await readAll(await bench.reader(), lsn(0)))).toEqual([1, 2])
  })

  it('a slot holds at most 256 records or 1 MiB of them; a larger append has one of its own', async () => {
    const { log, root } = await bench.writer()
    const puts = (): number => root.calls.filter(({ method, name }) => method === 'putIfAbsent' && name.startsWith('log/')).length
    const before = puts()
    await bench.elapse(Promise.all(Array.from({ length: 1000 }, (_, i) => log.append([recordOf(i)]))))
    expect(puts() - before).toBe(4)
    const large = { kind: 2, payload: new Uint8Array(300 * 1024) } as const
    await bench.elapse(Promise.all(Array.from({ length: 8 }, () => log.append([large]))))
    expect(puts() - before).toBe(4 + 3)
    await bench.elapse(log.append(Array.from({ length: 700 }, (_, i) => recordOf(i))))
    expect(puts() - before).toBe(8)
    expect(log.segments).toBe(9)
  })

  it('two that open at once have different epochs', async () => {
    const logs = await Promise.all(Array.from({ length: 6 }, () => bench.writer()))
    expect(logs.map(({ log }) => log.epoch).sort()).toEqual([1n, 2n, 3n, 4n, 5n, 6n])
  })
})

describe('exclusive writers', () => {
  it('Given an exclusive writer opened beside one that stands still, then that one is fenced at its next append and at a look', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.commit(1)
    const told = listen(a.log)
    const successor = await bench.writer({ writers: 'exclusive' })
    await successor.commit(2)
    await expect(a.log.append([recordOf(3)], { expect: a.log.head })).rejects.toMatchObject({ code: 'log.fenced', held: 1n, seen: 3n })
    expect(told).toEqual(['failed log.fenced'])
    expect(() => a.log.submit([recordOf(4)])).toThrow(FencedError)
    await expect(b.log.refresh()).rejects.toBeInstanceOf(FencedError)
    await a.log.close()
    expect(idsOf(await readAll(await bench.reader(), lsn(0)))).toEqual([1, 2])
    expect((await bench.reader()).lineage).toEqual([{ epoch: 3n, firstLsn: 4n }])
  })

  it('a shared writer that opens later fences nobody', async () => {
    const exclusive = await bench.writer({ writers: 'exclusive' })
    const shared = await bench.writer()
    await shared.commit(1)
    await exclusive.commit(2)
    await shared.commit(3)
    expect(idsOf(await readAll(await bench.reader(), lsn(0)))).toEqual([1, 2, 3])
  })

  it('a record of a lower epoch behind an exclusive one is damage', async () => {
    const a = await bench.writer()
    await a.commit(1)
    const lower = (await bench.memory.get(name(2))).bytes
    await (await bench.writer({ writers: 'exclusive' })).commit(2)
    // By the protocol this cannot be: its writer would have read the fence first.
    const { bytes } = await bench.memory.get(name(4))
    bytes.set(lower.subarray(32, 40), 32)
    await bench.memory.put(name(4), bytes)
    await expect(bench.reader()).rejects.toBeInstanceOf(CorruptionError)
  })
})

describe('trim', () => {
  /** `from` .. `to` records of one writer. */
  async function fill({ commit }: Handle, from: number, to: number): Promise<void> {
    for (let i = from; i <= to; i++) await commit(i)
  }

  it('raises the floor, then lays tombstones; names go 7 days later', async () => {
    const a = await bench.writer()
    await fill(a, 2, 20)
    const steps: string[] = []
    a.failpoints.arm(FP.log.afterFloor, {
      run: async () => steps.push(`floor, slot of ${(await bench.memory.get(name(5))).bytes.length > 0 ? 'bytes' : 'none'}`),
    })
    expect(await a.log.trim(lsn(10))).toBe(10n)
    expect(steps).toEqual(['floor, slot of bytes'])
    expect((await bench.memory.get(name(10))).bytes).toHaveLength(0)
    expect((await bench.memory.get(name(11))).bytes.length).toBeGreaterThan(0)
    bench.clock.step(WEEK_MS - 1000)
    await a.log.trim(lsn(12))
    expect(await bench.memory.exists(name(10))).toBe(true)
    bench.clock.step(2000)
    await a.log.trim(lsn(14))
    expect(await bench.memory.exists(name(10))).toBe(false)
    expect(await bench.memory.exists(name(12))).toBe(true)
    expect((await bench.reader()).tail).toBe(14n)
    expect(idsOf(await readAll(await bench.reader(), lsn(14)))).toEqual([15, 16, 17, 18, 19, 20])
  })

  it.each([FP.log.trim, FP.log.afterFloor, FP.log.betweenTombstones])(
    'a process that ends at %s leaves T old or new, and the next trim ends what it began',
    async (point) => {
      const a = await bench.writer()
      await fill(a, 2, 20)
      const digest = await a.log.digestAt(lsn(10))
      a.failpoints.arm(point, { run: () => new Promise(() => {}) })
      void a.log.trim(lsn(10))
      await bench.clock.advance(100)
      const b = await bench.writer()
      expect(b.log.tail).toBe(point === FP.log.trim ? 0n : 10n)
      expect(await b.log.digestAt(lsn(10))).toEqual(digest)
      await b.log.trim(lsn(12))
      for (let first = 1; first <= 12; first++) expect((await bench.memory.get(name(first))).bytes, name(first)).toHaveLength(0)
    },
  )

  it('Given a writer parked across trim and the deletion of the name it was about to take, then its win is void: one record, at the true tail', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    let release!: () => void
    const parked = new Promise<void>((resolve) => (release = resolve))
    a.root.failAt(1, { wait: () => parked }, ({ method }) => method === 'putIfAbsent')
    const records = [recordOf(500), recordOf(501), recordOf(502)]
    const appending = a.log.append(records, { expect: lsn(2) })
    await bench.clock.advance(10)
    await fill(b, 3, 40)
    await b.log.trim(lsn(30))
    bench.clock.step(WEEK_MS + 1000)
    await b.log.trim(lsn(31))
    expect(await bench.memory.exists(name(3))).toBe(false)
    release()
    await expect(bench.elapse(appending)).rejects.toMatchObject({ code: 'log.lsn-taken', head: 40n })
    // The void slot lies there whole, and has another count than the slot that was there: nobody may follow it to LSN 6.
    expect((await bench.memory.get(name(3))).bytes.length).toBeGreaterThan(0)
    const { first } = await bench.elapse(a.log.append(records, { expect: a.log.head }))
    expect(first).toBe(41n)
    // A reader whose listing is a week old, and whose hint knows of no floor.
    await bench.memory.delete('hints/head')
    const stale = new FaultyRoot(bench.memory)
    stale.list = async function* (prefix) {
      if (prefix === 'log/') for (let i = 1; i <= 3; i++) yield { name: name(i), size: 200, tag: '' }
    }
    for (const cold of [await bench.reader(), await bench.reader({}, stale)]) {
      expect([cold.tail, cold.head]).toEqual([31n, 43n])
      expect(idsOf(await readAll(cold, lsn(31))).filter((id) => id >= 500)).toEqual([500, 501, 502])
    }
    expect(await bench.memory.exists(name(6))).toBe(false)
  })

  it('Given a slot that was won, read and trimmed before its writer looked at the floor, then that writer learns that it has won: one record', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    using parked = a.failpoints.arm(FP.log.beforeFloorRead, { park: true })
    const told = listen(a.log)
    const appending = a.log.append([recordOf(500)], { expect: lsn(2) })
    await bench.elapse(parked.reached())
    await b.log.refresh()
    const seen = idsOf(await readAll(b.log, lsn(2)))
    expect(seen).toEqual([500])
    await fill(b, 4, 20)
    await b.log.trim(lsn(15))
    bench.clock.step(WEEK_MS + 1000)
    await b.log.trim(lsn(16))
    parked.release()
    expect(await bench.elapse(appending)).toEqual({ first: 3n, last: 3n })
    expect(told).toEqual(['durable 3'])
    await a.commit(600)
    expect(idsOf(await readAll(await bench.reader(), lsn(16))).filter((id) => id >= 500)).toEqual([600])
  })

  it('Given an answer that was lost, and the slot trimmed before it was asked again, then the tombstone is known as ours', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    let puts = 0
    let release!: () => void
    const parked = new Promise<void>((resolve) => (release = resolve))
    a.root.plan(({ method }) => {
      if (method !== 'putIfAbsent') return undefined
      return ++puts === 1 ? { error: 'timeout', when: 'after' } : { wait: () => parked }
    })
    const appending = a.log.append([recordOf(500)], { expect: lsn(2) })
    await bench.clock.advance(1000)
    await fill(b, 4, 20)
    await b.log.trim(lsn(15))
    expect((await bench.memory.get(name(3))).bytes).toHaveLength(0)
    a.root.plan(undefined)
    const told = listen(a.log)
    release()
    expect(await bench.elapse(appending)).toEqual({ first: 3n, last: 3n })
    // The log went on meanwhile.
    expect(told).toEqual(['durable 3', 'foreign 20'])
    expect(await a.commit(501)).toBe(21n)
  })

  it('... also when nothing but the floor can be read at that moment', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    let [puts, gets] = [0, 0]
    let release!: () => void
    const parked = new Promise<void>((resolve) => (release = resolve))
    a.root.plan(({ method, name: asked }) => {
      if (method === 'putIfAbsent') return ++puts === 1 ? { error: 'timeout', when: 'after' } : { wait: () => parked }
      // The read that shows the tombstone is answered, those that look for the winner are not.
      return method === 'get' && asked === name(3) && gets++ > 0 ? { error: 'unavailable' } : undefined
    })
    const appending = a.log.append([recordOf(500)], { expect: lsn(2) })
    await bench.clock.advance(1000)
    await fill(b, 4, 20)
    await b.log.trim(lsn(15))
    release()
    expect(await bench.elapse(appending)).toEqual({ first: 3n, last: 3n })
    expect(a.log.head).toBe(3n)
    a.root.plan(undefined)
    expect(await a.commit(501)).toBe(21n)
  })

  it('Given a floor write delayed past a higher one, then the floor stays up', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await fill(a, 3, 40)
    await b.log.refresh()
    let release!: () => void
    const parked = new Promise<void>((resolve) => (release = resolve))
    a.root.failAt(1, { wait: () => parked }, ({ method, name }) => method === 'putIfAbsent' && name.startsWith('FLOOR.'))
    const late = a.log.trim(lsn(20))
    await bench.clock.advance(10)
    expect(await b.log.trim(lsn(30))).toBe(30n)
    release()
    expect(await bench.elapse(late)).toBe(30n)
    expect((await bench.reader()).tail).toBe(30n)
    expect(await bench.memory.exists('FLOOR.2')).toBe(false)
  })

  it('a writer and a reader that were overtaken are told so, and the writer goes on from the true tail', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    const reader = await bench.reader()
    await fill(b, 3, 40)
    await b.log.trim(lsn(30))
    await reader.refresh()
    await expect(readAll(reader, lsn(2))).rejects.toBeInstanceOf(HistoryUnavailableError)
    await expect(reader.pin(lsn(2), 'reader')).rejects.toBeInstanceOf(PinRefusedError)
    const stop = new AbortController()
    await expect(reader.tailing(lsn(2), { signal: stop.signal })[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(HistoryUnavailableError)
    await expect(bench.elapse(a.log.append([recordOf(50)], { expect: a.log.head }))).rejects.toMatchObject({ code: 'log.lsn-taken', head: 40n })
    await expect(readAll(a.log, lsn(1))).rejects.toBeInstanceOf(HistoryUnavailableError)
    expect(await a.commit(51)).toBe(41n)
    expect(await a.log.digestAt(lsn(41))).toEqual(await (await bench.reader()).digestAt(lsn(41)))
  })

  it('of more slots than one floor names takes as many floors', async () => {
    const { log } = await bench.writer()
    for (let i = 2; i <= 5000; i++) await log.append([recordOf(i)])
    expect(await log.trim(lsn(4990))).toBe(4990n)
    expect([await bench.memory.exists('FLOOR.2'), await bench.memory.exists('FLOOR.3')]).toEqual([true, false])
    const cold = await bench.reader()
    expect([cold.tail, cold.head]).toEqual([4990n, 5000n])
    expect(await cold.digestAt(lsn(4995))).toEqual(await log.digestAt(lsn(4995)))
  })

  it('an epoch that is trimmed still counts', async () => {
    const a = await bench.writer({ writers: 'exclusive' })
    for (let i = 0; i < 4; i++) await bench.writer()
    await a.commit(1)
    await a.log.trim(a.log.head)
    expect(a.log.tail).toBe(a.log.head)
    const next = await bench.writer()
    expect(next.log.epoch).toBe(6n)
    expect(next.log.lineage).toEqual([{ epoch: 1n, firstLsn: 1n }])
    await next.commit(2)
    expect(idsOf(await readAll(await bench.reader(), next.log.tail))).toEqual([2])
  })
})

describe('following', () => {
  it('tailing sees records of other writers without a refresh, later and later polls when there are none', async () => {
    const [a, b] = [await bench.writer({ tailPollMs: 400 }), await bench.writer()]
    const stop = new AbortController()
    const seen: number[] = []
    const tailing = (async () => {
      for await (const batch of a.log.tailing(lsn(0), { signal: stop.signal }))
        for (const { kind, payload } of recordsOf(batch)) if (kind === 2) seen.push(idOf(payload))
    })()
    for (let i = 0; i < 10; i++) {
      await b.commit(i)
      await bench.clock.advance(i * 100)
    }
    await bench.clock.advance(1000)
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    const before = a.root.calls.length
    await bench.clock.advance(10_000)
    // A get of the next slot and one of the next floor, every 400 ms.
    expect(a.root.calls.length - before).toBeLessThanOrEqual(52)
    stop.abort(new DOMException('enough', 'AbortError'))
    await expect(tailing).rejects.toThrow('enough')
  })

  it('a read-only handle follows by itself and tells its listeners', async () => {
    const a = await bench.writer()
    const reader = await bench.reader({ follow: true })
    const told: Lsn[] = []
    reader.listen({ durable: (last) => void told.push(last), failed: () => {} })
    await a.commit(1)
    await bench.clock.advance(2000)
    expect([told, reader.head]).toEqual([[2n], 2n])
    await reader.close()
  })

  it('... and goes on when the store was out of reach for an hour', async () => {
    const [a, root] = [await bench.writer(), new FaultyRoot(bench.memory)]
    const reader = await bench.reader({ follow: true }, root)
    const told: string[] = []
    reader.listen({ durable: (last) => void told.push(`durable ${last}`), failed: () => void told.push('failed') })
    root.plan(() => ({ error: 'unavailable' }))
    await a.commit(1)
    await bench.clock.advance(3_600_000)
    root.plan(undefined)
    await bench.clock.advance(20_000)
    expect(told).toEqual(['durable 2'])
    await reader.close()
  })

  it('close() while another wins: the append is given back, the log is closed cleanly at the winner', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    const losing = a.log.append([recordOf(2)], { expect: lsn(2) })
    losing.catch(() => undefined)
    await a.log.close()
    await expect(losing).rejects.toMatchObject({ head: 3n })
    expect(JSON.parse(new TextDecoder().decode((await bench.memory.get('CLEAN')).bytes))).toMatchObject({ lsn: 3, segment: name(3) })
  })
})
