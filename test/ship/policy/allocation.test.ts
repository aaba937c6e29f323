// What a step of a catch-up costs in memory (shipping.md section 18): nothing, by the clock of the process. It is counted by the heap itself, in a stretch without a
// collection; alone in its file, so that no other clock was seen by the code that is measured.
import { GCProfiler, getHeapStatistics } from 'node:v8'
import { expect, it } from 'vitest'

import { defaultWorld } from '../../../bindings/runtime/index.ts'
import { RecoveryLog, Sender, SessionSequence } from '../../../bindings/ship/index.ts'
import { catchingUp, history, replica, STORE } from './kit.ts'

const STEPS = 1_000_000
const MIB = 1024 * 1024

it('a million steps of progress, each behind a fence check, allocate less than a MiB', () => {
  const { clock } = defaultWorld()
  let least = Infinity
  // The first ones are run by the interpreter, and compiled.
  for (let round = 0; round < 8 && least >= MIB; round++) {
    const sender = new Sender({ storeId: STORE, clock, log: new RecoveryLog({ clock }), sequence: new SessionSequence() }, replica('r1'), 1)
    const id = catchingUp(sender, 0, {}, history({ headLsn: STEPS, committedLsn: STEPS }))
    const { fence } = sender.session()!
    const profiler = new GCProfiler()
    profiler.start()
    const before = getHeapStatistics().used_heap_size
    for (let lsn = 1; lsn <= STEPS; lsn++) {
      sender.checkFence(fence)
      sender.recordProgress(id, lsn)
    }
    const grown = getHeapStatistics().used_heap_size - before
    if (profiler.stop()?.statistics.length === 0) least = Math.min(least, grown)
    expect(sender.session()!.recoveredTo).toBe(STEPS)
  }
  expect(least).toBeLessThan(MIB)
})
