// A flush wrote deletion vectors for older fragments and compared them, at its end, with objects that many upserts had replaced meanwhile: the record
// contradicted the state, the flush was in the log but not in the catalog, and the next group failed to fold.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, it } from 'vitest'

import { Store, t, table } from '../../bindings/index.ts'

const counters = table('counters', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const FRAGMENTS = 4
const ROWS_EACH = 6000
const ROWS = FRAGMENTS * ROWS_EACH

it('keeps every row when thousands of stored rows are replaced while flushes run', async () => {
  const root = mkdtempSync(join(tmpdir(), 'varve-regress-'))
  try {
    await using store = await Store.open(root, { upkeep: 'manual' })
    await store.create(counters)
    for (let f = 0; f < FRAGMENTS; f++) {
      await store.append(
        counters,
        Array.from({ length: ROWS_EACH }, (_, i) => ({ id: f * ROWS_EACH + i, n: 0 })),
      )
      await store.flush()
    }
    // Each upsert hides a row of a fragment inline: enough for vectors, and for histories to be cut short while flushes are under way.
    let next = 0
    let running = true
    const flushing = (async () => {
      while (running) {
        await store.flush()
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await Promise.all(
      Array.from({ length: 128 }, async () => {
        while (next < ROWS) {
          const i = next++
          await store.upsert(counters, { id: (i % FRAGMENTS) * ROWS_EACH + Math.floor(i / FRAGMENTS), n: 1 })
        }
      }),
    )
    running = false
    await flushing
    expect(await store.scan(counters).aggregate({ rows: 'count', n: { sum: 'n' } })).toEqual({ rows: ROWS, n: ROWS })
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
