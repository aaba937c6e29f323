// The packed tarball, installed into an empty project, on every runtime: what a user gets, not what the work tree holds.
import { execFile } from 'node:child_process'
import { access, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { ENTRIES, loadedBy } from '../../.ci/bundle.mjs'
import { type Installed, installPacked, RUNTIMES, runIn, runtimeOf } from '../../.ci/runtimes.mjs'

const INSTALL_MS = 240_000
const UNPACKED_BYTES_MAX = 2.75 * 1024 * 1024
const LOADED_BYTES_MAX = 1_000_000
const KERNELS_BYTES_MAX = 350_000
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
    for (const file of ['README.md', 'CHANGELOG.md', 'LICENSE', ...ENTRIES.flatMap(({ path }) => [`dist/${path}.js`, `dist/${path}.d.ts`])]) {
      expect(installed.files).toContain(file)
    }
    expect(installed.unpackedBytes).toBeLessThan(UNPACKED_BYTES_MAX)
  })

  it('loads less than 1 MB for varve, and the kernels alone for varve/kernels', async () => {
    const store = await loaded('dist/index.js')
    expect(store.bytes).toBeLessThan(LOADED_BYTES_MAX)
    expect(store.files).toContain('dist/chunks/kernels.js')
    expect(store.packages.filter((name) => !name.startsWith('node:'))).toEqual([])
    const kernels = await loaded('dist/kernels/public.js')
    expect(kernels.files).toEqual(['dist/kernels/public.js', 'dist/chunks/kernels.js'])
    expect(kernels.bytes).toBeLessThan(KERNELS_BYTES_MAX)
    expect(kernels.packages).toEqual([])
  })

  it(
    'has a demo, whose child process is killed and whose store is recovered, and a doctor, which is loaded when it is asked for',
    async () => {
      const command = join('node_modules', '.bin', 'varve')
      const data = resolve('node_modules/vega-datasets/data/flights-3m.parquet')
      const run = async (...parameters: string[]): Promise<string> => (await runIn(installed.project, process.execPath, [command, ...parameters])).stdout
      const store = join(parent, 'demo')
      expect(await run('demo', '--rows', '20000', '--data', data, '--dir', store)).toMatch(/All \d+ claims held/)
      expect(JSON.parse(await run('doctor', store, '--json'))).toMatchObject({ findings: [] })
      expect(JSON.parse(await run('repair', store, '--json'))).toMatchObject({ confirmed: false })
    },
    INSTALL_MS,
  )

  it('keeps the names of functions in a stack trace', async () => {
    const program = "import { filter } from 'varve/kernels'; try { filter(undefined, new Uint8Array(1)) } catch (error) { console.log(error.stack) }"
    const { stdout } = await runIn(installed.project, process.execPath, ['--input-type=module', '-e', program])
    expect(stdout).toMatch(/at filter \(.*varve\/dist\/.*\.js/)
  })

  it('has a command that starts', async () => {
    const { stdout } = await runIn(installed.project, process.execPath, [join('node_modules', '.bin', 'varve'), '--version'])
    const manifest = JSON.parse(await readFile(join(installed.project, 'node_modules/varve/package.json'), 'utf8')) as { version: string }
    expect(stdout.trim()).toBe(manifest.version)
  })
})

const packageFolder = (): string => join(installed.project, 'node_modules/varve')

/** What importing a file of the package loads at once. */
async function loaded(entry: string): Promise<{ files: string[]; packages: string[]; bytes: number }> {
  const { files, packages } = loadedBy(join(packageFolder(), entry))
  const sizes = await Promise.all(files.map(async (path) => (await stat(path)).size))
  return { files: files.map((path) => relative(packageFolder(), path)), packages, bytes: sizes.reduce((sum, size) => sum + size, 0) }
}

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

  it(
    'gives every published vector through varve/kernels',
    async ({ skip }) => {
      const { executable, reason } = await runtimeOf(runtime)
      if (executable === undefined) return skip(reason)
      const { stdout } = await runIn(installed.project, executable, [...runtime.parameters, 'vectors.mjs'])
      const seen = JSON.parse(stdout) as { runtime: string; from: string; files: string[]; samples: string[]; compared: Record<string, number> }
      expect(seen.runtime).toBe(runtime.command)
      expect(seen.from).toMatch(/node_modules\/varve\/dist\/kernels\/public\.js$/)
      const published = (await readdir('test/kernel/vectors')).filter((name) => !name.endsWith('.ts'))
      expect([...seen.files, ...seen.samples]).toEqual(expect.arrayContaining(published))
      for (const count of Object.values(seen.compared)) expect(count).toBeGreaterThan(0)
      for (const call of ['crc32c', 'sha256', 'xxh3BigInt', 'xxh64', 'lz4FrameDecode', 'parquetBloom']) expect(seen.compared).toHaveProperty(call)
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
