// engine/load.ts: large writes: rows become fragments first, on a worker, and one record names them all. One write is one commit, whatever its size.
//
//   for each batch: its keys against the load's own -> a fragment's worth: encode (worker), find the older rows it replaces, write and sync the files
//   -> one synchronous step: what changed meanwhile, queue the record
//
// Invariant: no record before its files are durable; a fragment holds a key at most once; a failure leaves nothing but unreferenced files.

import { assert } from '../assert.ts'
import { ConflictError } from '../errors.ts'
import { type FragmentHides as HideList, type FragmentRef, type TableChange, valueKindOf } from '../format/index.ts'
import { filter, type Vec } from '../kernels/index.ts'
import {
  type AnyTable,
  type ColumnBatch,
  columnStats,
  type CommitResult,
  compareConstants,
  encodeFragmentOn,
  findKey,
  findKeySync,
  formatKey,
  keyObjectFromBytes,
  type LiveFragment,
  Pace,
  type Place,
  type TableView,
  type WriteOptions,
} from '../table/index.ts'
import { duplicateKeyError, HideSet, NOW, READ_ROUNDS, refuseKey } from './admission.ts'
import type { Bound } from './bound.ts'
import type { Engine } from './engine.ts'
import { writeFragment } from './flush.ts'
import { LoadKeys, type LoadPart } from './load-keys.ts'
import { DataDigest } from './request.ts'
import { keyBytesOf } from './tracker.ts'

export type LoadOp = 'append' | 'upsert' | 'replace'

/** Rows of one fragment. */
const FRAGMENT_ROWS = 262_144
/** Bytes of columns after which a fragment is cut, whatever its rows. */
const FRAGMENT_BYTES = 64 * 1024 * 1024
/** Fragments being encoded or written at a time: what bounds the memory of a load. */
const IN_FLIGHT = 2

interface Cut {
  readonly parts: readonly LoadPart[]
  /** Rows of the parts that are in the fragment: bitmaps, undefined = all. */
  readonly kept: readonly (Uint8Array | undefined)[]
  readonly ordinal: number
  readonly rows: number
}

/** Write the batches as one commit. Holds the table's layout lock: no flush and no other load of this table meanwhile. */
export async function load(
  engine: Engine,
  table: AnyTable,
  op: LoadOp,
  batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>,
  o: WriteOptions | undefined,
): Promise<CommitResult> {
  const bound = engine.binder.bind(table)
  return engine.layoutLock(bound.state).run(async () => {
    const { tracker } = engine.parts
    tracker.begin()
    try {
      if (o?.idempotencyKey !== undefined && engine.parts.committer.knows(o.idempotencyKey)) {
        return await replayLoad(engine, bound, op, batches, { ...o, idempotencyKey: o.idempotencyKey })
      }
      const loader = new Loader(engine, bound, op, o)
      await loader.read(batches)
      return await loader.publish()
    } finally {
      tracker.end()
    }
  })
}

/** A load under a key that is taken: its rows are only compared with those of then. */
async function replayLoad(
  engine: Engine,
  bound: Bound,
  op: LoadOp,
  batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>,
  o: WriteOptions & { idempotencyKey: string },
): Promise<CommitResult> {
  const { world, check, committer } = engine.parts
  const pace = new Pace({ ...o, world, check, table: bound.state.name, phase: op, total: undefined })
  const data = new DataDigest(op, bound.state.id)
  let rows = 0
  for await (const batch of batches) {
    o.signal?.throwIfAborted()
    data.add(batch)
    rows += batch.length
    await pace.step(rows)
  }
  pace.finish(rows)
  const replayed = committer.replay(o.idempotencyKey, data.digest())
  assert(replayed !== undefined, 'a key that was taken stays so for the time of a call')
  return replayed
}

class Loader {
  private readonly engine: Engine
  private readonly bound: Bound
  private readonly op: LoadOp
  private readonly o: WriteOptions | undefined
  private readonly since: number
  private readonly keys: LoadKeys | undefined
  private readonly cuts: Cut[] = []
  private readonly refs: FragmentRef[] = []
  /** Older rows with keys of the load, as they were found. */
  private readonly older = new HideSet()
  /** What the rows are, under an idempotency key. */
  private readonly data: DataDigest | undefined
  private readonly pace: Pace
  private waiting: ColumnBatch[] = []
  private waitingParts: (LoadPart | undefined)[] = []
  private waitingRows = 0
  private waitingBytes = 0
  private readonly running = new Set<Promise<void>>()
  private failure: { error: unknown } | undefined
  private rows = 0

