// ship/shipper.ts: what sends a primary's log to one replica: one cursor over the tape, bounded (a catch-up) or without an end (the live stream).
//
//   cursor <= end and room in the window  -> the oldest records not sent yet
//   otherwise                             -> C, if it moved and nothing took it along for 4 ms; then wait: an append, an ack, C
//
// A bounded run ends at or below the synced head; the live stream goes as far as the tape lets records leave, and ends where the log fails below what it has sent.
//
// Invariant: records go out in order, each once; a new append never overtakes. What is not acknowledged as received stays below the window.
import { GapError, SessionFencedError } from '../errors-ship.ts'
import type { TimerHandle, World } from '../runtime/index.ts'

import type { Peer } from './peer.ts'
import { PIECE_RECORDS_MAX, type Tape, type TapeReader } from './tape.ts'
import type { Fence, ShipPin, StreamOptions, StreamSink } from './types.ts'

export interface StreamLimits {
  readonly windowEntries: number
  readonly windowBytes: number
  /** Something was sent, and for so long nothing more became durable, nor was more done with the files that it names. */
  readonly ackTimeoutMs: number
  /** Records behind the head. */
  readonly maxLag: number
}

export const STREAM_LIMITS: StreamLimits = { windowEntries: 4096, windowBytes: 16 * 1024 * 1024, ackTimeoutMs: 5000, maxLag: 65_536 }

/** How long a sleeping sender relies on being woken: while the replica owes an answer to what was sent, and while nothing is owed. */
const LOOK_MS = 20
const IDLE_MS = 250
/** How long C waits for records to go along with: a frame of its own costs the replica as much as a small group. */
const COMMITTED_MS = 4

/** Why a live stream is over. */
export interface StreamEnd {
  readonly reason: 'stream_send_failed' | 'ack_timeout' | 'lag_exceeded'
  readonly cause: Error
}

export interface ShipperOptions {
  readonly peer: Peer
  readonly tape: Tape
  readonly world: World
  /** The fence of the session that the link serves. */
  readonly fence: Fence
  /** C. */
  readonly committed: () => number
  readonly limits: StreamLimits
}

interface Grant {
  readonly mode: 'catchup' | 'tail' | 'stream'
  /** 0 = none. */
  readonly target: number
}

export class Shipper {
  readonly #o: ShipperOptions
  #reader: TapeReader | undefined
  #granted: Grant | undefined
  #toldCommitted = 0
  /** Since when C is owed; undefined: it is not. */
  #committedMs: number | undefined
  #timer: { readonly handle: TimerHandle; readonly dueMs: number } | undefined
  /** Sent and not acknowledged as received. */
  #flight: { readonly last: number; readonly bytes: number }[] = []
  #flightBytes = 0
  /** Since when something that was sent is owed. */
  #owedMs = 0
  #owedFrom = 0
  #ring: () => void = () => {}
  /** Bytes of records sent. */
  bytes = 0
  entries = 0
  /** Of the bounded runs to come: of a catch-up, or of the tail behind a base. */
  mode: 'catchup' | 'tail' = 'catchup'

  constructor(o: ShipperOptions) {
    this.#o = o
  }

  /** LSN of the last record sent. */
  get sent(): number {
    return this.#reader?.at ?? 0
  }

