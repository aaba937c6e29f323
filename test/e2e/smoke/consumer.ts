// A small user of the types: compiled against the installed package with moduleResolution nodenext and bundler; never run.
import { and, type CommitResult, eq, gt, Store, type Table, t, table, VarveError } from 'varve'
import { type CompareOp, Lz4CorruptError, lz4FrameDecode, sha256, type Vec } from 'varve/kernels'
import { rootContract } from 'varve/testing'

const flights = table('flights', { id: t.int64(), origin: t.utf8().dictionary(), delay: t.int16().nullable() }, { key: ['id'] })
type Flight = typeof flights.Row
const named: Table<'flights', typeof flights.columns, readonly ['id']> = flights

export async function late(store: Store): Promise<readonly Pick<Flight, 'origin' | 'delay'>[]> {
  const done: CommitResult = await store.append(flights, { id: 1n, origin: 'SFO', delay: 75 })
  const row: Flight | undefined = await store.get(named, 1n)
  if (row?.delay === null) return []
  // @ts-expect-error no such column
  await store.append(flights, { id: 2n, origin: 'SFO', dely: 1 })
  const rows = await store.scan(flights, { select: ['origin', 'delay'], where: and(gt('delay', 60), eq('origin', 'SFO')), at: done.lsn }).toArray()
  return rows
}

export async function open(): Promise<Store> {
  try {
    return await Store.open('memory:')
  } catch (error) {
    if (error instanceof VarveError && error.retryable) return open()
    throw error
  }
}

export function digestOf(frame: Uint8Array, bytes: number): Uint8Array {
  try {
    return sha256(lz4FrameDecode(frame, bytes))
  } catch (error) {
    if (error instanceof Lz4CorruptError && error instanceof VarveError) return new Uint8Array(32)
    throw error
  }
}

const order: CompareOp = 'le'
const rowsOf = (column: Vec): number => column.length

void rootContract
void order
void rowsOf
