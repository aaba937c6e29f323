// A primary whose replicas are numbers: the real store and the real count, acknowledgements by hand.
import { onTestFinished } from 'vitest'

import type { Acker, Attached } from '../../../bindings/engine/index.ts'
import { type Column, type OpenOptions, type Root, Store, t, type Table, table } from '../../../bindings/index.ts'
import { AckTracker, type ReplicaId, type ReplicaState, type SessionId } from '../../../bindings/ship/index.ts'
import type { World } from '../../../bindings/runtime/index.ts'
import type { Acknowledging } from '../../../bindings/store/acknowledging.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/index.ts'
import type { Opened } from '../../../bindings/store/wiring.ts'

export const notes: Table<'notes', { id: Column<number, number, 'number'>; text: Column<string, string, 'order'> }, ['id']> = table(
  'notes',
  { id: t.int32(), text: t.utf8() },
  { key: ['id'] },
)
export const note = (id: number, text: string = `text ${id}`): { id: number; text: string } => ({ id, text })
export const QUIET: OpenOptions = { threads: 0, upkeep: 'manual' }

export function partsOf(store: Store): Opened {
  return (store as unknown as { o: Opened }).o
}

/** What shipping has of a store that waits for replicas. */
export class Cluster {
  readonly store: Store
  readonly tracker: AckTracker
  readonly acknowledgement: Acknowledging
  readonly sessions: Map<ReplicaId, SessionId> = new Map()
  /** C as it was told. */
  readonly told: number[] = []
  local = 0
  /** Replicas that confirm at once. */
  readonly prompt: Set<ReplicaId> = new Set()
  /** Its process is gone: nobody closes it. */
  isKilled = false
  private seq = 0
  private attached: Attached | undefined

  constructor(store: Store, voters: readonly string[], o: Partial<Pick<Acker, 'ackTimeoutMs' | 'allowIndeterminate'>> = {}) {
    this.store = store
    const { acknowledgement, log } = partsOf(store)
    this.acknowledgement = acknowledgement
    const { epoch, firstLsn } = log.lineage.at(-1)!
    this.tracker = new AckTracker({ epoch: Number(epoch), firstLsn: Number(firstLsn) })
    this.tracker.assign(voters as ReplicaId[])
    this.o = { ackTimeoutMs: 5000, allowIndeterminate: false, ...o }
  }
  private readonly o: Pick<Acker, 'ackTimeoutMs' | 'allowIndeterminate'>

  async attach(): Promise<this> {
    const { tracker } = this
    const acker: Acker = {
      ...this.o,
      durable: (lsn) => {
        this.local = lsn
        tracker.local(lsn)
        for (const id of this.prompt) this.ack(id, lsn)
      },
      committed: (lsn) => void this.told.push(lsn),
      committedIn: (mode) => tracker.committedIn(mode),
      durableNodes: (lsn) => tracker.durableNodes(lsn),
      neededNodes: (mode) => tracker.neededNodes(mode),
      get reachable() {
        return tracker.reachable
      },
    }
    this.attached = await this.acknowledgement.attach(acker)
    return this
  }

  /** Everything queued is durable here. */
  async synced(): Promise<void> {
    await settles()
    while (this.local < Number(partsOf(this.store).log.submitted)) await settles(1)
  }

  detach(): void {
    this.attached?.[Symbol.dispose]()
    this.attached = undefined
  }

  /** The replica is there, with `durable` of this lineage. */
  follow(id: string, durable = 0, state: ReplicaState = 'in_sync'): void {
    const session = { epoch: this.tracker.epoch, seq: ++this.seq }
    this.sessions.set(id as ReplicaId, session)
    this.tracker.follow(id as ReplicaId, session, durable)
    this.state(id, state)
  }

  state(id: string, state: ReplicaState): void {
    this.tracker.state(id as ReplicaId, state)
    this.attached?.changed()
  }

  ack(id: string, lsn: number = this.local): void {
    if (this.tracker.ack(id as ReplicaId, this.sessions.get(id as ReplicaId)!, lsn)) this.attached?.changed()
  }

  /** From here on it confirms whatever becomes durable here. */
  confirms(id: string): void {
    this.prompt.add(id as ReplicaId)
    this.ack(id)
  }
}

/** A store of that mode with a table, and its two replicas, which confirm at once unless the test says otherwise. */
export async function cluster(
  place: string | Root,
  mode: 'async' | 'quorum' | 'all',
  o: { readonly voters?: readonly string[]; readonly open?: OpenOptions; readonly ackTimeoutMs?: number; readonly silent?: readonly string[] } = {},
): Promise<Cluster> {
  const store = await Store.open(place, { ...QUIET, ...o.open })
  const voters = o.voters ?? ['r1', 'r2']
  const made = await new Cluster(store, voters, o.ackTimeoutMs === undefined ? {} : { ackTimeoutMs: o.ackTimeoutMs }).attach()
  onTestFinished(() => (made.isKilled ? undefined : store.close().catch(() => undefined)))
  for (const id of voters) {
    if (o.silent?.includes(id) === true) continue
    made.follow(id)
    made.confirms(id)
  }
  await store.setAckMode(mode)
  if ((await store.tables()).length === 0) await store.create(notes)
  return made
}

/** As cluster(), in time that stands still. */
export async function timed(
  place: string,
  mode: 'async' | 'quorum' | 'all',
  o: { readonly voters?: readonly string[] } = {},
): Promise<{ readonly one: Cluster; readonly clock: FakeClock; readonly world: World }> {
  const clock = new FakeClock()
  const world = fakeWorld({ clock })
  const one = await cluster(place, mode, { open: { world }, ...(o.voters === undefined ? {} : { voters: o.voters }) })
  return { one, clock, world }
}

/** Lets what is ready run: turns of the event loop. */
export async function settles(turns: number = 16): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Whether it has not settled when everything that is ready has run. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let isOver = false
  const over = (): void => {
    isOver = true
  }
  promise.then(over, over)
  await settles()
  return !isOver
}
