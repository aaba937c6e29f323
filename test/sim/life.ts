// The whole life of a store against plain Maps: writes on main and on branches, tags, merges both ways, changes of definition, flush, optimize, vacuum, backups,
// kills and reopens, in random order from a seed.
//
// Invariant: after every step each branch shows what its model shows; positions at or above the floor, tags and snapshots show what was there then.

import { expect } from 'vitest'

import {
  type AnyTable,
  BackupMismatchError,
  eq,
  HistoryUnavailableError,
  lsn as position,
  type ReadStore,
  type Snapshot,
  Store,
  t,
  table,
} from '../../bindings/index.ts'
import { seededRandom } from '../../bindings/runtime/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { type SimWorld, simWorld } from './sim-world.ts'

type Row = Readonly<Record<string, unknown>>
interface State {
  readonly items: ReadonlyMap<number, Row>
  readonly logs: readonly string[]
}
interface Line {
  state: State
  /** Definitions that the branch has. */
  version: number
  /** Where it and main last agreed. */
  base: State
}

const EMPTY: State = { items: new Map(), logs: [] }
const GROUPS = ['a', 'b', 'c', 'd', 'e']
const PATH = '/data/store'

/** Each adds a column to the one before. */
function itemsOf(version: number): AnyTable {
  const extra = Object.fromEntries(Array.from({ length: version }, (_, i) => [`x${i}`, i % 2 === 0 ? t.utf8().nullable() : t.int32().default(7)]))
  return table(
    'items',
    { id: t.int32(), group: t.utf8(), code: t.utf8().nullable(), n: t.int64(), ...extra } as never,
    { key: ['id'], unique: [['code']], index: version > 0 ? ['group', ['group', 'n']] : ['group'] } as never,
  )
}
const logs = table('logs', { text: t.utf8() })

export class Life {
  private readonly random: { u32(): number }
  private readonly seed: number
  private sim: SimWorld
  private files = new FakeFiles()
  private process = 1
  private store!: Store
  private readonly lines = new Map<string, Line>([['main', { state: EMPTY, version: 0, base: EMPTY }]])
  private readonly tags = new Map<string, { state: State; version: number }>()
  private readonly versions: { lsn: bigint; state: State; version: number }[] = []
  private snapshots: { snapshot: Snapshot; state: State; version: number }[] = []
  private count = 0
  private names = 0
  readonly done: string[] = []

  constructor(seed: number) {
    this.seed = seed
    this.random = seededRandom(seed)
    this.sim = this.newSim()
  }

  private newSim(): SimWorld {
    const { process } = this
    return simWorld({
      seed: this.seed + process,
      files: this.files,
      host: { pid: process, processStartTime: String(process) },
      startMs: 1_700_000_000_000 + process * 1_000_000,
    })
  }

  private below(n: number): number {
    return this.random.u32() % n
  }

  async run(steps: number): Promise<void> {
    await this.open()
    await this.store.create(itemsOf(0), logs)
    this.saw(this.store.lsn)
    for (let i = 0; i < steps; i++) {
      const step = this.choose()
      this.done.push(step)
      this.sim.tick(this.below(3))
      await this.take(step)
      await this.check(`seed ${this.seed}, step ${i} (${step})`)
    }
    await this.finish()
  }

  private async open(): Promise<void> {
    this.store = await Store.open(PATH, {
      threads: 0,
      world: this.sim.world,
      inlineLimitBytes: [600, 600, 256 * 1024][this.seed % 3]!,
      sealMode: this.seed % 2 === 0 ? 'fused' : 'separate',
      segmentBytes: 64 * 1024,
      upkeep: this.seed % 4 === 0 ? 'auto' : 'manual',
    })
  }

  private choose(): string {
    const steps: readonly (readonly [string, number])[] = [
      ['write', 14],
      ['log', 3],
      ['flush', 4],
      ['optimize', 4],
      ['vacuum', 2],
      ['branch', 2],
      ['drop', 1],
      ['merge', 3],
      ['tag', 1],
      ['untag', 1],
      ['apply', 1],
      ['snapshot', 1],
      ['release', 1],
      ['travel', 2],
      ['backup', 1],
      ['reopen', 1],
      ['kill', 1],
      ['diff', 2],
      ['revert', 1],
    ]
    let at = this.below(steps.reduce((sum, [, weight]) => sum + weight, 0))
    for (const [step, weight] of steps) if ((at -= weight) < 0) return step
    return 'write'
  }

