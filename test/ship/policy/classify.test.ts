// Classification row by row (the table of shipping.md section 5), and match points.
import { describe, expect, it } from 'vitest'

import { classify, type ClassifyOptions, digestQuestion, type Handshake, type Hello, matchPoint, type RetainedHistory } from '../../../bindings/ship/index.ts'
import { bare, decide, hello, history, marks, PARTED } from './kit.ts'

const ELIDE = { elision: true }

interface Row {
  readonly name: string
  readonly of: Hello
  readonly at: RetainedHistory
  readonly o?: ClassifyOptions
  readonly conflict?: { readonly replicaSound?: boolean }
  readonly outcome: Handshake['outcome']
  readonly reason: string
  /** start, target, truncateTo; of outcomes that go on. */
  readonly range?: readonly [number, number, number | null]
  readonly detail?: string
}

const ROWS: readonly Row[] = [
  // 1
  {
    name: 'row 1: RC one above H',
    of: hello({ committedLsn: 101, durableLsn: 101 }),
    at: history(),
    outcome: 'halt',
    reason: 'primary_behind',
    detail: 'replica committed=101, head=100',
  },
  {
    name: 'row 1 comes before a gap',
    of: hello({ committedLsn: 101, durableLsn: 5 }),
    at: history({ tailLsn: 30 }),
    outcome: 'halt',
    reason: 'primary_behind',
  },
  { name: 'row 1 without lineage', of: bare({ committedLsn: 101 }), at: history(), outcome: 'halt', reason: 'primary_behind' },
  { name: 'RC at H is no row 1', of: hello({ committedLsn: 100 }), at: history(), outcome: 'zero_gap', reason: 'zero_gap', range: [100, 100, null] },
  // Between 3 and 4
  {
    name: 'a successor wrote, and nobody promoted this primary since',
    of: hello({ durableLsn: 105, committedLsn: 90, lineage: marks([1, 1], [2, 101]) }),
    at: history({ headLsn: 110, lineage: marks([1, 1], [3, 101]), mandate: 1 }),
    outcome: 'halt',
    reason: 'split_history',
    detail: 'a primary of epoch 2 wrote from LSN 101 on, and this one was not promoted since',
  },
  {
    name: 'a successor wrote, and this primary was promoted since',
    of: hello({ durableLsn: 105, committedLsn: 90, lineage: marks([1, 1], [2, 101]) }),
    at: history({ headLsn: 110, lineage: marks([1, 1], [3, 101]), mandate: 3 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [100, 100, 100],
  },
  {
    name: 'a successor wrote, in mode async',
    of: hello({ durableLsn: 105, committedLsn: 90, lineage: marks([1, 1], [2, 101]) }),
    at: history({ headLsn: 110, lineage: marks([1, 1], [3, 101]) }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [100, 100, 100],
  },
  {
    name: 'an epoch of our own that nothing committed belongs to yet',
    of: hello({ durableLsn: 105, committedLsn: 90, lineage: marks([1, 1], [2, 101]) }),
    at: history({ headLsn: 110, lineage: marks([1, 1], [2, 101], [3, 104]), mandate: 1 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [103, 103, 103],
  },
  // 2
  {
    name: 'row 2: everything from the start',
    of: hello({ durableLsn: 0 }),
    at: history(),
    outcome: 'catch_up',
    reason: 'bootstrap',
    range: [0, 100, null],
    detail: 'need 1..100, tail=0 head=100',
  },
  {
    name: 'row 2: only up to what is committed',
    of: hello({ durableLsn: 0 }),
    at: history({ committedLsn: 40 }),
    outcome: 'catch_up',
    reason: 'bootstrap',
    range: [0, 40, null],
  },
  {
    name: 'row 2 with nothing committed',
    of: hello({ durableLsn: 0 }),
    at: history({ committedLsn: 0 }),
    outcome: 'zero_gap',
    reason: 'bootstrap',
    range: [0, 0, null],
  },
  { name: 'row 2 without lineage', of: bare({ durableLsn: 0 }), at: history(), outcome: 'catch_up', reason: 'bootstrap', range: [0, 100, null] },
  {
    name: 'row 2 of two empty logs',
    of: hello({ durableLsn: 0 }),
    at: history({ headLsn: 0, committedLsn: 0 }),
    outcome: 'zero_gap',
    reason: 'bootstrap',
    range: [0, 0, null],
  },
  {
    name: 'files reclaimed: no row 2',
    of: hello({ durableLsn: 0 }),
    at: history({ fragmentFloorLsn: 1 }),
    outcome: 'needs_rebuild',
    reason: 'fragments_reclaimed',
  },
  {
    name: 'files reclaimed, but nothing needs them',
    of: hello({ durableLsn: 0 }),
    at: history({ fragmentFloorLsn: 1 }),
    o: ELIDE,
    outcome: 'catch_up',
    reason: 'gap_within_retention',
    range: [0, 100, null],
  },
  // 3
  {
    name: 'row 3: R one below T',
    of: hello({ durableLsn: 29 }),
    at: history({ tailLsn: 30 }),
    outcome: 'needs_rebuild',
    reason: 'gap_beyond_retention',
    detail: 'need 30, tail=30',
  },
  {
    name: 'row 3 comes before every match',
    of: hello({ durableLsn: 20, committedLsn: 15, lineage: marks([7, 1]) }),
    at: history({ tailLsn: 30 }),
    outcome: 'needs_rebuild',
    reason: 'gap_beyond_retention',
  },
  { name: 'row 3 without lineage', of: bare({ durableLsn: 0 }), at: history({ tailLsn: 1 }), outcome: 'needs_rebuild', reason: 'gap_beyond_retention' },
  // 4
  {
    name: 'row 4a: a broken chain',
    of: hello({ committedLsn: 90 }),
    at: history(),
    conflict: { replicaSound: false },
    outcome: 'needs_rebuild',
    reason: 'replica_corrupt',
  },
  {
    name: 'row 4a: a broken chain, nothing promised',
    of: hello(),
    at: history(),
    conflict: { replicaSound: false },
    outcome: 'needs_rebuild',
    reason: 'replica_corrupt',
  },
  { name: 'row 4a: nothing promised', of: hello(), at: history(), conflict: { replicaSound: true }, outcome: 'needs_rebuild', reason: 'lineage_conflict' },
  { name: 'row 4a: nothing promised, nobody asked', of: hello(), at: history(), conflict: {}, outcome: 'needs_rebuild', reason: 'lineage_conflict' },
  {
    name: 'row 4b: two sound histories',
    of: hello({ committedLsn: 1 }),
    at: history(),
    conflict: { replicaSound: true },
    outcome: 'halt',
    reason: 'split_history',
  },
  {
    name: 'row 4b at the tail itself',
    of: hello({ durableLsn: 30, committedLsn: 30 }),
    at: history({ tailLsn: 30 }),
    conflict: { replicaSound: true },
    outcome: 'halt',
    reason: 'split_history',
  },
  {
    name: 'row 4b comes before row 5',
    of: hello({ durableLsn: 80, committedLsn: 70, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here }),
    conflict: { replicaSound: true },
    outcome: 'halt',
    reason: 'split_history',
  },
  // 5
  {
    name: 'row 5: RC one above D',
    of: hello({ durableLsn: 80, committedLsn: 51, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here }),
    outcome: 'halt',
    reason: 'committed_truncation',
    detail: 'logs part at 50, replica committed=51',
  },
  {
    name: 'row 5 comes before row 6',
    of: hello({ durableLsn: 80, committedLsn: 51, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, tailLsn: 60 }),
    outcome: 'halt',
    reason: 'committed_truncation',
  },
  {
    name: 'row 5 comes before row 7a',
    of: hello({ durableLsn: 80, committedLsn: 51, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, fragmentFloorLsn: 60 }),
    outcome: 'halt',
    reason: 'committed_truncation',
  },
  // 6
  {
    name: 'row 6: parted below the tail',
    of: hello({ durableLsn: 80, committedLsn: 50, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, tailLsn: 51 }),
    outcome: 'needs_rebuild',
    reason: 'lineage_conflict',
    detail: 'logs part at 50, tail=51',
  },
  {
    name: 'row 6 comes before row 7a',
    of: hello({ durableLsn: 80, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, tailLsn: 51, fragmentFloorLsn: 60 }),
    o: ELIDE,
    outcome: 'needs_rebuild',
    reason: 'lineage_conflict',
  },
  {
    name: 'row 6: no epoch in common',
    of: hello({ durableLsn: 80, lineage: marks([2, 1]) }),
    at: history({ tailLsn: 1 }),
    outcome: 'needs_rebuild',
    reason: 'lineage_conflict',
  },
  // 7
  {
    name: 'row 7a: the files of the way back are gone',
    of: hello({ durableLsn: 80, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, fragmentFloorLsn: 51 }),
    outcome: 'needs_rebuild',
    reason: 'fragments_reclaimed',
    detail: 'need files of 51..100, floor=51',
  },
  {
    name: 'row 7a with elision: 7b',
    of: hello({ durableLsn: 80, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, fragmentFloorLsn: 51 }),
    o: ELIDE,
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [50, 100, 50],
  },
  {
    name: 'row 7a not at C: nothing is read',
    of: hello({ durableLsn: 80, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, fragmentFloorLsn: 60, committedLsn: 50 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [50, 50, 50],
  },
  {
    name: 'row 7b: D at the floor',
    of: hello({ durableLsn: 80, committedLsn: 50, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, fragmentFloorLsn: 50, tailLsn: 50 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [50, 100, 50],
    detail: 'need 51..100, tail=50 head=100, truncate 80 to 50',
  },
  {
    name: 'row 7b: D above C',
    of: hello({ durableLsn: 80, lineage: PARTED.there }),
    at: history({ lineage: PARTED.here, committedLsn: 45 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [50, 50, 50],
  },
  {
    name: 'row 7b: the same epoch, longer there than here',
    of: hello({ durableLsn: 105 }),
    at: history(),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [100, 100, 100],
  },
  {
    name: 'row 7b: no epoch in common, everything kept',
    of: hello({ durableLsn: 80, lineage: marks([2, 1]) }),
    at: history(),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [0, 100, 0],
  },
  // 8 to 11
  { name: 'row 8', of: hello(), at: history({ headLsn: 110 }), outcome: 'zero_gap', reason: 'zero_gap', range: [100, 100, null] },
  {
    name: 'row 8 at the tail',
    of: hello({ durableLsn: 30 }),
    at: history({ tailLsn: 30, committedLsn: 30 }),
    outcome: 'zero_gap',
    reason: 'zero_gap',
    range: [30, 30, null],
  },
  {
    name: 'row 9',
    of: hello({ durableLsn: 105, committedLsn: 102 }),
    at: history({ headLsn: 110 }),
    outcome: 'zero_gap',
    reason: 'ahead_consistent',
    range: [105, 105, null],
  },
  {
    name: 'row 10',
    of: hello({ durableLsn: 70 }),
    at: history({ fragmentFloorLsn: 71 }),
    outcome: 'needs_rebuild',
    reason: 'fragments_reclaimed',
    detail: 'need files of 71..100, floor=71',
  },
  {
    name: 'row 10 with elision: 11',
    of: hello({ durableLsn: 70 }),
    at: history({ fragmentFloorLsn: 71 }),
    o: ELIDE,
    outcome: 'catch_up',
    reason: 'gap_within_retention',
    range: [70, 100, null],
  },
  {
    name: 'row 10 without lineage',
    of: bare({ durableLsn: 70 }),
    at: history({ fragmentFloorLsn: 71 }),
    outcome: 'needs_rebuild',
    reason: 'fragments_reclaimed',
  },
  {
    name: 'row 11',
    of: hello({ durableLsn: 70, committedLsn: 70 }),
    at: history({ tailLsn: 30, fragmentFloorLsn: 70 }),
    outcome: 'catch_up',
    reason: 'gap_within_retention',
    range: [70, 100, null],
  },
  { name: 'row 11 without lineage', of: bare({ durableLsn: 70 }), at: history(), outcome: 'catch_up', reason: 'gap_within_retention', range: [70, 100, null] },
  // without lineage
  { name: "row 8'", of: bare({}), at: history({ headLsn: 110 }), outcome: 'zero_gap', reason: 'zero_gap_unverified', range: [100, 100, null] },
  {
    name: "row 9'",
    of: bare({ durableLsn: 105, committedLsn: 100 }),
    at: history({ headLsn: 110 }),
    outcome: 'catch_up',
    reason: 'replica_ahead_needs_truncation',
    range: [100, 100, 100],
  },
  { name: "row 9''", of: bare({ durableLsn: 105, committedLsn: 101 }), at: history({ headLsn: 110 }), outcome: 'halt', reason: 'committed_truncation' },
]

describe('classification, row by row', () => {
  it.each(ROWS.map((row) => [row.name, row] as const))('%s', (_, { of, at, o, conflict, outcome, reason, range, detail }) => {
    const made = decide(of, at, o, conflict)
    expect(made).toMatchObject({ outcome, reason })
    expect(made.proof).toMatchObject({
      reason,
      recoverable: outcome === 'zero_gap' || outcome === 'catch_up',
      replicaDurableLsn: of.durableLsn,
      replicaCommittedLsn: of.committedLsn,
      committedLsn: at.committedLsn,
      tailLsn: at.tailLsn,
      headLsn: at.headLsn,
      fragmentFloorLsn: at.fragmentFloorLsn,
      matchLsn: of.lineage === null ? null : expect.any(Number),
    })
    if (range === undefined) expect(made).toMatchObject({ start: of.durableLsn, target: of.durableLsn, truncateTo: null, elideDead: false })
    else expect([made.start, made.target, made.truncateTo]).toEqual(range)
    if (outcome === 'catch_up') expect(made.elideDead).toBe(o === ELIDE)
    if (detail !== undefined) expect(made.proof.detail).toBe(detail)
    expect(Object.isFrozen(made) && Object.isFrozen(made.proof)).toBe(true)
  })

  it('has a case for each reason it can give', () => {
    expect([...new Set(ROWS.map((row) => `${row.outcome} ${row.reason}`))].sort()).toEqual([
      'catch_up bootstrap',
      'catch_up gap_within_retention',
      'catch_up replica_ahead_needs_truncation',
      'halt committed_truncation',
      'halt primary_behind',
      'halt split_history',
      'needs_rebuild fragments_reclaimed',
      'needs_rebuild gap_beyond_retention',
      'needs_rebuild lineage_conflict',
      'needs_rebuild replica_corrupt',
      'zero_gap ahead_consistent',
      'zero_gap bootstrap',
      'zero_gap zero_gap',
      'zero_gap zero_gap_unverified',
    ])
  })
})

describe('amid a catch-up that leaves files out', () => {
  const elided = { lsn: 80, epoch: 3, mandate: 5 }
  const lineage = [...marks([1, 1]), { epoch: 3, firstLsn: 51, mandate: 5 }]
  const of = hello({ durableLsn: 60, lineage, elided })

  it.each([
    ['the primary of whose word it is', lineage, 100],
    ['one that has its records as far as they matter', [...lineage, { epoch: 4, firstLsn: 81, mandate: 9 }], 100],
    ['one whose log ends right there', lineage, 80],
  ])('%s goes on', (_, own, headLsn) => {
    const at = history({ headLsn, committedLsn: 70, lineage: own })
    expect(decide(of, at)).toMatchObject({ outcome: 'catch_up', start: 60, target: 70 })
    expect(decide({ ...of, durableLsn: 70 }, at)).toMatchObject({ outcome: 'zero_gap' })
  })

  it.each([
    ['whose log parts from it before that', [...lineage, { epoch: 4, firstLsn: 80, mandate: 9 }], 100, elided],
    ['that lacks its epoch', [...marks([1, 1]), { epoch: 4, firstLsn: 61, mandate: 9 }], 100, elided],
    ['whose log ends before', lineage, 79, elided],
    ['whose epoch of that number is another', lineage, 100, { ...elided, mandate: 4 }],
    ['where it is not known whose word it was', lineage, 100, { ...elided, epoch: 0, mandate: 0 }],
  ])('a primary %s owes a base: behind, at C, or ahead', (_, own, headLsn, word) => {
    const at = history({ headLsn, committedLsn: 60, lineage: own })
    for (const [durableLsn, R] of [
      [60, 60],
      [55, 55],
      [65, 65],
    ]) {
      const made = decide({ ...of, durableLsn: durableLsn!, elided: word, lineage: own.slice(0, 2) }, at)
      expect(made).toMatchObject({ outcome: 'needs_rebuild', reason: 'fragments_reclaimed', start: R, truncateTo: null })
      expect(made.proof).toMatchObject({ recoverable: false, detail: expect.stringContaining(`files up to ${word.lsn} were left out`) })
    }
  })

  it('what halts, halts', () => {
    const at = history({ headLsn: 100, committedLsn: 90, lineage: [...marks([1, 1]), { epoch: 4, firstLsn: 55, mandate: 9 }] })
    expect(decide({ ...of, committedLsn: 60 }, at)).toMatchObject({ outcome: 'halt', reason: 'committed_truncation' })
    expect(decide({ ...of, committedLsn: 101 }, at)).toMatchObject({ outcome: 'halt', reason: 'primary_behind' })
  })

  it('a log of slots names no mandates: its epoch stands for them', () => {
    const at = history({ headLsn: 100, lineage: marks([1, 1], [3, 51]), lacksMandates: true })
    expect(decide(hello({ durableLsn: 60, elided: { lsn: 80, epoch: 3, mandate: 6 } }), at)).toMatchObject({ outcome: 'catch_up' })
  })
})

describe('match points', () => {
  it.each([
    ['one epoch, replica behind', marks([1, 1]), 70, marks([1, 1]), 100, 70],
    ['one epoch, replica ahead', marks([1, 1]), 120, marks([1, 1]), 100, 100],
    ['a common epoch that went on here', marks([1, 1], [2, 41]), 60, marks([1, 1], [2, 41], [5, 81]), 100, 60],
    ['a common epoch that went on there', marks([1, 1], [2, 41], [3, 61]), 90, marks([1, 1], [2, 41], [5, 51]), 100, 50],
    ['nothing in common', marks([2, 1]), 70, marks([1, 1]), 100, 0],
    ['an empty replica', marks(), 0, marks([1, 1]), 100, 0],
    ['an empty primary', marks([1, 1]), 10, marks(), 0, 0],
    ['a mark above the end there counts for nothing', marks([1, 1], [4, 71]), 70, marks([1, 1], [4, 61]), 100, 60],
    ['a mark above the head counts for nothing', marks([1, 1], [4, 61]), 70, marks([1, 1], [4, 101]), 100, 60],
    ['one number for two epochs', marks([1, 1], [3, 72]), 90, marks([1, 1], [3, 71]), 100, 70],
    ['an older epoch in common, newer ones on both sides', marks([1, 1], [2, 11], [6, 31]), 60, marks([1, 1], [3, 21], [7, 41]), 100, 10],
  ])('%s', (_, there, durableLsn, here, headLsn, expected) => {
    expect(matchPoint(hello({ durableLsn, lineage: there }), history({ headLsn, lineage: here }))).toBe(expected)
  })

  it('takes one number for two epochs only where both logs know where it began', () => {
    const [there, here] = [marks([3, 72]), marks([3, 71])]
    expect(matchPoint(hello({ durableLsn: 90, tailLsn: 71, lineage: there }), history({ headLsn: 100, lineage: here }))).toBe(90)
    expect(matchPoint(hello({ durableLsn: 90, lineage: there }), history({ headLsn: 100, tailLsn: 70, lineage: here }))).toBe(90)
    expect(matchPoint(hello({ durableLsn: 90, tailLsn: 70, lineage: there }), history({ headLsn: 100, tailLsn: 69, lineage: here }))).toBe(0)
  })

  it('takes one number for two epochs where two decisions are known to have written them, and only there', () => {
    const at = (mandate: number | undefined, of: Partial<RetainedHistory> = {}): RetainedHistory =>
      history({ headLsn: 100, committedLsn: 60, lineage: [...marks([1, 1]), { epoch: 3, firstLsn: 71, ...(mandate === undefined ? {} : { mandate }) }], ...of })
    const by = (mandate: number | undefined, of: Partial<Hello> = {}): Hello => hello({ durableLsn: 90, committedLsn: 60, lineage: at(mandate).lineage, ...of })
    for (const [there, here] of [[undefined, 5] as const, [4, 5] as const, [5, undefined] as const]) {
      expect(matchPoint(by(there), at(here)), `${there} there, ${here} here`).toBe(70)
      expect(matchPoint(by(there), at(there))).toBe(90)
    }
    // Who began below the tail of either log: nobody's may be forgotten, somebody's is not.
    expect(matchPoint(by(undefined, { tailLsn: 70 }), at(5))).toBe(90)
    expect(matchPoint(by(5), at(undefined, { tailLsn: 70 }))).toBe(90)
    expect(matchPoint(by(4, { tailLsn: 70 }), at(5))).toBe(70)
    // A log of slots names none.
    expect(matchPoint(by(5), at(undefined, { lacksMandates: true }))).toBe(90)
  })

  it('cuts the tail that an old primary wrote under the number of its successor, and halts where it is asked for that of the successor', () => {
    const [old, heir] = [
      { epoch: 3, firstLsn: 71 },
      { epoch: 3, firstLsn: 71, mandate: 5 },
    ].map((mark) => [...marks([1, 1]), mark])
    const replica = hello({ durableLsn: 90, committedLsn: 60, lineage: old! })
    const at = history({ headLsn: 100, committedLsn: 60, lineage: heir!, mandate: 3, promotion: 5 })
    expect(decide(replica, at)).toMatchObject({ outcome: 'catch_up', truncateTo: 70, start: 70 })
    expect(decide({ ...replica, committedLsn: 71 }, { ...at, committedLsn: 80 })).toMatchObject({ outcome: 'halt', reason: 'committed_truncation' })
    const back = { ...replica, lineage: heir! }
    for (const mandate of [1, 3]) {
      const asks = history({ headLsn: 100, committedLsn: 60, lineage: old!, mandate })
      expect(decide(back, asks), `mandate ${mandate}`).toMatchObject({ outcome: 'halt', reason: 'split_history' })
    }
  })

  it('halts at a successor whose epoch has the number of one here', () => {
    const of = hello({ durableLsn: 90, committedLsn: 60, lineage: marks([1, 1], [3, 72]) })
    const at = history({ headLsn: 100, committedLsn: 60, lineage: marks([1, 1], [3, 71]), mandate: 1 })
    expect(classify(of, at, { matchLsn: 70, agrees: true })).toMatchObject({ outcome: 'halt', reason: 'split_history' })
    expect(classify(of, { ...at, mandate: 3 }, { matchLsn: 70, agrees: true })).toMatchObject({ outcome: 'catch_up', truncateTo: 70 })
  })

  it('cuts off what was written by a lower mandate than that of its own promotion, whatever the epoch, and nothing of an equal or a higher one', () => {
    const at = history({ headLsn: 100, committedLsn: 60, lineage: marks([1, 1], [3, 71]), mandate: 3, promotion: 5 })
    const by = (mandate: number) => {
      const last = { epoch: 6, firstLsn: 72, ...(mandate === 0 ? {} : { mandate }) }
      return classify(hello({ durableLsn: 90, committedLsn: 60, lineage: [...marks([1, 1]), last] }), at, { matchLsn: 70, agrees: true })
    }
    for (const mandate of [0, 4]) expect(by(mandate), `mandate ${mandate}`).toMatchObject({ outcome: 'catch_up', truncateTo: 70 })
    for (const mandate of [5, 6, 7]) expect(by(mandate), `mandate ${mandate}`).toMatchObject({ outcome: 'halt', reason: 'split_history' })
  })

  it('halts at what was decided on later, though starts alone have brought its own epoch above that', () => {
    const own = [...marks([1, 1]), { epoch: 31, firstLsn: 101, mandate: 11 }, { epoch: 32, firstLsn: 102, mandate: 14 }]
    const at = history({ headLsn: 102, committedLsn: 60, lineage: own, mandate: 31 })
    const by = (mandate: number) => {
      const last = { epoch: 8, firstLsn: 101, ...(mandate === 0 ? {} : { mandate }) }
      return classify(hello({ durableLsn: 120, committedLsn: 60, lineage: [...marks([1, 1]), last] }), at, { matchLsn: 100, agrees: true })
    }
    for (const mandate of [0, 9, 11]) expect(by(mandate), `mandate ${mandate}`).toMatchObject({ outcome: 'catch_up', truncateTo: 100 })
    for (const mandate of [12, 13]) expect(by(mandate), `mandate ${mandate}`).toMatchObject({ outcome: 'halt', reason: 'split_history' })
    // A promotion that died before its record says in NODE what epoch it claimed, no more.
    const { outcome } = classify(
      hello({ durableLsn: 120, committedLsn: 60, lineage: [...marks([1, 1]), { epoch: 8, firstLsn: 101, mandate: 13 }] }),
      { ...at, lineage: own.toSpliced(1, 1) },
      { matchLsn: 100, agrees: true },
    )
    expect(outcome).toBe('catch_up')
  })

  it('has no match without lineage, and asks nothing at 0, below T, or without one', () => {
    expect(matchPoint(bare({}), history())).toBeNull()
    expect(digestQuestion(bare({}), history())).toBeNull()
    expect(digestQuestion(hello({ lineage: marks([2, 1]) }), history())).toBeNull()
    const of = hello({ durableLsn: 80, lineage: PARTED.there })
    expect(digestQuestion(of, history({ lineage: PARTED.here, tailLsn: 51 }))).toBeNull()
    expect(digestQuestion(of, history({ lineage: PARTED.here, tailLsn: 50 }))).toBe(50)
    expect(digestQuestion(hello({ durableLsn: 80 }), history())).toBe(80)
  })

  it('an agreement about another LSN is refused', () => {
    expect(() => classify(hello({ durableLsn: 80 }), history(), { matchLsn: 79, agrees: true })).toThrow(RangeError)
    const of = hello({ durableLsn: 80, lineage: PARTED.there })
    expect(() => classify(of, history({ lineage: PARTED.here }), { matchLsn: 80, agrees: true })).toThrow(RangeError)
  })

  it('a replica that no longer knows its digest at the match point is rebuilt, or halted where more was promised', () => {
    const of = hello({ durableLsn: 80, lineage: PARTED.there })
    const at = history({ lineage: PARTED.here })
    const silent = { matchLsn: 50, agrees: undefined }
    expect(classify(of, at, silent)).toMatchObject({ outcome: 'needs_rebuild', reason: 'lineage_conflict' })
    expect(classify({ ...of, committedLsn: 51 }, at, silent)).toMatchObject({ outcome: 'halt', reason: 'committed_truncation' })
    expect(classify(of, at, null)).toMatchObject({ outcome: 'needs_rebuild', reason: 'lineage_conflict' })
  })
})
