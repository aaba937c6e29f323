// store/copy-target.ts: the place that a backup or a restore writes to: whose it is, how far it is whole, and the one write that makes it whole.
//
//   VARVE { copy } first      log, files, checkpoints      backup: BACKUP, replaced whole      restore: VARVE without `copy`
//
// Invariant: from the first write on VARVE says that this is a copy, so that nothing here is ever opened as a store by mistake; what was whole before a run stays whole
// until the last write of the run. One run at a time, by the LOCK.

import { BackupMismatchError, StoreExistsError } from '../errors.ts'
import { toHex } from '../format/index.ts'
import {
  BACKUP_NAME,
  CLEAN_NAME,
  type CleanMark,
  type CommitLog,
  type CopyState,
  type Digest,
  encodeBackupMark,
  encodeClean,
  encodeIdentity,
  encodeNode,
  FORMATS,
  type Identity,
  IDENTITY_NAME,
  type Lock,
  type LogLayout,
  type Lsn,
  NODE_NAME,
  FRESH_NODE,
  openObjectLog,
  openSegmentLog,
  readBackupMark,
  storeIdBytes,
  takeLock,
} from '../log/index.ts'
import { compareNames, type Root } from '../root/index.ts'
import type { World } from '../runtime/index.ts'
import { readIdentity } from './founding.ts'

/** Beside the first file of a copy nothing else may be there. */
const NOT_DATA = /^(LOCK\.\d+|probe\/.*)$/
const LSN_OF = /^(?:log|checkpoints)\/(\d{20})(?:\.wal|\.ckpt)?$/

/** Folders synced at one time. */
const SYNCS_AT_ONCE = 8

/** Where the copy goes on. */
export interface CopyBase {
  readonly lsn: number
  readonly digest: Digest
  /** Highest epoch of the records up to `lsn`. */
  readonly epoch: number
  /** Nothing is there yet that counts. */
  readonly isNew: boolean
}

export interface CopyIdentity {
  readonly storeId: Uint8Array
  readonly createdMs: number
  readonly layout: LogLayout
}

/** What was copied. */
export interface Completed {
  readonly lsn: number
  readonly digest: Digest
  /** Of a log of segments. */
  readonly clean: Omit<CleanMark, 'storeId'> | undefined
  readonly historyFloor: number
  /** Its log has a record of the acknowledgement mode. */
  readonly isShipped: boolean
}

export class CopyTarget {
  readonly root: Root
  readonly world: World
  readonly as: CopyState
  readonly identity: CopyIdentity
  /** Folders whose new names are not durable yet. */
  private readonly folders: Set<string> = new Set()
  private readonly lock: Lock | undefined

  private constructor(root: Root, world: World, as: CopyState, identity: CopyIdentity, lock: Lock | undefined) {
    this.root = root
    this.world = world
    this.as = as
    this.identity = identity
    this.lock = lock
  }

  /**
   * Take the place for one run.
   *
   * @param identity  of the copy; a restore under a new id that was cut off goes on with the id it has
   * @throws StoreExistsError when anything else is there; LockHeldError, OpenLockTimeoutError while another run is at work
   */
  static async take(root: Root, world: World, as: CopyState, identity: CopyIdentity, hasNewId: boolean): Promise<CopyTarget> {
    await root.probe?.()
    const own = await claimed(root, as, identity, hasNewId)
    const lock = root.caps.segments
      ? await takeLock(root, world, { retry: { delaysMs: [50, 100, 200], cleanupStale: true }, epochFloor: async () => 0 })
      : undefined
    try {
      // Another run may have come and gone meanwhile.
      const target = new CopyTarget(root, world, as, await claimed(root, as, own, hasNewId), lock)
      await target.putIdentity(as)
      return target
    } catch (error) {
      await lock?.release()
      throw error
    }
  }

  release(): Promise<void> | undefined {
    return this.lock?.release()
  }

  /**
   * What an earlier run left whole, held against the source; what one left behind it is removed.
   *
   * @throws BackupMismatchError
   */
  async base(source: CommitLog, tail: Lsn, lsn: number): Promise<CopyBase> {
    const mark = this.as === 'backup' ? await readBackupMark(this.root) : undefined
    if (mark === undefined) {
      await this.drop(-1)
      return { lsn: Number(tail), digest: await source.digestAt(tail), epoch: tail === 0n ? 0 : (source.highestEpoch ?? 0), isNew: true }
    }
    await this.agrees(source, mark.lsn, mark.digest, lsn)
    const log = await this.openLog(mark.lsn, mark.digest)
    try {
      return { lsn: mark.lsn, digest: mark.digest, epoch: log.highestEpoch ?? 0, isNew: false }
    } finally {
      await log.close()
      await this.drop(mark.lsn)
    }
  }

