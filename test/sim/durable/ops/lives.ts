// The process ends and another one opens the store: by a close, by Symbol.dispose, by a kill, and after a sync of the log that failed.

import { PoisonedError, VarveError } from '../../../../bindings/index.ts'
import { apply, type Change, perform } from '../../store-model.ts'
import type { Life, OpKind } from '../life.ts'
import { foundAt } from '../look.ts'
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

/**
 * A write or sync of the log fails: nothing is acknowledged any more, the pages turn clean, and the next open writes again what it believes. Where it strikes
 * behind the acknowledgement (a `buffered` load syncs the log before its staged files go) the write stands, and the handle is over all the same.
 */
export const failure: OpKind<Failing> = {
  name: 'failure',
  weight: 2,
  draw: (dice) => ({ change: drawChange(dice), op: dice.pick(['datasync', 'datasync', 'write']), effect: dice.pick(['none', 'half', 'whole']) }),
  async run(life, { change, op, effect }) {
    if (!life.tables.includes(change.table)) return
    const right = apply(life.state, change)
    if (right === undefined) return
    const before = Number(life.store.lsn)
    let struck = false
    life.files.plan((call) => {
      if (struck || call.op !== op || !call.path.includes('/log/')) return undefined
      struck = true
      return { error: 'EIO', effect }
    })
    let done: number | undefined
    let refused: unknown
    try {
      done = Number((await perform(life.store, change)).lsn)
      life.acknowledge(done)
      life.committed(done, right.state)
    } catch (error) {
      refused = error
    }
    life.files.plan(undefined)
    if (refused !== undefined && !(refused instanceof VarveError)) throw refused
    if (refused === undefined && !(struck && (await isOver(life)))) return
    await life.store.close().catch(() => undefined)
    await life.open()
    // What the next open finds is decided for good; behind it are its epoch record, and the roll-back of a write whose files lay in staging and whose record is lost.
    const { lsn: found } = foundAt(life.files)
    if (found > (done ?? before + 1)) throw new Error(`the log was to end at LSN ${before} or ${done ?? before + 1}, and ends at ${found}`)
    if (done === undefined && found > before) life.committed(found, right.state)
  },
}

/** Whether a failure that no caller was told of yet has ended the handle. */
async function isOver(life: Life): Promise<boolean> {
  try {
    const lsn = await life.store.sync()
    life.promise(Number(lsn), 'power')
    return false
  } catch (error) {
    if (error instanceof PoisonedError) return true
    throw error
  }
}
