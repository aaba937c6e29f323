// The storage-fault matrix: every kind of write x every call that it makes of its root x what can go wrong with that call (recovery.md section 16, roots.md 6).
//
// The calls of a kind are learned from a run without faults, so a new call joins without being listed. A share of the cells by default, chosen by their names;
// all of them: VARVE_MATRIX=all; another share: VARVE_MATRIX=1 to 15. What came of the share is in fault.golden.txt; to accept changes: VARVE_GOLDEN=write vitest run test/matrix/fault.test.ts
import { readFileSync, writeFileSync } from 'node:fs'

import { afterAll, describe, expect, it } from 'vitest'

import { callName, canMeet, FAULTS } from './fault-calls.ts'
import { type Cell, learn, runCell, textOfError } from './fault-cell.ts'
import { PLACES } from './fault-ground.ts'
import { kindsOf } from './fault-kinds.ts'
import { Summary } from './fault-summary.ts'

const ALL = process.env['VARVE_MATRIX'] === 'all'
const WRITES_GOLDEN = process.env['VARVE_GOLDEN'] === 'write'
/** `VARVE_CELL='slots on disk | flush | put staged file 1 | io after'` runs one cell, or those of which the name contains it. */
const ONLY = process.env['VARVE_CELL']
const GOLDEN = new URL('./fault.golden.txt', import.meta.url)
/** One cell in so many. */
const SHARE = 16
/** Which of the shares; 0 is the one of the golden file. */
const TURN = ALL ? 0 : Number(process.env['VARVE_MATRIX'] ?? 0)

const summary = new Summary()

function isChosen(name: string): boolean {
  if (ONLY !== undefined) return name.includes(ONLY)
  if (ALL) return true
  let hash = 2_166_136_261
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16_777_619) >>> 0
  return (hash >>> 8) % SHARE === TURN
}

describe('a fault of one call of the root', () => {
  for (const place of PLACES) {
    for (const kind of kindsOf(place)) {
      it(`${place}: ${kind.name}`, { timeout: 1_200_000 }, async () => {
        const calls = await learn(kind, place)
        const red: string[] = []
        const nth = new Map<string, number>()
        for (const [i, call] of calls.entries()) {
          nth.set(callName(call), (nth.get(callName(call)) ?? 0) + 1)
          for (const fault of FAULTS) {
            const cell: Cell = { kind, place, k: i + 1, fault }
            const name = `${place} | ${kind.name} | ${callName(call)} ${nth.get(callName(call))} | ${fault.name}`
            if (!canMeet(call.method, fault) || !isChosen(name)) continue
            try {
              summary.add(cell, call.method, await runCell(cell))
            } catch (error) {
              red.push(`VARVE_CELL='${name}': ${textOfError(error)}`)
            }
          }
        }
        expect(red.join('\n\n')).toBe('')
      })
    }
  }

  it('came to what it came to before', () => {
    if (ALL || TURN > 0 || ONLY !== undefined) return
    if (WRITES_GOLDEN) writeFileSync(GOLDEN, summary.golden())
    const golden = readFileSync(GOLDEN, 'utf8')
    const known = new Set(golden.split('\n').flatMap((line) => (line.startsWith(' ') ? [] : [line.split(' | ')[0]!])))
    // A kind that is new in the crash matrix is in the table; its lines come with the next writing.
    expect(summary.golden((kind) => known.has(kind))).toBe(golden)
    expect(summary.cells, 'cells').toBeGreaterThan(1000)
  })

  afterAll(() => console.log(summary.toString()))
})
