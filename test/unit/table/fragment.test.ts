import { describe, expect, it } from 'vitest'

import { CorruptionError } from '../../../bindings/errors.ts'
import { ByteReader, ByteWriter, decodeFragmentRef, encodeFragmentRef, fragmentName, indexName, layoutOf, readArrow } from '../../../bindings/format/index.ts'
import type { ColumnDef, ColumnType, FragmentRef, TableSchema } from '../../../bindings/format/index.ts'
import { concat, keyColumnHashes, lz4FrameDecode, NO_ROW, nullVec, slice, xxh3 } from '../../../bindings/kernels/index.ts'
import type { Vec } from '../../../bindings/kernels/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { ColumnCache } from '../../../bindings/table/column-cache.ts'
import { fragmentGroup } from '../../../bindings/table/fragment-group.ts'
import { FragmentReader } from '../../../bindings/table/fragment-reader.ts'
import { encodeFragment } from '../../../bindings/table/fragment-writer.ts'
import type { EncodedFragment } from '../../../bindings/table/fragment-writer.ts'
import { KeyLayout } from '../../../bindings/table/key-layout.ts'
import { KeyRun } from '../../../bindings/table/memory-index.ts'
import { arrow } from '../format/apache-lz4.ts'
import { ALL_TYPES, cellsOf, dictVecOf, int, randomCell, seeded, vecOf } from '../format/vecs.ts'
import type { Cell } from '../format/vecs.ts'

function schemaOf(types: readonly ColumnType[], key: readonly number[] = []): TableSchema {
  const columns = types.map((type, i): ColumnDef => ({ id: i + 1, name: `c${i}`, type, nullable: !key.includes(i + 1) }))
  return { tableId: 1, version: 3, name: 't', columns, key, unique: [], index: [] }
}

async function stored(encoded: EncodedFragment): Promise<MemoryRoot> {
  const root = new MemoryRoot()
  await root.put(fragmentName(encoded.digest), encoded.file)
  if (encoded.index !== undefined) await root.put(indexName(encoded.index.digest), encoded.index.file)
  return root
}

function readerOf(root: MemoryRoot, ref: FragmentRef, schema: TableSchema, cache: ColumnCache = new ColumnCache()): FragmentReader {
  return new FragmentReader({ root, ref, schema, cache, missing: (column, rows) => nullVec(layoutOf(column.type), rows) })
}

/** Canonical key bytes of each row. */
function rowOf(found: number | { readonly row: number }): number {
  return typeof found === 'number' ? found : found.row
}

function keysOf(schema: TableSchema, columns: readonly Vec[]): Uint8Array[] {
  const layout = KeyLayout.of(schema)!
  const keys = new KeyRun(layout.stride)
  layout.push(columns, 0, columns[0]!.length, keys)
  return Array.from({ length: columns[0]!.length }, (_, row) => keys.data.slice(keys.start(row), keys.end(row)))
}

