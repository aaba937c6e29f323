// Guards of who may call what (recovery.md section 15, guards 4 to 6): records enter a log by one door, stored objects go away in listed modules only, nothing is
// replaced under a condition, and nothing but a World reads a clock, draws, waits or opens a file.
//
// The lists name their reasons; an entry that is needed no more fails too.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import {
  isCallExpression,
  isIdentifier,
  isImportDeclaration,
  isInterfaceDeclaration,
  isNewExpression,
  isPropertyAccessExpression,
  isShorthandPropertyAssignment,
  isStringLiteral,
  type Node,
} from 'typescript/unstable/ast'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { openProgram, type Program, walk } from './program.ts'

type Reasons = Readonly<Record<string, string>>

/** Where records are handed to a CommitLog: publish() and audit go through the committer, the epoch record is the log's own. */
const APPENDS: Reasons = {
  'bindings/engine/committer.ts': 'the one door of commits, publishes, roll-backs, audits, flushes and schemas',
  'bindings/log/': 'the epoch record, and one log in front of another',
  'bindings/recovery/repair.ts': 'the audit record of a repair, which works without an engine',
}

/** Where a stored object loses its name. */
const REMOVALS: Reasons = {
  'bindings/log/lock.ts': 'own LOCK, and lower numbers that nobody holds',
  'bindings/log/leases.ts': 'own lease of a pin, and leases that ran out',
  'bindings/log/object-trim.ts': 'slots below the floor',
  'bindings/log/segment-pool.ts': 'free files that were never linked or are trimmed',
  'bindings/log/segment-log.ts': 'free files at open',
  'bindings/log/segment-history.ts': 'trimmed segments',
  'bindings/log/survey.ts': 'the cut of a log: of a damaged one, asked for and confirmed, or of a replica under its intent',
  'bindings/log/replica-log.ts': 'intents that are carried out',
  'bindings/log/replica-steps.ts': 'checkpoints and logs that a truncation or an install gave up, under its intent',
  'bindings/store/copy-target.ts': 'in the target of a backup or restore: files of the log and checkpoints behind what is whole, that nobody reads',
  'bindings/store/replica-upkeep.ts':
    'on a replica: checkpoints that nothing needs, files behind the record that names them, and those that a new base does not have',
  'bindings/ship/host-base.ts': 'the manifest of a base that is installed, given up, or too old',
  'bindings/ship/verified-files.ts': 'its own notes of files that were seen whole',
  'bindings/store/watched-root.ts': 'the calls of others, passed through',
  'bindings/staging/staging-area.ts': 'the files of its own write',
  'bindings/staging/write-intent.ts': 'the folder of a write whose INTENT never came to be',
  'bindings/upkeep/vacuum.ts': 'files behind the record that names them, checkpoints that nothing needs',
  'bindings/upkeep/vacuum-files.ts': 'its own probe of the clock of the storage',
  'bindings/recovery/sweep.ts': 'folders of writes that are decided',
  'bindings/recovery/repair-log.ts': 'repair, after a copy, asked for and confirmed',
  'bindings/recovery/repair-files.ts': 'repair, after a copy, asked for and confirmed',
  'bindings/root/': 'roots themselves',
}

/** Where a file of the file system loses its name, or gets another's. */
const UNLINKS: Reasons = { 'bindings/root/dir-': 'the local root' }

const REMOVING = ['delete', 'deletePrefix', 'rename']
const UNLINKING = ['unlink', 'unlinkSync', 'rename', 'renameSync', 'rmdir']

const isSource = (file: string): boolean => file.startsWith('bindings/') && !file.startsWith('bindings/testing/')

/** Calls of a type's methods outside the listed places, and listed places without one. */
function strays(program: Program, type: string, methods: readonly string[], allowed: Reasons, files: (file: string) => boolean = isSource): string[] {
  const types = program.implementers(type)
  const calls = program.calls(methods, files).filter(({ receiver }) => types.has(receiver))
  const placeOf = (file: string): string | undefined => Object.keys(allowed).find((place) => file.startsWith(place))
  const used = new Set(calls.map(({ file }) => placeOf(file)))
  return [
    ...calls.filter(({ file }) => placeOf(file) === undefined).map(({ file, line, method }) => `${file}:${line}: ${type}.${method}`),
    ...Object.keys(allowed).flatMap((place) => (used.has(place) ? [] : [`${place}: listed for ${type}, and calls none of ${methods.join(', ')}`])),
  ]
}

