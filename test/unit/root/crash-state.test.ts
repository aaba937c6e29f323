// The crash model: what POSIX promises survives, and every other part may be lost by itself.

import { describe, expect, it } from 'vitest'

import { CRASH_MODEL, type CrashModel, STRICT_MODEL } from '../../../bindings/root/index.ts'
import { FakeFiles } from '../../../bindings/testing/index.ts'

const bytes = (n: number, value: number): Uint8Array => new Uint8Array(n).fill(value)

function create(files: FakeFiles, path: string, content: Uint8Array, sync = false): void {
  const handle = files.openSync(path, 'wx')
  handle.writeSync(0, content)
  if (sync) handle.datasyncSync()
  handle.closeSync()
}

/** A file as a text: runs of equal bytes. */
function show(content: Uint8Array | undefined): string {
  if (content === undefined) return '-'
  const runs: string[] = []
  for (let i = 0; i < content.length;) {
    let end = i
    while (content[end] === content[i]) end++
    runs.push(`${content[i]}x${end - i}`)
    i = end
  }
  return runs.join(' ') || 'empty'
}

/** All states after a crash now, as texts of the files asked for. */
function states(files: FakeFiles, paths: readonly string[], model: CrashModel): string[] {
  const found = new Set<string>()
  const all = files.record().at(0).enumerate(5000, model)
  for (;;) {
    const next = all.next()
    if (next.done === true) {
      expect(next.value.whole).toBe(true)
      return [...found].sort()
    }
    found.add(paths.map((path) => show(next.value.contents(path))).join(' | '))
  }
}

describe('names', () => {
  it('are not kept by a sync of the file, nor is the file by a sync of the name', () => {
    const files = new FakeFiles()
    create(files, '/data/a', bytes(10, 1), true)
    create(files, '/data/b', bytes(10, 1))
    expect(states(files, ['/data/a'], STRICT_MODEL)).toEqual(['-', '1x10'])
    files.syncDirSync('/data')
    expect(states(files, ['/data/a', '/data/b'], CRASH_MODEL)).toEqual(['1x10 | 1x10', '1x10 | empty'])
  })

  it('go with a directory that was not synced into its parent', () => {
    const files = new FakeFiles()
    files.mkdirSync('/data/d')
    create(files, '/data/d/a', bytes(10, 1), true)
    files.syncDirSync('/data/d')
    expect(states(files, ['/data/d/a'], CRASH_MODEL)).toEqual(['-', '1x10'])
    files.syncDirSync('/data')
    expect(states(files, ['/data/d/a'], STRICT_MODEL)).toEqual(['1x10'])
  })

  it('change in any order and subset between two syncs of their directory; a rename within it is one step', async () => {
    const files = new FakeFiles()
    create(files, '/data/a', bytes(1, 1), true)
    create(files, '/data/b', bytes(1, 2), true)
    files.syncDirSync('/data')
    files.renameSync('/data/a', '/data/c')
    files.unlinkSync('/data/b')
    expect(states(files, ['/data/a', '/data/b', '/data/c'], STRICT_MODEL)).toEqual(['- | - | 1x1', '- | 2x1 | 1x1', '1x1 | - | -', '1x1 | 2x1 | -'])
    await files.link('/data/c', '/data/d')
    files.syncDirSync('/data')
    expect(states(files, ['/data/c', '/data/d'], STRICT_MODEL)).toEqual(['1x1 | 1x1'])
  })

  it('of a rename across directories are never both gone, unless the strict model lets them', () => {
    const make = (): FakeFiles => {
      const files = new FakeFiles({ dirs: ['/data/x', '/data/y'] })
      create(files, '/data/x/a', bytes(1, 1), true)
      files.syncDirSync('/data/x')
      files.renameSync('/data/x/a', '/data/y/a')
      return files
    }
    expect(states(make(), ['/data/x/a', '/data/y/a'], CRASH_MODEL)).toEqual(['- | 1x1', '1x1 | -', '1x1 | 1x1'])
    expect(states(make(), ['/data/x/a', '/data/y/a'], STRICT_MODEL)).toEqual(['- | -', '- | 1x1', '1x1 | -', '1x1 | 1x1'])
  })
})

