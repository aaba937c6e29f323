// Damage of a segment log (log.md section 8): what was synced is never cut, what is broken is never believed, and a torn tail is no damage.
import { describe, expect, it } from 'vitest'

import { CorruptionError, VarveError } from '../../bindings/errors.ts'
import { FRAME_HEADER_BYTES, frameBytes, KIND_FOOTER, readFooterPayload } from '../../bindings/format/index.ts'
import { type CommitLog, type Digest, lsn, type Lsn, openSegmentLog } from '../../bindings/log/index.ts'
import { DirRoot } from '../../bindings/root/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { idsOf, readAll, record } from '../../bindings/testing/contracts/log-records.ts'
import { FakeClock, fakeWorld } from '../../bindings/testing/fake-clock.ts'
import { FakeFiles } from '../../bindings/testing/fake-files.ts'

const STORE_ID = new Uint8Array(16).fill(8)
const HEADER = 64

/** A store as plain bytes: every damage is done to a fresh copy. */
type Image = ReadonlyMap<string, Uint8Array>

let pid = 1

interface OpenOptions {
  readonly readOnly?: boolean
  readonly segmentBytes?: number
  readonly floors?: readonly { lsn: Lsn; digest: Uint8Array }[]
  readonly durability?: 'synced' | 'buffered'
}

async function open(files: FakeFiles, o: OpenOptions = {}): Promise<CommitLog> {
  const clock = new FakeClock()
  const me = ++pid
  const world = fakeWorld({ files, seed: me, clock, host: { pid: me, isAlive: (other) => other === me } })
  const opening = openSegmentLog(new DirRoot('/data/store', world), { world, storeId: STORE_ID, follow: false, ...o })
  let settled = false
  opening.then(
    () => (settled = true),
    () => (settled = true),
  )
  while (!settled) await clock.advance(50)
  return opening
}

function imageOf(files: FakeFiles): Map<string, Uint8Array> {
  return new Map(files.paths().map((path) => [path, files.contents(path)!]))
}

async function filesOf(image: Image): Promise<FakeFiles> {
  const files = new FakeFiles({ dirs: ['/data/store/log', '/data/store/quarantine'] })
  for (const [path, bytes] of image) {
    const file = await files.open(path, 'wx')
    file.writeSync(0, bytes)
    await file.sync()
    await file.close()
    files.syncDirSync(path.slice(0, path.lastIndexOf('/')))
  }
  return files
}

function changed(image: Image, path: string, change: (bytes: Uint8Array) => Uint8Array | undefined): Map<string, Uint8Array> {
  const copy = new Map(image)
  const bytes = change(image.get(path)!.slice())
  if (bytes === undefined) copy.delete(path)
  else copy.set(path, bytes)
  return copy
}

function segmentsOf(image: Image): string[] {
  return [...image.keys()].filter((path) => /\/log\/\d{20}\.wal$/.test(path)).sort()
}

/** Offsets of the frames of a segment, to its footer or first zero header. */
function framesOf(bytes: Uint8Array): { at: number; kind: number; end: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const frames = []
  for (let at = HEADER; at + FRAME_HEADER_BYTES <= bytes.length && bytes[at + 12] !== 0;) {
    const end = at + frameBytes(view.getUint32(at + 8, true))
    const kind = bytes[at + 12]!
    frames.push({ at, kind, end })
    if (kind === KIND_FOOTER) break
    at = end
  }
  return frames
}

async function expectCorrupt(image: Image, what: string, o: OpenOptions = {}): Promise<void> {
  for (const readOnly of [true, false]) {
    const error = await failureOf(image, { ...o, readOnly })
    expect(error, `${what}, ${readOnly ? 'read-only' : 'read-write'}`).toBeInstanceOf(CorruptionError)
    expect((error as CorruptionError).file, what).not.toBe('')
  }
}

async function failureOf(image: Image, o: OpenOptions): Promise<unknown> {
  try {
    await open(await filesOf(image), o)
  } catch (error) {
    return error
  }
  return undefined
}

