// The format of a store at its open (recovery.md section 14): which are read, which are refused, and that a migration cut anywhere, or run by two, comes to its end.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { describe, expect, it } from 'vitest'

import { CorruptionError, Store, StoreTooNewError, StoreTooOldError, t, table } from '../../../bindings/index.ts'
import { FORMATS, type Identity } from '../../../bindings/log/index.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FakeFiles, failpoints, fakeWorld, FP } from '../../../bindings/testing/index.ts'
import { formatOf, migrate, type Migration } from '../../../bindings/store/migrations.ts'
import { failure, opened, QUIET } from './places.ts'

const notes = table('notes', { n: t.int32(), body: t.utf8() })
const V1 = fileURLToPath(new URL('../../format/v1/', import.meta.url))

/** A kept store of format 1 in memory. */
async function kept(layout: 'segments' | 'slots'): Promise<MemoryRoot> {
  const root = new MemoryRoot()
  const folder = join(V1, layout)
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) await root.put(path.slice(folder.length + 1).replaceAll('\\', '/'), Uint8Array.from(readFileSync(path)))
  }
  return root
}

async function namesOf(root: MemoryRoot, prefix = ''): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of root.list('')) if (name.startsWith(prefix)) names.push(name)
  return names.toSorted()
}

/** A store whose VARVE states another format. */
async function stating(format: number): Promise<MemoryRoot> {
  const root = new MemoryRoot()
  await (await Store.open(root, QUIET)).close()
  const text = new TextDecoder().decode((await root.get('VARVE')).bytes)
  await root.put('VARVE', new TextEncoder().encode(text.replace(/"format": \d+/, `"format": ${format}`)))
  return root
}

describe('open of formats min-1, min, max, max+1', () => {
  it('min-1: StoreTooOldError, with the way out by export and import', async () => {
    const root = await stating(FORMATS.min - 1)
    for (const o of [{}, { readOnly: true as const }]) {
      const error = await failure(() => Store.open(root, { ...QUIET, ...o }))
      expect(error).toBeInstanceOf(StoreTooOldError)
      expect(error).toMatchObject({ found: FORMATS.min - 1, supported: FORMATS, hint: expect.stringMatching(/export.*import/) })
    }
  })

  it('min: migrated by a read-write open, read as it is by a read-only one', async () => {
    const root = await kept('slots')
    const reader = await Store.open(root, { readOnly: true })
    expect(await reader.scan(notes).count()).toBe(30)
    await reader.close()
    expect(await namesOf(root, 'FORMAT.')).toEqual([])
    const store = await opened(root)
    expect(await store.scan(notes).count()).toBe(30)
    expect(await namesOf(root, 'FORMAT.')).toEqual(['FORMAT.2'])
  })

  it('max: opened, and nothing stamped', async () => {
    const root = new MemoryRoot()
    await (await Store.open(root, QUIET)).close()
    await (await Store.open(root, QUIET)).close()
    expect(JSON.parse(new TextDecoder().decode((await root.get('VARVE')).bytes))).toMatchObject({ format: FORMATS.max })
    expect(await namesOf(root, 'FORMAT.')).toEqual([])
  })

  it('max+1: StoreTooNewError, whether it was made so or migrated to it', async () => {
    const made = await stating(FORMATS.max + 1)
    const migrated = new MemoryRoot()
    const { id } = await Store.open(migrated, QUIET).then(async (store) => {
      await store.close()
      return store
    })
    const identity: Identity = { format: FORMATS.max, storeId: id, createdMs: 0, attempt: '', log: 'segments' }
    await migrate(migrated, fakeWorld({ files: new FakeFiles() }), identity, [{ to: FORMATS.max + 1, run: async () => undefined }])
    for (const root of [made, migrated]) {
      for (const o of [{}, { readOnly: true as const }]) expect(await failure(() => Store.open(root, { ...QUIET, ...o }))).toBeInstanceOf(StoreTooNewError)
    }
  })

  it('a stamp that is damaged, or of another store, is an error and not a format', async () => {
    const root = await kept('slots')
    await root.put('FORMAT.2', new TextEncoder().encode('{"format":2}'))
    expect(await failure(() => Store.open(root, QUIET))).toBeInstanceOf(CorruptionError)
  })
})

it('read-only open migrates nothing: not a byte changes', async () => {
  for (const layout of ['segments', 'slots'] as const) {
    const root = await kept(layout)
    const before = await namesOf(root)
    const reader = await Store.open(root, { readOnly: true })
    expect((await reader.tables()).length).toBe(5)
    await reader.close()
    expect(await namesOf(root)).toEqual(before)
  }
})

it('two concurrent migrating openers: both open the store, which is stamped once', async () => {
  const root = await kept('slots')
  const [one, two] = await Promise.all([opened(root), opened(root)])
  await one.append(notes, { n: 1000, body: 'one' })
  await two.append(notes, { n: 1001, body: 'two' })
  await one.refresh()
  expect(await one.scan(notes).count()).toBe(32)
  expect(await namesOf(root, 'FORMAT.')).toEqual(['FORMAT.2'])
})

describe('several migrations', () => {
  const identity: Identity = { format: 1, storeId: 'ab'.repeat(16), createdMs: 0, attempt: '', log: 'segments' }
  const steps = (ran: number[]): Migration[] =>
    [2, 3, 4].map((to) => ({
      to,
      run: async (root) => {
        ran.push(to)
        await root.put(`work-${to}`, Uint8Array.of(to))
      },
    }))
  const MAX4 = { min: 1, max: 4 }

  it('run in order, each before its stamp, once', async () => {
    const root = new MemoryRoot()
    const world = fakeWorld({ files: new FakeFiles() })
    const ran: number[] = []
    await migrate(root, world, identity, steps(ran))
    await migrate(root, world, identity, steps(ran))
    expect(ran).toEqual([2, 3, 4])
    expect(await namesOf(root)).toEqual(['FORMAT.2', 'FORMAT.3', 'FORMAT.4', 'work-2', 'work-3', 'work-4'])
    expect(await formatOf(root, identity, MAX4)).toBe(4)
  })

  it.each([
    [FP.open.beforeMigrate, 0, 1],
    [FP.open.betweenMigrations, 0, 2],
    [FP.open.betweenMigrations, 1, 3],
  ] as const)('a crash at %s (arrival %i) leaves format %i, and the next open goes on from there', async (point, after, format) => {
    const root = new MemoryRoot()
    const world = fakeWorld({ files: new FakeFiles() })
    using armed = failpoints(world).arm(point, { crash: true, after })
    migrate(root, world, identity, steps([])).catch(() => undefined)
    await armed.reached()
    expect(await formatOf(root, identity, MAX4)).toBe(format)
    await migrate(root, fakeWorld({ files: new FakeFiles() }), identity, steps([]))
    expect(await formatOf(root, identity, MAX4)).toBe(4)
  })

  it('an opener that died between a migration and its stamp has it run again', async () => {
    const root = new MemoryRoot()
    const world = fakeWorld({ files: new FakeFiles() })
    const ran: number[] = []
    const failing: Migration[] = steps(ran).map((one) => (one.to === 3 ? { to: 3, run: () => Promise.reject(new Error('died')) } : one))
    await expect(migrate(root, world, identity, failing)).rejects.toThrow('died')
    await migrate(root, world, identity, steps(ran))
    expect(ran).toEqual([2, 3, 4])
    await Promise.all([1, 2, 3].map(() => migrate(new MemoryRoot(), world, identity, steps([]))))
  })
})
