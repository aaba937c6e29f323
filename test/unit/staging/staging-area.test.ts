// The files of a write: phases A, B, promote and D (recovery.md section 2) and their faults (section 16), on each kind of root.
import { describe, expect, it } from 'vitest'

import { CorruptionError, StorageError } from '../../../bindings/errors.ts'
import { decodeIntent, toHex } from '../../../bindings/format/index.ts'
import { sha256 } from '../../../bindings/kernels/index.ts'
import { DirRoot, MemoryRoot, type Root } from '../../../bindings/root/index.ts'
import { FP } from '../../../bindings/runtime/index.ts'
import { finalName, intentName, leaseName, parseStagedName, StagingArea, stagingPrefix } from '../../../bindings/staging/index.ts'
import { FakeFiles, fakeWorld, FaultyRoot, patterned } from '../../../bindings/testing/index.ts'
import { intentOf, KINDS, namesIn, ObjectRoot } from './kit.ts'

const ROWS = patterned(9000, 1)
const INDEX = patterned(700, 2)
const KEYS = patterned(80, 3)
const digestOf = (bytes: Uint8Array): string => toHex(sha256(bytes))

describe('phase A', () => {
  for (const [kind, make] of Object.entries(KINDS)) {
    it(`${kind}: the INTENT is the only thing there, and reads back`, async () => {
      const { root, world } = make()
      const intent = intentOf(world)
      await StagingArea.arm(root, world, intent)
      expect(await namesIn(root)).toEqual([intentName(intent.writeId)])
      expect(decodeIntent((await root.get(intentName(intent.writeId))).bytes, 'x')).toEqual(intent)
    })

    it(`${kind}: given an error before the effect, then nothing is there and the same write can be armed`, async () => {
      const { root, world, points } = make()
      const intent = intentOf(world)
      {
        using _armed = points.arm(FP.intent.write, { error: 'permission' })
        await expect(StagingArea.arm(root, world, intent)).rejects.toBeInstanceOf(StorageError)
      }
      expect(await namesIn(root)).toEqual([])
      await StagingArea.arm(root, world, intent)
      expect(await namesIn(root)).toHaveLength(1)
    })

    it(`${kind}: given a lost answer, then its own nonce tells that it succeeded`, async () => {
      const { root, world, points } = make()
      using armed = points.arm(FP.intent.write, { errorAfterEffect: 'io', times: 1 })
      const intent = intentOf(world)
      await StagingArea.arm(root, world, intent)
      expect(armed.fired).toBe(1)
      expect(await namesIn(root)).toEqual([intentName(intent.writeId)])
    })

    it(`${kind}: given an error after it, then nothing stays`, async () => {
      const { root, world, points } = make()
      using _armed = points.arm(FP.intent.writeAfter, { error: 'io' })
      await expect(StagingArea.arm(root, world, intentOf(world))).rejects.toBeInstanceOf(StorageError)
      expect(await namesIn(root)).toEqual([])
    })

    it(`${kind}: given an INTENT of another attempt under the same id, then it is refused and stands`, async () => {
      const { root, world } = make()
      const first = intentOf(world)
      await StagingArea.arm(root, world, first)
      const second = { ...first, nonce: '0'.repeat(32) }
      await expect(StagingArea.arm(root, world, second)).rejects.toMatchObject({ class: 'exists' })
      expect(decodeIntent((await root.get(intentName(first.writeId))).bytes, 'x').nonce).toBe(first.nonce)
    })
  }

  it('given a power cut any time after it resolved, then the INTENT is there', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const memory = new MemoryRoot({ loseUnsynced: seed })
      const files = new FakeFiles()
      const world = fakeWorld({ seed, files })
      const intent = intentOf(world)
      await StagingArea.arm(memory, world, intent)
      await StagingArea.arm(new DirRoot('/data/store', world), world, intent)
      expect(await namesIn(memory.crash(seed))).toEqual([intentName(intent.writeId)])
      expect(await namesIn(new DirRoot('/data/store', fakeWorld({ files: files.crash(seed) })))).toEqual([intentName(intent.writeId)])
    }
  })

  it('an error at any call of the file system leaves nothing, or an INTENT without files', async () => {
    for (let k = 1; ; k++) {
      const { root, world, files } = KINDS['directory']!()
      files.failAt(k, { error: 'EIO', effect: 'whole' })
      const intent = intentOf(world)
      const error = await StagingArea.arm(root, world, intent).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      const asked = files.calls.length
      files.plan(undefined)
      const names = await namesIn(root)
      expect(files.openHandles).toBe(0)
      if (error === undefined) expect(names).toEqual([intentName(intent.writeId)])
      else {
        expect(error).toBeInstanceOf(StorageError)
        expect([0, 1]).toContain(names.length)
      }
      if (asked < k) break
    }
  })
})

