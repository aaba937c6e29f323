// store/replica-reads.ts: what a replica finds out by reading its own log and checkpoints again (docs/shipping.md "Replica").
//
// Invariant: nothing is changed here; what is told is told of what is durable on this node, and a checkpoint is believed only where the log agrees with it.

import { type Catalog, type Checkpoint, checkpointName, type PendingSeal } from '../catalog/index.ts'
import { decodeRecord, KIND_MODE, listCheckpoints, NamedFiles, readCheckpoint } from '../engine/index.ts'
import { CorruptionError } from '../errors.ts'
import { type AckMode, toHex, weakerMode } from '../format/index.ts'
import { chainOver, type CommitLog, type Digest, type Lsn, type ReplicaLog } from '../log/index.ts'
import { isNotFound, type Root } from '../root/index.ts'
import type { Events } from './events.ts'

export interface CheckpointSource {
  readonly root: Root
  readonly storeId: Uint8Array
  readonly events: Events
  /** undefined: not known. */
  readonly digestAt: (lsn: number) => Promise<Uint8Array | undefined>
}

export async function newestTrusted(source: CheckpointSource, lsn: number): Promise<Checkpoint | undefined> {
  for await (const checkpoint of trustedCheckpoints(source, lsn)) return checkpoint
  return undefined
}

/** Of each trusted checkpoint at or below `lsn`, newest first. */
export async function trustedPoints(source: CheckpointSource, lsn: number): Promise<{ readonly lsn: number; readonly replayFrom: number }[]> {
  const points: { lsn: number; replayFrom: number }[] = []
  for await (const { lsn: at, catalog } of trustedCheckpoints(source, lsn)) points.push({ lsn: at, replayFrom: catalog.replayFrom })
  return points
}

/** Checkpoints at or below `lsn` that are what the log says, newest first; each is read when it is asked for. */
async function* trustedCheckpoints(source: CheckpointSource, lsn: number): AsyncGenerator<Checkpoint> {
  for (const each of await listCheckpoints(source.root)) {
    const checkpoint = each > lsn ? undefined : await trustedAt(source, each)
    if (checkpoint !== undefined) yield checkpoint
  }
}

async function trustedAt({ root, storeId, events, digestAt }: CheckpointSource, lsn: number): Promise<Checkpoint | undefined> {
  try {
    const checkpoint = await readCheckpoint(root, storeId, lsn)
    const held = await digestAt(lsn)
    return held === undefined || toHex(held) === toHex(checkpoint.digest) ? checkpoint : undefined
  } catch (error) {
    if (isNotFound(error)) return undefined
    if (!(error instanceof CorruptionError)) throw error
    events.keep('checkpointInvalid', { file: checkpointName(lsn) })
    return undefined
  }
}

/** Recomputes the chain of (from, end] from the digest at `from`. @throws the signal's reason, StorageError */
export async function checkChain(
  log: ReplicaLog,
  from: number,
  end: number,
  signal: AbortSignal,
): Promise<{ readonly ok: boolean; readonly firstBad: number }> {
  let at = from
  try {
    let digest: Digest = await log.digestAt(at)
    for await (const batch of log.current.read(BigInt(at) as Lsn, { end: BigInt(end) as Lsn, signal })) {
      digest = chainOver(digest, batch.bytes, batch.offsets)
      at = Number(batch.last)
    }
    const ok = toHex(digest) === toHex(await log.digestAt(end))
    return { ok, firstBad: ok ? 0 : end }
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return { ok: false, firstBad: at + 1 }
  }
}

/** Seals that no record of the log has decided. @param catalog  what the log is read from; undefined: its start */
export async function pendingSealsOf(log: CommitLog, catalog: Catalog | undefined): Promise<PendingSeal[]> {
  const named = new NamedFiles()
  const lsns = new Map<string, number>()
  for (const seal of catalog?.outcomes.pending.values() ?? []) {
    named.seals.set(toHex(seal.writeId), seal)
    lsns.set(toHex(seal.writeId), seal.lsn)
  }
  for await (const batch of log.read(catalog === undefined ? log.tail : (BigInt(catalog.lsn) as Lsn))) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn)
      named.ofRecord(record)
      if ('seal' in record) lsns.set(toHex(record.seal.writeId), lsn)
      lsn++
    }
  }
  return [...named.seals].map(([id, seal]) => ({ ...seal, lsn: lsns.get(id)! }))
}

/**
 * The weakest mode by which records behind the end of this log may have been acknowledged: its primary counts by the newest one that is committed, which it may not have
 * told. A stronger one counts from its record on only where that is sure to be there, on a primary that went on in another way too: committed, or in mode async.
 *
 * @param catalog  what the log is read from, at or below `committed`; undefined: its start
 */
export async function modeBehind(log: CommitLog, catalog: Pick<Catalog, 'lsn' | 'ack'> | undefined, committed: number): Promise<AckMode> {
  // Below what is left of the log there may have been a record of it.
  if (catalog === undefined && log.tail > 0n) return 'async'
  let mode = catalog?.ack.mode ?? 'async'
  for await (const batch of log.read(catalog === undefined ? log.tail : (BigInt(catalog.lsn) as Lsn))) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) {
      const record = decodeRecord(batch.bytes, offset, lsn)
      if (record.kind === KIND_MODE) {
        const { mode: next, before } = record.mode
        mode = lsn <= committed || before === 'async' ? next : weakerMode(mode, next)
      }
      lsn++
    }
  }
  return mode
}

/** Files that records name behind what is folded. @param catalog  of the fold; undefined: it is of another log, and all of this one is read */
export async function namedBehind(log: CommitLog, catalog: Catalog | undefined, applied: number): Promise<Set<string>> {
  const named = new NamedFiles()
  for (const [id, seal] of catalog?.outcomes.pending ?? []) named.seals.set(id, seal)
  for await (const batch of log.read(catalog === undefined ? log.tail : (BigInt(applied) as Lsn))) {
    let lsn = Number(batch.first)
    for (const offset of batch.offsets) named.ofRecord(decodeRecord(batch.bytes, offset, lsn++))
  }
  return new Set([...named.fragments.keys(), ...named.vectors.keys()])
}
