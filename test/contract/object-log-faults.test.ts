// What an object log does when requests go wrong (roots.md section 6) and when its objects are damaged or gone.
import { beforeEach, describe, expect, it } from 'vitest'

import { CommitOutcomeUnknownError, CorruptionError, LsnTakenError, StorageError, type StorageErrorClass } from '../../bindings/errors.ts'
import { lsn, type ObjectWriteLog } from '../../bindings/log/index.ts'
import { idsOf, readAll } from '../../bindings/testing/contracts/log-records.ts'
import type { RootCall, RootFault } from '../../bindings/testing/faulty-root.ts'
import { Bench, recordOf, STORE_ID } from './object-log-helpers.ts'

const name = (first: number): string => `log/${String(first).padStart(20, '0')}`
const isPut = ({ method }: RootCall): boolean => method === 'putIfAbsent'
const isFloorGet = ({ method, name }: RootCall): boolean => method === 'get' && name.startsWith('FLOOR.')

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})

const logged = async (): Promise<number[]> => idsOf(await readAll(await bench.reader(), lsn(0)))

/** Every call that `which` picks fails so, until it is told otherwise. */
function always(which: (call: RootCall) => boolean, fault: RootFault): (call: RootCall) => RootFault | undefined {
  return (call) => (which(call) ? fault : undefined)
}

function listen(log: ObjectWriteLog): string[] {
  const told: string[] = []
  log.listen({
    durable: (last) => void told.push(`durable ${last}`),
    failed: (error) => void told.push(`failed ${(error as { code?: string }).code}`),
    rejected: (first, error) => void told.push(`rejected ${first} ${(error as { code?: string }).code}`),
    unknown: (first, last, error) => void told.push(`unknown ${first}..${last} ${(error as { code?: string }).code}`),
  })
  return told
}

describe('lost answers', () => {
  it.each<StorageErrorClass>(['timeout', 'unavailable', 'unknown', 'io'])(
    'Given the answer to a successful create was lost (%s), then the append resolves and the record is there once',
    async (error) => {
      const a = await bench.writer()
      a.root.failAt(1, { error, when: 'after' }, isPut)
      expect(await a.commit(1)).toBe(2n)
      expect(await a.commit(2)).toBe(3n)
      expect(await logged()).toEqual([1, 2])
    },
  )

  it('Given a request lost before it was executed, then the retry creates', async () => {
    const a = await bench.writer()
    a.root.failAt(1, { error: 'timeout' }, isPut)
    expect(await a.commit(1)).toBe(2n)
    expect(await logged()).toEqual([1])
  })

  it('Given a lost answer and another writer at once behind it, then ours is at n and theirs at n + 1', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    a.root.failAt(1, { error: 'timeout', when: 'after' }, isPut)
    const ours = a.log.append([recordOf(1)], { expect: lsn(2) })
    await Promise.resolve()
    for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    expect(await b.commit(2)).toBe(4n)
    expect(await bench.elapse(ours)).toEqual({ first: 3n, last: 3n })
    expect(await a.commit(3)).toBe(5n)
    expect(await logged()).toEqual([1, 2, 3])
  })

  it('Given a delayed first request that executes after the retry won, then one record is there', async () => {
    const a = await bench.writer()
    a.root.failAt(1, { error: 'timeout' }, isPut)
    await a.commit(1)
    const { bytes } = await bench.memory.get(name(2))
    expect(await bench.memory.putIfAbsent(name(2), bytes)).toEqual({ status: 'exists' })
    await a.commit(2)
    expect(await logged()).toEqual([1, 2])
  })

  it('Given a request sent twice below us, so that the first answer we see is "exists", then the slot is known as ours', async () => {
    const a = await bench.writer()
    const create = a.root.putIfAbsent.bind(a.root)
    a.root.putIfAbsent = async (...args) => {
      await create(...args)
      return create(...args)
    }
    expect(await a.commit(1)).toBe(2n)
    expect(await a.commit(2)).toBe(3n)
    expect(await logged()).toEqual([1, 2])
  })

  it('Given 503 for 10 s, then at most 8 attempts per request', async () => {
    const a = await bench.writer()
    const untilMs = bench.clock.clock.monoMs() + 10_000
    a.root.plan((call) => (bench.clock.clock.monoMs() < untilMs && call.method !== 'list' ? { error: 'unavailable' } : undefined))
    const appending = a.log.append([recordOf(1)])
    await bench.elapse(appending.catch(() => undefined))
    expect(a.root.calls.filter((call) => isPut(call) && call.name === name(2)).length).toBeLessThanOrEqual(8)
  })
})

