// Canonical keys (recovery.md sections 12 and 18, "Unique"): equal values are one key whatever they came as, different ones never are, at load and at merge.
import { readFileSync } from 'node:fs'

import * as flechette from '@uwdata/flechette'
import { describe, expect, it } from 'vitest'

import {
  columns,
  columnsFromArrow,
  DuplicateKeyError,
  NullKeyError,
  SchemaMismatchError,
  Store,
  t,
  table,
  UnkeyableTypeError,
} from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { frameRow } from '../../arrow/polars.ts'

const QUIET = { upkeep: 'manual', threads: 0 } as const
/** Everything inline, or everything as a load. */
const WAYS = [
  ['inline', QUIET],
  ['as a load', { ...QUIET, inlineLimitBytes: 0 }],
] as const

const pairs = table('pairs', { a: t.utf8(), b: t.utf8(), v: t.int32() }, { key: ['a', 'b'] })
const held = table('held', { id: t.int32(), a: t.utf8(), b: t.utf8() }, { key: ['id'], unique: [['a', 'b']] })

const TUPLES = [
  ['a|b', 'c'],
  ['a', 'b|c'],
  ['a\u001fb', 'c'],
  ['a', 'b\u001fc'],
  ['a\u001f', 'b\u001fc'],
  ['', 'abc'],
  ['abc', ''],
  ['a', 'bc'],
  ['ab', 'c'],
  ['a\u0000', 'b'],
  ['a', '\u0000b'],
  ['a, b', ''],
  ['a', ' b'],
] as const

describe('("a|b","c") and ("a","b|c") and a value with U+001F', () => {
  it.each(WAYS)('are different keys, %s', async (_, options) => {
    await using store = await Store.open('memory:', options)
    await store.create(pairs, held)
    const data = columns({ a: TUPLES.map(([a]) => a), b: TUPLES.map(([, b]) => b), v: TUPLES.map((__, i) => i) })
    await store.append(pairs, data)
    await store.upsert(pairs, data)
    expect(await store.scan(pairs).count()).toBe(TUPLES.length)
    for (const [i, [a, b]] of TUPLES.entries()) expect(await store.get(pairs, { a, b })).toEqual({ a, b, v: i })
    await expect(store.append(pairs, data)).rejects.toThrow(DuplicateKeyError)
    await store.append(held, columns({ id: TUPLES.map((__, i) => i), a: TUPLES.map(([a]) => a), b: TUPLES.map(([, b]) => b) }))
    for (const [a, b] of TUPLES) await expect(store.append(held, { id: 100, a, b })).rejects.toThrow(DuplicateKeyError)
  })

  it('are different keys at merge', async () => {
    await using store = await Store.open('memory:', QUIET)
    await store.create(pairs, held)
    const dev = await store.branch('dev')
    const [ours, theirs] = [TUPLES.filter((_, i) => i % 2 === 0), TUPLES.filter((_, i) => i % 2 === 1)]
    await store.append(
      pairs,
      ours.map(([a, b]) => ({ a, b, v: 1 })),
    )
    await dev.append(
      pairs,
      theirs.map(([a, b]) => ({ a, b, v: 2 })),
    )
    await store.append(
      held,
      ours.map(([a, b], id) => ({ id, a, b })),
    )
    await dev.append(
      held,
      theirs.map(([a, b], id) => ({ id: 100 + id, a, b })),
    )
    expect((await store.merge('dev')).conflicts).toEqual([])
    for (const [i, [a, b]] of TUPLES.entries()) expect(await store.get(pairs, { a, b })).toEqual({ a, b, v: 1 + (i % 2) })
    expect(await store.scan(held).count()).toBe(TUPLES.length)
  })
})

