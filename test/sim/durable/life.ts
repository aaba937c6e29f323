// One history of a store on fake files: the store, the model beside it, what was promised to the caller and at which operation of the disk.
//
// Invariant: a version is noted for every record that changes what a reader sees; a promise only once the caller could have acted on it.

import '../../loaded.ts'
import { type Lsn, type OpenOptions, Store } from '../../../bindings/index.ts'
import { listCheckpoints, readCheckpoint } from '../../../bindings/engine/index.ts'
import { openSegmentLog } from '../../../bindings/log/index.ts'
import { DirRoot } from '../../../bindings/root/index.ts'
import { type DiskTrace, FakeFiles } from '../../../bindings/testing/index.ts'
import { simWorld, type SimWorld } from '../sim-world.ts'
import { apply, type Change, EMPTY, type State, type TableName } from '../store-model.ts'
import type { Dice } from './dice.ts'
import { type Between, Named } from './named.ts'

export const PLACE = '/data/store'

export interface Version {
  readonly lsn: number
  readonly tables: readonly TableName[]
  readonly state: State
}

/** From operation `at` of the trace on, the log holds `lsn`: also after a power cut, or only while the machine runs. */
export interface Promised {
  readonly at: number
  readonly lsn: number
  readonly outlives: 'power' | 'process'
}

/** A staged write whose seal is in the log. */
export class Sealed {
  readonly id: string
  readonly changes: readonly Change[]
  /** It was sealed and not decided in no state below, perhaps in the states between, surely in those up to `decided`. */
  readonly from: number
  readonly to: number
  /** The outcome came with one of these records. */
  decided: { readonly outcome: 'published' | 'rolledBack'; readonly from: number; readonly to: number } | undefined

  constructor(id: string, from: number, to: number, changes: readonly Change[]) {
    this.id = id
    this.from = from
    this.to = to
    this.changes = changes
  }

  decide(outcome: 'published' | 'rolledBack', from: number, to: number): void {
    this.decided = { outcome, from, to }
  }

  /** What it makes of a state; undefined: its changes do not fit there. */
  over(state: State): State | undefined {
    let after: State | undefined = state
    for (const change of this.changes) after = after === undefined ? undefined : apply(after, change)?.state
    return after
  }

  /** Whether it waits for a decision in the log that ends at `lsn`; undefined: either. */
  waits(lsn: number): boolean | undefined {
    const { decided } = this
    if (lsn < this.from || (decided !== undefined && lsn >= decided.to)) return false
    return lsn >= this.to && (decided === undefined || lsn < decided.from) ? true : undefined
  }
}

export interface LifeOptions {
  readonly seed: number
  readonly durability: 'synced' | 'buffered'
  readonly open: OpenOptions
}

export class Life {
  readonly o: LifeOptions
  files: FakeFiles
  readonly trace: DiskTrace
  sim: SimWorld
  store!: Store
  tables: readonly TableName[] = []
  state: State = EMPTY
  readonly versions: Version[] = [{ lsn: 0, tables: [], state: EMPTY }]
  readonly promises: Promised[] = []
  readonly sealed: Sealed[] = []
  /** Branches and tags, gone ones too. */
  readonly named: Named[] = []
  /** Merges that a recovery may finish: their seal is one of these records, the version is that of the last one. */
  readonly finishing: (Between & { readonly version: Version })[] = []
  /** From a record on, versions below the floor may be refused. */
  readonly floors: { readonly from: number; readonly floor: number }[] = []
  /** Times that a definition changed. */
  definitions = 0
  /** By LSN, up to the last look. */
  readonly digests: string[] = []
  /** Highest LSN that a caller knows of. */
  acknowledged = 0
  private processes = 0

  constructor(o: LifeOptions) {
    this.o = o
    this.files = new FakeFiles()
    this.trace = this.files.record()
    this.sim = this.process()
  }

  /** A new process on the same machine. */
  private process(): SimWorld {
    const pid = 100 + ++this.processes
    return simWorld({
      seed: this.o.seed + this.processes,
      files: this.files,
      host: { pid, processStartTime: String(pid) },
      startMs: 1_700_000_000_000 + this.processes * 1_000_000,
    })
  }

