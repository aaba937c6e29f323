// bench/kernels/cold-start.ts: a fresh Node process from import() to the answer of the first call: varve/kernels as it is shipped, beside hash-wasm.
//
// Both make the CRC-32C of nine bytes, in Wasm that they compile at that call. The bundle is made from the sources of now; files lie in the system's cache, as
// they do for any process but the first. What Node needs to start is not in it: the clock starts in the program, before import(). Facts beside it: importing an
// empty module, and all of varve.
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

import { bundle } from '../../.ci/bundle.mjs'
import { contest, type Turn, verify } from '../contest.ts'
import { freshFolder, removeFolders } from '../machine.ts'
import { rounded } from '../report.ts'
import type { KernelSuite } from './suite.ts'

const BENCH = fileURLToPath(new URL('..', import.meta.url))
const ROUNDS_MIN = 11
/** What kernels.md asks of the first call, in ms. */
const BAR_MS = 15
/** The check value of CRC-32C, of the digits 1 to 9. */
const SUM = 'e3069283'

export async function coldStart(suite: KernelSuite): Promise<void> {
  const folder = freshFolder()
  try {
    mkdirSync(join(folder, 'dist'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
    writeFileSync(join(folder, 'empty.js'), 'export {}\n')
    await bundle(join(folder, 'dist'))
    const here = (path: string): string => pathToFileURL(join(folder, path)).href
    const hasPeer = (await suite.peer('hash-wasm')) !== undefined
    const entries = [
      { name: 'varve', turn: () => started(here('dist/kernels/public.js'), 'loaded.crc32c(bytes).toString(16)', SUM) },
      ...(hasPeer ? [{ name: 'hash-wasm', turn: () => started('hash-wasm', 'await loaded.crc32(bytes, 0x82f63b78)', SUM) }] : []),
      { name: 'empty-module', turn: () => started(here('empty.js'), '"nothing"', 'nothing') },
      { name: 'import-varve', turn: () => started(here('dist/index.js'), 'typeof loaded.Store.open', 'function') },
    ]
    const outcome = await contest('cold-start', 'ms', Math.max(suite.rounds, ROUNDS_MIN), entries)
    const { 'import-varve': whole, 'empty-module': floor, ...contenders } = outcome.contenders
    const { 'import-varve': _whole, 'empty-module': _floor, ...against } = outcome.against
    suite.add({ ...outcome, contenders, against, targets: {} })
    suite.fact('cold-start.bar', `${rounded(outcome.median)} ms, asked for are less than ${BAR_MS}: ${outcome.median < BAR_MS ? 'met' : 'MISSED'}`)
    suite.fact('cold-start.empty-module', floor)
    suite.fact('cold-start.import-varve', whole)
  } finally {
    removeFolders()
  }
}

/** One process; `call` is an expression over `loaded` and `bytes`. */
async function started(module: string, call: string, expected: string): Promise<Turn> {
  const program = `
    const bytes = new TextEncoder().encode('123456789')
    const from = performance.now()
    const loaded = await import(${JSON.stringify(module)})
    const result = ${call}
    const ms = performance.now() - from
    console.log(JSON.stringify({ ms, result }))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: BENCH })
  const { ms, result } = JSON.parse(stdout) as { ms: number; result: string }
  verify(result === expected, `cold-start: ${module} gave ${result}`)
  return { ms, operations: 1 }
}
