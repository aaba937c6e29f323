// store/branching.ts: branches and tags come and go: names checked, positions found, one record each (recovery.md section 13).
//
// Invariant: a name is checked and its record queued in one synchronous step; a branch that somebody works on is not deleted.

import { type BranchEntry, MAIN, type TagEntry } from '../catalog/index.ts'
import { type Engine, inTurn, type Position } from '../engine/index.ts'
import {
  BranchExistsError,
  BranchNotFoundError,
  CommitOutcomeUnknownError,
  InvalidConfigError,
  InvalidNameError,
  PendingIntentError,
  ResourceLimitError,
} from '../errors.ts'
import { type BranchChange, MAIN_BRANCH, MAIN_BRANCH_ID } from '../format/index.ts'
import type { Lsn } from '../log/index.ts'
import { FP, ulidText } from '../runtime/index.ts'
import { type At, type BranchId, type BranchInfo, type BranchOptions, checkBranchName, type TagInfo, type TagOptions } from '../table/index.ts'
import type { History } from './at.ts'
import { headOf } from './branch-handle.ts'
import { checkKnown } from './known-options.ts'

const MESSAGE_BYTES_MAX = 4096

export interface BranchingParts {
  /** Of main. */
  readonly engine: Engine
  readonly history: History
  /** Throws when the handle takes no writes. */
  readonly writable: () => void
  readonly heal: () => Promise<void> | undefined
  /** Ids of writes to the branch that are not decided and whose owner may live. */
  readonly workedOn: (branchId: string) => Promise<readonly string[]>
}

/** A branch that is there. */
export interface FoundBranch {
  readonly name: string
  readonly branch: number
  readonly branchId: BranchId
}

const MAIN_FOUND: FoundBranch = { name: MAIN_BRANCH, branch: MAIN, branchId: MAIN_BRANCH_ID as BranchId }

export class Branching {
  private readonly parts: BranchingParts

  constructor(parts: BranchingParts) {
    this.parts = parts
  }

  async branch(name: string, o: BranchOptions = {}): Promise<FoundBranch> {
    const { create = 'if-missing' } = checkKnown('branch', o, ['from', 'create'])
    if (create !== 'if-missing' && create !== 'must' && create !== 'never') throw wrong('create', create)
    this.parts.writable()
    if (name === MAIN_BRANCH) {
      if (create === 'must') throw exists(name, 'branch')
      return MAIN_FOUND
    }
    const there = await this.lookUp(name)
    if (there !== undefined && 'id' in there && create !== 'must') {
      // As if it were made by this call.
      await this.parts.engine.parts.committer.gate?.reached(there.createdLsn)
      return foundOf(there)
    }
    if (create === 'never') throw notFound(name, 'branch')
    checkBranchName(name)
    return this.queued(async () => {
      const from = await this.positionOf(o.from)
      const now = this.find(name)
      if (now === 'wait') return undefined
      if (now !== undefined) {
        if (create === 'must' || !('id' in now)) throw exists(name, 'id' in now ? 'branch' : 'tag')
        return foundOf(now)
      }
      if (!this.isSteady(from.branch)) return undefined
      const { committer, world } = this.parts.engine.parts
      const change = { op: 'create', name, branch: committer.names.nextId, parent: from.branch, from: from.lsn } as const
      if (!world.failpoints.active) return madeOf(change, await committer.branch(change))
      await world.failpoints.hit(FP.branch.beforeCreate, { branch: name })
      if (this.find(name) !== undefined || committer.names.nextId !== change.branch) return undefined
      const made = await committer.branch(change)
      await passed(made, () => world.failpoints.hit(FP.branch.afterCreate, { branch: name }))
      return madeOf(change, made)
    })
  }

  async deleteBranch(name: string): Promise<void> {
    this.parts.writable()
    if (name === MAIN_BRANCH) throw new InvalidNameError('main cannot be deleted', { details: { name } })
    await this.parts.heal()
    const { engine, workedOn } = this.parts
    const { committer, world } = engine.parts
    await this.queued(async () => {
      const entry = await this.lookUp(name)
      if (entry === undefined || !('id' in entry)) throw notFound(name, 'branch')
      const branchId = ulidText(entry.branchId)
      using _gate = await engine.gates.take({ branches: { mode: 'exclusive', ids: [branchId] } })
      const writeIds = await workedOn(branchId)
      if (writeIds.length > 0) {
        throw new PendingIntentError(
          `branch ${JSON.stringify(name)} cannot be deleted: ${writeIds.length} writes to it are not decided, and their owners may live`,
          {
            details: { writeIds },
            hint: 'Publish them or roll them back first; store.pending() lists them.',
          },
        )
      }
      if (world.failpoints.active) await world.failpoints.hit(FP.branch.beforeDelete, { branch: name })
      this.parts.writable()
      const now = this.find(name)
      if (now !== entry) return undefined
      const gone = await committer.branch({ op: 'delete', name, branch: entry.id })
      if (world.failpoints.active) await passed(gone, () => world.failpoints.hit(FP.branch.afterDelete, { branch: name }))
      return true
    })
  }

