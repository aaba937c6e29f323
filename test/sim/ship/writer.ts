// The process of a writer: a real Store on its machine, and the writes that were given to it.

import { AckTimeoutError, AckUnavailableError } from '../../../bindings/errors-ship.ts'
import {
  type CommitResult,
  type KeyedTable,
  type OpenOptions,
  ReadOnlyError,
  Store,
  t,
  table,
  VarveError,
  type WriteId,
  type WriteOptions,
} from '../../../bindings/index.ts'
import type { StoreState } from '../../../bindings/engine/index.ts'
import { type AckMode, markOf } from '../../../bindings/format/index.ts'
import type { CommitLog } from '../../../bindings/log/index.ts'
import { ulidText } from '../../../bindings/runtime/index.ts'
import type { EpochMark, RecoveryEvent, ReplicaId, SenderStatus, ShippingDriver } from '../../../bindings/ship/index.ts'
import { ship, type Shipping } from '../../../bindings/shipping.ts'
import type { Cluster } from './cluster.ts'
import type { Write } from './history.ts'
import type { Process } from './machine.ts'
import { weakest } from './modes.ts'

export const kv: KeyedTable = table('kv', { k: t.int32(), v: t.int32() }, { key: ['k'] }) as never

/** Of every process: small files, short waits for the LOCK of a dead one. */
export const PROCESS_OPTIONS: Pick<OpenOptions, 'segmentBytes' | 'openRetry'> = { segmentBytes: 16 * 1024, openRetry: { delaysMs: [5, 10, 20] } }
export const STORE_OPTIONS: Omit<OpenOptions, 'readOnly' | 'follow' | 'create' | 'writers' | 'world'> = {
  ...PROCESS_OPTIONS,
  threads: 0,
  upkeep: 'manual',
  // Small, so that writes of all keys go through files.
  inlineLimitBytes: 256,
}

/** What a write is asked for with. */
export interface Asked extends Pick<Write, 'changes' | 'how' | 'ack' | 'key'> {
  /** The write that it is asked for again. */
  readonly again?: Write
}

const ACK_TIMEOUTS_MS = [300, 1000, 5000] as const

export class Writer {
  readonly kind = 'writer'
  readonly process: Process
  readonly cluster: Cluster
  state: 'opening' | 'open' | 'ended' = 'opening'
  store: Store | undefined
  shipping: Shipping | undefined
  readonly writes: Write[] = []
  /** Promotions before it. */
  readonly reign: number
  /** By which it may count. */
  modes: ReadonlySet<AckMode>
  /** Changes of the mode under way, or that nobody was told the outcome of. */
  readonly #changing: { readonly mode: AckMode }[] = []
  #settled: AckMode | undefined
  #noted = 0
  /** Of a shipping that is over. */
  #left: RecoveryEvent[] = []
  #seen: readonly SenderStatus[] | undefined
  /** Why it ended, where it did by itself. */
  error: unknown
  inFlight = 0
  /** Assignments under way: whoever was removed may still be on its way out. */
  assigning = 0
  /** Its shipping is over, and another one not there yet. */
  isReshipping = false
  /** A long call is under way: checkpoint, optimize, reclaim. */
  busy: string | undefined

  constructor(cluster: Cluster, process: Process) {
    this.cluster = cluster
    this.process = process
    this.reign = cluster.promotions.length
    this.modes = cluster.modes
  }

  get name(): string {
    return this.process.machine.name
  }

  get log(): CommitLog | undefined {
    return (this.store as unknown as { log: CommitLog } | undefined)?.log
  }

  /** The folded state, up to C. */
  get folded(): StoreState | undefined {
    return (this.store as unknown as { o: { state: StoreState } } | undefined)?.o.state
  }

  get epoch(): number {
    return this.log === undefined ? 0 : Number(this.log.epoch)
  }

  /** By whose decision it writes. */
  get mandate(): number {
    return this.log?.mandate ?? 0
  }

  /** As its log knows it. */
  get lineage(): EpochMark[] {
    return this.log!.lineage.map(({ epoch, firstLsn, mandate }) => markOf(epoch, firstLsn, mandate))
  }

  /** C. */
  get committed(): number {
    return (this.store as unknown as { o: { acknowledgement: { committed: number } } }).o.acknowledgement.committed
  }

  /** What acknowledgements have come to, and NODE keeps: a log that takes nothing more counts on, and folds nothing more. */
  get counted(): number {
    const { gate } = (this.store as unknown as { o: { acknowledgement: { gate: { committed: number } | undefined } } }).o.acknowledgement
    return Math.max(this.committed, gate?.committed ?? 0)
  }

