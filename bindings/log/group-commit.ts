// log/group-commit.ts: what queues while one write is in flight forms the next group (log.md section 3).
//
// submit() frames records straight into the open group and gives out their LSNs; the sink makes one group at a time durable; then the listeners are told
// and the appends of the group resolve, in LSN order. Invariant: records are in LSN order over flight, open group, overflow; a fatal error is told once and
// nothing is acknowledged after it.
import { assert } from '../assert.ts'
import { CommitOutcomeUnknownError, LsnTakenError, PoisonedError, StorageError } from '../errors.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import { AbortableAppends } from './abortable-appends.ts'
import { checkSizes, notAccepted, takenAfter, unknownOutcome } from './append-refusals.ts'
import type { AppendOptions, LogListener, LogRecord, Lsn, Submission } from './commit-log.ts'
import { appendBytes, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupBuffer } from './group-buffer.ts'

/** A group is closed when this many turns of the microtask queue brought nothing new: committers that resolve together come back together. */
const QUIET_TURNS = 2
const TURNS_MAX = 64
/** How long a group waits for room when nobody can be told that it is taken back. */
const ROOM_RETRY_MS = 100
const ROOM_RETRIES_MAX = 20

/** Makes groups durable, one at a time. */
export interface GroupSink {
  readonly epoch: number
  /** Seed of the segment that the next group most likely goes to. */
  readonly seed: bigint
  /** Set while there is no room to prepare a segment. */
  readonly short: StorageError | undefined
  /** Bytes of frames that still fit while `short`. */
  readonly room: number
  /**
   * `done(null)`: acknowledged. StorageError space, or any with `nothingWritten`: no byte of it was written. LsnTakenError: another writer won, and `head` is where
   * the log is. CommitOutcomeUnknownError: called again when it is known. Any other error is the end of the handle.
   */
  commit(group: GroupBuffer, done: (error: Error | null, nothingWritten?: boolean) => void): void
}

export interface GroupCommitOptions {
  readonly head: number
  readonly groupCommitMs: number
  readonly timers: World['timers']
  /** Bounds of a group; defaults GROUP_BYTES_MAX and GROUP_RECORDS_MAX. */
  readonly bytesMax?: number
  readonly recordsMax?: number
}

interface Waiter {
  readonly submission: Submission
  readonly last: number
  readonly writeId: string | undefined
  readonly resolve: (submission: Submission) => void
  readonly reject: (error: unknown) => void
}

interface Queued {
  readonly records: readonly LogRecord[]
  readonly bytes: number
  readonly jumbo: boolean
}

export class GroupCommit {
  readonly #sink: GroupSink
  readonly #timers: World['timers']
  readonly #groupCommitMs: number
  readonly #bytesMax: number
  readonly #recordsMax: number
  /** Replaced when it changes: somebody may be telling them. */
  #listeners: readonly LogListener[] = []
  #open: GroupBuffer
  #spare: GroupBuffer
  #flight: GroupBuffer | undefined
  #overflow: Queued[] = []
  readonly #abortable = new AbortableAppends()
  #waiters: Waiter[] = []
  #waitersFrom = 0
  #flushes: { readonly last: number; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = []
  #next: number
  #head: number
  /** Highest LSN given out by submit itself: nobody but the listener can be told of it. */
  #plainLast = 0
  /** Bytes submitted and not acknowledged. */
  #queuedBytes = 0
  #end: Error | undefined
  #scheduled = false
  #timer: TimerHandle | undefined
  #turns = 0
  #quiet = 0
  #seen = 0
  /** A small buffer was too small: empty ones are replaced by full ones from now on. */
  #grown = false
  #roomRetries = 0
  /** Others wrote up to the head: only who says that it knows may go on. */
  #behind = false
  /** Whether the group in flight is in the log is not known. */
  #unknown: CommitOutcomeUnknownError | undefined

  constructor(sink: GroupSink, o: GroupCommitOptions) {
    this.#sink = sink
    this.#timers = o.timers
    this.#groupCommitMs = o.groupCommitMs
    this.#bytesMax = o.bytesMax ?? GROUP_BYTES_MAX
    this.#recordsMax = o.recordsMax ?? GROUP_RECORDS_MAX
    this.#open = GroupBuffer.small(this.#recordsMax)
    this.#spare = GroupBuffer.small(this.#recordsMax)
    this.#head = o.head
    this.#next = o.head + 1
    this.#begin()
  }

  get head(): number {
    return this.#head
  }

  get submitted(): number {
    return this.#next - 1
  }

  /** Why nothing more is accepted. */
  get ended(): Error | undefined {
    return this.#end
  }

