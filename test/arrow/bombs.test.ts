// Small Arrow bytes that ask for much work or memory: offsets that meet or go round in circles, counts and lengths that lie. Each is refused at once.
import { describe, expect, it } from 'vitest'
import { columnsFromArrow, SchemaMismatchError, Store, t, table } from '../../bindings/index.ts'
import { encodeFlatbuffer, type FlatTable, type FlatValue, readFlatbuffer } from '../../bindings/format/flatbuffer.ts'
import { DecodeError } from '../../bindings/format/index.ts'

const i8 = (value: number): FlatValue => ({ as: 'i8', value })
const i16 = (value: number): FlatValue => ({ as: 'i16', value })
const i32 = (value: number): FlatValue => ({ as: 'i32', value })
const i64 = (value: number): FlatValue => ({ as: 'i64', value })
const INT8: FlatValue = { as: 'table', value: [i32(8), { as: 'bool', value: true }] }

function field(name: string, id = 2, type: FlatValue = INT8, children: readonly FlatTable[] = []): FlatTable {
  return [{ as: 'string', value: name }, { as: 'bool', value: true }, i8(id), type, undefined, { as: 'tables', value: children }]
}

function message(kind: number, header: FlatTable, bodyBytes: number): Uint8Array {
  return encodeFlatbuffer([i16(4), i8(kind), { as: 'table', value: header }, i64(bodyBytes)])
}

function framed(metadata: Uint8Array, body: Uint8Array = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(8 + metadata.length + body.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, 0xffffffff, true)
  view.setUint32(4, metadata.length, true)
  out.set(metadata, 8)
  out.set(body, 8 + metadata.length)
  return out
}

const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const schema = (fields: readonly FlatTable[]): FlatTable => [i16(0), { as: 'tables', value: fields }]

function structs(numbers: readonly bigint[]): FlatValue {
  return { as: 'structs', count: numbers.length / 2, value: new Uint8Array(BigInt64Array.from(numbers).buffer) }
}

interface Batch {
  readonly rows: bigint
  readonly nodes: readonly bigint[]
  readonly buffers: readonly bigint[]
  readonly body: Uint8Array
  readonly codec?: number
}

function batch({ rows, nodes, buffers, body, codec }: Batch): Uint8Array {
  const compression: FlatValue | undefined = codec === undefined ? undefined : { as: 'table', value: [i8(codec), i8(0)] }
  return framed(message(3, [i64(Number(rows)), structs(nodes), structs(buffers), compression], body.length), body)
}

async function appended(bytes: Uint8Array): Promise<unknown> {
  await using store = await Store.open('memory:')
  const target = table('bomb', columnsFromArrow(bytes))
  await store.create(target)
  return await store.append(target, bytes as never)
}

/** A schema message whose field tables all are one, so that what follows from one follows from each. */
function sameFieldTimes(count: number, one: FlatTable): Uint8Array {
  const empty: FlatTable[] = Array.from({ length: count }, () => [])
  const bytes = message(1, schema([...empty, one]), 0)
  // The vector of fields is the only one with this count; its last entry is the field that all become.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let vector = 0
  while (view.getUint32(vector, true) !== count + 1) vector += 4
  const last = vector + 4 + 4 * count
  const target = last + view.getUint32(last, true)
  for (let i = 0; i <= count; i++) view.setUint32(vector + 4 + 4 * i, target - (vector + 4 + 4 * i), true)
  return framed(bytes)
}

