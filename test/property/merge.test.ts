// Merges of branches against plain Maps: random histories of several branches, merged to and fro, with flushes, small inline limits and reopens in between.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { type KeyedTable, type MergeConflict, MergeConflictError, type OpenOptions, oneOf, Store, t, table } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { everyRow, everyType } from '../unit/table/every-type.ts'
import { bases, isIn, merge, type Merged, type Node, type Row, type Rows, type Side, textOf } from './merge-model.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 25)

const every = everyType as KeyedTable
const trio = table(
  'trio',
  { a: t.utf8(), b: t.int64(), c: t.date(), v: t.utf8().nullable(), w: t.int32().nullable() },
  { key: ['a', 'b', 'c'] },
) as unknown as KeyedTable
const log = table('log', { n: t.int32() })
const TABLES: readonly KeyedTable[] = [every, trio]
const KEYS = 7
/** Branches that a history has at most. */
const BRANCHES = 4

const branch = fc.nat(BRANCHES - 1)
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('put' as const),
      branch,
      table: fc.nat(1),
      keys: fc.array(fc.nat(KEYS - 1), { minLength: 1, maxLength: 4 }),
      salt: fc.nat(30),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('patch' as const), branch, table: fc.nat(1), key: fc.nat(KEYS - 1), column: fc.nat(60), salt: fc.nat(30) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('delete' as const), branch, table: fc.nat(1), keys: fc.array(fc.nat(KEYS - 1), { minLength: 1, maxLength: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('log' as const), branch, ns: fc.array(fc.nat(4), { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('unlog' as const), branch, n: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('fork' as const), branch }) },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('merge' as const),
      source: branch,
      into: branch,
      side: fc.constantFrom<Side>('fail', 'ours', 'theirs', 'theirs'),
      byColumn: fc.boolean(),
      asked: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('reopen' as const) }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

const pool = fc.array(everyRow, { minLength: 6, maxLength: 6 })
const script = fc.array(step, { minLength: 4, maxLength: 40, size: 'max' })
const options: fc.Arbitrary<OpenOptions> = fc.record({
  inlineLimitBytes: fc.constantFrom(0, 400, 256 * 1024),
  memory: fc.constantFrom({}, { cacheBytes: 0 }),
})

class History {
  private readonly root = new MemoryRoot()
  private readonly pool: readonly Row[]
  private readonly options: OpenOptions
  private readonly heads: Node[] = []
  private store!: Store
  private count = 0
  /** Merges that were compared, and conflicts that came up in them. */
  readonly seen = { merges: 0, conflicts: 0, twoBases: 0 }

  constructor(pool: readonly Row[], options: OpenOptions) {
    this.pool = pool
    this.options = options
  }

  async open(): Promise<void> {
    this.store = await Store.open(this.root, { threads: 0, upkeep: 'manual', ...this.options })
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.open()
    await this.store.create(every, trio, log)
    this.heads.push(this.node([], new Map(TABLES.map(({ name }) => [name, new Map()])), []))
    for (const each of steps) await this.step(each)
    for (const index of this.heads.keys()) await this.compare(index)
    await this.differences()
    expect((await this.store.verify({ level: 'all' })).problems).toEqual([])
    expect(await this.store.pending()).toEqual([])
    await this.store.close()
  }

  private node(parents: readonly Node[], tables: Node['tables'], lines: readonly string[]): Node {
    return { index: this.count++, parents, tables, log: lines }
  }

  private name(index: number): string {
    return index === 0 ? 'main' : `b${index}`
  }

  private async writer(index: number): Promise<Pick<Store, 'upsert' | 'append' | 'delete' | 'deleteWhere'>> {
    return index === 0 ? this.store : this.store.branch(this.name(index))
  }

  private async step(step: Step): Promise<void> {
    const { heads, store } = this
    switch (step.op) {
      case 'flush':
        return store.flush()
      case 'reopen':
        await store.close()
        return this.open()
      case 'fork': {
        if (heads.length === BRANCHES) return
        const from = step.branch % heads.length
        await store.branch(this.name(heads.length), { from: this.name(from) })
        heads.push(heads[from]!)
        return
      }
      case 'merge':
        return this.merge(step.source % heads.length, step.into % heads.length, step.side, step.byColumn, step.asked)
      default:
        return this.write(step)
    }
  }

