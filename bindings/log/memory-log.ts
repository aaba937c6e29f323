// log/memory-log.ts: the log of a `memory:` root and of tests: the same interface over arrays of groups.
//
// Groups are framed, hashed and acknowledged as in a segment (seed 0), so batches, digests and epochs read the same. Invariant: what is in `disk` survives
// this handle; with `loseUnsynced` a crash keeps, by the seed, a prefix of the groups that no sync covered.
import { ClosedError, type StorageError } from '../errors.ts'
import { encodeEpochRecord, KIND_EPOCH, WRITER_ID_BYTES } from '../format/index.ts'
import { seededRandom, soon, type World } from '../runtime/index.ts'

import { advanceOver } from './chain.ts'
import type { AppendOptions, CommitLog, Digest, Epoch, LogBatch, LogListener, LogRecord, Lsn, Pin, Submission } from './commit-log.ts'
import { zeroDigest } from './digest.ts'
import { scanKernel } from './frame-cursor.ts'
import type { GroupBuffer } from './group-buffer.ts'
import { GroupCommit, type GroupSink } from './group-commit.ts'
import { Reclaim } from './reclaim.ts'
import { Batch, unavailable } from './segment-reader.ts'
import { Wakeups } from './wakeups.ts'

const BATCH_BYTES = 4 * 1024 * 1024

interface Group {
  readonly first: number
  readonly last: number
  readonly epoch: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  /** digestAt(last). */
  readonly digest: Digest
}

/** What outlives a handle. */
export class MemoryLogDisk {
  groups: Group[] = []
  /** digestAt(tail). */
  tailDigest: Digest = zeroDigest()
  tail = 0
  synced = 0

  /** A power cut: groups behind the last sync survive as a prefix of the seed's choosing. */
  crash(seed: number): void {
    const kept = this.groups.filter(({ last }) => last <= this.synced).length
    const random = seededRandom(seed)
    this.groups.length = kept + (random.u32() % (this.groups.length - kept + 1))
  }
}

export interface MemoryLogOptions {
  readonly world: World
  /** Hand in that of an earlier handle to reopen it. */
  readonly disk?: MemoryLogDisk
  /** Default synced; under buffered a group is synced by sync() and close() alone. */
  readonly durability?: 'synced' | 'buffered'
  readonly groupCommitMs?: number
}

export class MemoryLog implements CommitLog {
  readonly epoch: Epoch
  readonly shared = false as const
  readonly readOnly = false as const
  readonly disk: MemoryLogDisk
  readonly #sink: MemorySink
  readonly #commit: GroupCommit
  readonly reclaim: Reclaim = new Reclaim()
  readonly #wakeups = new Wakeups()
  #closed = false

  static async open(o: MemoryLogOptions): Promise<MemoryLog> {
    const log = new MemoryLog(o)
    const payload = encodeEpochRecord({ epoch: Number(log.epoch), writerId: o.world.random.bytes(WRITER_ID_BYTES), mode: 'exclusive' })
    await log.append([{ kind: KIND_EPOCH, payload }])
    return log
  }

  /** @internal use open */
  constructor(o: MemoryLogOptions) {
    this.disk = o.disk ?? new MemoryLogDisk()
    const epoch = (this.disk.groups.at(-1)?.epoch ?? 0) + 1
    this.epoch = BigInt(epoch) as Epoch
    this.#sink = new MemorySink(this.disk, epoch, o.durability ?? 'synced')
    this.#commit = new GroupCommit(this.#sink, { head: this.#last, groupCommitMs: o.groupCommitMs ?? 0, timers: o.world.timers })
    this.#commit.listen({ durable: () => this.#wakeups.wake(), failed: () => this.#wakeups.wake(), rejected: () => {} })
  }