describe('a flatbuffer', () => {
  it('of tables in a circle is refused', () => {
    const bytes = encodeFlatbuffer([{ as: 'tables', value: [[{ as: 'tables', value: [[]] }]] }])
    // Every table of the inner vector is the root.
    const view = new DataView(bytes.buffer)
    const inner = readFlatbuffer(bytes).tables(0)[0]!
    expect(inner.tables(0)).toHaveLength(1)
    let at = 0
    for (let i = 0; i + 8 <= bytes.length; i += 4) if (view.getUint32(i, true) === 1) at = i + 4
    view.setUint32(at, (view.getUint32(0, true) - at) >>> 0, true)
    const dive = (depth: number, reader = readFlatbuffer(bytes)): void => {
      for (const child of reader.tables(0)) if (depth < 1000) dive(depth + 1, child)
    }
    expect(() => dive(0)).toThrow(DecodeError)
  })

  it('whose strings all are one is read as often as its length pays for', () => {
    const wide = 'x'.repeat(100_000)
    expect(() => columnsFromArrow(sameFieldTimes(2000, field(wide)))).toThrow('tables and strings that overlap')
    // A name that several fields share is nothing odd.
    expect(() => columnsFromArrow(sameFieldTimes(50, field('a')))).toThrow('column "a" is there twice')
  })

  it('whose metadata all are one is read as often as its length pays for', () => {
    const pairs: FlatTable[] = Array.from({ length: 2000 }, () => [{ as: 'string', value: 'k' }])
    const one = [...field('a'), { as: 'tables', value: pairs } as const]
    expect(() => columnsFromArrow(sameFieldTimes(2000, one))).toThrow('tables and strings that overlap')
  })

  it('that nests fields deeper than any schema is refused', () => {
    let deep = field('item')
    for (let i = 0; i < 100; i++) deep = field('l', 12, { as: 'table', value: [] }, [deep])
    expect(() => columnsFromArrow(framed(message(1, schema([deep]), 0)))).toThrow('tables nested too deep')
  })

  it('of more fields than any table has is refused', () => {
    const many = Array.from({ length: 20_001 }, (_, i) => field(`c${i}`))
    expect(() => columnsFromArrow(framed(message(1, schema(many), 0)))).toThrow('more than 20000 fields')
  })
})

