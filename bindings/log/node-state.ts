// log/node-state.ts: file NODE, the facts of this node that must not be in the fold (log.md section 3).
//
// Two slots of 512 bytes, written alternately, each self-checking; the valid one with the higher seq counts:
//   VARVENOD | u32 version | u32 role | u64 seq | store id 16 | replica id 16 (zero = none) | u64 epochSeen | u64 session | u64 committedLsn |
//   u64 historyFloorLsn | zeros | u64 xxh3 of the first 504 bytes
// Invariant: every read-write open puts it anew (another inode), so that late bytes of an earlier owner land nowhere.
import { CorruptionError } from '../errors.ts'
import { readU53, writeU53 } from '../format/index.ts'
import { getIfThere, type Root } from '../root/index.ts'

import { hash64, sameBytes } from './digest.ts'

export const NODE_NAME = 'NODE'
const SLOT_BYTES = 512
const HASHED_BYTES = 504
const VERSION = 1
const MAGIC = new TextEncoder().encode('VARVENOD')
const ROLES = ['primary', 'replica'] as const

export interface NodeState {
  readonly seq: number
  readonly storeId: Uint8Array
  readonly replicaId: Uint8Array | undefined
  readonly role: (typeof ROLES)[number]
  readonly epochSeen: number
  readonly session: number
  readonly committedLsn: number
  readonly historyFloorLsn: number
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
  if (state.replicaId !== undefined) slot.set(state.replicaId, 40)
  writeU53(view, 56, state.epochSeen)
  writeU53(view, 64, state.session)
  writeU53(view, 72, state.committedLsn)
  writeU53(view, 80, state.historyFloorLsn)
  view.setBigUint64(HASHED_BYTES, hash64(slot.subarray(0, HASHED_BYTES)), true)
}

function readSlot(slot: Uint8Array): NodeState | undefined {
  if (slot.length < SLOT_BYTES || !sameBytes(slot.subarray(0, MAGIC.length), MAGIC)) return undefined
  const view = new DataView(slot.buffer, slot.byteOffset, SLOT_BYTES)
  if (view.getBigUint64(HASHED_BYTES, true) !== hash64(slot.subarray(0, HASHED_BYTES))) return undefined
  const role = ROLES[view.getUint32(12, true)]
  if (view.getUint32(8, true) !== VERSION || role === undefined) return undefined
  const replicaId = slot.slice(40, 56)
  return {
    seq: readU53(view, 16),
    storeId: slot.slice(24, 40),
    replicaId: replicaId.some((byte) => byte !== 0) ? replicaId : undefined,
    role,
    epochSeen: readU53(view, 56),
    session: readU53(view, 64),
    committedLsn: readU53(view, 72),
    historyFloorLsn: readU53(view, 80),
  }
}
