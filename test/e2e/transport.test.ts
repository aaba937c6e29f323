// The transport contract on every runtime that the package is for, bundled as the package is, each in a process that must end by itself.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { RUNTIMES, runtimeOf } from '../../.ci/runtimes.mjs'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'varve-transport-'))
const program = join(folder, 'program.mjs')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

beforeAll(async () => {
  const build = await rolldown({
    input: fileURLToPath(new URL('./transport-program.ts', import.meta.url)),
    platform: 'node',
    external: /^(?:node:|[^./])/,
    tsconfig: false,
    transform: { target: 'es2024' },
  })
  await build.write({ file: program, format: 'esm', codeSplitting: false })
  await build.close()
})

describe('the TCP transport', () => {
  it.each(RUNTIMES)('N4 keeps its contract on $name, and leaves nothing open there', async (runtime) => {
    const { executable, reason } = await runtimeOf(runtime)
    if (executable === undefined) return console.log(`skip ${runtime.name}: ${reason}`)
    const { stdout } = await run(executable, [...runtime.parameters, program], { timeout: 200_000 })
    expect(stdout.trim()).toMatch(/^\d\d passed$/)
  })
})
