import * as flechette from '@uwdata/flechette'
import * as arrow from 'apache-arrow'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { arrowToBatches } from '../../bindings/table/arrow-in.ts'
import { arrowSchemaOf, arrowTable, recordBatches } from '../../bindings/table/arrow-out.ts'
import type { ColumnBatch } from '../../bindings/table/batch.ts'
import { isAsyncBatches, toBatches } from '../../bindings/table/stream-in.ts'
import { rowsToBatch } from '../../bindings/table/rows-in.ts'
import { rowReader } from '../../bindings/table/rows-out.ts'
import { everyRow, everyType, viewOf } from '../unit/table/every-type.ts'

const view = viewOf(everyType)
const read = rowReader(view.columns)
const rowsOf = (batches: Iterable<ColumnBatch>): unknown[] =>
  [...batches].flatMap((batch) => Array.from({ length: batch.length }, (_, i) => read(batch.columns, i)))
const parts = fc.array(fc.array(everyRow, { minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 3 })

async function readAsync(data: unknown): Promise<unknown[]> {
  const batches = toBatches(view, data, { targetRows: 6 })
  expect(isAsyncBatches(batches)).toBe(true)
  const rows: unknown[] = []
  for await (const batch of batches) rows.push(...rowsOf([batch]))
  return rows
}

describe('every type through Arrow', () => {
  it('comes back equal: tables, slices, batches, IPC, flechette', async () => {
    await fc.assert(
      fc.asyncProperty(parts, fc.nat(), fc.nat(), async (pieces, a, b) => {
        const rows = pieces.flat()
        const batches = pieces.map((piece) => rowsToBatch(view, piece))
        const table = await arrowTable(view.columns, batches)
        expect(table.numRows).toBe(rows.length)
        expect(rowsOf(arrowToBatches(view, table, { targetRows: 7 }))).toEqual(rows)

        const [start, end] = [a % (rows.length + 1), b % (rows.length + 1)].toSorted((x, y) => x - y) as [number, number]
        const slice = (table as unknown as arrow.Table).slice(start, end)
        expect(rowsOf(arrowToBatches(view, slice))).toEqual(rows.slice(start, end))

        const make = await recordBatches(view.columns)
        expect(rowsOf(batches.flatMap((batch) => [...arrowToBatches(view, make(batch))]))).toEqual(rows)

        for (const format of ['stream', 'file'] as const) {
          const ipc = arrow.tableToIPC(table as unknown as arrow.Table, format)
          expect(await readAsync(ipc)).toEqual(rows)
          // Unaligned bytes, in pieces of odd sizes.
          const moved = new Uint8Array(ipc.length + 1)
          moved.set(ipc, 1)
          expect(await readAsync(inPieces(moved.subarray(1), 1 + (a % 97)))).toEqual(rows)
        }
        const ipc = arrow.tableToIPC(table as unknown as arrow.Table, 'stream')
        expect(rowsOf(arrowToBatches(view, flechette.tableFromIPC(ipc) as never))).toEqual(rows)
      }),
      { numRuns: 25 },
    )
  })

  it('has the declared types, names and extensions', async () => {
    const schema = await arrowSchemaOf(view.columns)
    expect(Object.fromEntries(schema.fields.map((field) => [field.name, `${String(field.type)}${field.nullable ? '?' : ''}`]))).toMatchInlineSnapshot(`
      {
        "asNumber": "Int64",
        "blob": "Binary?",
        "bool": "Bool",
        "boolOrNull": "Bool?",
        "clock": "Time32<SECOND>",
        "clockNs": "Time64<NANOSECOND>?",
        "date": "Date32<DAY>",
        "days": "Date32<DAY>?",
        "dict": "Dictionary<Int32, Utf8>",
        "dictOrNull": "Dictionary<Int32, Utf8>?",
        "f32": "Float32?",
        "f64": "Float64",
        "fsl": "FixedSizeList[3]<Int32>?",
        "hash": "FixedSizeBinary[5]",
        "i16": "Int16?",
        "i32": "Int32",
        "i8": "Int8",
        "id": "Int64",
        "json": "Utf8",
        "list": "List<Utf8>?",
        "lists": "List<List<Int16>>",
        "ms": "Timestamp<MILLISECOND, UTC>?",
        "ns": "Timestamp<NANOSECOND>?",
        "price": "Decimal[38e+10]?",
        "seconds": "Timestamp<SECOND>",
        "struct": "Struct<{a:Int64, b:Utf8, c:Struct<{d:Bool}>}>?",
        "structs": "List<Struct<{x:Float64, y:Decimal[5e+2]}>>?",
        "text": "Utf8?",
        "u16": "Uint16",
        "u32": "Uint32",
        "u64": "Uint64?",
        "u8": "Uint8?",
        "us": "Timestamp<MICROSECOND>",
        "uuid": "FixedSizeBinary[16]?",
        "vector": "FixedSizeList[4]<Float32>?",
      }
    `)
    expect(schema.fields.find((field) => field.name === 'uuid')!.metadata.get('ARROW:extension:name')).toBe('arrow.uuid')
    expect(schema.fields.find((field) => field.name === 'json')!.metadata.get('ARROW:extension:name')).toBe('arrow.json')
  })

  it('gives values that apache-arrow reads', async () => {
    const rows = [
      {
        ...fc.sample(everyRow, { numRuns: 1, seed: 7 })[0]!,
        id: 5n,
        us: 1n,
        ns: null,
        dict: 'SFO',
        dictOrNull: null,
        i16: -3,
        bool: true,
        text: 'Zürich',
        list: ['a', null],
        vector: Float32Array.of(1, 2, 3, 4),
      },
    ]
    const table = (await arrowTable(view.columns, [rowsToBatch(view, rows)])) as unknown as arrow.Table
    const row = table.get(0)!.toJSON()
    expect(row).toMatchObject({ id: 5n, dict: 'SFO', dictOrNull: null, i16: -3, bool: true, text: 'Zürich' })
    expect([...(row['list'] as Iterable<unknown>)]).toEqual(['a', null])
    expect([...(row['vector'] as Iterable<unknown>)]).toEqual([1, 2, 3, 4])
  })

  it('shares the buffers of the batch', async () => {
    const batch = rowsToBatch(view, fc.sample(everyRow, { numRuns: 9, seed: 1 }))
    const made = (await recordBatches(view.columns))(batch) as unknown as arrow.RecordBatch
    for (const name of ['id', 'i32', 'f64', 'us', 'text'] as const) {
      const index = view.byName.get(name)!.index
      expect(made.getChild(name)!.data[0]!.values.buffer).toBe(batch.columns[index]!.values.buffer)
    }
  })
})

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}
