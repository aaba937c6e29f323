// Guards of the failpoints (recovery.md section 15): sites and tests name members of FP and nothing else; each member that is not planned is placed, where its group
// belongs, and walked by a test; a planned one is placed nowhere.
//
// Read from the compiler's own trees, so that line breaks and aliases of a receiver make no difference.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import {
  isAsExpression,
  isBinaryExpression,
  isConditionalExpression,
  isIdentifier,
  isNonNullExpression,
  isNoSubstitutionTemplateLiteral,
  isParenthesizedExpression,
  isSatisfiesExpression,
  isStringLiteral,
  isTemplateExpression,
  isVariableDeclaration,
  type Node,
} from 'typescript/unstable/ast'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { FAILPOINTS, type FailpointName, FP, PLANNED } from '../../bindings/runtime/index.ts'

import { memberOfFp, openProgram, type Program, type SourceTree, walk } from './program.ts'

/** Not placed yet although not planned for later: fails for a name that has a site by now, so it can only shrink. */
const AWAITED: ReadonlySet<FailpointName> = new Set<FailpointName>()

/** Placed, but walked by no test yet: fails for a name that is walked by now. */
const UNWALKED: ReadonlySet<FailpointName> = new Set<FailpointName>()

/** Where the sites of a group may be; a pattern is a path or, with a slash at its end, a folder. */
const PLACES: Readonly<Record<keyof typeof FP, readonly string[]>> = {
  intent: ['bindings/staging/', 'bindings/recovery/'],
  stage: ['bindings/staging/', 'bindings/engine/', 'bindings/write/'],
  seal: ['bindings/write/'],
  promote: ['bindings/staging/'],
  publish: ['bindings/write/', 'bindings/engine/', 'bindings/log/'],
  retire: ['bindings/staging/'],
  sweep: ['bindings/recovery/'],
  heal: ['bindings/recovery/'],
  log: ['bindings/log/'],
  checkpoint: ['bindings/engine/checkpoints.ts', 'bindings/store/upkeep.ts', 'bindings/upkeep/vacuum.ts'],
  flush: ['bindings/engine/flush.ts'],
  schema: ['bindings/engine/schema-apply.ts'],
  optimize: ['bindings/upkeep/'],
  merge: ['bindings/merge/'],
  branch: ['bindings/store/branching.ts'],
  vacuum: ['bindings/upkeep/vacuum.ts'],
  open: ['bindings/log/', 'bindings/store/'],
  ship: ['bindings/ship/', 'bindings/store/', 'bindings/log/'],
  root: ['bindings/testing/faulty-root.ts'],
}

/** Everything else has one site; these have more, and why. */
const SEVERAL: Readonly<Partial<Record<FailpointName, string>>> = {
  [FP.open.beforeEpoch]: 'a log of segments and one of slots',
  [FP.log.beforeWrite]: 'a log of segments and one of slots',
  [FP.log.beforeSync]: 'the group of a commit, and the background sync of `buffered`',
  [FP.log.afterSync]: 'the group of a commit, and the background sync of `buffered`',
  [FP.log.beforeLockCheck]: 'a group in its segment, and one that is the birth of the next',
  [FP.log.beforeFooter]: 'the footer of the writer, and that of a recovery',
  [FP.log.afterFooter]: 'the footer of the writer, and that of a recovery',
  [FP.log.trim]: 'a log of segments and one of slots',
  [FP.log.beforeClean]: 'a log of segments and one of slots',
  [FP.log.afterClean]: 'a log of segments and one of slots',
  [FP.merge.beforePublish]: 'a merge of few rows, and one that is staged',
  [FP.retire.betweenFiles]: 'between two files, and between the last one and INTENT',
  [FP.root.list]: 'the table of methods, and the listing itself, which is a generator',
  [FP.root.link]: 'the call, and the seam of a root without hard links',
  [FP.root.syncDir]: 'the call, and the seam of a root without directory syncs',
}

const CALLS = ['hit', 'hitSync', 'around', 'aroundSync', 'enabled', 'arm', 'rendezvous']
/** The catalogue, what implements it, and what tests them: names there are neither sites nor walks. */
const OF_THEMSELVES = [
  'bindings/runtime/',
  'bindings/testing/rendezvous.ts',
  'bindings/testing/index.ts',
  'test/guards/',
  'test/unit/runtime/failpoints.test.ts',
]

interface Mention {
  readonly name: FailpointName
  readonly at: string
}

const isOf = (file: string, patterns: readonly string[]): boolean => patterns.some((each) => (each.endsWith('/') ? file.startsWith(each) : file === each))
const isTest = (file: string): boolean => file.startsWith('test/') || file.startsWith('bindings/testing/contracts/')
const isSource = (file: string): boolean => file.startsWith('bindings/') && !isTest(file)