  listen(listener: LogListener): Disposable {
    this.#listeners = [...this.#listeners, listener]
    return { [Symbol.dispose]: () => void (this.#listeners = this.#listeners.filter((each) => each !== listener)) }
  }

  submit(records: readonly LogRecord[], expect: Lsn | undefined): Submission {
    const submission = this.#accept(records, expect)
    this.#plainLast = this.#next - 1
    return submission
  }

  append(records: readonly LogRecord[], o: AppendOptions = {}): Promise<Submission> {
    return new Promise((resolve, reject) => {
      if (o.signal !== undefined) return this.#defer(records, o, o.signal, resolve, reject)
      const submission = this.#accept(records, o.expect)
      this.#waiters.push({ submission, last: this.#next - 1, writeId: o.writeId, resolve, reject })
    })
  }

  /** Resolves when everything submitted so far is acknowledged. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      const refused = this.#end ?? this.#unknown
      if (refused !== undefined) return reject(refused)
      this.#encodeAbortable()
      const last = this.#next - 1
      if (last <= this.#head) return resolve()
      this.#flushes.push({ last, resolve, reject })
      this.#start()
    })
  }

  /** No more records; `error` is what callers are told from now on. Those that wait are rejected with it. */
  fail(error: Error, tell: boolean): void {
    if (this.#end !== undefined) return
    this.#end = error
    if (this.#timer !== undefined) this.#timers.clear(this.#timer)
    const waiters = this.#waiters.slice(this.#waitersFrom)
    const abortable = this.#abortable.take()
    const flushes = this.#flushes
    this.#waiters = []
    this.#waitersFrom = 0
    this.#flushes = []
    this.#overflow = []
    if (tell) for (const listener of this.#listeners) listener.failed(error)
    for (const waiter of waiters) waiter.reject(error)
    for (const entry of abortable) entry.reject(error)
    for (const flush of flushes) flush.reject(error)
  }

  /** A group is with the sink. */
  get busy(): boolean {
    return this.#flight !== undefined
  }

  /** Others wrote up to `error.head`, and no group is with the sink: what is queued was framed for LSNs that are taken, and is given back; where nothing is, they are told as foreign. */
  overtaken(error: LsnTakenError): void {
    assert(this.#flight === undefined, 'nothing is in flight when a look finds records of others')
    const first = this.#head + 1
    if (this.#next > first) {
      this.#giveBack(this.#open, error, Number(error.head))
      return
    }
    this.#head = Number(error.head)
    this.#next = this.#head + 1
    this.#behind = true
    this.#begin()
    for (const listener of this.#listeners) listener.foreign?.(error.head as Lsn)
  }

  /** For closeSync: the group in flight and the open one, in order, finished by the caller. */
  pending(): { readonly flight: GroupBuffer | undefined; readonly open: GroupBuffer | undefined; readonly more: boolean } {
    this.#encodeAbortable()
    return { flight: this.#flight, open: this.#open.count > 0 ? this.#open : undefined, more: this.#overflow.length > 0 }
  }

  /** For closeSync: records up to `last` are durable although no group finished. */
  acknowledge(last: number): void {
    if (last > this.#head && this.#end === undefined) this.#acknowledged(last)
  }

  #accept(records: readonly LogRecord[], expect: Lsn | undefined): Submission {
    if (this.#end !== undefined) throw this.#end
    const n = records.length
    assert(n > 0, 'an append has records')
    if (this.#unknown !== undefined) throw notAccepted(this.#unknown)
    if (expect === undefined ? this.#behind : Number(expect) !== this.#next - 1) throw takenAfter(expect, this.#next - 1)
    const bytes = appendBytes(records)
    checkSizes(records, bytes)
    this.#behind = false
    if (this.#sink.short !== undefined && this.#queuedBytes + bytes > this.#sink.room) throw this.#sink.short
    this.#queuedBytes += bytes
    const first = this.#next
    this.#next += n
    if (this.#overflow.length === 0 && this.#open.fits(bytes, n)) {
      this.#open.add(records)
    } else {
      this.#queue(records, bytes, n)
    }
    if (!this.#scheduled && this.#flight === undefined) this.#schedule()
    const firstLsn = BigInt(first) as Lsn
    return { first: firstLsn, last: n === 1 ? firstLsn : (BigInt(first + n - 1) as Lsn) }
  }

  /** The open group is full, or others wait already. */
  #queue(records: readonly LogRecord[], bytes: number, n: number): void {
    const jumbo = bytes > this.#bytesMax || n > this.#recordsMax
    if (!jumbo) {
      this.#grown ||= this.#open.bytes + bytes > this.#open.capacityBytes
      if (this.#overflow.length === 0) {
        // Not the ones that may be taken back: these records have their LSNs already.
        if (this.#flight === undefined && this.#open.count > 0) this.#start(false)
        if (this.#end === undefined && this.#open.count === 0) this.#grow()
        if (this.#end === undefined && this.#open.fits(bytes, n)) return this.#open.add(records)
      }
    }
    this.#overflow.push({ records: records.map(({ kind, payload }) => ({ kind, payload: payload.slice() })), bytes, jumbo })
  }

  #defer(records: readonly LogRecord[], o: AppendOptions, signal: AbortSignal, resolve: Waiter['resolve'], reject: Waiter['reject']): void {
    if (this.#end !== undefined) throw this.#end
    signal.throwIfAborted()
    checkSizes(records, appendBytes(records))
    this.#abortable.add(records, o, signal, resolve, reject)
    if (!this.#scheduled && this.#flight === undefined) this.#schedule()
  }

  /** The group is being formed: what could still be taken back no longer can. */
  #encodeAbortable(): void {
    if (this.#abortable.size === 0) return
    const entries = this.#abortable.take()
    // The accept below must not start another group by itself.
    const scheduled = this.#scheduled
    this.#scheduled = true
    for (const entry of entries) {
      try {
        const submission = this.#accept(entry.records, entry.o.expect)
        this.#waiters.push({ submission, last: this.#next - 1, writeId: entry.o.writeId, resolve: entry.resolve, reject: entry.reject })
      } catch (error) {
        entry.reject(error)
      }
    }
    this.#scheduled = scheduled
  }

  #schedule(): void {
    this.#scheduled = true
    this.#turns = 0
    this.#quiet = 0
    this.#seen = this.#next
    if (this.#groupCommitMs > 0) this.#timer = this.#timers.set(this.#groupCommitMs, () => this.#start())
    else queueMicrotask(this.#turn)
  }

  readonly #turn = (): void => {
    if (!this.#scheduled) return
    if (this.#next !== this.#seen) {
      this.#seen = this.#next
      this.#quiet = 0
    } else this.#quiet++
    if (this.#quiet < QUIET_TURNS && ++this.#turns < TURNS_MAX) queueMicrotask(this.#turn)
    else this.#start()
  }

  #start(withAbortable = true): void {
    this.#scheduled = false
    if (this.#timer !== undefined) {
      this.#timers.clear(this.#timer)
      this.#timer = undefined
    }
    if (this.#flight !== undefined || this.#end !== undefined) return
    if (withAbortable) this.#encodeAbortable()
    // That may have filled a group and started it.
    if (this.#flight !== undefined) return
    let group = this.#open
    if (group.count > 0) {
      this.#open = this.#spare
      this.#spare = group
      this.#begin(group.last + 1)
      this.#refill()
    } else {
      const jumbo = this.#overflow.shift()
      if (jumbo === undefined) return
      assert(jumbo.jumbo, 'what a buffer can hold is in a buffer')
      group = GroupBuffer.jumbo(jumbo.records)
      const first = this.#open.first
      group.begin(first, this.#sink.epoch, this.#sink.seed)
      group.add(jumbo.records)
      this.#begin(first + group.count)
      this.#refill()
    }
    this.#flight = group
    this.#sink.commit(group, this.#done)
  }

  #begin(first: number = this.#next): void {
    if (this.#grown && this.#open.capacityBytes < this.#bytesMax) this.#open = GroupBuffer.full(this.#bytesMax, this.#recordsMax)
    this.#open.begin(first, this.#sink.epoch, this.#sink.seed)
  }

  /** The open buffer, empty, gives way to a full one when that is what is needed. */
  #grow(): void {
    if (this.#grown && this.#open.capacityBytes < this.#bytesMax) this.#begin(this.#open.first)
  }

  /** Moves what waits into the open group, as far as it fits and in order. */
  #refill(): void {
    let moved = 0
    while (moved < this.#overflow.length) {
      const { records, bytes, jumbo } = this.#overflow[moved]!
      if (this.#open.count === 0) this.#grow()
      if (jumbo || !this.#open.fits(bytes, records.length)) break
      this.#open.add(records)
      moved++
    }
    if (moved > 0) this.#overflow.splice(0, moved)
  }

  readonly #done = (error: Error | null, nothingWritten = false): void => {
    const group = this.#flight
    if (group === undefined) return
    if (error instanceof CommitOutcomeUnknownError && this.#end === undefined) return this.#freeze(group, error)
    this.#flight = undefined
    this.#unknown = undefined
    if (this.#end !== undefined) return
    if (error !== null) {
      if (error instanceof LsnTakenError) this.#giveBack(group, error, Number(error.head))
      else if (nothingWritten || (error instanceof StorageError && error.class === 'space')) this.#takeBack(group, error)
      else this.fail(error, true)
      return
    }
    this.#roomRetries = 0
    this.#queuedBytes -= group.bytes
    const last = group.last
    group.reset()
    if (this.#open.count === 0) this.#begin(last + 1)
    this.#refill()
    this.#acknowledged(last)
  }

  #acknowledged(last: number): void {
    this.#head = last
    const lsn = BigInt(last) as Lsn
    try {
      const listeners = this.#listeners
      for (let i = 0; i < listeners.length; i++) listeners[i]!.durable(lsn)
    } catch (cause) {
      return this.fail(new PoisonedError(`the fold of LSN ${last} failed`, { details: { lsn }, cause }), true)
    }
    this.#resolve(last)
    if (!this.#scheduled && this.#flight === undefined && this.#hasWork()) this.#schedule()
  }

  #resolve(last: number): void {
    const waiters = this.#waiters
    let at = this.#waitersFrom
    for (; at < waiters.length && waiters[at]!.last <= last; at++) {
      const waiter = waiters[at]!
      waiter.resolve(waiter.submission)
    }
    if (at === waiters.length) {
      this.#waiters = []
      at = 0
    } else if (at > 4096) {
      this.#waiters = waiters.slice(at)
      at = 0
    }
    this.#waitersFrom = at
    while (this.#flushes.length > 0 && this.#flushes[0]!.last <= last) this.#flushes.shift()!.resolve()
  }

  #hasWork(): boolean {
    return this.#open.count > 0 || this.#overflow.length > 0 || this.#abortable.size > 0
  }

  /** Somebody holds LSNs that cannot be taken back: the group is tried again for a while, then that is the end. */
  #waitForRoom(group: GroupBuffer, error: Error): void {
    if (++this.#roomRetries > ROOM_RETRIES_MAX) return this.fail(error, true)
    this.#flight = group
    this.#timer = this.#timers.set(ROOM_RETRY_MS, () => {
      this.#timer = undefined
      if (this.#end === undefined) this.#sink.commit(group, this.#done)
    })
  }

  /** Not a byte of the group was written: it and all behind it never were. */
  #takeBack(group: GroupBuffer, error: Error): void {
    if (this.#plainLast >= group.first && this.#listeners.some((listener) => listener.rejected === undefined)) return this.#waitForRoom(group, error)
    this.#giveBack(group, error, group.first - 1)
  }

  /** What was queued from `group` on is not in the log, which ends at `head`. */
  #giveBack(group: GroupBuffer, error: Error, head: number): void {
    const first = group.first
    if (this.#plainLast >= first && this.#listeners.some((listener) => listener.rejected === undefined)) return this.fail(error, true)
    group.reset()
    this.#restart(first, error, head)
  }

  /** Everything from `first` on is dropped and told so; the next LSN is the one behind `head`. */
  #restart(first: number, error: Error, head: number): void {
    const keep = this.#waitersFrom + this.#waiters.slice(this.#waitersFrom).filter(({ last }) => last < first).length
    const waiters = this.#waiters.slice(keep)
    const flushes = this.#flushes.filter(({ last }) => last >= first)
    this.#waiters = this.#waiters.slice(this.#waitersFrom, keep)
    this.#waitersFrom = 0
    this.#flushes = this.#flushes.filter(({ last }) => last < first)
    this.#overflow = []
    this.#queuedBytes = this.#flight?.bytes ?? 0
    this.#plainLast = Math.min(this.#plainLast, first - 1)
    this.#next = head + 1
    if (this.#flight === undefined) this.#head = head
    this.#behind = error instanceof LsnTakenError
    this.#open.reset()
    this.#begin()
    for (const listener of this.#listeners) listener.rejected?.(BigInt(first) as Lsn, error)
    for (const waiter of waiters) waiter.reject(error)
    for (const flush of flushes) flush.reject(error)
    if (!this.#scheduled && this.#flight === undefined && this.#hasWork()) this.#schedule()
  }

  /** The group in flight stays there until it is known; what is behind it was not written and is given back. */
  #freeze(group: GroupBuffer, error: CommitOutcomeUnknownError): void {
    const again = this.#unknown !== undefined
    this.#unknown = error
    if (again) return
    const { first, last } = group
    const until = this.#waiters.findIndex((waiter, i) => i >= this.#waitersFrom && waiter.last > last)
    const waiters = this.#waiters.slice(this.#waitersFrom, until < 0 ? undefined : until)
    const flushes = this.#flushes.filter((flush) => flush.last <= last)
    this.#waiters = until < 0 ? [] : this.#waiters.slice(until)
    this.#waitersFrom = 0
    this.#flushes = this.#flushes.filter((flush) => flush.last > last)
    for (const listener of this.#listeners) listener.unknown?.(BigInt(first) as Lsn, BigInt(last) as Lsn, error)
    for (const { writeId, reject } of waiters) reject(writeId === undefined ? error : unknownOutcome(writeId, error))
    for (const flush of flushes) flush.reject(error)
    if (this.#next - 1 > last) this.#restart(last + 1, notAccepted(error), last)
  }
}
