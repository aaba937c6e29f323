// Transactions: several changes of several tables, one commit.

import { DuplicateKeyError } from '../../../../bindings/index.ts'
import { apply, type Change, performIn, type State, stateText } from '../../store-model.ts'
import type { OpKind } from '../life.ts'
import { drawChange } from './changes.ts'

export const transact: OpKind<readonly Change[]> = {
  name: 'transact',
  weight: 4,
  draw: (dice) => dice.list(1, 4, () => drawChange(dice)),
  async run(life, parts) {
    const changes = parts.filter(({ table }) => life.tables.includes(table))
    let after: State | undefined = life.state
    for (const change of changes) after = after === undefined ? undefined : apply(after, change)?.state
    let committed: number | undefined
    try {
      await life.store.transact(
        async (tx) => {
          for (const change of changes) await performIn(tx, change)
        },
        {
          onCommitted: ({ lsn }) => {
            committed = Number(lsn)
            life.acknowledge(committed)
          },
        },
      )
    } catch (error) {
      if (after === undefined && error instanceof DuplicateKeyError) return
      throw error
    }
    if (after === undefined) throw new Error('a transaction let a key in twice')
    if (committed !== undefined) life.committed(committed, after)
    else if (stateText(after) !== stateText(life.state)) throw new Error('a transaction changed something without a commit')
  },
}
