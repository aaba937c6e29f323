// The LOCK of a segment log (log.md sections 3 and 8): one owner, epochs used once, and a stopped owner that comes back is fenced.
import { describe, expect, it } from 'vitest'

import { CorruptionError, FencedError, LockHeldError, OpenLockTimeoutError } from '../../bindings/errors.ts'
import { type CommitLog, forceUnlock, lsn, unlockInfo } from '../../bindings/log/index.ts'
import { Lock, takeLock } from '../../bindings/log/lock.ts'
import { type FailpointName, type FileSystem, FP, seededRandom, soon, type World } from '../../bindings/runtime/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'

import { Host, park, type Process } from './segment-log-helpers.ts'

const ONCE = { openRetry: { delaysMs: [] } }

describe('taking the LOCK', () => {
  it('a second opener, in the same process or another, is told who holds it', async () => {
    const host = new Host()
    const a = host.process()
    const log = await host.open(a)
    for (const other of [a, host.process()]) {
      const error = await host.open(other, ONCE).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(LockHeldError)
      expect((error as LockHeldError).message).toContain(`process ${a.pid} on fake`)
      expect((error as LockHeldError).holder).toMatchObject({ pid: a.pid, host: 'fake', epoch: 1 })
    }
    await log.append([record(1)])
    await log.close()
    await (await host.open(host.process(), ONCE)).close()
  })

  it('retries at 50, 150, 350, 750 and 1550 ms, then gives up with the holder', async () => {
    const host = new Host()
    await host.open(host.process())
    const startMs = host.clock.clock.monoMs()
    const b = host.process()
    const attempts: number[] = []
    const list = b.root.list.bind(b.root)
    b.root.list = (prefix, o) => {
      if (o?.after === 'LOCK.') attempts.push(host.clock.clock.monoMs() - startMs)
      return list(prefix, o)
    }
    const error = await host.run(
      host.open(b).catch((thrown: unknown) => thrown),
      10,
    )
    expect(error).toBeInstanceOf(OpenLockTimeoutError)
    expect(error).toMatchObject({ attempts: 6, holder: { pid: 1 } })
    expect(attempts).toEqual([0, 50, 150, 350, 750, 1550])
  })

  it('takes over from a dead owner at the second attempt, under a higher epoch', async () => {
    const host = new Host()
    const a = host.process()
    const first = await host.open(a)
    await first.append([record(1)])
    host.declareDead(a)
    await expect(host.open(host.process(), ONCE)).rejects.toBeInstanceOf(LockHeldError)
    const b = await host.open(host.process(), { openRetry: { delaysMs: [50] } })
    expect(b.epoch).toBe(2n)
    expect(idsOf(await readAll(b, lsn(0)))).toEqual([1])
    await expect(first.append([record(2)])).rejects.toBeInstanceOf(FencedError)
  })

  it('knows a reused process id by its start time, and another boot', async () => {
    const host = new Host()
    await host.open(host.process({ startTime: 'long ago' }))
    const second = await host.open(host.process())
    expect(second.epoch).toBe(2n)
  })

  it('never touches the lock of another host; force does, but not that of a live process', async () => {
    const host = new Host()
    const far = host.process({ name: 'far-away' })
    const log = await host.open(far)
    const near = host.process()
    host.declareDead(far)
    await expect(host.open(near)).rejects.toBeInstanceOf(OpenLockTimeoutError)
    expect(await unlockInfo(near.root, near.world)).toMatchObject({ number: 1, state: 'held', alive: undefined, holder: { host: 'far-away' } })
    expect(await forceUnlock(near.root, near.world)).toMatchObject({ holder: { host: 'far-away' } })
    expect(await unlockInfo(near.root, near.world)).toMatchObject({ number: 2, state: 'released' })
    const mine = await host.open(near)
    expect(mine.epoch).toBe(3n)
    await expect(log.append([record(1)])).rejects.toBeInstanceOf(FencedError)
    await expect(forceUnlock(near.root, host.process().world)).rejects.toBeInstanceOf(LockHeldError)
    await mine.append([record(2)])
  })

  it('names an unreadable LOCK, and force outranks it', async () => {
    const host = new Host()
    const a = host.process()
    await (await host.open(a)).close()
    host.files.corrupt('/data/store/LOCK.1', 4, new Uint8Array([0x21]))
    await expect(host.open(a)).rejects.toBeInstanceOf(CorruptionError)
    expect(await forceUnlock(a.root, a.world)).toMatchObject({ state: 'unreadable' })
    expect((await host.open(a)).epoch).toBe(3n)
  })

  it('an open that fails gives the LOCK back under a number that is not used again', async () => {
    const host = new Host()
    const a = host.process()
    a.failpoints.arm(FP.open.beforeEpoch, { error: 'io', times: 1 })
    await expect(host.open(a)).rejects.toThrow()
    expect(await unlockInfo(a.root, a.world)).toMatchObject({ number: 1, state: 'released' })
    expect((await host.open(a, ONCE)).epoch).toBe(2n)
  })

  it('an opener parked before it creates its number uses no number or epoch twice', async () => {
    const host = new Host()
    await (await host.open(host.process())).close()
    const parked = host.process()
    const point = park(parked, FP.open.beforeLock)
    const late = host.open(parked, { openRetry: { delaysMs: [1000] } })
    await point.reached
    const epochs: bigint[] = []
    for (let i = 0; i < 3; i++) {
      const log = await host.open(host.process())
      epochs.push(log.epoch)
      await log.close()
    }
    point.release()
    const log = await host.run(late)
    expect([...epochs, log.epoch]).toEqual([2n, 3n, 4n, 5n])
    expect(log.lineage.map(({ epoch }) => epoch)).toEqual([1n, 2n, 3n, 4n, 5n])
  })

  it('an opener parked before it creates its number does not outrank a live owner', async () => {
    const host = new Host()
    await (await host.open(host.process())).close()
    const parked = host.process()
    const point = park(parked, FP.open.beforeLock)
    const late = host.open(parked, ONCE)
    late.catch(() => {})
    await point.reached
    const log = await host.open(host.process())
    point.release()
    await expect(host.run(late)).rejects.toBeInstanceOf(LockHeldError)
    await log.append([record(1)])
    await log.close()
  })

  it('1 000 schedules of three openers and a stale LOCK: never two owners', async () => {
    for (let seed = 1; seed <= 1000; seed++) {
      const host = new Host()
      const dead = host.process()
      await takeLock(dead.root, dead.world, { retry: { delaysMs: [], cleanupStale: true }, epochFloor: async () => 0 })
      host.declareDead(dead)
      const random = seededRandom(seed)
      const floor = random.u32() % 4
      const attempts = Array.from({ length: 3 }, () => {
        const process = host.process({ files: jittered(host.files, random) })
        const retry = { delaysMs: [0, 1, 2], cleanupStale: true }
        return takeLock(process.root, process.world, { retry, epochFloor: async () => floor })
      })
      const outcomes = await host.run(Promise.allSettled(attempts), 1)
      const owners = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      expect(owners.filter((lock) => lock.isCurrent()).length, `seed ${seed}: owners`).toBe(1)
      expect(owners.length, `seed ${seed}: nobody is outranked alive`).toBe(1)
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(OpenLockTimeoutError)
      expect(owners[0]).toBeInstanceOf(Lock)
    }
  }, 120_000)
})

