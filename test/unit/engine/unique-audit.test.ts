// Whether a constraint may come into force: the rows of a table, in memory and in fragments, held against each other.
import { describe, expect, it } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'
import { type Engine, UniqueAudit } from '../../../bindings/engine/index.ts'
import { KeyLayout, resolveView } from '../../../bindings/table/index.ts'

const people = table('people', { id: t.int32(), mail: t.utf8().nullable(), seat: t.int16().nullable() }, { key: ['id'] })
const p = (id: number, mail: string | null = null, seat: number | null = null): typeof people.Insert => ({ id, mail, seat })

async function audited(store: Store, columns: readonly number[], meanwhile?: () => Promise<unknown>): Promise<string | undefined> {
  const { engine } = store as unknown as { engine: Engine }
  const state = engine.parts.state.byName('people')!
  const audit = new UniqueAudit(state, KeyLayout.unique(state.schema, columns), 7)
  let isFirst = true
  while (await audit.look(() => undefined)) {
    if (isFirst) await meanwhile?.()
    isFirst = false
  }
  const found = audit.find()
  return found === undefined ? undefined : (await audit.error(resolveView(people, state.schema), found)).message
}

async function open(): Promise<Store> {
  const store = await Store.open('memory:', { upkeep: 'manual', threads: 0 })
  await store.create(people)
  return store
}

describe('a constraint that is to be added', () => {
  it('finds two rows with one value: in memory, in one fragment, in two, and in both', async () => {
    await using memory = await open()
    await memory.append(people, [p(1, 'a'), p(2, 'b'), p(3, 'a')])
    expect(await audited(memory, [2])).toBe('people: unique { mail: "a" } is in the rows with keys { id: 1 } and { id: 3 }')
    await memory.flush()
    expect(await audited(memory, [2])).toBe('people: unique { mail: "a" } is in the rows with keys { id: 1 } and { id: 3 }')
    await memory.delete(people, 3)
    expect(await audited(memory, [2])).toBeUndefined()
    await memory.append(people, p(4, 'b'))
    expect(await audited(memory, [2])).toBe('people: unique { mail: "b" } is in the rows with keys { id: 2 } and { id: 4 }')
    await memory.flush()
    expect(await audited(memory, [2])).toBe('people: unique { mail: "b" } is in the rows with keys { id: 2 } and { id: 4 }')
  })

  it('leaves out nulls, hidden rows and other columns', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a', 1), p(2, 'a', 2), p(3, null, 1), p(4, null, 1), p(5, 'a')])
    await store.flush()
    await store.append(people, [p(6, 'a', 3), p(7, 'a'), p(8, null, 2)])
    expect(await audited(store, [2, 3])).toBeUndefined()
    await store.upsert(people, p(8, 'a', 2))
    expect(await audited(store, [2, 3])).toBe('people: unique { mail: "a", seat: 2 } is in the rows with keys { id: 2 } and { id: 8 }')
    await store.update(people, { id: 2, seat: 9 })
    expect(await audited(store, [2, 3])).toBeUndefined()
  })

  it('sees what was written, deleted and moved while it read', async () => {
    await using store = await open()
    await store.append(people, [p(1, 'a'), p(2, 'a'), p(3, 'b')])
    await store.flush()
    expect(await audited(store, [2], () => store.delete(people, 1))).toBeUndefined()
    expect(await audited(store, [2], () => store.append(people, p(4, 'b')))).toBe(
      'people: unique { mail: "b" } is in the rows with keys { id: 3 } and { id: 4 }',
    )
    expect(await audited(store, [2], () => store.flush())).toBe('people: unique { mail: "b" } is in the rows with keys { id: 3 } and { id: 4 }')
    expect(await audited(store, [2], () => store.optimize())).toBe('people: unique { mail: "b" } is in the rows with keys { id: 3 } and { id: 4 }')
  })
})
