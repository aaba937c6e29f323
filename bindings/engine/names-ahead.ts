// engine/names-ahead.ts: branches and tags with what is queued: what the next name is decided against.
//
// Invariant: the fold with every queued branch record over it; a record that is taken back was never there.

import { type BranchEntry, type Branches, type Catalog, MAIN, type TagEntry } from '../catalog/index.ts'
import { StaleBranchError } from '../errors.ts'
import { type BranchChange, type Intent, MAIN_BRANCH, MAIN_BRANCH_ID } from '../format/index.ts'
import { ulidText } from '../runtime/index.ts'

export class NamesAhead {
  private readonly catalog: Catalog
  private queued: { readonly lsn: number; readonly change: BranchChange }[] = []

  constructor(catalog: Catalog) {
    this.catalog = catalog
  }

  /** The number of the next branch. */
  get nextId(): number {
    let next = this.catalog.branches.nextId
    for (const { change } of this.queued) if (change.op === 'create') next = Math.max(next, change.branch + 1)
    return next
  }

  /** Something is queued. */
  get isAhead(): boolean {
    return this.queued.length > 0
  }

  queue(lsn: number, change: BranchChange): void {
    this.queued.push({ lsn, change })
  }

  /** Records up to `last` are folded. */
  settle(last: number): void {
    if (this.queued.length > 0) this.queued = this.queued.filter(({ lsn }) => lsn > last)
  }

  /** Records from `first` on never were. */
  takeBack(first: number): void {
    this.queued = this.queued.filter(({ lsn }) => lsn < first)
  }

  /** What the name stands for; `queued`: for something whose record is not durable yet. */
  find(name: string): BranchEntry | TagEntry | 'queued' | undefined {
    const last = this.queued.findLast(({ change }) => change.name === name)?.change
    if (last !== undefined) return last.op === 'create' || last.op === 'tag' ? 'queued' : undefined
    return this.catalog.branches.named(name) ?? this.catalog.branches.tag(name)
  }

  isFree(name: string): boolean {
    return name !== MAIN_BRANCH && this.find(name) === undefined
  }

  /** Records of the branch may follow. */
  isLive(branch: number): boolean {
    if (branch === MAIN) return true
    return this.catalog.branches.isLive(branch) && !this.queued.some(({ change }) => change.op === 'delete' && change.branch === branch)
  }
}

/** The number of a live branch in the incarnation that an Intent names. */
export function branchNumber(branches: Branches, { branch, branchId }: Pick<Intent, 'branch' | 'branchId'>): number | undefined {
  if (branchId === MAIN_BRANCH_ID) return MAIN
  const entry = branches.named(branch)
  return entry !== undefined && ulidText(entry.branchId) === branchId ? entry.id : undefined
}

/** @param branch  its number */
export function staleBranch(branches: Branches, branch: number): StaleBranchError {
  const entry = branches.numbered(branch)
  return staleBranchNamed(branches.nameOf(branch), entry === undefined ? '' : ulidText(entry.branchId))
}

export function staleBranchNamed(branch: string, branchId: string): StaleBranchError {
  return new StaleBranchError(`branch ${JSON.stringify(branch)} was deleted${branchId === '' ? '' : ` (it was ${branchId})`}`, {
    details: { branch, branchId },
  })
}
