// What repair does about each kind of damage: the preview changes nothing, the confirmed one puts it right and says so once, a second one has nothing to do,
// and one that was cut short anywhere, by a kill or a power cut, is finished by the next.
import { beforeAll, describe, expect, it } from 'vitest'

import { Store } from '../../../bindings/index.ts'
import { FakeFiles } from '../../../bindings/testing/index.ts'
import {
  AT,
  type Built,
  build,
  checked,
  contents,
  type Damage,
  find,
  flip,
  names,
  options,
  overwrite,
  PLACE,
  repair,
  segments,
  treeOf,
} from './repair-store.ts'

/** Stop at every so many-th call; `VARVE_STEPS=1` at each. */
const STRIDE = Number(process.env['VARVE_STEPS'] ?? 11)

interface Case {
  readonly what: string
  readonly damage: Damage
  readonly kinds: readonly string[]
  /** The action once for each of these files. */
  readonly each?: RegExp
  /** Code of what a normal open says; undefined: it opens. */
  readonly open?: string
  /** Files whose originals must be in quarantine. */
  readonly kept?: (files: FakeFiles) => readonly string[]
}

const CASES: readonly Case[] = [
  { what: 'VARVE is lost', damage: (files) => files.unlinkSync(`${AT}VARVE`), kinds: ['adopt-log'] },
  { what: 'VARVE is garbage', damage: (files) => flip(files, `${AT}VARVE`, 30), kinds: ['adopt-log'], open: 'log.corrupt', kept: () => ['VARVE'] },
  { what: 'NODE is garbage', damage: (files) => overwrite(files, `${AT}NODE`, 'no node'), kinds: ['drop-node'], open: 'log.corrupt', kept: () => ['NODE'] },
  { what: 'CLEAN is garbage', damage: (files) => flip(files, `${AT}CLEAN`, 30), kinds: ['drop-clean'], open: 'log.corrupt', kept: () => ['CLEAN'] },
  {
    what: 'the footer that CLEAN names is damaged',
    damage: (files) => flip(files, segments(files).at(-1)!, contents(files, segments(files).at(-1)!).length - 60),
    kinds: ['seal-log'],
    open: 'log.corrupt',
    kept: (files) => [segments(files).at(-1)!.slice(AT.length)],
  },
  {
    what: 'the newest checkpoint is garbage',
    damage: (files) => flip(files, find(files, /ckpt$/).at(-1)!, 100),
    kinds: ['drop-checkpoint'],
    kept: (files) => [find(files, /ckpt$/).at(-1)!.slice(AT.length)],
  },
  {
    what: 'every checkpoint is garbage',
    damage: (files) => find(files, /ckpt$/).forEach((path) => overwrite(files, path, 'nothing')),
    kinds: ['drop-checkpoint'],
    each: /ckpt$/,
  },
  {
    what: 'an index is damaged',
    damage: (files) => flip(files, find(files, /idx$/)[0]!, 50),
    kinds: ['rebuild-index'],
    kept: (files) => [find(files, /idx$/)[0]!.slice(AT.length)],
  },
  { what: 'every index is lost', damage: (files) => find(files, /idx$/).forEach((path) => files.unlinkSync(path)), kinds: ['rebuild-index'], each: /idx$/ },
  {
    what: 'a file that nothing names',
    damage: (files) => overwrite(files, find(files, /arrow$/)[0]!.replace(/[0-9a-f]{8}\.arrow$/, '00000000.arrow'), 'an orphan'),
    kinds: ['quarantine-orphan'],
  },
]

