// The table that the processes of a cluster write.
import { type Column, t, type Table, table } from '../../../bindings/index.ts'

type Big = Column<bigint, bigint, 'number'>

export const entries: Table<'entries', { id: Big; text: ReturnType<typeof t.utf8> }, ['id']> = table(
  'entries',
  { id: t.int64(), text: t.utf8() },
  { key: ['id'] },
)

/** The same for the same id. */
export function entryOf(id: bigint): { id: bigint; text: string } {
  return { id, text: `entry ${id} ${'x'.repeat(Number(id % 97n))}` }
}