  private anyLine(): [string, Line] {
    const all = [...this.lines]
    return this.below(3) > 0 ? all[0]! : all[this.below(all.length)]!
  }

  private anyBranch(): [string, Line] | undefined {
    const all = [...this.lines].slice(1)
    return all[this.below(Math.max(1, all.length))]
  }

  private rowOf(id: number, version: number): Row {
    const n = ++this.count
    const extra = Object.fromEntries(Array.from({ length: version }, (_, i) => [`x${i}`, i % 2 === 0 ? (n % 3 === 0 ? null : `x${n % 4}`) : n % 5]))
    return { id, group: GROUPS[n % GROUPS.length], code: n % 4 === 0 ? null : `${id}:${n % 3}`, n: BigInt(n % 50), ...extra }
  }

  private async writer(name: string): Promise<Store> {
    return name === 'main' ? this.store : ((await this.store.branch(name, { create: 'never' })) as unknown as Store)
  }

  private async take(step: string): Promise<void> {
    switch (step) {
      case 'write':
        return this.write()
      case 'log': {
        const [name, line] = this.anyLine()
        const rows = Array.from({ length: 1 + this.below(3) }, () => `log ${++this.count}`)
        const writer = await this.writer(name)
        const { lsn } = await writer.append(
          logs,
          rows.map((text) => ({ text })),
        )
        line.state = { ...line.state, logs: [...line.state.logs, ...rows] }
        return this.wrote(name, lsn)
      }
      case 'flush':
        return this.store.flush()
      case 'optimize': {
        await this.store.optimize(this.below(2) === 0 ? {} : { target: { rows: 8 + this.below(60) } })
        return
      }
      case 'vacuum':
        return this.vacuum()
      case 'branch': {
        if (this.lines.size > 4) return
        const name = `b${++this.names}`
        await this.store.branch(name, { create: 'must' })
        const { state, version } = this.lines.get('main')!
        this.lines.set(name, { state, version, base: state })
        return
      }
      case 'drop': {
        const found = this.anyBranch()
        if (found === undefined) return
        await this.store.deleteBranch(found[0])
        this.lines.delete(found[0])
        return
      }
      case 'merge':
        return this.merge()
      case 'tag': {
        if (this.tags.size > 3) return
        const name = `t${++this.names}`
        await this.store.tag(name)
        const { state, version } = this.lines.get('main')!
        this.tags.set(name, { state, version })
        return
      }
      case 'untag': {
        const [name] = [...this.tags.keys()]
        if (name === undefined) return
        await this.store.deleteTag(name)
        this.tags.delete(name)
        return
      }
      case 'apply':
        return this.apply()
      case 'snapshot': {
        const { state, version } = this.lines.get('main')!
        this.snapshots.push({ snapshot: await this.store.snapshot(), state, version })
        return
      }
      case 'release':
        for (const { snapshot } of this.snapshots.splice(0, 1)) await snapshot[Symbol.asyncDispose]()
        return
      case 'travel':
        return this.travel()
      case 'backup':
        return this.backup()
      case 'reopen':
        await this.release()
        await this.store.close()
        this.process++
        this.sim = this.newSim()
        return this.open()
      case 'kill':
        this.snapshots = []
        this.store.close().catch(() => undefined)
        this.files = this.files.restart()
        this.process++
        this.sim = this.newSim()
        return this.open()
      case 'diff':
        return this.diff()
      case 'revert':
        return this.revert()
    }
  }

  private async write(): Promise<void> {
    const [name, line] = this.anyLine()
    const items = itemsOf(line.version) as never
    const writer = await this.writer(name)
    const next = new Map(line.state.items)
    const ids = Array.from({ length: this.below(4) === 0 ? 40 : 1 + this.below(5) }, () => this.below(80))
    let lsn: bigint
    switch (this.below(5)) {
      case 0: {
        const gone = ids.slice(0, 4)
        ;({ lsn } = await writer.delete(items, gone as never))
        for (const id of gone) next.delete(id)
        break
      }
      case 1: {
        const group = GROUPS[this.below(GROUPS.length)]!
        ;({ lsn } = await writer.deleteWhere(items, eq('group' as never, group as never) as never))
        for (const [id, row] of next) if (row['group'] === group) next.delete(id)
        break
      }
      case 2: {
        const patches = [...new Set(ids)].map((id) => ({ id, n: BigInt(++this.count % 50) }))
        ;({ lsn } = await writer.update(items, patches as never))
        for (const patch of patches) if (next.has(patch.id)) next.set(patch.id, { ...next.get(patch.id)!, ...patch })
        break
      }
      default: {
        const rows = ids.map((id) => this.rowOf(id, line.version))
        ;({ lsn } = await writer.upsert(items, rows as never))
        for (const row of rows) next.set(row['id'] as number, row)
      }
    }
    line.state = { ...line.state, items: next }
    this.wrote(name, lsn)
  }

