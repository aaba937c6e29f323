// log/node-state.ts: file NODE, the facts of this node that must not be in the fold (log.md section 3).
//
// Two slots of 512 bytes, each self-checking; the valid one with the higher seq counts. They say the same, but for committedLsn, which may be newer in one:
//   VARVENOD | u32 version | u32 role | u64 seq | store id 16 | replica id 16 (zero = none) | u64 epochSeen | u64 session | u64 committedLsn |
//   u64 historyFloorLsn | u64 tailEpoch | u64 lock | u64 ownFrom | u16 bytes of the replica id | replica id, ASCII | zeros
//   | 416: u64 tailBelow | u64 tailFrom | decision 16 | u64 floorMandate | u64 floorEpoch | u64 followed | u64 promised | u64 mandate | u64 whole (0 or 1) | u64 promotedEpoch
//   | u64 xxh3 of the first 504 bytes
// The 16 bytes are the first of the SHA-256 of the replica id. What is behind historyFloorLsn is zeros in files of older versions: not known,
// not whole.
// Invariant: every read-write open puts it anew (another inode), so that late bytes of an earlier owner land nowhere.
import { assert } from '../assert.ts'
import { CorruptionError } from '../errors.ts'
import { DECISION_BYTES, fromHex, NO_DECISION, readU53, toHex, writeU53 } from '../format/index.ts'
import { sha256 } from '../kernels/index.ts'
import { getIfThere, type Root } from '../root/index.ts'

import { hash64, sameBytes } from './digest.ts'

export const NODE_NAME = 'NODE'
export const NODE_SLOT_BYTES = 512
const SLOT_BYTES: number = NODE_SLOT_BYTES
const HASHED_BYTES = 504
const REPLICA_ID_BYTES_MAX = 128
const DECISION_AT = 432
const VERSION = 1
const encoder = new TextEncoder()
const MAGIC = encoder.encode('VARVENOD')
const ROLES = ['primary', 'replica'] as const

export interface NodeFacts {
  /** Of a replica. */
  readonly replicaId: string | undefined
  readonly role: (typeof ROLES)[number]
  /** The highest epoch met: what is older is refused. */
  readonly epochSeen: number
  /** That of who was followed last, where it is below `epochSeen`: who was decided on later may be of a lower epoch. 0 = it is epochSeen. */
  readonly followed: number
  /** The highest session met within the epoch that is followed. */
  readonly session: number
  /** C, or RC on a replica. */
  readonly committedLsn: number
  /** Versions below cannot be read here: files of theirs were never fetched. */
  readonly historyFloorLsn: number
  /** Epoch and mandate of the primary by whose word files below `historyFloorLsn` were left out; 0 = a base, or not known. */
  readonly floorEpoch: number
  readonly floorMandate: number
  /** Epoch of the record at the tail of the log; 0 = not known. Of a tail below `tailFrom`, where a trim did not get to: `tailBelow`. */
  readonly tailEpoch: number
  readonly tailFrom: number
  readonly tailBelow: number
  /** Of a replica, whose segments bear the epochs of others: number of the LOCK under which segments from `ownFrom` on were begun. */
  readonly lock: number
  readonly ownFrom: number
  /** The epoch that the newest promotion of this node claimed; 0 = it was never promoted. */
  readonly promotedEpoch: number
  /** By whose decision a primary writes (format/mandate.ts). */
  readonly mandate: number
  /** No primary of a lower mandate is followed: the highest that was followed, or that a fence asked for. Never below `mandate`. */
  readonly promised: number
  /** Which decision of mandate `promised` is followed here, or was taken here: lower-case hex of 16 bytes. '' = of that mandate none was met yet; every other one is refused. */
  readonly decision: string
  /** It has everything that it ever confirmed: a folder that is new says nothing of what the one before it held. */
  readonly isWhole: boolean
}

/** What is known of the record at the tail. */
export type TailFacts = Pick<NodeFacts, 'tailEpoch' | 'tailFrom' | 'tailBelow'>

/** Its epoch; 0 = not known. */
export function tailEpochAt(tail: number, { tailEpoch, tailFrom, tailBelow }: TailFacts): number {
  return tail < tailFrom ? tailBelow : tailEpoch
}

export interface NodeState extends NodeFacts {
  readonly seq: number
  readonly storeId: Uint8Array
}

/** Of a node of which nothing is known. */
export const FRESH_NODE: NodeFacts = {
  replicaId: undefined,
  role: 'primary',
  epochSeen: 0,
  followed: 0,
  session: 0,
  committedLsn: 0,
  historyFloorLsn: 0,
  floorEpoch: 0,
  floorMandate: 0,
  tailEpoch: 0,
  tailFrom: 0,
  tailBelow: 0,
  lock: 0,
  ownFrom: 0,
  promotedEpoch: 0,
  mandate: 0,
  promised: 0,
  decision: NO_DECISION,
  isWhole: false,
}

