// table/worker-tasks.ts: work that would stall the event loop, by name, and how to run it on the world's threads or inline (performance.md section 7).
//
// Vecs are shared with snapshots and caches, so their buffers are never moved away: what a task needs is copied into one buffer, which is. The result's
// buffers are moved back. Invariant: a task gives the same result in a thread as inline.
import type { TableSchema } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import { kernelModule, useKernelModule } from '../kernels/index.ts'
import { createWorkers, transferring, workerEntry } from '../runtime/index.ts'
import type { Workers, WorkerTasks } from '../runtime/index.ts'
import type { ColumnBatch } from './batch.ts'
import { type BuiltIndex, encodeIndex, type EncodeIndexInput } from './encode-index.ts'
import { encodeFragment } from './fragment-writer.ts'
import type { EncodedFragment, EncodeFragmentInput } from './fragment-writer.ts'
import { packBatches } from './pack-batches.ts'

/** Smaller inputs are encoded inline: the hop costs more. */
const INLINE_BYTES = 256 * 1024

interface PackedFragmentInput extends EncodeFragmentInput {
  /** Compiled once, by the parent. */
  readonly module: WebAssembly.Module
}

interface PackedIndexInput extends EncodeIndexInput {
  readonly module: WebAssembly.Module
}

/** The table of tasks that `bindings/table/worker.ts` serves. */
export const WORKER_TASKS: WorkerTasks = {
  encodeFragment(input: PackedFragmentInput): EncodedFragment {
    useKernelModule(input.module)
    const encoded = encodeFragment(input)
    return transferring(encoded, [
      encoded.file.buffer,
      ...(encoded.index === undefined ? [] : [encoded.index.file.buffer]),
      ...encoded.indexes.map((index) => index.file.buffer),
      ...(encoded.order === undefined ? [] : [encoded.order.buffer]),
    ])
  },
  encodeIndex(input: PackedIndexInput): BuiltIndex {
    useKernelModule(input.module)
    const built = encodeIndex(input)
    return transferring(built, [built.file.buffer])
  },
}

/** Threads that know the tasks of this table; 0 = everything runs inline. */
export function createTableWorkers(threads: number): Workers {
  return createWorkers(threads, workerEntry(import.meta.url, './worker'), { tasks: WORKER_TASKS, name: 'varve' })
}

/**
 * Encode a fragment on a worker thread, or inline when there is none or the input is small.
 *
 * @param input  not changed, not retained
 * @throws what `signal` was aborted with
 */
export async function encodeFragmentOn(workers: Workers, input: EncodeFragmentInput, signal?: AbortSignal): Promise<EncodedFragment> {
  signal?.throwIfAborted()
  if (workers.threads === 0 || inputBytes(input.batches) < INLINE_BYTES) return encodeFragment(input)
  const { batches, buffer } = packBatches(input.batches)
  const packed: PackedFragmentInput = { ...input, batches, module: kernelModule() }
  return workers.run<EncodedFragment>({ task: 'encodeFragment', input: packed }, { transfer: [buffer], ...(signal === undefined ? {} : { signal }) })
}

/** Rows on their way into one fragment: each batch is copied as it comes, so that handing them all over to a thread takes no time. */
export class FragmentRows {
  private readonly workers: Workers
  private readonly batches: ColumnBatch[] = []
  private readonly buffers: ArrayBuffer[] = []
  rows = 0

  constructor(workers: Workers) {
    this.workers = workers
  }

  /** Not retained where there are threads. */
  push(batch: ColumnBatch): void {
    this.rows += batch.length
    if (this.workers.threads === 0) {
      this.batches.push(batch)
      return
    }
    const { batches, buffer } = packBatches([batch])
    this.batches.push(...batches)
    this.buffers.push(buffer)
  }

  /** With every index that the table declares; on a worker thread, or inline when there is none. The rows are gone then. @throws what `signal` was aborted with */
  async encode(schema: TableSchema, signal: AbortSignal): Promise<EncodedFragment> {
    signal.throwIfAborted()
    const { workers, batches, buffers } = this
    if (workers.threads === 0) return encodeFragment({ schema, batches, withDeclared: true })
    const packed: PackedFragmentInput = { schema, batches, withDeclared: true, module: kernelModule() }
    return workers.run<EncodedFragment>({ task: 'encodeFragment', input: packed }, { transfer: buffers, signal })
  }
}

/** As encodeFragmentOn, of one index. */
export async function encodeIndexOn(workers: Workers, input: EncodeIndexInput, signal?: AbortSignal): Promise<BuiltIndex> {
  signal?.throwIfAborted()
  if (workers.threads === 0 || inputBytes(input.batches) < INLINE_BYTES) return encodeIndex(input)
  const { batches, buffer } = packBatches(input.batches)
  const packed: PackedIndexInput = { ...input, batches, module: kernelModule() }
  return workers.run<BuiltIndex>({ task: 'encodeIndex', input: packed }, { transfer: [buffer], ...(signal === undefined ? {} : { signal }) })
}

function inputBytes(batches: readonly ColumnBatch[]): number {
  let bytes = 0
  for (const batch of batches) for (const vec of batch.columns) bytes += roughBytes(vec)
  return bytes
}

/** Enough to tell small from large. */
function roughBytes(vec: Vec): number {
  let bytes = vec.values.length + (vec.offsets?.byteLength ?? 0)
  for (const child of vec.children) bytes += roughBytes(child)
  return bytes
}
