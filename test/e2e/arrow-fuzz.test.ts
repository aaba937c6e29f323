// Arrow bytes that broke other readers, and damage of our own, read in a process of their own: rows or a typed error, in bounded time and memory.
//
// VARVE_MUTATIONS: how many damaged inputs (8,000), VARVE_SEED: which. A failure prints the seed and the input's number.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { HAS_WHOLE_SET, NOT_THERE } from '../arrow/golden.ts'

const CHILD = fileURLToPath(new URL('arrow-fuzz-child.ts', import.meta.url))
const MUTATIONS = Number(process.env['VARVE_MUTATIONS'] ?? 8_000)
const SEED = Number(process.env['VARVE_SEED'] ?? 20_261_121)
/** Far above what any of them takes; a reader that hangs or fills memory is killed by it. */
const CHILD_MS_MAX = 60_000 + MUTATIONS * 10
const HEAP_MB = 256
const MIB = 2 ** 20

interface Report {
  readonly inputs: number
  readonly counts: Readonly<Record<string, number>>
  readonly failures: readonly { readonly input: string; readonly error: string }[]
  readonly worst: { readonly input: string; readonly bytes: number; readonly extra: number }
  readonly startBytes: number
  readonly peakBytes: number
}

async function run(...parameters: readonly string[]): Promise<Report> {
  const { stdout } = await promisify(execFile)(process.execPath, [`--max-old-space-size=${HEAP_MB}`, CHILD, ...parameters], { timeout: CHILD_MS_MAX })
  return JSON.parse(stdout) as Report
}

it('every file of the fuzz corpora is a right table or a typed error, and takes no memory', async ({ skip }) => {
  if (!HAS_WHOLE_SET) skip(NOT_THERE)
  const report = await run('corpus')
  expect(report.failures).toEqual([])
  expect(report.inputs).toBe(68)
  // One of them is whole: its values are those that flechette reads.
  expect(report.counts['rows']).toBeGreaterThan(0)
  expect(report.peakBytes - report.startBytes, `peak, after ${report.worst.input}`).toBeLessThan(32 * MIB)
  expect(report.worst.extra, report.worst.input).toBeLessThan(8 * MIB + 4 * report.worst.bytes)
})

it(`${MUTATIONS} damaged inputs are rows or a typed error (seed ${SEED})`, { timeout: CHILD_MS_MAX }, async () => {
  const report = await run('mutate', String(SEED), String(MUTATIONS))
  expect(report.failures, `VARVE_SEED=${SEED}`).toEqual([])
  expect(report.inputs).toBe(MUTATIONS)
  // Damage that nothing noticed would test nothing; damage that everything noticed would neither.
  expect(report.counts['rows']).toBeGreaterThan(MUTATIONS / 50)
  expect(report.counts['table.schema-mismatch']).toBeGreaterThan(MUTATIONS / 10)
  expect(report.worst.extra, report.worst.input).toBeLessThan(32 * MIB)
})
