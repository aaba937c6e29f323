// Where the tests of the public door open their stores: in memory and in a directory that goes with the test.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { onTestFinished } from 'vitest'

import { type OpenOptions, type Root, Store } from '../../../bindings/index.ts'

let memories = 0

export function tempDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'varve-unit-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A named memory root can be opened again, a directory too. */
export const PLACES: readonly (readonly [string, () => string])[] = [
  ['memory', () => `memory:unit-${process.pid}-${++memories}`],
  ['directory', tempDirectory],
]

/** No threads and no background work unless a test asks: what happens is what the test does. */
export const QUIET: OpenOptions = { threads: 0, upkeep: 'manual' }

/** A store that is closed when the test ends. */
export async function opened(place: string | Root, options: OpenOptions = {}): Promise<Store> {
  const store = await Store.open(place, { ...QUIET, ...options })
  onTestFinished(() => store.close().catch(() => undefined))
  return store
}

/** The error of a call that must fail. */
export async function failure(call: () => unknown): Promise<Error & Record<string, unknown>> {
  let result: unknown
  try {
    result = await call()
  } catch (error) {
    return error as Error & Record<string, unknown>
  }
  throw new Error(`resolved with ${String(result)}`)
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}
