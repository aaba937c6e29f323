// Fault cases of a local root (roots.md section 6, last row; section 3): an error or a stop at every single call of every operation.
import { describe, expect, it } from 'vitest'

import { StorageError, type StorageErrorClass } from '../../../bindings/errors.ts'
import { DirRoot, type Root } from '../../../bindings/root/index.ts'
import { FakeFiles, fakeWorld, patterned } from '../../../bindings/testing/index.ts'

const OLD = patterned(9000, 1)
const NEW = patterned(11_000, 2)
const PATHS = ['a/old', 'a/new', 'deep/er/new', 'deep/er/moved', 'log/1.wal']

/** Each changes the root from the same start; `made` are the names it may give and what is then there, `gone` those it may take away. */
const OPERATIONS: Record<string, { run: (root: Root) => Promise<unknown>; made: Record<string, Uint8Array>; gone?: string[] }> = {
  'put new': { run: (root) => root.put('deep/er/new', NEW), made: { 'deep/er/new': NEW } },
  'put over': { run: (root) => root.put('a/old', NEW), made: { 'a/old': NEW } },
  putSync: { run: async (root) => root.putSync('deep/er/new', NEW), made: { 'deep/er/new': NEW } },
  'putIfAbsent new': { run: (root) => root.putIfAbsent('deep/er/new', NEW), made: { 'deep/er/new': NEW } },
  'putIfAbsent taken': { run: (root) => root.putIfAbsent('a/old', NEW), made: {} },
  putLarge: { run: (root) => root.putLarge('deep/er/new', parts(NEW)), made: { 'deep/er/new': NEW } },
  link: { run: (root) => root.link('a/old', 'deep/er/new'), made: { 'deep/er/new': OLD } },
  rename: { run: (root) => root.rename('a/old', 'deep/er/moved'), made: { 'deep/er/moved': OLD }, gone: ['a/old'] },
  segment: { run: async (root) => (await root.segment('log/1.wal', { preallocate: 10_000 })).close(), made: { 'log/1.wal': new Uint8Array(10_000) } },
  delete: { run: (root) => root.delete(['a/old', 'never']), made: {}, gone: ['a/old'] },
  deletePrefix: { run: (root) => root.deletePrefix('a'), made: {}, gone: ['a/old'] },
}

const ERRNOS: readonly (readonly [errno: string, cls: StorageErrorClass])[] = [
  ['ENOSPC', 'space'],
  ['EIO', 'io'],
  ['EACCES', 'permission'],
  ['EMFILE', 'unavailable'],
]

describe('an error at any call of the file system', () => {
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    for (const [errno, cls] of ERRNOS) {
      for (const effect of ['none', 'half', 'whole'] as const) {
        it(`${name}: ${errno} (effect: ${effect}) is a StorageError ${cls} and leaves whole objects`, async () => {
          let faults = 0
          for (let k = 1; ; k++) {
            const { files, root } = await start()
            files.failAt(k, { error: errno, effect })
            const error = await operation.run(root).then(
              () => undefined,
              (thrown: unknown) => thrown,
            )
            const struck = files.calls.at(-1)
            files.plan(undefined)
            await isWhole(root, operation.made, operation.gone, `call ${k}`)
            expect(files.openHandles, `open handles after call ${k}`).toBe(0)
            if (error === undefined) {
              if (k > faults + 4) break // all calls walked; a few may fail without harm (removing a temporary name, a foreign parent)
              continue
            }
            faults++
            expect(error, `call ${k}: ${JSON.stringify(struck)}`).toBeInstanceOf(StorageError)
            expect((error as StorageError).class, `call ${k}`).toBe(cls)
            expect((error as StorageError).cause, `call ${k}`).toMatchObject({ code: errno })
            // The same call on the same root works once the cause is gone, or finds what the failed one left whole.
            await operation.run(root).catch((again: unknown) => expect(['exists', 'notFound']).toContain((again as StorageError).class))
            await isWhole(root, operation.made, operation.gone, `after trying again, call ${k}`)
          }
          expect(faults).toBeGreaterThan(1)
        })
      }
    }
  }
})

