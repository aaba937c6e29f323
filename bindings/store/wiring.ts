// store/wiring.ts: what an open store is made of, and the order in which it is put together (core.md section 7).
//
//   options -> world -> root -> VARVE -> newest valid checkpoint -> log (LOCK, tail, seal, epoch) -> fold the rest -> ready
//
// Invariant: VARVE is written last at creation; a failed open releases what it took.

import type { Branches, Checkpoint } from '../catalog/index.ts'
import { Binder, BranchViews, givenUpOf, newestCheckpoint, readCheckpoint, type StateContext, StoreState } from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { kernels, limitKernels } from '../kernels/index.ts'
import { type CommitLog, currentGeneration, type Lsn, openObjectLog, openSegmentLog, readNode, settledGeneration } from '../log/index.ts'
import { type ResolvedOptions, resolveOptions } from '../options.ts'
import { openRoot, probeRoot, type Root } from '../root/index.ts'
import { fillWorld, FP, type World } from '../runtime/index.ts'
import { ColumnCache, createTableWorkers, type Long } from '../table/index.ts'
import { Acknowledging } from './acknowledging.ts'
import { History } from './at.ts'
import { SharedContext } from './context.ts'
import { Events } from './events.ts'
import { committedEnd, follow } from './following.ts'
import { tellingGone } from './gone-files.ts'
import { found, type Known } from './founding.ts'
import { Metering } from './metering.ts'
import { Reporter } from './progress.ts'
import { WatchedRoot, WrittenBytes } from './watched-root.ts'

export interface Opened {
  readonly root: Root
  readonly world: World
  readonly options: ResolvedOptions
  readonly storeId: Uint8Array
  readonly log: CommitLog
  readonly state: StoreState
  readonly binder: Binder
  readonly context: StateContext
  readonly cache: ColumnCache
  readonly history: History
  /** Branches in the live state. */
  readonly branches: BranchViews
  /** C, and what readers see. */
  readonly acknowledgement: Acknowledging
  readonly events: Events
  readonly metering: Metering
  /** Bytes handed to the root; nothing is on a handle that only reads. */
  readonly written: WrittenBytes
  /** What was opened is a backup. */
  readonly isBackup: boolean
  /** G: files that older versions need may be gone; by the log, or by the copy that this store was made of. */
  readonly fragmentFloor: () => number
  /** LSN of the checkpoint that the open started from; 0 = none. */
  readonly checkpointLsn: number
  /** Files that the last verify() found wrong. */
  readonly damaged: Set<string>
  /** A follower that met damage: no further read. */
  failure: Error | undefined
  /** Read-only: apply what the writer has added. */
  catchUp(): Promise<void>
  isPending(writeIdHex: string): boolean
  kernelBytes(): number
  /** It was a replica until this open. */
  readonly promotion: Promotion | undefined
  /** Close log, workers and root. */
  release: () => Promise<void>
}

function namesOf(state: StoreState | Promise<StoreState>): Branches | Promise<Branches> {
  return state instanceof Promise ? state.then(({ catalog }) => catalog.branches) : state.catalog.branches
}

const THREADS_MAX = 4
const SLOT_GROUP_MS_MAX = 5

/** The root of a replica becomes the primary's. */
export interface Promotion {
  /** To claim, at least. */
  readonly epoch: number
  /** Of the fence behind which it was decided. */
  readonly fencedAt: number
  readonly replicaId: string
  /** Where its log ended, and what it had been told is committed. */
  readonly durableLsn: number
  readonly committedLsn: number
  /** What may be on other nodes and is given up lies above. */
  readonly acceptLossAbove: number | undefined
  /** And up to there, as far as any record told. */
  readonly lostUpTo: number | undefined
}