describe('phase B', () => {
  for (const [kind, make] of Object.entries(KINDS)) {
    it(`${kind}: files lie under their digests, equal ones once, and read back`, async () => {
      const { root, world } = make()
      const area = await StagingArea.arm(root, world, intentOf(world))
      const rows = await area.put('arrow', ROWS)
      expect(rows).toMatchObject({ digest: digestOf(ROWS), ext: 'arrow', bytes: ROWS.length })
      expect(await area.put('arrow', ROWS)).toBe(rows)
      const keys = await area.put('keys', KEYS)
      await area.sync()
      expect(await area.read(rows)).toEqual(ROWS)
      expect(await area.read(keys)).toEqual(KEYS)
      const staged = (await namesIn(root, stagingPrefix(area.writeId))).map((name) => parseStagedName(name)?.ext)
      expect(staged.filter((ext) => ext !== undefined).sort()).toEqual(root.caps.hardLink ? ['arrow', 'keys'] : ['keys'])
      expect(await root.exists(finalName(rows, 0))).toBe(!root.caps.hardLink)
    })

    it(`${kind}: given no room, then the writer's own files go and the rest of the store stands`, async () => {
      const { root: inner, world } = make()
      const root = new FaultyRoot(inner)
      const other = await StagingArea.arm(root, world, intentOf(world))
      await other.put('keys', KEYS)
      const area = await StagingArea.arm(root, world, intentOf(world))
      await area.put('idx', INDEX)
      root.plan((call) => (call.name.endsWith('.arrow') && call.method !== 'delete' ? { error: 'space' } : undefined))
      await expect(area.put('arrow', ROWS)).rejects.toMatchObject({ class: 'space' })
      expect(await area.retire()).toBeUndefined()
      expect(await namesIn(root, stagingPrefix(area.writeId))).toEqual([])
      expect(await namesIn(root, stagingPrefix(other.writeId))).toHaveLength(2)
    })
  }

  it('given bytes that are not those put, then read names the file', async () => {
    const { root, world } = KINDS['memory']!()
    const area = await StagingArea.arm(root, world, intentOf(world))
    const rows = await area.put('arrow', ROWS)
    const [name] = (await namesIn(root, stagingPrefix(area.writeId))).filter((each) => each.endsWith('.arrow'))
    for (const bad of [ROWS.slice(0, 100), flipped(ROWS)]) {
      await root.put(name!, bad)
      await expect(area.read(rows)).rejects.toBeInstanceOf(CorruptionError)
      await expect(area.read(rows)).rejects.toMatchObject({ code: 'staged.corrupt', file: name })
    }
  })

  it('given a power cut after sync(), then INTENT and files are there whole', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const memory = new MemoryRoot({ loseUnsynced: seed })
      const world = fakeWorld({ seed })
      const area = await StagingArea.arm(memory, world, intentOf(world))
      await area.put('arrow', ROWS)
      await area.put('keys', KEYS)
      await area.sync()
      const after = memory.crash(seed)
      expect(await namesIn(after)).toHaveLength(3)
      const adopted = StagingArea.adopt(after, world, area.writeId)
      for (const file of await adopted.list()) await adopted.read(file)
    }
  })
})

