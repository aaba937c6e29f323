// The life of staged writes explored whole, in the smallest worlds that show each race, and each rule left out once.
import { expect, test } from 'vitest'

import { describe as text, explore, LARGE, summary } from './explore.ts'
import { STAGED_RULES, type StagedBounds, type StagedRules } from './staged-state.ts'
import { stagedModel } from './staged-write.ts'

const BASE: Omit<StagedBounds, 'title' | 'modes'> = {
  root: 'local',
  writes: [['x']],
  sweepers: 1,
  passes: 1,
  vacuums: 0,
  kills: 1,
  powerCuts: 0,
  wrongGuesses: 1,
  aborts: true,
  terms: 0,
}
const QUIET = { sweepers: 0, kills: 0, aborts: false }

const WORLDS = {
  separate: { ...BASE, title: 'separate seal: two files, sweeper, power cut', writes: [['x', 'y']], modes: ['separate'], powerCuts: 1 },
  fused: { ...BASE, title: 'fused: two files, sweeper, power cut', writes: [['x', 'y']], modes: ['fused'], powerCuts: 1 },
  sweepers: { ...BASE, title: 'separate seal: two sweepers at once, power cut', modes: ['separate'], sweepers: 2, powerCuts: 1 },
  rebase: { ...BASE, title: 'separate seal: sealed again, sweeper', modes: ['separate'], rebases: 1 },
  damagedPublish: {
    ...BASE,
    title: 'separate seal: damaged target, generations in the publish record',
    modes: ['separate'],
    vacuums: 1,
    orphan: 'damaged',
    aborts: false,
    wrongGuesses: 0,
  },
  damaged: {
    ...BASE,
    title: 'separate seal: damaged target, generations in a second seal',
    generations: 'seal',
    modes: ['separate'],
    vacuums: 1,
    orphan: 'damaged',
    aborts: false,
  },
  term: {
    ...BASE,
    title: 'separate seal: sweeper, vacuum, the term passes',
    modes: ['separate'],
    vacuums: 1,
    terms: 1,
    orphan: 'good',
    kills: 0,
    aborts: false,
  },
  fusedTerm: { ...BASE, title: 'fused: sweeper, vacuum, the term passes', modes: ['fused'], vacuums: 1, terms: 1, orphan: 'good', aborts: false },
  writers: {
    ...BASE,
    ...QUIET,
    title: 'equal bytes in a fused and a separate write, vacuum',
    writes: [['x'], ['x']],
    modes: ['fused', 'separate'],
    vacuums: 1,
    kills: 1,
  },
  writersSwept: { ...BASE, title: 'equal bytes in two writes, sweeper', writes: [['x'], ['x']], modes: ['fused', 'separate'], kills: 0, aborts: false },
  object: { ...BASE, title: 'object root, separate seal: sweeper, vacuum', root: 'object', modes: ['separate'], vacuums: 1, orphan: 'good', aborts: false },
  objectFused: { ...BASE, title: 'object root, fused: sweeper, vacuum', root: 'object', modes: ['fused'], vacuums: 1, orphan: 'good', aborts: false },
  vacuums: {
    ...BASE,
    ...QUIET,
    title: 'object root, fused: two vacuums, the term passes',
    root: 'object',
    modes: ['fused'],
    vacuums: 2,
    terms: 1,
    orphan: 'good',
  },
} as const satisfies Record<string, StagedBounds>

const LARGER: readonly StagedBounds[] = [
  { ...BASE, title: 'separate seal: two files, two sweepers, power cut', writes: [['x', 'y']], modes: ['separate'], sweepers: 2, powerCuts: 1 },
  { ...BASE, title: 'fused: two files, two sweepers, power cut', writes: [['x', 'y']], modes: ['fused'], sweepers: 2, powerCuts: 1 },
  { ...BASE, title: 'separate seal: everything at once', modes: ['separate'], vacuums: 1, powerCuts: 1, terms: 1, orphan: 'damaged' },
  { ...BASE, title: 'fused: everything at once', modes: ['fused'], vacuums: 1, powerCuts: 1, terms: 1, orphan: 'damaged' },
  { ...BASE, title: 'equal bytes in two writes, sweeper, vacuum', writes: [['x'], ['x']], modes: ['fused', 'separate'], vacuums: 1, aborts: false },
  { ...BASE, title: 'object root: two vacuums, sweeper', root: 'object', modes: ['separate'], vacuums: 2, orphan: 'good', aborts: false },
]

test.each([...Object.values(WORLDS), ...(LARGE ? LARGER : [])])('$title: one outcome each, every named file there, staging empty in the end', (bounds) => {
  const found = explore(stagedModel(bounds), { maxStates: 5_000_000 })
  console.log(summary(found))
  expect(found.violation, text(found)).toBeUndefined()
  expect(found.complete).toBe(true)
})

const TEETH: readonly [keyof StagedRules, StagedBounds][] = [
  ['refusesDead', WORLDS.writers],
  ['refusesDead', WORLDS.damagedPublish],
  ['vacuumLooksAgain', WORLDS.writers],
  ['vacuumRecords', WORLDS.writers],
  ['sealProtects', WORLDS.writers],
  ['outcomeFloor', WORLDS.fusedTerm],
  ['namesSeal', WORLDS.rebase],
  ['rollbackNamesSeal', WORLDS.separate],
  ['syncsExisting', WORLDS.separate],
  ['verifies', WORLDS.damaged],
  ['avoidsDead', WORLDS.fusedTerm],
  ['promotesFirst', WORLDS.fused],
  ['decidesFirst', WORLDS.fused],
  ['armsFirst', WORLDS.fused],
  ['minds', WORLDS.object],
  ['namesFirst', WORLDS.object],
  ['ownNames', WORLDS.object],
  ['confirms', WORLDS.object],
  ['vacuumReplans', WORLDS.vacuums],
  ['plansLive', WORLDS.vacuums],
]

test('every rule is left out at least once', () => {
  expect([...new Set(TEETH.map(([rule]) => rule))].sort()).toEqual(Object.keys(STAGED_RULES).sort())
})

test.each(TEETH)('without the rule "%s" a schedule breaks it', (rule, bounds) => {
  const found = explore(stagedModel(bounds, { ...STAGED_RULES, [rule]: false }))
  expect(found.violation).toBeDefined()
  console.log(`  without ${rule}: ${found.violation!.what}, ${found.violation!.schedule.length - 1} steps, ${found.states} states`)
})
