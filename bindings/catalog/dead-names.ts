// catalog/dead-names.ts: files that a vacuum has named and may be deleting: no record may name them (recovery.md section 10, "Vacuum").
//
// Invariant: a name stays dead for 7 days of record time and 100,000 records after the last record that named it, whichever is longer. The list of batches is
// replaced, never changed: who holds it has the names that were dead then.

import { type ByteReader, type ByteWriter, decodeList, decodeNames, encodeNames } from '../format/index.ts'
import { TERM_MS, TERM_RECORDS } from './outcomes.ts'

/** The names of one record. */
export interface DeadBatch {
  readonly lsn: number
  readonly timeMs: number
  readonly names: ReadonlySet<string>
}

export class DeadNames {
  /** In log order. */
  batches: readonly DeadBatch[] = []

  has(name: string): boolean {
    return isNamed(this.batches, name)
  }

  /** The newest record that names it. */
  batchOf(name: string): DeadBatch | undefined {
    return this.batches.findLast(({ names }) => names.has(name))
  }

  add(lsn: number, timeMs: number, names: readonly string[]): void {
    if (names.length > 0) this.batches = [...this.batches, { lsn, timeMs, names: new Set(names) }]
  }

  forget(lsn: number, timeMs: number): void {
    const kept = this.batches.findIndex((batch) => timeMs - batch.timeMs <= TERM_MS || lsn - batch.lsn <= TERM_RECORDS)
    if (kept !== 0) this.batches = kept < 0 ? [] : this.batches.slice(kept)
  }
}

export function isNamed(batches: readonly DeadBatch[], name: string): boolean {
  for (const { names } of batches) if (names.has(name)) return true
  return false
}

/** Part of a checkpoint. */
export function encodeDeadNames(w: ByteWriter, { batches }: DeadNames): void {
  w.varint(batches.length)
  for (const { lsn, timeMs, names } of batches) {
    w.varint(lsn)
    w.u53(timeMs)
    encodeNames(w, [...names])
  }
}

/** @throws DecodeError */
export function decodeDeadNames(r: ByteReader): DeadNames {
  const dead = new DeadNames()
  dead.batches = decodeList(r, () => ({ lsn: r.varint(), timeMs: r.u53(), names: new Set(decodeNames(r)) }))
  return dead
}
