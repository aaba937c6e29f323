// log/node-file.ts: the file NODE of an open log: the facts of this node in memory, written when they change (log.md section 3).
//
// Put anew at the open (another inode, so that late bytes of an earlier owner land nowhere), then its two slots are written in place, one after the other, each with
// a sync behind it. Invariant: update() resolves when its facts are durable; committedLsn only grows, and follows lazily, at the latest some 20 ms behind;
// a failed write is never followed by another one into the same file.
import type { Root, SegmentFile } from '../root/index.ts'
import { FP, type TimerHandle, type World } from '../runtime/index.ts'

import { encodeNode, NODE_NAME, type NodeFacts, NODE_SLOT_BYTES, type NodeState, readNode } from './node-state.ts'
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
  #isWhole = true
  #timer: TimerHandle | undefined
  #writing: Promise<void> = Promise.resolve()
  #isClosed = false

  /** What is there, and `patch` over it, put anew. */
  static async open(root: Root, world: World, storeId: Uint8Array, patch: Partial<NodeFacts>): Promise<NodeFile> {
    if (world.failpoints.active) await world.failpoints.hit(FP.log.node)
    const before = await readNode(root)
    const facts: NodeState = {
      replicaId: undefined,
      role: 'primary',
      epochSeen: 0,
      session: 0,
      committedLsn: 0,
      historyFloorLsn: 0,
      tailEpoch: 0,
      lock: 0,
      ownFrom: 0,
      ...before,
      seq: (before?.seq ?? 0) + 1,
      storeId,
      ...patch,
    }
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

  /** Durable when it resolves. What it refuses is refused at once. @throws StorageError */
  update(patch: Partial<NodeFacts>): Promise<void> {
    if (patch.committedLsn !== undefined) this.#committed = Math.max(this.#committed, patch.committedLsn)
    this.#facts = { ...this.#facts, ...patch, committedLsn: this.#committed }
    return this.#write()
  }

  /** Epoch of the record that is going to be at the tail. */
  async recordTail(epoch: number): Promise<void> {
    if (this.#facts.tailEpoch !== epoch) await this.update({ tailEpoch: epoch })
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
      if (isDirty && isOurs()) await this.#write()
      await this.#writing.catch(() => {})
    } finally {
      await this.#drop()
    }
  }

  closeSync(isOurs: () => boolean): void {
    this.#isClosed = true
    if (this.#stop() && isOurs()) {
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

  #write(): Promise<void> {
    this.#writing = this.#writing.catch(() => {}).then(() => this.#writeNow())
    return this.#writing
  }

  async #writeNow(): Promise<void> {
    const facts = this.#next()
    const bytes = encodeNode(facts)
    try {
      if (!this.#isWhole) {
        await this.#drop()
        await this.#root.put(NODE_NAME, bytes)
        this.#facts = { ...this.#facts, seq: facts.seq + 1 }
        this.#slot = 0
        this.#isWhole = true
        return
      }
      this.#file ??= await this.#root.segment(NODE_NAME, { open: 'write' })
      this.#file.writeSync(this.#slot * NODE_SLOT_BYTES, bytes.subarray(0, NODE_SLOT_BYTES))
      await syncOf(this.#file)
      this.#slot = 1 - this.#slot
    } catch (error) {
      this.#isWhole = false
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
