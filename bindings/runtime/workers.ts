// runtime/workers.ts: a pool of worker threads for work that would stall the event loop (encoding fragments, building filters).
//
// Invariant: every run() settles: with the task's result, its error, the caller's abort, or WorkerCrashedError when the thread died; a dead thread is
// replaced at the next task. Threads start with the first task that needs one and never keep the process alive while they are idle.
//
// Protocol (postMessage): to the worker { id, task, input }, { id, abort: true }; back { id, result } or { id, error }. `transfer` moves buffers there; a task moves
// its result's buffers back with `transferring(result, buffers)`.
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

import { assert } from '../assert.ts'
import { ClosedError, InvariantError } from '../errors.ts'

import type { Workers, WorkerTask } from './world.ts'

/** The tasks a worker knows; the same table runs inline when there are no threads. `signal` is aborted when the caller gave up. */
export type WorkerTasks = Readonly<Record<string, (input: never, signal: AbortSignal) => unknown>>

export interface CreateWorkersOptions {
  /** Used when `threads` is 0; else the threads have their own copy through `serveTasks`. */
  readonly tasks: WorkerTasks
  /** Given to each thread as its name, for profilers. */
  readonly name?: string
}

interface ToWorker {
  readonly id: number
  readonly task?: string
  readonly input?: unknown
  readonly abort?: true
}

interface FromWorker {
  readonly id: number
  readonly result?: unknown
  readonly error?: unknown
}

interface Job {
  readonly id: number
  readonly task: WorkerTask
  readonly transfer: readonly ArrayBuffer[]
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  readonly signal: AbortSignal | undefined
  onAbort: (() => void) | undefined
}

const moved = new WeakMap<object, readonly ArrayBuffer[]>()

/** Marks buffers of a task's result to be moved, not copied, to the caller. The result is an object. */
export function transferring<T extends object>(result: T, buffers: readonly ArrayBuffer[]): T {
  moved.set(result, buffers)
  return result
}

/**
 * A pool of `threads` workers that run `entry`; 0 = inline on this thread.
 *
 * @param entry  the module that calls `serveTasks(tasks)`: a `.ts` next to the sources, a `.js` in dist; `workerEntry(import.meta.url, './worker')` finds it
 * @throws nothing here: a thread that cannot start fails the task that wanted it
 */
export function createWorkers(threads: number, entry: URL | undefined, o: CreateWorkersOptions): Workers {
  assert(Number.isInteger(threads) && threads >= 0, 'threads is a natural number', threads)
  if (threads === 0) return new InlineWorkers(o.tasks)
  assert(entry !== undefined, 'threads need an entry module')
  return new ThreadPool(threads, entry, o.name ?? 'varve')
}

