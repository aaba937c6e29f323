// bench/kernels/group-commit.ts: records of 1 KiB, durable, from 16 and 256 callers, beside a file to which each caller appends with a write and an fdatasync:
// one after the other as a log demands, and as the thread pool takes them, out of order.
//
// varve commits through its public door: a row with a binary column of 1 KiB, one write and one sync for all that wait. Not a kernel alone, but what its frame,
// hash and fold kernels are for (kernels.md section 9, row 12). Rows and bytes are counted afterwards.
import { closeSync, fdatasync, openSync, readFileSync, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { Store, t, table } from '../../bindings/index.ts'
import { contest, type Turn, verify } from '../contest.ts'
import { freshFolder, removeFolders } from '../machine.ts'
import { KIB, type KernelSuite, noise } from './suite.ts'

/** Committers -> least ratio. */
const TARGETS: Readonly<Record<number, number>> = { 16: 3, 256: 12 }
const TURN_MS = 250

const records = table('records', { id: t.int64(), body: t.binary() }, { key: ['id'] })
const writeAt = promisify(write)
const sync = promisify(fdatasync)

export async function groupCommit(suite: KernelSuite): Promise<void> {
  const body = noise(KIB, 41)
  for (const committers of suite.isQuick ? [16] : [16, 256]) {
    const store = await Store.open(freshFolder())
    await store.create(records)
    const file = join(freshFolder(), 'log')
    const fd = openSync(file, 'w')
    let rows = 0
    let appended = 0
    const commitRow = async (): Promise<void> => {
      await store.append(records, { id: BigInt(rows++), body })
    }
    const writeAndSync = async (): Promise<void> => {
      const at = KIB * appended++
      await writeAt(fd, body, 0, KIB, at)
      await sync(fd)
    }
    // A log is in order: a record is durable only when all before it are.
    let last = Promise.resolve()
    const inOrder = (): Promise<void> => (last = last.then(writeAndSync))
    const turnMs = suite.isQuick ? TURN_MS / 5 : TURN_MS
    const name = `group-commit.1KiB-from-${committers}`
    const outcome = await contest(name, 'commits/s', suite.rounds, [
      { name: 'varve', turn: () => lanes(committers, turnMs, commitRow) },
      { name: 'write+fdatasync each', turn: () => lanes(committers, turnMs, inOrder) },
      { name: 'write+fdatasync each, out of order', turn: () => lanes(committers, turnMs, writeAndSync) },
    ])
    verify((await store.scan(records).count()) === rows, `${name}: every row is there`)
    await store.close()
    closeSync(fd)
    verify(readFileSync(file).length === KIB * appended, `${name}: every record is there`)
    suite.add({ ...outcome, targets: { 'write+fdatasync each': TARGETS[committers]! } })
  }
  removeFolders()
}

/** Closed loops: each caller begins its next record when the last one is durable. */
async function lanes(count: number, ms: number, one: () => Promise<void>): Promise<Turn> {
  const started = performance.now()
  let done = 0
  const lane = async (): Promise<void> => {
    while (performance.now() - started < ms) {
      await one()
      done++
    }
  }
  await Promise.all(Array.from({ length: count }, lane))
  return { ms: performance.now() - started, operations: done }
}