describe('a fragment of every column type', () => {
  const random = seeded(5)
  const schema = schemaOf(ALL_TYPES)
  const cells = ALL_TYPES.map((type) => Array.from({ length: 210 }, () => randomCell(type, random, true)))
  const columns = ALL_TYPES.map((type, i) => vecOf(type, cells[i]!))
  const encoded = encodeFragment({
    schema,
    batches: [
      { length: 77, columns: columns.map((vec) => slice(vec, 0, 77)) },
      { length: 0, columns: columns.map((vec) => slice(vec, 0, 0)) },
      { length: 133, columns: columns.map((vec) => slice(vec, 77, 210)) },
    ],
    batchRows: 64,
  })

  it('is read back by the reader, async and blocking, in any selection', async () => {
    const root = await stored(encoded)
    for (const blocking of [false, true]) {
      const reader = readerOf(root, encoded.ref, schema)
      expect(reader.batchCount).toBe(4)
      for (const picked of [schema.columns, [schema.columns[11]!, schema.columns[2]!], []]) {
        const batches: (readonly Vec[])[] = []
        for (let batch = 0; batch < 4; batch++) batches.push(blocking ? reader.loadSync(batch, picked) : await reader.load(batch, picked))
        picked.forEach((column, i) => {
          const read = batches.flatMap((vecs) => cellsOf(column.type, vecs[i]!))
          expect(read, JSON.stringify(column.type)).toEqual(cells[column.id - 1])
        })
      }
      expect(reader.ready(0, schema.columns)).toBe(true)
    }
  })

  it('is an Arrow file for others', () => {
    const own = readArrow(encoded.file, (frame, bytes) => lz4FrameDecode(frame, bytes))
    ALL_TYPES.forEach((type, i) => expect(own.batches.flatMap((batch) => cellsOf(type, batch.columns[i]!))).toEqual(cells[i]))
    expect(own.fields[0]!.metadata!['varve:type']).toBe(JSON.stringify(ALL_TYPES[0]))
    const table = arrow.tableFromIPC(encoded.file)
    expect(table.schema.fields.map((field) => field.name)).toEqual(schema.columns.map((column) => column.name))
    expect(table.numRows).toBe(210)
    const text = ALL_TYPES.findIndex((type) => type.kind === 'utf8')
    expect(table.getChildAt(text)!.toJSON()).toEqual(cells[text])
  })

  it('gives equal bytes for equal rows', () => {
    const again = encodeFragment({ schema, batches: [{ length: 210, columns }], batchRows: 64 })
    expect(again.digest).toBe(encoded.digest)
    expect(again.ref).toEqual(encoded.ref)
  })

  it('has a reference that round-trips', () => {
    const w = new ByteWriter()
    encodeFragmentRef(w, encoded.ref)
    const bytes = w.finish()
    expect(decodeFragmentRef(new ByteReader(bytes))).toEqual(encoded.ref)
    for (let length = 0; length < bytes.length; length++) expect(() => decodeFragmentRef(new ByteReader(bytes, 0, length))).toThrow()
  })

  it('has columns that it lacks filled in', async () => {
    const wider: ColumnDef = { id: 99, name: 'later', type: int(32), nullable: true }
    const reader = readerOf(await stored(encoded), encoded.ref, schema)
    const [vec] = await reader.load(3, [wider])
    expect(cellsOf(wider.type, vec!)).toEqual(Array.from({ length: 18 }, () => null))
  })

  it('has integers and floats widened when the definition grew', async () => {
    const reader = readerOf(await stored(encoded), encoded.ref, schema)
    const grown = { ...schema.columns[2]!, type: int(64) }
    const [vec] = await reader.load(0, [grown])
    expect(cellsOf(grown.type, vec!)).toEqual(cells[2]!.slice(0, 64).map((cell) => (cell === null ? null : BigInt(cell as number))))
    const single = ALL_TYPES.findIndex((type) => type.kind === 'float' && type.bits === 32)
    const [wide] = reader.loadSync(0, [{ ...schema.columns[single]!, type: { kind: 'float', bits: 64 } }])
    expect(cellsOf({ kind: 'float', bits: 64 }, wide!)).toEqual(cells[single]!.slice(0, 64))
  })

  it('reads only the pages asked for', async () => {
    const root = await stored(encoded)
    const read: number[] = []
    const counting = Object.assign(Object.create(root) as MemoryRoot, {
      get: async (name: string, o?: { range?: { start: number; end: number } }) => {
        read.push(o!.range!.end - o!.range!.start)
        return root.get(name, o)
      },
    })
    const reader = readerOf(counting, encoded.ref, schema)
    await reader.load(1, [schema.columns[3]!])
    expect(read).toHaveLength(2)
    expect(read[0]).toBe(encoded.ref.footerBytes)
    expect(read[1]).toBeLessThan(64 * 4 + 64)
    await Promise.all([reader.load(1, [schema.columns[3]!]), reader.load(2, [schema.columns[3]!]), reader.load(2, [schema.columns[3]!])])
    expect(read).toHaveLength(3)
  })
})

