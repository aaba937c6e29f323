// Many writers on one object log over a faulty network, on virtual time: what they wrote, and what must be true of it afterwards.
import '../loaded.ts'
import { CommitOutcomeUnknownError, LsnTakenError, StorageError } from '../../bindings/errors.ts'
import { type LogBatch, type LogRecord, lsn, type Lsn, type ObjectWriteLog, openObjectLog } from '../../bindings/log/index.ts'
import { MemoryRoot, type RetryOptions } from '../../bindings/root/index.ts'
import { seededRandom, type World } from '../../bindings/runtime/index.ts'
import { check, checkEqual } from '../../bindings/testing/contracts/check.ts'
import { idOf, recordsOf } from '../../bindings/testing/contracts/log-records.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { NetRoot } from './net-root.ts'

export const STORE_ID: Uint8Array = new Uint8Array(16).fill(5)
/** Gives up early, so that outcomes stay unknown often. */
const RETRY: Partial<RetryOptions> = { attempts: 2, baseMs: 10, capMs: 200, deadlineMs: 2_000 }
const HOUR_MS = 3_600_000
const WEEK_MS = 7 * 24 * 3_600_000

export interface Scenario {
  readonly seed: number
  readonly writers: number
  readonly appends: number
  readonly faults: number
  /** Share of appends before which the writer's process dies and another opens. */
  readonly deaths?: number
  /** Writers trim behind the reader now and then. */
  readonly trims?: boolean
  /** Share of appends during which the process stands still, while the others go on, trim, and free names that are a week old. */
  readonly freezes?: number
}

export interface Outcome {
  readonly records: number
  readonly faults: number
  readonly unknowns: number
  readonly lost: number
  readonly requests: number
}

/** One append of one record, as the engine does it: again behind the winners, and after an unknown outcome only once it is known. */
export async function commitOne(
  log: ObjectWriteLog,
  records: readonly LogRecord[],
  world: Pick<World, 'timers' | 'random'>,
  seen: { unknowns: number; lost: number },
): Promise<Lsn> {
  for (;;) {
    try {
      return (await log.append(records, { expect: log.head })).first
    } catch (error) {
      if (error instanceof LsnTakenError) seen.lost++
      else if (error instanceof CommitOutcomeUnknownError) {
        seen.unknowns++
        const found = await settle(log, world)
        if (found?.durable === true) return found.first
      } else if (!(error instanceof StorageError)) throw error
    }
    await world.timers.sleep(world.random.u32() % 40)
  }
}

async function settle(log: ObjectWriteLog, world: Pick<World, 'timers' | 'random'>): ReturnType<ObjectWriteLog['resolveUnknown']> {
  for (;;) {
    try {
      return await log.resolveUnknown()
    } catch (error) {
      if (!(error instanceof CommitOutcomeUnknownError)) throw error
      await world.timers.sleep(world.random.u32() % 200)
    }
  }
}

/** Lets time go by until the promise settles. */
export async function elapse<T>(clock: FakeClock, promise: Promise<T>, stepMs: number = 1_000): Promise<T> {
  let done = false
  promise.then(
    () => (done = true),
    () => (done = true),
  )
  for (const endMs = clock.clock.monoMs() + HOUR_MS; !done;) {
    await clock.advance(stepMs)
    check(clock.clock.monoMs() < endMs, 'it settles within an hour of virtual time')
  }
  return promise
}

