// The planner of schema changes: from the definitions there are to those wanted, as a table of steps and refusals.
import { describe, expect, it } from 'vitest'

import {
  type AnyTable,
  type Column,
  DataLossRefusedError,
  InvalidConfigError,
  SchemaConflictError,
  t,
  table,
  UnsupportedMigrationError,
} from '../../../bindings/index.ts'
import { describeStep, isCompatible, planSchema, type PlanOptions, type SchemaChange } from '../../../bindings/engine/plan-schema.ts'
import type { TableSchema } from '../../../bindings/format/index.ts'
import { schemaFromDefinition, tableFromSchema } from '../../../bindings/table/index.ts'

const base = table(
  'a',
  { id: t.int32(), n: t.int16(), text: t.utf8().nullable(), day: t.date(), half: t.float32(), count: t.uint8().default(3) },
  { key: ['id'] },
)
const columns = { id: t.int32(), n: t.int16(), text: t.utf8().nullable(), day: t.date(), half: t.float32(), count: t.uint8().default(3) }
const accepted = (...tables: readonly AnyTable[]): TableSchema[][] => tables.map((each, i) => [schemaFromDefinition(each, i + 1)])

function plan(from: readonly AnyTable[], to: readonly AnyTable[], o: Partial<PlanOptions> = {}): SchemaChange {
  return planSchema(accepted(...from), to, { nextTableId: from.length + 1, ...o })
}

type Built = Record<string, Column<any, any, any>>

const def = (name: string, from: Built, options: object = {}): AnyTable => table(name, from, options as never) as unknown as AnyTable

/** `base` with other columns; undefined leaves one out. */
const a = (change: Record<string, Column<any, any, any> | undefined>, options: object = { key: ['id'] }): AnyTable =>
  def('a', Object.fromEntries(Object.entries({ ...columns, ...change }).filter(([, column]) => column !== undefined)) as Built, options)