describe('a stop of the process at any call of the file system', () => {
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    it(`${name}: killed or cut off from power, the next open finds whole objects and can go on`, async () => {
      for (let k = 1; ; k++) {
        const { files, root } = await start()
        files.stopAt(k)
        const done = await operation.run(root).then(
          () => true,
          () => false,
        )
        if (done && !files.stopped) break
        const images = [files.restart(), ...Array.from({ length: 12 }, (_, seed) => files.image(k * 100 + seed))]
        for (const [i, image] of images.entries()) {
          const after = new DirRoot('/data/store', fakeWorld({ files: image, seed: 9 }))
          await isWhole(after, operation.made, operation.gone, `call ${k}, image ${i}`)
          const error = await operation.run(after).then(
            () => undefined,
            (again: unknown) => again as StorageError,
          )
          if (error !== undefined) expect(['exists', 'notFound']).toContain(error.class)
          if (error?.class === 'notFound') continue // the rename had happened: nothing was acknowledged twice
          // What the second run acknowledged survives its own power cut, whatever the first run left unsynced.
          for (let seed = 0; seed < 4; seed++) {
            const last = new DirRoot('/data/store', fakeWorld({ files: image.image(seed) }))
            for (const [path, bytes] of Object.entries(operation.made)) expect((await last.get(path)).bytes, `call ${k}, image ${i}: ${path}`).toEqual(bytes)
            for (const path of operation.gone ?? []) expect(await last.head(path), `call ${k}, image ${i}: ${path}`).toBeUndefined()
          }
        }
      }
    })
  }
})

