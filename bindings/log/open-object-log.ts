// log/open-object-log.ts: finding an object log, and taking an epoch in it (log.md sections 4, 7).
//
//   floor -> CLEAN -> slots from T or the newest checkpoint to the head -> epoch record in the next slot -> ready
//
// Invariant: the log that was found reaches CLEAN and every checkpoint with the digests they state; no two writers have one epoch, for its record is in a slot
// that one of them won behind all records it had read.
import { LsnTakenError } from '../errors.ts'
import { encodeEpochRecord, KIND_EPOCH, WRITER_ID_BYTES, toHex } from '../format/index.ts'
import { readAgain, type RetryOptions, type Root } from '../root/index.ts'
import { FP, type World } from '../runtime/index.ts'

import { CLEAN_NAME, readClean } from './clean.ts'
import type { Lsn } from './commit-log.ts'
import { sameBytes } from './digest.ts'
import { GroupBuffer } from './group-buffer.ts'
import { readHint } from './head-hint.ts'
import { ObjectWriteLog } from './object-log.ts'
import { ObjectReadLog } from './object-read-log.ts'
import { corrupt } from './segment-reader.ts'
import { SlotChain } from './slot-chain.ts'
import { slotName } from './slot.ts'
import { SlotWriter } from './slot-writer.ts'

const EPOCH_RACES_MAX = 1000

export interface ObjectLogOptions {
  readonly world: World
  /** 16 bytes. */
  readonly storeId: Uint8Array
  readonly readOnly?: boolean
  /** Default shared: slots arbitrate. An exclusive writer fences every earlier one. */
  readonly writers?: 'shared' | 'exclusive'
  /** To claim, at least. */
  readonly epoch?: number | undefined
  /** Default 0, at most 5: a lone writer is not delayed. */
  readonly groupCommitMs?: number
  /** Longest wait between two looks for records of others while somebody is tailing. Default 1,000. */
  readonly tailPollMs?: number
  readonly retry?: Partial<RetryOptions>
  /** Read-only: keep up with the writers by itself. Default true. */
  readonly follow?: boolean
  /** Valid checkpoints: the log must reach them with an equal digest, and begin at or below the highest. Reading begins at the highest. */
  readonly floors?: readonly { readonly lsn: Lsn; readonly digest: Uint8Array }[]
  /** Read-only: what lies above is not part of the log. */
  readonly until?: Lsn | undefined
}

/** A log of an object root: one that writes too, or one that only reads. */
export type ObjectLog = ObjectWriteLog | ObjectReadLog

/**
 * Opens the log of a root as slots.
 *
 * @throws CorruptionError, StoreTooNewError, StorageError; FencedError when an exclusive writer opens at the same time
 * @cost a listing, the slots above the newest checkpoint, one PUT for the epoch record
 */
export async function openObjectLog(root: Root, o: ObjectLogOptions): Promise<ObjectLog> {
  const chain = await findChain(root, o)
  if (o.readOnly === true)
    return new ObjectReadLog(chain, { world: o.world, follow: (o.follow ?? true) && o.until === undefined, tailPollMs: o.tailPollMs ?? 1000 })
  if (o.world.failpoints.active) await o.world.failpoints.hit(FP.open.beforeEpoch)
  const writer = await takeEpoch(chain, o)
  return new ObjectWriteLog(chain, writer, o)
}

async function findChain(root: Root, o: ObjectLogOptions): Promise<SlotChain> {
  const { world, storeId, retry } = o
  const chain = new SlotChain(root, { world, storeId, retry, until: o.until === undefined ? undefined : Number(o.until) })
  const claims = (o.floors ?? []).map(({ lsn, digest }) => ({ lsn: Number(lsn), digest, who: 'a checkpoint' }))
  const clean = await readAgain(world, () => readClean(root), retry)
  if (clean !== undefined && !sameBytes(clean.storeId, storeId)) throw corrupt(CLEAN_NAME, `it belongs to store ${toHex(clean.storeId)}`, 0, clean.lsn)
  const from = Math.max(0, ...claims.map(({ lsn }) => lsn))
  await chain.find({ from, floorHint: (await readHint(root))?.floor })
  if (o.floors !== undefined && chain.tail > from) {
    throw corrupt(slotName(chain.tail + 1), `the log begins after LSN ${chain.tail} and no valid checkpoint reaches that far (newest: ${from})`, 0, chain.tail)
  }
  if (clean !== undefined) claims.push({ ...clean, who: CLEAN_NAME })
  for (const { lsn, digest, who } of claims) {
    if (chain.head < lsn) throw corrupt(slotName(chain.head + 1), `the log ends at LSN ${chain.head}; ${who} says it reached ${lsn}`, 0, chain.head)
    if (lsn < chain.base) continue
    if (!sameBytes(await chain.digestAt(lsn), digest)) throw corrupt(slotName(lsn), `the digest at LSN ${lsn} is not the one ${who} states`, 0, lsn)
  }
  return chain
}

/** Appends the epoch record of a new writer. Who loses the slot to another takes a higher epoch behind it. */
async function takeEpoch(chain: SlotChain, o: ObjectLogOptions): Promise<SlotWriter> {
  const { world, retry } = o
  const mode = o.writers ?? 'shared'
  const writerId = world.random.bytes(WRITER_ID_BYTES)
  const seed = new DataView(world.random.bytes(8).buffer).getBigUint64(0, true)
  for (let races = 0; races < EPOCH_RACES_MAX; races++) {
    const epoch = Math.max(chain.epoch + 1, o.epoch ?? 0)
    const writer = new SlotWriter({ world, chain, epoch, seed, writerId, retry })
    const records = [{ kind: KIND_EPOCH, payload: encodeEpochRecord({ epoch, writerId, mode }) }] as const
    const group = GroupBuffer.jumbo(records)
    group.begin(chain.head + 1, epoch, seed)
    group.add(records)
    let placed = await chain.exclusively(() => writer.place(group, () => {}, { epoch, writerId, mode }))
    if (placed.kind === 'unknown' && (await chain.exclusively(() => writer.resolve()))?.durable === true) placed = { kind: 'won' }
    if (placed.kind === 'won') {
      chain.own = epoch
      return writer
    }
    if (placed.kind === 'refused') throw placed.error
  }
  throw new LsnTakenError('other writers took every slot that an epoch record was tried for', { details: { head: BigInt(chain.head) } })
}
