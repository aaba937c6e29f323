// A staged append that was refused for a key that it brings twice still counted: as having written its keys, so that what others wrote to them stopped the publish, and
// as the first call of its table, so that conflicts were looked for from there on.

import { describe, expect, it } from 'vitest'

import { DuplicateKeyError, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const numbers = table('numbers', { id: t.int32(), v: t.utf8() }, { key: ['id'] })
const names = table('names', { id: t.utf8(), v: t.utf8() }, { key: ['id'] })

const open = (): Promise<Store> => Store.open(new MemoryRoot(), { threads: 0, world: simWorld({ seed: 1 }).world })

describe('a call of a staged write that was refused', () => {
  it.each([
    ['numbers', numbers, [1, 2, 1], 1, 2],
    ['names', names, ['a', 'b', 'a'], 'a', 'b'],
  ] as const)('has written none of its keys, keyed by %s', async (_name, of, refused, mine, theirs) => {
    await using store = await open()
    await store.create(of)
    const row = (id: unknown, v: string): never => ({ id, v }) as never
    await using write = await store.stage()
    await write.upsert(of as never, row(mine, 'staged'))
    await expect(write.append(of as never, refused.map((id) => row(id, 'refused')) as never)).rejects.toBeInstanceOf(DuplicateKeyError)
    await store.upsert(of as never, row(theirs, 'beside'))
    await write.publish()
    expect(await store.scan(of as never, { orderBy: 'id' as never }).toArray()).toEqual([row(mine, 'staged'), row(theirs, 'beside')])
  })

  it('is not where the write began to look', async () => {
    await using store = await open()
    await store.create(numbers)
    await using write = await store.stage()
    await expect(
      write.append(numbers, [
        { id: 1, v: 'refused' },
        { id: 1, v: 'refused' },
      ]),
    ).rejects.toBeInstanceOf(DuplicateKeyError)
    await store.upsert(numbers, { id: 2, v: 'beside' })
    await write.upsert(numbers, { id: 2, v: 'staged' })
    await write.publish()
    expect(await store.scan(numbers).toArray()).toEqual([{ id: 2, v: 'staged' }])
  })
})
