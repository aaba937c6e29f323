// What repair does about a log that does not hold together: it says where it could be cut and what that would lose, and cuts nowhere unless it is told that LSN.
import { beforeAll, describe, expect, it } from 'vitest'

import { type RepairReport, Store } from '../../../bindings/index.ts'
import { ByteWriter, encodeAudit, encodeCommit } from '../../../bindings/format/index.ts'
import { openSegmentLog } from '../../../bindings/log/index.ts'
import { DirRoot } from '../../../bindings/root/index.ts'
import { seededRandom, type World } from '../../../bindings/runtime/index.ts'
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
  options,
  overwrite,
  PLACE,
  repair,
  segments,
  treeOf,
  world,
} from './repair-store.ts'

/** Stop at every so many-th call; `VARVE_STEPS=1` at each. */
const STRIDE = Number(process.env['VARVE_STEPS'] ?? 11)
const FLIPS = Number(process.env['VARVE_FLIPS'] ?? 150)

interface Case {
  readonly what: string
  readonly damage: Damage | ((files: FakeFiles) => Promise<void>)
}

const newest = (files: FakeFiles): string => segments(files).at(-1)!

const CASES: readonly Case[] = [
  { what: 'a bit of the newest segment', damage: (files) => flip(files, newest(files), contents(files, newest(files)).length >> 1) },
  { what: 'a segment in the middle is gone', damage: (files) => files.unlinkSync(segments(files).at(-2)!) },
  { what: 'the newest segment is gone', damage: (files) => files.unlinkSync(newest(files)) },
  { what: 'the newest segment is cut short', damage: (files) => overwrite(files, newest(files), contents(files, newest(files)).subarray(0, -400)) },
  {
    what: 'the log ends before a checkpoint, and CLEAN is lost too',
    damage: (files) => [...segments(files).slice(-2), `${AT}CLEAN`].forEach((path) => files.unlinkSync(path)),
  },
  { what: 'the head of the newest segment', damage: (files) => flip(files, newest(files), 20) },
  { what: 'a record that contradicts those before', damage: async (files) => void (await bogusRecord(files)) },
]

/** A whole frame with a payload that is none. */
async function bogusRecord(files: FakeFiles, before = 0, payload: Uint8Array = new TextEncoder().encode('no commit at all'), behind = 0): Promise<bigint> {
  const process = world(files, 15) as World
  const storeId = Buffer.from((JSON.parse(Buffer.from(contents(files, `${AT}VARVE`)).toString()) as { storeId: string }).storeId, 'hex')
  const log = await openSegmentLog(new DirRoot(PLACE, process), { world: process, storeId })
  const w = new ByteWriter()
  encodeAudit(w, { timeMs: 1_800_000_000_000, id: new Uint8Array(16), facts: { kind: 'nothing', by: 'a test', tables: [] } })
  const sound = { kind: 11 as const, payload: w.bytes.slice(0, w.at) }
  if (before > 0) await log.append(Array.from({ length: before }, () => sound))
  const { last } = await log.append([{ kind: 2, payload }])
  if (behind > 0) await log.append(Array.from({ length: behind }, () => sound))
  await log.close()
  return last
}

/** A commit that says it brings rows, and does not. */
function withoutItsRows(tableId: number): Uint8Array {
  const w = new ByteWriter()
  const inline = { rows: 5, bytes: new Uint8Array(1), start: 0, end: 1 }
  const change = { tableId, schemaVersion: 1, op: 'append' as const, inserted: 5, updated: 0, deleted: 0, inline }
  encodeCommit(w, { branch: 0, parent: 0, timeMs: 1_800_000_000_000, writeId: new Uint8Array(16), changes: [change] })
  return w.bytes.slice(0, w.at)
}

