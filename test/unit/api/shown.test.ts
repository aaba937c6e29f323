// unit/api/shown.test.ts: what is logged of a handle, or of something that holds one, is short, and tells no secret of the process.
import { inspect } from 'node:util'
import { expect, it, vi } from 'vitest'
import { Store, t, table } from '../../../bindings/index.ts'

const items = table('items', { id: t.int32() }, { key: ['id'] })

it('handles and results show what they are of, and nothing of the environment', async () => {
  vi.stubEnv('VARVE_TEST_SECRET', 'hush-4711')
  await using store = await Store.open('memory:', { threads: 0 })
  await store.create(items)
  const result = await store.append(items, { id: 1 })
  const branch = await store.branch('dev')
  await using snapshot = await store.snapshot()
  await using staged = await store.stage()
  const scan = store.scan(items)
  for (const [what, value, shown] of [
    ['store', store, { id: store.id, lsn: String(store.lsn), readOnly: false, closed: false }],
    ['branch', branch, { name: 'dev', branchId: branch.branchId, lsn: String(branch.lsn) }],
    ['snapshot', snapshot, { lsn: String(snapshot.lsn), time: snapshot.time.toISOString() }],
    ['staged write', staged, { id: staged.id, state: 'open' }],
    ['result', result, { lsn: String(result.lsn), writeId: result.writeId, time: result.time.toISOString(), rows: 1, replayed: false }],
  ] as const) {
    expect(JSON.parse(JSON.stringify({ value })), what).toEqual({ value: shown })
    for (const key of Object.keys(shown)) expect(inspect(value), what).toContain(`${key}: `)
    expect(inspect(value).length, what).toBeLessThan(300)
  }
  for (const value of [store, branch, snapshot, staged, result, scan]) expect(inspect(value, { depth: 20, showHidden: false })).not.toContain('hush-4711')
  vi.unstubAllEnvs()
})
