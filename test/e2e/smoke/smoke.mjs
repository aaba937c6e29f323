// The installed package, used as a stranger would: runs in a folder where `varve` is installed, on Node, Deno and Bun. Prints one JSON line of what it saw.
//
// No `await using` here: Node 22 does not parse it.
//
//   smoke.mjs               everything, with one worker thread
//   smoke.mjs load-only     one load that is large enough for the worker, so that its caller can take the worker's module away and see the load fail
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { and, columns, DuplicateKeyError, eq, gt, lsn, Store, t, table } from 'varve'

const LOADED = 60_000 // 8 + 8 + some 10 bytes a row: above what is encoded inline

const stations = table('stations', { id: t.int64(), name: t.utf8(), seen: t.timestamp(), level: t.float64().nullable() }, { key: ['id'] })
const row = (id, level = null) => ({ id, name: `station ${id}`, seen: new Date(1_700_000_000_000), level })

async function use(place) {
  const store = await Store.open(place, { threads: 1 })
  await store.create(stations)
  await store.append(stations, [row(1n, 0.5), row(2n)])
  const { lsn: before } = await store.upsert(stations, row(3n, 2.5))
  await store.upsert(stations, row(2n, 1.5))
  await assert.rejects(store.append(stations, row(1n)), DuplicateKeyError)
  assert.deepEqual(await store.get(stations, 2n), row(2n, 1.5))
  assert.equal(await store.get(stations, 99n), undefined)
  assert.equal((await store.get(stations, 2n, { at: before })).level, null)
  assert.equal(await store.scan(stations, { where: gt('level', 1) }).count(), 2)
  assert.equal((await store.scan(stations, { where: and(eq('name', 'station 3'), gt('level', 2)) }).toArray()).length, 1)
  await load(store)
  await store.flush()
  assert.equal(await store.scan(stations).count(), LOADED + 3)
  const arrow = await store.scan(stations, { select: ['id'], where: gt('level', 0) }).toArrow()
  assert.equal(arrow.numRows, 3)
  const snapshot = await store.snapshot()
  assert.equal(snapshot.getSync(stations, 1n).level, 0.5)
  await snapshot[Symbol.asyncDispose]()
  return { store, before }
}

async function load(store) {
  const id = BigInt64Array.from({ length: LOADED }, (_, i) => BigInt(i + 10))
  const seen = new Float64Array(LOADED).fill(1_700_000_000_000)
  const { rows } = await store.append(
    stations,
    columns({ id, name: Array.from(id, (n) => `station ${n}`), seen: Array.from(seen), level: Array.from(id, () => null) }),
  )
  assert.equal(rows, LOADED)
}

async function throughDirectory(folder) {
  const { store, before } = await use(folder)
  const head = store.lsn
  await store.close()
  const reopened = await Store.open(folder, { create: 'never' })
  assert.ok(reopened.lsn >= head)
  assert.deepEqual(await reopened.get(stations, 2n), row(2n, 1.5))
  assert.equal(await reopened.scan(stations, { at: lsn(before) }).count(), 3)
  assert.equal(await reopened.scan(stations).count(), LOADED + 3)
  assert.equal((await reopened.verify({ level: 'all' })).ok, true)
  await reopened.close()
}

const folder = mkdtempSync(join(tmpdir(), 'varve-smoke-'))
try {
  if (process.argv[2] === 'load-only') {
    const store = await Store.open('memory:', { threads: 1 })
    await store.create(stations)
    await load(store)
    await store.close()
  } else {
    const { store } = await use('memory:')
    await store.close()
    await throughDirectory(join(folder, 'store'))
  }
  const runtime = globalThis.Deno !== undefined ? 'deno' : globalThis.Bun !== undefined ? 'bun' : 'node'
  console.log(JSON.stringify({ runtime, version: process.versions[runtime] ?? process.version, from: import.meta.resolve('varve'), rows: LOADED + 3 }))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
