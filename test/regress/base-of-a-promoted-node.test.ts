// A node that was a replica keeps a deletion vector which a vacuum of its primary took, for as long as a replay from its own, older checkpoints reads it. After its
// promotion a tag or branch that is made from such a checkpoint brought the vector into every base, which was refused for it: no replica could be rebuilt any more.
import { expect, it } from 'vitest'

import { and, gte, lt, type ReadStore } from '../../bindings/index.ts'
import { MemoryRoot } from '../../bindings/root/index.ts'
import { Flow, people, until, WAYS } from '../ship/flow/flow-kit.ts'

const ROWS = 20_000
/** Fewer would stay in records. */
const HIDDEN = 1500
const FIRST = 1_000_000

it('a vector that died before a promotion, with which a tag is still made: replicas are rebuilt, read the tag, and can be promoted', async () => {
  const flow = await Flow.open(WAYS[0]!.make(), new MemoryRoot({}), { upkeep: 'manual' })
  await flow.bulk(ROWS)
  await flow.store.flush()
  let rest = ROWS
  // More rows of the first file each time, and another vector in the place of the one before.
  const rounds = async ({ store }: Flow): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      rest -= HIDDEN
      await store.deleteWhere(people, and(gte('id', BigInt(FIRST + rest)), lt('id', BigInt(FIRST + ROWS))))
      await store.upsert(people, { id: 1n, name: `round ${rest}`, group: 0 })
      await store.flush()
      await store.vacuum({ keep: { versions: 1 } })
    }
  }
  await rounds(flow)
  // Begins with a base, whose checkpoint names the vector.
  const r1 = await flow.replica('r1', new MemoryRoot({}))
  await flow.ship()
  await flow.equal()
  await rounds(flow)
  await flow.equal()
  await flow.store.tag('then')
  await flow.equal()
  const then = await flow.rows(flow.store)
  const { lsn } = flow.store
  await flow.crash()

  const heir = await flow.successor('', await r1.promote({ acceptLossAbove: lsn }))
  heir.replicas.clear()
  await rounds(heir)
  const r2 = await heir.replica('r2', new MemoryRoot({}))
  await heir.ship()
  await heir.shipping!.settled({ signal: AbortSignal.timeout(20_000) })
  await until(() => r2.store.lsn === heir.store.lsn)
  const atTag = async (reader: Pick<ReadStore, 'scan'>): Promise<unknown[]> =>
    (await reader.scan(people, { at: 'then' }).toArray()).toSorted((a, b) => Number(a.id - b.id))
  expect(await atTag(r2.store)).toEqual(then)
  expect((await r2.store.verify()).problems).toEqual([])
  const newest = await heir.rows(heir.store)
  const { lsn: last } = heir.store
  await heir.crash()
  const again = await r2.promote({ acceptLossAbove: last })
  expect(await atTag(again)).toEqual(then)
  expect(await heir.rows(again)).toEqual(newest)
  expect((await again.verify({ level: 'all' })).problems).toEqual([])
  await again.close()
})
