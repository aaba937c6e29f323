// Backups of random histories: chains of incremental ones, restored at any LSN, are what time travel of the source shows; no damaged byte goes unseen.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import {
  BackupMismatchError,
  columns,
  HistoryUnavailableError,
  lsn,
  NotAStoreError,
  type ReadStore,
  type Root,
  Store,
  StoreTooNewError,
  t,
  table,
  VarveError,
} from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { simWorld } from '../sim/sim-world.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)

const keyed = table('keyed', { id: t.int64(), text: t.utf8() }, { key: ['id'], index: ['text'] })
const plain = table('plain', { n: t.int32() })

type Step =
  | { kind: 'append' | 'upsert' | 'delete'; from: number; count: number }
  | { kind: 'load'; from: number; count: number }
  | { kind: 'flush' }
  | { kind: 'optimize' }
  | { kind: 'vacuum'; versions: number }
  | { kind: 'reopen' }
  | { kind: 'backup'; target: number; back: number; byReader: boolean }

const rows = { from: fc.nat(40), count: fc.integer({ min: 1, max: 12 }) }
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('append' as const, 'upsert' as const, 'delete' as const), ...rows }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('load' as const), from: fc.nat(2000), count: fc.integer({ min: 50, max: 300 }) }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: 'flush' }, { kind: 'reopen' }, { kind: 'optimize' }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('vacuum' as const), versions: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('backup' as const), target: fc.nat(1), back: fc.nat(3), byReader: fc.boolean() }) },
)
const script = fc.array(step, { minLength: 3, maxLength: 25, size: 'max' })

interface Options {
  readonly writers: 'shared' | 'exclusive'
  readonly segmentBytes: number
  readonly sealMode: 'fused' | 'separate'
}
const options: fc.Arbitrary<Options> = fc.record({
  writers: fc.constantFrom('shared' as const, 'exclusive' as const),
  segmentBytes: fc.constantFrom(64 * 1024, 16 * 1024 * 1024),
  sealMode: fc.constantFrom('fused' as const, 'separate' as const),
})

async function contents(store: Pick<ReadStore, 'scan'>, at?: bigint): Promise<string> {
  const o = at === undefined ? {} : { at: lsn(at) }
  const a = await store.scan(keyed, { orderBy: 'id', ...o }).toArray()
  const b = await store.scan(plain, o).toArray()
  return [...a.map(({ id, text }) => `${id}=${text}`), ...b.map(({ n }) => n)].join(' ')
}

class Source {
  readonly root = new MemoryRoot()
  readonly targets: Root[] = [new MemoryRoot(), new MemoryRoot()]
  readonly lsns: [number, number] = [0, 0]
  readonly seed: number
  readonly o: Options
  store!: Store
  private process = 0
  private version = 0

  constructor(o: Options, seed: number) {
    this.o = o
    this.seed = seed
  }

  async open(): Promise<void> {
    const { world } = simWorld({ seed: this.seed + ++this.process })
    this.store = await Store.open(this.root, { world, threads: 0, upkeep: 'manual', inlineLimitBytes: 600, follow: false, ...this.o })
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.open()
    await this.store.create(keyed, plain)
    for (const each of steps) await this.step(each)
    await this.step({ kind: 'backup', target: 0, back: 0, byReader: false })
  }

  private async step(each: Step): Promise<void> {
    const { store } = this
    const text = `v${++this.version}`
    if (each.kind === 'flush') await store.flush()
    else if (each.kind === 'optimize') await store.optimize()
    else if (each.kind === 'vacuum') await store.vacuum({ keep: { versions: each.versions } })
    else if (each.kind === 'reopen') {
      await store.close()
      await this.open()
    } else if (each.kind === 'backup') await this.backup(each.target, each.back, each.byReader)
    else {
      const ids = Array.from({ length: each.count }, (_, i) => BigInt(each.from + i))
      if (each.kind === 'append')
        await store.append(
          plain,
          ids.map((id) => ({ n: Number(id) })),
        )
      else if (each.kind === 'upsert')
        await store.upsert(
          keyed,
          ids.map((id) => ({ id, text })),
        )
      else if (each.kind === 'delete') await store.delete(keyed, ids)
      else await store.upsert(keyed, columns({ id: BigInt64Array.from(ids), text: ids.map((id) => `${text}/${id}`) }) as never)
    }
  }

