// ship/memory-link.ts: one connection of a MemoryNetwork: two ends and a lane each way.
//
// Invariants: what a lane holds arrives in the order it was put there, the end of the connection last; `bufferedBytes` of a lane never passes its bound unless
// a single frame does. An end learns of the other's doings only by its lane, so what a partition holds up it does not know.
import { VarveError } from '../errors.ts'
import { TransportError } from '../errors-ship.ts'
import { ByteReader, decodeMessage, encodeMessage, encodeShipFrame, messageBytes, ShipFrameDecoder } from '../format/index.ts'
import { Inbox, type TimerHandle, type World } from '../runtime/index.ts'
import { errorMessage, errorOf, frameFault } from './error-frame.ts'
import type { Link, WireFrame } from './types.ts'

/** What a connection asks its network. */
export interface MemoryLinkSettings extends Pick<World, 'timers' | 'clock' | 'random'> {
  readonly options: { readonly bufferBytes: number; readonly stallMs: number }
  readonly isEncoding: boolean
  readonly isManual: boolean
  isCut(from: string, to: string): boolean
  drawDelayMs(): number
  drawFault(): 'corrupt' | 'break' | undefined
  /** Before the other side receives it. */
  delivering(from: string, to: string, frame: WireFrame): void
  sent(link: MemoryLink, from: string, to: string, frame: WireFrame): void
  closed(link: MemoryLink): void
}

interface Parcel {
  readonly dueMs: number
  /** undefined: the connection ends here. */
  readonly frame?: WireFrame
  readonly damaged?: boolean
  readonly failure?: { readonly reason: unknown }
}

const DONE: Promise<void> = Promise.resolve()
let links = 0

export class MemoryLink {
  /** Grows with every connection. */
  readonly id: number = ++links
  readonly from: string
  readonly to: string
  readonly client: MemoryEnd
  readonly server: MemoryEnd

  constructor(network: MemoryLinkSettings, from: string, to: string, address: string) {
    this.from = from
    this.to = to
    const there = new Lane(network, this, from, to)
    const back = new Lane(network, this, to, from)
    this.client = new MemoryEnd(network, this, there, back, address)
    this.server = new MemoryEnd(network, this, back, there, from)
  }

  get lanes(): readonly Lane[] {
    return [this.client.out, this.server.out]
  }

  /** What waited for a partition goes on. */
  pump(): void {
    this.client.out.pump()
    this.server.out.pump()
  }

  /** The connection is broken in the middle: each side learns of it behind what still arrives. */
  break(): void {
    for (const end of [this.client, this.server]) end.out.break(new TransportError(`the connection to ${end.peer} broke`, { details: { peer: end.peer } }))
  }

  /** One side is dead: nothing of it runs on, the other side finds the connection reset. */
  abandon(node: string): void {
    for (const end of [this.client, this.server]) if (end.out.from === node) end.abandon()
  }

  /** A frame of an older connection arrives on this one. */
  stray(from: string, to: string, frame: WireFrame): boolean {
    const end = [this.client, this.server].find(({ out }) => out.from === from && out.to === to)
    end?.out.put(frame)
    return end !== undefined
  }

  ended(): void {
    if (this.client.isClosed && this.server.isClosed) this.client.network.closed(this)
  }
}

class MemoryEnd implements Link {
  readonly network: MemoryLinkSettings
  readonly out: Lane
  readonly peer: string
  readonly #link: MemoryLink
  readonly #in: Lane
  #closed: { readonly reason: unknown } | undefined
  #dead = false

  constructor(network: MemoryLinkSettings, link: MemoryLink, out: Lane, incoming: Lane, peer: string) {
    this.network = network
    this.out = out
    this.peer = peer
    this.#link = link
    this.#in = incoming
    incoming.onEnd = (failure) => this.#lost(failure)
    out.onStall = () => void this.close(new TransportError(`${peer} takes nothing`, { details: { peer } }))
  }

  get frames(): AsyncIterable<WireFrame> {
    return this.#in.inbox
  }

