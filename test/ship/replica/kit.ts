// A primary's store, a sender written by hand and replicas on a network in memory: what the tests of a replica are made of.
import { onTestFinished } from 'vitest'

import { type Column, type ReadStore, type Store, t, type Table, table } from '../../../bindings/index.ts'
import { encodeManifest, fromHex, mandateOfClaim, type Message } from '../../../bindings/format/index.ts'
import { type CommitLog, lsn, openSegmentLog } from '../../../bindings/log/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { type Link, type Manifest, manifestHash, MemoryNetwork, type WireFrame } from '../../../bindings/ship/index.ts'
import { Replica, type ReplicaOptions } from '../../../bindings/store/index.ts'
import { type ShipHistoryParts, StoreHistory } from '../../../bindings/store/ship-history.ts'
import { opened, QUIET, tempDirectory } from '../../unit/store/places.ts'

export { MemoryRoot, tempDirectory }

export const items: Table<'items', { id: Column<number, number, 'number'>; name: Column<string, string, 'order'> }, ['id']> = table(
  'items',
  { id: t.int32(), name: t.utf8() },
  { key: ['id'] },
)

let boot = 0
/** Each boot is another one: who held a LOCK before is dead. */
export function bootWorld(failpoints: FailpointRegistry = new FailpointRegistry()): World {
  const base = defaultWorld()
  return { ...base, failpoints, logger: { log: () => {} }, host: { ...base.host, bootId: `replica-test-${boot++}` } }
}

export interface Primary {
  readonly root: Root
  readonly store: Store
  /** What a sender reads. */
  readonly log: CommitLog
}

export async function primaryOn(root: Root = new MemoryRoot({})): Promise<Primary> {
  const store = await opened(root, QUIET)
  const log = await openSegmentLog(root, { world: defaultWorld(), storeId: fromHex(store.id), readOnly: true, follow: false })
  onTestFinished(() => log.close())
  return { root, store, log }
}

export async function fill(store: Store, from: number, to: number): Promise<void> {
  await Promise.all(Array.from({ length: to - from }, (_, i) => store.append(items, { id: from + i, name: `item ${from + i}` })))
}

/** Three versions of `rows` rows, each flushed: a vacuum finds files that only older versions show. */
export async function rewritten({ store }: Primary, rows: number): Promise<void> {
  await store.create(items)
  for (let round = 0; round < 3; round++) {
    await store.upsert(
      items,
      Array.from({ length: rows }, (_, id) => ({ id, name: `round ${round}` })),
    )
    await store.flush()
  }
}

/** A network and a primary with `rows` records of one row. */
export async function filled(rows: number): Promise<{ readonly network: MemoryNetwork; readonly primary: Primary; readonly head: number }> {
  const primary = await primaryOn()
  await primary.store.create(items)
  await fill(primary.store, 0, rows)
  return { network: new MemoryNetwork(defaultWorld()), primary, head: Number(primary.store.lsn) }
}

/** One object or segment of a root, as it is. */
export async function copyTo(from: MemoryRoot, to: MemoryRoot, name: string): Promise<void> {
  const { bytes } = await from.get(name)
  if (!name.startsWith('log/')) return void (await to.put(name, bytes))
  const file = await to.segment(name, { preallocate: bytes.length })
  file.writeSync(0, bytes)
  file.datasyncSync()
  await file.close()
}

