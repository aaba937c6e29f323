// ship/host-entries.ts: the entry gate of a replica host: what follows the last record is taken, held until its files are there, and made durable
// (docs/shipping.md "Replica").
//
// Invariant: records reach the log in LSN order, each once, and none before every file it names; `durable` is what the log has synced, and only that is told.

import { ChainDigestError, DivergentEntryError, GapError } from '../errors-ship.ts'
import { decodeRecord, readInline, type StateRecord } from '../engine/index.ts'
import { InlineCommit, type Message } from '../format/index.ts'
import { chainOver, type Digest } from '../log/index.ts'
import { FP } from '../runtime/index.ts'
import { FilesNamed } from './files-wanted.ts'
import type { ReceivedRecords, ReplicaParts } from './host-parts.ts'
import { walkFrames } from './host-walk.ts'
import type { FileRef } from './types.ts'

type Entries = Extract<Message, { readonly type: 'entries' }>

/** Received and not durable: the link is not read on above it, whatever its sender thinks. */
const QUEUE_BYTES_MAX = 32 * 1024 * 1024
/**
 * On their way to the log: four groups of records, or two of bytes, so that one fills while another is written. More would only lie there, in part decoded, and cost
 * the collector of garbage more than the writing does.
 */
const FLIGHT_RECORDS_MAX = 4096
const FLIGHT_BYTES_MAX = 8 * 1024 * 1024

interface Queued extends ReceivedRecords {
  isReady: boolean
}

export interface EntryGateEvents {
  /** More is durable. */
  readonly durable: () => void
  /** The link is to end. */
  readonly failed: (error: unknown) => void
  /** @returns when every file is there */
  readonly files: (lsn: number, files: readonly FileRef[]) => Promise<void>
}

export class EntryGate {
  private readonly parts: ReplicaParts
  private readonly events: EntryGateEvents
  private readonly named: FilesNamed
  private readonly queue: Queued[] = []
  private queuedBytes = 0
  private room: (() => void)[] = []
  /** On their way to the log. */
  private flights = 0
  private flightRecords = 0
  private flightBytes = 0
  /** While failpoints are set, one after the other. */
  private slow: Promise<void> = Promise.resolve()
  private ended = false
  /** Last LSN taken. */
  received: number
  durable: number

  private constructor(parts: ReplicaParts, events: EntryGateEvents, named: FilesNamed) {
    this.parts = parts
    this.events = events
    this.named = named
    this.received = this.durable = parts.durableLsn
  }

  static async open(parts: ReplicaParts, events: EntryGateEvents): Promise<EntryGate> {
    return new EntryGate(parts, events, new FilesNamed(await parts.pendingSeals()))
  }

  /** Nothing waits and nothing is on its way to the log. */
  get isIdle(): boolean {
    return this.queue.length === 0 && this.flights === 0
  }

  /** The promise, if any, is for the reader of the link. @throws GapError, EntryChecksumError, DivergentEntryError, ChainDigestError, CorruptionError, StoreTooNewError */
  take(message: Entries): Promise<void> | undefined {
    const { first, count } = message
    if (count === 0) return undefined
    if (first > this.received + 1) throw gap(this.received + 1, first)
    const offsets = walkFrames(message.bytes, first, count)
    if (first <= this.received) return this.overlapping(message, offsets)
    this.add(message, offsets, first)
    return this.isFull ? new Promise((resolve) => this.room.push(resolve)) : undefined
  }

  /** What waits for its files does not count as on its way: they come over the link. */
  private get isFull(): boolean {
    return this.queuedBytes > QUEUE_BYTES_MAX || this.flightRecords > FLIGHT_RECORDS_MAX || this.flightBytes > FLIGHT_BYTES_MAX
  }

  /** Resolves when everything that was taken is durable, or the link is over. */
  async drained(): Promise<void> {
    while (!this.ended && !this.isIdle) await new Promise<void>((resolve) => this.room.push(resolve))
  }

