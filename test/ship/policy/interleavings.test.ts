// All interleavings of two sessions, one epoch raise and one crash over a log of three entries (shipping.md section 17), against the real Sender.
import { expect, it } from 'vitest'

import { ALL_RULES, exploreAll, type Rules, STARTS } from './interleavings.ts'

it.each(STARTS.map((start) => [start.name, start] as const))('%s: whatever comes when, it is in sync only where it is equal, and gets there', (_, start) => {
  const found = exploreAll(start, ALL_RULES)
  console.log(`  ${start.name}: ${found.states} states, ${found.steps} steps`)
  expect(found.wrong, found.schedule.join(', ')).toBeUndefined()
  expect(found.states).toBeGreaterThan(1_000)
})

const TEETH: readonly (readonly [keyof Rules, string, RegExp])[] = [
  ['hostFence', 'a tail of the old writer, as long', /^in sync at 3, but/],
  ['senderFence', 'an empty replica', /^a stale session changed its sender/],
  ['truncates', 'a tail of the old writer, as long', /./],
  ['digests', 'another history of the same epochs', /^in sync, but the replica holds a:1 y:2/],
  ['syncsFirst', 'an empty replica', /^in sync at 3, but the replica holds 0/],
]

it.each(TEETH)('without the rule "%s" a schedule breaks it: %s', (rule, name, wrong) => {
  const found = exploreAll(
    STARTS.find((start) => start.name === name)!,
    { ...ALL_RULES, [rule]: false },
  )
  expect(found.wrong).toMatch(wrong)
  console.log(`  without ${rule}: ${found.wrong}: ${found.schedule.join(', ')}`)
})
