import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import { describe, expect, it } from 'vitest'

import { DirRoot, errnoOf, MemoryRoot, openRoot, probeRoot, toStorageError } from '../../../bindings/root/index.ts'
import { defaultWorld, FailpointRegistry, FP } from '../../../bindings/runtime/index.ts'
import { FakeFiles, fakeWorld, FaultyRoot } from '../../../bindings/testing/index.ts'

const world = defaultWorld()

describe('openRoot', () => {
  it('opens directories by path and URL, memory by name, and takes a root as it is', async () => {
    const path = await mkdtemp(join(tmpdir(), 'varve-open-'))
    try {
      for (const place of [path, `${path}/`, pathToFileURL(path), pathToFileURL(path).href]) {
        const root = await openRoot(place, world)
        expect(root).toBeInstanceOf(DirRoot)
        expect(root.url).toBe(pathToFileURL(path).href)
        await root.put('x', new Uint8Array(1))
      }
      expect(((await openRoot('relative/folder', world)) as DirRoot).path).toBe(`${process.cwd()}/relative/folder`)
    } finally {
      await rm(path, { recursive: true })
    }
    const root = new MemoryRoot()
    expect(await openRoot(root, world)).toBe(root)
    await (await openRoot('memory:shared-name', world)).put('x', new Uint8Array([4]))
    expect((await (await openRoot('memory:shared-name', world)).get('x')).bytes).toEqual(new Uint8Array([4]))
    expect(await (await openRoot('memory:other-name', world)).head('x')).toBeUndefined()
    await (await openRoot('memory:', world)).put('x', new Uint8Array(1))
    expect(await (await openRoot('memory:', world)).head('x')).toBeUndefined()
  })

  it('names the scheme it has no root for', async () => {
    for (const [place, feature] of [
      ['s3://bucket/prefix', 's3'],
      ['gs://bucket', 'gs'],
      [new URL('https://example.com'), 'https'],
    ] as const) {
      await expect(openRoot(place, world)).rejects.toMatchObject({ code: 'root.unsupported', feature })
    }
  })

  it('probes what can be probed', async () => {
    expect((await probeRoot(new MemoryRoot())).hardLink).toBe(true)
    const files = new FakeFiles()
    expect((await probeRoot(new DirRoot('/data/s', fakeWorld({ files })))).syncDir).toBe(true)
    expect(files.paths()).toEqual([])
    files.plan((call) => (call.op === 'syncDir' ? { error: 'EIO' } : undefined))
    await expect(probeRoot(new DirRoot('/data/t', fakeWorld({ files })))).rejects.toMatchObject({ class: 'io' })
  })
})

describe('errors', () => {
  it('take their class from the errno of the error or its cause', () => {
    const errno = (code: string): Error => Object.assign(new Error('x'), { code })
    const classes: Record<string, string> = {
      ENOENT: 'notFound',
      EEXIST: 'exists',
      EROFS: 'permission',
      EDQUOT: 'space',
      ETIMEDOUT: 'timeout',
      ENFILE: 'unavailable',
      ENOSYS: 'unsupported',
      EIO: 'io',
      EWHAT: 'io',
    }
    for (const [code, cls] of Object.entries(classes)) expect(toStorageError('op', 'n', errno(code))).toMatchObject({ class: cls, op: 'op' })
    expect(toStorageError('op', 'n', new Error('x', { cause: errno('ENOSPC') }))).toMatchObject({ class: 'space' })
    expect(toStorageError('op', 'n', new Error('ENOENT in the text'))).toMatchObject({ class: 'io' })
    const range = new RangeError('far')
    expect(toStorageError('op', 'n', range)).toBe(range)
    expect(errnoOf('text')).toBeUndefined()
  })
})

describe('FaultyRoot', () => {
  it('fails the k-th call, before or after its effect, and counts all', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    root.failAt(2, { error: 'io' })
    await root.put('a', new Uint8Array(1))
    await expect(root.put('b', new Uint8Array(1))).rejects.toMatchObject({ class: 'io' })
    await root.put('c', new Uint8Array(1))
    root.failAt(1, { error: 'timeout', when: 'after' }, (call) => call.method === 'putIfAbsent')
    await expect(root.putIfAbsent('d', new Uint8Array([7]))).rejects.toMatchObject({ class: 'timeout' })
    expect(await root.putIfAbsent('d', new Uint8Array([8]))).toEqual({ status: 'exists' })
    expect(root.getSync('d').bytes).toEqual(new Uint8Array([7]))
    expect(root.calls.map(({ method, name }) => `${method} ${name}`)).toEqual(['put a', 'put b', 'put c', 'putIfAbsent d', 'putIfAbsent d', 'get d'])
    expect(await root.head('b')).toBeUndefined()
    root.plan((call) => (call.method === 'list' ? { error: 'unavailable', when: 'after' } : undefined))
    const seen: string[] = []
    await expect(
      (async () => {
        for await (const { name } of root.list('')) seen.push(name)
      })(),
    ).rejects.toMatchObject({ class: 'unavailable' })
    expect(seen).toEqual(['a', 'c', 'd'])
  })

  it('tears segment writes, fails syncs for good, and parks calls', async () => {
    const root = new FaultyRoot(new MemoryRoot())
    const segment = await root.segment('s', { preallocate: 10 })
    const write = (): Promise<void> =>
      new Promise((resolve, reject) => segment.write(0, new Uint8Array(8).fill(1), (error) => (error === null ? resolve() : reject(error))))
    root.failAt(1, { error: 'space', when: 'half' }, (call) => call.method === 'segment.write')
    await expect(write()).rejects.toMatchObject({ class: 'space' })
    expect([...root.getSync('s').bytes]).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    root.failAt(1, { error: 'io' }, (call) => call.method === 'segment.datasync')
    expect(() => segment.datasyncSync()).toThrow(expect.objectContaining({ class: 'io' }))
    root.plan(undefined)
    expect(() => segment.datasyncSync()).toThrow(expect.objectContaining({ class: 'io' }))
    let release = (): void => {}
    const parked = new Promise<void>((resolve) => (release = resolve))
    root.plan((call) => (call.method === 'segment.write' ? { wait: () => parked } : undefined))
    let done = false
    const writing = write().then(() => (done = true))
    await root.head('s')
    expect(done).toBe(false)
    release()
    await writing
    expect([...root.getSync('s').bytes.subarray(0, 8)]).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
  })

  it('passes its calls by the failpoints of a world', async () => {
    const failpoints = new FailpointRegistry()
    const root = new FaultyRoot(new MemoryRoot(), { failpoints })
    using _ = failpoints.arm(FP.root.put, { error: 'permission', when: (context) => context['name'] === 'secret' })
    await root.put('open', new Uint8Array(1))
    await expect(root.put('secret', new Uint8Array(1))).rejects.toMatchObject({ code: 'root.permission' })
  })
})