  /** What is not on its way to the log yet is dropped. Resolves when nothing is on its way any more. */
  async end(): Promise<void> {
    this.ended = true
    this.queue.length = 0
    this.release()
    while (this.flights > 0) await new Promise<void>((resolve) => this.room.push(resolve))
  }

  private add(message: Entries, offsets: Uint32Array, first: number): void {
    const { bytes, digest } = message
    const inline = new InlineCommit()
    let records: (StateRecord | undefined)[] | undefined
    const last = first + offsets.length - 1
    let files: FileRef[] | undefined
    for (let i = 0; i < offsets.length; i++) {
      // What most records are names no file, and is read where it is applied.
      if (readInline(inline, bytes, offsets[i]!)) continue
      const record = decodeRecord(bytes, offsets[i]!, first + i)
      records ??= Array.from({ length: offsets.length })
      records[i] = record
      const named = this.named.of(record)
      if (named.length > 0) (files ??= []).push(...named)
    }
    const queued: Queued = { first, last, bytes, offsets, digest, records, isReady: files === undefined }
    this.received = last
    this.queue.push(queued)
    this.queuedBytes += bytes.length
    if (files === undefined) return this.pump()
    this.events.files(last, files).then(
      () => {
        queued.isReady = true
        this.pump()
      },
      (error: unknown) => this.fail(error),
    )
  }

  /** Sent again, all of it or its first part: equal is fine. */
  private async overlapping(message: Entries, offsets: Uint32Array): Promise<void> {
    await this.drained()
    if (this.ended) return
    const { first, count, bytes } = message
    const upto = Math.min(first + count - 1, this.durable)
    const known = upto - first + 1
    const [before, held] = await Promise.all([this.parts.digestAt(first - 1), this.parts.digestAt(upto)])
    // Below what is kept there is nothing to compare with: it is older than a checkpoint that was believed.
    if (before !== undefined && held !== undefined) {
      const digest = chainOver(before as Digest, bytes, offsets.subarray(0, known))
      if (!equal(digest, held)) {
        throw new DivergentEntryError(`records ${first}..${upto} differ from those held`, { details: { first: BigInt(first), last: BigInt(upto) } })
      }
      const whole = known === count ? digest : chainOver(digest, bytes, offsets.subarray(known))
      if (!equal(whole, message.digest)) throw new ChainDigestError(`records ${first}..${first + count - 1}: another digest was stated`, { details: {} })
    }
    if (known < count) this.add(message, offsets.slice(known), upto + 1)
    else this.events.durable()
  }

  /** Hands on what is ready, in order; the log makes groups of it. */
  private pump(): void {
    while (!this.ended && this.queue[0]?.isReady === true) {
      const queued = this.queue.shift()!
      this.flights++
      this.flightRecords += queued.offsets.length
      this.flightBytes += queued.bytes.length
      const receiving = this.parts.world.failpoints.active ? (this.slow = this.slow.then(() => this.receiveSlowly(queued))) : this.parts.receive(queued)
      receiving.then(
        () => this.settled(queued),
        (error: unknown) => {
          this.flights--
          this.fail(error)
          this.release()
        },
      )
    }
  }

  private async receiveSlowly(queued: Queued): Promise<void> {
    const { failpoints } = this.parts.world
    await failpoints.hit(FP.ship.beforeApply, { first: queued.first })
    await this.parts.receive(queued)
    await failpoints.hit(FP.ship.afterApply, { last: queued.last })
  }

  private settled({ last, bytes, offsets }: Queued): void {
    this.flights--
    this.queuedBytes -= bytes.length
    this.flightRecords -= offsets.length
    this.flightBytes -= bytes.length
    this.durable = last
    if (!this.isFull || this.isIdle) this.release()
    if (!this.ended) this.events.durable()
  }

  private fail(error: unknown): void {
    if (this.ended) return
    this.ended = true
    this.queue.length = 0
    this.release()
    this.events.failed(error)
  }

  private release(): void {
    for (const go of this.room.splice(0)) go()
  }
}

export function gap(expected: number, got: number): GapError {
  return new GapError(`record ${got} came where ${expected} was expected`, { details: { expected: BigInt(expected), got: BigInt(got) } })
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
