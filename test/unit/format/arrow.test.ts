import * as flechette from '@uwdata/flechette'
import { describe, expect, it } from 'vitest'

import { ArrowStreamWriter, ArrowWriter, DecodeError, layoutOf, readArrow } from '../../../bindings/format/index.ts'
import type { ArrowField, ColumnType } from '../../../bindings/format/index.ts'
import { lz4FrameDecode, lz4FrameEncode, slice } from '../../../bindings/kernels/index.ts'
import type { Vec } from '../../../bindings/kernels/index.ts'
import { arrow } from './apache-lz4.ts'
import { ALL_TYPES, cellsOf, dictVecOf, int, randomCell, seeded, vecOf } from './vecs.ts'
import type { Cell } from './vecs.ts'

const decode = (frame: Uint8Array, bytes: number): Uint8Array<ArrayBuffer> => lz4FrameDecode(frame, bytes)

function fieldOf(type: ColumnType, i: number): ArrowField {
  return { name: `c${i}`, type, nullable: true }
}

function file(
  fields: readonly ArrowField[],
  batches: readonly (readonly Vec[])[],
  o: { lz4?: boolean; dictionaries?: ReadonlyMap<number, Vec> } = {},
): Uint8Array {
  const writer = new ArrowWriter(fields, { compress: o.lz4 ? lz4FrameEncode : undefined })
  writer.startFile()
  for (const [id, values] of o.dictionaries ?? []) writer.dictionary(id, values)
  for (const columns of batches) writer.batch(columns[0]!.length, columns)
  writer.endFile()
  return writer.take()
}

/** What another reader hands out, in the form of Cell. */
function plain(type: ColumnType, value: unknown): Cell {
  if (value === null || value === undefined) return null
  if (type.kind === 'list' || type.kind === 'fixedSizeList') return Array.from(value as Iterable<unknown>, (item) => plain(type.item.type, item))
  if (type.kind === 'struct') {
    const row = value as Record<string, unknown>
    return Object.fromEntries(type.fields.map((field) => [field.name, plain(field.type, row[field.name])]))
  }
  if (type.kind === 'decimal') {
    const words = value as Uint32Array
    return BigInt.asIntN(
      128,
      words.reduceRight((sum, word) => (sum << 32n) | BigInt(word), 0n),
    )
  }
  if (value instanceof Uint8Array) return Uint8Array.from(value)
  return value as Cell
}