/** Whatever can go on goes on; what waits for something else does not. */
export async function turns(count: number = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

export async function rowsOf(store: ReadStore): Promise<{ id: number; name: string }[]> {
  return (await store.scan(items).toArray()).toSorted((x, y) => x.id - y.id)
}

/** A base at the lowest version from `minLsn` on that can be made, held until the test ends. */
export async function baseOf({ store }: Primary, minLsn: number = Number(store.lsn)): Promise<Manifest> {
  const { o } = store as unknown as { o: ShipHistoryParts }
  const history = new StoreHistory({ ...o, committed: () => Infinity })
  onTestFinished(() => history[Symbol.dispose]())
  return (await history.pinFullBase(minLsn, 'hold')).manifest
}

const dead = new WeakSet<Replica>()

/** Its process was killed: nothing of it answers any more. */
export function abandon(replica: Replica): void {
  dead.add(replica)
}

/** A replica that is closed when the test ends. */
export async function replicaOn(
  network: Pick<MemoryNetwork, 'transport'>,
  root: string | Root = new MemoryRoot({}),
  o: Partial<ReplicaOptions> = {},
): Promise<Replica> {
  const replica = await Replica.open(root, {
    replicaId: 'r1',
    endpoint: { data: 'r1:0', version: 1 },
    transport: network.transport('r1'),
    world: bootWorld(),
    openRetry: { delaysMs: [0, 0] },
    ...o,
  })
  onTestFinished(() => (dead.has(replica) ? undefined : replica.close().catch(() => undefined)))
  return replica
}

type Of<T extends Message['type']> = Extract<Message, { readonly type: T }>

export interface SenderOptions {
  readonly epoch?: number
  readonly session?: number
  /** Default: somebody has decided on that very epoch. */
  readonly mandate?: number
  /** Which one: hex. Default: the same of every sender. */
  readonly decision?: string
  /** Answers wants. Default true. */
  readonly serves?: boolean
  /** Calls files dead that the primary has no more. */
  readonly elides?: boolean
  /** What becomes of a file on its way. */
  readonly onFile?: (name: string, bytes: Uint8Array) => Uint8Array
}

const PIECE = 64 * 1024

export class RawSender {
  readonly heard: Message[] = []
  fileBytes = 0
  readonly files: string[] = []
  error: Error | undefined
  ended = false
  private readonly link: Link
  private readonly primary: Primary
  private readonly o: SenderOptions
  private ring: () => void = () => undefined

  private constructor(link: Link, primary: Primary, o: SenderOptions) {
    this.link = link
    this.primary = primary
    this.o = o
    void this.listen()
  }

  static async connect(network: Pick<MemoryNetwork, 'transport'>, replica: Replica, primary: Primary, o: SenderOptions = {}): Promise<RawSender> {
    const link = await network.transport('primary').connect(replica.endpoint, AbortSignal.timeout(5000))
    onTestFinished(() => link.close().catch(() => undefined))
    return new RawSender(link, primary, o)
  }

  get epoch(): number {
    return this.o.epoch ?? 1
  }

  send(message: Message, fence: Partial<Pick<WireFrame, 'epoch' | 'session'>> = {}): Promise<void> {
    return this.link.send({ epoch: this.epoch, session: this.o.session ?? 1, ...fence, message })
  }

  close(): Promise<void> {
    return this.link.close()
  }

  /** The next message of the type that was not taken yet. @throws what ended the link */
  async next<T extends Message['type']>(type: T, fits: (message: Of<T>) => boolean = () => true): Promise<Of<T>> {
    for (;;) {
      const at = this.heard.findIndex((message) => message.type === type && fits(message as Of<T>))
      if (at >= 0) return this.heard.splice(at, 1)[0] as Of<T>
      if (this.ended) throw this.error ?? new Error(`the link ended before a ${type}`)
      await new Promise<void>((resolve) => (this.ring = resolve))
    }
  }

  /** What the replica refused with. */
  async refusal(): Promise<Error & Record<string, unknown>> {
    while (!this.ended) await new Promise<void>((resolve) => (this.ring = resolve))
    if (this.error === undefined) throw new Error('the link ended without an error')
    return this.error as Error & Record<string, unknown>
  }

  async hello(o: Partial<Of<'hello'>> = {}): Promise<Of<'helloReply'>> {
    const storeId = fromHex(this.primary.store.id)
    const { mandate = mandateOfClaim(this.epoch) } = this.o
    await this.send({
      type: 'hello',
      protocol: 1,
      replicaId: 'r1',
      storeId,
      endpointVersion: 1,
      mandate,
      decision: mandate === 0 ? '' : (this.o.decision ?? 'd1'.repeat(16)),
      kind: 'bootstrap',
      ...o,
    })
    return await this.next('helloReply')
  }

  async grant(start: number, o: Partial<Of<'grant'>> = {}): Promise<number> {
    await this.send({ type: 'grant', mode: 'stream', start, target: 0, committedLsn: 0, elideDead: false, ...o })
    return (await this.next('grantAck')).durableLsn
  }

  /** The records (start, end] as one message. */
  async entriesOf(start: number, end: number, o: Partial<Of<'entries'>> = {}): Promise<Of<'entries'>> {
    const { log } = this.primary
    await log.refresh()
    const parts: Uint8Array[] = []
    for await (const batch of log.read(lsn(start), { end: lsn(end) })) parts.push(...batch.frames().map((frame) => frame.slice()))
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + aligned(part.length), 0))
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += aligned(part.length)
    }
    return { type: 'entries', first: start + 1, count: parts.length, committedLsn: end, digest: await log.digestAt(lsn(end)), base: false, bytes, ...o }
  }

  /** Sends (start, end] in messages of `most` records. */
  async entries(start: number, end: number, o: Partial<Of<'entries'>> & { readonly most?: number } = {}): Promise<void> {
    const { most = 100, ...rest } = o
    for (let at = start; at < end; at += most) await this.send(await this.entriesOf(at, Math.min(end, at + most), rest))
  }

  async durable(upTo: number): Promise<Of<'ack'>> {
    return await this.next('ack', ({ durableLsn }) => durableLsn >= upTo)
  }

  /** Everything that the primary has, and the replica has folded it. */
  async catchUp(replica: Replica, o: { readonly committed?: number } = {}): Promise<number> {
    const head = Number(this.primary.store.lsn)
    const { durableLsn } = await this.hello()
    await this.grant(durableLsn, { committedLsn: o.committed ?? head })
    if (durableLsn < head) {
      await this.entries(durableLsn, head, { committedLsn: o.committed ?? head })
      await this.durable(head)
    }
    if (o.committed === undefined) await replica.store.refresh()
    return head
  }

  async manifest(manifest: Manifest, o: Partial<Of<'manifest'>> = {}): Promise<void> {
    await this.send({ type: 'manifest', hash: manifestHash(manifest), bytes: encodeManifest(manifest), ...o })
  }

  /** Everything of a base, up to the install. @returns names of the files that were asked for first */
  async transfer(manifest: Manifest): Promise<string[]> {
    const { baseLsn, logFrom } = manifest
    await this.manifest(manifest)
    const isFirst = await this.next('want', ({ lsn: of }) => of === 0)
    await this.entries(logFrom, baseLsn, { base: true })
    if (isFirst.files.length > 0 || logFrom < baseLsn) await this.next('want', ({ lsn: of, files }) => of === 0 && files.length === 0)
    return isFirst.files.map(({ name }) => name)
  }

  async install(manifest: Manifest): Promise<number> {
    await this.send({ type: 'install', manifestHash: manifestHash(manifest) })
    return (await this.next('installed')).baseLsn
  }

  /** A rebuild up to the switch: to the base of the primary as it is now, or to that one. */
  async rebuild(manifest?: Manifest): Promise<Manifest> {
    await this.hello({ kind: 'rebuild' })
    const base = manifest ?? (await baseOf(this.primary))
    await this.transfer(base)
    await this.install(base)
    return base
  }

  private async listen(): Promise<void> {
    try {
      for await (const { message } of this.link.frames) {
        this.heard.push(message)
        this.ring()
        if (message.type === 'want' && this.o.serves !== false) void this.serve(message).catch(() => undefined)
      }
    } catch (error) {
      this.error = error as Error
    }
    this.ended = true
    this.ring()
  }

  private async serve({ files }: Of<'want'>): Promise<void> {
    for (const { name, hash } of files) {
      if (this.o.elides === true && !(await this.primary.root.exists(name))) {
        await this.send({ type: 'fragment', hash, offset: 0, total: 0, dead: true, bytes: new Uint8Array(0) })
        continue
      }
      const { bytes: found } = await this.primary.root.get(name)
      const bytes = this.o.onFile?.(name, found.slice()) ?? found
      this.files.push(name)
      for (let offset = 0; offset === 0 || offset < bytes.length; offset += PIECE) {
        const piece = bytes.slice(offset, offset + PIECE)
        this.fileBytes += piece.length
        await this.send({ type: 'fragment', hash, offset, total: bytes.length, dead: false, bytes: piece })
      }
    }
  }
}

function aligned(bytes: number): number {
  return (bytes + 7) & ~7
}
