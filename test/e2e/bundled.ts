// e2e/bundled.ts: bundles the sources for the project `commands`, so that each of its hundreds of processes starts without taking types out of two hundred files.
//
// Invariant: the bundle is made of the sources as they are when the tests begin (again), into a folder of this run; dist is neither read nor written. It lies within
// node_modules, where the packages that it imports are found.
import { copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'

import { bundle } from '../../.ci/bundle.mjs'

declare module 'vitest' {
  interface ProvidedContext {
    /** The file of the command; the other projects have none and run it from the sources. */
    cli: string | undefined
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const repository = fileURLToPath(new URL('../..', import.meta.url))
  const folder = join(repository, 'node_modules/.cache/varve-commands', String(process.pid))
  const make = (): Promise<void> => bundle(join(folder, 'dist'))
  await make()
  await copyFile(join(repository, 'package.json'), join(folder, 'package.json'))
  project.provide('cli', join(folder, 'dist/cli/main.js'))
  project.onTestsRerun(make)
  return () => rm(folder, { recursive: true, force: true })
}
