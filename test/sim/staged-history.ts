// A History with staged writes in it: opened, fed, sealed, published and rolled back between any two other steps, over reopens and kills.
//
// The model of a staged write is what it wrote, per table; whether it may be published is asked of the change feed, which has tests of its own.

import fc from 'fast-check'
import { expect } from 'vitest'

import { ConflictError, DuplicateKeyError, type StagedWrite, type WriteId } from '../../bindings/index.ts'
import { changes, History, type Step, steps } from './history.ts'
import { type AnyRow, apply, type Change, keyOf, rowsOf, type State, TABLES, type TableName, text, textOf, whereOf, dataOf } from './store-model.ts'

export type StagedStep =
  | Step
  | { readonly op: 'stage'; readonly changes: readonly Change[] }
  | { readonly op: 'more'; readonly which: number; readonly change: Change }
  | { readonly op: 'seal' | 'publish' | 'rollback' | 'leave'; readonly which: number }

const which = fc.nat(5)
/** A staged write has no update. */
const staged = changes.filter((change) => change.op !== 'update')

export const stagedSteps: fc.Arbitrary<StagedStep> = fc.oneof(
  { weight: 5, arbitrary: steps },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('stage' as const), changes: fc.array(staged, { minLength: 1, maxLength: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('more' as const), which, change: staged }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('seal' as const), which }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('publish' as const), which }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('rollback' as const, 'leave' as const), which }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('reopen' as const), how: fc.constantFrom('clean' as const, 'kill' as const) }) },
  { weight: 1, arbitrary: fc.constant({ op: 'flush' as const }) },
)

/** What a staged write did to one table. */
interface Written {
  /** Version of the store at the first call for this table. */
  readonly sinceLsn: number
  replaced: boolean
  /** Keyed: the row as it shall be, or null. */
  readonly keys: Map<string, AnyRow | null>
  /** Unkeyed. */
  added: AnyRow[]
  readonly removed: AnyRow[]
}

interface Staged {
  handle: StagedWrite
  readonly id: WriteId
  state: 'open' | 'staged' | 'sealed'
  readonly tables: Map<TableName, Written>
}

export class StagedHistory extends History {
  private writes: Staged[] = []
  published = 0
  conflicts = 0

  async runStaged(script: readonly StagedStep[]): Promise<void> {
    for (const step of script) {
      await this.stagedStep(step)
      await this.check(`step ${text(step)}`)
    }
  }

  private async stagedStep(step: StagedStep): Promise<void> {
    switch (step.op) {
      case 'stage': {
        const handle = await this.store.stage()
        const write: Staged = { handle, id: handle.id, state: 'open', tables: new Map() }
        this.writes.push(write)
        for (const change of step.changes) await this.write(write, change)
        return
      }
      case 'more': {
        const write = this.pick(step.which)
        return write === undefined ? undefined : this.write(write, step.change)
      }
      case 'seal': {
        const write = this.pick(step.which)
        if (write === undefined) return
        await write.handle.seal()
        write.state = 'sealed'
        return
      }
      case 'publish':
        return this.publish(this.pick(step.which))
      case 'rollback':
      case 'leave': {
        const write = this.pick(step.which)
        if (write === undefined) return
        if (step.op === 'rollback') await write.handle.rollback()
        else await write.handle[Symbol.asyncDispose]()
        if (step.op === 'leave' && write.state === 'sealed') {
          write.handle = await this.store.resume(write.id)
          return
        }
        await this.gone(write)
        return
      }
      case 'reopen': {
        const unsealed = this.writes.filter(({ state }) => state !== 'sealed')
        this.extraRecords = unsealed.filter(({ state }) => state === 'staged').length
        await this.run([step])
        for (const write of unsealed) await this.gone(write)
        expect((await this.store.staged()).map(({ writeId }) => writeId).toSorted()).toEqual(this.writes.map(({ id }) => id).toSorted())
        for (const write of this.writes) write.handle = await this.store.resume(write.id)
        return
      }
      default:
        return this.run([step])
    }
  }

  private pick(which: number): Staged | undefined {
    return this.writes[which % Math.max(1, this.writes.length)]
  }

  private async gone(write: Staged): Promise<void> {
    this.writes = this.writes.filter((each) => each !== write)
    expect(await this.store.outcome(write.id), `${write.id}, ${write.state}`).toBe(write.state === 'open' ? 'unknown' : 'rolledBack')
  }

  private async write(write: Staged, change: Change): Promise<void> {
    const call = (): Promise<void> => perform(write.handle, change)
    if (write.state === 'sealed') return void (await expect(call(), text(change)).rejects.toMatchObject({ code: 'write.closed' }))
    const known = write.tables.get(change.table)
    const before = known ?? { sinceLsn: Number(this.store.lsn), replaced: false, keys: new Map(), added: [], removed: [] }
    const view = seen(this.state, change.table, before)
    const right = apply(view, change)
    if (right === undefined) {
      await expect(call(), text(change)).rejects.toBeInstanceOf(DuplicateKeyError)
      return
    }
    await call()
    note(before, change, view)
    write.tables.set(change.table, before)
    write.state = 'staged'
  }