  private async backup(target: number, back: number, byReader: boolean): Promise<void> {
    const from = byReader ? await Store.open(this.root, { readOnly: true, follow: false }) : this.store
    const at = Math.max(Number(from.lsn) - back, this.lsns[target]!)
    try {
      const report = await from.backup(this.targets[target]!, { at })
      expect(Number(report.lsn)).toBe(at)
      this.lsns[target] = at
    } catch (error) {
      if (error instanceof HistoryUnavailableError) await expect(contents(from, BigInt(at))).rejects.toThrow(HistoryUnavailableError)
      else if (error instanceof BackupMismatchError && error.reason === 'behind') {
        // The log between is trimmed: another one is begun.
        expect(this.lsns[target]).toBeLessThan(Number((await from.stats()).log.tail))
        this.targets[target] = new MemoryRoot()
        this.lsns[target] = 0
        await this.backup(target, 0, byReader)
      } else throw error
    } finally {
      if (byReader) await from.close()
    }
  }
}

describe('a random history', () => {
  it('restored from a chain of backups, at any LSN, is what time travel of the source shows', () =>
    fc.assert(
      fc.asyncProperty(script, options, fc.nat(1000), fc.array(fc.nat(10_000), { minLength: 2, maxLength: 4 }), async (steps, o, seed, places) => {
        const source = new Source(o, seed)
        await source.run(steps)
        const { store } = source
        for (const [target, end] of source.lsns.entries()) {
          if (end < 2) continue
          const copy = await Store.open(source.targets[target]!, { readOnly: true })
          expect(Number(copy.lsn)).toBe(end)
          expect((await copy.verify({ level: 'all' })).problems).toEqual([])
          await copy.close()
          for (const place of places) {
            const at = lsn(2 + (place % (end - 1)))
            const to = new MemoryRoot()
            const newId = place % 3 === 0
            const restored = await Store.restore(source.targets[target]!, to, { at, newId }).catch(async (error: unknown) => {
              if (!(error instanceof HistoryUnavailableError)) throw error
              await expect(contents(store, at)).rejects.toThrow(HistoryUnavailableError)
            })
            if (restored === undefined) continue
            const { digest } = restored
            // What a vacuum has taken since is in the older copy still, and cannot be asked of the source.
            const then = await contents(store, at).catch((error: unknown) => {
              if (error instanceof HistoryUnavailableError) return undefined
              throw error
            })
            const reader = await Store.open(to, { readOnly: true, follow: false })
            expect(reader.lsn).toBe(at)
            if (then !== undefined) expect(await contents(reader)).toBe(then)
            const rows = await contents(reader)
            const verified = await reader.verify({ level: 'all' })
            expect(verified.problems).toEqual([])
            expect(Buffer.from(verified.digest).equals(digest)).toBe(true)
            await reader.close()
            const written = await Store.open(to, { threads: 0, upkeep: 'manual', follow: false, ...o })
            await written.append(plain, { n: -1 })
            expect(await contents(written)).toBe(`${rows} -1`.trim())
            await written.close()
          }
        }
        await store.close()
      }),
      { numRuns: RUNS },
    ))

  it('with one byte of its backup changed is refused, or told by verify, or what it was', async () => {
    let told = 0
    await fc.assert(
      fc.asyncProperty(script, options, fc.nat(1000), fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (steps, o, seed, file, offset, change) => {
        const source = new Source(o, seed)
        await source.run(steps)
        const [target] = source.targets
        const names: string[] = []
        for await (const { name } of target!.list('')) if (!name.startsWith('LOCK.')) names.push(name)
        const name = names[file % names.length]!
        const bytes = (await target!.get(name)).bytes.slice()
        const at = offset % bytes.length
        bytes[at]! ^= change
        await target!.put(name, bytes)
        const expected = await contents(source.store)
        await source.store.close()
        const where = `${name} byte ${at}`
        try {
          const copy = await Store.open(target!, { readOnly: true, follow: false })
          // Behind the last record of a segment that another one follows nothing is part of the log.
          const { ok } = await copy.verify({ level: 'all' })
          if (ok) expect(await contents(copy), `${where}: verify saw nothing`).toBe(expected)
          else told++
          await copy.close()
        } catch (error) {
          if (!(error instanceof VarveError)) throw error
          told++
          expect(error.kind === 'corrupt' || error instanceof StoreTooNewError || error instanceof NotAStoreError, `${where}: ${String(error)}`).toBe(true)
        }
        // A restore copies what is sound, and nothing else.
        const to = new MemoryRoot()
        const restored = await Store.restore(target!, to).then(
          () => true,
          (error: unknown) => {
            if (!(error instanceof VarveError)) throw error
            return false
          },
        )
        if (!restored) return
        const reader = await Store.open(to, { readOnly: true, follow: false })
        expect((await reader.verify({ level: 'all' })).problems, where).toEqual([])
        expect(await contents(reader), where).toBe(expected)
        await reader.close()
      }),
      { numRuns: RUNS * 2 },
    )
    expect(told).toBeGreaterThan(RUNS)
  })
})
