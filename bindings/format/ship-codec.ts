// format/ship-codec.ts: the fields of every message of shipping, in the order they stand here (docs/shipping.md "Frames").
//
//   LSN, epoch, length of a file: u64 | digest, hash, nonce, mac: 32 bytes | list: varint n, then n items | text: varint n, then n bytes of UTF-8
//   optional: u8 0 or 1, then the value | `bytes`: the rest of the message
//
// Invariant: decoding gives a message whose every field is in its range, with nothing left over, or throws DecodeError; it never throws anything else.
import { assert } from '../assert.ts'
import { type ByteReader, ByteWriter, DecodeError } from './bytes.ts'
import { decodeList } from './commit.ts'
import { fromHex, toHex } from './hex.ts'
import { DECISION_BYTES, type Mark, markOf, NO_DECISION } from './mandate.ts'
import { ACK_MODES, decodeAckMode } from './mode.ts'
import { DIGEST_BYTES } from './segment.ts'
import type { Message } from './ship-messages.ts'
import { SHIP_CHECK_BYTES, SHIP_HEADER_BYTES } from './ship-frame.ts'
import { digestInName } from './vacuum.ts'

type MessageOf<T extends Message['type']> = Extract<Message, { readonly type: T }>

/** The largest piece of a file. */
export const FILE_PIECE_BYTES_MAX: number = 256 * 1024
const STORE_ID_BYTES = 16
const REPLICA_ID = /^[A-Za-z0-9._:-]{1,128}$/
const CHECKPOINT_NAME = /^checkpoints\/\d{20}\.ckpt$/
const ERROR_CODE = /^[a-z0-9.-]{1,128}$/
const ERROR_TEXT_BYTES_MAX: number = 64 * 1024
const KINDS = ['bootstrap', 'catchup', 'reassign', 'rebuild', 'observe', 'fence'] as const
const MODES = ['catchup', 'tail', 'stream'] as const
/** As the types of frames are numbered, from 1. */
const TYPES = [
  'hello',
  'helloReply',
  'digestReq',
  'digestReply',
  'grant',
  'grantAck',
  'entries',
  'fragment',
  'ack',
  'truncate',
  'truncated',
  'manifest',
  'want',
  'install',
  'installed',
  'heartbeat',
  'error',
  'verifySelf',
  'verified',
  'challenge',
  'proof',
  'working',
] as const satisfies readonly Message['type'][]
const TYPE_OF: Readonly<Record<string, number>> = Object.fromEntries(TYPES.map((type, i) => [type, i + 1]))

export interface EncodedMessage {
  readonly type: number
  /** Room for the header and `check`, then the fields (encodeShipFrame). */
  readonly head: Uint8Array
  /** `bytes` of the message, itself. */
  readonly tail: Uint8Array | undefined
}

export function encodeMessage(message: Message): EncodedMessage {
  const w = new ByteWriter(128)
  w.at = SHIP_HEADER_BYTES + SHIP_CHECK_BYTES
  writeFields(w, message)
  return { type: TYPE_OF[message.type]!, head: w.bytes.subarray(0, w.at), tail: 'bytes' in message ? message.bytes : undefined }
}

