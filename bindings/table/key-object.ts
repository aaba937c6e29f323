// table/key-object.ts: canonical key bytes back to the key as callers see it, for errors, conflicts and the change feed.

import { layoutOf, valueKindOf } from '../format/index.ts'
import type { Vec } from '../kernels/index.ts'
import { cellReaderOf } from './rows-out.ts'
import type { TableView, ViewColumn } from './view.ts'

/** `{ flight: 7n, row: 3 }`. `bytes`: one whole key, or a tuple of `columns`. */
export function keyObjectFromBytes(view: TableView, bytes: Uint8Array, columns: readonly ViewColumn[] = view.key): Record<string, unknown> {
  const key: Record<string, unknown> = {}
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  for (const column of columns) {
    const { type } = column.column
    const layout = layoutOf(type)
    const kind = valueKindOf(type)
    let values: Uint8Array
    let offsets: Int32Array | undefined
    if (layout.kind === 'var') {
      let length = bytes.length
      if (columns.length > 1) {
        length = data.getUint32(at, true)
        at += 4
      }
      values = bytes.slice(at, at + length)
      offsets = Int32Array.of(0, length)
      at += length
    } else if (layout.kind === 'bool') {
      values = bytes.slice(at, at + 1)
      at += 1
    } else {
      const width = layout.kind === 'fixed' ? layout.width : 8
      if (kind === 'f32') {
        values = new Uint8Array(8)
        new DataView(values.buffer).setFloat32(0, data.getFloat64(at, true), true)
      } else {
        values = new Uint8Array(Math.max(8, width))
        values.set(bytes.subarray(at, at + width))
      }
      at += kind === 'bytes' || kind === 'i128' ? width : 8
    }
    const vec: Vec = { layout, length: 1, nullCount: 0, validity: undefined, values, offsets, children: [], dictionary: undefined }
    key[column.name] = cellReaderOf(column)(vec, 0)
  }
  return key
}
