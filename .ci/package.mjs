// .ci/package.mjs: packs the package as `npm publish` would and holds the tarball against publint and "are the types wrong".
//
// The tarball is made once, in a temporary folder, and both tools read that file: nothing is written into the work tree.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { ENTRIES } from './bundle.mjs'

const UNPACKED_BYTES_MAX = 2.75 * 1024 * 1024
const EXPECTED = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE', ...ENTRIES.flatMap(({ path }) => [`dist/${path}.js`, `dist/${path}.d.ts`])]
const LEGAL = /^(?:package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/.+\.(?:js|d\.ts))$/

const folder = mkdtempSync(join(tmpdir(), 'varve-package-'))
try {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { encoding: 'utf8' }))
  const problems = problemsOf(packed)
  for (const problem of problems) console.error(problem)
  const tarball = join(folder, packed.filename)
  const tools = [
    ['publint', [tarball, '--strict']],
    ['attw', [tarball, '--profile', 'esm-only', '--no-emoji', '--no-color']],
  ]
  const failed = tools.filter(([tool, parameters]) => !passes(tool, parameters))
  console.log(`package: ${packed.entryCount} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`)
  process.exitCode = problems.length + failed.length > 0 ? 1 : 0
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function problemsOf(packed) {
  const paths = packed.files.map((file) => file.path)
  const problems = EXPECTED.filter((path) => !paths.includes(path)).map((path) => `missing from the package: ${path}`)
  problems.push(...paths.filter((path) => !LEGAL.test(path)).map((path) => `does not belong in the package: ${path}`))
  problems.push(...exportProblems(JSON.parse(readFileSync('package.json', 'utf8')).exports))
  if (packed.unpackedSize > UNPACKED_BYTES_MAX) problems.push(`${packed.unpackedSize} bytes unpacked; the bound is ${UNPACKED_BYTES_MAX}`)
  return problems
}

/** `exports` of the manifest against the list of what is built. */
function exportProblems({ './package.json': _, ...stated }) {
  const built = Object.fromEntries(
    ENTRIES.filter(({ exported }) => exported !== undefined).map(({ exported, path }) => [
      exported,
      { types: `./dist/${path}.d.ts`, default: `./dist/${path}.js` },
    ]),
  )
  return JSON.stringify(stated) === JSON.stringify(built) ? [] : [`exports of package.json are not what .ci/bundle.mjs builds: ${JSON.stringify(built)}`]
}

function passes(tool, parameters) {
  try {
    execFileSync(tool, parameters, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
    return true
  } catch (error) {
    console.error(`${tool}:\n${error.stdout ?? ''}${error.stderr ?? ''}`)
    return false
  }
}