describe('unknown outcomes', () => {
  it('Given the read-back fails until the deadline, then the outcome is unknown, nothing more is accepted, and later the truth is told: it is there', async () => {
    const a = await bench.writer()
    const told = listen(a.log)
    let puts = 0
    a.root.plan((call) =>
      isPut(call) ? (++puts === 1 ? { error: 'timeout', when: 'after' } : undefined) : call.name === name(2) ? { error: 'unavailable' } : undefined,
    )
    const ours = a.log.append([recordOf(1)], { writeId: 'W1' })
    const beside = a.log.append([recordOf(2)], { writeId: 'W2' })
    await bench.clock.advance(1)
    const behind = a.log.append([recordOf(3)])
    const barrier = a.log.sync()
    barrier.catch(() => undefined)
    behind.catch(() => undefined)
    beside.catch(() => undefined)
    await expect(bench.elapse(ours)).rejects.toMatchObject({ code: 'write.outcome-unknown', writeId: 'W1', intentKept: false, retryable: false })
    await expect(beside).rejects.toMatchObject({ code: 'write.outcome-unknown', writeId: 'W2' })
    // What waited behind it was never written, and says so.
    await expect(behind).rejects.toMatchObject({ code: 'root.unavailable' })
    await expect(barrier).rejects.toBeInstanceOf(StorageError)
    expect(told).toEqual(['unknown 2..3 write.outcome-unknown', 'rejected 4 root.unavailable'])
    expect(() => a.log.submit([recordOf(4)])).toThrow(StorageError)
    await expect(a.log.append([recordOf(4)], { expect: a.log.head })).rejects.toMatchObject({ code: 'root.unavailable' })
    await expect(bench.elapse(a.log.resolveUnknown())).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    expect(told).toHaveLength(2)
    a.root.plan(undefined)
    expect(await bench.elapse(a.log.resolveUnknown())).toEqual({ first: 2n, last: 3n, durable: true })
    expect(await a.log.resolveUnknown()).toBeUndefined()
    expect(told.slice(2)).toEqual(['durable 3'])
    expect(await a.commit(5)).toBe(4n)
    expect(await logged()).toEqual([1, 2, 5])
  })

  it('... or it is not: another writer has the slot', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    const told = listen(a.log)
    a.root.plan(always(isPut, { error: 'timeout' }))
    await expect(bench.elapse(a.log.append([recordOf(1)], { expect: lsn(2) }))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    await b.commit(2)
    a.root.plan(undefined)
    expect(await bench.elapse(a.log.resolveUnknown())).toEqual({ first: 3n, last: 3n, durable: false })
    expect(told).toEqual(['unknown 3..3 write.outcome-unknown', 'rejected 3 log.lsn-taken'])
    expect(() => a.log.submit([recordOf(1)])).toThrow(LsnTakenError)
    expect(await a.commit(1)).toBe(4n)
    expect(await logged()).toEqual([2, 1])
  })

  it('refresh() resolves it too; a slot that is not there yet is created by the same attempt', async () => {
    const a = await bench.writer()
    const told = listen(a.log)
    a.root.plan(always(isPut, { error: 'timeout' }))
    await expect(bench.elapse(a.log.append([recordOf(1)]))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    a.root.plan(undefined)
    expect(await bench.elapse(a.log.refresh())).toBe(2n)
    expect(told.slice(1)).toEqual(['durable 2'])
    expect(await logged()).toEqual([1])
  })

  it('Given the floor cannot be read after a win, then the outcome is unknown until it can', async () => {
    const a = await bench.writer()
    a.root.plan(always(isFloorGet, { error: 'unavailable' }))
    await expect(bench.elapse(a.log.append([recordOf(1)]))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    expect(a.log.head).toBe(1n)
    a.root.plan(undefined)
    expect(await bench.elapse(a.log.resolveUnknown())).toMatchObject({ durable: true })
    expect(a.log.head).toBe(2n)
  })

  it('close() finds out first; while it cannot, it says so and writes no CLEAN', async () => {
    const a = await bench.writer()
    a.root.plan(always(isPut, { error: 'timeout' }))
    await expect(bench.elapse(a.log.append([recordOf(1)]))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    await expect(bench.elapse(a.log.close())).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    expect(await bench.memory.exists('CLEAN')).toBe(false)
    const b = await bench.writer()
    b.root.plan(always(isPut, { error: 'timeout', when: 'after' }))
    await expect(bench.elapse(b.log.append([recordOf(2)]))).resolves.toMatchObject({ first: 3n })
    b.root.plan(undefined)
    await bench.elapse(b.log.close())
    expect(await bench.memory.exists('CLEAN')).toBe(true)
  })

  it.each<StorageErrorClass>(['permission', 'space', 'unsupported'])(
    'a refusal (%s) takes back what was queued, and the same handle works later',
    async (error) => {
      const a = await bench.writer()
      const told = listen(a.log)
      a.root.plan(always(isPut, { error }))
      const settled = await bench.elapse(Promise.allSettled([a.log.append([recordOf(1)]), a.log.append([recordOf(2)])]))
      expect(settled).toMatchObject([{ reason: { class: error } }, { reason: { class: error } }])
      expect(told).toEqual([`rejected 2 root.${error}`])
      a.root.plan(undefined)
      expect(await a.log.append([recordOf(3)])).toEqual({ first: 2n, last: 2n })
      expect(await logged()).toEqual([3])
    },
  )
})

describe('stale answers', () => {
  it('Given a 404 for the name that answered "exists", then it is looked for again, and the loser goes on behind the winner', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    let stale = 5
    a.root.plan(({ method, name: asked }) => (method === 'get' && asked === name(3) && stale-- > 0 ? { error: 'notFound' } : undefined))
    await expect(bench.elapse(a.log.append([recordOf(2)], { expect: lsn(2) }))).rejects.toMatchObject({ head: 3n })
    expect(stale).toBe(-1)
    expect(await a.commit(2)).toBe(4n)
  })

  it('... and given that lasts, then the slot is never taken for free', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    a.root.plan(({ method, name: asked }) => (method === 'get' && asked === name(3) ? { error: 'notFound' } : undefined))
    for (let round = 0; round < 3; round++) {
      await expect(bench.elapse(a.log.append([recordOf(2)], { expect: a.log.head }))).rejects.toMatchObject({ code: 'log.lsn-taken', head: 2n })
    }
    a.root.plan(undefined)
    expect(await a.commit(2)).toBe(4n)
    expect(await logged()).toEqual([1, 2])
  })

  it('Given a look that fails half way, then what it has read counts, and an append goes on from there', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    const foreign: bigint[] = []
    a.log.listen({ durable: () => {}, failed: () => {}, rejected: () => {}, foreign: (last) => void foreign.push(last) })
    for (let i = 3; i <= 100; i++) await b.commit(i)
    a.root.plan(({ method, name: asked }) => (method === 'get' && asked === name(90) ? { error: 'unavailable' } : undefined))
    await expect(bench.elapse(a.log.refresh())).rejects.toMatchObject({ class: 'unavailable' })
    expect(foreign).toEqual([a.log.head])
    expect(a.log.head).toBeGreaterThan(2n)
    expect(a.log.head).toBeLessThan(90n)
    a.root.plan(undefined)
    expect(await a.commit(101)).toBe(101n)
  })

  it('Given a listing without its newest 50 names, then an open finds the head all the same', async () => {
    const a = await bench.writer()
    for (let i = 0; i < 80; i++) await a.commit(i)
    const b = await bench.writer()
    const list = b.root.list.bind(b.root)
    b.root.list = async function* (prefix, o) {
      const all = []
      for await (const info of list(prefix, o)) all.push(info)
      yield* all.slice(0, Math.max(0, all.length - 50))
    }
    const c = await bench.writer({}, b.root)
    expect(c.log.head).toBe(83n)
    expect(await logged()).toHaveLength(80)
  })

  it.each(['{}', '', 'garbage', '{"lsn":999999,"floor":77}'])('Given hints/head is %j, then an open is right all the same', async (text) => {
    const a = await bench.writer()
    for (let i = 0; i < 10; i++) await a.commit(i)
    await a.log.trim(lsn(5))
    await bench.memory.put('hints/head', new TextEncoder().encode(text))
    const b = await bench.writer()
    expect([b.log.tail, b.log.head]).toEqual([5n, 12n])
  })

  it('Given a hint of an older floor, then the open reads on from it', async () => {
    const a = await bench.writer()
    for (let i = 0; i < 20; i++) await a.commit(i)
    await a.log.trim(lsn(5))
    await a.log.close()
    const b = await bench.writer()
    await b.log.trim(lsn(9))
    await b.log.trim(lsn(12))
    const reader = await bench.reader()
    expect(reader.tail).toBe(12n)
  })
})

