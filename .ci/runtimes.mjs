// .ci/runtimes.mjs: the runtimes that the packed package must run on, and a clean install of the tarball.
//
// Runtimes come from npm, each into its own folder of node_modules/.cache/varve-runtimes, made complete under a temporary name and then renamed; they are no
// devDependencies, so `npm ci` does not download them. Invariant: a runtime is either ready to run or has the reason why not.
//
//   node .ci/runtimes.mjs             pack, install, run the smoke programs on each; one line a program; exit code 1 when one fails
//   node .ci/runtimes.mjs --fetch     only install the runtimes
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const execute = promisify(execFile)
const repository = resolve(fileURLToPath(import.meta.url), '../..')
const CACHE = join(repository, 'node_modules/.cache/varve-runtimes')
const PROGRAMS = ['smoke.mjs', 'vectors.mjs']
const INSTALL_MS_MAX = 180_000

/** `install: undefined` is the node@24 of the lock file. Parameters stand between the command and the program. */
export const RUNTIMES = [
  { name: 'Node 24', command: 'node', install: undefined, parameters: [] },
  { name: 'Node 22', command: 'node', install: 'node@22.23.3', parameters: [] },
  { name: 'Deno', command: 'deno', install: 'deno@2.9.6', parameters: ['run', '--allow-all', '--node-modules-dir=manual', '--cached-only'] },
  { name: 'Bun', command: 'bun', install: 'bun@1.4.5', parameters: [] },
]

/** Where the runtime's executable is, installed when it is not there yet: `{ executable }` or `{ reason }` when the registry cannot be reached. */
export async function runtimeOf({ install, command }) {
  if (install === undefined) return { executable: join(repository, 'node_modules/.bin', command) }
  const { folder, reason } = await installed(CACHE, install, join('node_modules/.bin', command))
  return folder === undefined ? { reason } : { executable: join(folder, 'node_modules/.bin', command) }
}

/** The folder in `cache` that `install` (name@version) is installed into, if need be; `proof`: a path in it that stands once it is: `{ folder }` or `{ reason }`. */
export async function installed(cache, install, proof) {
  const folder = join(cache, install)
  if (existsSync(join(folder, proof))) return { folder }
  const fresh = `${folder}.${process.pid}`
  await mkdir(fresh, { recursive: true })
  await writeFile(join(fresh, 'package.json'), '{ "private": true }\n')
  try {
    await npm(['install', '--no-save', '--prefix', fresh, install], fresh)
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    if (isOffline(error)) return { reason: `${install} could not be installed: ${firstLine(error)}` }
    throw error
  }
  await rename(fresh, folder).catch((error) => {
    if (!existsSync(join(folder, proof))) throw error // else another process was first
  })
  return { folder }
}

/**
 * The package as a user gets it: built from the sources into a folder of its own, packed, and installed with its dependencies into an empty project.
 * The work tree's dist is neither read nor written, so that this may run beside a build.
 */
export async function installPacked(parent) {
  const staging = join(parent, 'staging')
  await mkdir(staging, { recursive: true })
  for (const name of ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE']) {
    if (existsSync(join(repository, name))) await cp(join(repository, name), join(staging, name))
  }
  const node = join(repository, 'node_modules/.bin/node')
  const tsc = join(repository, 'node_modules/typescript/bin/tsc')
  await execute(node, [join(repository, '.ci/bundle.mjs'), join(staging, 'dist')])
  await execute(node, [tsc, '-p', join(repository, 'tsconfig.declarations.json'), '--outDir', join(staging, 'dist')])
  const { stdout } = await npm(['pack', '--json', '--ignore-scripts', '--pack-destination', parent], staging)
  const [packed] = JSON.parse(stdout)
  const project = join(parent, 'project')
  await mkdir(project, { recursive: true })
  await writeFile(join(project, 'package.json'), '{ "name": "a-user-of-varve", "version": "1.0.0", "private": true, "type": "module" }\n')
  await npm(['install', '--prefer-offline', join(parent, packed.filename)], project)
  await cp(join(repository, 'test/e2e/smoke'), project, { recursive: true })
  for (const name of ['kernel/vectors', 'kernel/bytes.ts', 'data/parquet-testing']) {
    await cp(join(repository, 'test', name), join(project, name), { recursive: true })
  }
  return { project, tarball: join(parent, packed.filename), files: packed.files.map((file) => file.path), unpackedBytes: packed.unpackedSize }
}

/** Runs a program of the project; what it printed. Rejects with its error output when it fails. */
export async function runIn(project, executable, parameters) {
  const { stdout, stderr } = await execute(executable, parameters, { cwd: project, env: environment(), maxBuffer: 64 * 1024 * 1024 })
  return { stdout, stderr }
}

/** npm from the PATH, quiet; without what an outer npm run put into the environment. */
export function npm(parameters, cwd) {
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--no-progress', '--loglevel=error']
  return execute('npm', [...parameters, ...quiet], { cwd, env: environment(), timeout: INSTALL_MS_MAX, maxBuffer: 64 * 1024 * 1024 })
}

function environment() {
  const kept = Object.entries(process.env).filter(([name]) => !/^(?:npm_(?:package|lifecycle|command|config_local)|NODE_OPTIONS|VITEST)/i.test(name))
  // npm on the Node of the lock file: on an older one it leaves out packages, silently, that do not say they run there.
  const path = `${join(repository, 'node_modules/.bin')}${delimiter}${process.env.PATH ?? ''}`
  return { ...Object.fromEntries(kept), NO_COLOR: '1', PATH: path }
}

const OFFLINE = /\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT|E40[1347]|E429|E50[0-9])\b/

function isOffline(error) {
  return error.killed === true || OFFLINE.test(`${error.message}\n${error.stderr ?? ''}`)
}

function firstLine(error) {
  return `${error.stderr ?? error.message}`.trim().split('\n')[0]
}

async function main() {
  const parent = await mkdtemp(join(tmpdir(), 'varve-runtimes-'))
  try {
    const project = process.argv.includes('--fetch') ? undefined : (await installPacked(parent)).project
    for (const runtime of RUNTIMES) {
      const { executable, reason } = await runtimeOf(runtime)
      if (executable === undefined) {
        console.log(`skip ${runtime.name}: ${reason}`)
        continue
      }
      if (project === undefined) {
        console.log(`ok   ${runtime.name}: ${dirname(executable)}`)
        continue
      }
      for (const program of PROGRAMS) {
        try {
          const { stdout } = await runIn(project, executable, [...runtime.parameters, program])
          console.log(`ok   ${runtime.name}: ${stdout.trim()}`)
        } catch (error) {
          console.log(`FAIL ${runtime.name}: ${program}\n${error.stderr ?? error.message}`)
          process.exitCode = 1
        }
      }
    }
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