  async open(): Promise<void> {
    this.sim = this.process()
    this.store = await Store.open(PLACE, { ...this.o.open, durability: this.o.durability, threads: 0, world: this.sim.world })
    // What is found at an open was written again and synced, the epoch record behind it too.
    this.promise(Number(this.store.lsn), 'power')
  }

  /** The process is killed; the machine runs on. */
  kill(): void {
    this.files = this.files.restart()
    this.store.close().catch(() => undefined)
  }

  /** A commit took effect at this LSN. Call in LSN order. */
  committed(lsn: number, state: State, tables: readonly TableName[] = this.tables): void {
    this.state = state
    this.tables = tables
    this.versions.push({ lsn, tables, state })
  }

  /** Call at the very moment a call resolves. */
  acknowledge(lsn: number): void {
    this.promise(lsn, this.o.durability === 'synced' ? 'power' : 'process')
  }

  seal(id: string, lsn: number, changes: readonly Change[]): void {
    this.sealed.push(new Sealed(id, lsn, lsn, changes))
  }

  /** A write that may have been sealed, and was decided, by the records from .. to. */
  passing(id: string, from: number, to: number): void {
    const sealed = new Sealed(id, from, to, [])
    sealed.decide('rolledBack', from, to)
    this.sealed.push(sealed)
  }

  promise(lsn: number, outlives: Promised['outlives']): void {
    this.acknowledged = Math.max(this.acknowledged, lsn)
    this.promises.push({ at: this.trace.length, lsn, outlives })
  }

  /** The LSN that a state after operation `index` must reach. */
  required(index: number, after: 'power' | 'process'): number {
    let lsn = 0
    for (const promise of this.promises) if (promise.at <= index && (after === 'process' || promise.outlives === 'power')) lsn = Math.max(lsn, promise.lsn)
    return lsn
  }

  versionAt(lsn: number): Version {
    return this.versions.findLast((version) => version.lsn <= lsn)!
  }

  /** What main may show after a recovery that found the log ending there: with a merge that was sealed, what it makes. */
  shownAt(lsn: number): readonly Version[] {
    const finished = this.finishing.filter(({ from, to }) => lsn >= from && lsn < to).map(({ version }) => version)
    return [this.versionAt(lsn), ...finished]
  }

  live(kind: 'branch' | 'tag'): Named[] {
    return this.named.filter((each) => each.kind === kind && each.gone === undefined)
  }

  /** What a log that ends at `lsn` says may be refused below. */
  floorAt(lsn: number): number {
    return Math.max(0, ...this.floors.filter(({ from }) => from <= lsn).map(({ floor }) => floor))
  }

  /** Reads the chain digests that are not known yet. Before a trim, which takes them. */
  async lookAtDigests(): Promise<void> {
    const { world } = simWorld({ seed: 1, files: this.files })
    const root = new DirRoot(PLACE, world)
    const mark = await Store.open(PLACE, { world, threads: 0, readOnly: true, follow: false })
    const storeId = Uint8Array.from(Buffer.from(mark.id.replaceAll('-', ''), 'hex'))
    await mark.close()
    const newest = (await listCheckpoints(root))[0]
    const checkpoint = newest === undefined ? undefined : await readCheckpoint(root, storeId, newest)
    const floors = checkpoint === undefined ? [] : [{ lsn: BigInt(checkpoint.lsn) as Lsn, digest: checkpoint.digest }]
    const log = await openSegmentLog(root, { world, storeId, readOnly: true, follow: false, floors })
    for (let lsn = BigInt(this.digests.length); lsn <= log.head; lsn++) this.digests.push(Buffer.from(await log.digestAt(lsn as Lsn)).toString('hex'))
    await log.close()
  }
}

/** One kind of thing that happens in a history. A step is plain data, drawn first and printed with a failure. */
export interface OpKind<Step = never> {
  readonly name: string
  /** How often, against the others. */
  readonly weight: number
  draw(dice: Dice): Step
  run(life: Life, step: Step): Promise<void>
}
