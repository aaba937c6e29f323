// Floors of an object log: they only go up, and they know which slots they took out.
import { describe, expect, it } from 'vitest'

import { CorruptionError, StoreTooNewError } from '../../../bindings/errors.ts'
import type { Digest } from '../../../bindings/log/index.ts'
import { Floors, NO_FLOOR, type RaisedFloor } from '../../../bindings/log/floor.ts'
import { decodeSealed, encodeSealed } from '../../../bindings/log/sealed-json.ts'
import { MemoryRoot } from '../../../bindings/root/index.ts'
import { FakeClock, fakeWorld } from '../../../bindings/testing/fake-clock.ts'
import { FaultyRoot } from '../../../bindings/testing/faulty-root.ts'

const storeId = new Uint8Array(16).fill(5)
const attempt = (lsn: number): Uint8Array => new Uint8Array(16).fill(lsn)

/** One slot per LSN, each with its LSN as attempt id. */
function raised(tail: number): RaisedFloor {
  return {
    tail,
    digest: new Uint8Array(32).fill(tail) as Uint8Array as Digest,
    epoch: 3,
    lineage: [
      { epoch: 1, firstLsn: 1 },
      { epoch: 3, firstLsn: 4 },
    ],
    attemptsAbove: (after) => Array.from({ length: Math.max(0, tail - after) }, (_, i) => attempt(after + 1 + i)),
  }
}

function setup(): { root: FaultyRoot; clock: FakeClock; floors: () => Floors } {
  const root = new FaultyRoot(new MemoryRoot({}))
  const clock = new FakeClock()
  let seed = 1
  return { root, clock, floors: () => new Floors(root, { world: fakeWorld({ clock, seed: seed++ }), storeId }) }
}

describe('floors', () => {
  it('begin at none, go up by one object each, and are found by hint, by listing and by reading on', async () => {
    const { root, floors } = setup()
    const a = floors()
    expect(await a.find(undefined)).toBe(NO_FLOOR)
    for (const tail of [5, 9, 14]) expect(await a.raise(raised(tail))).toMatchObject({ tail, epoch: 3 })
    expect(await a.raise(raised(9))).toMatchObject({ k: 3, tail: 14 })
    for (const hint of [undefined, 1, 2, 3, 77]) {
      const found = await floors().find(hint)
      expect(found, `hint ${hint}`).toMatchObject({ k: 3, tail: 14, digest: raised(14).digest, lineage: raised(14).lineage })
    }
    const before = root.calls.length
    await a.read()
    expect(root.calls.length - before).toBe(1)
  })

  it('know what they took out: a slot of this attempt, and no other', async () => {
    const { floors } = setup()
    const a = floors()
    for (const tail of [5, 6, 30, 31]) await a.raise(raised(tail))
    const b = floors()
    await b.find(undefined)
    for (let lsn = 1; lsn <= 31; lsn++) {
      expect(await b.tookOut(lsn, attempt(lsn)), `slot of ${lsn}`).toBe(true)
      expect(await b.tookOut(lsn, attempt(lsn + 100)), `void slot at ${lsn}`).toBe(false)
    }
  })

  it('of two that are raised at once the higher counts, and the lower one names nothing twice', async () => {
    const { floors } = setup()
    const [a, b] = [floors(), floors()]
    await Promise.all([a.raise(raised(10)), b.raise(raised(20))])
    const c = floors()
    expect(await c.find(undefined)).toMatchObject({ tail: 20 })
    for (let lsn = 1; lsn <= 20; lsn++) expect(await c.tookOut(lsn, attempt(lsn))).toBe(true)
  })

  it('are found by age', async () => {
    const { clock, floors } = setup()
    const a = floors()
    for (const tail of [5, 9, 14]) {
      await a.raise(raised(tail))
      clock.step(1000)
    }
    const nowMs = clock.clock.nowMs()
    expect(await a.olderThan(nowMs - 3000)).toBeUndefined()
    for (const [ms, tail] of [
      [2999, 5],
      [1999, 9],
      [999, 14],
      [0, 14],
    ] as const)
      expect(await a.olderThan(nowMs - ms)).toMatchObject({ tail })
  })

  it('that contradict themselves or each other are damage; newer ones are a newer store', async () => {
    const { root, floors } = setup()
    const a = floors()
    await a.raise(raised(5))
    await a.raise(raised(9))
    const fields = { ...decodeSealed((await root.get('FLOOR.2')).bytes)! }
    delete (fields as Record<string, unknown>)['check']
    const put = (changed: object) => root.put('FLOOR.2', encodeSealed({ ...fields, ...changed }))
    for (const changed of [
      { tail: 5 },
      { tail: -1 },
      { k: 3 },
      { storeId: 'ab'.repeat(16) },
      { digest: 'ab' },
      { lineage: '1@x' },
      { lineage: 7 },
      { slots: 7 },
    ]) {
      await put(changed)
      await expect(floors().find(1), JSON.stringify(changed)).rejects.toBeInstanceOf(CorruptionError)
    }
    await put({ format: 2 })
    await expect(floors().find(undefined)).rejects.toBeInstanceOf(StoreTooNewError)
    await put({})
    expect(await floors().find(undefined)).toMatchObject({ tail: 9 })
    await root.delete('FLOOR.1')
    await expect(a.tookOut(2, attempt(2))).rejects.toBeInstanceOf(CorruptionError)
  })
})
