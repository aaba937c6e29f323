// One history of a store on fake files: the store, the model beside it, what was promised to the caller and at which operation of the disk.
//
// Invariant: a version is noted for every record that changes what a reader sees; a promise only once the caller could have acted on it.

import { type OpenOptions, Store } from '../../../bindings/index.ts'
import { type DiskTrace, FakeFiles } from '../../../bindings/testing/index.ts'
import { simWorld, type SimWorld } from '../sim-world.ts'
import { EMPTY, type State, type TableName } from '../store-model.ts'
import type { Dice } from './dice.ts'

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
}

/** One kind of thing that happens in a history. A step is plain data, drawn first and printed with a failure. */
export interface OpKind<Step = never> {
  readonly name: string
  /** How often, against the others. */
  readonly weight: number
  draw(dice: Dice): Step
  run(life: Life, step: Step): Promise<void>
}
