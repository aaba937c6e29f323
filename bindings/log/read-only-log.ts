// log/read-only-log.ts: a handle that reads beside a writer of another process (log.md section 4, "Read-only handles").
//
// No LOCK, no epoch, no writes. It believes the newest segment only up to the last whole append, and after a look at the LOCK: while a later owner may be at
// work, only what the writer itself called synced. Invariant: the torn tail of a live writer is never damage, late bytes of a fenced one never are records.
import { ClosedError, CorruptionError, HistoryUnavailableError, ReadOnlyError } from '../errors.ts'
import { SEGMENT_HEADER_BYTES } from '../format/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import { currentGeneration } from './bases.ts'
import { readClean } from './clean.ts'
import type { CommitLog, Digest, Epoch, LogBatch, LogListener, Lsn, Pin, Submission } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { digestOf, examine, type Examined, type Floor, headOf, type IsGivenUp, listSegments } from './examine.ts'
import { observeLock } from './lock.ts'
import { readNode } from './node-state.ts'
import { Reclaim } from './reclaim.ts'
import { corrupt, readSegment, scanSegment, type SegmentScan, unavailable } from './segment-reader.ts'
import { type DigestPoint, openMark, type SegmentInfo, SegmentList } from './segment-list.ts'
import { STOP } from './tail.ts'
import { Wakeups } from './wakeups.ts'

const AGAIN_MS = 10
const OPEN_TRIES = 50
const POLL_MS_MIN = 10
const POLL_MS_MAX = 200

export interface ReadOnlyOptions {
  readonly world: World
  readonly storeId: Uint8Array
  readonly floors: readonly Floor[]
  readonly follow: boolean
  /** Of a backup: what lies above was left by a run that was cut off, and is not read. */
  readonly until?: number | undefined
  /** As ExamineOptions.keeps. */
  readonly keeps?: boolean | undefined
  readonly isGivenUp?: IsGivenUp | undefined
}

export class ReadOnlyLog implements CommitLog {
  readonly epoch: Epoch = 0n as Epoch
  readonly shared = false as const
  readonly readOnly = true as const
  readonly #root: Root
  readonly #o: ReadOnlyOptions
  readonly #listeners = new Set<LogListener>()
  readonly reclaim: Reclaim = new Reclaim()
  readonly #wakeups = new Wakeups()
  #segments: SegmentList
  #head: number
  #refreshing: Promise<number> | undefined
  /** The look that follows the one under way, for all who asked meanwhile. */
  #nextLook: Promise<number> | undefined
  #timer: TimerHandle | undefined
  #pollMs = POLL_MS_MIN
  #closed = false
  #failed: Error | undefined

  static async open(root: Root, o: ReadOnlyOptions): Promise<ReadOnlyLog> {
    const log = new ReadOnlyLog(root, o, await examineBeside(root, o))
    if (o.follow && o.until === undefined) log.#arm()
    return log
  }

  constructor(root: Root, o: ReadOnlyOptions, at: Examined) {
    this.#root = root
    this.#o = o
    this.#segments = at.segments
    this.#head = at.lastLsn
  }

