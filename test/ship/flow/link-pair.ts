// Two ends of one connection in memory, without a transport around them.
import { TransportError } from '../../../bindings/errors-ship.ts'
import { errorMessage, errorOf } from '../../../bindings/ship/index.ts'
import type { Link, WireFrame } from '../../../bindings/ship/index.ts'

class End implements Link {
  readonly peer: string
  readonly bufferedBytes = 0
  readonly #queue: WireFrame[] = []
  #ring: () => void = () => {}
  #ended: Error | null | undefined
  other!: End

  constructor(peer: string) {
    this.peer = peer
  }

  async send(frame: WireFrame): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended ?? new TransportError('closed')
    this.other.#queue.push(frame)
    this.other.#ring()
  }

  get frames(): AsyncIterable<WireFrame> {
    return this.#read()
  }

  async *#read(): AsyncGenerator<WireFrame> {
    for (;;) {
      const next = this.#queue.shift()
      if (next !== undefined) yield next
      else if (this.#ended === undefined) await new Promise<void>((resolve) => (this.#ring = resolve))
      else if (this.#ended === null) return
      else throw this.#ended
    }
  }

  async close(reason?: Error): Promise<void> {
    this.cut(reason ?? null)
    const told = errorMessage(reason)
    this.other.cut(told === undefined ? null : errorOf(told))
  }

  cut(reason: Error | null): void {
    this.#ended ??= reason
    this.#ring()
  }
}

/** Two ends of one connection. */
export function linkPair(): readonly [primary: End, replica: End] {
  const [a, b] = [new End('replica'), new End('primary')]
  a.other = b
  b.other = a
  return [a, b]
}
