// .ci/layers.mjs: imports of bindings/ against .ci/layers.json. Exit code 1 with one line per breach; also 1 when nothing was checked.
//
// Rules: a unit imports only what its line allows; a folder is entered through its index.ts; packages and `node:` only where listed; what must stay lazy is
// import() or a type; pure files have no await and no runtime; the rule file itself has no cycle.
import { posix } from 'node:path'
import { pathToFileURL } from 'node:url'

import { importsOf, lineOf, listFiles, matches, read, withoutComments } from './sources.mjs'

const SOURCES = 'bindings'
const FEWEST_IMPORTS = 100 // fewer means that the scanner, not the code, changed

/** Checks the modules under `folder`; returns how much was checked and every breach as a sentence. */
export function checkLayers(folder = SOURCES, rules = JSON.parse(read('.ci/layers.json'))) {
  const breaches = cyclesOf(rules.units).map((cycle) => `.ci/layers.json: cycle ${cycle}`)
  const files = listFiles(folder)
  let imports = 0
  for (const file of files) {
    const path = file.slice(folder.length + 1)
    const source = read(file)
    const say = (line, text) => breaches.push(`${file}:${line}: ${text}`)
    for (const found of importsOf(source)) {
      imports++
      if (found.specifier.startsWith('.')) checkRelative(path, found, rules, say)
      else checkPackage(path, found, rules, say)
    }
    if (rules.pure.some((pattern) => matches(path, pattern))) checkPure(source, say)
  }
  return { files: files.length, imports, breaches }
}

function checkRelative(path, { specifier, line }, rules, say) {
  if (specifier.endsWith('.gen.ts')) return
  const target = posix.join(posix.dirname(path), specifier)
  if (target.startsWith('..')) return say(line, `leaves the sources: ${specifier}`)
  if (!target.endsWith('.ts')) return say(line, `specifier without .ts: ${specifier}`)
  const from = unitOf(path)
  const to = unitOf(target)
  if (from === to) return undefined
  const allowed = rules.units[from]
  if (allowed === undefined) return say(line, `unit ${from} is not in .ci/layers.json`)
  if (!allowed.includes(to)) return say(line, `${from} may not import ${to} (${specifier}); allowed: ${allowed.join(', ') || 'nothing'}`)
  if (target.includes('/') && target !== `${to}/index.ts`) return say(line, `enter ${to} through ${to}/index.ts, not ${specifier}`)
  return undefined
}

function checkPackage(path, { specifier, line, lazy, typeOnly }, rules, say) {
  const builtin = specifier.startsWith('node:')
  const name = builtin
    ? 'node:'
    : specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
  const where = rules.packages[name]
  if (where === undefined) return say(line, `package ${name} is not in .ci/layers.json`)
  if (!where.some((pattern) => matches(path, pattern))) return say(line, `${specifier} belongs in ${where.join(', ')} only`)
  const mustBeLazy = !builtin && !rules.lazy.except.some((pattern) => matches(path, pattern))
  if (mustBeLazy && !lazy && !typeOnly) return say(line, `load ${name} with import(): the public door must stay light`)
  return undefined
}

function checkPure(source, say) {
  const code = withoutComments(source)
  for (const match of code.matchAll(/(?<!['"])\b(?:await|async)\b(?!['"])/g)) say(lineOf(source, match.index), `${match[0]} in a pure file`)
}

function unitOf(path) {
  return path.split('/')[0]
}

/** Every cycle of the allowed imports, `a -> b -> a`. */
function cyclesOf(units) {
  const cycles = []
  const done = new Set()
  const walk = (unit, trail) => {
    if (trail.includes(unit)) return cycles.push([...trail.slice(trail.indexOf(unit)), unit].join(' -> '))
    if (done.has(unit)) return 0
    for (const next of units[unit] ?? []) walk(next, [...trail, unit])
    return done.add(unit)
  }
  for (const unit of Object.keys(units)) walk(unit, [])
  return cycles
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { files, imports, breaches } = checkLayers()
  for (const breach of breaches) console.error(breach)
  if (imports < FEWEST_IMPORTS) console.error(`only ${imports} imports in ${files} files were checked: the check itself is broken`)
  console.log(`layers: ${imports} imports in ${files} files, ${breaches.length} breaches`)
  process.exitCode = breaches.length > 0 || imports < FEWEST_IMPORTS ? 1 : 0
}
