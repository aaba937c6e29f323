// The process of a replica: a real Replica on its machine.

import type { ReadStore } from '../../../bindings/index.ts'
import type { StoreState } from '../../../bindings/engine/index.ts'
import type { CommitLog } from '../../../bindings/log/index.ts'
import type { WireFrame } from '../../../bindings/ship/index.ts'
import { Replica } from '../../../bindings/store/index.ts'
import type { Cluster } from './cluster.ts'
import type { Process } from './machine.ts'
import { PROCESS_OPTIONS, textOf } from './writer.ts'

/** What the simulation asks of the log of a replica. */
export interface FollowerLog {
  readonly durableLsn: number
  readonly committed: number
  readonly current: CommitLog
  digestAt(lsn: number): Promise<Uint8Array>
}

export class Follower {
  readonly kind = 'follower'
  readonly process: Process
  readonly cluster: Cluster
  state: 'opening' | 'open' | 'ended' = 'opening'
  replica: Replica | undefined
  error: unknown
  /** By its disk, as it says. */
  hasFailed = false
  /** What it has said it did since it was looked at last. */
  said: 'truncate' | 'install' | undefined
  /** What it was asked to do last: it may have done it, and told nobody. */
  asked: 'truncate' | 'install' | undefined

  constructor(cluster: Cluster, process: Process) {
    this.cluster = cluster
    this.process = process
  }

  get name(): string {
    return this.process.machine.name
  }

  /** undefined before the first contact of its life. */
  get log(): FollowerLog | undefined {
    return (this.replica as unknown as { node: { log: FollowerLog | undefined } } | undefined)?.node.log
  }

  get reader(): ReadStore | undefined {
    if (this.state !== 'open' || (this.replica as unknown as { node: { handle: unknown } }).node.handle === undefined) return undefined
    return this.replica!.store
  }

  /** The folded state of the log that it has now; undefined: it is still being put together. */
  get folded(): StoreState | undefined {
    const { node } = this.replica as unknown as { node: { view: { log: unknown; opened: { state: StoreState } } | undefined } }
    return node.view !== undefined && node.view.log === this.log?.current ? node.view.opened.state : undefined
  }

  /** The founding record is committed, as far as it knows. */
  get isFounded(): boolean {
    return ((this.replica as unknown as { node: { handle: { o: { state: StoreState } } | undefined } }).node.handle?.o.state.catalog.ack.lsn ?? 0) > 0
  }

  /** RC. */
  get committed(): number {
    return this.log?.committed ?? 0
  }

  start(): void {
    const { cluster, process, name } = this
    const open = async (): Promise<void> => {
      const replica = await Replica.open(process.root, {
        ...PROCESS_OPTIONS,
        replicaId: name,
        endpoint: cluster.endpoints.get(process.machine)!,
        transport: cluster.transport(process),
        world: process.world,
      })
      if (!process.isAlive) return
      this.replica = replica
      this.state = 'open'
      replica.on('failed', ({ failure }) => this.end(failure))
      cluster.trace.say(`${name} follows, durable ${this.log?.durableLsn ?? 'nothing'}`)
    }
    open().catch((error: unknown) => this.end(error))
  }

  /** A frame passes. */
  tapped(way: 'sent' | 'taken', { message }: WireFrame): void {
    if (way === 'taken') {
      if (message.type === 'truncate' || message.type === 'install') this.asked = message.type
      return
    }
    if (message.type === 'truncated') this.said ??= 'truncate'
    else if (message.type === 'installed') this.said = 'install'
  }

  end(error: unknown): void {
    if (this.state === 'ended' || !this.process.isAlive) return
    if (this.state === 'open' && this.process.hasFaults) {
      // What it holds is still looked at.
      if (!this.hasFailed) this.cluster.trace.say(`${this.name} fails by its disk: ${textOf(error)}`)
      this.hasFailed = true
      this.cluster.count('a replica fails by its disk')
      if (this.replica!.status().failure === undefined) this.cluster.fail('failed', `${this.name} says that it failed, and its status does not`)
      return
    }
    this.cluster.ended(this, error)
    this.state = 'ended'
    this.error = error
  }
}
