// store/reads.ts: look-ups, scans and snapshots of one branch: what a store handle reads of main, and a Branch of its own.
//
// Invariant: every read is at one LSN at or below the durable head; a position or a Date in `at` is taken on the branch, a name stands for itself.

import {
  Binder,
  type Bound,
  getRow,
  hasRow,
  type Position,
  type ReadContext,
  ReadPoint,
  type Row,
  scanAt,
  type StateView,
  tableNotFound,
} from '../engine/index.ts'
import { InvalidConfigError } from '../errors.ts'
import { isTraced, traced } from '../runtime/index.ts'
import type { AnyTable, At, LooseScanOptions, Scan, TableState } from '../table/index.ts'
import { checkKnown } from './known-options.ts'
import type { Pins } from './pins.ts'
import { type ReadOptions, SnapshotHandle, type SnapshotOptions } from './snapshot.ts'
import { tracedScan } from './traced-scan.ts'
import type { Opened } from './wiring.ts'

export interface ReadsParts {
  readonly o: Opened
  readonly context: ReadContext
  readonly pins: Pins
  /** Its number; 0 = main. */
  readonly branch: number
  /** @throws StaleBranchError when the branch was deleted */
  readonly assertLive: () => void
  /** What tracing channels are told. */
  readonly facts: (table: AnyTable) => { storeId: string; table?: string }
}

export class Reads {
  private readonly parts: ReadsParts
  private bound: { readonly view: StateView; readonly binder: Binder } | undefined

  constructor(parts: ReadsParts) {
    this.parts = parts
  }

  // point reads: no promise inside while everything is in memory

  get(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    if (!isTraced('get')) return this.getNow(table, key, o)
    return traced(
      'get',
      this.parts.facts(table),
      () => this.getNow(table, key, o),
      (row) => ({ rows: row === undefined ? 0 : 1 }),
    )
  }

