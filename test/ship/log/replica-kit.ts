// A primary's log and a replica's on roots in memory, and the batches between them.
import {
  type CommitLog,
  type LogBatch,
  lsn,
  openReplicaLog,
  openSegmentLog,
  type ReplicaLog,
  type ReplicaLogOptions,
  type SegmentLogOptions,
} from '../../../bindings/log/index.ts'
import { MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { defaultWorld, type FailpointName, FailpointRegistry, type World } from '../../../bindings/runtime/index.ts'
import { readAll, record } from '../../../bindings/testing/contracts/log-records.ts'

export const STORE_ID: Uint8Array = new Uint8Array(16).fill(8)

/** Each boot is another one: who held a LOCK before is dead. */
let boot = 0
export function bootWorld(failpoints: FailpointRegistry = new FailpointRegistry()): World {
  const base = defaultWorld()
  return { ...base, failpoints, logger: { log: () => {} }, host: { ...base.host, bootId: `replica-boot-${boot++}` } }
}

export function openPrimary(root: Root = new MemoryRoot({}), o: Partial<SegmentLogOptions> = {}): Promise<CommitLog> {
  return openSegmentLog(root, { world: bootWorld(), storeId: STORE_ID, segmentBytes: 16 * 1024, openRetry: { delaysMs: [0, 0] }, follow: false, ...o })
}

export function openReplica(root: Root, o: Partial<ReplicaLogOptions> = {}): Promise<ReplicaLog> {
  return openReplicaLog(root, { world: bootWorld(), storeId: STORE_ID, replicaId: 'r1', segmentBytes: 16 * 1024, openRetry: { delaysMs: [0, 0] }, ...o })
}

/** Appends records `from` .. `to` - 1, `together` at a time. */
export async function fill(log: CommitLog, from: number, to: number, together = 50): Promise<void> {
  for (let i = from; i < to; i += together) {
    await Promise.all(Array.from({ length: Math.min(together, to - i) }, (_, k) => log.append([record(i + k)])))
  }
}

/** The replica gets what the primary has up to `end`, in batches of at most `most`. */
export async function follow(primary: CommitLog, replica: ReplicaLog, o: { readonly end?: number; readonly most?: number } = {}): Promise<void> {
  const end = o.end ?? Number(primary.head)
  const sent: Promise<number>[] = []
  for await (const batch of primary.read(lsn(replica.receivedLsn), { end: lsn(end) })) {
    for (const part of partsOf(batch, o.most ?? 300)) sent.push(replica.receive(part.first, part.bytes, part.offsets, await primary.digestAt(lsn(part.last))))
  }
  await Promise.all(sent)
}

/** Stops the first arrival at a point for ever: the process is as good as dead there. @returns when it is reached */
export function parkAt(world: World, point: FailpointName): Promise<void> {
  return new Promise((reached) => {
    ;(world.failpoints as FailpointRegistry).arm(point, {
      times: 1,
      run: () => {
        reached()
        return new Promise(() => {})
      },
    })
  })
}

/** What lies at the place of a checkpoint: to the log it is a name. */
export async function putCheckpoint(root: Root, at: number, text = `checkpoint ${at}`): Promise<string> {
  const name = `checkpoints/${String(at).padStart(20, '0')}.ckpt`
  await root.put(name, new TextEncoder().encode(text))
  return name
}

export interface Part {
  readonly first: number
  readonly last: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
}

export function* partsOf(batch: LogBatch, most: number): Generator<Part> {
  const first = Number(batch.first)
  for (let from = 0; from < batch.offsets.length; from += most) {
    const offsets = batch.offsets.subarray(from, from + most)
    yield { first: first + from, last: first + from + offsets.length - 1, bytes: batch.bytes, offsets }
  }
}

/** Payloads above `start`, and the digest at the end, as the log says it. */
export async function contentOf(log: CommitLog, start: number = Number(log.tail)): Promise<{ readonly payloads: readonly string[]; readonly digest: string }> {
  const found = await readAll(log, lsn(start))
  return {
    payloads: found.map(({ payload, kind }) => `${kind}:${Buffer.from(payload).toString('hex')}`),
    digest: Buffer.from(await log.digestAt(log.head)).toString('hex'),
  }
}
