// log/object-trim.ts: making an object log shorter (log.md section 4, "Trim").
//
//   FLOOR.<k + 1> created -> slots at or below it overwritten by tombstones -> 7 days later their names deleted
//
// Invariant: no slot goes before the floor is above it, so whoever wins or reads a name of a slot that went learns from the floor that it counts for nothing; a
// tombstone loses to nobody, and names are freed only long after any writer may still stand still.
import { readAgain, type RetryOptions } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import type { RaisedFloor } from './floor.ts'
import { LOG_PREFIX } from './segment-list.ts'
import { slotLsnOf } from './slot.ts'
import type { SlotChain } from './slot-chain.ts'

const FREE_AFTER_MS = 7 * 24 * 60 * 60 * 1000
const AT_ONCE = 8
/** Slots that one floor takes out: bounds its size to some 64 KiB. */
const FLOOR_SLOTS_MAX = 4096
const EMPTY = new Uint8Array(0)

export interface TrimOptions {
  readonly world: World
  readonly chain: SlotChain
  readonly retry?: Partial<RetryOptions> | undefined
  /** Lowest LSN that leases of others hold; Infinity when there are none. Asked again once the floor is up. */
  readonly held: () => Promise<number>
  /** How far this handle knows that tombstones lie. */
  readonly buried: { upTo: number }
}

/** T, were it raised as far as `limit` and leases let it. */
export async function trimmableTo(limit: number, { chain, held }: TrimOptions): Promise<number> {
  const bound = Math.min(limit, await held(), chain.head)
  return bound > chain.tail ? Math.max(chain.tail, await chain.boundary(bound)) : chain.tail
}

/** Raises the floor to the last slot boundary at or below `limit` and lays tombstones. @returns T afterwards */
export async function trimSlots(limit: number, o: TrimOptions): Promise<number> {
  const { chain, world, buried } = o
  const bound = Math.min(limit, await o.held(), chain.head)
  if (bound > chain.tail) await raiseTo(await chain.boundary(bound), o)
  if (chain.tail === buried.upTo) return chain.tail
  if (world.failpoints.active) await world.failpoints.hit(FP.log.afterFloor, { tail: chain.tail })
  // A pin that was granted while the floor was on its way up has laid its lease before it looked: what it holds stays until it goes.
  const upTo = Math.min(chain.tail, await o.held())
  await buryUpTo(upTo, o)
  buried.upTo = upTo
  return chain.tail
}

async function raiseTo(tail: number, { chain, world }: TrimOptions): Promise<void> {
  if (tail <= chain.tail) return
  if (world.failpoints.active) await world.failpoints.hit(FP.log.trim, { tail: chain.tail })
  while (chain.tail < tail) {
    const step = stepUpTo(tail, chain)
    if (step === undefined) return
    await chain.floors.raise(step)
    chain.forget()
  }
}

/** The next floor: a bounded number of slots, for it names each. Another's floor may have passed what we know of the log. */
function stepUpTo(tail: number, chain: SlotChain): RaisedFloor | undefined {
  const gone = chain.slots.filter(({ first, last }) => first > chain.tail && last <= tail).slice(0, FLOOR_SLOTS_MAX)
  const end = gone.at(-1)
  if (end === undefined) return undefined
  const next = chain.slotOf(end.last + 1)
  return {
    tail: end.last,
    digest: next?.digest ?? chain.digest,
    epoch: Math.max(chain.floors.current.epoch, ...gone.map(({ epoch }) => epoch)),
    lineage: chain.lineage.filter(({ firstLsn }) => firstLsn <= end.last),
    attemptsAbove: (after) => gone.filter(({ first }) => first > after).map(({ attempt }) => attempt),
  }
}

/** Also what an earlier trim left, and void slots: whatever lies at or below `tail` and is not empty. */
async function buryUpTo(tail: number, { chain, world, retry }: TrimOptions): Promise<void> {
  const aged = (await chain.floors.olderThan(world.clock.nowMs() - FREE_AFTER_MS))?.tail ?? 0
  const { whole, empty } = await readAgain(world, () => listUpTo(tail, chain), retry)
  for (let i = 0; i < whole.length; i += AT_ONCE) {
    if (world.failpoints.active) await world.failpoints.hit(FP.log.betweenTombstones, { left: whole.length - i })
    await Promise.all(whole.slice(i, i + AT_ONCE).map((name) => readAgain(world, () => chain.root.put(name, EMPTY), retry)))
  }
  const free = empty.filter((name) => slotLsnOf(name)! <= aged)
  if (free.length > 0) await readAgain(world, () => chain.root.delete(free), retry)
}

async function listUpTo(tail: number, chain: SlotChain): Promise<{ readonly whole: string[]; readonly empty: string[] }> {
  const whole: string[] = []
  const empty: string[] = []
  for await (const { name, size } of chain.root.list(LOG_PREFIX)) {
    const first = slotLsnOf(name)
    if (first === undefined) continue
    if (first > tail) break
    ;(size > 0 ? whole : empty).push(name)
  }
  return { whole, empty }
}
