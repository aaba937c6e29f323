// The checker itself: finds what is there, by the shortest schedule, and says when it saw everything.
import { expect, test } from 'vitest'

import { describe, explore, type Model } from './explore.ts'

interface Counter {
  /** Per process: value read, or -1; increments left. */
  procs: { read: number; left: number }[]
  value: number
}

/** Two processes that add 1 by read, then write. */
function counters(atomic: boolean): Model<Counter> {
  return {
    name: 'counters',
    start: {
      procs: [
        { read: -1, left: 1 },
        { read: -1, left: 1 },
      ],
      value: 0,
    },
    steps(state, step) {
      state.procs.forEach((proc, i) => {
        if (proc.left === 0) return
        if (atomic) {
          step(`${i} adds`, (draft) => {
            draft.value++
            draft.procs[i]!.left--
          })
        } else if (proc.read < 0) {
          step(`${i} reads`, (draft) => {
            draft.procs[i]!.read = draft.value
          })
        } else {
          step(`${i} writes`, (draft) => {
            draft.value = draft.procs[i]!.read + 1
            draft.procs[i] = { read: -1, left: draft.procs[i]!.left - 1 }
          })
        }
      })
    },
    check: (state) => (state.procs.every(({ left }) => left === 0) && state.value !== 2 ? `an increment is lost: ${state.value}` : undefined),
    goal: (state) => state.procs.every(({ left }) => left === 0),
  }
}

test('a lost update is found, with its shortest schedule', () => {
  const found = explore(counters(false))
  expect(found.violation).toEqual({ what: 'an increment is lost: 1', schedule: ['start', '0 reads', '1 reads', '0 writes', '1 writes'] })
  expect(found.complete).toBe(false)
  expect(describe(found)).toContain('3  0 writes')
})

test('a right model is explored whole', () => {
  expect(explore(counters(true))).toEqual({ model: 'counters', states: 4, transitions: 4, depth: 2, complete: true, violation: undefined })
})

test('a state from which the goal cannot be reached is found', () => {
  const model = counters(true)
  const found = explore({
    ...model,
    steps(state, step) {
      // Whoever went first as process 1 blocks the other.
      if (state.procs[1]!.left === 0) return
      model.steps(state, step)
    },
  })
  expect(found.violation).toEqual({ what: 'no schedule from here reaches a goal', schedule: ['start', '1 adds'] })
})

test('the bound ends an endless model and says so', () => {
  const endless: Model<{ n: number }> = {
    name: 'endless',
    start: { n: 0 },
    steps: (_, step) => step('more', (draft) => void draft.n++),
    check: () => undefined,
  }
  expect(explore(endless, { maxStates: 100 })).toMatchObject({ states: 100, complete: false, violation: undefined })
})
