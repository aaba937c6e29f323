// Which fragments are written anew, and in which order: the planner alone.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { type CompactionGroup, FRUGAL, planCompaction, type PlannedFragment, THOROUGH } from '../../../bindings/upkeep/plan-compaction.ts'

const TARGET = 1000

const fragment = (lsn: number, rows: number, o: Partial<PlannedFragment> = {}): PlannedFragment => ({ lsn, ordinal: 0, rows, hidden: 0, isSorted: true, ...o })
const ids = (groups: readonly CompactionGroup[]): number[][][] => groups.map(({ segments }) => segments.map((segment) => segment.map(({ lsn }) => lsn)))
const plan = (isKeyed: boolean, fragments: PlannedFragment[], policy = THOROUGH): CompactionGroup[] =>
  planCompaction({ isKeyed, targetRows: TARGET, mergeRows: TARGET, fragments }, policy)

describe('a table without a key', () => {
  it.each<[string, PlannedFragment[], number[][][]]>([
    ['nothing of nothing', [], []],
    ['nothing of one small fragment', [fragment(1, 10)], []],
    ['neighbours together', [fragment(1, 10), fragment(2, 10)], [[[1], [2]]]],
    [
      'no further than a full one',
      [fragment(1, 10), fragment(2, 10), fragment(3, 900), fragment(4, 5), fragment(5, 5)],
      [
        [[1], [2]],
        [[4], [5]],
      ],
    ],
    ['not one between two full ones', [fragment(1, 900), fragment(2, 10), fragment(3, 900)], []],
    ['one with a tenth of its rows deleted stays', [fragment(1, 900, { hidden: 90 })], []],
    ['one with more is written anew', [fragment(1, 900, { hidden: 91 })], [[[1]]]],
    ['one without a live row goes', [fragment(1, 900, { hidden: 900 })], [[[1]]]],
  ])('%s', (_, fragments, wanted) => {
    expect(ids(plan(false, fragments))).toEqual(wanted)
  })

  it('is cut into fragments of equal size', () => {
    const [group] = plan(
      false,
      Array.from({ length: 5 }, (_, i) => fragment(i + 1, 450)),
    )
    expect(group).toMatchObject({ rows: 2250, outputRows: 750 })
  })
})

describe('a table with a key', () => {
  it('is put in the order of its keys, overlapping fragments in one segment', () => {
    const fragments = [
      fragment(1, 10, { min: 50, max: 90 }),
      fragment(2, 10, { min: 0, max: 20 }),
      fragment(3, 10, { min: 15, max: 30 }),
      fragment(4, 10, { min: 31, max: 40 }),
    ]
    expect(ids(plan(true, fragments))).toEqual([[[2, 3], [4], [1]]])
  })

  it('takes what has no bounds for overlapping', () => {
    expect(ids(plan(true, [fragment(1, 10, { min: 5, max: 9 }), fragment(2, 10), fragment(3, 10, { min: 70, max: 80 })]))).toEqual([[[2, 1, 3]]])
  })

  it('holds no more rows of a segment in memory than a merge may', () => {
    const fragments = Array.from({ length: 6 }, (_, i) => fragment(i + 1, 400, { min: 0, max: 9, isSorted: i % 2 === 0 }))
    const [group] = plan(true, fragments)
    for (const segment of group!.segments) expect(segment.reduce((sum, each) => sum + each.rows, 0)).toBeLessThanOrEqual(TARGET)
    expect(group!.segments.flat().length).toBe(6)
  })
})

describe('in the background', () => {
  it.each<[string, boolean, PlannedFragment[], number]>([
    ['seven small fragments are left', false, Array.from({ length: 7 }, (_, i) => fragment(i + 1, 10)), 0],
    ['eight are put together', false, Array.from({ length: 8 }, (_, i) => fragment(i + 1, 10)), 1],
    [
      'eight tiny ones beside a middling one are put together without it',
      false,
      [fragment(9, 400), ...Array.from({ length: 8 }, (_, i) => fragment(i + 1, 2))],
      1,
    ],
    ['a fifth deleted is left', false, [fragment(1, 900, { hidden: 180 })], 0],
    ['a third deleted is written anew', false, [fragment(1, 900, { hidden: 300 })], 1],
    [
      'eight of a table with a key are put together, wherever they stand',
      true,
      Array.from({ length: 16 }, (_, i) => fragment(i + 1, i % 2 === 0 ? 900 : 10)),
      1,
    ],
  ])('%s', (_, isKeyed, fragments, groups) => {
    const found = plan(isKeyed, fragments, FRUGAL)
    expect(found.length).toBe(groups)
    for (const { segments } of found) if (segments.flat().length > 1) expect(segments.flat().some(({ rows }) => rows >= 400)).toBe(false)
  })

  it('writes a row of 10,000 small flushes at most four times', () => {
    let list: PlannedFragment[] = []
    let lsn = 0
    let written = 0
    for (let i = 0; i < 10_000; i++) {
      list.push(fragment(++lsn, 100))
      written += 100
      for (let group = planCompaction({ isKeyed: false, targetRows: 1_048_576, mergeRows: 1_048_576, fragments: list }, FRUGAL)[0]; group !== undefined;) {
        const gone = new Set(group.segments.flat())
        const at = list.findIndex((each) => gone.has(each))
        list = list.filter((each) => !gone.has(each))
        list.splice(at, 0, fragment(++lsn, group.rows))
        written += group.rows
        group = planCompaction({ isKeyed: false, targetRows: 1_048_576, mergeRows: 1_048_576, fragments: list }, FRUGAL)[0]
      }
    }
    expect(list.reduce((sum, { rows }) => sum + rows, 0)).toBe(1_000_000)
    expect(written / 1_000_000).toBeLessThan(6)
    expect(list.length).toBeLessThan(64)
  })
})

describe('a plan', () => {
  const fragments = fc.array(
    fc.record({
      rows: fc.integer({ min: 1, max: 1500 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      low: fc.integer({ min: 0, max: 100 }),
      span: fc.nat(30),
      isSorted: fc.boolean(),
    }),
    { maxLength: 30 },
  )

  it('takes each fragment once, and what it leaves needs no other plan', () => {
    fc.assert(
      fc.property(fragments, fc.boolean(), (drawn, isKeyed) => {
        const list = drawn.map(({ rows, share, low, span, isSorted }, i) =>
          fragment(i + 1, rows, { hidden: share < 0.5 ? 0 : Math.floor(share * rows), min: low, max: low + span, isSorted }),
        )
        let left = [...list]
        let lsn = 1000
        const groups = plan(isKeyed, list)
        const taken = groups.flatMap(({ segments }) => segments.flat())
        expect(new Set(taken).size).toBe(taken.length)
        for (const { segments, rows, outputRows } of groups) {
          const members = new Set(segments.flat())
          expect([...members].reduce((sum, each) => sum + each.rows - each.hidden, 0)).toBe(rows)
          if (!isKeyed) {
            const places = [...members].map((each) => list.indexOf(each))
            expect(places, 'neighbours, in their order').toEqual(places.map((_, i) => places[0]! + i))
          }
          const at = left.findIndex((each) => members.has(each))
          left = left.filter((each) => !members.has(each))
          const made: PlannedFragment[] = []
          for (let row = 0; row < rows; row += outputRows) made.push(fragment(lsn++, Math.min(outputRows, rows - row), { min: row, max: row }))
          for (const { rows: full } of made) expect(full).toBeLessThanOrEqual(TARGET)
          left.splice(at, 0, ...made)
        }
        expect(plan(isKeyed, left)).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})