/** Members of FP by mention; a group on its own is all of its names. Unknown ones are breaches of the compiler's, not ours. */
function mentions({ trees }: Program, files: (file: string) => boolean): Mention[] {
  const found: Mention[] = []
  for (const tree of trees) {
    if (!files(tree.file) || isOf(tree.file, OF_THEMSELVES)) continue
    const add = (node: Node, names: readonly FailpointName[]): void =>
      void found.push(...names.map((name) => ({ name, at: `${tree.file}:${tree.lineOf(node)}` })))
    walk(tree.root, (node) => {
      const member = memberOfFp(node)
      if (member !== undefined) {
        const [group, name] = member
        add(node, name === undefined ? FAILPOINTS.filter((each) => each.startsWith(`${group}.`)) : FAILPOINTS.filter((each) => each === `${group}.${name}`))
      } else if (isVariableDeclaration(node) && isIdentifier(node.name) && node.name.text === 'WALKED_FAILPOINTS' && node.initializer !== undefined) {
        // A matrix that is made of the whole catalogue says so under this name.
        walk(node.initializer, (part) => {
          if (isIdentifier(part) && part.text === 'FAILPOINTS') add(part, FAILPOINTS)
        })
      }
    })
  }
  return found
}

/** Calls of failpoints whose first argument spells a name instead of taking it from FP. */
function spelled(program: Program): string[] {
  const types = new Set(['Failpoints', 'FailpointRegistry'])
  const isTheirs = (receiver: string, method: string): boolean => types.has(receiver) || (receiver === '' && method === 'rendezvous')
  return program
    .calls(CALLS)
    .filter(({ file, receiver, method }) => isTheirs(receiver, method) && !isOf(file, OF_THEMSELVES))
    .flatMap(({ file, line, method, node }) => {
      // rendezvous(world, name); the others take the name first.
      const name = node.arguments[method === 'rendezvous' ? 1 : 0]
      const isSpelled = name === undefined || outcomes(name).some(isText)
      return isSpelled ? [`${file}:${line}: ${method}: the name of a failpoint is written FP.<group>.<name>`] : []
    })
}

/** Texts that are a failpoint's name, anywhere but in the catalogue: a way round FP. */
function quoted({ trees }: Program): string[] {
  const names: ReadonlySet<string> = new Set(FAILPOINTS)
  const found: string[] = []
  const look = (tree: SourceTree) => (node: Node) => {
    if ((isStringLiteral(node) || isNoSubstitutionTemplateLiteral(node)) && names.has(node.text))
      found.push(`${tree.file}:${tree.lineOf(node)}: '${node.text}'`)
  }
  for (const tree of trees) if (!isOf(tree.file, OF_THEMSELVES)) walk(tree.root, look(tree))
  return found
}

/** What an expression may come to: both sides of a choice, what is behind a cast. */
function outcomes(node: Node): readonly Node[] {
  if (isConditionalExpression(node)) return [...outcomes(node.whenTrue), ...outcomes(node.whenFalse)]
  if (isBinaryExpression(node)) return [...outcomes(node.left), ...outcomes(node.right)]
  if (isParenthesizedExpression(node) || isAsExpression(node) || isNonNullExpression(node) || isSatisfiesExpression(node)) return outcomes(node.expression)
  return [node]
}

function isText(node: Node): boolean {
  return isStringLiteral(node) || isNoSubstitutionTemplateLiteral(node) || isTemplateExpression(node)
}

function misplaced(sites: readonly Mention[]): string[] {
  return sites
    .filter(({ name, at }) => !isOf(at.slice(0, at.lastIndexOf(':')), PLACES[name.slice(0, name.indexOf('.')) as keyof typeof FP]))
    .map(({ name, at }) => `${name} at ${at}`)
}

describe('the sources', () => {
  let program: Program
  let sites: Mention[]
  let walks: Mention[]
  beforeAll(() => {
    program = openProgram(process.cwd())
    sites = mentions(program, isSource)
    walks = mentions(program, isTest)
  })
  afterAll(() => program[Symbol.dispose]())

  it('are read', () => {
    expect(program.trees.length).toBeGreaterThan(400)
    expect(program.calls(CALLS).filter(({ receiver }) => receiver === 'Failpoints').length).toBeGreaterThan(40)
    expect(program.calls(CALLS).filter(({ receiver }) => receiver === 'FailpointRegistry').length).toBeGreaterThan(20)
  })

  it('name failpoints by members of FP, in sites and in tests', () => {
    expect(spelled(program)).toEqual([])
    expect(quoted(program)).toEqual([])
  })

  it('place every name that is not planned, and no other', () => {
    const placed = new Set(sites.map(({ name }) => name))
    expect(
      [...PLANNED].filter((name) => placed.has(name)),
      'planned, and placed already',
    ).toEqual([])
    expect(
      [...AWAITED].filter((name) => placed.has(name)),
      'awaited, and placed by now: take it off the list',
    ).toEqual([])
    expect(
      FAILPOINTS.filter((name) => !placed.has(name) && !PLANNED.has(name) && !AWAITED.has(name)),
      'placed nowhere',
    ).toEqual([])
  })

  it('place each where its group belongs', () => {
    expect(misplaced(sites)).toEqual([])
  })

  it('place each once, but for those that say why not', () => {
    const counts = new Map<FailpointName, number>()
    for (const { name } of sites) counts.set(name, (counts.get(name) ?? 0) + 1)
    expect([...counts].filter(([name, count]) => count > 1 !== (SEVERAL[name] !== undefined)).map(([name, count]) => `${name}: ${count} sites`)).toEqual([])
  })

  it('walk every name that is placed', () => {
    const walked = new Set(walks.map(({ name }) => name))
    const placed = new Set(sites.map(({ name }) => name))
    expect(
      [...UNWALKED].filter((name) => walked.has(name)),
      'walked by now: take it off the list',
    ).toEqual([])
    expect(
      [...placed].filter((name) => !walked.has(name) && !UNWALKED.has(name)),
      'walked by no test',
    ).toEqual([])
  })
})