  private wrote(name: string, lsn: bigint): void {
    if (name === 'main') this.saw(lsn)
  }

  private saw(lsn: bigint): void {
    const { state, version } = this.lines.get('main')!
    this.versions.push({ lsn, state, version })
  }

  private async apply(): Promise<void> {
    const main = this.lines.get('main')!
    if (main.version >= 3) return
    const version = main.version + 1
    await this.store.apply([itemsOf(version)])
    main.version = version
    const column = `x${version - 1}`
    main.state = { ...main.state, items: new Map([...main.state.items].map(([id, row]) => [id, { ...row, [column]: version % 2 === 1 ? null : 7 }])) }
    this.saw(this.store.lsn)
  }

  private async merge(): Promise<void> {
    const found = this.anyBranch()
    if (found === undefined) return
    const [name, line] = found
    const main = this.lines.get('main')!
    const onConflict = this.below(2) === 0 ? 'theirs' : 'ours'
    // The other way only between equal definitions: what is taken along otherwise is a matter of tests of its own.
    const isBack = line.version === main.version && this.below(3) === 0
    const [source, target] = isBack ? [main, line] : [line, main]
    const { lsn } = await this.store.merge(isBack ? 'main' : name, { onConflict, ...(isBack ? { into: name } : {}) })
    const filled = (state: State): State => ({ ...state, items: new Map([...state.items].map(([id, row]) => [id, fill(row, target.version)])) })
    const merged = threeWay(filled(line.base), filled(source.state), filled(target.state), onConflict)
    const base = source.state
    target.state = merged
    line.base = base
    if (!isBack && lsn !== undefined) this.saw(lsn)
  }

  private async vacuum(): Promise<void> {
    const versions = 1 + this.below(6)
    await this.store.vacuum({ keep: { versions } })
  }

  private async travel(): Promise<void> {
    const then = this.versions[this.below(this.versions.length)]!
    try {
      await this.compare(this.store, then.state, then.version, `at LSN ${then.lsn}`, position(then.lsn))
    } catch (error) {
      // Below the floor: only a vacuum puts it there.
      if (!(error instanceof HistoryUnavailableError) || !this.done.includes('vacuum')) throw error
    }
  }

  private async revert(): Promise<void> {
    const [name, tag] = [...this.tags][0] ?? []
    const main = this.lines.get('main')!
    if (name === undefined || tag!.version !== main.version) return
    const { lsn } = await this.store.revert(name)
    main.state = tag!.state
    this.saw(lsn)
  }

  private async backup(): Promise<void> {
    const target = `/data/backup${this.below(2)}`
    try {
      const { lsn } = await this.store.backup(target)
      expect(lsn).toBe(this.store.lsn)
    } catch (error) {
      // What lies between the older backup and the log is gone.
      if (!(error instanceof BackupMismatchError) || !this.done.includes('vacuum')) throw error
      return
    }
    const copy = await Store.open(target, { readOnly: true, threads: 0, world: this.sim.world })
    try {
      const { state, version } = this.lines.get('main')!
      await this.compare(copy, state, version, 'the backup')
      expect((await copy.verify({ level: 'all' })).problems).toEqual([])
    } finally {
      await copy.close()
    }
  }

  private async diff(): Promise<void> {
    const found = this.anyBranch()
    const main = this.lines.get('main')!
    if (found === undefined || found[1].version !== main.version) return
    const kinds = new Map<number, string>()
    for await (const change of this.store.diff('main', found[0], { tables: [itemsOf(main.version) as never] })) {
      const { kind, after, key } = change as unknown as { kind: string; after?: Row; key?: Row }
      kinds.set((after ?? key)!['id'] as number, kind)
    }
    const wanted = new Map<number, string>()
    const [from, to] = [main.state.items, found[1].state.items]
    for (const id of new Set([...from.keys(), ...to.keys()])) {
      const [a, b] = [from.get(id), to.get(id)]
      if (text(a) !== text(b)) wanted.set(id, a === undefined ? 'insert' : b === undefined ? 'delete' : 'update')
    }
    expect(sorted(kinds)).toEqual(sorted(wanted))
  }

