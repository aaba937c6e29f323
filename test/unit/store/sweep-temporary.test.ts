// What killed processes left behind in the folder of a store: swept by its writer and its replicas when it is an hour old (store/sweep-temporary.ts).
import { existsSync } from 'node:fs'
import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'

import { DirRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { MemoryNetwork } from '../../../bindings/ship/index.ts'
import { Replica } from '../../../bindings/store/index.ts'
import { sweepTemporary } from '../../../bindings/store/sweep-temporary.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'
import { opened, tempDirectory } from './places.ts'

const HOUR_MS = 3_600_000

interface Place {
  readonly folder: string
  /** Files of a killed writer: how long before now each was written. */
  left(name: string, ageMs: number): Promise<string>
}

async function place(clock: FakeClock, folder: string = tempDirectory()): Promise<Place> {
  const root = new DirRoot(folder, defaultWorld())
  await root.put('fragments/ab/whole.arrow', new Uint8Array(8))
  await root[Symbol.asyncDispose]()
  return {
    folder,
    left: async (name, ageMs) => {
      const path = join(folder, name)
      await writeFile(path, 'half')
      const at = new Date(clock.clock.nowMs() - ageMs)
      await utimes(path, at, at)
      return path
    },
  }
}

it('takes temporary files that are older than an hour; younger ones, and names that are nobody’s temporary files, stay', async () => {
  const clock = new FakeClock()
  const { folder, left } = await place(clock)
  const old = await left('fragments/ab/.file.77-aaaaaa-1.tmp', HOUR_MS + 60_001)
  const others = [
    // A minute passes before the sweep looks.
    await left('fragments/ab/.file.77-aaaaaa-2.tmp', HOUR_MS - 60_001),
    await left('.file.77-aaaaaa-3.tmp', 0),
    await left('fragments/ab/notes.tmp', 9 * HOUR_MS),
    await left('fragments/ab/.notes.1.tmp', 9 * HOUR_MS),
    await left('fragments/ab/.77-aaaaaa-1.txt', 9 * HOUR_MS),
    join(folder, 'fragments/ab/whole.arrow'),
  ]
  await using root = new DirRoot(folder, defaultWorld())
  const stopping = new AbortController()
  const sweeping = sweepTemporary(root, { ...defaultWorld(), clock: clock.clock, timers: clock.timers }, stopping.signal)
  await clock.advance(59_999)
  expect(existsSync(old)).toBe(true)
  await clock.advance(1)
  await sweeping
  expect(existsSync(old)).toBe(false)
  expect(others.filter((path) => !existsSync(path))).toEqual([])
})

it('of a handle that is closed before its time it does nothing', async () => {
  const clock = new FakeClock()
  const { folder, left } = await place(clock)
  const old = await left('.file.77-aaaaaa-1.tmp', 9 * HOUR_MS)
  await using root = new DirRoot(folder, defaultWorld())
  const stopping = new AbortController()
  const sweeping = sweepTemporary(root, { ...defaultWorld(), clock: clock.clock, timers: clock.timers }, stopping.signal)
  stopping.abort(new Error('closed'))
  await clock.advance(120_000)
  await sweeping
  expect(existsSync(old)).toBe(true)
})

it('logs what it cannot sweep, and throws nothing', async () => {
  const clock = new FakeClock()
  const told: unknown[] = []
  const root = {
    sweepTemporary: () => Promise.reject(new Error('no such disk')),
  } as unknown as Root
  const world = { ...defaultWorld(), clock: clock.clock, timers: clock.timers, logger: { log: (event: object) => void told.push(event) } }
  const sweeping = sweepTemporary(root, world, new AbortController().signal)
  await clock.advance(60_000)
  await sweeping
  expect(told).toMatchObject([{ level: 'warn', code: 'sweep.temporaryFailed' }])
})

it.each(['writer', 'replica'] as const)('is done by a %s', async (kind) => {
  const clock = new FakeClock()
  const world = { ...defaultWorld(), clock: clock.clock, timers: clock.timers }
  const folder = tempDirectory()
  const network = new MemoryNetwork(defaultWorld())
  // A replica begins with what a former primary left.
  await (await opened(folder)).close()
  const { left } = await place(clock, folder)
  const [old, young] = [await left('.file.77-aaaaaa-1.tmp', 9 * HOUR_MS), await left('.file.77-aaaaaa-2.tmp', 0)]
  if (kind === 'writer') await opened(folder, { world, upkeep: 'auto' })
  else {
    const replica = await Replica.open(folder, { replicaId: 'r1', endpoint: { data: 'r1', version: 1 }, transport: network.transport('r1'), world })
    onTestFinished(() => replica.close())
  }
  await clock.advance(60_000)
  while (existsSync(old)) await new Promise((resolve) => setImmediate(resolve))
  expect(existsSync(young)).toBe(true)
})
