// store/replica-upkeep.ts: what a replica does by itself: checkpoints by the bytes it has folded, the log cut as far as the vacuums it has read of allow, files deleted
// that those have doomed (docs/shipping.md "Replica"). Rows are moved, and files named, by the primary's records alone.
//
// Invariant: one job at a time, none while the log is cut back or replaced; a file goes only behind a vacuum record that is committed, durably so (a state is folded
// up to RC at the next open, and must not stand below it then), and only when no reader here shows a version below that record's floor; a deletion vector besides only
// when no checkpoint here is older than what replaced it (those of the primary may be newer); nothing runs after stop().

import { writeCheckpoint } from '../engine/index.ts'
import { ClosedError, VarveError } from '../errors.ts'
import { isContentName } from '../format/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import { DEFAULTS } from '../options.ts'
import type { Root } from '../root/index.ts'
import { Mutex } from '../runtime/index.ts'
import { listUnkept, neededNames, planFollowedTrim } from '../upkeep/index.ts'
import { toldReads } from './visible-log.ts'
import type { Opened } from './wiring.ts'

/** Folded bytes between two looks. */
const LOOK_BYTES = 512 * 1024
/** Names of one delete. */
const BATCH_NAMES = 1000

export interface ReplicaUpkeepParts {
  readonly opened: Opened
  /** All that is durable here. */
  readonly log: CommitLog
  /** Makes RC durable, as far as it was told. */
  readonly settleCommitted: () => Promise<void>
  /** Somebody still reads a state that this one has replaced. */
  readonly isReadBefore: () => boolean
  /** Told of what a cut or a base may be waiting for, in bytes about. */
  readonly worked: (bytes: number) => void
  /** Between two checkpoints. */
  readonly checkpointBytes?: number
}

export class ReplicaUpkeep {
  private readonly opened: Opened
  private readonly log: CommitLog
  private readonly settleCommitted: () => Promise<void>
  private readonly isReadBefore: () => boolean
  private readonly worked: (bytes: number) => void
  private readonly checkpointBytes: number
  private readonly turns = new Mutex()
  private readonly stopper = new AbortController()
  private running: Promise<void> | undefined
  private sinceLook = 0
  private sinceCheckpoint: number
  /** Dead files of records up to here are deleted. */
  private deletedUpTo = 0
  /** Dead deletion vectors that a replay from the checkpoints here still reads. */
  private readonly replayed = new Set<string>()

  constructor({ opened, log, settleCommitted, isReadBefore, worked, checkpointBytes = DEFAULTS.checkpointBytes }: ReplicaUpkeepParts) {
    this.opened = opened
    this.log = log
    this.settleCommitted = settleCommitted
    this.isReadBefore = isReadBefore
    this.worked = worked
    this.checkpointBytes = checkpointBytes
    this.sinceCheckpoint = opened.state.replayedBytes
  }

  /** The state has gone on. */
  folded(bytes: number): void {
    this.sinceCheckpoint += bytes
    this.sinceLook += bytes
    if (this.sinceLook >= Math.min(LOOK_BYTES, this.checkpointBytes) || this.hasDead) this.look()
  }

  /** Starts what is due. */
  look(): void {
    this.sinceLook = 0
    if (this.running !== undefined || this.stopper.signal.aborted) return
    const isDue = this.sinceCheckpoint >= this.checkpointBytes
    if (!isDue && !this.hasDead) return
    this.running = this.turns
      .run(() => this.work(isDue))
      .catch((cause: unknown) => {
        if (this.stopper.signal.aborted || (cause instanceof VarveError && cause.kind === 'closed')) return
        this.opened.world.logger.log({ level: 'warn', code: 'upkeep.failed', cause })
      })
      .finally(() => {
        this.running = undefined
      })
  }

  /** While the log is cut back or replaced. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.turns.run(work)
  }

  async stop(): Promise<void> {
    this.stopper.abort(new ClosedError('store.closed', 'the replica is closing', { details: { what: 'store' } }))
    await this.running
    await this.turns.run(() => undefined)
  }

  /**
   * Deletes those of `names` that nothing needs: what lay there before the base that this state was made of.
   *
   * @param claimed  names that a record on its way may name; looked at again before each delete
   * @param during  told of each delete: who claims a name meanwhile looks for the file when it is over
   */
  async clean(names: ReadonlySet<string>, claimed: ReadonlySet<string>, during: (deleting: Promise<void>) => void): Promise<number> {
    return await this.turns.run(async () => {
      const { root, fragmentFloor, checkpointLsn } = this.opened
      const needed = await this.needed(Math.max(fragmentFloor(), checkpointLsn))
      const unkept = await listUnkept(root, needed, this.stopper.signal)
      const strays = unkept.map(({ name }) => name).filter((name) => names.has(name))
      let count = 0
      for (let at = 0; at < strays.length; at += BATCH_NAMES) {
        const gone = strays.slice(at, at + BATCH_NAMES).filter((name) => !claimed.has(name))
        const deleting = this.deleteNames(gone)
        during(deleting.catch(() => undefined))
        await deleting
        count += gone.length
      }
      return count
    })
  }

