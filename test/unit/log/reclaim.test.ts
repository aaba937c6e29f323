// Holds and what they wait for: a tail that moves, a vacuum that plans, but not one whose record waits to be committed.
import { describe, expect, it } from 'vitest'

import { Reclaim } from '../../../bindings/log/reclaim.ts'

const settles = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** As a pin is taken: held at once, then looked at. */
function pinned(reclaim: Reclaim, lsn: number, told: string[]): Promise<void> {
  return reclaim.granting(async () => {
    reclaim.hold(lsn, 0, { owner: `pin ${lsn}` })
    told.push(`held ${lsn}`)
    await settles()
  })
}

describe('a hold that is asked for', () => {
  it('while a vacuum plans waits, is granted when its record is on its way, once, and refused below its floor', async () => {
    const reclaim = new Reclaim()
    const told: string[] = []
    const planning = Promise.withResolvers<void>()
    const committed = Promise.withResolvers<void>()
    const vacuum = reclaim.exclusively(async () => {
      reclaim.planned = 50
      await planning.promise
      await reclaim.recording(committed.promise)
      reclaim.planned = 0
      told.push('over')
    })
    await settles()
    const waiting = pinned(reclaim, 60, told)
    await settles()
    expect([told, reclaim.recorded]).toEqual([[], undefined])
    planning.resolve()
    await waiting
    await pinned(reclaim, 50, told)
    await expect(pinned(reclaim, 49, told)).rejects.toMatchObject({ name: 'PinRefusedError' })
    expect([told, reclaim.recorded]).toEqual([['held 60', 'held 50'], 50])
    committed.resolve()
    await vacuum
    // By then the lock has been its own.
    await reclaim.exclusively(settles)
    expect([told, reclaim.recorded]).toEqual([['held 60', 'held 50', 'over'], undefined])
    expect(reclaim.list().map(({ lsn }) => lsn)).toEqual([60, 50])
  })

  it('while the tail moves waits until it has moved; what was granted before a record came to nothing stays', async () => {
    const reclaim = new Reclaim()
    const told: string[] = []
    const moving = Promise.withResolvers<void>()
    const trim = reclaim.reclaim(40, false, async (limit) => {
      await moving.promise
      told.push(`tail ${limit}`)
    })
    const waiting = pinned(reclaim, 40, told)
    await settles()
    expect(told).toEqual([])
    moving.resolve()
    await Promise.all([trim, waiting])
    expect(told).toEqual(['tail 40', 'held 40'])
    const refused = reclaim
      .exclusively(() => {
        reclaim.planned = 40
        return reclaim.recording(settles().then(() => Promise.reject(new Error('nobody confirms'))))
      })
      .catch((error: unknown) => error)
    await pinned(reclaim, 45, told)
    expect(await refused).toMatchObject({ message: 'nobody confirms' })
    expect(reclaim.list().map(({ lsn }) => lsn)).toEqual([40, 45])
    await reclaim.reclaim(60, false, async (limit) => void told.push(`tail ${limit}`))
    expect(told.at(-1)).toBe('tail 40')
  })
})