  private async write(step: Extract<Step, { readonly branch: number; readonly op: 'put' | 'patch' | 'delete' | 'log' | 'unlog' }>): Promise<void> {
    const index = step.branch % this.heads.length
    const head = this.heads[index]!
    const writer = await this.writer(index)
    if (step.op === 'log' || step.op === 'unlog') {
      if (step.op === 'log')
        await writer.append(
          log,
          step.ns.map((n) => ({ n })),
        )
      else await writer.deleteWhere(log, oneOf('n', [step.n]))
      const lines = step.op === 'log' ? [...head.log, ...step.ns.map(String)] : head.log.filter((text) => text !== String(step.n))
      this.heads[index] = this.node([head], head.tables, lines)
      return
    }
    const def = TABLES[step.table]!
    const rows = new Map(head.tables.get(def.name))
    if (step.op === 'delete') {
      await writer.delete(def, step.keys.map((key) => keyOf(def, this.row(def, key, 0))) as never)
      for (const key of step.keys) rows.delete(keyText(def, this.row(def, key, 0)))
    } else {
      const given = step.op === 'put' ? step.keys.map((key) => this.row(def, key, step.salt)) : this.patched(def, rows, step.key, step.column, step.salt)
      if (given.length === 0) return
      await writer.upsert(def, given as never)
      for (const row of given) rows.set(keyText(def, row), row)
    }
    this.heads[index] = this.node([head], new Map([...head.tables, [def.name, rows]]), head.log)
  }

  /** The row of a small number: key and values come from the pool, column by column. */
  private row(def: KeyedTable, key: number, salt: number): Row {
    if (def === every) {
      return Object.fromEntries(
        Object.keys(def.columns).map((name, i) => [name, name === 'id' ? BigInt(key) : this.pool[(salt + i * 5 + salt * i) % this.pool.length]![name]]),
      )
    }
    const keys = { a: ['', 'a|b', 'a', 'a\u001f', 'ä', 'b', 'a|'][key], b: BigInt(key % 2), c: '2026-11-21' }
    return { ...keys, v: [null, '', 'x', 'a, b'][salt % 4], w: salt % 3 === 0 ? null : salt % 5 }
  }

  /** One column of a row that is there. */
  private patched(def: KeyedTable, rows: Rows, key: number, column: number, salt: number): Row[] {
    const there = rows.get(keyText(def, this.row(def, key, 0)))
    const names = Object.keys(def.columns).filter((name) => !def.key.includes(name))
    const name = names[column % names.length]!
    return there === undefined ? [] : [{ ...there, [name]: this.row(def, key, salt)[name] }]
  }

  private async merge(source: number, into: number, side: Side, byColumn: boolean, asked: boolean): Promise<void> {
    const [theirs, ours] = [this.heads[source]!, this.heads[into]!]
    const [base, ...more] = bases(theirs, ours)
    // Either would do; which is taken is not told here.
    if (more.length > 0) {
      this.seen.twoBases++
      return
    }
    const expected = merge(base!, theirs, ours, side, byColumn)
    const onConflict = asked && side !== 'fail' && !byColumn ? ({ ours: t, theirs: s }: MergeConflict) => (side === 'theirs' ? s : t) : side
    const isDecided = !asked || side === 'fail' || byColumn || !expected.conflicts.some((each) => each.startsWith('log'))
    const call = this.store.merge(this.name(source), { into: this.name(into), onConflict, granularity: byColumn ? 'column' : 'row' })
    if (expected.conflicts.length > 0 && (side === 'fail' || !isDecided)) {
      const error = await call.then(
        () => undefined,
        (cause: unknown) => cause,
      )
      expect(error, 'a merge in conflict').toBeInstanceOf(MergeConflictError)
      this.checkConflicts((error as MergeConflictError).conflicts as readonly MergeConflict[], expected)
      return this.compare(into)
    }
    const result = await call
    this.checkConflicts(result.conflicts, expected)
    this.seen.merges++
    if (isIn(theirs, ours)) {
      expect(result.lsn, 'nothing to merge').toBeUndefined()
      expect(result.tables).toEqual({})
    } else {
      this.heads[into] = this.node([ours, theirs], expected.tables, expected.log)
      for (const { name } of TABLES)
        expect(result.tables[name] ?? NONE, `counts of ${name}`).toEqual(countsOf(ours.tables.get(name)!, expected.tables.get(name)!))
    }
    await this.compare(into)
    expect((await this.store.merge(this.name(source), { into: this.name(into) })).lsn, 'merged twice').toBeUndefined()
  }