  get bufferedBytes(): number {
    return this.out.bufferedBytes
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  send(frame: WireFrame): Promise<void> {
    if (this.#dead) return new Promise(() => undefined)
    return this.#closed === undefined ? this.out.offer(frame) : Promise.reject(this.#closed.reason as Error)
  }

  close(reason?: Error): Promise<void> {
    if (this.#closed !== undefined || this.#dead) return DONE
    this.#closed = { reason: reason ?? new TransportError(`the connection to ${this.peer} is closed`, { details: { peer: this.peer } }) }
    this.#in.leave(reason === undefined ? undefined : { reason })
    // An abort is nobody else's concern: the connection just ends.
    if (reason instanceof VarveError) this.out.end(reason, { epoch: 0, session: 0, message: errorMessage(reason) })
    else this.out.end(this.#closed.reason)
    this.#link.ended()
    return DONE
  }

  abandon(): void {
    this.#dead = true
    this.#closed ??= { reason: undefined }
    this.#in.leave('never')
    this.out.break(new TransportError(`${this.out.from} reset the connection`, { details: { peer: this.out.from } }))
    this.#link.ended()
  }

  /** The other side closed, or the connection broke; the inbox has told its reader. */
  #lost(failure: { readonly reason: unknown } | undefined): void {
    if (this.#closed !== undefined) return
    this.#closed = failure ?? { reason: new TransportError(`${this.peer} closed the connection`, { details: { peer: this.peer } }) }
    // The other side may not know yet: what is damaged is found here.
    if (failure === undefined) this.out.end(this.#closed.reason)
    else this.out.break(new TransportError(`the connection to ${this.out.from} broke`, { details: { peer: this.out.from } }), this.#closed.reason)
    this.#link.ended()
  }
}

/** One direction. */
export class Lane {
  readonly from: string
  readonly to: string
  readonly inbox: Inbox<WireFrame>
  bufferedBytes = 0
  onEnd: (failure: { readonly reason: unknown } | undefined) => void = () => undefined
  onStall: () => void = () => undefined
  readonly #network: MemoryLinkSettings
  readonly #link: MemoryLink
  #queue: Parcel[] = []
  #waiting: { readonly frame: WireFrame; readonly resolve: () => void; readonly reject: (reason: Error) => void }[] = []
  /** What is put in goes nowhere. */
  #isDropped = false
  /** The receiving side takes nothing any more. */
  #isLeft = false
  #isEnded = false
  #lastDueMs = 0
  #timer: TimerHandle | undefined
  #stall: TimerHandle | undefined
  /** From the first frame that went as bytes on, all do: a damaged length takes in what follows. */
  #decoder: ShipFrameDecoder | undefined

  constructor(network: MemoryLinkSettings, link: MemoryLink, from: string, to: string) {
    this.#network = network
    this.#link = link
    this.from = from
    this.to = to
    this.inbox = new Inbox((frame) => this.#release(messageBytes(frame.message)))
  }

  /** How much waits to be delivered: frames, and the end of the connection. */
  get queued(): number {
    return this.#queue.length
  }

  /** The first that waits, now. */
  step(o: { readonly damage?: boolean }): void {
    const head = this.#queue.shift()
    if (head !== undefined) this.#deliver(o.damage === true ? { ...head, damaged: true } : head)
  }

  offer(frame: WireFrame): Promise<void> {
    const bytes = messageBytes(frame.message)
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.put(frame)
      return DONE
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame, resolve, reject })
      this.#stall ??= this.#network.timers.set(this.#network.options.stallMs, this.onStall)
    })
  }

  put(frame: WireFrame): void {
    this.bufferedBytes += messageBytes(frame.message)
    if (this.#isDropped) return
    this.#network.sent(this.#link, this.from, this.to, frame)
    const fault = this.#network.drawFault()
    if (fault === 'break') return this.#link.break()
    this.#carry({ frame, damaged: fault === 'corrupt' })
  }

  /** Nothing is sent any more; `last` and the end follow what is on its way. */
  end(reason: unknown, last?: WireFrame): void {
    this.#refuse(reason)
    if (this.#isDropped) return
    if (last !== undefined) this.#carry({ frame: last })
    this.#carry({})
    this.#isDropped = true
  }

  /** As a network breaks it: what is on its way arrives first, or is lost. @param refusal  what the sends that wait here fail with, now */
  break(reason: Error, refusal?: unknown): void {
    if (refusal !== undefined) this.#refuse(refusal)
    if (this.#isDropped) return
    if (this.#network.random.u32() % 2 === 0) this.#queue = []
    this.#carry({ failure: { reason } })
    this.#isDropped = true
  }

  /** This side's reader stops; 'never': it is dead and must not be told. */
  leave(failure: { readonly reason: unknown } | undefined | 'never'): void {
    this.#isLeft = true
    if (failure !== 'never') this.inbox.cut(failure)
  }

  pump(): void {
    this.#timer = this.#cleared(this.#timer)
    if (this.#network.isManual) return
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      if (this.#network.isCut(this.from, this.to)) return
      const leftMs = head.dueMs - this.#network.clock.monoMs()
      if (leftMs > 0) {
        this.#timer = this.#network.timers.set(leftMs, () => this.pump())
        return
      }
      this.#queue.shift()
      this.#deliver(head)
    }
  }

  #carry(parcel: Omit<Parcel, 'dueMs'>): void {
    const delayMs = this.#network.drawDelayMs()
    if (delayMs === 0 && this.#queue.length === 0 && !this.#network.isManual && !this.#network.isCut(this.from, this.to))
      return this.#deliver({ dueMs: 0, ...parcel })
    this.#lastDueMs = Math.max(this.#lastDueMs, this.#network.clock.monoMs() + delayMs)
    this.#queue.push({ dueMs: this.#lastDueMs, ...parcel })
    if (this.#timer === undefined) this.pump()
  }

  #deliver({ frame, damaged, failure }: Parcel): void {
    if (this.#isEnded) return
    if (frame === undefined) return this.#finish(failure)
    if (this.#decoder === undefined && !this.#network.isEncoding && damaged !== true) return this.#receive(frame)
    const { type, head, tail } = encodeMessage(frame.message)
    const parts = encodeShipFrame({ type, epoch: frame.epoch, session: frame.session }, head, tail)
    if (damaged === true) damage(parts, this.#network.random)
    // Nothing of it: it was swallowed by a frame whose length is damaged.
    if (!this.#decode(parts)) this.#release(messageBytes(frame.message))
  }

  /** Bytes as they are, of no frame of ours. */
  inject(bytes: Uint8Array): void {
    if (!this.#isEnded) this.#decode([bytes])
  }

  /** @returns whether a frame came out */
  #decode(parts: readonly Uint8Array[]): boolean {
    this.#decoder ??= new ShipFrameDecoder()
    let frames = 0
    try {
      for (const part of parts) {
        this.#decoder.push(part, ({ type, epoch, session, body }) => {
          frames++
          this.#receive({ epoch, session, message: decodeMessage(type, new ByteReader(body)) })
        })
      }
    } catch (error) {
      this.#finish({ reason: frameFault(error) })
    }
    return frames > 0
  }

  #receive(frame: WireFrame): void {
    if (this.#isLeft) return this.#release(messageBytes(frame.message))
    this.#network.delivering(this.from, this.to, frame)
    if (frame.message.type === 'error') return this.#finish({ reason: errorOf(frame.message) })
    this.inbox.put(frame)
  }

  #finish(end: { readonly reason: unknown } | undefined): void {
    const failure = end ?? this.#cutFrame()
    this.#isEnded = true
    this.#clear()
    if (this.#isLeft) return
    this.inbox.end(failure)
    this.onEnd(failure)
  }

  /** An end inside a frame is one that somebody made. */
  #cutFrame(): { readonly reason: unknown } | undefined {
    try {
      this.#decoder?.end()
    } catch (error) {
      return { reason: frameFault(error) }
    }
    return undefined
  }

  #release(bytes: number): void {
    this.bufferedBytes = Math.max(0, this.bufferedBytes - bytes)
    this.#stall = this.#cleared(this.#stall)
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(messageBytes(next.frame.message)); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.put(next.frame)
      next.resolve()
    }
    if (this.#waiting.length > 0) this.#stall ??= this.#network.timers.set(this.#network.options.stallMs, this.onStall)
  }

  #fits(bytes: number): boolean {
    return this.bufferedBytes === 0 || this.bufferedBytes + bytes <= this.#network.options.bufferBytes
  }

  #refuse(reason: unknown): void {
    const waiting = this.#waiting
    this.#waiting = []
    this.#stall = this.#cleared(this.#stall)
    for (const { reject } of waiting) reject(reason as Error)
  }

  #clear(): void {
    this.#queue = []
    this.#timer = this.#cleared(this.#timer)
  }

  #cleared(timer: TimerHandle | undefined): undefined {
    if (timer !== undefined) this.#network.timers.clear(timer)
    return undefined
  }
}

/** One byte of the frame gets another value. */
function damage(parts: Uint8Array[], random: World['random']): void {
  let at = random.u32() % parts.reduce((bytes, part) => bytes + part.length, 0)
  const i = parts.findIndex((part) => {
    if (at < part.length) return true
    at -= part.length
    return false
  })
  // The part may be the sender's own bytes.
  const copy = parts[i]!.slice()
  copy[at]! ^= 1 + (random.u32() % 255)
  parts[i] = copy
}
