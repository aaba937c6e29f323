// Single changes: small ones that travel in the record, large ones that are written as fragments first.

import { DuplicateKeyError } from '../../../../bindings/index.ts'
import { apply, type Change, type Form, NAMES, perform, type TableName } from '../../store-model.ts'
import type { Dice } from '../dice.ts'
import type { Life, OpKind } from '../life.ts'

export function drawTable(dice: Dice): TableName {
  return dice.pick<TableName>(['accounts', 'accounts', 'pairs', 'events'])
}

export function drawChange(dice: Dice): Change {
  const keyed = dice.pick<'accounts' | 'pairs'>(['accounts', 'accounts', 'pairs'])
  const form = dice.pick<Form>(['rows', 'rows', 'columns', 'stream'])
  const salt = dice.int(9)
  const keys = dice.list(1, 6, () => dice.int(60))
  switch (dice.int(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return { op: 'upsert', table: keyed, keys, salt, form }
    case 4:
    case 5:
      return { op: 'append', table: drawTable(dice), keys: [...new Set(keys)].map((key) => key + 1000 * dice.int(3)), salt, form }
    case 6:
      return { op: 'append', table: 'events', keys, salt, form }
    case 7:
      return { op: 'update', table: keyed, keys, salt }
    case 8:
    case 9:
      return { op: 'delete', table: keyed, keys }
    case 10:
      return { op: 'deleteWhere', table: drawTable(dice), below: dice.once(5) ? null : dice.int(45) - 45 }
    default:
      return { op: 'replace', table: dice.pick(NAMES), keys: [...new Set(keys)], salt, form }
  }
}

/** From one row to more than a segment holds. */
export function drawLoad(dice: Dice): Change {
  const table = drawTable(dice)
  return {
    op: 'bulk',
    how: table === 'events' ? dice.pick(['append', 'append', 'replace']) : dice.pick(['upsert', 'upsert', 'append', 'replace']),
    table,
    start: dice.int(300),
    count: dice.once(4) ? 1000 + dice.int(1500) : 1 + dice.int(200),
    salt: dice.int(9),
    form: dice.pick(['columns', 'stream']),
  }
}

/** Performs a change that may be refused for a key that is there twice. */
export async function performChange(life: Life, change: Change): Promise<void> {
  if (!life.tables.includes(change.table)) return
  const right = apply(life.state, change)
  let result: { lsn: bigint }
  try {
    result = await perform(life.store, change).then((done) => {
      life.acknowledge(Number(done.lsn))
      return done
    })
  } catch (error) {
    if (right === undefined && error instanceof DuplicateKeyError) return
    throw error
  }
  if (right === undefined) throw new Error('a key was let in twice')
  life.committed(Number(result.lsn), right.state)
}

export const change: OpKind<Change> = { name: 'change', weight: 20, draw: drawChange, run: performChange }

export const load: OpKind<Change> = { name: 'load', weight: 4, draw: drawLoad, run: performChange }

/** Several records of some twenty kilobytes in a row: more than a segment holds, so that the log rolls between commits that are not synced yet. */
export const pour: OpKind<readonly Change[]> = {
  name: 'pour',
  weight: 2,
  draw: (dice) =>
    dice.list(3, 6, () => ({
      op: 'bulk',
      how: 'append',
      table: 'events',
      start: dice.int(300),
      count: 300 + dice.int(500),
      salt: dice.int(9),
      form: 'columns',
    })),
  async run(life, changes) {
    for (const each of changes) await performChange(life, each)
  },
}
