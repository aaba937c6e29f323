// write/staged-write.ts: the handle of store.stage() and store.resume(): rows of several tables that become one commit when their user says so
// (recovery.md section 2, api.md section 5).
//
// Calls of one write run one after the other, in the order they were made. Before the seal everything is this process's alone: INTENT, files, rows in memory.
// Invariant: a handle remembers outcomes, the log decides them; files are removed only behind the record that decides.

import { AlreadyPublishedError, FencedError, PendingIntentError, ResourceLimitError, VarveError } from '../errors.ts'
import { armArea, DataDigest, type FinishedTable, inTurn, isIndeterminate, PARTICIPANTS_MAX, redefined, requestDigest, TableStage } from '../engine/index.ts'
import { toHex, type Intent } from '../format/index.ts'
import type { HoldHandle, Lsn } from '../log/index.ts'
import { showAs } from '../runtime/index.ts'
import type { StagingArea } from '../staging/index.ts'
import {
  type AnyTable,
  type ColumnBatch,
  type CommitResult,
  keyless,
  type Long,
  type Predicate,
  type StageOptions,
  toBatches,
  type WriteId,
} from '../table/index.ts'
import { alreadyPublished, assertMove, closedWrite, isDecided, type WriteState } from './lifecycle.ts'
import { idHex, retireWrite, type WriteParts } from './parts.ts'
import { publishedResult } from './outcome.ts'
import { publishSealed } from './publish.ts'
import { rollbackWrite } from './rollback.ts'
import { replayOf, sealWrite } from './seal.ts'

export interface StagedWriteOptions extends Pick<StageOptions, 'author' | 'message' | 'holdUntil' | 'idempotencyKey' | 'signal' | 'onProgress'> {}

type StageOp = 'append' | 'upsert' | 'replace'

export class StagedWriteHandle {
  readonly id: WriteId
  private readonly parts: WriteParts
  private readonly o: StagedWriteOptions
  private known: WriteState
  /** The call that runs, or ran last. */
  private turn: Promise<unknown> = Promise.resolve()
  private arming: Promise<StagingArea> | undefined
  private intent: Intent | undefined
  private readonly stages = new Map<number, TableStage>()
  /** What was asked, call by call, under an idempotency key. */
  private readonly asked: Uint8Array[] = []
  private sealLsn = 0
  /** What it is prepared against stays tellable until it is sealed: then the seal holds it. */
  private readonly hold: HoldHandle | undefined
  private result: CommitResult | undefined

  /** @param sealLsn  of one that resume() found; 0: a new one */
  constructor(parts: WriteParts, id: WriteId, o: StagedWriteOptions, state: WriteState = 'open', sealLsn: number = 0) {
    this.parts = parts
    this.id = id
    this.o = o
    this.known = state
    this.sealLsn = sealLsn
    // A write that is sealed and idle is kept: from then on the signal is about calls that run.
    const onAbort = (): void => {
      if (this.sealLsn === 0) this.run(() => this.undo('aborted'), true).catch(() => undefined)
    }
    o.signal?.addEventListener('abort', onAbort, { once: true })
    this.forgetSignal = () => o.signal?.removeEventListener('abort', onAbort)
    parts.handles.add(this)
    const { log, store } = parts.engine.parts
    this.hold = state === 'open' ? log.reclaim.hold(store.applied, Number(log.tail), { owner: `write ${id}` }) : undefined
  }

  private readonly forgetSignal: () => void

  /** As the log has it, where somebody else decided. */
  toJSON(): object {
    return { id: this.id, state: this.state }
  }

  get state(): WriteState {
    if (isDecided(this.known)) return this.known
    return this.parts.engine.parts.state.catalog.outcomes.of(idHex(this.id))?.outcome ?? this.known
  }

  append(table: AnyTable, data: unknown, o?: Long): Promise<void> {
    return this.write('append', table, data, o)
  }

  upsert(table: AnyTable, data: unknown, o?: Long): Promise<void> {
    return this.write('upsert', table, data, o)
  }

