// A refresh() that met one under way shared its answer, which could be older than a commit that had been acknowledged before the call.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'

const kv = table('kv', { k: t.int32() }, { key: ['k'] })

it('shows every commit that was acknowledged before the refresh was asked for', async () => {
  const root = mkdtempSync(join(tmpdir(), 'varve-refresh-'))
  try {
    await using store = await Store.open(root)
    await store.create(kv)
    await using reader = await Store.open(root, { readOnly: true, follow: false })
    for (let k = 0; k < 100; k++) {
      const underWay = reader.refresh()
      const { lsn } = await store.upsert(kv, { k })
      const seen = await reader.refresh()
      expect(seen).toBeGreaterThanOrEqual(lsn)
      expect(await reader.has(kv, k)).toBe(true)
      await underWay
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
