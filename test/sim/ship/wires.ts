// A process's way to the network: everything that goes over it is seen, and nothing is answered once the process is dead.

import type { Link, LinkHost, Transport, WireFrame } from '../../../bindings/ship/index.ts'
import type { Process } from './machine.ts'

/** A frame that a process sends or takes, before the other side or the process sees it. */
export type Tap = (process: Process, way: 'sent' | 'taken', frame: WireFrame, link: TappedLink) => void

/** What a process is handed in place of a frame: a seam for defects. */
export type Rewrite = (process: Process, frame: WireFrame, isDialled: boolean) => WireFrame

/** @param isDialled  this side connected: it is the primary's end */
export class TappedLink implements Link {
  readonly isDialled: boolean
  readonly #inner: Link
  readonly #process: Process
  readonly #tap: Tap
  readonly #rewrite: Rewrite | undefined
  readonly frames: AsyncIterable<WireFrame>

  constructor(inner: Link, process: Process, tap: Tap, isDialled: boolean, rewrite?: Rewrite) {
    this.#rewrite = rewrite
    this.#inner = inner
    this.#process = process
    this.#tap = tap
    this.isDialled = isDialled
    this.frames = { [Symbol.asyncIterator]: () => this.#take() }
  }

  async send(frame: WireFrame): Promise<void> {
    if (!this.#process.isAlive) return never()
    this.#tap(this.#process, 'sent', frame, this)
    await this.#inner.send(frame)
    if (!this.#process.isAlive) return never()
  }

  async *#take(): AsyncGenerator<WireFrame> {
    for await (const frame of this.#inner.frames) {
      if (!this.#process.isAlive) await never()
      this.#tap(this.#process, 'taken', frame, this)
      yield this.#rewrite?.(this.#process, frame, this.isDialled) ?? frame
    }
    if (!this.#process.isAlive) await never()
  }

  async close(reason?: Error): Promise<void> {
    if (this.#process.isAlive) await this.#inner.close(reason)
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedBytes
  }

  get peer(): string {
    return this.#inner.peer
  }
}

export function tapped(transport: Transport, process: Process, tap: Tap, rewrite?: Rewrite): Transport {
  return {
    async connect(endpoint, signal) {
      if (!process.isAlive) return never()
      const link = await transport.connect(endpoint, signal)
      if (!process.isAlive) return never()
      return new TappedLink(link, process, tap, true, rewrite)
    },
    async listen(host: LinkHost, endpoint) {
      if (!process.isAlive) return never()
      return transport.listen({ accept: (link) => process.isAlive && host.accept(new TappedLink(link, process, tap, false, rewrite)) }, endpoint)
    },
  }
}

function never(): Promise<never> {
  return new Promise(() => {})
}