/** What a module may have from the machine only through its World. */
const GLOBALS = new Set(['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate', 'fetch', 'WebSocket'])
const MEMBERS = new Set([
  'Date.now',
  'Math.random',
  'performance.now',
  'crypto.getRandomValues',
  'crypto.randomUUID',
  'process.hrtime',
  'process.env',
  'process.pid',
])
const BUILTINS = /^(?:node:)?(?:fs|fs\/promises|timers|timers\/promises|net|http|https|http2|tls|dns|dgram|child_process|worker_threads|os|crypto|perf_hooks)$/
/** World implementations, and the CLI, which is a process of its own. */
const WORLDS = ['bindings/runtime/', 'bindings/cli/']

function worldly({ trees }: Program): string[] {
  const found: string[] = []
  for (const tree of trees) {
    if (!tree.file.startsWith('bindings/') || WORLDS.some((folder) => tree.file.startsWith(folder))) continue
    const add = (node: Node, what: string): void => void found.push(`${tree.file}:${tree.lineOf(node)}: ${what}`)
    walk(tree.root, (node) => {
      if (isImportDeclaration(node) && isStringLiteral(node.moduleSpecifier) && BUILTINS.test(node.moduleSpecifier.text)) add(node, node.moduleSpecifier.text)
      if (isCallExpression(node) && node.arguments[0] !== undefined && isStringLiteral(node.arguments[0]) && node.expression.getText() === 'import') {
        if (BUILTINS.test(node.arguments[0].text)) add(node, node.arguments[0].text)
      }
      if (isNewExpression(node) && node.expression.getText() === 'Date' && (node.arguments?.length ?? 0) === 0) add(node, 'new Date()')
      if (isPropertyAccessExpression(node)) {
        const text = node
          .getText()
          .replaceAll(/\s|\?/g, '')
          .replace(/^globalThis\./, '')
        if (MEMBERS.has(text) || (GLOBALS.has(text) && node.getText().startsWith('globalThis'))) add(node, text)
      }
      if (isIdentifier(node) && GLOBALS.has(node.text) && isReference(node)) add(node, node.text)
    })
  }
  return found
}

/** A use of a name, not its making, nor a member's name. */
function isReference(node: Node): boolean {
  const { parent } = node
  if (isShorthandPropertyAssignment(parent)) return true
  return (parent as { name?: Node }).name !== node && (parent as { propertyName?: Node }).propertyName !== node
}

/** Replacing under a condition: an option or header for it, or a look at whether a root can. If-None-Match is create-if-absent. */
const CONDITIONAL = /^(?:if-?match|if-?(?:un)?modified-?since|if-?generation-?match|x-goog-if-.*|expected(?:tag|etag)|compareandswap|replaceif.*)$/i

function conditional({ trees }: Program): string[] {
  const found: string[] = []
  for (const tree of trees) {
    if (!isSource(tree.file)) continue
    walk(tree.root, (node) => {
      const text = isIdentifier(node) || isStringLiteral(node) ? node.text : ''
      const reads = isPropertyAccessExpression(node) && node.name.text === 'conditionalReplace'
      if (CONDITIONAL.test(text) || reads) found.push(`${tree.file}:${tree.lineOf(node)}: ${reads ? 'conditionalReplace is read' : text}`)
    })
  }
  return found
}

function membersOf({ trees }: Program, file: string, name: string): string[] {
  const members: string[] = []
  walk(trees.find((tree) => tree.file === file)!.root, (node) => {
    if (isInterfaceDeclaration(node) && node.name.text === name)
      members.push(...node.members.map((member) => (member as unknown as { name: Node }).name.getText()))
  })
  return members.toSorted()
}

describe('the sources', () => {
  let program: Program
  beforeAll(() => {
    program = openProgram(process.cwd())
  })
  afterAll(() => program[Symbol.dispose]())

  it('hand records to a CommitLog by one door', () => {
    expect(strays(program, 'CommitLog', ['append', 'submit'], APPENDS)).toEqual([])
  })

  it('receive records of another store in a replica alone', () => {
    expect(strays(program, 'ReplicaLog', ['receive'], { 'bindings/store/replica-node.ts': 'what the host of its links has let in' })).toEqual([])
  })

  it('remove or rename stored objects in the listed modules only', () => {
    expect(strays(program, 'Root', REMOVING, REMOVALS)).toEqual([])
    expect(strays(program, 'FileSystem', UNLINKING, UNLINKS)).toEqual([])
  })

  it('replace nothing under a condition: create-if-absent is the only one', () => {
    expect(conditional(program)).toEqual([])
    // A condition would come in as a new option or a new method: then this list is the place to think about it.
    expect(membersOf(program, 'bindings/root/root.ts', 'PutOptions')).toEqual(['beforeName', 'signal', 'sync'])
    expect(membersOf(program, 'bindings/root/root.ts', 'Root').filter((name) => /put|replace|swap|if/i.test(name))).toEqual([
      'put',
      'putIfAbsent',
      'putLarge',
      'putSync',
    ])
  })

  it('have clocks, randomness, timers, files and the network from their World', () => {
    expect(worldly(program)).toEqual([])
  })
})