describe('statistics', () => {
  it('bound every value, per fragment and batch', () => {
    const random = seeded(21)
    const types = ALL_TYPES.filter((type) => !['list', 'struct', 'fixedSizeList'].includes(type.kind) && !(type.kind === 'utf8' && type.json))
    for (const nulls of [false, true]) {
      const cells = types.map((type) => Array.from({ length: 150 }, () => randomCell(type, random, nulls)))
      const schema = schemaOf(types)
      const { ref } = encodeFragment({ schema, batches: [{ length: 150, columns: types.map((type, i) => vecOf(type, cells[i]!)) }], batchRows: 40 })
      types.forEach((type, i) => {
        const stats = ref.columns[i]!
        const values = cells[i]!.filter((cell) => cell !== null).map(comparable)
        expect(stats.nullCount).toBe(150 - values.length)
        const min = comparable(stats.min!)
        const max = comparable(stats.max!)
        for (const value of values) {
          expect(value >= min, JSON.stringify(type)).toBe(true)
          expect(value <= max, JSON.stringify(type)).toBe(true)
        }
        if (type.kind !== 'utf8' && type.kind !== 'binary') expect(values).toContain(min)
      })
    }
  })

  function comparable(value: Cell | number | bigint | Uint8Array): string | number | bigint {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
    if (typeof value === 'string') return Buffer.from(value).toString('latin1')
    return typeof value === 'boolean' ? Number(value) : (value as number | bigint)
  }

  it('round long strings to sound bounds, up and down', () => {
    const high = new Uint8Array(40).fill(0xff)
    const text = (bytes: Uint8Array): Vec => vecOf({ kind: 'binary' }, [bytes, Uint8Array.of(1)])
    const of = (vec: Vec) => encodeFragment({ schema: schemaOf([{ kind: 'binary' }]), batches: [{ length: 2, columns: [vec] }] }).ref.columns[0]!
    expect(of(text(high)).max).toBeUndefined()
    const mixed = new Uint8Array(40).fill(7)
    mixed.fill(0xff, 30)
    const max = of(text(mixed)).max as Uint8Array
    expect(Array.from(max)).toEqual([...Array.from({ length: 29 }, () => 7), 8])
    expect(of(text(mixed)).min).toEqual(Uint8Array.of(1))
  })

  it('leave NaN out of the bounds and tell of it; nulls alone have no bounds', () => {
    const schema = schemaOf([{ kind: 'float', bits: 64 }, int(32)])
    const { ref } = encodeFragment({
      schema,
      batches: [{ length: 3, columns: [vecOf(schema.columns[0]!.type, [NaN, 2, -0]), vecOf(int(32), [null, null, null])] }],
    })
    expect(ref.columns[0]).toMatchObject({ min: 0, max: 2, hasNaN: true })
    expect(ref.columns[1]).toEqual({ id: 2, bytes: expect.any(Number), nullCount: 3 })
  })
})

