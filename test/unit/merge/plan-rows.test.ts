import { describe, expect, it } from 'vitest'

import { columnVerdict, rowVerdict, type RowFacts, type RowVerdict } from '../../../bindings/merge/plan-rows.ts'

/** A row by its value; '-' is none. Rows are two letters, a column each. */
function facts(base: string, theirs: string, ours: string): RowFacts {
  const isApart = [0, 1].every((i) => columnVerdict(theirs[i] === base[i], ours[i] === base[i], theirs[i] === ours[i]) !== 'conflict')
  return {
    inBase: base !== '-',
    inTheirs: theirs !== '-',
    inOurs: ours !== '-',
    theirsAsBase: theirs === base,
    oursAsBase: ours === base,
    theirsAsOurs: theirs === ours,
    isApart,
  }
}

const CELLS: readonly (readonly [base: string, theirs: string, ours: string, verdict: RowVerdict])[] = [
  ['-', '-', '-', 'keep'],
  ['-', 'xx', '-', 'take'],
  ['-', '-', 'xx', 'keep'],
  ['-', 'xx', 'xx', 'keep'],
  ['-', 'xx', 'yy', 'bothAdded'],
  ['aa', 'aa', 'aa', 'keep'],
  ['aa', 'aa', 'xx', 'keep'],
  ['aa', 'aa', '-', 'keep'],
  ['aa', 'xa', 'aa', 'take'],
  ['aa', 'xa', 'xa', 'keep'],
  ['aa', 'xa', 'ay', 'mix'],
  ['aa', 'xa', 'ya', 'bothChanged'],
  ['aa', 'xx', 'ay', 'bothChanged'],
  ['aa', 'xx', 'xa', 'mix'],
  ['aa', '-', 'aa', 'remove'],
  ['aa', '-', 'xa', 'deletedChanged'],
  ['aa', 'xa', '-', 'changedDeleted'],
  ['aa', '-', '-', 'keep'],
]

describe('the merge table', () => {
  it.each(CELLS)('base %s, theirs %s, ours %s: %s', (base, theirs, ours, verdict) => {
    expect(rowVerdict(facts(base, theirs, ours))).toBe(verdict)
  })

  it('with rows merged whole, a row that both sides changed is a conflict', () => {
    expect(rowVerdict({ ...facts('aa', 'xa', 'ay'), isApart: false })).toBe('bothChanged')
    expect(rowVerdict({ ...facts('aa', 'xa', 'xa'), isApart: false })).toBe('keep')
  })

  it('loses no change: whatever is not a conflict has what each side did alone', () => {
    const values = ['-', 'aa', 'xa', 'ax', 'xx', 'ya']
    for (const base of values)
      for (const theirs of values)
        for (const ours of values) {
          const verdict = rowVerdict(facts(base, theirs, ours))
          if (theirs === base && verdict !== 'keep') throw new Error(`${base} ${theirs} ${ours}: ${verdict}`)
          if (ours === base && theirs !== base) expect(['take', 'remove'], `${base} ${theirs} ${ours}`).toContain(verdict)
          if (theirs === ours) expect(verdict, `${base} ${theirs} ${ours}`).toBe('keep')
        }
  })
})

describe('a column of a row that both sides changed', () => {
  it.each([
    [true, true, true, 'ours'],
    [true, false, false, 'ours'],
    [false, true, false, 'theirs'],
    [false, false, true, 'ours'],
    [false, false, false, 'conflict'],
  ] as const)('theirs as base %s, ours as base %s, alike %s: %s', (theirs, ours, alike, verdict) => {
    expect(columnVerdict(theirs, ours, alike)).toBe(verdict)
  })
})