describe('a planted fault', () => {
  const folder = mkdtempSync(join(tmpdir(), 'varve-calls-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const TYPES = `
    export interface CommitLog { append(records: object): void; submit(records: object): void; receive(batch: object): void }
    export interface Root { delete(name: string): void; rename(a: string, b: string): void; caps: { conditionalReplace: boolean } }
    export class DirRoot implements Root { delete(_: string): void {} rename(_a: string, _b: string): void {} caps = { conditionalReplace: false } }
    export declare const log: CommitLog, root: Root, dir: DirRoot, map: Map<string, string>, anything: any`

  function planted(files: Readonly<Record<string, string>>): Program {
    const home = mkdtempSync(join(folder, 'p-'))
    const config =
      '{ "compilerOptions": { "allowImportingTsExtensions": true, "noEmit": true, "types": [], "lib": ["es2022", "dom"] }, "include": ["**/*.ts"] }'
    for (const [path, text] of Object.entries({ 'tsconfig.json': config, 'types.ts': TYPES, ...files })) {
      mkdirSync(dirname(join(home, path)), { recursive: true })
      const lead = '../'.repeat(path.split('/').length - 1)
      const isModule = path.startsWith('bindings/')
      writeFileSync(join(home, path), isModule ? `import { log, root, dir, map, anything } from './${lead}types.ts'\n${text}\n` : text)
    }
    return openProgram(home)
  }

  it('an append past the committer is noticed, through an alias too, and a stale permission', () => {
    const text = 'export class Other { readonly #log = log\n  go() { this.#log.submit([]) }\n  also() { const { append } = log; log\n    .append([]) } }'
    using program = planted({ 'bindings/write/a.ts': text, 'bindings/engine/committer.ts': 'log.submit({})' })
    expect(strays(program, 'CommitLog', ['append', 'submit'], { 'bindings/engine/committer.ts': '' })).toEqual([
      'bindings/write/a.ts:3: CommitLog.submit',
      'bindings/write/a.ts:4: CommitLog.append',
    ])
    expect(strays(program, 'CommitLog', ['receive'], { 'bindings/ship/': '' })).toEqual(['bindings/ship/: listed for CommitLog, and calls none of receive'])
  })

  it('a removal is noticed on a root and on what implements it, not on a Map', () => {
    using program = planted({ 'bindings/store/a.ts': "root.delete('x')\ndir.rename('a', 'b')\nmap.delete('x')" })
    expect(strays(program, 'Root', REMOVING, {})).toEqual(['bindings/store/a.ts:2: Root.delete', 'bindings/store/a.ts:3: Root.rename'])
  })

  it.each([
    ["anything.put('a', { ifMatch: 'tag' })", /ifMatch/],
    ["anything.send({ 'If-Match': 'tag' })", /If-Match/],
    ['if (root.caps.conditionalReplace) anything.go()', /is read/],
  ])('%s is noticed', (text, expected) => {
    using program = planted({ 'bindings/store/a.ts': text })
    expect(conditional(program).join()).toMatch(expected)
  })

  it.each([
    ['const at = Date\n  .now()', 'Date.now'],
    ['const at = new Date()', 'new Date()'],
    ['const dice = Math.random()', 'Math.random'],
    ['setTimeout(() => undefined, 1)', 'setTimeout'],
    ['const later = setTimeout', 'setTimeout'],
    ['const timers = { setTimeout }', 'setTimeout'],
    ['globalThis.setTimeout(() => undefined, 1)', 'setTimeout'],
    ["await fetch('https://example.org')", 'fetch'],
    ["import fs from 'fs'", 'fs'],
    ["const fs = await import('node:fs/promises')", 'node:fs/promises'],
    ['const id = crypto.randomUUID()', 'crypto.randomUUID'],
  ])('%s is noticed', (text, what) => {
    using program = planted({ 'bindings/store/a.ts': text, 'bindings/runtime/a.ts': text })
    expect([...new Set(worldly(program))]).toEqual([expect.stringMatching(new RegExp(`^bindings/store/a\\.ts:\\d+: ${what.replaceAll(/[().]/g, '\\$&')}$`))])
  })

  it.each([
    'const at = new Date(0)',
    'anything.setTimeout(1)',
    'const o = { fetch: 1 }',
    'function f(fetch: number) {}',
    'class A { fetch() {} }',
    "const text = 'Date.now()'",
  ])('%s is none', (text) => {
    using program = planted({ 'bindings/store/a.ts': text })
    expect(worldly(program)).toEqual([])
  })
})
