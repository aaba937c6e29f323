// What a hello leads to: the lines H of shipping.md section 16 (rows of the table: classify.test.ts; any numbers: history.test.ts).
import { describe, expect, it } from 'vitest'

import { HistoryMissingError, ProtocolVersionError, ReplicaMismatchError, StoreMismatchError } from '../../../bindings/errors-ship.ts'
import { FencedError } from '../../../bindings/errors.ts'
import { classify, isReplayable, matchPoint, replicaId } from '../../../bindings/ship/index.ts'
import { decide, hello, history, makeSender, marks, policy, shake } from './kit.ts'

const ELIDE = { elision: true }

describe('H: handshake, history, proofs', () => {
  it('H1 R = C completes without catch-up and is in sync', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    expect(shake(sender, id, hello(), history()).outcome).toBe('zero_gap')
    expect(sender.session()).toMatchObject({ phase: 'handshake', start: 100, target: 100 })
    expect(sender.completeCatchUp(id).cursor).toBe(101)
    expect(sender.state).toBe('in_sync')
  })

  it('H2 R = 70, T = 30: (70, 100], with the numbers in the detail', () => {
    const made = decide(hello({ durableLsn: 70 }), history({ tailLsn: 30 }))
    expect(made).toMatchObject({ outcome: 'catch_up', reason: 'gap_within_retention', start: 70, target: 100 })
    expect(made.proof.detail).toBe('need 71..100, tail=30 head=100')
  })

  it.each([
    [30, 30, 'catch_up'],
    [29, 30, 'needs_rebuild'],
    [0, 0, 'catch_up'],
    [0, 1, 'needs_rebuild'],
    [100, 100, 'zero_gap'],
  ])('H3 R = %i with T = %i: %s', (durableLsn, tailLsn, outcome) => {
    expect(decide(hello({ durableLsn }), history({ tailLsn })).outcome).toBe(outcome)
  })

  it('H4 R = 10, T = 30: session gone, needs_rebuild, 11 and 30 in the detail', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    const made = shake(sender, id, hello({ durableLsn: 10 }), history({ tailLsn: 30 }))
    expect(made.proof.detail).toBe('need 11, tail=30')
    expect(sender.status()).toMatchObject({ state: 'needs_rebuild', reason: 'gap_beyond_retention', session: null })
  })

  it.each([
    [50, 100, { tailLsn: 30 }, true],
    [50, 100, { tailLsn: 60 }, false],
    [50, 100, { tailLsn: 50 }, true],
    [49, 100, { tailLsn: 50 }, false],
    [0, 100, { headLsn: 80 }, false],
    [0, 80, { headLsn: 80 }, true],
    [51, 50, {}, false],
    [20, 20, { tailLsn: 60 }, true],
    [101, 101, {}, false],
    [50, 100, { fragmentFloorLsn: 51 }, false],
    [50, 100, { fragmentFloorLsn: 50 }, true],
  ])('H5 isReplayable(%i, %i) with %j: %s', (start, end, of, expected) => {
    expect(isReplayable(history(of), start, end)).toBe(expected)
  })

  it('H5 not exact: files are not asked for', () => {
    expect(isReplayable(history({ fragmentFloorLsn: 90 }), 50, 100, false)).toBe(true)
    expect(isReplayable(history({ fragmentFloorLsn: 90, tailLsn: 60 }), 50, 100, false)).toBe(false)
  })

  it('H6 101..105 of an older epoch there: truncated to 100; without lineage the same', () => {
    const of = hello({ durableLsn: 105, lineage: marks([1, 1], [2, 101]) })
    const at = history({ lineage: marks([1, 1]) })
    expect(decide(of, at)).toMatchObject({ outcome: 'catch_up', truncateTo: 100, start: 100, target: 100 })
    expect(decide({ ...of, lineage: null }, at)).toMatchObject({ outcome: 'catch_up', truncateTo: 100, start: 100, target: 100 })
  })

  it('H7 ahead of the promise but on our line: nothing is cut, the stream begins at 106', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    const made = shake(sender, id, hello({ durableLsn: 105 }), history({ headLsn: 110 }))
    expect(made).toMatchObject({ outcome: 'zero_gap', reason: 'ahead_consistent', truncateTo: null })
    expect(sender.completeCatchUp(id)).toMatchObject({ cursor: 106, pinnedFrom: 105 })
  })

  it('H8 the same numbers with another history are never a zero gap', () => {
    for (const conflict of [{}, { replicaSound: true }, { replicaSound: false }]) {
      expect(decide(hello(), history(), {}, conflict).outcome).toBe('needs_rebuild')
    }
    expect(decide(hello({ committedLsn: 100 }), history(), {}, { replicaSound: true }).outcome).toBe('halt')
    const others = decide(hello({ lineage: marks([1, 1], [2, 91]) }), history({ lineage: marks([1, 1], [3, 91]) }))
    expect(others).toMatchObject({ outcome: 'catch_up', truncateTo: 90, start: 90, target: 100 })
    expect(() => classify(hello(), history(), null)).toThrow(RangeError)
    expect(() => classify(hello(), history(), { matchLsn: 100, agrees: undefined })).toThrow(/not compared/)
  })

  it.each([
    ['committed_truncation', hello({ durableLsn: 110, committedLsn: 104 }), history({ headLsn: 104, lineage: marks([1, 1], [4, 101]) })],
    ['primary_behind', hello({ durableLsn: 110, committedLsn: 104 }), history()],
  ])('H9 %s halts, and no session is left that could touch the replica', (reason, of, at) => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    expect(shake(sender, id, of, at)).toMatchObject({ outcome: 'halt', reason, truncateTo: null })
    expect(sender.status()).toMatchObject({ state: 'halted', reason, session: null })
  })

  it('H10 epochs 1: 1..50, 3: 51..100 here and 1: 1..60 there: D = 50', () => {
    const of = hello({ durableLsn: 60, lineage: marks([1, 1]) })
    const at = history({ lineage: marks([1, 1], [3, 51]) })
    expect(matchPoint(of, at)).toBe(50)
    expect(decide(of, at)).toMatchObject({ outcome: 'catch_up', truncateTo: 50, start: 50, target: 100 })
  })

  it('H11 parted below T, or at 50 with G = 60', () => {
    const of = hello({ durableLsn: 60, lineage: marks([1, 1]) })
    const lineage = marks([1, 1], [3, 51])
    expect(decide(of, history({ lineage, tailLsn: 55 }))).toMatchObject({ outcome: 'needs_rebuild', reason: 'lineage_conflict' })
    expect(decide({ ...of, committedLsn: 51 }, history({ lineage, tailLsn: 55 }))).toMatchObject({ outcome: 'halt', reason: 'committed_truncation' })
    expect(decide(of, history({ lineage, fragmentFloorLsn: 60 }))).toMatchObject({ outcome: 'needs_rebuild', reason: 'fragments_reclaimed' })
    expect(decide(of, history({ lineage, fragmentFloorLsn: 60 }), ELIDE)).toMatchObject({ outcome: 'catch_up', elideDead: true, start: 50, truncateTo: 50 })
  })

  it('H12 R = 70 with G = 80: a rebuild, or dead files are left out', () => {
    expect(decide(hello({ durableLsn: 70 }), history({ fragmentFloorLsn: 80 }))).toMatchObject({ outcome: 'needs_rebuild', reason: 'fragments_reclaimed' })
    expect(decide(hello({ durableLsn: 70 }), history({ fragmentFloorLsn: 80 }), ELIDE)).toMatchObject({ outcome: 'catch_up', elideDead: true, target: 100 })
  })

  it('H14 without a history nothing is decided, and the session stays in connecting', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    expect(() => sender.recordHandshake(id, hello(), null, null)).toThrow(HistoryMissingError)
    expect(sender.session()).toMatchObject({ id, phase: 'connecting' })
    expect(() => sender.recordHandshake(id, hello({ durableLsn: -1 }), history(), null)).toThrow(RangeError)
    expect(sender.session()).toMatchObject({ id, phase: 'connecting', handshake: null })
  })

  it.each([
    ['another store', { storeId: 'cd'.repeat(16) }, StoreMismatchError, 'halted', 'store_mismatch'],
    ['another replica', { replicaId: replicaId('r2') }, ReplicaMismatchError, 'disconnected', 'replica_mismatch'],
    ['a newer epoch', { epochSeen: 2 }, FencedError, 'disconnected', 'fenced'],
    ['an unknown protocol', { protocol: 2 }, ProtocolVersionError, 'disconnected', 'protocol_version'],
  ] as const)('H14 %s is refused before anything is classified', (_, change, refusal, state, reason) => {
    for (const early of [true, false]) {
      const context = policy()
      const sender = makeSender(context)
      const id = sender.attach(1, 'catchup')
      sender.beginConnect(id)
      // Everything about it would be a zero gap.
      const of = hello(change)
      expect(() => (early ? sender.checkHello(id, of) : sender.recordHandshake(id, of, null, null))).toThrow(refusal)
      expect(sender.status()).toMatchObject({ state, reason, session: null })
      const events = context.log.events().map((entry) => entry.event)
      expect(events).toContain('handshake_failed')
      expect(events).not.toContain('handshake')
    }
  })

  it('H14 before its first contact a replica has no store, and is welcome', () => {
    const sender = makeSender()
    const id = sender.attach(1, 'bootstrap')
    sender.beginConnect(id)
    expect(shake(sender, id, hello({ storeId: '', durableLsn: 0, epochSeen: 0 }), history()).reason).toBe('bootstrap')
  })

  it.each([
    [false, 'needs_rebuild', 'replica_corrupt'],
    [true, 'halted', 'split_history'],
  ] as const)('H15 at a conflict the replica checks itself: sound = %s leads to %s', (replicaSound, state, reason) => {
    const sender = makeSender()
    const id = sender.attach(1, 'catchup')
    sender.beginConnect(id)
    shake(sender, id, hello({ committedLsn: 60 }), history(), { replicaSound })
    expect(sender.status()).toMatchObject({ state, reason, session: null })
  })

  it('H15 with something promised the replica must be asked', () => {
    expect(() => decide(hello({ committedLsn: 60 }), history(), {}, {})).toThrow(/not asked to verify/)
  })
})
