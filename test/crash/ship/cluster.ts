// Processes of a cluster for tests: started, told, killed by pid; and what must hold of their folders when all of them are gone.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { type ReadStore, Store } from '../../../bindings/index.ts'
import type { AckMode, ReplicaTarget, ShipRetention } from '../../../bindings/shipping.ts'
import { entries, entryOf } from './tables.ts'

export interface PrimaryConfig {
  readonly replicas: readonly ReplicaTarget[]
  readonly ack?: AckMode
  /** Id of the first commit. */
  readonly first: number
  readonly ackTimeoutMs?: number
  readonly retention?: ShipRetention
}

const ANSWER_MS = 60_000

/** One process, by lines. */
export class Node {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly lines: string[] = []
  errors = ''
  private readonly waiters = new Set<() => void>()
  private readonly ended: Promise<unknown>
  private rest = ''

  constructor(script: string, args: readonly string[]) {
    const file = fileURLToPath(new URL(`./${script}`, import.meta.url))
    this.child = spawn(process.execPath, ['--no-warnings', file, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.ended = once(this.child, 'close').then(() => this.wake())
    this.child.stdin.on('error', () => undefined)
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.errors += text))
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const parts = (this.rest + text).split('\n')
      // A last line without its end is no answer.
      this.rest = parts.pop()!
      this.lines.push(...parts)
      this.wake()
    })
  }

  get isUp(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  tell(text: string): void {
    if (this.isUp) this.child.stdin.write(`${text}\n`)
  }

  /** Tell, and wait for the line that begins so. @returns what stands behind it */
  async ask(text: string, answer: string): Promise<string> {
    const from = this.lines.length
    this.tell(text)
    return await this.until(answer, from)
  }

  async until(begin: string, from: number = 0): Promise<string> {
    const deadline = performance.now() + ANSWER_MS
    for (;;) {
      const line = this.lines.slice(from).find((each) => each === begin || each.startsWith(`${begin} `))
      if (line !== undefined) return line.slice(begin.length + 1)
      if (!this.isUp && this.rest === '') throw new Error(`the process ended before "${begin}": ${this.errors || this.lines.slice(-20).join(' | ')}`)
      if (performance.now() > deadline)
        throw new Error(
          `no "${begin}" in time: ${this.lines
            .filter((each) => !each.startsWith('a '))
            .slice(-30)
            .join(' | ')} ${this.errors}`,
        )
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200)
        this.waiters.add(() => {
          clearTimeout(timer)
          resolve()
        })
      })
      this.waiters.clear()
    }
  }

  async kill(): Promise<void> {
    if (this.isUp) this.child.kill('SIGKILL')
    await this.ended
  }

  /** Ends by itself, in time. */
  async exited(): Promise<{ readonly code: number | null; readonly errors: string }> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ANSWER_MS)
    await Promise.race([this.ended, promise])
    clearTimeout(timer)
    return { code: this.child.exitCode, errors: this.errors }
  }

  /** Ids whose commits resolved. */
  acknowledged(): bigint[] {
    return this.lines.filter((line) => line.startsWith('a ')).map((line) => BigInt(line.split(' ')[1]!))
  }

  private wake(): void {
    for (const waiter of this.waiters) waiter()
  }
}

export function startPrimary(folder: string, config: PrimaryConfig): Node {
  return new Node('primary-child.ts', [folder, JSON.stringify(config)])
}

export function startReplica(folder: string, id: string, port: number): Node {
  return new Node('replica-child.ts', [folder, id, `127.0.0.1:${port}`])
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Everything that was acknowledged is there, whole, and nothing that nobody wrote. */
export async function expectHolds(folder: string, acknowledged: Iterable<bigint>, below: bigint): Promise<bigint> {
  return await reading(folder, async (store) => {
    const found = new Set<bigint>()
    for await (const row of store.scan(entries).rows()) {
      expect(row).toEqual(entryOf(row.id))
      expect(row.id < below, `entry ${row.id} was never written`).toBe(true)
      expect(found.has(row.id), `entry ${row.id} twice`).toBe(false)
      found.add(row.id)
    }
    const lost = [...acknowledged].filter((id) => !found.has(id))
    expect(lost, `acknowledged and not in ${folder}`).toEqual([])
    return store.lsn
  })
}

/** Both hold one history, as far as both reach, and the same bytes; `whole`: both end at one position too. */
export async function expectEqual(folder: string, other: string, whole = true): Promise<void> {
  await reading(folder, async (store) => {
    const report = await store.verify({ level: 'all', against: other })
    expect(report.problems).toEqual([])
    expect(report.against).toMatchObject({ equal: true })
    if (whole) expect(report.against!.head).toBe(report.lsn)
  })
}

async function reading<R>(folder: string, work: (store: ReadStore) => Promise<R>): Promise<R> {
  const store = await Store.open(folder, { readOnly: true, follow: false })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}
