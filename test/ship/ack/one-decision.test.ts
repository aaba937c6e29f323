// Two logs of one mandate (decision 0035): which of them may hold what was acknowledged, and whose primary stops to ship.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { StaleEpochError } from '../../../bindings/errors-ship.ts'
import { candidates, type DecidedAt, type NodeRecord, replicaId, type ReplicaId } from '../../../bindings/ship/index.ts'
import { noteFence } from '../../../bindings/ship/planner.ts'
import { makeRegistry, policy, replica } from '../policy/kit.ts'

const STORE = 'ab'.repeat(16)
const CALLER = { storeId: STORE, epoch: 30 }
const MANDATE = 5
const FIRST = 51

const decided = (digest: string, o: Partial<DecidedAt> = {}): DecidedAt => ({ lsn: FIRST, digest, isExact: true, ...o })

function record(id: string, o: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id: id as ReplicaId,
    storeId: STORE,
    role: 'voter',
    state: 'degraded',
    isRunning: true,
    epochSeen: 30,
    lastMandate: MANDATE,
    lastEpoch: 7,
    decidedAt: undefined,
    committedLsn: 50,
    readableLsn: 100,
    isIntact: true,
    ackMode: 'all',
    isAmnesic: false,
    ...o,
  }
}

const idsOf = (records: readonly NodeRecord[], mode: 'async' | 'quorum' | 'all' = 'quorum', nodes = 3): string[] | string => {
  const { candidates: found, reason } = candidates(records, mode, nodes, CALLER)
  return found.length === 0 ? reason : found.map(({ id }) => id)
}

describe('candidates, of two decisions of one mandate', () => {
  const a = record('a', { decidedAt: decided('aa'), readableLsn: 60 })
  const b = record('b', { decidedAt: decided('bb'), readableLsn: 90, lastEpoch: 9 })
  const heard = { ...a, committedLsn: FIRST }

  it('the one that was told of a commit wins over a longer log of a later epoch', () => {
    expect(idsOf([heard, b])).toEqual(['a'])
    expect(idsOf([b, heard, record('c', { lastMandate: 0, readableLsn: 200 })])).toEqual(['a'])
    // Its log was trimmed behind that record: it was committed.
    expect(idsOf([{ ...heard, decidedAt: decided('', { isExact: false }) }, b])).toBe('two_decisions')
    // None is longer: whatever the other one is, it holds nothing of that commit's decision that this one lacks.
    expect(
      idsOf([
        { ...heard, decidedAt: decided('', { isExact: false }) },
        { ...b, lastEpoch: 7, readableLsn: 55 },
      ]),
    ).toEqual(['a'])
    expect(idsOf([{ ...heard, decidedAt: decided('', { isExact: false }) }, heard, b])).toEqual(['a', 'a'])
  })

  it('with no word of a commit the one wins that a majority can have followed, and nobody where that is not known', () => {
    expect(idsOf([a, b])).toBe('two_decisions')
    expect(idsOf([a, { ...a, id: 'c' as ReplicaId }, b])).toEqual(['a', 'c'])
    // Neither has a majority: neither has committed anything.
    expect(idsOf([a, b, record('c', { lastMandate: 0 })])).toEqual(['b'])
    const five = [a, b, ...['c', 'd'].map((id) => record(id, { lastMandate: 0 }))]
    expect(idsOf(five, 'quorum', 5)).toEqual(['b'])
    const more = [a, { ...a, id: 'c' as ReplicaId }, b]
    expect(idsOf(more, 'quorum', 5)).toBe('two_decisions')
    expect(idsOf([...more, record('d', { lastMandate: 0 })], 'quorum', 5)).toEqual(['a', 'c'])
    expect(idsOf([a, b, record('c', { lastMandate: 0 })], 'quorum', 7)).toBe('too_few_records')
    expect(idsOf([a, { ...a, id: 'c' as ReplicaId }, b, { ...b, id: 'd' as ReplicaId }], 'quorum', 6)).toBe('two_decisions')
  })

  it('a claim and a promotion of one number are two decisions as well', () => {
    const claim = { ...a, lastMandate: MANDATE - 1 }
    const told = { ...claim, committedLsn: FIRST }
    expect(idsOf([told, b])).toEqual(['a'])
    expect(idsOf([claim, b])).toBe('two_decisions')
    expect(idsOf([claim, { ...claim, id: 'c' as ReplicaId }, b])).toEqual(['a', 'c'])
    // Of another number it is just the lower one.
    expect(idsOf([{ ...told, lastMandate: MANDATE - 2 }, b])).toEqual(['b'])
  })

  it('in mode all neither has committed anything where two are seen, and async takes the longest as ever', () => {
    expect(idsOf([a, b], 'all')).toEqual(['b'])
    expect(idsOf([a, b], 'async')).toEqual(['b'])
  })

  it('a log that does not say where its mandate began is not taken for one of another decision', () => {
    const trimmed = record('c', { decidedAt: decided('cc', { lsn: 80, isExact: false }), readableLsn: 120 })
    expect(idsOf([heard, trimmed])).toBe('two_decisions')
    expect(idsOf([heard, { ...trimmed, committedLsn: 80 }])).toEqual(['c'])
    expect(idsOf([a, trimmed])).toBe('two_decisions')
  })

  it('of any cluster: nothing that a majority had is missing from the winner', () => {
    const node = fc.record({
      vote: fc.constantFrom('aa', 'bb', ''),
      lsn: fc.integer({ min: FIRST, max: FIRST + 20 }),
      told: fc.integer({ min: 0, max: FIRST + 20 }),
      asked: fc.boolean(),
      epoch: fc.integer({ min: 7, max: 9 }),
      isExact: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(node, { minLength: 3, maxLength: 7 }), (all) => {
        const majority = Math.floor(all.length / 2) + 1
        const committedOf = (vote: string): number =>
          all.flatMap((each) => (each.vote === vote ? [each.lsn] : [])).sort((x, y) => y - x)[majority - 1] ?? FIRST - 1
        const asked = all.flatMap(({ vote, lsn, told, asked: isAsked, epoch, isExact }, i) => {
          if (!isAsked) return []
          if (vote === '') return [record(`n${i}`, { lastMandate: 0, lastEpoch: epoch - 6, readableLsn: 50 })]
          const committedLsn = Math.min(told, committedOf(vote))
          // Of one epoch: a node that has more has all of it.
          return [record(`n${i}`, { lastEpoch: vote === 'aa' ? 7 : epoch, readableLsn: lsn, committedLsn, decidedAt: decided(vote, { isExact }) })]
        })
        const [best] = candidates(asked, 'quorum', all.length, CALLER).candidates
        if (best === undefined) return
        const won = ['aa', 'bb'].find((vote) => committedOf(vote) >= FIRST)
        if (won === undefined) return
        expect(all[Number(best.id.slice(1))]!.vote).toBe(won)
        if (won === 'aa') expect(best.readableLsn).toBeGreaterThanOrEqual(committedOf(won))
      }),
      { numRuns: 1000 },
    )
  })
})

