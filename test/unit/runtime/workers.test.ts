import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import { afterEach, describe, expect, it } from 'vitest'

import { createWorkers, workerEntry, type Workers } from '../../../bindings/runtime/index.ts'

import { tasks } from './workers-tasks.ts'

const ENTRY = workerEntry(import.meta.url, './workers-entry')
let workers: Workers | undefined

afterEach(async () => {
  await workers?.close()
  workers = undefined
})

const make = (threads: number): Workers => (workers = createWorkers(threads, ENTRY, { tasks }))

for (const threads of [0, 1, 3]) {
  describe(`workers, ${threads} threads`, () => {
    it('run tasks and give their results', async () => {
      const pool = make(threads)
      expect(pool.threads).toBe(threads)
      const results = await Promise.all(Array.from({ length: 50 }, (_, i) => pool.run<number>({ task: 'double', input: i })))
      expect(results).toEqual(Array.from({ length: 50 }, (_, i) => i * 2))
      const where = new Set(await Promise.all(Array.from({ length: 30 }, () => pool.run<number>({ task: 'where', input: null }))))
      expect(where.size).toBeLessThanOrEqual(Math.max(1, threads))
    })

    it('pass errors with their class name, code and details', async () => {
      const pool = make(threads)
      await expect(pool.run({ task: 'fail', input: null })).rejects.toMatchObject({
        name: 'NullKeyError',
        code: 'write.null-key',
        message: 'a key is null',
        details: { table: 't', column: 'c', row: 7 },
        row: 7,
      })
      await expect(pool.run({ task: 'failPlainly', input: null })).rejects.toBe('only text')
      await expect(pool.run({ task: 'none', input: null })).rejects.toThrow('no worker task "none"')
      await expect(pool.run({ task: 'toString', input: null })).rejects.toThrow('no worker task')
      expect(await pool.run({ task: 'double', input: 4 })).toBe(8)
    })

    it('refuse after close and when aborted before', async () => {
      const pool = make(threads)
      await expect(pool.run({ task: 'double', input: 1 }, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' })
      await pool.close()
      await expect(pool.run({ task: 'double', input: 1 })).rejects.toMatchObject({ code: 'store.closed' })
    })
  })
}

describe('worker threads', () => {
  it('start with the first task and move buffers both ways', async () => {
    const pool = make(2)
    const buffer = new Uint8Array([1, 2, 3]).buffer
    const back = await pool.run<{ buffer: ArrayBuffer; length: number }>({ task: 'moveBack', input: buffer }, { transfer: [buffer] })
    expect(buffer.byteLength).toBe(0)
    expect([...new Uint8Array(back.buffer)]).toEqual([1, 2, 3])
  })

  it('reject what a dead thread was running, and replace it', async () => {
    const pool = make(1)
    const queued = Promise.allSettled([pool.run({ task: 'crash', input: null }), pool.run({ task: 'double', input: 1 })])
    const [crashed, next] = await queued
    expect(crashed).toMatchObject({ status: 'rejected', reason: { name: 'WorkerCrashedError' } })
    expect(next).toEqual({ status: 'fulfilled', value: 2 })
    expect(await pool.run({ task: 'double', input: 5 })).toBe(10)
  })

  it('tell a task of an abort, answer at once, and go on with the thread', async () => {
    const pool = make(1)
    const controller = new AbortController()
    const running = pool.run({ task: 'untilAborted', input: null }, { signal: controller.signal })
    const queued = pool.run({ task: 'double', input: 1 }, { signal: controller.signal })
    const after = pool.run({ task: 'double', input: 3 })
    controller.abort()
    await expect(running).rejects.toMatchObject({ name: 'AbortError' })
    await expect(queued).rejects.toMatchObject({ name: 'AbortError' })
    expect(await after).toBe(6)
  })

  it('report inputs and results that cannot be cloned', async () => {
    const pool = make(1)
    await expect(pool.run({ task: 'double', input: () => 1 })).rejects.toMatchObject({ name: 'DataCloneError' })
    await expect(pool.run({ task: 'uncloneable', input: null })).rejects.toThrow(/clone/)
    expect(await pool.run({ task: 'double', input: 2 })).toBe(4)
  })

  it('fail the task when the entry module is missing', async () => {
    workers = createWorkers(1, new URL('./missing.ts', import.meta.url), { tasks })
    await expect(workers.run({ task: 'double', input: 1 })).rejects.toMatchObject({ name: 'WorkerCrashedError' })
  })

  it('reject what runs and waits at close', async () => {
    const pool = make(1)
    const settled = Promise.allSettled([pool.run({ task: 'wait', input: 60_000 }), pool.run({ task: 'double', input: 1 })])
    await pool.close()
    for (const outcome of await settled) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'store.closed' } })
  })

  it('never keep an idle process alive, and keep a waiting one', async () => {
    const script = `
      import { createWorkers } from ${JSON.stringify(new URL('../../../bindings/runtime/index.ts', import.meta.url).href)}
      const pool = createWorkers(2, new URL(${JSON.stringify(ENTRY.href)}), { tasks: {} })
      await pool.run({ task: 'wait', input: 50 })
      console.log(await pool.run({ task: 'double', input: 21 }))
    `
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
    expect(stdout.trim()).toBe('42')
  })

  it('have an entry with the extension of the module that names it', () => {
    expect(workerEntry('file:///x/table/pool.ts', './worker').href).toBe('file:///x/table/worker.ts')
    expect(workerEntry('file:///x/dist/pool.js', './worker').href).toBe('file:///x/dist/worker.js')
    expect(workerEntry('file:///x/pool.ts?v=1', './worker').href).toBe('file:///x/worker.ts')
  })
})
