// engine/replay.ts: inline rows of many records into memory layers, one kernel call per table and log batch instead of one walk per record.
//
// Invariant: rows are added in log order and every hide stands behind the row that it hides; so a run may be added late, but never later than something
// else that looks at the table.

import { assert } from '../assert.ts'
import { DecodeError, layoutOf, type TableChange, type TableSchema } from '../format/index.ts'
import { InlineDecoder, isInlineFailure, slice } from '../kernels/index.ts'
import { CHUNK_ROWS, type TableState } from '../table/index.ts'
import { contradiction } from './contradiction.ts'

const decoders = new WeakMap<TableSchema, InlineDecoder>()

function decoderOf(schema: TableSchema): InlineDecoder {
  let decoder = decoders.get(schema)
  if (decoder === undefined) decoders.set(schema, (decoder = new InlineDecoder(schema.columns.map((column) => layoutOf(column.type)))))
  return decoder
}

interface Run {
  readonly table: TableState
  readonly schemaVersion: number
  readonly starts: number[]
  readonly ends: number[]
  readonly counts: number[]
  readonly lsns: number[]
  /** Pairs of row number and LSN. */
  readonly hides: number[]
}

/** Fewer records than this are decoded one by one: the kernel call would cost more. */
const BULK_RECORDS_MIN = 8

/** The runs of one log batch. */
export class Replay {
  private readonly bytes: Uint8Array
  private readonly runs = new Map<number, Run>()

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  /** Take a change that does nothing but add and hide rows of the memory layer; false: it is of another kind, apply it by itself. @throws CorruptionError */
  take(table: TableState, lsn: number, change: TableChange): boolean {
    const isPlain = change.op !== 'replace' && change.fragments === undefined && change.hides === undefined && change.deletionVectors === undefined
    const rows = change.inline?.rows ?? 0
    if (!isPlain || rows > CHUNK_ROWS || (change.inline !== undefined && change.inline.bytes !== this.bytes)) return false
    let run = this.runs.get(table.uid)
    if (run !== undefined && run.schemaVersion !== change.schemaVersion) {
      this.finish(table.uid)
      run = undefined
    }
    if (run === undefined)
      this.runs.set(table.uid, (run = { table, schemaVersion: change.schemaVersion, starts: [], ends: [], counts: [], lsns: [], hides: [] }))
    if (rows > 0) {
      run.starts.push(change.inline!.start)
      run.ends.push(change.inline!.end)
      run.counts.push(rows)
      run.lsns.push(lsn)
    }
    const { hideRows } = change
    if (hideRows !== undefined) for (let i = 0; i < hideRows.length; i++) run.hides.push(hideRows[i]!, lsn)
    table.lastLsn = lsn
    return true
  }

  /** Add what is pending of one table, or of all. @throws CorruptionError of the record whose rows cannot be read */
  finish(tableUid?: number): void {
    for (const [uid, run] of this.runs) {
      if (tableUid !== undefined && uid !== tableUid) continue
      this.runs.delete(uid)
      this.add(run)
    }
  }

  private add(run: Run): void {
    const { table, starts, ends, counts, lsns, hides } = run
    const schema = table.schemaOf(run.schemaVersion)
    const { layer } = table.now
    if (starts.length < BULK_RECORDS_MIN) {
      for (let i = 0; i < starts.length; i++) {
        try {
          layer.appendInline({ bytes: this.bytes, at: starts[i]!, end: ends[i]! }, counts[i]!, lsns[i]!, schema)
        } catch (cause) {
          throw contradiction(lsns[i]!, cause)
        }
      }
    } else this.addInBulk(run, schema)
    for (let i = 0; i < hides.length; i += 2) if (layer.has(hides[i]!)) layer.hide(hides[i]!, hides[i + 1]!)
  }

  private addInBulk({ table, starts, ends, counts, lsns }: Run, schema: TableSchema): void {
    const vecs = decoderOf(schema).decode(this.bytes, Uint32Array.from(starts), Uint32Array.from(counts), Uint32Array.from(ends))
    if (isInlineFailure(vecs)) throw contradiction(lsns[vecs.badBody]!, new DecodeError('an inline batch that does not parse', starts[vecs.badBody]!))
    const rows = counts.reduce((sum, count) => sum + count, 0)
    const perRow = new Float64Array(rows)
    let at = 0
    for (let i = 0; i < counts.length; i++) {
      perRow.fill(lsns[i]!, at, at + counts[i]!)
      at += counts[i]!
    }
    assert(at === rows, 'every row has an LSN', at)
    for (let from = 0; from < rows; from += CHUNK_ROWS) {
      const end = Math.min(rows, from + CHUNK_ROWS)
      const part = from === 0 && end === rows ? vecs : vecs.map((vec) => slice(vec, from, end))
      table.now.layer.appendVecs(part, end - from, perRow.subarray(from, end), schema)
    }
  }
}
