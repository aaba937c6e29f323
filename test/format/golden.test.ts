// Stores kept from each released format (make.ts made them): they open, read-only and read-write, with every value they were written with, and go on being written.
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterEach, describe, expect, it } from 'vitest'

import { type Lsn, type ReadStore, Store, t, table, type WriteId } from '../../bindings/index.ts'
import { plain } from './values.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const QUIET = { upkeep: 'manual', threads: 0 } as const

interface Expected {
  readonly stores: Readonly<Record<string, { lsn: string; middle: string; atMiddle: Record<string, number>; staged: string }>>
  readonly tables: Readonly<Record<string, { key: readonly string[]; columns: unknown; rows: unknown[] }>>
}

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

async function copyOf(format: string, layout: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-golden-'))
  folders.push(folder)
  await cp(join(HERE, format, layout), folder, { recursive: true })
  return folder
}

/** Every file with its bytes. */
async function tree(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) found.set(path.slice(folder.length), (await readFile(path)).toString('base64'))
  }
  return found
}

const sorted = (rows: unknown[]): string[] => rows.map((row) => JSON.stringify(plain(row))).toSorted()

async function holds(store: ReadStore, { tables }: Expected): Promise<void> {
  const infos = await store.tables()
  expect(infos.map(({ name }) => name)).toEqual(Object.keys(tables))
  for (const info of infos) {
    const { key, columns, rows } = tables[info.name]!
    expect(info.key).toEqual(key)
    expect(plain(info.columns)).toEqual(columns)
    expect(info.rows).toBe(rows.length)
    const found = await store.scan(await store.table(info.name)).toArray()
    expect(sorted(found)).toEqual(rows.map((row) => JSON.stringify(row)).toSorted())
  }
}

describe.each(['v1'])('a store of format %s', (format) => {
  const expected = JSON.parse(readFileSync(join(HERE, format, 'expected.json'), 'utf8')) as Expected
  const layouts = Object.keys(expected.stores)

  it.each(layouts)('kept as %s: a read-only open shows every value, what is pending, and positions of before, and writes nothing', async (layout) => {
    const folder = await copyOf(format, layout)
    const { lsn, middle, atMiddle, staged } = expected.stores[layout]!
    const before = await tree(folder)
    const store = await Store.open(folder, { readOnly: true })
    try {
      expect(store.lsn >= BigInt(lsn)).toBe(true)
      await holds(store, expected)
      expect((await store.staged()).map(({ writeId, state }) => [writeId, state])).toEqual([[staged, 'sealed']])
      for (const [name, count] of Object.entries(atMiddle)) {
        const at = BigInt(middle) as Lsn
        expect(await store.scan(await store.table(name, at), { at }).count(), name).toBe(count)
      }
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
    } finally {
      await store.close()
    }
    expect(await tree(folder)).toEqual(before)
  })

  it.each(layouts)('kept as %s: a backup and what is restored from it have every value, and what is pending', async (layout) => {
    const folder = await copyOf(format, layout)
    const { staged } = expected.stores[layout]!
    const [target, restored] = [join(folder, '..', `${basename(folder)}-backup`), join(folder, '..', `${basename(folder)}-restored`)]
    folders.push(target, restored)
    const store = await Store.open(folder, { readOnly: true })
    const report = await store.backup(target)
    expect(report).toMatchObject({ lsn: store.lsn, pending: [staged], pendingLost: [] })
    await store.close()
    await Store.restore(target, restored)
    for (const place of [target, restored]) {
      const copy = await Store.open(place, { readOnly: true })
      try {
        await holds(copy, expected)
        expect((await copy.verify({ level: 'all' })).problems).toEqual([])
      } finally {
        await copy.close()
      }
    }
    const written = await Store.open(restored, QUIET)
    try {
      await (await written.resume(staged as WriteId)).publish()
      expect((await written.verify({ level: 'all' })).problems).toEqual([])
    } finally {
      await written.close()
    }
  })

  it.each(layouts)('kept as %s: a read-write open migrates it, keeps every value, and goes on with it', async (layout) => {
    const folder = await copyOf(format, layout)
    const { staged } = expected.stores[layout]!
    let store = await Store.open(folder, QUIET)
    try {
      expect(await readdir(folder)).toContain('FORMAT.2')
      await holds(store, expected)
      const notes = table('notes', { n: t.int32(), body: t.utf8() })
      const rows = await store.scan(notes).count()
      // Its idempotency keys are known, its staged write is published, its definitions change, its rows are rewritten.
      const again = Array.from({ length: 30 }, (_, i) => ({ n: i, body: `note ${i}` }))
      expect(await store.append(notes, again, { idempotencyKey: 'notes-1' })).toMatchObject({ replayed: true })
      await (await store.resume(staged as WriteId)).publish()
      const wider = table('notes', { n: t.int64(), body: t.utf8(), more: t.utf8().default('d') })
      await store.apply([wider])
      await store.flush()
      await store.close()
      store = await Store.open(folder, QUIET)
      const found = await store.scan(wider).toArray()
      expect(found).toHaveLength(rows + 1)
      expect(found.every((row) => row.more === 'd')).toBe(true)
      expect(found.filter((row) => row.body === 'staged')).toEqual([{ n: 100n, body: 'staged', more: 'd' }])
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
    } finally {
      await store.close()
    }
  })
})
