// cli/demo/tables.ts: the tables of `varve demo`, and the bookings that its child makes.
import { type Column, type Table, t, table } from '../../index.ts'

type Int = Column<number, number, 'number'>
type Nullable<T> = Column<T | null, T | null | undefined, 'number'>
type Big = Column<bigint, bigint, 'number'>
type Micros = Column<bigint, bigint | Date, 'order'>
type Text = ReturnType<typeof t.utf8>

/** One row a flight; `id` is its row in the file. */
export const flights: Table<'flights', { id: Big; date: Micros; delay: Nullable<number>; distance: Int; origin: Text; destination: Text }, ['id']> = table(
  'flights',
  { id: t.int64(), date: t.timestamp('us'), delay: t.int16().nullable(), distance: t.int16(), origin: t.utf8(), destination: t.utf8() },
  { key: ['id'] },
)

export const bookings: Table<'bookings', { id: Big; flight: Big; seat: Text; note: Text }, ['id']> = table(
  'bookings',
  { id: t.int64(), flight: t.int64(), seat: t.utf8(), note: t.utf8() },
  { key: ['id'] },
)

/** The same for the same id, so that what is found after the crash can be held against it. */
export function bookingOf(id: bigint): { id: bigint; flight: bigint; seat: string; note: string } {
  return { id, flight: id * 37n, seat: `${1n + (id % 40n)}${'ABCDEF'[Number(id % 6n)]}`, note: `booking ${id} of the demo` }
}