describe('repair', () => {
  let built: Built
  const kindsOf = ({ kinds, each }: Case): readonly string[] => (each === undefined ? kinds : find(built.files, each).map(() => kinds[0]!))
  const whole = (): string => built.states.at(-1)!.text
  const damaged = ({ damage }: Pick<Case, 'damage'>): FakeFiles => {
    const files = built.files.image(1, 'all')
    damage(files)
    // Also for the disk: a power cut does not heal it.
    return files.image(1, 'all')
  }
  beforeAll(async () => {
    built = await build()
  })

  it('has a store with every kind of file to damage', async () => {
    expect(find(built.files, /ckpt$/).length).toBeGreaterThanOrEqual(2)
    expect(find(built.files, /idx$/).length).toBeGreaterThanOrEqual(2)
    expect(find(built.files, /\.dv$/).length).toBeGreaterThan(0)
    expect(segments(built.files).length).toBeGreaterThanOrEqual(3)
    expect((await checked(built.files.image(1, 'all'), 9)).text).toBe(whole())
  })

  it('of a whole store: no action, confirmed or not, and no byte changes', async () => {
    const files = built.files.image(1, 'all')
    const before = treeOf(files)
    for (const confirm of [false, true]) {
      expect(await repair(files, 10, { confirm })).toEqual({ confirmed: confirm, actions: [], problems: [], pending: [], quarantine: [] })
      expect(treeOf(files)).toEqual(before)
    }
  })

  for (const each of CASES) {
    const { what } = each
    describe(`${what}`, () => {
      it('a normal open says so, or opens', async () => {
        const open = async (): Promise<void> => (await Store.open(PLACE, options(damaged(each), 20))).close()
        if (each.open === undefined) await open()
        else await expect(open()).rejects.toMatchObject({ code: each.open })
      })

      it('preview: says what it would do and changes nothing', async () => {
        const files = damaged(each)
        const before = treeOf(files)
        const report = await repair(files, 21)
        expect(report).toMatchObject({ confirmed: false, problems: [], pending: [], quarantine: [] })
        expect(report.actions.map(({ kind, done }) => [kind, done])).toEqual(kindsOf(each).map((kind) => [kind, false]))
        expect(report.lost).toBeUndefined()
        expect(treeOf(files)).toEqual(before)
      })

      it('confirmed: the store opens and verifies, the originals are kept, one audit record an action, and a second time nothing is left to do', async () => {
        const files = damaged(each)
        const originals = (each.kept?.(files) ?? []).map((name) => [name, Buffer.from(contents(files, `${AT}${name}`))] as const)
        const report = await repair(files, 22, { confirm: true })
        expect(report).toMatchObject({ confirmed: true, problems: [], pending: [] })
        expect(report.actions.map(({ kind, done, safe }) => [kind, done, safe])).toEqual(kindsOf(each).map((kind) => [kind, true, true]))
        expect(report.quarantine).toHaveLength(1)
        for (const [name, bytes] of originals) expect(Buffer.from(contents(files, `${AT}${report.quarantine[0]}/${name}`)).equals(bytes), name).toBe(true)
        const found = await checked(files, 23)
        expect(found.text).toBe(whole())
        expect(found.audits.map(({ kind }) => kind)).toEqual(kindsOf(each))
        const before = treeOf(files)
        expect((await repair(files, 24, { confirm: true })).actions).toEqual([])
        expect(treeOf(files)).toEqual(before)
      })

      it('cut short at any call, by a kill or a power cut: the next one ends it, with one audit record an action', { timeout: 120_000 }, async () => {
        let states = 0
        for (let k = 1; ; k += STRIDE) {
          const files = damaged(each)
          const killed = files.calls.length + k - 1
          files.stopAt(k)
          const ended = await repair(files, 25, { confirm: true }).then(
            () => !files.stopped,
            () => false,
          )
          if (ended) break
          if (!MUTATIONS.has(files.calls[killed]!.op)) continue
          const keep = (['all', 'none', 'some'] as const)[states % 3]!
          const after = files.image(k, keep)
          const before = names(after).filter((name) => name.startsWith('quarantine/'))
          await repair(after, 26, { confirm: true })
          const found = await checked(after, 27)
          expect(found.text, `stopped at ${k}, ${keep}`).toBe(whole())
          expect(found.audits.map(({ kind }) => kind).sort(), `stopped at ${k}, ${keep}`).toEqual([...kindsOf(each)].sort())
          expect(names(after), `stopped at ${k}, ${keep}`).toEqual(expect.arrayContaining(before))
          states++
        }
        expect(states).toBeGreaterThan(30 / STRIDE)
      })
    })
  }
})

const MUTATIONS = new Set(['open', 'mkdir', 'rmdir', 'link', 'rename', 'unlink', 'syncDir', 'write', 'datasync', 'sync', 'truncate'])