describe('what a failed call says and does not do', () => {
  it('reads report permission and I/O errors, never notFound', async () => {
    for (const [errno, cls] of ERRNOS.filter(([, kind]) => kind !== 'space')) {
      for (let k = 1; k < 12; k++) {
        for (const run of [
          (root: Root) => root.get('a/old'),
          async (root: Root) => root.getSync('a/old'),
          (root: Root) => root.head('a/old'),
          (root: Root) => root.exists('a'),
          (root: Root) => root.hold('a/old').then((held) => held.close()),
          async (root: Root) => {
            for await (const _ of root.list('')) void _
          },
        ]) {
          const { files, root } = await start()
          files.failAt(k, { error: errno }, (call) => call.op !== 'close')
          await run(root).catch((error: unknown) => expect((error as StorageError).class, `${errno} at ${k}`).toBe(cls))
          expect(files.openHandles).toBe(0)
        }
      }
    }
  })

  it('does not sync a segment again after a failed sync', async () => {
    const { files, root } = await start()
    const segment = await root.segment('log/1.wal', { preallocate: 8192 })
    segment.writeSync(0, NEW.subarray(0, 100))
    files.failAt(1, { error: 'EIO' }, (call) => call.op === 'datasync')
    await expect(new Promise((resolve, reject) => segment.datasync((error) => (error === null ? resolve(undefined) : reject(error))))).rejects.toMatchObject({
      class: 'io',
    })
    files.plan(undefined)
    const before = files.calls.length
    expect(() => segment.datasyncSync()).toThrow(expect.objectContaining({ class: 'io' }))
    await expect(new Promise((resolve, reject) => segment.datasync((error) => (error === null ? resolve(undefined) : reject(error))))).rejects.toMatchObject({
      class: 'io',
    })
    expect(files.calls.length).toBe(before)
    await segment.close()
  })

  it('sweeps what killed writers left behind, and nothing else', async () => {
    const { files } = await start()
    files.failAt(1, { error: 'EIO' }, (call) => call.op === 'unlink')
    for (let k = 1; k < 12; k++) {
      const killed = files.restart()
      killed.stopAt(k + 2)
      await new DirRoot('/data/store', fakeWorld({ files: killed, seed: k })).put(`k/${k}`, NEW).catch(() => {})
    }
    const after = files.restart()
    const root = new DirRoot('/data/store', fakeWorld({ files: after, seed: 99 }))
    await root.put('mine.tmp', NEW)
    await root.put('.mine.1.tmp', NEW)
    const temporary = (): string[] => after.paths().filter((path) => /\.1-[0-9a-z]+-\d+\.tmp$/.test(path))
    const left = temporary().length
    expect(left).toBeGreaterThan(2)
    expect(await root.sweepTemporary(1)).toEqual({ deleted: 0 })
    expect(await root.sweepTemporary(5e12)).toEqual({ deleted: left })
    expect(temporary()).toEqual([])
    expect((await root.get('mine.tmp')).bytes).toEqual(NEW)
    expect((await root.get('.mine.1.tmp')).bytes).toEqual(NEW)
    expect((await root.get('a/old')).bytes).toEqual(OLD)
  })

  it('takes the empty folder of a staged write that a killed process left, when it is old, and no other', async () => {
    const { files } = await start()
    for (const dir of ['staging', 'staging/one', 'staging/two', 'other', 'other/three']) await files.mkdir(`/data/store/${dir}`)
    const root = new DirRoot('/data/store', fakeWorld({ files }))
    await root.put('staging/two/INTENT', NEW)
    expect(await root.sweepTemporary(1)).toEqual({ deleted: 0 })
    expect(await root.sweepTemporary(5e12)).toEqual({ deleted: 1 })
    await expect(files.stat('/data/store/staging/one')).rejects.toMatchObject({ code: 'ENOENT' })
    expect((await files.stat('/data/store/other/three')).isDirectory).toBe(true)
    expect((await root.get('staging/two/INTENT')).bytes).toEqual(NEW)
  })

  it('lists go on while files and folders vanish', async () => {
    const { files, root } = await start()
    for (let i = 0; i < 100; i++) await root.put(`v/${i % 5}/${i}`, new Uint8Array(1), { sync: false })
    const seen: string[] = []
    for await (const { name } of root.list('v')) {
      seen.push(name)
      if (seen.length === 10) await root.deletePrefix('v/2')
      if (seen.length === 30) await root.deletePrefix('v')
    }
    expect(seen.length).toBeGreaterThanOrEqual(30)
    expect(seen.length).toBeLessThan(80)
    expect(files.openHandles).toBe(0)
  })

  it('reads only the folders that a listing reaches', async () => {
    const { files, root } = await start()
    for (const name of ['CLEAN', 'LOCK.7', 'NODE', 'fragments/ab/1', 'fragments/cd/2', 'log/1', 'log/2', 'staging/x/y']) await root.put(name, new Uint8Array(1))
    const folders = async (prefix: string, after: string, until: (name: string) => boolean): Promise<string[]> => {
      const from = files.calls.length
      for await (const { name } of root.list(prefix, { after })) if (until(name)) break
      return files.calls.slice(from).flatMap((call) => (call.op === 'readdir' ? [call.path.slice('/data/store'.length)] : []))
    }
    expect(await folders('', 'LOCK.', (name) => !name.startsWith('LOCK.'))).toEqual([''])
    expect(await folders('', 'log/1', (name) => name === 'log/2')).toEqual(['', '/log'])
    expect(await folders('fragments', 'fragments/b', () => false)).toEqual(['/fragments', '/fragments/cd'])
  })

  it('settles a folder again that another process made after ours was removed', async () => {
    const { files, root } = await start()
    await root.deletePrefix('a')
    await files.mkdir('/data/store/a') // and killed before the sync
    await root.put('a/new', NEW)
    for (let seed = 0; seed < 8; seed++) {
      const after = new DirRoot('/data/store', fakeWorld({ files: files.image(seed) }))
      expect((await after.get('a/new')).bytes).toEqual(NEW)
    }
  })

  it('refuses create-if-absent without hard links unless held alone', async () => {
    const { files, root } = await start()
    files.plan((call) => (call.op === 'link' ? { error: 'EPERM' } : undefined))
    expect((await root.probe()).hardLink).toBe(false)
    await expect(root.putIfAbsent('x', NEW)).rejects.toMatchObject({ code: 'root.unsupported', feature: 'hard-link' })
    await expect(root.link('a/old', 'x')).rejects.toMatchObject({ code: 'root.unsupported', feature: 'hard-link' })
    expect(files.paths().filter((path) => path.endsWith('.tmp'))).toEqual([])
    await root.put('x', NEW)
  })

  it('goes on where directories cannot be synced, and says so', async () => {
    const files = new FakeFiles()
    files.plan((call) => (call.op === 'syncDir' ? { error: 'ENOTSUP' } : undefined))
    const root = new DirRoot('/data/store', fakeWorld({ files }))
    expect((await root.probe()).syncDir).toBe(false)
    await root.put('a/b', NEW)
    expect((await root.get('a/b')).bytes).toEqual(NEW)
  })

  it('puts an object over a folder only when that holds none', async () => {
    const { root } = await start()
    await expect(root.put('a', NEW)).rejects.toMatchObject({ class: 'unsupported' })
    await expect(root.putIfAbsent('a', NEW)).rejects.toMatchObject({ class: 'unsupported' })
    await expect(root.put('a/old/below', NEW)).rejects.toMatchObject({ class: 'unsupported' })
    await expect(root.rename('a/old', 'a')).rejects.toMatchObject({ class: 'unsupported' })
    await root.delete('a/old')
    await root.put('a', NEW)
  })

  it('keeps descriptors of immutable objects, and lets go of them when something is deleted', async () => {
    const { files, root } = await start()
    for (let i = 0; i < 100; i++) await root.put(`frag/${i}`, patterned(100, i))
    for (let round = 0; round < 2; round++)
      for (let i = 0; i < 100; i++) expect((await root.get(`frag/${i}`, { immutable: true })).bytes).toEqual(patterned(100, i))
    expect(files.openHandles).toBe(64)
    const opens = files.calls.filter((call) => call.op === 'open').length
    expect(root.getSync('frag/99', { immutable: true, range: { start: 1, end: 3 } }).bytes).toEqual(patterned(100, 99).subarray(1, 3))
    expect(files.calls.filter((call) => call.op === 'open').length).toBe(opens)
    const reading = root.get('frag/99', { immutable: true })
    await root.delete('frag/99')
    await reading
    await expect(root.get('frag/99', { immutable: true })).rejects.toMatchObject({ class: 'notFound' })
    await root[Symbol.asyncDispose]()
    expect(files.openHandles).toBe(0)
  })
})

async function start(): Promise<{ files: FakeFiles; root: DirRoot }> {
  const files = new FakeFiles()
  await new DirRoot('/data/store', fakeWorld({ files })).put('a/old', OLD)
  return { files, root: new DirRoot('/data/store', fakeWorld({ files, seed: 2 })) }
}

/** Every name of the operation is as before or as after; nothing else is listed. */
async function isWhole(root: Root, made: Record<string, Uint8Array>, gone: string[] | undefined, when: string): Promise<void> {
  const listed: string[] = []
  for await (const { name } of root.list('')) listed.push(name)
  for (const name of listed) {
    expect(PATHS, when).toContain(name)
    const { bytes } = await root.get(name)
    const legal = [...(name === 'a/old' ? [OLD] : []), ...(made[name] === undefined ? [] : [made[name]])]
    expect(
      legal.some((expected) => same(expected, bytes)),
      `${when}: ${name} is whole`,
    ).toBe(true)
  }
  if (gone?.includes('a/old') !== true) expect(listed, when).toContain('a/old')
  else if (!listed.includes('a/old')) for (const name of Object.keys(made)) expect(listed, when).toContain(name) // a rename loses nothing
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

async function* parts(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 3000) yield bytes.subarray(at, at + 3000)
}
