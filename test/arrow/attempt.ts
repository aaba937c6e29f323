// One input through everything that reads Arrow bytes. What may come out: rows, every one of whose values can be read, or a typed error.
import { tableFromIPC } from 'apache-arrow'
import { type AnyTable, columnsFromArrow, Store, table, VarveError } from '../../bindings/index.ts'
import { lz4FrameDecode } from '../../bindings/kernels/index.ts'
import { readArrow } from '../../bindings/format/arrow-read.ts'
import { DecodeError } from '../../bindings/format/index.ts'
import type { ColumnBatch } from '../../bindings/table/batch.ts'
import { rowReader } from '../../bindings/table/rows-out.ts'
import { toBatches } from '../../bindings/table/stream-in.ts'
import { viewOf } from '../unit/table/every-type.ts'

/** Rows that were read, or the code of the error. Whatever else comes is thrown on. */
export type Outcome = number | string

const ROWS_LOOKED_AT = 2000

async function outcome(read: () => Promise<number>): Promise<Outcome> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof VarveError) return error.code
    throw error
  }
}

/** The columns that the bytes ask for, or the code of the refusal. */
export function definitionOf(bytes: Uint8Array): AnyTable | string {
  try {
    return table('fuzz', columnsFromArrow(bytes))
  } catch (error) {
    if (error instanceof VarveError) return error.code
    throw error
  }
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}

/** Every value as a row would have it. */
export function rowsOf(target: AnyTable, bytes: Uint8Array, pieceBytes?: number): Promise<Outcome> {
  return outcome(async () => {
    const view = viewOf(target)
    const read = rowReader(view.columns)
    let rows = 0
    for await (const batch of toBatches(view, pieceBytes === undefined ? bytes : inPieces(bytes, pieceBytes)) as AsyncIterable<ColumnBatch>) {
      for (let i = 0; i < Math.min(batch.length, ROWS_LOOKED_AT); i++) {
        try {
          read(batch.columns, i)
        } catch (error) {
          // As api.md has it: the value is a right one, and no Date.
          if (!(error instanceof RangeError && error.message.includes('outside what a Date holds'))) throw error
        }
      }
      rows += batch.length
    }
    return rows
  })
}

/** Through a store, its fragments included, and out again as bytes that another library reads. */
export function storedRows(target: AnyTable, bytes: Uint8Array, check?: (ipc: Uint8Array) => void): Promise<Outcome> {
  return outcome(async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual' })
    await store.create(target)
    const { rows } = await store.append(target, bytes as never)
    await store.flush()
    const ipc = await store.scan(target).toIpc()
    const found = tableFromIPC(ipc).numRows
    if (found !== rows) throw new Error(`${rows} rows went in, ${found} came out`)
    check?.(ipc)
    return rows
  })
}

/** By the reader of fragments, which has their hash to rely on and must not rely on it. */
export function fragmentRows(bytes: Uint8Array): Outcome {
  try {
    return readArrow(bytes, lz4FrameDecode).batches.reduce((sum, batch) => sum + batch.length, 0)
  } catch (error) {
    if (error instanceof DecodeError) return 'DecodeError'
    if (error instanceof VarveError) return error.code
    throw error
  }
}
