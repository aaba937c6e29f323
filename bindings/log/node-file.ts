// log/node-file.ts: the file NODE of an open log: the facts of this node in memory, written when they change (log.md section 3).
//
// Put anew at the open (another inode, so that late bytes of an earlier owner land nowhere), then its two slots are written in place, one after the other, each with
// a sync behind it. Invariant: update() resolves when its facts are durable in both slots, so that damage to one takes nothing back: other nodes have decided by
// them. committedLsn alone only grows, and follows lazily in the one slot or the other, at the latest some 20 ms behind. A failed write is never followed by another one
// into the same file, and what it was to make durable does not count as that: settle() writes it again.
import type { Root, SegmentFile } from '../root/index.ts'
import { FP, type TimerHandle, type World } from '../runtime/index.ts'

import { encodeNode, FRESH_NODE, NODE_NAME, type NodeFacts, NODE_SLOT_BYTES, type NodeState, readNode, tailEpochAt } from './node-state.ts'
import { syncOf } from './segment-io.ts'

const LAZY_MS = 20

export class NodeFile {
  readonly #root: Root
  readonly #world: World
  #facts: NodeState
  #committed: number
  #file: SegmentFile | undefined
  /** The slot to write next: the other one holds what is durable. */
  #slot = 0
  #isSound = true
  #timer: TimerHandle | undefined
  #writing: Promise<void> = Promise.resolve()
  /** Writes that are asked for and not over. */
  #pending = 0
  #isClosed = false

  /** What is there, changed and put anew. */
  static async open(root: Root, world: World, storeId: Uint8Array, change: (before: NodeFacts) => Partial<NodeFacts>): Promise<NodeFile> {
    if (world.failpoints.active) await world.failpoints.hit(FP.log.node)
    const before = await readNode(root)
    const there: NodeFacts = { ...FRESH_NODE, ...before }
    const facts: NodeState = { ...there, seq: (before?.seq ?? 0) + 1, storeId, ...change(there) }
    await root.put(NODE_NAME, encodeNode(facts))
    return new NodeFile(root, world, { ...facts, seq: facts.seq + 1 })
  }

  private constructor(root: Root, world: World, facts: NodeState) {
    this.#root = root
    this.#world = world
    this.#facts = facts
    this.#committed = facts.committedLsn
  }

  get facts(): NodeState {
    return this.#committed === this.#facts.committedLsn ? this.#facts : { ...this.#facts, committedLsn: this.#committed }
  }

  /** C, or RC on a replica: as told last. */
  get committed(): number {
    return this.#committed
  }

  /** Durable when it resolves, in both slots. What it refuses is refused at once. @throws StorageError */
  update(patch: Partial<NodeFacts>): Promise<void> {
    if (patch.committedLsn !== undefined) this.#committed = Math.max(this.#committed, patch.committedLsn)
    this.#facts = { ...this.#facts, ...patch, committedLsn: this.#committed }
    return this.#write(2)
  }

  /** As update(), of what may be so already: nothing is written where it is durable. What is in memory alone, since a write of it failed or is on its way, is not. @throws StorageError */
  async settle(patch: Partial<Omit<NodeFacts, 'committedLsn'>>): Promise<void> {
    const isDurable = this.#isSound && this.#pending === 0
    if (isDurable && Object.entries(patch).every(([name, value]) => this.#facts[name as keyof typeof patch] === value)) return
    await this.update(patch)
  }

  /** The tail is `tail`, and is going to be the last record of a segment. */
  async recordTail(tail: number, { epoch, lastLsn }: { readonly epoch: number; readonly lastLsn: number }): Promise<void> {
    const tailBelow = tailEpochAt(tail, this.#facts)
    if (tailBelow !== epoch || tailEpochAt(lastLsn, this.#facts) !== epoch) await this.settle({ tailEpoch: epoch, tailFrom: lastLsn, tailBelow })
  }

  /** Cheap, never down; durable some 20 ms later. */
  noteCommitted(lsn: number): void {
    if (lsn <= this.#committed) return
    this.#committed = lsn
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = this.#world.timers.set(LAZY_MS, () => {
      this.#timer = undefined
      this.#write().catch((error: unknown) => this.#world.logger.log({ level: 'warn', code: 'log.nodeFailed', error }))
    })
  }

  /** @param isOurs the LOCK still is: else nothing is written */
  async close(isOurs: () => boolean): Promise<void> {
    this.#isClosed = true
    const isDirty = this.#stop()
    try {
      await this.#writing.catch(() => {})
      if (isDirty && isOurs()) await this.#write()
      // What a write failed of was told to who asked for it; C, which nobody asked for, may be among it.
      else if (!this.#isSound && isOurs())
        await this.#write().catch((error: unknown) => this.#world.logger.log({ level: 'warn', code: 'log.nodeFailed', error }))
    } finally {
      await this.#drop()
    }
  }

  closeSync(isOurs: () => boolean): void {
    this.#isClosed = true
    const isDirty = this.#stop() || !this.#isSound
    if (isDirty && isOurs()) {
      try {
        this.#root.putSync(NODE_NAME, encodeNode(this.#next()))
      } catch (error) {
        this.#world.logger.log({ level: 'warn', code: 'log.nodeFailed', error })
      }
    }
    try {
      this.#file?.closeSync()
    } catch {
      // A call is under way: the descriptor ends with it or with the process.
    }
    this.#file = undefined
  }

  #stop(): boolean {
    if (this.#timer === undefined) return false
    this.#world.timers.clear(this.#timer)
    this.#timer = undefined
    return true
  }

  /** @param slots  1: where the other one may stay behind, which is true of C alone */
  #write(slots: 1 | 2 = 1): Promise<void> {
    this.#pending++
    this.#writing = this.#writing
      .catch(() => {})
      .then(() => this.#writeNow(slots))
      .finally(() => this.#pending--)
    return this.#writing
  }

  async #writeNow(slots: 1 | 2): Promise<void> {
    try {
      if (!this.#isSound) {
        await this.#drop()
        const facts = this.#next()
        await this.#root.put(NODE_NAME, encodeNode(facts))
        this.#facts = { ...this.#facts, seq: facts.seq + 1 }
        this.#slot = 0
        this.#isSound = true
        return
      }
      this.#file ??= await this.#root.segment(NODE_NAME, { open: 'write' })
      for (let written = 0; written < slots; written++) {
        this.#file.writeSync(this.#slot * NODE_SLOT_BYTES, encodeNode(this.#next()).subarray(0, NODE_SLOT_BYTES))
        await syncOf(this.#file)
        this.#slot = 1 - this.#slot
      }
    } catch (error) {
      this.#isSound = false
      throw error
    }
  }

  #next(): NodeState {
    this.#facts = { ...this.#facts, seq: this.#facts.seq + 1, committedLsn: this.#committed }
    return this.#facts
  }

  async #drop(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close().catch((error: unknown) => this.#world.logger.log({ level: 'warn', code: 'log.closeFailed', error }))
  }
}
