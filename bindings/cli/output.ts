// cli/output.ts: results to stdout, with backpressure; a reader that goes away ends the command quietly.
//
// Invariant: after the pipe broke every write rejects with BrokenPipe, so that no command goes on working for nobody.
import { once } from 'node:events'
import { BrokenPipe } from './failure.ts'

export class Output {
  readonly #stream: NodeJS.WriteStream
  #failure: Error | undefined

  constructor(stream: NodeJS.WriteStream = process.stdout) {
    this.#stream = stream
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure = error.code === 'EPIPE' || error.code === 'EOF' ? new BrokenPipe() : error
    })
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY
  }

  async write(data: string | Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#stream.write(data)) return
    try {
      await once(this.#stream, 'drain')
    } catch (error) {
      throw this.#failure ?? error
    }
  }

  async lines(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.write(`${lines.join('\n')}\n`)
  }

  /** One JSON document on lines of its own. */
  async json(value: unknown): Promise<void> {
    await this.write(`${JSON.stringify(value, jsonSafe, 2)}\n`)
  }

  /** Resolves once everything has left this process. */
  async end(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#stream.write('', () => resolve())
    await promise
    if (this.#failure !== undefined) throw this.#failure
  }
}

/** One value as one line of JSON. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value, jsonSafe)}\n`
}

/** Bigints as decimal strings, bytes as hex: ids and digests; rows have cell-text.ts. */
function jsonSafe(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')
  return value
}
