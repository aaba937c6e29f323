// .ci/coverage-kernels.mjs: which branches of the Wasm module its tests take.
//
//   npm run coverage:kernels                 prints every function and every arm that no test took; exits 1 below 95 %
//   npm run coverage:kernels -- --release    the same of the optimised module
//   npm run coverage:kernels -- test/kernel/wal.test.ts    by these tests only (no bound then)
//   npm run coverage:kernels -- --json       one JSON document at the end
//
// The sources are compiled without optimisation: the optimiser turns branches into arithmetic and copies code, so its module has other branches than the
// sources, and those of a copy cannot be told apart by line. Binaryen puts a mark at every function and on both ways of every `if`, `br_if` and `select`.
// Marks are bytes in a second memory, imported, so that the module's own memory stays as it is.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

// The one that compiles the module; assemblyscript brings it.
import binaryen from 'assemblyscript/binaryen'

const PERCENT_MIN = 95
const PAGE_BYTES = 65_536
const MEMORY = 'marks'
const MARK = 'coverage/mark'
const BRANCH = 'coverage/branch'
/** Properties of binaryen's expression infos that hold child expressions. */
const CHILDREN = 'children operands condition ifTrue ifFalse body value ptr left right vec shift a b c dest source size delta'.split(' ')

/** Passes before the marks: where an inlined function's parameter is constant, only one way of its branches exists. */
const FOLD = ['--precompute-propagate', '--vacuum']

/** Have no children; binaryen tells nothing about the last two, and a constant's `value` is a number. */
const LEAVES = new Set([binaryen.ConstId, binaryen.NopId, binaryen.UnreachableId])
const KINDS = new Map([
  [binaryen.IfId, { name: 'if', type: binaryen.If }],
  [binaryen.BreakId, { name: 'br_if', type: binaryen.Break }],
  [binaryen.SelectId, { name: 'select', type: binaryen.Select }],
])

const args = process.argv.slice(2)
const tests = args.filter((arg) => !arg.startsWith('--'))
const release = args.includes('--release')
const folder = mkdtempSync(join(tmpdir(), 'varve-marks-'))
const env = { ...process.env, PATH: `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH ?? ''}` }

