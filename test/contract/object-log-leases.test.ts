// Pins of an object log between processes (log.md section 6): a lease each, and one of pinner and reclaimer always sees the other.
import { beforeEach, describe, expect, it } from 'vitest'

import { HistoryUnavailableError, PinRefusedError, StorageError } from '../../bindings/errors.ts'
import { lsn, openObjectLog, type ObjectWriteLog } from '../../bindings/log/index.ts'
import { FP, seededRandom } from '../../bindings/runtime/index.ts'
import { idsOf, readAll } from '../../bindings/testing/contracts/log-records.ts'
import { fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { NetRoot } from '../sim/net-root.ts'
import { commitOne } from '../sim/object-log-writers.ts'
import { Bench, type Handle, recordOf, STORE_ID } from './object-log-helpers.ts'

const SEEDS = Number(process.env['VARVE_RUNS'] ?? 100)

let bench: Bench
let pinner: Handle
let trimmer: Handle
/** 40 records of two writers. */
beforeEach(async () => {
  bench = new Bench()
  pinner = await bench.writer()
  trimmer = await bench.writer()
  for (let i = 3; i <= 40; i++) await trimmer.commit(i)
})

const leases = async (): Promise<string[]> => {
  const names: string[] = []
  for await (const { name } of bench.memory.list('leases/')) names.push(name)
  return names
}

describe('a lease', () => {
  it('holds T for another process until it is given back', async () => {
    const low = await pinner.log.pin(lsn(10), 'hold')
    const high = await pinner.log.pin(lsn(20), 'backup')
    expect(await leases()).toHaveLength(2)
    expect(await trimmer.log.trim(lsn(30))).toBe(10n)
    low.release()
    expect(await trimmer.log.trim(lsn(30))).toBe(20n)
    high.release()
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
    expect(await leases()).toEqual([])
    await expect(pinner.log.pin(lsn(29), 'hold')).rejects.toBeInstanceOf(PinRefusedError)
    expect(await leases()).toEqual([])
    expect((await pinner.log.pin(lsn(30), 'hold')).lost?.()).toBeUndefined()
  })

  it.each(['slow', 'refused'])('that was given back holds nothing for its own handle where its deletion is %s', async (how) => {
    const held = Promise.withResolvers<void>()
    pinner.root.plan(({ method, name }) =>
      method === 'delete' && name.startsWith('leases/') ? (how === 'slow' ? { wait: () => held.promise } : { error: 'io' }) : undefined,
    )
    const pin = await pinner.log.pin(lsn(10), 'hold')
    expect(await pinner.log.trim(lsn(30))).toBe(10n)
    pin.release()
    expect(await pinner.log.trim(lsn(30))).toBe(30n)
    // Others know of it only by its object.
    expect(await leases()).toHaveLength(1)
    held.resolve()
  })

  it('that is given back amid a renewal is not laid again by it', async () => {
    const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const pin = await pinner.log.pin(lsn(10), 'hold')
    pinner.root.plan(({ method, name }) => (method === 'put' && name.startsWith('leases/') ? { wait: () => (asked.resolve(), held.promise) } : undefined))
    await bench.clock.advance(20_000)
    await asked.promise
    pin.release()
    pinner.root.plan(undefined)
    held.resolve()
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(await leases()).toEqual([])
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
  })

  it.each(['renewed', 'laid', 'given back'])('of a handle that is closed while it is %s: nothing is written behind the close', async (what) => {
    const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const method = what === 'given back' ? 'delete' : 'put'
    const plan = (): void =>
      pinner.root.plan((call) => (call.method === method && call.name.startsWith('leases/') ? { wait: () => (asked.resolve(), held.promise) } : undefined))
    if (what === 'laid') plan()
    const pinning = pinner.log.pin(lsn(10), 'hold')
    // One that comes too late finds the log closed.
    pinning.catch(() => undefined)
    if (what !== 'laid') {
      const pin = await pinning
      plan()
      if (what === 'renewed') await bench.clock.advance(20_000)
      else pin.release()
    }
    await asked.promise
    let isClosed = false
    const closing = pinner.log.close().then(() => (isClosed = true))
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(isClosed).toBe(false)
    pinner.root.plan(undefined)
    held.resolve()
    await closing
    expect(await leases()).toEqual([])
    const { length } = pinner.root.calls
    await bench.clock.advance(60_000)
    expect(pinner.root.calls.slice(length).filter((call) => call.name.startsWith('leases/') && call.method !== 'list')).toEqual([])
  })

  it('is renewed for as long as it is held, and goes with its handle', async () => {
    await pinner.log.pin(lsn(10), 'hold')
    for (let minute = 0; minute < 10; minute++) {
      expect(await trimmer.log.trim(lsn(30))).toBe(10n)
      await bench.clock.advance(61_000)
    }
    await pinner.log.close()
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
  })

  it('of a process that is gone holds for 60 s of the one that looks', async () => {
    await pinner.log.pin(lsn(10), 'hold')
    pinner.root.plan(() => ({ wait: () => new Promise(() => {}) }))
    await bench.clock.advance(600_000)
    // Never seen before: for all the trimmer knows it was laid a moment ago.
    expect(await trimmer.log.trim(lsn(30))).toBe(10n)
    await bench.clock.advance(59_000)
    expect(await trimmer.log.trim(lsn(30))).toBe(10n)
    await bench.clock.advance(2_000)
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
    expect(await leases()).toEqual([])
  })

  it('of a process that stood still for too long is lost when it comes back, and says so; in time it is not', async () => {
    const pins = [await pinner.log.pin(lsn(10), 'hold'), await pinner.log.pin(lsn(35), 'hold')] as const
    await trimmer.log.trim(lsn(30))
    let release!: () => void
    const parked = new Promise<void>((resolve) => (release = resolve))
    pinner.root.plan(({ method }) => (method === 'put' ? { wait: () => parked } : undefined))
    await bench.clock.advance(90_000)
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
    expect(pins[0].lost?.()).toBeUndefined()
    pinner.root.plan(undefined)
    release()
    await bench.clock.advance(1_000)
    expect(pins[0].lost?.()).toBeInstanceOf(PinRefusedError)
    await expect(readAll(pinner.log, lsn(10))).rejects.toBeInstanceOf(HistoryUnavailableError)
    expect(pins[1].lost?.()).toBeUndefined()
    expect(await trimmer.log.trim(lsn(40))).toBe(35n)
  })

  it('granted while the floor is on its way up: what it holds stays until it goes', async () => {
    using rising = trimmer.failpoints.arm(FP.log.trim, { park: true })
    const trimming = trimmer.log.trim(lsn(30))
    await bench.elapse(rising.reached())
    const pin = await pinner.log.pin(lsn(10), 'hold')
    rising.release()
    expect(await bench.elapse(trimming)).toBe(30n)
    await pinner.log.refresh()
    expect(pinner.log.tail).toBe(30n)
    expect(idsOf(await readAll(pinner.log, lsn(10)))).toEqual(Array.from({ length: 30 }, (_, i) => i + 11))
    expect(await pinner.log.digestAt(lsn(12))).toBeDefined()
    await expect(readAll(pinner.log, lsn(9))).rejects.toBeInstanceOf(HistoryUnavailableError)
    pin.release()
    await trimmer.log.trim(lsn(30))
    expect((await bench.memory.get(`log/${'25'.padStart(20, '0')}`)).bytes).toHaveLength(0)
    await expect(readAll(pinner.log, lsn(10))).rejects.toBeInstanceOf(HistoryUnavailableError)
  })

  it('of our own holds what others took out of the log; a trim of ours goes on behind it', async () => {
    using rising = trimmer.failpoints.arm(FP.log.trim, { park: true })
    const trimming = trimmer.log.trim(lsn(20))
    await bench.elapse(rising.reached())
    const pin = await pinner.log.pin(lsn(10), 'hold')
    rising.release()
    await bench.elapse(trimming)
    await pinner.log.refresh()
    expect(await pinner.log.trim(lsn(30))).toBe(20n)
    pin.release()
    expect(await pinner.log.trim(lsn(30))).toBe(30n)
    expect((await bench.reader()).tail).toBe(30n)
  })

  it('that cannot be laid is no pin', async () => {
    pinner.root.plan(({ name }) => (name.startsWith('leases/') ? { error: 'permission' } : undefined))
    await expect(pinner.log.pin(lsn(10), 'hold')).rejects.toBeInstanceOf(StorageError)
    pinner.root.plan(undefined)
    expect(await trimmer.log.trim(lsn(30))).toBe(30n)
  })
})

describe('pins raced against trim between two processes', () => {
  it(`${SEEDS} seeds: granted and honoured, or refused`, async () => {
    let [granted, refused] = [0, 0]
    for (let seed = 1; seed <= SEEDS; seed++) {
      const race = new Bench()
      const random = seededRandom(seed)
      const open = async (): Promise<ObjectWriteLog> => {
        const world = { ...fakeWorld({ clock: race.clock }), random: seededRandom(random.u32()) }
        const net = new NetRoot(race.memory, { world, faults: 0 })
        return (await race.elapse(openObjectLog(net, { world, storeId: STORE_ID }))) as ObjectWriteLog
      }
      const [a, b] = [await open(), await open()]
      const world = { ...fakeWorld({ clock: race.clock }), random }
      const seen = { unknowns: 0, lost: 0 }
      for (let i = 3; i <= 20; i++) await race.elapse(commitOne(b, [recordOf(i)], world, seen))
      const hold = async (): Promise<void> => {
        for (let round = 0; round < 6; round++) {
          const at = lsn(Number(b.tail) + (random.u32() % 8))
          await world.timers.sleep(random.u32() % 60)
          try {
            const pin = await a.pin(at, 'hold')
            await world.timers.sleep(random.u32() % 200)
            const found = await readAll(a, at)
            expect(found.length, `seed ${seed}: records behind a pin at ${at}`).toBe(Number(a.head) - Number(at))
            granted++
            pin.release()
          } catch (error) {
            if (!(error instanceof PinRefusedError)) throw new Error(`seed ${seed}: pin at ${at}`, { cause: error })
            refused++
          }
        }
      }
      const trim = async (): Promise<void> => {
        for (let i = 21; i <= 40; i++) {
          await commitOne(b, [recordOf(i)], world, seen)
          await b.trim(lsn(Number(b.tail) + (random.u32() % 5)))
        }
      }
      await race.elapse(Promise.all([hold(), trim()]))
    }
    expect(granted).toBeGreaterThan(SEEDS)
    expect(refused).toBeGreaterThan(SEEDS / 4)
  })
})