export async function wire(place: string | URL | Root, given: object | undefined, promotion?: Promotion): Promise<Opened> {
  const options = resolveOptions(given)
  options.signal?.throwIfAborted()
  const base = fillWorld(options.world)
  const reporter = new Reporter(base, options.onProgress as Long['onProgress'])
  reporter.tell({ phase: 'open', done: 0, unit: 'commits' })
  const ownWorkers = base.workers.threads === 0 && threadsOf(options.threads) > 0 && !options.readOnly
  const world: World = ownWorkers ? { ...base, workers: createTableWorkers(threadsOf(options.threads)) } : base
  const root = await openRoot(place, world)
  const ownsRoot = (root as unknown) !== place
  const release = async (log: CommitLog | undefined): Promise<void> => {
    try {
      await log?.close()
    } finally {
      if (ownWorkers) await world.workers.close()
      if (ownsRoot) await root[Symbol.asyncDispose]()
    }
  }
  try {
    const opened = await assemble(root, world, options, release, promotion)
    reporter.tell({ phase: 'open', done: opened.state.applied, total: opened.state.applied, unit: 'commits' })
    return opened
  } catch (error) {
    await release(undefined).catch(() => undefined)
    throw error
  }
}

async function assemble(
  plainRoot: Root,
  world: World,
  options: ResolvedOptions,
  release: (log: CommitLog | undefined) => Promise<void>,
  promotion: Promotion | undefined,
): Promise<Opened> {
  const metering = new Metering(options.meter, world, plainRoot.url)
  const written = new WrittenBytes()
  const root = options.readOnly && !metering.isOn ? plainRoot : new WatchedRoot(plainRoot, written, metering, world)
  limitKernels(options.memory.kernelBytes)
  const events = new Events((event) => world.logger.log(event))
  const {
    storeId,
    opened: { log, checkpoint, isBackup, historyFloor },
  } = await found(
    root,
    world,
    options,
    async (known) => {
      const found = await openLog(root, world, options, events, known, promotion)
      return { ...found, isBackup: known.mark !== undefined, historyFloor: Math.max(known.historyFloor, found.historyFloor) }
    },
    ({ log: other }) => other.close(),
  )
  try {
    const parts: WiredParts = {
      root,
      world,
      options,
      storeId,
      log,
      checkpoint,
      isBackup,
      historyFloor: () => historyFloor,
      events,
      metering,
      written,
      promotion,
      release,
    }
    let opened = await wireState(parts)
    if (!options.readOnly) {
      log.letGo?.()
      return opened
    }
    // What a writer whose commits wait for replicas has not committed yet is not there for a reader beside it.
    const end = isBackup || log.shared ? undefined : await committedEnd(root, opened.state, opened.checkpointLsn)
    if (end !== undefined && end < opened.state.applied) {
      // The fold used up the checkpoint that it began with.
      opened = await wireState({ ...parts, checkpoint: checkpoint === undefined ? undefined : await readCheckpoint(root, storeId, checkpoint.lsn), end })
    }
    log.letGo?.()
    follow(opened)
    return opened
  } catch (error) {
    await log.close().catch((cause: unknown) => world.logger.log({ level: 'warn', code: 'open.releaseFailed', cause }))
    throw error
  }
}

export interface WiredParts extends Pick<Opened, 'root' | 'world' | 'options' | 'storeId' | 'log' | 'isBackup' | 'events' | 'metering' | 'written'> {
  /** Where the fold begins; undefined: at the start of the log. */
  readonly checkpoint: Checkpoint | undefined
  /** Where it ends at first; undefined: at the head. */
  readonly end?: number
  /** Versions below cannot be read, whatever the log says. */
  readonly historyFloor: () => number
  readonly promotion?: Promotion | undefined
  readonly release: (log: CommitLog) => Promise<void>
}

