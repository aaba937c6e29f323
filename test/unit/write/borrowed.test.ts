// What a staged write was given is the caller's again once the call has resolved (api.md section 5): later changes of the arrays are not its rows.
import { expect, it } from 'vitest'

import { columns } from '../../../bindings/index.ts'
import { contents, items, notes, Place } from './helpers.ts'

it('arrays changed after append, upsert and replace have resolved change no row, no key and no later duplicate', async () => {
  const place = await Place.open()
  for (const op of ['append', 'upsert', 'replace'] as const) {
    const write = await place.store.stage()
    const id = Int32Array.from({ length: 1000 }, (_, i) => i + (op === 'append' ? 0 : 5000))
    const v = Array.from({ length: 1000 }, () => op as string)
    const data = columns({ id, v })
    await (op === 'append' ? write.append(items, data) : op === 'upsert' ? write.upsert(items, data) : write.replace(items, data))
    const at = Int32Array.from({ length: 1000 }, (_, i) => i)
    await write.append(notes, columns({ at, text: v.slice() }))
    id.fill(-7)
    at.fill(-7)
    v.fill('changed')
    await write.upsert(items, { id: 9999, v: 'last' })
    await write.delete(items, [5001, 3])
    await write.publish()
    const { items: keyed, notes: unkeyed } = await contents(place.store)
    expect(keyed.filter((text) => text.startsWith('-7') || text.includes('changed'))).toEqual([])
    expect(unkeyed.filter((text) => text.startsWith('-7'))).toEqual([])
  }
  const { items: keyed, notes: unkeyed } = await contents(place.store)
  expect(keyed).toHaveLength(1000)
  expect(unkeyed).toHaveLength(3000)
  expect((await place.store.verify({ level: 'all' })).problems).toEqual([])
})
