// write/writes.ts: the staged writes of one open store: made, found again, listed, waited for, and let go when it closes.

import type { Engine } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { newUlid, ulidBytes, ulidText } from '../runtime/index.ts'
import type { WriteId } from '../table/index.ts'
import { idHex, type WriteParts } from './parts.ts'
import { KeyWait, pendingUnder } from './key-wait.ts'
import { StagedWriteHandle, type StagedWriteOptions } from './staged-write.ts'

/** Between two looks of who waits for a decision: other processes and the handles of other stores wake nobody here. */
const LOOK_MS = 250

export type WritesOptions = Pick<WriteParts, 'engine' | 'read' | 'stateAt' | 'retireDeferred' | 'publishing'>

/** What all branches of a store share. */
interface Hub {
  readonly handles: Set<AsyncDisposable>
  readonly working: Map<string, number>
  readonly closer: AbortController
  waiting: (() => void)[]
  seen: number
}

export class Writes implements WriteParts {
  readonly engine: WriteParts['engine']
  readonly read: WriteParts['read']
  readonly stateAt: WriteParts['stateAt']
  readonly retireDeferred: WriteParts['retireDeferred']
  readonly publishing: WriteParts['publishing']
  readonly handles: WriteParts['handles']
  readonly working: Map<string, number>
  private readonly hub: Hub

  /** @param from  of the same store, with what keeps a branch in memory while a staged write of it is open: what is decided on one branch wakes who waits on another */
  constructor(o: WritesOptions, from?: { readonly hub: Hub; readonly pin: () => Disposable }) {
    this.hub = from?.hub ?? {
      handles: new Set(),
      working: new Map(),
      closer: new AbortController(),
      waiting: [],
      seen: o.engine.parts.state.catalog.outcomes.stamp,
    }
    this.working = this.hub.working
    this.handles = from === undefined ? this.hub.handles : pinning(this.hub.handles, from.pin)
    this.engine = o.engine
    this.read = o.read
    this.stateAt = o.stateAt
    this.retireDeferred = o.retireDeferred
    this.publishing = o.publishing
  }

  /** For a branch. */
  on(engine: Engine, pin: () => Disposable): Writes {
    const { read, stateAt, retireDeferred, publishing } = this
    return new Writes({ engine, read, stateAt, retireDeferred, publishing }, { hub: this.hub, pin })
  }

  get closing(): AbortSignal {
    return this.hub.closer.signal
  }

  /** @throws InvalidConfigError when a write of this id is known: outcome() could speak of one only */
  refuseTaken(id: WriteId): void {
    const { committer, intents } = this.engine.parts
    if (!intents.isLive(id) && !committer.hasWrite(idHex(id))) return
    throw new InvalidConfigError(`another write has the id ${id}`, {
      details: { key: 'writeId', value: id },
      hint: 'Leave writeId out, or make one with newWriteId().',
    })
  }

  /** A new staged write; nothing is written before its first rows. @throws InvalidConfigError when the id is another write's */
  stage(o: StagedWriteOptions & { readonly writeId?: WriteId | undefined }): StagedWriteHandle {
    const { world, intents } = this.engine.parts
    const id = o.writeId ?? (newUlid(world) as WriteId)
    if (o.writeId !== undefined) this.refuseTaken(id)
    intents.begin(id)
    return new StagedWriteHandle(this, id, o)
  }

  /** A handle to a write that is sealed or decided. @throws InvalidConfigError */
  resume(id: WriteId): StagedWriteHandle {
    const { outcomes } = this.engine.parts.state.catalog
    const hex = idHex(id)
    const seal = outcomes.pending.get(hex)
    if (seal !== undefined) return new StagedWriteHandle(this, id, {}, 'sealed', seal.lsn)
    const decided = outcomes.of(hex)
    if (decided !== undefined) return new StagedWriteHandle(this, id, {}, decided.outcome)
    throw new InvalidConfigError(`there is no staged write ${ulidText(ulidBytes(id))} to resume: nothing of that id is sealed, and no outcome of one is kept`, {
      details: { key: 'writeId', value: id },
      hint: 'store.staged() lists the sealed ones. One that was never sealed ends with its process: stage it again. store.outcome(id) tells of any write.',
    })
  }

  /** Whether a commit or a sealed write has the key: then a call under it is a retry. */
  knowsKey(key: string): boolean {
    return this.engine.parts.committer.knows(key) || pendingUnder(this, key) !== undefined
  }

  /**
   * While a sealed write holds the key: what becomes of it decides what the key stands for. undefined: nothing to wait for.
   *
   * @param heal  what decides automatic writes whose owner is gone
   * @throws (the promise) PendingIntentError: nobody works on it
   */
  keyFree(key: string, signal: AbortSignal | undefined, heal: () => Promise<void> | undefined): Promise<void> | undefined {
    return pendingUnder(this, key) === undefined ? undefined : this.untilFree(key, signal, heal)
  }

  private async untilFree(key: string, signal: AbortSignal | undefined, heal: () => Promise<void> | undefined): Promise<void> {
    const wait = new KeyWait(this)
    for (let holder = pendingUnder(this, key); holder !== undefined; holder = pendingUnder(this, key)) {
      await wait.round(key, holder, signal)
      await heal()
    }
  }

  async decide<T>(writeId: string, call: () => Promise<T>): Promise<T> {
    this.working.set(writeId, (this.working.get(writeId) ?? 0) + 1)
    try {
      return await call()
    } finally {
      const left = this.working.get(writeId)! - 1
      if (left > 0) this.working.set(writeId, left)
      else this.working.delete(writeId)
      this.wake()
    }
  }

  async nextDecision(signal: AbortSignal | undefined): Promise<void> {
    const { timers } = this.engine.parts.world
    const woken = new AbortController()
    const wake = (): void => woken.abort()
    const signals = [this.closing, woken.signal]
    if (signal !== undefined) signals.push(signal)
    this.hub.waiting.push(wake)
    try {
      await timers.sleep(LOOK_MS, AbortSignal.any(signals), true)
    } catch (error) {
      this.closing.throwIfAborted()
      signal?.throwIfAborted()
      if (!woken.signal.aborted) throw error
    } finally {
      this.hub.waiting = this.hub.waiting.filter((each) => each !== wake)
    }
  }

  private wake(): void {
    for (const wake of this.hub.waiting.splice(0)) wake()
  }

  /** After each group: wakes who waits for a decision. */
  look(): void {
    const { stamp } = this.engine.parts.state.catalog.outcomes
    if (stamp === this.hub.seen) return
    this.hub.seen = stamp
    this.wake()
  }

  /** Staged writes, of any branch, that this store has handed out and that are not over. */
  get openCount(): number {
    return this.hub.handles.size
  }

  /** The store closes: unsealed writes are rolled back, sealed ones stay. What cannot be is left to the next sweep. */
  async close(reason: Error): Promise<void> {
    this.hub.closer.abort(reason)
    await Promise.allSettled([...this.hub.handles].map(async (handle) => handle[Symbol.asyncDispose]()))
  }
}

function pinning(handles: Set<AsyncDisposable>, pin: () => Disposable): WriteParts['handles'] {
  const pins = new Map<AsyncDisposable, Disposable>()
  return {
    add: (handle) => {
      handles.add(handle)
      pins.set(handle, pin())
    },
    delete: (handle) => {
      handles.delete(handle)
      pins.get(handle)?.[Symbol.dispose]()
      pins.delete(handle)
    },
  }
}
