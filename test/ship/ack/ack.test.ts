import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { type AckMode, AckTracker, type ReplicaId, type ReplicaState, type SessionId } from '../../../bindings/ship/index.ts'

const ids = (n: number): ReplicaId[] => Array.from({ length: n }, (_, i) => `r${i + 1}` as ReplicaId)
const R1 = 'r1' as ReplicaId
const R2 = 'r2' as ReplicaId
const at = (seq: number, epoch = 1): SessionId => ({ epoch, seq })

/** A primary at LSN 100 of epoch 1 with voters r1, r2, ... in sync at what they are given. */
function tracker(...durable: readonly number[]): AckTracker {
  const made = new AckTracker({ epoch: 1, firstLsn: 1 })
  made.assign(ids(durable.length))
  made.local(100)
  durable.forEach((lsn, i) => {
    made.follow(ids(durable.length)[i]!, at(1), lsn)
    made.state(ids(durable.length)[i]!, 'in_sync')
  })
  return made
}

describe('the count', () => {
  it('A1 async needs nobody; quorum of 2 nodes is QuorumTooSmallError; of 3 and 5 it needs 1 and 2 replicas; all needs each', () => {
    expect(tracker().committedIn('async')).toBe(100)
    expect(tracker().neededNodes('async')).toBe(1)
    expect(() => tracker(0).neededNodes('quorum')).toThrow(expect.objectContaining({ name: 'QuorumTooSmallError' }))
    expect(() => tracker().check('quorum')).toThrow('a quorum needs 3 nodes')
    expect(tracker(0, 0).neededNodes('quorum')).toBe(2)
    expect(tracker(0, 0, 0).neededNodes('quorum')).toBe(3)
    expect(tracker(0, 0, 0, 0).neededNodes('quorum')).toBe(3)
    expect(tracker(90, 0, 0, 0).committedIn('quorum')).toBe(0)
    expect(tracker(90, 70, 0, 0).committedIn('quorum')).toBe(70)
    expect(tracker(90, 70, 80, 0).committedIn('quorum')).toBe(80)
    expect(tracker(0, 0, 0, 0).neededNodes('all')).toBe(5)
    expect(tracker(90, 70).committedIn('all')).toBe(70)
  })

  it('A2 the lagging one of two does not hold a quorum up', () => {
    expect(tracker(100, 3).committedIn('quorum')).toBe(100)
    expect(tracker(100, 3).committedIn('all')).toBe(3)
  })

  it('A7 a learner that is made a voter counts at once with what its session has said, and no longer when it is a learner again', () => {
    const made = tracker(100, 100)
    const R3 = 'r3' as ReplicaId
    made.follow(R3, at(1), 60)
    made.state(R3, 'in_sync')
    made.ack(R3, at(1), 80)
    expect([made.nodes, made.reachable, made.committedIn('all')]).toEqual([3, 3, 100])
    made.local(120)
    made.assign([R1, R2, R3])
    made.ack(R1, at(1), 120)
    made.ack(R2, at(1), 120)
    expect([made.nodes, made.reachable, made.durableNodes(80), made.committedIn('all')]).toEqual([4, 4, 4, 100])
    made.ack(R3, at(1), 110)
    expect(made.committedIn('all')).toBe(110)
    made.assign([R1, R2])
    expect([made.nodes, made.durableNodes(110), made.committedIn('all')]).toEqual([3, 3, 120])
  })

  it('A7 what a replica says in its hello counts, so one that comes back with less has forgotten it', () => {
    const made = tracker(0, 0)
    made.follow(R1, at(1), 100)
    made.state(R1, 'in_sync')
    expect(made.committedIn('quorum')).toBe(100)
    made.unfollow(R1, at(1))
    expect(made.follow(R1, at(2), 60)).toEqual({ confirmed: 100, durable: 60 })
    expect([made.isAmnesic(R1), made.durableNodes(60)]).toEqual([true, 1])
  })

  it('A7 a learner whose session is over is not known by what it said before', () => {
    const made = tracker(100, 100)
    const R3 = 'r3' as ReplicaId
    made.follow(R3, at(1), 100)
    made.unfollow(R3, at(1))
    made.assign([R1, R2, R3])
    made.state(R3, 'in_sync')
    expect([made.reachable, made.durableNodes(50)]).toEqual([3, 3])
    expect(made.follow(R3, at(2), 40)).toBeUndefined()
  })

  it('A3 all of no voters is not everybody', () => {
    const alone = tracker()
    expect(alone.neededNodes('all')).toBe(2)
    expect(alone.reachable).toBe(1)
    expect(alone.committedIn('all')).toBe(0)
  })

  it('A3 a voter that is assigned and was never there is one of N', () => {
    const made = tracker(100)
    made.assign([R1, R2])
    expect(made.nodes).toBe(3)
    expect(made.committedIn('all')).toBe(0)
    expect(made.committedIn('quorum')).toBe(100)
  })

  it('a record is never committed that the primary has not synced, whoever has it', () => {
    const made = tracker(100, 100)
    made.ack(R1, at(1), 120)
    made.ack(R2, at(1), 120)
    expect(made.committedIn('quorum')).toBe(100)
    made.local(110)
    expect(made.committedIn('quorum')).toBe(110)
    expect(made.committedIn('all')).toBe(110)
  })

  it('A5 a late acknowledgement counts; one of another session or epoch never does', () => {
    const made = tracker(10, 0)
    expect(made.ack(R1, at(2), 90)).toBe(false)
    expect(made.ack(R1, at(1, 0), 90)).toBe(false)
    expect(made.ack(R1, at(1, 2), 90)).toBe(false)
    expect(made.ack('r9' as ReplicaId, at(1), 90)).toBe(false)
    expect(made.committedIn('quorum')).toBe(10)
    made.follow(R1, at(2), 10)
    expect(made.ack(R1, at(1), 90)).toBe(false)
    expect(made.ack(R1, at(2), 90)).toBe(true)
    expect(made.ack(R1, at(2), 80)).toBe(false)
    expect(made.committedIn('quorum')).toBe(90)
  })

  it('A5 a session of another epoch cannot begin', () => {
    const made = tracker(0, 0)
    made.follow(R1, at(5, 2), 100)
    made.ack(R1, at(5, 2), 100)
    expect(made.committedIn('quorum')).toBe(0)
  })

  it('A6 a replica that is down does not take back what was committed', () => {
    const made = tracker(80, 80)
    expect(made.committedIn('all')).toBe(80)
    made.state(R1, 'disconnected')
    expect(made.committedIn('all')).toBe(80)
    made.unfollow(R1, at(1))
    made.assign([R1, R2, 'r3' as ReplicaId, 'r4' as ReplicaId])
    expect(made.committedIn('all')).toBe(80)
  })

  it.each(['disconnected', 'connecting', 'rebuilding', 'degraded', 'needs_rebuild', 'halted', 'stopped'] as const)(
    'A7 a voter that is %s does not count, and stays in N',
    (state) => {
      const made = tracker(0, 0)
      made.ack(R1, at(1), 100)
      made.state(R1, state)
      expect(made.committedIn('quorum')).toBe(0)
      expect(made.reachable).toBe(2)
      expect(made.nodes).toBe(3)
      expect(made.durableNodes(50)).toBe(1)
      made.state(R1, 'catching_up')
      expect(made.committedIn('quorum')).toBe(100)
    },
  )

  it('A7 a learner is not a voter: what it says is nothing', () => {
    const made = tracker(0, 0)
    expect(made.follow('learner' as ReplicaId, at(1), 100)).toBeUndefined()
    expect(made.ack('learner' as ReplicaId, at(1), 100)).toBe(false)
    made.state('learner' as ReplicaId, 'in_sync')
    expect(made.committedIn('quorum')).toBe(0)
    expect(made.reachable).toBe(3)
  })

  it('A8 an entry of an older epoch is committed only together with one of this epoch', () => {
    const made = new AckTracker({ epoch: 2, firstLsn: 11 })
    made.assign([R1, R2])
    made.local(11)
    made.follow(R1, at(1, 2), 10)
    made.state(R1, 'catching_up')
    made.follow(R2, at(2, 2), 10)
    made.state(R2, 'catching_up')
    expect(made.committedIn('quorum')).toBe(0)
    expect(made.committedIn('all')).toBe(0)
    made.ack(R1, at(1, 2), 11)
    expect(made.committedIn('quorum')).toBe(11)
    expect(made.committedIn('all')).toBe(0)
  })

  it('M2b a voter that comes back with less than it confirmed does not count before it is in sync', () => {
    const made = tracker(0, 0)
    made.ack(R1, at(1), 90)
    expect(made.follow(R1, at(2), 20)).toEqual({ confirmed: 90, durable: 20 })
    made.state(R1, 'catching_up')
    expect(made.isAmnesic(R1)).toBe(true)
    made.ack(R1, at(2), 100)
    expect(made.durableNodes(30)).toBe(1)
    expect(made.reachable).toBe(2)
    expect(made.committedIn('quorum')).toBe(0)
    made.state(R1, 'in_sync')
    expect(made.committedIn('quorum')).toBe(100)
    // With as much as it confirmed it has forgotten nothing.
    expect(made.follow(R1, at(3), 100)).toBeUndefined()
  })
})

