// vitest.config.ts: three projects. `unit` is everything that runs inside one process, `commands` starts programs one at a time and waits for their end; both run a
// file on each core: left to itself vitest keeps one core free, which on a machine of two is half of it. `processes` starts several at once (killed writers, two
// processes on one lock, networks), whose clocks are real: it comes last, with a core left free. What they start runs from the sources, and what was compiled of them
// is kept for the next one; only the commands of `varve` in `commands` run from a bundle, as most of the processor time of a short one is spent on loading the sources.
//
// Every file begins with test/setup.ts, which seeds the properties. VARVE_SEED=random is drawn here, once for all of them.
import { randomInt } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const STARTS = ['test/e2e/**/*.test.ts', 'test/crash/**/*.test.ts']
/** By name: a file that is not listed is one of `processes`. */
const COMMANDS = [
  'test/e2e/cli{,-branches,-formats,-merge,-ops,-optimize,-recovery,-schema,-vacuum}.test.ts',
  'test/e2e/{api-usage,failpoint-kill,kernels-page,other-engines,other-readers,pack,readme}.test.ts',
]

const env: Record<string, string> = { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url)) }
if (process.env['VARVE_SEED'] === 'random') {
  env['VARVE_SEED'] = String(randomInt(2 ** 31))
  process.stdout.write(`VARVE_SEED=${env['VARVE_SEED']}\n`)
}
const setupFiles = [fileURLToPath(new URL('test/setup.ts', import.meta.url))]

// Projects of equal `groupOrder` run side by side.
export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      {
        test: {
          name: 'unit',
          maxWorkers: '100%',
          include: ['test/**/*.test.ts'],
          exclude: STARTS,
          testTimeout: 240_000,
          hookTimeout: 60_000,
          pool: 'forks',
          env,
          setupFiles,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'commands',
          maxWorkers: '100%',
          include: COMMANDS,
          globalSetup: fileURLToPath(new URL('test/e2e/bundled.ts', import.meta.url)),
          testTimeout: 240_000,
          hookTimeout: 240_000,
          pool: 'forks',
          env,
          setupFiles,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'processes',
          include: STARTS,
          exclude: COMMANDS,
          testTimeout: 240_000,
          hookTimeout: 240_000,
          pool: 'forks',
          env,
          setupFiles,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
