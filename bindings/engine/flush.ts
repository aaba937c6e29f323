// engine/flush.ts: moves the rows of a table's memory layer into fragments, while writers and readers go on.
//
//   seal the chunks -> wait until their commits are durable -> gather live rows, by key -> encode on a worker -> stage and promote the files
//   -> one synchronous step: hide what was hidden meanwhile, queue the `flush` record, swap the layer
//
// Invariant: the record names only files that are durable, and its rows are exactly the rows that were live in the sealed chunks at that step.

import type { DeletionVectorRef, FragmentHides as HideList, TableSchema } from '../format/index.ts'
import { Coverage, filter } from '../kernels/index.ts'
import { FP, soon } from '../runtime/index.ts'
import { fileKey, type StagedFile } from '../staging/index.ts'
import { type ColumnBatch, encodeFragmentOn, type MemoryChunk, type TableState } from '../table/index.ts'
import { NOW } from './admission.ts'
import { promotedRef, storeFragment } from './cutter.ts'
import type { Engine } from './engine.ts'
import { FusedWrite } from './fused.ts'
import { inTurn } from './in-turn.ts'
import { whileAlive } from './record-files.ts'

/** A fragment with more rows hidden inline than this gets them into a deletion vector file. */
const VECTOR_ROWS_MIN = 1024
const LIVE = Number.POSITIVE_INFINITY

export interface FlushResult {
  readonly rows: number
  readonly bytes: number
  readonly lsn: number | undefined
}

/** Move everything that is in the table's memory layer now. Holds the table's layout lock. */
export async function flushTable(engine: Engine, table: TableState, signal?: AbortSignal): Promise<FlushResult> {
  return engine.layoutLock(table).run(async () => {
    signal?.throwIfAborted()
    const sealed = table.now.layer.seal()
    if (sealed.length === 0) return { rows: 0, bytes: 0, lsn: undefined }
    const { committer, log } = engine.parts
    await committer.drained()
    await log.sync()
    // Only now is it known what the log kept: on a full disk queued rows are taken back, and their LSNs are given again.
    const chunks = sealed.filter((chunk) => chunk.rows > 0)
    if (chunks.length === 0) return { rows: 0, bytes: 0, lsn: undefined }
    const uptoLsn = chunks.reduce((last, chunk) => Math.max(last, chunk.insertLsn[chunk.rows - 1]!), 0)
    // What a queued record hides is taken along, and hidden again when the flush is queued: should that record be taken back, the row would be nowhere.
    const lsn = engine.parts.state.applied
    // The durable definition, the same for all of them: on a log of several writers another one may come while they are gathered.
    const { schema } = table.at(lsn)
    const gathered = await gather(table, schema, chunks, lsn, signal)
    const { workers, failpoints } = engine.parts.world
    const sortByKey = schema.key.length > 0
    const encoded = gathered.rows === 0 ? [] : [await encodeFragmentOn(workers, { schema, batches: gathered.batches, sortByKey }, signal)]
    const fused = new FusedWrite(engine, { kind: 'flush', table, op: 'compact' })
    let published: number
    try {
      if (failpoints.active) await failpoints.hit(FP.flush.beforeFragment, { table: table.name })
      const files: StagedFile[] = []
      for (const fragment of encoded) files.push(...(await storeFragment(await fused.area(), fragment)).files)
      const vectors = await stageVectors(engine, table, fused)
      const queued = await whileAlive(async () => {
        const gens = await fused.promote([...files, ...vectors.map(({ file }) => file)])
        signal?.throwIfAborted()
        if (failpoints.active) await failpoints.hit(FP.flush.beforePublish, { table: table.name })
        const last = chunks.at(-1)!
        const queue = async (): Promise<number | undefined> => {
          // A replace meanwhile took the rows away, or another writer has moved them: they are not to come back.
          if (!chunks.every((chunk) => table.now.layer.chunks.includes(chunk))) return undefined
          return committer.flush(table, {
            ...(fused.armed === undefined ? {} : { writeId: fused.armed.writeId }),
            tableId: table.id,
            uptoLsn,
            uptoRow: last.base + last.rows,
            fragments: encoded.map((fragment) => promotedRef(fragment.ref, gens)),
            hides: hiddenMeanwhile(chunks, gathered, encoded[0]?.order),
            // Rows hidden since the vector was written are not in it: then it waits for the next flush.
            deletionVectors: vectors
              .filter(({ ref, hidden }) => isStill(table, ref, hidden))
              .map(({ ref, file }) => withGen(ref, gens.get(fileKey(file)) ?? 0)),
          })
        }
        return inTurn(engine, { signal }, queue)
      })
      if (queued === undefined) {
        await fused.retire()
        return { rows: 0, bytes: 0, lsn: undefined }
      }
      published = queued
    } catch (error) {
      await fused.giveUp(error)
      throw error
    }
    await fused.retire()
    if (failpoints.active) await failpoints.hit(FP.flush.afterPublish, { table: table.name, lsn: published })
    return { rows: gathered.rows, bytes: encoded.reduce((sum, fragment) => sum + fragment.file.length, 0), lsn: published }
  })
}

