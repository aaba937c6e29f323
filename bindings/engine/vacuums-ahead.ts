// engine/vacuums-ahead.ts: names that a vacuum has taken, those of queued ones included: what no record may name any more (recovery.md section 10).
//
// Invariant: the fold with every queued vacuum record over it; a record that is taken back was never there.

import type { Catalog } from '../catalog/index.ts'
import type { VacuumRecord } from '../format/index.ts'
import { DeadFiles, namesOf } from './record-files.ts'
import type { StateRecord } from './state.ts'

export class VacuumsAhead {
  private readonly catalog: Catalog
  private queued: { readonly lsn: number; readonly names: ReadonlySet<string>; readonly floor: number }[] = []

  constructor(catalog: Catalog) {
    this.catalog = catalog
  }

  queue(lsn: number, { names, floor }: VacuumRecord): void {
    this.queued.push({ lsn, names: new Set(names), floor })
  }

  /** Records up to `last` are folded. */
  settle(last: number): void {
    if (this.queued.length > 0) this.queued = this.queued.filter(({ lsn }) => lsn > last)
  }

  /** Records from `first` on never were. */
  takeBack(first: number): void {
    this.queued = this.queued.filter(({ lsn }) => lsn < first)
  }

  has(name: string): boolean {
    return this.catalog.dead.has(name) || this.queued.some(({ names }) => names.has(name))
  }

  /** Files that older versions need may be gone. */
  get floor(): number {
    return this.queued.reduce((floor, each) => Math.max(floor, each.floor), this.catalog.fragmentFloor)
  }

  /** @throws DeadFiles: the write that is admitted gives its files other names */
  refuse(record: StateRecord): void {
    if (this.catalog.dead.batches.length === 0 && this.queued.length === 0) return
    const names = namesOf(record).filter((name) => this.has(name))
    if (names.length > 0) throw new DeadFiles(names)
  }
}