describe('a planted fault', () => {
  const TYPES = `
    export interface Failpoints { hit(name: string): void; around(name: string, o: object, f: () => void): void }
    export class FailpointRegistry { hit(_: string): void {} arm(_: string, _a: object): void {} }
    export declare function rendezvous(world: object, name: string): void
    export declare const points: Failpoints, registry: FailpointRegistry, FP: any, FAILPOINTS: any, world: object`
  const folder = mkdtempSync(join(tmpdir(), 'varve-guards-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  function planted(files: Readonly<Record<string, string>>): Program {
    const home = mkdtempSync(join(folder, 'p-'))
    const all = {
      'tsconfig.json': '{ "compilerOptions": { "allowImportingTsExtensions": true, "noEmit": true, "types": [] }, "include": ["**/*.ts"] }',
      'types.ts': TYPES,
      ...files,
    }
    for (const [path, text] of Object.entries(all)) {
      mkdirSync(dirname(join(home, path)), { recursive: true })
      const lead = '../'.repeat(path.split('/').length - 1)
      writeFileSync(
        join(home, path),
        path.endsWith('.json') || path === 'types.ts'
          ? text
          : `import { points, registry, rendezvous, FP, FAILPOINTS, world } from './${lead}types.ts'\n${text}\n`,
      )
    }
    return openProgram(home)
  }

  it.each([
    ['a text', "points.hit('log.roll')"],
    ['a text over lines', "registry\n  .arm(\n    'log.roll',\n    {},\n  )"],
    ['a template', 'points.around(`log.${1}`, {}, () => {})'],
    ['a text behind a cast', "points.hit('log.roll' as any)"],
    ['a text in a choice', "points.hit(FP ? FP.log.roll : 'log.trim')"],
    ['a text that is put together', "points.hit('log.' + FP)"],
    ['a text in a rendezvous', "rendezvous(world, 'log.roll')"],
    ['a text through an alias', "const again = points\nagain.hit('log.roll')"],
  ])('%s for a name is noticed', (_what, text) => {
    using program = planted({ 'bindings/log/a.ts': text })
    expect(spelled(program)).toHaveLength(1)
  })

  it.each([
    'points.hit(FP.log.roll)',
    "points.hit(world === 'a' ? FP.log.roll : FP.log.trim)",
    'for (const name of FAILPOINTS) registry.arm(name, {})',
    'rendezvous(world,\n FP.log.roll)',
    "new Map().get('log.roll')",
  ])('%s is none', (text) => {
    using program = planted({ 'bindings/log/a.ts': text })
    expect(spelled(program)).toEqual([])
  })

  it('a name in a constant is noticed', () => {
    using program = planted({ 'test/a.ts': "const point = 'log.roll'\npoints.hit(point)" })
    expect(quoted(program)).toEqual(["test/a.ts:2: 'log.roll'"])
  })

  it('a site in the wrong folder is noticed', () => {
    using program = planted({
      'bindings/log/a.ts': 'points.hit(FP.log.roll)',
      'bindings/engine/a.ts': 'points.hit(\n  FP.log.roll)',
      'test/a.ts': 'registry.arm(FP.log.trim, {})',
    })
    const sites = mentions(program, isSource)
    expect(sites.map(({ name }) => name)).toEqual([FP.log.roll, FP.log.roll])
    expect(misplaced(sites)).toEqual([`${FP.log.roll} at bindings/engine/a.ts:3`])
  })

  it('a group is all of its names; the whole catalogue counts where a matrix says so, and only there', () => {
    using program = planted({
      'test/a.ts': 'registry.arm(Object.values(FP.flush)[0] as string, {})',
      'test/b.ts': 'console.log(FAILPOINTS)',
    })
    expect(mentions(program, isTest).map(({ name }) => name)).toEqual(Object.values(FP.flush))
    using matrix = planted({ 'test/c.ts': 'export const WALKED_FAILPOINTS = FAILPOINTS.filter(Boolean)' })
    expect(mentions(matrix, isTest).map(({ name }) => name)).toEqual(FAILPOINTS)
  })
})
