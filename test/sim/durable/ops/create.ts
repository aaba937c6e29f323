// Tables come to be.

import { NAMES, type TableName, TABLES } from '../../store-model.ts'
import type { OpKind } from '../life.ts'

export const create: OpKind<readonly TableName[]> = {
  name: 'create',
  weight: 1,
  draw: (dice) => {
    const some = NAMES.filter(() => dice.once(2))
    return some.length === 0 || dice.once(2) ? NAMES : some
  },
  async run(life, names) {
    const fresh = names.filter((name) => !life.tables.includes(name))
    if (fresh.length === 0) return
    await life.store.create(...fresh.map((name) => TABLES[name]))
    const lsn = Number(life.store.lsn)
    life.acknowledge(lsn)
    life.committed(lsn, life.state, [...life.tables, ...fresh])
  },
}
