// log/group-commit.ts: what queues while one write is in flight forms the next group (log.md section 3).
//
// submit() frames records straight into the open group and gives out their LSNs; the sink makes one group at a time durable; then the listeners are told
// and the appends of the group resolve, in LSN order. Invariant: records are in LSN order over flight, open group, overflow; a fatal error is told once and
// nothing is acknowledged after it.
import { assert } from '../assert.ts'
import { LsnTakenError, PoisonedError, ResourceLimitError, StorageError } from '../errors.ts'
import { PAYLOAD_BYTES_MAX } from '../format/index.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import type { LogListener, LogRecord, Lsn, Submission } from './commit-log.ts'
import { appendBytes, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupBuffer } from './group-buffer.ts'

/** One append is at most this many bytes of frames: it lives in one segment. */
const APPEND_BYTES_MAX = 256 * 1024 * 1024
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
  /** `done(null)`: acknowledged. StorageError space: nothing was written. Any other error is the end of the handle. */
  commit(group: GroupBuffer, done: (error: Error | null) => void): void
}

interface Waiter {
  readonly submission: Submission
  readonly last: number
  readonly resolve: (submission: Submission) => void
  readonly reject: (error: unknown) => void
}

interface Abortable {
  readonly records: readonly LogRecord[]
  readonly expect: Lsn | undefined
  readonly resolve: (submission: Submission) => void
  readonly reject: (error: unknown) => void
  readonly signal: AbortSignal
  onAbort: () => void
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
  readonly #listeners: LogListener[] = []
  #open: GroupBuffer
  #spare: GroupBuffer
  #flight: GroupBuffer | undefined
  #overflow: Queued[] = []
  #abortable: Abortable[] = []
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