  replace(table: AnyTable, data: unknown, o?: Long): Promise<void> {
    return this.write('replace', table, data, o)
  }

  delete(table: AnyTable, key: unknown): Promise<void> {
    const keys = Array.isArray(key) ? (key as readonly unknown[]) : [key]
    return this.staging(async () => {
      const { stage, done: bytes } = await this.onStage(table, (its) => its.deleteKeys(keys))
      this.ask(() => requestDigest('delete', stage.tableUid, bytes))
    })
  }

  deleteWhere(table: AnyTable, where: Predicate<any>): Promise<void> {
    return this.staging(async () => {
      const { stage } = await this.onStage(table, (its) => its.deleteWhere(where))
      this.ask(() => requestDigest('deleteWhere', stage.tableUid, new TextEncoder().encode(JSON.stringify(where))))
    })
  }

  private write(op: StageOp, table: AnyTable, data: unknown, o: Long | undefined): Promise<void> {
    return this.staging(async () => {
      o?.signal?.throwIfAborted()
      const { view, state } = this.parts.engine.binder.bind(table)
      if (op === 'upsert' && table.key.length === 0) throw keyless(view)
      const digest = this.o.idempotencyKey === undefined ? undefined : new DataDigest(op, state.uid)
      const signals = [this.o.signal, o?.signal].filter((signal) => signal !== undefined)
      const batches = toBatches(view, data, { signal: AbortSignal.any([this.parts.closing, ...signals]) })
      const onProgress = o?.onProgress ?? this.o.onProgress
      const long = onProgress === undefined ? o : { ...o, onProgress }
      await this.onStage(table, (stage) => stage[op](digest === undefined ? batches : noted(batches, digest), long))
      if (digest !== undefined) this.asked.push(digest.digest())
    })
  }

  private ask(digest: () => Uint8Array): void {
    if (this.o.idempotencyKey !== undefined) this.asked.push(digest())
  }

  /** A call that brings or deletes rows: once it has been taken in, the write is armed. */
  private staging(work: () => Promise<void>): Promise<void> {
    return this.run(async () => {
      this.refuseAborted()
      assertMove(this.state, 'stage', this.id)
      await work()
      try {
        await this.arm()
      } catch (error) {
        // Its rows were taken already: a call that is made again would bring them twice.
        await this.undo('not armed')
        throw error
      }
      this.known = 'staged'
    })
  }

  /** A refused call leaves no trace: where it was the first one of its table, conflicts are looked for from the next one on. */
  private async onStage<T>(table: AnyTable, work: (stage: TableStage) => Promise<T>): Promise<{ stage: TableStage; done: T }> {
    const tables = this.stages.size
    const stage = this.stageOf(table)
    const isFirst = this.stages.size > tables
    try {
      return { stage, done: await work(stage) }
    } catch (error) {
      if (isFirst && !stage.isFailed) this.stages.delete(stage.tableId)
      throw error
    }
  }

  /** @throws TableNotFoundError, SchemaMismatchError, ResourceLimitError */
  private stageOf(table: AnyTable): TableStage {
    const bound = this.parts.engine.binder.bind(table)
    let stage = this.stages.get(bound.state.id)
    if (stage === undefined) {
      if (this.stages.size === PARTICIPANTS_MAX) {
        throw new ResourceLimitError(`a staged write of more than ${PARTICIPANTS_MAX} tables`, {
          details: { limit: 'participants of a write', asked: PARTICIPANTS_MAX + 1 },
          hint: 'Write it in several parts.',
        })
      }
      stage = new TableStage(this.parts.engine, bound, () => this.arm())
      this.stages.set(bound.state.id, stage)
    }
    // The rows of one write follow one definition.
    if (stage.schema !== bound.view.schema) throw redefined(bound.state.name, bound.state.lastLsn)
    return stage
  }

  /** Phase A, once. A failure of it ends the write (staging()): made again, the call would bring its rows twice. */
  private arm(): Promise<StagingArea> {
    this.arming ??= this.armNow().catch((error: unknown) => {
      this.arming = undefined
      throw error
    })
    return this.arming
  }

