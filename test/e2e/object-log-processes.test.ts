// One object log and several processes on one directory (roots.md section 5, case 9): create-if-absent is all that stands between them.
import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { lsn, openObjectLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { defaultWorld } from '../../bindings/runtime/index.ts'
import { chainOf, idsOf, readAll } from '../../bindings/testing/contracts/log-records.ts'

const CHILD = new URL('./object-log-child.ts', import.meta.url)
const STORE_ID = new Uint8Array(16).fill(5)

let path: string
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'varve-slots-'))
})
afterEach(() => rm(path, { recursive: true, force: true }))

interface Writer {
  /** Id and LSN of each append, in the order of acknowledgement. */
  readonly acknowledged: [number, number][]
  readonly open: Promise<void>
  readonly end: Promise<{ readonly lost: number; readonly epoch: number }>
  start(): void
  kill(): void
}

function writer(w: number, appends: number): Writer {
  const child = fork(CHILD, [path, String(w * 100_000), String(appends)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const acknowledged: [number, number][] = []
  let opened!: () => void
  const open = new Promise<void>((resolve) => (opened = resolve))
  const end = new Promise<{ lost: number; epoch: number }>((resolve, reject) => {
    child.on('message', (message: 'open' | [number, number] | { lost: number; epoch: number }) => {
      if (message === 'open') opened()
      else if (Array.isArray(message)) acknowledged.push(message)
      else resolve(message)
    })
    child.on('exit', (code, signal) => reject(new Error(`writer ${w} ended with ${code ?? signal}`)))
  })
  end.catch(() => undefined)
  return { acknowledged, open, end, start: () => void child.send('go'), kill: () => void child.kill('SIGKILL') }
}

/** Dense LSNs, every acknowledged record once and where it was acknowledged. */
async function check(writers: readonly Writer[], epochs: number): Promise<number[]> {
  const world = defaultWorld()
  const log = await openObjectLog(new DirRoot(path, world), { world, storeId: STORE_ID, readOnly: true, follow: false })
  const records = await readAll(log, lsn(0))
  expect(records).toHaveLength(Number(log.head))
  const ids = idsOf(records)
  expect(new Set(ids).size).toBe(ids.length)
  expect(records.length - ids.length).toBe(epochs)
  const lsns = new Map<number, number>()
  for (const [i, { kind, payload }] of records.entries()) if (kind === 2) lsns.set(new DataView(payload.buffer, payload.byteOffset).getUint32(0, true), i + 1)
  for (const { acknowledged } of writers) for (const [id, at] of acknowledged) expect(lsns.get(id), `record ${id}`).toBe(at)
  expect(await log.digestAt(log.head)).toEqual((await chainOf(log))[Number(log.head)])
  await log.close()
  return ids
}

describe('writers of one object log in processes of their own', () => {
  it.each([4, 8])('%i processes x 250 appends: LSNs without gap or duplicate, each writer in its own order', async (count) => {
    const writers = Array.from({ length: count }, (_, w) => writer(w + 1, 250))
    await Promise.all(writers.map(({ open }) => open))
    for (const { start } of writers) start()
    const ends = await Promise.all(writers.map(({ end }) => end))
    expect(ends.map(({ epoch }) => epoch).sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
    const ids = await check(writers, count)
    expect(ids).toHaveLength(count * 250)
    for (let w = 1; w <= count; w++) {
      expect(ids.filter((id) => Math.floor(id / 100_000) === w)).toEqual(Array.from({ length: 250 }, (_, i) => w * 100_000 + i))
    }
    expect(ends.reduce((sum, { lost }) => sum + lost, 0)).toBeGreaterThan(0)
  })

  it('processes killed in the middle: what they acknowledged is there, the others go on', async () => {
    const writers = Array.from({ length: 4 }, (_, w) => writer(w + 1, w < 2 ? 100_000 : 150))
    await Promise.all(writers.map(({ open }) => open))
    for (const { start } of writers) start()
    while (writers.slice(0, 2).some(({ acknowledged }) => acknowledged.length < 20)) await new Promise((resolve) => setImmediate(resolve))
    writers[0]!.kill()
    writers[1]!.kill()
    await Promise.all(writers.slice(2).map(({ end }) => end))
    const ids = await check(writers, 4)
    expect(ids.filter((id) => id >= 300_000)).toHaveLength(300)
  })
})
