// Damage: a flipped bit anywhere in any file of a store, a file gone, the log cut at any byte. What is read is right, or the error has a code; never wrong data.

import { beforeAll, describe, expect, it } from 'vitest'

import { type ReadStore, Store } from '../../bindings/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { allowed, build, type Built, kindOf, look, usedOf } from './damage-kit.ts'
import { simWorld } from './sim-world.ts'
import { compare } from './store-model.ts'

/** Bits flipped per file; `VARVE_FLIPS=100000` flips one in every byte. */
const FLIPS = Number(process.env['VARVE_FLIPS'] ?? 16)
const SEED = Number(process.env['VARVE_SEED'] ?? 11)

const FOOTER_BYTES_MAX = 128

/** Bytes of a file to damage: both ends, and some between. */
function places(size: number, random: { u32(): number }): number[] {
  if (FLIPS >= size) return Array.from({ length: size }, (_, i) => i)
  const found = new Set<number>()
  for (let i = 0; i < FLIPS / 4; i++) found.add(Math.min(size - 1, random.u32() % 128)).add(Math.max(0, size - 1 - (random.u32() % 128)))
  while (found.size < Math.min(size, FLIPS)) found.add(random.u32() % size)
  return [...found]
}

for (const how of ['closed', 'killed'] as const) {
  describe(`a store that was ${how}`, () => {
    let built: Built
    let newest: string
    beforeAll(async () => {
      built = await build(how === 'closed')
      newest = built.files
        .paths()
        .filter((path) => /log\/\d+\.wal$/.test(path))
        .at(-1)!
    })
    /** Bytes that are in use in the newest segment. */
    const used = (): number => usedOf(built.files.contents(newest)!)

    it('has every kind of file', async () => {
      const kinds = new Set(built.files.paths().map(kindOf))
      for (const kind of ['arrow', 'dv', 'idx', 'ckpt', 'wal', 'VARVE', 'LOCK', 'NODE', 'CLEAN']) expect([...kinds]).toContain(kind)
      expect(built.files.paths().filter((path) => path.endsWith('.wal')).length).toBeGreaterThan(2)
      expect(await look(built.files.image(1, 'all'), built, false, 'undamaged')).toEqual(new Set())
    })

    it('shows right data or a coded error for a flipped bit anywhere', { timeout: 3_600_000 }, async () => {
      const random = seededRandom(SEED)
      let flips = 0
      // What lies behind the records of an older segment, its footer included, is no part of the log; of the newest one every byte is.
      const isLog = (path: string, at: number, bytes: Uint8Array): boolean =>
        how === 'closed' && kindOf(path) === 'wal' && (path === newest || at < usedOf(bytes) - FOOTER_BYTES_MAX)
      const silent: string[] = []
      for (const path of built.files.paths()) {
        const bytes = built.files.contents(path)!
        const kind = kindOf(path)
        const size = path === newest && how === 'killed' ? Math.min(bytes.length, used() + 64) : bytes.length
        for (const at of places(size, random)) {
          const files = built.files.image(1, 'all')
          const bit = random.u32() & 7
          files.corrupt(path, at, Uint8Array.of(bytes[at]! ^ (1 << bit)))
          const label = `${path}, byte ${at} of ${bytes.length}, bit ${bit}`
          const codes = await look(files, built, random.u32() % 3 === 0, label, how === 'killed' && path === newest ? [built.states.at(-2)!.state] : [])
          // Files with a digest are verified whole; the log by its frames and chain.
          if (codes.size === 0 && (['arrow', 'dv', 'idx', 'ckpt'].includes(kind) || isLog(path, at, bytes))) silent.push(label)
          flips++
        }
      }
      expect(silent, 'damage that verify does not see').toEqual([])
      expect(flips).toBeGreaterThan(200)
    })

    it('shows right data or a coded error without any one of its files', { timeout: 600_000 }, async () => {
      // After a kill nothing tells that there was a segment after the last close: its loss is a loss of the newest records.
      const before = built.states.findLast(({ lsn }) => lsn < Number(/(\d+)\.wal/.exec(newest)![1]))!.state
      for (const path of built.files.paths()) {
        for (const readOnly of [false, true]) {
          const files = built.files.image(1, 'all')
          files.unlinkSync(path)
          const codes = await look(files, built, readOnly, `without ${path}`, how === 'killed' && path === newest ? [before] : [])
          if (['arrow', 'dv'].includes(kindOf(path)) || (kindOf(path) === 'wal' && (how === 'closed' || path !== newest)))
            expect([...codes], `without ${path}`).not.toEqual([])
        }
      }
    })

    it('shows a whole prefix, or refuses, when its log is cut at any byte of the last frames', { timeout: 600_000 }, async () => {
      const end = used()
      const stride = FLIPS >= 1000 ? 1 : 5
      for (let at = end - 700; at <= end; at += at > end - 160 ? 1 : stride) {
        for (const fill of ['short', 'zeros'] as const) {
          const files = built.files.image(1, 'all')
          if (fill === 'short') {
            const handle = files.openSync(newest, 'r+')
            handle.truncateSync(at)
            handle.datasyncSync()
            handle.closeSync()
          } else files.corrupt(newest, at, new Uint8Array(end - at))
          const label = `cut at ${at} of ${end}, ${fill}`
          const { world } = simWorld({ seed: 6, files, host: { pid: 50, processStartTime: '50' } })
          const readOnly = at % 4 === 0
          let store: ReadStore | undefined
          const refused = await allowed(label, async () => {
            store = readOnly
              ? await Store.open('/data/store', { world, threads: 0, readOnly: true, follow: false })
              : await Store.open('/data/store', { world, threads: 0 })
          })
          if (store === undefined) {
            expect(refused!.kind, label).toBe('corrupt')
            // A segment is born whole: a crash cannot cut into what it began with.
            expect(how === 'closed' || at < built.bornBytes, `${label}: ${refused!.message}`).toBe(true)
            continue
          }
          if (how === 'closed') expect(files.contents(newest), `${label}: opened`).toEqual(built.files.contents(newest))
          const head = Number(store.lsn) - (readOnly ? 0 : 1)
          const found = built.states.findLast(({ lsn }) => lsn <= head)!
          await compare(store, found.state, `${label}: LSN ${head}`, { light: true })
          expect((await store.verify({ level: 'all' })).problems, label).toEqual([])
          await store.close()
        }
      }
    })
  })
}
