// format/mode.ts: payload of the `mode` record (kind 12): the acknowledgement mode of shipping from here on (docs/shipping.md "Acknowledgement and promotion").
//
//   u8 version | u53 time ms | 16 B id | u8 mode | u8 the mode before | u8 flags (1: forced)
//
// Modes: 0 async, 1 quorum, 2 all. A record that was forced counts as soon as it is durable on its primary, whatever the mode before asks for.

import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts'
import { WRITE_ID_BYTES } from './commit.ts'

const VERSION = 1
const FORCED = 1

/** When a write resolves: durable on the primary, on a majority of the nodes, on all of them. Weakest first. */
export const ACK_MODES = ['async', 'quorum', 'all'] as const
export type AckMode = (typeof ACK_MODES)[number]

/** That of the two which promises less. */
export function weakerMode(a: AckMode, b: AckMode): AckMode {
  return ACK_MODES.indexOf(a) < ACK_MODES.indexOf(b) ? a : b
}

export interface ModeRecord {
  readonly timeMs: number
  /** 16 bytes. */
  readonly id: Uint8Array
  readonly mode: AckMode
  readonly before: AckMode
  readonly forced: boolean
}

export function encodeMode(w: ByteWriter, record: ModeRecord): void {
  w.u8(VERSION)
  w.u53(record.timeMs)
  w.raw(record.id)
  w.u8(ACK_MODES.indexOf(record.mode))
  w.u8(ACK_MODES.indexOf(record.before))
  w.u8(record.forced ? FORCED : 0)
}

/** @throws DecodeError */
export function decodeMode(r: ByteReader): ModeRecord {
  const version = r.u8()
  if (version !== VERSION) throw new DecodeError(`mode record version ${version}`, r.at)
  const timeMs = r.u53()
  const id = r.raw(WRITE_ID_BYTES).slice()
  const mode = decodeAckMode(r)
  const before = decodeAckMode(r)
  const flags = r.u8()
  if ((flags & ~FORCED) !== 0) throw new DecodeError(`flags ${flags} of a mode record`, r.at)
  if (r.left !== 0) throw new DecodeError(`${r.left} bytes behind a mode record`, r.at)
  return { timeMs, id, mode, before, forced: flags === FORCED }
}

export function decodeAckMode(r: ByteReader): AckMode {
  const code = r.u8()
  const mode = ACK_MODES[code]
  if (mode === undefined) throw new DecodeError(`acknowledgement mode ${code}`, r.at)
  return mode
}
