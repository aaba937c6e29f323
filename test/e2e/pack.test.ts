// The packed tarball, installed into an empty project, on every runtime: what a user gets, not what the work tree holds.
import { execFile } from 'node:child_process'
import { access, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { type Installed, installPacked, RUNTIMES, runIn, runtimeOf } from '../../.ci/runtimes.mjs'

const INSTALL_MS = 240_000
const UNPACKED_BYTES_MAX = 2.5 * 1024 * 1024
let parent: string
let installed: Installed

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'varve-pack-'))
  installed = await installPacked(parent)
}, INSTALL_MS)

afterAll(() => rm(parent, { recursive: true, force: true }))

describe('the tarball', () => {
  it('holds dist, the readme, the change log and the licence, and nothing else', () => {
    for (const file of installed.files) expect(file).toMatch(/^(?:package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/.+\.(?:js|d\.ts))$/)
    for (const file of [
      'README.md',
      'CHANGELOG.md',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/table/worker.js',
      'dist/testing/index.js',
      'dist/cli/main.js',
    ]) {
      expect(installed.files).toContain(file)
    }
    expect(installed.unpackedBytes).toBeLessThan(UNPACKED_BYTES_MAX)
  })

  it('has a command that starts', async () => {
    const { stdout } = await runIn(installed.project, process.execPath, [join('node_modules', '.bin', 'varve'), '--version'])
    const manifest = JSON.parse(await readFile(join(installed.project, 'node_modules/varve/package.json'), 'utf8')) as { version: string }
    expect(stdout.trim()).toBe(manifest.version)
  })
})

describe.each(RUNTIMES)('$name', (runtime) => {
  it(
    'opens stores, writes, reads, reopens and flushes on a worker thread',
    async ({ skip }) => {
      const { executable, reason } = await runtimeOf(runtime)
      if (executable === undefined) return skip(reason)
      const { stdout } = await runIn(installed.project, executable, [...runtime.parameters, 'smoke.mjs'])
      const seen = JSON.parse(stdout) as { runtime: string; from: string; rows: number }
      expect(seen.runtime).toBe(runtime.command)
      expect(seen.from).toMatch(/node_modules\/varve\/dist\/index\.js$/)
      expect(seen.rows).toBe(60_003)
    },
    INSTALL_MS,
  )

  // Shows that the worker did the work above: without its module the same load fails.
  it(
    'fails a large load when the module of the worker is missing',
    async ({ skip }) => {
      const { executable, reason } = await runtimeOf(runtime)
      if (executable === undefined) return skip(reason)
      const worker = join(installed.project, 'node_modules/varve/dist/table/worker.js')
      await rename(worker, `${worker}.away`)
      try {
        await expect(runIn(installed.project, executable, [...runtime.parameters, 'smoke.mjs', 'load-only'])).rejects.toThrow(/worker/)
      } finally {
        await rename(`${worker}.away`, worker)
      }
      await expect(runIn(installed.project, executable, [...runtime.parameters, 'smoke.mjs', 'load-only'])).resolves.toBeDefined()
    },
    INSTALL_MS,
  )
})

describe.each([
  { resolution: 'nodenext', module: 'nodenext' },
  { resolution: 'bundler', module: 'esnext' },
])('moduleResolution $resolution', ({ resolution, module }) => {
  it('compiles a program against the declarations of the package', async () => {
    const config = {
      compilerOptions: {
        target: 'es2022',
        lib: ['es2022', 'esnext.disposable', 'dom'],
        module,
        moduleResolution: resolution,
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        types: [],
      },
      files: ['consumer.ts'],
    }
    const path = join(installed.project, `tsconfig.${resolution}.json`)
    await writeFile(path, JSON.stringify(config))
    await access(join(installed.project, 'consumer.ts'))
    const tsc = resolve('node_modules/typescript/bin/tsc')
    const { stdout } = await promisify(execFile)(process.execPath, [tsc, '-p', path]).catch((error: { stdout: string }) => error)
    expect(stdout).toBe('')
  })
})
