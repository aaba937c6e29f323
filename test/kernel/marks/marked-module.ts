// test/kernel/marks/marked-module.ts: puts the marked module in the place of the shipped one, and keeps which marks a test file reached.
//
// Set-up file of vitest.config.ts beside it, started by .ci/coverage-kernels.mjs. Invariant: the marks lie in a memory of their own that every instance of
// this process shares; the module's own memory is laid out as without them.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll } from 'vitest'

import { useKernelModule } from '../../../bindings/kernels/index.ts'

const folder = process.env['VARVE_KERNEL_MARKS']
if (folder === undefined) throw new Error('started by npm run coverage:kernels')

const pages = Number(process.env['VARVE_KERNEL_MARK_PAGES'])
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })

// The module asks for one import more than the shipped one; modules of others ignore it.
WebAssembly.Instance = class extends WebAssembly.Instance {
  constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
    super(module, { ...imports, coverage: { marks: memory } })
  }
}

useKernelModule(new WebAssembly.Module(readFileSync(join(folder, 'marked.wasm'))))

afterAll(() => writeFileSync(join(folder, `${process.pid}-${process.hrtime.bigint()}.marks`), new Uint8Array(memory.buffer)))
