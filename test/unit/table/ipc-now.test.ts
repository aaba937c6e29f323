// The two roads from IPC bytes to batches give the same rows and the same errors.
import { makeTable, Table, tableFromArrays, tableToIPC, vectorFromArray, Utf8, Dictionary, Int32 } from 'apache-arrow'
import { describe, expect, it } from 'vitest'

import { concat, encodeInline } from '../../../bindings/kernels/index.ts'
import type { ColumnBatch } from '../../../bindings/table/batch.ts'
import { t } from '../../../bindings/table/columns.ts'
import { table } from '../../../bindings/table/definition.ts'
import { ipcBytesToBatches } from '../../../bindings/table/ipc-in.ts'
import { ipcBatchesNow } from '../../../bindings/table/ipc-now.ts'
import { viewOf } from './every-type.ts'

const view = viewOf(table('arrow', { id: t.int32(), name: t.utf8().dictionary().nullable(), n: t.float64().nullable() }, { key: ['id'] }))
const arrow = tableFromArrays({ id: Int32Array.of(1, 2, 3), n: Float64Array.of(1.5, 2.5, 3.5) })
// A dictionary batch before the record batch.
const named = makeTable({ id: Int32Array.of(4, 5) }).assign(new Table({ name: vectorFromArray(['x', 'y'], new Dictionary(new Utf8(), new Int32())) }))

const stream = (...tables: (typeof arrow)[]): Uint8Array => Uint8Array.from(tables.flatMap((each) => [...tableToIPC(each as never, 'stream')]))

function body(batches: readonly ColumnBatch[]): unknown {
  const filled = batches.filter(({ length }) => length > 0)
  if (filled.length === 0) return []
  const rows = filled.reduce((sum, { length }) => sum + length, 0)
  const columns = filled[0]!.columns.map((_, i) => concat(filled.map((batch) => batch.columns[i]!)))
  return encodeInline(columns, 0, rows)
}

async function slowly(bytes: Uint8Array): Promise<unknown> {
  const batches: ColumnBatch[] = []
  for await (const batch of ipcBytesToBatches(view, bytes)) batches.push(batch)
  return body(batches)
}

describe('IPC bytes in one step', () => {
  it.each([
    ['a stream', stream(arrow)],
    ['two streams', stream(arrow, arrow)],
    ['a stream with dictionaries', stream(named as never)],
    ['a file', tableToIPC(arrow, 'file')],
    ['a file with dictionaries', tableToIPC(named as never, 'file')],
    ['a stream of no rows', stream(arrow.slice(0, 0))],
    ['a stream without its end mark', stream(arrow).subarray(0, -8)],
  ])('%s gives what the other road gives', async (_what, bytes) => {
    expect(body(ipcBatchesNow(view, bytes))).toEqual(await slowly(bytes))
  })

  it('refuses the same bytes, cut anywhere or with a byte changed, in the same words', async () => {
    for (const whole of [stream(named as never), tableToIPC(arrow, 'file')]) {
      for (let cut = 0; cut < whole.length; cut += 3) {
        const variants = [whole.subarray(0, cut), whole.map((byte, i) => (i === cut ? byte ^ 0x41 : byte))]
        for (const bytes of variants) {
          const expected = await slowly(bytes).catch((error: Error) => error)
          let found: unknown
          try {
            found = body(ipcBatchesNow(view, bytes))
          } catch (error) {
            found = error
          }
          if (expected instanceof Error) expect((found as Error).name).toBe(expected.name)
          else expect(found).toEqual(expected)
        }
      }
    }
  })
})
