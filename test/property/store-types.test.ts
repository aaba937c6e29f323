// Rows of every column type through a whole store: inline and staged, replayed, flushed, read by key, by scan, in a snapshot, by a follower and after reopens.

import fc from 'fast-check'
import { expect, it } from 'vitest'

import { checkpointBody } from '../../bindings/catalog/index.ts'
import { toHex } from '../../bindings/format/index.ts'
import { type OpenOptions, type ReadStore, Store } from '../../bindings/index.ts'
import { FakeFiles } from '../../bindings/testing/index.ts'
import { simWorld } from '../sim/sim-world.ts'
import { everyRow, everyType } from '../unit/table/every-type.ts'

const RUNS = Number(process.env['VARVE_RUNS'] ?? 30)
type Row = Record<string, unknown>

type Step =
  | { readonly op: 'upsert'; readonly rows: readonly Row[] }
  | { readonly op: 'stream'; readonly rows: readonly Row[] }
  | { readonly op: 'flush' }
  | { readonly op: 'reopen' }
  | { readonly op: 'delete'; readonly which: number }

const batch = fc.array(everyRow, { minLength: 1, maxLength: 8 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.oneof(fc.record({ op: fc.constant('upsert' as const), rows: batch }), fc.record({ op: fc.constant('stream' as const), rows: batch })),
  },
  { weight: 2, arbitrary: fc.constantFrom({ op: 'flush' as const }, { op: 'reopen' as const }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('delete' as const), which: fc.nat(20) }) },
)

const bodyOf = (store: unknown): string => toHex(checkpointBody((store as { o: { state: { catalog: never } } }).o.state.catalog))
const byId = (rows: readonly Row[]): Row[] => rows.toSorted((a, b) => ((a['id'] as bigint) < (b['id'] as bigint) ? -1 : 1))

async function check(reader: ReadStore, model: ReadonlyMap<bigint, Row>, what: string): Promise<void> {
  const right = byId([...model.values()])
  expect(byId((await reader.scan(everyType).toArray()) as Row[]), `${what}: scan`).toEqual(right)
  const snapshot = await reader.snapshot()
  for (const row of right) {
    expect(await reader.get(everyType as never, row['id'] as never), `${what}: get ${String(row['id'])}`).toEqual(row)
    expect(snapshot.getSync(everyType as never, { id: row['id'] } as never), `${what}: getSync ${String(row['id'])}`).toEqual(row)
  }
  await snapshot[Symbol.asyncDispose]()
}

it('gives back what was written, in every column type, wherever the rows are', () =>
  fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 12 }), fc.constantFrom(600, 256 * 1024), async (steps, inlineLimitBytes) => {
      const files = new FakeFiles()
      const sim = simWorld({ seed: 4, files })
      const options: OpenOptions = { world: sim.world, threads: 0, inlineLimitBytes }
      let store = await Store.open('/data/store', options)
      await store.create(everyType)
      const follower = await Store.open('/data/store', { ...options, readOnly: true, follow: false })
      const model = new Map<bigint, Row>()
      for (const [i, each] of steps.entries()) {
        if (each.op === 'flush') await store.flush()
        else if (each.op === 'reopen') {
          await store.close()
          store = await Store.open('/data/store', options)
        } else if (each.op === 'delete') {
          const id = [...model.keys()][each.which % Math.max(1, model.size)] ?? 0n
          await store.delete(everyType as never, id as never)
          model.delete(id)
        } else {
          const data = each.op === 'upsert' ? each.rows : pieces(each.rows)
          await store.upsert(everyType as never, data as never)
          for (const row of each.rows) model.set(row['id'] as bigint, row)
        }
        await check(store, model, `step ${i}`)
        await follower.refresh()
        await check(follower, model, `step ${i}, follower`)
        expect(bodyOf(follower), `step ${i}: folds`).toBe(bodyOf(store))
      }
      expect((await store.verify({ level: 'all' })).problems).toEqual([])
      await follower.close()
      await store.close()
    }),
    { numRuns: RUNS },
  ))

async function* pieces(rows: readonly Row[]): AsyncGenerator<Row[]> {
  for (let at = 0; at < rows.length; at += 3) yield rows.slice(at, at + 3)
}
