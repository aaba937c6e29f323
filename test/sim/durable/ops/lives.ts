// The process ends and another one opens the store: by a close, by Symbol.dispose, by a kill, and after a sync of the log that failed.

import { VarveError } from '../../../../bindings/index.ts'
import { apply, type Change, perform } from '../../store-model.ts'
import type { OpKind } from '../life.ts'
import { drawChange } from './changes.ts'

export const close: OpKind<null> = {
  name: 'close',
  weight: 2,
  draw: () => null,
  async run(life) {
    const head = Number(life.store.lsn)
    await life.store.close()
    life.promise(head, 'power')
    await life.open()
  },
}

export const dispose: OpKind<null> = {
  name: 'dispose',
  weight: 1,
  draw: () => null,
  async run(life) {
    const head = Number(life.store.lsn)
    life.store[Symbol.dispose]()
    life.promise(head, 'power')
    await life.open()
  },
}

export const kill: OpKind<null> = {
  name: 'kill',
  weight: 2,
  draw: () => null,
  async run(life) {
    life.kill()
    await life.open()
  },
}

interface Failing {
  readonly change: Change
  readonly op: 'datasync' | 'write'
  readonly effect: 'none' | 'half' | 'whole'
}

/** A write or sync of the log fails: nothing is acknowledged any more, the pages turn clean, and the next open writes again what it believes. */
export const failure: OpKind<Failing> = {
  name: 'failure',
  weight: 2,
  draw: (dice) => ({ change: drawChange(dice), op: dice.pick(['datasync', 'datasync', 'write']), effect: dice.pick(['none', 'half', 'whole']) }),
  async run(life, { change, op, effect }) {
    if (!life.tables.includes(change.table)) return
    const right = apply(life.state, change)
    if (right === undefined) return
    const before = Number(life.store.lsn)
    life.files.failAt(1, { error: 'EIO', effect }, (call) => call.op === op && call.path.includes('/log/'))
    let refused: unknown
    try {
      const { lsn } = await perform(life.store, change)
      life.acknowledge(Number(lsn))
      life.committed(Number(lsn), right.state)
    } catch (error) {
      refused = error
    }
    life.files.plan(undefined)
    if (refused !== undefined && !(refused instanceof VarveError)) throw refused
    if (refused === undefined) return
    await life.store.close().catch(() => undefined)
    await life.open()
    // Whether the next open found it is decided for good by its epoch record, one LSN later.
    if (Number(life.store.lsn) > before + 1) life.committed(before + 1, right.state)
  },
}
