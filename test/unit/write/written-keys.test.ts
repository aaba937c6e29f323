// Which keys a stretch of the log wrote: every way of writing, and what moves rows without writing any.
import { describe, expect, it } from 'vitest'

import { columns, eq, gte, Store, t, table } from '../../../bindings/index.ts'
import type { Engine, Position, ReadContext, StoreState } from '../../../bindings/engine/index.ts'
import { keyBytesOf } from '../../../bindings/engine/tracker.ts'
import { keyObjectFromBytes, resolveView } from '../../../bindings/table/index.ts'
import { keysWritten } from '../../../bindings/write/written-keys.ts'

const rows = table('rows', { id: t.int32(), v: t.utf8() }, { key: ['id'] })
const pairs = table('pairs', { a: t.utf8(), b: t.int64(), v: t.int32().nullable() }, { key: ['a', 'b'] })

interface Inside {
  readonly engine: Engine
  readonly context: ReadContext
  readonly o: { readonly history: { load(position: Position): Promise<StoreState> } }
}

/** Keys written after `from`, as `lsn:key`, in the order they are told. */
async function told(store: Store, name: string, from: bigint, to: bigint = store.lsn): Promise<string[]> {
  const { engine, context, o } = store as unknown as Inside
  const state = engine.parts.state.byName(name)!
  const view = resolveView(await store.table(name), state.schema)
  const found: string[] = []
  await keysWritten(
    { engine, read: context, stateAt: (lsn, branch) => o.history.load({ branch, lsn }) },
    state.id,
    { from: Number(from), to: Number(to) },
    (layout, key, lsn) => {
      if (!layout.isKey) return
      const text = Array.from(key, (byte) => String.fromCharCode(byte)).join('')
      found.push(`${lsn - Number(from)}:${Object.values(keyObjectFromBytes(view, keyBytesOf(text))).join('/')}`)
    },
  )
  return found
}

const row = (id: number, v = 'x'): { id: number; v: string } => ({ id, v })

describe('the keys that a stretch of the log wrote', () => {
  it('are those of appends, upserts, updates, deletes and replaces, once a commit', async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual' })
    await store.create(rows)
    await store.append(rows, [row(1), row(2), row(3)])
    const from = store.lsn
    await store.append(rows, [row(4), row(5)])
    await store.upsert(rows, [row(5), row(1), row(5)])
    await store.update(rows, { id: 2, v: 'y' })
    await store.delete(rows, [3, 99])
    await store.deleteWhere(rows, eq('v', 'y'))
    await store.replace(rows, [row(1), row(7)])
    const found = await told(store, 'rows', from)
    expect(found.slice(0, 7)).toEqual(['1:4', '1:5', '2:1', '2:5', '3:2', '4:3', '5:2'])
    expect(found.slice(7).toSorted()).toEqual(['6:1', '6:4', '6:5', '6:7'])
  })

  it('are those of loads, also where rows lie in fragments', async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual', inlineLimitBytes: 0 })
    await store.create(pairs)
    const batch = (from: number, count: number) =>
      columns({
        a: Array.from({ length: count }, () => 'k'),
        b: Array.from({ length: count }, (_, i) => BigInt(from + i)),
        v: Int32Array.from({ length: count }, (_, i) => i),
      })
    await store.append(pairs, batch(0, 50))
    const from = store.lsn
    await store.upsert(pairs, batch(40, 20))
    await store.deleteWhere(pairs, gte('b', 58n))
    const found = await told(store, 'pairs', from)
    expect(found).toEqual([...Array.from({ length: 20 }, (_, i) => `1:k/${40 + i}`), '2:k/58', '2:k/59'])
  })

  it('are none where rows only moved, or other tables were written', async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual' })
    await store.create(rows, pairs)
    await store.append(rows, [row(1), row(2)])
    const from = store.lsn
    await store.flush()
    await store.append(pairs, { a: 'a', b: 1n })
    expect(await told(store, 'rows', from)).toEqual([])
    expect(await told(store, 'pairs', from)).toEqual(['2:a/1'])
  })

  it('end where they are asked to', async () => {
    await using store = await Store.open('memory:', { upkeep: 'manual' })
    await store.create(rows)
    const from = store.lsn
    const { lsn } = await store.append(rows, row(1))
    await store.append(rows, row(2))
    expect(await told(store, 'rows', from, lsn)).toEqual(['1:1'])
    expect(await told(store, 'rows', lsn, lsn)).toEqual([])
  })
})
