// catalog/outcomes.ts: what the fold knows of writes with an Intent: the sealed ones that wait, and what became of the others (recovery.md section 1).
//
// Invariant: of each writeId the first publish or rollback in log order is the outcome; later ones fold to nothing and are counted. An outcome is kept for
// 7 days of record time and 100,000 records, whichever is longer; `floor` is the highest LSN whose outcome was forgotten.

import { ByteReader, ByteWriter, decodeList, decodeSeal, encodeSeal, toHex, type SealRecord, WRITE_ID_BYTES } from '../format/index.ts'

/** Outcomes, dead names and idempotency keys live at least this long, in times of records. */
export const TERM_MS: number = 7 * 24 * 3600 * 1000
export const TERM_RECORDS = 100_000

export interface PendingSeal extends SealRecord {
  /** LSN of its newest seal. */
  readonly lsn: number
}

export interface DecidedWrite {
  readonly writeId: Uint8Array
  readonly outcome: 'published' | 'rolledBack'
  readonly lsn: number
  readonly timeMs: number
}

export class Outcomes {
  /** By writeId as 32 hex digits, in log order of their first seal. */
  readonly pending: Map<string, PendingSeal> = new Map()
  /** By writeId as 32 hex digits, in log order. */
  readonly decided: Map<string, DecidedWrite> = new Map()
  /** Outcomes at or below it may be forgotten. */
  floor = 0
  /** Seals, publishes and rollbacks that came after the outcome of their write. */
  superseded = 0
  /** Counts up with every change of `pending`; not kept. */
  stamp = 0
  /** Up to this LSN none is forgotten: asked at every record. */
  #heldUpto = 0

  of(writeIdHex: string): DecidedWrite | undefined {
    return this.decided.get(writeIdHex)
  }

  /** @returns false, and counted: it is decided already */
  seal(lsn: number, record: SealRecord): boolean {
    const id = toHex(record.writeId)
    if (this.decided.has(id)) return this.ignore()
    this.pending.set(id, { ...record, lsn })
    this.stamp++
    return true
  }

  /** @returns false, and counted: it is decided already */
  decide(lsn: number, writeId: Uint8Array, outcome: DecidedWrite['outcome'], timeMs: number): boolean {
    const id = toHex(writeId)
    if (this.decided.has(id)) return this.ignore()
    if (this.pending.delete(id)) this.stamp++
    this.decided.set(id, { writeId: writeId.slice(), outcome, lsn, timeMs })
    return true
  }

  private ignore(): false {
    this.superseded++
    return false
  }

  forget(lsn: number, timeMs: number): void {
    if (lsn <= this.#heldUpto) return
    for (const [id, decided] of this.decided) {
      // The others came later.
      this.#heldUpto = decided.lsn + TERM_RECORDS
      if (timeMs - decided.timeMs <= TERM_MS || lsn <= this.#heldUpto) return
      this.decided.delete(id)
      this.floor = decided.lsn
    }
  }
}

/** Part of a checkpoint. */
export function encodeOutcomes(w: ByteWriter, outcomes: Outcomes): void {
  w.varint(outcomes.floor)
  w.varint(outcomes.superseded)
  const pending = [...outcomes.pending.values()].sort((a, b) => a.lsn - b.lsn)
  w.varint(pending.length)
  for (const seal of pending) {
    w.varint(seal.lsn)
    const body = new ByteWriter()
    encodeSeal(body, seal)
    w.blob(body.finish())
  }
  const decided = [...outcomes.decided.values()].sort((a, b) => a.lsn - b.lsn)
  w.varint(decided.length)
  for (const { writeId, outcome, lsn, timeMs } of decided) {
    w.raw(writeId)
    w.u8(outcome === 'published' ? 1 : 0)
    w.varint(lsn)
    w.u53(timeMs)
  }
}

/** @throws DecodeError */
export function decodeOutcomes(r: ByteReader): Outcomes {
  const outcomes = new Outcomes()
  outcomes.floor = r.varint()
  outcomes.superseded = r.varint()
  const pending = decodeList(r, () => {
    const lsn = r.varint()
    const bytes = r.blob()
    return { ...decodeSeal(new ByteReader(bytes, 0, bytes.length), lsn), lsn }
  })
  for (const seal of pending) outcomes.pending.set(toHex(seal.writeId), seal)
  const decided = decodeList(r, () => {
    const writeId = r.raw(WRITE_ID_BYTES).slice()
    const outcome: DecidedWrite['outcome'] = r.u8() === 1 ? 'published' : 'rolledBack'
    return { writeId, outcome, lsn: r.varint(), timeMs: r.u53() }
  })
  for (const each of decided) outcomes.decided.set(toHex(each.writeId), each)
  return outcomes
}
