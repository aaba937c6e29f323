// The crash matrix: every kind of write x every failpoint it passes x what goes wrong there x how the store is found again (recovery.md sections 15 and 18).
//
// Generated from the catalogue: a new failpoint joins without being listed. By default a cell or two of each kind, point and fault; all of them: VARVE_MATRIX=all.
// The outcomes are kept beside this file; to accept changed ones: VARVE_GOLDEN=write npx vitest run test/matrix/crash.test.ts
import { readFileSync, writeFileSync } from 'node:fs'

import { describe, expect, it } from 'vitest'

import { type FailpointName, FAILPOINTS } from '../../bindings/testing/index.ts'
import { learn, runCell } from './crash-cell.ts'
import { type Layout, LAYOUTS, type Passed } from './crash-ground.ts'
import { type Kind, KINDS } from './crash-kinds.ts'
import { cellsOf, chosen, nameOfCell, type PassedBy, type Result, summary, total } from './crash-summary.ts'

/** The points that a kind passes are learned from a run, out of all there are. */
export const WALKED_FAILPOINTS: readonly FailpointName[] = FAILPOINTS

const ALL = process.env['VARVE_MATRIX'] === 'all'
/** Cells whose name has this in it, and no comparison: to look at a few. */
const ONLY = process.env['VARVE_CELLS']
const GOLDEN = new URL('./crash.golden.txt', import.meta.url)

const done: { kind: Kind; passed: PassedBy }[] = []
const results: Result[] = []

async function passedBy(kind: Kind): Promise<PassedBy> {
  const passed = new Map<Layout, Passed>()
  for (const layout of kind.layouts ?? LAYOUTS) {
    passed.set(
      layout,
      await learn(kind, layout).catch((cause: unknown) => {
        throw new Error(`${layout}: a run without faults`, { cause })
      }),
    )
  }
  return passed
}

describe('a crash or an error at each failpoint of', () => {
  it.each(KINDS.map((kind) => ({ name: kind.name, kind })))(
    '$name: what was acknowledged is there, the rest as a whole or not at all',
    async ({ kind }) => {
      if (ONLY !== undefined && ONLY.split(' | ')[0] !== kind.name && KINDS.some(({ name }) => ONLY.startsWith(`${name} | `))) return
      const passed = await passedBy(kind)
      done.push({ kind, passed })
      const all = cellsOf(kind, passed)
      const cells = (ALL || ONLY !== undefined ? all : chosen(all)).filter((cell) => ONLY === undefined || nameOfCell(cell).includes(ONLY))
      const red: string[] = []
      for (const cell of cells) {
        try {
          results.push({ cell, found: await runCell(cell) })
        } catch (error) {
          results.push({ cell, error })
          red.push(`${nameOfCell(cell)}: ${ONLY === undefined ? (error as Error).message.split('\n')[0] : (error as Error).stack}`)
        }
      }
      expect(red, 'cells').toEqual([])
    },
    3_600_000,
  )

  it('came to what it came to before', () => {
    const text = summary(done, results)
    console.log(ONLY === undefined ? text : total(results))
    if (ALL || ONLY !== undefined) return
    if (process.env['VARVE_GOLDEN'] === 'write') writeFileSync(GOLDEN, text)
    expect(text).toBe(readFileSync(GOLDEN, 'utf8'))
  })
})