describe('physical types', () => {
  const schema = schemaOf([{ kind: 'utf8' }])
  const encode = (...vecs: Vec[]): EncodedFragment => encodeFragment({ schema, batches: vecs.map((vec) => ({ length: vec.length, columns: [vec] })) })
  const fieldOf = (encoded: EncodedFragment) => readArrow(encoded.file, lz4FrameDecode).fields[0]!

  it('strings that repeat become dictionaries with the narrowest codes', async () => {
    const few = Array.from({ length: 600 }, (_, i) => `v${i % 200}`)
    expect(fieldOf(encode(vecOf({ kind: 'utf8' }, few))).dictionary).toEqual({ id: 0, width: 1 })
    const more = Array.from({ length: 900 }, (_, i) => `v${i % 300}`)
    expect(fieldOf(encode(vecOf({ kind: 'utf8' }, more))).dictionary).toEqual({ id: 0, width: 2 })
    const distinct = Array.from({ length: 900 }, (_, i) => `v${i % 451}`)
    expect(fieldOf(encode(vecOf({ kind: 'utf8' }, distinct))).dictionary).toBeUndefined()
  })

  it('dictionaries of the input are unified, and lose what no row uses', async () => {
    const a = dictVecOf(['x', 'y', null, 'x'], 1, ['unused', 'never'])
    const b = dictVecOf(['z', 'x', 'z', 'z'], 4)
    const encoded = encode(a, b)
    const own = readArrow(encoded.file, lz4FrameDecode)
    expect(cellsOf({ kind: 'utf8' }, own.batches[0]!.columns[0]!)).toEqual(['x', 'y', null, 'x', 'z', 'x', 'z', 'z'])
    expect(cellsOf({ kind: 'utf8' }, own.batches[0]!.columns[0]!.dictionary!)).toEqual(['x', 'y', 'z'])
    expect(encoded.ref.columns[0]).toMatchObject({ min: Uint8Array.of(120), max: Uint8Array.of(122), nullCount: 1 })
  })

  it('a dictionary that does not pay is undone', () => {
    const encoded = encode(dictVecOf(['a', 'b', 'c'], 1))
    expect(fieldOf(encoded).dictionary).toBeUndefined()
    expect(cellsOf({ kind: 'utf8' }, readArrow(encoded.file, lz4FrameDecode).batches[0]!.columns[0]!)).toEqual(['a', 'b', 'c'])
  })

  it('one row, and nulls only', () => {
    for (const cells of [['a'], [null], [null, null, null]]) {
      const own = readArrow(encode(vecOf({ kind: 'utf8' }, cells)).file, lz4FrameDecode)
      expect(cellsOf({ kind: 'utf8' }, own.batches[0]!.columns[0]!)).toEqual(cells)
      const dict = readArrow(encode(dictVecOf(cells, 2)).file, lz4FrameDecode)
      expect(cellsOf({ kind: 'utf8' }, dict.batches[0]!.columns[0]!)).toEqual(cells)
    }
  })
})

