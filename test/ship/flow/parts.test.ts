// The small parts of the driver, each by itself: pauses, rounds, turns, slowing down.
import { expect, it } from 'vitest'

import { seededRandom } from '../../../bindings/runtime/index.ts'
import { BackOff } from '../../../bindings/ship/back-off.ts'
import { Handover } from '../../../bindings/ship/handover.ts'
import { replicaId } from '../../../bindings/ship/index.ts'
import { RebuildSlots } from '../../../bindings/ship/rebuild-slots.ts'
import { Throttle } from '../../../bindings/store/throttle.ts'
import { FakeClock } from '../../../bindings/testing/index.ts'

const id = replicaId('r1')
const never = new AbortController().signal

it('K6 pauses are 100, 200, 400 ... 10 000 ms, a fifth more or less, and begin anew after a success', () => {
  const backOff = new BackOff(seededRandom(3))
  const wanted = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]
  const drawn = wanted.map(() => backOff.nextMs())
  drawn.forEach((ms, i) => {
    expect(ms).toBeGreaterThanOrEqual(wanted[i]! * 0.8)
    expect(ms).toBeLessThanOrEqual(wanted[i]! * 1.2)
  })
  expect(new Set(drawn.map((ms, i) => ms / wanted[i]!)).size).toBeGreaterThan(5)
  backOff.reset()
  expect(backOff.nextMs()).toBeLessThanOrEqual(120)
})

it.each([
  ['near enough at once', [10], ['stream']],
  ['halved each time', [1000, 400, 150, 60, 20], ['round', 'round', 'round', 'stream']],
  ['not halved', [1000, 500], ['round', 'stuck']],
  ['eight rounds', [100_000, 40_000, 19_000, 9000, 4000, 1900, 900, 400], ['round', 'round', 'round', 'round', 'round', 'round', 'round', 'stuck']],
] as const)('C11 rounds: %s', (_, gaps, answers) => {
  const handover = new Handover(100)
  const told = gaps.map((gap) => {
    try {
      return handover.next(id, gap, false)
    } catch (error) {
      expect(error).toMatchObject({ code: 'ship.catch-up-not-converging', details: { gap } })
      return 'stuck'
    }
  })
  expect(told.slice(0, answers.length)).toEqual(answers)
  // What is told once begins anew.
  expect(handover.next(id, 100, false)).toBe('stream')
})

it('C11 rounds of a writer that is slowed may pay little, but there are eight at most', () => {
  const handover = new Handover(10)
  for (let round = 1; round < 8; round++) expect(handover.next(id, 1000 - round, true)).toBe('round')
  expect(() => handover.next(id, 990, true)).toThrow(expect.objectContaining({ code: 'ship.catch-up-not-converging' }) as Error)
})

it('X10 one rebuild after the other, the one least behind first; who gives up waiting takes no turn', async () => {
  const clock = new FakeClock()
  const slots = new RebuildSlots(clock.timers, 1, () => 4)
  const turns: string[] = []
  const gone = new AbortController()
  const held = new Map<string, Disposable>()
  const ask = (name: string, lag: number, signal = never): void => {
    slots
      .take(() => lag, signal)
      .then(
        (slot) => {
          turns.push(name)
          held.set(name, slot)
        },
        (error: unknown) => turns.push(`${name}: ${(error as Error).message}`),
      )
  }
  ask('far', 900)
  ask('near', 10)
  ask('impatient', 20, gone.signal)
  ask('middle', 300)
  await clock.advance(20)
  expect(turns).toEqual(['near'])
  gone.abort(new Error('gone'))
  await clock.advance(100)
  expect(turns).toEqual(['near', 'impatient: gone'])
  held.get('near')![Symbol.dispose]()
  held.get('near')![Symbol.dispose]()
  await clock.advance(20)
  expect(turns.slice(2)).toEqual(['middle'])
  held.get('middle')![Symbol.dispose]()
  await clock.advance(20)
  expect(turns.slice(2)).toEqual(['middle', 'far'])
})

it('X10 a rebuild that nobody else can ask for begins at once; one that others may ask for waits for them', async () => {
  const clock = new FakeClock()
  const { signal } = new AbortController()
  {
    using alone = await new RebuildSlots(clock.timers, 1, () => 1).take(() => 5, signal)
    expect(alone).toBeDefined()
  }
  const slots = new RebuildSlots(clock.timers, 1, () => 2)
  const turns: string[] = []
  const taken = slots.take(() => 5, signal).finally(() => turns.push('far'))
  await clock.advance(1)
  expect(turns).toEqual([])
  await clock.advance(20)
  expect(turns).toEqual(['far'])
  // The other one is all that is left.
  const second = slots.take(() => 9, signal).finally(() => turns.push('other'))
  ;(await taken)[Symbol.dispose]()
  await clock.advance(20)
  expect(turns).toEqual(['far', 'other'])
  ;(await second)[Symbol.dispose]()
})

it('writers are slowed for as long as one replica asks for it, the more the longer, and never stopped', async () => {
  const clock = new FakeClock()
  const throttle = new Throttle(clock.timers)
  expect(throttle.room()).toBeUndefined()
  const passing = async (): Promise<number> => {
    let passed = 0
    while (throttle.room() === undefined) passed++
    await clock.advance(20)
    return passed
  }
  throttle.set('r1', true)
  expect(await passing()).toBe(256)
  throttle.set('r1', true)
  expect(await passing()).toBe(64)
  for (let i = 0; i < 10; i++) throttle.set('r1', true)
  expect(await passing()).toBe(4)
  throttle.set('r2', true)
  throttle.set('r1', false)
  expect(throttle.isOn).toBe(true)
  throttle.set('r2', false)
  expect(throttle.room()).toBeUndefined()
})
