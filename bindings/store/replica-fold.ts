// store/replica-fold.ts: what a replica has received becomes what its readers see, up to min(R, C) (docs/shipping.md "Replica").
//
// Records come decoded, straight from the link; what had to wait too long for its commit is read from the log again.
// Invariant: the state is at or below both what is durable here and what the primary called committed, and never between the LSN where it stood when files began to be
// left out and the one up to which they are (elision): those versions lack files.

import type { StoreState } from '../engine/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { soon, Turns, type World } from '../runtime/index.ts'
import type { ReceivedRecords } from '../ship/index.ts'

/** Received and not committed: above it what waits is dropped, and read again. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024

export interface FoldParts {
  readonly state: StoreState
  readonly log: CommitLog
  readonly world: World
  readonly durable: number
  readonly committed: number
  /** The state has gone on by so many bytes of records. */
  readonly folded: (bytes: number) => void
  /** The state cannot go on. */
  readonly failed: (error: unknown) => void
  /** What is behind the versions that lack files may be shown now: a new state is to begin there. */
  readonly beyond: () => void
}

export class ReplicaFold {
  private readonly parts: FoldParts
  private readonly waiting: ReceivedRecords[] = []
  private waitingBytes = 0
  private durable: number
  private committed: number
  private running: Promise<void> | undefined
  private stopped = false
  /** Versions below it that the state has not reached lack files. */
  private floor = 0

  constructor(parts: FoldParts) {
    this.parts = parts
    this.durable = parts.durable
    this.committed = parts.committed
  }

  /** They are durable. */
  add(records: ReceivedRecords): void {
    this.durable = Math.max(this.durable, records.last)
    if (this.stopped) return
    this.waiting.push(records)
    this.waitingBytes += records.bytes.length
    while (this.waitingBytes > WAITING_BYTES_MAX) this.waitingBytes -= this.waiting.pop()!.bytes.length
    this.start()
  }

  /** From here on records may come whose files are left out, up to `lsn`. */
  holdBelow(lsn: number): void {
    this.floor = Math.max(this.floor, lsn)
  }

  commit(lsn: number): void {
    if (lsn > this.committed) this.committed = lsn
    // Also where nothing is new: what came while the state was put together waits for nobody else.
    this.start()
  }

  /** Records above are no longer in the log. */
  cut(lsn: number): void {
    this.durable = lsn
    while ((this.waiting.at(-1)?.last ?? 0) > lsn) this.waitingBytes -= this.waiting.pop()!.bytes.length
  }

  /** Resolves when the state is where it may be. */
  async settled(): Promise<void> {
    while (this.running !== undefined) await this.running
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  private get target(): number {
    return this.isHeld ? this.parts.state.applied : Math.min(this.durable, this.committed)
  }

  private get isHeld(): boolean {
    return this.parts.state.applied < this.floor
  }

  private start(): void {
    if (this.running !== undefined || this.stopped) return
    if (this.isHeld && Math.min(this.durable, this.committed) >= this.floor) return this.parts.beyond()
    if (this.parts.state.applied >= this.target) return
    // Behind the acknowledgement of what just came, and all that came with it.
    this.running = new Promise<void>((resolve) => soon(resolve))
      .then(() => this.run())
      .catch((error: unknown) => {
        this.stopped = true
        this.parts.failed(error)
      })
      .finally(() => {
        this.running = undefined
        this.start()
      })
  }

  private async run(): Promise<void> {
    const { state, folded, world } = this.parts
    const turns = new Turns(world)
    while (!this.stopped && state.applied < this.target) {
      const head = this.waiting[0]
      if (head === undefined || head.first > state.applied + 1) await this.readUpTo(Math.min(this.target, (head?.first ?? Infinity) - 1))
      else if (head.last <= state.applied) this.shift()
      else {
        await state.applyBatch(part(head, state.applied, Math.min(head.last, this.target)))
        folded(head.last === state.applied ? head.bytes.length : 0)
        if (head.last === state.applied) this.shift()
      }
      await turns.step()
    }
  }

  private async readUpTo(end: number): Promise<void> {
    const { state, log, folded } = this.parts
    for await (const batch of log.read(BigInt(state.applied) as Lsn, { end: BigInt(end) as Lsn })) {
      await state.applyBatch(batch)
      folded(batch.bytes.length)
      if (this.stopped) return
    }
  }

  private shift(): void {
    this.waitingBytes -= this.waiting.shift()!.bytes.length
  }
}

/** Records (after, last] of a batch. */
function part(batch: ReceivedRecords, after: number, last: number): Parameters<StoreState['applyBatch']>[0] {
  const from = after + 1 - batch.first
  const end = last + 1 - batch.first
  if (from === 0 && end === batch.offsets.length) return batch
  return { first: after + 1, bytes: batch.bytes, offsets: batch.offsets.subarray(from, end), records: batch.records?.slice(from, end) }
}