/** Every call takes a random number of turns before and after. */
function jittered(files: FakeFiles, random: World['random']): FileSystem {
  const turns = async (): Promise<void> => {
    for (let n = random.u32() % 3; n > 0; n--) await new Promise<void>((resolve) => soon(resolve))
  }
  return new Proxy(files, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const call = value.bind(target) as (...args: unknown[]) => unknown
      if (!['open', 'stat', 'readdir', 'link', 'rename', 'unlink', 'syncDir'].includes(String(name))) return call
      return async (...args: unknown[]) => {
        await turns()
        const result = await call(...args)
        await turns()
        return result
      }
    },
  })
}

describe('a stopped owner whose LOCK was taken over', () => {
  const points = [
    FP.log.beforeWrite,
    FP.log.shortWrite,
    FP.log.beforeSync,
    FP.log.afterSync,
    FP.log.beforeLockCheck,
    FP.log.roll,
    FP.log.preallocate,
    FP.log.beforeFooter,
    FP.log.trim,
    FP.log.beforeClean,
  ]
  for (const point of points) {
    for (const successors of ['one', 'two', 'one that closed'] as const) {
      it(`parked at ${point}, ${successors}: is fenced, and none of its bytes are the log's`, () => stoppedOwner(point, successors))
    }
  }

  it('parked in its background sync under buffered: is fenced', () => stoppedOwner(FP.log.beforeSync, 'one', 'buffered'))
})

