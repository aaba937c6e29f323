// store/at.ts: from a position as users write it (LSN, Date, name) to a state of a branch at an LSN.
//
// The live state answers for the heads; older positions are folded from the newest checkpoint below them and kept for a while.

import { isNotFound } from '../root/index.ts'
import { type Branches, MAIN, type TagEntry } from '../catalog/index.ts'
import { BranchNotFoundError, CorruptionError, HistoryUnavailableError } from '../errors.ts'
import {
  decodeRecord,
  KIND_COMMIT,
  KIND_AUDIT,
  KIND_BRANCH,
  KIND_FLUSH,
  KIND_MODE,
  KIND_OPTIMIZE,
  KIND_PUBLISH,
  KIND_ROLLBACK,
  KIND_SEAL,
  KIND_SCHEMA,
  KIND_VACUUM,
  listCheckpoints,
  loadPosition,
  type Position,
  type PositionSource,
  readCheckpoint,
  type StateRecord,
  type StoreState,
} from '../engine/index.ts'
import { MAIN_BRANCH } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import type { At } from '../table/index.ts'

const STATES_KEPT = 4

export interface HistorySource extends PositionSource {
  /** G: files that older versions need may be gone. */
  readonly fragmentFloor: () => number
  /** Branches and tags as readers see them. */
  readonly names: () => Branches | Promise<Branches>
}

export class History {
  private readonly source: HistorySource
  private readonly kept = new Map<string, Promise<StoreState>>()

  constructor(source: HistorySource) {
    this.source = source
  }

  /**
   * What `at` stands for; a position and a Date are taken on `branch`.
   *
   * @returns `isHead`: the newest there is, whatever comes until it is read
   * @throws HistoryUnavailableError, BranchNotFoundError, RangeError
   */
  async resolve(at: At, head: number, branch: number = MAIN): Promise<Position & { readonly isHead: boolean }> {
    if (typeof at === 'string') {
      const named = await this.named(at)
      if (named === undefined) throw new BranchNotFoundError(`no tag or branch ${JSON.stringify(at)}`, { details: { branch: at } })
      if (typeof named === 'number') return { branch: named, lsn: head, isHead: true }
      // Held by its name, wherever the floor is.
      return { branch: named.branch, lsn: named.lsn, isHead: false }
    }
    if (at instanceof Date) {
      if (Number.isNaN(at.getTime())) throw new RangeError('`at` is an invalid Date')
      return { branch, lsn: await this.reachable(await this.lsnAt(at.getTime(), head), head), isHead: false }
    }
    const lsn = Number(at)
    if (!Number.isSafeInteger(lsn) || lsn < 0) throw new RangeError(`\`at\` is not a position: ${String(at)}`)
    return { branch, lsn: await this.reachable(lsn, head), isHead: false }
  }

  /** The number of a live branch. @throws BranchNotFoundError */
  async branchNamed(name: string): Promise<number> {
    const named = await this.named(name)
    if (typeof named === 'number') return named
    throw new BranchNotFoundError(`no branch ${JSON.stringify(name)}`, { details: { branch: name } })
  }

  /** The number of a live branch, or a tag. */
  private async named(name: string): Promise<number | TagEntry | undefined> {
    const branches = await this.source.names()
    return name === MAIN_BRANCH ? MAIN : (branches.named(name)?.id ?? branches.tag(name))
  }

  /** @throws HistoryUnavailableError */
  private async reachable(lsn: number, head: number): Promise<number> {
    const floor = await this.floor()
    if (lsn > head || lsn < floor) {
      const where = lsn > head ? `after the head ${head}` : `below the floor ${floor}`
      throw new HistoryUnavailableError(`LSN ${lsn} is ${where}`, { details: { asked: BigInt(lsn), floor: BigInt(floor) } })
    }
    return lsn
  }

  /** A branch as it was at an LSN; shared, not to be changed. */
  state({ branch, lsn }: Position): Promise<StoreState> {
    const owner = this.source.branches().ownerAt(branch, lsn)
    const name = `${owner}:${lsn}`
    const known = this.kept.get(name)
    if (known !== undefined) {
      this.kept.delete(name)
      this.kept.set(name, known)
      return known
    }
    const loading = this.load({ branch: owner, lsn })
    this.kept.set(name, loading)
    loading.catch(() => this.kept.delete(name))
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= STATES_KEPT) break
      this.kept.delete(oldest)
    }
    return loading
  }

  /** As state(), of one's own. */
  load(position: Position): Promise<StoreState> {
    return loadPosition(this.source, position)
  }

  /** Positions above are no longer what they were. */
  forget(above: number): void {
    for (const name of this.kept.keys()) if (Number(name.slice(name.indexOf(':') + 1)) > above) this.kept.delete(name)
  }

  /** Positions below it cannot be read: files of theirs may be gone, or the log and the checkpoint that they are made of. */
  async floor(): Promise<number> {
    const fragments = this.source.fragmentFloor()
    if (this.source.log.tail === 0n) return fragments
    const oldest = (await listCheckpoints(this.source.root)).at(-1)
    return Math.max(Number(this.source.log.tail), oldest ?? 0, fragments)
  }

  /** The last record whose time is at or before `timeMs`: times never decrease. */
  async lsnAt(timeMs: number, head: number): Promise<number> {
    let from = 0
    for (const lsn of await listCheckpoints(this.source.root)) {
      const checkpoint = await readCheckpoint(this.source.root, this.source.storeId, lsn).catch((error: unknown) => {
        // A vacuum may take one between the list and the look.
        if (error instanceof CorruptionError || isNotFound(error)) return undefined
        throw error
      })
      if (checkpoint === undefined || checkpoint.catalog.timeMs > timeMs) continue
      from = lsn
      break
    }
    from = Math.max(from, Number(this.source.log.tail))
    let found = from
    for await (const batch of this.source.log.read(BigInt(from) as Lsn, { end: BigInt(head) as Lsn })) {
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
  if (record.kind === KIND_BRANCH) return record.branch.timeMs
  if (record.kind === KIND_AUDIT) return record.audit.timeMs
  if (record.kind === KIND_MODE) return record.mode.timeMs
  if (record.kind === KIND_VACUUM) return record.vacuum.timeMs
  if (record.kind === KIND_OPTIMIZE) return record.optimize.timeMs
  return record.kind === KIND_FLUSH ? record.flush.timeMs : undefined
}
