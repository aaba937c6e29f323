// The failpoints of publishing by slots (recovery.md section 4): a lost slot, and the look for an outcome that is not known.
import { beforeEach, describe, expect, it } from 'vitest'

import { CommitOutcomeUnknownError, LsnTakenError } from '../../bindings/errors.ts'
import { lsn } from '../../bindings/log/index.ts'
import { FP } from '../../bindings/runtime/index.ts'
import { idsOf, readAll } from '../../bindings/testing/contracts/log-records.ts'
import { Bench, recordOf } from './object-log-helpers.ts'

let bench: Bench
beforeEach(() => {
  bench = new Bench()
})

const logged = async (): Promise<number[]> => idsOf(await readAll(await bench.reader(), lsn(0)))

describe('a lost slot', () => {
  it('Given a writer parked where it learns that its slot is lost, then others go on, and it is behind all of them', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    using lost = a.failpoints.arm(FP.publish.lostSlot, { park: true, times: 1 })
    const late = a.log.append([recordOf(10)], { expect: lsn(2) })
    const told = late.catch((error: unknown) => error)
    await lost.reached()
    await b.commit(2)
    lost.release()
    expect(await bench.elapse(told)).toBeInstanceOf(LsnTakenError)
    await a.commit(10)
    expect(await logged()).toEqual([1, 2, 10])
  })

  it('Given an error there, then the outcome is looked for, and it is: not in the log, once', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    {
      using _lost = a.failpoints.arm(FP.publish.lostSlot, { error: 'unavailable', times: 1 })
      await expect(bench.elapse(a.log.append([recordOf(10)], { expect: lsn(2) }))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    }
    expect(await bench.elapse(a.log.resolveUnknown())).toMatchObject({ durable: false })
    await a.commit(10)
    expect(await logged()).toEqual([1, 10])
  })

  it('Given a crash there, then the log is the winner’s', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    await b.commit(1)
    a.failpoints.arm(FP.publish.lostSlot, { crash: true })
    a.log.append([recordOf(10)], { expect: lsn(2) }).catch(() => undefined)
    await bench.elapse(a.failpoints.crashed)
    await b.commit(2)
    expect(await logged()).toEqual([1, 2])
  })
})

describe('an outcome that is looked for', () => {
  it.each(['before', 'after'] as const)(
    'Given an answer that is lost %s the effect, and an error where it is looked for, then it stays unknown until it can be told',
    async (when) => {
      const a = await bench.writer()
      a.root.plan(({ method, name }) => (method === 'putIfAbsent' || name.startsWith('log/') ? { error: 'timeout', when } : undefined))
      await expect(bench.elapse(a.log.append([recordOf(1)]))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
      a.root.plan(undefined)
      using resolve = a.failpoints.arm(FP.publish.beforeResolve, { error: 'unavailable', times: 2 })
      for (let i = 0; i < 2; i++) await expect(bench.elapse(a.log.resolveUnknown())).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
      expect(() => a.log.submit([recordOf(2)])).toThrow()
      expect(await bench.elapse(a.log.resolveUnknown())).toMatchObject({ first: 2n, durable: true })
      expect(resolve.fired).toBe(2)
      expect(await logged()).toEqual([1])
    },
  )

  it('Given another takes the slot while it is parked there, then it lost', async () => {
    const [a, b] = [await bench.writer(), await bench.writer()]
    await a.log.refresh()
    a.root.plan(({ method }) => (method === 'putIfAbsent' ? { error: 'timeout' } : undefined))
    await expect(bench.elapse(a.log.append([recordOf(10)], { expect: lsn(2) }))).rejects.toBeInstanceOf(CommitOutcomeUnknownError)
    a.root.plan(undefined)
    using parked = a.failpoints.arm(FP.publish.beforeResolve, { park: true, times: 1 })
    const outcome = a.log.resolveUnknown()
    await parked.reached()
    await b.commit(1)
    parked.release()
    expect(await bench.elapse(outcome)).toMatchObject({ durable: false })
    await a.commit(10)
    expect(await logged()).toEqual([1, 10])
  })
})