describe('Arrow files', () => {
  const random = seeded(11)
  const cells = new Map(ALL_TYPES.map((type) => [type, Array.from({ length: 203 }, () => randomCell(type, random, true))]))
  const fields = ALL_TYPES.map(fieldOf)
  const columns = ALL_TYPES.map((type) => vecOf(type, cells.get(type)!))
  const halves = [columns.map((vec) => slice(vec, 0, 101)), columns.map((vec) => slice(vec, 101, 203))]

  for (const lz4 of [false, true]) {
    it(`read back by the own reader, every type${lz4 ? ', LZ4' : ''}`, () => {
      const content = readArrow(file(fields, halves, { lz4 }), decode)
      expect(content.fields.map((field) => layoutOf(field.type))).toEqual(ALL_TYPES.map(layoutOf))
      ALL_TYPES.forEach((type, i) => {
        const read = content.batches.flatMap((batch) => cellsOf(type, batch.columns[i]!))
        expect(read, JSON.stringify(type)).toEqual(cells.get(type))
      })
    })

    it(`read by apache-arrow, every type${lz4 ? ', LZ4' : ''}`, () => {
      const table = arrow.tableFromIPC(file(fields, halves, { lz4 }))
      expect(table.numRows).toBe(203)
      ALL_TYPES.forEach((type, i) => {
        const column = table.getChildAt(i)!
        const read = Array.from({ length: 203 }, (_, row) => oracleValue(type, column, row))
        expect(read, JSON.stringify(type)).toEqual(cells.get(type))
      })
    })
  }

  /** Timestamps, dates and times come converted from get(): the raw values are compared instead. */
  function oracleValue(type: ColumnType, column: arrow.Vector, row: number): Cell {
    if (column.get(row) === null) return null
    if (type.kind !== 'timestamp' && type.kind !== 'date' && type.kind !== 'time') return plain(type, column.get(row))
    let at = row
    for (const data of column.data) {
      if (at < data.length) return data.values[at] as Cell
      at -= data.length
    }
    return null
  }

  it('read by flechette', () => {
    const simple = ALL_TYPES.map((type, i) => ({ type, i })).filter(({ type }) =>
      ['bool', 'int', 'float', 'utf8', 'binary', 'list', 'struct'].includes(type.kind),
    )
    const table = flechette.tableFromIPC(
      file(
        simple.map(({ type, i }) => fieldOf(type, i)),
        halves.map((half) => simple.map(({ i }) => half[i]!)),
      ),
      { useBigInt: true },
    )
    for (const { type, i } of simple) {
      const read = Array.from(table.getChild(`c${i}`) as Iterable<unknown>, (value) => plain(type, value))
      expect(read, JSON.stringify(type)).toEqual(cells.get(type))
    }
  })

  it('dictionaries of each code width, with nulls, read by all three', () => {
    const words = Array.from({ length: 300 }, (_, i) => (i % 7 === 0 ? null : `word ${i % 200}`))
    for (const width of [1, 2, 4] as const) {
      const vec = dictVecOf(words, width)
      const field: ArrowField = { name: 'w', type: { kind: 'utf8' }, nullable: true, dictionary: { id: 4, width } }
      const bytes = file([field], [[vec]], { lz4: true, dictionaries: new Map([[4, vec.dictionary!]]) })
      const own = readArrow(bytes, decode)
      expect(cellsOf(field.type, own.batches[0]!.columns[0]!)).toEqual(words)
      expect(own.fields[0]!.dictionary).toEqual({ id: 4, width })
      expect(arrow.tableFromIPC(bytes).getChildAt(0)!.toJSON()).toEqual(words)
      const stored = file([field], [[vec]], { dictionaries: new Map([[4, vec.dictionary!]]) })
      expect(Array.from(flechette.tableFromIPC(stored).getChild('w') as Iterable<unknown>)).toEqual(words)
    }
  })

  it('empty files and empty batches', () => {
    const empty = ALL_TYPES.map((type) => vecOf(type, []))
    for (const batches of [[], [empty]]) {
      const bytes = file(fields, batches, { lz4: true })
      expect(arrow.tableFromIPC(bytes).numRows).toBe(0)
      const own = readArrow(bytes, decode)
      expect(own.batches.map((batch) => batch.length)).toEqual(batches.map(() => 0))
    }
  })

  it('extension names and metadata stand in the fields', () => {
    const typed = [
      { name: 'u', type: { kind: 'fixedSizeBinary', bytes: 16, uuid: true } as ColumnType, nullable: false, metadata: { 'varve:id': '7' } },
      { name: 'j', type: { kind: 'utf8', json: true } as ColumnType, nullable: true },
    ]
    const table = arrow.tableFromIPC(file(typed, []))
    expect(table.schema.fields[0]!.metadata.get('ARROW:extension:name')).toBe('arrow.uuid')
    expect(table.schema.fields[0]!.metadata.get('varve:id')).toBe('7')
    expect(table.schema.fields[0]!.nullable).toBe(false)
    expect(table.schema.fields[1]!.metadata.get('ARROW:extension:name')).toBe('arrow.json')
  })

  it('equal input gives equal bytes, whatever lies in unused bits', () => {
    const clean = vecOf({ kind: 'bool' }, [true, null, true])
    const dirty = { ...clean, values: Uint8Array.of(clean.values[0]! | 0xf8), validity: Uint8Array.of(clean.validity![0]! | 0xf8) }
    const field = [fieldOf({ kind: 'bool' }, 0)]
    expect(file(field, [[dirty]])).toEqual(file(field, [[clean]]))
  })

  it('a flipped bit never crashes the reader: it decodes, or it is refused', () => {
    const small = [vecOf(int(32), [1, null, 3]), vecOf({ kind: 'utf8' }, ['a', null, 'ccc'])]
    const bytes = file([fieldOf(int(32), 0), fieldOf({ kind: 'utf8' }, 1)], [small], { lz4: true })
    for (let at = 0; at < bytes.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const broken = bytes.slice()
        broken[at]! ^= 1 << bit
        try {
          readArrow(broken, decode)
        } catch (error) {
          const name = (error as Error).name
          expect(['DecodeError', 'UnsupportedTypeError', 'Lz4CorruptError', 'Lz4TooLargeError', 'Lz4UnsupportedError'], `${at}: ${String(error)}`).toContain(
            name,
          )
        }
      }
    }
  })

  it('a truncated file is refused at every length', () => {
    const bytes = file([fieldOf(int(32), 0)], [[vecOf(int(32), [1, 2, 3])]])
    for (let length = 0; length < bytes.length; length++) expect(() => readArrow(bytes.slice(0, length), decode)).toThrow(DecodeError)
  })
})

describe('Arrow streams', () => {
  it('a dictionary that changes is written again', () => {
    const field: ArrowField = { name: 'w', type: { kind: 'utf8' }, nullable: true, dictionary: { id: 0, width: 4, signed: true } }
    const writer = new ArrowStreamWriter([field])
    const first = dictVecOf(['a', 'b', null], 1)
    writer.write(3, [first])
    writer.write(3, [first])
    writer.write(2, [dictVecOf(['z', 'a'], 2)])
    const bytes = writer.finish()
    const expected = ['a', 'b', null, 'a', 'b', null, 'z', 'a']
    const own = readArrow(bytes, decode)
    expect(own.batches.flatMap((batch) => cellsOf(field.type, batch.columns[0]!))).toEqual(expected)
    const batches = [...arrow.RecordBatchReader.from(bytes)]
    expect(batches.flatMap((batch) => batch.getChildAt(0)!.toJSON())).toEqual(expected)
  })

  it('slices are written from bit 0', () => {
    const cells = Array.from({ length: 50 }, (_, i) => (i % 3 === 0 ? null : i))
    const vec = slice(vecOf(int(16), cells), 13, 41)
    const writer = new ArrowStreamWriter([fieldOf(int(16), 0)])
    writer.write(28, [vec])
    expect(arrow.tableFromIPC(writer.finish()).getChildAt(0)!.toJSON()).toEqual(cells.slice(13, 41))
  })
})
