// verify() beside a vacuum told of files as lost that the vacuum had taken meanwhile, and of checkpoints that a newer one had replaced.
import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const numbers = table('numbers', { id: t.int32(), a: t.float64() }, { key: ['id'] })
const ROWS = 20_000

it.each([
  ['files', 'the writer'],
  ['all', 'the writer'],
  ['files', 'a reader'],
  ['all', 'a reader'],
] as const)('what a vacuum takes while files are verified is no problem, level %s, of %s', async (level, who) => {
  const root = new MemoryRoot({})
  await using store = await Store.open(root, { upkeep: 'manual', threads: 0 })
  await store.create(numbers)
  const replace = async (from: number): Promise<void> => {
    await store.replace(
      numbers,
      Array.from({ length: ROWS }, (_, i) => ({ id: i, a: from + i })),
    )
    await store.flush()
  }
  for (let i = 0; i < 3; i++) await replace(i)
  await using reader = await Store.open(root, { readOnly: true, follow: false, threads: 0 })
  // Behind the log and the checkpoints, before the first of the files; then before the next.
  let vacuums = 0
  const get = root.get.bind(root)
  root.get = async (name, o) => {
    const isNext = vacuums === 0 ? name.startsWith('checkpoints/') : vacuums === 1 && name.startsWith('fragments/')
    if (isNext) {
      vacuums++
      await replace(100 + vacuums)
      expect((await store.vacuum({ keep: { versions: 1 } })).deleted).toBeGreaterThan(0)
    }
    return await get(name, o)
  }
  const report = await (who === 'a reader' ? reader : store).verify({ level })
  expect(vacuums).toBe(2)
  expect(report.problems).toEqual([])
  expect((await store.verify({ level: 'all' })).problems).toEqual([])
})