/** Folds the log, and puts together what reads it. */
export async function wireState(parts: WiredParts): Promise<Opened> {
  const { root, world, options, storeId, log, checkpoint, events, metering, written, isBackup, historyFloor } = parts
  const cache = new ColumnCache(options.memory.cacheBytes)
  const folded: { state: StoreState | undefined } = { state: undefined }
  const context = new SharedContext(options.readOnly || log.shared ? tellingGone(root, log, () => folded.state) : root, cache, world)
  const state = await StoreState.load(context, log, checkpoint, parts.end)
  folded.state = state
  const fragmentFloor = (): number => Math.max(historyFloor(), state.catalog.fragmentFloor)
  log.reclaim.fragmentFloor = fragmentFloor
  log.reclaim.historyFloor = historyFloor
  const history = new History({
    root,
    log,
    storeId,
    context,
    branches: () => state.catalog.branches,
    names: () => namesOf(acknowledgement.state()),
    fragmentFloor,
    invalid: (file, cause) => {
      world.logger.log({ level: 'warn', code: 'checkpoint.invalid', file, cause })
      events.emit('checkpointInvalid', { file })
    },
  })
  const branches = new BranchViews(state, log, (position) => history.load(position))
  const checkpointLsn = checkpoint?.lsn ?? 0
  const acknowledgement = new Acknowledging({ root, log, state, world, branches, history, checkpointLsn, readOnly: options.readOnly })
  if (!options.readOnly) await acknowledgement.open()
  return {
    root,
    world,
    options,
    storeId,
    log,
    state,
    binder: new Binder(state),
    context,
    cache,
    history,
    branches,
    acknowledgement,
    events,
    metering,
    written,
    isBackup,
    fragmentFloor,
    checkpointLsn,
    damaged: new Set(),
    failure: undefined,
    catchUp: async () => undefined,
    isPending: () => false,
    kernelBytes: () => kernels().arena.memoryBytes,
    promotion: parts.promotion,
    release: async () => {
      metering.settle(cache, kernels().arena.memoryBytes)
      await parts.release(log)
    },
  }
}

async function openLog(
  root: Root,
  world: World,
  options: ResolvedOptions,
  events: Events,
  known: Known,
  promotion: Promotion | undefined,
): Promise<{ log: CommitLog; checkpoint: Checkpoint | undefined; historyFloor: number }> {
  const { failpoints } = world
  const { storeId, layout, mark } = known
  if (!options.readOnly) {
    if (failpoints.active) await failpoints.around(FP.open.probe, {}, () => probeRoot(root))
    else await probeRoot(root)
  }
  // Checkpoints are those of one log; a replica may begin another one while we look.
  const generation = layout === 'segments' && options.readOnly ? await settledGeneration(root, world, options.signal) : undefined
  const checkpoint = await newestCheckpoint(root, storeId, mark?.lsn, (file, cause) => {
    world.logger.log({ level: 'warn', code: 'checkpoint.invalid', file, cause })
    events.keep('checkpointInvalid', { file })
  })
  const floors = [checkpoint, mark].flatMap((claim) => (claim === undefined ? [] : [{ lsn: BigInt(claim.lsn) as Lsn, digest: claim.digest }]))
  const common = {
    world,
    storeId,
    readOnly: options.readOnly,
    follow: options.follow,
    floors,
    keeps: true,
    until: mark === undefined ? undefined : (BigInt(mark.lsn) as Lsn),
    epoch: options.epoch,
  }
  if (options.epoch !== undefined && (options.readOnly || (layout === 'slots' && options.writers !== 'exclusive'))) {
    throw new InvalidConfigError('epoch: claimed by the one writer of a log', { details: { key: 'epoch', value: options.epoch } })
  }
  if (layout === 'slots') {
    const groupCommitMs = Math.min(options.groupCommitMs, SLOT_GROUP_MS_MAX)
    return { log: await openObjectLog(root, { ...common, groupCommitMs, writers: options.writers ?? 'shared' }), checkpoint, historyFloor: 0 }
  }
  const log = await openSegmentLog(root, {
    ...common,
    isGivenUp: givenUpOf(root, world, storeId),
    durability: options.durability,
    groupCommitMs: options.groupCommitMs,
    bufferedSyncMs: options.bufferedSyncMs,
    segmentBytes: options.segmentBytes,
    openRetry: options.openRetry,
    ...(promotion === undefined ? {} : { promote: { epoch: promotion.epoch, fencedAt: promotion.fencedAt } }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  }).catch(async (error: unknown) => {
    if (generation === undefined || (await currentGeneration(root)).number === generation.number) throw error
    return undefined
  })
  if (log === undefined) return openLog(root, world, options, events, known, promotion)
  const node = log.readOnly ? await readNode(root) : log.node.facts
  return { log, checkpoint, historyFloor: Math.max(node?.historyFloorLsn ?? 0, generation?.base?.baseLsn ?? 0) }
}

function threadsOf(threads: number | 'auto'): number {
  if (threads !== 'auto') return threads
  const cores = (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator?.hardwareConcurrency ?? 2
  return Math.max(1, Math.min(THREADS_MAX, cores - 1))
}
