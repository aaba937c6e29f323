// .ci/check.mjs: the gate. Runs every check of the tree, one line per step with its time, and exits 1 when any failed.
//
//   npm run check                     all steps; a failing one prints its output and the rest still run
//   npm run check -- --fail-fast      stop at the first failure
//   npm run check -- lint types       only these steps
//   npm run check -- --json           one JSON document at the end: { steps: [{ name, ok, ms }], failed }
//
// A step whose input another step makes (the package needs the build) is not run when that one failed, and counts as failed. Tests are not here: `npm test`.
import { spawn } from 'node:child_process'
import { delimiter, resolve } from 'node:path'

/** In this order; `needs` names the steps whose output it reads. */
const STEPS = [
  { name: 'lock', run: 'node .ci/lock.mjs --check' },
  { name: 'format', run: 'npm run --silent format:check' },
  // Before the lint: its typed rules look at a program that imports the built package.
  { name: 'build', run: 'npm run --silent build' },
  { name: 'lint', run: 'npm run --silent lint', needs: ['build'] },
  { name: 'bans', run: 'node .ci/bans.mjs' },
  { name: 'layers', run: 'npm run --silent layers' },
  { name: 'types', run: 'npm run --silent types', needs: ['build'] },
  { name: 'unused', run: 'npm run --silent unused', needs: ['build'] },
  { name: 'errors', run: 'node .ci/errors.mjs --check' },
  { name: 'api', run: 'npm run --silent api:check', needs: ['build'] },
  { name: 'package', run: 'node .ci/package.mjs', needs: ['build'] },
  { name: 'size', run: 'npm run --silent size', needs: ['build'] },
]

const options = process.argv.slice(2)
const wanted = options.filter((option) => !option.startsWith('--'))
const unknown = wanted.filter((name) => !STEPS.some((step) => step.name === name))
if (unknown.length > 0) {
  console.error(`no step ${unknown.join(', ')}; there are ${STEPS.map((step) => step.name).join(', ')}`)
  process.exit(2)
}

const results = []
for (const step of STEPS) {
  if (wanted.length > 0 && !wanted.includes(step.name)) continue
  const missing = (step.needs ?? []).find((name) => results.some((result) => result.name === name && !result.ok))
  const result = missing === undefined ? await perform(step) : { name: step.name, ok: false, ms: 0, output: `not run: ${missing} failed` }
  results.push(result)
  console.error(`${result.ok ? 'ok  ' : 'FAIL'} ${step.name.padEnd(8)} ${(result.ms / 1000).toFixed(1).padStart(5)} s`)
  if (!result.ok) {
    console.error(result.output.trimEnd().replaceAll(/^/gm, '     '))
    if (options.includes('--fail-fast')) break
  }
}

const failed = results.filter((result) => !result.ok).map((result) => result.name)
const seconds = results.reduce((sum, result) => sum + result.ms, 0) / 1000
console.error(
  `check: ${results.length - failed.length} passed, ${failed.length} failed${failed.length > 0 ? ` (${failed.join(', ')})` : ''} in ${seconds.toFixed(1)} s`,
)
if (options.includes('--json')) console.log(JSON.stringify({ steps: results.map(({ name, ok, ms }) => ({ name, ok, ms: Math.round(ms) })), failed }))
process.exitCode = failed.length > 0 || results.length === 0 ? 1 : 0

function perform({ name, run }) {
  const started = performance.now()
  const env = { ...process.env, PATH: `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH ?? ''}`, NO_COLOR: '1', FORCE_COLOR: undefined }
  return new Promise((done) => {
    const child = spawn(run, { shell: true, stdio: ['ignore', 'pipe', 'pipe'], env })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', (error) => (output += String(error)))
    child.on('close', (code, signal) => done({ name, ok: code === 0, ms: performance.now() - started, output: output || `ended by ${signal ?? code}` }))
  })
}
