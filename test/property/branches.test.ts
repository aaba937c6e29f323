// Random histories over several branches, held against plain maps: made of main, of each other, of older positions and tags; written, flushed, compacted, deleted,
// reopened, and read back at any position they ever had.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { type Branch, columns, gte, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'

const rows = table('rows', { id: t.int32(), v: t.utf8() }, { key: ['id'] })
const log = table('log', { n: t.int32() })

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)
const NAMES = ['a', 'b', 'c', 'd'] as const
const IDS = 24

/** Rows of both tables, as text. */
interface Contents {
  readonly rows: ReadonlyMap<number, string>
  readonly log: readonly number[]
}

const EMPTY: Contents = { rows: new Map(), log: [] }

type Where = number
type Op =
  | { readonly op: 'upsert' | 'load' | 'replace' | 'transact' | 'staged'; readonly on: Where; readonly ids: readonly number[] }
  | { readonly op: 'delete'; readonly on: Where; readonly ids: readonly number[] }
  | { readonly op: 'deleteWhere'; readonly on: Where; readonly from: number }
  | { readonly op: 'create'; readonly name: number; readonly of: 'main' | 'branch' | 'tag' | 'old'; readonly pick: number }
  | { readonly op: 'drop'; readonly name: number }
  | { readonly op: 'tag'; readonly on: Where }
  | { readonly op: 'untag'; readonly pick: number }
  | { readonly op: 'flush' | 'optimize' | 'reopen' | 'readers' }
  | { readonly op: 'travel'; readonly on: Where; readonly pick: number }

const on = fc.nat({ max: NAMES.length })
const ids = fc.uniqueArray(fc.nat({ max: IDS - 1 }), { minLength: 1, maxLength: 8 })
const pick = fc.nat({ max: 1000 })
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('upsert', 'load', 'replace', 'transact', 'staged' as const), on, ids }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('delete' as const), on, ids }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('deleteWhere' as const), on, from: fc.nat({ max: IDS }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('create' as const), name: fc.nat({ max: 3 }), of: fc.constantFrom('main', 'branch', 'tag', 'old' as const), pick }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('drop' as const), name: fc.nat({ max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('tag' as const), on }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('untag' as const), pick }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom('flush', 'optimize', 'reopen', 'readers' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('travel' as const), on, pick }) },
)

interface ModelBranch {
  now: Contents
  /** What it was at each LSN at which anybody looked, its parents' included. */
  readonly past: [lsn: bigint, was: Contents][]
}

class Run {
  private readonly root = new MemoryRoot()
  private store!: Store
  private readonly main: ModelBranch = { now: EMPTY, past: [] }
  private readonly branches = new Map<string, ModelBranch>()
  private readonly tags = new Map<string, Contents>()
  private salt = 0
  private tagCount = 0

  async play(ops: readonly Op[]): Promise<void> {
    await this.reopen()
    await this.store.create(rows, log)
    try {
      for (const each of ops) await this.step(each)
      await this.reopen()
      await this.checkAll()
      expect((await this.store.verify({ level: 'all' })).problems).toEqual([])
    } finally {
      await this.store.close()
    }
  }

  private async reopen(): Promise<void> {
    await (this.store as Store | undefined)?.close()
    this.store = await Store.open(this.root, { threads: 0, upkeep: 'manual', inlineLimitBytes: 600 })
  }

  /** Main, or a branch that is there. */
  private async target(where: Where): Promise<{ readonly handle: Store | Branch; readonly model: ModelBranch; readonly name: string }> {
    const name = where === 0 ? undefined : NAMES[where - 1]!
    const model = name === undefined ? undefined : this.branches.get(name)
    if (model === undefined) return { handle: this.store, model: this.main, name: 'main' }
    return { handle: await this.store.branch(name!, { create: 'never' }), model, name: name! }
  }

  private async step(each: Op): Promise<void> {
    switch (each.op) {
      case 'flush':
        return this.store.flush()
      case 'optimize':
        await this.store.optimize()
        return this.checkAll()
      case 'reopen':
        return this.reopen()
      case 'readers':
        return this.readers()
      case 'create':
        return this.create(each)
      case 'drop': {
        const name = NAMES[each.name]!
        if (!this.branches.delete(name)) return
        await this.store.deleteBranch(name)
        return
      }
      case 'tag': {
        const { model, name } = await this.target(each.on)
        const tag = `t${this.tagCount++}`
        await this.store.tag(tag, { at: name })
        this.tags.set(tag, model.now)
        return
      }
      case 'untag': {
        const tag = [...this.tags.keys()][each.pick % Math.max(1, this.tags.size)]
        if (tag === undefined) return
        this.tags.delete(tag)
        await this.store.deleteTag(tag)
        return
      }
      case 'travel': {
        const { handle, model } = await this.target(each.on)
        const past = model.past[each.pick % Math.max(1, model.past.length)]
        if (past === undefined) return
        expect(await contents(handle, past[0])).toEqual(past[1])
        return
      }
      default:
        await this.write(each)
    }
  }

