// The signal of stage(), aborted at each step of a write: one rule, the same at every run (recovery.md section 2, "Abort").
import { describe, expect, it } from 'vitest'

import type { StagedWrite } from '../../../bindings/index.ts'
import { type FailpointName, FP, rendezvous } from '../../../bindings/testing/index.ts'
import { contents, item, items, note, notes, Place } from './helpers.ts'

const stop = new Error('stop')

interface Staged {
  readonly place: Place
  readonly abort: AbortController
  readonly write: StagedWrite
}

async function staged(isSealed: boolean): Promise<Staged> {
  const place = await Place.open()
  const abort = new AbortController()
  const write = await place.store.stage({ signal: abort.signal })
  await write.append(notes, note(1))
  await write.upsert(items, item(1))
  if (isSealed) await write.seal()
  return { place, abort, write }
}

async function isRolledBack({ place, write }: Staged): Promise<void> {
  expect(write.state).toBe('rolledBack')
  expect(await place.store.outcome(write.id)).toBe('rolledBack')
  expect(await place.store.pending()).toEqual([])
  expect(await place.staging()).toEqual([])
  await expect(write.publish()).rejects.toMatchObject({ message: expect.stringMatching(/stop|rolled back/) })
  const store = await place.reopen()
  expect(await contents(store)).toEqual({ items: [], notes: [] })
  expect(await store.outcome(write.id)).toBe('rolledBack')
}

async function isPublished({ place, write }: Staged): Promise<void> {
  expect(write.state).toBe('published')
  expect(await place.store.outcome(write.id)).toBe('published')
  expect(await contents(await place.reopen())).toEqual({ items: ['1:x'], notes: ['1:n'] })
}

const BEFORE: readonly FailpointName[] = [FP.promote.before, FP.promote.betweenFiles, FP.promote.after, FP.publish.afterAdmit, FP.publish.beforeAppend]
const BEHIND: readonly FailpointName[] = [FP.log.beforeSync, FP.log.afterSync, FP.publish.afterAppend, FP.retire.before]

describe.each([true, false])('inside publish() of a write that is sealed already: %s', (isSealed) => {
  it('in the same turn: rolled back, rejects with the reason', async () => {
    const at = await staged(isSealed)
    const publishing = at.write.publish()
    at.abort.abort(stop)
    await expect(publishing).rejects.toBe(stop)
    await isRolledBack(at)
  })

  it.each(BEFORE)('at %s: rolled back, rejects with the reason', async (point) => {
    const at = await staged(isSealed)
    using parked = rendezvous(at.place.sim.world, point)
    const publishing = at.write.publish()
    publishing.catch(() => undefined)
    await parked.reached()
    at.abort.abort(stop)
    parked.release()
    await expect(publishing).rejects.toBe(stop)
    await isRolledBack(at)
  })

  it.each(BEHIND)('at %s, behind the commit: resolves as published', async (point) => {
    const at = await staged(true)
    using parked = rendezvous(at.place.sim.world, point)
    const publishing = at.write.publish()
    publishing.catch(() => undefined)
    await parked.reached()
    at.abort.abort(stop)
    parked.release()
    expect(await publishing).toMatchObject({ writeId: at.write.id, rows: 2, replayed: false })
    await isPublished(at)
  })
})

describe('inside seal()', () => {
  it.each([FP.stage.beforeSync, FP.seal.beforeAppend, FP.seal.afterAppend])('at %s: rolled back, rejects with the reason', async (point) => {
    const at = await staged(false)
    using parked = rendezvous(at.place.sim.world, point)
    const sealing = at.write.seal()
    sealing.catch(() => undefined)
    await parked.reached()
    at.abort.abort(stop)
    parked.release()
    await expect(sealing).rejects.toBe(stop)
    await isRolledBack(at)
  })
})

describe('outside a call', () => {
  it('before the seal: rolled back', async () => {
    const at = await staged(false)
    at.abort.abort(stop)
    await expect(at.write.seal()).rejects.toBe(stop)
    await isRolledBack(at)
  })

  it('sealed and idle: it stays sealed, and publish() goes on without the signal', async () => {
    const at = await staged(true)
    at.abort.abort(stop)
    await new Promise((resolve) => setImmediate(resolve))
    expect(at.write.state).toBe('sealed')
    expect(await at.place.store.outcome(at.write.id)).toBe('pending')
    expect(await at.write.seal()).toBeGreaterThan(0n)
    expect(await at.write.publish()).toMatchObject({ writeId: at.write.id })
    await isPublished(at)
  })

  it('sealed, aborted while it was idle, and rolled back by its user: as without a signal', async () => {
    const at = await staged(true)
    at.abort.abort(stop)
    await at.write.rollback()
    await isRolledBack(at)
  })

  it('inside publish() while another handle waits to publish: rolled back for both', async () => {
    const at = await staged(true)
    using parked = rendezvous(at.place.sim.world, FP.publish.beforeAppend)
    const publishing = at.write.publish()
    await parked.reached()
    const other = (await at.place.store.resume(at.write.id)).publish()
    at.abort.abort(stop)
    parked.release()
    const [mine, theirs] = await Promise.allSettled([publishing, other])
    // The one that holds the gates rolls it back; the other finds that.
    expect(mine).toMatchObject({ status: 'rejected', reason: stop })
    expect(theirs.status).toBe('rejected')
    await isRolledBack(at)
  })
})
