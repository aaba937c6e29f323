// Tasks for workers.test.ts, the same inline and on threads.
import { isMainThread, threadId } from 'node:worker_threads'

import { NullKeyError } from '../../../bindings/errors.ts'
import { transferring, type WorkerTasks } from '../../../bindings/runtime/index.ts'

export const tasks: WorkerTasks = {
  double: (n: number) => n * 2,
  where: () => threadId,
  moveBack: (buffer: ArrayBuffer) => transferring({ buffer, length: buffer.byteLength }, [buffer]),
  fail: () => {
    throw new NullKeyError('a key is null', { details: { table: 't', column: 'c', row: 7 } })
  },
  failPlainly: () => {
    throw 'only text'
  },
  uncloneable: () => ({ call: () => 1 }),
  crash: () => {
    if (!isMainThread) process.exit(3)
  },
  untilAborted: (_: null, signal: AbortSignal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve('noticed'))),
  wait: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
}
