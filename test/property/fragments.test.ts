import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { fragmentName } from '../../bindings/format/index.ts'
import type { ColumnDef, ColumnType, TableSchema } from '../../bindings/format/index.ts'
import { nullVec, slice } from '../../bindings/kernels/index.ts'
import type { Vec } from '../../bindings/kernels/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { ColumnCache } from '../../bindings/table/column-cache.ts'
import { FragmentReader } from '../../bindings/table/fragment-reader.ts'
import { encodeFragment } from '../../bindings/table/fragment-writer.ts'
import { arrow } from '../unit/format/apache-lz4.ts'
import { ALL_TYPES, cellsOf, dictVecOf, randomCell, seeded, vecOf } from '../unit/format/vecs.ts'
import type { Cell } from '../unit/format/vecs.ts'

function schemaOf(types: readonly ColumnType[]): TableSchema {
  const columns = types.map((type, i): ColumnDef => ({ id: 10 + i, name: `c${i}`, type, nullable: true }))
  return { tableId: 1, version: 1, name: 't', columns, key: [], unique: [], index: [] }
}

/** Few different values, so that dictionaries pay now and then. */
function cellsFor(type: ColumnType, rows: number, seed: number): Cell[] {
  const random = seeded(seed)
  const few = Array.from({ length: 1 + Math.floor(random() * 20) }, () => randomCell(type, random, true))
  return Array.from({ length: rows }, () => (random() < 0.7 ? few[Math.floor(random() * few.length)]! : randomCell(type, random, true)))
}

describe('fragments', () => {
  it('hold the rows of their batches, however those were cut and encoded', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(ALL_TYPES.length - 1), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(70), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        fc.constantFrom(8, 32, 64, 1000),
        async (picked, sizes, seed, batchRows) => {
          const rows = sizes.reduce((sum, size) => sum + size, 0)
          if (rows === 0) return
          const types = picked.map((at) => ALL_TYPES[at]!)
          const schema = schemaOf(types)
          const cells = types.map((type, i) => cellsFor(type, rows, seed + i))
          const random = seeded(seed)
          let from = 0
          const whole = types.map((type, i) => vecOf(type, cells[i]!))
          const batches = sizes.map((size) => {
            const start = from
            from += size
            const columns = types.map((type, i): Vec => {
              const isText = type.kind === 'utf8' && random() < 0.5
              return isText ? dictVecOf(cells[i]!.slice(start, from) as string[], random() < 0.5 ? 2 : 4, ['never used']) : slice(whole[i]!, start, from)
            })
            return { length: size, columns }
          })
          const { file, ref } = encodeFragment({ schema, batches, batchRows })
          const root = new MemoryRoot()
          await root.put(fragmentName(ref.digest), file)
          const reader = new FragmentReader({ root, ref, schema, cache: new ColumnCache(), missing: (_, n) => nullVec({ kind: 'bool' }, n) })
          const read: (readonly Vec[])[] = []
          for (let batch = 0; batch < reader.batchCount; batch++) read.push(await reader.load(batch, schema.columns))
          types.forEach((type, i) => expect(read.flatMap((vecs) => cellsOf(type, vecs[i]!))).toEqual(cells[i]))
          ref.columns.forEach((column, i) => expect(column.nullCount).toBe(cells[i]!.filter((cell) => cell === null).length))

          const table = arrow.tableFromIPC(file)
          expect(table.numRows).toBe(rows)
          types.forEach((type, i) => {
            expect(table.getChildAt(i)!.nullCount).toBe(ref.columns[i]!.nullCount)
            if (type.kind === 'utf8') expect(table.getChildAt(i)!.toJSON()).toEqual(cells[i])
          })
        },
      ),
      { numRuns: 150 },
    )
  })
})