  constructor(engine: Engine, bound: Bound, op: LoadOp, o: WriteOptions | undefined) {
    this.engine = engine
    this.bound = bound
    this.op = op
    this.o = o
    // Durable, so never taken back: an LSN above it may be given to another record.
    this.since = engine.parts.state.applied
    const { keyLayout, schema } = bound.state
    this.keys = keyLayout === undefined ? undefined : new LoadKeys(schema, keyLayout, engine.parts.world.random.u32())
    const { world, check } = engine.parts
    this.data = o?.idempotencyKey === undefined ? undefined : new DataDigest(op, bound.state.id)
    this.pace = new Pace({ ...o, world, check, table: bound.state.name, phase: op, total: undefined })
  }

  async read(batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>): Promise<void> {
    try {
      for await (const batch of batches) {
        this.check()
        if (batch.length === 0) continue
        this.data?.add(batch)
        await this.take(batch)
        if (this.waitingRows >= FRAGMENT_ROWS || this.waitingBytes >= FRAGMENT_BYTES) await this.cut()
      }
      if (this.waitingRows > 0) await this.cut()
    } finally {
      await Promise.all(this.running)
    }
    this.check()
  }

  private async take(batch: ColumnBatch): Promise<void> {
    let part: LoadPart | undefined
    if (this.keys !== undefined) {
      const { view } = this.bound
      const added = this.keys.add(batch, this.op !== 'upsert')
      part = added.part
      if (added.duplicate !== undefined) {
        const { first, second, part: where, row } = added.duplicate
        throw duplicateKeyError(view, where.keys.data.slice(where.keys.start(row), where.keys.end(row)), first, second, this.op)
      }
      if (this.op !== 'replace') await this.findOlder(part, this.rows)
    }
    this.waiting.push(batch)
    this.waitingParts.push(part)
    this.rows += batch.length
    this.waitingRows += batch.length
    for (const vec of batch.columns) this.waitingBytes += vecBytes(vec)
    await this.pace.step(this.rows)
  }

  /** Older rows with the keys of this part. A part whose keys nothing can hold costs a look per fragment. */
  private async findOlder(part: LoadPart, firstRow: number): Promise<void> {
    const { state, view } = this.bound
    const { layer, fragments } = state.now
    if (layer.liveRows === 0 && !fragments.some((fragment) => mayOverlap(fragment, part, view))) return
    const { keys } = part
    for (let row = 0; row < part.rows; row++) {
      if ((row & 255) === 0) await this.pace.step(this.rows)
      const key = keys.data.subarray(keys.start(row), keys.end(row))
      let place: Place | undefined
      for (let round = 0; ; round++) {
        const found = round < READ_ROUNDS ? findKey(state.now, NOW, key) : findKeySync(state.now, NOW, key)
        if (found instanceof Promise) {
          place = await found
        } else {
          place = found
          break
        }
      }
      if (place === undefined) continue
      if (this.op === 'append') throw refuseKey(state, view, key, place, firstRow + row)
      this.older.add(place)
    }
  }

  /** Make a fragment of the waiting batches, in the background. */
  private async cut(): Promise<void> {
    const batches = this.waiting
    const parts = this.waitingParts
    const ordinal = this.refs.length
    this.waiting = []
    this.waitingParts = []
    this.waitingRows = 0
    this.waitingBytes = 0
    const kept: (Uint8Array | undefined)[] = []
    const filtered: ColumnBatch[] = []
    let rows = 0
    batches.forEach((batch, i) => {
      const bitmap = keptBitmap(parts[i], batch.length)
      kept.push(bitmap)
      const count = batch.length - (parts[i]?.dropped?.size ?? 0)
      rows += count
      if (count > 0) filtered.push(bitmap === undefined ? batch : { length: count, columns: batch.columns.map((column) => filter(column, bitmap, count)) })
    })
    if (rows === 0) return
    if (this.keys !== undefined) this.cuts.push({ parts: parts as LoadPart[], kept, ordinal, rows })
    this.refs.push(undefined as unknown as FragmentRef)
    while (this.running.size >= IN_FLIGHT) await Promise.race(this.running)
    this.check()
    const work = this.encode(filtered, ordinal)
      .catch((error: unknown) => {
        this.failure ??= { error }
      })
      .finally(() => this.running.delete(work))
    this.running.add(work)
  }

  private async encode(batches: readonly ColumnBatch[], ordinal: number): Promise<void> {
    const { world } = this.engine.parts
    const fragment = await encodeFragmentOn(world.workers, { schema: this.bound.state.schema, batches }, this.o?.signal)
    this.refs[ordinal] = await writeFragment(this.engine, fragment)
  }