// Against the words of shipping.md section 12, from scratch each time.

type Event =
  | { readonly kind: 'local'; readonly lsn: number }
  | { readonly kind: 'ack'; readonly who: number; readonly stale: boolean; readonly lsn: number }
  | { readonly kind: 'follow'; readonly who: number; readonly lsn: number }
  | { readonly kind: 'unfollow'; readonly who: number; readonly stale: boolean }
  | { readonly kind: 'state'; readonly who: number; readonly state: ReplicaState }
  | { readonly kind: 'assign'; readonly voters: number }

const STATES: readonly ReplicaState[] = ['disconnected', 'connecting', 'catching_up', 'rebuilding', 'in_sync', 'degraded', 'needs_rebuild', 'halted', 'stopped']
const lsnOf = fc.integer({ min: 0, max: 40 })
const whoOf = fc.integer({ min: 0, max: 4 })
const events: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('local' as const), lsn: lsnOf }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('ack' as const), who: whoOf, stale: fc.boolean(), lsn: lsnOf }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('follow' as const), who: whoOf, lsn: lsnOf }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('unfollow' as const), who: whoOf, stale: fc.boolean() }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('state' as const), who: whoOf, state: fc.constantFrom(...STATES, 'in_sync' as const, 'catching_up' as const) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('assign' as const), voters: fc.integer({ min: 0, max: 5 }) }) },
  ),
  { maxLength: 60 },
)