async function stoppedOwner(point: FailpointName, successors: 'one' | 'two' | 'one that closed', durability: 'synced' | 'buffered' = 'synced'): Promise<void> {
  const host = new Host()
  const a = host.process()
  const first = await host.open(a, { durability, bufferedSyncMs: 10 })
  const acknowledged: number[] = []
  for (let i = 0; i < 195; i++) {
    await first.append([record(i)])
    acknowledged.push(i)
  }
  await first.sync()
  const floors = [{ lsn: lsn(180), digest: await first.digestAt(lsn(180)) }]
  const stop = park(a, point)
  const rest = restOf(host, first, point, acknowledged)
  rest.catch(() => {})
  await host.run(stop.reached)
  host.declareDead(a)
  const written: number[] = []
  let successor = await work(host, host.process(), written, floors)
  // Parked beside the commit path it may have gone on until it was taken over.
  const told = acknowledged.length
  if (successors === 'two') {
    const dead = successor
    host.declareDead(dead.process)
    successor = await work(host, host.process(), written, floors)
  } else if (successors === 'one that closed') await successor.log.close()
  stop.release()
  const error = await host.run(rest.catch((thrown: unknown) => thrown))
  expect(error).toBeInstanceOf(FencedError)
  await expect(first.append([record(5000)])).rejects.toThrow()
  await host.run(first.close().catch(() => {}))
  expect(acknowledged.length, 'nothing was acknowledged after the stop').toBe(told)

  if (successors !== 'one that closed') {
    await successor.log.append([record(9000)])
    written.push(9000)
    await successor.log.close()
  }
  const reader = await host.open(host.process(), { readOnly: true, floors })
  const log = await host.open(host.process(), { floors })
  for (const again of [reader, log]) {
    const ids = idsOf(await readAll(again, again.tail))
    const own = acknowledged.filter((id) => id >= (ids[0] ?? 0))
    expect(ids.slice(0, own.length), 'what was acknowledged').toEqual(own)
    // A group that was whole when the successor looked may be there; nothing that came later may.
    const after = ids.slice(own.length)
    const late = after.filter((id) => id < 1000)
    expect(late.length).toBeLessThanOrEqual(1)
    expect(after.slice(late.length), 'the successors’ commits').toEqual(written)
  }
}

/** What the owner does until it is stopped. */
async function restOf(host: Host, log: CommitLog, point: FailpointName, acknowledged: number[]): Promise<void> {
  if (point === FP.log.trim) {
    await log.trim(lsn(180))
    throw new Error('the trim went through')
  }
  if (point === FP.log.beforeClean) return log.close()
  for (let i = acknowledged.length; i < 400; i++) {
    await log.append([record(i)])
    acknowledged.push(i)
    if (point === FP.log.beforeSync) await host.clock.advance(0)
  }
}

async function work(
  host: Host,
  process: Process,
  written: number[],
  floors: { lsn: ReturnType<typeof lsn>; digest: Uint8Array }[],
): Promise<{ log: CommitLog; process: Process }> {
  const log = await host.open(process, { floors })
  for (let i = 0; i < 60; i++) {
    const id = 1000 + written.length
    await log.append([record(id)])
    written.push(id)
  }
  return { log, process }
}