it('a merge does not bring a unique value that the target has by then', async () => {
  await using store = await Store.open('memory:', QUIET)
  await store.create(held)
  await store.append(held, { id: 1, a: 'x', b: 'y' })
  const dev = await store.branch('dev')
  await dev.append(held, { id: 2, a: 'p', b: 'q' })
  await store.append(held, { id: 3, a: 'p', b: 'q' })
  await expect(store.merge('dev')).rejects.toMatchObject({ code: 'write.duplicate-key', columns: ['a', 'b'], values: { a: 'p', b: 'q' } })
  expect(await store.scan(held).count()).toBe(2)
  // Each branch by itself keeps the constraint.
  await expect(dev.append(held, { id: 4, a: 'x', b: 'y' })).rejects.toThrow(DuplicateKeyError)
  await dev.update(held, { id: 2, a: 'r' })
  await store.merge('dev')
  expect(await store.get(held, 2)).toEqual({ id: 2, a: 'r', b: 'q' })
})

describe('same string as utf8, largeUtf8, utf8View, dictionary', () => {
  const names = table('names', { name: t.utf8(), n: t.int32() }, { key: ['name'] })
  const coded = table('coded', { id: t.int32(), name: t.utf8().dictionary() }, { key: ['id'], unique: [['name']] })
  const words = ['Zürich', 'a', '', 'long enough not to lie in a view', 'b']
  const { utf8, largeUtf8, dictionary, int32, columnFromArray, tableFromColumns, tableToIPC } = flechette
  const forms: readonly (readonly [string, () => flechette.DataType])[] = [
    ['utf8', () => utf8()],
    ['largeUtf8', () => largeUtf8()],
    ['dictionary', () => dictionary(utf8(), int32())],
  ]
  const bytesOf = (type: flechette.DataType, ids: string, from: number): Uint8Array =>
    tableToIPC(
      tableFromColumns({
        name: columnFromArray(words, type),
        [ids]: columnFromArray(
          words.map((_, i) => from + i),
          int32(),
        ),
      }),
      {},
    )!

  for (const [way, options] of WAYS) {
    for (const [first, type] of forms) {
      it(`collides, first as ${first}, ${way}`, async () => {
        await using store = await Store.open('memory:', options)
        await store.create(names, coded)
        await store.append(names, bytesOf(type(), 'n', 0))
        await store.append(coded, bytesOf(type(), 'id', 0))
        for (const [, other] of forms) {
          await expect(store.append(names, bytesOf(other(), 'n', 0))).rejects.toThrow(DuplicateKeyError)
          await expect(store.append(coded, bytesOf(other(), 'id', 100))).rejects.toThrow(DuplicateKeyError)
          await store.upsert(names, bytesOf(other(), 'n', 0))
        }
        for (const name of words) {
          await expect(store.append(names, { name, n: 9 })).rejects.toThrow(DuplicateKeyError)
          await expect(store.append(coded, { id: 200, name })).rejects.toThrow(DuplicateKeyError)
        }
        expect(await store.scan(names).count()).toBe(words.length)
      })
    }
  }

  it('collides as utf8View, which polars writes', async () => {
    const file = new Uint8Array(readFileSync(new URL('../../data/polars/lz4.arrow', import.meta.url)))
    const defined = columnsFromArrow(file)
    const frame = table('frame', defined, { unique: [['origin', 'id']] as never })
    await using store = await Store.open('memory:', QUIET)
    await store.create(frame)
    // The file has some of its tuples twice: a row of before meets its strings.
    const first = frameRow(1)
    await store.append(frame, { ...first, day: '1970-01-02' } as never)
    await expect(store.append(frame, file)).rejects.toMatchObject({ code: 'write.duplicate-key', columns: ['origin', 'id'] })
    await store.replace(frame, [])
    await expect(store.append(frame, file)).rejects.toMatchObject({ code: 'write.duplicate-key', rows: [expect.any(Number), expect.any(Number)] })
  })
})

