// Any order of writes, retries under their keys, acknowledgements, lost replicas, timeouts, other shippings, closes, kills and opens: a model holds what each write was told.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { lsn, Store } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FakeClock, failpoints, fakeWorld } from '../../../bindings/testing/index.ts'
import { seededRandom } from '../../../bindings/runtime/index.ts'
import { Cluster, note, notes, QUIET, settles } from './cluster.ts'

const STEPS = 60
const VOTERS = ['r1', 'r2']

interface Written {
  readonly id: number
  lsn: number
  outcome: 'open' | 'committed' | 'timeout' | 'refused'
}

const keyOf = ({ id }: Written): { idempotencyKey: string } => ({ idempotencyKey: `row ${id}` })

/** While it is under way time goes on. */
async function moving<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  let isOver = false
  void work.catch(() => undefined).then(() => (isOver = true))
  while (!isOver) await clock.advance(10)
  return work
}

/** One run; everything from the seed. */
async function run(seed: number): Promise<{ committed: number; timeouts: number; opens: number; replays: number }> {
  const random = seededRandom(seed)
  const pick = (n: number): number => random.u32() % n
  const mode = pick(3) === 0 ? 'all' : 'quorum'
  const clock = new FakeClock(undefined, { turns: 2 })
  const root = new MemoryRoot({})
  let processes = 0
  const count = { committed: 0, timeouts: 0, opens: 0, replays: 0 }
  const written: Written[] = []
  /** What each replica has, by the words of its acknowledgements; it survives the primary. */
  const durable = new Map(VOTERS.map((id) => [id, 0]))
  /** On as many replicas as that asks for. */
  const heldBy = (ack: 'quorum' | 'all'): number => [...durable.values()].sort((a, b) => b - a)[ack === 'all' ? VOTERS.length - 1 : 0]!
  /** The most that was ever shown as committed. */
  let shown = 0
  let next = 0

  for (let life = 0; life < 3; life++) {
    const pid = ++processes
    const world = fakeWorld({ clock, seed: seed + pid, host: { pid, isAlive: (other) => other === pid } })
    const store = await moving(clock, Store.open(root, { ...QUIET, world }))
    count.opens++
    const made = { ackTimeoutMs: 100, allowIndeterminate: pick(2) === 0 }
    let one = new Cluster(store, VOTERS, made)
    const firstLsn = one.tracker.firstLsn
    let isOver = false
    const check = async (): Promise<void> => {
      const c = Number(store.lsn)
      expect(c, 'C never goes down in a process').toBeGreaterThanOrEqual(one.told.at(-1) ?? 0)
      // By the rule: on as many nodes, and with a record of this epoch, or told before.
      if (c > shown) {
        expect(heldBy(mode), `C ${c} is on enough replicas`).toBeGreaterThanOrEqual(c)
        if (life > 0) expect(c).toBeGreaterThanOrEqual(firstLsn)
        shown = c
      }
      for (const each of written) {
        const visible = (await store.get(notes, each.id)) !== undefined
        if (each.outcome === 'refused') expect(visible, `row ${each.id} was refused`).toBe(false)
        else if (each.lsn > 0) expect(visible, `row ${each.id} at LSN ${each.lsn}, C is ${c}`).toBe(each.lsn <= c)
      }
    }
    if (life === 0) {
      await store.create(notes)
      shown = Number(store.lsn)
    }
    await one.attach()
    if (life === 0) await store.setAckMode(mode)
    // In mode async the log alone was C.
    shown = Math.max(shown, Number(store.lsn))
    for (let step = 0; step < STEPS && !isOver; step++) {
      const what = pick(100)
      const id = VOTERS[pick(VOTERS.length)]!
      const session = one.sessions.get(id as never)
      if (what < 25) {
        const row: Written = { id: next++, lsn: 0, outcome: 'open' }
        written.push(row)
        const told = store.append(notes, note(row.id), keyOf(row))
        const promise = told.then(
          (result) => {
            row.lsn = Number(result.lsn)
            row.outcome = 'committed'
            count.committed++
            expect(row.lsn).toBeLessThanOrEqual(Number(store.lsn))
          },
          (error: Error & { lsn?: bigint }) => {
            row.outcome = error.name === 'AckTimeoutError' ? 'timeout' : 'refused'
            if (error.lsn !== undefined) row.lsn = Number(error.lsn)
            if (error.name === 'AckTimeoutError') count.timeouts++
            else expect(error.name).toBe('AckUnavailableError')
          },
        )
        promise.catch((error: unknown) => {
          throw error
        })
      } else if (what < 35) {
        const row = written[pick(Math.max(1, written.length))]
        if (row === undefined || row.lsn === 0) continue
        const ack = pick(2) === 0 ? 'all' : undefined
        const promise = store.append(notes, note(row.id), ack === undefined ? keyOf(row) : { ...keyOf(row), ack }).then(
          (result) => {
            count.replays++
            expect(result).toMatchObject({ lsn: BigInt(row.lsn), replayed: true })
            expect(heldBy(ack ?? mode), `the retry of row ${row.id} at LSN ${row.lsn} for ${ack ?? mode}`).toBeGreaterThanOrEqual(row.lsn)
            expect(row.lsn).toBeLessThanOrEqual(Number(store.lsn))
            row.outcome = 'committed'
          },
          (error: Error) => expect(error.name).toMatch(/^(AckTimeoutError|AckUnavailableError|ClosedError)$/),
        )
        promise.catch((error: unknown) => {
          throw error
        })
      } else if (what < 60) {
        if (session !== undefined && one.local > 0) {
          const upTo = Math.min(one.local, Math.max(durable.get(id)!, durable.get(id)! + 1 + pick(4)))
          // It has it, whether or not the primary hears of it.
          durable.set(id, Math.max(durable.get(id)!, upTo))
          if (pick(5) > 0) one.ack(id, upTo)
        }
      } else if (what < 75) {
        one.follow(id, Math.min(durable.get(id)!, one.local), pick(2) === 0 ? 'in_sync' : 'catching_up')
      } else if (what < 85) one.state(id, (['degraded', 'disconnected', 'in_sync', 'catching_up'] as const)[pick(4)]!)
      else if (what < 95) await clock.advance(pick(60))
      else if (what < 97) {
        // Shipped again: others count from here on.
        one.detach()
        one = await new Cluster(store, VOTERS, made).attach()
      } else {
        isOver = true
        break
      }
      await settles(pick(4))
      await check()
    }
    await settles(6)
    await check()
    if (pick(2) === 0) {
      if (pick(2) === 0) one.detach()
      await moving(clock, store.close())
      for (const each of written) expect(each.outcome, `write ${each.id} was told something`).not.toBe('open')
    } else {
      failpoints(world).crash()
      // Killed: nobody was told anything more.
      for (const each of written) if (each.outcome === 'open') each.outcome = 'timeout'
      // What a kill leaves: C in NODE may be behind what was shown.
      shown = 0
    }
  }
  // In the end everybody is back: whatever was acknowledged is there.
  const world = fakeWorld({ clock, seed: seed + 99, host: { pid: 99, isAlive: (other) => other === 99 } })
  await using store = await moving(clock, Store.open(root, { ...QUIET, world }))
  const one = await new Cluster(store, VOTERS).attach()
  for (const id of VOTERS) {
    one.follow(id, Math.min(durable.get(id)!, one.local))
    one.confirms(id)
  }
  await store.waitCommitted(lsn(one.local))
  for (const each of written) {
    const visible = (await store.get(notes, each.id)) !== undefined
    if (each.outcome === 'committed') expect(visible, `row ${each.id} was acknowledged at LSN ${each.lsn}`).toBe(true)
    if (each.outcome === 'refused') expect(visible, `row ${each.id} was refused`).toBe(false)
  }
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
  return count
}

describe('writes that wait for replicas', () => {
  it('are told nothing that is not so, in any order of events', async () => {
    const total = { committed: 0, timeouts: 0, opens: 0, replays: 0 }
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1_000_000 }), async (seed) => {
        const count = await run(seed)
        total.committed += count.committed
        total.timeouts += count.timeouts
        total.opens += count.opens
        total.replays += count.replays
      }),
      { numRuns: 50 },
    )
    // All ways were walked.
    expect(total.committed).toBeGreaterThan(20)
    expect(total.timeouts).toBeGreaterThan(20)
    expect(total.replays).toBeGreaterThan(5)
  })
})
