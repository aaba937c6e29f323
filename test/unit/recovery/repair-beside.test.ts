// Repair and doctor beside what they must not touch: undecided writes, open handles, live writers, logs of slots, stores that nobody can repair.
import { beforeAll, describe, expect, it } from 'vitest'

import { type DoctorReport, Store } from '../../../bindings/index.ts'
import { checkpointBody, decodeCheckpoint, encodeCheckpoint } from '../../../bindings/catalog/index.ts'
import { StorageError } from '../../../bindings/errors.ts'
import { DirRoot, MemoryRoot } from '../../../bindings/root/index.ts'
import { FakeFiles, FaultyRoot } from '../../../bindings/testing/index.ts'
import { ObjectRoot } from '../staging/kit.ts'
import {
  ARMED,
  AT,
  build,
  type Built,
  checked,
  contents,
  find,
  flip,
  intent,
  names,
  options,
  OTHER,
  overwrite,
  PLACE,
  putStaged,
  repair,
  segments,
  TABLES,
  textOf,
  treeOf,
  world,
} from './repair-store.ts'

const doctor = async (files: FakeFiles, pid: number): Promise<DoctorReport> => await Store.doctor(PLACE, { world: world(files, pid) })
const orphanIn = (files: FakeFiles): string => find(files, /fragments.*arrow$/)[0]!.replace(/[0-9a-f]{8}\.arrow$/, '00000000.arrow')

