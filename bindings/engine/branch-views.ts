// engine/branch-views.ts: which branches a live state keeps in memory: made at first use, dropped when idle (docs/branches.md).
//
// Invariant: a branch is attached in one synchronous step, at the LSN of the state; one that is pinned, or has queued records, is not dropped.

import type { CommitLog, Lsn } from '../log/index.ts'
import type { BranchState, StateView } from './branch-state.ts'
import { staleBranch } from './names-ahead.ts'
import type { Position } from './positions.ts'
import type { StoreState } from './state.ts'

/** Branches kept in memory that nobody uses at the moment. */
const IDLE_MAX = 8

export class BranchViews {
  private readonly state: StoreState
  private readonly log: CommitLog
  private readonly load: (position: Position) => Promise<StoreState>
  private readonly making = new Map<number, Promise<BranchState>>()
  /** How many use it, by branch, last used last. */
  private readonly pins = new Map<number, number>()

  /** @param load  a state of one's own */
  constructor(state: StoreState, log: CommitLog, load: (position: Position) => Promise<StoreState>) {
    this.state = state
    this.log = log
    this.load = load
  }

  /** The branch in the live state. Without a pin it is good until the next turn of the event loop. @throws StaleBranchError, StorageError, CorruptionError */
  view(branch: number): StateView | Promise<StateView> {
    const view = this.state.view(branch)
    if (view !== undefined) {
      if (view !== this.state) this.touch(branch, 0)
      return view
    }
    let making = this.making.get(branch)
    if (making === undefined) {
      making = this.make(branch).finally(() => this.making.delete(branch))
      this.making.set(branch, making)
    }
    return making
  }

  /** Keeps the branch in memory from its next view() on, until it is disposed. */
  pin(branch: number): Disposable {
    this.touch(branch, 1)
    let held = true
    return {
      [Symbol.dispose]: () => {
        if (!held) return
        held = false
        this.pins.set(branch, this.pins.get(branch)! - 1)
        this.drop()
      },
    }
  }

  /** Used now, by so many more. */
  private touch(branch: number, more: number): void {
    const count = this.pins.get(branch) ?? 0
    this.pins.delete(branch)
    this.pins.set(branch, count + more)
  }

  private async make(branch: number): Promise<BranchState> {
    const { state, log } = this
    const check = (): void => {
      if (!state.catalog.branches.isLive(branch)) throw staleBranch(state.catalog.branches, branch)
    }
    check()
    const loaded = await this.load({ branch, lsn: state.applied })
    while (loaded.applied < state.applied) {
      check()
      for await (const batch of log.read(BigInt(loaded.applied) as Lsn, { end: BigInt(state.applied) as Lsn })) await loaded.applyBatch(batch)
    }
    check()
    const view = state.attach(loaded)
    this.touch(branch, 0)
    // The one that asked has had no turn yet.
    this.drop(branch)
    return view
  }

  /** The idle ones that were used longest ago go. */
  private drop(except?: number): void {
    const { state, pins } = this
    for (const branch of pins.keys()) if (state.view(branch) === undefined && pins.get(branch) === 0) pins.delete(branch)
    const idle = [...state.views()].filter((view) => view.branch !== except && (pins.get(view.branch) ?? 0) === 0 && !view.isAhead)
    const order = [...pins.keys()]
    idle.sort((a, b) => order.indexOf(a.branch) - order.indexOf(b.branch))
    for (const { branch } of idle.slice(0, Math.max(0, idle.length - IDLE_MAX))) {
      state.detach(branch)
      pins.delete(branch)
    }
  }
}