describe('damage', () => {
  async function filled(): Promise<void> {
    const a = await bench.writer()
    for (let i = 0; i < 10; i++) await a.commit(i)
    await a.log.close()
  }

  it.each([2, 5, 10])('a slot that is gone (%i), with one behind it: CorruptionError that names it', async (first) => {
    await filled()
    await bench.memory.delete(name(first))
    await expect(bench.reader()).rejects.toMatchObject({ code: 'log.corrupt', file: name(first) })
  })

  it('... also when nobody closed the log: the listing shows what is behind it', async () => {
    const a = await bench.writer()
    for (let i = 0; i < 10; i++) await a.commit(i)
    await bench.memory.delete(name(5))
    await expect(bench.reader()).rejects.toMatchObject({ code: 'log.corrupt', file: name(5) })
  })

  it('the newest slot gone after a clean close: CorruptionError', async () => {
    await filled()
    await bench.memory.delete(name(11))
    await expect(bench.reader()).rejects.toBeInstanceOf(CorruptionError)
    await expect(bench.writer()).rejects.toBeInstanceOf(CorruptionError)
  })

  it('one bit of a slot flipped, anywhere: CorruptionError, for whoever opens and whoever reads it again', async () => {
    await filled()
    const { bytes } = await bench.memory.get(name(6))
    const reader = await bench.reader()
    for (let at = 0; at < bytes.length; at += 5) {
      const damaged = bytes.slice()
      damaged[at]! ^= 1 << (at % 8)
      await bench.memory.put(name(6), damaged)
      const error = await bench.reader().catch((reason: unknown) => reason)
      // A version of its own is a newer store, if the header verifies; it does not.
      expect(error, `byte ${at}`).toMatchObject({ code: 'log.corrupt', file: name(6) })
    }
    for (const cut of [0, 100, 128, bytes.length - 8]) {
      await bench.memory.put(name(6), bytes.slice(0, cut))
      await expect(bench.reader(), `${cut} bytes`).rejects.toMatchObject({ code: 'log.corrupt', file: name(6) })
    }
    await bench.memory.put(name(6), bytes)
    expect(idsOf(await readAll(reader, lsn(0)))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('a flip on the way alone is read once more', async () => {
    await filled()
    const { root } = await bench.writer()
    const get = root.get.bind(root)
    let flips = 1
    root.get = async (asked, o) => {
      const found = await get(asked, o)
      if (asked === name(6) && flips-- > 0) found.bytes[150]! ^= 4
      return found
    }
    const reader = await bench.reader({}, root)
    expect(flips).toBe(-1)
    expect(idsOf(await readAll(reader, lsn(0)))).toHaveLength(10)
  })

  it('a slot of another history: its digest does not continue the chain', async () => {
    await filled()
    const other = new Bench()
    const b = await other.writer()
    for (let i = 0; i < 10; i++) await b.commit(i + 100)
    await bench.memory.put(name(6), (await other.memory.get(name(6))).bytes)
    await expect(bench.reader()).rejects.toMatchObject({ code: 'log.corrupt', file: name(6) })
  })

  it('a log that ends before CLEAN or a checkpoint, or differs from it: CorruptionError', async () => {
    await filled()
    const reader = await bench.reader()
    const digest = await reader.digestAt(lsn(7))
    await expect(bench.reader({ floors: [{ lsn: lsn(7), digest }] })).resolves.toMatchObject({ head: 11n })
    await expect(bench.reader({ floors: [{ lsn: lsn(12), digest }] })).rejects.toBeInstanceOf(CorruptionError)
    await expect(bench.reader({ floors: [{ lsn: lsn(6), digest }] })).rejects.toBeInstanceOf(CorruptionError)
    const clean = await bench.memory.get('CLEAN')
    await bench.memory.put('CLEAN', clean.bytes.slice(1))
    await expect(bench.reader()).rejects.toMatchObject({ file: 'CLEAN' })
    await bench.memory.put('CLEAN', clean.bytes)
    await expect(bench.reader({ storeId: STORE_ID.slice().fill(6) })).rejects.toBeInstanceOf(CorruptionError)
  })

  it('a floor that is damaged, or no valid checkpoint above it: CorruptionError', async () => {
    const a = await bench.writer()
    for (let i = 0; i < 10; i++) await a.commit(i)
    await a.log.trim(lsn(5))
    await expect(bench.reader({ floors: [] })).rejects.toBeInstanceOf(CorruptionError)
    const { bytes } = await bench.memory.get('FLOOR.1')
    for (let at = 0; at < bytes.length; at += 11) {
      const damaged = bytes.slice()
      damaged[at]! ^= 2
      await bench.memory.put('FLOOR.1', damaged)
      await expect(bench.reader(), `byte ${at}`).rejects.toMatchObject({ code: 'log.corrupt', file: 'FLOOR.1' })
    }
  })
})

describe('opening from a checkpoint', () => {
  it('reads the slots above it alone; what is below is found when somebody asks', async () => {
    const a = await bench.writer({ writers: 'exclusive' })
    for (let i = 0; i < 60; i++) await a.log.append([recordOf(3 * i), recordOf(3 * i + 1), recordOf(3 * i + 2)])
    const at = lsn(150)
    const floors = [{ lsn: at, digest: await a.log.digestAt(at) }]
    await bench.writer({ writers: 'exclusive' })
    const b = await bench.writer({ floors })
    const slots = b.root.calls.filter(({ method, name: asked }) => method === 'get' && asked.startsWith('log/'))
    expect(slots.length).toBeLessThanOrEqual(14)
    expect(b.log.epoch).toBe(3n)
    expect(idsOf(await readAll(b.log, at))).toHaveLength(31)
    expect(idsOf(await readAll(b.log, lsn(0)))).toHaveLength(180)
    expect(await b.log.digestAt(lsn(77))).toEqual(await a.log.digestAt(lsn(77)))
    expect(b.log.lineage).toEqual([
      { epoch: 1n, firstLsn: 1n },
      { epoch: 2n, firstLsn: 182n },
    ])
    const c = await bench.writer({ floors })
    expect(await c.log.trim(lsn(100))).toBe(100n)
    expect(c.log.lineage[0]).toEqual({ epoch: 1n, firstLsn: 1n })
  })

  it('a slot below it that is gone is damage when it is read', async () => {
    const a = await bench.writer()
    for (let i = 0; i < 20; i++) await a.commit(i)
    const floors = [{ lsn: lsn(15), digest: await a.log.digestAt(lsn(15)) }]
    await bench.memory.delete(name(8))
    const b = await bench.reader({ floors })
    await expect(bench.elapse(readAll(b, lsn(3)))).rejects.toMatchObject({ code: 'log.corrupt', file: name(8) })
    expect(idsOf(await readAll(b, lsn(15)))).toHaveLength(6)
  })
})