  private async publish(write: Staged | undefined): Promise<void> {
    if (write === undefined) return
    const expected = await this.expected(write)
    const result = await write.handle.publish().catch((error: unknown) => error as Error)
    const what = `publish of ${text([...write.tables])}`
    if (result instanceof ConflictError) {
      expect(expected.mayConflict, `${what}: ${result.message}`).toBe(true)
      expect(write.handle.state).toBe('sealed')
      write.state = 'sealed'
      this.conflicts++
      await write.handle.rollback()
      await this.gone(write)
      return
    }
    if (result instanceof Error) throw result
    expect(expected.mustConflict, `${what}: published over a conflict`).toBe(false)
    this.writes = this.writes.filter((each) => each !== write)
    this.published++
    expect(await this.store.outcome(write.id)).toBe('published')
    let after: State = this.state
    for (const [table, written] of write.tables) after = seen(after, table, written)
    this.committed(result, after, write.tables.size > 0)
  }

  /** What the log since each table's first call says of the write. */
  private async expected(write: Staged): Promise<{ mayConflict: boolean; mustConflict: boolean }> {
    let mayConflict = false
    let mustConflict = false
    for (const [table, written] of write.tables) {
      const definition = TABLES[table]
      for await (const commit of this.store.changes({ from: written.sinceLsn, tables: [definition], follow: false })) {
        if (commit.counts[table] === undefined) continue
        if (written.replaced) mustConflict = true
        if (table === 'events') {
          if (written.removed.length > 0 && commit.counts[table].deleted > 0) mayConflict = true
          continue
        }
        for await (const change of commit) {
          const row = (change.kind === 'delete' ? change.key : change.after) as AnyRow
          if (written.keys.has(textOf(table, row))) mustConflict = true
        }
      }
    }
    return { mayConflict: mayConflict || mustConflict, mustConflict }
  }
}

/** The table as the write would leave it, over a state. */
function seen(state: State, table: TableName, written: Written): State {
  if (table === 'events') {
    const kept = written.replaced ? [] : [...(state.events as readonly AnyRow[])]
    if (!written.replaced)
      for (const row of written.removed) {
        const at = kept.findIndex((each) => text(each) === text(row))
        expect(at, `a row it removes is there: ${text(row)}`).toBeGreaterThanOrEqual(0)
        kept.splice(at, 1)
      }
    return { ...state, events: [...kept, ...written.added] }
  }
  const rows = new Map(written.replaced ? [] : (state[table] as ReadonlyMap<string, AnyRow>))
  for (const [key, row] of written.keys) {
    if (row === null) rows.delete(key)
    else rows.set(key, row)
  }
  return { ...state, [table]: rows }
}

function note(written: Written, change: Change, view: State): void {
  const { table } = change
  const how = change.op === 'bulk' ? change.how : change.op
  if (how === 'replace') {
    written.replaced = true
    written.keys.clear()
    written.added = []
    written.removed.length = 0
  }
  if (how === 'deleteWhere') {
    const left = apply(view, change)!.state[table]
    if (table === 'events') {
      const kept = [...(left as readonly AnyRow[])].map((row) => text(row))
      const gone = (rows: readonly AnyRow[]): AnyRow[] => rows.filter((row) => !kept.includes(text(row)))
      const stored = (view.events as readonly AnyRow[]).slice(0, (view.events as readonly AnyRow[]).length - written.added.length)
      if (!written.replaced) written.removed.push(...gone(stored))
      written.added = written.added.filter((row) => kept.includes(text(row)))
    } else
      for (const key of (view[table] as ReadonlyMap<string, AnyRow>).keys()) if (!(left as ReadonlyMap<string, AnyRow>).has(key)) written.keys.set(key, null)
    return
  }
  if (change.op === 'delete') {
    for (const key of change.keys) written.keys.set(textOf(table, keyOf(table, key)), null)
    return
  }
  for (const row of rowsOf(change)) {
    if (table === 'events') written.added.push(row)
    else written.keys.set(textOf(table, row), row)
  }
}

type Call = (table: unknown, data: unknown) => Promise<void>

function perform(write: StagedWrite, change: Change): Promise<void> {
  const definition = TABLES[change.table]
  if (change.op === 'delete')
    return (write.delete as Call)(
      definition,
      change.keys.map((key) => keyOf(change.table, key)),
    )
  if (change.op === 'deleteWhere') return (write.deleteWhere as Call)(definition, whereOf(change.table, change.below))
  const how = change.op === 'bulk' ? change.how : (change.op as 'append' | 'upsert' | 'replace')
  return (write[how].bind(write) as Call)(definition, dataOf(change))
}
