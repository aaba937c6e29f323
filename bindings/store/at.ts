// store/at.ts: from a position as users write it (LSN, Date, name) to a state at that LSN.
//
// The live state answers for the head; older positions are folded from the newest checkpoint below them and kept for a while.

import { BranchNotFoundError, CorruptionError, HistoryUnavailableError } from '../errors.ts'
import {
  decodeRecord,
  KIND_COMMIT,
  KIND_AUDIT,
  KIND_FLUSH,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SEAL,
  KIND_SCHEMA,
  KIND_VACUUM,
  listCheckpoints,
  newestCheckpoint,
  readCheckpoint,
  type StateContext,
  type StateRecord,
  StoreState,
} from '../engine/index.ts'
import type { CommitLog, Lsn } from '../log/index.ts'
import type { Root } from '../root/index.ts'
import type { At } from '../table/index.ts'

const STATES_KEPT = 4

export class History {
  private readonly root: Root
  private readonly log: CommitLog
  private readonly storeId: Uint8Array
  private readonly context: StateContext
  private readonly kept = new Map<number, Promise<StoreState>>()
  private readonly invalid: (file: string, cause: unknown) => void

  /** `invalid` is told of checkpoints that fail their check; an older one, or the log from its start, stands in. */
  constructor(root: Root, log: CommitLog, storeId: Uint8Array, context: StateContext, invalid: (file: string, cause: unknown) => void) {
    this.root = root
    this.log = log
    this.storeId = storeId
    this.context = context
    this.invalid = invalid
  }

  /** @throws HistoryUnavailableError, BranchNotFoundError, RangeError */
  async resolve(at: At, head: number): Promise<number> {
    if (typeof at === 'string') {
      if (at === 'main') return head
      throw new BranchNotFoundError(`no tag or branch ${JSON.stringify(at)}`, { details: { branch: at } })
    }
    if (at instanceof Date) {
      if (Number.isNaN(at.getTime())) throw new RangeError('`at` is an invalid Date')
      return this.lsnAt(at.getTime(), head)
    }
    const lsn = Number(at)
    if (!Number.isSafeInteger(lsn) || lsn < 0) throw new RangeError(`\`at\` is not a position: ${String(at)}`)
    const floor = await this.floor()
    if (lsn > head || lsn < floor) {
      const where = lsn > head ? `after the head ${head}` : `below the floor ${floor}`
      throw new HistoryUnavailableError(`LSN ${lsn} is ${where}`, { details: { asked: BigInt(lsn), floor: BigInt(floor) } })
    }
    return lsn
  }

  /** The state at `lsn`; shared, not to be changed. */
  state(lsn: number): Promise<StoreState> {
    const known = this.kept.get(lsn)
    if (known !== undefined) {
      this.kept.delete(lsn)
      this.kept.set(lsn, known)
      return known
    }
    const loading = this.load(lsn)
    this.kept.set(lsn, loading)
    loading.catch(() => this.kept.delete(lsn))
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= STATES_KEPT) break
      this.kept.delete(oldest)
    }
    return loading
  }

  /** A state at `lsn` of one's own. */
  async load(lsn: number): Promise<StoreState> {
    return StoreState.load(this.context, this.log, await newestCheckpoint(this.root, this.storeId, lsn, this.invalid), lsn)
  }

  /** Positions below are gone: 0 while the whole log is there. */
  private async floor(): Promise<number> {
    if (this.log.tail === 0n) return 0
    const oldest = (await listCheckpoints(this.root)).at(-1)
    return Math.max(Number(this.log.tail), oldest ?? 0)
  }

  /** The last record whose time is at or before `timeMs`: times never decrease. */
  private async lsnAt(timeMs: number, head: number): Promise<number> {
    let from = 0
    for (const lsn of await listCheckpoints(this.root)) {
      const checkpoint = await readCheckpoint(this.root, this.storeId, lsn).catch((error: unknown) => {
        if (error instanceof CorruptionError) return undefined
        throw error
      })
      if (checkpoint === undefined || checkpoint.catalog.timeMs > timeMs) continue
      from = lsn
      break
    }
    from = Math.max(from, Number(this.log.tail))
    let found = from
    for await (const batch of this.log.read(BigInt(from) as Lsn, { end: BigInt(head) as Lsn })) {
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) {
        const time = timeOf(decodeRecord(batch.bytes, offset, lsn))
        if (time !== undefined && time > timeMs) return found
        found = lsn++
      }
    }
    return found
  }
}

function timeOf(record: StateRecord): number | undefined {
  if (record.kind === KIND_COMMIT) return record.commit.timeMs
  if (record.kind === KIND_SCHEMA) return record.schema.timeMs
  if (record.kind === KIND_SEAL) return record.seal.timeMs
  if (record.kind === KIND_PUBLISH) return record.publish.commit.timeMs
  if (record.kind === KIND_ROLLBACK) return record.rollback.timeMs
  if (record.kind === KIND_AUDIT) return record.audit.timeMs
  if (record.kind === KIND_VACUUM) return record.vacuum.timeMs
  return record.kind === KIND_FLUSH ? record.flush.timeMs : undefined
}
