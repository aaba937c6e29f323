// Branches and tags of a history: from which record on each is there, and what it shows.
//
// Invariant: a name is used once. What came with one of several records is left open between them.

import type { State, TableName } from '../store-model.ts'
import type { Version } from './life.ts'

/** One of these records did it. */
export interface Between {
  readonly from: number
  readonly to: number
}

export class Named {
  readonly kind: 'branch' | 'tag'
  readonly name: string
  readonly made: Between
  gone: Between | undefined
  /** Ascending; a tag has one. */
  readonly versions: Version[]
  /** Of a branch: what it and main last had in common. */
  base: State
  /** How often definitions had changed by then. */
  readonly definitions: number

  constructor(kind: 'branch' | 'tag', name: string, made: Between, { tables, state }: Pick<Version, 'tables' | 'state'>, definitions: number) {
    this.kind = kind
    this.name = name
    this.made = made
    this.versions = [{ lsn: made.from, tables, state }]
    this.base = state
    this.definitions = definitions
  }

  get now(): Version {
    return this.versions.at(-1)!
  }

  get tables(): readonly TableName[] {
    return this.now.tables
  }

  committed(lsn: number, state: State): void {
    this.versions.push({ lsn, tables: this.tables, state })
  }

  /** At the end of a log; undefined: either. */
  isThere(lsn: number): boolean | undefined {
    if (lsn < this.made.from || (this.gone !== undefined && lsn >= this.gone.to)) return false
    return lsn >= this.made.to && (this.gone === undefined || lsn < this.gone.from) ? true : undefined
  }

  versionAt(lsn: number): Version {
    return this.versions.findLast((version) => version.lsn <= lsn) ?? this.versions[0]!
  }
}
