// Definitions change in ways that the program with the older ones does not see: what it reads and writes stays the same.

import { type AnyTable, t, table } from '../../../../bindings/index.ts'
import { NAMES, type TableName, TABLES } from '../../store-model.ts'
import type { OpKind } from '../life.ts'

interface Step {
  readonly names: readonly TableName[]
  /** Which of the columns below are there afterwards. */
  readonly more: boolean
  readonly late: boolean
  readonly value: number
}

function definition(name: TableName, { more, late, value }: Step): AnyTable {
  const base = TABLES[name]
  const columns = {
    ...base.columns,
    ...(more ? { more: t.int32().default(value) } : {}),
    ...(late ? { late: t.utf8().nullable() } : {}),
  }
  const { unique, index } = base as unknown as { unique: readonly (readonly string[])[]; index: readonly (readonly string[])[] }
  return table(name, columns as never, { key: base.key, unique, index } as never) as unknown as AnyTable
}

export const redefine: OpKind<Step> = {
  name: 'redefine',
  weight: 2,
  draw: (dice) => ({ names: NAMES.filter(() => dice.once(2)), more: dice.once(2), late: dice.once(2), value: dice.int(3) }),
  async run(life, step) {
    const there = step.names.filter((name) => life.tables.includes(name))
    if (there.length === 0) return
    await life.store.apply(
      there.map((name) => definition(name, step)),
      { allowDataLoss: true },
    )
    const lsn = Number(life.store.lsn)
    life.acknowledge(lsn)
    life.definitions++
    // A version of its own, with the same rows.
    life.committed(lsn, life.state)
  },
}
