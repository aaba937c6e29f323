// .ci/bans.mjs: what the sources may not hold, each with what to write instead. The linter knows names and properties; these are the patterns it has no rule for.
//
// Run alone it prints every hit and exits 1; test/tidy.test.ts runs the same list.
import { pathToFileURL } from 'node:url'

import { lineOf, listFiles, matches, read, withoutComments } from './sources.mjs'

const TIMES = ['bindings/runtime/**', 'bindings/cli/**']

/** `in`: where the ban holds; `except`: where it does not; `raw`: comments count too. */
export const BANS = [
  { name: 'export *', pattern: /^export \* /m, in: ['bindings/**', 'test/**', 'bench/**'], instead: 'list the exports one by one' },
  { name: 'default export', pattern: /^export default\b/m, in: ['bindings/**'], instead: 'a named export' },
  { name: 'new Date() of now', pattern: /\bnew Date\(\)/, in: ['bindings/**'], except: TIMES, instead: 'world.clock' },
  { name: 'Date.now', pattern: /\bDate\.now\b/, in: ['bindings/**'], except: TIMES, instead: 'world.clock' },
  { name: 'performance.now', pattern: /\bperformance\.now\b/, in: ['bindings/**'], except: TIMES, instead: 'world.clock' },
  { name: 'Math.random', pattern: /\bMath\.random\b/, in: ['bindings/**'], except: TIMES, instead: 'world.random' },
  { name: 'timers', pattern: /(?<![.\w])(?:setTimeout|setInterval|setImmediate)\(/, in: ['bindings/**'], except: TIMES, instead: 'world.timers' },
  { name: 'node:fs', pattern: /['"](?:node:)?fs(?:\/promises)?['"]/, in: ['bindings/**'], except: TIMES, instead: 'world.files, or a Root' },
  {
    name: 'enum',
    pattern: /^(?:export )?(?:const )?enum\b/m,
    in: ['bindings/**', 'test/**', 'bench/**'],
    instead: 'a union of literals or an `as const` table',
  },
  { name: 'namespace', pattern: /^(?:export )?namespace\b/m, in: ['bindings/**', 'test/**', 'bench/**'], instead: 'a module' },
  {
    name: '@ts-ignore',
    pattern: /@ts-(?:ignore|nocheck)/,
    in: ['bindings/**', 'test/**', 'bench/**'],
    raw: true,
    instead: '@ts-expect-error with a reason, or a type',
  },
  {
    name: 'left for later',
    pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/,
    in: ['bindings/**', 'test/**', 'bench/**', 'assembly/**', '.ci/**'],
    raw: true,
    instead: 'an issue',
  },
  {
    name: 'unseeded chance',
    pattern: /\b(?:Math\.random|getRandomValues|randomUUID|randomBytes|randomInt|randomFillSync)\(/,
    in: ['test/**'],
    except: ['test/guards/calls.test.ts'],
    instead: 'seededRandom, or a property',
  },
  { name: 'sleeping test', pattern: /\b(?:it|test|describe)\.(?:only|todo)\(/, in: ['test/**'], instead: 'a test that runs' },
  {
    name: 'machine path',
    pattern: /(?<![\w.~-])\/(?:home|root|Users)\/\w/,
    in: ['bindings/**', 'test/**', 'bench/**', 'docs/**', '.ci/**'],
    raw: true,
    instead: 'a path relative to the repository, or a temporary folder',
  },
]

const SELF = ['.ci/bans.mjs', 'test/tidy.test.ts']

/** Every hit as `file:line: name: instead ...`, and how many files were read. */
export function checkBans(bans = BANS, folders = ['bindings', 'test', 'bench', 'assembly', 'docs', '.ci']) {
  const files = folders.flatMap((folder) => listFiles(folder, ['.ts', '.mjs', '.md'])).filter((file) => !SELF.includes(file))
  const hits = []
  for (const file of files) {
    const raw = read(file)
    const code = withoutComments(raw)
    for (const ban of bans) {
      if (!ban.in.some((pattern) => matches(file, pattern)) || (ban.except ?? []).some((pattern) => matches(file, pattern))) continue
      const text = ban.raw === true ? raw : code
      const found = ban.pattern.exec(text)
      if (found !== null) hits.push(`${file}:${lineOf(text, found.index)}: ${ban.name}; write ${ban.instead}`)
    }
  }
  return { files: files.length, hits }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { files, hits } = checkBans()
  for (const hit of hits) console.error(hit)
  console.log(`bans: ${files} files, ${hits.length} hits`)
  process.exitCode = hits.length > 0 || files === 0 ? 1 : 0
}
