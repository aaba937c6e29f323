// Read-only handles of a segment log (log.md section 4): they follow, wait for what is not whole, and never believe a fenced writer's late bytes.
import { describe, expect, it } from 'vitest'

import { CorruptionError, HistoryUnavailableError } from '../../bindings/errors.ts'
import { lsn, type Lsn } from '../../bindings/log/index.ts'
import { FP } from '../../bindings/runtime/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'

import { Host, park } from './segment-log-helpers.ts'

describe('a read-only handle', () => {
  it('opens an empty place and finds the log that comes', async () => {
    const host = new Host()
    const reader = await host.open(host.process(), { readOnly: true })
    expect([reader.head, reader.segments]).toEqual([0n, 0])
    const log = await host.open(host.process())
    await log.append([record(1)])
    expect(await reader.refresh()).toBe(lsn(2))
    expect(idsOf(await readAll(reader, lsn(0)))).toEqual([1])
  })

  it('changes no file and leaves no handle open', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 4096 })
    for (let i = 0; i < 100; i++) await log.append([record(i)])
    const handles = host.files.openHandles
    const writes = () => host.files.calls.filter(({ op }) => !['open', 'read', 'stat', 'fstat', 'readdir', 'close'].includes(op)).length
    const before = writes()
    const reader = await host.open(host.process(), { readOnly: true })
    await readAll(reader, lsn(0))
    await reader.refresh()
    await reader.digestAt(lsn(40))
    await reader.close()
    expect(writes()).toBe(before)
    expect(host.files.openHandles).toBe(handles)
  })

  it('follows by itself: the listener is told, the head moves', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 4096 })
    const reader = await host.open(host.process(), { readOnly: true, follow: true })
    const told: Lsn[] = []
    reader.listen({ durable: (last) => void told.push(last), failed: () => expect.unreachable() })
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 40; i++) await log.append([record(i)])
      await host.clock.advance(500)
      expect(reader.head).toBe(log.head)
      expect(told.at(-1)).toBe(log.head)
    }
    await reader.close()
    expect(host.clock.pending).toBe(0)
  })

  it('stops before a group that is half written, and sees it whole later', async () => {
    const host = new Host()
    const a = host.process()
    const log = await host.open(a)
    await log.append([record(1)])
    // The end of the group is not in the file yet, the writer lives.
    const point = park(a, FP.log.beforeSync)
    const appending = log.append([record(2), record(3)])
    await point.reached
    const path = host.files.paths().find((name) => /\/\d{20}\.wal$/.test(name))!
    const whole = host.files.contents(path)!
    const end = whole.findLastIndex((byte) => byte !== 0) + 1
    host.files.corrupt(path, end - 20, new Uint8Array(20))
    const reader = await host.open(host.process(), { readOnly: true })
    expect(reader.head, 'neither of the two: an append is whole or not there').toBe(lsn(2))
    host.files.corrupt(path, end - 20, whole.subarray(end - 20, end))
    expect(await reader.refresh()).toBe(lsn(4))
    point.release()
    await appending
  })

  it('does not believe the last group of a writer while a later owner may be at work', async () => {
    const host = new Host()
    const a = host.process()
    const first = await host.open(a)
    for (let i = 0; i < 5; i++) await first.append([record(i)])
    const reader = await host.open(host.process(), { readOnly: true })
    expect(reader.head).toBe(lsn(6))
    // The owner is parked before its write; a successor takes the LOCK and is parked before its epoch record; the owner goes on.
    const stopped = park(a, FP.log.beforeWrite)
    const late = first.append([record(100)])
    late.catch(() => {})
    await stopped.reached
    host.declareDead(a)
    const b = host.process()
    const opening = park(b, FP.open.beforeEpoch)
    const second = host.open(b)
    await host.run(opening.reached)
    stopped.release()
    await expect(late).rejects.toThrow()
    await reader.refresh()
    const cold = await host.open(host.process(), { readOnly: true })
    for (const handle of [reader, cold]) expect(idsOf(await readAll(handle, lsn(0))), 'the late group is not there').not.toContain(100)
    opening.release()
    const log = await second
    await log.append([record(200)])
    for (const handle of [reader, cold]) {
      await handle.refresh()
      expect(idsOf(await readAll(handle, lsn(0)))).toEqual([0, 1, 2, 3, 4, 200])
      expect(await handle.digestAt(handle.head)).toEqual(await log.digestAt(log.head))
    }
  })

  it('is told when trim has overtaken it, and never reads a recycled file as its segment', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 4096 })
    for (let i = 0; i < 100; i++) await log.append([record(i)])
    const reader = await host.open(host.process(), { readOnly: true })
    const reading = reader.read(lsn(0))[Symbol.asyncIterator]()
    await reading.next()
    for (let round = 0; round < 4; round++) {
      await log.trim(log.head)
      for (let i = 0; i < 100; i++) await log.append([record(1000 + i)])
    }
    const rest = (async () => {
      while ((await reading.next()).done !== true);
    })()
    await expect(rest).rejects.toBeInstanceOf(HistoryUnavailableError)
    await expect(reader.refresh()).rejects.toBeInstanceOf(HistoryUnavailableError)
  })

  it('calls a segment damaged once another one follows it', async () => {
    const host = new Host()
    const log = await host.open(host.process(), { segmentBytes: 4096 })
    for (let i = 0; i < 10; i++) await log.append([record(i)])
    const reader = await host.open(host.process(), { readOnly: true })
    await log.append([record(10)])
    const path = host.files.paths().find((name) => /\/\d{20}\.wal$/.test(name))!
    const end = host.files.contents(path)!.findLastIndex((byte) => byte !== 0)
    host.files.corrupt(path, end - 4, new Uint8Array([1, 2, 3, 4]))
    expect(await reader.refresh(), 'a torn tail so far').toBe(lsn(11))
    for (let i = 0; i < 60; i++) await log.append([record(i)])
    await expect(reader.refresh()).rejects.toBeInstanceOf(CorruptionError)
  })
})