describe('look-up by key', () => {
  const random = seeded(77)
  const shuffled = (n: number): number[] => {
    const list = Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const k = Math.floor(random() * (i + 1))
      ;[list[i], list[k]] = [list[k]!, list[i]!]
    }
    return list
  }
  const keys: Readonly<Record<string, { types: readonly ColumnType[]; row: (n: number) => readonly Cell[] }>> = {
    int64: { types: [int(64)], row: (n) => [BigInt(n) * 3n - 300n] },
    int16: { types: [int(16)], row: (n) => [n * 3 - 300] },
    uint32: { types: [int(32, false)], row: (n) => [n * 3 + 4_000_000_000] },
    float64: { types: [{ kind: 'float', bits: 64 }], row: (n) => [n / 2 - 50] },
    utf8: { types: [{ kind: 'utf8' }], row: (n) => [`key ${String(n).padStart(6, '0')}`] },
    uuid: {
      types: [{ kind: 'fixedSizeBinary', bytes: 16, uuid: true }],
      row: (n) => [Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? n & 255 : i === 14 ? n >> 8 : 9))],
    },
    decimal: { types: [{ kind: 'decimal', precision: 30, scale: 0 }], row: (n) => [(BigInt(n) - 100n) * 10n ** 20n] },
    'tuple of one first part': { types: [{ kind: 'utf8' }, int(32)], row: (n) => ['same', n - 400] },
    tuple: { types: [{ kind: 'utf8' }, int(32), { kind: 'bool' }], row: (n) => [`part ${Math.floor(n / 8)}`, (n >> 1) % 4, n % 2 === 1] },
  }

  for (const [name, { types, row }] of Object.entries(keys)) {
    for (const sorted of [true, false]) {
      it(`finds every row and no other, ${name}, ${sorted ? 'sorted' : 'shuffled'}`, async () => {
        const schema = schemaOf(
          types,
          types.map((_, i) => i + 1),
        )
        const present = Array.from({ length: 400 }, (_, n) => row(2 * n))
        // Tuples of strings sort by their bytes.
        if (name === 'tuple') present.sort((a, b) => (a[0]! < b[0]! ? -1 : a[0]! > b[0]! ? 1 : 0))
        const order = sorted ? present.map((_, i) => i) : shuffled(400)
        const columns = types.map((type, i) =>
          vecOf(
            type,
            order.map((at) => present[at]![i]!),
          ),
        )
        const encoded = encodeFragment({ schema, batches: [{ length: 400, columns }], batchRows: 64 })
        expect(encoded.ref.sorted).toBe(sorted)
        const wanted = keysOf(schema, columns)
        const absent = keysOf(
          schema,
          types.map((type, i) =>
            vecOf(
              type,
              Array.from({ length: 400 }, (_, n) => row(2 * n + 1)[i]!),
            ),
          ),
        )
        const root = await stored(encoded)
        const caches = [new ColumnCache(), new ColumnCache(1)]
        for (const cache of caches) {
          const reader = readerOf(root, encoded.ref, schema, cache)
          const blocking = readerOf(root, encoded.ref, schema, cache)
          for (let i = 0; i < 400; i++) {
            const hash = xxh3(wanted[i]!)
            expect(reader.mayHold(wanted[i]!)).toBe(true)
            expect(rowOf(await reader.lookup(hash.lo, hash.hi, wanted[i]!))).toBe(i)
            expect(blocking.lookupSync(hash.lo, hash.hi, wanted[i]!)).toBe(i)
            const none = xxh3(absent[i]!)
            expect(rowOf(await reader.lookup(none.lo, none.hi, absent[i]!))).toBe(-1)
            expect(blocking.lookupSync(none.lo, none.hi, absent[i]!)).toBe(-1)
          }
          // All of them in one go, a few in one go; in an order of their own, as they are, and by number.
          const run = new KeyRun(KeyLayout.of(schema)!.stride)
          for (const key of [...wanted, ...absent]) run.push(key, 0, key.length)
          const hashes = keyColumnHashes(run)
          for (const asked of [
            Uint32Array.from(shuffled(800)),
            Uint32Array.from({ length: 800 }, (_, i) => i),
            Uint32Array.of(5, 799, 401, 17),
            new Uint32Array(0),
          ]) {
            const many = readerOf(root, encoded.ref, schema, cache)
            const inside = many.within(run, asked, false)
            expect(Array.from(inside)).toEqual(Array.from(asked).filter((key) => many.mayHold([...wanted, ...absent][key]!)))
            expect(many.lookupManyNow(run, hashes, inside), 'nothing is in memory').toBeUndefined()
            const rows = await many.lookupMany(run, hashes, inside)
            const now = many.lookupManyNow(run, hashes, inside)
            if (cache === caches[0]) expect(now).toEqual(rows)
            expect(Array.from(rows)).toEqual(Array.from(inside, (key) => (key < 400 ? key : NO_ROW)))
          }
        }
      })
    }
  }

  it('needs no I/O for keys outside the bounds', async () => {
    const schema = schemaOf([int(64)], [1])
    const encoded = encodeFragment({ schema, batches: [{ length: 2, columns: [vecOf(int(64), [10n, 5n])] }] })
    const reader = readerOf(new MemoryRoot(), encoded.ref, schema)
    const key = (value: bigint): Uint8Array => new Uint8Array(BigInt64Array.of(value).buffer)
    expect([4n, 5n, 7n, 10n, 11n, -1n].map((value) => reader.mayHold(key(value)))).toEqual([false, true, true, true, false, false])
  })

  it('rebuilds an index that is damaged or gone, and says so', async () => {
    const schema = schemaOf([int(64)], [1])
    for (const cells of [
      [10n, 5n, 7n],
      [5n, 7n, 10n],
    ]) {
      const columns = [vecOf(int(64), cells)]
      const encoded = encodeFragment({ schema, batches: [{ length: 3, columns }] })
      const [wanted] = keysOf(schema, columns)
      const hash = xxh3(wanted!)
      for (const damage of ['flip', 'gone', 'cut']) {
        const root = await stored(encoded)
        const name = indexName(encoded.index!.digest)
        const bytes = encoded.index!.file.slice()
        bytes[40]! ^= 4
        if (damage === 'gone') await root.delete(name)
        else await root.put(name, damage === 'flip' ? bytes : bytes.slice(0, 20))
        for (const blocking of [false, true]) {
          const events: unknown[] = []
          const reader = new FragmentReader({
            root,
            ref: encoded.ref,
            schema,
            cache: new ColumnCache(),
            missing: () => columns[0]!,
            log: (event) => events.push(event.code),
          })
          expect(blocking ? reader.lookupSync(hash.lo, hash.hi, wanted!) : rowOf(await reader.lookup(hash.lo, hash.hi, wanted!))).toBe(0)
          expect(events).toEqual(['index.rebuilt'])
        }
      }
    }
  })
})

