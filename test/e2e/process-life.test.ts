// What an open store does to the life of its process: it never keeps it alive, and a caller that waits is not left behind.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { afterAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'varve-life-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const entry = fileURLToPath(new URL('../../bindings/index.ts', import.meta.url))
const run = promisify(execFile)

async function program(name: string, body: string): Promise<string> {
  const file = join(directory, `${name}.ts`)
  writeFileSync(
    file,
    `import { Store, t, table } from ${JSON.stringify(entry)}
const items = table('items', { id: t.int32(), n: t.int32() }, { key: ['id'] })
const place = ${JSON.stringify(join(directory, name))}
${body}`,
  )
  const { stdout } = await run(process.execPath, [file], { timeout: 60_000 })
  return stdout.trim()
}

describe('the process of an open store', () => {
  it('ends when its program ends, whatever is still open: handles, threads, snapshots, feeds that wait, followers', async () => {
    const told = await program(
      'forgotten',
      `const store = await Store.open(place, { threads: 2 })
await store.create(items)
await store.append(items, { id: 1, n: 1 })
await store.flush()
const snapshot = await store.snapshot()
const reader = await Store.open(place, { readOnly: true })
store.changes({ tables: [items] }).next().catch(() => {})
reader.changes().next().catch(() => {})
console.log(snapshot.getSync(items, 1).n)`,
    )
    expect(told).toBe('1')
  })

  it('stays for a transaction that backs off before it runs again', async () => {
    const told = await program(
      'patient',
      `const store = await Store.open(place, { threads: 0 })
await store.create(items)
await store.append(items, { id: 1, n: 1 })
const attempts = await store.transact(async (tx) => {
  const row = await tx.get(items, 1)
  if (tx.attempt < 3) await store.upsert(items, { id: 1, n: row.n + 1 })
  tx.upsert(items, { id: 1, n: row.n * 10 })
  return tx.attempt
})
console.log(attempts, (await store.get(items, 1)).n)`,
    )
    expect(told).toBe('3 40')
  })

  it('stays for a load on worker threads and for writers that wait for a flush', async () => {
    const told = await program(
      'loading',
      `const store = await Store.open(place, { threads: 1, memory: { writeBytes: 65536 } })
await store.create(items)
await store.append(items, Array.from({ length: 100_000 }, (_, id) => ({ id, n: 0 })))
for (let id = 200_000; id < 203_000; id++) await store.append(items, { id, n: 1 })
await store.close()
console.log('closed')`,
    )
    expect(told).toBe('closed')
  })

  it('keeps what `using` queued, though the program ends at once', async () => {
    const told = await program(
      'hasty',
      `{
  using store = await Store.open(place, { threads: 0 })
  await store.create(items)
  for (let id = 0; id < 100; id++) store.append(items, { id, n: id }).catch(() => {})
}
{
  await using store = await Store.open(place)
  console.log(await store.scan(items).count())
}`,
    )
    expect(told).toBe('100')
  })
})