describe('the steps of', () => {
  const cases: readonly (readonly [what: string, to: AnyTable, steps: readonly string[], o?: Partial<PlanOptions>])[] = [
    ['the same definition', a({}), []],
    ['the same columns in another order', def('a', Object.fromEntries(Object.entries(columns).toReversed()), { key: ['id'] }), []],
    ['a new table', def('b', { x: t.int8() }), ['addTable b']],
    ['a nullable column', a({ more: t.json().nullable() }), ['addColumn a.more']],
    ['a column with a default', a({ more: t.int64().default(5n) }), ['addColumn a.more']],
    ['int16 to int32', a({ n: t.int32() }), ['widen a.n']],
    ['int16 to int64', a({ n: t.int64() }), ['widen a.n']],
    ['uint8 to uint32, with its default', a({ count: t.uint32().default(3) }), ['widen a.count']],
    ['uint8 to int16', a({ count: t.int16().default(3) }), ['widen a.count']],
    ['uint8 to uint64, where a default is a bigint', a({ count: t.uint64().default(3n) }), ['widen a.count']],
    ['a wider key', a({ id: t.int64() }), ['widen a.id']],
    ['float32 to float64', a({ half: t.float64() }), ['widen a.half']],
    ['date to timestamp', a({ day: t.timestamp('ms') }), ['widen a.day']],
    ['utf8 to dictionary', a({ text: t.utf8().dictionary().nullable() }), ['widen a.text']],
    ['a column that may be null now', a({ n: t.int16().nullable() }), ['allowNull a.n']],
    ['a column that may be null no more', a({ text: t.utf8() }), ['forbidNull a.text']],
    ['another default', a({ count: t.uint8().default(4) }), ['setDefault a.count']],
    ['no default any more', a({ count: t.uint8() }), ['setDefault a.count']],
    ['a renamed column', a({ n: undefined, m: t.int16().renamedFrom('n') }), ['renameColumn a.m']],
    ['a renamed and wider column', a({ n: undefined, m: t.int32().nullable().renamedFrom('n') }), ['renameColumn a.m', 'widen a.m', 'allowNull a.m']],
    ['a renamed column and a new one of its name', a({ n: t.utf8().nullable(), m: t.int16().renamedFrom('n') }), ['addColumn a.n', 'renameColumn a.m']],
    ['a column that was renamed before', a({ n: t.int16().renamedFrom('older') }), []],
    ['a renamed table', def('z', columns, { key: ['id'], renamedFrom: 'a' }), ['renameTable z']],
    ['a renamed key column', a({ id: undefined, no: t.int32().renamedFrom('id') }, { key: ['no'] }), ['renameColumn a.no']],
    ['an index', a({}, { key: ['id'], index: ['n'] }), ['addIndex a.n']],
    ['an index of two columns', a({}, { key: ['id'], index: [['n', 'day']] }), ['addIndex a.n, day']],
    ['a unique constraint', a({}, { key: ['id'], unique: [['n', 'day']] }), ['addUnique a.n, day']],
    ['a dropped column', a({ half: undefined }), ['dropColumn a.half'], { allowDataLoss: true }],
  ]

  it.each(cases.map(([what, wanted, steps, o]) => ({ what, wanted, steps, o })))('$what', ({ wanted, steps, o }) => {
    const made = plan([base], [wanted], o)
    expect(made.steps.map((each) => describeStep(each))).toEqual(steps)
    expect(made.steps.some(({ rewrites }) => rewrites)).toBe(false)
    // What it makes is what was wanted, and then there is nothing to do.
    const schemas = made.create.length > 0 ? [accepted(base)[0]!, made.create] : [[accepted(base)[0]![0]!, ...made.alter]]
    expect(planSchema(schemas, [wanted], { nextTableId: 9 }).steps).toEqual([])
  })

  it('a dropped table, and of one that is dropped already none', () => {
    const other = def('b', { x: t.int8() })
    expect(plan([base, other], [], { drop: ['b', 'c'], allowDataLoss: true })).toMatchObject({
      steps: [{ table: 'b', kind: 'dropTable', losesData: true }],
      drop: [2],
    })
  })

  it('a rename keeps ids, and those of dropped columns are not used again', () => {
    const first = plan([base], [a({ half: undefined, n: undefined, m: t.int16().renamedFrom('n') })], { allowDataLoss: true }).alter[0]!
    expect(first).toMatchObject({ tableId: 1, version: 2 })
    expect(first.columns.map(({ id, name }) => [id, name])).toEqual([
      [1, 'id'],
      [2, 'm'],
      [3, 'text'],
      [4, 'day'],
      [6, 'count'],
    ])
    const schemas = [accepted(base)[0]![0]!, plan([base], [a({ count: undefined })], { allowDataLoss: true }).alter[0]!]
    const again = planSchema([schemas], [a({ count: t.uint8().default(3) })], { nextTableId: 2 }).alter[0]!
    expect(again.columns.find(({ name }) => name === 'count')!.id).toBe(7)
  })

  it('a changed default leave older rows what they read', () => {
    const added = planSchema(accepted(base), [a({ extra: t.int32().default(1) })], { nextTableId: 2 }).alter[0]!
    const changed = planSchema([[accepted(base)[0]![0]!, added]], [a({ extra: t.int64().default(2n) })], { nextTableId: 2 }).alter[0]!
    expect(changed.columns.at(-1)).toMatchObject({ name: 'extra', default: { $bigint: '2' }, initial: { $bigint: '1' } })
    const gone = planSchema([[accepted(base)[0]![0]!, added, changed]], [a({ extra: t.int64() })], { nextTableId: 2 }).alter[0]!
    expect(gone.columns.at(-1)).toMatchObject({ initial: { $bigint: '1' } })
    expect('default' in gone.columns.at(-1)!).toBe(false)
  })
})

