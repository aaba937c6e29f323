// The process of a writer: a real Store on its machine, and the writes that were given to it.

import { AckTimeoutError, AckUnavailableError } from '../../../bindings/errors-ship.ts'
import { type CommitResult, type KeyedTable, Store, t, table, VarveError, type WriteId } from '../../../bindings/index.ts'
import type { CommitLog } from '../../../bindings/log/index.ts'
import { ulidText } from '../../../bindings/runtime/index.ts'
import type { Cluster } from './cluster.ts'
import type { Write } from './history.ts'
import type { Process } from './machine.ts'

export const kv: KeyedTable = table('kv', { k: t.int32(), v: t.int32() }, { key: ['k'] }) as never

const STORE_OPTIONS = {
  threads: 0,
  upkeep: 'manual',
  segmentBytes: 64 * 1024,
  // Small, so that writes of all keys go through files.
  inlineLimitBytes: 256,
  openRetry: { delaysMs: [5, 10, 20] },
} as const

export class Writer {
  readonly process: Process
  readonly cluster: Cluster
  state: 'opening' | 'open' | 'ended' = 'opening'
  store: Store | undefined
  /** Why it ended, where it did by itself. */
  error: unknown
  inFlight = 0
  /** A long call is under way: checkpoint, optimize, reclaim. */
  busy: string | undefined

  constructor(cluster: Cluster, process: Process) {
    this.cluster = cluster
    this.process = process
  }

  get name(): string {
    return this.process.machine.name
  }

  get log(): CommitLog | undefined {
    return (this.store as unknown as { log: CommitLog } | undefined)?.log
  }

  get epoch(): number {
    return this.log === undefined ? 0 : Number(this.log.epoch)
  }

  start(): void {
    const open = async (): Promise<void> => {
      const store = await Store.open(this.process.root, { ...STORE_OPTIONS, world: this.process.world })
      if (!this.process.isAlive) return
      this.store = store
      store.on('fenced', () => this.end('fenced'))
      store.on('poisoned', (event) => this.end(event.cause))
      if ((await store.tables()).length === 0) await store.create(kv)
      this.state = 'open'
      this.cluster.trace.say(`${this.name} writes at epoch ${this.epoch}, head ${this.log!.head}`)
    }
    open().catch((error: unknown) => this.end(error))
  }

  end(error: unknown): void {
    if (this.state === 'ended' || !this.process.isAlive) return
    this.state = 'ended'
    this.error = error
    this.cluster.trace.say(`${this.name} ends: ${textOf(error)}`)
  }

  write(changes: Write['changes'], how: Write['how']): void {
    const { store, cluster } = this
    if (store === undefined || this.state !== 'open') return
    const id = ulidText(cluster.nextId())
    const write: Write = { id, changes, how, epoch: this.epoch, mode: cluster.mode, told: 'waiting', lsn: undefined }
    cluster.tree.writes.set(id, write)
    this.inFlight++
    cluster.trace.say(`${this.name} ${how} ${changes.length} rows as ${id.slice(-6)}`)
    perform(store, write).then(
      ({ lsn }) => {
        this.inFlight--
        if (!this.process.isAlive) return
        write.told = 'acked'
        write.lsn = Number(lsn)
        cluster.acknowledged(write)
      },
      (error: unknown) => {
        this.inFlight--
        if (!this.process.isAlive) return
        write.told = error instanceof AckUnavailableError ? 'refused' : 'unknown'
        if (error instanceof AckTimeoutError) return cluster.trace.say(`${id.slice(-6)}: ${error.message}`)
        if (!(error instanceof VarveError)) return cluster.fail('unexpected', `write ${id}: ${textOf(error)}`)
        cluster.trace.say(`${id.slice(-6)}: ${textOf(error)}`)
      },
    )
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
  const o = { writeId: write.id as WriteId }
  const rows = write.changes.map(([k, v]) => ({ k, v }))
  if (write.how === 'delete') {
    return store.delete(kv, rows.map(({ k }) => k) as never, o)
  }
  return store.upsert(kv, rows as never, o)
}

export function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}