/** URL of a worker's entry module beside `moduleUrl`, with that module's own extension. @example workerEntry(import.meta.url, './worker') */
export function workerEntry(moduleUrl: string, path: string): URL {
  const extension = /\.[cm]?[jt]s(?=$|[?#])/.exec(moduleUrl)?.[0] ?? '.js'
  return new URL(path + extension, moduleUrl)
}

/** Called once by a worker's entry module: answers tasks until the pool closes. In the main thread it does nothing, so that the module may be imported anywhere. */
export function serveTasks(tasks: WorkerTasks): void {
  if (isMainThread || parentPort === null) return
  const port = parentPort
  const running = new Map<number, AbortController>()
  port.on('message', (message: ToWorker) => {
    if (message.abort === true) return running.get(message.id)?.abort()
    const controller = new AbortController()
    running.set(message.id, controller)
    void perform(tasks, message.task ?? '', message.input, controller.signal)
      .then(
        (result) => port.postMessage({ id: message.id, result } satisfies FromWorker, movedBuffers(result)),
        (error: unknown) => port.postMessage({ id: message.id, error: plainError(error) } satisfies FromWorker),
      )
      .catch((error: unknown) => port.postMessage({ id: message.id, error: plainError(error) } satisfies FromWorker)) // a result that cannot be cloned
      .finally(() => running.delete(message.id))
  })
}

/** A thread ended before it answered. */
export class WorkerCrashedError extends InvariantError {
  override readonly name: string = 'WorkerCrashedError'
}

class InlineWorkers implements Workers {
  readonly threads: number = 0
  readonly #tasks: WorkerTasks
  #closed = false

  constructor(tasks: WorkerTasks) {
    this.#tasks = tasks
  }

  async run<T>(task: WorkerTask, o?: { transfer?: readonly ArrayBuffer[]; signal?: AbortSignal }): Promise<T> {
    if (this.#closed) throw closedError()
    o?.signal?.throwIfAborted()
    const result = await perform(this.#tasks, task.task, task.input, o?.signal ?? new AbortController().signal)
    o?.signal?.throwIfAborted()
    return result as T
  }

  async close(): Promise<void> {
    this.#closed = true
  }
}

class ThreadPool implements Workers {
  readonly threads: number
  readonly #entry: URL
  readonly #name: string
  readonly #idle: Worker[] = []
  readonly #busy = new Map<Worker, Job>()
  readonly #queue: Job[] = []
  readonly #stopping = new Set<Promise<unknown>>()
  #nextId = 1
  #closed = false

  constructor(threads: number, entry: URL, name: string) {
    this.threads = threads
    this.#entry = entry
    this.#name = name
  }

  run<T>(task: WorkerTask, o?: { transfer?: readonly ArrayBuffer[]; signal?: AbortSignal }): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) return reject(closedError())
      const signal = o?.signal
      if (signal?.aborted === true) return reject(signal.reason)
      const job: Job = {
        id: this.#nextId++,
        task,
        transfer: o?.transfer ?? [],
        resolve: resolve as (value: unknown) => void,
        reject,
        signal,
        onAbort: undefined,
      }
      if (signal !== undefined) {
        job.onAbort = () => this.#abort(job)
        signal.addEventListener('abort', job.onAbort, { once: true })
      }
      this.#queue.push(job)
      this.#dispatch()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const job of this.#queue.splice(0)) settled(job).reject(closedError())
    for (const job of this.#busy.values()) settled(job).reject(closedError())
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()]
    this.#busy.clear()
    await Promise.all([...workers.map((worker) => worker.terminate()), ...this.#stopping])
  }

  #dispatch(): void {
    while (this.#queue.length > 0 && this.#busy.size < this.threads) {
      const job = this.#queue.shift()!
      let worker = this.#idle.pop()
      try {
        worker ??= this.#start()
        // Taken before the message goes out: it is this call that throws when the input cannot be cloned.
        worker.postMessage({ id: job.id, task: job.task.task, input: job.task.input } satisfies ToWorker, [...job.transfer])
      } catch (error) {
        if (worker !== undefined) this.#idle.push(worker)
        settled(job).reject(error)
        continue
      }
      this.#busy.set(worker, job)
      worker.ref()
    }
  }

  #start(): Worker {
    // A thread inherits the flags of its process; under `node --input-type=module -e ...` it would refuse a module file for its entry.
    const refuses = process.execArgv.some((flag) => flag.startsWith('--input-type'))
    const worker = new Worker(this.#entry, refuses ? { name: this.#name, execArgv: [] } : { name: this.#name })
    worker.on('message', (message: FromWorker) => this.#answer(worker, message))
    worker.on('error', (error) => this.#lost(worker, error))
    worker.on('exit', (code) => this.#lost(worker, new Error(`worker thread exited with code ${code}`)))
    worker.unref()
    return worker
  }

  #answer(worker: Worker, message: FromWorker): void {
    const job = this.#busy.get(worker)
    if (job === undefined || job.id !== message.id) return
    this.#busy.delete(worker)
    worker.unref()
    this.#idle.push(worker)
    if (message.error !== undefined) settled(job).reject(revive(message.error))
    else settled(job).resolve(message.result)
    this.#dispatch()
  }

  #lost(worker: Worker, cause: unknown): void {
    const at = this.#idle.indexOf(worker)
    if (at >= 0) this.#idle.splice(at, 1)
    const job = this.#busy.get(worker)
    this.#busy.delete(worker)
    if (job !== undefined) {
      const message = `a worker thread died while it ran ${job.task.task}`
      settled(job).reject(
        new WorkerCrashedError(message, {
          details: { expected: 'an answer', observed: String(cause) },
          hint: 'Run the task again; report this as a bug if it repeats.',
          cause,
        }),
      )
    }
    if (!this.#closed) this.#dispatch()
  }

  /** The caller is answered at once; the thread is told, and goes on to the next job when its task has noticed. */
  #abort(job: Job): void {
    const queued = this.#queue.indexOf(job)
    if (queued >= 0) this.#queue.splice(queued, 1)
    else for (const [worker, running] of this.#busy) if (running === job) worker.postMessage({ id: job.id, abort: true } satisfies ToWorker)
    settled(job).reject(job.signal?.reason)
  }
}

async function perform(tasks: WorkerTasks, name: string, input: unknown, signal: AbortSignal): Promise<unknown> {
  const task = Object.hasOwn(tasks, name) ? tasks[name] : undefined
  if (task === undefined) throw new InvariantError(`no worker task ${JSON.stringify(name)}`, { details: { expected: Object.keys(tasks), observed: name } })
  return await task(input as never, signal)
}

/** Detaches the abort listener: the job has its outcome. */
function settled(job: Job): Job {
  if (job.onAbort !== undefined) job.signal?.removeEventListener('abort', job.onAbort)
  job.onAbort = undefined
  return job
}

function movedBuffers(result: unknown): ArrayBuffer[] {
  return typeof result === 'object' && result !== null ? [...(moved.get(result) ?? [])] : []
}

interface PlainError {
  readonly error: unknown
  readonly own: Readonly<Record<string, unknown>>
  readonly name: string
  readonly stack: string | undefined
}

/** Structured clone keeps message, stack and cause of an Error and drops its class and properties; those are sent beside it. */
function plainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { error: cloneable(error) ? error : String(error), own: {}, name: '', stack: undefined }
  const own: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(error)) if (cloneable(value)) own[key] = value
  return { error: error.message, own, name: error.name, stack: error.stack }
}

function revive(sent: unknown): unknown {
  const { error, own, name, stack } = sent as PlainError
  if (name === '') return error
  const revived = Object.assign(new Error(String(error)), own)
  Object.defineProperty(revived, 'name', { value: name, configurable: true })
  if (stack !== undefined) Object.defineProperty(revived, 'stack', { value: stack, configurable: true })
  return revived
}

function cloneable(value: unknown): boolean {
  try {
    structuredClone(value)
    return true
  } catch {
    return false
  }
}

function closedError(): ClosedError {
  return new ClosedError('store.closed', 'the worker pool is closed', { details: { what: 'workers' } })
}

/** No threads and no tasks: what a world has until its store brings the table of tasks. */
export const INLINE_ONLY: Workers = Object.freeze({
  threads: 0,
  run: (task: WorkerTask) =>
    Promise.reject(new InvariantError(`no worker task ${JSON.stringify(task.task)}`, { details: { expected: [], observed: task.task } })),
  close: async () => {},
})
