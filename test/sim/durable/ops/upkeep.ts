// What a store does beside its commits: flush with a checkpoint, sync, time that passes.

import { PendingIntentError } from '../../../../bindings/index.ts'
import type { OpKind } from '../life.ts'

export const flush: OpKind<null> = {
  name: 'flush',
  weight: 4,
  draw: () => null,
  run: (life) => life.store.flush(),
}

/** Rows of a full fragment. */
export const optimize: OpKind<number> = {
  name: 'optimize',
  weight: 3,
  draw: (dice) => 1 + dice.int(60),
  async run(life, rows) {
    try {
      await life.store.optimize({ target: { rows } })
    } catch (error) {
      // A write that its user holds is in the way.
      if (!(error instanceof PendingIntentError)) throw error
    }
  },
}

export const sync: OpKind<null> = {
  name: 'sync',
  weight: 1,
  draw: () => null,
  async run(life) {
    const lsn = await life.store.sync()
    life.promise(Number(lsn), 'power')
  },
}

/** Timers fall due: the background sync of buffered commits. */
export const tick: OpKind<number> = {
  name: 'tick',
  weight: 1,
  draw: (dice) => dice.int(200),
  run: (life, ms) => life.sim.time.advance(ms),
}
