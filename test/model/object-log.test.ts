// The object log explored whole: paused writers, lost answers, late requests, trims, freed names, readers; and each rule left out once.
import { expect, test } from 'vitest'

import { describe as text, explore, LARGE, summary } from './explore.ts'
import { SLOT_RULES, type SlotBounds, slotModel, type SlotRules } from './object-log.ts'

const NOBODY = { readers: 0, trimmers: 0, trims: 0, lost: 0, kills: 0 }
const TWO = [
  { count: 2, commits: 1 },
  { count: 1, commits: 2 },
]
const FEW = [
  { count: 2, commits: 1 },
  { count: 1, commits: 1 },
]
const MORE = [
  { count: 2, commits: 1 },
  { count: 1, commits: 3 },
]

const WORLDS = {
  lost: { ...NOBODY, title: 'two writers, lost answers, late requests, a kill', writers: TWO, lost: 2, kills: 1 },
  trim: { ...NOBODY, title: 'two writers, a trim, a lost answer', writers: TWO, trimmers: 1, trims: 1, lost: 1 },
  reader: { ...NOBODY, title: 'two writers, a trim, a reader', writers: TWO, trimmers: 1, trims: 1, readers: 1 },
  trimmers: { ...NOBODY, title: 'two writers, two trimmers at once', writers: FEW, trimmers: 2, trims: 1 },
} as const satisfies Record<string, SlotBounds>

const LARGER: readonly SlotBounds[] = [
  { ...NOBODY, title: 'two writers, two trimmers at once, more commits', writers: TWO, trimmers: 2, trims: 1 },
  { ...NOBODY, title: 'two writers, two trims', writers: MORE, trimmers: 1, trims: 2 },
  { ...NOBODY, title: 'two writers, a trim, a reader, more commits', writers: MORE, trimmers: 1, trims: 1, readers: 1 },
  { ...NOBODY, title: 'two writers, a trim, lost answers, more commits', writers: MORE, trimmers: 1, trims: 1, lost: 2 },
]

test.each([...Object.values(WORLDS), ...(LARGE ? LARGER : [])])(
  '$title: nobody is acknowledged below or beside the log, nothing twice, no void slot is believed',
  (bounds) => {
    const found = explore(slotModel(bounds), { maxStates: 10_000_000 })
    console.log(summary(found))
    expect(found.violation, text(found)).toBeUndefined()
    expect(found.complete).toBe(true)
  },
)

const TEETH: readonly [keyof SlotRules, SlotBounds][] = [
  ['writerReadsFloor', WORLDS.trim],
  ['readerReadsFloor', WORLDS.trim],
  ['floorAfterSlots', WORLDS.trim],
  ['attemptIds', WORLDS.lost],
  ['settles', WORLDS.lost],
  ['floorNames', WORLDS.trim],
  ['raisesFirst', WORLDS.trim],
  ['floorsIfAbsent', { ...WORLDS.trimmers, writers: TWO }],
]

test.each(TEETH)('without the rule "%s" a schedule breaks it', (rule, bounds) => {
  const found = explore(slotModel(bounds, { ...SLOT_RULES, [rule]: false }))
  expect(found.violation).toBeDefined()
  console.log(`  without ${rule}: ${found.violation!.what}, ${found.violation!.schedule.length - 1} steps, ${found.states} states`)
})

test('tombstones are the second line: writers that read no floor are safe while names are taken, and not once they are free', () => {
  const rules = { ...SLOT_RULES, writerReadsFloor: false }
  const taken = explore(slotModel(WORLDS.trim, { ...rules, frees: false }))
  expect(taken.violation, text(taken)).toBeUndefined()
  expect(taken.complete).toBe(true)
  for (const free of [
    { ...rules, frees: true },
    { ...rules, tombstones: false },
  ]) {
    const found = explore(slotModel(WORLDS.trim, free))
    expect(found.violation?.what).toMatch(/acknowledged and not in the log/)
    console.log(
      `  without the floor read, ${free.tombstones ? 'names freed' : 'no tombstones'}: ${found.violation!.what}, ${found.violation!.schedule.length - 1} steps`,
    )
  }
})
