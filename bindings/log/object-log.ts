// log/object-log.ts: the log of an object root: slots that many writers create if absent (log.md section 4).
//
// Invariant: H is what this handle has read, floor looked at afterwards, or won and acknowledged; what it queued is framed for the LSNs behind H and is given back
// when another writer takes them; after a fatal error nothing is acknowledged.
import { ClosedError, CorruptionError, LsnTakenError, PinRefusedError, VarveError } from '../errors.ts'
import { readAgain } from '../root/index.ts'
import { FP } from '../runtime/index.ts'

import { CLEAN_NAME, encodeClean } from './clean.ts'
import type { AppendOptions, CommitLog, Epoch, LogBatch, LogListener, LogRecord, Lsn, Pin, Submission } from './commit-log.ts'
import { GroupCommit } from './group-commit.ts'
import { writeHint } from './head-hint.ts'
import { Leases } from './leases.ts'
import { trimmableTo, trimSlots } from './object-trim.ts'
import type { ObjectLogOptions } from './open-object-log.ts'
import { Reclaim } from './reclaim.ts'
import type { SlotChain } from './slot-chain.ts'
import { SlotView } from './slot-view.ts'
import { slotName } from './slot.ts'
import { followSlots } from './slot-follow.ts'
import type { SlotWriter } from './slot-writer.ts'
import { Wakeups } from './wakeups.ts'

/** Bounds of a slot. A larger append gets a slot of its own. */
const SLOT_BYTES_MAX = 1024 * 1024
const SLOT_RECORDS_MAX = 256
const GROUP_COMMIT_MS_MAX = 5
const HINT_EVERY = 64

export class ObjectWriteLog extends SlotView implements CommitLog {
  readonly readOnly = false as const
  readonly epoch: Epoch
  readonly #o: ObjectLogOptions
  readonly #writer: SlotWriter
  readonly #commit: GroupCommit
  readonly reclaim: Reclaim = new Reclaim()
  readonly #leases: Leases
  readonly #buried = { upTo: 0 }
  readonly #wakeups = new Wakeups()
  #slotsWon = 0
  #closing: Promise<void> | undefined
  #closed = false

