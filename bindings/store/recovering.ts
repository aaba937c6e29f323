// store/recovering.ts: recovery as one open handle sees it: its sweep, its heals, what is pending, what listeners are told.
//
// Invariant: what happens before the store is ready is kept for the first listener that asks; nothing is looked at after stop().

import { branchNumber, type StateView } from '../engine/index.ts'
import { CorruptionError, StorageError } from '../errors.ts'
import type { Intent } from '../format/index.ts'
import {
  decideMany,
  deciderOf,
  DriftGuard,
  Healer,
  type HealParts,
  type LeaseOf,
  type ObserveParts,
  overlapOf,
  Owners,
  type PendingItem,
  pendingWrites,
  type RecoveryEvents,
  sweep,
  sweepStagingFolders,
  writesOn,
} from '../recovery/index.ts'
import type { TimerHandle } from '../runtime/index.ts'
import { LEASE_MS } from '../staging/index.ts'
import type { PendingWrite, StoreEvents, WriteId } from '../table/index.ts'
import type { WriteParts } from '../write/index.ts'
import type { Opened } from './wiring.ts'

/** Beyond the term of a lease: by then an owner that lives has renewed it. */
const LOOK_AGAIN_MS = LEASE_MS + 1000

export class Recovering {
  private readonly o: Opened
  private readonly parts: HealParts
  private readonly healer: Healer
  private readonly guard: DriftGuard
  private isReady = false
  private timer: TimerHandle | undefined

  /** @param writes  of main */
  constructor(o: Opened, writes: WriteParts, leaseOf: LeaseOf) {
    this.o = o
    const { intents } = writes.engine.parts
    const owners = new Owners({
      root: o.root,
      world: o.world,
      writerId: intents.owner.writerId,
      // A LOCK, or an epoch record that fences every older one.
      isExclusive: !o.log.shared || o.options.writers === 'exclusive',
      isLive: (writeId) => intents.isLive(writeId),
    })
    this.parts = {
      root: o.root,
      world: o.world,
      state: o.state,
      log: o.log,
      owners,
      viewOf: (intent) => viewOf(o, intent),
      overlap: (seal, participant, limit) => overlapOf(leaseOf, seal, participant, limit),
      decider: deciderOf(writes, leaseOf),
      events: this.events(),
      refresh: () => o.catchUp(),
      retries: o.options.publishRetries,
      decideMany: o.log.shared ? undefined : (steps) => decideMany(writes, steps),
      liveStamp: () => intents.stamp,
    }
    this.healer = new Healer(this.parts)
    this.guard = new DriftGuard(this.parts)
  }

  /** Before the store is ready. @throws StorageError; CorruptIntentError, IntentVersionError, IntentMismatchError, InvariantError */
  async open(): Promise<void> {
    const decided = await this.sweep()
    if (decided > 0) await this.sweepFolders()
    this.guard.look()
    this.isReady = true
  }

  /** Decides what owners that are gone have left, also while the store is open. */
  async sweepNow(): Promise<void> {
    await this.sweep()
  }

  /** @returns how many writes it met */
  private async sweep(): Promise<number> {
    const { waiting, decisions } = await sweep(this.parts)
    // An owner in another process that shows no sign of life for the term of its lease is gone: who stays open that long sees it.
    if (waiting.length > 0) this.timer = this.o.world.timers.set(LOOK_AGAIN_MS, () => void this.lookAgain())
    return decisions.length
  }

  /** Folders of writes that were killed before their INTENT had its name hold no object, so that no list shows them. Alone in the store: none is in use. */
  private async sweepFolders(): Promise<void> {
    if (!this.o.log.shared) await sweepStagingFolders(this.o.root, this.o.world)
  }

  private async lookAgain(): Promise<void> {
    try {
      await this.sweep()
    } catch (cause) {
      this.o.world.logger.log({ level: 'warn', code: 'sweep.failed', cause })
    }
  }

  /** A table contradicts its records: nothing is written on top of that. */
  get hasDrifted(): boolean {
    return this.guard.hasDrifted
  }

  /** At the entry of a write: undefined when nothing is in its way. @throws (the promise) DriftError; StorageError and what a failed append throws */
  heal(): Promise<void> | undefined {
    return this.guard.hasDrifted ? this.guard.refuse() : this.healer.heal()
  }

  pending(): Promise<PendingWrite[]> {
    return pendingOf(this.parts)
  }

  /** Writes to a branch that are not decided and whose owner may live: armed or sealed, by their ids. @throws StorageError */
  workedOn(branchId: string): Promise<readonly string[]> {
    return writesOn(this.parts, branchId)
  }

  stop(): void {
    if (this.timer !== undefined) this.o.world.timers.clear(this.timer)
  }

  private events(): RecoveryEvents {
    const tell = <E extends keyof StoreEvents>(event: E, value: StoreEvents[E]): void => {
      if (this.isReady) this.o.events.emit(event, value)
      else this.o.events.keep(event, value)
    }
    return {
      recovered: (writeId, decision) => tell('recovered', { writeId: writeId as WriteId, decision }),
      deferred: (writeId, reason) => tell('deferred', { writeId: writeId as WriteId, reason }),
      retireDeferred: (writeId, cause) => tell('retireDeferred', { writeId: writeId as WriteId, cause }),
      intentShadowed: (writeId, path) => tell('intentShadowed', { writeId: writeId as WriteId, path }),
    }
  }
}

/** For a handle that writes nothing, beside a writer that may live: of keys written since it says nothing, the rest it can see. */
export function observing(o: Opened): ObserveParts {
  const { root, world, state } = o
  const owners = new Owners({ root, world, writerId: undefined, isExclusive: false, isLive: () => false })
  return { root, world, state, owners, viewOf: (intent) => viewOf(o, intent), overlap: async () => [] }
}

/** Whether the branch is gone is for the fold to say: what cannot be read is an error. */
async function viewOf({ branches, state }: Opened, intent: Intent): Promise<StateView | undefined> {
  const branch = branchNumber(state.catalog.branches, intent)
  if (branch === undefined) return undefined
  try {
    return await branches.view(branch)
  } catch (cause) {
    if (!(cause instanceof StorageError && cause.class === 'notFound')) throw cause
    const { name } = cause
    throw new CorruptionError('coverage.corrupt', `branch ${JSON.stringify(intent.branch)} cannot be read: ${cause.message}`, {
      details: { file: name },
      cause,
    })
  }
}

export async function pendingOf(parts: ObserveParts): Promise<PendingWrite[]> {
  return (await pendingWrites(parts)).map((item) => described(item))
}

function described({ writeId, state, subject, decision, ageMs }: PendingItem): PendingWrite {
  const { intent } = subject
  const { writerId, host, pid } = intent?.owner ?? {}
  return {
    writeId: writeId as WriteId,
    kind: intent?.kind ?? 'unknown',
    mode: intent?.mode ?? 'auto',
    state,
    branch: intent?.branch ?? 'unknown',
    ageMs,
    owner: writerId === undefined ? 'unknown' : host === undefined ? writerId : `process ${pid} on ${host}`,
    decision,
    ...(intent?.message === undefined ? {} : { message: intent.message }),
    ...(intent?.holdUntil === undefined ? {} : { holdUntil: new Date(intent.holdUntil) }),
  }
}
