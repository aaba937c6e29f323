// A unique constraint that nobody checks must not be accepted.
import { expect, it } from 'vitest'

import { Store, t, table } from '../../../bindings/index.ts'

it('refuses a table with unique constraints, and makes none of the tables of the call', async () => {
  await using store = await Store.open('memory:')
  const plain = table('plain', { id: t.int32() }, { key: ['id'] })
  const people = table('people', { id: t.int32(), mail: t.utf8() }, { key: ['id'], unique: [['mail']] })
  await expect(store.create(plain, people)).rejects.toMatchObject({ code: 'table.unsupported-type', type: 'unique' })
  expect(await store.tables()).toEqual([])
})
