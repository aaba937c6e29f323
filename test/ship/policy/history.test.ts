// Any numbers at all (H13), and where a rebuild starts (B1).
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { HistoryMissingError } from '../../../bindings/errors-ship.ts'
import { decideSource, digestQuestion, isReplayable, matchPoint } from '../../../bindings/ship/index.ts'
import { decide, hello, history } from './kit.ts'

describe('H13: any numbers at all', () => {
  /** Two logs that agree up to `common` and then go on with epochs of their own. */
  const logs = fc
    .record({
      common: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
      here: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 3 }),
      there: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 3 }),
      cut: fc.tuple(fc.nat(20), fc.nat(20)),
    })
    .map(({ common, here, there, cut }) => {
      const build = (lengths: readonly number[], epochOf: (i: number) => number) => {
        let next = 1
        const lineage = lengths.map((length, i) => {
          const mark = { epoch: epochOf(i), firstLsn: next }
          next += length
          return mark
        })
        return { lineage, end: next - 1 }
      }
      const side = (own: readonly number[], parity: number, less: number) => {
        const whole = build([...common, ...own], (i) => (i < common.length ? i + 1 : common.length + 1 + 2 * (i - common.length) + parity))
        const end = Math.max(0, whole.end - less)
        return { end, lineage: whole.lineage.filter((mark) => mark.firstLsn <= end) }
      }
      const shared = common.reduce((sum, length) => sum + length, 0)
      const a = side(here, 0, cut[0])
      const b = side(there, 1, cut[1])
      return { a, b, match: Math.min(shared, a.end, b.end) }
    })

  const cases = fc.record({
    logs,
    tail: fc.nat(60),
    floor: fc.nat(60),
    committed: fc.nat(60),
    promised: fc.oneof(fc.constant(0), fc.nat(12), fc.nat(60)),
    bare: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
    elision: fc.boolean(),
    conflict: fc.option(fc.record({ replicaSound: fc.boolean() }), { nil: undefined }),
  })

  it('H13 the answer is total and safe: proof and outcome agree, every range can be replayed, nothing promised is cut', () => {
    const seen = new Map<string, number>()
    fc.assert(
      fc.property(cases, ({ logs: { a, b, match }, tail, floor, committed, promised, bare: isBare, elision, conflict }) => {
        const headLsn = a.end
        const at = history({
          headLsn,
          lineage: a.lineage,
          tailLsn: tail % (headLsn + 1),
          fragmentFloorLsn: floor % (headLsn + 1),
          committedLsn: committed % (headLsn + 1),
        })
        const of = hello({ durableLsn: b.end, lineage: isBare ? null : b.lineage, committedLsn: promised })
        if (!isBare) expect(matchPoint(of, at)).toBe(match)
        const made = decide(of, at, { elision }, conflict)
        const { outcome, reason, start, target, truncateTo, elideDead, proof } = made
        seen.set(reason, (seen.get(reason) ?? 0) + 1)
        const goesOn = outcome === 'zero_gap' || outcome === 'catch_up'
        expect(proof.recoverable).toBe(goesOn)
        expect(proof.reason).toBe(reason)
        if (!goesOn) {
          expect(truncateTo).toBeNull()
          return
        }
        expect(isReplayable(at, start, target, !elideDead)).toBe(true)
        expect(elision || !elideDead).toBe(true)
        // What the replica is left with is on our line, and holds what it was promised.
        expect(start).toBe(truncateTo ?? of.durableLsn)
        if (truncateTo !== null) expect(truncateTo).toBeGreaterThanOrEqual(of.committedLsn)
        expect(of.committedLsn).toBeLessThanOrEqual(headLsn)
        if (!isBare && of.durableLsn > match) expect(truncateTo).toBe(match)
        if (!isBare && of.durableLsn === match) expect(truncateTo).toBeNull()
        if (reason !== 'bootstrap' && digestQuestion(of, at) !== null) expect(conflict).toBeUndefined()
        if (outcome === 'zero_gap') expect(start).toBe(target)
        else expect(start < target || truncateTo !== null).toBe(true)
      }),
      { numRuns: 10_000 },
    )
    // Not vacuous: the numbers reach every row.
    expect([...seen.keys()].sort()).toEqual([
      'ahead_consistent',
      'bootstrap',
      'committed_truncation',
      'fragments_reclaimed',
      'gap_beyond_retention',
      'gap_within_retention',
      'lineage_conflict',
      'primary_behind',
      'replica_ahead_needs_truncation',
      'replica_corrupt',
      'split_history',
      'zero_gap',
      'zero_gap_unverified',
    ])
  })
})

