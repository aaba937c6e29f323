// Poison and want of room (log.md sections 3 and 8): a failed write or sync ends the handle, a full disk does not.
import { describe, expect, it } from 'vitest'

import { ClosedError, PoisonedError, StorageError } from '../../bindings/errors.ts'
import { type CommitLog, lsn, type Lsn } from '../../bindings/log/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'
import type { FakeCall } from '../../bindings/testing/fake-files.ts'

import { Host } from './segment-log-helpers.ts'

/** Calls of the commit path: handles keep the name they were opened under, and zeros are written 4 KiB at a time or more. */
const inLog = (op: FakeCall['op']) => (call: FakeCall) => call.op === op && call.path.includes('/log/') && (call.length ?? 0) < 4096
const preparing = (call: FakeCall): boolean => call.op === 'open' && call.path.includes('/.free-')

/** Appends one by one until one is refused; what was acknowledged, and the refusal. */
async function fill(log: CommitLog, from: number, most: number): Promise<{ ids: number[]; error: unknown }> {
  const ids: number[] = []
  for (let id = from; id < from + most; id++) {
    try {
      await log.append([record(id)])
    } catch (error) {
      return { ids, error }
    }
    ids.push(id)
  }
  return { ids, error: undefined }
}

describe('poison', () => {
  const faults = [
    ['datasync', 'none'],
    ['datasync', 'whole'],
    ['write', 'none'],
    ['write', 'half'],
    ['write', 'whole'],
  ] as const
  for (const [op, effect] of faults) {
    it(`a ${op} that fails (effect: ${effect}) rejects its group and every later append; nothing acknowledged is lost`, async () => {
      // Every k of a workload that rolls: group writes, births and footers alike.
      for (let k = 1; k <= 40; k++) {
        const host = new Host()
        const process = host.process()
        const log = await host.open(process, { segmentBytes: 4096 })
        const told: Lsn[] = []
        const failures: Error[] = []
        log.listen({ durable: (last) => void told.push(last), failed: (error) => void failures.push(error) })
        host.files.failAt(k, { error: 'EIO', effect }, inLog(op))
        const waiting = Array.from({ length: 8 }, (_, i) =>
          log.append([record(5000 + i)]).then(
            () => 5000 + i,
            (error: unknown) => error,
          ),
        )
        const first = (await Promise.all(waiting)).filter((outcome) => typeof outcome === 'number')
        const { ids, error } =
          first.length === 8 ? await fill(log, 0, 120) : { ids: [], error: (await Promise.all(waiting)).find((outcome) => typeof outcome !== 'number') }
        expect(error, `k ${k}`).toBeInstanceOf(PoisonedError)
        await expect(log.append([record(1)])).rejects.toBeInstanceOf(PoisonedError)
        expect(() => log.submit([record(1)])).toThrow(PoisonedError)
        expect(failures.length).toBe(1)
        expect(told.at(-1) ?? lsn(1)).toBe(log.head)
        // Reading goes on.
        expect(idsOf(await readAll(log, lsn(0))).length).toBe(first.length + ids.length)
        await log.close().catch(() => {})
        host.files.plan(undefined)
        const again = await host.open(host.process())
        const found = idsOf(await readAll(again, lsn(0)))
        expect(found.slice(0, first.length + ids.length), `k ${k}`).toEqual([...first, ...ids])
        expect(found.length).toBeLessThanOrEqual(first.length + ids.length + 8)
        await again.close()
        // What the reopen has read it has made durable, although the failed sync turned those pages clean.
        host.files = host.files.crash(k, 'none')
        const later = await host.open(host.process())
        expect(idsOf(await readAll(later, lsn(0))), `k ${k}, after a power cut`).toEqual(found)
      }
    })
  }

  it('a failed background sync poisons a buffered log', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { durability: 'buffered', bufferedSyncMs: 10 })
    const failures: Error[] = []
    log.listen({ durable: () => {}, failed: (error) => void failures.push(error) })
    host.files.failAt(1, { error: 'EIO' }, inLog('datasync'))
    await log.append([record(1)])
    await host.clock.advance(20)
    expect(failures[0]).toBeInstanceOf(PoisonedError)
    await expect(log.append([record(2)])).rejects.toBeInstanceOf(PoisonedError)
    await expect(log.sync()).rejects.toBeInstanceOf(PoisonedError)
    expect(log.durableHead).toBe(lsn(1))
  })

  it('a listener that throws ends the handle: the fold is behind the log', async () => {
    const host = new Host()
    const log = await host.open(host.process())
    log.listen({
      durable: () => {
        throw new Error('fold')
      },
      failed: () => {},
    })
    await expect(log.append([record(1)])).rejects.toBeInstanceOf(PoisonedError)
  })

  it('a poisoned handle writes no CLEAN and gives the LOCK back', async () => {
    const host = new Host()
    const log = await host.open(host.process())
    host.files.failAt(1, { error: 'EIO' }, inLog('write'))
    await expect(log.append([record(1)])).rejects.toBeInstanceOf(PoisonedError)
    host.files.plan(undefined)
    await log.close()
    expect(host.files.contents('/data/store/CLEAN')).toBeUndefined()
    await (await host.open(host.process(), { openRetry: { delaysMs: [] } })).close()
  })

  it('leaks no handle over poison, close and reopen', async () => {
    const host = new Host()
    for (let k = 1; k < 20; k += 3) {
      const log = await host.open(host.process(), { segmentBytes: 4096 })
      host.files.failAt(k, { error: 'EIO' }, inLog('datasync'))
      await fill(log, 0, 100)
      host.files.plan(undefined)
      await log.close().catch(() => {})
      await host.clock.advance(10)
      expect(host.files.openHandles, `k ${k}`).toBe(0)
    }
  })
})