export async function runWriters(o: Scenario): Promise<Outcome> {
  const clock = new FakeClock(undefined, { turns: 1 })
  const memory = new MemoryRoot({})
  const random = seededRandom(o.seed)
  const nets: NetRoot[] = []
  const seen = { unknowns: 0, lost: 0 }
  const acknowledged = new Map<number, Lsn>()
  /** Of processes that died: there or not, at most once. */
  const undecided = new Set<number>()
  let followed = 0n
  /** Where the reader found each record. */
  const places = new Map<number, bigint>()

  const open = async (): Promise<{ log: ObjectWriteLog; net: NetRoot; world: World }> => {
    for (;;) {
      const world = { ...fakeWorld({ clock }), random: seededRandom(random.u32()) }
      const net = new NetRoot(memory, { world, faults: o.faults })
      nets.push(net)
      try {
        return { log: (await openObjectLog(net, { world, storeId: STORE_ID, retry: RETRY })) as ObjectWriteLog, net, world }
      } catch (error) {
        if (!(error instanceof StorageError || error instanceof CommitOutcomeUnknownError)) throw error
        await world.timers.sleep(50)
      }
    }
  }

  const write = async (w: number): Promise<void> => {
    let at = await open()
    for (let i = 0; i < o.appends; i++) {
      const id = w * 1_000_000 + i
      await at.world.timers.sleep(random.u32() % 30)
      const records = Array.from({ length: 1 + (random.u32() % 3) }, (_, k) => recordOf(id + k * 1_000))
      if (random.u32() / 2 ** 32 < (o.deaths ?? 0)) {
        // The append is under way when the process ends.
        at.log.append(records, { expect: at.log.head }).catch(() => undefined)
        for (const record of records) undecided.add(idOf(record.payload))
        await at.world.timers.sleep(random.u32() % 25)
        at.net.dead = true
        at = await open()
        continue
      }
      if (random.u32() / 2 ** 32 < (o.freezes ?? 0)) {
        const { net } = at
        at.world.timers.set(random.u32() % 40, () => {
          net.parked = at.world.timers.sleep(random.u32() % 4_000)
          clock.step(WEEK_MS * 1.1)
        })
      }
      // Somebody reads at the same time.
      if (random.u32() % 8 === 0) at.log.refresh().catch(ignoreStorage)
      const first = await commitOne(at.log, records, at.world, seen)
      for (const [k, record] of records.entries()) acknowledged.set(idOf(record.payload), lsn(first + BigInt(k)))
      const behind = BigInt(random.u32() % 20)
      if (o.trims === true && i % 4 === 3 && followed > behind) await at.log.trim(lsn(followed - behind)).catch(ignoreStorage)
    }
  }

  const stop = new AbortController()
  const follow = async (): Promise<void> => {
    const world = { ...fakeWorld({ clock }), random: seededRandom(random.u32()) }
    const net = new NetRoot(memory, { world, faults: o.faults })
    for (;;) {
      try {
        await using log = await openObjectLog(net, { world, storeId: STORE_ID, readOnly: true, follow: false, tailPollMs: 200 })
        for await (const batch of log.tailing(lsn(followed), { signal: stop.signal })) {
          check(batch.first === followed + 1n, 'the reader sees every record once and in order', `${batch.first} after ${followed}`)
          followed = batch.last
          note(batch, places)
        }
      } catch (error) {
        if (stop.signal.aborted) return
        // The network was away for too long: it begins again behind what it has.
        ignoreStorage(error)
      }
    }
  }

  const followed_ = follow()
  followed_.catch(() => undefined)
  await elapse(clock, Promise.all(Array.from({ length: o.writers }, (_, w) => write(w + 1))))
  // Late requests are executed by now, and the reader has caught up.
  await clock.advance(20_000)
  stop.abort()
  await elapse(clock, followed_)
  await verify(memory, clock, { acknowledged, undecided, places, followed })
  return { records: acknowledged.size, faults: nets.flatMap(({ faulted }) => faulted).length, ...seen, requests: nets.flatMap(({ calls }) => calls).length }
}

interface Found {
  readonly acknowledged: ReadonlyMap<number, Lsn>
  readonly undecided: ReadonlySet<number>
  readonly places: ReadonlyMap<number, bigint>
  readonly followed: bigint
}

/** 0 lost acknowledgements, 0 duplicates, 0 gaps; and a reader that comes now finds what the one that followed found. */
async function verify(memory: MemoryRoot, clock: FakeClock, { acknowledged, undecided, places, followed }: Found): Promise<void> {
  for (const [id, at] of acknowledged) check(places.get(id) === at, `record ${id} is at ${at}, where it was acknowledged`, places.get(id))
  for (const id of places.keys()) check(acknowledged.has(id) || undecided.has(id), `record ${id} was written by somebody`)
  const cold = await openObjectLog(memory, { world: fakeWorld({ clock }), storeId: STORE_ID, readOnly: true, follow: false })
  checkEqual(followed, cold.head, 'the reader followed to the head')
  const left = new Map<number, bigint>()
  let next: bigint = cold.tail + 1n
  for await (const batch of cold.read(cold.tail)) {
    check(batch.first === next, 'no gap', `${batch.first} instead of ${next}`)
    next = batch.last + 1n
    note(batch, left)
  }
  checkEqual(next, cold.head + 1n, 'the log reads to its head')
  for (const [id, at] of left) check(places.get(id) === at, `record ${id} is at ${at} for every reader`, places.get(id))
}

function note(batch: LogBatch, places: Map<number, bigint>): void {
  for (const [i, { kind, payload }] of recordsOf(batch).entries()) {
    if (kind !== 2) continue
    const [id, at] = [idOf(payload), batch.first + BigInt(i)]
    check(!places.has(id), `record ${id} is in the log once`, `${places.get(id)} and ${at}`)
    places.set(id, at)
  }
}

export function recordOf(id: number): LogRecord {
  const payload = new Uint8Array(24)
  new DataView(payload.buffer).setUint32(0, id, true)
  return { kind: 2, payload }
}

function ignoreStorage(error: unknown): void {
  if (!(error instanceof StorageError || error instanceof CommitOutcomeUnknownError)) throw error
}
