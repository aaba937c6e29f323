// The rules of the tree that can be tested: what sources may not hold, who imports whom, what the package says about itself, errors against their page and tests.
//
// Each check also meets a planted fault, so that one that has stopped looking is noticed.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'

import { BANS, checkBans } from '../.ci/bans.mjs'
import { errorsPage } from '../.ci/errors.mjs'
import { checkLayers, type LayerRules } from '../.ci/layers.mjs'
import { type Lock, missingPackages } from '../.ci/lock.mjs'
import { importsOf, listFiles, read, withoutComments } from '../.ci/sources.mjs'
import * as shipErrors from '../bindings/errors-ship.ts'
import * as errors from '../bindings/errors.ts'

const LINES_MAX = 600
/** Classes of areas that later issues add; leaving one here that is thrown by now fails too. */
const NOT_THROWN_YET: ReadonlySet<string> = new Set([])

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A small tree of sources in a temporary folder. */
function plant(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'varve-tidy-'))
  folders.push(folder)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  return folder
}

describe('bans', () => {
  it('finds none of the banned patterns in the tree', () => {
    const { files, hits } = checkBans()
    expect(files).toBeGreaterThan(100)
    expect(hits).toEqual([])
  })

  it('names a replacement for each ban', () => {
    for (const ban of BANS) expect(ban.instead, ban.name).not.toBe('')
  })

  it.each([
    ['export *', "export * from './a.ts'"],
    ['default export', 'export default 1'],
    ['new Date() of now', 'const now = new Date()'],
    ['Date.now', 'const now = Date.now()'],
    ['performance.now', 'const now = performance.now()'],
    ['Math.random', 'const dice = Math.random()'],
    ['timers', 'setTimeout(() => undefined, 10)'],
    ['node:fs', "import fs from 'node:fs'"],
    ['enum', 'export enum Colour { red }'],
    ['namespace', 'namespace inner {}'],
    ['@ts-ignore', '// @ts-ignore'],
    ['left for later', `// ${'TO'}${'DO'}: later`],
    ['unseeded chance', 'const bytes = crypto.getRandomValues(new Uint8Array(8))'],
    ['sleeping test', "it.only('a', () => undefined)"],
    ['machine path', "const data = '/home/me/data'"],
  ])('notices a planted %s', (name, text) => {
    const ban = BANS.find((each) => each.name === name)!
    expect(ban.pattern.test(ban.raw === true ? text : withoutComments(text))).toBe(true)
    expect(BANS.map((each) => each.name)).toContain(name)
  })

  it('reads code, not comments, where the ban is about code', () => {
    expect(withoutComments('// Date.now() is banned\nconst a = 1 /* Math.random */')).not.toMatch(/Date|Math/)
    expect(withoutComments("const url = 'https://example.org' // note")).toContain('https://example.org')
  })
})

describe('properties', () => {
  it('try the same inputs in every run', () => {
    expect(fc.readConfigureGlobal().seed).toBe(Number(process.env['VARVE_SEED'] ?? 20_261_121))
    expect(fc.sample(fc.integer(), 5)).toEqual(fc.sample(fc.integer(), 5))
  })

  it('are seeded in both projects and for the marked module', () => {
    const config = read('vitest.config.ts')
    expect(config.match(/^ {10}setupFiles,$/gm)).toHaveLength(config.match(/^ {10}name: /gm)!.length)
    expect(read('test/kernel/marks/vitest.config.ts')).toContain("setupFiles: ['test/setup.ts', ")
  })
})

