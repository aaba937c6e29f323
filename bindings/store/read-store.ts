// store/read-store.ts: the reading half of a store handle: look-ups, scans, snapshots, changes, what there is.
//
// Invariant: every read is at one LSN at or below the durable head; a handle that is closed answers ClosedError.

import { BranchNotFoundError, ClosedError, HistoryUnavailableError, InvalidConfigError, UnsupportedRootError } from '../errors.ts'
import {
  type Bound,
  commitsOnly,
  decodeRecord,
  feed,
  type FeedOptions,
  getRow,
  getRowSync,
  hasRow,
  KIND_COMMIT,
  KIND_EPOCH,
  KIND_FLUSH,
  KIND_SCHEMA,
  type ReadContext,
  ReadPoint,
  type Row,
  scanAt,
  tableNotFound,
  verifyStore,
} from '../engine/index.ts'
import { hexText } from '../format/index.ts'
import type { CommitLog, Epoch, Lsn } from '../log/index.ts'
import { isTraced, traced, ulidBytes, ulidText } from '../runtime/index.ts'
import {
  type AnyTable,
  type At,
  type AuditRow,
  describeType,
  type Images,
  type LooseScanOptions,
  type PinId,
  type PinInfo,
  type Progress,
  type Scan,
  type Stats,
  type StoreEvents,
  type TableInfo,
  type TableState,
  tableFromSchema,
  type VerifyReport,
  type WriteId,
} from '../table/index.ts'
import { FeedHandle } from './feed-handle.ts'
import { Pins } from './pins.ts'
import { Reporter, type Step } from './progress.ts'
import { tracedScan } from './traced-scan.ts'
import type { Opened } from './wiring.ts'

interface FeedRequest {
  readonly from?: Lsn | number
  readonly tables?: readonly AnyTable[]
  readonly images?: Images
  readonly branch?: string
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

interface ReadOptions {
  readonly at?: At
  readonly signal?: AbortSignal
}

export class ReadHandle {
  protected readonly o: Opened
  protected readonly context: ReadContext
  protected readonly closing: AbortController = new AbortController()
  private readonly pins_: Pins
  private closed_: Promise<void> | undefined
  readonly id: string

  constructor(o: Opened) {
    this.o = o
    this.id = hexText(o.storeId)
    this.pins_ = new Pins({
      world: o.world,
      warnMs: o.options.memory.snapshotWarnMs,
      head: () => this.head,
      held: (lsn, heldMs) => o.events.emit('snapshotHeld', { lsn: BigInt(lsn) as Lsn, heldMs }),
    })
    this.context = {
      world: o.world,
      sortBytes: o.options.memory.sortBytes,
      missingColumn: (column, rows) => o.context.missingColumn(column, rows),
      check: () => this.check(),
    }
  }

  get lsn(): Lsn {
    return BigInt(this.head) as Lsn
  }

  get epoch(): Epoch {
    // A reader beside a writer holds none of its own: the newest one it has read of.
    return this.readOnly ? (BigInt(this.o.state.catalog.fence) as Epoch) : this.o.log.epoch
  }

  get readOnly(): boolean {
    return this.o.options.readOnly
  }

  get closed(): boolean {
    return this.closed_ !== undefined
  }

  protected get head(): number {
    return this.o.state.applied
  }

  protected get log(): CommitLog {
    return this.o.log
  }

