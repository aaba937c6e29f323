// A write that was prepared before outcomes may be forgotten gets none any more (recovery.md section 1): it could be given twice.
import { describe, expect, it } from 'vitest'

import type { Store } from '../../../bindings/index.ts'
import type { Catalog } from '../../../bindings/catalog/index.ts'
import type { Engine } from '../../../bindings/engine/index.ts'
import { contents, item, items, Place } from './helpers.ts'

/** As a hundred thousand records and seven days would do. */
function forget(store: Store): void {
  const { catalog } = (store as unknown as { engine: Engine }).engine.parts.state as { catalog: Catalog }
  catalog.outcomes.floor = catalog.lsn
}

describe('past the term of outcomes', () => {
  it('an unsealed write is fenced at its seal, and leaves nothing', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(items, item(1))
    await place.store.append(items, item(9))
    forget(place.store)
    await expect(write.seal()).rejects.toMatchObject({ code: 'log.fenced', scope: 'write' })
    expect(await contents(place.store)).toEqual({ items: ['9:x'], notes: [] })
    expect(write.state).toBe('rolledBack')
    await write.rollback()
    expect(await place.staging()).toEqual([])
    await place.kill()
    expect((await contents(place.store)).items).toEqual(['9:x'])
  })

  it('a sealed write stays publishable: it is pending, not forgotten', async () => {
    const place = await Place.open()
    const write = await place.store.stage()
    await write.append(items, item(1))
    await write.seal()
    await place.store.append(items, item(9))
    forget(place.store)
    await write.publish()
    expect((await contents(place.store)).items).toEqual(['1:x', '9:x'])
  })
})