describe('is refused:', () => {
  const cases: readonly (readonly [what: string, to: AnyTable, step: object])[] = [
    ['a column without a value for older rows', a({ more: t.int8() }), { table: 'a', kind: 'addColumn', column: 'more' }],
    ['int16 to int8', a({ n: t.int8() }), { table: 'a', kind: 'narrow', column: 'n' }],
    ['int16 to uint32', a({ n: t.uint32() }), { table: 'a', kind: 'retype', column: 'n' }],
    ['int16 to utf8', a({ n: t.utf8() }), { table: 'a', kind: 'retype', column: 'n' }],
    ['utf8 to json', a({ text: t.json().nullable() }), { table: 'a', kind: 'retype', column: 'text' }],
    ['date to microseconds, which do not reach every date', a({ day: t.timestamp('us') }), { table: 'a', kind: 'retype', column: 'day' }],
    ['another key', a({}, { key: ['id', 'n'] }), { table: 'a', kind: 'changeKey' }],
    ['no key', a({}, { key: [] }), { table: 'a', kind: 'changeKey' }],
    ['a key column that goes', def('a', { n: t.int16() }), { table: 'a', kind: 'changeKey' }],
  ]
  it.each(cases)('%s, by the name of the step', (_what, to, step) => {
    const act = (): unknown => plan([base], [to], { allowDataLoss: true })
    expect(act).toThrow(UnsupportedMigrationError)
    try {
      act()
    } catch (error) {
      expect((error as UnsupportedMigrationError).step).toEqual(step)
    }
  })

  it('days that become instants in a key', () => {
    const days = def('d', { day: t.date() }, { key: ['day'] })
    expect(() => plan([days], [def('d', { day: t.timestamp() }, { key: ['day'] })])).toThrow(UnsupportedMigrationError)
  })

  it('losing data unasked, with every step that would', () => {
    const other = def('b', { x: t.int8() })
    try {
      plan([base, other], [a({ half: undefined, n: undefined })], { drop: ['b'] })
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(DataLossRefusedError)
      expect((error as DataLossRefusedError).steps.map((each) => describeStep(each))).toEqual(['dropColumn a.n', 'dropColumn a.half', 'dropTable b'])
    }
  })

  it('one table or column defined two ways', () => {
    expect(() => plan([], [base, a({ n: t.int32() })])).toThrow(SchemaConflictError)
    expect(plan([], [base, a({})]).create).toHaveLength(1)
    const renamed = (name: string): AnyTable => def(name, columns, { key: ['id'], renamedFrom: 'a' })
    expect(() => plan([base], [renamed('x'), renamed('y')])).toThrow(SchemaConflictError)
    expect(() => plan([base], [a({ n: undefined, x: t.int16().renamedFrom('n'), y: t.int16().renamedFrom('n') })])).toThrow(SchemaConflictError)
    expect(() => plan([base], [a({})], { drop: ['a'], allowDataLoss: true })).toThrow(InvalidConfigError)
    expect(() => plan([base], [renamed('x')], { drop: ['a'], allowDataLoss: true })).toThrow(InvalidConfigError)
  })
})

describe('rows of an older version', () => {
  const to = (wanted: AnyTable): boolean => {
    const old = schemaFromDefinition(base, 1)
    return isCompatible(old, planSchema([[old]], [wanted], { nextTableId: 2, allowDataLoss: true }).alter[0]!)
  }
  it('are rows of the next one unless it is stricter', () => {
    expect(to(a({ more: t.int8().default(1), n: t.int64(), half: undefined }))).toBe(true)
    expect(to(a({ text: t.utf8() }))).toBe(false)
    expect(to(a({}, { key: ['id'], unique: [['n']] }))).toBe(false)
  })
  it('a table read back from its schema is the definition that made it', () => {
    const old = schemaFromDefinition(base, 1)
    expect(planSchema([[old]], [tableFromSchema(old)], { nextTableId: 2 }).steps).toEqual([])
  })
})
