// store/copy-store.ts: a store as it was at one LSN, into another place: what a backup and a restore have in common (docs/backup.md).
//
//   pin -> base of the target -> log behind it -> files that it lacks -> checkpoints -> staged files of sealed writes -> names durable -> the mark
//
// Invariant: all that the target gets is reachable from records at or below the LSN, and is there before the mark says so; commits go on meanwhile.

import { isNotFound } from '../root/index.ts'
import { checkpointName } from '../catalog/index.ts'
import { decodeRecord, listCheckpoints, NamedFiles, neededFiles, readCheckpoint } from '../engine/index.ts'
import { CorruptionError, HistoryUnavailableError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import { Floors, LogCopy, type LogBatch, type Lsn } from '../log/index.ts'
import { Turns } from '../runtime/index.ts'
import type { BackupReport, Progress, WriteId } from '../table/index.ts'
import { contentFiles, copyCheckpoints, copyContent, type CopyCount, copyPending, missingIn } from './copy-files.ts'
import type { CopyBase, CopyTarget } from './copy-target.ts'
import { tellingGone } from './gone-files.ts'
import { Reporter } from './progress.ts'
import type { Opened } from './wiring.ts'

/** Records read between two looks at the clock. */
const LOOK_RECORDS = 256
/** Trims met on the way before the copy gives up. */
const TRIES = 3

export type CopySource = Pick<Opened, 'root' | 'world' | 'log' | 'storeId' | 'state' | 'history' | 'context' | 'fragmentFloor'>

export interface CopyOptions {
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((p: Progress) => void) | undefined
}

/** @throws BackupMismatchError, CorruptionError, HistoryUnavailableError, PinRefusedError, StorageError */
export async function copyStore(source: CopySource, target: CopyTarget, lsn: number, o: CopyOptions): Promise<BackupReport> {
  const { log } = source
  for (let tries = 1; ; tries++) {
    const { tail } = log
    try {
      return await copyOnce(source, target, tail, lsn, o)
    } catch (error) {
      // No version below the floor is held: the log behind it may be trimmed while it is read. What is left is copied.
      if (!(error instanceof HistoryUnavailableError) || log.tail === tail || tries === TRIES) throw error
    }
  }
}

async function copyOnce(source: CopySource, target: CopyTarget, tail: Lsn, lsn: number, o: CopyOptions): Promise<BackupReport> {
  const { log, root, world, fragmentFloor } = source
  // Other writers of a shared log see a lease; in this process the store's own pin does.
  const pin = log.shared ? await log.pin(BigInt(Math.max(Number(tail), fragmentFloor())) as Lsn, 'backup') : undefined
  try {
    const reporter = new Reporter(world, o.onProgress)
    const count: CopyCount = { files: 0, bytes: 0 }
    const named = new NamedFiles()
    const base = await target.base(log, tail, lsn)
    await filesBelow(source, tail, lsn, named)
    const written = await copyLog(source, target, { base, tail, lsn }, named, count, reporter, o)
    const files = contentFiles(named)
    const missing = await missingIn(target, files)
    const total = missing.reduce((sum, { file }) => sum + file.bytes, 0)
    let done = 0
    reporter.tell({ phase: 'files', done, total, unit: 'bytes' })
    const absences = new Absences(source, written.lsn)
    await copyContent(root, target, missing, {
      signal: o.signal,
      copied: ({ file }) => {
        count.files++
        count.bytes += file.bytes
        reporter.step({ phase: 'files', done: (done += file.bytes), total, unit: 'bytes' })
      },
      absent: (name, cause) => absences.met(name, cause),
    })
    await copyCheckpoints(source, target, written.lsn, count)
    const { kept, lost } = await copyPending(root, target, named, count)
    o.signal?.throwIfAborted()
    if (pin?.lost?.() !== undefined) throw pin.lost()
    await target.complete({ ...written, historyFloor: absences.floor, isShipped: source.state.catalog.ack.lsn > 0 })
    reporter.tell({ phase: 'files', done: total, total, unit: 'bytes' })
    return {
      lsn: BigInt(written.lsn) as Lsn,
      digest: written.digest,
      ...(await sizeOf(target)),
      copied: count.files,
      copiedBytes: count.bytes,
      pending: kept as WriteId[],
      pendingLost: lost as WriteId[],
    }
  } finally {
    pin?.release()
  }
}

/** What records name that the log begins behind: checkpoints have it. */
async function filesBelow({ root, storeId, world }: CopySource, tail: Lsn, lsn: number, named: NamedFiles): Promise<void> {
  if (tail === 0n) return
  for (const at of await listCheckpoints(root)) {
    if (at > lsn) continue
    try {
      const { catalog } = await readCheckpoint(root, storeId, at)
      named.ofCatalog(catalog)
      for (const [id, seal] of catalog.outcomes.pending) if (BigInt(seal.lsn) <= tail) named.seals.set(id, seal)
    } catch (cause) {
      // Damaged, or taken by a vacuum meanwhile: others stand in.
      if (!(cause instanceof CorruptionError || isNotFound(cause))) throw cause
      world.logger.log({ level: 'warn', code: 'checkpoint.invalid', file: checkpointName(at), cause })
    }
  }
}

/** The records behind the base, and the files that all records up to `lsn` name. */
async function copyLog(
  source: CopySource,
  target: CopyTarget,
  { base, tail, lsn }: { readonly base: CopyBase; readonly tail: Lsn; readonly lsn: number },
  named: NamedFiles,
  count: CopyCount,
  reporter: Reporter,
  { signal }: CopyOptions,
): Promise<Awaited<ReturnType<LogCopy['finish']>>> {
  const { log, world } = source
  const { identity } = target
  if (base.isNew && identity.layout === 'slots' && tail > 0n) await putFloor(source, target, tail)
  const turns = new Turns(world)
  const copy = new LogCopy(target, {
    world,
    pause: () => turns.step(),
    storeId: identity.storeId,
    layout: identity.layout,
    lsn: base.lsn,
    digest: base.digest,
    epoch: base.epoch,
    mandateOf: (epoch) => log.lineage.find((mark) => Number(mark.epoch) === epoch)?.mandate ?? 0,
    wrote: (bytes) => {
      count.files++
      count.bytes += bytes
    },
  })
  const total = lsn - Number(tail)
  const look = async (batch: LogBatch): Promise<void> => {
    let at = Number(batch.first)
    for (const offset of batch.offsets) {
      named.ofRecord(decodeRecord(batch.bytes, offset, at++))
      if (at % LOOK_RECORDS === 0) await turns.step()
    }
    reporter.step({ phase: 'log', done: at - 1 - Number(tail), total, unit: 'commits' })
  }
  reporter.tell({ phase: 'log', done: 0, total, unit: 'commits' })
  const o = signal === undefined ? {} : { signal }
  for await (const batch of log.read(tail, { end: BigInt(base.lsn) as Lsn, ...o })) await look(batch)
  for await (const batch of log.read(BigInt(base.lsn) as Lsn, { end: BigInt(lsn) as Lsn, ...o })) {
    await look(batch)
    await copy.add(batch)
  }
  const written = await copy.finish()
  const digest = await log.digestAt(BigInt(written.lsn) as Lsn)
  if (toHex(digest) !== toHex(written.digest)) {
    throw new CorruptionError('log.corrupt', `the log states digest ${toHex(digest)} at LSN ${written.lsn}; its records make ${toHex(written.digest)}`, {
      details: { file: 'log', lsn: BigInt(written.lsn) },
    })
  }
  return written
}

/** A log that begins behind a tail says so in a floor. */
async function putFloor({ log, world }: CopySource, { root, identity }: CopyTarget, tail: Lsn): Promise<void> {
  const lineage = log.lineage.filter(({ firstLsn }) => firstLsn <= tail).map(({ epoch, firstLsn }) => ({ epoch: Number(epoch), firstLsn: Number(firstLsn) }))
  const floors = new Floors(root, { world, storeId: identity.storeId })
  await floors.raise({ tail: Number(tail), digest: await log.digestAt(tail), epoch: log.highestEpoch ?? 0, lineage, attemptsAbove: () => [] })
}

/** Told of each file that the source lacks. What a vacuum took is missing there too: `floor`, once one was met, is what the copy can be read from. */
class Absences {
  floor = 0
  private readonly source: CopySource
  private readonly lsn: number
  private isNeeded: ((name: string) => Promise<boolean>) | undefined

  constructor(source: CopySource, lsn: number) {
    this.source = source
    this.lsn = lsn
  }

  /** @throws HistoryUnavailableError, StorageError when something that can be read needs it */
  async met(name: string, cause: unknown): Promise<void> {
    const { root, log, storeId, context, state, fragmentFloor } = this.source
    const floor = fragmentFloor()
    if (floor > this.lsn) {
      throw new HistoryUnavailableError(`LSN ${this.lsn} fell below the floor ${floor} while it was copied`, {
        details: { asked: BigInt(this.lsn), floor: BigInt(floor) },
      })
    }
    this.isNeeded ??= neededFiles({ root, log, storeId, context, branches: state.catalog.branches }, floor, this.lsn)
    if (await this.isNeeded(name)) {
      // By the records behind what a reader has folded it may be a vacuum all the same.
      await tellingGone(root, log, () => state).get(name)
      throw cause
    }
    this.floor = floor
  }
}

/** All that the copy consists of; locks and temporary files are no part of it. */
async function sizeOf({ root }: CopyTarget): Promise<CopyCount> {
  const count: CopyCount = { files: 0, bytes: 0 }
  for await (const { name, size } of root.list('')) {
    if (name.startsWith('LOCK.')) continue
    count.files++
    count.bytes += size
  }
  return count
}
