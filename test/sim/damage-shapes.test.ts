// Damage of other shapes than a flipped bit to a store that was closed cleanly: files cut, grown, partly zeroed, holding what belongs elsewhere, or older
// than the rest. Always detected or harmless: right data, or an error that has a code.

import { beforeAll, describe, expect, it } from 'vitest'

import { FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../bindings/format/index.ts'
import { Store } from '../../bindings/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { allowed, build, type Built, kindOf, look, newestOf, usedOf } from './damage-kit.ts'
import { simWorld } from './sim-world.ts'

const SECTOR = 512
const PAGE = 4096

/** Gives a file this content, durably. */
function rewrite(files: FakeFiles, path: string, content: Uint8Array): void {
  const handle = files.openSync(path, 'r+')
  handle.truncateSync(content.length)
  handle.writeSync(0, content)
  handle.datasyncSync()
  handle.closeSync()
}

/** Where the frames of a segment end. */
function frameEnds(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const ends: number[] = []
  for (let at = SEGMENT_HEADER_BYTES; at + FRAME_HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at + 8, true)
    at += (FRAME_HEADER_BYTES + length + 7) & ~7
    if (at > bytes.length) break
    ends.push(at)
  }
  return ends
}

describe('a store that was closed', () => {
  let built: Built
  let paths: readonly string[]
  let log: readonly string[]
  beforeAll(async () => {
    built = await build(true)
    paths = built.files.paths()
    log = paths.filter((path) => kindOf(path) === 'wal')
  })

  /** One damage, seen by a writer and by a reader. Returns the codes met. */
  async function after(label: string, damage: (files: FakeFiles) => void, o: { mustShow?: boolean } = {}): Promise<void> {
    for (const readOnly of [false, true]) {
      const files = built.files.image(1, 'all')
      damage(files)
      const codes = await look(files, built, readOnly, `${label}, ${readOnly ? 'read-only' : 'writing'}`)
      if (o.mustShow === true) expect([...codes], `${label}: damage that nobody sees`).not.toEqual([])
    }
  }

  it('refuses to open when its newest segment is cut at any record boundary, to a reader and a writer', async () => {
    const newest = newestOf(built.files)
    const bytes = built.files.contents(newest)!
    const ends = frameEnds(bytes)
    expect(ends.at(-1), 'the footer ends the file').toBe(bytes.length)
    expect(ends.length).toBeGreaterThan(8)
    for (const end of [0, SEGMENT_HEADER_BYTES, ...ends.slice(0, -1)]) {
      for (const readOnly of [false, true]) {
        for (const fill of ['short', 'zeros'] as const) {
          const files = built.files.image(1, 'all')
          const cut = bytes.slice(0, fill === 'short' ? end : bytes.length)
          cut.fill(0, end)
          rewrite(files, newest, cut)
          const { world } = simWorld({ seed: 6, files, host: { pid: 50, processStartTime: '50' } })
          const error = await allowed(`cut at ${end}`, () => Store.open('/data/store', { world, threads: 0, ...(readOnly ? { readOnly, follow: false } : {}) }))
          expect(error?.kind, `cut at ${end} of ${bytes.length}, ${fill}, ${readOnly ? 'read-only' : 'writing'}`).toBe('corrupt')
          expect(files.contents(newest), 'and nothing is written into what is damaged').toEqual(cut)
        }
      }
    }
  })

  it('refuses to open when an older segment is cut before the end of its records', async () => {
    for (const path of log.slice(0, -1)) {
      const bytes = built.files.contents(path)!
      const ends = frameEnds(bytes.subarray(0, usedOf(bytes)))
      // The last frame is the footer, which is no part of the log once a later segment begins.
      const some = ends.slice(0, -2).filter((_, i) => i % 7 === 0)
      for (const end of some) await after(`${path} cut at ${end}`, (files) => rewrite(files, path, bytes.slice(0, end)), { mustShow: true })
    }
  })

  it('shows right data or a coded error for any file cut short', { timeout: 600_000 }, async () => {
    for (const path of paths) {
      const bytes = built.files.contents(path)!
      const sizes = new Set([0, 1, SECTOR, bytes.length >> 1, bytes.length - 8, bytes.length - 1])
      for (const size of sizes) {
        if (size < 0 || size >= bytes.length) continue
        const mustShow = ['arrow', 'dv', 'idx', 'ckpt'].includes(kindOf(path)) || path === log.at(-1)
        await after(`${path} cut to ${size} of ${bytes.length}`, (files) => rewrite(files, path, bytes.slice(0, size)), { mustShow })
      }
    }
  })

  it('shows right data or a coded error for any file that has grown', { timeout: 600_000 }, async () => {
    for (const path of paths) {
      const bytes = built.files.contents(path)!
      for (const more of [new Uint8Array(PAGE), bytes.slice(0, PAGE)]) {
        await after(`${path} with ${more.length} bytes more`, (files) => {
          const grown = new Uint8Array(bytes.length + more.length)
          grown.set(bytes)
          grown.set(more, bytes.length)
          rewrite(files, path, grown)
        })
      }
    }
  })

  it('shows right data or a coded error for a lost sector or page, or one written to another place', { timeout: 600_000 }, async () => {
    const other = built.files.contents(log[0]!)!
    for (const path of paths) {
      const bytes = built.files.contents(path)!
      const used = kindOf(path) === 'wal' ? usedOf(bytes) : bytes.length
      const stride = Math.max(SECTOR, Math.ceil(used / 6 / SECTOR) * SECTOR)
      for (let at = 0; at < used; at += stride) {
        const length = Math.min(at % PAGE === 0 ? PAGE : SECTOR, bytes.length - at)
        await after(`${path}: ${length} bytes at ${at} are zeros`, (files) => files.corrupt(path, at, new Uint8Array(length)))
        const elsewhere = at === 0 ? other.slice(PAGE, PAGE + length) : bytes.slice(0, length)
        await after(`${path}: ${length} bytes at ${at} are of another place`, (files) => files.corrupt(path, at, elsewhere))
      }
    }
  })

  it('shows right data or a coded error when two files of a kind have changed places', { timeout: 600_000 }, async () => {
    for (const kind of new Set(paths.map(kindOf))) {
      const same = paths.filter((path) => kindOf(path) === kind)
      for (let i = 0; i + 1 < same.length; i++) {
        const [a, b] = [same[i]!, same[i + 1]!]
        const swap = (files: FakeFiles): void => {
          rewrite(files, a, built.files.contents(b)!)
          rewrite(files, b, built.files.contents(a)!)
        }
        await after(`${a} and ${b} changed places`, swap, { mustShow: ['arrow', 'dv', 'idx', 'ckpt', 'wal'].includes(kind) })
        await after(`${a} is in the place of ${b}`, (files) => rewrite(files, b, built.files.contents(a)!))
      }
    }
  })

  it('shows right data or a coded error for any file that is of an earlier time, or has come back', { timeout: 600_000 }, async () => {
    const newer = paths.filter((path) => built.older.has(path) && text(built.older.get(path)!) !== text(built.files.contents(path)!))
    expect(newer.map(kindOf)).toEqual(expect.arrayContaining(['CLEAN', 'NODE']))
    for (const path of newer) await after(`${path} of the close before`, (files) => rewrite(files, path, built.older.get(path)!))
    const gone = [...built.older.keys()].filter((path) => !paths.includes(path))
    expect(gone.map(kindOf)).toContain('LOCK')
    for (const path of gone) {
      await after(`${path} has come back`, (files) => {
        const handle = files.openSync(path, 'wx')
        handle.writeSync(0, built.older.get(path)!)
        handle.datasyncSync()
        handle.closeSync()
        files.syncDirSync(path.slice(0, path.lastIndexOf('/')))
      })
    }
  })
})

function text(bytes: Uint8Array): string {
  return bytes.join()
}