describe('repair and doctor', () => {
  let built: Built
  const whole = (): string => built.states.at(-1)!.text
  const fresh = (): FakeFiles => built.files.image(1, 'all')
  beforeAll(async () => {
    built = await build()
  })

  it('options that are unknown or of the wrong type are refused before anything is looked at', async () => {
    const files = fresh()
    const before = treeOf(files)
    const given: [object, string][] = [
      [{ confrim: true }, 'confrim'],
      [{ confirm: 'yes' }, 'confirm'],
      [{ dropAfter: 3 }, 'dropAfter'],
      [{ signal: {} }, 'signal'],
    ]
    const store = await Store.open(new MemoryRoot())
    for (const [o, key] of given) {
      await expect(repair(files, 10, o)).rejects.toMatchObject({ code: 'options.invalid', key })
      await expect(store.repair(o)).rejects.toMatchObject({ code: 'options.invalid', key })
    }
    await expect(Store.doctor(PLACE, { world: world(files, 11), confirm: true } as never)).rejects.toMatchObject({ code: 'options.invalid', key: 'confirm' })
    expect(treeOf(files)).toEqual(before)
    await store.close()
  })

  it('staging/ that cannot be listed: doctor says so and goes on, and takes nothing for drift', async () => {
    const files = fresh()
    overwrite(files, orphanIn(files), 'an orphan')
    const root = new FaultyRoot(new DirRoot(PLACE, world(files, 10) as never))
    root.list = async function* (prefix: string, o?: object) {
      if (prefix.startsWith('staging/'))
        throw new StorageError('list of staging/: permission denied', { details: { op: 'list', name: 'staging/', class: 'permission' } })
      yield* root.inner.list(prefix, o)
    }
    const report = await Store.doctor(root, { world: world(files, 10) })
    expect(report.ok).toBe(false)
    expect(report.findings).toMatchObject([
      { area: 'damaged', what: 'staging/', who: 'you', needsPerson: true, detail: expect.stringContaining('permission denied') },
    ])
    expect([report.pending, report.facts.staging]).toEqual([[], []])
    await expect(Store.repair(root, { world: world(files, 10) })).rejects.toMatchObject({ name: 'StorageError' })
  })

  describe('beside undecided writes', () => {
    it('a readable INTENT: preview lists it, a confirmed repair refuses and changes nothing, an open decides it, then repair does its work', async () => {
      const files = fresh()
      await putStaged(files, ARMED, intent(ARMED))
      overwrite(files, orphanIn(files), 'an orphan')
      flip(files, find(files, /idx$/)[0]!, 50)
      const before = treeOf(files)
      const preview = await repair(files, 10)
      expect(preview).toMatchObject({ pending: [ARMED], actions: [{ kind: 'rebuild-index' }] })
      expect(preview.refusal).toEqual({
        message: `write ${ARMED} is not decided; repair leaves files alone beside them`,
        advice: 'Open the store read-write, which decides what its writers left. Then run varve repair again.',
      })
      await expect(repair(files, 11, { confirm: true })).rejects.toMatchObject({
        code: 'write.pending-intent',
        writeIds: [ARMED],
        message: expect.stringContaining(preview.refusal!.message),
        hint: preview.refusal!.advice,
      })
      const found = await doctor(files, 12)
      expect(found.pending).toMatchObject([{ writeId: ARMED, state: 'armed', decision: { kind: 'rollback', rule: 'd6', reason: 'unsealed' } }])
      expect(found.findings.find(({ area }) => area === 'pending')).toMatchObject({ what: ARMED, who: 'open', needsPerson: false })
      expect(found.findings.find(({ area }) => area === 'damaged')!.advice).toMatch(/^After the pending writes are decided: varve repair --confirm\.$/)
      expect(found.findings.find(({ area }) => area === 'drifting')!.advice).toBe('A pending write must be rolled back or forward first: reopen read-write.')
      expect(treeOf(files)).toEqual(before)
      const store = await Store.open(PLACE, options(files, 13))
      await store.close()
      const report = await repair(files, 14, { confirm: true })
      expect(report.actions.map(({ kind, done }) => [kind, done])).toEqual([
        ['rebuild-index', true],
        ['quarantine-orphan', true],
      ])
      expect((await checked(files, 15)).text).toBe(whole())
    })

    it('an INTENT that cannot be read beside one that can: only the former is moved, and then the store opens', async () => {
      const files = fresh()
      await putStaged(files, ARMED, intent(ARMED))
      await putStaged(files, OTHER, 'no intent', ['0123.keys'])
      overwrite(files, orphanIn(files), 'an orphan')
      await expect(Store.open(PLACE, options(files.image(1, 'all'), 20))).rejects.toMatchObject({ code: 'recovery.corrupt-intent' })
      const report = await repair(files, 21, { confirm: true })
      expect(report).toMatchObject({ pending: [ARMED], actions: [{ kind: 'quarantine-intent', file: `staging/${OTHER}/INTENT`, safe: true, done: true }] })
      const [folder] = report.quarantine
      expect(Buffer.from(contents(files, `${AT}${folder}/staging/${OTHER}/INTENT`)).toString()).toBe('no intent')
      expect(Buffer.from(contents(files, `${AT}${folder}/staging/${OTHER}/0123.keys`)).toString()).toBe('bytes of 0123.keys')
      expect(names(files).filter((name) => name.startsWith('staging/'))).toEqual([`staging/${ARMED}/INTENT`])
      const found = await checked(files, 22)
      expect([found.text, found.audits.map(({ kind }) => kind)]).toEqual([whole(), ['quarantine-intent']])
    })

    it('an INTENT of a newer engine: said to be no safe action, moved only when confirmed', async () => {
      const files = fresh()
      await putStaged(files, ARMED, Buffer.from(intent(ARMED)).toString().replace('"schemaVersion":1', '"schemaVersion":9'))
      expect((await repair(files, 30)).actions).toMatchObject([{ kind: 'quarantine-intent', safe: false, done: false }])
      expect((await doctor(files, 31)).findings).toMatchObject([{ area: 'pending', who: 'repair', needsPerson: true }])
      await repair(files, 32, { confirm: true })
      expect((await checked(files, 33)).text).toBe(whole())
    })

    it('a damaged log beside an undecided write: the log is cut, the write is left to the next open', async () => {
      const files = fresh()
      await putStaged(files, ARMED, intent(ARMED))
      files.unlinkSync(segments(files).at(-1)!)
      const { lost } = await repair(files, 40)
      const report = await repair(files, 41, { confirm: true, dropAfter: lost!.after })
      expect(report).toMatchObject({ pending: [ARMED], actions: [{ kind: 'cut-log', done: true }] })
      const found = await checked(files, 42)
      expect(found.text).toBe(built.states.findLast(({ lsn }) => lsn <= Number(lost!.after))!.text)
      expect(names(files).some((name) => name.startsWith('staging/'))).toBe(false)
    })

    it(
      'a damaged log beside a write that was prepared against what is cut off: it goes to quarantine, for no open could decide it',
      { timeout: 60_000 },
      async () => {
        const participant = { tableId: 1, incarnation: 2, name: 'accounts', op: 'append', rule: 'keys', files: [], removes: [], addresses: [] } as const
        const damaged = async (): Promise<FakeFiles> => {
          const files = fresh()
          const base = String(built.states.at(-1)!.lsn)
          await putStaged(files, ARMED, intent(ARMED, { baseLsn: base, participants: [{ ...participant, expectedVersion: base }] }), ['0123.arrow'])
          files.unlinkSync(segments(files).at(-1)!)
          return files.image(1, 'all')
        }
        const { lost } = await repair(await damaged(), 43)
        for (let k = 1; ; k += 9) {
          const files = await damaged()
          files.stopAt(k)
          await repair(files, 44, { confirm: true, dropAfter: lost!.after }).catch(() => undefined)
          const isWhole = !files.stopped
          const left = files.image(k, (['all', 'none', 'some'] as const)[k % 3]!)
          const first = await repair(left, 45, { confirm: true })
          if (first.actions.some(({ kind, done }) => kind === 'cut-log' && !done)) await repair(left, 46, { confirm: true, dropAfter: lost!.after })
          const found = await checked(left, 47)
          expect(found.text, `stopped at ${k}`).toBe(built.states.findLast(({ lsn }) => lsn <= Number(lost!.after))!.text)
          expect(names(left).filter((name) => /^quarantine\/.*\/staging\//.test(name)).length, `stopped at ${k}`).toBe(2)
          if (isWhole) break
        }
      },
    )

    it('a write that expects more of a table than the log has, unsealed: an open refuses for it, repair moves it away', async () => {
      const files = fresh()
      const participant = { tableId: 1, incarnation: 2, name: 'accounts', op: 'append', rule: 'keys', files: [], removes: [], addresses: [] } as const
      await putStaged(files, ARMED, intent(ARMED, { baseLsn: '9000', participants: [{ ...participant, expectedVersion: '9000' }] }))
      await expect(Store.open(PLACE, options(files.image(1, 'all'), 53))).rejects.toMatchObject({ code: 'store.invariant' })
      expect((await doctor(files, 54)).findings).toMatchObject([{ area: 'pending', who: 'repair', needsPerson: true }])
      const report = await repair(files, 55, { confirm: true })
      expect(report).toMatchObject({ pending: [], actions: [{ kind: 'quarantine-intent', safe: false, done: true }] })
      expect((await checked(files, 56)).text).toBe(whole())
    })

    it('a cut between seal and publish: the write waits again, or cannot be published any more, and never keeps the store from opening', async () => {
      for (const op of ['append', 'upsert', 'delete'] as const) {
        const files = fresh()
        const first = await Store.open(PLACE, options(files, 110))
        const { accounts } = TABLES
        const write = await first.stage({ message: op })
        const rows = Array.from({ length: 50 }, (_, i) => ({ id: BigInt(500_000 + i), name: `staged ${i}`, sum: i }))
        if (op === 'append') await write.append(accounts, rows)
        else if (op === 'upsert') await write.upsert(accounts, rows)
        else await write.delete(accounts, { id: 7919n })
        await write.seal()
        const before = await textOf(first)
        await first.close()
        const second = await Store.open(PLACE, options(files, 111))
        await (await second.resume(write.id)).publish()
        expect(await textOf(second)).not.toBe(before)
        await second.close()
        // The session that published it.
        files.unlinkSync(segments(files).at(-1)!)
        const { lost } = await repair(files, 112)
        const report = await repair(files, 113, { confirm: true, dropAfter: lost!.after })
        expect(
          report.actions.find(({ kind }) => kind === 'cut-log'),
          op,
        ).toMatchObject({ done: true })
        expect(report.pending, op).toEqual([write.id])
        expect((await checked(files, 114)).text, op).toBe(before)
        const third = await Store.open(PLACE, options(files, 115))
        const again = await third.resume(write.id)
        const published = await again.publish().then(
          () => true,
          (error: unknown) => {
            expect(error, op).toMatchObject({ code: 'write.damaged' })
            return false
          },
        )
        if (!published) await again.rollback('its files went with its publication')
        await third.close()
        const found = await checked(files, 116)
        expect(found.text === before, op).toBe(!published)
        expect((await doctor(files, 117)).ok, op).toBe(true)
      }
    })

    it('moving an INTENT is cut short at any call: the next one ends it', { timeout: 60_000 }, async () => {
      const damaged = async (): Promise<FakeFiles> => {
        const files = fresh()
        await putStaged(files, OTHER, 'no intent', ['0123.keys', '4567.arrow'])
        return files.image(1, 'all')
      }
      let ends = 0
      for (let k = 1; ; k += 7) {
        const files = await damaged()
        files.stopAt(k)
        if (
          await repair(files, 50, { confirm: true }).then(
            () => !files.stopped,
            () => false,
          )
        )
          break
        const left = files.image(k, (['all', 'none', 'some'] as const)[k % 3]!)
        await repair(left, 51, { confirm: true })
        const found = await checked(left, 52)
        // Once INTENT is gone, files beside it are nobody's: the sweep of an open may take what repair had not copied yet.
        expect(
          found.audits.map(({ kind }) => kind),
          `stopped at ${k}`,
        ).toEqual(['quarantine-intent'])
        expect(
          names(left).filter((name) => name.startsWith('staging/')),
          `stopped at ${k}`,
        ).toEqual([])
        expect(names(left).filter((name) => /^quarantine\/.*\/staging\//.test(name)).length, `stopped at ${k}`).toBe(3)
        ends++
      }
      expect(ends).toBeGreaterThan(10)
    })
  })

  describe('of an open store', () => {
    it('puts an index right, tells it once, leaves what nothing names, and refuses to cut', async () => {
      const files = fresh()
      flip(files, find(files, /idx$/)[0]!, 50)
      overwrite(files, orphanIn(files), 'an orphan')
      const store = await Store.open(PLACE, options(files, 60))
      const before = treeOf(files)
      expect(await store.repair()).toMatchObject({ confirmed: false, actions: [{ kind: 'rebuild-index', done: false }] })
      expect(treeOf(files)).toEqual(before)
      await expect(store.repair({ confirm: true, dropAfter: 3n as never })).rejects.toMatchObject({ code: 'options.invalid' })
      expect(await store.repair({ confirm: true })).toMatchObject({ confirmed: true, actions: [{ kind: 'rebuild-index', done: true }], problems: [] })
      expect((await store.repair({ confirm: true })).actions).toEqual([])
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      expect(names(files)).toContain(orphanIn(files).slice(AT.length))
      await store.close()
      expect((await checked(files, 61)).audits.map(({ kind }) => kind)).toEqual(['rebuild-index'])
    })

    it('a checkpoint that goes bad under it is dropped and written anew', async () => {
      const files = fresh()
      const store = await Store.open(PLACE, options(files, 62))
      const bad = find(files, /ckpt$/)
      for (const path of bad) overwrite(files, path, 'nothing')
      const report = await store.repair({ confirm: true })
      expect(report.actions.map(({ kind, done }) => [kind, done])).toEqual(bad.map(() => ['drop-checkpoint', true]))
      expect(find(files, /checkpoints\/.*ckpt$/).filter((path) => !path.includes('quarantine'))).toHaveLength(1)
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      await store.close()
      expect((await checked(files, 63)).text).toBe(whole())
    })

    it('a reader refuses', async () => {
      await using reader = await Store.open(PLACE, { ...options(fresh(), 64), readOnly: true, follow: false })
      await expect((reader as Store).repair()).rejects.toMatchObject({ code: 'store.read-only' })
    })

    it('beside a writer that commits, rolls and flushes all the time: no false alarm', { timeout: 60_000 }, async () => {
      const files = fresh()
      const store = await Store.open(PLACE, { ...options(files, 65), upkeep: 'auto', segmentBytes: 65_536, memory: { writeBytes: 200_000 } })
      const events = await store.table('events')
      let stop = false
      const writing = (async () => {
        for (let n = 100; !stop; n++) await store.append(events, Array.from({ length: 200 }, () => ({ n })) as never)
      })()
      for (let i = 0; i < 15; i++) {
        const report = await doctor(files, 66)
        expect(report.findings.filter(({ area, needsPerson }) => needsPerson || area === 'damaged')).toEqual([])
        expect(report.facts.lock).toMatchObject({ state: 'held', holder: { pid: 65 } })
        expect((await repair(files, 67)).problems).toEqual([])
      }
      stop = true
      await writing
      await store.close()
      expect((await doctor(files, 68)).ok).toBe(true)
    })
  })

  describe('of a log of slots', () => {
    const slots = async (): Promise<{ files: FakeFiles; text: string }> => {
      const files = new FakeFiles()
      const store = await Store.open(PLACE, { ...options(files, 70), writers: 'shared', inlineLimitBytes: 4096 })
      const { accounts, events } = TABLES
      await store.create(accounts, events)
      await store.append(
        accounts,
        Array.from({ length: 900 }, (_, i) => ({ id: BigInt((i * 7919) % 10_007), name: `name ${i}`, sum: i })),
      )
      for (let n = 0; n < 5; n++) await store.append(events, { n })
      const text = await textOf(store)
      await store.flush()
      await store.close()
      return { files, text }
    }

    it('whole: nothing to know and nothing to do', async () => {
      const { files } = await slots()
      expect(names(files).some((name) => /^log\/\d{20}$/.test(name))).toBe(true)
      const before = treeOf(files)
      expect(await repair(files, 71, { confirm: true })).toMatchObject({ actions: [], problems: [] })
      expect(await doctor(files, 72)).toMatchObject({ ok: true, findings: [], facts: { log: { layout: 'slots' } } })
      expect(treeOf(files)).toEqual(before)
    })

    it('an index, CLEAN, a checkpoint: put right without a lock; orphans stay; nothing is cut', async () => {
      const { files, text } = await slots()
      flip(files, find(files, /idx$/)[0]!, 50)
      if (files.contents(`${AT}CLEAN`) !== undefined) flip(files, `${AT}CLEAN`, 30)
      for (const path of find(files, /ckpt$/)) overwrite(files, path, 'nothing')
      overwrite(files, orphanIn(files), 'an orphan')
      await repair(files, 73, { confirm: true })
      const found = await checked(files, 74)
      expect(found.text).toBe(text)
      expect(found.audits.map(({ kind }) => kind)).toContain('rebuild-index')
      expect(names(files)).toContain(orphanIn(files).slice(AT.length))
      await expect(repair(files, 75, { confirm: true, dropAfter: 2n })).rejects.toMatchObject({ code: 'options.invalid' })
    })

    it('VARVE is lost or garbage: adopted, as slots', async () => {
      for (const damage of [(files: FakeFiles) => files.unlinkSync(`${AT}VARVE`), (files: FakeFiles) => flip(files, `${AT}VARVE`, 30)]) {
        const { files, text } = await slots()
        const store = await Store.open(PLACE, { ...options(files.image(1, 'all'), 78), readOnly: true, follow: false })
        damage(files)
        expect(await repair(files, 79, { confirm: true })).toMatchObject({ problems: [], actions: [{ kind: 'adopt-log', done: true }] })
        const again = await Store.open(PLACE, { ...options(files, 79), readOnly: true, follow: false })
        expect(again.id).toBe(store.id)
        await again.close()
        await store.close()
        expect(await checked(files, 80)).toMatchObject({ text, audits: [{ kind: 'adopt-log' }] })
      }
    })

    it('a slot that is gone: said, and left as it is', async () => {
      const { files } = await slots()
      for (const path of find(files, /ckpt$/)) files.unlinkSync(path)
      const [slot] = find(files, /log\/\d{20}$/).slice(2)
      files.unlinkSync(slot!)
      const before = treeOf(files)
      const report = await repair(files, 76, { confirm: true })
      expect(report.actions).toEqual([])
      expect(report.problems).toMatchObject([{ code: 'log.corrupt', advice: 'Restore the store from a backup.' }])
      expect((await doctor(files, 77)).ok).toBe(false)
      expect(treeOf(files)).toEqual(before)
    })
  })

  describe('on other roots', () => {
    for (const [name, make] of [
      ['memory', () => new MemoryRoot()],
      ['objects: no links, no segments', () => new ObjectRoot()],
    ] as const) {
      it(`${name}: an index and CLEAN are put right, originals kept`, async () => {
        const root = make()
        const o = { threads: 0, upkeep: 'manual', inlineLimitBytes: 4096 } as const
        const { accounts, events } = TABLES
        const store = await Store.open(root, o)
        await store.create(accounts, events)
        await store.append(
          accounts,
          Array.from({ length: 900 }, (_, i) => ({ id: BigInt((i * 7919) % 10_007), name: `name ${i}`, sum: i })),
        )
        await store.append(events, { n: 1 })
        const text = await textOf(store)
        await store.close()
        const broken: string[] = []
        for await (const { name: file } of root.list('')) if (/idx$|^CLEAN$/.test(file)) broken.push(file)
        const originals = new Map<string, Uint8Array>()
        for (const file of broken) {
          const { bytes } = await root.get(file)
          bytes[20]! ^= 1
          await root.put(file, bytes)
          originals.set(file, bytes)
        }
        expect(broken.length).toBeGreaterThan(1)
        expect((await Store.doctor(root)).findings.map(({ area, who }) => [area, who])).toContainEqual(['damaged', 'repair'])
        const report = await Store.repair(root, { confirm: true })
        expect(report.actions.map(({ done }) => done)).toEqual(broken.map(() => true))
        for (const [file, bytes] of originals) {
          const kept = await Promise.all(report.quarantine.map((folder) => root.get(`${folder}/${file}`).catch(() => undefined)))
          expect(
            kept.some((found) => found !== undefined && Buffer.from(found.bytes).equals(Buffer.from(bytes))),
            file,
          ).toBe(true)
        }
        const again = await Store.open(root, o)
        expect(await textOf(again)).toBe(text)
        expect((await again.verify({ level: 'all' })).problems).toEqual([])
        await again.close()
        expect(await Store.repair(root, { confirm: true })).toMatchObject({ actions: [], problems: [] })
      })
    }

    it('memory: a damaged log is cut', async () => {
      const root = new MemoryRoot()
      const { events } = TABLES
      const store = await Store.open(root, { threads: 0 })
      await store.create(events)
      for (let n = 0; n < 10; n++) await store.append(events, { n })
      await store.close()
      for await (const { name } of root.list('log/')) {
        const { bytes } = await root.get(name)
        bytes[bytes.length - 300]! ^= 1
        await root.put(name, bytes)
      }
      const { lost } = await Store.repair(root)
      expect(lost!.commits.length + lost!.unreadable).toBeGreaterThan(0)
      await Store.repair(root, { confirm: true, dropAfter: lost!.after })
      await using again = await Store.open(root, { threads: 0 })
      expect((await again.verify({ level: 'all' })).problems).toEqual([])
      expect((await again.scan(events).toArray()).length).toBeLessThan(10)
    })
  })

  describe('of drift', () => {
    /** The newest checkpoint counts three rows more than there are; its check holds. */
    const drift = (files: FakeFiles): void => {
      const [newest] = find(files, /ckpt$/).toReversed()
      const { storeId, lsn, digest, catalog } = decodeCheckpoint(contents(files, newest!))
      const events = catalog.byName('events')!
      catalog.tables.set(events.id, { ...events, rows: events.rows + 3 })
      overwrite(files, newest!, encodeCheckpoint(storeId, lsn, digest, checkpointBody(catalog)))
    }
    const drifted = (): FakeFiles => {
      const files = fresh()
      drift(files)
      return files.image(1, 'all')
    }

    it('writers are told to run repair, and repair makes the advice true', async () => {
      const files = drifted()
      const store = await Store.open(PLACE, options(files.image(1, 'all'), 91))
      const events = await store.table('events')
      await expect(store.append(events, { n: 1 } as never)).rejects.toMatchObject({
        code: 'recovery.drift',
        state: 'uncovered',
        message: expect.stringContaining('run varve repair'),
      })
      await store.close()
      const found = await doctor(files, 92)
      expect(found.findings).toMatchObject([{ area: 'damaged', who: 'repair', needsPerson: true, detail: expect.stringContaining('drop-checkpoint') }])
      const before = treeOf(files)
      expect((await repair(files, 93)).actions.map(({ kind }) => kind)).toEqual(['drop-checkpoint'])
      expect(treeOf(files)).toEqual(before)
      expect(await repair(files, 94, { confirm: true })).toMatchObject({ problems: [], actions: [{ kind: 'drop-checkpoint', done: true }] })
      const after = await checked(files, 95)
      expect([after.text, after.audits.map(({ kind }) => kind)]).toEqual([whole(), ['drop-checkpoint']])
      await using again = await Store.open(PLACE, options(files, 96))
      await again.append(await again.table('events'), { n: 1 } as never)
    })

    it('of an open store: the checkpoint goes, and a reopen is whole', async () => {
      const files = drifted()
      const store = await Store.open(PLACE, options(files, 97))
      expect(await store.repair({ confirm: true })).toMatchObject({ problems: [], actions: [{ kind: 'drop-checkpoint', done: true }] })
      await store.close()
      expect((await checked(files, 98)).text).toBe(whole())
    })

    it('a trimmed log: an older checkpoint that is right is enough', async () => {
      const files = fresh()
      for (const pid of [99, 100]) {
        const store = await Store.open(PLACE, { ...options(files, pid), upkeep: 'auto' })
        await store.append(await store.table('events'), { n: pid } as never)
        await store.flush()
        await store.close()
      }
      const text = (await checked(files.image(1, 'all'), 101)).text
      const first = (path: string): number => Number(/(\d+)\.(wal|ckpt)$/.exec(path)![1])
      const older = find(files, /ckpt$/).at(-2)!
      const kept = segments(files).findLast((path) => first(path) <= first(older))!
      for (const path of segments(files)) if (path < kept) files.unlinkSync(path)
      for (const path of find(files, /ckpt$/)) if (path < older) files.unlinkSync(path)
      drift(files)
      expect((await checked(files.image(1, 'all'), 102).catch((error: unknown) => error)) instanceof Error).toBe(true)
      expect(await repair(files, 103, { confirm: true })).toMatchObject({ problems: [], actions: [{ kind: 'drop-checkpoint', done: true }] })
      expect((await checked(files, 104)).text).toBe(text)
    })
  })

  describe('of what nobody can repair', () => {
    it('a fragment that is lost: named, with what to do; the rest is put right', async () => {
      const files = fresh()
      const [fragment] = find(files, /arrow$/)
      files.unlinkSync(fragment!)
      overwrite(files, orphanIn(built.files), 'an orphan')
      const report = await repair(files, 80, { confirm: true })
      expect(report.problems).toMatchObject([{ file: fragment!.slice(AT.length), advice: expect.stringContaining('backup') }])
      expect(report.actions).toMatchObject([{ kind: 'quarantine-orphan', done: true }])
    })

    it('a deletion vector that is lost: the store does not open, and repair says why', async () => {
      const files = fresh()
      const [vector] = find(files, /\.dv$/)
      files.unlinkSync(vector!)
      const before = treeOf(files)
      await expect(Store.open(PLACE, options(files.image(1, 'all'), 81))).rejects.toThrow()
      const report = await repair(files, 82, { confirm: true })
      expect(report.problems.map(({ file }) => file)).toContain(vector!.slice(AT.length))
      expect(report.actions.every(({ done }) => !done)).toBe(true)
      expect(treeOf(files)).toEqual(before)
    })

    it('a LOCK that cannot be read: doctor names the way out', async () => {
      const files = fresh()
      flip(files, find(files, /LOCK\./)[0]!, 10)
      expect((await doctor(files, 85)).findings).toMatchObject([
        { what: expect.stringMatching(/^LOCK\.\d+$/), who: 'you', needsPerson: true, advice: expect.stringContaining('varve unlock --force') },
      ])
      overwrite(files, `${AT}NODE`, 'no node')
      await expect(repair(files, 86, { confirm: true })).rejects.toMatchObject({ code: 'log.corrupt', hint: expect.stringContaining('varve unlock --force') })
    })

    it('the VARVE of another store: nothing is offered to be cut', async () => {
      const files = fresh()
      overwrite(files, `${AT}VARVE`, contents(await otherStore(), `${AT}VARVE`))
      const before = treeOf(files)
      const report = await repair(files, 83, { confirm: true })
      expect(report).toMatchObject({ actions: [], problems: [{ file: 'VARVE', message: expect.stringContaining('names store') }] })
      expect(report.lost).toBeUndefined()
      expect(treeOf(files)).toEqual(before)
    })

    it('a trimmed log without a checkpoint that reaches it', async () => {
      const files = fresh()
      for (const path of find(files, /ckpt$/)) overwrite(files, path, 'nothing')
      files.unlinkSync(segments(files)[0]!)
      const before = treeOf(files)
      const report = await repair(files, 84, { confirm: true })
      expect(report.problems).toMatchObject([{ code: 'checkpoint.corrupt', advice: 'Restore the store from a backup.' }])
      expect(report.actions.every(({ done }) => !done)).toBe(true)
      expect(treeOf(files)).toEqual(before)
    })
  })
})

async function otherStore(): Promise<FakeFiles> {
  const files = new FakeFiles()
  await (await Store.open(PLACE, options(files, 90))).close()
  return files
}