describe('promote', () => {
  for (const kind of ['memory', 'directory']) {
    const make = KINDS[kind]!

    it(`${kind}: every file but keys and definitions gets its content address, again and again the same`, async () => {
      const { root, world } = make()
      const area = await StagingArea.arm(root, world, intentOf(world))
      const files = [await area.put('arrow', ROWS), await area.put('idx', INDEX), await area.put('dv', INDEX), await area.put('keys', KEYS)]
      for (let round = 0; round < 2; round++) {
        const gens = await area.promote(files)
        expect([...gens]).toEqual(files.slice(0, 3).map(({ digest, ext }) => [`${digest}.${ext}`, 0]))
      }
      expect((await namesIn(root, 'fragments')).length + (await namesIn(root, 'indexes')).length).toBe(3)
      expect((await root.get(finalName(files[0]!, 0))).bytes).toEqual(ROWS)
    })

    it(`${kind}: given a damaged file under the address, then the next generation is used and the damaged one stands`, async () => {
      const damages = [ROWS.slice(0, 8999), flipped(ROWS), new Uint8Array(0)]
      for (const damaged of damages) {
        const { root, world } = make()
        const area = await StagingArea.arm(root, world, intentOf(world))
        const rows = await area.put('arrow', ROWS)
        await root.put(finalName(rows, 0), damaged)
        expect((await area.promote([rows])).get(`${rows.digest}.arrow`)).toBe(1)
        expect((await root.get(finalName(rows, 0))).bytes).toEqual(damaged)
        expect((await root.get(finalName(rows, 1))).bytes).toEqual(ROWS)
        expect((await area.promote([rows])).get(`${rows.digest}.arrow`)).toBe(1)
      }
    })

    it(`${kind}: given dead names, then the first generation that is alive`, async () => {
      const { root, world } = make()
      const area = await StagingArea.arm(root, world, intentOf(world))
      const rows = await area.put('arrow', ROWS)
      const dead = new Set([finalName(rows, 0), finalName(rows, 1)])
      expect((await area.promote([rows], { dead: (name) => dead.has(name) })).get(`${rows.digest}.arrow`)).toBe(2)
      expect(await namesIn(root, 'fragments')).toEqual([finalName(rows, 2)])
    })

    it(`${kind}: given an error at a link, then what was linked stays and the next promote finishes`, async () => {
      const { root: inner, world } = make()
      const root = new FaultyRoot(inner)
      const area = await StagingArea.arm(root, world, intentOf(world))
      const files = [await area.put('arrow', ROWS), await area.put('idx', INDEX), await area.put('dv', INDEX)]
      root.failAt(2, { error: 'io' }, (call) => call.method === 'link')
      await expect(area.promote(files)).rejects.toMatchObject({ class: 'io' })
      root.plan(undefined)
      expect((await area.promote(files)).size).toBe(3)
    })
  }

  it('given a power cut after it, with staging names never synced, then the promoted files are there whole', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const memory = new MemoryRoot({ loseUnsynced: seed })
      const files = new FakeFiles()
      const world = fakeWorld({ seed, files })
      for (const root of [memory, new DirRoot('/data/store', world)] as Root[]) {
        const area = await StagingArea.arm(root, world, intentOf(world))
        await area.promote([await area.put('arrow', ROWS), await area.put('idx', INDEX)])
      }
      for (const after of [memory.crash(seed), new DirRoot('/data/store', fakeWorld({ files: files.crash(seed) }))]) {
        expect((await after.get(finalName({ digest: digestOf(ROWS), ext: 'arrow' }, 0))).bytes).toEqual(ROWS)
        expect((await after.get(finalName({ digest: digestOf(INDEX), ext: 'idx' }, 0))).bytes).toEqual(INDEX)
      }
    }
  })

  it('given a target whose promoter died before its sync, then its directory is synced all the same', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const files = new FakeFiles()
      const world = fakeWorld({ seed, files })
      const root = new DirRoot('/data/store', world)
      const first = await StagingArea.arm(root, world, intentOf(world))
      const rows = await first.put('arrow', ROWS)
      files.plan((call) => (call.op === 'syncDir' && call.path.includes('/fragments') ? { error: 'EIO' } : undefined))
      await first.promote([rows]).catch(() => undefined)
      files.plan(undefined)
      const second = await StagingArea.arm(root, world, intentOf(world))
      expect((await second.promote([await second.put('arrow', ROWS)])).get(`${rows.digest}.arrow`)).toBe(0)
      const after = new DirRoot('/data/store', fakeWorld({ files: files.crash(seed) }))
      expect((await after.get(finalName(rows, 0))).bytes).toEqual(ROWS)
    }
  })

  it('object store: a name that is taken is never relied on, and promote finds what is there', async () => {
    const { root, world } = KINDS['object store']!()
    const first = await StagingArea.arm(root, world, intentOf(world))
    const second = await StagingArea.arm(root, world, intentOf(world))
    const a = await first.put('arrow', ROWS)
    const b = await second.put('arrow', ROWS)
    expect([a.gen, b.gen]).toEqual([0, 1])
    expect((await second.promote([b])).get(`${b.digest}.arrow`)).toBe(1)
    await root.delete(finalName(b, 1))
    await expect(second.promote([b])).rejects.toMatchObject({ class: 'notFound' })
    await root.put(finalName(b, 1), ROWS.slice(1))
    await expect(second.promote([b])).rejects.toMatchObject({ class: 'corrupt' })
    expect((await first.promote([a])).get(`${a.digest}.arrow`)).toBe(0)
  })

  it('object store: given an answer that was lost, then the next generation', async () => {
    const { root: inner, world } = KINDS['object store']!()
    const root = new FaultyRoot(inner)
    const area = await StagingArea.arm(root, world, intentOf(world))
    root.failAt(1, { error: 'unknown', when: 'after' }, (call) => call.name.endsWith('.arrow'))
    expect((await area.put('arrow', ROWS)).gen).toBe(1)
  })

  it('object store: bytes stored many times cost few tries', async () => {
    const { root: inner, world } = KINDS['object store']!()
    const root = new FaultyRoot(inner)
    for (let i = 0; i < 30; i++) {
      const area = await StagingArea.arm(root, world, intentOf(world))
      await area.put('arrow', ROWS)
      await area.settle()
    }
    expect(await namesIn(root, 'fragments')).toHaveLength(30)
    expect(root.calls.filter((call) => call.name.endsWith('.arrow')).length).toBeLessThan(30 * 6)
  })
})