describe('bytes', () => {
  const written = (): FakeFiles => {
    const files = new FakeFiles()
    create(files, '/data/a', bytes(1024, 1), true)
    files.syncDirSync('/data')
    return files
  }

  it('of a write in place survive by units: a page is whole, or torn at its sectors', () => {
    const files = written()
    const handle = files.openSync('/data/a', 'r+')
    handle.writeSync(0, bytes(1024, 2))
    expect(states(files, ['/data/a'], CRASH_MODEL)).toEqual(['1x1024', '2x1024'])
    expect(states(files, ['/data/a'], { ...CRASH_MODEL, unitBytes: 512 })).toEqual(['1x1024', '1x512 2x512', '2x1024', '2x512 1x512'])
    handle.datasyncSync()
    expect(states(files, ['/data/a'], STRICT_MODEL)).toEqual(['2x1024'])
  })

  it('that were appended come with the size, or apart from it', () => {
    const files = written()
    files.openSync('/data/a', 'r+').writeSync(1024, bytes(512, 2))
    expect(states(files, ['/data/a'], CRASH_MODEL)).toEqual(['1x1024', '1x1024 2x512'])
    expect(states(files, ['/data/a'], { ...CRASH_MODEL, sizes: 'apart' })).toEqual(['1x1024', '1x1024 0x512', '1x1024 2x512'])
    const stale = states(files, ['/data/a'], { ...CRASH_MODEL, sizes: 'apart', holes: 'stale' })
    expect(stale).toHaveLength(3)
    expect(stale).not.toContain('1x1024 0x512')
  })

  it('behind a cut are gone with it, and a later append does not bring them back', () => {
    const files = written()
    const handle = files.openSync('/data/a', 'r+')
    handle.truncateSync(512)
    expect(states(files, ['/data/a'], STRICT_MODEL)).toEqual(['1x1024', '1x512'])
    handle.writeSync(512, bytes(512, 2))
    expect(states(files, ['/data/a'], { ...CRASH_MODEL, sizes: 'apart' })).toContain('1x512 0x512')
    handle.datasyncSync()
    expect(states(files, ['/data/a'], STRICT_MODEL)).toEqual(['1x512 2x512'])
  })

  it('of a failed sync stay readable and are lost at the crash, whatever is synced later', () => {
    const files = written()
    const handle = files.openSync('/data/a', 'r+')
    handle.writeSync(0, bytes(512, 2))
    files.failAt(1, { error: 'EIO' }, ({ op }) => op === 'datasync')
    expect(() => handle.datasyncSync()).toThrow('EIO')
    handle.writeSync(512, bytes(512, 3))
    handle.datasyncSync()
    expect(show(files.contents('/data/a'))).toBe('2x512 3x512')
    expect(states(files, ['/data/a'], STRICT_MODEL)).toEqual(['1x512 3x512'])
  })
})

describe('a trace', () => {
  it('plays every moment back, and its states are the same for the same seed', () => {
    const files = new FakeFiles()
    const trace = files.record()
    const moments: { at: number; tree: string }[] = []
    const tree = (of: FakeFiles): string =>
      of
        .paths()
        .map((path) => `${path} ${show(of.contents(path))}`)
        .join('; ')
    const note = (): void => void moments.push({ at: trace.length, tree: tree(files) })
    note()
    create(files, '/data/a', bytes(5000, 1), true)
    note()
    files.syncDirSync('/data')
    const handle = files.openSync('/data/a', 'r+')
    handle.writeSync(4000, bytes(3000, 2))
    note()
    files.mkdirSync('/data/d')
    files.renameSync('/data/a', '/data/d/b')
    note()
    handle.truncateSync(100)
    handle.datasyncSync()
    files.unlinkSync('/data/d/b')
    note()
    for (const { at, tree: right } of [...moments, ...moments.toReversed()]) expect(tree(trace.at(at).killed())).toBe(right)
    for (let seed = 0; seed < 50; seed++) {
      const at = seed % (trace.length + 1)
      expect(tree(trace.at(at).sample(seed).files)).toBe(tree(trace.at(at).sample(seed).files))
    }
  })

  it('holds what was synced in every sampled state', () => {
    const files = new FakeFiles()
    const trace = files.record()
    create(files, '/data/a', bytes(2000, 1), true)
    files.syncDirSync('/data')
    const safe = trace.length
    const handle = files.openSync('/data/a', 'r+')
    handle.writeSync(2000, bytes(9000, 2))
    create(files, '/data/b', bytes(100, 3))
    const seen = new Set<string>()
    for (let at = safe; at <= trace.length; at++) {
      for (let seed = 0; seed < 200; seed++) {
        const after = trace.at(at).sample(seed).files
        expect(show(after.contents('/data/a')?.subarray(0, 2000))).toBe('1x2000')
        seen.add(show(after.contents('/data/a')?.subarray(2000)) + show(after.contents('/data/b')))
      }
    }
    expect(seen.size).toBeGreaterThan(20)
  })
})
