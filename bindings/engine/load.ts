// engine/load.ts: large writes: rows become fragments first, on a worker, and one record names them all. One write is one commit, whatever its size.
//
//   for each batch: its keys against the load's own -> find the older rows it replaces -> a fragment's worth: encode (worker), stage (engine/cutter.ts)
//   -> the files get their final names -> one synchronous step: what changed meanwhile, queue the record (engine/fused.ts)
//
// Invariant: no record before its files are durable; a failure that is certain leaves nothing in staging.

import { assert } from '../assert.ts'
import { ConflictError } from '../errors.ts'
import { type FragmentRef, type Participant, type TableChange, type TableSchema, valueKindOf } from '../format/index.ts'
import {
  type AnyTable,
  type ColumnBatch,
  columnStats,
  type CommitResult,
  compareConstants,
  findKeys,
  findKeySync,
  formatKey,
  keyObjectFromBytes,
  type LiveFragment,
  Pace,
  type Structure,
  type TableView,
  type WriteOptions,
  refitBatch,
  KeyLayout,
} from '../table/index.ts'
import { duplicateKeyError, HideSet, NOW, refuseFound } from './admission.ts'
import type { Bound } from './bound.ts'
import { Cutter, promotedRef } from './cutter.ts'
import type { Engine } from './engine.ts'
import { FUSED_BYTES_MAX, FUSED_FILES_MAX, intentFiles, type LargeLoad, type LoadSealer, storeKeys } from './finish.ts'
import { FusedWrite, participantOf } from './fused.ts'
import { inTurn } from './in-turn.ts'
import { whileAlive } from './record-files.ts'
import { redefined } from './conflict.ts'
import { LoadKeys, type LoadPart } from './load-keys.ts'
import { LoadTuples } from './load-tuples.ts'
import { DataDigest } from './request.ts'
import { keyBytesOf } from './tracker.ts'
import { lostTuple, refuseTakenLoud, repeatedTupleError, takenTupleError } from './unique.ts'

export type LoadOp = 'append' | 'upsert' | 'replace'

/** Write the batches, made for one version of the definition, as one commit. Holds the table's layout lock: no flush and no other load of this table meanwhile. */
export async function load(
  engine: Engine,
  table: AnyTable,
  op: LoadOp,
  given: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>,
  o: WriteOptions | undefined,
  made: TableSchema,
): Promise<CommitResult> {
  const { state } = engine.binder.bind(table)
  return engine.layoutLock(state).run(async () => {
    // While the lock was waited for, the definition may have changed; from here on it stays.
    const bound = engine.binder.bind(table)
    if (bound.state !== state) throw redefined(table.name, bound.state.lastLsn)
    const batches = made === bound.view.schema ? given : refitted(given, made, bound.view.schema)
    const { tracker } = engine.parts
    const { log, store } = engine.parts
    tracker.begin()
    // What was written meanwhile is looked up when it is published, if it is sealed.
    const hold = log.reclaim.hold(store.applied, Number(log.tail), { owner: 'write' })
    try {
      if (o?.idempotencyKey !== undefined && engine.parts.committer.knows(o.idempotencyKey)) {
        return await replayLoad(engine, bound, op, batches, { ...o, idempotencyKey: o.idempotencyKey })
      }
      const loader = new Loader(engine, bound, op, o)
      return await loader.run(batches)
    } finally {
      hold.release()
      tracker.end()
    }
  })
}