  private async check(what: string): Promise<void> {
    for (const [name, { state, version }] of this.lines) await this.compare(await this.writer(name), state, version, `${what}: ${name}`)
    for (const [name, { state, version }] of this.tags) await this.compare(this.store, state, version, `${what}: tag ${name}`, name)
    for (const { snapshot, state, version } of this.snapshots) await this.compare(snapshot as unknown as ReadStore, state, version, `${what}: snapshot`)
    expect((await this.store.branches()).map(({ name }) => name).toSorted(), what).toEqual([...this.lines.keys()].toSorted())
    expect((await this.store.tags()).map(({ name }) => name).toSorted(), what).toEqual([...this.tags.keys()].toSorted())
  }

  private async compare(reader: Pick<ReadStore, 'scan' | 'get'>, state: State, version: number, what: string, at?: unknown): Promise<void> {
    const items = itemsOf(version) as never
    const o = (at === undefined ? {} : { at }) as never
    const rows = (await reader.scan(items, o).toArray()) as Row[]
    expect(rows.toSorted(byId).map(text), what).toEqual([...state.items.values()].toSorted(byId).map(text))
    const group = GROUPS[this.below(GROUPS.length)]!
    const ofGroup = (await reader.scan(items, { ...(o as object), where: eq('group' as never, group as never) as never }).toArray()) as Row[]
    expect(ofGroup.map((row) => row['id']).toSorted(), `${what}: group ${group}`).toEqual(
      [...state.items.values()]
        .filter((row) => row['group'] === group)
        .map((row) => row['id'])
        .toSorted(),
    )
    const id = this.below(80)
    expect(text((await reader.get(items, id as never, o)) as Row | undefined), `${what}: get ${id}`).toBe(text(state.items.get(id)))
    const texts = (await reader.scan(logs, o).toArray()).map((row) => row.text)
    expect(texts.toSorted(), `${what}: logs`).toEqual(state.logs.toSorted())
  }

  private async release(): Promise<void> {
    for (const { snapshot } of this.snapshots.splice(0)) await snapshot[Symbol.asyncDispose]()
  }

  private async finish(): Promise<void> {
    await this.release()
    const report = await this.store.verify({ level: 'all' })
    expect(report.problems, `seed ${this.seed}`).toEqual([])
    await this.store.close()
  }
}

function fill(row: Row, version: number): Row {
  const filled: Record<string, unknown> = { ...row }
  for (let i = 0; i < version; i++) if (!(`x${i}` in filled)) filled[`x${i}`] = i % 2 === 0 ? null : 7
  return filled
}

/** recovery.md section 13, its table. */
function threeWay(base: State, source: State, target: State, win: 'ours' | 'theirs'): State {
  const items = new Map<number, Row>()
  for (const id of new Set([...base.items.keys(), ...source.items.keys(), ...target.items.keys()])) {
    const merged = mergeRow(base.items.get(id), source.items.get(id), target.items.get(id), win)
    if (merged !== undefined) items.set(id, merged)
  }
  const gone = new Set(base.logs.filter((row) => !source.logs.includes(row)))
  const added = source.logs.filter((row) => !base.logs.includes(row) && !target.logs.includes(row))
  return { items, logs: [...target.logs.filter((row) => !gone.has(row)), ...added] }
}

function mergeRow(b: Row | undefined, s: Row | undefined, o: Row | undefined, win: 'ours' | 'theirs'): Row | undefined {
  if (text(s) === text(b) || text(s) === text(o)) return o
  if (text(o) === text(b)) return s
  if (b === undefined || s === undefined || o === undefined) return win === 'theirs' ? s : o
  return Object.fromEntries(
    Object.keys(o).map((column) => {
      const [base, theirs, ours] = [b[column], s[column], o[column]]
      const value = theirs === base ? ours : ours === base || win === 'theirs' ? theirs : ours
      return [column, value]
    }),
  )
}

function byId(a: Row, b: Row): number {
  return (a['id'] as number) - (b['id'] as number)
}

function sorted(map: Map<number, string>): [number, string][] {
  return [...map].toSorted(([a], [b]) => a - b)
}

function text(row: Row | undefined): string {
  if (row === undefined) return '-'
  const entries = Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(entries, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
}