  get head(): Lsn {
    return BigInt(this.#head) as Lsn
  }

  get durableHead(): Lsn {
    return this.head
  }

  get submitted(): Lsn {
    return this.head
  }

  get tail(): Lsn {
    return BigInt(this.#segments.tail) as Lsn
  }

  get lineage(): CommitLog['lineage'] {
    return this.#segments.lineage().map(openMark)
  }

  get bytes(): number {
    return this.#segments.bytes
  }

  get segments(): number {
    return this.#segments.all.length
  }

  listen(listener: LogListener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  submit(): Submission {
    throw new ReadOnlyError('the log was opened for reading only')
  }

  async append(): Promise<Submission> {
    return this.submit()
  }

  async trim(): Promise<Lsn> {
    throw new ReadOnlyError('the log was opened for reading only')
  }

  async *read(start: Lsn, o: { end?: Lsn; signal?: AbortSignal } = {}): AsyncGenerator<LogBatch> {
    const end = o.end === undefined ? this.#head : Math.min(Number(o.end), this.#head)
    yield* this.#readFrom(Number(start), end, o.signal)
  }

  async *tailing(start: Lsn, o: { signal: AbortSignal }): AsyncGenerator<LogBatch> {
    let at = Number(start)
    for (;;) {
      o.signal.throwIfAborted()
      this.#check()
      for await (const batch of this.#readFrom(at, this.#head, o.signal)) {
        yield batch
        at = Number(batch.last)
      }
      // Without `follow`, somebody's refresh() wakes us.
      if (at >= this.#head) await this.#wakeups.wait(o.signal)
    }
  }

  async digestAt(lsn: Lsn): Promise<Digest> {
    this.#check()
    const at = Number(lsn)
    if (at < this.#segments.tail || at > this.#head) throw unavailable(at, this.#segments.tail, this.#head)
    return this.#orMoved(at, () => digestOf(this.#root, this.#segments, at, { lsn: -1, digest: new Uint8Array(32) as Digest }))
  }

  letGo(): void {
    this.#segments.letGo()
  }

  async refresh(): Promise<Lsn> {
    this.#check()
    if (this.#o.until !== undefined) return this.head
    const before = this.#head
    // A look under way may be past the place where a record acknowledged before this call lies: what counts is one that begins after the call.
    const head = await (this.#refreshing === undefined ? this.#beginLook() : (this.#nextLook ??= this.#lookAfter()))
    if (head > before) this.#tell()
    return BigInt(head) as Lsn
  }

  #beginLook(): Promise<number> {
    return (this.#refreshing = this.#lookAgain().finally(() => (this.#refreshing = undefined)))
  }

  async #lookAfter(): Promise<number> {
    while (this.#refreshing !== undefined) await this.#refreshing.catch(() => undefined)
    this.#nextLook = undefined
    return this.#beginLook()
  }

  pin(start: Lsn, owner: string): Promise<Pin> {
    return this.reclaim.pin(start, owner, () => this.#segments.tail)
  }

  async sync(): Promise<Lsn> {
    return this.head
  }

  async close(): Promise<void> {
    this.closeSync()
    await this.#refreshing?.catch(() => {})
  }

  closeSync(): void {
    this.#closed = true
    if (this.#timer !== undefined) this.#o.world.timers.clear(this.#timer)
    this.#wakeups.wake()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #told = 0
  #tell(): void {
    if (this.#head <= this.#told) return
    this.#told = this.#head
    const lsn = this.head
    for (const listener of this.#listeners) listener.durable(lsn)
    this.#wakeups.wake()
  }

  #arm(): void {
    if (this.#closed || this.#failed !== undefined) return
    this.#timer = this.#o.world.timers.set(this.#pollMs, () => {
      const before = this.#head
      this.refresh().then(
        () => {
          this.#pollMs = this.#head > before ? POLL_MS_MIN : Math.min(POLL_MS_MAX, this.#pollMs * 2)
          this.#arm()
        },
        (error: unknown) => this.#fail(error),
      )
    })
  }

  #fail(error: unknown): void {
    if (this.#closed) return
    this.#failed = error as Error
    for (const listener of this.#listeners) listener.failed(this.#failed)
    this.#wakeups.wake()
  }

  /** A segment that is trimmed while we look at it is met again, as history that is gone, at the next look. */
  async #lookAgain(): Promise<number> {
    try {
      return await this.#look()
    } catch (error) {
      if (isNotFound(error)) return this.#head
      throw error
    }
  }

  /** Reads on where the last look stopped. @returns the head afterwards */
  async #look(): Promise<number> {
    for (;;) {
      const generation = await currentGeneration(this.#root)
      if (generation.number !== this.#segments.generation.number) await this.#enterGeneration()
      const newest = this.#segments.newest
      const names = await listSegments(this.#root, this.#dir)
      const oldest = names[0]?.firstLsn ?? 1
      if (newest !== undefined && oldest > this.#head + 1) throw unavailable(this.#head, oldest - 1, this.#head)
      const last = names.at(-1)
      if (newest !== undefined && (last === undefined || last.firstLsn < newest.firstLsn || (last.firstLsn > newest.firstLsn && last.firstLsn <= this.#head)))
        throw this.#cutBack(Math.min(this.#head, (last?.firstLsn ?? 1) - 1))
      this.#forget(oldest)
      const successor = names.find(({ firstLsn }) => newest === undefined || firstLsn > newest.firstLsn)
      // Only when no later segment has a name is what lies behind our head in this one perhaps the log's.
      if (newest !== undefined && !(successor !== undefined && successor.firstLsn === this.#head + 1)) {
        if (await this.#extend(newest, successor?.firstLsn)) continue
      }
      if (successor === undefined) return this.#head
      await this.#enter(successor.name, successor.firstLsn)
    }
  }

  get #dir(): string {
    return this.#segments.generation.dir
  }

  /** A replica gave up records that were never promised to anybody, and this handle has shown them: it cannot take them back. */
  #cutBack(lsn: number): HistoryUnavailableError {
    return new HistoryUnavailableError(`the log was cut back to about LSN ${lsn}; open it again`, {
      details: { asked: BigInt(this.#head), floor: BigInt(lsn) },
    })
  }

  /** A replica began a new log: we go on in it if it holds what we have shown. */
  async #enterGeneration(): Promise<void> {
    const [before, head] = [this.#segments, this.#head]
    const examined = await examineBeside(this.#root, { ...this.#o, floors: [], keeps: false }, true)
    const { segments, lastLsn } = examined
    if (head < segments.tail || head > lastLsn) throw unavailable(head, segments.tail, lastLsn)
    const unknown = { lsn: -1, digest: new Uint8Array(32) as Digest }
    const ours = await digestOf(this.#root, before, head, unknown).catch(() => undefined)
    if (ours === undefined || !sameBytes(ours, await digestOf(this.#root, segments, head, unknown))) throw unavailable(head, segments.tail, lastLsn)
    this.#segments = segments
    this.#head = lastLsn
  }

  /** Takes in what the newest segment holds by now; up to `nextFirst` - 1 if another follows it. @returns true when the names changed meanwhile */
  async #extend(info: SegmentInfo, nextFirst: number | undefined): Promise<boolean> {
    const scan = await this.#scan(info, nextFirst)
    let [lsn, used] = [scan.wholeLsn, scan.wholeEnd]
    if (nextFirst === undefined) {
      const lock = await observeLock(this.#root, this.#o.world)
      // A later owner may be at work: the last group may be the late bytes of one that was fenced. Before it wrote that one, all before was acknowledged.
      if (lock.number > info.epoch && lock.live && !(await isOfReplica(this.#root, info, lock.number)))
        [lsn, used] = [Math.min(lsn, scan.lastSyncedLsn - 1), scan.lastSynced]
      if (await this.#succeeded(info)) return true
    } else if (lsn < nextFirst - 1) {
      const names = await listSegments(this.#root, this.#dir)
      if (names.some(({ name }) => name === info.name)) {
        throw corrupt(info.name, `its records end at LSN ${lsn}, the next segment begins at ${nextFirst}`, scan.stopOffset, scan.nextLsn)
      }
      return true
    }
    if (lsn > info.lastLsn) {
      info.points = mergePoints(info.points, scan.points, used)
      info.lastLsn = lsn
      info.used = used
      info.kept = undefined
      this.#head = lsn
    }
    info.sealed = scan.stop === STOP.footer
    return false
  }

  async #scan(info: SegmentInfo, nextFirst: number | undefined): Promise<SegmentScan> {
    const file = await this.#root.segment(info.name, { open: 'read' })
    try {
      const until = nextFirst === undefined ? {} : { until: nextFirst - 1, closed: true }
      return await scanSegment(file, info, { start: { offset: info.used, lsn: info.lastLsn + 1 }, ...until })
    } finally {
      await file.close()
    }
  }

  /** A name that came while we read: what we read behind it may not be the log's. */
  async #succeeded(info: SegmentInfo): Promise<boolean> {
    const names = await listSegments(this.#root, this.#dir)
    return (names.at(-1)?.firstLsn ?? info.firstLsn) > info.firstLsn
  }

  async #enter(name: string, firstLsn: number): Promise<void> {
    if (this.#segments.newest !== undefined && firstLsn !== this.#head + 1) {
      throw corrupt(name, `it begins at LSN ${firstLsn}, the log before it ends at ${this.#head}`, 0, firstLsn)
    }
    const head = await headOf(this.#root, name, firstLsn, this.#o.storeId)
    const info: SegmentInfo = {
      name,
      firstLsn,
      lastLsn: firstLsn - 1,
      epoch: head.epoch,
      seed: head.seed,
      mandate: head.mandate,
      used: SEGMENT_HEADER_BYTES,
      size: 0,
      sealed: false,
      own: false,
      points: [{ lsn: firstLsn - 1, offset: SEGMENT_HEADER_BYTES, digest: head.digest }],
      allPoints: true,
    }
    this.#segments.all.push(info)
    await this.#extend(info, undefined)
  }

  /** Segments that the writer trimmed. */
  #forget(oldest: number): void {
    const { all } = this.#segments
    while (all.length > 1 && all[0]!.firstLsn < oldest) all.shift()
  }

  async *#readFrom(start: number, end: number, signal: AbortSignal | undefined): AsyncGenerator<LogBatch> {
    for (let at = start; at < end;) {
      this.#check()
      if (at < this.#segments.tail) throw unavailable(at, this.#segments.tail, this.#head)
      const info = this.#segments.find(at + 1)!
      const batches = readSegment(this.#root, info, at, Math.min(end, info.lastLsn), { digestAt: (lsn) => this.digestAt(lsn), signal })
      for (;;) {
        const position = at
        const next = await this.#orMoved(position, () => batches.next())
        if (next.done === true) break
        yield next.value
        at = Number(next.value.last)
      }
    }
  }

  /** A segment that the writer trimmed is gone, or full of other records: the list of names tells. */
  async #orMoved<T>(at: number, read: () => Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      this.#forget((await listSegments(this.#root, this.#dir))[0]?.firstLsn ?? 1)
      if (at < this.#segments.tail) throw unavailable(at, this.#segments.tail, this.#head, error)
      throw error
    }
  }

  #check(): void {
    if (this.#closed) throw new ClosedError('store.closed', 'the log is closed', { details: { what: 'log' } })
    if (this.#failed !== undefined) throw this.#failed
  }
}

/** As at a read-write open, but a writer may be at work: damage counts once it is seen twice at one place, 10 ms apart. */
async function examineBeside(root: Root, o: ReadOnlyOptions, isTrimmedBelowFloors = false): Promise<Examined> {
  let before: string | undefined
  for (let tries = 1; ; tries++) {
    try {
      const clean = await readClean(root)
      const { storeId, floors, until, keeps, isGivenUp } = o
      const generation = await currentGeneration(root)
      if (until !== undefined) return await examine(root, { generation, storeId, clean, floors, until, isTrimmedBelowFloors, keeps, isGivenUp })
      return await believed(root, o, await examine(root, { generation, storeId, clean, floors, isTrimmedBelowFloors, keeps, isGivenUp }))
    } catch (error) {
      const again = error instanceof CorruptionError || isNotFound(error)
      const place = error instanceof CorruptionError ? `${error.message}@${error.offset}` : undefined
      if (!again || tries >= OPEN_TRIES || (place !== undefined && place === before)) throw error
      before = place
      await o.world.timers.sleep(AGAIN_MS, undefined, true)
    }
  }
}

/** Drops from the newest segment what only a fenced writer may have put there. */
async function believed(root: Root, o: ReadOnlyOptions, examined: Examined): Promise<Examined> {
  const { newest, segments } = examined
  if (newest === undefined) return examined
  const lock = await observeLock(root, o.world)
  const { info, scan } = newest
  const names = await listSegments(root, segments.generation.dir)
  if (names.at(-1)?.firstLsn !== info.firstLsn) throw corrupt(info.name, 'another segment followed while it was read', scan.stopOffset, scan.nextLsn)
  if (lock.number <= info.epoch || !lock.live || newest.sealed || scan.lastSyncedLsn > info.lastLsn) return examined
  if (await isOfReplica(root, info, lock.number)) return examined
  const lastLsn = Math.max(scan.lastSyncedLsn - 1, info.firstLsn - 1)
  info.used = scan.lastSynced
  info.lastLsn = lastLsn
  info.points = info.points.filter((point) => point.lsn <= lastLsn)
  return { segments, lastLsn, digest: await digestOf(root, segments, lastLsn, { lsn: -1, digest: examined.digest }), newest }
}

/** Segments of a replica bear the epochs of others; NODE says which of them the owner of the LOCK began. */
async function isOfReplica(root: Root, info: SegmentInfo, lock: number): Promise<boolean> {
  const node = await readNode(root)
  return node?.role === 'replica' && node.lock === lock && info.firstLsn >= node.ownFrom
}

function mergePoints(known: readonly DigestPoint[], found: readonly DigestPoint[], limit: number): DigestPoint[] {
  const last = known.at(-1)?.offset ?? -1
  return [...known, ...found.filter((point) => point.offset > last && point.offset < limit)]
}
