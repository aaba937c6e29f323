import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ColumnStats } from '../../../bindings/table/batch.ts'
import { compilePredicate } from '../../../bindings/table/predicate-eval.ts'
import type { Predicate } from '../../../bindings/table/types.ts'
import { matchingShare, mayMatch } from '../../../bindings/table/prune.ts'
import { cases, passes, statsOf, viewOf } from './predicate-model.ts'

/** The statistics with some of what they know left out, and byte bounds made looser, as writers may. */
function blur(stats: ColumnStats, how: { min: boolean; max: boolean; nan: boolean; cut: number }): ColumnStats {
  const { min, max, hasNaN, nullCount } = stats
  const low = min instanceof Uint8Array ? min.subarray(0, how.cut) : min
  const high = max instanceof Uint8Array && max.length > how.cut ? Uint8Array.of(...max.subarray(0, how.cut), ...new Uint8Array(max.length).fill(255)) : max
  return {
    nullCount,
    ...(how.min || low === undefined ? {} : { min: low }),
    ...(how.max || high === undefined ? {} : { max: high }),
    ...(how.nan || hasNaN === undefined ? {} : { hasNaN }),
  }
}

describe('pruning by statistics', () => {
  it('claims none or all only when the rows agree, under not, or, nulls and NaN', () => {
    const claims = { none: 0, some: 0, all: 0 }
    const how = fc.record({ min: fc.boolean(), max: fc.boolean(), nan: fc.boolean(), cut: fc.nat(3), unknown: fc.boolean() })
    fc.assert(
      fc.property(cases, fc.option(how), ({ view, kinds, rows, predicate }, loss) => {
        const compiled = compilePredicate(predicate as unknown as Predicate<any>, view)
        const stats = (id: number): ColumnStats | undefined => {
          const exact = statsOf(
            kinds[id - 1]!,
            rows.map((row) => row[id - 1] ?? null),
          )
          if (loss === null) return exact
          return loss.unknown && id === 1 ? undefined : blur(exact, loss)
        }
        const share = matchingShare(compiled, stats, rows.length)
        claims[share]++
        const passing = rows.filter((row) => passes(predicate, kinds, row)).length
        if (share === 'none') expect(passing).toBe(0)
        if (share === 'all') expect(passing).toBe(rows.length)
        expect(mayMatch(compiled, stats, rows.length)).toBe(share !== 'none')
      }),
      { numRuns: 2000 },
    )
    expect(Math.min(claims.none, claims.some, claims.all)).toBeGreaterThan(50)
  })

  const share = (kind: string, p: object, stats: ColumnStats): string => matchingShare(compilePredicate(p as Predicate<any>, viewOf([kind])), () => stats, 10)
  const text = (s: string): Uint8Array => new TextEncoder().encode(s)

  it.each([
    ['int16', { op: 'gt', column: 'c0', value: 10 }, { nullCount: 0, min: 1, max: 10 }, 'none'],
    ['int16', { op: 'gt', column: 'c0', value: 10 }, { nullCount: 0, min: 11, max: 20 }, 'all'],
    ['int16', { op: 'gt', column: 'c0', value: 10 }, { nullCount: 1, min: 11, max: 20 }, 'some'],
    ['int16', { op: 'ne', column: 'c0', value: 5 }, { nullCount: 3, min: 6, max: 9 }, 'all'],
    ['int16', { op: 'eq', column: 'c0', value: 5 }, { nullCount: 10 }, 'none'],
    ['int16', { op: 'oneOf', column: 'c0', values: [1, 9] }, { nullCount: 0, min: 2, max: 8 }, 'none'],
    ['float64', { op: 'lt', column: 'c0', value: 5 }, { nullCount: 0, min: 1, max: 2 }, 'some'],
    ['float64', { op: 'lt', column: 'c0', value: 5 }, { nullCount: 0, min: 1, max: 2, hasNaN: false }, 'all'],
    ['float64', { op: 'lt', column: 'c0', value: 5 }, { nullCount: 0, min: 6, max: 7, hasNaN: true }, 'none'],
    ['utf8', { op: 'startsWith', column: 'c0', prefix: 'SF' }, { nullCount: 0, min: text('SFA'), max: text('SFZ') }, 'all'],
    ['utf8', { op: 'startsWith', column: 'c0', prefix: 'SF' }, { nullCount: 0, min: text('SG'), max: text('T') }, 'none'],
    ['utf8', { op: 'startsWith', column: 'c0', prefix: 'SF' }, { nullCount: 0, min: text('A'), max: text('SE') }, 'none'],
    ['int64', { op: 'eq', column: 'c0', value: 7n }, { nullCount: 0, min: 7n, max: 7n }, 'all'],
    ['bool', { op: 'eq', column: 'c0', value: true }, { nullCount: 0, min: 0, max: 0 }, 'none'],
    ['utf8', { op: 'isNull', column: 'c0' }, { nullCount: 10 }, 'all'],
    ['utf8', { op: 'isNotNull', column: 'c0' }, { nullCount: 0 }, 'all'],
  ] as const)('%s %o with %o is %s', (kind, p, stats, expected) => {
    expect(share(kind, p, stats)).toBe(expected)
  })

  it('finds no row where there is none', () => {
    expect(matchingShare(compilePredicate({ op: 'and', of: [] } as unknown as Predicate<any>, viewOf(['bool'])), () => undefined, 0)).toBe('none')
  })
})