  constructor(sink: GroupSink, o: { readonly head: number; readonly groupCommitMs: number; readonly timers: World['timers'] }) {
    this.#sink = sink
    this.#timers = o.timers
    this.#groupCommitMs = o.groupCommitMs
    this.#open = GroupBuffer.small()
    this.#spare = GroupBuffer.small()
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

  listen(listener: LogListener): void {
    this.#listeners.push(listener)
  }

  submit(records: readonly LogRecord[], expect: Lsn | undefined): Submission {
    const submission = this.#accept(records, expect)
    this.#plainLast = this.#next - 1
    return submission
  }

  append(records: readonly LogRecord[], expect: Lsn | undefined, signal: AbortSignal | undefined): Promise<Submission> {
    return new Promise((resolve, reject) => {
      if (signal !== undefined) return this.#defer(records, expect, signal, resolve, reject)
      const submission = this.#accept(records, expect)
      this.#waiters.push({ submission, last: this.#next - 1, resolve, reject })
    })
  }

  /** Resolves when everything submitted so far is acknowledged. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#end)
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
    const abortable = this.#abortable
    const flushes = this.#flushes
    this.#waiters = []
    this.#waitersFrom = 0
    this.#abortable = []
    this.#flushes = []
    this.#overflow = []
    if (tell) for (const listener of this.#listeners) listener.failed(error)
    for (const waiter of waiters) waiter.reject(error)
    for (const entry of abortable) {
      entry.signal.removeEventListener('abort', entry.onAbort)
      entry.reject(error)
    }
    for (const flush of flushes) flush.reject(error)
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
    if (expect !== undefined && Number(expect) !== this.#next - 1) {
      throw new LsnTakenError(`the next record was expected after LSN ${expect}, the log is at ${this.#next - 1}`, {
        details: { head: BigInt(this.#next - 1) },
      })
    }
    const bytes = appendBytes(records)
    checkSizes(records, bytes)
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
    const jumbo = bytes > GROUP_BYTES_MAX || n > GROUP_RECORDS_MAX
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

  #defer(records: readonly LogRecord[], expect: Lsn | undefined, signal: AbortSignal, resolve: Abortable['resolve'], reject: Abortable['reject']): void {
    if (this.#end !== undefined) throw this.#end
    signal.throwIfAborted()
    checkSizes(records, appendBytes(records))
    const copies = records.map(({ kind, payload }) => ({ kind, payload: payload.slice() }))
    const entry: Abortable = { records: copies, expect, resolve, reject, signal, onAbort: () => {} }
    entry.onAbort = () => {
      const at = this.#abortable.indexOf(entry)
      if (at < 0) return
      this.#abortable.splice(at, 1)
      reject(signal.reason)
    }
    signal.addEventListener('abort', entry.onAbort, { once: true })
    this.#abortable.push(entry)
    if (!this.#scheduled && this.#flight === undefined) this.#schedule()
  }

  /** The group is being formed: what could still be taken back no longer can. */
  #encodeAbortable(): void {
    if (this.#abortable.length === 0) return
    const entries = this.#abortable
    this.#abortable = []
    // The accept below must not start another group by itself.
    const scheduled = this.#scheduled
    this.#scheduled = true
    for (const entry of entries) {
      entry.signal.removeEventListener('abort', entry.onAbort)
      try {
        const submission = this.#accept(entry.records, entry.expect)
        this.#waiters.push({ submission, last: this.#next - 1, resolve: entry.resolve, reject: entry.reject })
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
    if (this.#grown && this.#open.capacityBytes < GROUP_BYTES_MAX) this.#open = GroupBuffer.full()
    this.#open.begin(first, this.#sink.epoch, this.#sink.seed)
  }

  /** The open buffer, empty, gives way to a full one when that is what is needed. */
  #grow(): void {
    if (this.#grown && this.#open.capacityBytes < GROUP_BYTES_MAX) this.#begin(this.#open.first)
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

  readonly #done = (error: Error | null): void => {
    const group = this.#flight
    if (group === undefined) return
    this.#flight = undefined
    if (this.#end !== undefined) return
    if (error !== null) {
      if (error instanceof StorageError && error.class === 'space') this.#takeBack(group, error)
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
      for (let i = 0; i < this.#listeners.length; i++) this.#listeners[i]!.durable(lsn)
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
    return this.#open.count > 0 || this.#overflow.length > 0 || this.#abortable.length > 0
  }

  /** Somebody holds LSNs that cannot be taken back: the group is tried again for a while, then that is the end. */
  #waitForRoom(group: GroupBuffer, error: StorageError): void {
    if (++this.#roomRetries > ROOM_RETRIES_MAX) return this.fail(error, true)
    this.#flight = group
    this.#timer = this.#timers.set(ROOM_RETRY_MS, () => {
      this.#timer = undefined
      if (this.#end === undefined) this.#sink.commit(group, this.#done)
    })
  }

  /** No room for the group's segment and not a byte of it written: it and all behind it never were. */
  #takeBack(group: GroupBuffer, error: StorageError): void {
    const first = group.first
    if (this.#plainLast >= first && this.#listeners.some((listener) => listener.rejected === undefined)) return this.#waitForRoom(group, error)
    const waiters = this.#waiters.slice(this.#waitersFrom)
    const flushes = this.#flushes
    this.#waiters = []
    this.#waitersFrom = 0
    this.#flushes = []
    this.#overflow = []
    this.#queuedBytes = 0
    this.#plainLast = Math.min(this.#plainLast, first - 1)
    this.#next = first
    group.reset()
    this.#open.reset()
    this.#begin()
    for (const listener of this.#listeners) listener.rejected?.(BigInt(first) as Lsn, error)
    for (const waiter of waiters) waiter.reject(error)
    for (const flush of flushes) flush.reject(error)
    if (!this.#scheduled && this.#hasWork()) this.#schedule()
  }
}

function checkSizes(records: readonly LogRecord[], bytes: number): void {
  for (let i = 0; i < records.length; i++) {
    const size = records[i]!.payload.length
    if (size > PAYLOAD_BYTES_MAX) {
      throw new ResourceLimitError(`a record of ${size} bytes; the bound is ${PAYLOAD_BYTES_MAX}`, { details: { limit: 'log.recordBytesMax', asked: size } })
    }
  }
  if (bytes > APPEND_BYTES_MAX) {
    throw new ResourceLimitError(`an append of ${bytes} bytes; the bound is ${APPEND_BYTES_MAX}`, { details: { limit: 'log.appendBytesMax', asked: bytes } })
  }
}