  get #last(): number {
    return this.disk.groups.at(-1)?.last ?? this.disk.tail
  }

  get head(): Lsn {
    return BigInt(this.#commit.head) as Lsn
  }

  get durableHead(): Lsn {
    return BigInt(Math.min(this.disk.synced, this.#commit.head)) as Lsn
  }

  get submitted(): Lsn {
    return BigInt(this.#commit.submitted) as Lsn
  }

  get tail(): Lsn {
    return BigInt(this.disk.tail) as Lsn
  }

  get lineage(): readonly { readonly epoch: Epoch; readonly firstLsn: Lsn }[] {
    const marks: { epoch: Epoch; firstLsn: Lsn }[] = []
    for (const { epoch, first } of this.disk.groups) {
      if (marks.at(-1)?.epoch !== BigInt(epoch)) marks.push({ epoch: BigInt(epoch) as Epoch, firstLsn: BigInt(first) as Lsn })
    }
    return marks
  }

  get bytes(): number {
    return this.disk.groups.reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  get segments(): number {
    return this.disk.groups.length
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

  async *read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    const end = o.end === undefined ? this.#commit.head : Math.min(Number(o.end), this.#commit.head)
    yield* this.#readFrom(Number(start), end, o.signal)
  }

  async *tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    let at = Number(start)
    for (;;) {
      o.signal.throwIfAborted()
      this.#checkOpen()
      for await (const batch of this.#readFrom(at, this.#commit.head, o.signal)) {
        yield batch
        at = Number(batch.last)
      }
      if (at >= this.#commit.head && !this.#closed) await this.#wakeups.wait(o.signal)
    }
  }

  async digestAt(lsn: Lsn): Promise<Digest> {
    this.#checkOpen()
    const at = Number(lsn)
    const { tail, tailDigest, groups } = this.disk
    if (at < tail || at > this.#commit.head) throw unavailable(at, tail, this.#commit.head)
    if (at === tail) return tailDigest
    const index = this.#indexOf(at)
    const group = groups[index]!
    if (group.last === at) return group.digest
    const before = index === 0 ? tailDigest : groups[index - 1]!.digest
    return advanceOver(scanKernel(), before, group.bytes, group.offsets.subarray(0, at - group.first + 1))
  }

  trim(upTo: Lsn, o?: { dryRun?: boolean }): Promise<Lsn> {
    return this.reclaim.reclaim(Number(upTo), o?.dryRun === true, async (limit) => {
      this.#checkOpen()
      const bound = Math.min(limit, Number(this.durableHead))
      const { groups } = this.disk
      if (o?.dryRun === true) return BigInt(groups.findLast(({ last }, i) => i < groups.length - 1 && last <= bound)?.last ?? this.disk.tail) as Lsn
      // The newest group stays, as the newest segment of a directory does.
      while (groups.length > 1 && groups[0]!.last <= bound) {
        const gone = groups.shift()!
        this.disk.tail = gone.last
        this.disk.tailDigest = gone.digest
      }
      return this.tail
    })
  }

  async refresh(): Promise<Lsn> {
    this.#checkOpen()
    return this.head
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.reclaim.pin(start, owner, () => this.disk.tail)
  }

  async sync(): Promise<Lsn> {
    await this.#commit.flush()
    this.disk.synced = this.#commit.head
    return this.head
  }

  async close(): Promise<void> {
    if (this.#closed) return
    if (this.#commit.ended === undefined) await this.sync()
    this.#end()
  }

  closeSync(): void {
    if (this.#closed) return
    const { flight, open } = this.#commit.pending()
    for (const group of [flight, open]) if (group !== undefined) this.#commit.acknowledge(this.#sink.place(group))
    this.disk.synced = this.#commit.head
    this.#end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The process ends here: nothing more is written or told. @internal for tests */
  kill(): void {
    this.#sink.dead = true
    this.#end()
  }

  #end(): void {
    this.#closed = true
    this.#commit.fail(new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } }), false)
    this.#wakeups.wake()
  }

  async *#readFrom(start: number, end: number, signal: AbortSignal | undefined): AsyncGenerator<LogBatch> {
    for (let at = start; at < end;) {
      this.#checkOpen()
      signal?.throwIfAborted()
      if (at < this.disk.tail) throw unavailable(at, this.disk.tail, this.#commit.head)
      const batch = this.#batch(at, end)
      yield batch
      at = Number(batch.last)
    }
  }

  /** Groups of one epoch joined up to the bound. */
  #batch(start: number, end: number): LogBatch {
    const { groups } = this.disk
    const from = this.#indexOf(start + 1)
    const { epoch } = groups[from]!
    let to = from
    let size = groups[from]!.bytes.length
    while (to + 1 < groups.length && groups[to]!.last < end && groups[to + 1]!.epoch === epoch && size + groups[to + 1]!.bytes.length <= BATCH_BYTES) {
      size += groups[++to]!.bytes.length
    }
    const bytes = new Uint8Array(size)
    const offsets: number[] = []
    let last = start
    let base = 0
    for (let i = from; i <= to; i++) {
      const group = groups[i]!
      bytes.set(group.bytes, base)
      for (let lsn = Math.max(group.first, start + 1); lsn <= Math.min(group.last, end); lsn++) {
        offsets.push(base + group.offsets[lsn - group.first]!)
        last = lsn
      }
      base += group.bytes.length
    }
    return new Batch(start + 1, last, epoch, bytes, Uint32Array.from(offsets), (lsn) => this.digestAt(lsn))
  }

  #indexOf(lsn: number): number {
    const { groups } = this.disk
    let low = 0
    let high = groups.length - 1
    while (low < high) {
      const mid = (low + high) >>> 1
      if (groups[mid]!.last < lsn) low = mid + 1
      else high = mid
    }
    return low
  }

  #checkOpen(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
  }
}

class MemorySink implements GroupSink {
  readonly seed = 0n
  readonly short: StorageError | undefined = undefined
  readonly room: number = Infinity
  readonly epoch: number
  dead = false
  readonly #disk: MemoryLogDisk
  readonly #synced: boolean
  readonly #digest: Digest

  constructor(disk: MemoryLogDisk, epoch: number, durability: 'synced' | 'buffered') {
    this.#disk = disk
    this.epoch = epoch
    this.#synced = durability === 'synced'
    this.#digest = (disk.groups.at(-1)?.digest ?? disk.tailDigest).slice() as Digest
  }

  commit(group: GroupBuffer, done: (error: Error | null) => void): void {
    soon(() => {
      if (this.dead) return
      this.place(group)
      done(null)
    })
  }

  /** @returns the last LSN on the disk */
  place(group: GroupBuffer): number {
    const onDisk = this.#disk.groups.at(-1)?.last ?? this.#disk.tail
    if (group.last <= onDisk) return onDisk
    group.finish(0n, true)
    group.advance(this.#digest)
    const { first, last } = group
    this.#disk.groups.push({
      first,
      last,
      epoch: this.epoch,
      bytes: group.view('frames').slice(),
      offsets: group.offsets(),
      digest: this.#digest.slice() as Digest,
    })
    if (this.#synced) this.#disk.synced = last
    return last
  }
}
