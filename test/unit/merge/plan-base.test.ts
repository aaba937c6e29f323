import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import type { MergeEntry } from '../../../bindings/catalog/index.ts'
import type { Position } from '../../../bindings/engine/index.ts'
import { ancestry, type Lineage, mergeBase } from '../../../bindings/merge/plan-base.ts'

const [MAIN, DEV, FIX] = [0, 1, 2]
const at = (branch: number, lsn: number): Position => ({ branch, lsn })
const lineage = (origins: Readonly<Record<number, Position>>, merges: readonly MergeEntry[] = []): Lineage => ({ origin: (branch) => origins[branch], merges })

describe('the newest common ancestor', () => {
  it('of a branch and what it was made of is where it was made', () => {
    expect(mergeBase(at(DEV, 20), at(MAIN, 30), lineage({ [DEV]: at(MAIN, 10) }))).toEqual(at(MAIN, 10))
    expect(mergeBase(at(MAIN, 30), at(DEV, 20), lineage({ [DEV]: at(MAIN, 10) }))).toEqual(at(MAIN, 10))
  })

  it('of two branches of one is the earlier of their beginnings', () => {
    expect(mergeBase(at(DEV, 40), at(FIX, 50), lineage({ [DEV]: at(MAIN, 10), [FIX]: at(MAIN, 20) }))).toEqual(at(MAIN, 10))
  })

  it('of a branch of a branch goes through the one between', () => {
    expect(mergeBase(at(FIX, 40), at(DEV, 50), lineage({ [DEV]: at(MAIN, 10), [FIX]: at(DEV, 30) }))).toEqual(at(DEV, 30))
    expect(mergeBase(at(FIX, 40), at(MAIN, 50), lineage({ [DEV]: at(MAIN, 10), [FIX]: at(DEV, 30) }))).toEqual(at(MAIN, 10))
  })

  it('after a merge is what was merged, in both directions', () => {
    const merged = lineage({ [DEV]: at(MAIN, 10) }, [{ lsn: 30, into: MAIN, source: DEV, sourceLsn: 25 }])
    expect(mergeBase(at(DEV, 40), at(MAIN, 50), merged)).toEqual(at(DEV, 25))
    expect(mergeBase(at(MAIN, 50), at(DEV, 40), merged)).toEqual(at(DEV, 25))
    // Before the merge it was not so.
    expect(mergeBase(at(DEV, 40), at(MAIN, 29), merged)).toEqual(at(MAIN, 10))
  })

  it('of a branch made before a merge does not know of it', () => {
    const merged = lineage({ [DEV]: at(MAIN, 10), [FIX]: at(MAIN, 20) }, [{ lsn: 30, into: MAIN, source: DEV, sourceLsn: 25 }])
    expect(mergeBase(at(DEV, 40), at(FIX, 50), merged)).toEqual(at(MAIN, 10))
  })

  it('of a branch made at a place of another before that one had anything of its own is on the first', () => {
    expect(mergeBase(at(FIX, 40), at(DEV, 50), lineage({ [DEV]: at(MAIN, 10), [FIX]: at(DEV, 10) }))).toEqual(at(MAIN, 10))
  })

  it('of a position with itself is that position', () => {
    expect(mergeBase(at(DEV, 20), at(DEV, 20), lineage({ [DEV]: at(MAIN, 10) }))).toEqual(at(DEV, 20))
  })

  it('is in both, and whatever is in both is in it or in another that is not in it, over random histories', () => {
    const steps = fc.array(fc.record({ merge: fc.boolean(), a: fc.nat(5), b: fc.nat(5) }), { maxLength: 25 })
    fc.assert(
      fc.property(steps, fc.nat(5), fc.nat(5), (script, s, t) => {
        const origins: Record<number, Position> = {}
        const merges: MergeEntry[] = []
        let lsn = 1
        let count = 1
        for (const { merge, a, b } of script) {
          lsn++
          const [into, source] = [a % count, b % count]
          if (!merge && count < 6) origins[count++] = at(into, lsn - 1)
          else if (into !== source) merges.push({ lsn, into, source, sourceLsn: lsn - 1 })
        }
        const known = lineage(origins, merges)
        const [source, target] = [at(s % count, lsn), at(t % count, lsn)]
        const base = mergeBase(source, target, known)!
        for (const side of [source, target]) expect(ancestry(side, known).get(base.branch)).toBeGreaterThanOrEqual(base.lsn)
        expect(mergeBase(target, source, known)).toEqual(base)
        // No branch of which both have more than the base has lies in a position that has the whole base in it.
        const inBase = ancestry(base, known)
        for (const [branch, upto] of ancestry(source, known)) {
          const common = Math.min(upto, ancestry(target, known).get(branch) ?? -1)
          if (common <= (inBase.get(branch) ?? -1) || common <= (origins[branch]?.lsn ?? -1)) continue
          expect(ancestry(at(branch, common), known).get(base.branch) ?? -1).toBeLessThan(base.lsn)
        }
      }),
      { numRuns: 500 },
    )
  })
})
