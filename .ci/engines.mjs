// .ci/engines.mjs: other engines that open our files, for the tests that compare values: polars, by the version of bench/package-lock.json.
//
// Its own folder of node_modules/.cache/varve-engines (100 MB), made complete under a temporary name and then renamed, as .ci/runtimes.mjs does; the rest of
// bench (some 500 MB) is not needed. An installed bench is taken as it is. Invariant: an engine is either ready to load or has the reason why not.
//
//   node .ci/engines.mjs     install what is missing; one line an engine
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { installed } from './runtimes.mjs'

const repository = resolve(fileURLToPath(import.meta.url), '../..')
const CACHE = join(repository, 'node_modules/.cache/varve-engines')
const POLARS = 'nodejs-polars'

/** Where polars can be required from: `{ from }`, a path inside its project, or `{ reason }`. `fetch`: install it when it is nowhere. */
export async function polarsFrom({ fetch = false } = {}) {
  const lock = JSON.parse(await readFile(join(repository, 'bench/package-lock.json'), 'utf8'))
  const wanted = `${POLARS}@${lock.packages[`node_modules/${POLARS}`].version}`
  for (const project of [join(repository, 'bench'), join(CACHE, wanted)]) {
    if (existsSync(join(project, 'node_modules', POLARS))) return loadable(join(project, 'package.json'))
  }
  if (!fetch) return { reason: `${wanted} is not installed: node .ci/engines.mjs` }
  const { folder, reason } = await installed(CACHE, wanted, join('node_modules', POLARS))
  return folder === undefined ? { reason } : loadable(join(folder, 'package.json'))
}

/** The package is native: its part for this platform may be missing, or need another system. */
function loadable(from) {
  try {
    createRequire(from)(POLARS)
    return { from }
  } catch (error) {
    return { reason: `${POLARS} does not load: ${error.message.split('\n')[0]}` }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { from, reason } = await polarsFrom({ fetch: true })
  console.log(from === undefined ? `skip ${POLARS}: ${reason}` : `ok   ${POLARS}: ${from}`)
}
