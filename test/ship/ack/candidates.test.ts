import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { type AckMode, weakerMode } from '../../../bindings/format/index.ts'
import { candidates, forcePromotion, type NodeRecord, type ReplicaId, type ReplicaState } from '../../../bindings/ship/index.ts'

const STORE = 'ab'.repeat(16)
const CALLER = { storeId: STORE, epoch: 7 }

function record(id: string, o: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id: id as ReplicaId,
    storeId: STORE,
    role: 'voter',
    state: 'in_sync',
    isRunning: true,
    epochSeen: 7,
    lastMandate: 0,
    lastEpoch: 7,
    decidedAt: undefined,
    committedLsn: 0,
    readableLsn: 100,
    isIntact: true,
    ackMode: 'all',
    isAmnesic: false,
    ...o,
  }
}

const winners = (records: readonly NodeRecord[], mode: 'async' | 'quorum' | 'all' = 'quorum', nodes = 3): string[] =>
  candidates(records, mode, nodes, CALLER).candidates.map(({ id }) => id)

describe('candidates', () => {
  it('M1 the longer log of the newest epoch wins, whatever the state of its node', () => {
    expect(winners([record('a', { readableLsn: 9 }), record('b', { readableLsn: 10, state: 'degraded' })])).toEqual(['b'])
    expect(winners([record('a', { readableLsn: 900, lastEpoch: 6 }), record('b', { readableLsn: 10, state: 'catching_up' })])).toEqual(['b'])
  })

  it('M1 who was decided on comes before who has only started again, however often and with how long a log', () => {
    const old = record('old', { lastEpoch: 6, readableLsn: 900 })
    const decided = record('decided', { lastMandate: 5, lastEpoch: 3, readableLsn: 120, state: 'degraded' })
    expect(winners([old, decided])).toEqual(['decided'])
    expect(candidates([old, decided], 'quorum', 3, CALLER)).toMatchObject({
      candidates: [{ id: 'decided', lastMandate: 5, lastEpoch: 3, readableLsn: 120 }],
      detail: expect.stringContaining('LSN 120 of epoch 3, mandate 5'),
    })
    // Of one mandate the epoch tells, then the length.
    expect(winners([decided, record('later', { lastMandate: 5, lastEpoch: 4, readableLsn: 110 })])).toEqual(['later'])
    expect(winners([decided, record('longer', { lastMandate: 5, lastEpoch: 3, readableLsn: 121 })])).toEqual(['longer'])
    // Nobody stands in for who may not win.
    expect(candidates([old, { ...decided, role: 'learner' }, record('c')], 'quorum', 3, CALLER)).toMatchObject({ reason: 'longest_log_not_eligible' })
  })

  it('M1 of equal logs in_sync comes before catching_up before degraded, then the id', () => {
    const records = [record('e', { state: 'degraded' }), record('d', { state: 'catching_up' }), record('c'), record('b'), record('a', { state: 'catching_up' })]
    expect(winners(records, 'quorum', 5)).toEqual(['b', 'c', 'a', 'd', 'e'])
  })

  it.each<[string, Partial<NodeRecord>]>([
    ['stopped', { state: 'stopped' }],
    ['rebuilding', { state: 'rebuilding' }],
    ['needs_rebuild', { state: 'needs_rebuild' }],
    ['halted', { state: 'halted' }],
    ['disconnected', { state: 'disconnected' }],
    ['connecting', { state: 'connecting' }],
    ['a learner', { role: 'learner' }],
    ['not running', { isRunning: false }],
    ['ahead of the caller', { epochSeen: 8 }],
    ['amnesic', { isAmnesic: true }],
  ])('M1 a node that is %s is no candidate, and with the longest log nobody is', (_what, o) => {
    const others = [record('a'), record('b')]
    expect(winners([...others, record('c', o)])).toEqual(['a', 'b'])
    const found = candidates([...others, record('c', { ...o, readableLsn: 101 })], 'quorum', 3, CALLER)
    expect(found).toMatchObject({ candidates: [], reason: 'longest_log_not_eligible' })
    expect(found.detail).toContain('LSN 101 of epoch 7')
  })

  it('M1 a record of another store, or of a log that does not verify, is none', () => {
    expect(winners([record('a'), record('b'), record('c', { storeId: 'cd'.repeat(16), readableLsn: 500 })])).toEqual(['a', 'b'])
    expect(winners([record('a'), record('b'), record('c', { isIntact: false, readableLsn: 500 })])).toEqual(['a', 'b'])
    expect(candidates([record('a'), record('b', { isIntact: false })], 'quorum', 3, CALLER).reason).toBe('too_few_records')
  })

  it('M1 no records, no candidates', () => {
    for (const mode of ['async', 'quorum', 'all'] as const) expect(winners([], mode)).toEqual([])
  })

  it('M1b quorum of three: the catching_up one that holds entry 10 wins over the in_sync one with 9; alone the latter is not enough', () => {
    const r1 = record('r1', { readableLsn: 10, state: 'catching_up' })
    const r2 = record('r2', { readableLsn: 9 })
    expect(winners([r1, r2])).toEqual(['r1'])
    expect(candidates([r2], 'quorum', 3, CALLER)).toMatchObject({ candidates: [], reason: 'too_few_records' })
    expect(candidates([r1], 'quorum', 3, CALLER).candidates).toEqual([])
  })

  it('M1b the same node twice is one record', () => {
    expect(winners([record('a'), record('a')])).toEqual([])
  })

  it('M2 what can be read counts, not what was advertised', () => {
    // A node that advertised 120 and can read 90.
    expect(winners([record('a', { readableLsn: 90 }), record('b', { readableLsn: 100 })])).toEqual(['b'])
  })

  it('M2b the record of an amnesic voter does not help to reach the count', () => {
    expect(candidates([record('a'), record('b', { isAmnesic: true, readableLsn: 3 })], 'quorum', 3, CALLER).reason).toBe('too_few_records')
    expect(winners([record('a'), record('b'), record('c', { isAmnesic: true, readableLsn: 3 })])).toEqual(['a', 'b'])
  })

  it('of all, one intact voter is enough; of async any, and the result says that writes may be lost', () => {
    expect(candidates([record('a')], 'all', 5, CALLER)).toMatchObject({ mayLose: false, reason: 'ok' })
    expect(candidates([record('a')], 'async', 5, CALLER)).toMatchObject({ mayLose: true, reason: 'ok' })
    expect(candidates([record('a')], 'quorum', 3, CALLER).mayLose).toBe(false)
  })

  it('M2b in async nothing rests on what nodes have confirmed: any one may be promoted, in all none that may have forgotten', () => {
    const only = [record('a', { isAmnesic: true })]
    expect(winners(only, 'async')).toEqual(['a'])
    expect(winners([record('a', { isAmnesic: true }), record('b', { readableLsn: 99 })], 'async')).toEqual(['a'])
    expect(candidates(only, 'all', 3, CALLER)).toMatchObject({ candidates: [], reason: 'too_few_records' })
  })

  it('a weaker mode of the longest log counts, whatever the caller says: by it more records are needed, or writes may be lost', () => {
    const quorum = record('a', { ackMode: 'quorum' })
    expect(candidates([quorum], 'all', 3, CALLER)).toMatchObject({ candidates: [], mayLose: false, reason: 'too_few_records' })
    expect(candidates([quorum, record('b')], 'all', 3, CALLER)).toMatchObject({ mayLose: false, reason: 'ok' })
    expect(candidates([quorum, record('b', { ackMode: 'async', readableLsn: 101 })], 'all', 3, CALLER)).toMatchObject({
      candidates: [{ id: 'b' }],
      mayLose: true,
      detail: expect.stringContaining('mode async'),
    })
    // One that lags behind the change to a stronger mode says nothing of what came behind it.
    expect(candidates([quorum, record('b', { ackMode: 'async', readableLsn: 9 })], 'quorum', 3, CALLER)).toMatchObject({ mayLose: false, reason: 'ok' })
    expect(candidates([record('a'), record('b')], 'async', 3, CALLER)).toMatchObject({ mayLose: true, reason: 'ok' })
  })

  it('of any cluster whose mode changes: no write that was acknowledged is missing from the winner, unless it says so', () => {
    const modes = fc.constantFrom<AckMode>('async', 'quorum', 'all')
    // Of the log: a write, or the mode from there on.
    const log = fc.array(fc.option(modes, { freq: 3 }), { minLength: 1, maxLength: 12 })
    const node = fc.record({ lsn: fc.nat(12), told: fc.nat(12), asked: fc.boolean() })
    let [lossless, lossy] = [0, 0]
    fc.assert(
      fc.property(log, fc.array(node, { minLength: 2, maxLength: 4 }), (entries, replicas) => {
        const n = replicas.length + 1
        const durable = [entries.length, ...replicas.map(({ lsn }) => Math.min(lsn, entries.length))].sort((a, b) => b - a)
        const reached: Record<AckMode, number> = { async: durable[0]!, quorum: durable[Math.floor(n / 2)]!, all: durable.at(-1)! }
        let [mode, c]: [AckMode, number] = ['async', 0]
        entries.forEach((change, i) => {
          // A change is committed by the mode before it.
          if (c < i || reached[mode] <= i) return
          c = i + 1
          mode = change ?? mode
        })
        const asked = replicas.flatMap(({ lsn, told, asked: isAsked }, i) => {
          const readableLsn = Math.min(lsn, entries.length)
          const committedLsn = Math.min(told, c)
          let [ackMode, before]: [AckMode, AckMode] = ['async', 'async']
          for (const [at, change] of entries.slice(0, readableLsn).entries()) {
            if (change === null) continue
            ackMode = at < committedLsn || before === 'async' ? change : weakerMode(ackMode, change)
            before = change
          }
          return isAsked ? [record(`n${i}`, { readableLsn, committedLsn, ackMode })] : []
        })
        const { candidates: found, mayLose } = candidates(asked, 'all', n, CALLER)
        if (found.length === 0) return
        if (mayLose) return void lossy++
        lossless++
        expect(found[0]!.readableLsn).toBeGreaterThanOrEqual(c)
      }),
      { numRuns: 3000, seed: 1 },
    )
    expect(Math.min(lossless, lossy)).toBeGreaterThan(100)
  })

  it('of any cluster in quorum: no write that a quorum had is missing from the winner', () => {
    const state = fc.constantFrom<ReplicaState>('in_sync', 'catching_up', 'degraded', 'rebuilding', 'halted')
    const node = fc.record({ lsn: fc.integer({ min: 0, max: 20 }), state, asked: fc.boolean(), running: fc.boolean() })
    fc.assert(
      fc.property(fc.array(node, { minLength: 3, maxLength: 7 }), (all) => {
        const n = all.length
        const asked = all.flatMap(({ lsn, state: is, asked: isAsked, running }, i) =>
          isAsked ? [record(`n${i}`, { readableLsn: lsn, state: is, isRunning: running })] : [],
        )
        const [best] = candidates(asked, 'quorum', n, CALLER).candidates
        // Committed: on floor(n / 2) + 1 nodes.
        const committed = all.map(({ lsn }) => lsn).sort((a, b) => b - a)[Math.floor(n / 2)]!
        if (best !== undefined) expect(best.readableLsn).toBeGreaterThanOrEqual(committed)
        const needed = n - Math.floor(n / 2)
        if (asked.length < needed) expect(best).toBeUndefined()
      }),
      { numRuns: 500 },
    )
  })
})