  private checkConflicts(found: readonly MergeConflict[], { conflicts }: Merged): void {
    const texts = found.map(
      ({ table: name, key, kind }) =>
        `${name} ${
          name === 'log'
            ? ''
            : keyText(
                TABLES.find((def) => def.name === name)!,
                key as Row,
              )
        } ${kind}`,
    )
    expect(texts.toSorted()).toEqual(conflicts.toSorted())
    this.seen.conflicts += found.length
  }

  private async compare(index: number): Promise<void> {
    const { tables, log: lines } = this.heads[index]!
    for (const def of TABLES) {
      const rows = await this.store.scan(def, { at: this.name(index) }).toArray()
      expect(textsOf(new Map(rows.map((row) => [keyText(def, row as Row), row as Row]))), `${def.name} of ${this.name(index)}`).toEqual(
        textsOf(tables.get(def.name)!),
      )
      expect(rows.length).toBe(tables.get(def.name)!.size)
    }
    const found = (await this.store.scan(log, { at: this.name(index) }).toArray()).map(({ n }) => String(n))
    expect(found.toSorted(), `log of ${this.name(index)}`).toEqual(lines.toSorted())
  }

  /** What diff tells of two branches makes one of the other. */
  private async differences(): Promise<void> {
    for (const [i, from] of this.heads.entries()) {
      for (const [j, to] of this.heads.entries()) {
        for (const def of TABLES) {
          const rows = new Map(from.tables.get(def.name))
          for await (const change of this.store.diff(this.name(i), this.name(j), { tables: [def] })) {
            if (change.kind === 'delete') expect(rows.delete(keyText(def, change.key as Row))).toBe(true)
            else {
              const key = keyText(def, change.after as Row)
              expect(rows.has(key)).toBe(change.kind === 'update')
              rows.set(key, change.after as Row)
            }
          }
          expect(textsOf(rows)).toEqual(textsOf(to.tables.get(def.name)!))
        }
      }
    }
  }
}

const NONE = { inserted: 0, updated: 0, deleted: 0 }

function countsOf(before: Rows, after: Rows): typeof NONE {
  let [inserted, updated, deleted] = [0, 0, 0]
  for (const [key, row] of after) {
    const old = before.get(key)
    if (old === undefined) inserted++
    else if (textOf(sorted(old)) !== textOf(sorted(row))) updated++
  }
  for (const key of before.keys()) if (!after.has(key)) deleted++
  return { inserted, updated, deleted }
}

function keyOf(def: KeyedTable, row: Row): Row {
  return Object.fromEntries(def.key.map((name) => [name, row[name]]))
}

const keyText = (def: KeyedTable, row: Row): string => textOf(keyOf(def, row))
const sorted = (row: Row): [string, unknown][] => Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))
const textsOf = (rows: Rows): string[] => [...rows].map(([key, row]) => `${key} ${textOf(sorted(row))}`).sort()

describe('random histories of branches, merged to and fro', () => {
  it('show what plain Maps show, conflicts included', async () => {
    const seen = { merges: 0, conflicts: 0, twoBases: 0 }
    // Some seeds draw no conflict: then others are drawn.
    for (let round = 0; round < 6 && (round === 0 || seen.conflicts === 0); round++) {
      await fc.assert(
        fc.asyncProperty(pool, script, options, async (rows, steps, chosen) => {
          const history = new History(rows, chosen)
          await history.run(steps)
          for (const name of ['merges', 'conflicts', 'twoBases'] as const) seen[name] += history.seen[name]
        }),
        { numRuns: RUNS },
      )
    }
    // A history that compares nothing would prove nothing.
    expect(seen.merges).toBeGreaterThan(RUNS)
    expect(seen.conflicts).toBeGreaterThan(0)
  })
})