  private async armNow(): Promise<StagingArea> {
    const { intents } = this.parts.engine.parts
    const { author, message, holdUntil, idempotencyKey } = this.o
    const intent = intents.arm({
      kind: 'staged',
      mode: 'hold',
      writeId: this.id,
      participants: [...this.stages.values()].map((stage) => stage.prepared()),
      author,
      message,
      holdUntil,
      idempotencyKey,
    })
    intents.begin(this.id)
    const area = await armArea(this.parts.engine, intent)
    this.intent = intent
    return area
  }

  private refuseAborted(): void {
    if (this.known !== 'published') this.o.signal?.throwIfAborted()
  }

  seal(): Promise<Lsn> {
    const signal = this.signalNow()
    return this.run(async () => {
      if (this.sealLsn === 0) await this.publishedMeanwhile()
      await this.unlessAborted(signal, () => this.sealNow(signal))
      return this.sealLsn > 0 && this.result?.replayed !== true ? (BigInt(this.sealLsn) as Lsn) : this.result!.lsn
    })
  }

  /** The signal of stage(), for a call that begins; undefined: it was aborted while a sealed write lay idle, and says nothing any more. */
  private signalNow(): AbortSignal | undefined {
    return this.sealLsn > 0 && this.o.signal?.aborted === true ? undefined : this.o.signal
  }