  /** Deletes those of `names` that nothing needs: the records that named them were cut off. */
  async drop(names: ReadonlySet<string>): Promise<void> {
    if (names.size === 0) return
    await this.turns.run(async () => {
      const needed = await this.needed(this.opened.fragmentFloor())
      const shown = new Set(this.log.reclaim.list().flatMap(({ files }) => [...(files?.() ?? [])]))
      await this.deleteNames([...names].filter((name) => !needed.has(name) && !shown.has(name)))
    })
  }

  /** Files to delete. A reader of an older version may show them; whoever comes later is refused below the floor. */
  private get hasDead(): boolean {
    const { dead, fragmentFloor } = this.opened.state.catalog
    return dead.batches.length > 0 && dead.batches.at(-1)!.lsn > this.deletedUpTo && this.mayDelete(fragmentFloor)
  }

  private mayDelete(fragmentFloor: number): boolean {
    return !this.isReadBefore() && this.log.reclaim.floor >= fragmentFloor
  }

  private async work(isDue: boolean): Promise<void> {
    if (isDue || this.hasDead) await this.settleCommitted()
    if (isDue) {
      await this.checkpoint()
      await this.trim()
    }
    await this.deleteDead(isDue)
  }

  private async checkpoint(): Promise<void> {
    const { root, storeId, log, state, world, events } = this.opened
    const startedMs = world.clock.monoMs()
    this.sinceCheckpoint = 0
    try {
      await writeCheckpoint(root, storeId, log, state.catalog, world.failpoints)
      events.emit('upkeep', { job: 'checkpoint', durationMs: world.clock.monoMs() - startedMs })
    } catch (cause) {
      events.emit('checkpointFailed', { lsn: BigInt(state.applied) as Lsn, cause })
      throw cause
    }
  }

  private async trim(): Promise<void> {
    const { root, storeId, state, history } = this.opened
    // Without a vacuum the primary keeps all of its history, and so does a replica.
    if (state.catalog.fragmentFloor === 0) return
    const { log } = this
    const plan = await planFollowedTrim({ root, log, storeId, lsnAt: (timeMs, head) => history.lsnAt(timeMs, head) }, { log, state })
    if (plan.drop.length > 0) {
      log.assertOwned?.()
      await root.delete(plan.drop)
    }
    if (plan.upTo > Number(log.tail)) await log.trim(BigInt(plan.upTo) as Lsn)
  }

  /** @param isNewer  there is a newer checkpoint */
  private async deleteDead(isNewer: boolean): Promise<void> {
    if (!this.hasDead && !(isNewer && this.replayed.size > 0)) return
    const { fragmentFloor, dead } = this.opened.state.catalog
    if (!this.mayDelete(fragmentFloor)) return
    const batches = dead.batches.filter(({ lsn }) => lsn > this.deletedUpTo)
    const names = new Set([...this.replayed, ...batches.flatMap(({ names: of }) => [...of])])
    const vectors = [...names].filter((name) => name.endsWith('.dv'))
    this.replayed.clear()
    if (vectors.length > 0) {
      const needed = await this.needed(this.opened.fragmentFloor())
      for (const name of vectors) if (needed.has(name) && names.delete(name)) this.replayed.add(name)
    }
    await this.deleteNames([...names])
    this.deletedUpTo = batches.at(-1)?.lsn ?? this.deletedUpTo
  }

  private needed(from: number): Promise<ReadonlySet<string>> {
    const { root, storeId, context, state } = this.opened
    return neededNames({ root, log: toldReads(this.log, this.worked), storeId, context }, state, from)
  }

  private async deleteNames(names: readonly string[]): Promise<void> {
    for (let at = 0; at < names.length; at += BATCH_NAMES) {
      this.stopper.signal.throwIfAborted()
      this.log.assertOwned?.()
      const batch = names.slice(at, at + BATCH_NAMES)
      await this.opened.root.delete(batch)
      this.worked(batch.length)
    }
  }
}

/** Content-addressed files that lie in the root, named or not. */
export async function contentNames(root: Root, listed: (count: number) => void): Promise<Set<string>> {
  const names = new Set<string>()
  for (const prefix of ['fragments/', 'indexes/']) {
    for await (const { name } of root.list(prefix)) {
      if (isContentName(name)) names.add(name)
      listed(1)
    }
  }
  return names
}