  /** Sends (start, end]. @returns `end`, or less where `maxBytes` were sent. @throws TransportError, GapError, what the replica refuses with, the signal's reason */
  async stream(fence: Fence, start: number, end: number, sink: StreamSink, signal: AbortSignal, o: StreamOptions = {}): Promise<number> {
    this.checkFence(fence)
    const { peer } = this.#o
    const { ahead = end, maxBytes = Infinity, elideDead = false } = o
    const target = Math.max(end, ahead)
    const isGranted = this.#granted?.mode === this.mode && this.#granted.target >= end && this.#reader!.at >= start && peer.durableLsn >= start
    if (!isGranted) await this.#grant(start, { mode: this.mode, target }, elideDead, signal)
    const from = this.bytes
    let told = start
    await this.#run({
      end: () => Math.min(target, this.#o.tape.head),
      isDone: () => peer.durableLsn >= end || (peer.durableLsn > start && this.bytes - from >= maxBytes),
      look: () => {
        if (peer.durableLsn > told) sink({ durableLsn: Math.min(end, (told = peer.durableLsn)), bytes: this.bytes - from })
      },
      signal,
    })
    return Math.min(end, peer.durableLsn)
  }

  /** Records of a base that is being sent; they are not acknowledged one by one. `sent` is told of each piece. */
  async sendBaseRecords(start: number, end: number, sent: (bytes: number) => void, signal: AbortSignal): Promise<void> {
    const reader = this.#o.tape.reader(start)
    try {
      for (let piece = await reader.next(end); piece !== undefined; piece = await reader.next(end)) {
        signal.throwIfAborted()
        const { first, last, bytes, digest } = piece
        await this.#o.peer.send({ type: 'entries', first, count: last - first + 1, committedLsn: this.#o.committed(), digest, base: true, bytes })
        this.bytes += bytes.length
        sent(bytes.length)
      }
    } finally {
      await reader.close()
    }
  }

  /** The live stream, until it fails; `begun` is told when the replica has taken it. `pin` goes along with what is durable there. @throws the signal's reason */
  async follow(start: number, pin: ShipPin, signal: AbortSignal, begun?: () => void): Promise<StreamEnd> {
    const { peer, tape, world, limits } = this.#o
    let pinned = start
    let end: StreamEnd | undefined
    const failed = (reason: StreamEnd['reason'], why: string): StreamEnd => ({ reason, cause: new Error(`${peer.address}: ${why}`) })
    try {
      await this.#grant(start, { mode: 'stream', target: 0 }, false, signal)
      begun?.()
      await this.#run({
        end: () => tape.end,
        isDone: () => end !== undefined,
        look: () => {
          const { durableLsn } = peer
          const { head, failure } = tape
          if (failure !== undefined && this.sent > head) {
            end = { reason: 'stream_send_failed', cause: failure }
            return
          }
          const held = Math.min(durableLsn, head)
          if (held > pinned) pin.advance((pinned = held))
          const lag = head - durableLsn
          if (lag > limits.maxLag) end = failed('lag_exceeded', `${lag} records behind`)
          const nowMs = world.clock.monoMs()
          if (durableLsn >= this.sent || durableLsn > this.#owedFrom) {
            this.#owedFrom = durableLsn
            this.#owedMs = nowMs
          } else if (nowMs - Math.max(this.#owedMs, peer.workedMs) > limits.ackTimeoutMs)
            end = failed('ack_timeout', `nothing more than LSN ${durableLsn} became durable in ${limits.ackTimeoutMs} ms`)
        },
        signal,
      })
      return end!
    } catch (cause) {
      if (signal.aborted) {
        // C that still waits for records: there will be none.
        if (peer.ended === undefined && this.#o.committed() > this.#toldCommitted) void peer.heartbeat().catch(() => undefined)
        throw signal.reason
      }
      return { reason: 'stream_send_failed', cause: cause as Error }
    } finally {
      await this.#reader?.close()
    }
  }

  /** @throws SessionFencedError: the link serves another session */
  checkFence({ sessionId, endpointVersion }: Fence): void {
    const { fence } = this.#o
    if (sessionId.epoch === fence.sessionId.epoch && sessionId.seq === fence.sessionId.seq && endpointVersion === fence.endpointVersion) return
    throw new SessionFencedError(`the link of ${fence.replicaId} serves session ${fence.sessionId.epoch}.${fence.sessionId.seq}`, {
      details: { replicaId: fence.replicaId, sessionId: `${sessionId.epoch}.${sessionId.seq}` },
    })
  }

  async close(): Promise<void> {
    await this.#reader?.close()
  }

  async #grant(start: number, grant: Grant, elideDead: boolean, signal: AbortSignal): Promise<void> {
    const { peer, tape, committed } = this.#o
    this.#toldCommitted = committed()
    const durableLsn = await peer.grant({ ...grant, start, committedLsn: this.#toldCommitted, elideDead }, signal)
    if (durableLsn !== start) {
      throw new GapError(`${peer.address} stands at LSN ${durableLsn}, not at ${start}`, { details: { expected: BigInt(start), got: BigInt(durableLsn) } })
    }
    this.#granted = grant
    this.#flight = []
    this.#flightBytes = 0
    if (this.#reader?.at !== start) {
      await this.#reader?.close()
      this.#reader = tape.reader(start)
    }
  }

  async #run(o: { readonly end: () => number; readonly isDone: () => boolean; readonly look: () => void; readonly signal: AbortSignal }): Promise<void> {
    const { peer, tape, committed, limits } = this.#o
    const reader = this.#reader!
    const ring = (): void => this.#ring()
    using _ = tape.onAppend(ring)
    peer.onChange = ring
    o.signal.addEventListener('abort', ring, { once: true })
    try {
      for (;;) {
        o.signal.throwIfAborted()
        peer.check()
        this.#landed()
        o.look()
        if (o.isDone()) return
        const upTo = o.end()
        const end = Math.min(upTo, peer.receivedLsn + limits.windowEntries)
        // What is left of the window is not filled with a short piece, whose digest nobody knows yet.
        const isRoom = end === upTo || end - reader.at >= Math.min(PIECE_RECORDS_MAX, limits.windowEntries)
        if (reader.at < end && isRoom && this.#flightBytes < limits.windowBytes) {
          const piece = await reader.next(end)
          if (piece === undefined) {
            await this.#wait(LOOK_MS)
            continue
          }
          const { first, last, bytes, digest } = piece
          this.#flight.push({ last, bytes: bytes.length })
          this.#flightBytes += bytes.length
          this.bytes += bytes.length
          this.entries += last - first + 1
          this.#toldCommitted = Math.max(this.#toldCommitted, committed())
          this.#committedMs = undefined
          await peer.send({ type: 'entries', first, count: last - first + 1, committedLsn: this.#toldCommitted, digest, base: false, bytes })
        } else if (committed() > this.#toldCommitted) await this.#tell()
        else await this.#wait(peer.durableLsn < this.sent ? LOOK_MS : IDLE_MS)
      }
    } finally {
      o.signal.removeEventListener('abort', ring)
      peer.onChange = () => {}
      this.#disarm()
    }
  }

  /** What the replica has received no longer counts. */
  #landed(): void {
    const { receivedLsn } = this.#o.peer
    let n = 0
    for (; n < this.#flight.length && this.#flight[n]!.last <= receivedLsn; n++) this.#flightBytes -= this.#flight[n]!.bytes
    if (n > 0) this.#flight.splice(0, n)
  }

  /** C, which has moved: by itself once it has waited long enough for records. */
  async #tell(): Promise<void> {
    const { peer, committed, world } = this.#o
    const nowMs = world.clock.monoMs()
    const leftMs = (this.#committedMs ??= nowMs) + COMMITTED_MS - nowMs
    if (leftMs > 0) return this.#wait(leftMs)
    this.#committedMs = undefined
    this.#toldCommitted = committed()
    await peer.heartbeat()
  }

  /** Until something happens, for `ms` at most. */
  #wait(ms: number): Promise<void> {
    this.#arm(ms)
    return new Promise((resolve) => {
      this.#ring = () => {
        this.#ring = () => {}
        resolve()
      }
    })
  }

  /** One timer for many waits: it rings for nothing now and then, and is not set anew for each group. */
  #arm(ms: number): void {
    const { timers, clock } = this.#o.world
    const dueMs = clock.monoMs() + ms
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return
    this.#disarm()
    const handle = timers.set(ms, () => {
      this.#timer = undefined
      this.#ring()
    })
    this.#timer = { handle, dueMs }
  }

  #disarm(): void {
    if (this.#timer !== undefined) this.#o.world.timers.clear(this.#timer.handle)
    this.#timer = undefined
  }
}
