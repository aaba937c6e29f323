// A merge whose source changed a column to what the target had changed it to, among other columns, wrote the target's row again and counted it as updated.
import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'

const cells = table('cells', { id: t.int64(), a: t.int32(), b: t.int32() }, { key: ['id'] })

it.each([0, 262_144])('a column that both sides changed to one value is no change, inlineLimitBytes %i', async (inlineLimitBytes) => {
  await using store = await Store.open('memory:', { upkeep: 'manual', threads: 0, inlineLimitBytes })
  await store.create(cells)
  await store.append(cells, [
    { id: 1n, a: 1, b: 1 },
    { id: 2n, a: 1, b: 1 },
  ])
  const dev = await store.branch('dev')
  await dev.update(cells, [
    { id: 1n, a: 2 },
    { id: 2n, a: 2 },
  ])
  await store.upsert(cells, { id: 1n, a: 2, b: 2 })
  expect((await store.merge('dev')).tables).toEqual({ cells: { inserted: 0, updated: 1, deleted: 0 } })
  expect(await store.scan(cells, { orderBy: 'id' }).toArray()).toEqual([
    { id: 1n, a: 2, b: 2 },
    { id: 2n, a: 2, b: 1 },
  ])
})