/** A closed store with several segments. */
async function closedStore(segmentBytes = 4096, records = 120): Promise<{ image: Map<string, Uint8Array>; head: Lsn; digest: Digest }> {
  const files = new FakeFiles()
  const log = await open(files, { segmentBytes })
  for (let i = 0; i < records; i++) await log.append(i % 7 === 0 ? [record(i), record(i)] : [record(i)])
  const [head, digest] = [log.head, await log.digestAt(log.head)]
  await log.close()
  return { image: imageOf(files), head, digest }
}

/** A store that was killed while its last group was on its way. */
async function killedStore(durability: 'synced' | 'buffered' = 'synced'): Promise<{ image: Map<string, Uint8Array>; acknowledged: Lsn; digest: Digest }> {
  const files = new FakeFiles()
  const log = await open(files, { durability, segmentBytes: 32768 })
  for (let i = 0; i < 10; i++) await log.append([record(i)])
  const [acknowledged, digest] = [log.head, await log.digestAt(log.head)]
  const last = Array.from({ length: 5 }, (_, i) => log.append(i === 2 ? [record(100 + i), record(100 + i)] : [record(100 + i)]))
  await Promise.all(last)
  files.restart()
  return { image: imageOf(files), acknowledged, digest }
}

describe('after an unclean stop', () => {
  it('a log cut at any byte of its last group opens at a whole append and keeps what was acknowledged before', async () => {
    const { image, acknowledged, digest } = await killedStore()
    const path = segmentsOf(image).at(-1)!
    const frames = framesOf(image.get(path)!)
    const from = frames[frames.length - 6]!.at
    const to = frames.at(-1)!.end
    const heads = new Set<bigint>()
    for (let cut = from; cut <= to; cut++) {
      const short = changed(image, path, (bytes) => bytes.subarray(0, cut))
      const zeroed = changed(image, path, (bytes) => bytes.fill(0, cut))
      for (const damaged of cut % 3 === 0 ? [short, zeroed] : [short]) {
        const files = await filesOf(damaged)
        const reader = await open(files, { readOnly: true })
        const log = await open(files)
        expect(await log.digestAt(acknowledged)).toEqual(digest)
        const found = idsOf(await readAll(log, lsn(0)))
        expect(found.filter((id) => id === 102).length % 2, `cut at ${cut}: whole appends only`).toBe(0)
        expect(reader.head, 'the reader stops where the writer cuts').toBe(lsn(log.head - 1n))
        heads.add(log.head)
        await log.close()
        const footer = closedFooter(imageOf(files), path)
        expect([footer.reason, footer.lastLsn], `cut at ${cut}`).toEqual([3, Number(log.head - 1n)])
      }
    }
    // Nothing, one, two, four (an append of two is cut whole), five and six records of the group.
    expect([...heads].sort()).toEqual([0n, 1n, 2n, 4n, 5n, 6n].map((n) => acknowledged + n + 1n))
  }, 120_000)

  it('copies the torn bytes aside once, however often it is opened', async () => {
    const { image } = await killedStore()
    const path = segmentsOf(image).at(-1)!
    const files = await filesOf(changed(image, path, (bytes) => bytes.fill(7, framesOf(bytes).at(-1)!.at + 9, framesOf(bytes).at(-1)!.at + 40)))
    for (let round = 0; round < 3; round++) {
      files.stopAt(round === 2 ? 1_000_000 : 40 + round * 5)
      await open(files).then(
        (log) => log.close(),
        () => {},
      )
      if (round < 2) files.plan(undefined)
      if (files.stopped) break
    }
    const kept = files.paths().filter((name) => name.includes('/quarantine/'))
    expect(kept.length).toBeLessThanOrEqual(1)
  })

  it('a flipped bit before the last synced frame is damage; in the last group a torn tail', async () => {
    const { image, acknowledged, digest } = await killedStore()
    const path = segmentsOf(image).at(-1)!
    const frames = framesOf(image.get(path)!)
    const lastGroup = frames[frames.length - 6]!.at
    const random = seededRandom(4)
    for (let at = 0; at < frames.at(-1)!.end; at += 1 + (random.u32() % 5)) {
      const damaged = changed(image, path, (bytes) => {
        bytes[at]! ^= 1 << (random.u32() % 8)
        return bytes
      })
      if (at < lastGroup) await expectCorrupt(damaged, `bit at ${at}`)
      else {
        const files = await filesOf(damaged)
        const error = await open(files).then(
          async (log) => {
            expect(await log.digestAt(acknowledged)).toEqual(digest)
            return undefined
          },
          (thrown: unknown) => thrown,
        )
        // The first frame of the group says that all before it was synced: with it whole and others broken nothing more is claimed.
        if (error !== undefined) expect(error).toBeInstanceOf(CorruptionError)
      }
    }
  }, 120_000)

  it.each(['synced', 'buffered'] as const)(
    '%s: any subset of the pages of an unsynced group may be lost; with a synced group behind it that is damage',
    async (durability) => {
      const files = new FakeFiles()
      const log = await open(files, { durability, segmentBytes: 262_144 })
      for (let i = 0; i < 5; i++) await log.append([record(i)])
      await log.sync()
      const [acknowledged, digest] = [log.head, await log.digestAt(log.head)]
      const before = imageOf(files)
      const big = Array.from({ length: 40 }, (_, i) => {
        const payload = new Uint8Array(480)
        new DataView(payload.buffer).setUint32(0, i, true)
        return log.append([{ kind: 2, payload }])
      })
      await Promise.all(big)
      const group = imageOf(files)
      await log.sync()
      await log.append([record(99)])
      const behind = imageOf(files)
      files.restart()
      const path = segmentsOf(before).at(-1)!
      const start = framesOf(before.get(path)!).at(-1)!.end
      const end = framesOf(group.get(path)!).at(-1)!.end
      const pages: [number, number][] = []
      for (let at = start; at < end; at = (Math.floor(at / 4096) + 1) * 4096) pages.push([at, Math.min(end, (Math.floor(at / 4096) + 1) * 4096)])
      expect(pages.length).toBeGreaterThanOrEqual(5)
      for (let kept = 0; kept < 2 ** pages.length - 1; kept++) {
        const lose = (bytes: Uint8Array) => {
          for (const [i, [from, to]] of pages.entries()) if ((kept & (1 << i)) === 0) bytes.fill(0, from, to)
          return bytes
        }
        const again = await open(await filesOf(changed(group, path, lose)))
        expect(await again.digestAt(acknowledged)).toEqual(digest)
        const ids = idsOf(await readAll(again, acknowledged))
        expect(ids, `pages ${kept.toString(2)}`).toEqual(Array.from({ length: ids.length }, (_, i) => i))
        await expectCorrupt(changed(behind, path, lose), `pages ${kept.toString(2)}, a synced group behind`)
      }
    },
    120_000,
  )

  it('opens when the footer of a rolled segment was lost, or overwritten by a stale writer', async () => {
    const files = new FakeFiles()
    const log = await open(files, { segmentBytes: 8192 })
    for (let i = 0; i < 150; i++) await log.append([record(i)])
    const [head, digest] = [log.head, await log.digestAt(log.head)]
    files.restart()
    const image = imageOf(files)
    const older = segmentsOf(image)[0]!
    for (const fill of [0, 0xab]) {
      const lost = changed(image, older, (bytes) => bytes.fill(fill, framesOf(bytes).at(-1)!.at, framesOf(bytes).at(-1)!.end))
      const again = await open(await filesOf(lost))
      expect(await again.digestAt(head)).toEqual(digest)
      expect(idsOf(await readAll(again, lsn(0)))).toEqual(Array.from({ length: 150 }, (_, i) => i))
    }
  })
})