  protected check(): void {
    if (this.closed) throw new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } })
    if (this.o.failure !== undefined) throw this.o.failure
  }

  // point reads: no promise inside while everything is in memory

  get(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    if (!isTraced('get')) return this.getNow(table, key, o)
    return traced(
      'get',
      this.facts(table),
      () => this.getNow(table, key, o),
      (row) => ({ rows: row === undefined ? 0 : 1 }),
    )
  }

  protected facts(table: AnyTable | undefined): { storeId: string; table?: string } {
    return table === undefined ? { storeId: this.id } : { storeId: this.id, table: table.name }
  }

  private getNow(table: AnyTable, key: unknown, o?: ReadOptions): Promise<Row | undefined> {
    try {
      this.check()
      o?.signal?.throwIfAborted()
      if (o?.at !== undefined) return this.pointAt(o.at).then((point) => this.getAt(point, table, key))
      const bound = this.o.binder.bind(table)
      const { head } = this
      return Promise.resolve(getRow(this.context, bound, this.structureOf(bound, head), head, key))
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  private getAt(point: ReadPoint, table: AnyTable, key: unknown): Row | undefined | Promise<Row | undefined> {
    const bound = point.bind(table)
    return getRow(this.context, bound, point.structure(bound), point.lsn, key)
  }

  getMany(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    if (!isTraced('get')) return this.getManyNow(table, keys, o)
    const foundOf = (rows: readonly unknown[]): { rows: number } => ({ rows: rows.filter((row) => row !== undefined).length })
    return traced('get', this.facts(table), () => this.getManyNow(table, keys, o), foundOf)
  }

  private async getManyNow(table: AnyTable, keys: Iterable<unknown>, o?: ReadOptions): Promise<(Row | undefined)[]> {
    this.check()
    o?.signal?.throwIfAborted()
    const point = await this.pointAt(o?.at)
    const rows: (Row | undefined | Promise<Row | undefined>)[] = []
    for (const key of keys) {
      o?.signal?.throwIfAborted()
      rows.push(this.getAt(point, table, key))
    }
    return Promise.all(rows)
  }

  async has(table: AnyTable, key: unknown, o?: ReadOptions): Promise<boolean> {
    this.check()
    o?.signal?.throwIfAborted()
    const point = await this.pointAt(o?.at)
    const bound = point.bind(table)
    return hasRow(bound, point.structure(bound), point.lsn, key)
  }

  scan(table: AnyTable, options: LooseScanOptions & { at?: At } = {}): Scan<AnyTable, Row> {
    const { at, ...rest } = options
    const scan = scanAt(this.context, table, rest, () => this.pointAt(at))
    return isTraced('scan') ? tracedScan(scan, this.facts(table)) : scan
  }

  protected async pointAt(at: At | undefined, head: number = this.head): Promise<ReadPoint> {
    this.check()
    if (at === undefined) return new ReadPoint(this.o.state, head)
    const lsn = await this.o.history.resolve(at, head)
    this.check()
    return lsn === this.head ? new ReadPoint(this.o.state, lsn) : new ReadPoint(await this.o.history.state(lsn), lsn)
  }

  private structureOf(bound: Bound, lsn: number): ReturnType<TableState['at']> {
    if (!bound.state.isAt(lsn)) throw tableNotFound(bound.state.name)
    return bound.state.at(lsn)
  }

  async snapshot(at?: At): Promise<SnapshotHandle> {
    this.check()
    const point = await this.pointAt(at)
    return new SnapshotHandle(point, {
      context: this.context,
      pin: this.pins_.hold(point.lsn, 'reader'),
      canBlock: this.o.root.caps.syncRead,
      pointAt: (older, head) => this.pointAt(older, head),
    })
  }

  async waitCommitted(lsn: Lsn, o?: { signal?: AbortSignal }): Promise<void> {
    this.check()
    while (this.head < Number(lsn)) {
      o?.signal?.throwIfAborted()
      await this.o.world.timers.sleep(1, o?.signal, true)
      this.check()
    }
  }

  // the change feed

  changes(o: FeedRequest = {}): FeedHandle<unknown> {
    const from = o.from === undefined ? this.head : Number(o.from)
    const stop = new AbortController()
    return new FeedHandle(this.feed(o, from, stop.signal), () => stop.abort())
  }

  private async *feed(o: FeedRequest, from: number, stopped: AbortSignal): AsyncGenerator<unknown, undefined> {
    this.check()
    o.signal?.throwIfAborted()
    const { tables = [], images = 'after', follow = true } = o
    this.checkFeed(from, images, tables, o.branch)
    const signals = [this.closing.signal, stopped]
    const signal = AbortSignal.any(o.signal === undefined ? signals : [o.signal, ...signals])
    const options: FeedOptions = { tables, images, signal, end: follow ? undefined : this.lsn, check: () => this.check() }
    const pin = this.pins_.hold(from, 'stream')
    try {
      const { state } = this.o
      const commits =
        tables.length === 0
          ? commitsOnly(this.log, (id) => state.tables.get(id)?.name, from, options)
          : feed(this.log, await this.o.history.load(from), from, options, this.context)
      for await (const commit of commits) {
        yield commit
        // Asked for the next one: this one is done with.
        pin.advance(Number(commit.lsn))
        o.signal?.throwIfAborted()
      }
    } catch (error) {
      if (this.closed) throw new ClosedError('store.closed', 'the store was closed', { details: { what: 'store' }, cause: error })
      if (stopped.aborted) return
      o.signal?.throwIfAborted()
      throw error
    } finally {
      pin.release()
    }
  }

  /** @throws RangeError, HistoryUnavailableError, InvalidConfigError, BranchNotFoundError, TableNotFoundError, SchemaMismatchError */
  private checkFeed(from: number, images: Images, tables: readonly AnyTable[], branch: string | undefined): void {
    if (!Number.isSafeInteger(from) || from < 0) throw new RangeError(`\`from\` is not a position: ${from}`)
    const floor = Number(this.log.tail)
    if (from < floor || from > this.head) {
      throw new HistoryUnavailableError(`position ${from} is not between the floor ${floor} and the head ${this.head}`, {
        details: { asked: BigInt(from), floor: BigInt(floor) },
      })
    }
    if (images !== 'after' && images !== 'both' && images !== 'none') {
      throw new InvalidConfigError(`no images ${JSON.stringify(images)}`, { details: { key: 'images', value: images } })
    }
    if (branch !== undefined && branch !== 'main') throw new BranchNotFoundError(`no branch ${JSON.stringify(branch)}`, { details: { branch } })
    for (const table of tables) this.o.binder.bind(table)
  }

  // what there is

  async tables(at?: At): Promise<TableInfo[]> {
    const state = await this.stateAt(at)
    return [...state.catalog.tables.values()].map((table) => {
      const schema = table.schemas.at(-1)!
      return {
        name: table.name,
        rows: table.rows,
        key: schema.key.map((id) => schema.columns.find((column) => column.id === id)!.name),
        columns: schema.columns.map(({ name, type, nullable, default: value }) => ({
          name,
          type: describeType(type),
          nullable,
          ...(value === undefined ? {} : { default: value }),
        })),
        since: BigInt(table.createdLsn) as Lsn,
      }
    })
  }

  async table(name: string, at?: At): Promise<AnyTable> {
    const state = await this.stateAt(at)
    const table = state.catalog.byName(name)
    if (table === undefined) throw tableNotFound(name)
    return tableFromSchema(table.schemas.at(-1)!)
  }

  private async stateAt(at: At | undefined): Promise<Opened['state']> {
    this.check()
    if (at === undefined) return this.o.state
    const lsn = await this.o.history.resolve(at, this.head)
    return lsn === this.head ? this.o.state : this.o.history.state(lsn)
  }

  async refresh(): Promise<Lsn> {
    this.check()
    await this.o.catchUp()
    return this.lsn
  }

  async stats(): Promise<Stats> {
    this.check()
    const { state, log, cache, metering } = this.o
    metering.settle(cache, this.o.kernelBytes())
    const tables: Stats['tables'] = {}
    let writeBytes = 0
    for (const table of state.tables.values()) {
      if (!table.isAt(this.head)) continue
      const { layer, fragments } = table.at(this.head)
      let stored = 0
      let hidden = 0
      let bytes = 0
      let indexed = 0
      for (const fragment of fragments) {
        const gone = fragment.hides.countAt(this.head)
        stored += fragment.ref.rows
        hidden += gone
        bytes += fragment.ref.bytes + (fragment.ref.index?.bytes ?? 0)
        if (fragment.ref.index !== undefined) indexed += fragment.ref.rows - gone
      }
      writeBytes += layer.byteLength
      const rows = state.catalog.table(table.id)!.rows
      const memoryRows = rows - (stored - hidden)
      const covered = indexed + memoryRows
      const key = table.schema.key.map((id) => table.schema.columns.find((column) => column.id === id)!.name).join(',')
      tables[table.name] = {
        rows,
        memoryRows,
        fragments: fragments.length,
        bytes,
        deletedShare: stored === 0 ? 0 : hidden / stored,
        coverage: key === '' ? {} : { [key]: { rows: covered, share: rows === 0 ? 1 : covered / rows } },
      }
    }
    return {
      lsn: this.lsn,
      durableLsn: log.durableHead,
      tables,
      log: { segments: log.segments, bytes: log.bytes, bytesSinceCheckpoint: this.bytesSinceCheckpoint(), tail: log.tail },
      memory: { cacheBytes: cache.bytes, writeBytes, kernelBytes: this.o.kernelBytes() },
      pins: this.pins_.size,
      pending: 0,
      supersededOutcomes: 0,
    }
  }

  protected bytesSinceCheckpoint(): number {
    return this.log.bytes
  }

  async pins(): Promise<PinInfo[]> {
    this.check()
    const now = this.o.world.clock.monoMs()
    return this.pins_.list().map(({ id, owner, lsn, sinceMs }) => ({ id: id as PinId, owner, lsn: BigInt(lsn) as Lsn, heldMs: now - sinceMs }))
  }

  /** What became of a write: looked up in the log, newest records last. */
  async outcome(id: WriteId): Promise<'published' | 'rolledBack' | 'pending' | 'unknown'> {
    this.check()
    const wanted = hexText(ulidBytes(id))
    // Asked in one step with the head: a write that is durable a moment later is in neither.
    if (this.o.isPending(wanted)) return 'pending'
    const end = this.lsn
    for await (const batch of this.log.read(this.log.tail, { end })) {
      let lsn = Number(batch.first)
      for (const offset of batch.offsets) {
        const record = decodeRecord(batch.bytes, offset, lsn++)
        if (record.kind === KIND_COMMIT && hexText(record.commit.writeId) === wanted) return 'published'
      }
    }
    return 'unknown'
  }

  async *audit(o: { from?: Lsn; kinds?: string[] } = {}): AsyncGenerator<AuditRow, undefined> {
    this.check()
    const names = (id: number): string => this.o.state.tables.get(id)?.name ?? `table ${id}`
    let time = new Date(0)
    for await (const batch of this.log.read(o.from ?? this.log.tail, { end: this.lsn })) {
      let at = Number(batch.first)
      for (const offset of batch.offsets) {
        this.check()
        const number = at++
        const record = decodeRecord(batch.bytes, offset, number)
        const base = { lsn: BigInt(number) as Lsn, by: 'writer' }
        let row: AuditRow
        if (record.kind === KIND_COMMIT) {
          time = new Date(record.commit.timeMs)
          row = {
            ...base,
            time,
            kind: 'commit',
            writeId: ulidText(record.commit.writeId) as WriteId,
            by: record.commit.author ?? 'writer',
            tables: record.commit.changes.map((change) => names(change.tableId)),
          }
        } else if (record.kind === KIND_SCHEMA) {
          time = new Date(record.schema.timeMs)
          row = {
            ...base,
            time,
            kind: 'schema',
            writeId: ulidText(record.schema.writeId) as WriteId,
            tables: record.schema.create.map((schema) => schema.name),
          }
        } else if (record.kind === KIND_FLUSH) {
          time = new Date(record.flush.timeMs)
          row = { ...base, time, kind: 'flush', by: 'upkeep', tables: [names(record.flush.tableId)] }
        } else row = { ...base, time, kind: record.kind === KIND_EPOCH ? 'epoch' : 'audit', tables: [] }
        if (o.kinds === undefined || o.kinds.includes(row.kind)) yield row
      }
    }
  }

  async verify(o: { level?: 'log' | 'files' | 'all'; against?: string; signal?: AbortSignal; onProgress?: (p: Progress) => void } = {}): Promise<VerifyReport> {
    this.check()
    const { world, root, log, storeId, context } = this.o
    const { level } = o
    o.signal?.throwIfAborted()
    if (level !== undefined && level !== 'log' && level !== 'files' && level !== 'all') {
      throw new InvalidConfigError(`no level ${JSON.stringify(level)}`, { details: { key: 'level', value: level } })
    }
    const reporter = new Reporter(world, o.onProgress)
    let last: Step = { phase: 'log', done: 0, unit: 'commits' }
    reporter.tell(last)
    const outcome = await verifyStore(root, log, storeId, context, {
      level: level ?? 'files',
      signal: o.signal,
      onProgress: (p) => reporter.step((last = p)),
    })
    reporter.tell(last)
    return { ok: outcome.problems.length === 0, ...outcome }
  }

  on<E extends keyof StoreEvents>(event: E, listener: (e: StoreEvents[E]) => void): Disposable {
    this.check()
    return this.o.events.on(event, listener)
  }

  close(): Promise<void> {
    this.closed_ ??= this.shut().finally(() => this.o.events.emit('close', {}))
    return this.closed_
  }

  protected async shut(): Promise<void> {
    this.closing.abort(new ClosedError('store.closed', 'the store is closed', { details: { what: 'store' } }))
    await this.o.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
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
    this.context = { ...parts.context, check: () => this.check() }
    this.point = point
    this.parts = parts
    this.time = new Date(point.timeMs)
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