/** Nothing is kept of a learner without a session: it is `fresh` again. */
interface Node {
  voter: boolean
  session: number
  durable: number
  said: number
  amnesia: boolean
  state: ReplicaState
}

describe('the count, of any events', () => {
  it('is what the rules say, never goes down, and never passes what the nodes have', () => {
    fc.assert(
      fc.property(events, fc.integer({ min: 1, max: 12 }), (run, firstLsn) => {
        const made = new AckTracker({ epoch: 3, firstLsn })
        const names = ids(5)
        made.assign(names.slice(0, 2))
        const fresh = (voter: boolean): Node => ({ voter, session: 0, durable: 0, said: 0, amnesia: false, state: 'disconnected' })
        const nodes = names.map((_, i) => fresh(i < 2))
        let local = 0
        let seq = 0
        const best: Record<AckMode, number> = { async: 0, quorum: 0, all: 0 }
        for (const event of run) {
          if (event.kind === 'local') {
            local = Math.max(local, event.lsn)
            made.local(event.lsn)
          } else if (event.kind === 'assign') {
            nodes.forEach((node, i) => {
              node.voter = i < event.voters
              if (!node.voter && node.session === 0) nodes[i] = fresh(false)
            })
            made.assign(names.slice(0, event.voters))
          } else {
            const node = nodes[event.who]!
            const id = names[event.who]!
            if (event.kind === 'follow') {
              made.follow(id, { epoch: 3, seq: ++seq }, event.lsn)
              node.session = seq
              node.durable = event.lsn
              // What the primary has not synced itself may have been cut there by its own order.
              if (event.lsn < Math.min(node.said, local)) node.amnesia = true
              node.said = event.lsn
            } else if (event.kind === 'unfollow') {
              // Of a session before: what ends late ends nothing of the one that followed.
              made.unfollow(id, { epoch: 3, seq: event.stale ? node.session - 1 : node.session })
              if (!event.stale && node.voter) node.session = 0
              else if (!event.stale) nodes[event.who] = fresh(false)
            } else if (event.kind === 'state') {
              made.state(id, event.state)
              if (node.voter || node.session > 0) {
                node.state = event.state
                if (event.state === 'in_sync') node.amnesia = false
              }
            } else {
              made.ack(id, { epoch: 3, seq: event.stale ? node.session + 1000 : node.session }, event.lsn)
              if (node.session > 0 && !event.stale && event.lsn > node.durable) {
                node.durable = event.lsn
                node.said = Math.max(node.said, event.lsn)
              }
            }
          }
          const counting = nodes.filter(
            ({ voter, session, amnesia, state }) => voter && session > 0 && !amnesia && (state === 'in_sync' || state === 'catching_up'),
          )
          const n = 1 + nodes.filter(({ voter }) => voter).length
          expect(made.reachable).toBe(1 + counting.length)
          for (const mode of ['async', 'quorum', 'all'] as const) {
            const needed = mode === 'async' ? 0 : mode === 'all' ? Math.max(1, n - 1) : Math.max(1, Math.floor(n / 2))
            // The highest L that is durable on the primary and on so many others.
            let reached = 0
            for (let lsn = 1; lsn <= local; lsn++) if (counting.filter(({ durable }) => durable >= lsn).length >= needed) reached = lsn
            if (reached >= firstLsn) best[mode] = Math.max(best[mode], reached)
            expect(made.committedIn(mode)).toBe(best[mode])
          }
        }
      }),
      { numRuns: 400 },
    )
  })
})
