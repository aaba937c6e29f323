// bench/ship/replicas.ts: replica processes for the benchmarks of shipping: started, asked, ended; only processes that were started here.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url))

export interface ReplicaFacts {
  readonly lsn: bigint
  readonly durable: bigint
  readonly committed: bigint
  /** User and system time of the process so far. */
  readonly cpuMicros: number
}

interface Hello {
  readonly endpoints: readonly string[]
  readonly echoPort: number
  readonly logPort: number
}

export class ReplicaProcess implements AsyncDisposable {
  readonly id: string
  readonly endpoint: string
  /** Of all replicas of the process. */
  readonly endpoints: readonly string[]
  /** What is sent there comes back. */
  readonly echoPort: number
  /** What is sent there comes back once it is durable. */
  readonly logPort: number
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>

  private constructor(id: string, hello: Hello, child: ChildProcessByStdio<Writable, Readable, null>, lines: AsyncIterator<string>) {
    this.id = id
    this.endpoint = hello.endpoints[0]!
    this.endpoints = hello.endpoints
    this.echoPort = hello.echoPort
    this.logPort = hello.logPort
    this.#child = child
    this.#lines = lines
  }

  /** @param count  so many in memory instead of one in the folder */
  static async start(folder: string, id: string, count?: number): Promise<ReplicaProcess> {
    const child = spawn(process.execPath, ['--no-warnings', CHILD, folder, id, ...(count === undefined ? [] : [String(count)])], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const reader: Interface = createInterface({ input: child.stdout })
    const lines = reader[Symbol.asyncIterator]()
    return new ReplicaProcess(id, (await next(lines, id)) as Hello, child, lines)
  }

  async facts(): Promise<ReplicaFacts> {
    this.#child.stdin.write('status\n')
    const { lsn, durable, committed, cpuMicros } = (await next(this.#lines, this.id)) as Record<'lsn' | 'durable' | 'committed', string> & { cpuMicros: number }
    return { lsn: BigInt(lsn), durable: BigInt(durable), committed: BigInt(committed), cpuMicros }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()))
    this.#child.stdin.end('close\n')
    await ended
  }
}

async function next(lines: AsyncIterator<string>, id: string): Promise<unknown> {
  const { done, value } = await lines.next()
  if (done === true) throw new Error(`replica ${id} ended`)
  return JSON.parse(value)
}
