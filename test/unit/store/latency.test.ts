// The histogram of commit latencies against a sorted list of what was recorded.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { LATENCY_WINDOW_MS, LatencyWindow } from '../../../bindings/store/latency.ts'

const durations = fc.array(
  fc.oneof(fc.double({ min: 0, max: 0.1, noNaN: true }), fc.double({ min: 0, max: 50, noNaN: true }), fc.double({ min: 0, max: 60_000, noNaN: true })),
  {
    minLength: 1,
    maxLength: 400,
  },
)

/** The value of that rank in µs, as ms. */
function exact(values: readonly number[], share: number): number {
  const sorted = values.map((ms) => Math.round(ms * 1000)).toSorted((a, b) => a - b)
  return sorted[Math.ceil(sorted.length * share) - 1]! / 1000
}

describe('percentiles of a window', () => {
  it('are those of a sorted list, never below and at most 1/32 above', () =>
    fc.assert(
      fc.property(durations, fc.double({ min: 0, max: 1e9, noNaN: true }), (values, nowMs) => {
        const window = new LatencyWindow(nowMs)
        for (const value of values) window.record(value, nowMs)
        const found = window.summary(nowMs)
        expect(found.count).toBe(values.length)
        expect(found.max).toBe(exact(values, 1))
        for (const [name, share] of [
          ['p50', 0.5],
          ['p99', 0.99],
          ['p999', 0.999],
        ] as const) {
          const wanted = exact(values, share)
          expect(found[name]).toBeGreaterThanOrEqual(wanted)
          expect(found[name]).toBeLessThanOrEqual(wanted * (1 + 1 / 32))
        }
      }),
    ))

  it('forget what is older than the window and nothing that is younger than five sixths of it', () =>
    fc.assert(
      fc.property(fc.array(fc.nat(200_000), { minLength: 1, maxLength: 60 }), (steps) => {
        const window = new LatencyWindow(0)
        const at: number[] = []
        let nowMs = 0
        for (const step of steps) {
          nowMs += step / 20
          window.record(1, nowMs)
          at.push(nowMs)
        }
        const { count, windowMs } = window.summary(nowMs)
        expect(windowMs).toBeLessThanOrEqual(LATENCY_WINDOW_MS)
        expect(count).toBe(at.filter((ms) => Math.floor(ms / 10_000) > Math.floor(nowMs / 10_000) - 6).length)
        expect(count).toBeGreaterThanOrEqual(at.filter((ms) => ms >= nowMs - 50_000).length)
        expect(count).toBeLessThanOrEqual(at.filter((ms) => ms > nowMs - LATENCY_WINDOW_MS).length)
      }),
    ))

  it('of nothing are zeros', () => {
    expect(new LatencyWindow(5).summary(5)).toEqual({ count: 0, windowMs: 0, p50: 0, p99: 0, p999: 0, max: 0 })
  })

  it('count what takes longer than a minute there, and a clock that stands still as nothing', () => {
    const window = new LatencyWindow(0)
    window.record(1e9, 0)
    window.record(-1, 0)
    expect(window.summary(0)).toMatchObject({ count: 2, p50: 0, max: (2 ** 26 - 1) / 1000 })
  })
})