describe('layers', () => {
  const rules = JSON.parse(read('.ci/layers.json')) as LayerRules

  it('holds in the tree', () => {
    const { files, imports, breaches } = checkLayers()
    expect(files).toBeGreaterThan(100)
    expect(imports).toBeGreaterThan(500)
    expect(breaches).toEqual([])
  })

  it.each<readonly [string, string, string, RegExp]>([
    ['an import upwards', 'log/a.ts', "import { Store } from '../store/index.ts'", /log may not import store/],
    ['an import past the door of a folder', 'store/a.ts', "import { a } from '../log/chain.ts'", /through log\/index\.ts/],
    ['a type import upwards', 'format/a.ts', "import type { Root } from '../root/index.ts'", /format may not import root/],
    ['an export from above', 'kernels/a.ts', "export { a } from '../table/index.ts'", /kernels may not import table/],
    ['an import over several lines', 'root/a.ts', "import {\n  a,\n  b,\n} from '../catalog/index.ts'", /root may not import catalog/],
    ['a builtin in the middle', 'table/a.ts', "import { readFileSync } from 'node:fs'", /node:fs belongs in/],
    ['a package that must stay lazy', 'table/a.ts', "import { tableFromIPC } from 'apache-arrow'", /load apache-arrow with import\(\)/],
    ['a package in the wrong place', 'store/a.ts', "const arrow = await import('apache-arrow')", /apache-arrow belongs in/],
    ['an unknown package', 'store/a.ts', "import x from 'left-pad'", /left-pad is not in/],
    ['a dynamic import upwards', 'log/a.ts', "const a = await import('../engine/index.ts')", /log may not import engine/],
    ['a specifier without extension', 'log/a.ts', "import { a } from './b'", /without \.ts/],
    ['an unknown folder', 'novelty/a.ts', "import { a } from '../log/index.ts'", /not in \.ci\/layers\.json/],
    ['await in a pure file', 'format/a.ts', 'export async function f() {}', /async in a pure file/],
  ])('notices %s', (_name, path, text, expected) => {
    const { breaches } = checkLayers(plant({ [path]: `${text}\n` }), rules)
    expect(breaches.join('\n')).toMatch(expected)
  })

  it('lets imports down, types of lazy packages and tests of comments pass', () => {
    const text = [
      "import { a } from '../log/index.ts'",
      "import type { Table } from 'apache-arrow'",
      "// import { b } from '../store/index.ts'",
      "const c = await import('apache-arrow')",
    ]
    expect(checkLayers(plant({ 'table/a.ts': text.join('\n') }), rules)).toMatchObject({ files: 1, imports: 3, breaches: [] })
  })

  it('notices a cycle in its own rules', () => {
    const cyclic = { ...rules, units: { a: ['b'], b: ['c'], c: ['a'] } }
    expect(checkLayers(plant({ 'a/x.ts': '\n' }), cyclic).breaches.join('\n')).toContain('cycle a -> b -> c -> a')
  })
})

describe('the package', () => {
  const manifest = JSON.parse(read('package.json')) as {
    type: string
    sideEffects: boolean
    engines: Record<string, string>
    files: string[]
    exports: Record<string, string | Record<string, string>>
    scripts: Record<string, string>
    dependencies: Record<string, string>
    devDependencies: Record<string, string>
  }

  it('is an ES module without side effects', () => {
    expect(manifest.type).toBe('module')
    expect(manifest.sideEffects).toBe(false)
    expect(manifest.engines['node']).toMatch(/^>=22/)
    expect(manifest.files).toEqual(['dist', 'README.md', 'CHANGELOG.md', 'LICENSE'])
  })

  it('states types first in each entry of exports', () => {
    const entries = Object.entries(manifest.exports).filter((entry): entry is [string, Record<string, string>] => typeof entry[1] === 'object')
    expect(entries.length).toBeGreaterThan(0)
    for (const [name, conditions] of entries) expect(Object.keys(conditions)[0], name).toBe('types')
  })

  it('pins every dependency exactly, and says in docs/dependencies.md why it is there', () => {
    const page = read('docs/dependencies.md')
    for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/)
      expect(page, name).toContain(`\`${name}\``)
    }
  })

  it('has a lock that names the packages of every platform, not only of the one it was made on (mend with node .ci/lock.mjs)', () => {
    const lock = JSON.parse(read('package-lock.json')) as Lock
    expect(Object.keys(missingPackages(lock))).toEqual([])
    expect(Object.keys(missingPackages(JSON.parse(read('bench/package-lock.json')) as Lock))).toEqual([])
    const { 'node_modules/@oxfmt/binding-darwin-arm64': _, ...without } = lock.packages
    expect(missingPackages({ packages: without })).toMatchObject({
      'node_modules/@oxfmt/binding-darwin-arm64': { os: ['darwin'], cpu: ['arm64'], optional: true },
    })
  })

  it('does not run scripts on the machine of whoever installs it', () => {
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) expect(manifest.scripts).not.toHaveProperty(name)
  })

  it('loads nothing heavy through its door', () => {
    const seen = new Set<string>()
    const packages = new Set<string>()
    const walk = (file: string): void => {
      if (seen.has(file) || file.endsWith('.gen.ts')) return
      seen.add(file)
      for (const { specifier, lazy, typeOnly } of importsOf(read(file))) {
        if (lazy || typeOnly) continue
        if (specifier.startsWith('.')) walk(join(dirname(file), specifier))
        else if (!specifier.startsWith('node:')) packages.add(specifier)
      }
    }
    walk('bindings/index.ts')
    expect(seen.size).toBeGreaterThan(100)
    expect([...packages]).toEqual([])
    expect([...seen].filter((file) => /^bindings\/(?:cli|testing)\/|^bindings\/recovery\/(?:doctor|repair)[^s]*\.ts$/.test(file))).toEqual([])
  })
})