  private async create({ name: at, of, pick: picked }: Op & { op: 'create' }): Promise<void> {
    const name = NAMES[at]!
    if (this.branches.has(name)) return
    const others = [...this.branches.keys()]
    const tags = [...this.tags.keys()]
    const old = this.main.past[picked % Math.max(1, this.main.past.length)]
    let from: { readonly at?: string | bigint; readonly was: ModelBranch }
    if (of === 'branch' && others.length > 0) {
      const parent = others[picked % others.length]!
      from = { at: parent, was: this.branches.get(parent)! }
    } else if (of === 'tag' && tags.length > 0) {
      const tag = tags[picked % tags.length]!
      from = { at: tag, was: { now: this.tags.get(tag)!, past: [] } }
    } else if (of === 'old' && old !== undefined) {
      from = { at: old[0], was: { now: old[1], past: this.main.past.filter(([lsn]) => lsn <= old[0]) } }
    } else from = { was: this.main }
    const branch = await this.store.branch(name, { create: 'must', ...(from.at === undefined ? {} : { from: from.at as never }) })
    const model: ModelBranch = { now: from.was.now, past: [...from.was.past] }
    this.branches.set(name, model)
    if (picked % 2 === 0) expect(await contents(branch)).toEqual(model.now)
    this.note(model)
  }

  private async write(each: Op & { readonly on: Where }): Promise<void> {
    const { handle, model } = await this.target(each.on)
    const salt = ++this.salt
    const next = new Map(model.now.rows)
    let notes = model.now.log
    const batch = (found: readonly number[]): { id: number; v: string }[] => found.map((id) => ({ id, v: `${salt}.${id}` }))
    switch (each.op) {
      case 'upsert':
        for (const { id, v } of batch(each.ids)) next.set(id, v)
        await handle.upsert(rows, batch(each.ids))
        break
      case 'load': {
        const many = each.ids.flatMap((id) => [id, id + 1000, id + 2000, id + 3000])
        for (const { id, v } of batch(many)) next.set(id, v)
        await handle.upsert(rows, columns({ id: Int32Array.from(many), v: batch(many).map(({ v }) => `${v}`) }))
        break
      }
      case 'replace':
        next.clear()
        for (const { id, v } of batch(each.ids)) next.set(id, v)
        await handle.replace(rows, batch(each.ids))
        break
      case 'delete':
        for (const id of each.ids) next.delete(id)
        await handle.delete(rows, [...each.ids])
        break
      case 'deleteWhere':
        for (const id of next.keys()) if (id >= each.from) next.delete(id)
        await handle.deleteWhere(rows, gte('id', each.from))
        break
      case 'transact':
        await handle.transact(async (tx) => {
          for (const id of each.ids) {
            const row = await tx.get(rows, id)
            expect(row?.v).toBe(model.now.rows.get(id))
            tx.upsert(rows, { id, v: `${row?.v ?? ''}+${salt}` })
            next.set(id, `${row?.v ?? ''}+${salt}`)
          }
          tx.append(log, { n: salt })
        })
        notes = [...notes, salt]
        break
      case 'staged': {
        const write = await handle.stage()
        await write.upsert(rows, batch(each.ids))
        await write.append(log, { n: salt })
        await write.publish()
        for (const { id, v } of batch(each.ids)) next.set(id, v)
        notes = [...notes, salt]
        break
      }
      default:
        return
    }
    model.now = { rows: next, log: notes }
    this.note(model)
    if (salt % 3 === 0) expect(await contents(handle)).toEqual(model.now)
  }

  private note(model: ModelBranch): void {
    model.past.push([this.store.lsn, model.now])
  }

  /** Everything through main's `at`, and through a store that only reads. */
  private async readers(): Promise<void> {
    const reader = await Store.open(this.root, { readOnly: true, follow: false })
    try {
      for (const store of [this.store, reader]) {
        expect((await store.branches()).map(({ name }) => name)).toEqual(['main', ...[...this.branches.keys()].toSorted()])
        for (const [name, { now }] of this.branches) expect(await contents(store, name)).toEqual(now)
        for (const [name, was] of this.tags) expect(await contents(store, name)).toEqual(was)
        expect(await contents(store)).toEqual(this.main.now)
      }
    } finally {
      await reader.close()
    }
  }

  private async checkAll(): Promise<void> {
    expect(await contents(this.store)).toEqual(this.main.now)
    for (const [name, model] of this.branches) {
      const branch = await this.store.branch(name, { create: 'never' })
      expect(await contents(branch)).toEqual(model.now)
      for (const [id, v] of model.now.rows) expect(await branch.get(rows, id)).toEqual({ id, v })
      const [lsn, was] = model.past[this.salt % model.past.length]!
      expect(await contents(branch, lsn)).toEqual(was)
    }
    for (const [name, was] of this.tags) expect(await contents(this.store, name)).toEqual(was)
  }
}

async function contents(from: Pick<Store, 'scan'>, at?: bigint | string): Promise<Contents> {
  const o = at === undefined ? {} : { at: at as never }
  const found = await from.scan(rows, { ...o, orderBy: 'id' }).toArray()
  const notes = await from.scan(log, o).toArray()
  return { rows: new Map(found.map(({ id, v }) => [id, v])), log: notes.map(({ n }) => n).toSorted((a, b) => a - b) }
}

describe('histories over several branches', () => {
  it('are those of plain maps, at every position that a branch ever had', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 10, maxLength: 60, size: 'max' }), (ops) => new Run().play(ops)),
      { numRuns: RUNS },
    )
  })
})
