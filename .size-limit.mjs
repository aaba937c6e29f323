// .size-limit.mjs: budgets of what is shipped. What an entry loads is found by following the static imports of its built file, so no list here goes stale.
import { relative } from 'node:path'

import { loadedBy } from './.ci/bundle.mjs'

const loaded = (file) => loadedBy(`${import.meta.dirname}/dist/${file}`).files.map((path) => relative(import.meta.dirname, path))

export default [
  { name: 'loaded by import "varve"', path: loaded('index.js'), limit: '1000 kB', brotli: false },
  { name: 'the same, compressed', path: loaded('index.js'), limit: '300 kB', brotli: true },
  { name: 'loaded by import "varve/kernels"', path: loaded('kernels/public.js'), limit: '350 kB', brotli: false },
  { name: 'loaded by a worker thread', path: loaded('table/worker.js'), limit: '400 kB', brotli: false },
  { name: 'the Wasm module', path: 'assembly/build/varve.wasm', limit: '128 KiB', brotli: false },
]
