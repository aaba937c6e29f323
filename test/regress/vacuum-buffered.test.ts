// Under `buffered` a vacuum once deleted files before its record, and those behind which they were not needed, were durable: a power cut brought back a newest
// version whose files were gone.

import { expect, it } from 'vitest'

import { Store, table, t } from '../../bindings/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const names = table('names', { id: t.int32(), name: t.utf8() }, { key: ['id'] })
const rows = (from: number): { id: number; name: string }[] => Array.from({ length: 50 }, (_, i) => ({ id: from + i, name: `name ${i}` }))

it('a vacuum of a buffered store deletes nothing before the log is durable up to its record', async () => {
  const files = new FakeFiles()
  const { world } = simWorld({ seed: 1, files })
  const store = await Store.open('/data/store', { world, threads: 0, durability: 'buffered', upkeep: 'manual' })
  await store.create(names)
  await store.append(names, rows(0))
  await store.flush()
  await store.replace(names, rows(100))
  await store.flush()
  await store.upsert(names, rows(200))
  const from = files.calls.length
  const { deleted } = await store.vacuum({ keep: { versions: 1 } })
  expect(deleted).toBeGreaterThan(0)
  const calls = files.calls.slice(from).map(({ op, path }) => ({ op, path: String(path) }))
  const gone = calls.findIndex(({ op, path }) => /unlink|rm|delete/.test(op) && path.includes('/fragments/'))
  expect(gone, calls.map(({ op, path }) => `${op} ${path}`).join('\n')).toBeGreaterThanOrEqual(0)
  const written = calls.slice(0, gone).findLastIndex(({ op, path }) => op.startsWith('write') && /\/log\//.test(path))
  const synced = calls.slice(0, gone).findLastIndex(({ op, path }) => /sync/i.test(op) && /\/log\//.test(path))
  expect(written, 'the record is written').toBeGreaterThanOrEqual(0)
  expect(synced, 'and synced').toBeGreaterThan(written)
  await store.close()
})