describe('numbers', () => {
  it.each(WAYS)('are keys by value: -0 is 0, NaN is refused, %s', async (_, options) => {
    await using store = await Store.open('memory:', options)
    const floats = table('floats', { x: t.float64(), y: t.float32().nullable() }, { key: ['x'], unique: [['y']] })
    await store.create(floats)
    await store.append(floats, { x: 0, y: -0 })
    await expect(store.append(floats, { x: -0, y: null })).rejects.toThrow(DuplicateKeyError)
    await expect(store.append(floats, { x: 1, y: 0 })).rejects.toThrow(DuplicateKeyError)
    expect(await store.get(floats, -0)).toEqual({ x: 0, y: -0 })
    const nan: [unknown, string][] = [
      [
        [
          { x: 1, y: 1 },
          { x: Number.NaN, y: 2 },
        ],
        'floats.x row 1: NaN cannot be in a key',
      ],
      [[{ x: 1, y: Number.NaN }], 'floats.y row 0: NaN cannot be in a unique constraint'],
      [columns({ x: Float64Array.of(1, Number.NaN), y: Float32Array.of(1, 2) }), 'floats.x row 1: NaN cannot be in a key'],
      [columns({ x: Float64Array.of(1, 2), y: Float32Array.of(1, Number.NaN) }), 'floats.y row 1: NaN cannot be in a unique constraint'],
      [
        flechette.tableToIPC(flechette.tableFromColumns({ x: flechette.columnFromArray([1, 2, Number.NaN], flechette.float64()) }), {}),
        'floats.x row 2: NaN cannot be in a key',
      ],
    ]
    for (const [data, message] of nan) await expect(store.append(floats, data as never)).rejects.toThrow(message)
    await expect(store.update(floats, { x: 0, y: Number.NaN })).rejects.toThrow(SchemaMismatchError)
    expect(await store.scan(floats).count()).toBe(1)
  })

  it('int8 to int64 are keys by value: what was narrow when it was written collides with what is wide', async () => {
    const root = new MemoryRoot()
    const narrow = table('ints', { id: t.int8(), u: t.int16().nullable() }, { key: ['id'], unique: [['u']] })
    const wide = table('ints', { id: t.int64(), u: t.int64().nullable() }, { key: ['id'], unique: [['u']] })
    await using store = await Store.open(root, QUIET)
    await store.create(narrow)
    await store.append(
      narrow,
      [-1, 0, 1, 127].map((id) => ({ id, u: id * 100 })),
    )
    await store.flush()
    await store.append(narrow, { id: -128, u: -7 })
    await store.apply([wide])
    for (const id of [-1n, 0n, 1n, 127n, -128n]) await expect(store.append(wide, { id, u: null })).rejects.toThrow(DuplicateKeyError)
    for (const u of [-100n, 0n, 12_700n, -7n]) await expect(store.append(wide, { id: 1000n, u })).rejects.toThrow(DuplicateKeyError)
    await store.append(wide, { id: 255n, u: 65_436n })
    expect(await store.get(wide, -128n)).toEqual({ id: -128n, u: -7n })
  })
})

it('null is exempt in unique, refused in key', async () => {
  await using store = await Store.open('memory:', QUIET)
  const rows = table('rows', { id: t.utf8(), u: t.utf8().nullable() }, { key: ['id'], unique: [['u']] })
  await store.create(rows)
  await store.append(rows, [
    { id: 'a', u: null },
    { id: 'b', u: null },
    { id: 'c', u: '' },
  ])
  await store.append(rows, { id: 'd', u: null })
  await expect(store.append(rows, { id: 'e', u: '' })).rejects.toThrow(DuplicateKeyError)
  await expect(store.append(rows, { id: null as never, u: 'x' })).rejects.toThrow(NullKeyError)
})

it('a type that cannot be a key is refused at create', () => {
  const types = { list: t.list(t.int8()), struct: t.struct({ a: t.int8() }), vector: t.vector(2), json: t.json(), fixed: t.fixedSizeList(2, t.int8()) }
  for (const [name, column] of Object.entries(types)) {
    const of = { id: t.int8(), [name]: column } as never
    expect(() => table('bad', of, { key: [name] as never })).toThrow(UnkeyableTypeError)
    expect(() => table('bad', of, { key: ['id'], unique: [[name]] as never } as never)).toThrow(UnkeyableTypeError)
    expect(() => table('bad', of, { unique: [['id', name]] as never })).toThrow(UnkeyableTypeError)
  }
})
