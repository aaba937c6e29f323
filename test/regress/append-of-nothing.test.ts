// A stream or batch without rows had no columns either, and the keys of a single int64 column were taken from them.
import { expect, it } from 'vitest'
import { columns, Store, t, table } from '../../bindings/index.ts'

const flights = table('flights', { id: t.int64(), delay: t.int16().nullable() }, { key: ['id'] })

it('takes a stream, a batch and a list without rows into a keyed table', async () => {
  await using store = await Store.open('memory:')
  await store.create(flights)
  await store.append(flights, { id: 1n })
  for (const data of [(async function* () {})(), columns({ id: [], delay: [] }), [], await store.scan(flights, { limit: 0 }).toArrow()]) {
    expect((await store.append(flights, data as never)).rows).toBe(0)
    expect((await store.upsert(flights, data as never)).rows).toBe(0)
  }
  expect(await store.scan(flights).count()).toBe(1)
  await store.replace(flights, (async function* () {})() as never)
  expect(await store.scan(flights).count()).toBe(0)
})
