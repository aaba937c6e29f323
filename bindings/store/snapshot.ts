// store/snapshot.ts: one LSN, held: what snapshot() hands out.
//
// Invariant: it shows the rows of its LSN whatever is written, moved or loaded later; once released, every call is ClosedError.

import { ClosedError, UnsupportedRootError } from '../errors.ts'
import { getRow, getRowSync, hasRow, type ReadContext, type ReadPoint, type Row, scanAt } from '../engine/index.ts'
import type { Lsn } from '../log/index.ts'
import { showAs } from '../runtime/index.ts'
import type { AnyTable, At, LooseScanOptions, Scan } from '../table/index.ts'

export interface ReadOptions {
  readonly at?: At
  readonly signal?: AbortSignal
}

export interface SnapshotOptions {
  /** Show what is durable here, whether or not it is committed. */
  readonly readUncommitted?: boolean
}

/** What a snapshot reads with, beside its point. */
export interface SnapshotParts {
  readonly context: ReadContext
  readonly pin: { release(): void }
  /** The root has blocking reads. */
  readonly canBlock: boolean
  /** The point of an older position. */
  readonly pointAt: (at: At, head: number) => Promise<ReadPoint>
}

/** One LSN, held. */
export class SnapshotHandle {
  private readonly context: ReadContext
  private readonly point: ReadPoint
  private readonly parts: SnapshotParts
  private released = false
  readonly time: Date

  constructor(point: ReadPoint, parts: SnapshotParts) {
    this.context = { ...parts.context, check: () => this.check(), hold: undefined }
    this.point = point
    this.parts = parts
    this.time = new Date(point.timeMs)
  }

  toJSON(): object {
    return { lsn: String(this.lsn), time: this.time }
  }

  get lsn(): Lsn {
    return BigInt(this.point.lsn) as Lsn
  }

  private check(): void {
    this.parts.context.check()
    if (this.released) throw new ClosedError('store.closed', 'the snapshot was released', { details: { what: 'snapshot' } })
  }

  /** The snapshot itself; with `at`, an older position as it was then. */
  private async at(o: ReadOptions | undefined): Promise<ReadPoint> {
    this.check()
    o?.signal?.throwIfAborted()
    if (o?.at === undefined) return this.point
    const point = await this.parts.pointAt(o.at, this.point.lsn)
    this.check()
    return point
  }

  async get(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    const point = await this.at(o)
    const bound = point.bind(table)
    return getRow(this.context, bound, point.structure(bound), point.lsn, key)
  }

  getSync(table: AnyTable, key: unknown): Row | undefined {
    this.check()
    if (!this.parts.canBlock) throw new UnsupportedRootError('this root has no blocking reads', { details: { feature: 'sync-read' } })
    const bound = this.point.bind(table)
    return getRowSync(this.context, bound, this.point.structure(bound), this.point.lsn, key)
  }

  async getMany(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    const point = await this.at(o)
    const bound = point.bind(table)
    return Promise.all(Array.from(keys, (key) => getRow(this.context, bound, point.structure(bound), point.lsn, key)))
  }

  async has(table: AnyTable, key: unknown, o?: ReadOptions): Promise<boolean> {
    const point = await this.at(o)
    const bound = point.bind(table)
    return hasRow(bound, point.structure(bound), point.lsn, key)
  }

  scan(table: AnyTable, options: LooseScanOptions & { at?: At } = {}): Scan<AnyTable, Row> {
    const { at, ...rest } = options
    return scanAt(this.context, table, rest, () => this.at(at === undefined ? undefined : { at }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.released = true
    this.parts.pin.release()
  }
}

showAs(SnapshotHandle, (handle) => handle.toJSON())
