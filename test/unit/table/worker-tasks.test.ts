import { afterAll, describe, expect, it } from 'vitest'

import type { ColumnDef, TableSchema } from '../../../bindings/format/index.ts'
import { slice } from '../../../bindings/kernels/index.ts'
import { INLINE_ONLY } from '../../../bindings/runtime/index.ts'
import type { ColumnBatch } from '../../../bindings/table/batch.ts'
import { encodeFragment } from '../../../bindings/table/fragment-writer.ts'
import { packBatches } from '../../../bindings/table/pack-batches.ts'
import { createTableWorkers, encodeFragmentOn } from '../../../bindings/table/worker-tasks.ts'
import { ALL_TYPES, cellsOf, dictVecOf, int, randomCell, seeded, vecOf } from '../format/vecs.ts'

const random = seeded(3)
const cells = ALL_TYPES.map((type) => Array.from({ length: 90 }, () => randomCell(type, random, true)))
const everything = ALL_TYPES.map((type, i) => vecOf(type, cells[i]!))

describe('packed batches', () => {
  it('hold equal rows in one buffer, slices included', () => {
    const words = dictVecOf(['a', 'b', 'a'], 2)
    const columns = everything.map((vec) => slice(vec, 13, 60))
    const { batches, buffer } = packBatches([
      { length: 47, columns },
      { length: 3, columns: [words] },
      { length: 2, columns: [slice(words, 1, 3)] },
    ])
    ALL_TYPES.forEach((type, i) => expect(cellsOf(type, batches[0]!.columns[i]!), JSON.stringify(type)).toEqual(cells[i]!.slice(13, 60)))
    for (const batch of batches) for (const vec of batch.columns) expect(vec.values.buffer).toBe(buffer)
    expect(batches[1]!.columns[0]!.dictionary).toBe(batches[2]!.columns[0]!.dictionary)
    expect(cellsOf({ kind: 'utf8' }, batches[2]!.columns[0]!)).toEqual(['b', 'a'])
  })
})

describe('encodeFragmentOn', () => {
  const workers = createTableWorkers(1)
  afterAll(() => workers.close())
  const columns = [int(64), { kind: 'utf8' } as const].map((type, i): ColumnDef => ({ id: i + 1, name: `c${i}`, type, nullable: i > 0 }))
  const schema: TableSchema = { tableId: 1, version: 1, name: 't', columns, key: [1], unique: [], index: [] }
  const rows = 40_000
  const batch: ColumnBatch = {
    length: rows,
    columns: [
      vecOf(
        int(64),
        Array.from({ length: rows }, (_, i) => BigInt((i * 7919) % rows)),
      ),
      vecOf(
        { kind: 'utf8' },
        Array.from({ length: rows }, (_, i) => `w${i % 100}`),
      ),
    ],
  }

  it('gives the same bytes in a thread as inline, and leaves the input whole', async () => {
    const inline = await encodeFragmentOn(INLINE_ONLY, { schema, batches: [batch] })
    const threaded = await encodeFragmentOn(workers, { schema, batches: [batch] })
    expect(threaded.ref).toEqual(inline.ref)
    expect(threaded.file).toEqual(inline.file)
    expect(threaded.index).toEqual(inline.index)
    expect(batch.columns[0]!.values.byteLength).toBe(8 * rows)
    expect(inline.ref).toEqual(encodeFragment({ schema, batches: [batch] }).ref)
  })

  it('rejects when aborted before or while it runs', async () => {
    await expect(encodeFragmentOn(workers, { schema, batches: [batch] }, AbortSignal.abort(new Error('no')))).rejects.toThrow('no')
    const abort = new AbortController()
    const running = encodeFragmentOn(workers, { schema, batches: [batch] }, abort.signal)
    abort.abort(new Error('enough'))
    await expect(running).rejects.toThrow('enough')
  })
})