interface Gathered {
  readonly rows: number
  readonly batches: readonly ColumnBatch[]
  /** Row numbers in the memory layer, in the order of the batches. */
  readonly numbers: Float64Array
}

/** The rows of the chunks that are live at `lsn`, which is durable; a turn of the event loop after each. What is hidden since shows when the flush is published. */
async function gather(table: TableState, schema: TableSchema, chunks: readonly MemoryChunk[], lsn: number, signal: AbortSignal | undefined): Promise<Gathered> {
  const batches: ColumnBatch[] = []
  const numbers = new Float64Array(chunks.reduce((sum, chunk) => sum + chunk.rows, 0))
  let rows = 0
  for (const chunk of chunks) {
    const { bitmap, count } = chunk.liveAt(lsn, chunk.rows)
    if (count === 0) continue
    for (let row = 0; row < chunk.rows; row++) if (chunk.hiddenAt[row]! > lsn) numbers[rows++] = chunk.base + row
    // Rows of older definitions become rows of this one.
    const vecs = table.chunkVecs(chunk, schema.columns)
    batches.push({ length: count, columns: bitmap === undefined ? vecs : vecs.map((vec) => filter(vec, bitmap, count)) })
    await new Promise<void>((resolve) => soon(resolve))
    signal?.throwIfAborted()
  }
  return { rows, batches, numbers: numbers.subarray(0, rows) }
}

/** Rows of the new fragment that were hidden since they were gathered. */
function hiddenMeanwhile(chunks: readonly MemoryChunk[], { numbers, rows }: Gathered, order: Uint32Array | undefined): HideList[] {
  if (rows === 0 || !chunks.some((chunk) => chunk.hidden > 0)) return []
  // Place in the batches by row number, then row of the fragment by place.
  const first = chunks[0]!.base
  const last = chunks.at(-1)!
  const placeOf = new Int32Array(last.base + last.rows - first).fill(-1)
  for (let place = 0; place < rows; place++) placeOf[numbers[place]! - first] = place
  const rowOf = order === undefined ? undefined : inverse(order)
  const hidden: number[] = []
  for (const chunk of chunks) {
    if (chunk.hidden === 0) continue
    for (let at = 0; at < chunk.rows; at++) {
      if (chunk.hiddenAt[at] === LIVE) continue
      const place = placeOf[chunk.base + at - first]!
      if (place >= 0) hidden.push(rowOf === undefined ? place : rowOf[place]!)
    }
  }
  return hidden.length === 0 ? [] : [{ lsn: 0, ordinal: 0, rows: Uint32Array.from(hidden).sort() }]
}

function inverse(order: Uint32Array): Uint32Array {
  const places = new Uint32Array(order.length)
  for (let i = 0; i < order.length; i++) places[order[i]!] = i
  return places
}

interface StagedVector {
  readonly ref: DeletionVectorRef
  readonly hidden: Uint8Array
  readonly file: StagedFile
}

/** Deletion vectors for the fragments with many rows hidden one by one. */
async function stageVectors(engine: Engine, table: TableState, fused: FusedWrite): Promise<StagedVector[]> {
  const catalog = engine.parts.state.catalog.table(table.id)
  const staged: StagedVector[] = []
  for (const { lsn, ordinal } of table.now.fragments) {
    const inline = catalog?.fragments.find((each) => each.lsn === lsn && each.ordinal === ordinal)?.hiddenCount ?? 0
    if (inline < VECTOR_ROWS_MIN) continue
    const fragment = table.fragment(lsn, ordinal)
    const hidden = fragment.hides.hiddenAt(NOW)!.slice()
    const count = fragment.hides.count
    const bytes = Coverage.ofBitmap(hidden, fragment.ref.rows).encode()
    const file = await (await fused.area()).put('dv', bytes)
    staged.push({ ref: { lsn, ordinal, digest: file.digest, bytes: bytes.length, hidden: count }, hidden, file })
  }
  return staged
}

function withGen(ref: DeletionVectorRef, gen: number): DeletionVectorRef {
  return gen === 0 ? ref : { ...ref, gen }
}

/** The vector holds exactly the rows that are hidden now: not fewer, and none whose record was taken back. */
function isStill(table: TableState, ref: DeletionVectorRef, hidden: Uint8Array): boolean {
  const { hides } = table.fragment(ref.lsn, ref.ordinal)
  if (hides.count !== ref.hidden) return false
  const now = hides.hiddenAt(NOW)
  return now !== undefined && now.length === hidden.length && now.every((byte, i) => byte === hidden[i])
}
