// Audit exactly once (recovery.md sections 6 and 18): the facts ride inside the record that decides, so no crash comes between outcome and row.
import { describe, expect, it } from 'vitest'

import { seededRandom } from '../../../bindings/runtime/index.ts'
import { failpoints, FAILPOINTS, type FailpointName } from '../../../bindings/testing/index.ts'
import { auditAll, contents, items, notes, Place } from './forge.ts'

const SCHEDULES = Number(process.env['VARVE_RUNS'] ?? 120)
const POINTS: readonly FailpointName[] = FAILPOINTS.filter((name) => /^(intent\.(list|listAfter|read|delete)|sweep|promote|publish|retire|log|open)/.test(name))

/** Kills the process at random points of its open, a few times; then lets one open end. */
async function schedule(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const pick = (n: number): number => random.u32() % n
  const place = await Place.open()
  const wanted = new Map<string, string>()
  const rows: number[] = []
  const keyed: string[] = []
  const count = 1 + pick(4)
  for (let i = 0; i < count; i++) {
    const author = `author ${i}`
    const kind = pick(4)
    if (kind < 2) wanted.set((await place.armed({ rows: [i], author })).id, `rolledBack unsealed ${author} notes:rolledBack`)
    else if (kind === 2) {
      wanted.set((await place.sealed({ rows: [i], author })).id, `rolledForward undefined ${author} notes:published`)
      rows.push(i)
    } else {
      wanted.set((await place.sealed({ table: items, rows: [i], author })).id, `rolledForward undefined ${author} items:published`)
      keyed.push(`${i}:v${i}`)
    }
  }
  place.kill()
  for (let crash = pick(4); crash > 0; crash--) {
    const armed = failpoints(place.world).arm(POINTS[pick(POINTS.length)]!, { crash: true, times: 1, after: pick(3), mayMiss: true })
    const dying = place.start()
    const crashed = await Promise.race([armed.reached({ timeoutMs: 60_000 }).then(() => true), dying.then(() => false)])
    dying.catch(() => undefined)
    if (!crashed) failpoints(place.world).crash()
    place.crashed(random.u32())
  }
  const store = await place.start()
  const found = new Map<string, string[]>()
  for (const { writeId, by, kind, reason, for: actor, outcomes } of await auditAll(store)) {
    if (by !== 'varve:recovery') continue
    const parts = (outcomes as { table: string; outcome: string }[]).map(({ table, outcome }) => `${table}:${outcome}`)
    found.set(writeId!, [...(found.get(writeId!) ?? []), `${kind} ${reason} ${actor} ${parts.join()}`])
  }
  expect(Object.fromEntries(found), `seed ${seed}`).toEqual(Object.fromEntries([...wanted].map(([id, row]) => [id, [row]])))
  expect(await contents(store), `seed ${seed}`).toEqual({ items: keyed.toSorted(), notes: rows })
  expect(await place.staging(), `seed ${seed}`).toEqual([])
  await store.close()
}

describe('store.audit()', () => {
  it(`has one row for each recovered write over ${SCHEDULES} random crash schedules, with its actor and what became of each table`, async () => {
    for (let seed = 1; seed <= SCHEDULES; seed++) await schedule(seed)
  })

  it('tells seals, publishes and roll-backs by kind, and of ordinary ones no recovery', async () => {
    const place = await Place.open()
    const { id } = await place.sealed({ orphaned: true, author: 'me' })
    await place.store.append(notes, { at: 9, text: 'x' })
    const rows = (await auditAll(place.store)).filter(({ writeId }) => writeId === id)
    expect(rows.map(({ kind, by }) => [kind, by])).toEqual([
      ['seal', 'me'],
      ['rolledForward', 'varve:recovery'],
    ])
    const kinds = []
    for await (const { kind } of place.store.audit({ kinds: ['rolledForward'] })) kinds.push(kind)
    expect(kinds).toEqual(['rolledForward'])
  })
})