  /** Whether what a replica needs to come back is kept for a while. */
  holds(id: ReplicaId): boolean {
    return (this.shipping as unknown as { parts: { driver: ShippingDriver } } | undefined)?.parts.driver.facts(id)?.heldFrom !== undefined
  }

  /** What holds its log and files back. */
  get pins(): readonly { readonly owner: string; readonly lsn: number }[] {
    return this.log!.reclaim.list()
  }

  /** What shows rows, while it is open. */
  get reader(): Store | undefined {
    return this.state === 'open' ? this.store : undefined
  }

  get senders(): readonly SenderStatus[] {
    if (this.#seen !== undefined) return this.#seen
    return this.shipping === undefined || this.state !== 'open' ? [] : this.shipping.registry.status().senders
  }

  /** Begins or ends a look that awaits nothing: its senders are put together once. */
  seen(isLooking: boolean): void {
    this.#seen = undefined
    if (isLooking) this.#seen = this.senders
  }

  /** Events of its RecoveryLog since the last call. */
  notes(): readonly RecoveryEvent[] {
    const left = this.#left.splice(0)
    const fresh = this.shipping?.log.since(this.#noted) ?? []
    this.#noted = fresh.at(-1)?.seq ?? this.#noted
    return left.length > 0 ? [...left, ...fresh] : fresh
  }

  /** @param promoted  a replica that becomes a writer hands its store over */
  start(promoted?: Store): void {
    const { cluster, process } = this
    const { fencedAt } = cluster
    const open = async (): Promise<void> => {
      const store = promoted ?? (await Store.open(process.root, { ...STORE_OPTIONS, ...(fencedAt > 0 ? { epoch: fencedAt } : {}), world: process.world }))
      if (!process.isAlive) return
      this.store = store
      store.on('fenced', () => this.end('fenced'))
      store.on('poisoned', (event) => this.end(event.cause))
      // Before it ships: the first table is there in every history.
      if ((await store.tables()).length === 0) await store.create(kv)
      if (!(await this.#ship(store))) return
      this.state = 'open'
      this.modes = new Set([...this.modes, ...cluster.modes, this.shipping!.status().mode])
      cluster.trace.say(`${this.name} writes at epoch ${this.epoch}, head ${this.log!.head}`)
    }
    open().catch((error: unknown) => this.end(error))
  }

  /** @returns false: the process is dead */
  async #ship(store: Store): Promise<boolean> {
    const { cluster, process } = this
    const version = cluster.electorate.change(cluster.voters)
    const shipping = await ship(store, {
      assignment: { epoch: this.epoch, replicas: cluster.replicasOf(process.machine) },
      // Once there were changes the log says it.
      ...(cluster.isChanged ? {} : { ack: cluster.founded }),
      transport: cluster.transport(process),
      ackTimeoutMs: cluster.dice.pick(ACK_TIMEOUTS_MS),
    })
    if (!process.isAlive) return false
    this.shipping = shipping
    shipping.log.subscribe((event) => process.isAlive && cluster.told(this, event))
    cluster.electorate.assigned(version, this)
    return true
  }

  /** Ends its shipping and begins another one, in one open; what waits for replicas waits on. */
  reship(): void {
    const { shipping, store, cluster, process } = this
    if (shipping === undefined || this.state !== 'open' || this.assigning > 0 || this.isReshipping) return
    cluster.trace.say(`${this.name} ends its shipping, with ${this.inFlight} writes under way`)
    const again = async (): Promise<void> => {
      await shipping.close()
      if (!process.isAlive) return
      this.#left = [...this.notes()]
      this.#noted = 0
      this.shipping = undefined
      await cluster.clock.timers.sleep(cluster.dice.int(50))
      if (!process.isAlive || this.state !== 'open' || !(await this.#ship(store!))) return
      cluster.count('another ship() in one open')
      cluster.trace.say(`${this.name} ships again, with ${this.inFlight} writes under way`)
    }
    this.isReshipping = true
    again()
      .catch((error: unknown) => this.end(error))
      .finally(() => (this.isReshipping = false))
  }

  end(error: unknown): void {
    if (this.state === 'ended' || !this.process.isAlive) return
    this.cluster.ended(this, error)
    this.state = 'ended'
    this.error = error
    if (error instanceof ReadOnlyError && this.process.machine === this.cluster.primary) this.cluster.unpromoted = true
  }

  /** What it does is what the cluster does. */
  get isDecided(): boolean {
    const { cluster } = this
    return cluster.writer === this && !cluster.isPromoting
  }

  write({ again, ...asked }: Asked): void {
    const { store, cluster } = this
    if (store === undefined || this.state !== 'open') return
    const id = ulidText(cluster.nextId())
    const write: Write = {
      ...asked,
      id,
      by: this.name,
      epoch: this.epoch,
      mode: this.modes.size === 1 ? [...this.modes][0]! : 'async',
      told: 'waiting',
      lsn: undefined,
    }
    cluster.tree.writes.set(id, write)
    this.writes.push(write)
    this.inFlight++
    const { changes, how, ack, key } = write
    const asks = `${ack === undefined ? '' : `, ack ${ack}`}${key === undefined ? '' : `, ${again === undefined ? '' : 'again '}under ${key}`}`
    cluster.trace.say(`${this.name} ${how} ${changes.length} rows as ${id.slice(-6)}${asks}`)
    perform(store, write).then(
      ({ lsn, ...result }) => {
        this.inFlight--
        if (!this.process.isAlive) return
        if (again !== undefined)
          cluster.count(
            `a retry ${again.epoch === this.epoch ? '' : again.by === this.name ? 'after a reopen ' : 'after a promotion '}${result.replayed ? 'finds its record' : 'writes'}`,
          )
        write.told = 'acked'
        if (!result.replayed && this.isDecided && this.modes.size === 1 && this.modes.has(write.mode)) cluster.mode = write.mode
        write.lsn = Number(lsn)
        cluster.acknowledged(write, this)
      },
      (error: unknown) => {
        this.inFlight--
        if (!this.process.isAlive) return
        if (error instanceof AckUnavailableError) write.told = 'refused'
        else cluster.unknown(write)
        if (error instanceof AckTimeoutError) cluster.count('a write waits too long')
        if (error instanceof AckTimeoutError) return cluster.trace.say(`${id.slice(-6)}: ${error.message}`)
        if (!(error instanceof VarveError)) return cluster.fail('unexpected', `write ${id}: ${textOf(error)}`)
        cluster.trace.say(`${id.slice(-6)}: ${textOf(error)}`)
      },
    )
  }

  /** As an operator does it, who may not be told whether it is committed. */
  changeMode(mode: AckMode): void {
    const { cluster, store } = this
    cluster.trace.say(`${this.name} changes the mode from ${[...this.modes].join(' or ')} to ${mode}`)
    cluster.isChanged = true
    this.#settled = undefined
    const change = { mode }
    this.#changing.push(change)
    this.modes = new Set([...this.modes, mode])
    if (cluster.writer === this) cluster.modes = new Set([...cluster.modes, mode])
    store!.setAckMode(mode).then(
      () => {
        if (!this.process.isAlive) return
        cluster.trace.say(`${this.name} is in mode ${mode}`)
        cluster.count('the mode is changed')
        // They are made one after another.
        this.#changing.splice(0, this.#changing.indexOf(change) + 1)
        this.#settled = mode
      },
      (error: unknown) => {
        if (!this.process.isAlive) return
        cluster.trace.say(`${this.name} changes to ${mode}: ${textOf(error)}`)
        if (error instanceof AckTimeoutError) cluster.count('a change of the mode waits too long')
        if (!(error instanceof VarveError)) cluster.fail('unexpected', `setAckMode: ${textOf(error)}`)
      },
    )
  }

  /** What is looked at was looked at with the modes before. */
  settleModes(): void {
    const { cluster } = this
    if (this.#settled === undefined) return
    this.modes = new Set([this.#settled, ...this.#changing.map((change) => change.mode)])
    this.#settled = undefined
    if (!this.isDecided) return
    cluster.modes = this.modes
    cluster.mode = weakest([cluster.mode, ...this.modes])
  }

  /** A call that takes its time; one at a time. */
  long(name: string, call: (store: Store) => Promise<unknown>): void {
    const { store } = this
    if (store === undefined || this.state !== 'open' || this.busy !== undefined) return
    this.busy = name
    const done = (text: string): void => {
      this.busy = undefined
      if (this.process.isAlive) this.cluster.trace.say(`${this.name} ${name}: ${text}`)
    }
    this.cluster.trace.say(`${this.name} ${name}`)
    call(store).then(
      () => done('done'),
      (error: unknown) => {
        done(textOf(error))
        if (!(error instanceof VarveError) && this.process.isAlive) this.cluster.fail('unexpected', `${name}: ${textOf(error)}`)
      },
    )
  }
}

async function perform(store: Store, write: Write): Promise<CommitResult> {
  const { ack, key } = write
  const o: WriteOptions = { writeId: write.id as WriteId, ...(ack === undefined ? {} : { ack }), ...(key === undefined ? {} : { idempotencyKey: key }) }
  const rows = write.changes.map(([k, v]) => ({ k, v }))
  if (write.how === 'delete') {
    return store.delete(kv, rows.map(({ k }) => k) as never, o)
  }
  return store.upsert(kv, rows as never, o)
}

export function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}