  /** @internal use openObjectLog */
  constructor(chain: SlotChain, writer: SlotWriter, o: ObjectLogOptions) {
    super(chain)
    this.#o = o
    this.#writer = writer
    this.epoch = BigInt(writer.epoch) as Epoch
    const groupCommitMs = Math.min(o.groupCommitMs ?? 0, GROUP_COMMIT_MS_MAX)
    this.#commit = new GroupCommit(writer, { head: chain.head, groupCommitMs, timers: o.world.timers, bytesMax: SLOT_BYTES_MAX, recordsMax: SLOT_RECORDS_MAX })
    this.#leases = new Leases(chain.root, { world: o.world, retry: o.retry, floor: async () => (await chain.floors.read()).tail })
    chain.pinned = () => this.reclaim.floor
    const wake = () => this.#wakeups.wake()
    this.#commit.listen({ durable: wake, failed: wake, rejected: wake })
    // A slot that turned out to be ours only after the chain had passed it: what is queued behind it is queued in vain.
    writer.onTold = () => this.#tellForeign()
    writer.onWon = () => {
      if (++this.#slotsWon % HINT_EVERY === 0) void this.#hint()
    }
  }

  get submitted(): Lsn {
    return BigInt(this.#commit.submitted) as Lsn
  }

  listen(listener: LogListener): Disposable {
    return this.#commit.listen(listener)
  }

  submit(records: readonly LogRecord[], o?: { expect?: Lsn }): Submission {
    return this.#commit.submit(records, o?.expect)
  }

  append(records: readonly LogRecord[], o?: AppendOptions): Promise<Submission> {
    return this.#commit.append(records, o)
  }

  tailing(start: Lsn, o: { signal: AbortSignal }): AsyncIterable<LogBatch> {
    const check = () => {
      this.check()
      o.signal.throwIfAborted()
    }
    return followSlots(Number(start), {
      chain: this.chain,
      wakeups: this.#wakeups,
      timers: this.#o.world.timers,
      pollMsMax: this.#o.tailPollMs ?? 1000,
      look: () => this.refresh(),
      ended: () => this.#commit.ended,
      check,
      signal: o.signal,
    })
  }

  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn> {
    return this.reclaim.reclaim(Number(upTo), o?.dryRun === true, async (limit) => {
      this.check()
      if (this.#commit.ended !== undefined) throw this.#commit.ended
      const { world, retry } = this.#o
      const options = { world, chain: this.chain, retry, held: () => this.#leases.lowest(), buried: this.#buried }
      if (o?.dryRun === true) return BigInt(await trimmableTo(limit, options)) as Lsn
      await trimSlots(limit, options)
      return this.tail
    })
  }

  heldElsewhere(): Promise<readonly { readonly owner: string; readonly lsn: number }[]> {
    return this.#leases.others()
  }

  /** Looks for records of other writers. What was queued for LSNs that they took is given back. @throws CommitOutcomeUnknownError, FencedError, StorageError */
  async refresh(): Promise<Lsn> {
    this.check()
    if (this.#commit.ended !== undefined) throw this.#commit.ended
    await this.resolveUnknown()
    try {
      await this.chain.exclusively(() => this.#orFail(() => this.chain.extend()))
    } finally {
      // A look that failed half way has moved the head too. A group that waits for its turn is framed for LSNs that were taken: its turn, before ours, gives it back.
      if (this.#commit.busy) await this.chain.exclusively(async () => {})
      this.#tellForeign()
    }
    return this.head
  }

  /** Finds out whether the records of unknown outcome are in the log, and tells the listeners. @throws CommitOutcomeUnknownError when that still cannot be told */
  async resolveUnknown(): Promise<{ readonly first: Lsn; readonly last: Lsn; readonly durable: boolean } | undefined> {
    if (this.#writer.unresolved === undefined) return undefined
    try {
      return await this.chain.exclusively(() => this.#orFail(() => this.#writer.resolve()))
    } finally {
      this.#tellForeign()
    }
  }

  /** @throws PinRefusedError below T; StorageError when no lease could be laid, so that other processes would not know of it */
  async pin(start: Lsn, owner: string): Promise<Pin> {
    const granted = await this.reclaim.pin(start, owner, () => this.chain.tail)
    const pin = await this.#leases.lay(granted, owner).catch((error: unknown) => {
      granted.release()
      throw error
    })
    try {
      // Behind the lease: whoever raises the floor from here on sees it, and what was raised before is seen here.
      await this.refresh()
      await this.chain.reachDown()
      const { tail } = this.chain
      if (tail <= Number(start)) return pin
      throw new PinRefusedError(`LSN ${start} cannot be held: the log begins after ${tail}`, {
        details: { asked: start, tail: BigInt(tail), floor: BigInt(tail) },
      })
    } catch (error) {
      pin.release()
      throw error
    }
  }

  async sync(): Promise<Lsn> {
    // What was lost was given back: there is nothing of it left to wait for.
    await this.#commit.flush().catch((error: unknown) => {
      if (!(error instanceof LsnTakenError)) throw error
    })
    return this.head
  }

  /** Waits for what is queued and writes CLEAN. A fenced or poisoned handle only ends. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      if (this.#commit.ended !== undefined) return
      await this.resolveUnknown()
      await this.sync()
      await this.#closeCleanly()
    } finally {
      this.#closed = true
      await this.#leases.close()
      this.#commit.fail(new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } }), false)
      this.#wakeups.wake()
    }
  }

  async #closeCleanly(): Promise<void> {
    const { world, storeId, retry } = this.#o
    const { head, digest, slots, root } = this.chain
    const last = slots.at(-1)
    if (world.failpoints.active) await world.failpoints.hit(FP.log.beforeClean)
    const slot =
      last === undefined ? { segment: '', bytes: 0, count: 0 } : { segment: slotName(last.first), bytes: last.bytes, count: last.last - last.first + 1 }
    const mark = encodeClean({ storeId, lsn: head, digest, ...slot })
    await readAgain(world, () => root.put(CLEAN_NAME, mark), retry)
    if (world.failpoints.active) await world.failpoints.hit(FP.log.afterClean)
    await this.#hint()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #hint(): Promise<void> {
    return writeHint(this.chain.root, { lsn: this.chain.head, floor: this.chain.floors.current.k })
  }

  /** What others wrote behind the last LSN that our queue knows of. */
  #tellForeign(): void {
    const { head } = this.chain
    if (this.#commit.ended !== undefined || this.#commit.busy || head <= this.#commit.head) return
    const error = new LsnTakenError(`other writers appended; the log is at ${head}`, { details: { head: BigInt(head) } })
    this.#commit.overtaken(error)
    this.#wakeups.wake()
  }

  /** Damage and a fence are the end of the handle, whoever meets them. */
  async #orFail<T>(look: () => Promise<T>): Promise<T> {
    try {
      return await look()
    } catch (error) {
      if (error instanceof CorruptionError || (error instanceof VarveError && error.kind === 'fenced')) this.#commit.fail(error, true)
      throw error
    }
  }

  protected override check(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
  }
}