describe('phase D', () => {
  for (const [kind, make] of Object.entries(KINDS)) {
    it(`${kind}: the directory is empty after it, promoted files stand, a second call does nothing`, async () => {
      const { root, world } = make()
      const area = await StagingArea.arm(root, world, intentOf(world))
      await area.promote([await area.put('arrow', ROWS), await area.put('keys', KEYS)])
      expect(await area.retire()).toBeUndefined()
      expect(await namesIn(root)).toEqual([finalName({ digest: digestOf(ROWS), ext: 'arrow' }, 0)])
      expect(await area.retire()).toBeUndefined()
      expect(await StagingArea.adopt(root, world, area.writeId).retire()).toBeUndefined()
    })

    it(`${kind}: cut after each delete, the INTENT is the last to go and another process finishes`, async () => {
      let cuts = 0
      for (let k = 1; ; k++) {
        const { root: inner, world } = make()
        const root = new FaultyRoot(inner)
        const area = await StagingArea.arm(root, world, intentOf(world))
        await area.put('keys', KEYS)
        await area.put('def', INDEX)
        // One at a time, as with an armed point.
        using _armed = (world.failpoints as never as { arm(name: string, o: object): Disposable }).arm(FP.retire.after, { delayMs: 0, mayMiss: true, times: 0 })
        let left = k
        root.plan((call) => ((call.method === 'delete' || call.method === 'deletePrefix') && --left <= 0 ? { error: 'io' } : undefined))
        const error = await area.retire()
        root.plan(undefined)
        const names = await namesIn(root)
        if (error === undefined) {
          expect(names).toEqual([])
          break
        }
        cuts++
        expect(names).toContain(intentName(area.writeId))
        expect(await StagingArea.adopt(root, world, area.writeId).retire()).toBeUndefined()
        expect(await namesIn(root)).toEqual([])
      }
      expect(cuts).toBe(3)
    })

    it(`${kind}: errors are given back, not thrown, and leave it to the next pass`, async () => {
      for (const point of [FP.retire.before, FP.retire.betweenFiles, FP.intent.delete, FP.retire.after]) {
        const { root, world, points } = make()
        const area = await StagingArea.arm(root, world, intentOf(world))
        await area.put('keys', KEYS)
        using _armed = points.arm(point, { error: 'io', times: 1 })
        expect(await area.retire()).toBeInstanceOf(StorageError)
        expect(await area.retire()).toBeUndefined()
        expect(await namesIn(root)).toEqual([])
      }
    })
  }

  it('given a power cut after it, then nothing of the write is there', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const files = new FakeFiles()
      const world = fakeWorld({ seed, files })
      const area = await StagingArea.arm(new DirRoot('/data/store', world), world, intentOf(world))
      await area.put('arrow', ROWS)
      await area.retire()
      expect(await namesIn(new DirRoot('/data/store', fakeWorld({ files: files.crash(seed) })))).toEqual([])
    }
  })
})