describe('damage', () => {
  it('a flipped bit at any byte is a CorruptionError or changes nothing', async () => {
    const schema = schemaOf([int(64), { kind: 'utf8' }, { kind: 'float', bits: 64 }], [1])
    const cells: Cell[][] = [
      Array.from({ length: 90 }, (_, i) => BigInt(i * 7)),
      Array.from({ length: 90 }, (_, i) => `w${i % 9}`),
      Array.from({ length: 90 }, (_, i) => (i % 5 === 0 ? null : i / 3)),
    ]
    const columns = schema.columns.map((column, i) => vecOf(column.type, cells[i]!))
    const encoded = encodeFragment({ schema, batches: [{ length: 90, columns }], batchRows: 50 })
    const root = await stored(encoded)
    let caught = 0
    for (let at = 0; at < encoded.file.length; at++) {
      const bytes = encoded.file.slice()
      bytes[at]! ^= 1 << (at % 8)
      await root.put(fragmentName(encoded.digest), bytes)
      const reader = readerOf(root, encoded.ref, schema)
      try {
        const batches = [await reader.load(0, schema.columns), await reader.load(1, schema.columns)]
        schema.columns.forEach((column, i) => expect(batches.flatMap((vecs) => cellsOf(column.type, vecs[i]!))).toEqual(cells[i]))
      } catch (error) {
        expect(error, `byte ${at}`).toBeInstanceOf(CorruptionError)
        expect((error as CorruptionError).file).toBe(fragmentName(encoded.digest))
        expect((error as CorruptionError).offset).toBeTypeOf('number')
        caught++
      }
    }
    const pages = encoded.ref.columns.reduce((sum, column) => sum + column.bytes, 0)
    // Message headers, schema and padding are never read by us; everything that is read is covered.
    expect(caught).toBeGreaterThanOrEqual(encoded.ref.footerBytes + pages * 0.9)
  })

  it('a file cut anywhere is a CorruptionError', async () => {
    const schema = schemaOf([int(64)])
    const encoded = encodeFragment({ schema, batches: [{ length: 3, columns: [vecOf(int(64), [1n, 2n, 3n])] }] })
    const root = await stored(encoded)
    for (const length of [0, 10, encoded.ref.footerOffset, encoded.ref.footerOffset + encoded.ref.footerBytes - 1]) {
      await root.put(fragmentName(encoded.digest), encoded.file.slice(0, length))
      await expect(readerOf(root, encoded.ref, schema).load(0, schema.columns)).rejects.toBeInstanceOf(CorruptionError)
      expect(() => readerOf(root, encoded.ref, schema).loadSync(0, schema.columns)).toThrow(CorruptionError)
    }
  })
})