describe('a promotion by force', () => {
  it('M5 names what is given up, as far as any record tells', () => {
    const records = [record('a', { readableLsn: 90 }), record('b', { readableLsn: 120, state: 'halted' })]
    expect(forcePromotion(records, 'a' as ReplicaId, { ...CALLER, acceptLossAbove: 80 })).toEqual({
      id: 'a',
      lastMandate: 0,
      lastEpoch: 7,
      readableLsn: 90,
      above: 90,
      upTo: 120,
    })
    expect(forcePromotion([records[0]!], 'a' as ReplicaId, { ...CALLER, acceptLossAbove: 90 })).toMatchObject({ above: 90, upTo: 90 })
  })

  it.each<[string, Partial<NodeRecord>, number | undefined, string]>([
    ['without what may be lost', {}, undefined, 'no loss was accepted'],
    ['that loses more than was accepted', { readableLsn: 90 }, 95, 'its log ends at LSN 90'],
    ['of a log that is not whole', { isIntact: false }, 10, 'its log is not whole'],
    ['in the middle of a rebuild', { state: 'rebuilding' }, 10, 'its log is not whole'],
    ['of a node that does not run', { isRunning: false }, 10, 'it does not run'],
    ['of another store', { storeId: 'cd'.repeat(16) }, 10, 'replica of store cdcd'],
    ['of a node that has met a newer primary', { epochSeen: 9 }, 10, 'it has seen epoch 9'],
  ])('M5 %s is refused', (_what, o, acceptLossAbove, why) => {
    const force = (): unknown => forcePromotion([record('a', o)], 'a' as ReplicaId, { ...CALLER, acceptLossAbove })
    expect(force).toThrow(expect.objectContaining({ name: 'CommittedTruncationError' }))
    expect(force).toThrow(why)
  })

  it('M5 of a node that was not asked is refused', () => {
    expect(() => forcePromotion([], 'a' as ReplicaId, { ...CALLER, acceptLossAbove: 0 })).toThrow('nothing is known of it')
  })
})