/** Both slots; the second with the next seq, so that either alone is enough. */
export function encodeNode(state: NodeState): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2 * SLOT_BYTES)
  writeSlot(bytes.subarray(0, SLOT_BYTES), state)
  writeSlot(bytes.subarray(SLOT_BYTES), { ...state, seq: state.seq + 1 })
  return bytes
}

/** @returns the newer valid slot, or undefined when none is valid */
export function decodeNode(bytes: Uint8Array): NodeState | undefined {
  const [a, b] = [readSlot(bytes.subarray(0, SLOT_BYTES)), readSlot(bytes.subarray(SLOT_BYTES, 2 * SLOT_BYTES))]
  if (a === undefined || b === undefined) return a ?? b
  return a.seq > b.seq ? a : b
}

/** @throws CorruptionError when it is there and no slot verifies */
export async function readNode(root: Root): Promise<NodeState | undefined> {
  const bytes = await getIfThere(root, NODE_NAME)
  if (bytes === undefined) return undefined
  const state = decodeNode(bytes)
  if (state === undefined) throw new CorruptionError('log.corrupt', 'NODE: neither slot verifies', { details: { file: NODE_NAME, offset: 0 } })
  return state
}

function writeSlot(slot: Uint8Array, state: NodeState): void {
  const view = new DataView(slot.buffer, slot.byteOffset, SLOT_BYTES)
  slot.set(MAGIC)
  view.setUint32(8, VERSION, true)
  view.setUint32(12, ROLES.indexOf(state.role), true)
  writeU53(view, 16, state.seq)
  slot.set(state.storeId, 24)
  writeU53(view, 56, state.epochSeen)
  writeU53(view, 64, state.session)
  writeU53(view, 72, state.committedLsn)
  writeU53(view, 80, state.historyFloorLsn)
  writeU53(view, 88, state.tailEpoch)
  writeU53(view, 96, state.lock)
  writeU53(view, 104, state.ownFrom)
  writeU53(view, 416, state.tailBelow)
  writeU53(view, 424, state.tailFrom)
  writeU53(view, 448, state.floorMandate)
  writeU53(view, 456, state.floorEpoch)
  writeU53(view, 464, state.followed)
  writeU53(view, 472, state.promised)
  writeU53(view, 480, state.mandate)
  if (state.decision !== NO_DECISION) slot.set(fromHex(state.decision), DECISION_AT)
  writeU53(view, 488, state.isWhole ? 1 : 0)
  writeU53(view, 496, state.promotedEpoch)
  if (state.replicaId !== undefined) {
    const id = encoder.encode(state.replicaId)
    assert(id.length > 0 && id.length <= REPLICA_ID_BYTES_MAX, 'a replica id has 1 to 128 bytes', id.length)
    slot.set(sha256(id).subarray(0, 16), 40)
    view.setUint16(112, id.length, true)
    slot.set(id, 114)
  }
  view.setBigUint64(HASHED_BYTES, hash64(slot.subarray(0, HASHED_BYTES)), true)
}

function readSlot(slot: Uint8Array): NodeState | undefined {
  if (slot.length < SLOT_BYTES || !sameBytes(slot.subarray(0, MAGIC.length), MAGIC)) return undefined
  const view = new DataView(slot.buffer, slot.byteOffset, SLOT_BYTES)
  if (view.getBigUint64(HASHED_BYTES, true) !== hash64(slot.subarray(0, HASHED_BYTES))) return undefined
  const role = ROLES[view.getUint32(12, true)]
  if (view.getUint32(8, true) !== VERSION || role === undefined) return undefined
  const length = view.getUint16(112, true)
  return {
    seq: readU53(view, 16),
    storeId: slot.slice(24, 40),
    replicaId: length === 0 ? undefined : new TextDecoder().decode(slot.subarray(114, 114 + Math.min(length, REPLICA_ID_BYTES_MAX))),
    role,
    epochSeen: readU53(view, 56),
    session: readU53(view, 64),
    committedLsn: readU53(view, 72),
    historyFloorLsn: readU53(view, 80),
    tailEpoch: readU53(view, 88),
    tailFrom: readU53(view, 424),
    tailBelow: readU53(view, 416),
    lock: readU53(view, 96),
    ownFrom: readU53(view, 104),
    promotedEpoch: readU53(view, 496),
    mandate: readU53(view, 480),
    promised: readU53(view, 472),
    decision: readDecision(slot.subarray(DECISION_AT, DECISION_AT + DECISION_BYTES)),
    followed: readU53(view, 464),
    floorEpoch: readU53(view, 456),
    floorMandate: readU53(view, 448),
    isWhole: readU53(view, 488) === 1,
  }
}

function readDecision(bytes: Uint8Array): string {
  return bytes.every((byte) => byte === 0) ? NO_DECISION : toHex(bytes)
}