describe('a full disk', () => {
  it('refuses before any byte once the present segment is full; the same handle works when there is room again', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 8192 })
    host.files.plan((call) => (preparing(call) ? { error: 'ENOSPC' } : undefined))
    const { ids, error } = await fill(log, 0, 500)
    expect(error).toBeInstanceOf(StorageError)
    expect(error).toMatchObject({ class: 'space' })
    expect(ids.length, 'the present segment was filled').toBeGreaterThan(60)
    expect(() => log.submit([record(1)])).toThrow(StorageError)
    expect(log.submitted).toBe(log.head)
    host.files.plan(undefined)
    await host.clock.advance(100)
    expect(() => log.submit([record(1)])).toThrow(StorageError)
    await host.clock.advance(100)
    const more = await fill(log, 1000, 200)
    expect(more.error).toBeUndefined()
    await log.close()
    const again = await host.open(host.process())
    expect(idsOf(await readAll(again, lsn(0)))).toEqual([...ids, ...more.ids])
  })

  it('takes back what was queued already, tells the listener from which LSN, and uses the LSNs again', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 4096 })
    const rejected: [Lsn, Error][] = []
    const told: Lsn[] = []
    log.listen({ durable: (last) => void told.push(last), failed: () => expect.unreachable(), rejected: (first, error) => void rejected.push([first, error]) })
    await log.append([record(0)])
    host.files.plan((call) => (preparing(call) ? { error: 'ENOSPC' } : undefined))
    const burst = Array.from({ length: 100 }, (_, i) => log.append([record(1 + i)]))
    const outcomes = await Promise.allSettled(burst)
    expect(
      outcomes.every(({ status }) => status === 'rejected'),
      'one group, no room for it',
    ).toBe(true)
    expect(rejected).toHaveLength(1)
    expect(rejected[0]![0]).toBe(lsn(3))
    expect(log.submitted).toBe(lsn(2))
    const { last } = await log.append([record(500)])
    expect(last, 'a small one still fits, under the LSN that became free').toBe(lsn(3))
    host.files.plan(undefined)
    await log.close()
    const again = await host.open(host.process())
    expect(idsOf(await readAll(again, lsn(0)))).toEqual([0, 500])
  })

  it('waits for room when a listener cannot take records back, for two seconds', async () => {
    for (const frees of [true, false]) {
      const host = new Host()
      const log = await host.open(host.process(), { segmentBytes: 4096 })
      const failures: Error[] = []
      log.listen({ durable: () => {}, failed: (error) => void failures.push(error) })
      host.files.plan((call) => (preparing(call) ? { error: 'ENOSPC' } : undefined))
      for (let i = 0; i < 100; i++) log.submit([record(i)])
      await host.clock.advance(1000)
      expect(log.head).toBe(lsn(1))
      expect(failures).toEqual([])
      if (frees) host.files.plan(undefined)
      await host.clock.advance(1500)
      expect(log.head).toBe(lsn(frees ? 101 : 1))
      if (frees) await log.close()
      else expect(failures[0]).toMatchObject({ class: 'space' })
    }
  })
})

it('ClosedError names the log', async () => {
  const host = new Host()
  const log = await host.open(host.process())
  await log.close()
  await expect(log.append([record(1)])).rejects.toBeInstanceOf(ClosedError)
})