  private getNow(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    try {
      this.check(o)
      if (o?.at !== undefined) return this.pointAt(o.at).then((point) => this.getAt(point, table, key))
      const view = this.view()
      return view instanceof Promise ? view.then((made) => this.getIn(made, table, key)) : Promise.resolve(this.getIn(view, table, key))
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  private getIn(view: StateView, table: AnyTable, key: unknown): Row | undefined | Promise<Row | undefined> {
    const bound = this.binderOf(view).bind(table)
    const { applied } = view
    return this.held(applied, view.branch, getRow(this.parts.context, bound, structureOf(bound, applied), applied, key))
  }

  private getAt(point: ReadPoint, table: AnyTable, key: unknown): Row | undefined | Promise<Row | undefined> {
    const bound = point.bind(table)
    return this.held(point.lsn, point.branch, getRow(this.parts.context, bound, point.structure(bound), point.lsn, key))
  }

  /** A read that has to wait for a file holds its version until it is over. */
  private held<T>(lsn: number, branch: number, read: T | Promise<T>): T | Promise<T> {
    if (!(read instanceof Promise)) return read
    let release: () => void
    try {
      release = this.parts.pins.brief({ lsn, branch })
    } catch (error) {
      // Refused: what it has begun ends unseen.
      read.catch(() => undefined)
      throw error
    }
    return read.finally(release)
  }

  getMany(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    if (!isTraced('get')) return this.getManyNow(table, keys, o)
    const foundOf = (rows: readonly unknown[]): { rows: number } => ({ rows: rows.filter((row) => row !== undefined).length })
    return traced('get', this.parts.facts(table), () => this.getManyNow(table, keys, o), foundOf)
  }

  private async getManyNow(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    this.check(o)
    const point = await this.pointAt(o?.at)
    const rows: (Row | undefined | Promise<Row | undefined>)[] = []
    for (const key of keys) {
      o?.signal?.throwIfAborted()
      const row = this.getAt(point, table, key)
      // A later key may be refused at once: then nobody waits for the reads that were begun.
      if (row instanceof Promise) row.catch(() => undefined)
      rows.push(row)
    }
    return Promise.all(rows)
  }

  async has(table: AnyTable, key: unknown, o?: ReadOptions): Promise<boolean> {
    this.check(o)
    const point = await this.pointAt(o?.at)
    const bound = point.bind(table)
    return this.held(point.lsn, point.branch, hasRow(bound, point.structure(bound), point.lsn, key))
  }

  scan(table: AnyTable, options: LooseScanOptions & { at?: At } = {}): Scan<AnyTable, Row> {
    const { at, ...rest } = options
    const scan = scanAt(this.parts.context, table, rest, () => this.pointAt(at))
    return isTraced('scan') ? tracedScan(scan, this.parts.facts(table)) : scan
  }

  async snapshot(at?: At, o: SnapshotOptions = {}): Promise<SnapshotHandle> {
    this.check()
    const { readUncommitted = false } = checkKnown('snapshot', o, ['readUncommitted'])
    if (readUncommitted && at !== undefined) {
      throw new InvalidConfigError('readUncommitted shows the head: no position goes with it', { details: { key: 'readUncommitted', value: true } })
    }
    const { context, pins } = this.parts
    const uncommitted = readUncommitted ? await this.parts.o.acknowledgement.uncommitted(this.parts.branch, pins) : undefined
    const point = uncommitted?.point ?? (await this.pointAt(at))
    return new SnapshotHandle(point, {
      context,
      pin: await (uncommitted?.pin ?? pins.holdEverywhere(point, 'reader')),
      canBlock: this.parts.o.root.caps.syncRead,
      pointAt: (older, head) => new Reads({ ...this.parts, branch: point.branch }).pointAt(older, head),
    })
  }

  /** @param head  what is newer is not there */
  async pointAt(at: At | undefined, head?: number): Promise<ReadPoint> {
    this.check()
    const { history, acknowledgement } = this.parts.o
    if (at === undefined) return pointOf(this.view(), head)
    const { isHead, ...position } = await history.resolve(at, head ?? acknowledgement.committed, this.parts.branch)
    this.check()
    return isHead && head === undefined ? pointOf(this.viewAt(position, true), undefined) : pointOf(this.viewAt(position, false), position.lsn)
  }

  /** The tables of the branch at `at`; shared, not to be changed. */
  async stateAt(at: At | undefined): Promise<StateView> {
    this.check()
    if (at === undefined) return this.view()
    const { isHead, ...position } = await this.parts.o.history.resolve(at, this.parts.o.acknowledgement.committed, this.parts.branch)
    return this.viewAt(position, isHead)
  }

  /** The live state for heads, else one of the history. */
  private viewAt(position: Position, isHead: boolean): StateView | Promise<StateView> {
    const { acknowledgement, history, state } = this.parts.o
    const isNow = isHead || (position.branch === state.branch && position.lsn === acknowledgement.committed)
    return isNow ? acknowledgement.view(position.branch) : history.state(position)
  }

  /** As of now. @throws (the promise) StaleBranchError */
  private view(): StateView | Promise<StateView> {
    return this.parts.o.acknowledgement.view(this.parts.branch)
  }

  private binderOf(view: StateView): Binder {
    if (this.bound?.view !== view) this.bound = { view, binder: new Binder(view) }
    return this.bound.binder
  }

  private check(o?: ReadOptions): void {
    this.parts.context.check()
    this.parts.assertLive()
    o?.signal?.throwIfAborted()
  }
}

/** In one step with the view, so that its head has not moved on. @param lsn  undefined: its head */
function pointOf(view: StateView | Promise<StateView>, lsn: number | undefined): ReadPoint | Promise<ReadPoint> {
  const point = (of: StateView): ReadPoint => new ReadPoint(of, lsn ?? of.applied)
  return view instanceof Promise ? view.then(point) : point(view)
}

function structureOf(bound: Bound, lsn: number): ReturnType<TableState['at']> {
  if (!bound.state.isAt(lsn)) throw tableNotFound(bound.state.name)
  return bound.state.at(lsn)
}
