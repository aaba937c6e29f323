// Many changes at once, a flush between them: commits share groups, and crash points lie amid several calls.

import { ConflictError, DuplicateKeyError } from '../../../../bindings/index.ts'
import { apply, type Change, perform } from '../../store-model.ts'
import type { OpKind } from '../life.ts'
import { drawChange, drawLoad } from './changes.ts'

interface Step {
  readonly changes: readonly Change[]
  readonly flush: boolean
}

export const burst: OpKind<Step> = {
  name: 'burst',
  weight: 4,
  draw: (dice) => ({ changes: dice.list(2, 10, () => (dice.once(5) ? drawLoad(dice) : drawChange(dice))), flush: dice.once(3) }),
  async run(life, { changes, flush }) {
    const running = changes
      .filter(({ table }) => life.tables.includes(table))
      .map((change) =>
        perform(life.store, change).then(
          ({ lsn }) => {
            life.acknowledge(Number(lsn))
            return { change, lsn: Number(lsn) }
          },
          (error: unknown) => {
            if (error instanceof DuplicateKeyError || error instanceof ConflictError) return undefined
            throw error
          },
        ),
      )
    const flushing = flush ? life.store.flush() : undefined
    const done = (await Promise.all(running)).filter((each) => each !== undefined)
    await flushing
    for (const { change, lsn } of done.sort((a, b) => a.lsn - b.lsn)) {
      const right = apply(life.state, change)
      if (right === undefined) throw new Error(`LSN ${lsn} holds a key twice`)
      life.committed(lsn, right.state)
    }
  },
}