describe('a batch', () => {
  const start = framed(message(1, schema([field('a')]), 0))
  const body = new Uint8Array(64)
  const good: Batch = { rows: 8n, nodes: [8n, 0n], buffers: [0n, 0n, 0n, 8n], body }

  it('that tells the truth is taken', async () => {
    expect(await appended(joined(start, batch(good)))).toMatchObject({ rows: 8 })
  })

  it.each<[string, Partial<Batch>, string]>([
    ['states rows that no bytes hold', { rows: 2n ** 31n - 1n, nodes: [2n ** 31n - 1n, 0n] }, 'rows in a body of 64 bytes'],
    ['states a few million rows over eight bytes', { rows: 10_000_000n, nodes: [10_000_000n, 0n] }, '10000000 rows in buffers of 8 bytes'],
    ['states them all null', { rows: 10_000_000n, nodes: [10_000_000n, 10_000_000n] }, 'nulls and a bitmap of 0 bytes'],
    ['states rows below zero', { rows: -1n }, '-1 rows'],
    ['has a node below zero', { nodes: [-8n, 0n] }, '-8 rows'],
    ['has a node of other rows', { nodes: [4n, 0n] }, 'of 4 rows in a batch of 8'],
    ['has no node', { nodes: [] }, 'fewer nodes than fields'],
    ['has no buffers', { buffers: [] }, 'fewer buffers than fields'],
    ['has a buffer before its body', { buffers: [0n, 0n, -8n, 8n] }, 'outside its body'],
    ['has a buffer behind its body', { buffers: [0n, 0n, 64n, 8n] }, 'outside its body'],
    ['has a buffer below zero', { buffers: [0n, 0n, 8n, -8n] }, 'outside its body'],
    ['has a buffer whose end overflows', { buffers: [0n, 0n, 8n, 2n ** 53n - 8n] }, 'outside its body'],
    ['has a buffer that no number holds', { buffers: [0n, 0n, 2n ** 62n, 8n] }, 'is not safe'],
    ['has values too short', { buffers: [0n, 0n, 0n, 4n] }, '4 bytes of values for 8 rows'],
    ['has buffers that overlap', { buffers: [0n, 40n, 0n, 40n] }, 'buffers that overlap'],
    ['has an unknown codec', { codec: 7 }, 'an unknown compression 7'],
    ['states 2 GiB over an LZ4 frame', { codec: 0, body: stated(2n ** 31n - 1n), buffers: [0n, 0n, 0n, 64n] }, 'a plain length of 2147483647'],
    ['states 1 GiB over an LZ4 frame', { codec: 0, body: stated(2n ** 30n), buffers: [0n, 0n, 0n, 64n] }, 'bytes stated over 56 bytes of input'],
    ['states 1 GiB over a zstd frame', { codec: 1, body: stated(2n ** 30n), buffers: [0n, 0n, 0n, 64n] }, 'zstd: no frame'],
    ['states less than nothing', { codec: 0, body: stated(-2n), buffers: [0n, 0n, 0n, 64n] }, 'a plain length of -2'],
  ])('that %s is refused', async (_what, lie, words) => {
    const append = appended(joined(start, batch({ ...good, ...lie })))
    await expect(append).rejects.toThrow(SchemaMismatchError)
    await expect(append).rejects.toThrow(words)
  })

  it('whose width asks for gigabytes is refused', async () => {
    const wide = field('a', 15, { as: 'table', value: [i32(2 ** 31 - 1)] })
    const append = appended(joined(framed(message(1, schema([wide]), 0)), batch({ ...good, rows: 1n, nodes: [1n, 1n], buffers: [0n, 8n, 8n, 0n] })))
    await expect(append).rejects.toThrow('1 rows of 2147483647 bytes without values')
  })

  it('of nulls alone may have rows without bytes, as many as memory has no need of', async () => {
    const nothing = framed(message(1, schema([field('a', 1, { as: 'table', value: [] })]), 0))
    const rows = (count: bigint): Uint8Array => joined(nothing, batch({ rows: count, nodes: [count, count], buffers: [], body: new Uint8Array(0) }))
    expect(await appended(rows(100_000n))).toMatchObject({ rows: 100_000 })
    await expect(appended(rows(2n ** 31n - 1n))).rejects.toThrow('2147483647 rows in a body of 0 bytes')
  })
})

/** The start of a compressed buffer. */
function stated(bytes: bigint): Uint8Array {
  const body = new Uint8Array(64)
  new DataView(body.buffer).setBigInt64(0, bytes, true)
  return body
}

it('a file that lists one batch many times is refused', async () => {
  const start = framed(message(1, schema([field('a')]), 0))
  const one = batch({ rows: 8n, nodes: [8n, 0n], buffers: [0n, 0n, 0n, 8n], body: new Uint8Array(1024) })
  const magic = new TextEncoder().encode('ARROW1')
  const head = joined(magic, new Uint8Array(2), start)
  const file = (times: number): Uint8Array => {
    const blocks = new Uint8Array(24 * times)
    const view = new DataView(blocks.buffer)
    for (let i = 0; i < times; i++) {
      view.setBigInt64(24 * i, BigInt(head.length), true)
      view.setInt32(24 * i + 8, one.length - 1024, true)
      view.setBigInt64(24 * i + 16, 1024n, true)
    }
    const footer = encodeFlatbuffer([i16(4), { as: 'table', value: schema([field('a')]) }, undefined, { as: 'structs', count: times, value: blocks }])
    const length = new Uint8Array(4)
    new DataView(length.buffer).setUint32(0, footer.length, true)
    return joined(head, one, footer, length, magic)
  }
  expect(await appended(file(1))).toMatchObject({ rows: 8 })
  await expect(appended(file(1000))).rejects.toThrow('messages that overlap')
  const target = table('bomb', { a: t.int8().nullable() })
  await using store = await Store.open('memory:')
  await store.create(target)
  await expect(store.transact((tx) => void tx.append(target, file(1000)))).rejects.toThrow('messages that overlap')
})
