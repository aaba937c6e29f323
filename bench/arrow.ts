// bench/arrow.ts: the apache-arrow of the root package, whichever copy the peers bring along.
//
// `import 'apache-arrow'` in this folder finds the copy of bench/node_modules once the peers are installed (LanceDB pins an older one), and the inputs would
// then differ between runs with and without peers. So the module is looked up from the repository's own package.json.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const resolved = createRequire(new URL('../package.json', import.meta.url)).resolve('apache-arrow')

/** apache-arrow as varve itself loads it. */
export const arrow: typeof import('../node_modules/apache-arrow/Arrow.node.js') = await import(pathToFileURL(resolved.replace(/\.js$/, '.mjs')).href)

/** A table of apache-arrow. */
export type ArrowTable = InstanceType<(typeof arrow)['Table']>
