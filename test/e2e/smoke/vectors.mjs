// The installed `varve/kernels` alone: every published vector, on Node, Deno and Bun. Prints one JSON line of what it saw.
import * as kernels from 'varve/kernels'

import { runVectors } from './kernel/vectors/run.ts'

const { files, samples, compared, wrong } = runVectors(kernels, new URL('./kernel/vectors/', import.meta.url))
for (const line of wrong) console.error(line)
if (wrong.length > 0) process.exitCode = 1
const runtime = globalThis.Deno !== undefined ? 'deno' : globalThis.Bun !== undefined ? 'bun' : 'node'
console.log(JSON.stringify({ runtime, from: import.meta.resolve('varve/kernels'), files, samples, compared }))