  private async agrees(source: CommitLog, marked: number, digest: Digest, lsn: number): Promise<void> {
    const refuse = (reason: 'ahead' | 'behind' | 'diverged', why: string): never => {
      throw new BackupMismatchError(`${this.root.url}: ${why}`, { details: { url: this.root.url, lsn: BigInt(marked), reason } })
    }
    if (marked > Number(source.head)) refuse('ahead', `the backup reaches LSN ${marked}, the store ends at ${source.head}`)
    if (marked < Number(source.tail)) refuse('behind', `the backup ends at LSN ${marked}, and the store has forgotten what is up to ${source.tail}`)
    const found = toHex(await source.digestAt(BigInt(marked) as Lsn))
    if (found !== toHex(digest)) refuse('diverged', `the backup has another history: at LSN ${marked} its digest is ${toHex(digest)}, the store's is ${found}`)
    if (marked > lsn) refuse('ahead', `the backup reaches LSN ${marked} already, further than ${lsn}`)
  }

  private openLog(lsn: number, digest: Digest): Promise<CommitLog> {
    const { world } = this
    const { storeId, layout } = this.identity
    const until = BigInt(lsn) as Lsn
    const o = { world, storeId, readOnly: true, follow: false, until, floors: [{ lsn: until, digest }] }
    return layout === 'slots' ? openObjectLog(this.root, o) : openSegmentLog(this.root, o)
  }

  /** Files of the log and checkpoints above `lsn`, that a run which was cut off has put: nobody reads them. The newest go first. */
  private async drop(lsn: number): Promise<void> {
    const names: string[] = []
    for (const prefix of ['log/', 'checkpoints/']) {
      for await (const { name } of this.root.list(prefix)) if (Number(LSN_OF.exec(name)?.[1] ?? 0) > lsn) names.push(name)
    }
    if (lsn < 0) for await (const { name } of this.root.list('')) if (name.startsWith('FLOOR.')) names.push(name)
    for (const name of names.toSorted(compareNames).reverse()) await this.root.delete(name)
  }

  /** A new file of the copy; its name is durable after settle(). */
  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.root.put(name, bytes, { sync: 'file' })
    this.counts(name)
  }

  async putLarge(name: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
    await this.root.putLarge(name, parts, { sync: 'file' })
    this.counts(name)
  }

  /** Also of a file that an earlier run put: it may have been killed before the name was durable, and this run vouches for it. */
  counts(name: string): void {
    this.folders.add(name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '')
  }

  /** Every file put so far is durable under its name. */
  private async settle(): Promise<void> {
    const queue = this.folders.values()
    const lane = async (): Promise<void> => {
      for (const folder of queue) await this.root.syncDir(folder)
    }
    if (this.root.caps.syncDir) await Promise.all(Array.from({ length: SYNCS_AT_ONCE }, lane))
    this.folders.clear()
  }

  /** The write that makes the copy whole. */
  async complete({ lsn, digest, clean, historyFloor, isShipped }: Completed): Promise<void> {
    const { storeId } = this.identity
    await this.settle()
    if (this.as === 'backup') {
      await this.root.put(BACKUP_NAME, encodeBackupMark({ storeId, lsn, digest, historyFloor, atMs: this.world.clock.nowMs() }))
      return
    }
    if (clean !== undefined) await this.root.put(CLEAN_NAME, encodeClean({ storeId, ...clean }))
    // Its log waits for replicas: what was copied was committed.
    if (isShipped) await this.root.put(NODE_NAME, encodeNode({ ...FRESH_NODE, seq: 1, storeId, committedLsn: lsn }))
    await this.putIdentity(undefined, historyFloor)
  }

  private async putIdentity(copy: CopyState | undefined, historyFloor = 0): Promise<void> {
    const { storeId, createdMs, layout } = this.identity
    const there = await readIdentity(this.root)
    // A copy that an older version began is of the newest format from here on: what is put there is.
    this.counts(IDENTITY_NAME)
    if (there !== undefined && there.copy === copy && there.format === FORMATS.max) return
    await this.root.put(IDENTITY_NAME, encodeIdentity(storeId, createdMs, this.world.random.bytes(16), layout, copy, historyFloor))
  }
}

/** Whose the place is: ours, or free. @throws StoreExistsError */
async function claimed(root: Root, as: CopyState, identity: CopyIdentity, hasNewId: boolean): Promise<CopyIdentity> {
  const there = await readIdentity(root)
  if (there === undefined) {
    for await (const { name } of root.list('')) {
      if (!NOT_DATA.test(name)) throw exists(`${root.url} is not empty: it holds ${name}`, undefined)
    }
    return identity
  }
  if (there.copy !== as) throw exists(`${root.url} holds ${whatIs(there)}`, there)
  const isSame = there.storeId === toHex(identity.storeId)
  if (!isSame && !(as === 'restoring' && hasNewId)) throw exists(`${root.url} holds ${whatIs(there)}, not of ${toHex(identity.storeId)}`, there)
  return { storeId: storeIdBytes(there), createdMs: there.createdMs, layout: there.log }
}

function whatIs({ copy, storeId }: Identity): string {
  if (copy === undefined) return `store ${storeId}`
  return copy === 'backup' ? `a backup of store ${storeId}` : `an unfinished restore of store ${storeId}`
}

function exists(message: string, identity: Identity | undefined): StoreExistsError {
  return new StoreExistsError(message, { details: { storeId: identity?.storeId ?? '' }, hint: 'Choose an empty place.' })
}
