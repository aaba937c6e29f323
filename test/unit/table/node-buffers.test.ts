// A Node Buffer is a Uint8Array whose slice() shares its memory, at any offset of a pool that others write to.

import { Readable } from 'node:stream'

import * as arrow from 'apache-arrow'
import { describe, expect, it } from 'vitest'

import { columnsFromArrow, Store, table, t } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'

const names = table('names', { id: t.int32(), name: t.utf8(), raw: t.binary() }, { key: ['id'] })
const source = arrow.tableToIPC(
  new arrow.Table({
    id: arrow.vectorFromArray([1, 2, 3], new arrow.Int32()),
    name: arrow.vectorFromArray(['ada', 'grace', 'edsger'], new arrow.Utf8()),
    raw: arrow.vectorFromArray([Uint8Array.of(1), Uint8Array.of(2, 3), new Uint8Array(0)], new arrow.Binary()),
  }),
  'stream',
)

function buffered(shift: number): Buffer {
  const pool = Buffer.alloc(source.length + shift)
  pool.set(source, shift)
  return pool.subarray(shift)
}

describe('a Node Buffer', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])('of Arrow IPC at offset %i of its pool is read, and may be overwritten afterwards', async (shift) => {
    await using store = await Store.open('memory:')
    await store.create(names)
    const bytes = buffered(shift)
    expect(Object.keys(columnsFromArrow(bytes))).toEqual(['id', 'name', 'raw'])
    await store.append(names, bytes)
    bytes.fill(0xff)
    expect((await store.scan(names).toArray()).map(({ name }) => name)).toEqual(['ada', 'grace', 'edsger'])
    expect([...(await store.get(names, 2))!.raw]).toEqual([2, 3])
  })

  it.each([1, 7, 4096])('is a piece of a stream of Arrow IPC, cut every %i bytes', async (size) => {
    await using store = await Store.open('memory:')
    await store.create(names)
    const bytes = buffered(3)
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
    await store.append(names, Readable.from(pieces))
    expect(await store.scan(names).count()).toBe(3)
  })

  it('is a value of a binary column, copied when it is written', async () => {
    await using store = await Store.open('memory:')
    await store.create(names)
    const raw = Buffer.from('varve')
    await store.append(names, { id: 1, name: 'a', raw })
    raw.fill(0)
    expect(Buffer.from((await store.get(names, 1))!.raw).toString()).toBe('varve')
  })

  it('put into a memory root is copied', async () => {
    const root = new MemoryRoot()
    const [put, large] = [Buffer.from('first'), Buffer.from('second')]
    await root.put('staging/a', put)
    await root.putLarge('staging/b', Readable.from([large]))
    put.fill(0)
    large.fill(0)
    expect(Buffer.from((await root.get('staging/a')).bytes).toString()).toBe('first')
    expect(Buffer.from((await root.get('staging/b')).bytes).toString()).toBe('second')
  })
})