async function* refitted(
  batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>,
  from: TableSchema,
  to: TableSchema,
): AsyncGenerator<ColumnBatch, undefined> {
  for await (const batch of batches) yield refitBatch(batch, from, to)
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
  const data = new DataDigest(op, bound.state.uid)
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
  /** The version of the table that it is prepared against. */
  private readonly expectedVersion: number
  private readonly keys: LoadKeys | undefined
  private readonly tuples: LoadTuples | undefined
  private readonly fused: FusedWrite
  private readonly cutter: Cutter
  /** Older rows with keys of the load, as they were found. */
  private older = new HideSet()
  /** The layout of the table that `older` was found in. */
  private structure: Structure
  private rewinds: number
  /** What the rows are, under an idempotency key. */
  private readonly data: DataDigest | undefined
  private readonly pace: Pace
  private rows = 0

  constructor(engine: Engine, bound: Bound, op: LoadOp, o: WriteOptions | undefined) {
    this.engine = engine
    this.bound = bound
    this.op = op
    this.o = o
    // Durable, so never taken back: an LSN above it may be given to another record.
    this.since = engine.parts.state.applied
    const { schema } = bound.view
    const keyLayout = KeyLayout.of(schema)
    this.structure = bound.state.now
    this.rewinds = bound.state.rewinds
    this.expectedVersion = engine.parts.state.catalog.table(bound.state.id)?.lastLsn ?? bound.state.lastLsn
    this.keys = keyLayout === undefined ? undefined : new LoadKeys(schema, keyLayout, engine.parts.world.random.u32())
    this.tuples = LoadTuples.of(bound.state, schema, engine.parts.world.random.u32())
    const { world, check } = engine.parts
    this.fused = new FusedWrite(engine, { kind: op === 'append' ? 'load' : op, table: bound.state, op, notes: o })
    this.cutter = new Cutter({ world, table: bound.state, schema, area: this.fused.area, signal: o?.signal })
    this.data = o?.idempotencyKey === undefined ? undefined : new DataDigest(op, bound.state.uid)
    this.pace = new Pace({ ...o, world, check, table: bound.state.name, phase: op, total: undefined })
  }

  async run(batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>): Promise<CommitResult> {
    let result: CommitResult
    try {
      await this.read(batches)
      const sealer = this.sealer()
      if (sealer !== undefined) {
        result = await sealer.publish(await this.large())
        this.pace.finish(this.rows)
        await this.fused.retire()
        return result
      }
      result = await whileAlive(async () => {
        const generations = await this.fused.promote(this.cutter.files)
        const refs = this.cutter.refs.map((ref) => promotedRef(ref, generations))
        return inTurn(this.engine, this.o, (again) => this.publish(refs, again !== undefined))
      })
    } catch (error) {
      await this.fused.giveUp(error)
      throw error
    }
    await this.fused.retire()
    return result
  }

  /** Who seals it, when it is not to be one record. */
  private sealer(): LoadSealer | undefined {
    const { sealer } = this.engine
    const { files } = this.cutter
    if (sealer === undefined || files.length === 0) return undefined
    return sealer.always || files.length > FUSED_FILES_MAX || files.reduce((sum, file) => sum + file.bytes, 0) > FUSED_BYTES_MAX ? sealer : undefined
  }

  private async large(): Promise<LargeLoad> {
    const { engine, bound, op, cutter, keys, tuples } = this
    const { state } = bound
    const { refs } = cutter
    const area = await this.fused.area()
    const hides = cutter.ownHides()
    if (tuples !== undefined) {
      if (op !== 'replace') this.admitChanges()
      this.refuseTuples()
    }
    const prepared = participantOf(engine, state, op)
    const written = prepared.rule === 'keys' ? await storeKeys(engine, state, area, { keys, tuples, deleted: new Set() }) : undefined
    const participant: Participant = {
      ...prepared,
      expectedVersion: String(this.expectedVersion),
      // What it appends was not there when it was read; what came since, rule `keys` finds.
      files: intentFiles(refs, () => op === 'append' && keys !== undefined),
      ...(written === undefined ? {} : { keys: written }),
    }
    const change: TableChange = {
      tableId: state.id,
      schemaVersion: bound.view.schema.version,
      op,
      inserted: this.rows - this.droppedRows(),
      updated: 0,
      deleted: 0,
      ...(hides.length === 0 ? {} : { hides }),
      fragments: refs,
    }
    return { area, intent: this.fused.intent!, finished: { participant, changes: [change] }, request: this.data?.digest(), signal: this.o?.signal }
  }

  private async read(batches: AsyncIterable<ColumnBatch> | Iterable<ColumnBatch>): Promise<void> {
    try {
      for await (const batch of batches) {
        this.check()
        if (batch.length === 0) continue
        this.data?.add(batch)
        await this.take(batch)
      }
      if (this.cutter.rowsWaiting > 0) await this.cutter.cut()
    } finally {
      await this.cutter.settled()
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
    await this.takeTuples(batch)
    this.rows += batch.length
    await this.cutter.push(batch, part)
    await this.pace.step(this.rows)
  }

  /** An append drops none of its rows and hides none of the table: what repeats a tuple is wrong at once. */
  private async takeTuples(batch: ColumnBatch): Promise<void> {
    const { tuples, op } = this
    if (tuples === undefined) return
    const { state, view } = this.bound
    const repeated = tuples.add(batch, this.rows)
    if (repeated !== undefined && op !== 'upsert') throw repeatedTupleError(state, view, repeated, op)
    if (op === 'replace') return
    const taken = await tuples.look(state.now, () => this.pace.step(this.rows))
    if (taken !== undefined && op === 'append') await refuseTakenLoud(state, view, taken)
  }

  /** @throws DuplicateKeyError: rows that stay repeat a tuple, or an older row that stays has one; ConflictError: a row that came meanwhile has */
  private refuseTuples(): void {
    const { tuples, op } = this
    if (tuples === undefined) return
    const { state, view } = this.bound
    const isGone = (row: number): boolean => this.keys?.isDropped(row) === true
    const repeated = tuples.repeated(isGone)
    if (repeated !== undefined) throw repeatedTupleError(state, view, repeated, op)
    if (op === 'replace') return
    const late = tuples.takenSince(this.since, this.older, isGone)
    if (late !== undefined) throw lostTuple(state, view, late)
    const taken = tuples.taken(this.older, isGone)
    if (taken !== undefined) throw takenTupleError(state, view, taken, undefined)
  }

  /** Shared logs: others may have moved rows, or brought some. Any log: rows that were queued when they were found may have been taken back. */
  private get hasMoved(): boolean {
    const { state } = this.bound
    return this.rewinds !== state.rewinds || (this.engine.parts.log.shared && this.structure !== state.now)
  }

  /** Older rows matter to it. */
  private get looksUp(): boolean {
    return this.op !== 'replace' && (this.keys !== undefined || this.tuples !== undefined)
  }

  private async findAgain(): Promise<void> {
    if (!this.looksUp) return
    const { state } = this.bound
    do {
      this.structure = state.now
      this.rewinds = state.rewinds
      this.older = new HideSet()
      for (const part of this.keys?.parts ?? []) await this.findOlder(part, part.base)
      await this.tuples?.lookAgain(state.now, () => this.pace.step(this.rows))
    } while (this.structure !== state.now || this.hasMoved)
  }

  /** Older rows with the keys of this part. A part whose keys nothing can hold costs a look per fragment. */
  private async findOlder(part: LoadPart, firstRow: number): Promise<void> {
    const { state, view } = this.bound
    const { layer, fragments } = state.now
    if (layer.liveRows === 0 && !fragments.some((fragment) => mayOverlap(fragment, part, view))) return
    const found = await findKeys(state.now, NOW, part.keys, state.keyLayout!, () => this.pace.step(this.rows))
    if (this.op === 'append') refuseFound(state, view, part.keys, found, firstRow)
    for (const { fragment, rows } of found) {
      if (fragment === undefined) for (const row of rows) this.older.add({ fragment, row })
      else {
        const held = this.older.rowsOf(fragment)
        for (const row of rows) held.add(row)
      }
    }
  }

  /** Queue the record. The last checks and the queueing are one synchronous step. */
  private async publish(refs: readonly FragmentRef[], isAgain: boolean): Promise<CommitResult> {
    const { engine, bound, op } = this
    if (isAgain) await this.findAgain()
    // The step to the queue begins where nothing was waited for.
    while (this.looksUp && this.hasMoved) await this.findAgain()
    this.check()
    const { committer, tracker } = engine.parts
    const request = this.data?.digest()
    if (request !== undefined) {
      const replayed = committer.replay(this.o!.idempotencyKey!, request)
      if (replayed !== undefined) return replayed
    }
    if (op !== 'replace' && tracker.changedSince(bound.state, this.since) > 0) this.admitChanges()
    this.refuseTuples()
    const hides = this.older.stillLive(bound.state)
    const own = this.cutter.ownHides()
    const updated = hides.size
    const rows = this.rows - this.droppedRows()
    const parts = hides.parts()
    const change: TableChange = {
      tableId: bound.state.id,
      schemaVersion: bound.view.schema.version,
      op,
      inserted: rows - updated,
      updated,
      deleted: op === 'replace' ? bound.state.liveRowsNow() : 0,
      ...(parts.hideRows === undefined ? {} : { hideRows: parts.hideRows }),
      ...(parts.hides === undefined && own.length === 0 ? {} : { hides: [...(parts.hides ?? []), ...own] }),
      fragments: refs,
    }
    this.pace.finish(this.rows)
    return committer.commit([{ table: bound.state, change }], rows + change.deleted, this.o, request, this.fused.armed)
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

  private droppedRows(): number {
    let dropped = 0
    for (const part of this.keys?.parts ?? []) dropped += part.dropped?.size ?? 0
    return dropped
  }

  private check(): void {
    this.cutter.check()
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