describe('after a clean close', () => {
  it('a newest segment cut at any record boundary or every 97th byte is damage', async () => {
    const { image } = await closedStore()
    const path = segmentsOf(image).at(-1)!
    const bytes = image.get(path)!
    const cuts = new Set(framesOf(bytes).map(({ at }) => at))
    for (let at = 0; at < bytes.length; at += 97) cuts.add(at)
    for (const cut of cuts) {
      await expectCorrupt(
        changed(image, path, (all) => all.subarray(0, cut)),
        `cut at ${cut}`,
      )
    }
  }, 120_000)

  it('one flipped bit anywhere in the newest segment is damage', async () => {
    const { image } = await closedStore()
    const path = segmentsOf(image).at(-1)!
    const random = seededRandom(2)
    for (let at = 0; at < image.get(path)!.length; at += 1 + (random.u32() % 4)) {
      const bit = random.u32() % 8
      const damaged = changed(image, path, (bytes) => {
        bytes[at]! ^= 1 << bit
        return bytes
      })
      await expectCorrupt(damaged, `bit ${bit} of byte ${at}`)
    }
  }, 120_000)

  it('an older segment cut or changed anywhere is damage, or behind its records and harmless', async () => {
    const { image, head, digest } = await closedStore()
    const older = segmentsOf(image).slice(0, -1)
    expect(older.length).toBeGreaterThan(1)
    const random = seededRandom(3)
    for (const path of older) {
      const bytes = image.get(path)!
      const records = framesOf(bytes).findLast(({ kind }) => kind !== KIND_FOOTER)!.end
      for (let at = 0; at < bytes.length; at += 1 + (random.u32() % 60)) {
        const cut = changed(image, path, (all) => all.subarray(0, at))
        const flipped = changed(image, path, (all) => {
          all[at]! ^= 1 << (at % 8)
          return all
        })
        for (const damaged of [cut, flipped]) {
          if (at < records) await expectCorrupt(damaged, `${path} at ${at}`)
          else {
            const error = await failureOf(damaged, { readOnly: true })
            if (error !== undefined) expect(error).toBeInstanceOf(CorruptionError)
            else expect(await (await open(await filesOf(damaged), { readOnly: true })).digestAt(head)).toEqual(digest)
          }
        }
      }
    }
  }, 120_000)

  it('a deleted segment is damage: the first, one in the middle, the last', async () => {
    const { image } = await closedStore()
    const all = segmentsOf(image)
    expect(all.length).toBeGreaterThan(2)
    for (const path of all)
      await expectCorrupt(
        changed(image, path, () => undefined),
        `${path} deleted`,
      )
    const none = new Map([...image].filter(([path]) => !all.includes(path)))
    await expectCorrupt(none, 'all segments deleted')
  })

  it('a checkpoint ahead of the log, or with another digest, is damage', async () => {
    const { image, head, digest } = await closedStore()
    await expectCorrupt(image, 'a checkpoint ahead', { floors: [{ lsn: lsn(head + 1n), digest }] })
    await expectCorrupt(image, 'another digest', { floors: [{ lsn: lsn(head - 3n), digest }] })
    const log = await open(await filesOf(image), { floors: [{ lsn: head, digest }] })
    expect(log.head).toBe(lsn(head + 1n))
  })

  it('segments below the newest checkpoint are checked by head and footer', async () => {
    const { image, head, digest } = await closedStore()
    const [first] = segmentsOf(image)
    const floors = [{ lsn: head, digest }]
    await expectCorrupt(
      changed(image, first!, (bytes) => bytes.subarray(0, framesOf(bytes)[3]!.at)),
      'cut below the checkpoint',
      { floors },
    )
    await expectCorrupt(
      changed(image, segmentsOf(image)[1]!, () => undefined),
      'deleted below the checkpoint',
      { floors },
    )
    const log = await open(await filesOf(image), { floors })
    expect(idsOf(await readAll(log, lsn(0))).length).toBeGreaterThan(100)
    // A record below the checkpoint is verified when somebody reads it.
    const flipped = changed(image, first!, (bytes) => {
      bytes[framesOf(bytes)[4]!.at + 40]! ^= 1
      return bytes
    })
    await expect(open(await filesOf(flipped), { floors }).then((other) => readAll(other, lsn(0)))).rejects.toBeInstanceOf(CorruptionError)
  })

  it('opens without CLEAN and with one of an older close; a garbled one is named', async () => {
    const files = new FakeFiles()
    const first = await open(files)
    await first.append([record(1)])
    await first.close()
    const old = imageOf(files).get('/data/store/CLEAN')!
    const second = await open(files)
    await second.append([record(2)])
    await second.close()
    const image = imageOf(files)
    await (await open(await filesOf(changed(image, '/data/store/CLEAN', () => undefined)))).close()
    await (await open(await filesOf(changed(image, '/data/store/CLEAN', () => old)))).close()
    for (let at = 0; at < image.get('/data/store/CLEAN')!.length; at += 5) {
      const garbled = changed(image, '/data/store/CLEAN', (bytes) => {
        bytes[at]! ^= 4
        return bytes
      })
      const error = await failureOf(garbled, {})
      expect(error).toBeInstanceOf(VarveError)
      expect((error as CorruptionError).file).toBe('CLEAN')
    }
  })

  it('opens when the log was trimmed past an old CLEAN', async () => {
    const files = new FakeFiles()
    const first = await open(files, { segmentBytes: 4096 })
    for (let i = 0; i < 20; i++) await first.append([record(i)])
    await first.close()
    const second = await open(files, { segmentBytes: 4096 })
    for (let i = 0; i < 200; i++) await second.append([record(i)])
    const tail = await second.trim(lsn(150))
    expect(tail).toBeGreaterThan(30n)
    const floors = [{ lsn: lsn(150), digest: await second.digestAt(lsn(150)) }]
    const image = imageOf(files)
    files.restart()
    const log = await open(await filesOf(image), { floors })
    expect(log.head).toBe(lsn(second.head + 1n))
    await expectCorrupt(image, 'trimmed, and no checkpoint reaches the tail')
  })

  it('one flipped bit in NODE is harmless, in the LOCK it is named', async () => {
    const { image } = await closedStore()
    for (let at = 0; at < 1024; at += 31) {
      const flipped = changed(image, '/data/store/NODE', (bytes) => {
        bytes[at]! ^= 2
        return bytes
      })
      await (await open(await filesOf(flipped))).close()
    }
    const lock = [...image.keys()].find((path) => path.includes('LOCK.'))!
    for (let at = 0; at < image.get(lock)!.length; at += 3) {
      const flipped = changed(image, lock, (bytes) => {
        bytes[at]! ^= 2
        return bytes
      })
      const error = await failureOf(flipped, {})
      expect(error).toBeInstanceOf(CorruptionError)
    }
  })

  it('refuses the segments of another store', async () => {
    const { image } = await closedStore()
    const files = await filesOf(image)
    const world = fakeWorld({ files, host: { pid: 99_999 } })
    const opening = openSegmentLog(new DirRoot('/data/store', world), { world, storeId: new Uint8Array(16).fill(1) })
    await expect(opening).rejects.toBeInstanceOf(CorruptionError)
  })

  it('does not read the records of a recycled segment’s earlier use', async () => {
    const files = new FakeFiles()
    const log = await open(files, { segmentBytes: 8192 })
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 100; i++) await log.append([record(round * 100 + i)])
      await log.trim(log.head)
    }
    const recycled = files.calls.filter(({ op, path, to }) => op === 'rename' && path.includes('.wal') && to?.includes('/free-')).length
    expect(recycled).toBeGreaterThan(2)
    const [tail, head] = [log.tail, log.head]
    const digest = await log.digestAt(tail)
    files.restart()
    const again = await open(await filesOf(imageOf(files)), { segmentBytes: 8192, floors: [{ lsn: tail, digest }] })
    expect(again.head).toBe(lsn(head + 1n))
    expect(idsOf(await readAll(again, again.tail)).at(-1)).toBe(599)
  })
})

function closedFooter(image: Image, path: string): ReturnType<typeof readFooterPayload> {
  const bytes = image.get(path)!
  const footer = framesOf(bytes).at(-1)!
  expect(footer.kind).toBe(KIND_FOOTER)
  return readFooterPayload(bytes, footer.at + FRAME_HEADER_BYTES)
}
