// A key that is refused while reads of earlier keys are under way: their failures once had nobody to hear them, which ends a Node process.

import { expect, it } from 'vitest'

import { Store, table, t } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import type { Root } from '../../bindings/root/index.ts'

const names = table('names', { id: t.int32(), name: t.utf8() }, { key: ['id'] })

it('getMany with a key that is refused leaves no failure of its other reads unheard', async () => {
  const root: Root = new MemoryRoot()
  const writer = await Store.open(root, { upkeep: 'manual' })
  await writer.create(names)
  await writer.append(
    names,
    Array.from({ length: 1000 }, (_, id) => ({ id, name: `name ${id}` })),
  )
  await writer.flush()
  await writer.close()
  await using store = await Store.open(root, { readOnly: true })
  for await (const { name } of root.list('fragments/')) await root.delete(name)
  const unheard: unknown[] = []
  const hear = (error: unknown): void => void unheard.push(error)
  process.on('unhandledRejection', hear)
  try {
    await expect(store.getMany(names, [1, 2, 'three' as never])).rejects.toThrow(/three/)
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('unhandledRejection', hear)
  }
  expect(unheard).toEqual([])
})