describe('B1: where a rebuild starts', () => {
  const K = (lsn: number, trusted = true) => ({ lsn, trusted, manifestHash: new Uint8Array(32) })
  it.each([
    ['T = 30', { checkpoint: K(50), tailLsn: 30 }, 0, 'snapshot_tail', 50, 100, 'trusted_checkpoint_replayable_tail'],
    ['T = 50', { checkpoint: K(50), tailLsn: 50 }, 0, 'snapshot_tail', 50, 100, 'trusted_checkpoint_replayable_tail'],
    ['T = 51', { checkpoint: K(50), tailLsn: 51 }, 0, 'full_base', 100, 100, 'trusted_checkpoint_unreplayable_tail'],
    ['T = 80', { checkpoint: K(50), tailLsn: 80 }, 0, 'full_base', 100, 100, 'trusted_checkpoint_unreplayable_tail'],
    ['G = 50', { checkpoint: K(50), fragmentFloorLsn: 50 }, 0, 'snapshot_tail', 50, 100, 'trusted_checkpoint_replayable_tail'],
    ['G = 51', { checkpoint: K(50), fragmentFloorLsn: 51 }, 0, 'full_base', 100, 100, 'trusted_checkpoint_unreplayable_tail'],
    ['an untrusted checkpoint', { checkpoint: K(50, false) }, 0, 'full_base', 100, 100, 'untrusted_checkpoint'],
    ['untrusted is said before above committed', { checkpoint: K(101, false), headLsn: 110 }, 0, 'full_base', 100, 100, 'untrusted_checkpoint'],
    ['no checkpoint', {}, 0, 'full_base', 100, 100, 'no_checkpoint'],
    ['a checkpoint at 0', { checkpoint: K(0) }, 0, 'full_base', 100, 100, 'no_checkpoint'],
    ['C = 0', { checkpoint: K(50), committedLsn: 0 }, 0, 'full_base', 100, 100, 'no_committed_boundary'],
    ['C = 0, an empty log', { headLsn: 0, committedLsn: 0 }, 0, 'full_base', 0, 0, 'no_committed_boundary'],
    ['K = 101 > C', { checkpoint: K(101), headLsn: 110 }, 0, 'full_base', 100, 100, 'checkpoint_above_committed'],
    ['K = 101 > C, but RC = 101', { checkpoint: K(101), headLsn: 110 }, 101, 'snapshot_tail', 101, 101, 'trusted_checkpoint_replayable_tail'],
    ['K = 100 = C', { checkpoint: K(100) }, 0, 'snapshot_tail', 100, 100, 'trusted_checkpoint_replayable_tail'],
    ['K = 100 = C below the tail', { checkpoint: K(100), headLsn: 110, tailLsn: 101 }, 0, 'full_base', 100, 100, 'trusted_checkpoint_unreplayable_tail'],
    ['RC = 105 above C', { checkpoint: K(50), headLsn: 110 }, 105, 'full_base', 105, 105, 'checkpoint_below_promised'],
    ['C = 0, RC = 60', { checkpoint: K(50), committedLsn: 0 }, 60, 'full_base', 60, 60, 'checkpoint_below_promised'],
    ['RC = K', { checkpoint: K(50) }, 50, 'snapshot_tail', 50, 100, 'trusted_checkpoint_replayable_tail'],
    ['RC = K + 1', { checkpoint: K(50) }, 51, 'full_base', 100, 100, 'checkpoint_below_promised'],
    ['a target above the head', { checkpoint: K(50) }, 120, 'full_base', 120, 120, 'trusted_checkpoint_unreplayable_tail'],
  ] as const)('B1 %s', (_, of, RC, source, baseLsn, target, reason) => {
    expect(decideSource(history(of), RC)).toEqual({ source, baseLsn, target, reason })
  })

  it('B1 without a history nothing is decided', () => expect(() => decideSource(null, 0)).toThrow(HistoryMissingError))
})
