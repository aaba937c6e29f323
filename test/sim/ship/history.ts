// Every history that any writer of a run ever wrote and some node made durable, as one tree: the reference that nodes are held against.
//
// A record is known by the chain digest at its LSN, which says all that is before it too: two nodes agree up to an LSN exactly when they stand in one place of
// the tree there. What a record does to the rows is taken from the write that was asked for (by its writeId), not from the record.
// Invariant: a place's digest was computed here, from the bytes that a log gave out or a writer sent, by the rule of log.md section 1.

import { type AckMode, ByteReader, decodeCommit, decodeMode, decodePublish, readFrameHeader } from '../../../bindings/format/index.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import type { LogBatch } from '../../../bindings/log/index.ts'
import { ulidText } from '../../../bindings/runtime/index.ts'

export const KEYS = 48
const KIND_EPOCH = 1
const KIND_COMMIT = 2
const KIND_PUBLISH = 5
const KIND_MODE = 12

/** By key; 0 = no row. Never changed once it is in the tree. */
export type Rows = Int32Array

export interface Write {
  readonly id: string
  /** Pairs of key and value; value 0: the row goes. */
  readonly changes: readonly (readonly [key: number, value: number])[]
  /** large: all keys, through files. */
  readonly how: 'upsert' | 'delete' | 'large'
  /** Name and epoch of the process it was given to, and the mode of then, where that is known. */
  readonly by: string
  readonly epoch: number
  readonly mode: AckMode
  /** What it asks for beyond the mode. */
  readonly ack: 'quorum' | 'all' | undefined
  /** Idempotency key: that of the write it is asked for again for, or its own. */
  readonly key: string | undefined
  told: 'waiting' | 'acked' | 'refused' | 'unknown'
  lsn: number | undefined
}

export interface Place {
  readonly lsn: number
  /** Hex. */
  readonly digest: string
  readonly parent: Place | undefined
  readonly epoch: number
  readonly rows: Rows
  /** By which the next record is committed. */
  readonly mode: AckMode
  readonly writeId: string | undefined
  /** The record as it stands in a log, but for what is that log's own. */
  readonly frame: Uint8Array
}

const ZERO = '0'.repeat(64)

export class HistoryTree {
  readonly root: Place = {
    lsn: 0,
    digest: ZERO,
    parent: undefined,
    epoch: 0,
    rows: new Int32Array(KEYS),
    mode: 'async',
    writeId: undefined,
    frame: new Uint8Array(),
  }
  readonly writes: Map<string, Write> = new Map()
  /** Where each write stands, by key or id: in more than one place only where histories part. */
  readonly #byWrite = new Map<string, readonly Place[]>()
  readonly #places = new Map<string, Place>([[ZERO, this.root]])

  at(digest: Uint8Array): Place | undefined {
    return this.#places.get(hex(digest))
  }

  /** Takes in records of a log, whose digest before them is that of `from`. @throws what is wrong with them */
  extend(from: Place, batch: Pick<LogBatch, 'bytes' | 'offsets'>): Place {
    let place = from
    const { bytes, offsets } = batch
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const chain = new Uint8Array(64)
    for (const at of offsets) {
      const { lsn, kind, length, epoch } = readFrameHeader(view, at)
      if (lsn !== place.lsn + 1) throw new Error(`a log gives out LSN ${lsn} behind ${place.lsn}`)
      const frame = bytes.slice(at, at + 32 + length)
      frame[14] = 0
      frame[15] = 0
      const record = frame.subarray(8)
      chain.set(unhex(place.digest), 0)
      chain.set(sha256(record), 32)
      const digest = hex(sha256(chain))
      const known = this.#places.get(digest)
      if (known !== undefined) {
        place = known
        continue
      }
      const payload = record.subarray(24)
      const writeId = kind === KIND_COMMIT ? idOf(payload) : kind === KIND_PUBLISH ? publishedId(payload) : undefined
      const mode = kind === KIND_MODE ? decodeMode(new ByteReader(payload)).mode : place.mode
      if (kind === KIND_EPOCH && epoch <= place.epoch) throw new Error(`LSN ${lsn}: epoch ${epoch} begins behind epoch ${place.epoch}`)
      if (epoch < place.epoch) throw new Error(`LSN ${lsn} of epoch ${epoch} stands behind epoch ${place.epoch}`)
      const next: Place = { lsn, digest, parent: place, epoch, rows: this.#after(place, writeId, lsn), mode, writeId, frame }
      this.#places.set(digest, next)
      if (writeId !== undefined) {
        const key = nameOf(this.writes.get(writeId)!)
        this.#byWrite.set(key, [...(this.#byWrite.get(key) ?? []), next])
      }
      place = next
    }
    return place
  }

  /** Whether that is the record of the write, or of another one under its key. */
  isOf(place: Place | undefined, write: Write): boolean {
    if (place?.writeId === undefined) return false
    return place.writeId === write.id || nameOf(this.writes.get(place.writeId)!) === nameOf(write)
  }

  /** Where the record of the write stands, under its id or its key, at that LSN. */
  placesOf(write: Write, lsn: number): readonly Place[] {
    return (this.#byWrite.get(nameOf(write)) ?? []).filter((place) => place.lsn === lsn)
  }

  #after(place: Place, writeId: string | undefined, lsn: number): Rows {
    if (writeId === undefined) return place.rows
    const write = this.writes.get(writeId)
    if (write === undefined) throw new Error(`LSN ${lsn}: nobody asked for write ${writeId}`)
    const before = this.#byWrite.get(nameOf(write)) ?? []
    for (const other of before) if (isBefore(other, place)) throw new Error(`write ${writeId} is in the log at LSN ${other.lsn} and at ${lsn}`)
    const rows = place.rows.slice()
    for (const [key, value] of write.changes) rows[key] = value
    return rows
  }
}

function nameOf({ id, key }: Write): string {
  return key ?? id
}

/** The place at that LSN on the way to `place`. */
export function ancestor(place: Place, lsn: number): Place | undefined {
  let p: Place | undefined = place
  while (p !== undefined && p.lsn > lsn) p = p.parent
  return p
}

export function isBefore(earlier: Place, later: Place): boolean {
  return ancestor(later, earlier.lsn) === earlier
}

function idOf(payload: Uint8Array): string {
  return ulidText(decodeCommit(new ByteReader(payload)).writeId)
}

function publishedId(payload: Uint8Array): string {
  return ulidText(decodePublish(new ByteReader(payload)).commit.writeId)
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}

function unhex(text: string): Uint8Array {
  return Buffer.from(text, 'hex')
}
