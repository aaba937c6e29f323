// The kinds of write of the storage-fault matrix: those of the crash matrix, and what only reads the storage but must say so when it cannot.
import { Process } from './crash-ground.ts'
import { type Kind, KINDS } from './crash-kinds.ts'
import { putAll, stock } from './crash-rows.ts'
import { groundOf, type Place } from './fault-ground.ts'

const THEIRS = [{ sku: 'theirs', count: 1 }]
/** A process that no other of a cell is. */
const RIVAL = 8

const refreshing: Kind = {
  name: 'refresh behind another writer',
  layouts: ['slots', 'memory', 'object'],
  before: async (run) => {
    const other = new Process(run.ground, RIVAL, RIVAL, run.alive)
    await other.open()
    await other.store.upsert(stock, THEIRS)
    await other.store.close()
    other.gone()
    run.settle(putAll('stock', THEIRS))
  },
  leaves: 'goesOn',
  act: (run) => run.quiet('refresh', () => run.store.refresh()),
}

const ALL: readonly Kind[] = [...KINDS, refreshing]

export function kindsOf(place: Place): readonly Kind[] {
  const { layout } = groundOf(place)
  return ALL.filter(({ layouts }) => layouts === undefined || layouts.includes(layout))
}
