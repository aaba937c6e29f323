// .ci/sources.mjs: the source files and what they import; shared by the layer check, the ban list and the tests of the tree.
//
// A scanner of import statements, not a parser: the formatter puts every statement at the start of a line, which is what the patterns lean on.
import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** Paths below `folder` with one of `extensions`, '/'-separated, sorted; generated files, builds and installed packages left out; none where the folder is not there. */
export function listFiles(folder, extensions = ['.ts']) {
  if (!existsSync(folder)) return []
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll('\\', '/'))
  return names
    .filter((name) => extensions.some((extension) => name.endsWith(extension)))
    .filter((name) => !/(^|\/)(node_modules|build|results)\//.test(name) && !name.includes('.gen.'))
    .toSorted()
}

/**
 * Imports of a module: `{ specifier, line, lazy, typeOnly }` in order. `lazy` is `import()`, of a value or of a type.
 *
 * @param source  the text of a formatted TypeScript or JavaScript module
 */
export function importsOf(source) {
  const found = []
  const add = (match, more) => found.push({ specifier: match.groups.specifier, line: lineOf(source, match.index), lazy: false, typeOnly: false, ...more })
  for (const match of source.matchAll(/^(?:import|export)\s+(?<type>type\s+)?(?:[\w$*{][^'"`;=()]*?\sfrom\s+)?['"](?<specifier>[^'"\n]+)['"]/gm)) {
    add(match, { typeOnly: match.groups.type !== undefined })
  }
  for (const match of withoutComments(source).matchAll(/\bimport\(\s*['"](?<specifier>[^'"\n]+)['"]\s*\)/g)) add(match, { lazy: true })
  for (const match of withoutComments(source).matchAll(/\bgetBuiltinModule(?:\?\.)?\(\s*['"](?<specifier>[^'"\n]+)['"]\s*\)/g)) add(match, { lazy: true })
  return found.toSorted((a, b) => a.line - b.line)
}

/** The source with comments blanked, line breaks and columns kept. Good enough for pattern checks: strings holding `//` after a blank are rare and harmless. */
export function withoutComments(source) {
  const blank = (text) => text.replaceAll(/[^\n]/g, ' ')
  return source.replaceAll(/\/\*[\s\S]*?\*\//g, blank).replaceAll(/(?<=^|[\s;{}(),])\/\/[^\n]*/gm, blank)
}

export function lineOf(source, index) {
  let line = 1
  for (let at = source.indexOf('\n'); at !== -1 && at < index; at = source.indexOf('\n', at + 1)) line++
  return line
}

/** Does `path` match `pattern`? `**` crosses folders, `*` does not. */
export function matches(path, pattern) {
  const expression = pattern
    .replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll(/\*\*\/|\*\*|\*/g, (star) => (star === '**/' ? '(?:.*/)?' : star === '**' ? '.*' : '[^/]*'))
  return new RegExp(`^${expression}$`).test(path)
}

export const read = (path) => readFileSync(path, 'utf8')