describe('repair of a damaged log', () => {
  let built: Built
  const stateAt = (lsn: bigint): string => built.states.findLast((state) => state.lsn <= Number(lsn))!.text
  const damaged = async ({ damage }: Case): Promise<FakeFiles> => {
    const files = built.files.image(1, 'all')
    await damage(files)
    return files.image(1, 'all')
  }
  beforeAll(async () => {
    built = await build()
  })

  // Rows of many records are read together: the record named was the one behind all of them, and the cut left the damage in.
  it.each([0, 1, 3])('a record whose rows cannot be read, and %i behind it: the cut is before that record', async (behind) => {
    const files = built.files.image(1, 'all')
    const damagedLsn = await bogusRecord(files, 2, withoutItsRows(1), behind)
    const { lost } = await repair(files, 21)
    expect(lost!.after).toBe(damagedLsn - 1n)
    await expect(Store.open(PLACE, options(files, 20))).rejects.toMatchObject({ code: 'log.corrupt', lsn: damagedLsn })
    expect((await repair(files, 22, { confirm: true, dropAfter: lost!.after })).problems).toEqual([])
    expect((await checked(files, 23)).text).toBe(stateAt(lost!.after))
  })

  for (const each of CASES) {
    const { what } = each
    describe(`${what}`, () => {
      it('a normal open refuses it', async () => {
        await expect(Store.open(PLACE, options(await damaged(each), 20))).rejects.toMatchObject({ kind: 'corrupt' })
      })

      it('preview: names the LSN and what a cut there loses; changes nothing, nor does a confirmed one that is not told the LSN', async () => {
        const files = await damaged(each)
        const before = treeOf(files)
        const report = await repair(files, 21)
        const cut = report.actions.find(({ kind }) => kind === 'cut-log')!
        expect(cut).toMatchObject({ safe: false, done: false, needs: `--drop-after ${report.lost!.after}` })
        checkLost(built, report)
        expect(treeOf(files)).toEqual(before)
        const confirmed = await repair(files, 21, { confirm: true })
        expect(confirmed.actions.every(({ done }) => !done)).toBe(true)
        expect(treeOf(files)).toEqual(before)
      })

      it('told the LSN: the log ends there, the store opens and verifies, the originals are kept', async () => {
        const files = await damaged(each)
        const { after } = (await repair(files, 21)).lost!
        const originals = treeOf(files)
        await expect(repair(files, 21, { confirm: true, dropAfter: after + 1n })).rejects.toMatchObject({ code: 'options.invalid', key: 'dropAfter' })
        expect(treeOf(files)).toEqual(originals)
        const report = await repair(files, 22, { confirm: true, dropAfter: after })
        expect(report.problems).toEqual([])
        expect(report.actions.filter(({ kind }) => kind === 'cut-log')).toMatchObject([{ done: true }])
        const [folder] = report.quarantine
        for (const [path, bytes] of treeOf(files)) {
          const name = /^(?:quarantine\/[^/]+\/)((?:log|checkpoints)\/.*|CLEAN)$/.exec(path.slice(AT.length))?.[1]
          if (name !== undefined) expect(bytes, name).toBe(originals.get(`${AT}${name}`))
        }
        for (const path of segments(files)) {
          const before = originals.get(path)
          if (before === undefined || treeOf(files).get(path) === before) continue
          expect(treeOf(files).get(`${AT}${folder}/${path.slice(AT.length)}`), path).toBe(before)
        }
        const found = await checked(files, 23)
        expect(found.text).toBe(stateAt(after))
        expect(found.audits.filter(({ kind }) => kind === 'cut-log')).toHaveLength(1)
        const settled = treeOf(files)
        expect((await repair(files, 24, { confirm: true })).actions).toEqual([])
        await expect(repair(files, 24, { confirm: true, dropAfter: after })).rejects.toMatchObject({ code: 'options.invalid' })
        expect(treeOf(files)).toEqual(settled)
      })

      it('cut short at any call: the next one goes on where it was, and a store that nobody repaired is refused or whole', { timeout: 240_000 }, async () => {
        const { after } = (await repair(await damaged(each), 21)).lost!
        let states = 0
        let resumed = 0
        for (let k = 1; ; k += STRIDE) {
          const files = await damaged(each)
          const killed = files.calls.length + k - 1
          files.stopAt(k)
          const ended = await repair(files, 25, { confirm: true, dropAfter: after }).then(
            () => !files.stopped,
            () => false,
          )
          if (ended) break
          if (!MUTATIONS.has(files.calls[killed]!.op)) continue
          const keep = (['all', 'none', 'some'] as const)[states % 3]!
          const label = `stopped at ${k}, ${keep}`
          const left = files.image(k, keep)
          await openedOrRefused(left.image(1, 'all'), stateAt(after), label)
          const first = await repair(left, 26, { confirm: true })
          if (first.actions.some(({ kind, done }) => kind === 'cut-log' && !done)) await repair(left, 27, { confirm: true, dropAfter: after })
          else resumed++
          const found = await checked(left, 28)
          expect(found.text, label).toBe(stateAt(after))
          expect(found.audits.filter(({ kind }) => kind === 'cut-log').length, label).toBe(1)
          states++
        }
        expect(states).toBeGreaterThan(30 / STRIDE)
        expect(resumed).toBeGreaterThan(0)
      })
    })
  }

  it('the head of the first segment: everything is lost, and said to be', async () => {
    const files = built.files.image(1, 'all')
    flip(files, segments(files)[0]!, 20)
    const preview = await repair(files, 30)
    expect(preview.lost).toMatchObject({ after: 0n })
    expect(preview.lost!.commits.length).toBeGreaterThan(5)
    const report = await repair(files, 31, { confirm: true, dropAfter: 0n as never })
    expect(report.actions.find(({ kind }) => kind === 'cut-log')).toMatchObject({ done: true })
    await using store = await Store.open(PLACE, options(files, 32))
    expect(await store.tables()).toEqual([])
    expect((await store.verify({ level: 'all' })).problems).toEqual([])
  })

  it('damage below a checkpoint keeps no store from opening: nothing is cut unless it is asked for, other actions are done', async () => {
    const files = built.files.image(1, 'all')
    flip(files, segments(files)[0]!, 3000)
    overwrite(files, `${AT}NODE`, 'no node')
    const preview = await repair(files, 30)
    expect(preview.actions.map(({ kind }) => kind)).toEqual(['drop-node', 'cut-log'])
    expect(preview.actions[1]!.detail).toMatch(/the store opens all the same/)
    const report = await repair(files, 31, { confirm: true })
    expect(report.actions.map(({ kind, done }) => [kind, done])).toEqual([['drop-node', true]])
    const store = await Store.open(PLACE, options(files, 32))
    expect(store.lsn).toBeGreaterThan(built.states.at(-1)!.lsn)
    await store.close()
  })

  it('an LSN on a whole log, or inside of an append, is refused; one before what must go is taken', async () => {
    await expect(repair(built.files.image(1, 'all'), 30, { dropAfter: 5n })).rejects.toMatchObject({
      code: 'options.invalid',
      message: expect.stringContaining('the log is not damaged'),
    })
    const files = built.files.image(1, 'all')
    await bogusRecord(files, 3)
    const { after } = (await repair(files, 31)).lost!
    for (const inside of [after - 1n, after - 2n]) {
      await expect(repair(files, 32, { confirm: true, dropAfter: inside })).rejects.toMatchObject({
        code: 'options.invalid',
        message: expect.stringContaining(`it is inside of an append; ${after - 3n} is not`),
      })
    }
    const report = await repair(files, 33, { dropAfter: after - 3n })
    expect(report.lost).toMatchObject({ after: after - 3n })
    await repair(files, 34, { confirm: true, dropAfter: after - 3n })
    expect((await checked(files, 35)).text).toBe(built.states.at(-1)!.text)
  })

  it('whoever writes after a repair that was cut short is not cut off by the next one', async () => {
    const files = await damaged(CASES[1]!)
    const { after } = (await repair(files, 21)).lost!
    // Killed after the cut and before its audit record.
    const calls = (await measured(files.image(1, 'all'), after)).cutDone
    files.stopAt(calls)
    await repair(files, 22, { confirm: true, dropAfter: after }).catch(() => undefined)
    const left = files.image(1, 'all')
    await checked(left, 23)
    const again = await repair(left, 24, { confirm: true })
    // What the lost commits had flushed is nobody's now.
    expect(again.actions.filter(({ kind }) => kind !== 'quarantine-orphan')).toEqual([])
    const found = await checked(left, 25)
    expect(found.text).toBe(stateAt(after))
    expect(found.audits.filter(({ kind }) => kind === 'cut-log')).toHaveLength(1)
  })

  it('a bit flipped anywhere: what repair does leaves a store that opens, verifies, and holds all or what it said', { timeout: 600_000 }, async () => {
    const random = seededRandom(7)
    const outcomes = new Map<string, number>()
    for (let i = 0; i < FLIPS; i++) {
      const files = built.files.image(1, 'all')
      const paths = find(files, /log\/.*wal$|ckpt$|idx$|CLEAN$|VARVE$|NODE$/)
      const path = paths[random.u32() % paths.length]!
      const bytes = contents(files, path)
      const at = random.u32() % bytes.length
      files.corrupt(path, at, Uint8Array.of(bytes[at]! ^ (1 << (random.u32() & 7))))
      const label = `${path}, byte ${at} of ${bytes.length}`
      const preview = await repair(files, 40)
      expect(
        preview.problems.filter(({ code }) => code !== 'log.corrupt'),
        label,
      ).toEqual([])
      const mustCut = preview.actions.some(({ kind, detail }) => kind === 'cut-log' && !detail.includes('opens all the same'))
      const report = await repair(files, 41, { confirm: true, ...(mustCut ? { dropAfter: preview.lost!.after } : {}) })
      expect(
        report.actions.filter(({ done }) => !done).map(({ kind }) => kind),
        label,
      ).toEqual(report.actions.filter(({ kind }) => kind === 'cut-log' && !mustCut).map(({ kind }) => kind))
      const isOptional = preview.lost !== undefined && !mustCut
      const text = isOptional ? await textOnly(files) : preview.lost?.after === 0n ? '' : (await checked(files, 42)).text
      if (preview.lost?.after !== 0n) expect(text, label).toBe(mustCut ? stateAt(preview.lost!.after) : built.states.at(-1)!.text)
      const kinds = preview.actions.map(({ kind }) => kind).join('+') || 'harmless'
      outcomes.set(kinds, (outcomes.get(kinds) ?? 0) + 1)
    }
    expect(outcomes.size).toBeGreaterThan(3)
  })
})