/** @throws DecodeError */
export function decodeMessage(type: number, r: ByteReader): Message {
  const name = TYPES[type - 1]
  if (name === undefined) throw new DecodeError(`a message of type ${type}`, r.at)
  const message = READ[name](r)
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a message of type ${name}`, r.at)
  return message
}

/** What a message holds in memory, roughly: its long bytes and something for the rest. */
export function messageBytes(message: Message): number {
  const fixed = 128
  if ('bytes' in message) return fixed + message.bytes.length
  return message.type === 'want' ? fixed + message.files.length * 128 : fixed
}

function writeFields(w: ByteWriter, m: Message): void {
  switch (m.type) {
    case 'hello':
      w.u32(m.protocol)
      w.text(m.replicaId)
      writeExact(w, m.storeId, STORE_ID_BYTES)
      w.u53(m.endpointVersion)
      w.u53(m.mandate)
      w.raw(decisionBytes(m.mandate, m.decision))
      return w.u8(KINDS.indexOf(m.kind))
    case 'helloReply':
      return writeHelloReply(w, m)
    case 'digestReq':
      return w.u53(m.lsn)
    case 'digestReply':
      w.u53(m.lsn)
      return writeOptional(w, m.digest, DIGEST_BYTES)
    case 'grant':
      w.u8(MODES.indexOf(m.mode))
      w.u53(m.start)
      w.u53(m.target)
      w.u53(m.committedLsn)
      return w.u8(m.elideDead ? 1 : 0)
    case 'grantAck':
      return w.u53(m.durableLsn)
    case 'entries':
      w.u53(m.first)
      w.u32(m.count)
      w.u53(m.committedLsn)
      writeExact(w, m.digest, DIGEST_BYTES)
      return w.u8(m.base ? 1 : 0)
    case 'fragment':
      writeExact(w, m.hash, DIGEST_BYTES)
      w.u53(m.offset)
      w.u53(m.total)
      return w.u8(m.dead ? 1 : 0)
    case 'ack':
      w.u53(m.receivedLsn)
      w.u53(m.durableLsn)
      return w.u53(m.appliedLsn)
    case 'truncate':
      return w.u53(m.lsn)
    case 'truncated':
      w.u53(m.lsn)
      return writeExact(w, m.digest, DIGEST_BYTES)
    case 'manifest':
      return writeExact(w, m.hash, DIGEST_BYTES)
    case 'want':
      w.u53(m.lsn)
      w.varint(m.files.length)
      for (const file of m.files) {
        w.text(file.name)
        writeExact(w, file.hash, DIGEST_BYTES)
        w.u53(file.bytes)
      }
      return
    case 'install':
      return writeExact(w, m.manifestHash, DIGEST_BYTES)
    case 'installed':
      return w.u53(m.baseLsn)
    case 'heartbeat':
      w.u53(m.committedLsn)
      return w.u53(m.durableLsn)
    case 'error':
      w.text(m.code)
      w.text(m.message)
      return w.text(detailText(m.details))
    case 'verifySelf':
      return w.u53(m.upTo)
    case 'verified':
      w.u8(m.ok ? 1 : 0)
      w.u53(m.firstBad)
      return w.u8(ACK_MODES.indexOf(m.ackMode))
    case 'challenge':
      return writeExact(w, m.nonce, DIGEST_BYTES)
    case 'proof':
      return writeExact(w, m.mac, DIGEST_BYTES)
    case 'working':
      return w.u53(m.done)
  }
}

function writeHelloReply(w: ByteWriter, m: MessageOf<'helloReply'>): void {
  w.u32(m.protocol)
  w.text(m.replicaId)
  writeOptional(w, m.storeId, STORE_ID_BYTES)
  w.u53(m.epochSeen)
  w.u53(m.durableLsn)
  w.u53(m.committedLsn)
  w.u53(m.tailLsn)
  w.u8(m.lineage === null ? 0 : 1)
  if (m.lineage !== null) {
    writeLineage(w, m.lineage)
  }
  writeExact(w, m.digest, DIGEST_BYTES)
  w.varint(m.checkpoints.length)
  for (const lsn of m.checkpoints) w.u53(lsn)
  writeOptional(w, m.rebuildInProgress ?? undefined, DIGEST_BYTES)
  w.u8(m.isWhole ? 1 : 0)
  w.u8(m.elided === null ? 0 : 1)
  if (m.elided !== null) for (const field of [m.elided.lsn, m.elided.epoch, m.elided.mandate]) w.u53(field)
}

function writeOptional(w: ByteWriter, bytes: Uint8Array | undefined, length: number): void {
  w.u8(bytes === undefined ? 0 : 1)
  if (bytes !== undefined) writeExact(w, bytes, length)
}

function writeExact(w: ByteWriter, bytes: Uint8Array, length: number): void {
  assert(bytes.length === length, 'ids and digests of a message have their length')
  w.raw(bytes)
}

const READ: { readonly [T in Message['type']]: (r: ByteReader) => MessageOf<T> } = {
  hello: readHello,
  helloReply: (r) => ({
    type: 'helloReply',
    protocol: r.u32(),
    replicaId: readReplicaId(r),
    storeId: readFlag(r) ? r.raw(STORE_ID_BYTES).slice() : undefined,
    epochSeen: r.u53(),
    durableLsn: r.u53(),
    committedLsn: r.u53(),
    tailLsn: r.u53(),
    lineage: readFlag(r) ? readLineage(r) : null,
    digest: readHash(r),
    checkpoints: decodeList(r, () => r.u53()),
    rebuildInProgress: readFlag(r) ? readHash(r) : null,
    isWhole: readFlag(r),
    elided: readFlag(r) ? { lsn: r.u53(), epoch: r.u53(), mandate: r.u53() } : null,
  }),
  digestReq: (r) => ({ type: 'digestReq', lsn: r.u53() }),
  digestReply: (r) => ({ type: 'digestReply', lsn: r.u53(), digest: readFlag(r) ? readHash(r) : undefined }),
  grant: (r) => ({ type: 'grant', mode: oneOf(r, MODES), start: r.u53(), target: r.u53(), committedLsn: r.u53(), elideDead: readFlag(r) }),
  grantAck: (r) => ({ type: 'grantAck', durableLsn: r.u53() }),
  entries: readEntries,
  fragment: readFragment,
  ack: (r) => ({ type: 'ack', receivedLsn: r.u53(), durableLsn: r.u53(), appliedLsn: r.u53() }),
  truncate: (r) => ({ type: 'truncate', lsn: r.u53() }),
  truncated: (r) => ({ type: 'truncated', lsn: r.u53(), digest: readHash(r) }),
  manifest: (r) => ({ type: 'manifest', hash: readHash(r), bytes: r.raw(r.left) }),
  want: (r) => ({ type: 'want', lsn: r.u53(), files: decodeList(r, () => readFile(r)) }),
  install: (r) => ({ type: 'install', manifestHash: readHash(r) }),
  installed: (r) => ({ type: 'installed', baseLsn: r.u53() }),
  heartbeat: (r) => ({ type: 'heartbeat', committedLsn: r.u53(), durableLsn: r.u53() }),
  error: readError,
  verifySelf: (r) => ({ type: 'verifySelf', upTo: r.u53() }),
  verified: (r) => ({ type: 'verified', ok: readFlag(r), firstBad: r.u53(), ackMode: decodeAckMode(r) }),
  challenge: (r) => ({ type: 'challenge', nonce: readHash(r) }),
  proof: (r) => ({ type: 'proof', mac: readHash(r) }),
  working: (r) => ({ type: 'working', done: r.u53() }),
}

function readHello(r: ByteReader): MessageOf<'hello'> {
  const protocol = r.u32()
  const replicaId = r.text()
  const storeId = r.raw(STORE_ID_BYTES).slice()
  const endpointVersion = r.u53()
  const mandate = r.u53()
  const decision = readDecision(r, mandate)
  const kind = oneOf(r, KINDS)
  // Who only looks, or only fences, need not know whom it looks at.
  if (!REPLICA_ID.test(replicaId) && !((kind === 'observe' || kind === 'fence') && replicaId === '')) throw new DecodeError('no replica id', r.at)
  return { type: 'hello', protocol, replicaId, storeId, endpointVersion, mandate, decision, kind }
}

function decisionBytes(mandate: number, decision: string): Uint8Array {
  assert(decision.length === (mandate === 0 ? 0 : 2 * DECISION_BYTES), 'a mandate has a decision of its own')
  return decision === NO_DECISION ? new Uint8Array(DECISION_BYTES) : fromHex(decision)
}

function readDecision(r: ByteReader, mandate: number): string {
  const bytes = r.raw(DECISION_BYTES)
  const isNone = bytes.every((byte) => byte === 0)
  if (isNone !== (mandate === 0)) throw new DecodeError(`mandate ${mandate} ${isNone ? 'without' : 'with'} a decision`, r.at)
  return isNone ? NO_DECISION : toHex(bytes)
}

function readEntries(r: ByteReader): MessageOf<'entries'> {
  const fields = { first: r.u53(), count: r.u32(), committedLsn: r.u53(), digest: readHash(r), base: readFlag(r) }
  const bytes = r.raw(r.left)
  if (fields.first === 0) throw new DecodeError('entries from LSN 0', r.at)
  if ((fields.count === 0) !== (bytes.length === 0)) throw new DecodeError(`${fields.count} entries of ${bytes.length} bytes`, r.at)
  return { type: 'entries', ...fields, bytes }
}

function readFragment(r: ByteReader): MessageOf<'fragment'> {
  const fields = { hash: readHash(r), offset: r.u53(), total: r.u53(), dead: readFlag(r) }
  const bytes = r.raw(r.left)
  if (bytes.length > FILE_PIECE_BYTES_MAX) throw new DecodeError(`a piece of ${bytes.length} bytes`, r.at)
  if (fields.offset + bytes.length > fields.total) throw new DecodeError(`a piece up to byte ${fields.offset + bytes.length} of ${fields.total}`, r.at)
  return { type: 'fragment', ...fields, bytes }
}

function readError(r: ByteReader): MessageOf<'error'> {
  if (r.left > ERROR_TEXT_BYTES_MAX) throw new DecodeError(`an error of ${r.left} bytes`, r.at)
  const code = r.text()
  if (!ERROR_CODE.test(code)) throw new DecodeError('no error code', r.at)
  return { type: 'error', code, message: r.text(), details: readDetails(r) }
}

/** Nothing but content-addressed files and checkpoints can be spoken of: no peer's word leads to any other place. */
export function readFile(r: ByteReader): { readonly name: string; readonly hash: Uint8Array; readonly bytes: number } {
  const file = { name: r.text(), hash: readHash(r), bytes: r.u53() }
  const digest = digestInName(file.name)
  if (digest === undefined && !CHECKPOINT_NAME.test(file.name)) throw new DecodeError(`the name of no file of a base: ${file.name.slice(0, 120)}`, r.at)
  if (digest !== undefined && digest !== toHex(file.hash)) throw new DecodeError(`${file.name} with another hash`, r.at)
  return file
}

export function writeLineage(w: ByteWriter, lineage: readonly Mark[]): void {
  w.varint(lineage.length)
  for (const { epoch, firstLsn, mandate = 0 } of lineage) {
    w.u53(epoch)
    w.u53(firstLsn)
    w.u53(mandate)
  }
}

/** Epochs and their first LSNs grow. */
export function readLineage(r: ByteReader): Mark[] {
  let before: Mark = { epoch: 0, firstLsn: 0 }
  return decodeList(r, () => {
    const mark = markOf(r.u53(), r.u53(), r.u53())
    if (mark.epoch <= before.epoch || mark.firstLsn <= before.firstLsn) throw new DecodeError(`a lineage out of order at epoch ${mark.epoch}`, r.at)
    before = mark
    return mark
  })
}

/** A copy: digests are kept for long, what arrived is not. */
export function readHash(r: ByteReader): Uint8Array {
  return r.raw(DIGEST_BYTES).slice()
}

function readReplicaId(r: ByteReader): string {
  const id = r.text()
  if (!REPLICA_ID.test(id)) throw new DecodeError('no replica id', r.at)
  return id
}

function readFlag(r: ByteReader): boolean {
  const value = r.u8()
  if (value > 1) throw new DecodeError(`a flag of ${value}`, r.at - 1)
  return value === 1
}

function oneOf<T>(r: ByteReader, values: readonly T[]): T {
  const value = values[r.u8()]
  if (value === undefined) throw new DecodeError('a value of no meaning', r.at - 1)
  return value
}

/** JSON, with `{"$bigint":"5"}` and `{"$bytes":"00ff"}` for what JSON has not. What cannot be shown is left out: an error must arrive, whatever it carries. */
function detailText(details: Readonly<Record<string, unknown>>): string {
  try {
    return JSON.stringify(details, (_key, value: unknown) => {
      if (typeof value === 'bigint') return { $bigint: value.toString() }
      return value instanceof Uint8Array ? { $bytes: toHex(value) } : value
    })
  } catch {
    return '{}'
  }
}

function readDetails(r: ByteReader): Readonly<Record<string, unknown>> {
  const text = r.text()
  let details: unknown
  try {
    details = JSON.parse(text, (_key, value: unknown) => revived(value))
  } catch {
    throw new DecodeError('details that are not JSON', r.at)
  }
  if (typeof details !== 'object' || details === null || Array.isArray(details)) throw new DecodeError('details that are no object', r.at)
  return details as Record<string, unknown>
}

function revived(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const { $bigint, $bytes } = value as { $bigint?: unknown; $bytes?: unknown }
  if (typeof $bigint === 'string' && /^-?\d{1,40}$/.test($bigint)) return BigInt($bigint)
  if (typeof $bytes === 'string' && /^(?:[0-9a-f]{2})*$/.test($bytes)) return Uint8Array.from($bytes.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
  return value
}