  /** Queue the record. The last checks and the queueing are one synchronous step. */
  async publish(): Promise<CommitResult> {
    const { engine, bound, op } = this
    const { committer, tracker } = engine.parts
    const request = this.data?.digest()
    if (request !== undefined) {
      const replayed = committer.replay(this.o!.idempotencyKey!, request)
      if (replayed !== undefined) return replayed
    }
    if (op !== 'replace' && tracker.changedSince(bound.state, this.since) > 0) this.admitChanges()
    const hides = this.older.stillLive(bound.state)
    const own = this.ownHides()
    const updated = hides.size
    const rows = this.rows - this.droppedRows()
    const parts = hides.parts()
    const change: TableChange = {
      tableId: bound.state.id,
      schemaVersion: bound.state.schema.version,
      op,
      inserted: rows - updated,
      updated,
      deleted: op === 'replace' ? bound.state.liveRowsNow() : 0,
      ...(parts.hideRows === undefined ? {} : { hideRows: parts.hideRows }),
      ...(parts.hides === undefined && own.length === 0 ? {} : { hides: [...(parts.hides ?? []), ...own] }),
      fragments: this.refs,
    }
    this.pace.finish(this.rows)
    return committer.commit([{ table: bound.state, change }], rows + change.deleted, this.o, request)
  }

  /** Small commits that came while the load was prepared: their keys are known one by one. */
  private admitChanges(): void {
    const { state, view } = this.bound
    const { tracker } = this.engine.parts
    if (this.keys === undefined) return
    for (const [text, lsn] of tracker.keysSince(state, this.since)) {
      const key = keyBytesOf(text)
      if (this.keys.find(key) < 0) continue
      const place = findKeySync(state.now, NOW, key)
      if (place === undefined) continue
      if (this.op === 'append') {
        const values = keyObjectFromBytes(view, key)
        throw new ConflictError(`${state.name}: key ${formatKey(values)} was written by LSN ${lsn} while this append was prepared`, {
          details: { table: state.name, keys: [values], total: 1, lsn: BigInt(lsn) },
        })
      }
      this.older.add(place)
    }
  }

  /** Rows of this load's own fragments that a later row of it replaced after they were cut. */
  private ownHides(): HideList[] {
    const lists: HideList[] = []
    for (const { parts, kept, ordinal } of this.cuts) {
      const rows: number[] = []
      let base = 0
      parts.forEach((part, i) => {
        const bitmap = kept[i]
        if (part.dropped !== undefined) {
          let at = base
          for (let row = 0; row < part.rows; row++) {
            const isKept = bitmap === undefined || ((bitmap[row >> 3]! >> (row & 7)) & 1) === 1
            if (isKept && part.dropped.has(row)) rows.push(at)
            if (isKept) at++
          }
        }
        base += bitmap === undefined ? part.rows : countBits(bitmap)
      })
      if (rows.length > 0) lists.push({ lsn: 0, ordinal, rows: Uint32Array.from(rows) })
    }
    return lists
  }

  private droppedRows(): number {
    let dropped = 0
    for (const part of this.keys?.parts ?? []) dropped += part.dropped?.size ?? 0
    return dropped
  }

  private check(): void {
    if (this.failure !== undefined) throw this.failure.error
    this.o?.signal?.throwIfAborted()
    this.engine.parts.check()
    this.engine.parts.committer.assertAlive()
  }
}

/** Whether a key of the part can be in the fragment, by the bounds of the first key column. */
function mayOverlap({ reader }: LiveFragment, part: LoadPart, view: TableView): boolean {
  const { column } = view.key[0]!
  const there = reader.stats(column.id)
  const kind = valueKindOf(column.type)
  const here = columnStats(part.keyVecs[0]!, kind)
  if (there === undefined || there.hasNaN === true || here.hasNaN === true) return true
  if (there.min === undefined || there.max === undefined || here.min === undefined || here.max === undefined) return true
  return compareConstants(here.min, there.max) <= 0 && compareConstants(here.max, there.min) >= 0
}

function keptBitmap(part: LoadPart | undefined, rows: number): Uint8Array | undefined {
  if (part?.dropped === undefined || part.dropped.size === 0) return undefined
  const bitmap = new Uint8Array((rows + 7) >> 3)
  for (let row = 0; row < rows; row++) if (!part.dropped.has(row)) bitmap[row >> 3]! |= 1 << (row & 7)
  return bitmap
}

function countBits(bitmap: Uint8Array): number {
  let count = 0
  for (const byte of bitmap) for (let bits = byte; bits !== 0; bits &= bits - 1) count++
  return count
}

export function vecBytes(vec: Vec): number {
  let bytes = vec.values.length + (vec.offsets?.byteLength ?? 0) + (vec.validity?.length ?? 0)
  for (const child of vec.children) bytes += vecBytes(child)
  return bytes
}