describe('the lease', () => {
  it('object store: changes every ten seconds while the write is open, and goes with it', async () => {
    const { root, world, time } = KINDS['object store']!()
    const area = await StagingArea.arm(root, world, intentOf(world))
    const seen = new Set<string>()
    for (let i = 0; i < 6; i++) {
      await time.advance(10_000)
      seen.add(new TextDecoder().decode((await root.get(leaseName(area.writeId))).bytes))
    }
    expect(seen.size).toBe(6)
    expect(await area.retire()).toBeUndefined()
    await time.advance(60_000)
    expect(await namesIn(root)).toEqual([])
    expect(time.pending).toBe(0)
  })

  it('object store: a failing one fails no write, and warns after its term', async () => {
    const { root, world, time, points } = KINDS['object store']!()
    const codes: unknown[] = []
    const loud = { ...world, logger: { log: (event: { code: string }) => void codes.push(event.code) } }
    using _armed = points.arm(FP.intent.lease, { error: 'unavailable' })
    const area = await StagingArea.arm(root, loud, intentOf(world))
    await time.advance(25_000)
    expect(codes).toEqual([])
    await time.advance(10_000)
    expect(codes).toEqual(['lease.notRenewed'])
    await area.put('keys', KEYS)
    expect(await area.retire()).toBeUndefined()
  })

  it('local roots have none: the lock tells', async () => {
    for (const kind of ['memory', 'directory']) {
      const { root, world, time } = KINDS[kind]!()
      const area = await StagingArea.arm(root, world, intentOf(world))
      await time.advance(60_000)
      expect(await namesIn(root)).toEqual([intentName(area.writeId)])
    }
  })
})

describe('counted I/O (recovery.md section 10)', () => {
  it('local: 1 + k + i files synced, k + i links, 2 directory syncs in A, none in B, one in D', async () => {
    const { root, world, files } = KINDS['directory']!()
    await root.put('staging/warm', KEYS)
    await root.put('fragments/warm', KEYS)
    await root.put('indexes/warm', KEYS)
    const from = (): number => files.calls.length
    const count = (start: number, op: string): number => files.calls.slice(start).filter((call) => call.op === op).length
    let start = from()
    const area = await StagingArea.arm(root, world, intentOf(world))
    expect([count(start, 'sync'), count(start, 'syncDir')]).toEqual([1, 2])
    start = from()
    const staged = [await area.put('arrow', ROWS), await area.put('arrow', INDEX), await area.put('idx', KEYS)]
    expect([count(start, 'sync'), count(start, 'syncDir')]).toEqual([3, 0])
    start = from()
    await area.promote(staged)
    // Three names in three new folders: each folder's name and each file's.
    expect([count(start, 'link') >= 3, count(start, 'sync'), count(start, 'syncDir')]).toEqual([true, 0, 6])
    start = from()
    await area.retire()
    expect([count(start, 'sync'), count(start, 'syncDir')]).toEqual([0, 1])
  })

  it('object store: 1 + k + i puts, a look per name, 1 delete', async () => {
    const { root: inner, world } = KINDS['object store']!()
    const root = new FaultyRoot(inner)
    const area = await StagingArea.arm(root, world, intentOf(world))
    await area.promote([await area.put('arrow', ROWS), await area.put('idx', INDEX)])
    await area.retire()
    const count = (method: string): number => root.calls.filter((call) => call.method === method).length
    expect([count('putIfAbsent'), count('put'), count('head'), count('delete'), count('deletePrefix'), count('list')]).toEqual([3, 0, 2, 1, 0, 0])
    expect(root.inner).toBeInstanceOf(ObjectRoot)
  })
})

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  copy[1234]! ^= 16
  return copy
}
