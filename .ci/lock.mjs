// .ci/lock.mjs: completes package-lock.json with the platform packages that npm left out, so that `npm ci` works on every platform and with every registry.
//
// npm writes only those optional packages into the lock that it could resolve where it ran; `npm ci` elsewhere then refuses the lock as out of sync. What is
// missing follows from what is there: the exact version from optionalDependencies, the platform from the name. With --check it only looks, exit code 1 when
// something is missing. Run it after each `npm install` that touches a lock: ours, or that of the benchmarks' peers.
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

import { read } from './sources.mjs'

const LOCKS = ['package-lock.json', 'bench/package-lock.json']
const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']

/** `{ name: entry }` of the packages that the lock's packages ask for and it does not hold. @throws when a platform cannot be told from a name */
export function missingPackages(lock) {
  const missing = {}
  for (const [path, { optionalDependencies, dev }] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(optionalDependencies ?? {})) {
      if (lock.packages[`${path}/node_modules/${name}`] !== undefined || lock.packages[`node_modules/${name}`] !== undefined) continue
      const words = name.split('/').at(-1).split('-')
      const os = SYSTEMS.find((system) => words.includes(system))
      const cpu = PROCESSORS.find((processor) => words.includes(processor))
      if (!/^\d+\.\d+\.\d+/.test(version) || cpu === undefined || (os === undefined && cpu !== 'wasm32'))
        throw new Error(`${name}@${version}: what platform is it for?`)
      const libc =
        os !== 'linux' ? undefined : words.some((word) => word.startsWith('musl')) ? 'musl' : words.some((word) => word.startsWith('gnu')) ? 'glibc' : undefined
      missing[`node_modules/${name}`] = {
        version,
        cpu: [cpu],
        ...(dev === true ? { dev } : {}),
        ...(libc === undefined ? {} : { libc: [libc] }),
        optional: true,
        ...(os === undefined ? {} : { os: [os] }),
      }
    }
  }
  return missing
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const file of LOCKS) {
    const lock = JSON.parse(read(file))
    const missing = missingPackages(lock)
    const names = Object.keys(missing)
    console.log(`${file}: ${names.length} platform packages missing`)
    if (process.argv.includes('--check')) {
      for (const name of names) console.error(name)
      if (names.length > 0) process.exitCode = 1
    } else if (names.length > 0) {
      const packages = Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => (a < b ? -1 : 1))
      writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(packages) }, null, 2)}\n`)
    }
  }
}