  async tag(name: string, o: TagOptions = {}): Promise<void> {
    const { message } = checkKnown('tag', o, ['at', 'message'])
    if (message !== undefined && typeof message !== 'string') throw wrong('message', message)
    const bytes = message === undefined ? 0 : new TextEncoder().encode(message).length
    if (bytes > MESSAGE_BYTES_MAX)
      throw new ResourceLimitError(`a message of ${bytes} bytes; at most ${MESSAGE_BYTES_MAX}`, { details: { limit: 'message', asked: bytes } })
    this.parts.writable()
    checkBranchName(name)
    const { committer } = this.parts.engine.parts
    await this.queued(async () => {
      const { branch, lsn } = await this.positionOf(o.at)
      const now = this.find(name)
      if (now === 'wait') return undefined
      if (now !== undefined) throw exists(name, 'id' in now ? 'branch' : 'tag')
      if (!this.isSteady(branch)) return undefined
      await committer.branch({ op: 'tag', name, branch, lsn, ...(message === undefined ? {} : { message }) })
      return true
    })
  }

  async deleteTag(name: string): Promise<void> {
    this.parts.writable()
    const { committer } = this.parts.engine.parts
    await this.queued(async () => {
      const now = this.find(name)
      if (now === 'wait') return undefined
      if (now === undefined || 'id' in now) throw notFound(name, 'tag')
      await committer.branch({ op: 'untag', name })
      return true
    })
  }

  /** Tried again when something that is queued must be known first, and after a lost slot. */
  private async queued<T>(tryOnce: () => Promise<T | undefined>): Promise<T> {
    const { engine, writable } = this.parts
    for (;;) {
      const done = await inTurn(engine, undefined, tryOnce)
      if (done !== undefined) return done
      await engine.parts.committer.drained()
      writable()
    }
  }

  /** What stands under the name, with what is queued; `wait`: that is not durable yet. */
  private find(name: string): BranchEntry | TagEntry | 'wait' | undefined {
    const found = this.parts.engine.parts.committer.names.find(name)
    return found === 'queued' ? 'wait' : found
  }

  private async lookUp(name: string): Promise<BranchEntry | TagEntry | undefined> {
    const { engine } = this.parts
    // Another writer of a shared log may have made it a moment ago.
    if (engine.parts.log.shared && this.find(name) === undefined) await engine.confirm()
    for (let found = this.find(name); ; found = this.find(name)) {
      if (found !== 'wait') return found
      await engine.parts.committer.drained()
    }
  }

  /** Where a name is to stand: on the branch whose records are there. */
  private async positionOf(at: At | undefined): Promise<Position> {
    const { engine, history } = this.parts
    const { applied, catalog } = engine.parts.store
    if (at === undefined) return { branch: MAIN, lsn: applied }
    const { branch, lsn } = await history.resolve(at, applied)
    return { branch: catalog.branches.ownerAt(branch, lsn), lsn }
  }

  /** A record that stands on the branch may be queued: it is there when that is folded. */
  private isSteady(branch: number): boolean {
    const { committer, store } = this.parts.engine.parts
    return committer.names.isLive(branch) || (store.catalog.branches.numbered(branch) !== undefined && !committer.names.isAhead)
  }
}

/** Main first, the others by name. */
export function branchInfos(state: Engine['parts']['store']): BranchInfo[] {
  const main = { name: MAIN_BRANCH, branchId: MAIN_BRANCH_ID as BranchId, from: 0n as Lsn, head: BigInt(headOf(state, undefined)) as Lsn }
  const others = state.catalog.branches.live().map((entry) => ({
    name: entry.name,
    branchId: ulidText(entry.branchId) as BranchId,
    from: BigInt(entry.fromLsn) as Lsn,
    head: BigInt(entry.head) as Lsn,
  }))
  return [main, ...others]
}

export function tagInfos(state: Engine['parts']['store']): TagInfo[] {
  return state.catalog.branches.tags().map(({ name, lsn, timeMs, message }) => ({
    name,
    lsn: BigInt(lsn) as Lsn,
    time: new Date(timeMs),
    ...(message === undefined ? {} : { message }),
  }))
}

function foundOf({ name, id, branchId }: BranchEntry): FoundBranch {
  return { name, branch: id, branchId: ulidText(branchId) as BranchId }
}

function madeOf({ name, branch }: BranchChange & { op: 'create' }, { id }: { readonly id: Uint8Array }): FoundBranch {
  return { name, branch, branchId: ulidText(id) as BranchId }
}

/** What fails behind a record that is durable tells nothing about it. */
async function passed({ lsn, id }: { readonly lsn: number; readonly id: Uint8Array }, hit: () => void | Promise<void>): Promise<void> {
  try {
    await hit()
  } catch (cause) {
    const writeId = ulidText(id)
    throw new CommitOutcomeUnknownError(`the record of branches at LSN ${lsn} is there, its caller failed behind it`, {
      details: { writeId, intentKept: false },
      cause,
    })
  }
}

function wrong(key: string, value: unknown): InvalidConfigError {
  return new InvalidConfigError(`${key} ${JSON.stringify(value) ?? String(value)}`, { details: { key, value } })
}

function exists(name: string, what: 'branch' | 'tag'): BranchExistsError {
  return new BranchExistsError(`a ${what} has the name ${JSON.stringify(name)}`, { details: { branch: name } })
}

function notFound(name: string, what: 'branch' | 'tag'): BranchNotFoundError {
  return new BranchNotFoundError(`no ${what} ${JSON.stringify(name)}`, { details: { branch: name } })
}
