import { describe, expect, it } from 'vitest'

import { SchemaConflictError, t, table } from '../../../bindings/index.ts'
import { planSchema, type SideTable } from '../../../bindings/merge/plan-schema.ts'
import { schemaFromDefinition } from '../../../bindings/table/definition.ts'

const first = schemaFromDefinition(table('items', { id: t.int32(), a: t.utf8() }, { key: ['id'] }), 7)
const second = { ...first, version: 2, columns: [...first.columns, { ...first.columns[1]!, id: 9, name: 'b' }] }
const third = { ...second, version: 3, name: 'things' }
const otherSecond = { ...first, version: 2, columns: [...first.columns, { ...first.columns[1]!, id: 9, name: 'c' }] }

const side = (schemas: SideTable['schemas'], isChanged = false): SideTable => ({ schemas, isChanged })
const nothing = { create: [], alter: [], drop: [] }

describe('the definitions of a merge', () => {
  it.each([
    ['nobody has it', undefined, undefined, undefined, nothing],
    ['made on the source', undefined, side([first, second]), undefined, { create: [first], alter: [second], drop: [] }],
    ['made on the target', undefined, undefined, side([first]), nothing],
    ['as it was', side([first]), side([first], true), side([first], true), nothing],
    ['the source is ahead', side([first]), side([first, second, third]), side([first], true), { create: [], alter: [second, third], drop: [] }],
    [
      'the source is ahead of a target that has some',
      side([first]),
      side([first, second, third]),
      side([first, second]),
      { create: [], alter: [third], drop: [] },
    ],
    ['the target is ahead', side([first]), side([first], true), side([first, second]), nothing],
    ['dropped on the source, untouched on the target', side([first]), undefined, side([first]), { create: [], alter: [], drop: [7] }],
    ['dropped on the target, untouched on the source', side([first]), side([first]), undefined, nothing],
    ['dropped on both', side([first]), undefined, undefined, nothing],
  ] as const)('%s', (_name, base, theirs, ours, expected) => {
    expect(planSchema(base, theirs, ours)).toEqual(expected)
  })

  it.each([
    ['dropped on the source, its rows changed on the target', side([first]), undefined, side([first], true), undefined],
    ['dropped on the source, its definition changed on the target', side([first]), undefined, side([first, second]), undefined],
    ['dropped on the target, its rows changed on the source', side([first]), side([first], true), undefined, undefined],
    ['dropped on the target, its definition changed on the source', side([first]), side([first, second]), undefined, undefined],
    ['the same column defined two ways', side([first]), side([first, second]), side([first, otherSecond]), 'b'],
  ] as const)('%s: SchemaConflictError', (_name, base, theirs, ours, column) => {
    const thrown = (() => {
      try {
        return planSchema(base, theirs, ours)
      } catch (error) {
        return error
      }
    })()
    expect(thrown).toBeInstanceOf(SchemaConflictError)
    expect(thrown).toMatchObject({ table: 'items', ...(column === undefined ? {} : { column }) })
  })
})
