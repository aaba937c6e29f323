// The life of segments explored whole, under crashes at every step of writing, rolling, recycling, closing and recovering; and each rule left out once.
import { expect, test } from 'vitest'

import { describe as text, explore, LARGE, summary } from './explore.ts'
import { SEGMENT_RULES, type SegmentBounds, segmentModel, type SegmentRules } from './segments.ts'

const BASE: Omit<SegmentBounds, 'title'> = {
  durability: 'synced',
  opens: 4,
  groups: 1,
  rolls: 0,
  trims: 0,
  kills: 1,
  powerCuts: 2,
  failedSyncs: 0,
  closes: 0,
}

const WORLDS = {
  synced: { ...BASE, title: 'synced: two power cuts and a kill', groups: 2 },
  failedSync: { ...BASE, title: 'synced: a failed sync, two power cuts', failedSyncs: 1, kills: 0 },
  buffered: { ...BASE, title: 'buffered: two groups, two power cuts', durability: 'buffered', groups: 2, opens: 3, kills: 0 },
  roll: { ...BASE, title: 'synced: a roll, two power cuts', rolls: 1, opens: 3, kills: 0 },
  bufferedRoll: { ...BASE, title: 'buffered: a roll, a checkpoint, a trim', durability: 'buffered', rolls: 1, trims: 1, opens: 3, kills: 0, powerCuts: 1 },
  recycle: { ...BASE, title: 'synced: trimmed, recycled, used again', rolls: 2, trims: 1, opens: 3, kills: 0, powerCuts: 1 },
  closes: { ...BASE, title: 'synced: clean closes, two power cuts', closes: 1, opens: 3, kills: 0 },
} as const satisfies Record<string, SegmentBounds>

const LARGER: readonly SegmentBounds[] = [
  { ...BASE, title: 'synced: kills, power cuts, a failed sync', groups: 2, failedSyncs: 1 },
  { ...BASE, title: 'buffered: kills and power cuts', durability: 'buffered', groups: 2 },
  { ...BASE, title: 'synced: two groups, a roll, kills and power cuts', groups: 2, rolls: 1, opens: 3 },
  { ...BASE, title: 'synced: recycled, two power cuts', rolls: 2, trims: 2, opens: 3, kills: 0 },
  { ...BASE, title: 'synced: clean closes, kills and power cuts', closes: 1 },
  { ...BASE, title: 'synced: three power cuts', powerCuts: 3, kills: 0 },
]

test.each([...Object.values(WORLDS), ...(LARGE ? LARGER : [])])('$title: every open succeeds and finds what was acknowledged', (bounds) => {
  const found = explore(segmentModel(bounds), { maxStates: 5_000_000 })
  console.log(summary(found))
  expect(found.violation, text(found)).toBeUndefined()
  expect(found.complete).toBe(true)
})

const TEETH: readonly [keyof SegmentRules, SegmentBounds][] = [
  ['rewrites', WORLDS.failedSync],
  ['syncsNames', WORLDS.synced],
  ['bornWhole', WORLDS.synced],
  ['syncsBirth', WORLDS.synced],
  ['sealsFirst', WORLDS.bufferedRoll],
  ['syncsBeforeFooter', WORLDS.bufferedRoll],
  ['honestBit', WORLDS.buffered],
  ['bitDecides', WORLDS.synced],
  ['syncsRecycled', WORLDS.recycle],
  ['acksSynced', WORLDS.synced],
  ['cleanLast', WORLDS.closes],
  ['checkpointWaits', WORLDS.bufferedRoll],
]

test('every rule is left out once', () => {
  expect(TEETH.map(([rule]) => rule).sort()).toEqual(Object.keys(SEGMENT_RULES).sort())
})

test.each(TEETH)('without the rule "%s" a schedule breaks it', (rule, bounds) => {
  const found = explore(segmentModel(bounds, { ...SEGMENT_RULES, [rule]: false }))
  expect(found.violation).toBeDefined()
  console.log(`  without ${rule}: ${found.violation!.what}, ${found.violation!.schedule.length - 1} steps, ${found.states} states`)
})