describe('errors', () => {
  const sources = listFiles('bindings').filter((file) => !file.startsWith('bindings/error'))
  const code = sources.map((file) => withoutComments(read(file))).join('\n')
  const tests = [...listFiles('test').filter((file) => file !== 'test/tidy.test.ts'), ...listFiles('bindings/testing')].map(read).join('\n')
  const CODES = { ...errors.CODES, ...shipErrors.SHIP_CODES }
  const classesOf = (codes: Readonly<Record<string, { readonly class: string }>>): string[] => [...new Set(Object.values(codes).map((info) => info.class))]
  const classes = classesOf(CODES)
  const isThrown = (name: string): boolean => new RegExp(`\\bnew ${name}\\(`).test(code)

  it('are on the page that is made from their list', () => {
    expect(read('docs/errors.md')).toBe(errorsPage())
  })

  it('have a class for each code, a code for each class, a hint and a meaning', () => {
    const exportedBy = (module: object): string[] =>
      Object.entries(module)
        .filter(([name, value]) => name.endsWith('Error') && typeof value === 'function')
        .map(([name]) => name)
    expect(new Set([...classesOf(errors.CODES), 'VarveError', 'StorageError'])).toEqual(new Set(exportedBy(errors)))
    expect(new Set([...classesOf(shipErrors.SHIP_CODES), 'ShipError'])).toEqual(new Set(exportedBy(shipErrors)))
    for (const [name, info] of Object.entries(CODES)) {
      expect(name).toMatch(/^[a-z]+\.[a-z0-9-]+$/)
      expect(info.hint, name).toMatch(/\.$/)
      expect(info.meaning, name).toMatch(/\.$/)
    }
  })

  it.each([
    ['bindings/index.ts', errors.CODES],
    ['bindings/shipping.ts', shipErrors.SHIP_CODES],
  ])('have one door to the public: every class of the area is exported by %s', (file, codes) => {
    const door = read(file)
    for (const name of classesOf(codes)) expect(door).toMatch(new RegExp(`\\b${name}\\b`))
  })

  it('are thrown, but for those of areas to come', () => {
    expect(classes.filter((name) => !isThrown(name)).toSorted()).toEqual([...NOT_THROWN_YET].toSorted())
  })

  it('that are thrown appear in a test, by class or by code', () => {
    const untested = classes.filter((name) => {
      if (!isThrown(name)) return false
      const codes = Object.entries(CODES).filter(([, info]) => info.class === name)
      return !new RegExp(`\\b${name}\\b`).test(tests) && !codes.some(([each]) => tests.includes(`'${each}'`))
    })
    expect(untested).toEqual([])
  })

  it('that leave the package extend VarveError: a plain Error is never thrown', () => {
    const plain = sources
      .filter((file) => !file.startsWith('bindings/cli/') && !file.startsWith('bindings/testing/'))
      .flatMap((file) => [...withoutComments(read(file)).matchAll(/\bthrow new Error\(/g)].map(() => file))
    expect(plain).toEqual([])
  })
})

describe('files', () => {
  const sources = [...listFiles('bindings'), ...listFiles('assembly'), ...listFiles('test'), ...listFiles('bench'), ...listFiles('.ci', ['.mjs'])]

  it(`stay below ${LINES_MAX} lines`, () => {
    const long = sources.filter((file) => read(file).split('\n').length > LINES_MAX + 1)
    expect(long).toEqual([])
  })

  it('open with a comment that says what they own', () => {
    const isDoor = (file: string): boolean => /^bindings\/[a-z]+\/index\.ts$/.test(file)
    const bare = sources.filter((file) => /^(?:bindings|\.ci)\//.test(file) && !isDoor(file) && !/^(?:#!.*\n)?\/\//.test(read(file)))
    expect(bare).toEqual([])
  })
})

describe('pages', () => {
  const pages = ['README.md', 'CHANGELOG.md', ...listFiles('docs', ['.md'])].filter((page) => !page.startsWith('docs/api/'))

  it('link to what is there', () => {
    const dead: string[] = []
    for (const page of pages) {
      for (const [, target] of read(page).matchAll(/\]\((?!https?:)([^)#\s]+)/g)) if (!existsSync(join(dirname(page), target!))) dead.push(`${page}: ${target}`)
    }
    expect(pages.length).toBeGreaterThan(10)
    expect(dead).toEqual([])
  })

  it('name files that are there', () => {
    const roots = [
      '',
      'bindings/',
      'bindings/table/',
      'bindings/store/',
      'bindings/log/',
      'bindings/root/',
      'bindings/engine/',
      'bindings/kernels/',
      'assembly/',
    ]
    const gone: string[] = []
    for (const page of pages) {
      for (const [, path] of read(page).matchAll(/`([\w./-]+\.(?:ts|mjs))`/g)) {
        if (!roots.some((root) => existsSync(root + path!))) gone.push(`${page}: ${path}`)
      }
    }
    expect(gone).toEqual([])
  })
})