  /** An abort inside a call that seals or publishes rolls the write back, sealed or not, whatever else went wrong. @throws the signal's reason */
  private async unlessAborted<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted()
      const done = await work()
      if (!isDecided(this.state)) signal?.throwIfAborted()
      return done
    } catch (error) {
      // Over, or nobody knows: nothing more is done about it here.
      if (
        signal?.aborted !== true ||
        isDecided(this.known) ||
        (error instanceof VarveError && (error.kind === 'closed' || error.code === 'write.outcome-unknown' || isIndeterminate(error)))
      )
        throw error
      await this.undo('aborted')
      throw signal.reason
    }
  }

  private async sealNow(signal: AbortSignal | undefined): Promise<void> {
    if (this.sealLsn > 0 || this.result !== undefined) return
    assertMove(this.state, 'seal', this.id)
    const area = await this.arm()
    const request = this.o.idempotencyKey === undefined ? undefined : requestDigest('staged', 0, ...this.asked)
    const o = { request, signal }
    try {
      // Before anything is finished: when another write holds the key and nobody decides it, this one stays as it is and may be sealed later.
      const known = request === undefined ? undefined : await replayOf(this.parts, { ...this.intent!, request: toHex(request) }, o)
      const sealed = known ?? (await sealWrite(this.parts, area, this.intent!, await this.finished(), o))
      if (typeof sealed === 'number') {
        this.sealLsn = sealed
        this.known = 'sealed'
        this.hold?.release()
      } else {
        await this.undo('replayed')
        this.result = sealed
      }
      this.stages.clear()
    } catch (error) {
      // Certainly not in the log: nobody will ever publish it.
      const isOpen = error instanceof PendingIntentError || isIndeterminate(error)
      if (error instanceof VarveError && !isOpen && error.code !== 'write.outcome-unknown' && error.kind !== 'closed')
        await this.undo('seal failed').catch(() => undefined)
      throw error
    }
  }

  private async finished(): Promise<FinishedTable[]> {
    const finished: FinishedTable[] = []
    for (const stage of [...this.stages.values()].toSorted((a, b) => a.tableId - b.tableId)) finished.push(await stage.finish())
    return finished
  }

  publish(): Promise<CommitResult> {
    const signal = this.signalNow()
    return this.deciding(async () => {
      if (this.result !== undefined) return this.result
      const early = await this.publishedMeanwhile()
      if (early !== undefined) return early
      try {
        return await this.unlessAborted(signal, () => this.publishNow(signal))
      } catch (error) {
        // Another handle, or a recovery, may have published it all the same.
        if ((error instanceof FencedError && error.scope === 'write') || error instanceof AlreadyPublishedError) {
          const meanwhile = await this.publishedMeanwhile()
          if (meanwhile !== undefined) return meanwhile
          this.known = this.state
        }
        throw error
      }
    })
  }

  private async publishNow(signal: AbortSignal | undefined): Promise<CommitResult> {
    if (this.known === 'rolledBack') throw closedWrite('rolledBack', this.id)
    // What was sealed a moment ago was read a moment ago; what has been lying there is read again.
    const isVerified = this.sealLsn === 0
    await this.sealNow(signal)
    // Its idempotency key was published before.
    if (this.result !== undefined) return this.result
    const result = await this.parts.publishing(() => publishSealed(this.parts, this.id, { isVerified, signal }))
    this.result = result
    await this.finish(result.replayed ? 'rolledBack' : 'published')
    return result
  }

  /** The result of a publish that another handle or a recovery made. */
  private async publishedMeanwhile(): Promise<CommitResult | undefined> {
    const decided = this.parts.engine.parts.state.catalog.outcomes.of(idHex(this.id))
    if (decided?.outcome !== 'published') return undefined
    this.result = await publishedResult(this.parts.engine.parts.log, this.id, decided)
    await this.finish('published')
    return this.result
  }

  rollback(reason: string = 'rolled back'): Promise<void> {
    return this.deciding(() => this.undo(reason))
  }

  private deciding<T>(work: () => Promise<T>): Promise<T> {
    return this.parts.decide(this.id, () => this.run(work))
  }

  /** @throws AlreadyPublishedError */
  private async undo(reason: string): Promise<void> {
    const decided = this.parts.engine.parts.state.catalog.outcomes.of(idHex(this.id))
    if (decided?.outcome === 'published') throw alreadyPublished(this.id, decided.lsn)
    if (this.known === 'rolledBack') return
    const area = await this.arming?.catch(() => undefined)
    if (area !== undefined || this.sealLsn > 0) {
      const o = this.intent === undefined ? {} : { baseLsn: Number(this.intent.baseLsn) }
      try {
        await inTurn(this.parts.engine, undefined, () => rollbackWrite(this.parts, this.id, reason, o))
      } catch (error) {
        // Older than any outcome that is kept, and never sealed: none can be given any more, and without one there is nothing to protect.
        if (!(error instanceof FencedError && error.scope === 'write' && this.sealLsn === 0)) throw error
      }
    }
    await this.finish('rolledBack')
  }

  /** The outcome is durable, or nothing was ever anywhere: the directory goes. */
  private async finish(state: 'published' | 'rolledBack'): Promise<void> {
    const area = await this.arming?.catch(() => undefined)
    this.known = state
    this.stages.clear()
    this.leave()
    if (area !== undefined || this.sealLsn > 0) await retireWrite(this.parts, this.id, area)
  }

  private leave(): void {
    this.forgetSignal()
    this.hold?.release()
    this.parts.handles.delete(this)
    this.parts.engine.parts.intents.end(this.id)
  }

  /** Unsealed: rolled back; sealed: it stays, for resume(). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.run(() => this.giveUp('scope left'), true)
  }

  private async giveUp(reason: string): Promise<void> {
    if (isDecided(this.known)) return
    if (this.sealLsn === 0 && !isDecided(this.state)) return this.undo(reason)
    // Sealed, or decided by somebody else: no sign of life is owed any more.
    this.leave()
    await (await this.arming?.catch(() => undefined))?.settle()
  }

  /** One call at a time, in the order they came. */
  private run<T>(work: () => Promise<T>, always: boolean = false): Promise<T> {
    const turn = this.turn.then(async () => {
      if (!always) this.parts.read.check()
      return work()
    })
    this.turn = turn.catch(() => undefined)
    return turn
  }
}

showAs(StagedWriteHandle, (handle) => handle.toJSON())

async function* noted(batches: Iterable<ColumnBatch> | AsyncIterable<ColumnBatch>, digest: DataDigest): AsyncGenerator<ColumnBatch, undefined> {
  for await (const batch of batches) {
    if (batch.length > 0) digest.add(batch)
    yield batch
  }
}