describe('a primary that is refused for another decision of its number', () => {
  const refusal = (isSettled: boolean): StaleEpochError =>
    new StaleEpochError('another one', { details: { held: 2, seen: 3, mandate: MANDATE, promised: MANDATE, isSettled } })
  const ids = ['r1', 'r2', 'r3', 'r4'].map((id) => replicaId(id))
  const registry = (voters: number, learners = 0): ReturnType<typeof makeRegistry> => {
    const made = makeRegistry(policy())
    const replicas = ids.slice(0, voters + learners).map((id, i) => ({ ...replica(id), role: i < voters ? ('voter' as const) : ('learner' as const) }))
    made.apply({ epoch: 3, replicas })
    return made
  }

  it.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
  ])('of %d voters goes on until %d of them follow that one', (voters, enough) => {
    const made = registry(voters)
    for (let i = 0; i < enough - 1; i++) for (const _ of [1, 2]) expect(noteFence(made, ids[i]!, 3, refusal(false))).toBe(false)
    expect(made).toMatchObject({ isFenced: false, isOutvoted: false })
    expect(noteFence(made, ids[enough - 1]!, 3, refusal(false))).toBe(true)
    expect(made).toMatchObject({ isFenced: true, isOutvoted: true, fencedBy: 2 })
  })

  it('stops at once where that one is known to have committed', () => {
    const made = registry(4)
    expect(noteFence(made, ids[0]!, 3, refusal(true))).toBe(true)
    expect(made).toMatchObject({ isFenced: true, isOutvoted: true })
  })

  it('counts no learner, and nobody who has come to follow it', () => {
    const made = registry(2, 2)
    for (const id of [ids[2]!, ids[3]!, ids[0]!]) expect(noteFence(made, id, 3, refusal(false))).toBe(false)
    made.voted(ids[0]!)
    expect(noteFence(made, ids[1]!, 3, refusal(false))).toBe(false)
    expect(noteFence(made, ids[0]!, 3, refusal(false))).toBe(true)
  })
})
