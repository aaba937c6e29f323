// .ci/bundle.mjs: makes the JavaScript of dist from bindings/: a file for each entry and a few chunks that they share, compacted (docs/decisions/0010-bundled-package.md).
//
// Invariants: ENTRIES is the one list of what a program, a thread or a child process is started with; a package is never bundled, it stays an import;
// `import.meta.url` of a module is the URL it would have unbundled (of bindings/table/x.ts: dist/table/x.js), so that it finds what it expects beside it.
//
//   node .ci/bundle.mjs [folder]      makes the folder (default: dist) anew; the declarations beside it are tsc's (tsconfig.declarations.json)
import { readFileSync } from 'node:fs'
import { join, posix, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'
import { parseAst } from 'rolldown/parseAst'

const repository = resolve(fileURLToPath(import.meta.url), '../..')
const sources = join(repository, 'bindings')
const { dependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))

/** By path without extension, alike in bindings and in dist. `exported`: the name in `exports` of package.json; the others are started by their URL. */
export const ENTRIES = [
  { path: 'index', exported: '.' },
  { path: 'kernels/public', exported: './kernels' },
  { path: 'shipping', exported: './ship' },
  { path: 'testing/index', exported: './testing' },
  { path: 'cli/main' },
  { path: 'cli/demo-child' },
  { path: 'table/worker' },
]

/** Functions and classes keep their names: they are what a stack trace shows. */
const MINIFY = { compress: { keepNames: { function: true, class: true } }, mangle: { keepNames: true }, codegen: true }
/**
 * Chunks of what several entries share; what only one of them or an import() needs, rolldown puts there or makes a chunk of. `varve/kernels` loads the first of
 * these (with the helpers that `using` is compiled to), a worker thread the first two, a store all three. None takes in what only one entry offers, nor `store`
 * what `import "varve"` does not need at once: what other entries share beyond it (shipping) has chunks of its own.
 */
const groupsOf = (ofStore) => [
  { name: 'kernels', test: /bindings\/(?:kernels\/|errors\.|error-codes\.|assert\.)|@oxc-project/, minShareCount: 2, priority: 3 },
  { name: 'tasks', test: /bindings\/(?:table\/worker-tasks|runtime\/workers)\./, priority: 2 },
  { name: 'store', test: (id) => ofStore.has(id), minShareCount: 2, priority: 1 },
]

/** Stands for the URL of a module until it is known which chunk the module went to. */
const URL_MARK = /"module-url:([^"]+)"/g
const moduleUrls = {
  name: 'module-urls',
  transform: {
    filter: { id: /bindings\/.+\.ts$/, code: 'import.meta.url' },
    handler(code, id) {
      const path = relative(sources, id).split(sep).join('/').replace(/\.ts$/, '.js')
      return code.replaceAll('import.meta.url', `new URL("module-url:${path}", import.meta.url).href`)
    },
  },
  renderChunk(code, { fileName }) {
    return code.replaceAll(URL_MARK, (_, path) => JSON.stringify(posix.relative(posix.dirname(fileName), path)))
  },
}

export async function bundle(folder) {
  const alone = await open(['index'])
  const { output: chunks } = await alone.generate({ format: 'esm' })
  await alone.close()
  const ofStore = new Set()
  const walk = (name) => {
    const { moduleIds, imports } = chunks.find(({ fileName }) => fileName === name)
    for (const id of moduleIds) ofStore.add(id)
    for (const next of imports) if (chunks.some(({ fileName }) => fileName === next)) walk(next)
  }
  walk('index.js')

  const build = await open(ENTRIES.map(({ path }) => path))
  const { output } = await build.write({
    dir: folder,
    cleanDir: true,
    format: 'esm',
    minify: MINIFY,
    comments: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    codeSplitting: { groups: groupsOf(ofStore) },
  })
  await build.close()
  for (const { fileName, code, moduleIds } of output) {
    const stranger = moduleIds.find((id) => !id.startsWith(sources) && !id.startsWith('\0'))
    if (stranger !== undefined) throw new Error(`${stranger} is no source of ours and came into ${fileName}`)
    if (code.includes('module-url:')) throw new Error(`a module's URL was not put in ${fileName}`)
  }
}

function open(paths) {
  return rolldown({
    cwd: repository,
    input: Object.fromEntries(paths.map((path) => [path, `bindings/${path}.ts`])),
    platform: 'node',
    external: [/^node:/, ...Object.keys(dependencies)],
    tsconfig: false,
    transform: { target: 'es2024' },
    plugins: [moduleUrls],
    onLog(level, log) {
      if (level === 'warn') throw new Error(log.message)
    },
  })
}

/** What importing a built file loads at once, by its static imports and theirs: files of ours, itself first, and builtins or packages. import() loads later. */
export function loadedBy(file) {
  const files = new Set()
  const packages = new Set()
  const walk = (path) => {
    if (files.has(path)) return
    files.add(path)
    for (const { type, source } of parseAst(readFileSync(path, 'utf8')).body) {
      if (!/^(?:Import|Export(?:Named|All))Declaration$/.test(type) || source == null) continue
      if (source.value.startsWith('.')) walk(resolve(path, '..', source.value))
      else packages.add(source.value)
    }
  }
  walk(resolve(file))
  return { files: [...files], packages: [...packages] }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundle(process.argv[2] ?? join(repository, 'dist'))