const MUTATIONS = new Set(['open', 'mkdir', 'rmdir', 'link', 'rename', 'unlink', 'syncDir', 'write', 'datasync', 'sync', 'truncate'])

async function textOnly(files: FakeFiles): Promise<string> {
  const { textOf } = await import('./repair-store.ts')
  await using store = await Store.open(PLACE, options(files, 43))
  return await textOf(store)
}

/** Lost commits are those of the store, in order, and every LSN up to the last one is accounted for. */
function checkLost(built: Built, report: RepairReport): void {
  const { after, through, commits, unreadable } = report.lost!
  const lsns = commits.map(({ lsn }) => lsn)
  expect(lsns).toEqual([...lsns].sort((a, b) => Number(a - b)))
  for (const lsn of lsns) expect(lsn > after && lsn <= through).toBe(true)
  expect(unreadable).toBeLessThanOrEqual(Number(through - after) - lsns.length)
  for (const { lsn, kind, tables, message, author } of commits) {
    if (kind !== 'commit') continue
    expect(built.states.some((state) => state.lsn === Number(lsn))).toBe(true)
    if (tables[0]?.table !== 'events') continue
    expect(tables).toEqual([{ table: 'events', inserted: 1, updated: 0, deleted: 0 }])
    if (message !== undefined) expect([author, message]).toEqual(['ada', expect.stringMatching(/^event \d+$/)])
  }
}

async function openedOrRefused(files: FakeFiles, text: string, label: string): Promise<void> {
  let found: string
  try {
    found = (await checked(files, 30)).text
  } catch (error) {
    expect((error as { kind?: string }).kind, label).toBe('corrupt')
    return
  }
  expect(found, label).toBe(text)
}

/** Calls of a repair up to the end of the cut: the LOCK of its first part is given back behind it. */
async function measured(files: FakeFiles, after: bigint): Promise<{ cutDone: number }> {
  const start = files.calls.length
  await repair(files, 22, { confirm: true, dropAfter: after })
  const truncate = files.calls.findIndex(({ op, n }) => n > start && op === 'truncate')
  return { cutDone: truncate + 6 - start }
}