try {
  const { arms, wasm } = instrument(compile())
  writeFileSync(join(folder, 'marked.wasm'), wasm)
  const pages = String(Math.ceil(arms.length / PAGE_BYTES))
  const run = spawnSync('vitest', ['run', '--config', 'test/kernel/marks/vitest.config.ts', '--root', '.', ...tests], {
    env: { ...env, VARVE_KERNEL_MARKS: folder, VARVE_KERNEL_MARK_PAGES: pages },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const taken = collect(arms.length)
  const percent = report(arms, taken)
  if (run.status !== 0) console.error('tests failed on the marked module')
  const low = tests.length === 0 && percent < PERCENT_MIN
  if (low) console.error(`below ${PERCENT_MIN} %`)
  process.exitCode = run.status === 0 && !low ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** The module as text with the source position of every expression. */
function compile() {
  const plain = join(folder, 'plain.wasm')
  const level = release ? ['--optimizeLevel', '3', '--shrinkLevel', '0'] : ['--optimizeLevel', '0', '--shrinkLevel', '0']
  const asc = ['assembly/index.ts', '--target', 'release', ...level, '--debug', '--sourceMap', '--outFile', plain]
  execFileSync('asc', asc, { env, stdio: ['ignore', 'inherit', 'inherit'] })
  const text = join(folder, 'plain.wat')
  const features = ['--enable-simd', '--enable-bulk-memory', '--enable-nontrapping-float-to-int', '--enable-sign-ext', '--enable-mutable-globals']
  execFileSync(
    process.execPath,
    [wasmOpt(), plain, ...features, '--input-source-map', `${plain}.map`, ...(release ? [] : FOLD), '-g', '--emit-text', '--output', text],
    {
      env,
      stdio: 'ignore',
    },
  )
  return readFileSync(text, 'utf8')
}

/** Binaryen's command line tool: its library cannot read a source map. */
function wasmOpt() {
  const compiler = createRequire(fileURLToPath(import.meta.resolve('assemblyscript')))
  return join(dirname(compiler.resolve('binaryen')), 'bin', 'wasm-opt')
}

/** Puts the marks in. An arm = { func, what, file, line, column }; its index is its mark. */
function instrument(text) {
  const module = binaryen.parseText(text)
  module.setFeatures(binaryen.Features.All)
  const arms = []
  const functions = []
  for (let i = 0; i < module.getNumFunctions(); i++) functions.push(module.getFunctionByIndex(i))
  let seen = 0
  for (const func of functions) {
    const { name, body } = binaryen.getFunctionInfo(func)
    const entry = arms.push({ func: name, what: 'called' }) - 1
    walk(body, (expression, { id, condition }) => {
      const kind = KINDS.get(id)
      if (kind === undefined || !condition) return
      seen++
      // `while (true)` has one way only.
      if (binaryen.getExpressionId(condition) === binaryen.ConstId) return
      const mark = arms.push({ func: name, what: `${kind.name} true` }, { func: name, what: `${kind.name} false` }) - 2
      kind.type.setCondition(expression, module.call(BRANCH, [module.i32.const(mark), condition], binaryen.i32))
    })
    const enter = module.call(MARK, [module.i32.const(entry)], binaryen.none)
    binaryen.Function.setBody(func, module.block(null, [enter, binaryen.Function.getBody(func)], binaryen.getExpressionType(body)))
  }
  if (text.includes('(br_table')) throw new Error('br_table: teach this tool to mark its targets')
  const inText = text.match(/\((?:if|br_if|select)\b/g)?.length ?? 0
  if (inText !== seen) throw new Error(`${inText} branches in the text, ${seen} found: an expression kind is missing in CHILDREN`)

  module.addMemoryImport(MEMORY, 'coverage', 'marks')
  const { local, i32 } = module
  const set = (at) => i32.store8(0, 1, at, i32.const(1), MEMORY)
  module.addFunction(MARK, binaryen.i32, binaryen.none, [], set(local.get(0, binaryen.i32)))
  const chosen = i32.add(local.get(0, binaryen.i32), i32.eqz(local.get(1, binaryen.i32)))
  module.addFunction(
    BRANCH,
    binaryen.createType([binaryen.i32, binaryen.i32]),
    binaryen.i32,
    [],
    module.block(null, [set(chosen), local.get(1, binaryen.i32)], binaryen.i32),
  )
  if (!module.validate()) throw new Error('the marked module is not valid')
  locate(arms, module.emitText())
  return { arms, wasm: module.emitBinary() }
}

function walk(expression, visit) {
  if (!expression) return
  const id = binaryen.getExpressionId(expression)
  if (LEAVES.has(id)) return
  const info = binaryen.getExpressionInfo(expression)
  for (const key of CHILDREN) {
    const child = info[key]
    if (Array.isArray(child)) for (const one of child) walk(one, visit)
    else if (typeof child === 'number') walk(child, visit)
  }
  visit(expression, info)
}

/** Positions: the last one printed before a mark, in its function. A mark of a function takes the first one after it. */
function locate(arms, text) {
  let place
  let waiting
  let expected
  for (const line of text.split('\n')) {
    const at = /^\s*;;@ (\S+):(\d+):(\d+)/.exec(line)
    if (at !== null) {
      place = { file: at[1], line: Number(at[2]), column: Number(at[3]) + 1 }
      if (waiting !== undefined) Object.assign(arms[waiting], place)
      waiting = undefined
      continue
    }
    if (line.startsWith(' (func ')) place = undefined
    // Operands stand on lines of their own: the mark is the first constant behind the call.
    const call = /\(call \$"?coverage\/(mark|branch)/.exec(line)
    if (call !== null) {
      waiting = undefined
      expected = call[1]
    } else if (expected !== undefined) {
      const mark = Number(/\(i32\.const (\d+)\)/.exec(line)?.[1])
      if (expected === 'mark') waiting = mark
      else for (const arm of [arms[mark], arms[mark + 1]]) Object.assign(arm, place)
      expected = undefined
    }
  }
}

/** Marks of all test files together. */
function collect(count) {
  const taken = new Uint8Array(count)
  const files = readdirSync(folder).filter((name) => name.endsWith('.marks'))
  for (const name of files) {
    const bytes = readFileSync(join(folder, name))
    for (let i = 0; i < count; i++) taken[i] |= bytes[i]
  }
  return taken
}

function report(arms, taken) {
  const groups = new Map()
  arms.forEach((arm, i) => {
    const group = groups.get(arm.func) ?? { total: 0, covered: 0 }
    groups.set(arm.func, { total: group.total + 1, covered: group.covered + taken[i] })
  })
  const width = Math.max(...[...groups.keys()].map((name) => name.length))
  const line = (name, { total, covered }) => `${name.padEnd(width)} ${String(covered).padStart(5)} / ${String(total).padStart(4)} ${percentOf(covered, total)}`
  for (const [name, group] of groups) console.log(line(name, group))
  const missing = arms.filter((_, i) => !taken[i]).map((arm) => ({ ...arm, source: sourceOf(arm) }))
  if (missing.length > 0) console.log('\nnot taken:')
  for (const arm of missing) console.log(`${arm.file}:${arm.line}:${arm.column}  ${arm.func}, ${arm.what}: ${arm.source}`)
  const covered = arms.length - missing.length
  console.log(`\n${line('total', { total: arms.length, covered })}`)
  if (args.includes('--json')) console.log(JSON.stringify({ total: arms.length, covered, percent: (covered / arms.length) * 100, missing }))
  return (covered / arms.length) * 100
}

function percentOf(covered, total) {
  return `${((covered / total) * 100).toFixed(1).padStart(6)} %`
}

function sourceOf({ file, line }) {
  if (file === undefined || !file.startsWith('assembly/')) return ''
  return readFileSync(file, 'utf8').split('\n')[line - 1].trim()
}