describe('the group of a fragment', () => {
  it('shows live rows by batch', async () => {
    const schema = schemaOf([int(32)])
    const cells = Array.from({ length: 100 }, (_, i) => i)
    const encoded = encodeFragment({ schema, batches: [{ length: 100, columns: [vecOf(int(32), cells)] }], batchRows: 64 })
    const reader = readerOf(await stored(encoded), encoded.ref, schema)
    const hidden = new Set([1, 64, 99])
    const live = (start: number, end: number): Uint8Array => {
      const bitmap = new Uint8Array((end - start + 7) >> 3)
      for (let row = start; row < end; row++) if (!hidden.has(row)) bitmap[(row - start) >> 3]! |= 1 << ((row - start) & 7)
      return bitmap
    }
    const group = fragmentGroup(reader, '7.0', live, 97, schema)
    expect(group.batches.map((batch) => [batch.rows, batch.liveCount])).toEqual([
      [64, 63],
      [36, 34],
    ])
    expect(group.stats(1)).toMatchObject({ min: 0, max: 99 })
    expect(group.batches[0]!.ready(schema.columns)).toBe(false)
    const read = concat(await Promise.all(group.batches.map(async (batch) => (await batch.load(schema.columns))[0]!)))
    expect(cellsOf(int(32), read)).toEqual(cells)
    expect(group.batches[1]!.stats!(1)).toMatchObject({ min: 64, max: 99 })
    expect(group.bytesOf(schema.columns)).toBeGreaterThan(0)
    expect(fragmentGroup(reader, '7.0', () => undefined, 100, schema).batches[0]!.liveCount).toBe(64)
  })
})

describe('reads at the same time', () => {
  const schema = schemaOf([int(64), { kind: 'utf8' }, { kind: 'utf8' }, int(16)], [1])
  const cells: Cell[][] = [
    Array.from({ length: 300 }, (_, i) => BigInt((i * 7) % 300)),
    Array.from({ length: 300 }, (_, i) => `a${i % 5}`),
    Array.from({ length: 300 }, (_, i) => `b${i % 9}`),
    Array.from({ length: 300 }, (_, i) => i),
  ]
  const encoded = encodeFragment({
    schema,
    batches: [{ length: 300, columns: schema.columns.map((column, i) => vecOf(column.type, cells[i]!)) }],
    batchRows: 64,
  })

  it('answer right whatever the order of the answers and the size of the cache', async () => {
    const random = seeded(99)
    const root = await stored(encoded)
    const slow = Object.assign(Object.create(root) as MemoryRoot, {
      get: async (name: string, o?: { range?: { start: number; end: number } }) => {
        for (let turns = Math.floor(random() * 6); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
        return root.get(name, o)
      },
    })
    for (const limit of [1, 300, 1500, 1e6]) {
      const reader = readerOf(slow, encoded.ref, schema, new ColumnCache(limit))
      const one = async (): Promise<void> => {
        const batch = Math.floor(random() * 5)
        const picked = schema.columns.filter(() => random() < 0.6)
        const vecs = await reader.load(batch, picked)
        picked.forEach((column, i) => expect(cellsOf(column.type, vecs[i]!)).toEqual(cells[column.id - 1]!.slice(64 * batch, 64 * batch + 64)))
      }
      for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 8 }, one))
    }
  })

  it('a failed read is told to all who wait for it, and tried again by the next', async () => {
    const root = await stored(encoded)
    let fail = false
    const flaky = Object.assign(Object.create(root) as MemoryRoot, {
      get: async (name: string, o?: { range?: { start: number; end: number } }) => {
        if (fail) throw new Error('disk')
        return root.get(name, o)
      },
    })
    const reader = readerOf(flaky, encoded.ref, schema)
    await reader.open()
    fail = true
    const results = await Promise.allSettled([reader.load(0, schema.columns), reader.load(0, [schema.columns[1]!]), reader.load(1, [schema.columns[1]!])])
    expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected', 'rejected'])
    fail = false
    const [vec] = await reader.load(1, [schema.columns[1]!])
    expect(cellsOf(schema.columns[1]!.type, vec!)).toEqual(cells[1]!.slice(64, 128))
  })

  it('an aborted read fetches nothing', async () => {
    const reader = readerOf(await stored(encoded), encoded.ref, schema)
    await expect(reader.load(0, schema.columns, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop')
    expect(reader.ready(0, schema.columns)).toBe(false)
  })
})
