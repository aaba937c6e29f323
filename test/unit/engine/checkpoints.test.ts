// Which checkpoint an open believes, and what it does with those that it does not.

import { describe, expect, it } from 'vitest'

import { Catalog, checkpointBody, checkpointName, encodeCheckpoint } from '../../../bindings/catalog/index.ts'
import { listCheckpoints, newestCheckpoint, readCheckpoint } from '../../../bindings/engine/index.ts'
import { CorruptionError, StorageError, Store, t, table } from '../../../bindings/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FaultyRoot } from '../../../bindings/testing/index.ts'

const storeId = new Uint8Array(16).fill(1)
const file = (lsn: number, id: Uint8Array = storeId): Uint8Array => {
  const catalog = new Catalog()
  for (let at = 1; at <= lsn; at++) catalog.foldEpoch(at, at, true)
  return encodeCheckpoint(id, lsn, new Uint8Array(32), checkpointBody(catalog))
}

async function rootWith(files: Record<string, Uint8Array>): Promise<MemoryRoot> {
  const root = new MemoryRoot()
  for (const [name, bytes] of Object.entries(files)) await root.put(name, bytes)
  return root
}

describe('checkpoints', () => {
  it('are listed newest first, other names left out', async () => {
    const root = await rootWith({
      [checkpointName(3)]: file(3),
      [checkpointName(12)]: file(12),
      'checkpoints/note.txt': new Uint8Array(1),
      'checkpoints/5.ckpt': file(5),
    })
    expect(await listCheckpoints(root)).toEqual([12, 3])
  })

  it('give the newest valid one at or below a position, and tell of each that is not', async () => {
    const broken = file(9)
    broken[50]! ^= 1
    const foreign = file(8, new Uint8Array(16).fill(2))
    const root = await rootWith({
      [checkpointName(3)]: file(3),
      [checkpointName(9)]: broken,
      [checkpointName(8)]: foreign,
      [checkpointName(7)]: file(6),
      [checkpointName(20)]: file(20),
    })
    const told: string[] = []
    expect((await newestCheckpoint(root, storeId, 15, (name) => told.push(name)))?.lsn).toBe(3)
    expect(told).toEqual([checkpointName(9), checkpointName(8), checkpointName(7)])
    expect((await newestCheckpoint(root, storeId))?.lsn).toBe(20)
    expect(await newestCheckpoint(root, storeId, 2)).toBeUndefined()
    await expect(readCheckpoint(root, storeId, 9)).rejects.toBeInstanceOf(CorruptionError)
  })

  it('are not passed over because the disk fails', async () => {
    const root = new FaultyRoot(await rootWith({ [checkpointName(3)]: file(3) }))
    root.failAt(1, { error: 'io' }, ({ method }) => method === 'get')
    await expect(newestCheckpoint(root, storeId)).rejects.toBeInstanceOf(StorageError)
  })

  it('that were damaged are passed over at open: an event, the older one, the same rows', async () => {
    const items = table('items', { id: t.int32() }, { key: ['id'] })
    const root = new MemoryRoot()
    let store = await Store.open(root, { threads: 0 })
    await store.create(items)
    for (let id = 0; id < 4; id++) {
      await store.append(items, { id })
      if (id % 2 === 1) await store.flush()
    }
    await store.close()
    const [newest] = await listCheckpoints(root)
    const { bytes } = await root.get(checkpointName(newest!))
    bytes[bytes.length >> 1]! ^= 4
    await root.put(checkpointName(newest!), bytes)
    const logged: string[] = []
    store = await Store.open(root, { threads: 0, world: { logger: { log: ({ code }: { code: string }) => void logged.push(code) } } })
    expect(logged).toContain('checkpoint.invalid')
    expect(await store.scan(items).count()).toBe(4)
    expect((await store.verify({ level: 'all' })).problems.map(({ code }) => code)).toEqual(['checkpoint.corrupt'])
    await store.close()
  })
})
